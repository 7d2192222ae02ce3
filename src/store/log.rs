//! Stores of recent raw events, so that replay survives a restart.
//!
//! In: blocks of whole events, as they were forwarded. Out: the newest of these blocks, in order.
//!
//! # What a log store promises
//! 1. A call that returns `Ok` has done what it says. After an `Err` nothing is known of the call, and what was
//!    acknowledged before still stands.
//! 2. The items of a batch stand alone, as in a [`super::SessionStore`].
//! 3. After an append the stream's log is within its bounds: the oldest blocks are removed. The newest block always
//!    stays.
//! 4. Blocks are read in the order in which they were appended, and every hole is stated: a block that does not follow
//!    the one before it has `hole` set. Where a block is damaged, only the blocks after it are read.
//! 5. A removed log is gone for every later call, until the next append to it.
//! 6. Logs are listed in the order of their names, like records.

use super::error::StoreError;
use crate::base::StreamName;
use std::sync::Arc;

/// Consecutive events of one stream. Immutable once made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogBlock {
    /// The number of its first event in the stream, from 1.
    pub first: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whole events, as they were forwarded.
    pub bytes: Box<[u8]>,
    /// Where each event ends within the bytes.
    pub ends: Box<[u32]>,
    /// Events are missing between the block before it and this one.
    pub hole: bool,
}

/// The bounds of a stored log. The first one that is reached counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBounds {
    /// Events.
    pub events: u64,
    /// Bytes of events.
    pub bytes: u64,
    /// Milliseconds between the oldest block and the newest.
    pub age_ms: u64,
}

/// One item of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogWrite {
    /// The next block of a stream.
    Append {
        /// The stream.
        name: Arc<StreamName>,
        /// Its events.
        block: Arc<LogBlock>,
        /// What the owner needs to go on with the stream, at most 1 KiB. The newest is kept.
        meta: Arc<[u8]>,
        /// The bounds of this stream's log.
        bounds: LogBounds,
    },
    /// The log is of no use any more.
    Remove {
        /// The stream.
        name: Arc<StreamName>,
    },
}

impl LogWrite {
    /// The stream that it is about.
    pub fn name(&self) -> &Arc<StreamName> {
        match self {
            Self::Append { name, .. } | Self::Remove { name } => name,
        }
    }

    /// Bytes that it holds on the heap.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Append { block, .. } => block.bytes.len() + block.ends.len() * 4 + size_of::<LogBlock>(),
            Self::Remove { .. } => 0,
        }
    }
}

/// A log as a store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredLog {
    /// What the owner gave with the newest block.
    pub meta: Box<[u8]>,
    /// Its blocks, the oldest first.
    pub blocks: Vec<LogBlock>,
}

/// Keeps recent events. See the module's promises. Calls may block.
pub trait LogStore: Send {
    /// Appends blocks and trims each log to its bounds, in one step. The outer error means that no item is known to be
    /// written.
    ///
    /// # Errors
    /// [`StoreError`], for the whole batch or for single items.
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<(), StoreError>>, StoreError>;

    /// The newest blocks of a stream: as many as have at most `max_bytes` together, and at least one.
    ///
    /// # Errors
    /// [`StoreError`], when the log cannot be read.
    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError>;

    /// Up to `limit` logs after a name, or from the first, each with the time of its newest block, so that logs without
    /// a record can be found and removed. A store that removes such logs itself need not list any.
    ///
    /// # Errors
    /// [`StoreError`], when logs cannot be read.
    fn scan_logs(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, u64)>, StoreError> {
        let _ = (after, limit);
        Ok(Vec::new())
    }
}

/// Marks holes between blocks that do not follow each other.
pub(super) fn state_holes(blocks: &mut [LogBlock]) {
    let mut next = None;
    for block in blocks {
        block.hole |= next.is_some_and(|next| next != block.first);
        next = Some(block.first + block.ends.len() as u64);
    }
}
