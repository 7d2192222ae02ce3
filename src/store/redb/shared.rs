//! The database that the halves of a store share, opened again when redb has given it up.
//!
//! In: work to do in a transaction. Out: its result, once the transaction is committed.
//! Law: redb refuses everything after one failure of the disk, and so after a full one, until the file is opened anew.
//! That is done at the next write, so a writer that tries again is all it takes.

use super::refused;
use crate::store::StoreError;
use ::redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, StorageError, TransactionError, WriteTransaction,
};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// One open database for all halves of a store.
pub(super) struct Shared {
    /// `None` after an attempt to open it again that failed.
    database: RwLock<Option<Database>>,
    again: Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>,
}

impl Shared {
    /// `again` opens the same file another time.
    pub(super) fn new(
        database: Database,
        again: impl Fn() -> Result<Database, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { database: RwLock::new(Some(database)), again: Box::new(again) }
    }

    /// Reads.
    pub(super) fn read<R>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let database = self.database();
        let Some(database) = &*database else { return Err(StoreError::Closed) };
        work(&database.begin_read().map_err(|e| refused("beginning to read", &e))?)
    }

    /// Writes, and commits what was written unless `work` fails.
    pub(super) fn write<R>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let begun = match self.begin() {
            Err(TransactionError::Storage(StorageError::PreviousIo | StorageError::DatabaseClosed)) => {
                self.open_again()?;
                self.begin()
            }
            begun => begun,
        };
        let write = begun.map_err(|e| refused("beginning to write", &e))?;
        let result = work(&write)?;
        write.commit().map_err(|e| refused("committing", &e))?;
        Ok(result)
    }

    fn begin(&self) -> Result<WriteTransaction, TransactionError> {
        match &*self.database() {
            Some(database) => begin(database),
            None => Err(StorageError::DatabaseClosed.into()),
        }
    }

    fn open_again(&self) -> Result<(), StoreError> {
        // Readers are through by then.
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: the file is locked as long as it is open.
        *database = None;
        *database = Some((self.again)()?);
        Ok(())
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction that is durable when it is committed.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, TransactionError> {
    let mut write = database.begin_write()?;
    // Refused only where savepoints were made, which nobody does here; durable is what it is then, too.
    let _ = write.set_durability(Durability::Immediate);
    write.set_quick_repair(true);
    Ok(write)
}
