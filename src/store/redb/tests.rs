//! The file as a file: foreign, newer, torn, locked, killed, and after a loss of power.

use super::tables::META;
use super::*;
use crate::base::{EventId, Random, StreamName};
use crate::store::{Opened, Outcome, Record, StoreError, Write, conformance};
use ::redb::{Database, StorageBackend, TableDefinition};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

mod files;

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    /// Each test runs on a thread of its own.
    fn new() -> Self {
        let name = format!("segno-redb-{}-{:?}", std::process::id(), thread::current().id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join("segno.redb")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(stream: u64) -> Arc<StreamName> {
    Arc::new(StreamName { session: b"s"[..].into(), stream })
}

fn cursor(sequence: u64) -> Record {
    let id = EventId::from_bytes(sequence.to_string().as_bytes()).unwrap();
    Record { epoch: 1, sequence, id, last_seen_ms: 0 }
}

fn put(store: &mut Opened, stream: u64, sequence: u64) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
    store.sessions.store_event_ids_batch(&[(name(stream), Write::Cursor(cursor(sequence)))])
}

#[test]
fn a_file_keeps_the_promises_over_restarts() {
    let dir = Dir::new();
    conformance::check(&mut || open(&dir.file()).unwrap());
}

#[test]
fn a_memory_keeps_the_promises() {
    let memory = crate::store::memory::Shared::new(1_000);
    conformance::check(&mut || memory.open());
}

#[test]
fn a_second_opening_is_told_that_the_file_is_taken() {
    let dir = Dir::new();
    let _first = open(&dir.file()).unwrap();
    assert_eq!(open(&dir.file()).err(), Some(StoreError::Locked { path: dir.file() }));
}

#[test]
fn a_file_that_was_not_closed_opens_with_all_that_was_acknowledged() {
    let dir = Dir::new();
    let mut store = open(&dir.file()).unwrap();
    for n in 1..50 {
        put(&mut store, n % 5, n).unwrap();
    }
    let copy = dir.0.join("copy.redb");
    std::fs::copy(dir.file(), &copy).unwrap();
    let mut copy = open(&copy).unwrap();
    assert_eq!(copy.lookup.scan(None, 10).unwrap(), store.lookup.scan(None, 10).unwrap());
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let dir = Dir::new();
    for content in [&b"hello"[..], &[0; 5_000], b"SQLite format 3\0", b"redb\x1a\x0a"] {
        std::fs::write(dir.file(), content).unwrap();
        assert_eq!(open(&dir.file()).err(), Some(StoreError::Foreign { path: dir.file() }));
        assert_eq!(std::fs::read(dir.file()).unwrap(), content);
    }
}

#[test]
fn another_programs_database_is_refused_and_left_as_it_is() {
    let dir = Dir::new();
    let other: TableDefinition<'_, u64, u64> = TableDefinition::new("mine");
    let database = Database::create(dir.file()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(other).unwrap().insert(1, 2).unwrap();
    write.commit().unwrap();
    drop(database);
    let before = std::fs::read(dir.file()).unwrap();
    assert_eq!(open(&dir.file()).err(), Some(StoreError::Foreign { path: dir.file() }));
    assert_eq!(std::fs::read(dir.file()).unwrap(), before);
}

#[test]
fn a_newer_file_is_refused_and_left_as_it_is() {
    let dir = Dir::new();
    drop(open(&dir.file()).unwrap());
    let database = Database::create(dir.file()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(META).unwrap().insert("format", 7).unwrap();
    write.commit().unwrap();
    drop(database);
    let before = std::fs::read(dir.file()).unwrap();
    assert_eq!(open(&dir.file()).err(), Some(StoreError::Newer { path: dir.file(), found: 7, known: 1 }));
    assert_eq!(std::fs::read(dir.file()).unwrap(), before);
}

#[test]
fn a_torn_file_is_refused_and_left_as_it_is() {
    let dir = Dir::new();
    let mut store = open(&dir.file()).unwrap();
    for n in 1..200 {
        put(&mut store, n, n).unwrap();
    }
    drop(store);
    let whole = std::fs::read(dir.file()).unwrap();
    for part in 1..16 {
        let torn = &whole[..whole.len() * part / 16];
        std::fs::write(dir.file(), torn).unwrap();
        let error = open(&dir.file()).err().unwrap_or_else(|| panic!("{part}/16 of a file was opened"));
        assert!(matches!(error, StoreError::Torn { .. }), "{error}");
        assert!(std::fs::read(dir.file()).unwrap() == torn, "{part}/16 of a file was changed");
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let dir = Dir::new();
    let error = open(&dir.0.join("no/where.redb")).err().unwrap();
    assert!(error.is_transient() && error.to_string().contains("no/where.redb"), "{error}");
}

#[test]
fn an_empty_file_is_a_new_store() {
    let dir = Dir::new();
    std::fs::write(dir.file(), b"").unwrap();
    assert_eq!(open(&dir.file()).unwrap().lookup.scan(None, 1).unwrap(), []);
}

/// A disk that forgets what was not synced.
#[derive(Debug, Default)]
struct Disk {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug, Clone, Default)]
struct Backend(Arc<Mutex<Disk>>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let part = disk.now.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.now.resize(len as usize, 0);
        // A length is told by the directory: it may come with or without what was written.
        disk.synced.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.synced = disk.now.clone();
        disk.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.now[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        disk.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}

impl Backend {
    /// What is on the disk when the power comes back: all that was synced, and of the rest what chance has it.
    fn lose_power(&self, random: &mut Random) -> Self {
        let disk = self.0.lock().unwrap();
        let mut now = disk.synced.clone();
        for (offset, data) in &disk.unsynced {
            let kept = match random.below(3) {
                0 => 0,
                1 => data.len(),
                _ => (random.below(data.len() as u64 / 512 + 1) * 512) as usize,
            };
            let end = (*offset as usize + kept).min(now.len());
            if let Some(place) = now.get_mut(*offset as usize..end) {
                let len = place.len();
                place.copy_from_slice(&data[..len]);
            }
        }
        Self(Arc::new(Mutex::new(Disk { synced: now.clone(), now, unsynced: Vec::new() })))
    }
}

#[test]
fn a_loss_of_power_takes_nothing_that_was_acknowledged() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut backend = Backend::default();
        let mut acknowledged = [0u64; 4];
        for life in 0..4 {
            let mut store = open_backend(backend.clone()).unwrap_or_else(|e| panic!("seed {seed}, life {life}: {e}"));
            for (stream, sequence) in acknowledged.iter_mut().enumerate() {
                let found = store.lookup.get_last_event_id(&name(stream as u64)).unwrap();
                let found = found.map_or(0, |cursor| cursor.sequence);
                assert!(found >= *sequence, "seed {seed}: {found} on the disk, {sequence} was acknowledged");
                *sequence = found;
            }
            // Power goes at any time: between commits, or in the middle of one.
            let mut lost = backend.lose_power(&mut random);
            for _ in 0..1 + random.below(6) {
                let stream = random.below(4) as usize;
                put(&mut store, stream as u64, acknowledged[stream] + 1).unwrap();
                acknowledged[stream] += 1;
                lost = backend.lose_power(&mut random);
            }
            backend = lost;
        }
    }
}
