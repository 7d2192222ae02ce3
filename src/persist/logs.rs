//! Log blocks on their way to the store: a bounded queue, and what is tried again.
//!
//! In: blocks, and removals of logs, from the reactor. Out: batches, in the order in which they came.
//! Where logs are shared, blocks of one stream that come together and follow each other become one.
//! What is meant for a part of the store that is away is held back, and holds up nothing that is meant for others.
//! Laws: the blocks of one stream reach the store in their order, and none after the removal of its log; the bytes on
//! their way are bounded; a block that finds no place is refused, and the next one of its stream states the hole. What
//! is held back has at most half of the bytes: the oldest blocks of it are dropped.

use crate::base::{Span, StreamName, Tick};
use crate::store::{LogBlock, LogWrite};
use crate::sync::Counter;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The most items on their way; and the fewest places that a queue has, since removals cost no bytes.
const BLOCKS: usize = 8_192;
const REMOVALS: usize = 64;

/// Items of one batch.
const BATCH: usize = 2_048;

/// What became of an item of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is stored.
    Written,
    /// It is tried again.
    Failed,
    /// The part of the store that it is meant for is away.
    PartAway,
    /// The store is full of logs: the item is dropped.
    NoPlace,
    /// The log belongs to another process: the item is dropped.
    Fenced,
}

/// The end that takes items in.
#[derive(Clone, Debug)]
pub(super) struct LogSender {
    queue: Sender<LogWrite>,
    bytes: Arc<Counter>,
    limit: u64,
}

/// The end that gives them out, one batch at a time.
pub(super) struct LogQueue {
    queue: Receiver<LogWrite>,
    bytes: Arc<Counter>,
    /// The batch that the store has.
    batch: Vec<LogWrite>,
    again: VecDeque<LogWrite>,
    /// Leases to be kept alive. What fails of them is not tried again: there will be others.
    holds: VecDeque<LogWrite>,
    /// What is meant for a part of the store that is away.
    held: Held,
    /// The most bytes on their way.
    limit: u64,
}

/// A queue for at most this many bytes, with no more places than blocks of so many bytes could fill.
pub(super) fn queue(bytes: usize) -> (LogSender, LogQueue) {
    let (sender, receiver) = bounded((bytes / size_of::<LogBlock>()).clamp(REMOVALS, BLOCKS));
    let used = Arc::new(Counter::default());
    let queue = LogQueue {
        queue: receiver,
        bytes: Arc::clone(&used),
        batch: Vec::new(),
        again: VecDeque::new(),
        holds: VecDeque::new(),
        held: Held::default(),
        limit: bytes as u64,
    };
    (LogSender { queue: sender, bytes: used, limit: bytes as u64 }, queue)
}

impl LogSender {
    /// Takes an item in, or refuses it. Never waits.
    pub(super) fn push(&self, write: LogWrite) -> bool {
        let bytes = write.bytes() as u64;
        if self.bytes.get().saturating_add(bytes) > self.limit {
            return false;
        }
        self.bytes.add(bytes);
        let pushed = self.queue.try_send(write).is_ok();
        if !pushed {
            self.bytes.take(bytes);
        }
        pushed
    }
}

impl LogQueue {
    /// The next batch. Where the last one failed as a whole, its items come again first.
    pub(super) fn next_batch(&mut self) -> &mut [LogWrite] {
        while self.batch.len() < BATCH
            && let Some(write) = self.again.pop_front()
        {
            self.batch.push(write);
        }
        // What was tried before stays as it was, since a part of it may be stored.
        let (fresh, mut merging) = (self.batch.len(), Merging::default());
        while self.batch.len() < BATCH
            && let Ok(write) = self.queue.try_recv()
        {
            match self.held.has(write.name()) {
                true => self.held.add(write),
                false => merging.add(write, &mut self.batch),
            }
        }
        self.bytes.take(self.held.shrink(self.limit / 2));
        self.bytes.take(merging.finish(&mut self.batch, fresh));
        while self.batch.len() < BATCH
            && let Some(write) = self.holds.pop_front()
        {
            self.batch.push(write);
        }
        &mut self.batch
    }

    /// Leases to be kept alive, in place of those before them.
    pub(super) fn hold(&mut self, holds: Vec<LogWrite>) {
        self.holds = holds.into();
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_more() && self.held.is_empty()
    }

    /// Whether anything waits that is not held back.
    pub(super) fn has_more(&self) -> bool {
        !(self.batch.is_empty() && self.again.is_empty() && self.holds.is_empty() && self.queue.is_empty())
    }

    /// Whether anything is held back.
    pub(super) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// Has what is held back tried again, if there is a reason to, or it was not tried for long.
    pub(super) fn retry_held(&mut self, has_recovered: bool, now: Tick) {
        if has_recovered || self.held.due <= now {
            self.again.extend(self.held.take());
            self.held.due = now + HELD_FOR;
        }
    }

