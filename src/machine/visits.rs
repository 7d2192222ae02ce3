//! Ids of requests, and what the access log is told of each request.
//!
//! In: requests as they come, what their clients' sockets take, their ends. Out: an id for each request; with
//! `access_log`, an [`Access`] for each that is over; a span for each that is recorded as a trace.
//! Laws: an id that a client gives is used only if it is short and visible; an id that is made here takes no clock and
//! no allocation, and no other process makes the same; without `access_log` nothing is kept of a request that is not
//! recorded, but for what names the requests of clients that wait for the answer to another's.

use super::keys::ConnKey;
use super::notice;
use super::traces::Recorded;
use crate::base::{Access, Tick, TraceContext, TraceSpan};
use crate::http::{Headers, RequestHead};
use foldhash::fast::FixedState;
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
    /// Nobody outside chooses these keys.
    open: HashMap<ConnKey, Box<Visit>, FixedState>,
}

struct Visit {
    access: Access,
    began: Tick,
    /// Events that the stream had before those of this request.
    before: u64,
    /// While the request waits for the answer to another one: its lines for upstream that name it.
    names: Box<[u8]>,
    /// What is recorded of it as a trace.
    recorded: Option<Box<Recorded>>,
}

/// What is told of a request that is over.
pub(super) struct Ended {
    pub(super) access: Option<Box<Access>>,
    pub(super) replay: Option<Box<TraceSpan>>,
    pub(super) exchange: Option<Box<TraceSpan>>,
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
        Self { is_told, of_process: std::array::from_fn(letter), made: 0, open: HashMap::default() }
    }

    /// Whether anything is kept of any request.
    pub(super) fn is_any(&self) -> bool {
        !self.open.is_empty()
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

    /// A request has come. True: it is told of.
    pub(super) fn begin(
        &mut self,
        conn: ConnKey,
        client: IpAddr,
        head: &RequestHead,
        id: &str,
        recorded: Option<Box<Recorded>>,
        now: Tick,
    ) -> bool {
        let is_noted = self.is_told || recorded.is_some();
        if is_noted {
            let target = notice::target(&format!("{} {}", head.method.as_str(), head.target));
            self.add(conn, client, target, id, now);
            if let Some(visit) = self.open.get_mut(&conn) {
                visit.access.trace = recorded.as_ref().map(|recorded| recorded.context().trace);
                visit.recorded = recorded;
            }
        }
        is_noted
    }

    /// What is recorded of the request of this client.
    pub(super) fn recorded(&mut self, conn: ConnKey) -> Option<&mut Recorded> {
        if self.open.is_empty() {
            return None;
        }
        self.open.get_mut(&conn)?.recorded.as_deref_mut()
    }

    /// The place in its trace of the request of this client, if it is recorded.
    pub(super) fn place_of(&self, conn: ConnKey) -> Option<TraceContext> {
        Some(self.open.get(&conn)?.recorded.as_ref()?.context())
    }

    /// A request waits for the answer to another one. What names it has to be kept, because no head for upstream holds
    /// it: its id, and the lines that say so to upstream, should it have to ask for itself.
    pub(super) fn wait_beside(&mut self, conn: ConnKey, id: &str, names: Box<[u8]>, now: Tick) {
        if !self.open.contains_key(&conn) {
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
        let access = Access {
            client,
            target,
            status,
            bytes: 0,
            events: 0,
            took: Default::default(),
            stream,
            request,
            trace: None,
        };
        self.open
            .insert(conn, Box::new(Visit { access, began: now, before: 0, names: Box::default(), recorded: None }));
    }

    /// The id of a request that waits for the answer to another one.
    pub(super) fn id_of(&self, conn: ConnKey) -> Option<&str> {
        self.open.get(&conn).map(|visit| &*visit.access.request)
    }

    /// The client is sent a head with this status.
    pub(super) fn answer(&mut self, conn: ConnKey, status: u16) {
        if !self.open.is_empty()
            && let Some(visit) = self.open.get_mut(&conn)
        {
            visit.access.status = Some(status);
        }
    }

    /// The client reads an event stream, from the event behind the first `before` on.
    pub(super) fn read_stream(&mut self, conn: ConnKey, stream: u64, before: u64) {
        let Some(visit) = self.open.get_mut(&conn) else { return };
        // Its answer is here: it asks nobody any more.
        visit.names = Box::default();
        if visit.access.stream.is_none() {
            (visit.access.stream, visit.before) = (Some(stream), before);
        }
        if !self.is_told && visit.recorded.is_none() {
            self.open.remove(&conn);
        }
    }

    /// Requests of which something is kept, and the bytes of their names.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.open.len(), self.open.values().map(|visit| visit.names.len()).sum())
    }

    /// The socket of a client that is told of took some bytes.
    pub(super) fn took(&mut self, conn: ConnKey, bytes: usize) {
        if let Some(visit) = self.open.get_mut(&conn) {
            visit.access.bytes += bytes as u64;
        }
    }

    /// The client's socket took the first `events` events of an event stream, as far as they are the client's. Returns
    /// the replay that ended with that.
    pub(super) fn took_events(&mut self, conn: ConnKey, events: u64, now: Tick) -> Option<Box<TraceSpan>> {
        let visit = self.open.get_mut(&conn)?;
        visit.access.events = events.saturating_sub(visit.before);
        visit.recorded.as_mut()?.took(events, now)
    }

    /// A client's request is over. `owed`: bytes of its answer that the socket will still take. Returns what is told
    /// of it. `whole`: the client was sent all of the answer.
    pub(super) fn end(&mut self, conn: ConnKey, owed: usize, whole: bool, now: Tick) -> Option<Ended> {
        if self.open.is_empty() {
            return None;
        }
        let mut visit = self.open.remove(&conn)?;
        visit.access.took = now.since(visit.began);
        visit.access.bytes += owed as u64;
        let (mut replay, mut exchange) = (None, None);
        if let Some(mut recorded) = visit.recorded.take() {
            replay = recorded.end_replay(Some("closed"), now);
            exchange = Some(say_of(recorded, &visit.access, whole, now));
        }
        let access = self.is_told.then(|| Box::new(visit.access));
        Some(Ended { access, replay, exchange })
    }
}

/// The span of a request, with what its access says.
fn say_of(mut recorded: Box<Recorded>, access: &Access, whole: bool, now: Tick) -> Box<TraceSpan> {
    if let Some(status) = access.status {
        recorded.say("http.response.status_code", u64::from(status));
    }
    if let Some(stream) = access.stream {
        recorded.say("segno.stream", &*format!("{stream:x}"));
        recorded.say("segno.events", access.events);
    }
    recorded.say("segno.bytes", access.bytes);
    recorded.say("segno.request", &*access.request);
    recorded.say("segno.end", if whole { "whole" } else { "closed" });
    let error = match access.status {
        None => Some("no_answer".to_owned()),
        Some(status) => (status >= 500).then(|| status.to_string()),
    };
    recorded.end(error.as_deref(), now)
}
