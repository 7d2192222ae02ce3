//! The worker with a simulated store and clock: refusals, hangs, single items that fail, processes that die, two
//! owners.
//!
//! Laws checked after every step: durable <= published; a stored cursor never moves back; nothing that was acknowledged
//! is missing; a removed stream does not come back.

use super::super::worker::{Worker, WorkerConfig};
use crate::base::{Cursor, EventId, Random, Span, StreamName, Tick};
use crate::slot::{SlotDrain, SlotKey, SlotWriter, slots};
use crate::store::{MemoryStore, Outcome, SessionStore, StoreError, Write};
use std::sync::Arc;

fn name(stream: u64) -> Arc<StreamName> {
    Arc::new(StreamName { session: b"s"[..].into(), stream })
}

fn cursor(sequence: u64, at: Tick) -> Cursor {
    Cursor { sequence, id: EventId::from_bytes(sequence.to_string().as_bytes()).unwrap(), at }
}

/// What the store does with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Store {
    Works,
    Refuses,
    /// Takes the batch and says it did not.
    Lies,
    /// Fails each third item.
    FailsSome,
    /// Fails what is written of the stream with this number.
    FailsOne(u64),
    /// Has not answered yet.
    Hangs,
}

/// One process: slots and a worker over a store that outlives it.
struct Life {
    writer: SlotWriter,
    drain: SlotDrain,
    worker: Worker,
    /// Key, stream, published sequence.
    streams: Vec<(SlotKey, u64, u64)>,
    /// A batch that the store has not answered.
    flying: Option<Vec<(Arc<StreamName>, Write)>>,
    batches: Vec<usize>,
}

struct World {
    now: Tick,
    store: MemoryStore,
    mode: Store,
    /// By stream: the sequence acknowledged last, and in which epoch.
    acknowledged: std::collections::HashMap<u64, (u64, u64)>,
    epoch: u64,
    life: Life,
}

impl World {
    /// How old the oldest change is that is not durable.
    fn lag(&mut self) -> Span {
        self.life.worker.unflushed_since().map_or(Span::ZERO, |since| self.now.since(since))
    }

    fn new(config: WorkerConfig, capacity: usize) -> Self {
        let now = Tick::from_millis(10_000);
        let mut store = MemoryStore::new(usize::MAX);
        let epoch = store.next_epoch().unwrap();
        let life = Life::new(config, capacity, epoch, now);
        Self { now, store, mode: Store::Works, acknowledged: Default::default(), epoch, life }
    }

    /// The process dies, and another begins over the same store.
    fn die(&mut self, config: WorkerConfig, capacity: usize) {
        self.epoch = self.store.next_epoch().unwrap();
        self.life = Life::new(config, capacity, self.epoch, self.now);
    }

    fn publish(&mut self, at: usize) {
        let (key, _, sequence) = &mut self.life.streams[at];
        *sequence += 1;
        self.life.writer.publish(*key, &cursor(*sequence, self.now));
    }

    /// One step of the thread; whether something was written or tried.
    fn step(&mut self) -> bool {
        let Self { now, store, mode, acknowledged, epoch, life } = self;
        let Life { drain, worker, streams, flying, batches, .. } = life;
        while let Some(key) = drain.pop() {
            worker.on_dirty(key, drain, *now);
        }
        if flying.is_some() && *mode == Store::Hangs {
            return false;
        }
        let batch: Vec<_> = match flying.take() {
            // What hung comes to an end: done where the store works again, else with an error.
            Some(batch) if *mode == Store::Works => batch,
            Some(_) => {
                worker.on_result(Err(&StoreError::Closed), drain, *now);
                return true;
            }
            None => worker.next_batch(drain, 10_000, *now).to_vec(),
        };
        if batch.is_empty() {
            return false;
        }
        batches.push(batch.len());
        for (name, write) in &batch {
            if let Write::Cursor(cursor) = write {
                let published = streams.iter().find(|(_, stream, _)| *stream == name.stream);
                assert!(published.is_none_or(|(.., sequence)| cursor.sequence <= *sequence), "durable > published");
            }
        }
        let refused = StoreError::Refused("no".into());
        let result = match *mode {
            Store::Works => store.store_event_ids_batch(&batch),
            Store::Refuses => Err(refused),
            Store::Lies => store.store_event_ids_batch(&batch).and(Err(refused)),
            Store::FailsOne(stream) => {
                let one = |item: &(Arc<StreamName>, Write)| match item.0.stream == stream {
                    true => Err(refused.clone()),
                    false => store.store_event_ids_batch(std::slice::from_ref(item)).unwrap().remove(0),
                };
                Ok(batch.iter().map(one).collect())
            }
            Store::FailsSome => {
                let one = |(at, item): (usize, &(Arc<StreamName>, Write))| match at % 3 {
                    2 => Err(refused.clone()),
                    _ => store.store_event_ids_batch(std::slice::from_ref(item)).unwrap().remove(0),
                };
                Ok(batch.iter().enumerate().map(one).collect())
            }
            Store::Hangs => {
                *flying = Some(batch);
                return false;
            }
        };
        if *mode == Store::Lies {
            let removed = batch.iter().filter(|(_, write)| matches!(write, Write::Remove { .. }));
            for (name, _) in removed {
                acknowledged.remove(&name.stream);
            }
        }
        if let Ok(results) = &result {
            for ((name, write), result) in batch.iter().zip(results) {
                match (write, result) {
                    (Write::Cursor(cursor), Ok(Outcome::Written)) => {
                        let old = acknowledged.insert(name.stream, (*epoch, cursor.sequence));
                        assert!(old.is_none_or(|old| old < (*epoch, cursor.sequence)), "a cursor moved back");
                    }
                    (Write::Remove { .. }, Ok(Outcome::Written)) => {
                        acknowledged.remove(&name.stream);
                    }
                    _ => {}
                }
            }
        }
        worker.on_result(result.as_deref(), drain, *now);
        true
    }

