//! A store that lives as long as the process: for tests, and where a restart may forget.
//!
//! In: records and log blocks. Out: the same, as long as the process lives.
//! Laws: it keeps the promises of
//! [`store`](super) by the simplest means, so that other stores can be compared with it; it holds no more records than
//! its limit.

use super::error::StoreError;
use super::log::{LogBlock, LogBounds, LogStore, LogWrite, StoredLog, state_holes};
use super::opened::Opened;
use super::record::Record;
use super::session::{Outcome, SessionStore, Write};
use crate::base::StreamName;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records and logs in two maps.
#[derive(Debug)]
pub struct MemoryStore {
    records: BTreeMap<StreamName, Record>,
    logs: BTreeMap<StreamName, Log>,
    epoch: u64,
    secret: Option<u128>,
    limit: usize,
}

#[derive(Default, Debug)]
struct Log {
    meta: Box<[u8]>,
    blocks: VecDeque<LogBlock>,
}

impl MemoryStore {
    /// An empty store for at most `limit` records, and as many logs. A record costs about 150 bytes, and more for ids
    /// above 64 bytes.
    pub fn new(limit: usize) -> Self {
        Self { records: BTreeMap::new(), logs: BTreeMap::new(), epoch: 0, secret: None, limit }
    }

    /// Records in the store.
    pub fn len(&self) -> usize {
        self.records.len()
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

impl MemoryStore {
    fn write_log(&mut self, item: &LogWrite) -> Result<(), StoreError> {
        match item {
            LogWrite::Remove { name } => {
                self.logs.remove(&**name);
            }
            LogWrite::Append { name, .. } if self.logs.len() >= self.limit && !self.logs.contains_key(&**name) => {
                return Err(StoreError::Full { limit: self.limit });
            }
            LogWrite::Append { name, block, meta, bounds } => {
                let log = self.logs.entry((**name).clone()).or_default();
                log.meta = (**meta).into();
                log.blocks.push_back((**block).clone());
                log.trim(bounds);
            }
        }
        Ok(())
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
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        Ok(items.iter().map(|item| self.write_log(item)).collect())
    }

    fn scan_logs(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, u64)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.logs.range((from, Bound::Unbounded)).take(limit);
        Ok(found.map(|(name, log)| (name.clone(), log.blocks.back().map_or(0, |block| block.at_ms))).collect())
    }

    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError> {
        let Some(log) = self.logs.get(name) else { return Ok(None) };
        let mut left = max_bytes;
        let fits = |block: &&LogBlock| {
            let fits = block.bytes.len() <= left;
            left = left.saturating_sub(block.bytes.len());
            fits
        };
        let count = log.blocks.iter().rev().take_while(fits).count().max(1);
        let mut blocks: Vec<LogBlock> =
            log.blocks.iter().skip(log.blocks.len().saturating_sub(count)).cloned().collect();
        state_holes(&mut blocks);
        Ok(Some(StoredLog { meta: log.meta.clone(), blocks }))
    }
}

impl Log {
    fn trim(&mut self, bounds: &LogBounds) {
        let newest = self.blocks.back().map_or(0, |block| block.at_ms);
        while self.blocks.len() > 1 {
            let events: usize = self.blocks.iter().map(|block| block.ends.len()).sum();
            let bytes: usize = self.blocks.iter().map(|block| block.bytes.len()).sum();
            let oldest = self.blocks.front().map_or(0, |block| block.at_ms);
            let is_old = newest.saturating_sub(oldest) > bounds.age_ms;
            if events as u64 <= bounds.events && bytes as u64 <= bounds.bytes && !is_old {
                return;
            }
            self.blocks.pop_front();
        }
    }
}

/// A new store for at most `limit` records, whose halves share one memory.
pub fn open(limit: usize) -> Opened {
    Shared::new(limit).open()
}

/// One memory that can be opened many times, as a file can over restarts.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<MemoryStore>>);

impl Shared {
    /// An empty one for at most `limit` records.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(MemoryStore::new(limit))))
    }

    /// Opens it.
    pub fn open(&self) -> Opened {
        Opened {
            sessions: Box::new(self.clone()),
            lookup: Box::new(self.clone()),
            logs: Some(Box::new(self.clone())),
            log_lookup: Some(Box::new(self.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryStore> {
        // No thread leaves the store half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.lock().write_logs(items)
    }

    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError> {
        self.lock().read_log(name, max_bytes)
    }

    fn scan_logs(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, u64)>, StoreError> {
        self.lock().scan_logs(after, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;

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
