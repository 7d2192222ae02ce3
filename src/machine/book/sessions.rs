//! Sessions: who has which streams, and who has been idle longest.
//!
//! In: identities of requests, streams that come and go. Out: the streams of a session; sessions to be forgotten.
//! Laws: a session with a reader is never evicted and never expires; among the others the one that has been idle
//! longest goes first; every step takes the same time however many sessions there are.

use crate::base::{Span, Table, Tick};
use crate::machine::keys::{ExchangeKey, SessionKey, SessionMark};
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::ops::Deref;

/// Streams of a session that have ended and whose records are still in the store. Older ones are removed.
pub const RECORDS_PER_SESSION: usize = 8;

/// What a client says it is.
pub(in crate::machine) struct Session {
    /// A `u128`, aligned to 8 bytes to save memory: there may be many sessions.
    id: [u8; 16],
    /// The words by which a person knows it in the store; empty until it has something to store.
    pub(super) shown: Box<[u8]>,
    pub(in crate::machine) streams: Streams,
    /// Ended streams with a record in the store, the oldest first.
    records: Option<Box<Records>>,
    /// Streams of it that have readers.
    read: u32,
    last_seen: Tick,
    /// Neighbours in the list of idle sessions; `None` at its ends, and in a session that is not idle.
    older: Option<SessionKey>,
    newer: Option<SessionKey>,
}

/// The streams of a session. Nearly all sessions have one, which needs no memory on the heap.
#[derive(Default)]
pub(in crate::machine) enum Streams {
    #[default]
    None,
    One(ExchangeKey),
    #[allow(clippy::box_collection, reason = "a bare `Vec` would make every session 8 bytes larger")]
    More(Box<Vec<ExchangeKey>>),
}

impl Streams {
    pub(super) fn push(&mut self, stream: ExchangeKey) {
        match self {
            Self::None => *self = Self::One(stream),
            Self::One(first) => *self = Self::More(Box::new(vec![*first, stream])),
            Self::More(all) => all.push(stream),
        }
    }

    /// Takes out the stream at this place. The last one gets its place.
    pub(super) fn swap_remove(&mut self, place: usize) {
        match self {
            Self::More(all) if place < all.len() => {
                all.swap_remove(place);
                if let [only] = all[..] {
                    *self = Self::One(only);
                }
            }
            Self::One(_) if place == 0 => *self = Self::None,
            _ => {}
        }
    }
}

impl Deref for Streams {
    type Target = [ExchangeKey];

    fn deref(&self) -> &[ExchangeKey] {
        match self {
            Self::None => &[],
            Self::One(stream) => std::slice::from_ref(stream),
            Self::More(all) => all,
        }
    }
}

/// The record of a stream that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    /// The end of its name in the store.
    pub(super) hash: u128,
    pub(super) stream: u64,
    /// The last sequence that went to the store.
    pub(super) sequence: u64,
}

/// Takes a pointer's place in a session that has none.
#[derive(Default)]
struct Records(VecDeque<Kept>);

/// All sessions of one reactor.
pub(in crate::machine) struct Sessions {
    table: Table<Session, SessionMark>,
    index: HashTable<SessionKey>,
    oldest: Option<SessionKey>,
    newest: Option<SessionKey>,
}

/// All places are taken by sessions that have readers.
pub(in crate::machine) struct AllRead;

impl Sessions {
    pub(in crate::machine) fn new(capacity: usize) -> Self {
        Self { table: Table::new(capacity), index: HashTable::new(), oldest: None, newest: None }
    }

    pub(in crate::machine) fn len(&self) -> usize {
        self.table.len()
    }

    pub(in crate::machine) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.table.get(key)
    }

    pub(in crate::machine) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.table.get_mut(key)
    }

    /// The session with this identity.
    pub(in crate::machine) fn find(&self, id: u128) -> Option<SessionKey> {
        let is = |key: &SessionKey| self.table.get(*key).is_some_and(|session| session.id() ^ id == 0);
        self.index.find(hash(id), is).copied()
    }

    /// Whether a session that is not here yet would find a place.
    pub(in crate::machine) fn has_place(&self) -> bool {
        !self.table.is_full() || self.oldest.is_some()
    }

    /// The session with this identity, made now if there is none.
    ///
    /// # Errors
    /// All places are taken: gives the idle session to forget first, or [`AllRead`] if none is idle.
    pub(in crate::machine) fn open(&mut self, id: u128, now: Tick) -> Result<SessionKey, Result<SessionKey, AllRead>> {
        if let Some(key) = self.find(id) {
            return Ok(key);
        }
        let session = Session {
            id: id.to_ne_bytes(),
            shown: Box::default(),
            streams: Streams::None,
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
    pub(in crate::machine) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let id = self.table.get(key)?.id();
        self.unlink(key);
        if let Ok(found) = self.index.find_entry(hash(id), |other| *other == key) {
            found.remove();
        }
        self.table.remove(key)
    }

    /// One of its streams has got its first reader.
    pub(in crate::machine) fn read(&mut self, key: SessionKey) {
        let Some(session) = self.table.get_mut(key) else { return };
        session.read += 1;
        if session.read == 1 {
            self.unlink(key);
        }
    }

    /// One of its streams has lost its last reader.
    pub(in crate::machine) fn left(&mut self, key: SessionKey, now: Tick) {
        let Some(session) = self.table.get_mut(key) else { return };
        session.read = session.read.saturating_sub(1);
        session.last_seen = now;
        if session.read == 0 {
            self.push(key);
        }
    }

    /// The session that has been idle for longer than `idle`, if one has.
    pub(in crate::machine) fn expired(&self, idle: Span, now: Tick) -> Option<SessionKey> {
        let key = self.oldest?;
        let session = self.table.get(key)?;
        (session.last_seen + idle <= now).then_some(key)
    }

    /// When the next one expires.
    pub(in crate::machine) fn next_expiry(&self, idle: Span) -> Option<Tick> {
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

    /// The stream goes on under its number, so its record no longer belongs to an ended stream.
    pub(in crate::machine) fn forget_record(&mut self, stream: u64) {
        if let Some(records) = &mut self.records {
            records.0.retain(|record| record.stream != stream);
        }
    }

    /// The records of ended streams that are still in the store.
    pub(super) fn take_records(&mut self) -> impl Iterator<Item = Kept> + use<> {
        self.records.take().into_iter().flat_map(|records| records.0)
    }

    /// Notes that a stream has ended and left a record. Returns the record that must go to make room, if one must.
    pub(super) fn note_record(&mut self, record: Kept) -> Option<Kept> {
        self.forget_record(record.stream);
        let records = &mut self.records.get_or_insert_default().0;
        records.push_back(record);
        if records.len() > RECORDS_PER_SESSION { records.pop_front() } else { None }
    }
}

/// The identity is a keyed hash already.
fn hash(id: u128) -> u64 {
    id as u64
}

#[cfg(test)]
mod tests;
