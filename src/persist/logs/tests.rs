//! The queue of log blocks: its order, its bounds, what is tried again.

use super::Fate::{Failed, Fenced, NoPlace, PartAway, Written};
use super::*;
use crate::base::{StreamName, Tick};
use crate::store::{Claim, LogBounds};

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

/// A block of the stream with this number.
fn block_of(stream: u64, first: u64, bytes: usize) -> LogWrite {
    let LogWrite::Append { block, meta, bounds, claim, .. } = block(first, bytes) else { unreachable!() };
    let name = Arc::new(StreamName { session: b"s"[..].into(), stream });
    LogWrite::Append { name, block, meta, bounds, claim }
}

#[test]
fn what_is_meant_for_a_part_that_is_away_holds_up_nothing_and_keeps_its_order() {
    let (sender, mut queue) = queue(10_000);
    let at = Tick::from_millis;
    assert!([block_of(1, 1, 10), block_of(2, 2, 10), block_of(1, 3, 10)].into_iter().all(|block| sender.push(block)));
    assert_eq!(firsts(queue.next_batch()), [1, 2, 3]);
    // The second block of the first stream fails for another reason: it must not come before the first one.
    queue.on_written([PartAway, Written, Failed].into_iter());
    assert!(sender.push(block_of(1, 4, 10)) && sender.push(block_of(2, 5, 10)));
    assert_eq!(firsts(queue.next_batch()), [5]);
    queue.on_written([Written].into_iter());
    assert!(!queue.is_empty() && !queue.has_more() && queue.holds_back());
    queue.retry_held(true, at(10));
    assert_eq!(firsts(queue.next_batch()), [1, 3, 4]);
    queue.on_written([PartAway; 3].into_iter());
    queue.retry_held(false, at(1_000));
    assert!(!queue.has_more(), "it was tried just before");
    queue.retry_held(false, at(1_010));
    assert_eq!(firsts(queue.next_batch()), [1, 3, 4]);
    queue.on_written([Written; 3].into_iter());
    assert_eq!((queue.is_empty(), queue.bytes.get()), (true, 0));
}

#[test]
fn what_is_held_back_leaves_half_of_the_bytes_to_others() {
    let (sender, mut queue) = queue(4_000);
    let mut dropped = 0;
    for n in 0..100 {
        assert!(sender.push(block_of(1, n, 100)), "{n}");
        let count = queue.next_batch().len();
        dropped += queue.on_written(std::iter::repeat_n(PartAway, count));
        queue.next_batch();
        dropped += queue.on_written(std::iter::empty());
        assert!(queue.bytes.get() <= 2_000 + 1_000, "{}", queue.bytes.get());
        assert!(sender.push(block_of(2, n, 100)));
        assert_eq!(firsts(queue.next_batch()), [n]);
        queue.on_written([Written].into_iter());
    }
    queue.retry_held(true, Tick::ZERO);
    let left = firsts(queue.next_batch());
    assert_eq!((left.len() as u64 + dropped, left.last()), (100, Some(&99)));
    queue.on_written(std::iter::repeat_n(Written, left.len()));
    assert_eq!((queue.is_empty(), queue.bytes.get()), (true, 0));
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
fn blocks_of_a_shared_log_that_follow_each_other_become_one_unless_they_were_tried_before() {
    let (sender, mut queue) = queue(100_000);
    let part = |stream, first, bytes, seen, hole| {
        let name = Arc::new(StreamName { session: b"s"[..].into(), stream });
        let block = Arc::new(LogBlock {
            first,
            at_ms: first,
            bytes: vec![b'x'; bytes].into(),
            ends: [bytes as u32].into(),
            hole,
        });
        let bounds = LogBounds { events: 1, bytes: 1, age_ms: 1 };
        let claim = Some(Claim { owner: 0, seen, lease_ms: 1 });
        LogWrite::Append { name, block, meta: Arc::from(first.to_string().as_bytes()), bounds, claim }
    };
    let shape = |batch: &[LogWrite]| -> Vec<(u64, u64, Vec<u32>, usize)> {
        let of = |write: &LogWrite| match write {
            LogWrite::Append { name, block, .. } => (name.stream, block.first, block.ends.to_vec(), block.bytes.len()),
            other => (other.name().stream, 0, Vec::new(), 0),
        };
        batch.iter().map(of).collect()
    };
    for write in [
        part(1, 1, 10, Some(0), false),
        part(2, 1, 7, Some(0), false),
        part(1, 2, 5, None, false),
        part(1, 3, 5, None, false),
        // A hole, a claim, a jump, and what would be too much begin a block of their own.
        part(1, 4, 5, None, true),
        part(1, 5, 5, Some(1), false),
        part(1, 7, 5, None, false),
        part(1, 8, MERGED, None, false),
    ] {
        assert!(sender.push(write));
    }
    let expected = [
        (1, 1, vec![10, 15, 20], 20),
        (2, 1, vec![7], 7),
        (1, 4, vec![5], 5),
        (1, 5, vec![5], 5),
        (1, 7, vec![5], 5),
        (1, 8, vec![MERGED as u32], MERGED),
    ];
    assert_eq!(shape(queue.next_batch()), expected);
    let LogWrite::Append { meta, claim, .. } = &queue.batch[0] else { panic!("no block") };
    assert_eq!((&**meta, claim.unwrap().seen), (&b"3"[..], Some(0)));
    queue.on_written([Failed, Failed, Written, Written, Written, Written].into_iter());
    assert!(sender.push(part(2, 2, 3, None, false)) && sender.push(part(2, 3, 3, None, false)));
    assert_eq!(shape(queue.next_batch())[..], [(2, 1, vec![7], 7), (2, 2, vec![3, 6], 6)]);
    queue.on_written([Written, Fenced].into_iter());
    assert_eq!((queue.is_empty(), queue.bytes.get()), (true, 0));
}

#[test]
fn a_hold_that_failed_is_not_tried_again() {
    let (_sender, mut queue) = queue(0);
    let name = Arc::new(StreamName { session: b"s"[..].into(), stream: 1 });
    queue.hold(vec![LogWrite::Hold { name, claim: Claim { owner: 1, seen: None, lease_ms: 1 } }]);
    assert_eq!((queue.is_empty(), queue.next_batch().len()), (false, 1));
    assert_eq!((queue.on_written([Failed].into_iter()), queue.is_empty()), (0, true));
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
