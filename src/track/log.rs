//! The log: the only buffer of a stream. A ring of bytes, and beside it a note on each block in the ring.
//!
//! In: the bytes that are forwarded, where blocks end, how far readers have read. Out: slices for readers; places to
//! replay from; references to ids, given back when their blocks are evicted.
//!
//! Offsets count all bytes since the stream began:
//!
//! ```text
//!      evicted      |   read, kept for replay   |   readers may have it   |  a block that has not ended
//! ------------------+---------------------------+-------------------------+----------------------------+
//!                 start                     delivered                   whole                         end
//! ```
//!
//! A logged block covers the bytes from the end of the block before it: comments and blank lines before its first field
//! are part of it.
//!
//! Laws:
//! 1. Eviction takes whole blocks from the front, and only blocks that are delivered to their end. Comments after the
//!    last block leave when all of them are delivered.
//! 2. Around a block that is too large to be held (up to `loose_until`) bytes leave as they are delivered, and nothing
//!    before the end of that block can be replayed.
//! 3. A logged block with an id holds one reference to it. The id of the last block that was evicted stays held
//!    (`base`), so the delivered mark's id is always held by the base or by a block.
//! 4. All heap bytes are charged to the budget. A ring grows by doubling, above [`GRANTED`] bytes only when the budget
//!    grants it. The notes on blocks are charged by force. They never take many more bytes than the ring may have
//!    ([`most_notes`]).
//! 5. The bound of events takes only blocks that are acknowledged to their end. What a reader's socket has accepted may
//!    still be on its way and get lost with the connection; it leaves for want of bytes alone.

mod leaving;

use std::collections::VecDeque;
use std::ops::Range;

use super::budget::Budget;
use super::front::first_field_in;
use super::interner::{Interner, Symbol};
use super::known::KnownIds;
use super::logged::{Kinds, LoggedBlock};
use super::ring::Ring;
use crate::base::{Span, Tick, fetch};

/// Ring bytes that every log gets, even when the budget is used up.
pub(super) const GRANTED: usize = 4096;

/// Bytes of a stream's first ring.
const FIRST_RING: usize = 256;

/// How many notes on blocks a log with a ring of at most this many bytes may have: as many as take as many bytes as the
/// ring. Where events are smaller than a note, the notes are what fills the log.
pub(super) const fn most_notes(ring: usize) -> usize {
    ring / size_of::<LoggedBlock>()
}

/// The buffer of one stream.
pub(super) struct Log {
    ring: Ring,
    /// What stays known of events when their bytes have left.
    pub(super) known: KnownIds,
    /// Larger events are known by their ids alone once they have left.
    held_bytes: u32,
    /// Blocks with ids that are held.
    with_ids: u32,
    /// The first block has lost bytes at its front: it is one around an oversize block.
    torn: bool,
    whole: u64,
    delivered: u64,
    /// Bytes before this offset have been acknowledged by the fastest reader's system.
    acknowledged: u64,
    /// Bytes before this offset need not be kept as whole blocks. `u64::MAX`: an oversize block is open.
    loose_until: u64,
    blocks: VecDeque<LoggedBlock>,
    /// Blocks evicted since the stream began, which is the number of the first block that is held.
    evicted: u64,
    /// Blocks at the front that are delivered to their end.
    done: u32,
    base: Option<Symbol>,
    /// Whether only comments lie between the event that set `base` and `start`.
    base_exact: bool,
    /// The last block that was evicted was too old.
    aged: bool,
}

impl Log {
    /// An empty log, of a stream that remembers so many of its last ids and holds events of at most `held` bytes.
    pub(super) fn new(window: usize, held: usize) -> Self {
        Self {
            ring: Ring::default(),
            known: KnownIds::new(window),
            held_bytes: u32::try_from(held).unwrap_or(u32::MAX),
            with_ids: 0,
            torn: false,
            whole: 0,
            delivered: 0,
            acknowledged: 0,
            aged: false,
            loose_until: 0,
            blocks: VecDeque::new(),
            evicted: 0,
            done: 0,
            base: None,
            base_exact: false,
        }
    }

