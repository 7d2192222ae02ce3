//! The tables of a file, and what every use of them needs: a durable transaction, and what a failure means.
//!
//! Law: the name of a table of records ends with the version of their layout, so a new layout is a new table.

use crate::store::StoreError;
use ::redb::{Database, Durability, TableDefinition, WriteTransaction};

/// `format`, `epoch`, `secret-low`, `secret-high`.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("segno-meta");

/// Tuples are ordered field by field, so names come in the order that the store promises.
pub(super) const CURSORS: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("cursors-1");

/// Events and bytes in the stream's blocks (8 bytes each), then what the owner left.
pub(super) const HEADS: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("log-heads-1");
/// By session, stream and first event.
pub(super) const BLOCKS: TableDefinition<'_, (&[u8], u64, u64), &[u8]> = TableDefinition::new("log-blocks-1");

/// A transaction that is durable when it is committed.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut write = database.begin_write().map_err(|e| refused("beginning to write", e))?;
    write.set_durability(Durability::Immediate).map_err(|e| refused("beginning to write", e))?;
    write.set_quick_repair(true);
    Ok(write)
}

/// A failure in the middle of work: the disk is full, or the file went away. redb does nothing more with a file of
/// which one call has failed, also once the reason is gone: from the second call on, that is said.
pub(super) fn refused(doing: &'static str, why: impl Into<::redb::Error>) -> StoreError {
    use ::redb::Error;
    match why.into() {
        Error::PreviousIo | Error::DatabaseClosed | Error::LockPoisoned(_) => StoreError::Closed,
        why => StoreError::Io { doing, why: why.to_string().into() },
    }
}
