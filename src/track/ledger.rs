//! What a stream remembers: its log, its marks, its ids. The part of a tracker that the scanner feeds.
//!
//! In: the blocks that the scanner found, and the bytes between them. Out: these blocks in the log, or their bytes
//! taken out as duplicates.
//! Laws: the newest id in the window is the id of the received mark, so the window keeps that id held; a block is noted
//! in the log before its bytes are copied, so that one read is copied in one piece, unless a block of it must be
//! judged.

use super::catch_up::{CatchUp, Large, Verdict, judge_live};
use super::fed::Fed;
use super::front::first_field;
use super::gap::{GapReason, write_gap};
use super::interner::{Interner, Symbol};
use super::limits::{Dedup, TrackContext, TrackLimits};
use super::log::Log;
use super::logged::{Kinds, LoggedBlock};
use super::marks::{KeptMark, NumberRun};
use super::own::{OWN_LINE, OwnIds};
use super::past::Past;
use crate::sse::{Block, BlockId};
use std::ops::Range;

/// The bytes of one read. Those before `from` are in the log or were dropped; those from there on are kept, and not yet
/// copied.
pub(super) struct Run<'b> {
    bytes: &'b [u8],
    from: usize,
}

impl<'b> Run<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, from: 0 }
    }

    /// The absolute offset that the byte at `at` will have, if all bytes up to it are kept.
    fn offset(&self, at: usize, log: &Log) -> u64 {
        log.end() + (at - self.from) as u64
    }

    /// Copies the bytes before `at` into the log.
    pub(super) fn flush(&mut self, at: usize, log: &mut Log) {
        log.append(&self.bytes[self.from..at]);
        self.from = at;
    }
}

/// The symbol of a block's id, taken with two references, one for the log and one for the window; and whether nobody
/// held the id before. `None`: the block has no id, or one that is too long, or the interner is full.
#[derive(Clone, Copy)]
struct Taken(Option<(Symbol, bool)>);

impl Taken {
    #[inline]
    fn take(interner: &mut Interner, id: BlockId<'_>) -> Self {
        match id {
            BlockId::Set(id) if !id.is_empty() => Self(interner.intern_times(id, 2)),
            _ => Self(None),
        }
    }

    fn give_back(self, interner: &mut Interner) {
        if let Some((symbol, _)) = self.0 {
            interner.release(symbol);
            interner.release(symbol);
        }
    }
}

pub(super) struct Ledger {
    pub(super) log: Log,
    pub(super) received: KeptMark,
    /// A reference to its id is held, because the block with that id may leave the log before the mark moves.
    pub(super) delivered: KeptMark,
    pub(super) numbers: NumberRun,
    pub(super) catch_up: Option<Box<CatchUp>>,
    pub(super) own: OwnIds,
    /// The offset of the delivered mark. It differs from the log's delivered offset, up to which the fastest reader's
    /// socket has accepted: it is behind that offset until readers have acknowledged what their sockets accepted, and
    /// ahead of it while somebody replays.
    pub(super) marked: u64,
}

impl Ledger {
    pub(super) fn new(limits: &TrackLimits) -> Self {
        Self {
            log: Log::new(limits.window, limits.held_bytes()),
            received: KeptMark::default(),
            delivered: KeptMark::default(),
            numbers: NumberRun::default(),
            catch_up: None,
            own: OwnIds::default(),
            marked: 0,
        }
    }

    /// A block ended before `run.bytes[at]`.
    #[inline]
    pub(super) fn block(
        &mut self,
        cx: &mut TrackContext<'_>,
        run: &mut Run<'_>,
        at: usize,
        block: &Block<'_>,
        fed: &mut Fed,
    ) {
        if self.own.is_giving() {
            self.give_id(cx, run, at, block, fed);
        }
        if self.catch_up.is_none() {
            let id = Taken::take(cx.interner, block.id);
            if cx.limits.dedup != Dedup::Always || !self.holds(id) {
                let end = run.offset(at, &self.log);
                self.keep_taken(cx, end, block, id, fed);
                return;
            }
            id.give_back(cx.interner);
        }
        run.flush(at, &mut self.log);
        if self.log.is_open() {
            self.keep_oversize(cx, block, fed);
        } else {
            self.judge(cx, block, fed);
            self.reserve(cx, run.bytes.len() - run.from);
        }
    }

