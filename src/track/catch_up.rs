//! Catching up: which blocks of a healed body were received before.
//!
//! In: a block of the healed body, its bytes in the log behind `whole`. Out: a [`Verdict`].
//!
//! | state | what comes | verdict | next state |
//! |---|---|---|---|
//! | catching up | id, and a logged event with it has the same bytes | drop | the same, comparing behind that one |
//! | catching up | id known to the stream, no bytes logged | drop, by id alone | the same |
//! | catching up | id logged, all with other bytes; or not known | keep, after a `skipped` gap where ids jump | live |
//! | catching up | the body's first id: one of the stream's first but the last of them, not the received one | drop | restarted |
//! | catching up | no id, equal to a logged one before the next id | drop | the same, comparing behind that one |
//! | catching up | no id, equal to none | keep | the same, comparing none without id |
//! | catching up | neither id nor data, equal to none | keep | the same |
//! | catching up | id too long to be known | keep | live |
//! | restarted | an id logged, with other bytes | keep, after a `restarted` gap | live |
//! | restarted | an id that does not follow as it did the first time | as when catching up | catching up |
//! | restarted | the same, of an event too large to be held | drop, then a `restarted` gap | live |
//! | restarted | anything else before the received mark | drop | the same |
//! | restarted | the received id, same bytes or none logged | drop | catching up, comparing behind the mark |
//! | restarted | the received id, other bytes | keep, after a `restarted` gap | live |
//! | restarted | more than the stream ever received | keep, after a `restarted` gap | live |
//!
//! An event without an id that is new does not make the state live: a server may greet each connection with one, and
//! the repeats behind it are still repeats. A greeting may also carry a first id on each connection: upstream has started
//! again only as long as the ids behind it are the stream's next ones. Law: rather repeat than lose.
//! Source: DESIGN law 9.

use std::ops::Range;

use super::gap::GapReason;
use super::interner::Symbol;
use super::ledger::Ledger;
use super::limits::{Dedup, TrackContext};
use super::log::Log;
use super::record::{Record, kind};
use crate::sse::{Block, BlockId};

/// What becomes of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Keep,
    KeepAfter(GapReason),
    Drop { by_id_alone: bool, then_gap: Option<GapReason> },
}

const DROP: Verdict = Verdict::Drop { by_id_alone: false, then_gap: None };
const DROP_BY_ID_ALONE: Verdict = Verdict::Drop { by_id_alone: true, then_gap: None };

/// The state of a stream between the begin of a healed body and its first new event.
pub(super) struct CatchUp {
    /// Blocks without an id are compared with the record of this number and those behind it; `None`: not any more.
    next: Option<u64>,
    seen_id: bool,
    restarted: Option<Dropped>,
    /// Bytes of the open block were dropped: it is too large to be held, and comes before the received mark.
    pub(super) discarding: bool,
}

/// What was dropped since upstream started again.
#[derive(Default)]
struct Dropped {
    events: u64,
    bytes: u64,
    /// Which of the stream's first ids came last.
    position: usize,
}

impl CatchUp {
    pub(super) fn new(log: &Log) -> Self {
        Self { next: Some(followers(log)), seen_id: false, restarted: None, discarding: false }
    }

    pub(super) fn is_restarted(&self) -> bool {
        self.restarted.is_some()
    }

    /// Counts bytes dropped of a block that has not ended.
    pub(super) fn discard(&mut self, bytes: u64) {
        self.discarding = true;
        if let Some(dropped) = &mut self.restarted {
            dropped.bytes += bytes;
        }
    }
}

/// The number of the first record behind the last one with an id.
fn followers(log: &Log) -> u64 {
    let mut number = log.next_number();
    while let Some(record) = number.checked_sub(1).and_then(|before| log.record(before))
        && !record.sets_id()
    {
        number -= 1;
    }
    number
}

/// An id to look for in the log: a known one, or the empty one.
#[derive(Clone, Copy)]
enum Sought {
    Id(Symbol),
    Empty,
}

impl Sought {
    fn is(self, record: &Record) -> bool {
        match self {
            Self::Id(id) => record.id == Some(id),
            Self::Empty => record.is(kind::RESET),
        }
    }
}

/// What the log says of an event.
enum Found {
    /// The record of this number is the event.
    Same(u64),
    /// Events with this id are logged, all with other bytes.
    Other,
    /// No bytes of an event with this id are logged.
    Nowhere,
}

