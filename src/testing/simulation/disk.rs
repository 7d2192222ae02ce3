//! The store's side of a process: slots, worker, queue of log blocks, over a disk that outlives it.
//!
//! In: checkpoints of the machine, the clock, what the disk is to do wrong. Out: records. The oracles of the marks.
//! Laws checked: what is written was given to a client before; no record moves back; nothing that was acknowledged is
//! missing, whatever dies.

use super::script::Canary;
use crate::base::{Span, StreamName, Tick};
use crate::machine::{Checkpoint, Lookup, Machine, StoredStream as Known};
use crate::metrics::Metrics;
use crate::persist::{Worker, WorkerConfig};
use crate::reactor::checkpoints::Checkpoints;
use crate::reactor::{Keep, StoreLink};
use crate::slot::{SlotDrain, slots};
use crate::store::{LogBlock, LogBounds, LogStore, LogWrite, MemoryStore, SessionStore};
use crate::store::{Outcome, Record, StoreError, Write};
use crate::testing::trace::Trace;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

/// Slots of a process: fewer than it may have streams.
const SLOTS: usize = 24;

/// Log blocks on their way.
const BLOCKS: usize = 40;

/// What the disk does with a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Mode {
    #[default]
    Works,
    Refuses,
    /// Writes, and says that it did not.
    Lies,
    FailsSome,
    Hangs,
}

pub(super) const MODES: [Mode; 5] = [Mode::Works, Mode::Refuses, Mode::Lies, Mode::FailsSome, Mode::Hangs];

type Items = Vec<(Arc<StreamName>, Write)>;

/// What outlives a process: the store, and what the store acknowledged.
pub(super) struct Disk {
    store: MemoryStore,
    pub(super) mode: Mode,
    /// What was acknowledged: epoch and sequence.
    acknowledged: HashMap<StreamName, (u64, u64)>,
    canary: Option<Canary>,
    /// Batches that were given up, and are written all the same, after newer ones.
    late: Items,
}

/// One process.
pub(super) struct Life {
    checkpoints: Checkpoints,
    link: StoreLink,
    metrics: Metrics,
    drain: SlotDrain,
    worker: Worker,
    blocks: Arc<Mutex<VecDeque<LogWrite>>>,
    flying: Items,
}

impl Disk {
    pub(super) fn new(canary: Option<Canary>) -> Self {
        let store = MemoryStore::new(usize::MAX);
        Self { store, mode: Mode::Works, acknowledged: HashMap::new(), canary, late: Vec::new() }
    }

    /// What the store knows of a session.
    pub(super) fn find(&mut self, question: &Lookup) -> Vec<Known> {
        let found = self.store.session(&question.session, 64).unwrap_or_default();
        let mut known = Vec::new();
        for (name, cursor) in found {
            let log = match question.log_bytes {
                0 => None,
                bytes => match self.store.read_log(&name, bytes) {
                    Ok(Some(log)) => Some(log),
                    _ => continue,
                },
            };
            known.push(crate::engine::stored(&name, cursor, log, 0));
        }
        known
    }

    /// Whether some record holds this id.
    pub(super) fn holds(&mut self, id: &str) -> bool {
        let all = self.store.scan(None, usize::MAX).unwrap_or_default();
        all.iter().any(|(_, cursor)| cursor.id.as_bytes() == id.as_bytes())
    }

    fn write(&mut self, items: &Items) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        let refused = StoreError::Refused("no".into());
        match self.mode {
            Mode::Refuses | Mode::Hangs => Err(refused),
            Mode::Works => self.apply(items),
            Mode::Lies => self.apply(items).and(Err(refused)),
            Mode::FailsSome => {
                let one = |(at, item): (usize, &(Arc<StreamName>, Write))| match at % 3 {
                    2 => Err(refused.clone()),
                    _ => self.apply(&vec![item.clone()])?.remove(0),
                };
                Ok(items.iter().enumerate().map(one).collect())
            }
        }
    }

    fn apply(&mut self, items: &Items) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        let results = self.store.store_event_ids_batch(items)?;
        for ((name, write), result) in items.iter().zip(&results) {
            match (write, result) {
                (Write::Cursor(cursor), Ok(Outcome::Written)) => {
                    let new = (cursor.epoch, cursor.sequence);
                    let old = self.acknowledged.insert((**name).clone(), new);
                    assert!(old.is_none_or(|old| old < new), "{name:?}: a cursor moved back from {old:?} to {new:?}");
                }
                (Write::Remove { .. }, Ok(Outcome::Written)) => {
                    self.acknowledged.remove(&**name);
                }
                _ => {}
            }
        }
        Ok(results)
    }

    fn write_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        if self.canary != Some(Canary::NoFencing) {
            assert!(self.apply(&late).is_ok());
            return;
        }
        for (name, write) in late {
            if let Write::Cursor(cursor) = write {
                let _ = (self.store.remove(&name), self.store.store_last_event_id(&name, &cursor));
            }
        }
    }

    /// Every acknowledged record is there, as new or newer.
    pub(super) fn check(&mut self) {
        for (name, mark) in &self.acknowledged {
            let stored = self.store.get_last_event_id(name).ok().flatten();
            let stored = stored.map(|cursor: Record| (cursor.epoch, cursor.sequence));
            assert!(
                stored.is_some_and(|stored| stored >= *mark),
                "{name:?}: {mark:?} was acknowledged, {stored:?} is there"
            );
        }
    }
}