    /// A block ended before `run.bytes[at]`, in a stream whose events get ids of segno's own: puts an id line before
    /// the block's first field. An event gets none when readers have a part of it already.
    fn give_id(&mut self, cx: &mut TrackContext<'_>, run: &mut Run<'_>, at: usize, block: &Block<'_>, fed: &mut Fed) {
        if block.id != BlockId::None {
            return self.own.stop(self.received.seq);
        }
        if !block.has_data || self.log.is_open() {
            return;
        }
        fed.own_ids |= !self.own.are_given();
        let mut line = Vec::with_capacity(OWN_LINE);
        self.own.line(self.received.seq + 1, &mut line);
        let whole = self.log.whole();
        if whole >= self.log.end() {
            // The block begins in this read.
            let from = run.from + (whole - self.log.end()) as usize;
            run.flush(from + first_field(&run.bytes[from..at]), &mut self.log);
        } else {
            run.flush(at, &mut self.log);
            let from = self.log.first_field(whole);
            let (a, b) = self.log.slices(from..self.log.end());
            line.extend_from_slice(a);
            line.extend_from_slice(b);
            self.log.truncate(from);
        }
        self.reserve(cx, line.len() + run.bytes.len() - run.from);
        self.log.append(&line);
    }

    /// The bytes before `run.bytes[at]` end outside any block.
    pub(super) fn outside(&mut self, run: &mut Run<'_>, at: usize) {
        if let Some(c) = &mut self.catch_up
            && c.discarding
        {
            c.discarding = false;
            run.flush(at, &mut self.log);
            self.log.truncate(self.log.whole());
        }
        self.log.set_whole(run.offset(at, &self.log));
    }

    /// All bytes of a read are in the log: opens the last block for readers, if it has become too large to be held.
    /// `id`: what the block's lines have set so far.
    pub(super) fn settle(&mut self, cx: &mut TrackContext<'_>, id: BlockId<'_>, fed: &mut Fed) {
        let held = self.log.held();
        if held == 0 {
            return;
        }
        if self.log.is_open() {
            self.log.extend_open();
            return;
        }
        if self.catch_up.as_ref().is_some_and(|c| c.discarding) {
            self.log.truncate(self.log.whole());
            return;
        }
        if held > cx.limits.held_bytes() || self.is_stuck(cx) {
            self.open_large(cx, id, fed);
        }
    }

    /// Gives readers the open block, which is too large to be held, as it comes; or drops it, where it was received
    /// before.
    fn open_large(&mut self, cx: &mut TrackContext<'_>, id: BlockId<'_>, fed: &mut Fed) {
        if let Some(state) = &mut self.catch_up {
            let from = self.log.first_field(self.log.whole());
            let past = Past { log: &self.log, received: self.received.get(), numbers: self.numbers };
            match state.judge_large(&past, cx, id, from..self.log.end()) {
                Large::Repeat => {
                    state.discarding = true;
                    self.log.truncate(from);
                    return self.log.set_whole(from);
                }
                Large::New(gap) => {
                    self.catch_up = None;
                    if let Some(reason) = gap {
                        self.begin_new(cx, from, reason, id, fed);
                    }
                }
                Large::Unknown => {}
            }
        }
        self.log.open();
        fed.oversize = true;
    }

    /// Inserts a gap event before the byte at `from`, which readers have not been given.
    pub(super) fn state_gap(
        &mut self,
        cx: &mut TrackContext<'_>,
        from: u64,
        reason: GapReason,
        resumed_at: Option<&[u8]>,
    ) {
        let mut text = Vec::new();
        write_gap(&mut text, reason, self.received.id.map(|id| cx.interner.get(id)), resumed_at);
        let gap = text.len() as u64;
        let (a, b) = self.log.slices(from..self.log.end());
        text.extend_from_slice(a);
        text.extend_from_slice(b);
        self.log.truncate(from);
        self.reserve(cx, text.len());
        self.log.append(&text);
        self.log.push(LoggedBlock::new(from + gap, Kinds::GAP, None, cx.now), cx.budget);
    }

