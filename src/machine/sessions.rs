//! Sessions: who has which streams, and who has been idle longest.
//!
//! In: identities of requests, streams that come and go. Out: the streams of a session; sessions to be forgotten.
//! Laws: a session with a reader is never evicted and never expires; among the others the one that has been idle
//! longest goes first; every step takes the same time however many sessions there are.

use super::Machine;
use super::checkpoint::{Account, Checkpoint};
use super::exchange::ExchangeKey;
use super::timers::Timer;
use crate::base::{Count, Key, Span, StreamName, Table, Tick};
use hashbrown::HashTable;
use std::collections::VecDeque;

/// Names a session.
pub(super) type SessionKey = Key<Session>;

/// Streams of a session that have ended and whose records are still in the store. Older ones are removed.
const RECORDS: usize = 8;

/// What a client says it is.
pub(super) struct Session {
    /// A `u128` in an alignment of 8: there may be many of these.
    id: [u8; 16],
    /// What the store knows it by; empty until it has something to store.
    pub(super) name: Box<[u8]>,
    pub(super) streams: Vec<ExchangeKey>,
    /// Ended streams with a record in the store, the oldest first.
    pub(super) records: Option<Box<Records>>,
    /// Streams of it that have readers.
    read: u32,
    last_seen: Tick,
    /// Neighbours in the list of idle sessions; `None` at its ends, and in a session that is not idle.
    older: Option<SessionKey>,
    newer: Option<SessionKey>,
}

/// Numbers of streams. Takes a pointer's place in a session that has none.
#[derive(Default)]
pub(super) struct Records(VecDeque<u64>);

/// All sessions of one reactor.
pub(super) struct Sessions {
    table: Table<Session>,
    index: HashTable<SessionKey>,
    oldest: Option<SessionKey>,
    newest: Option<SessionKey>,
}

/// There is no place for another session: all have readers.
pub(super) struct AllRead;

impl Sessions {
    pub(super) fn new(capacity: usize) -> Self {
        Self { table: Table::new(capacity), index: HashTable::new(), oldest: None, newest: None }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.table.get(key)
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.table.get_mut(key)
    }

    /// The session with this identity.
    pub(super) fn find(&self, id: u128) -> Option<SessionKey> {
        let is = |key: &SessionKey| self.table.get(*key).is_some_and(|session| session.id() ^ id == 0);
        self.index.find(hash(id), is).copied()
    }

    /// The session with this identity, made now if there is none. Full: the one to forget first, if one may be.
    ///
    /// # Errors
    /// The idle session to be forgotten before there is a place, or [`AllRead`].
    pub(super) fn open(&mut self, id: u128, now: Tick) -> Result<SessionKey, Result<SessionKey, AllRead>> {
        if let Some(key) = self.find(id) {
            return Ok(key);
        }
        let session = Session {
            id: id.to_ne_bytes(),
            name: Box::default(),
            streams: Vec::new(),
            records: None,
            read: 0,
            last_seen: now,
            older: None,
            newer: None,
        };
        let Ok(key) = self.table.insert(session) else { return Err(self.oldest.ok_or(AllRead)) };
        let table = &self.table;
        let hasher = |key: &SessionKey| hash(table.get(*key).map_or(0, Session::id));
        self.index.insert_unique(hash(id), key, hasher);
        self.push(key);
        Ok(key)
    }

