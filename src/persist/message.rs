//! What the persister's threads are told and asked, and how they answer.
//!
//! In: what callers want. Out: messages for the writing thread, questions for the look-up thread, the reading half that
//! the first thread lends to the second.
//! Law: each caller of a flush is answered exactly once, whatever becomes of the message.

use crate::base::StreamName;
use crate::store::{LogBlock, LogEnd, LogStore, Opened, Record, SessionStore, StoreError, StoredLog};
use crate::sync::Teller;
use std::sync::Arc;

/// Opens the store; called until it succeeds.
pub type Opener = Box<dyn FnMut() -> Result<Opened, StoreError> + Send>;

/// Takes an answer. Called on the look-up thread, so it must not wait.
pub type Reply<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Says whether a stored log is wanted. Called on the look-up thread, so it must not wait.
pub type Wanted = Box<dyn FnMut(&StoredLog) -> bool + Send>;

/// What the store says of logs that processes share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogNews {
    /// Another process has this log now, which was this one's.
    TakenOver {
        /// The stream.
        name: Arc<StreamName>,
    },
    /// Whether another process follows this log of this process has changed.
    Watched {
        /// The stream.
        name: Arc<StreamName>,
        /// Somebody follows it.
        followed: bool,
    },
    /// What is new in a log that is followed under this key.
    Followed {
        /// The key that the caller gave.
        key: u64,
        /// What is new.
        news: FollowedLog,
    },
}

/// What is new in a log that is followed. Nothing comes behind anything but blocks and the word that the store is away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowedLog {
    /// The next blocks.
    Blocks(Vec<LogBlock>),
    /// The log has its end, behind the event with this number.
    Ended(LogEnd, u64),
    /// Its owner is gone.
    OwnerGone,
    /// The next events are not in the log any more.
    Lost,
    /// The store cannot be asked at present.
    Away,
}

/// Takes news of shared logs; false: there is no room, and they are told again. Called on store threads, so it must not
/// wait.
pub type Listener = Arc<dyn Fn(LogNews) -> bool + Send + Sync>;

/// What the flusher is told.
pub(super) enum Message {
    /// FlushReply when everything published before is durable.
    Flush(FlushReply),
    /// Whatever kept the store from being opened may be gone: try now.
    OpenNow,
    /// The names that are stored from now on are hashed with this key.
    GoesBy(u128),
    /// News of this process's logs go here.
    Listen(Listener),
    /// The reading or the following half of an opening of the store has failed for good.
    Closed {
        /// The number of the opening.
        opening: u64,
    },
}

/// Tells a caller whether its flush was done, exactly once. Where it is dropped, the caller is told that the flush was
/// not done: a message may still lie in the inbox when the flusher ends.
pub(super) struct FlushReply(Option<Box<dyn FnOnce(bool) + Send>>);

impl FlushReply {
    /// An answer that calls `reply`.
    pub(super) fn new(reply: Box<dyn FnOnce(bool) + Send>) -> Self {
        Self(Some(reply))
    }

    /// Gives the answer.
    pub(super) fn give(mut self, is_done: bool) {
        if let Some(reply) = self.0.take() {
            reply(is_done);
        }
    }

    /// Gives none: the flush was refused, and the caller is told so in another way.
    pub(super) fn withdraw(mut self) {
        self.0 = None;
    }
}

impl Drop for FlushReply {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(false);
        }
    }
}

/// The reading half of a store.
pub(super) struct Half {
    /// The number of the opening that it belongs to.
    pub(super) opening: u64,
    pub(super) sessions: Box<dyn SessionStore>,
    pub(super) logs: Option<Box<dyn LogStore>>,
}

/// What is asked of the look-up thread.
pub(super) enum Question {
    Session {
        session: Box<[u8]>,
        limit: usize,
        reply: Reply<Vec<(StreamName, Record)>>,
    },
    Cursor {
        name: StreamName,
        reply: Reply<Option<Record>>,
    },
    Scan {
        after: Option<StreamName>,
        limit: usize,
        reply: Reply<Vec<(StreamName, Record)>>,
    },
    Logs {
        session: Box<[u8]>,
        wanted: Wanted,
        limit: usize,
        max_bytes: usize,
        reply: Reply<Vec<(StreamName, Record, StoredLog)>>,
    },
}

/// Lends the look-up thread a half of the store, and takes it back. Neither waits; only the newest of these words
/// counts.
pub(super) struct Lender(pub(super) Teller<Option<Half>>);

impl Lender {
    /// From now on this half is asked. One that was lent before and not heard of yet is dropped.
    pub(super) fn lend(&self, half: Half) {
        drop(self.0.tell(Some(half)));
    }

    /// From now on no half is asked; the thread drops the one that it has.
    pub(super) fn take_back(&self) {
        drop(self.0.tell(None));
    }
}
