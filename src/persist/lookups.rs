//! The second store thread: look-ups, which a slow write must not hold up.
//!
//! In: questions; the reading half of the store, lent each time that the store is opened, and taken back when it is
//! closed. Out: answers to the callers.
//! Laws: every question is answered, with an error while the store is away; no question is answered from a half that
//! was taken back before the question was asked; a half that is taken back is dropped at once, also while nobody asks,
//! since the file stays locked as long as one half is held; a question costs a bounded number of records and bytes;
//! each failure is counted, and logged at most once every few seconds.

use super::complaints::Complaints;
use super::message::{Half, Message, Question, Wanted};
use crate::base::StreamName;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::slot::Ringer;
use crate::store::{Record, SessionStore, StoreError, StoredLog};
use crate::sync::{Desk, Heard, Post};
use std::sync::Arc;

/// Everything the thread owns.
pub(super) struct LookupThread {
    /// Where it gets questions, and hears which half to ask.
    pub(super) desk: Desk<Question, Option<Half>>,
    /// Where it reports that its half has failed for good.
    pub(super) messages: Post<Message>,
    pub(super) ringer: Ringer,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) complaints: Complaints,
}

impl LookupThread {
    /// Answers until nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut half = None;
        loop {
            match self.desk.hear() {
                Heard::Word(word) => half = word,
                // The writing thread has ended, and the store with it.
                Heard::Silence => half = None,
                Heard::Question(question) => {
                    // A half that was lent or taken back before the question counts for it.
                    half = self.desk.newest().unwrap_or(half);
                    self.answer(question, half.as_mut());
                }
                Heard::End => return,
            }
        }
    }

    fn answer(&mut self, question: Question, half: Option<&mut Half>) {
        self.metrics.persistence().lookups.add(1);
        match question {
            Question::Session { session, limit, reply } => {
                reply(self.look(half, "a session", |half| latest(&mut *half.sessions, &session, limit)));
            }
            Question::Cursor { name, reply } => {
                reply(self.look(half, "a cursor", |half| half.sessions.get_last_event_id(&name)));
            }
            Question::Scan { after, limit, reply } => {
                reply(self.look(half, "a list of cursors", |half| half.sessions.scan(after.as_ref(), limit)));
            }
            Question::Logs { session, wanted, limit, max_bytes, reply } => {
                reply(self.look(half, "stored events", |half| logs(half, &session, wanted, limit, max_bytes)));
            }
        }
    }

    /// Looks up `what`. Counts and logs a failure; where the half has failed for good, reports that, so that the store
    /// is opened again.
    fn look<T>(
        &mut self,
        half: Option<&mut Half>,
        what: &str,
        look: impl FnOnce(&mut Half) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = match half {
            None => Err(StoreError::Refused("the store is not open at present".into())),
            Some(half) => {
                let found = look(half);
                if found.as_ref().is_err_and(StoreError::ends_the_opening) {
                    // Where the inbox is full, the next look-up reports it again.
                    let _ = self.messages.leave(Message::Closed { opening: half.opening });
                    self.ringer.call();
                }
                found
            }
        };
        if let Err(e) = &found {
            self.metrics.persistence().lookup_failures.add(1);
            let what =
                || format!("{what} could not be looked up: {e}; the request asks again, or goes on without the answer");
            self.complaints.say(self.clock.now(), what);
        }
        found
    }
}

/// How many records are read at a time, and how many for one question at most.
const PAGE: usize = 256;
const RECORDS: usize = 8_192;

/// The most bytes of events that are read for one question.
const READ: usize = 64 << 20;

/// The cursors of a session, those of the most recently active streams first: at most `limit`.
fn latest(store: &mut dyn SessionStore, session: &[u8], limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let mut page = store.session(session, PAGE)?;
    loop {
        looked_at += page.len();
        let last = page.last().filter(|_| page.len() >= PAGE && looked_at < RECORDS).map(|(name, _)| name.clone());
        found.append(&mut page);
        found.sort_by_key(|(_, cursor)| std::cmp::Reverse(cursor.last_seen_ms));
        found.truncate(limit);
        let Some(last) = last else { return Ok(found) };
        page = store.scan(Some(&last), PAGE)?;
        page.retain(|(name, _)| *name.session == *session);
    }
}