    /// Lets time pass, calling the worker whenever it asks for it.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        self.run();
        while let Some(at) = self.life.worker.next_deadline().filter(|at| *at <= end && self.life.flying.is_none()) {
            assert!(at > self.now || self.step(), "the worker would spin");
            self.now = self.now.max(at);
            self.run();
        }
        self.now = end;
        self.run();
    }

    fn run(&mut self) {
        while self.step() {}
        self.check();
    }

    fn check(&mut self) {
        for (stream, (epoch, sequence)) in &self.acknowledged {
            let stored = self.store.get_last_event_id(&name(*stream)).unwrap().unwrap();
            assert!((stored.epoch, stored.sequence) >= (*epoch, *sequence), "an acknowledged cursor is missing");
        }
        let stale = self.life.streams.iter().filter(|(key, _, sequence)| {
            let handle = self.life.writer.handle(*key);
            assert!(handle.durable() <= *sequence, "durable > published");
            handle.durable() < *sequence
        });
        assert!(self.life.worker.dirty() + self.life.drain.len() >= stale.count(), "a change was forgotten");
    }

    fn stored(&mut self, stream: u64) -> u64 {
        self.store.get_last_event_id(&name(stream)).unwrap().map_or(0, |cursor| cursor.sequence)
    }
}

impl Life {
    fn new(config: WorkerConfig, capacity: usize, epoch: u64, now: Tick) -> Self {
        let (writer, drain) = slots(capacity);
        let worker = Worker::new(config, capacity, epoch, 0, 5, now);
        Self { writer, drain, worker, streams: Vec::new(), flying: None, batches: Vec::new() }
    }

    fn begin(&mut self, stream: u64) {
        if let Some(key) = self.writer.take(name(stream)) {
            self.streams.push((key, stream, 0));
        }
    }
}

fn world(streams: u64) -> World {
    let mut w = World::new(WorkerConfig::default(), 1_000);
    (0..streams).for_each(|stream| w.life.begin(stream));
    w
}

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
fn an_open_breaker_asks_with_small_batches_and_closes_with_the_first_that_works() {
    let mut w = world(200);
    w.mode = Store::Refuses;
    (0..200).for_each(|at| w.publish(at));
    w.pass(Span::from_secs(30));
    assert!(w.life.worker.is_open());
    let tries = w.life.batches.len();
    assert!(tries < 45 && w.life.batches[10..].iter().all(|size| *size <= 16), "{:?}", w.life.batches);
    w.mode = Store::Works;
    w.pass(Span::from_secs(12));
    assert!(!w.life.worker.is_open() && w.life.worker.dirty() == 0);
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
    w.life.worker.on_reopened(w.epoch);
    w.publish(0);
    w.pass(Span::from_millis(200));
    let record = w.store.get_last_event_id(&name(0)).unwrap().unwrap();
    assert_eq!((record.epoch, record.sequence), (w.epoch, 2));
    // Another process had the store in between.
    let other = crate::store::Record { epoch: w.store.next_epoch().unwrap(), sequence: 1, ..record };
    w.store.store_last_event_id(&name(0), &other).unwrap();
    let late = w.store.next_epoch().unwrap();
    w.life.worker.on_reopened(late);
    w.publish(0);
    w.pass(Span::from_millis(200));
    assert_eq!(w.store.get_last_event_id(&name(0)).unwrap(), Some(other));
    assert_eq!((w.life.worker.stats().fenced, w.life.worker.dirty()), (1, 0));
    // The file was taken away, and a new one begun.
    (w.store, w.acknowledged) = (MemoryStore::new(9), Default::default());
    w.epoch = w.store.next_epoch().unwrap();
    w.life.worker.on_reopened(w.epoch);
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