impl Life {
    pub(super) fn new(disk: &mut Disk, seed: u64, now: Tick) -> Self {
        let (writer, drain) = slots(SLOTS);
        let epoch = disk.store.next_epoch().unwrap_or_else(|e| panic!("no epoch: {e}"));
        let worker = Worker::new(WorkerConfig::default(), SLOTS, epoch, 0, seed, now);
        let blocks = Arc::new(Mutex::new(VecDeque::new()));
        let queue = Arc::clone(&blocks);
        let bounds = LogBounds { events: 64, bytes: 64 << 10, age_ms: 600_000 };
        let keeps = move |name: &Arc<StreamName>, keep: Keep| {
            let mut queue = queue.lock().unwrap_or_else(|e| panic!("{e}"));
            let write = match keep {
                Keep::Forget => LogWrite::Remove { name: Arc::clone(name), claim: None },
                Keep::End { .. } | Keep::Release => return true,
                Keep::Part { .. } if queue.len() >= BLOCKS => return false,
                Keep::Part { part, hole } => LogWrite::Append {
                    name: Arc::clone(name),
                    block: Arc::new(LogBlock { first: part.first, at_ms: 0, bytes: part.bytes, ends: part.ends, hole }),
                    meta: part.meta.into(),
                    bounds,
                    claim: None,
                },
            };
            queue.push_back(write);
            true
        };
        let link = StoreLink::new(|_, _| true, keeps);
        let checkpoints = Checkpoints::new(writer);
        Self { checkpoints, link, metrics: Metrics::default(), drain, worker, blocks, flying: Vec::new() }
    }

    /// Takes in what the machine has to say.
    pub(super) fn report(&mut self, machine: &mut Machine, trace: &mut Trace, canary: Option<Canary>) {
        let Self { checkpoints, link, metrics, .. } = self;
        machine.drain_checkpoints(|checkpoint| {
            let checkpoint = match trace.with(checkpoint) {
                Checkpoint::Delivered { stream, mut cursor } if canary == Some(Canary::MarksAhead) => {
                    cursor.id = ahead(&cursor.id);
                    Checkpoint::Delivered { stream, cursor }
                }
                other => other,
            };
            checkpoints.publish(checkpoint, link, metrics);
        });
    }

    /// One step of the store thread. `given`: the ids that clients' sockets have taken. True: the step did something.
    pub(super) fn step(&mut self, disk: &mut Disk, given: &HashSet<String>, now: Tick) -> bool {
        if !self.flying.is_empty() {
            if disk.mode == Mode::Hangs {
                return false;
            }
            disk.late.append(&mut self.flying);
            self.worker.on_result(Err(&StoreError::Closed), &mut self.drain, now);
            return true;
        }
        while let Some(key) = self.drain.pop() {
            self.worker.on_dirty(key, &self.drain, now);
        }
        self.write_blocks(disk);
        let canary = disk.canary;
        let batch = self.worker.next_batch(&mut self.drain, 10, now).to_vec();
        if batch.is_empty() {
            return false;
        }
        for (name, write) in &batch {
            if let Write::Cursor(cursor) = write {
                let id = String::from_utf8_lossy(cursor.id.as_bytes());
                // An event above the bound is forwarded without an id of segno's own, but it is counted and so has a
                // number.
                let is_given = given.contains(&*id) || id.starts_with("sg-") && canary != Some(Canary::MarksAhead);
                assert!(is_given, "{name:?}: {id} is to be stored, and no client has been given it");
            }
        }
        if disk.mode == Mode::Hangs {
            self.flying = batch;
            return false;
        }
        let result = disk.write(&batch);
        if disk.canary == Some(Canary::ForgetfulDisk) {
            batch.iter().for_each(|(name, _)| drop(disk.store.remove(name)));
        }
        disk.write_late();
        self.worker.on_result(result.as_deref(), &mut self.drain, now);
        true
    }

    fn write_blocks(&mut self, disk: &mut Disk) {
        if disk.mode != Mode::Works {
            return;
        }
        let mut queue = self.blocks.lock().unwrap_or_else(|e| panic!("{e}"));
        let all: Vec<LogWrite> = queue.drain(..).collect();
        assert!(disk.store.write_logs(&all).is_ok());
    }

    /// Everything is due at once.
    pub(super) fn flush(&mut self, disk: &mut Disk, given: &HashSet<String>, now: Tick) {
        disk.mode = Mode::Works;
        self.worker.hurry(now);
        // A write that failed a moment ago is tried again soon, but not at once.
        for wait in 0..100 {
            while self.step(disk, given, now + Span::from_millis(50 * wait)) {}
        }
        self.worker.relax();
    }

    /// How many streams found no slot.
    pub(super) fn without_slot(&self) -> u64 {
        self.metrics.persistence().refused.get()
    }

    /// How many slots hold something that is not stored.
    pub(super) fn dirty(&self) -> usize {
        self.worker.dirty() + self.drain.len()
    }

    /// The process dies. A batch that was on its way may have been written.
    pub(super) fn die(mut self, disk: &mut Disk, written: bool) {
        let flying = std::mem::take(&mut self.flying);
        if written {
            disk.late.extend(flying);
        }
        disk.check();
    }
}

/// An id that no client can have been given.
fn ahead(id: &crate::base::EventId) -> crate::base::EventId {
    let text = [id.as_bytes(), b"9"].concat();
    crate::base::EventId::from_bytes(&text).unwrap_or_else(|| id.clone())
}
