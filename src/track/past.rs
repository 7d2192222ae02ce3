//! What a stream remembers of its past, to compare a block of a healed body with.
//!
//! In: an id, the bytes of a block. Out: whether the stream has had that id, whether that event.
//! Law: nothing here changes; where the log no longer holds an event's bytes, only its id can tell.

use super::front::first_field_in;
use super::interner::Symbol;
use super::log::Log;
use super::logged::{Kinds, LoggedBlock};
use super::marks::{FirstIds, Mark, NumberRun};
use super::window::Window;
use std::ops::Range;

/// The parts of a stream's ledger that tell of its past.
pub(super) struct Past<'l> {
    pub(super) log: &'l Log,
    pub(super) window: &'l Window,
    pub(super) first: &'l FirstIds,
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

/// What the log says of an event.
pub(super) enum Found {
    /// The logged block of this number is the event.
    Same(u64),
    /// Events with this id are logged, all with other bytes.
    Other,
    /// No bytes of an event with this id are logged.
    Nowhere,
}

impl Past<'_> {
    /// Looks for an event in the log, from the logged block of number `hint` on, and then from the front: repeats come
    /// in order, so the first one looked at is nearly always the right one.
    pub(super) fn find(&self, sought: Sought, own: Range<u64>, hint: u64) -> Found {
        let (first, end) = (self.log.first_number(), self.log.next_number());
        let hint = hint.clamp(first, end);
        let mut found = Found::Nowhere;
        for number in (hint..end).chain(first..hint) {
            if !self.log.logged(number).is_some_and(|block| sought.is(block)) {
                continue;
            }
            if self.is_same(number, own.clone()) {
                return Found::Same(number);
            }
            if self.log.range(number).is_some() {
                found = Found::Other;
            }
        }
        found
    }

    /// Whether the logged block of this number has these bytes, without its front.
    pub(super) fn is_same(&self, number: u64, own: Range<u64>) -> bool {
        let Some(range) = self.log.range(number) else { return false };
        let logged = first_field_in(self.log, range.clone())..range.end;
        self.log.same(self.without_last_lf(logged), self.without_last_lf(own))
    }

    /// Whether the stream has had this id, as far as it remembers.
    pub(super) fn knows(&self, sought: Sought) -> bool {
        match sought {
            Sought::Id(id) => self.window.contains(id) || self.first.contains(id) || self.log.base() == Some(id),
            Sought::Empty => false,
        }
    }

    /// Whether an id that comes first in a healed body says that upstream has started again. The last of the stream's
    /// first ids says nothing, since there is none to hold what follows against.
    pub(super) fn begins_again(&self, sought: Sought) -> bool {
        match (sought, self.received.id) {
            (Sought::Id(id), Some(received)) => {
                id != received && self.first.position(id).is_some_and(|at| at + 1 < self.first.len())
            }
            _ => false,
        }
    }

    /// The number of the first logged block after the last one with an id.
    pub(super) fn followers(&self) -> u64 {
        followers(self.log)
    }

    /// A block may have ended at a CR whose LF came in the next read: the LF of a last CRLF is not compared.
    fn without_last_lf(&self, range: Range<u64>) -> Range<u64> {
        let byte =
            |back: u64| range.end.checked_sub(back).filter(|&at| at >= range.start).and_then(|at| self.log.byte(at));
        let is_crlf = byte(1) == Some(b'\n') && byte(2) == Some(b'\r');
        range.start..range.end - u64::from(is_crlf)
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
