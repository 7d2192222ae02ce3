//! Log blocks on their way to the store: a bounded queue, and what is tried again.
//!
//! In: blocks, and removals of logs, from the reactor. Out: batches, in the order in which they came.
//! Laws: the blocks of one stream reach the store in their order, and none after the removal of its log; the bytes on
//! their way are bounded; a block that finds no place is refused, and the next one of its stream states the hole.

use crate::store::{LogBlock, LogWrite};
use crate::sync::Counter;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashSet, VecDeque};
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
    /// The store is full of logs: the item is dropped.
    NoPlace,
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
}

/// A queue for at most this many bytes, with no more places than blocks of so many bytes could fill.
pub(super) fn queue(bytes: usize) -> (LogSender, LogQueue) {
    let (sender, receiver) = bounded((bytes / size_of::<LogBlock>()).clamp(REMOVALS, BLOCKS));
    let used = Arc::new(Counter::default());
    let queue = LogQueue { queue: receiver, bytes: Arc::clone(&used), batch: Vec::new(), again: VecDeque::new() };
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
    pub(super) fn next_batch(&mut self) -> &[LogWrite] {
        while self.batch.len() < BATCH
            && let Some(write) = self.again.pop_front().or_else(|| self.queue.try_recv().ok())
        {
            self.batch.push(write);
        }
        &self.batch
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.again.is_empty() && self.queue.is_empty()
    }

    /// The store has answered for the batch, item by item. Items that failed are tried again, in their order. But where
    /// a later item of the same stream was written already, the failed one is dropped: after a removal it would bring a
    /// dead log back, after a later block it would stand in the wrong place. Returns how many blocks were dropped.
    pub(super) fn on_written(&mut self, fates: impl Iterator<Item = Fate>) -> u64 {
        let mut fates = fates.collect::<Vec<_>>();
        fates.resize(self.batch.len(), Fate::Failed);
        let overtaken = self.overtaken(&fates);
        let mut dropped = 0;
        for (at, (write, fate)) in self.batch.drain(..).zip(fates).enumerate() {
            if fate == Fate::Failed && !overtaken.contains(&at) {
                self.again.push_back(write);
                continue;
            }
            self.bytes.take(write.bytes() as u64);
            dropped += u64::from(fate != Fate::Written && matches!(write, LogWrite::Append { .. }));
        }
        dropped
    }

    /// The places in the batch of items that failed while a later item of their stream was written.
    fn overtaken(&self, fates: &[Fate]) -> HashSet<usize> {
        let mut places = HashSet::new();
        if !fates.contains(&Fate::Failed) || !fates.contains(&Fate::Written) {
            return places;
        }
        let mut later = HashSet::new();
        for (at, (write, fate)) in self.batch.iter().zip(fates).enumerate().rev() {
            match fate {
                Fate::Written => _ = later.insert(&**write.name()),
                Fate::Failed if later.contains(&**write.name()) => _ = places.insert(at),
                Fate::Failed | Fate::NoPlace => {}
            }
        }
        places
    }
}

#[cfg(test)]
mod tests;
