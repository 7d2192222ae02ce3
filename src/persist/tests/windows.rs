//! When the worker writes: windows, activity, hurry, the age of what waits.

use super::world::{Store, World, name, world};
use crate::base::Span;
use crate::persist::{Worker, WorkerConfig};
use crate::store::SessionStore;

#[test]
fn many_changes_in_a_window_make_one_record() {
    let mut w = world(1);
    for _ in 0..99 {
        w.publish(0);
        w.pass(Span::from_millis(1));
    }
    assert_eq!(w.life.worker.stats().cursor_records, 0);
    w.pass(Span::from_millis(2));
    assert_eq!((w.stored(0), w.life.worker.stats().cursor_records), (99, 1));
}

#[test]
fn records_are_at_most_streams_times_windows() {
    let mut w = world(20);
    for n in 0..5_000u64 {
        w.publish((n % 20) as usize);
        w.pass(Span::from_millis(1));
    }
    assert!(w.life.worker.stats().cursor_records <= 20 * 51, "{:?}", w.life.worker.stats());
}

#[test]
fn activity_alone_is_written_once_a_window() {
    let mut w = world(1);
    w.publish(0);
    w.pass(Span::from_secs(1));
    for _ in 0..60 {
        let key = w.life.streams[0].0;
        w.life.writer.touch(key, w.now);
        w.pass(Span::from_secs(1));
    }
    let stats = *w.life.worker.stats();
    assert!(stats.cursor_records == 1 && (11..=13).contains(&stats.activity_records), "{stats:?}");
    let seen = w.store.get_last_event_id(&name(0)).unwrap().unwrap().last_seen_ms;
    assert!(w.now.micros() / 1_000 - seen <= 7_000);
}

#[test]
fn a_new_event_does_not_wait_for_the_activity_window() {
    let mut w = world(1);
    w.publish(0);
    w.pass(Span::from_millis(200));
    let key = w.life.streams[0].0;
    w.life.writer.touch(key, w.now);
    w.pass(Span::from_millis(50));
    w.publish(0);
    w.pass(Span::from_millis(110));
    assert_eq!(w.stored(0), 2);
}

#[test]
fn a_hot_stream_does_not_keep_cold_ones_waiting_for_two_windows() {
    let config = WorkerConfig { batch: 50, ..WorkerConfig::default() };
    let mut w = World::new(config, 500);
    (0..400).for_each(|stream| w.life.begin(stream));
    for round in 1..200u64 {
        w.publish(0);
        let cold = 1 + (round % 399) as usize;
        w.publish(cold);
        let sequence = w.life.streams[cold].2;
        w.pass(Span::from_millis(1));
        if round % 10 == 0 {
            let since = w.now;
            while w.stored(cold as u64) < sequence {
                w.publish(0);
                w.pass(Span::from_millis(1));
            }
            assert!(w.now.since(since) <= Span::from_millis(200), "{}", w.now.since(since));
        }
    }
}

#[test]
fn what_changes_while_a_batch_is_with_the_store_is_written_in_the_next_window() {
    let mut w = world(1);
    w.publish(0);
    w.mode = Store::Hangs;
    w.pass(Span::from_millis(110));
    w.publish(0);
    w.run();
    assert_eq!((w.life.worker.oldest(), w.life.worker.newest()), (Some(1), 2));
    w.mode = Store::Works;
    w.run();
    assert_eq!((w.stored(0), w.life.worker.dirty(), w.life.worker.oldest()), (1, 1, Some(2)));
    w.pass(Span::from_millis(100));
    assert_eq!((w.stored(0), w.life.worker.dirty(), w.life.worker.oldest()), (2, 0, None));
}

#[test]
fn activity_while_a_batch_is_with_the_store_waits_for_its_own_window() {
    let mut w = world(1);
    w.publish(0);
    w.mode = Store::Hangs;
    w.pass(Span::from_millis(110));
    w.life.writer.touch(w.life.streams[0].0, w.now);
    w.run();
    w.mode = Store::Works;
    w.pass(Span::from_secs(4));
    assert_eq!((w.life.worker.stats().activity_records, w.life.worker.dirty()), (0, 1));
    w.pass(Span::from_millis(1_200));
    assert_eq!((w.life.worker.stats().activity_records, w.life.worker.dirty()), (1, 0));
}

#[test]
fn without_a_window_a_change_is_written_when_it_is_found() {
    let mut w = World::new(WorkerConfig { window: Span::ZERO, ..WorkerConfig::default() }, 1);
    w.life.begin(0);
    w.publish(0);
    w.run();
    assert_eq!(w.stored(0), 1);
}

#[test]
fn in_a_hurry_nothing_waits_for_its_window() {
    let mut w = world(10);
    (0..10).for_each(|at| w.publish(at));
    w.step();
    w.life.worker.hurry(w.now);
    w.publish(3);
    w.run();
    assert_eq!((w.life.worker.dirty(), w.stored(3), w.life.worker.oldest()), (0, 2, None));
}

#[test]
fn the_lag_is_the_age_of_the_oldest_change() {
    let mut w = world(2);
    w.mode = Store::Refuses;
    w.publish(0);
    w.pass(Span::from_millis(500));
    w.publish(1);
    w.pass(Span::from_millis(500));
    assert_eq!(w.lag(), Span::from_secs(1));
    w.mode = Store::Works;
    w.pass(Span::from_secs(12));
    assert_eq!(w.lag(), Span::ZERO);
}

#[test]
fn a_slot_costs_the_worker_less_than_a_hundred_bytes() {
    assert!(Worker::bytes_a_slot() <= 96, "{}", Worker::bytes_a_slot());
}
