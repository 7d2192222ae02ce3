//! Catching up: which blocks of a healed body were received before.
//!
//! In: a block of the healed body, its bytes in the log after `whole`; the stream's [`Past`]. Out: a [`Verdict`].
//! Law: rather repeat than lose.
//!
//! # How
//! Upstream was asked to go on after an id. What comes may begin there, or before it, or at the very beginning of a
//! new count. So the first blocks are compared with the log, in order:
//!
//! ```text
//! catching up:
//!     the event is in the log, same id and same bytes?   drop it; look for the next one after it
//!     its id is known, and no bytes are logged?          drop it, by its id alone
//!     it has no id, and equals the next ones logged?     drop it
//!     anything else is new:                              keep it. With an id, the stream is live again
//! restarted (the body's first id is one of the stream's very first):
//!     drop everything up to the received mark, as long as the ids come as they did the first time
//!     then catch up from there; where something differs, state a gap and be live
//! ```
//!
//! A stream that is live keeps every block, unless its dedup is `Always`.
//!
//! # Line by line
//! | state | what comes | verdict | next state |
//! |---|---|---|---|
//! | catching up | id, and a logged event with it has the same bytes | drop | the same, comparing after that one |
//! | catching up | id known to the stream, no bytes logged | drop, by id alone | the same |
//! | catching up | id logged, all with other bytes; or not known | keep, after a `skipped` gap where ids jump | live |
//! | catching up | the body's first id: one of the stream's first but the last of them, not the received one | drop | restarted |
//! | catching up | no id, equal to a logged one before the next id | drop | the same, comparing after that one |
//! | catching up | no id, equal to none | keep | the same, comparing none without id |
//! | catching up | neither id nor data, equal to none | keep | the same |
//! | catching up | id too long to be known | keep | live |
//! | restarted | an id logged, with other bytes | keep, after a `restarted` gap | live |
//! | restarted | an id that does not follow as it did the first time | as when catching up | catching up |
//! | restarted | the same, of an event too large to be held | drop, then a `restarted` gap | live |
//! | restarted | anything else before the received mark | drop | the same |
//! | restarted | the received id, same bytes or none logged | drop | catching up, comparing after the mark |
//! | restarted | the received id, other bytes | keep, after a `restarted` gap | live |
//! | restarted | more than the stream ever received | keep, after a `restarted` gap | live |
//!
//! An event without an id that is new does not make the state live: a server may greet each connection with one, and
//! the repeats after it are still repeats. A greeting may also carry a first id on each connection: upstream has
//! started again only as long as the ids after it are the stream's next ones.
//! Source: law 9 of `docs/ARCHITECTURE.md`.

use super::gap::GapReason;
use super::interner::Symbol;
use super::limits::{Dedup, TrackContext};
use super::log::Log;
use super::logged::Kinds;
use super::past::{Found, Past, Sought, followers};
use crate::sse::{Block, BlockId};
use std::ops::Range;

/// What becomes of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is new.
    Keep,
    /// It is new, and a gap is stated in front of it.
    KeepAfter(GapReason),
    /// It was received before.
    Drop {
        /// Its bytes were no longer there to compare.
        by_id_alone: bool,
        /// A gap is stated in its place.
        then_gap: Option<GapReason>,
    },
}

const DROP: Verdict = Verdict::Drop { by_id_alone: false, then_gap: None };
const DROP_BY_ID_ALONE: Verdict = Verdict::Drop { by_id_alone: true, then_gap: None };
const DROP_AND_STATE: Verdict = Verdict::Drop { by_id_alone: false, then_gap: Some(GapReason::Restarted) };
const RESTARTED: Verdict = Verdict::KeepAfter(GapReason::Restarted);

/// What the stream is after the block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    CatchingUp,
    Live,
}

