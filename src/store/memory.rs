//! A store that lives as long as the process: for tests, and where a restart may forget.
//!
//! Law: it keeps the promises of [`super`] with the simplest means there are, so that other stores can be held
//! against it; it holds no more records than it was told.

use super::{SessionStore, StoreError, Stored, StoredCursor, Write};
use crate::base::StreamName;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Cursors in a map.
#[derive(Debug)]
pub struct MemoryStore {
    records: BTreeMap<StreamName, StoredCursor>,
    epoch: u64,
    limit: usize,
}

impl MemoryStore {
    /// An empty store for at most `limit` records. A record costs about 150 bytes, and more for ids above 64 bytes.
    pub fn new(limit: usize) -> Self {
        Self { records: BTreeMap::new(), epoch: 0, limit }
    }

    /// Records in the store.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn write(&mut self, name: &StreamName, write: &Write) -> Result<Stored, StoreError> {
        match write {
            Write::Cursor(cursor) => self.store_last_event_id(name, cursor),
            Write::Activity { last_seen_ms } => match self.records.get_mut(name) {
                Some(record) if record.last_seen_ms < *last_seen_ms => {
                    record.last_seen_ms = *last_seen_ms;
                    Ok(Stored::Written)
                }
                _ => Ok(Stored::Stale),
            },
            Write::Remove { epoch } => match self.records.get(name) {
                Some(record) if record.epoch > *epoch => Ok(Stored::Stale),
                _ => self.remove(name).map(|()| Stored::Written),
            },
        }
    }
}

impl SessionStore for MemoryStore {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        self.epoch = self.epoch.checked_add(1).ok_or(StoreError::OutOfEpochs)?;
        Ok(self.epoch)
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<StoredCursor>, StoreError> {
        Ok(self.records.get(name).cloned())
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(StreamName, Write)],
    ) -> Result<Vec<Result<Stored, StoreError>>, StoreError> {
        Ok(items.iter().map(|(name, write)| self.write(name, write)).collect())
    }

    fn store_last_event_id(&mut self, name: &StreamName, cursor: &StoredCursor) -> Result<Stored, StoreError> {
        let is_full = self.records.len() >= self.limit;
        match self.records.get_mut(name) {
            Some(record) if !cursor.is_newer_than(record) => Ok(Stored::Stale),
            Some(record) => {
                let last_seen_ms = record.last_seen_ms.max(cursor.last_seen_ms);
                *record = StoredCursor { last_seen_ms, ..cursor.clone() };
                Ok(Stored::Written)
            }
            None if is_full => Err(StoreError::Full { limit: self.limit }),
            None => {
                self.records.insert(name.clone(), cursor.clone());
                Ok(Stored::Written)
            }
        }
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        self.records.remove(name);
        Ok(())
    }

    fn scan(
        &mut self,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<(StreamName, StoredCursor)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.records.range((from, Bound::Unbounded)).take(limit);
        Ok(found.map(|(name, cursor)| (name.clone(), cursor.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;

    fn name(session: &str, stream: u64) -> StreamName {
        StreamName { session: session.as_bytes().into(), stream }
    }

    fn cursor(epoch: u64, sequence: u64) -> StoredCursor {
        let id = EventId::from_bytes(format!("{epoch}-{sequence}").as_bytes()).unwrap();
        StoredCursor { epoch, sequence, id, last_seen_ms: 1_000 * epoch + sequence }
    }

    #[test]
    fn no_write_moves_a_cursor_backwards() {
        let (mut store, n) = (MemoryStore::new(10), name("a", 1));
        assert_eq!(store.store_last_event_id(&n, &cursor(2, 5)), Ok(Stored::Written));
        for stale in [cursor(2, 5), cursor(2, 4), cursor(1, 9)] {
            assert_eq!(store.store_last_event_id(&n, &stale), Ok(Stored::Stale));
        }
        assert_eq!(store.get_last_event_id(&n), Ok(Some(cursor(2, 5))));
        assert_eq!(store.store_last_event_id(&n, &cursor(3, 1)), Ok(Stored::Written));
    }

    #[test]
    fn each_epoch_is_greater_than_the_last() {
        let mut store = MemoryStore::new(1);
        let epochs: Vec<_> = (0..5).map(|_| store.next_epoch().unwrap()).collect();
        assert!(epochs.is_sorted_by(|a, b| a < b));
        store.epoch = u64::MAX;
        assert_eq!(store.next_epoch(), Err(StoreError::OutOfEpochs));
    }

    #[test]
    fn an_item_that_fails_does_not_fail_another() {
        let mut store = MemoryStore::new(1);
        let items = [1, 2, 1].map(|stream| (name("a", stream), Write::Cursor(cursor(1, stream))));
        let results = store.store_event_ids_batch(&items).unwrap();
        assert_eq!(results, [Ok(Stored::Written), Err(StoreError::Full { limit: 1 }), Ok(Stored::Stale)]);
    }

    #[test]
    fn activity_moves_forward_and_makes_no_record() {
        let (mut store, n) = (MemoryStore::new(10), name("a", 1));
        let seen = |ms| [(n.clone(), Write::Activity { last_seen_ms: ms })];
        assert_eq!(store.store_event_ids_batch(&seen(9)).unwrap(), [Ok(Stored::Stale)]);
        assert!(store.is_empty());
        store.store_last_event_id(&n, &cursor(1, 1)).unwrap();
        assert_eq!(store.store_event_ids_batch(&seen(5_000)).unwrap(), [Ok(Stored::Written)]);
        assert_eq!(store.store_event_ids_batch(&seen(4_000)).unwrap(), [Ok(Stored::Stale)]);
        store.store_last_event_id(&n, &cursor(1, 2)).unwrap();
        assert_eq!(store.get_last_event_id(&n).unwrap().unwrap().last_seen_ms, 5_000);
    }

    #[test]
    fn an_old_owner_cannot_remove_what_a_newer_one_wrote() {
        let (mut store, n) = (MemoryStore::new(10), name("a", 1));
        store.store_last_event_id(&n, &cursor(2, 1)).unwrap();
        let remove = |epoch| [(n.clone(), Write::Remove { epoch })];
        assert_eq!(store.store_event_ids_batch(&remove(1)).unwrap(), [Ok(Stored::Stale)]);
        assert_eq!(store.store_event_ids_batch(&remove(2)).unwrap(), [Ok(Stored::Written)]);
        assert_eq!(store.get_last_event_id(&n), Ok(None));
    }

    #[test]
    fn a_scan_goes_on_behind_the_last_name() {
        let mut store = MemoryStore::new(10);
        for n in [name("b", 1), name("a", 2), name("a", 1)] {
            store.store_last_event_id(&n, &cursor(1, 1)).unwrap();
        }
        let first: Vec<_> = store.scan(None, 2).unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(first, [name("a", 1), name("a", 2)]);
        let rest: Vec<_> = store.scan(first.last(), 2).unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(rest, [name("b", 1)]);
    }
}
