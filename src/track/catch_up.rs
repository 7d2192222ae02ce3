//! Catching up: which blocks of a healed body were received before.
//!
//! In: a block of the healed body, its bytes in the log after `whole`; the stream's [`Past`]. Out: a [`Verdict`].
//! Law: rather repeat than lose. A block is dropped only if it is an event that was received: the same id and the same
//! bytes.
//!
//! # How
//! Upstream was asked to go on after an id. What comes may begin there, or before it, or at the very beginning; or
//! upstream counts anew, and old ids come with new events. So the first blocks are compared with what the stream knows:
//! with the log, and with the digests of its last and its first events where these have left the log.
//!
//! ```text
//! the event is known, same id and same bytes?            drop it; look for the next one after it
//! it has no id, and equals the next ones logged?         drop it
//! its id is the received one, with other bytes?          keep it: several events share this id. The stream is live again
//! its id is another known one, with other bytes?         upstream counts anew: state a gap, keep it, be live
//! anything else is new:                                  keep it. With an id, the stream is live again
//! ```
//!
//! A stream that is live keeps every block, unless its dedup is `Always`.
//!
//! # Line by line
//! | what comes | verdict | next state |
//! |---|---|---|
//! | id, and a logged event with it has the same bytes | drop | the same, comparing after that one |
//! | id, and the digest of an event with it that has left the log is the same | drop | the same |
//! | the received id, with other bytes | keep | live |
//! | another known id, with other bytes | keep, after a `restarted` gap | live |
//! | an id that is not known | keep, after a `skipped` gap where ids jump | live |
//! | id too long to be known | keep | live |
//! | an empty id, with other bytes than the logged ones | keep | live |
//! | no id, equal to a logged one before the next id | drop | the same, comparing after that one |
//! | no id, equal to none | keep | the same, comparing none without id |
//! | neither id nor data, equal to none | keep | the same |
//! | too large to be held, and its id, which came before its data, is that of such an event | drop | the same |
//! | too large to be held, with another known id | pass through, after a `restarted` gap | live |
//! | too large to be held, with any other id, or none so far | pass through | live once its id is known to be new |
//! | a clean end, where the body began with the stream's first events and the received id has not come | a `restarted` gap | - |
//!
//! An event without an id that is new does not make the stream live: a server may greet each connection with one, and
//! the repeats after it are still repeats. A greeting may also carry a first id on each connection.
//!
//! An upstream that begins with the stream's very first events, all the same, is dropped as far as they are known. What
//! the stream has forgotten in between comes again: nobody can tell that it is not new.
//! Source: law 9 of `docs/ARCHITECTURE.md`.

use super::gap::GapReason;
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
    /// The body began with the stream's first events, and the received id has not come.
    began_again: bool,
    /// The open block is dropped: it is too large to be held, and such an event with its id was received.
    pub(super) discarding: bool,
}

/// What a block is that has become too large to be held.
pub(super) enum Large {
    /// It was received before.
    Repeat,
    /// It is new, and stands for a gap in front of it where there is one.
    New(Option<GapReason>),
    /// Its id has not come yet.
    Unknown,
}

impl CatchUp {
    pub(super) fn new(log: &Log) -> Self {
        Self { next: Some(followers(log)), seen_id: false, began_again: false, discarding: false }
    }

