//! Stores of recent raw events, so that replay survives a restart, or goes on in another process.
//!
//! In: blocks of whole events, as they were forwarded. Out: the newest of these blocks, in order; where the store shares
//! logs, who writes each of them, and what others write, as it comes.
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
//!
//! # What a store promises besides that shares logs, one whose [`Opened`](super::Opened) has a follower
//! 7. A log that was written with a [`Claim`] has one owner at a time. A claim names the fence that its writer has seen:
//!    the log changes its owner if it still has that fence, or is gone, and its fence then grows. Writes of anybody else
//!    are [`LogOutcome::Fenced`] and change nothing. Comparing and writing are one step.
//! 8. A write that is repeated, since its answer was lost, changes nothing more.
//! 9. The first block of a new owner follows the last one before it: what an earlier owner wrote with the same or
//!    greater numbers is cut off.
//! 10. A lease runs for the time that the owner's last write said. One of 0 gives the log up. A write without a claim
//!     is fenced while a lease runs.
//! 11. An end that does not follow the last block is [`LogEnd::Cut`]. A log that has its end has no lease, and stays readable until it expires. Its owner's next block takes the end
//!     away, and so does a claim.
//! 12. A follower is told every block behind the number that it names, once and in order, then the end; or that the
//!     owner is gone, once its lease is over or another one has the log; or that blocks are lost. The owner's writes say
//!     that somebody follows.

use super::error::StoreError;
use crate::base::StreamName;
use std::sync::Arc;
use std::time::Duration;

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

/// Who writes a log that processes share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// An epoch of the process that writes, always the same one.
    pub owner: u64,
    /// The fence of the log over which it is claimed, 0 for one that is new. `None`: it is the writer's already.
    pub seen: Option<u64>,
    /// How long the log is the writer's from now on, in milliseconds, unless it writes again. 0 gives it up.
    pub lease_ms: u64,
}

/// How a log has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogEnd {
    /// As the upstream ended the stream: nothing is missing.
    Whole,
    /// The upstream was lost.
    Cut,
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogOutcome {
    /// It is done.
    Written {
        /// Another process follows the log.
        followed: bool,
    },
    /// The log belongs to another process. Nothing was changed.
    Fenced,
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
        /// Who writes it. `None`: logs are not shared.
        claim: Option<Claim>,
    },
    /// There is nothing new, and the log still belongs to the process that writes it.
    Hold {
        /// The stream.
        name: Arc<StreamName>,
        /// Who writes it.
        claim: Claim,
    },
    /// The stream is over, and the log has all of its events that it will ever have.
    End {
        /// The stream.
        name: Arc<StreamName>,
        /// Who writes it.
        claim: Claim,
        /// How it ended.
        end: LogEnd,
        /// The number behind its last event.
        next: u64,
    },
    /// The log is of no use any more.
    Remove {
        /// The stream.
        name: Arc<StreamName>,
        /// Who removes it: its owner, or somebody after its lease. `None`: logs are not shared, or nobody has used its
        /// record for long.
        claim: Option<Claim>,
    },
}

impl LogWrite {
    /// The stream that it is about.
    pub fn name(&self) -> &Arc<StreamName> {
        match self {
            Self::Append { name, .. }
            | Self::Hold { name, .. }
            | Self::End { name, .. }
            | Self::Remove { name, .. } => name,
        }
    }

    /// Who writes it, where logs are shared.
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Append { claim, .. } | Self::Remove { claim, .. } => claim.as_ref(),
            Self::Hold { claim, .. } | Self::End { claim, .. } => Some(claim),
        }
    }

    /// The same, to be changed.
    pub fn claim_mut(&mut self) -> Option<&mut Claim> {
        match self {
            Self::Append { claim, .. } | Self::Remove { claim, .. } => claim.as_mut(),
            Self::Hold { claim, .. } | Self::End { claim, .. } => Some(claim),
        }
    }

    /// Bytes that it holds on the heap.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Append { block, .. } => block.bytes.len() + block.ends.len() * 4 + size_of::<LogBlock>(),
            Self::Hold { .. } | Self::End { .. } | Self::Remove { .. } => 0,
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
    /// How often it has changed its owner; 0 where logs are not shared.
    pub fence: u64,
    /// The owner. `None`: logs are not shared, or the last one has given it up.
    pub owner: Option<Lease>,
    /// How it has ended. `None`: it has not.
    pub end: Option<LogEnd>,
}

/// Who writes a log, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The [`Claim::owner`].
    pub epoch: u64,
    /// How long the log still belongs to it, in milliseconds; 0: its lease is over.
    pub left_ms: u64,
}

/// Keeps recent events. See the module's promises. Calls may block.
pub trait LogStore: Send {
    /// Appends blocks and trims each log to its bounds, in one step. The outer error means that no item is known to be
    /// written.
    ///
    /// # Errors
    /// [`StoreError`], for the whole batch or for single items.
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<LogOutcome, StoreError>>, StoreError>;

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

    /// Whether a part of the store that was away ([`StoreError::is_of_a_part`]) has come back since the last call. What
    /// failed for that is then written at once. A store that has no parts has nothing to say.
    fn has_recovered(&mut self) -> bool {
        false
    }
}

/// A log that another process writes, and how much of it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Following {
    /// The stream.
    pub name: Arc<StreamName>,
    /// The number of the last event that is known.
    pub after: u64,
    /// The fence that the log had when that was read.
    pub fence: u64,
}

/// What is new in a log that is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowNews {
    /// The next blocks.
    Blocks(Vec<LogBlock>),
    /// It has its end, behind everything that was told.
    Ended(LogEnd),
    /// Its owner is gone, and everything it wrote was told; or another one has the log.
    OwnerGone,
    /// The next events have left the log, or the log is gone.
    Lost,
    /// The part of the store that has the log is away, and others are not. It is asked again by the next call.
    Away,
}

/// How long a log counts as followed after a follower was last seen, in milliseconds.
pub const FOLLOWED_MS: u64 = 5_000;

/// Tells what other processes write to their logs. Calls may block.
pub trait LogFollower: Send {
    /// What is new in these logs, each by its place among them. Waits at most for `patience` until there is something, or
    /// not at all where the store cannot wait. A log may have several news, in their order. What a call has told is told
    /// again by the next one, unless that names a later event. That an owner is gone may be told some calls later.
    ///
    /// # Errors
    /// [`StoreError`], when the logs cannot be read.
    fn follow(&mut self, wanted: &[Following], patience: Duration) -> Result<Vec<(usize, FollowNews)>, StoreError>;
}

/// Marks holes between blocks that do not follow each other.
pub(super) fn state_holes(blocks: &mut [LogBlock]) {
    let mut next = None;
    for block in blocks {
        block.hole |= next.is_some_and(|next| next != block.first);
        next = Some(block.first + block.ends.len() as u64);
    }
}