    /// The first offset that is held.
    pub(super) fn start(&self) -> u64 {
        self.ring.start()
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// The place between two blocks that lies at `offset` or is the last before it. `None`: it has left.
    pub(super) fn boundary(&self, offset: u64) -> Option<u64> {
        if offset >= self.whole {
            return Some(self.whole);
        }
        let at = self.blocks.partition_point(|block| block.end() <= offset);
        let end = at.checked_sub(1).and_then(|before| self.blocks.get(before)).map_or(self.start(), LoggedBlock::end);
        (end <= offset).then_some(end)
    }

    /// Whether all blocks end at or before `offset`.
    pub(super) fn ends_by(&self, offset: u64) -> bool {
        self.blocks.back().is_none_or(|last| last.end() <= offset)
    }

    /// Whether what lies just before [`Log::start`] left because it was too old.
    pub(super) fn has_aged(&self) -> bool {
        self.aged
    }

    pub(super) fn end(&self) -> u64 {
        self.ring.end()
    }

    /// Bytes after `whole`.
    pub(super) fn held(&self) -> usize {
        (self.end() - self.whole) as usize
    }

    /// Blocks not delivered to their end.
    pub(super) fn undelivered(&self) -> usize {
        self.blocks.len() - self.done as usize
    }

    pub(super) fn slices(&self, range: Range<u64>) -> (&[u8], &[u8]) {
        self.ring.slices(range)
    }

    pub(super) fn byte(&self, offset: u64) -> Option<u8> {
        self.ring.byte(offset)
    }

    /// Whether two held events have the same bytes.
    pub(super) fn same(&self, a: Range<u64>, b: Range<u64>) -> bool {
        self.ring.same(a, b)
    }

    /// Bytes on the heap, as they are charged to the budget.
    pub(super) fn memory(&self) -> usize {
        self.ring.capacity() + self.blocks.capacity() * size_of::<LoggedBlock>()
    }

    /// Whether an oversize block is open: its bytes are forwarded as they come.
    pub(super) fn is_open(&self) -> bool {
        self.loose_until == u64::MAX
    }

    /// The first offset that a reader may start at; `None` while an oversize block is open.
    pub(super) fn replay_start(&self) -> Option<u64> {
        (!self.is_open()).then_some(self.start().max(self.loose_until))
    }

    /// The number of the first block that is held, counted since the stream began.
    pub(super) fn first_number(&self) -> u64 {
        self.evicted
    }

    /// The number the next block will have.
    pub(super) fn next_number(&self) -> u64 {
        self.evicted + self.blocks.len() as u64
    }

    /// The block with this number, if it is held.
    pub(super) fn logged(&self, number: u64) -> Option<&LoggedBlock> {
        self.blocks.get(usize::try_from(number.checked_sub(self.evicted)?).ok()?)
    }

    /// The bytes of the block with this number; `None` when not all of them are held.
    pub(super) fn range(&self, number: u64) -> Option<Range<u64>> {
        let end = self.logged(number)?.end();
        match number.checked_sub(1).and_then(|before| self.logged(before)) {
            Some(before) => Some(before.end()..end),
            None => (!self.torn).then(|| self.start()..end),
        }
    }

    /// Where the first field stands of a block that begins at `from` and has not ended.
    pub(super) fn first_field(&self, from: u64) -> u64 {
        first_field_in(|at| self.ring.byte(at), from..self.end())
    }

    /// The id in force at `start`, if an event of the stream set it.
    pub(super) fn base(&self) -> Option<Symbol> {
        self.base
    }

    /// The ids that can be looked for, some of them several times.
    pub(super) fn ids(&self) -> impl Iterator<Item = Symbol> {
        self.base.into_iter().chain(self.blocks.iter().filter_map(|block| block.id))
    }

    /// Where replay after this id starts, which is after the first event that carries it; and the number of that
    /// event's block.
    pub(super) fn locate(&self, id: Symbol) -> Option<(u64, u64)> {
        let first = self.replay_start()?;
        if self.base == Some(id) {
            // Where it is not exact, events after it have left, even if a later event carries the id again.
            let is_exact = self.base_exact && first == self.start();
            return is_exact.then_some((first, self.evicted.saturating_sub(1)));
        }
        let (at, block) = self.blocks.iter().enumerate().find(|(_, r)| r.id == Some(id))?;
        (block.end() >= first).then_some((block.end(), self.evicted + at as u64))
    }
}

/// Marks, and places to replay from.
impl Log {
    /// Readers begin at `offset` again: everything after it counts as undelivered.
    pub(super) fn rewind(&mut self, offset: u64) {
        self.delivered = offset.clamp(self.start(), self.delivered);
        self.acknowledged = self.acknowledged.min(self.delivered);
        self.done = self.blocks.partition_point(|block| block.end() <= self.delivered) as u32;
    }

