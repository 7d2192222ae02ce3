//! What the worker does with a store that refuses, hangs or forgets to answer, and with processes that die.

use super::world::{Store, World, name, world};
use crate::base::{EventId, Random, Span};
use crate::persist::WorkerConfig;
use crate::store::{MemoryStore, SessionStore};

#[test]
fn a_retry_writes_what_is_newest() {
    let mut w = world(1);
    w.mode = Store::Refuses;
    w.publish(0);
    w.pass(Span::from_millis(120));
    w.publish(0);
    w.publish(0);
    w.mode = Store::Works;
    w.pass(Span::from_secs(11));
    assert_eq!((w.stored(0), w.life.worker.stats().cursor_records), (3, 1));
}

#[test]
fn items_that_fail_are_tried_again_alone() {
    let mut w = world(3);
    (0..3).for_each(|at| w.publish(at));
    w.mode = Store::FailsSome;
    w.pass(Span::from_millis(110));
    w.mode = Store::Works;
    w.pass(Span::from_secs(11));
    assert_eq!((w.life.batches.clone(), w.stored(2)), (vec![3, 1], 1));
}

#[test]
fn an_open_breaker_asks_with_small_batches_and_closes_with_the_first_that_works() {
    let mut w = world(200);
    w.mode = Store::Refuses;
    (0..200).for_each(|at| w.publish(at));
    w.pass(Span::from_secs(30));
    assert!(w.life.worker.is_breaker_open());
    let tries = w.life.batches.len();
    assert!(tries < 45 && w.life.batches[10..].iter().all(|size| *size <= 16), "{:?}", w.life.batches);
    w.mode = Store::Works;
    w.pass(Span::from_secs(12));
    assert!(!w.life.worker.is_breaker_open() && w.life.worker.dirty() == 0);
}

#[test]
fn what_has_failed_is_written_at_once_when_the_store_is_found_back() {
    let mut w = world(200);
    w.mode = Store::Refuses;
    (0..200).for_each(|at| w.publish(at));
    w.pass(Span::from_secs(60));
    w.mode = Store::Works;
    while w.life.worker.is_breaker_open() {
        w.pass(Span::from_millis(1));
    }
    assert_eq!(w.life.worker.dirty(), 0, "nothing waits for an attempt of its own");
    w.mode = Store::Refuses;
    (0..200).for_each(|at| w.publish(at));
    w.pass(Span::from_secs(60));
    w.mode = Store::Works;
    w.life.worker.on_reopened(w.epoch, w.now);
    w.pass(Span::from_millis(1));
    assert_eq!(w.life.worker.dirty(), 0, "nor after the store was opened again");
}

#[test]
fn a_part_that_is_away_delays_its_own_records_alone_and_has_them_when_it_is_back() {
    let mut w = world(40);
    w.mode = Store::HalfAway;
    w.pass(Span::from_millis(1));
    for round in 1..=50 {
        (0..40).for_each(|at| w.publish(at));
        w.pass(Span::from_millis(101));
        assert_eq!((w.stored(38), w.stored(39)), (round, 0));
        assert!(!w.life.worker.is_breaker_open());
    }
    // Even if nobody says that it is back, it is not asked much later.
    w.mode = Store::Works;
    w.pass(Span::from_secs(2));
    assert_eq!((w.stored(39), w.life.worker.dirty()), (50, 0));
    w.mode = Store::HalfAway;
    (0..40).for_each(|at| w.publish(at));
    w.pass(Span::from_secs(9));
    w.mode = Store::Works;
    assert!(w.life.worker.has_failed());
    w.life.worker.retry_now(w.now);
    w.pass(Span::from_millis(1));
    assert_eq!((w.stored(39), w.life.worker.dirty()), (51, 0));
}

#[test]
fn an_owner_that_was_superseded_changes_nothing() {
    let mut w = world(1);
    w.publish(0);
    let newer = w.store.next_epoch().unwrap();
    let cursor =
        crate::store::Record { epoch: newer, sequence: 1, id: EventId::from_bytes(b"newer").unwrap(), last_seen_ms: 0 };
    w.store.store_last_event_id(&name(0), &cursor).unwrap();
    w.pass(Span::from_millis(300));
    assert_eq!(w.store.get_last_event_id(&name(0)).unwrap().unwrap().id, cursor.id);
    assert_eq!((w.life.worker.stats().fenced, w.life.worker.dirty()), (1, 0));
    let (key, ..) = w.life.streams.remove(0);
    w.life.writer.remove(key);
    w.pass(Span::from_millis(300));
    assert!(w.store.get_last_event_id(&name(0)).unwrap().is_some());
}