/// The state of a stream from the beginning of a healed body to its first new event.
pub(super) struct CatchUp {
    /// Blocks without an id are compared with the logged block of this number and those after it; `None`: not any more.
    next: Option<u64>,
    /// The body has had an id.
    seen_id: bool,
    restarted: Option<Restart>,
    /// Bytes of the open block were dropped: it is too large to be held, and comes before the received mark.
    pub(super) discarding: bool,
}

/// What was dropped since upstream started again.
#[derive(Default)]
struct Restart {
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
        if let Some(restart) = &mut self.restarted {
            restart.bytes += bytes;
        }
    }

    /// Judges a block whose bytes, without its front, are `own`. True beside the verdict: catching up goes on.
    pub(super) fn judge(
        &mut self,
        past: &Past<'_>,
        cx: &TrackContext<'_>,
        block: &Block<'_>,
        own: Range<u64>,
    ) -> (Verdict, bool) {
        let (verdict, next) = match block.id {
            _ if self.is_restarted() && !self.was_greeting(past, cx, block) => {
                self.judge_restarted(past, cx, block, own)
            }
            // Bytes of it were dropped while it looked like an old one.
            _ if self.discarding => (DROP_AND_STATE, Next::Live),
            _ if cx.limits.dedup == Dedup::Off => judge_off(past, block),
            BlockId::None => (self.judge_without_id(past, block, own), Next::CatchingUp),
            BlockId::TooLong => (Verdict::Keep, Next::Live),
            BlockId::Set(id) => self.judge_with_id(past, cx, id, own),
        };
        let goes_on = next == Next::CatchingUp;
        self.discarding &= !goes_on;
        (verdict, goes_on)
    }

    fn judge_with_id(&mut self, past: &Past<'_>, cx: &TrackContext<'_>, id: &[u8], own: Range<u64>) -> (Verdict, Next) {
        let is_first = !std::mem::replace(&mut self.seen_id, true);
        let sought = match cx.interner.lookup(id) {
            _ if id.is_empty() => Sought::Empty,
            Some(symbol) => Sought::Id(symbol),
            None => return (judge_new(past, id), Next::Live),
        };
        if is_first && past.begins_again(sought) {
            let position = match sought {
                Sought::Id(id) => past.first.position(id).unwrap_or(0),
                Sought::Empty => 0,
            };
            self.restarted = Some(Restart { position, ..Restart::default() });
            return self.judge_before_mark(past, cx, Some(sought), true, own);
        }
        match past.find(sought, own, self.next.unwrap_or(0)) {
            Found::Same(number) => {
                self.next = Some(number + 1);
                (DROP, Next::CatchingUp)
            }
            Found::Nowhere if past.knows(sought) => {
                if matches!(sought, Sought::Id(id) if past.log.base() == Some(id)) {
                    self.next = Some(past.log.first_number());
                }
                (DROP_BY_ID_ALONE, Next::CatchingUp)
            }
            Found::Other | Found::Nowhere => (judge_new(past, id), Next::Live),
        }
    }

    fn judge_without_id(&mut self, past: &Past<'_>, block: &Block<'_>, own: Range<u64>) -> Verdict {
        let mut number = self.next.unwrap_or(u64::MAX).max(past.log.first_number());
        while let Some(block) = past.log.logged(number)
            && !block.sets_id()
        {
            if !block.is(Kinds::GAP) && past.is_same(number, own.clone()) {
                self.next = Some(number + 1);
                return DROP;
            }
            number += 1;
        }
        if block.has_data {
            self.next = None;
        }
        Verdict::Keep
    }

    /// Whether what looked like the stream's beginning was a greeting: another id follows than the first time. Then
    /// upstream has not started again.
    fn was_greeting(&mut self, past: &Past<'_>, cx: &TrackContext<'_>, block: &Block<'_>) -> bool {
        let (Some(restart), BlockId::Set(id)) = (&mut self.restarted, block.id) else { return false };
        let symbol = cx.interner.lookup(id);
        let is_mark = symbol.is_some() && symbol == past.received.id;
        if id.is_empty() || is_mark || restart.position + 1 >= past.first.len() {
            return false;
        }
        match symbol.and_then(|id| past.first.position(id)) {
            Some(position) if position >= restart.position => {
                restart.position = position;
                false
            }
            _ => {
                self.restarted = None;
                true
            }
        }
    }

    fn judge_restarted(
        &mut self,
        past: &Past<'_>,
        cx: &TrackContext<'_>,
        block: &Block<'_>,
        own: Range<u64>,
    ) -> (Verdict, Next) {
        let sought = match block.id {
            BlockId::Set(id) if !id.is_empty() => cx.interner.lookup(id).map(Sought::Id),
            _ => None,
        };
        self.judge_before_mark(past, cx, sought, block.has_data || block.id != BlockId::None, own)
    }

    /// Upstream has started again, and the received mark has not come before this block.
    fn judge_before_mark(
        &mut self,
        past: &Past<'_>,
        cx: &TrackContext<'_>,
        sought: Option<Sought>,
        is_event: bool,
        own: Range<u64>,
    ) -> (Verdict, Next) {
        if let Some(Sought::Id(id)) = sought
            && past.received.id == Some(id)
        {
            return self.judge_mark(past, id, own);
        }
        if let Some(id) = sought
            && !self.discarding
            && matches!(past.find(id, own.clone(), 0), Found::Other)
        {
            return (RESTARTED, Next::Live);
        }
        let restart = self.restarted.get_or_insert_default();
        restart.events += u64::from(is_event);
        restart.bytes += own.end - own.start;
        let events = past.received.seq + cx.limits.log_events as u64;
        let bytes = past.log.whole().saturating_mul(4).saturating_add(cx.limits.log_bytes as u64);
        // More than the stream ever received: the mark does not come.
        match restart.events > events || restart.bytes > bytes {
            false => (DROP, Next::CatchingUp),
            true if self.discarding => (DROP_AND_STATE, Next::Live),
            true => (RESTARTED, Next::Live),
        }
    }

    /// The received id came again from an upstream that has started again.
    fn judge_mark(&mut self, past: &Past<'_>, id: Symbol, own: Range<u64>) -> (Verdict, Next) {
        let found = if self.discarding { Found::Nowhere } else { past.find(Sought::Id(id), own, 0) };
        let (next, verdict) = match found {
            Found::Same(number) => (number + 1, DROP),
            Found::Nowhere => (past.followers(), DROP_BY_ID_ALONE),
            Found::Other => return (RESTARTED, Next::Live),
        };
        self.next = Some(next);
        self.restarted = None;
        (verdict, Next::CatchingUp)
    }
}

