//! The worker with a simulated store and clock: refusals, hangs, single items that fail, processes that die, two
//! owners.
//!
//! Laws checked after every step: durable <= published; a stored cursor never moves back; nothing that was acknowledged
//! is missing; a removed stream does not come back.

use crate::base::{Cursor, EventId, Span, StreamName, Tick};
use crate::persist::{Worker, WorkerConfig};
use crate::slot::{SlotDrain, SlotKey, SlotWriter, slots};
use crate::store::{MemoryStore, Outcome, ServerFault, SessionStore, StoreError, Write};
use std::sync::Arc;

pub(super) fn name(stream: u64) -> Arc<StreamName> {
    Arc::new(StreamName { session: b"s"[..].into(), stream })
}

pub(super) fn cursor(sequence: u64, at: Tick) -> Cursor {
    Cursor { sequence, id: EventId::from_bytes(sequence.to_string().as_bytes()).unwrap(), at }
}

/// What the store does with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Store {
    Works,
    Refuses,
    /// Takes the batch and says it did not.
    Lies,
    /// Fails each third item.
    FailsSome,
    /// Fails what is written of the stream with this number.
    FailsOne(u64),
    /// The part is away that has the streams with odd numbers.
    HalfAway,
    /// Has not answered yet.
    Hangs,
}

/// One process: slots and a worker over a store that outlives it.
pub(super) struct Life {
    pub(super) writer: SlotWriter,
    pub(super) drain: SlotDrain,
    pub(super) worker: Worker,
    /// Key, stream, published sequence.
    pub(super) streams: Vec<(SlotKey, u64, u64)>,
    /// A batch that the store has not answered.
    pub(super) flying: Option<Vec<(Arc<StreamName>, Write)>>,
    pub(super) batches: Vec<usize>,
}

pub(super) struct World {
    pub(super) now: Tick,
    pub(super) store: MemoryStore,
    pub(super) mode: Store,
    /// By stream: the sequence acknowledged last, and in which epoch.
    pub(super) acknowledged: std::collections::HashMap<u64, (u64, u64)>,
    pub(super) epoch: u64,
    pub(super) life: Life,
}

impl World {
    /// How old the oldest change is that is not durable.
    pub(super) fn lag(&mut self) -> Span {
        self.life.worker.unflushed_since().map_or(Span::ZERO, |since| self.now.since(since))
    }

    pub(super) fn new(config: WorkerConfig, capacity: usize) -> Self {
        let now = Tick::from_millis(10_000);
        let mut store = MemoryStore::new(usize::MAX);
        let epoch = store.next_epoch().unwrap();
        let life = Life::new(config, capacity, epoch, now);
        Self { now, store, mode: Store::Works, acknowledged: Default::default(), epoch, life }
    }

    /// The process dies, and another begins over the same store.
    pub(super) fn die(&mut self, config: WorkerConfig, capacity: usize) {
        self.epoch = self.store.next_epoch().unwrap();
        self.life = Life::new(config, capacity, self.epoch, self.now);
    }

    pub(super) fn publish(&mut self, at: usize) {
        let (key, _, sequence) = &mut self.life.streams[at];
        *sequence += 1;
        self.life.writer.publish(*key, &cursor(*sequence, self.now));
    }

    /// One step of the thread; whether something was written or tried.
    pub(super) fn step(&mut self) -> bool {
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
            Store::HalfAway => {
                let away = StoreError::Server {
                    server: "redis+cluster://h".into(),
                    fault: ServerFault::PartAway,
                    why: "no".into(),
                };
                let one = |item: &(Arc<StreamName>, Write)| match item.0.stream % 2 {
                    1 => Err(away.clone()),
                    _ => store.store_event_ids_batch(std::slice::from_ref(item)).unwrap().remove(0),
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
    pub(super) fn pass(&mut self, span: Span) {
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

    pub(super) fn run(&mut self) {
        while self.step() {}
        self.check();
    }

    pub(super) fn check(&mut self) {
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

    pub(super) fn stored(&mut self, stream: u64) -> u64 {
        self.store.get_last_event_id(&name(stream)).unwrap().map_or(0, |cursor| cursor.sequence)
    }
}

impl Life {
    pub(super) fn new(config: WorkerConfig, capacity: usize, epoch: u64, now: Tick) -> Self {
        let (writer, drain) = slots(capacity);
        let worker = Worker::new(config, capacity, epoch, 0, 5, now);
        Self { writer, drain, worker, streams: Vec::new(), flying: None, batches: Vec::new() }
    }

    pub(super) fn begin(&mut self, stream: u64) {
        if let Some(key) = self.writer.take(name(stream)) {
            self.streams.push((key, stream, 0));
        }
    }
}

pub(super) fn world(streams: u64) -> World {
    let mut w = World::new(WorkerConfig::default(), 1_000);
    (0..streams).for_each(|stream| w.life.begin(stream));
    w
}