#[test]
fn over_a_reopening_cursors_go_on_and_another_owner_stays_ahead() {
    let mut w = world(1);
    w.publish(0);
    w.pass(Span::from_millis(200));
    w.epoch = w.store.next_epoch().unwrap();
    w.life.worker.on_reopened(w.epoch, w.now);
    w.publish(0);
    w.pass(Span::from_millis(200));
    let record = w.store.get_last_event_id(&name(0)).unwrap().unwrap();
    assert_eq!((record.epoch, record.sequence), (w.epoch, 2));
    // Another process had the store in between.
    let other = crate::store::Record { epoch: w.store.next_epoch().unwrap(), sequence: 1, ..record };
    w.store.store_last_event_id(&name(0), &other).unwrap();
    let late = w.store.next_epoch().unwrap();
    w.life.worker.on_reopened(late, w.now);
    w.publish(0);
    w.pass(Span::from_millis(200));
    assert_eq!(w.store.get_last_event_id(&name(0)).unwrap(), Some(other));
    assert_eq!((w.life.worker.stats().fenced, w.life.worker.dirty()), (1, 0));
    // The file was taken away, and a new one begun.
    (w.store, w.acknowledged) = (MemoryStore::new(9), Default::default());
    w.epoch = w.store.next_epoch().unwrap();
    w.life.worker.on_reopened(w.epoch, w.now);
    w.publish(0);
    w.pass(Span::from_millis(200));
    assert_eq!((w.stored(0), w.epoch), (4, 1));
}

#[test]
fn a_removed_stream_does_not_come_back_through_a_late_retry() {
    let mut w = world(1);
    w.mode = Store::Refuses;
    w.publish(0);
    w.pass(Span::from_millis(150));
    let (key, ..) = w.life.streams.remove(0);
    w.life.writer.remove(key);
    w.mode = Store::Works;
    w.pass(Span::from_secs(20));
    assert_eq!((w.store.len(), w.life.worker.dirty(), w.life.worker.stats().cursor_records), (0, 0, 1));
    // The slot is free again, and its next stream has a record of its own.
    w.life.begin(9);
    w.publish(0);
    w.pass(Span::from_secs(1));
    assert_eq!((w.life.streams[0].0.index, w.stored(9)), (key.index, 1));
}

#[test]
fn a_removal_in_a_slot_of_its_own_is_not_undone_by_a_late_retry_of_the_stream() {
    for refused_for in [150, 1_000, 5_000, 20_000, 30_000] {
        let mut w = world(1);
        w.mode = Store::Refuses;
        w.publish(0);
        w.pass(Span::from_millis(refused_for));
        let (key, ..) = w.life.streams.remove(0);
        w.life.writer.retire(key);
        w.pass(Span::from_millis(1));
        let tombstone = w.life.writer.take(name(0)).unwrap();
        w.life.writer.remove(tombstone);
        w.mode = Store::Works;
        w.pass(Span::from_secs(30));
        assert_eq!((w.store.len(), w.life.worker.dirty()), (0, 0), "refused for {refused_for} ms");
        assert_eq!((0..1_001).filter(|n| w.life.writer.take(name(*n)).is_some()).count(), 1_000);
    }
}

#[test]
fn a_removal_that_is_tried_again_does_not_take_a_record_begun_again_under_its_name() {
    for (mode, refused_for) in
        [Store::Refuses, Store::Lies].into_iter().flat_map(|m| [150, 1_000, 9_000].map(|t| (m, t)))
    {
        let mut w = world(1);
        w.publish(0);
        w.pass(Span::from_millis(300));
        assert_eq!(w.stored(0), 1);
        w.mode = mode;
        let (key, ..) = w.life.streams.remove(0);
        w.life.writer.remove(key);
        w.pass(Span::from_millis(refused_for));
        w.life.begin(0);
        w.life.streams[0].2 = 1;
        w.publish(0);
        w.mode = Store::Works;
        w.pass(Span::from_secs(30));
        assert_eq!((w.store.len(), w.stored(0), w.life.worker.dirty()), (1, 2, 0), "{mode:?} for {refused_for} ms");
        // The slot of the removal is free again.
        assert_eq!((1..1_001).filter(|n| w.life.writer.take(name(*n)).is_some()).count(), 999);
    }
}

#[test]
fn a_removal_that_was_written_leaves_the_next_stream_of_its_slot_alone() {
    let mut w = world(1);
    w.publish(0);
    w.pass(Span::from_millis(300));
    let (key, ..) = w.life.streams.remove(0);
    w.life.writer.remove(key);
    w.pass(Span::from_secs(1));
    assert_eq!((w.store.len(), w.life.worker.dirty()), (0, 0));
    // Another stream gets the slot, and the one that was removed begins again in a slot of its own.
    w.life.begin(9);
    w.life.begin(0);
    assert_eq!(w.life.streams[0].0.index, key.index);
    w.publish(0);
    w.publish(1);
    w.pass(Span::from_secs(1));
    assert_eq!((w.store.len(), w.stored(9), w.stored(0)), (2, 1, 1));
}

