//! Stores of recent raw events, so that replay survives a restart.
//!
//! In: blocks of whole events as they were forwarded. Out: the newest of them, in order.
//!
//! # What a log store promises
//! 1. A call that returns `Ok` has done what it says; after an `Err` nothing is known of the call, and what was
//!    acknowledged before it still stands.
//! 2. The items of a batch stand alone, as those of a [`super::SessionStore`] do.
//! 3. After an append a stream's stored log keeps to the bounds: the oldest blocks leave. The newest block always
//!    stays.
//! 4. What is read comes in the order it was appended and without a hole that is not stated: a block that does not
//!    follow the one before it has `hole` set, and of a damaged one only what lies behind it is given.
//! 5. A removed log is gone for every later call, until it is appended to again.
//! 6. Logs are listed in the order of their names, as records are.

use super::error::StoreError;
use crate::base::StreamName;
use std::sync::Arc;

/// Events of one stream that lie together. Immutable once made.
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

/// The bounds of a stored log: the first that is reached rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBounds {
    /// Events.
    pub events: u64,
    /// Bytes of events.
    pub bytes: u64,
    /// Milliseconds between the newest block and the oldest.
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
        /// What the owner needs to go on with the stream, at most 1 KiB; the newest is kept.
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
    /// The stream it is about.
    pub fn name(&self) -> &Arc<StreamName> {
        match self {
            Self::Append { name, .. } | Self::Remove { name } => name,
        }
    }

    /// Bytes it holds on the heap.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Append { block, .. } => block.bytes.len() + block.ends.len() * 4 + size_of::<LogBlock>(),
            Self::Remove { .. } => 0,
        }
    }
}

/// A stored log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredLog {
    /// What the owner left beside it last.
    pub meta: Box<[u8]>,
    /// Its blocks, the oldest first.
    pub blocks: Vec<LogBlock>,
}

/// Keeps recent events. See the module's promises. Calls may block.
pub trait LogStore: Send {
    /// Appends blocks and trims each log to its bounds, in one step. The outer error means that none is known to be
    /// written.
    ///
    /// # Errors
    /// [`StoreError`], for the whole batch or for single items.
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<(), StoreError>>, StoreError>;

    /// The newest blocks of a stream that have at most `max_bytes` together (at least one block).
    ///
    /// # Errors
    /// [`StoreError`], when the log cannot be read.
    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError>;

    /// Up to `limit` logs behind a name, or from the first, each with the time of its newest block: so that those are
    /// found whose records went without them. A store whose logs go by themselves has none to list.
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
