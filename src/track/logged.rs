//! What the log notes of a block beside its bytes: where it ends, which id it set, when it came.
//!
//! In: these facts, once. Out: the same, from 16 bytes.

use super::interner::Symbol;
use crate::base::{Span, Tick};
use std::ops::BitOr;

/// What a logged block is, as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kinds(u64);

impl Kinds {
    /// A comment, or a block with fields of which none is `data` or an id.
    pub(super) const NONE: Self = Self(0);
    /// A block with data or with an id: it has a sequence number.
    pub(super) const EVENT: Self = Self(1);
    /// Its id is empty: the last event id is reset.
    pub(super) const RESET: Self = Self(2);
    /// It has an id that is not known here: too long, or the interner was full.
    pub(super) const LOST: Self = Self(4);
    /// A gap event of segno's own.
    pub(super) const GAP: Self = Self(8);
    /// It was too large to be held, and was passed through as it came.
    pub(super) const LARGE: Self = Self(16);

    /// Whether it is of one of these kinds.
    pub(super) const fn is(self, kinds: Self) -> bool {
        self.0 & kinds.0 != 0
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const KINDS_SHIFT: u32 = 59;

/// The note on one block in the log, 16 bytes. Offsets have 59 bits: a stream of 1 GB/s uses them up in 18 years.
#[derive(Clone, Copy)]
pub(super) struct LoggedBlock {
    /// The offset in the lower 59 bits, the kinds above them.
    end_and_kinds: u64,
    /// Its id; one reference to it is held.
    pub(super) id: Option<Symbol>,
    /// When the block came, in units of 2^14 microseconds; wraps after two years.
    at: u32,
}

impl LoggedBlock {
    /// A block that ends at this offset and came at `now`.
    pub(super) fn new(end: u64, kinds: Kinds, id: Option<Symbol>, now: Tick) -> Self {
        Self { end_and_kinds: end | kinds.0 << KINDS_SHIFT, id, at: coarse(now.micros()) }
    }

    /// The same block, passed through as it came.
    pub(super) fn large(self) -> Self {
        Self { end_and_kinds: self.end_and_kinds | Kinds::LARGE.0 << KINDS_SHIFT, ..self }
    }

    /// The offset after its last byte.
    pub(super) fn end(&self) -> u64 {
        self.end_and_kinds & ((1 << KINDS_SHIFT) - 1)
    }

    /// Whether it is of one of these kinds.
    pub(super) fn is(&self, kinds: Kinds) -> bool {
        Kinds(self.end_and_kinds >> KINDS_SHIFT).is(kinds)
    }

    /// Whether it came longer ago than `age`. Ages above two years count as two years.
    pub(super) fn is_older(&self, now: Tick, age: Span) -> bool {
        let age = u32::try_from(age.micros() >> 14).unwrap_or(u32::MAX);
        coarse(now.micros()).wrapping_sub(self.at) > age
    }

    /// Whether it sets the last event id, even to nothing or to an id that is not known here.
    pub(super) fn sets_id(&self) -> bool {
        self.id.is_some() || self.is(Kinds::RESET | Kinds::LOST)
    }
}

/// The time in units of 2^14 microseconds.
fn coarse(micros: u64) -> u32 {
    (micros >> 14) as u32
}
