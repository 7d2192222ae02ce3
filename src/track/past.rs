//! What a stream remembers of its past, to compare a block of a healed body with.
//!
//! In: an id, the bytes of a block. Out: whether the stream has had that id, whether that event.
//! Laws: nothing here changes; an event is the same only if its id and all its bytes are, by the log as long as it
//! holds them, then by their digest.

use super::digest::Digest;
use super::interner::{Interner, Symbol};
use super::log::Log;
use super::logged::{Kinds, LoggedBlock};
use super::marks::{Mark, NumberRun};
use std::ops::Range;

/// The parts of a stream's ledger that tell of its past.
pub(super) struct Past<'l> {
    pub(super) log: &'l Log,
    pub(super) received: Mark,
    pub(super) numbers: NumberRun,
}

/// An id to look for in the log: a known one, or the empty one.
#[derive(Clone, Copy)]
pub(super) enum Sought {
    Id(Symbol),
    Empty,
}

impl Sought {
    fn is(self, block: &LoggedBlock) -> bool {
        match self {
            Self::Id(id) => block.id == Some(id),
            Self::Empty => block.is(Kinds::RESET),
        }
    }
}

/// What is known of an event.
pub(super) enum Found {
    /// The logged block of this number is the event.
    Same(u64),
    /// The event has left the log: the digest of one with its id is the same.
    Left,
    /// Its id is known, of events with other bytes alone.
    Other,
    /// Its id is not known.
    Nowhere,
}

impl Past<'_> {
    /// Looks for an event in the log, from the logged block of number `hint` on, and then from the front: repeats come
    /// in order, so the first one looked at is nearly always the right one. Then among those that have left the log.
    pub(super) fn find(&self, interner: &Interner, sought: Sought, own: Range<u64>, hint: u64) -> Found {
        let mut found = Found::Nowhere;
        for number in self.numbers_from(hint) {
            if !self.log.logged(number).is_some_and(|block| sought.is(block)) {
                continue;
            }
            if self.is_same(number, own.clone()) {
                return Found::Same(number);
            }
            found = Found::Other;
        }
        let Sought::Id(id) = sought else { return found };
        let mut digest = None;
        for known in self.log.known.digests(id).filter(|known| *known != Digest::NONE) {
            if known == *digest.get_or_insert_with(|| self.log.digest(own.clone(), interner)) {
                return Found::Left;
            }
            found = Found::Other;
        }
        found
    }

    /// The same for an event of which only the front has come, and its id with that: whether one with this id has the
    /// same front, or was too large to be held, so that nothing but its id is known. `own`: the bytes so far.
    pub(super) fn find_large(&self, id: Symbol, own: Range<u64>) -> Found {
        let mut found = Found::Nowhere;
        for number in self.numbers_from(0) {
            if self.log.logged(number).is_none_or(|block| block.id != Some(id)) {
                continue;
            }
            let Some(logged) = self.log.event(number) else { return Found::Same(number) };
            let front = logged.start..(logged.start + (own.end - own.start)).min(logged.end);
            if self.log.same(front, own.clone()) {
                return Found::Same(number);
            }
            found = Found::Other;
        }
        for known in self.log.known.digests(id).filter(|known| *known != Digest::NONE) {
            if known == Digest::TOO_LARGE {
                return Found::Left;
            }
            found = Found::Other;
        }
        found
    }

    /// The numbers of all logged blocks, from `hint` to the end, then from the front.
    fn numbers_from(&self, hint: u64) -> impl Iterator<Item = u64> + use<> {
        let (first, end) = (self.log.first_number(), self.log.next_number());
        let hint = hint.clamp(first, end);
        (hint..end).chain(first..hint)
    }

    /// Whether the logged block of this number is the event with these bytes.
    pub(super) fn is_same(&self, number: u64, own: Range<u64>) -> bool {
        self.log.event(number).is_some_and(|logged| self.log.same(logged, own))
    }

    /// Whether the stream has had this id, as far as it remembers.
    pub(super) fn knows(&self, id: Symbol) -> bool {
        let is_logged = |number| self.log.logged(number).is_some_and(|block| block.id == Some(id));
        self.log.known.digests(id).next().is_some() || self.numbers_from(0).any(is_logged)
    }

    /// Whether an id that comes first in a healed body says that upstream begins with the stream's first events. The
    /// last of the first ids says nothing, since there is none to hold what follows against.
    pub(super) fn begins_again(&self, sought: Sought) -> bool {
        match (sought, self.received.id) {
            (Sought::Id(id), Some(received)) => id != received && self.log.known.first.is_followed(id),
            _ => false,
        }
    }
}

/// The number of the first logged block after the last one with an id.
pub(super) fn followers(log: &Log) -> u64 {
    let mut number = log.next_number();
    while let Some(block) = number.checked_sub(1).and_then(|before| log.logged(before))
        && !block.sets_id()
    {
        number -= 1;
    }
    number
}