    /// Forgets a session and hands it over.
    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let id = self.table.get(key)?.id();
        self.unlink(key);
        if let Ok(found) = self.index.find_entry(hash(id), |other| *other == key) {
            found.remove();
        }
        self.table.remove(key)
    }

    /// One of its streams has got its first reader.
    pub(super) fn read(&mut self, key: SessionKey) {
        let Some(session) = self.table.get_mut(key) else { return };
        session.read += 1;
        if session.read == 1 {
            self.unlink(key);
        }
    }

    /// One of its streams has lost its last reader.
    pub(super) fn left(&mut self, key: SessionKey, now: Tick) {
        let Some(session) = self.table.get_mut(key) else { return };
        session.read = session.read.saturating_sub(1);
        session.last_seen = now;
        if session.read == 0 {
            self.push(key);
        }
    }

    /// The session that has been idle for longer than `idle`, if one has.
    pub(super) fn expired(&self, idle: Span, now: Tick) -> Option<SessionKey> {
        let key = self.oldest?;
        let session = self.table.get(key)?;
        (session.last_seen + idle <= now).then_some(key)
    }

    /// When the next one expires.
    pub(super) fn next_expiry(&self, idle: Span) -> Option<Tick> {
        Some(self.table.get(self.oldest?)?.last_seen + idle)
    }

    /// Puts a session at the end of the idle ones.
    fn push(&mut self, key: SessionKey) {
        self.unlink(key);
        let before = self.newest.replace(key);
        match before.and_then(|before| self.table.get_mut(before)) {
            Some(before) => before.newer = Some(key),
            None => self.oldest = Some(key),
        }
        if let Some(session) = self.table.get_mut(key) {
            session.older = before;
        }
    }

    /// Takes a session out of the idle ones, if it is among them.
    fn unlink(&mut self, key: SessionKey) {
        let Some(session) = self.table.get_mut(key) else { return };
        let (older, newer) = (session.older.take(), session.newer.take());
        match older.and_then(|older| self.table.get_mut(older)) {
            Some(older) => older.newer = newer,
            None if self.oldest == Some(key) => self.oldest = newer,
            None => {}
        }
        match newer.and_then(|newer| self.table.get_mut(newer)) {
            Some(newer) => newer.older = older,
            None if self.newest == Some(key) => self.newest = older,
            None => {}
        }
    }
}

impl Session {
    fn id(&self) -> u128 {
        u128::from_ne_bytes(self.id)
    }

    /// The stream goes on under its number: its record is its own again.
    pub(super) fn forget_record(&mut self, stream: u64) {
        if let Some(records) = &mut self.records {
            records.0.retain(|other| *other != stream);
        }
    }

    /// Notes that a stream has ended and left a record. The record that has to go for it, if one has.
    pub(super) fn note_record(&mut self, stream: u64) -> Option<u64> {
        self.forget_record(stream);
        let records = &mut self.records.get_or_insert_default().0;
        records.push_back(stream);
        if records.len() > RECORDS { records.pop_front() } else { None }
    }
}

impl Machine {
    /// Enters a stream to come into the session of its request. `None`: all sessions have readers, or this one has as
    /// many streams as it may.
    pub(super) fn open_account(&mut self, key: ExchangeKey) -> Option<Account> {
        let identity = self.exchanges.get(key)?.request.identity;
        let session = self.open_session(identity.session)?;
        let number = self.random.next();
        let entry = self.sessions.get_mut(session)?;
        if entry.streams.len() >= self.config.limits.streams_per_session {
            self.counts.one(Count::StreamsRefused);
            return None;
        }
        // Nearly all sessions have one.
        entry.streams.reserve_exact(usize::from(entry.streams.is_empty()));
        entry.streams.push(key);
        self.sessions.read(session);
        Some(Account::new(session, number))
    }

    fn open_session(&mut self, id: u128) -> Option<SessionKey> {
        loop {
            match self.sessions.open(id, self.now) {
                Ok(key) => return Some(key),
                Err(Ok(idle)) => {
                    self.counts.one(Count::SessionEvictions);
                    self.end_session(idle, true);
                }
                Err(Err(AllRead)) => {
                    self.counts.one(Count::StreamsRefused);
                    return None;
                }
            }
        }
    }

    /// A stream that is about to be dropped leaves its session.
    pub(super) fn leave_session(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let Some(session) = x.stream.as_ref().and_then(|stream| stream.account.session) else { return };
        let read = !x.readers.is_empty() || !x.is_detached();
        if let Some(entry) = self.sessions.get_mut(session)
            && let Some(at) = entry.streams.iter().position(|other| *other == key)
        {
            entry.streams.swap_remove(at);
        }
        if read {
            self.sessions.left(session, self.now);
            self.arm_sessions();
        }
    }

    /// Forgets a session: streams that linger for it are dropped. `keep`: its records stay in the store.
    pub(super) fn end_session(&mut self, key: SessionKey, keep: bool) {
        let Some(entry) = self.sessions.get(key) else { return };
        for stream in entry.streams.clone() {
            if self.exchanges.get(stream).is_some_and(|x| x.readers.is_empty()) {
                self.close_account(stream, keep);
                self.drop_exchange(stream);
            } else if let Some(stream) = self.exchanges.get_mut(stream).and_then(|x| x.stream.as_mut()) {
                stream.account.session = None;
            }
        }
        let Some(session) = self.sessions.remove(key) else { return };
        if !keep {
            for stream in session.records.into_iter().flat_map(|records| records.0) {
                let name = StreamName { session: session.name.clone(), stream };
                self.checkpoints.push(Checkpoint::Forgotten { name });
            }
        }
    }