    /// How many events end after `offset`, and the last event id at `offset`.
    pub(super) fn mark_at(&self, offset: u64) -> (u64, Option<Symbol>) {
        let at = self.blocks.partition_point(|block| block.end() <= offset);
        let after = self.blocks.iter().skip(at).filter(|block| block.is(Kinds::EVENT)).count();
        let id = self.blocks.iter().take(at).rev().find(|block| block.sets_id());
        (after as u64, id.map_or(self.base, |block| block.id))
    }

    /// How many events end after `from` and not after `to`.
    pub(super) fn events_between(&self, from: u64, to: u64) -> u64 {
        let is_event = |block: &&LoggedBlock| block.is(Kinds::EVENT);
        if to >= self.whole {
            let newest = self.blocks.iter().rev().take_while(|block| block.end() > from);
            return newest.filter(is_event).count() as u64;
        }
        let at = self.blocks.partition_point(|block| block.end() <= from);
        self.blocks.range(at..).take_while(|block| block.end() <= to).filter(is_event).count() as u64
    }

    /// The events after `from`: where the last of them ends, and where each of them ends, counted from `from`.
    pub(super) fn events_behind(&self, from: u64) -> (u64, Vec<u32>) {
        let at = self.blocks.partition_point(|block| block.end() <= from);
        let behind = self.blocks.iter().skip(at);
        let ends = behind.filter(|r| r.is(Kinds::EVENT)).map(|r| u32::try_from(r.end() - from).unwrap_or(u32::MAX));
        let ends: Vec<u32> = ends.collect();
        (from + ends.last().map_or(0, |end| u64::from(*end)), ends)
    }

    /// Where replay after event `seq` starts, when `received` events were logged in all.
    pub(super) fn locate_event(&self, seq: u64, received: u64) -> Option<u64> {
        let first = self.replay_start()?;
        let mut left = received.checked_sub(seq)?;
        for (n, block) in self.blocks.iter().enumerate().rev() {
            if left == 0 {
                return (block.end() >= first).then_some(block.end());
            }
            left -= u64::from(block.is(Kinds::EVENT));
            if left == 0 {
                let before = n.checked_sub(1).and_then(|n| self.blocks.get(n));
                let after = before.map_or(self.start(), LoggedBlock::end);
                return (after >= first).then_some(after);
            }
        }
        // No block is held: everything was evicted, so replay starts at the end.
        (left == 0 && self.blocks.is_empty()).then_some(self.whole.max(first))
    }
}

/// Bytes and blocks come in.
impl Log {
    /// Fetches the memory that the next event will touch, that of the block which leaves for it included.
    #[inline]
    pub(super) fn warm(&self) {
        self.ring.warm();
        fetch(self.blocks.front());
        fetch(self.blocks.back());
    }

    /// Sets the id that the stream begins after; takes over one reference.
    pub(super) fn set_base(&mut self, id: Option<Symbol>, interner: &mut Interner) {
        if let Some(old) = std::mem::replace(&mut self.base, id) {
            interner.release_later(old);
        }
        self.base_exact = id.is_some();
    }

    /// How many bytes fit, once the log has grown as far as it may and evicted what it may. When the log is at its
    /// bound, undelivered bytes fill at most half of it: the other half keeps what is on its way to a reader, who may
    /// come back for it.
    pub(super) fn room(&self, limit: usize, budget: &Budget) -> usize {
        let capacity = self.reachable(limit, budget.left());
        let room = capacity.saturating_sub((self.end() - self.floor()) as usize);
        let waits = (self.whole - self.delivered) as usize;
        if capacity < limit || waits == 0 { room } else { room.min((limit / 2).saturating_sub(waits)) }
    }

    /// Makes room for `n` bytes: grows; or else evicts; or else grows above the bound, which happens only when the
    /// caller brings more bytes than [`Log::room`] said.
    pub(super) fn reserve(&mut self, n: usize, limit: usize, budget: &mut Budget, interner: &mut Interner) {
        loop {
            let need = self.ring.len() + n;
            if need <= self.ring.capacity() {
                return;
            }
            if self.grow(need, limit, budget) || self.evict_one(interner) {
                continue;
            }
            let capacity = need.next_power_of_two();
            budget.force_take(capacity - self.ring.capacity());
            self.ring.resize(capacity);
        }
    }

