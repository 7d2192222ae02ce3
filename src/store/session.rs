//! The trait of a store of cursors, and what is written through it.
//!
//! In: items to write, names to look up. Out: an outcome for each item; records.
//! Laws: the promises on the page of [`store`](super).

use super::error::StoreError;
use super::record::Record;
use crate::base::StreamName;
use std::sync::Arc;

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The record is now as the write says.
    Written,
    /// Nothing was changed: there is a record as new or newer, or none that the write could change.
    Stale,
}

/// One item of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// A new cursor.
    Cursor(Record),
    /// No new event, but the session is alive.
    Activity {
        /// In milliseconds since the Unix epoch.
        last_seen_ms: u64,
    },
    /// The stream is over: removes the record, unless it is newer than the end of the stream. A removal that is tried
    /// again late, or written late, so leaves alone what was begun again under the same name.
    Remove {
        /// The epoch of the owner that removes.
        epoch: u64,
        /// The last sequence that this owner gave out on the stream.
        sequence: u64,
    },
    /// Nobody has used the record for long: removes it, no matter which owner wrote it, if it was last active before
    /// this time.
    Expire {
        /// In milliseconds since the Unix epoch.
        before_ms: u64,
    },
}

/// Keeps cursors. See the promises on the page of [`store`](super). Calls may block.
pub trait SessionStore: Send {
    /// A new epoch, greater than any before it.
    ///
    /// # Errors
    /// [`StoreError`]; then no epoch was handed out, and nothing may be written.
    fn next_epoch(&mut self) -> Result<u64, StoreError>;

    /// The key that names are hashed with: the one that the store holds, or else `candidate`, which the store keeps
    /// from then on.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was kept.
    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError>;

    /// The cursor of a stream, if there is a record.
    ///
    /// # Errors
    /// [`StoreError`], when the record cannot be read.
    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<Record>, StoreError>;

    /// Writes several items. The outer error means that no item is known to be written.
    ///
    /// # Errors
    /// [`StoreError`], for the whole batch or for single items.
    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError>;

    /// Writes one cursor.
    ///
    /// # Errors
    /// [`StoreError`]; then the record is as it was.
    fn store_last_event_id(&mut self, name: &StreamName, cursor: &Record) -> Result<Outcome, StoreError>;

    /// Removes a record, no matter which owner wrote it. That there is none is no error.
    ///
    /// # Errors
    /// [`StoreError`]; then the record may still be there.
    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError>;

    /// Up to `limit` records after a name, or from the first.
    ///
    /// # Errors
    /// [`StoreError`], when records cannot be read.
    fn scan(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError>;

    /// Up to `limit` records of one session, in the order of the streams' numbers.
    ///
    /// # Errors
    /// [`StoreError`], when records cannot be read.
    fn session(&mut self, session: &[u8], limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        let before = StreamName { session: session.into(), stream: 0 };
        let mut found: Vec<_> =
            self.get_last_event_id(&before)?.map(|cursor| (before.clone(), cursor)).into_iter().collect();
        found.extend(self.scan(Some(&before), limit)?.into_iter().take_while(|(name, _)| *name.session == *session));
        found.truncate(limit);
        Ok(found)
    }

    /// How many items the store likes in a batch.
    fn batch_limit(&self) -> usize {
        50
    }

    /// Whether a part of the store that was away ([`StoreError::is_of_a_part`]) has come back since the last call. What
    /// failed for that is then written at once. A store that has no parts has nothing to say.
    fn has_recovered(&mut self) -> bool {
        false
    }

    /// Whether nothing is left for [`SessionStore::settle`].
    fn is_settled(&self) -> bool {
        true
    }

    /// Does what writing has put off, for records that were not written since the last call but one, or for `all`. It
    /// is called every now and then while something is left, and before the end.
    ///
    /// # Errors
    /// [`StoreError`]; then what was not done is still left.
    fn settle(&mut self, all: bool) -> Result<(), StoreError> {
        let _ = all;
        Ok(())
    }
}