    /// Sets the timer for the session that expires first.
    pub(super) fn arm_sessions(&mut self) {
        if self.sessions_timer.is_none()
            && let Some(at) = self.sessions.next_expiry(self.config.persist.session_idle)
        {
            self.sessions_timer = self.wheel.add(at, Timer::Sessions).ok();
        }
    }

    /// Forgets sessions that have been idle for too long, in memory and in the store.
    pub(super) fn on_sessions_timer(&mut self) {
        self.sessions_timer = None;
        let idle = self.config.persist.session_idle;
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(key) = self.sessions.expired(idle, self.now) else { break };
            self.counts.one(Count::SessionsExpired);
            self.end_session(key, false);
        }
        self.arm_sessions();
    }
}

/// Sessions that are forgotten before others are heard again.
const EXPIRED_AT_ONCE: usize = 256;

/// The identity is a keyed hash already.
fn hash(id: u128) -> u64 {
    id as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;

    fn at(n: u64) -> Tick {
        Tick::from_millis(n)
    }

    #[test]
    fn a_session_is_found_by_its_identity_until_it_is_removed() {
        let mut s = Sessions::new(2);
        let a = s.open(1, at(0)).ok().unwrap();
        assert_eq!((s.find(1), s.find(2), s.open(1, at(1)).ok()), (Some(a), None, Some(a)));
        s.remove(a);
        assert_eq!((s.find(1), s.len(), s.next_expiry(Span::ZERO)), (None, 0, None));
    }

    #[test]
    fn a_full_table_names_the_one_idle_longest_or_none_when_all_are_read() {
        let mut s = Sessions::new(2);
        let (a, b) = (s.open(1, at(0)).ok().unwrap(), s.open(2, at(1)).ok().unwrap());
        assert!(matches!(s.open(3, at(2)), Err(Ok(first)) if first == a));
        s.read(a);
        assert!(matches!(s.open(3, at(2)), Err(Ok(first)) if first == b));
        s.read(b);
        assert!(matches!(s.open(3, at(2)), Err(Err(AllRead))));
    }

    #[test]
    fn at_most_so_many_records_are_kept() {
        let mut s = Sessions::new(1);
        let a = s.open(1, at(0)).ok().unwrap();
        let session = s.get_mut(a).unwrap();
        let gone: Vec<u64> = (0..RECORDS as u64 + 2).filter_map(|n| session.note_record(n)).collect();
        assert_eq!((gone, session.records.as_ref().unwrap().0.len()), (vec![0, 1], RECORDS));
    }

    /// The slow twin: a list of all sessions that is searched.
    #[test]
    fn the_order_of_going_is_that_of_a_list() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let mut sessions = Sessions::new(8);
            let mut twin: Vec<(u128, SessionKey, u32, u64)> = Vec::new();
            let mut order = 0;
            for step in 0..400 {
                order += 1;
                let id = u128::from(random.below(12));
                let found = twin.iter().position(|(other, ..)| *other == id);
                let idle = twin.iter().filter(|t| t.2 == 0).min_by_key(|t| t.3).map(|t| t.1);
                match (random.below(4), found) {
                    (0, _) => match (sessions.open(id, at(step)), found) {
                        (Ok(key), Some(n)) => assert_eq!(key, twin[n].1),
                        (Ok(key), None) => twin.push((id, key, 0, order)),
                        (Err(first), _) => assert_eq!(first.ok(), idle),
                    },
                    (1, Some(n)) => {
                        sessions.read(twin[n].1);
                        twin[n].2 += 1;
                    }
                    (2, Some(n)) if twin[n].2 > 0 => {
                        sessions.left(twin[n].1, at(step));
                        twin[n].2 -= 1;
                        twin[n].3 = order;
                    }
                    (3, Some(n)) => {
                        assert!(sessions.remove(twin[n].1).is_some());
                        twin.remove(n);
                    }
                    _ => {}
                }
                let idle = twin.iter().filter(|t| t.2 == 0).min_by_key(|t| t.3).map(|t| t.1);
                assert_eq!((sessions.oldest, sessions.len()), (idle, twin.len()));
                assert!(twin.iter().all(|(id, key, ..)| sessions.find(*id) == Some(*key)));
            }
        }
    }
}
