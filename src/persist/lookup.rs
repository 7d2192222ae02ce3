//! The second store thread: look-ups, which a slow write must not hold up.
//!
//! In: questions; the reading half of the store, each time that it is opened, and that it is to be let go of. Out:
//! answers, to whoever asked.
//! Laws: every question is answered, with an error while the store is away; a half that is to be let go of is let go of
//! also while nobody asks, since the file stays locked as long as one half is held.

use super::control::{Message, Reply};
use crate::base::StreamName;
use crate::metrics::Metrics;
use crate::slot::Ringer;
use crate::store::{LogStore, SessionStore, StoreError, StoredCursor, StoredLog};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use std::sync::Arc;

/// The reading half of a store.
pub(super) struct Half {
    /// Which opening of the store it is of.
    pub(super) opening: u64,
    pub(super) sessions: Box<dyn SessionStore>,
    pub(super) logs: Option<Box<dyn LogStore>>,
}

/// A question.
pub(super) enum Lookup {
    Session {
        session: Box<[u8]>,
        limit: usize,
        reply: Reply<Vec<(StreamName, StoredCursor)>>,
    },
    Cursor {
        name: StreamName,
        reply: Reply<Option<StoredCursor>>,
    },
    Scan {
        after: Option<StreamName>,
        limit: usize,
        reply: Reply<Vec<(StreamName, StoredCursor)>>,
    },
    Logs {
        session: Box<[u8]>,
        limit: usize,
        max_bytes: usize,
        reply: Reply<Vec<(StreamName, StoredCursor, StoredLog)>>,
    },
}

/// Gives the look-ups their half of the store, and takes it away. The newest word counts; none waits.
pub(super) struct Openings {
    sender: Sender<Option<Half>>,
    /// The same channel's other end: what was not heard yet gives way to what is newer.
    unheard: Receiver<Option<Half>>,
}

impl Openings {
    /// The two ends.
    pub(super) fn new() -> (Self, Receiver<Option<Half>>) {
        let (sender, receiver) = bounded(1);
        (Self { sender, unheard: receiver.clone() }, receiver)
    }

    /// From now on this half is asked, or none.
    pub(super) fn say(&self, half: Option<Half>) {
        let mut word = half;
        while let Err(TrySendError::Full(again)) = self.sender.try_send(word) {
            let _ = self.unheard.try_recv();
            word = again;
        }
    }
}

/// What the thread has.
pub(super) struct Lookups {
    pub(super) questions: Receiver<Lookup>,
    pub(super) openings: Receiver<Option<Half>>,
    /// Where it says that its half is of no use any more.
    pub(super) messages: Sender<Message>,
    pub(super) ringer: Ringer,
    pub(super) metrics: Arc<Metrics>,
}

impl Lookups {
    /// Answers until nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut half = None;
        loop {
            select! {
                recv(self.openings) -> word => match word {
                    Ok(word) => half = word,
                    // The writing thread has ended, and the store with it.
                    Err(_) => {
                        half = None;
                        self.openings = never();
                    }
                },
                recv(self.questions) -> question => {
                    let Ok(question) = question else { return };
                    // What was said before the question counts for it.
                    half = self.openings.try_recv().unwrap_or(half);
                    self.answer(question, half.as_mut());
                }
            }
        }
    }

    fn answer(&self, question: Lookup, half: Option<&mut Half>) {
        self.metrics.persistence().lookups.add(1);
        let Some(half) = half else { return refuse(question) };
        match question {
            Lookup::Session { session, limit, reply } => {
                let found = half.sessions.session(&session, limit);
                reply(self.checked(half, found));
            }
            Lookup::Cursor { name, reply } => {
                let found = half.sessions.get_last_event_id(&name);
                reply(self.checked(half, found));
            }
            Lookup::Scan { after, limit, reply } => {
                let found = half.sessions.scan(after.as_ref(), limit);
                reply(self.checked(half, found));
            }
            Lookup::Logs { session, limit, max_bytes, reply } => {
                let found = logs(half, &session, limit, max_bytes);
                reply(self.checked(half, found));
            }
        }
    }

    /// Has the store opened again where it can do nothing more.
    fn checked<T>(&self, half: &Half, found: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(found, Err(StoreError::Closed)) {
            // Where there is no place, the next look-up says it again.
            let _ = self.messages.try_send(Message::Closed { opening: half.opening });
            self.ringer.call();
        }
        found
    }
}

/// The stored logs of a session's streams, those that were active last first.
fn logs(
    half: &mut Half,
    session: &[u8],
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<(StreamName, StoredCursor, StoredLog)>, StoreError> {
    let mut found = half.sessions.session(session, limit)?;
    found.sort_by_key(|(_, cursor)| std::cmp::Reverse(cursor.last_seen_ms));
    let Some(store) = &mut half.logs else { return Ok(Vec::new()) };
    let mut logs = Vec::new();
    for (name, cursor) in found {
        if let Some(log) = store.read_log(&name, max_bytes)? {
            logs.push((name, cursor, log));
        }
    }
    Ok(logs)
}

fn refuse(question: Lookup) {
    let why = || StoreError::Refused("the store is not open yet, or not open any more".into());
    match question {
        Lookup::Session { reply, .. } | Lookup::Scan { reply, .. } => reply(Err(why())),
        Lookup::Cursor { reply, .. } => reply(Err(why())),
        Lookup::Logs { reply, .. } => reply(Err(why())),
    }
}