/// Judges a block of a live stream that drops what it has had.
pub(super) fn judge_live(past: &Past<'_>, cx: &TrackContext<'_>, block: &Block<'_>, own: Range<u64>) -> Verdict {
    let BlockId::Set(id) = block.id else { return Verdict::Keep };
    let Some(id) = cx.interner.lookup(id).filter(|&id| past.window.contains(id)) else { return Verdict::Keep };
    match past.find(Sought::Id(id), own, 0) {
        Found::Same(_) => DROP,
        Found::Other => Verdict::Keep,
        Found::Nowhere => DROP_BY_ID_ALONE,
    }
}

/// Judges a block of a stream that drops nothing.
fn judge_off(past: &Past<'_>, block: &Block<'_>) -> (Verdict, Next) {
    match block.id {
        BlockId::None => (Verdict::Keep, Next::CatchingUp),
        BlockId::TooLong => (Verdict::Keep, Next::Live),
        BlockId::Set(id) => (judge_new(past, id), Next::Live),
    }
}

/// An event that is not a duplicate: whether it leaves integers out.
fn judge_new(past: &Past<'_>, id: &[u8]) -> Verdict {
    if past.numbers.skips_to(id) { Verdict::KeepAfter(GapReason::Skipped) } else { Verdict::Keep }
}
