//! The queue of log blocks: its order, its bounds, what is tried again.

use super::Fate::{Failed, NoPlace, Written};
use super::*;
use crate::base::StreamName;
use crate::store::LogBounds;

fn block(first: u64, bytes: usize) -> LogWrite {
    let name = Arc::new(StreamName { session: b"s"[..].into(), stream: 1 });
    let block = LogBlock { first, at_ms: 0, bytes: vec![0; bytes].into(), ends: Box::default(), hole: false };
    let bounds = LogBounds { events: 1, bytes: 1, age_ms: 1 };
    LogWrite::Append { name, block: Arc::new(block), meta: Arc::from([]), bounds, claim: None }
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
    let remove =
        |stream| LogWrite::Remove { name: Arc::new(StreamName { session: b"s"[..].into(), stream }), claim: None };
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
    let remove =
        |stream| LogWrite::Remove { name: Arc::new(StreamName { session: b"s"[..].into(), stream }), claim: None };
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
