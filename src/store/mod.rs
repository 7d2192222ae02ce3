//! Where cursors outlive a process: what a store promises, and a store in memory.
//!
//! In: cursors by session and stream, from the store threads only. Out: the same cursors, later.
//!
//! # What a store promises
//! 1. A call that returns `Ok` has done what it says; after an `Err` nothing is known of the call, and what was
//!    acknowledged before it still stands.
//! 2. No write moves a cursor backwards: cursors of one stream are ordered by epoch, then sequence, and a write that
//!    is not newer than the record changes nothing and says [`Stored::Stale`].
//! 3. An epoch is handed out once, and each is greater than all before it, whoever asks: it is the fencing token of
//!    Kleppmann, "How to do distributed locking" (2016).
//! 4. The items of a batch stand alone: each has its own result, in the order given, and one that fails does not fail
//!    another.
//! 5. Activity only moves forward, and makes no record where there is none.
//! 6. A removed record is gone for every later call, until a newer cursor is written.
//! 7. Names come in the order of their session's bytes, then the stream's number.
//! 8. The secret is the same for all that ask, and outlives the process where the records do.
//! 9. What fails for good says so with [`StoreError::Closed`]: then both halves are dropped and the store is opened again.
//! 10. An expired record goes only if its last activity lies before the time given, looked at in the same step: a newer
//!     write beside it is not lost.
//!
//! Calls may block; so they are made on the store threads, never on the reactor's.

pub mod conformance;
mod error;
#[doc(hidden)]
pub mod faulty;
mod log;
pub mod memory;
pub mod record;
#[cfg(feature = "redb")]
pub mod redb;

pub use error::StoreError;
pub use log::{LogBlock, LogBounds, LogStore, LogWrite, StoredLog};
pub use memory::MemoryStore;

use crate::base::{EventId, StreamName};
use std::sync::Arc;

/// A cursor as a store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredCursor {
    /// The epoch of the owner that wrote it.
    pub epoch: u64,
    /// Events that owner had delivered on the stream, from 1.
    pub sequence: u64,
    /// The id of the last one.
    pub id: EventId,
    /// When the session was last active, in milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
}

impl StoredCursor {
    /// Whether this cursor stands behind `other`, so that it may take its place.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.epoch, self.sequence) > (other.epoch, other.sequence)
    }
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// The record is as asked for.
    Written,
    /// A record that is as new or newer is there: nothing was changed.
    Stale,
}

/// One item of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// A new cursor.
    Cursor(StoredCursor),
    /// No new event, but the session is alive.
    Activity {
        /// In milliseconds since the Unix epoch.
        last_seen_ms: u64,
    },
    /// The stream is over: remove the record, unless a newer owner has written it.
    Remove {
        /// The epoch of the owner that removes.
        epoch: u64,
    },
    /// Nobody has used the record for long: remove it, whoever wrote it, if it was last active before this time.
    Expire {
        /// In milliseconds since the Unix epoch.
        before_ms: u64,
    },
}

/// Keeps cursors. See the module's promises.
pub trait SessionStore: Send {
    /// A new epoch, greater than any before it.
    ///
    /// # Errors
    /// [`StoreError`]; then no epoch was handed out, and nothing may be written.
    fn next_epoch(&mut self) -> Result<u64, StoreError>;

    /// The key that names are hashed with: the one the store holds, else `candidate`, which it keeps from then on.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was kept.
    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError>;

    /// The cursor of a stream, if there is a record.
    ///
    /// # Errors
    /// [`StoreError`], when the record cannot be read.
    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<StoredCursor>, StoreError>;

    /// Writes several items. The outer error means that none is known to be written.
    ///
    /// # Errors
    /// [`StoreError`], for the whole batch or for single items.
    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Stored, StoreError>>, StoreError>;

    /// Writes one cursor.
    ///
    /// # Errors
    /// [`StoreError`]; then the record is as it was.
    fn store_last_event_id(&mut self, name: &StreamName, cursor: &StoredCursor) -> Result<Stored, StoreError>;

    /// Removes a record, whoever wrote it; no record is no error.
    ///
    /// # Errors
    /// [`StoreError`]; then the record may still be there.
    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError>;

    /// Up to `limit` records behind a name, or from the first.
    ///
    /// # Errors
    /// [`StoreError`], when records cannot be read.
    fn scan(&mut self, after: Option<&StreamName>, limit: usize)
    -> Result<Vec<(StreamName, StoredCursor)>, StoreError>;

    /// Up to `limit` records of one session, in the order of the streams' numbers.
    ///
    /// # Errors
    /// [`StoreError`], when records cannot be read.
    fn session(&mut self, session: &[u8], limit: usize) -> Result<Vec<(StreamName, StoredCursor)>, StoreError> {
        let before = StreamName { session: session.into(), stream: 0 };
        let mut found: Vec<_> =
            self.get_last_event_id(&before)?.map(|cursor| (before.clone(), cursor)).into_iter().collect();
        found.extend(self.scan(Some(&before), limit)?.into_iter().take_while(|(name, _)| *name.session == *session));
        found.truncate(limit);
        Ok(found)
    }

    /// How many items of a batch the store likes at a time.
    fn batch_limit(&self) -> usize {
        50
    }
}

/// A store that was opened: a half that writes, for the persister, and a half that reads, for look-ups, which a slow
/// write must not hold up.
pub struct Opened {
    /// Writes cursors.
    pub sessions: Box<dyn SessionStore>,
    /// Reads cursors.
    pub lookup: Box<dyn SessionStore>,
    /// Writes logs, where the store can.
    pub logs: Option<Box<dyn LogStore>>,
    /// Reads logs.
    pub log_lookup: Option<Box<dyn LogStore>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}
