//! The persister, asked from any thread: look-ups, flushes, log blocks.
//!
//! In: calls from any thread. Out: messages to the persister's threads, over bounded channels.
//! Laws: no call waits; a message that finds no place is refused and counted.

use super::following::{self, Word};
use super::logs::LogSender;
use super::message::{FlushReply, Listener, Message, Question, Reply, Wanted};
use crate::base::StreamName;
use crate::metrics::Metrics;
use crate::slot::Ringer;
use crate::store::{LogWrite, Record, StoredLog};
use crate::sync::{Asker, Counter, Post};
use crossbeam_channel::Sender;
use std::sync::Arc;

/// The persister took no message: its channel is full, or it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the persister has too much to do or has ended; try again later")
    }
}

impl std::error::Error for Refused {}

/// Asks the persister, from any thread.
#[derive(Clone, Debug)]
pub struct PersistControl {
    pub(super) messages: Post<Message>,
    pub(super) questions: Asker<Question>,
    pub(super) logs: LogSender,
    pub(super) follows: Sender<Word>,
    /// The epoch that this process's claims name; 0: not known yet.
    pub(super) owner: Arc<Counter>,
    pub(super) ringer: Ringer,
    pub(super) metrics: Arc<Metrics>,
}

impl PersistControl {
    /// Looks up the cursors of a session, those of the most recently active streams first: at most `limit`.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn load_session(
        &self,
        session: Box<[u8]>,
        limit: usize,
        reply: Reply<Vec<(StreamName, Record)>>,
    ) -> Result<(), Refused> {
        self.look_up(Question::Session { session, limit, reply })
    }

    /// Looks up one cursor.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn load(&self, name: StreamName, reply: Reply<Option<Record>>) -> Result<(), Refused> {
        self.look_up(Question::Cursor { name, reply })
    }

    /// Looks up those stored logs of a session that `wanted` says yes to, those of the most recently active streams
    /// first: at most `limit`, and of each the newest `max_bytes`.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn load_logs(
        &self,
        session: Box<[u8]>,
        wanted: Wanted,
        limit: usize,
        max_bytes: usize,
        reply: Reply<Vec<(StreamName, Record, StoredLog)>>,
    ) -> Result<(), Refused> {
        self.look_up(Question::Logs { session, wanted, limit, max_bytes, reply })
    }

    /// Lists the cursors after a name, or from the first: at most `limit`.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn scan(
        &self,
        after: Option<StreamName>,
        limit: usize,
        reply: Reply<Vec<(StreamName, Record)>>,
    ) -> Result<(), Refused> {
        self.look_up(Question::Scan { after, limit, reply })
    }

    fn look_up(&self, question: Question) -> Result<(), Refused> {
        self.questions.ask(question).map_err(|_| self.refused())
    }

    /// Has a store that could not be opened tried again at once, since what was in the way may be gone. Does nothing
    /// while it is open.
    pub fn open_now(&self) {
        if self.messages.leave(Message::OpenNow).is_ok() {
            self.ringer.call();
        }
    }

    /// Calls `reply` with true once everything that was published before this call is durable. Calls it with false when
    /// the persister ends before that, when the store was never opened, or when a thousand callers wait already.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn flush(&self, reply: Box<dyn FnOnce(bool) + Send>) -> Result<(), Refused> {
        if let Err(message) = self.messages.leave(Message::Flush(FlushReply::new(reply))) {
            if let Message::Flush(answer) = message {
                answer.withdraw();
            }
            return Err(self.refused());
        }
        self.ringer.call();
        Ok(())
    }

    /// Passes a block of a log on to the store, or a log's removal. Refused where too much is on its way: the next
    /// block of that stream must then state a hole, and a removal must be repeated.
    ///
    /// # Errors
    /// [`Refused`]; the block is dropped.
    pub fn append_log(&self, write: LogWrite) -> Result<(), Refused> {
        let is_block = matches!(write, LogWrite::Append { .. });
        if !self.logs.push(write) {
            self.metrics.persistence().log_blocks_dropped.add(u64::from(is_block));
            return Err(Refused);
        }
        self.ringer.ring();
        Ok(())
    }

    /// Follows a log that another process writes, from behind an event: news come to the listener under this key, until
    /// it is followed no more. Only where logs are shared.
    ///
    /// # Errors
    /// [`Refused`]; then there is no news.
    pub fn follow(&self, key: u64, name: StreamName, after: u64, fence: u64) -> Result<(), Refused> {
        self.follows.try_send(following::follow(key, name, after, fence)).map_err(|_| self.refused())
    }

    /// Follows no more what is followed under this key.
    ///
    /// # Errors
    /// [`Refused`]; then news may still come.
    pub fn unfollow(&self, key: u64) -> Result<(), Refused> {
        self.follows.try_send(Word::Unfollow { key }).map_err(|_| self.refused())
    }

    /// Has news of shared logs told to this listener from now on.
    pub fn listen(&self, listener: Listener) {
        let told = self.messages.leave(Message::Listen(Arc::clone(&listener))).is_ok();
        if self.follows.try_send(Word::Listen(listener)).is_err() || !told {
            self.refused();
        }
        self.ringer.call();
    }

    /// The epoch that this process's claims of logs name; 0 before the store was first opened.
    pub fn owner(&self) -> u64 {
        self.owner.get()
    }

    fn refused(&self) -> Refused {
        self.metrics.persistence().refused.add(1);
        Refused
    }
}
