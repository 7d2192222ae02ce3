//! Ids of requests, and what the access log is told of each request.
//!
//! In: requests as they come, what their clients' sockets take, their ends. Out: an id for each request; with
//! `access_log`, an [`Access`] for each that is over.
//! Laws: an id that a client gives is used only if it is short and visible; an id that is made here takes no clock and
//! no allocation, and no other process makes the same; without `access_log` nothing is kept of a request, but for the
//! what names the requests of clients that wait for the answer to another's.

use super::keys::ConnKey;
use super::notice;
use crate::base::{Access, Tick};
use crate::http::{Headers, RequestHead};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::collections::HashMap;
use std::hash::Hasher;
use std::net::IpAddr;

/// The header that holds a request's id.
pub(super) const REQUEST_ID: &str = "X-Request-Id";

/// The longest id that is taken from a client, in bytes.
const LONGEST: usize = 128;

/// Letters of an id that tell this process from all others.
const OF_PROCESS: usize = 12;

/// Requests that are being served, as far as something has to be kept of them. There is one at most for each client's
/// connection.
pub(super) struct Visits {
    /// The access log is on.
    is_told: bool,
    of_process: [u8; OF_PROCESS],
    made: u64,
    open: HashMap<ConnKey, Box<Visit>>,
}

struct Visit {
    access: Access,
    began: Tick,
    /// Events that the stream had before those of this request.
    before: u64,
    /// While the request waits for the answer to another one: its lines for upstream that name it.
    names: Box<[u8]>,
}

/// An id of a request, made here.
#[derive(Clone, Copy)]
pub(super) struct MadeId {
    bytes: [u8; OF_PROCESS + 17],
    len: usize,
}

impl MadeId {
    pub(super) fn as_str(&self) -> &str {
        // All of it is ASCII.
        self.bytes.get(..self.len).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }
}

/// The id that a client has given its request, if it can be used.
pub(super) fn given_id(headers: &Headers) -> Option<&str> {
    let id = headers.get(REQUEST_ID).filter(|id| (1..=LONGEST).contains(&id.len()))?;
    std::str::from_utf8(id).ok().filter(|id| id.bytes().all(|b| b.is_ascii_graphic()))
}

impl Visits {
    pub(super) fn new(is_told: bool, seed: u64, secret: u128) -> Self {
        let mut hash = SipHasher24::new_with_key(&secret.to_le_bytes());
        hash.write(b"X-Request-Id");
        hash.write_u64(seed);
        let bits = hash.finish128().as_u128();
        let letter = |n: usize| b"abcdefghijklmnopqrstuvwxyz234567"[(bits >> (5 * n)) as usize % 32];
        Self { is_told, of_process: std::array::from_fn(letter), made: 0, open: HashMap::new() }
    }

    /// Whether the access log is on.
    #[inline]
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// An id that no request had before.
    pub(super) fn make_id(&mut self) -> MadeId {
        self.made += 1;
        let mut bytes = [b'.'; OF_PROCESS + 17];
        bytes[..OF_PROCESS].copy_from_slice(&self.of_process);
        let digits = self.made.ilog2() as usize / 4 + 1;
        let len = OF_PROCESS + 1 + digits;
        for (n, digit) in bytes[OF_PROCESS + 1..len].iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(self.made >> (4 * n)) as usize % 16];
        }
        MadeId { bytes, len }
    }

    /// Whether an id was made here, and not by the client.
    pub(super) fn has_made(&self, id: &str) -> bool {
        id.as_bytes().starts_with(&self.of_process)
    }

    /// A request has come.
    pub(super) fn begin(&mut self, conn: ConnKey, client: IpAddr, head: &RequestHead, id: &str, now: Tick) {
        if self.is_told {
            let target = notice::target(&format!("{} {}", head.method.as_str(), head.target));
            self.add(conn, client, target, id, now);
        }
    }

    /// A request waits for the answer to another one. What names it has to be kept, because no head for upstream holds
    /// it: its id, and the lines that say so to upstream, should it have to ask for itself.
    pub(super) fn wait_beside(&mut self, conn: ConnKey, id: &str, names: Box<[u8]>, now: Tick) {
        if !self.is_told {
            self.add(conn, IpAddr::from([0; 4]), "".into(), id, now);
        }
        if let Some(visit) = self.open.get_mut(&conn) {
            visit.names = names;
        }
    }

    /// The lines for upstream that name a request that waits for the answer to another one.
    pub(super) fn names_of(&self, conn: ConnKey) -> &[u8] {
        self.open.get(&conn).map_or(&[], |visit| &visit.names)
    }

    fn add(&mut self, conn: ConnKey, client: IpAddr, target: Box<str>, id: &str, now: Tick) {
        let (status, stream, request) = (None, None, id.into());
        let access = Access { client, target, status, bytes: 0, events: 0, took: Default::default(), stream, request };
        self.open.insert(conn, Box::new(Visit { access, began: now, before: 0, names: Box::default() }));
    }

    /// The id of a request that waits for the answer to another one.
    pub(super) fn id_of(&self, conn: ConnKey) -> Option<&str> {
        self.open.get(&conn).map(|visit| &*visit.access.request)
    }

    /// The client is sent a head with this status.
    pub(super) fn answer(&mut self, conn: ConnKey, status: u16) {
        if self.is_told
            && let Some(visit) = self.open.get_mut(&conn)
        {
            visit.access.status = Some(status);
        }
    }

    /// The client reads an event stream, from the event behind the first `before` on.
    pub(super) fn read_stream(&mut self, conn: ConnKey, stream: u64, before: u64) {
        if self.is_told
            && let Some(visit) = self.open.get_mut(&conn)
            && visit.access.stream.is_none()
        {
            (visit.access.stream, visit.before) = (Some(stream), before);
        }
    }

    /// The client's socket took some bytes.
    #[inline]
    pub(super) fn took(&mut self, conn: ConnKey, bytes: usize) {
        if self.is_told
            && let Some(visit) = self.open.get_mut(&conn)
        {
            visit.access.bytes += bytes as u64;
        }
    }

    /// The client's socket took the first `events` events of an event stream, as far as they are the client's.
    pub(super) fn took_events(&mut self, conn: ConnKey, events: u64) {
        if let Some(visit) = self.open.get_mut(&conn) {
            visit.access.events = events.saturating_sub(visit.before);
        }
    }

    /// A client's request is over. `owed`: bytes of its answer that the socket will still take. Returns what the access
    /// log is told.
    pub(super) fn end(&mut self, conn: ConnKey, owed: usize, now: Tick) -> Option<Box<Access>> {
        if self.open.is_empty() {
            return None;
        }
        let mut visit = self.open.remove(&conn).filter(|_| self.is_told)?;
        visit.access.took = now.since(visit.began);
        visit.access.bytes += owed as u64;
        Some(Box::new(visit.access))
    }
}