#[test]
fn a_removal_in_a_hurry_comes_after_the_cursor_of_a_higher_slot() {
    let mut w = world(2);
    let lower = w.life.streams.remove(0).0;
    w.life.writer.remove(lower);
    w.publish(0);
    w.pass(Span::from_millis(150));
    let higher = w.life.streams[0].0;
    w.publish(0);
    w.life.streams.clear();
    w.life.writer.retire(higher);
    let tombstone = w.life.writer.take(name(1)).unwrap();
    w.life.writer.remove(tombstone);
    assert!(tombstone.index < higher.index);
    while let Some(key) = w.life.drain.pop() {
        w.life.worker.on_dirty(key, &w.life.drain, w.now);
    }
    w.life.worker.hurry(w.now);
    w.pass(Span::from_secs(1));
    assert_eq!((w.store.len(), w.life.worker.dirty()), (0, 0));
}

#[test]
fn what_has_ended_does_not_wait_for_ever_before_a_full_store() {
    let mut w = world(3);
    w.store = MemoryStore::new(1);
    (0..3).for_each(|at| w.publish(at));
    w.pass(Span::from_secs(1));
    assert_eq!((w.store.len(), w.life.worker.dirty()), (1, 2));
    for _ in 0..2 {
        let (key, ..) = w.life.streams.pop().unwrap();
        w.life.writer.retire(key);
    }
    w.pass(Span::from_secs(11));
    assert_eq!((w.store.len(), w.life.worker.dirty(), w.life.worker.stats().given_up), (1, 0, 2));
    assert_eq!((0..1_000).filter(|n| w.life.writer.take(name(100 + n)).is_some()).count(), 999);
}

#[test]
fn a_batch_that_fails_counts_from_its_older_change_and_its_retry_carries_the_newer() {
    let mut w = world(1);
    w.publish(0);
    w.mode = Store::Hangs;
    w.pass(Span::from_millis(500));
    w.publish(0);
    w.run();
    w.mode = Store::Refuses;
    w.run();
    assert_eq!((w.lag(), w.life.worker.oldest()), (Span::from_millis(500), Some(1)));
    w.mode = Store::Works;
    w.pass(Span::from_secs(11));
    assert_eq!((w.stored(0), w.life.worker.stats().cursor_records, w.life.worker.oldest()), (2, 1, None));
}

#[test]
fn what_was_written_does_not_pile_up_behind_a_change_that_cannot_be() {
    let mut w = world(2);
    (0..2).for_each(|at| w.publish(at));
    w.pass(Span::from_secs(6));
    w.mode = Store::FailsOne(0);
    for at in [0, 1].into_iter().chain([1; 1_500]) {
        w.life.writer.touch(w.life.streams[at].0, w.now);
        w.pass(Span::from_secs(6));
        w.life.worker.unflushed_since();
    }
    assert!(w.life.worker.stats().activity_records > 1_500 && w.life.worker.dirty() == 1);
    assert!(w.life.worker.quiet() <= 4 + 1_024, "{}", w.life.worker.quiet());
}

/// Everything at once, by chance.
#[test]
fn whatever_fails_nothing_acknowledged_is_lost_and_all_is_flushed_in_the_end() {
    const CAPACITY: usize = 12;
    for seed in 0..1_200 {
        let mut random = Random::new(seed);
        let config = WorkerConfig { batch: 1 + random.below(20) as usize, ..WorkerConfig::default() };
        let mut w = World::new(config.clone(), CAPACITY);
        let mut next = 0;
        for _ in 0..60 {
            let some = random.below(w.life.streams.len().max(1) as u64) as usize;
            match random.below(14) {
                0 | 1 => {
                    next += 1;
                    w.life.begin(next);
                }
                2..=6 if !w.life.streams.is_empty() => w.publish(some),
                7 if !w.life.streams.is_empty() => {
                    let key = w.life.streams[some].0;
                    w.life.writer.touch(key, w.now);
                }
                8 if !w.life.streams.is_empty() && random.below(3) == 0 => {
                    let (key, ..) = w.life.streams.remove(some);
                    if random.below(2) == 0 { w.life.writer.remove(key) } else { w.life.writer.retire(key) }
                }
                9 => {
                    let modes = [Store::Works, Store::Refuses, Store::Lies, Store::FailsSome, Store::Hangs];
                    w.mode = modes[random.below(5) as usize];
                }
                10 if random.below(6) == 0 => w.die(config.clone(), CAPACITY),
                11 => w.pass(Span::from_secs(10)),
                _ => w.pass(Span::from_micros(random.below(150_000))),
            }
            w.check();
        }
        w.mode = Store::Works;
        w.pass(Span::from_secs(17));
        assert_eq!((w.life.worker.dirty(), w.life.drain.len()), (0, 0), "seed {seed}");
        for (_, stream, sequence) in w.life.streams.clone() {
            assert_eq!(w.stored(stream), sequence, "seed {seed}");
        }
    }
}
