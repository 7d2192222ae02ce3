//! What the log keeps of a block beside its bytes: where it ends, which id it set, when it came.

use super::interner::Symbol;
use crate::base::{Span, Tick};

/// What kind of block a record stands for.
pub(super) mod kind {
    /// A block with data or with an id: it has a sequence number.
    pub(in crate::track) const EVENT: u64 = 1;
    /// Its id is empty: the last event id is reset.
    pub(in crate::track) const RESET: u64 = 2;
    /// It has an id that is not known here: too long, or the interner was full.
    pub(in crate::track) const LOST: u64 = 4;
    /// A gap event of segno's own.
    pub(in crate::track) const GAP: u64 = 8;
}

const KIND_SHIFT: u32 = 60;

/// One block in the log, 16 bytes. Offsets have 60 bits: a stream of 1 GB/s fills them in 36 years.
#[derive(Clone, Copy)]
pub(super) struct Record {
    end_and_kind: u64,
    /// The id, one reference held.
    pub(super) id: Option<Symbol>,
    /// When it came, in units of 2^14 microseconds; wraps after two years.
    at: u32,
}

impl Record {
    pub(super) fn new(end: u64, kind: u64, id: Option<Symbol>, now: Tick) -> Self {
        Self { end_and_kind: end | kind << KIND_SHIFT, id, at: coarse(now.micros()) }
    }

    /// The offset after its last byte.
    pub(super) fn end(&self) -> u64 {
        self.end_and_kind & ((1 << KIND_SHIFT) - 1)
    }

    /// Whether it is of one of these kinds.
    pub(super) fn is(&self, kinds: u64) -> bool {
        (self.end_and_kind >> KIND_SHIFT) & kinds != 0
    }

    /// Whether it came longer ago than `age`. Ages above two years count as two years.
    pub(super) fn is_older(&self, now: Tick, age: Span) -> bool {
        let age = u32::try_from(age.micros() >> 14).unwrap_or(u32::MAX);
        coarse(now.micros()).wrapping_sub(self.at) > age
    }

    /// Whether it sets the last event id, be it to nothing or to something unknown.
    pub(super) fn sets_id(&self) -> bool {
        self.id.is_some() || self.is(kind::RESET | kind::LOST)
    }
}

fn coarse(micros: u64) -> u32 {
    (micros >> 14) as u32
}