/// The wanted ones of a session's stored logs, those of the most recently active streams first: at most `limit`.
fn logs(
    half: &mut Half,
    session: &[u8],
    mut wanted: Wanted,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<(StreamName, Record, StoredLog)>, StoreError> {
    let Some(store) = &mut half.logs else { return Ok(Vec::new()) };
    let (mut logs, mut read) = (Vec::new(), 0);
    for (name, cursor) in latest(&mut *half.sessions, session, RECORDS)? {
        if logs.len() >= limit || read >= READ {
            break;
        }
        let Some(log) = store.read_log(&name, max_bytes)? else { continue };
        read += log.blocks.iter().map(|block| block.bytes.len()).sum::<usize>();
        if wanted(&log) {
            logs.push((name, cursor, log));
        }
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;
    use crate::store::{LogBlock, LogBounds, LogStore, LogWrite, MemoryStore, Write};

    /// Three sessions, each with so many streams that were active in the order that [`seen`] gives.
    fn half(streams: u64) -> Half {
        let (mut sessions, mut logs) = (MemoryStore::new(usize::MAX), MemoryStore::new(usize::MAX));
        for session in [&b"r"[..], b"s", b"t"] {
            for stream in 0..streams {
                let name = Arc::new(StreamName { session: session.into(), stream });
                let id = EventId::from_bytes(b"1").unwrap();
                let cursor = Record { epoch: 1, sequence: 1, id, last_seen_ms: seen(stream, streams) };
                sessions.store_event_ids_batch(&[(Arc::clone(&name), Write::Cursor(cursor))]).unwrap();
                let bytes = format!("{}-{stream}", session.escape_ascii()).into_bytes();
                let ends = [bytes.len() as u32].into();
                let block = Arc::new(LogBlock { first: 1, at_ms: 1, bytes: bytes.into(), ends, hole: false });
                let bounds = LogBounds { events: 9, bytes: 99, age_ms: 9 };
                logs.write_logs(&[LogWrite::Append { name, block, meta: Arc::from(&b"m"[..]), bounds, claim: None }])
                    .unwrap();
            }
        }
        Half { opening: 1, sessions: Box::new(sessions), logs: Some(Box::new(logs)) }
    }

    /// A time for each stream, all different, in another order than the streams' numbers.
    fn seen(stream: u64, streams: u64) -> u64 {
        (stream * 7 + 3) % streams
    }

    #[test]
    fn of_many_streams_those_are_found_that_were_active_last() {
        for streams in [1, 2, 64, 65, 256, 257, 3_000] {
            let mut half = half(streams);
            let found = latest(&mut *half.sessions, b"s", 3).unwrap();
            let times: Vec<u64> = found.iter().map(|(_, cursor)| cursor.last_seen_ms).collect();
            assert_eq!(times, (0..streams).rev().take(3).collect::<Vec<_>>());
            assert!(found.iter().all(|(name, _)| *name.session == *b"s"));
        }
    }

    #[test]
    fn of_many_logs_the_wanted_ones_alone_come() {
        let mut half = half(2_000);
        for stream in [0, 77, 1_999] {
            let text = format!("s-{stream}").into_bytes();
            let wanted = Box::new(move |log: &StoredLog| *log.blocks[0].bytes == *text);
            let found = logs(&mut half, b"s", wanted, 4, 99).unwrap();
            assert_eq!(found.iter().map(|(name, ..)| name.stream).collect::<Vec<_>>(), [stream]);
        }
        let found = logs(&mut half, b"s", Box::new(|_| true), 4, 99).unwrap();
        assert_eq!(found.iter().map(|(_, c, _)| c.last_seen_ms).collect::<Vec<_>>(), [1_999, 1_998, 1_997, 1_996]);
    }
}