impl Ledger {
    /// Judges a block whose own bytes are `own`.
    pub(super) fn verdict(&mut self, cx: &TrackContext<'_>, block: &Block<'_>, own: Range<u64>) -> Verdict {
        let Some(mut state) = self.catch_up.take() else { return self.verdict_live(cx, block, own) };
        let verdict = match block.id {
            _ if state.is_restarted() && !self.is_greeting(cx, &mut state, block) => {
                self.verdict_restarted(cx, &mut state, block, own)
            }
            // Bytes of it were dropped while it looked like an old one.
            _ if state.discarding => {
                (Verdict::Drop { by_id_alone: false, then_gap: Some(GapReason::Restarted) }, false)
            }
            _ if cx.limits.dedup == Dedup::Off => self.verdict_off(block),
            BlockId::None => (self.verdict_without_id(&mut state, block, own), true),
            BlockId::TooLong => (Verdict::Keep, false),
            BlockId::Set(id) => self.verdict_with_id(cx, &mut state, id, own),
        };
        if verdict.1 {
            state.discarding = false;
            self.catch_up = Some(state);
        }
        verdict.0
    }

    /// Where the block in `range` begins: behind comments, blank lines and a byte order mark.
    pub(super) fn own_start(&self, range: Range<u64>) -> u64 {
        let byte = |at: u64| if at < range.end { self.log.byte(at) } else { None };
        let mut at = range.start;
        if [byte(at), byte(at + 1), byte(at + 2)] == [Some(0xef), Some(0xbb), Some(0xbf)] {
            at += 3;
        }
        loop {
            match byte(at) {
                Some(b'\n' | b'\r') => at += 1,
                Some(b':') => {
                    while !matches!(byte(at), None | Some(b'\n' | b'\r')) {
                        at += 1;
                    }
                }
                _ => return at,
            }
        }
    }

    fn verdict_live(&self, cx: &TrackContext<'_>, block: &Block<'_>, own: Range<u64>) -> Verdict {
        let BlockId::Set(id) = block.id else { return Verdict::Keep };
        let Some(id) = cx.interner.lookup(id).filter(|&id| self.window.contains(id)) else { return Verdict::Keep };
        match self.find(Sought::Id(id), own, 0) {
            Found::Same(_) => DROP,
            Found::Other => Verdict::Keep,
            Found::Nowhere => DROP_BY_ID_ALONE,
        }
    }

    /// The verdict, and whether catching up goes on.
    fn verdict_off(&self, block: &Block<'_>) -> (Verdict, bool) {
        match block.id {
            BlockId::None => (Verdict::Keep, true),
            BlockId::TooLong => (Verdict::Keep, false),
            BlockId::Set(id) => (self.new_event(id), false),
        }
    }

    fn verdict_with_id(
        &self,
        cx: &TrackContext<'_>,
        state: &mut CatchUp,
        id: &[u8],
        own: Range<u64>,
    ) -> (Verdict, bool) {
        let first = !std::mem::replace(&mut state.seen_id, true);
        let sought = match cx.interner.lookup(id) {
            _ if id.is_empty() => Sought::Empty,
            Some(symbol) => Sought::Id(symbol),
            None => return (self.new_event(id), false),
        };
        if first && self.begins_again(sought) {
            let position = match sought {
                Sought::Id(id) => self.first.position(id).unwrap_or(0),
                Sought::Empty => 0,
            };
            state.restarted = Some(Dropped { position, ..Dropped::default() });
            return self.verdict_restarted_id(cx, state, Some(sought), true, own);
        }
        match self.find(sought, own, state.next.unwrap_or(0)) {
            Found::Same(number) => {
                state.next = Some(number + 1);
                (DROP, true)
            }
            Found::Nowhere if self.knows(sought) => {
                if matches!(sought, Sought::Id(id) if self.log.base() == Some(id)) {
                    state.next = Some(self.log.first_number());
                }
                (DROP_BY_ID_ALONE, true)
            }
            Found::Other | Found::Nowhere => (self.new_event(id), false),
        }
    }

    fn verdict_without_id(&self, state: &mut CatchUp, block: &Block<'_>, own: Range<u64>) -> Verdict {
        let mut number = state.next.unwrap_or(u64::MAX).max(self.log.first_number());
        while let Some(record) = self.log.record(number)
            && !record.sets_id()
        {
            if !record.is(kind::GAP) && self.is_same(number, own.clone()) {
                state.next = Some(number + 1);
                return DROP;
            }
            number += 1;
        }
        if block.has_data {
            state.next = None;
        }
        Verdict::Keep
    }

    /// Whether what looked like the stream's beginning was a greeting: another id follows than the first time. Then
    /// upstream has not started again.
    fn is_greeting(&self, cx: &TrackContext<'_>, state: &mut CatchUp, block: &Block<'_>) -> bool {
        let (Some(dropped), BlockId::Set(id)) = (&mut state.restarted, block.id) else { return false };
        let symbol = cx.interner.lookup(id);
        if id.is_empty() || symbol.is_some() && symbol == self.received.id || dropped.position + 1 >= self.first.len() {
            return false;
        }
        match symbol.and_then(|id| self.first.position(id)) {
            Some(position) if position >= dropped.position => {
                dropped.position = position;
                false
            }
            _ => {
                state.restarted = None;
                true
            }
        }
    }

