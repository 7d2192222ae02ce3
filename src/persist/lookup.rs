//! The second store thread: look-ups, which a slow write must not hold up.
//!
//! In: questions. Out: answers, to whoever asked.
//! Law: every question is answered, with an error while the store is away.

use super::control::Reply;
use crate::base::StreamName;
use crate::metrics::Metrics;
use crate::store::{LogStore, SessionStore, StoreError, StoredCursor, StoredLog};
use crossbeam_channel::Receiver;

/// The reading half of a store.
pub(super) struct Half {
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

/// Answers until nobody can ask any more.
pub(super) fn run(questions: &Receiver<Lookup>, openings: &Receiver<Half>, metrics: &Metrics) {
    let mut half = None;
    while let Ok(question) = questions.recv() {
        half = openings.try_recv().ok().or(half);
        answer(question, half.as_mut());
        metrics.persistence().lookups.add(1);
    }
}

fn answer(question: Lookup, half: Option<&mut Half>) {
    let Some(half) = half else { return refuse(question) };
    match question {
        Lookup::Session { session, limit, reply } => reply(half.sessions.session(&session, limit)),
        Lookup::Cursor { name, reply } => reply(half.sessions.get_last_event_id(&name)),
        Lookup::Scan { after, limit, reply } => reply(half.sessions.scan(after.as_ref(), limit)),
        Lookup::Logs { session, limit, max_bytes, reply } => reply(logs(half, &session, limit, max_bytes)),
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
    let why = || StoreError::Refused("the store has not been opened yet".into());
    match question {
        Lookup::Session { reply, .. } | Lookup::Scan { reply, .. } => reply(Err(why())),
        Lookup::Cursor { reply, .. } => reply(Err(why())),
        Lookup::Logs { reply, .. } => reply(Err(why())),
    }
}