    /// Appends bytes for which room was made.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.ring.append(bytes);
    }

    /// Forgets the bytes from `end` on; readers are never given them.
    pub(super) fn truncate(&mut self, end: u64) {
        debug_assert!(end >= self.whole);
        self.ring.truncate(end);
    }

    /// Lets readers have the bytes before `offset`. An oversize block ends here.
    pub(super) fn set_whole(&mut self, offset: u64) {
        debug_assert!(offset >= self.whole);
        self.whole = offset;
        if self.is_open() {
            self.loose_until = offset;
        }
    }

    /// Lets readers have the bytes of a block that has not ended, from now until it ends.
    pub(super) fn open(&mut self) {
        self.loose_until = u64::MAX;
        self.base_exact = false;
        self.whole = self.end();
    }

    /// Lets readers have the bytes of the open block that came since.
    pub(super) fn extend_open(&mut self) {
        self.whole = self.end();
    }

    /// Notes that a block ends; takes over one reference to its id. The bytes of the block may be appended after this,
    /// within the same call of the tracker.
    pub(super) fn push(&mut self, block: LoggedBlock, budget: &mut Budget) {
        let before = self.blocks.capacity();
        if self.blocks.len() == self.blocks.capacity() {
            // Doubles, but begins with one: of many quiet streams, most hold one event.
            self.blocks.reserve_exact(self.blocks.len().max(1));
        }
        self.blocks.push_back(if self.is_open() { block.large() } else { block });
        self.with_ids += u32::from(block.id.is_some());
        let after = self.blocks.capacity();
        if after > before {
            budget.force_take((after - before) * size_of::<LoggedBlock>());
        }
        self.set_whole(block.end());
    }

    fn grow(&mut self, need: usize, limit: usize, budget: &mut Budget) -> bool {
        let now = self.ring.capacity();
        let mut want = need.next_power_of_two().max(FIRST_RING).min(limit);
        while want > now {
            let granted = if want <= GRANTED {
                budget.force_take(want - now);
                true
            } else {
                budget.try_take(want - now)
            };
            if granted {
                self.ring.resize(want);
                return true;
            }
            want /= 2;
        }
        false
    }

    fn reachable(&self, limit: usize, left: usize) -> usize {
        let now = self.ring.capacity();
        let affordable = match now.saturating_add(left) {
            0 => 0,
            n => 1 << n.ilog2(),
        };
        affordable.max(GRANTED).min(limit).max(now)
    }
}

/// Bytes and blocks leave.
impl Log {
    /// Moves the delivered offset, never back.
    pub(super) fn advance(&mut self, offset: u64) {
        self.delivered = self.delivered.max(offset.min(self.whole));
        while self.blocks.get(self.done as usize).is_some_and(|block| block.end() <= self.delivered) {
            self.done += 1;
        }
    }