    /// Whether upstream began with the stream's first events, and has not come to the received mark.
    pub(super) fn is_restarted(&self) -> bool {
        self.began_again
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
            _ if self.discarding => self.judge_discarded(past, cx, block.id),
            _ if cx.limits.dedup == Dedup::Off => judge_off(past, block),
            BlockId::None => (self.judge_without_id(past, block, own), Next::CatchingUp),
            BlockId::TooLong => (Verdict::Keep, Next::Live),
            BlockId::Set(id) => self.judge_with_id(past, cx, id, own),
        };
        self.discarding = false;
        (verdict, next == Next::CatchingUp)
    }

    /// Judges a block that has become too large to be held, by the id that has come so far.
    pub(super) fn judge_large(
        &self,
        past: &Past<'_>,
        cx: &TrackContext<'_>,
        id: BlockId<'_>,
        own: Range<u64>,
    ) -> Large {
        match id {
            BlockId::None => Large::Unknown,
            BlockId::TooLong | BlockId::Set([]) => Large::New(None),
            _ if cx.limits.dedup == Dedup::Off => Large::New(None),
            BlockId::Set(id) => match cx.interner.lookup(id) {
                None => Large::New(skipped(past, id)),
                Some(symbol) => match past.find_large(symbol, own.clone()) {
                    Found::Same(_) | Found::Left if own.end - own.start > cx.limits.held_bytes() as u64 => {
                        Large::Repeat
                    }
                    // A smaller one, for which there is no room now.
                    Found::Same(_) | Found::Left => Large::New(None),
                    Found::Other if past.received.id != Some(symbol) => Large::New(Some(GapReason::Restarted)),
                    Found::Other => Large::New(None),
                    Found::Nowhere => Large::New(skipped(past, id)),
                },
            },
        }
    }

    /// The end of a block of which all bytes were dropped, because of the id at its front.
    fn judge_discarded(&mut self, past: &Past<'_>, cx: &TrackContext<'_>, id: BlockId<'_>) -> (Verdict, Next) {
        let symbol = match id {
            BlockId::Set(id) => cx.interner.lookup(id),
            BlockId::None | BlockId::TooLong => None,
        };
        let Some(symbol) = symbol.filter(|symbol| past.knows(*symbol)) else {
            // A later line of the block gave it another id.
            return (DROP_AND_STATE, Next::Live);
        };
        self.repeat_large(past, Sought::Id(symbol))
    }

    /// An event too large to be held was received before, as far as its id tells.
    fn repeat_large(&mut self, past: &Past<'_>, id: Sought) -> (Verdict, Next) {
        self.next = None;
        self.began_again &= !matches!(id, Sought::Id(id) if past.received.id == Some(id));
        (DROP_BY_ID_ALONE, Next::CatchingUp)
    }

    fn judge_with_id(&mut self, past: &Past<'_>, cx: &TrackContext<'_>, id: &[u8], own: Range<u64>) -> (Verdict, Next) {
        let is_first = !std::mem::replace(&mut self.seen_id, true);
        let sought = match cx.interner.lookup(id) {
            _ if id.is_empty() => Sought::Empty,
            Some(symbol) => Sought::Id(symbol),
            None => return (judge_new(past, id), Next::Live),
        };
        let (is_mark, is_base) = match sought {
            Sought::Id(id) => (past.received.id == Some(id), past.log.base() == Some(id)),
            Sought::Empty => (false, false),
        };
        match past.find(cx.interner, sought, own.clone(), self.next.unwrap_or(0)) {
            Found::Same(number) => self.next = Some(number + 1),
            // What followed the last event that left is what the log begins with.
            Found::Left => self.next = is_base.then(|| past.log.first_number()),
            // It came in one read here, and may have come in parts when it was received.
            Found::Other if is_large_repeat(past, cx, sought, own) => return self.repeat_large(past, sought),
            Found::Other if !is_mark && matches!(sought, Sought::Id(_)) => return (RESTARTED, Next::Live),
            Found::Other | Found::Nowhere => return (judge_new(past, id), Next::Live),
        }
        self.began_again = !is_mark && (self.began_again || is_first && past.begins_again(sought));
        (DROP, Next::CatchingUp)
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
}

/// Judges a block of a live stream that drops what it has had.
pub(super) fn judge_live(past: &Past<'_>, cx: &TrackContext<'_>, block: &Block<'_>, own: Range<u64>) -> Verdict {
    let BlockId::Set(id) = block.id else { return Verdict::Keep };
    let Some(id) = cx.interner.lookup(id).filter(|&id| past.log.known.window.contains(id)) else {
        return Verdict::Keep;
    };
    match past.find(cx.interner, Sought::Id(id), own.clone(), 0) {
        Found::Same(_) | Found::Left => DROP,
        Found::Other if is_large_repeat(past, cx, Sought::Id(id), own) => DROP_BY_ID_ALONE,
        Found::Other | Found::Nowhere => Verdict::Keep,
    }
}

/// Whether a whole event is too large to be held, and one with its id was, too.
fn is_large_repeat(past: &Past<'_>, cx: &TrackContext<'_>, sought: Sought, own: Range<u64>) -> bool {
    let is_large = own.end - own.start > cx.limits.held_bytes() as u64;
    matches!(sought, Sought::Id(id) if is_large && matches!(past.find_large(id, own), Found::Same(_) | Found::Left))
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
    skipped(past, id).map_or(Verdict::Keep, Verdict::KeepAfter)
}

fn skipped(past: &Past<'_>, id: &[u8]) -> Option<GapReason> {
    past.numbers.skips_to(id).then_some(GapReason::Skipped)
}