    fn verdict_restarted(
        &self,
        cx: &TrackContext<'_>,
        state: &mut CatchUp,
        block: &Block<'_>,
        own: Range<u64>,
    ) -> (Verdict, bool) {
        let sought = match block.id {
            BlockId::Set(id) if !id.is_empty() => cx.interner.lookup(id).map(Sought::Id),
            _ => None,
        };
        self.verdict_restarted_id(cx, state, sought, block.has_data || block.id != BlockId::None, own)
    }

    fn verdict_restarted_id(
        &self,
        cx: &TrackContext<'_>,
        state: &mut CatchUp,
        sought: Option<Sought>,
        is_event: bool,
        own: Range<u64>,
    ) -> (Verdict, bool) {
        if let Some(Sought::Id(id)) = sought
            && self.received.id == Some(id)
        {
            return self.verdict_mark(state, id, own);
        }
        if let Some(id) = sought
            && !state.discarding
            && matches!(self.find(id, own.clone(), 0), Found::Other)
        {
            return (Verdict::KeepAfter(GapReason::Restarted), false);
        }
        let dropped = state.restarted.get_or_insert_default();
        dropped.events += u64::from(is_event);
        dropped.bytes += own.end - own.start;
        let events = self.received.seq + cx.limits.log_events as u64;
        let bytes = self.log.whole().saturating_mul(4).saturating_add(cx.limits.log_bytes as u64);
        match dropped.events > events || dropped.bytes > bytes {
            false => (DROP, true),
            true if state.discarding => {
                (Verdict::Drop { by_id_alone: false, then_gap: Some(GapReason::Restarted) }, false)
            }
            true => (Verdict::KeepAfter(GapReason::Restarted), false),
        }
    }

    /// The received id came again from an upstream that has started again.
    fn verdict_mark(&self, state: &mut CatchUp, id: Symbol, own: Range<u64>) -> (Verdict, bool) {
        let found = if state.discarding { Found::Nowhere } else { self.find(Sought::Id(id), own, 0) };
        let (next, verdict) = match found {
            Found::Same(number) => (number + 1, DROP),
            Found::Nowhere => (followers(&self.log), DROP_BY_ID_ALONE),
            Found::Other => return (Verdict::KeepAfter(GapReason::Restarted), false),
        };
        state.next = Some(next);
        state.restarted = None;
        (verdict, true)
    }

    /// Whether an id that comes first in a healed body says that upstream has started again. The last of the stream's
    /// first ids says nothing, since what follows could not be held against what followed then.
    fn begins_again(&self, sought: Sought) -> bool {
        match (sought, self.received.id) {
            (Sought::Id(id), Some(received)) => {
                id != received && self.first.position(id).is_some_and(|at| at + 1 < self.first.len())
            }
            _ => false,
        }
    }

    /// An event that is not a duplicate: whether it leaves integers out.
    fn new_event(&self, id: &[u8]) -> Verdict {
        if self.numbers.skips_to(id) { Verdict::KeepAfter(GapReason::Skipped) } else { Verdict::Keep }
    }

    /// Whether the stream has had this id, as far as it remembers.
    fn knows(&self, sought: Sought) -> bool {
        match sought {
            Sought::Id(id) => self.window.contains(id) || self.first.contains(id) || self.log.base() == Some(id),
            Sought::Empty => false,
        }
    }

    /// Looks for an event in the log, from the record of number `hint` on and then from the front: repeats come in
    /// order, so that the first look is nearly always the right one.
    fn find(&self, sought: Sought, own: Range<u64>, hint: u64) -> Found {
        let (first, end) = (self.log.first_number(), self.log.next_number());
        let hint = hint.clamp(first, end);
        let mut found = Found::Nowhere;
        for number in (hint..end).chain(first..hint) {
            if !self.log.record(number).is_some_and(|record| sought.is(record)) {
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

    /// Whether the own bytes of a record are these.
    fn is_same(&self, number: u64, own: Range<u64>) -> bool {
        let Some(range) = self.log.range(number) else { return false };
        let logged = self.own_start(range.clone())..range.end;
        self.log.same(self.without_last_lf(logged), self.without_last_lf(own))
    }

    /// A block may have ended at a CR whose LF came in the next read: the LF of a last CRLF is not compared.
    fn without_last_lf(&self, range: Range<u64>) -> Range<u64> {
        let byte =
            |back: u64| range.end.checked_sub(back).filter(|&at| at >= range.start).and_then(|at| self.log.byte(at));
        let crlf = byte(1) == Some(b'\n') && byte(2) == Some(b'\r');
        range.start..range.end - u64::from(crlf)
    }
}