    /// The store has answered for the batch, item by item. Items that failed are tried again, in their order. But where
    /// a later item of the same stream was written already, the failed one is dropped: after a removal it would bring a
    /// dead log back, after a later block it would stand in the wrong place. Returns how many blocks were dropped.
    pub(super) fn on_written(&mut self, fates: impl Iterator<Item = Fate>) -> u64 {
        let mut fates = fates.collect::<Vec<_>>();
        fates.resize(self.batch.len(), Fate::Failed);
        let overtaken = self.overtaken(&fates);
        let mut dropped = std::mem::take(&mut self.held.dropped);
        for (at, (write, fate)) in self.batch.drain(..).zip(fates).enumerate() {
            // A lease that is to be kept alive is looked at again soon; one that is given up must be given up.
            let is_hold = matches!(&write, LogWrite::Hold { claim, .. } if claim.lease_ms > 0);
            let is_failed = matches!(fate, Fate::Failed | Fate::PartAway) && !is_hold && !overtaken.contains(&at);
            if is_failed && (fate == Fate::PartAway || self.held.has(write.name())) {
                self.held.add(write);
                continue;
            }
            if is_failed {
                self.again.push_back(write);
                continue;
            }
            self.bytes.take(write.bytes() as u64);
            dropped +=
                u64::from(!matches!(fate, Fate::Written | Fate::Fenced) && matches!(write, LogWrite::Append { .. }));
        }
        dropped
    }

    /// The places in the batch of items that failed while a later item of their stream was written.
    fn overtaken(&self, fates: &[Fate]) -> HashSet<usize> {
        let mut places = HashSet::new();
        let has_failed = fates.contains(&Fate::Failed) || fates.contains(&Fate::PartAway);
        if !has_failed || !fates.contains(&Fate::Written) {
            return places;
        }
        let mut later = HashSet::new();
        for (at, (write, fate)) in self.batch.iter().zip(fates).enumerate().rev() {
            match fate {
                // A hold stands in no order with blocks.
                Fate::Written if matches!(write, LogWrite::Hold { .. }) => {}
                Fate::Written => _ = later.insert(&**write.name()),
                Fate::Failed | Fate::PartAway if later.contains(&**write.name()) => _ = places.insert(at),
                Fate::Failed | Fate::PartAway | Fate::NoPlace | Fate::Fenced => {}
            }
        }
        places
    }
}

/// How long what is held back waits at most until it is tried again.
const HELD_FOR: Span = Span::from_secs(1);

/// What is meant for a part of the store that is away, in the order in which it came.
#[derive(Default)]
struct Held {
    items: VecDeque<LogWrite>,
    /// How many items each log has here.
    names: HashMap<Arc<StreamName>, usize>,
    bytes: u64,
    /// Blocks that were dropped, and not counted yet.
    dropped: u64,
    due: Tick,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether anything of this log is held back: then what comes behind it is, too.
    fn has(&self, name: &Arc<StreamName>) -> bool {
        !self.names.is_empty() && self.names.contains_key(name)
    }

    fn add(&mut self, write: LogWrite) {
        self.bytes += write.bytes() as u64;
        *self.names.entry(Arc::clone(write.name())).or_default() += 1;
        self.items.push_back(write);
    }

    fn take(&mut self) -> VecDeque<LogWrite> {
        self.names.clear();
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }

    /// Drops the oldest items until there are no more bytes than this. How many bytes went.
    fn shrink(&mut self, most: u64) -> u64 {
        let before = self.bytes;
        while self.bytes > most
            && let Some(write) = self.items.pop_front()
        {
            self.bytes -= write.bytes() as u64;
            self.dropped += u64::from(matches!(write, LogWrite::Append { .. }));
            if let Some(count) = self.names.get_mut(write.name()) {
                *count -= 1;
                if *count == 0 {
                    self.names.remove(write.name());
                }
            }
        }
        before - self.bytes
    }
}

/// The most bytes of blocks that become one.
const MERGED: usize = 64 << 10;

/// Blocks of shared logs that become one with the block before them, by the place of that one in the batch.
#[derive(Default)]
struct Merging {
    /// The place of the last append of each log, the number behind it, and its bytes.
    ends: HashMap<Arc<StreamName>, (usize, u64, usize)>,
    more: HashMap<usize, Vec<LogWrite>>,
}

impl Merging {
    /// Takes an item in: into the batch, or beside one that is there.
    fn add(&mut self, write: LogWrite, batch: &mut Vec<LogWrite>) {
        let LogWrite::Append { name, block, claim: Some(claim), .. } = &write else {
            self.ends.remove(write.name());
            batch.push(write);
            return;
        };
        let (next, bytes) = (block.first + block.ends.len() as u64, block.bytes.len());
        if let Some((at, end, held)) = self.ends.get_mut(name)
            && *end == block.first
            && !block.hole
            && claim.seen.is_none()
            && *held + bytes <= MERGED
        {
            (*end, *held) = (next, *held + bytes);
            self.more.entry(*at).or_default().push(write);
            return;
        }
        self.ends.insert(Arc::clone(name), (batch.len(), next, bytes));
        batch.push(write);
    }

    /// Makes one block of each that has others beside it. Returns how many bytes fewer all of them take.
    fn finish(self, batch: &mut [LogWrite], from: usize) -> u64 {
        let mut saved = 0;
        for (at, more) in self.more {
            let Some(LogWrite::Append { block, meta, .. }) = batch.get_mut(at).filter(|_| at >= from) else { continue };
            let (mut bytes, mut ends) = (block.bytes.to_vec(), block.ends.to_vec());
            let mut at_ms = block.at_ms;
            for write in more {
                let LogWrite::Append { block: next, meta: newer, .. } = write else { continue };
                let before = bytes.len() as u32;
                ends.extend(next.ends.iter().map(|end| before + end));
                bytes.extend_from_slice(&next.bytes);
                (*meta, at_ms) = (newer, next.at_ms);
                saved += size_of::<LogBlock>() as u64;
            }
            let (first, hole) = (block.first, block.hole);
            *block = Arc::new(LogBlock { first, at_ms, bytes: bytes.into(), ends: ends.into(), hole });
        }
        saved
    }
}

#[cfg(test)]
mod tests;
