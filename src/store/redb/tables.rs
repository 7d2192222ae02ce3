//! The tables of a file, and what every use of them needs: a durable transaction, and what a failure means.
//!
//! Law: the name of a table of records ends with the version of their layout, so a new layout is a new table.

use crate::store::StoreError;
use ::redb::{Database, Durability, TableDefinition, WriteTransaction};

/// The file's own numbers: `format`, `epoch`; in files of earlier versions also the two halves of the key.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("segno-meta");

/// Records by session and stream. Tuples are ordered field by field, so names come in the order that the store
/// promises.
pub(super) const CURSORS: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("cursors-1");

/// Heads by session and stream: the totals of events and of bytes in the stream's blocks (8 bytes each), then what the
/// owner gave.
pub(super) const HEADS: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("log-heads-1");
/// Blocks by session, stream and first event.
pub(super) const BLOCKS: TableDefinition<'_, (&[u8], u64, u64), &[u8]> = TableDefinition::new("log-blocks-1");

/// A transaction that is durable once it is committed.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut write = database.begin_write().map_err(|e| refused("beginning to write", e))?;
    write.set_durability(Durability::Immediate).map_err(|e| refused("beginning to write", e))?;
    write.set_quick_repair(true);
    Ok(write)
}

/// What a failure in the middle of work means: the disk is full, or the file went away. Once a call on a file has
/// failed, redb refuses every further one, also when the cause is gone: from the second failure on the store counts as
/// closed.
pub(super) fn refused(doing: &'static str, why: impl Into<::redb::Error>) -> StoreError {
    use ::redb::Error;
    match why.into() {
        Error::PreviousIo | Error::DatabaseClosed | Error::LockPoisoned(_) => StoreError::Closed,
        why => StoreError::Io { doing, why: why.to_string().into() },
    }
}
