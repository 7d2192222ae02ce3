//! Log blocks on their way to the store: a bounded queue, and what is tried again.
//!
//! In: blocks from the reactor. Out: batches in the order they came.
//! Laws: blocks of one stream reach the store in their order, and none behind the removal of its log; the bytes on their way are bounded, and a block that
//! finds no place is refused, so that the next one of its stream states the hole.

use crate::store::{LogBlock, LogWrite};
use crate::sync::Counter;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Blocks on their way at most, and removals, which cost no bytes, at least.
const BLOCKS: usize = 8_192;
const REMOVALS: usize = 64;

/// Blocks of one batch.
const BATCH: usize = 2_048;

/// What became of an item of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is stored.
    Written,
    /// It is tried again.
    Failed,
    /// The store holds as many logs as it may: it is dropped.
    NoPlace,
}

/// Takes blocks in.
#[derive(Clone, Debug)]
pub(super) struct LogSender {
    queue: Sender<LogWrite>,
    bytes: Arc<Counter>,
    limit: u64,
}

/// Gives them out.
pub(super) struct LogQueue {
    queue: Receiver<LogWrite>,
    bytes: Arc<Counter>,
    /// Taken off the queue and not acknowledged yet.
    batch: Vec<LogWrite>,
    again: VecDeque<LogWrite>,
}

/// A queue for at most so many bytes, and no more places than that many could fill.
pub(super) fn queue(bytes: usize) -> (LogSender, LogQueue) {
    let (sender, receiver) = bounded((bytes / size_of::<LogBlock>()).clamp(REMOVALS, BLOCKS));
    let used = Arc::new(Counter::default());
    let queue = LogQueue { queue: receiver, bytes: Arc::clone(&used), batch: Vec::new(), again: VecDeque::new() };
    (LogSender { queue: sender, bytes: used, limit: bytes as u64 }, queue)
}

impl LogSender {
    /// Takes a block in, or refuses it. Never waits.
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
    /// The next batch; the same one again after it failed.
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

    /// The batch was written, item by item as told; the others stay, in their order. But a block behind which its stream
    /// was already given something is dropped: behind a removal it would bring a dead log back, behind a later block it
    /// would stand in the wrong place. Gives how many blocks were dropped.
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

    /// The places of what failed in front of something of the same stream that was written.
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
mod tests {
    use super::Fate::{Failed, NoPlace, Written};
    use super::*;
    use crate::base::StreamName;
    use crate::store::LogBounds;

    fn block(first: u64, bytes: usize) -> LogWrite {
        let name = Arc::new(StreamName { session: b"s"[..].into(), stream: 1 });
        let block = LogBlock { first, at_ms: 0, bytes: vec![0; bytes].into(), ends: Box::default(), hole: false };
        let bounds = LogBounds { events: 1, bytes: 1, age_ms: 1 };
        LogWrite::Append { name, block: Arc::new(block), meta: Arc::from([]), bounds }
    }

    fn firsts(batch: &[LogWrite]) -> Vec<u64> {
        let first = |write: &LogWrite| if let LogWrite::Append { block, .. } = write { block.first } else { 0 };
        batch.iter().map(first).collect()
    }

    #[test]
    fn what_failed_comes_again_before_what_is_new() {
        let (sender, mut queue) = queue(10_000);
        (1..4).for_each(|n| assert!(sender.push(block(n, 10))));
        assert_eq!(firsts(queue.next_batch()), [1, 2, 3]);
        queue.on_written([Written, Failed, Failed].into_iter());
        assert!(!queue.is_empty());
        sender.push(block(4, 10));
        assert_eq!(firsts(queue.next_batch()), [2, 3, 4]);
        queue.on_written([Written; 3].into_iter());
        assert!(queue.is_empty());
    }

    #[test]
    fn what_failed_does_not_come_behind_what_its_stream_was_given_later() {
        let (sender, mut queue) = queue(10_000);
        let remove = |stream| LogWrite::Remove { name: Arc::new(StreamName { session: b"s"[..].into(), stream }) };
        assert!(sender.push(block(1, 10)) && sender.push(remove(2)) && sender.push(block(2, 10)));
        queue.next_batch();
        assert_eq!(queue.on_written([Failed, Written, Written].into_iter()), 1);
        assert_eq!((firsts(queue.next_batch()), queue.bytes.get()), (vec![], 0));
        assert!(sender.push(block(3, 10)) && sender.push(remove(2)) && sender.push(remove(1)));
        queue.next_batch();
        queue.on_written([Failed, Failed, Written].into_iter());
        assert_eq!(queue.next_batch(), [remove(2)]);
    }

    #[test]
    fn what_a_full_store_has_no_place_for_keeps_nothing_waiting() {
        let (sender, mut queue) = queue(10_000);
        assert!(sender.push(block(1, 10)) && sender.push(block(2, 10)));
        queue.next_batch();
        assert_eq!(queue.on_written([NoPlace, NoPlace].into_iter()), 2);
        assert_eq!((queue.is_empty(), queue.bytes.get()), (true, 0));
    }

    #[test]
    fn what_costs_no_bytes_is_bounded_too_and_comes_in_batches() {
        let remove = |stream| LogWrite::Remove { name: Arc::new(StreamName { session: b"s"[..].into(), stream }) };
        let (sender, _queue) = queue(0);
        let taken = (0..1_000).filter(|n| sender.push(remove(*n))).count();
        assert_eq!((taken, sender.bytes.get()), (REMOVALS, 0));
        let (sender, mut queue) = queue(1 << 30);
        let taken = (0..10_000).filter(|n| sender.push(remove(*n))).count();
        assert_eq!((taken, queue.next_batch().len()), (BLOCKS, BATCH));
        queue.on_written([Written; BATCH].into_iter());
        assert_eq!((queue.next_batch().len(), &queue.next_batch()[0]), (BATCH, &remove(BATCH as u64)));
    }

    #[test]
    fn bytes_on_their_way_are_bounded_until_they_are_written() {
        let (sender, mut queue) = queue(500);
        assert!(sender.push(block(1, 300)) && !sender.push(block(2, 300)));
        queue.next_batch();
        assert!(!sender.push(block(2, 300)));
        queue.on_written([Written].into_iter());
        assert!(sender.push(block(2, 300)));
    }
}