    /// Makes room for `n` bytes.
    pub(super) fn reserve(&mut self, cx: &mut TrackContext<'_>, n: usize) {
        self.log.reserve(n, cx.limits.ring_bytes(), cx.budget, cx.interner);
    }

    /// Notes a block that readers may have, and moves the received mark past it.
    pub(super) fn keep(&mut self, cx: &mut TrackContext<'_>, end: u64, block: &Block<'_>, fed: &mut Fed) {
        let id = Taken::take(cx.interner, block.id);
        self.keep_taken(cx, end, block, id, fed);
    }

    /// Like [`Ledger::keep`], for a block whose id has been taken already.
    #[inline]
    fn keep_taken(&mut self, cx: &mut TrackContext<'_>, end: u64, block: &Block<'_>, taken: Taken, fed: &mut Fed) {
        let mut id = None;
        let mut kinds = if block.has_data { Kinds::EVENT } else { Kinds::NONE };
        match (block.id, taken.0) {
            (BlockId::None, _) => {}
            (BlockId::Set([]), _) => kinds = Kinds::EVENT | Kinds::RESET,
            (BlockId::Set(bytes), Some((symbol, _))) => {
                id = Some(symbol);
                kinds = Kinds::EVENT;
                self.numbers.note(bytes);
            }
            (BlockId::Set(_), None) => {
                kinds = Kinds::EVENT | Kinds::LOST;
                fed.ids_refused += 1;
            }
            (BlockId::TooLong, _) => {
                kinds = Kinds::EVENT | Kinds::LOST;
                fed.ids_too_long += 1;
            }
        }
        if let Some(symbol) = id {
            if let Some(evicted) = self.log.known.window.push(symbol) {
                cx.interner.release_later(evicted);
            }
            if self.log.known.first.note(symbol, self.log.next_number()) {
                cx.interner.retain(symbol);
            }
            self.received.id = id;
        } else if kinds.is(Kinds::RESET | Kinds::LOST) {
            self.received.id = None;
            self.numbers = NumberRun::default();
        }
        let event = u32::from(kinds.is(Kinds::EVENT));
        self.received.seq += u64::from(event);
        cx.budget.receive(u64::from(event));
        fed.events += event;
        self.log.push(LoggedBlock::new(end, kinds, id, cx.now), cx.budget);
    }

    /// The only reader has got everything before `offset`.
    pub(super) fn advance(&mut self, cx: &mut TrackContext<'_>, offset: u64) {
        self.log.advance(offset);
        self.log.acknowledge(offset);
        self.mark(cx, offset);
        self.evict(cx);
    }

    /// A reader's socket has accepted the bytes before `offset`.
    #[inline]
    pub(super) fn accepted(&mut self, cx: &mut TrackContext<'_>, offset: u64) {
        self.log.advance(offset);
        self.evict(cx);
    }

    /// Allows the bytes before `offset` to leave the log, though the delivered mark may be further back.
    pub(super) fn release_to(&mut self, cx: &mut TrackContext<'_>, offset: u64) {
        self.log.advance(offset);
        self.log.acknowledge(offset);
        self.evict(cx);
    }

    /// Evicts what is beyond the bounds of events, of notes and of age.
    #[inline]
    pub(super) fn evict(&mut self, cx: &mut TrackContext<'_>) {
        self.log.evict_beyond(cx.limits.log_events, cx.limits.notes(), cx.interner);
        if self.log.has_old(cx.now, cx.limits.log_age) {
            self.log.evict_older(cx.now, cx.limits.log_age, cx.interner);
        }
    }

