//! Cursors in a table of the file, by session and stream.
//!
//! In: items to write, names to look up. Out: records.
//! Laws: comparing and writing happen in one transaction, so no write can come in between; nothing is written into a
//! file that was deleted.

use super::key;
use super::place::Place;
use super::tables::{CURSORS, META, begin, refused};
use crate::base::StreamName;
use crate::store::encoding::{decode_record, encode_record};
use crate::store::{Outcome, Record, SessionStore, StoreError, Write};
use ::redb::{Database, ReadableDatabase, ReadableTable, Table};
use std::ops::Bound;
use std::sync::Arc;

/// Items of one commit: enough for everything that is due, and few enough that a commit ends soon.
const BATCH: usize = 10_000;

pub(super) struct Sessions {
    database: Arc<Database>,
    /// Where records are encoded before they go into the table.
    record: Vec<u8>,
    /// Where the file lies; `None`: it is no file, and the key lies in the database.
    place: Option<Arc<Place>>,
    /// The key's file was there.
    is_keyed: bool,
}

type Cursors<'t> = Table<'t, (&'static [u8], u64), &'static [u8]>;

impl Sessions {
    pub(super) fn new(database: Arc<Database>, place: Option<Arc<Place>>) -> Self {
        Self { database, record: Vec::new(), place, is_keyed: false }
    }

    /// The file lies where it was opened, and so does its key: what is written now is found again.
    fn check_place(&self) -> Result<(), StoreError> {
        let Some(place) = &self.place else { return Ok(()) };
        place.check()?;
        let key = key::file_of(&place.path);
        match key.try_exists() {
            Ok(false) if self.is_keyed => Err(StoreError::Gone { path: key }),
            _ => Ok(()),
        }
    }

    /// The key that lies in the database, as earlier versions kept it.
    fn old_secret(&self) -> Result<Option<u128>, StoreError> {
        let read = self.database.begin_read().map_err(|e| refused("beginning to read", e))?;
        let table = read.open_table(META).map_err(|e| refused("opening a table", e))?;
        secret_in(&table)
    }

    fn write(&mut self, table: &mut Cursors<'_>, name: &StreamName, write: &Write) -> Result<Outcome, StoreError> {
        let key = (&*name.session, name.stream);
        let old = table.get(key).map_err(|e| refused("reading a cursor", e))?;
        // A damaged record is as good as none: the write replaces it.
        let old = old.and_then(|bytes| decode_record(bytes.value()).ok());
        let new = match (write, old) {
            (Write::Cursor(new), Some(old)) if !new.is_newer_than(&old) => return Ok(Outcome::Stale),
            (Write::Cursor(new), Some(old)) => {
                Record { last_seen_ms: new.last_seen_ms.max(old.last_seen_ms), ..new.clone() }
            }
            (Write::Cursor(new), None) => new.clone(),
            (Write::Activity { last_seen_ms }, Some(old)) if *last_seen_ms > old.last_seen_ms => {
                Record { last_seen_ms: *last_seen_ms, ..old }
            }
            (Write::Activity { .. }, _) => return Ok(Outcome::Stale),
            (Write::Remove { epoch, sequence }, Some(old)) if (old.epoch, old.sequence) > (*epoch, *sequence) => {
                return Ok(Outcome::Stale);
            }
            (Write::Expire { before_ms }, Some(old)) if old.last_seen_ms >= *before_ms => return Ok(Outcome::Stale),
            (Write::Expire { .. }, None) => return Ok(Outcome::Stale),
            (Write::Remove { .. } | Write::Expire { .. }, _) => {
                table.remove(key).map_err(|e| refused("removing a cursor", e))?;
                return Ok(Outcome::Written);
            }
        };
        encode_record(&new, &mut self.record);
        table.insert(key, &*self.record).map_err(|e| refused("writing a cursor", e))?;
        Ok(Outcome::Written)
    }

    /// Reads and changes the file's own numbers, in one durable step.
    fn meta<R>(
        &self,
        change: impl FnOnce(&mut Table<'_, &'static str, u64>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let write = begin(&self.database)?;
        let result = {
            let mut table = write.open_table(META).map_err(|e| refused("opening a table", e))?;
            change(&mut table)?
        };
        write.commit().map_err(|e| refused("committing", e))?;
        Ok(result)
    }
}

impl SessionStore for Sessions {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        self.meta(|table| {
            let last = number(table, "epoch")?.unwrap_or(0);
            let next = last.checked_add(1).ok_or(StoreError::OutOfEpochs)?;
            table.insert("epoch", next).map_err(|e| refused("writing the epoch", e))?;
            Ok(next)
        })
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        let Some(place) = self.place.clone() else {
            return self.meta(|table| match secret_in(table)? {
                Some(secret) => Ok(secret),
                None => {
                    let halves = [candidate as u64, (candidate >> 64) as u64];
                    for (name, half) in SECRET.into_iter().zip(halves) {
                        table.insert(name, half).map_err(|e| refused("writing the secret", e))?;
                    }
                    Ok(candidate)
                }
            });
        };
        let old = self.old_secret()?;
        let secret = match key::read(&place.path)? {
            Some((secret, _)) => secret,
            None => key::make(&place.path, old.unwrap_or(candidate))?,
        };
        self.is_keyed = true;
        if old.is_some() {
            // The key is safe in its file, so it leaves the database.
            self.meta(|table| {
                SECRET.into_iter().try_for_each(|name| {
                    table.remove(name).map(drop).map_err(|e| refused("moving the key into a file of its own", e))
                })
            })?;
        }
        Ok(secret)
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<Record>, StoreError> {
        let read = self.database.begin_read().map_err(|e| refused("beginning to read", e))?;
        let table = read.open_table(CURSORS).map_err(|e| refused("opening a table", e))?;
        let found = table.get((&*name.session, name.stream)).map_err(|e| refused("reading a cursor", e))?;
        found.map(|bytes| decode_record(bytes.value())).transpose()
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        self.check_place()?;
        let database = Arc::clone(&self.database);
        let write = begin(&database)?;
        let results = {
            let mut table = write.open_table(CURSORS).map_err(|e| refused("opening a table", e))?;
            items.iter().map(|(name, item)| self.write(&mut table, name, item)).collect()
        };
        write.commit().map_err(|e| refused("committing", e))?;
        Ok(results)
    }

    fn store_last_event_id(&mut self, name: &StreamName, cursor: &Record) -> Result<Outcome, StoreError> {
        let item = (Arc::new(name.clone()), Write::Cursor(cursor.clone()));
        self.store_event_ids_batch(&[item])?.pop().unwrap_or(Err(StoreError::Closed))
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        let item = (Arc::new(name.clone()), Write::Remove { epoch: u64::MAX, sequence: u64::MAX });
        self.store_event_ids_batch(&[item])?.pop().unwrap_or(Err(StoreError::Closed)).map(drop)
    }

    fn scan(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        let read = self.database.begin_read().map_err(|e| refused("beginning to read", e))?;
        let table = read.open_table(CURSORS).map_err(|e| refused("opening a table", e))?;
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded((&*name.session, name.stream)));
        let range = table.range::<(&[u8], u64)>((from, Bound::Unbounded)).map_err(|e| refused("reading cursors", e))?;
        let mut found = Vec::new();
        for entry in range {
            let (key, value) = entry.map_err(|e| refused("reading cursors", e))?;
            let (session, stream) = key.value();
            // A damaged record is skipped: the others are sound.
            if let Ok(cursor) = decode_record(value.value()) {
                found.push((StreamName { session: session.into(), stream }, cursor));
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    fn batch_limit(&self) -> usize {
        BATCH
    }
}

/// Where earlier versions kept the key: its lower half, then its upper half.
const SECRET: [&str; 2] = ["secret-low", "secret-high"];

fn secret_in(table: &impl ReadableTable<&'static str, u64>) -> Result<Option<u128>, StoreError> {
    let [low, high] = SECRET;
    let halves = (number(table, low)?, number(table, high)?);
    Ok(if let (Some(low), Some(high)) = halves { Some(u128::from(high) << 64 | u128::from(low)) } else { None })
}

fn number(table: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<Option<u64>, StoreError> {
    Ok(table.get(name).map_err(|e| refused("reading the store's own numbers", e))?.map(|value| value.value()))
}
