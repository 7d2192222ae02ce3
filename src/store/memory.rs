//! A store that lives as long as the process: for tests, and where a restart may forget.
//!
//! In: records and log blocks. Out: the same, as long as the process lives.
//! Laws: it keeps the promises of
//! [`store`](super) by the simplest means, so that other stores can be compared with it; it holds no more records than
//! its limit.

mod logs;

use super::error::StoreError;
use super::log::{FollowNews, Following, LogFollower, LogOutcome, LogStore, LogWrite, StoredLog};
use super::opened::Opened;
use super::record::Record;
use super::session::{Outcome, SessionStore, Write};
use crate::base::StreamName;
use logs::Logs;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Records and logs in two maps.
#[derive(Debug)]
pub struct MemoryStore {
    records: BTreeMap<StreamName, Record>,
    logs: Logs,
    epoch: u64,
    secret: Option<u128>,
    limit: usize,
}

impl MemoryStore {
    /// An empty store for at most `limit` records, and as many logs. A record costs about 150 bytes, and more for ids
    /// above 64 bytes.
    pub fn new(limit: usize) -> Self {
        Self { records: BTreeMap::new(), logs: Logs::default(), epoch: 0, secret: None, limit }
    }

    /// Records in the store.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// So many milliseconds have passed for the leases of logs. They stand still otherwise, since one process has the
    /// store.
    pub fn pass(&mut self, ms: u64) {
        self.logs.pass(ms);
    }

    /// What is new in logs that are followed, as [`LogFollower::follow`] tells it.
    pub fn news(&mut self, wanted: &[Following]) -> Vec<(usize, FollowNews)> {
        let mut all = Vec::new();
        for (at, following) in wanted.iter().enumerate() {
            all.extend(self.logs.news(following).into_iter().map(|news| (at, news)));
        }
        all
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn write(&mut self, name: &StreamName, write: &Write) -> Result<Outcome, StoreError> {
        match write {
            Write::Cursor(cursor) => self.store_last_event_id(name, cursor),
            Write::Activity { last_seen_ms } => match self.records.get_mut(name) {
                Some(record) if record.last_seen_ms < *last_seen_ms => {
                    record.last_seen_ms = *last_seen_ms;
                    Ok(Outcome::Written)
                }
                _ => Ok(Outcome::Stale),
            },
            Write::Remove { epoch, sequence } => match self.records.get(name) {
                Some(record) if (record.epoch, record.sequence) > (*epoch, *sequence) => Ok(Outcome::Stale),
                _ => self.remove(name).map(|()| Outcome::Written),
            },
            Write::Expire { before_ms } => match self.records.get(name) {
                Some(record) if record.last_seen_ms < *before_ms => self.remove(name).map(|()| Outcome::Written),
                _ => Ok(Outcome::Stale),
            },
        }
    }
}

impl SessionStore for MemoryStore {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        self.epoch = self.epoch.checked_add(1).ok_or(StoreError::OutOfEpochs)?;
        Ok(self.epoch)
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        Ok(*self.secret.get_or_insert(candidate))
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<Record>, StoreError> {
        Ok(self.records.get(name).cloned())
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        Ok(items.iter().map(|(name, write)| self.write(name, write)).collect())
    }

    fn store_last_event_id(&mut self, name: &StreamName, cursor: &Record) -> Result<Outcome, StoreError> {
        let is_full = self.records.len() >= self.limit;
        match self.records.get_mut(name) {
            Some(record) if !cursor.is_newer_than(record) => Ok(Outcome::Stale),
            Some(record) => {
                let last_seen_ms = record.last_seen_ms.max(cursor.last_seen_ms);
                *record = Record { last_seen_ms, ..cursor.clone() };
                Ok(Outcome::Written)
            }
            None if is_full => Err(StoreError::Full { limit: self.limit }),
            None => {
                self.records.insert(name.clone(), cursor.clone());
                Ok(Outcome::Written)
            }
        }
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        self.records.remove(name);
        Ok(())
    }