    /// Moves the acknowledged offset, never back, nor past the delivered one.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        self.acknowledged = self.acknowledged.max(offset.min(self.delivered));
    }

    /// Evicts acknowledged blocks beyond `events`, delivered ones beyond `notes`, and everything up to the end of an
    /// oversize block that is delivered.
    pub(super) fn evict_beyond(&mut self, events: usize, notes: usize, interner: &mut Interner) {
        while self.blocks.len() > events
            && self.done > 0
            && (self.blocks.len() > notes || self.blocks.front().is_some_and(|r| r.end() <= self.acknowledged))
        {
            self.evict_one(interner);
        }
        if self.loose_until > 0 && self.loose_until <= self.delivered {
            while self.start() < self.loose_until && self.evict_one(interner) {}
            self.loose_until = 0;
        }
    }

    /// Evicts delivered blocks older than `age`.
    pub(super) fn evict_older(&mut self, now: Tick, age: Span, interner: &mut Interner) {
        while self.has_old(now, age) {
            self.evict_one(interner);
            self.aged = true;
        }
        if self.blocks.is_empty() {
            self.evict_one(interner);
        }
    }

    /// Whether the first block is delivered and older than `age`.
    #[inline]
    pub(super) fn has_old(&self, now: Tick, age: Span) -> bool {
        self.done > 0 && self.blocks.front().is_some_and(|r| r.is_older(now, age))
    }

    /// Evicts delivered blocks until the log fits into `keep` bytes, and shrinks it. Returns the heap bytes given back.
    pub(super) fn trim(&mut self, keep: usize, budget: &mut Budget, interner: &mut Interner) -> usize {
        // A quarter is for the notes on blocks, since there are many of them where events are small.
        let blocks = keep / 4 / size_of::<LoggedBlock>();
        let bytes = keep - keep / 4;
        let goal = if bytes < FIRST_RING { 0 } else { 1 << bytes.ilog2() };
        while (self.ring.len() > goal || self.blocks.len() > blocks) && self.evict_one(interner) {}
        let before = self.memory();
        self.blocks.shrink_to(blocks);
        let given = before - self.memory();
        budget.give(given);
        given + self.shrink(goal, budget)
    }

    /// Gives memory back when the ring is mostly empty. Returns the heap bytes given back.
    pub(super) fn shrink_idle(&mut self, budget: &mut Budget) -> usize {
        if self.ring.len() > self.ring.capacity() / 4 {
            return 0;
        }
        self.shrink(self.ring.len() * 2, budget)
    }

    /// Gives back all ids and bytes.
    pub(super) fn release(&mut self, budget: &mut Budget, interner: &mut Interner) {
        for id in self.blocks.iter().filter_map(|r| r.id).chain(self.base) {
            interner.release(id);
        }
        budget.give(self.memory());
        self.known.release(interner);
        let known = std::mem::replace(&mut self.known, KnownIds::new(1));
        *self = Self { known, ..Self::new(1, self.held_bytes as usize) };
    }

    /// Laws that hold between any two calls of the tracker. Checked in tests and debug builds.
    pub(super) fn check(&self) {
        debug_assert!(self.start() <= self.delivered && self.delivered <= self.whole && self.whole <= self.end());
        debug_assert!(self.acknowledged <= self.delivered);
        debug_assert!(self.ring.len() <= self.ring.capacity());
        debug_assert!(self.done as usize <= self.blocks.len());
        debug_assert!(self.blocks.back().is_none_or(|last| last.end() <= self.whole));
        let done = self.done as usize;
        debug_assert!(done == 0 || self.blocks.get(done - 1).is_some_and(|r| r.end() <= self.delivered));
        debug_assert!(self.blocks.get(done).is_none_or(|r| r.end() > self.delivered));
    }

    /// The offset that eviction can move `start` to: law 1 and law 2.
    fn floor(&self) -> u64 {
        let mut floor = match (self.done as usize).checked_sub(1).and_then(|last| self.blocks.get(last)) {
            Some(block) => block.end(),
            None => self.start(),
        };
        if self.undelivered() == 0 && self.delivered == self.whole {
            floor = self.whole;
        }
        floor.max(self.delivered.min(self.loose_until))
    }

    fn evict_one(&mut self, interner: &mut Interner) -> bool {
        if self.done > 0
            && let Some(block) = self.blocks.front().copied()
        {
            if let Some(id) = block.id {
                self.note_left(id, interner);
            }
            self.blocks.pop_front();
            self.done -= 1;
            self.evicted += 1;
            self.torn = false;
            self.aged = false;
            self.ring.forget(block.end());
            if block.sets_id() {
                self.set_base(block.id, interner);
            } else if block.is(Kinds::EVENT | Kinds::GAP) {
                self.base_exact = false;
            }
            return true;
        }
        let (start, floor) = (self.start(), self.floor());
        self.ring.forget(floor);
        self.torn |= floor > start && (self.is_open() || !self.blocks.is_empty());
        floor > start
    }

    fn shrink(&mut self, goal: usize, budget: &mut Budget) -> usize {
        let before = self.memory();
        let least = match self.ring.len().max(goal) {
            0 => 0,
            n => n.next_power_of_two().max(FIRST_RING),
        };
        if least < self.ring.capacity() {
            self.ring.resize(least);
        }
        if self.blocks.len() * 4 <= self.blocks.capacity() {
            self.blocks.shrink_to(self.blocks.len() * 2);
        }
        let given = before - self.memory();
        budget.give(given);
        given
    }
}