    /// Moves the delivered mark alone, to the end of the last block before `offset`. It stays where it is if that block
    /// has left the log: the next offset within the log takes it on.
    pub(super) fn mark(&mut self, cx: &mut TrackContext<'_>, offset: u64) {
        let Some(offset) = self.log.boundary(offset).filter(|offset| *offset > self.marked) else { return };
        let KeptMark { id: old, seq: before } = self.delivered;
        self.delivered = if self.log.ends_by(offset) {
            self.received
        } else {
            let (after, id) = self.log.mark_at(offset);
            KeptMark { seq: (self.received.seq - after).max(self.delivered.seq), id }
        };
        self.marked = offset;
        cx.budget.settle(self.delivered.seq.saturating_sub(before));
        if self.delivered.id != old {
            self.delivered.id.into_iter().for_each(|id| cx.interner.retain(id));
            old.into_iter().for_each(|id| cx.interner.release_later(id));
        }
    }

    /// Judges a block whose bytes are in the log after `whole`, and keeps or drops it.
    fn judge(&mut self, cx: &mut TrackContext<'_>, block: &Block<'_>, fed: &mut Fed) {
        let (whole, end) = (self.log.whole(), self.log.end());
        let from = match &self.catch_up {
            Some(c) if c.discarding => whole,
            _ => self.log.first_field(whole),
        };
        let is_event = block.has_data || block.id != BlockId::None;
        match self.verdict(cx, block, from..end) {
            Verdict::Keep => self.keep(cx, end, block, fed),
            Verdict::KeepAfter(reason) => {
                self.begin_new(cx, from, reason, block.id, fed);
                self.keep(cx, self.log.end(), block, fed);
            }
            Verdict::Drop { by_id_alone, then_gap } => {
                self.log.truncate(from);
                self.log.set_whole(from);
                fed.duplicates += u32::from(is_event);
                fed.duplicates_by_id_alone += u32::from(by_id_alone);
                if let Some(reason) = then_gap {
                    self.state_gap(cx, from, reason, None);
                    fed.gap = Some(reason);
                }
            }
        }
    }

    /// States a gap before the byte at `from`, where the block with this id begins.
    fn begin_new(&mut self, cx: &mut TrackContext<'_>, from: u64, reason: GapReason, id: BlockId<'_>, fed: &mut Fed) {
        let resumed_at = match id {
            BlockId::Set(id) if !id.is_empty() => Some(id),
            _ => None,
        };
        self.state_gap(cx, from, reason, resumed_at);
        fed.gap = Some(reason);
        if reason == GapReason::Restarted {
            let id = resumed_at.and_then(|id| cx.interner.lookup(id));
            self.log.begin_run(id, cx.interner);
        }
    }

    /// The verdict on a block whose bytes, without its front, are `own`.
    fn verdict(&mut self, cx: &TrackContext<'_>, block: &Block<'_>, own: Range<u64>) -> Verdict {
        let Self { log, received, numbers, catch_up, .. } = self;
        let own = log.event_in(own);
        let past = Past { log, received: received.get(), numbers: *numbers };
        let Some(state) = catch_up else { return judge_live(&past, cx, block, own) };
        let (verdict, goes_on) = state.judge(&past, cx, block, own);
        if !goes_on {
            *catch_up = None;
        }
        verdict
    }

    /// Keeps a block that readers have a part of already. If it repeats a known id, catching up goes on.
    fn keep_oversize(&mut self, cx: &mut TrackContext<'_>, block: &Block<'_>, fed: &mut Fed) {
        if !self.is_repeated(cx, block.id) && block.id != BlockId::None {
            self.catch_up = None;
        }
        self.keep(cx, self.log.end(), block, fed);
    }

    /// Whether an id that was taken is in the window.
    #[inline]
    fn holds(&self, id: Taken) -> bool {
        matches!(id.0, Some((symbol, false)) if self.log.known.window.contains(symbol))
    }

    /// Whether the id is in the window.
    fn is_repeated(&self, cx: &TrackContext<'_>, id: BlockId<'_>) -> bool {
        let BlockId::Set(id) = id else { return false };
        cx.interner.lookup(id).is_some_and(|id| self.log.known.window.contains(id))
    }

    /// Whether the log has no room left, although readers have taken everything that they may have.
    fn is_stuck(&self, cx: &TrackContext<'_>) -> bool {
        self.log.delivered() == self.log.whole() && self.log.room(cx.limits.ring_bytes(), cx.budget) == 0
    }
}