    fn scan(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.records.range((from, Bound::Unbounded)).take(limit);
        Ok(found.map(|(name, cursor)| (name.clone(), cursor.clone())).collect())
    }
}

impl LogStore for MemoryStore {
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<LogOutcome, StoreError>>, StoreError> {
        Ok(items.iter().map(|item| self.logs.write(item, self.limit)).collect())
    }

    fn scan_logs(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, u64)>, StoreError> {
        Ok(self.logs.scan(after, limit))
    }

    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError> {
        Ok(self.logs.read(name, max_bytes))
    }
}

/// A new store for at most `limit` records, whose halves share one memory.
pub fn open(limit: usize) -> Opened {
    Shared::new(limit).open()
}

/// One memory that can be opened many times, as a file can over restarts.
#[derive(Clone, Debug)]
pub struct Shared(Arc<(Mutex<MemoryStore>, Condvar)>);

impl Shared {
    /// An empty one for at most `limit` records.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new((Mutex::new(MemoryStore::new(limit)), Condvar::new())))
    }

    /// Opens it.
    pub fn open(&self) -> Opened {
        Opened {
            sessions: Box::new(self.clone()),
            lookup: Box::new(self.clone()),
            logs: Some(Box::new(self.clone())),
            log_lookup: Some(Box::new(self.clone())),
            follower: Some(Box::new(self.clone())),
        }
    }

    /// So many milliseconds have passed for the leases of logs.
    pub fn pass(&self, ms: u64) {
        self.lock().pass(ms);
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, MemoryStore> {
        // No thread leaves the store half changed.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for Shared {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        self.lock().next_epoch()
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        self.lock().secret(candidate)
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<Record>, StoreError> {
        self.lock().get_last_event_id(name)
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        self.lock().store_event_ids_batch(items)
    }

    fn store_last_event_id(&mut self, name: &StreamName, cursor: &Record) -> Result<Outcome, StoreError> {
        self.lock().store_last_event_id(name, cursor)
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        self.lock().remove(name)
    }

    fn scan(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        self.lock().scan(after, limit)
    }

    fn batch_limit(&self) -> usize {
        self.lock().batch_limit()
    }
}

impl LogStore for Shared {
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<LogOutcome, StoreError>>, StoreError> {
        let results = self.lock().write_logs(items);
        self.0.1.notify_all();
        results
    }

    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError> {
        self.lock().read_log(name, max_bytes)
    }

    fn scan_logs(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, u64)>, StoreError> {
        self.lock().scan_logs(after, limit)
    }
}

impl LogFollower for Shared {
    fn follow(&mut self, wanted: &[Following], patience: Duration) -> Result<Vec<(usize, FollowNews)>, StoreError> {
        let mut store = self.lock();
        let mut news = store.news(wanted);
        if news.is_empty() && !wanted.is_empty() {
            store = self.0.1.wait_timeout(store, patience).unwrap_or_else(PoisonError::into_inner).0;
            news = store.news(wanted);
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;

    #[test]
    fn its_logs_keep_the_promises_of_shared_ones() {
        let memory = Shared::new(usize::MAX);
        let mut pass = |time: Duration| memory.pass(time.as_millis() as u64);
        crate::store::conformance::check_shared(&mut || memory.open(), &mut pass);
    }

    #[test]
    fn a_full_store_refuses_new_records_and_takes_old_ones() {
        let mut store = MemoryStore::new(1);
        let name = |stream| StreamName { session: b"s"[..].into(), stream };
        let id = EventId::from_bytes(b"1").unwrap();
        let cursor = |sequence| Record { epoch: 1, sequence, id: id.clone(), last_seen_ms: 0 };
        assert_eq!(store.store_last_event_id(&name(1), &cursor(1)), Ok(Outcome::Written));
        assert_eq!(store.store_last_event_id(&name(2), &cursor(1)), Err(StoreError::Full { limit: 1 }));
        assert_eq!(store.store_last_event_id(&name(1), &cursor(2)), Ok(Outcome::Written));
        assert_eq!((store.len(), store.is_empty()), (1, false));
    }
}
