//! The persister over redb's own file format, on a disk that fills up. Nothing here sleeps: tests wait for answers.

use crate::base::{Cursor, EventId, Span, StreamName, Tick};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::persist::*;
use crate::slot::slots;
use crate::store::StoreError;
use crate::store::redb::open_backend;
use crate::timer::Backoff;
use ::redb::StorageBackend;
use crossbeam_channel::bounded;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A minute is for ever.
const LONG: Duration = Duration::from_secs(60);

/// What lies on the disk, and who has it open.
#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    is_full: bool,
    refused: u32,
    users: u32,
    openings: u32,
}

#[derive(Clone, Debug, Default)]
struct Backend(Arc<(Mutex<Disk>, Condvar)>);

impl Backend {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.0.lock().unwrap()
    }

    /// Opens it for one user alone, as a lock on a file does.
    fn open(&self) -> Result<crate::store::Opened, StoreError> {
        if std::mem::replace(&mut self.lock().users, 1) > 0 {
            return Err(StoreError::Locked { path: Path::new("disk").into() });
        }
        self.lock().openings += 1;
        open_backend(self.clone())
    }

    /// Waits until this holds.
    fn until(&self, holds: impl Fn(&Disk) -> bool) {
        let waited = self.0.1.wait_timeout_while(self.lock(), LONG, |disk| !holds(disk)).unwrap();
        assert!(!waited.1.timed_out());
    }

    fn refuse_when_full(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.lock();
        if !disk.is_full {
            return Ok(disk);
        }
        disk.refused += 1;
        self.0.1.notify_all();
        Err(io::ErrorKind::StorageFull.into())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.lock();
        let part = disk.bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.refuse_when_full()?.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.refuse_when_full()?.bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.lock().users = 0;
        self.0.1.notify_all();
        Ok(())
    }
}

#[test]
fn a_disk_that_was_full_gets_everything_once_it_has_space_again() {
    let (mut writer, drain) = slots(4);
    let (disk, metrics) = (Backend::default(), Arc::new(Metrics::default()));
    let config = PersistConfig {
        worker: WorkerConfig { window: Span::from_millis(1), ..WorkerConfig::default() },
        reopen: Backoff::new(Span::from_millis(1), Span::from_millis(1)),
        ..PersistConfig::new(77, 1)
    };
    let open: Opener = Box::new({
        let disk = disk.clone();
        move || disk.open()
    });
    let persister = Persister::start(config, drain, open, Arc::clone(&metrics), Clock::start()).unwrap();
    let flush = || {
        let (done, wait) = bounded(1);
        persister.control().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
        wait.recv_timeout(LONG) == Ok(true)
    };
    let names = [1, 2].map(|stream| StreamName { session: b"s"[..].into(), stream });
    let keys = names.clone().map(|name| writer.take(Arc::new(name)).unwrap());
    let mut publish = |n: usize, sequence: u64| {
        let id = EventId::from_bytes(sequence.to_string().as_bytes()).unwrap();
        writer.publish(keys[n], &Cursor { sequence, id, at: Tick::ZERO });
    };
    let look_up = |n: usize| {
        let (done, wait) = bounded(1);
        persister.control().load(names[n].clone(), Box::new(move |found| done.send(found).unwrap())).unwrap();
        wait.recv_timeout(LONG).unwrap().map(|found| found.map(|cursor| cursor.sequence))
    };
    assert_eq!(persister.first_open(Span::from_secs(60), false), Ok(Some(77)));
    for round in 0..3 {
        let sequence = 10 * round + 1;
        publish(0, sequence);
        assert!(flush());
        assert_eq!(look_up(0), Ok(Some(sequence)));
        disk.lock().is_full = true;
        disk.lock().refused = 0;
        publish(0, sequence + 1);
        publish(1, sequence + 2);
        // Once in the middle of work, then at opening.
        disk.until(|disk| disk.refused > 2);
        publish(0, sequence + 3);
        disk.lock().is_full = false;
        assert!(flush());
        assert_eq!((look_up(0), look_up(1)), (Ok(Some(sequence + 3)), Ok(Some(sequence + 2))));
        assert_eq!(metrics.persistence().store_open.get(), 1);
    }
    assert!(disk.lock().openings > 3 && metrics.persistence().failure.get() > 3);
    assert_eq!(persister.shutdown(Span::from_secs(60)).cursors, []);
    disk.until(|disk| disk.users == 0);
}
