//! One request, the upstream's answer to it, and the clients that read the answer.
//!
//! An exchange of an ordinary request passes bytes between two connections. That of an event stream owns a
//! [`Stream`]: the tracker with its log, in which each reader has its place.
//!
//! Law: an ordinary exchange never outlives its client; that of an event stream outlives its upstream connection (it
//! asks again), and its readers for as long as it lingers.

use super::checkpoint::Account;
use super::conn::ConnKey;
use super::era::Era;
use super::identity::Identity;
use super::repeat::{HeardBody, Repeat};
use super::seats::Seats;
use super::timers::Timer;
use crate::base::{Key, Span, Tick};
use crate::http::{Method, Version};
use crate::timer::TimerKey;
use crate::track::{GapReason, Tracker};

/// Names an exchange.
pub type ExchangeKey = Key<Exchange>;

/// A request, its answer, and who reads it.
pub struct Exchange {
    pub(super) route: u32,
    /// Attempts made in the present wait.
    pub(super) tries: u32,
    pub(super) request: Request,
    pub(super) readers: Seats,
    pub(super) upstream: Option<ConnKey>,
    pub(super) phase: Phase,
    /// When the present wait for upstream began: the request's arrival, or the cut.
    pub(super) since: Tick,
    /// What upstream last asked for with `Retry-After`; none is zero.
    pub(super) retry_after: Span,
    /// When a reader last took something.
    pub(super) last_sent: Tick,
    /// A client has been sent a head.
    pub(super) head_sent: bool,
    /// The time it waits for is its place in the upstream's pace.
    pub(super) paced: bool,
    pub(super) timer: Option<TimerKey<Timer>>,
    /// When the timer fires; deadlines that move later are looked at only then.
    pub(super) armed: Tick,
    pub(super) stream: Option<Box<Stream>>,
    /// What the body of a POST was, for one that comes again, and for what it tells of itself.
    pub(super) heard_body: Option<Box<HeardBody>>,
    /// Held back until its body tells where it belongs.
    pub(super) repeat: Option<Box<Repeat>>,
}

/// A client that reads an answer.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) client: ConnKey,
    /// The client's version; 1.0 has no chunks.
    pub(super) version: Version,
    /// The client's connection may serve another request.
    pub(super) keep_alive: bool,
    /// It has been sent a head.
    pub(super) head_sent: bool,
    /// The answer is sent in chunks, and its last one is still owed.
    pub(super) chunked: bool,
    /// The answer ends with the client's connection.
    pub(super) until_close: bool,
    /// Its socket is full.
    pub(super) blocked: bool,
    /// What it is given is not all: it is told behind it.
    pub(super) owes_gap: bool,
    /// When it last took something.
    pub(super) last_sent: Tick,
    /// Its place in the log of an event stream.
    pub(super) place: Subscriber,
    /// Where it began there: what lies before it was not given to this one.
    pub(super) began: u64,
}

/// What is needed to ask upstream, also again.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The head for upstream, without `Last-Event-ID` and without the blank line that ends it.
    pub(super) head: Box<[u8]>,
    /// The client's own `Last-Event-ID`.
    pub(super) cursor: Option<Box<[u8]>>,
    pub(super) method: Method,
    /// The client takes `text/event-stream`.
    pub(super) accepts_stream: bool,
    pub(super) has_body: bool,
    pub(super) identity: Identity,
    pub(super) era: Era,
    /// No header told the era: the body may, until upstream answers.
    pub(super) era_open: bool,
    /// The cursor that stays here, where it was one of segno's own.
    pub(super) asked: Option<Box<[u8]>>,
    /// Why events in front of the first one are gone; told with the head.
    pub(super) gap: Option<GapReason>,
    /// The head of a GET that goes on where this POST was cut, where the protocol says so.
    pub(super) resume_head: Option<Box<[u8]>>,
    /// The body is sent on in chunks, since its length was not told.
    pub(super) chunked_body: bool,
}

/// How far an exchange has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// No connection carries the request; the next attempt is made at this time.
    Waiting(Tick),
    /// A connection is being opened.
    Connecting,
    /// The request is on its way, the head of the answer is awaited.
    Asked,
    /// An ordinary answer passes through.
    Passing,
    /// An event stream flows.
    Streaming,
    /// Upstream's part is over; what is left goes to the client, then this happens.
    Ending(Ending),
}

/// How an answer ends for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// As a whole answer ends: a last chunk, and the connection goes on if it may.
    Clean,
    /// As a cut: no last chunk; a reset where there are no chunks.
    Cut,
}

impl Reader {
    pub(super) fn new(client: ConnKey, version: Version, keep_alive: bool, now: Tick) -> Self {
        Self {
            client,
            version,
            keep_alive,
            head_sent: false,
            chunked: false,
            until_close: false,
            blocked: false,
            owes_gap: false,
            last_sent: now,
            place: Subscriber::new(version == Version::Http11, 0),
            began: 0,
        }
    }

    /// Its place in the log is here.
    pub(super) fn begin_at(&mut self, offset: u64) {
        self.place.offset = offset;
        self.began = offset;
    }
}

impl Exchange {
    pub(super) fn new(route: usize, request: Request, reader: Reader, now: Tick) -> Self {
        Self {
            route: route as u32,
            tries: 0,
            request,
            readers: Seats::one(reader),
            upstream: None,
            phase: Phase::Waiting(now),
            since: now,
            retry_after: Span::ZERO,
            last_sent: now,
            head_sent: false,
            paced: false,
            timer: None,
            armed: Tick::NEVER,
            stream: None,
            heard_body: None,
            repeat: None,
        }
    }

    /// The client of an ordinary answer, which has one reader.
    pub(super) fn client(&self) -> Option<ConnKey> {
        self.readers.only().map(|reader| reader.client)
    }

    /// The place of its route in the configuration.
    pub(super) fn route(&self) -> usize {
        self.route as usize
    }

    /// A GET that accepts event streams, or was answered with one: the first can be held and opened early, both can
    /// be healed. One with a body cannot be asked again, since the body is not kept.
    pub(super) fn is_stream_request(&self) -> bool {
        let is_stream = self.request.accepts_stream || self.stream.is_some();
        is_stream && self.request.method == Method::Get && !self.request.has_body
    }

    /// Whether a reader's socket has taken all that there is.
    pub(super) fn is_delivered(&self) -> bool {
        let Some(stream) = &self.stream else { return true };
        let whole = stream.tracker.whole();
        self.readers.iter().any(|(_, r)| r.place.offset == whole && !r.place.is_open())
    }

    /// Whether its readers have all left, and it is kept for those that come back.
    pub(super) fn is_detached(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.detached.is_some())
    }

    /// Whether the client is in the middle of an event stream, or was told that one begins.
    pub(super) fn is_open_stream(&self) -> bool {
        self.stream.is_some() && self.head_sent
    }

    /// Whether upstream can be asked to go on behind a cut: a GET of an event stream, or a POST whose protocol has a
    /// GET for it.
    pub(super) fn can_heal(&self) -> bool {
        self.is_stream_request() || self.stream.is_some() && self.request.resume_head.is_some()
    }

    /// Method and target, for log lines.
    pub(super) fn target(&self) -> Box<str> {
        self.request.target()
    }
}

impl Request {
    /// Settles the era by what the body told.
    pub(super) fn settle_era(&mut self, revision: Option<&[u8]>) {
        if let Some(revision) = revision.filter(|_| self.era_open) {
            self.era = Era::of_body(revision);
        }
        self.era_open = false;
        if !self.era.is_resumable_mcp() {
            self.resume_head = None;
        }
    }

    /// Whether its answer may be another client's too: a GET of an event stream from where upstream begins.
    pub(super) fn may_share(&self) -> bool {
        let is_plain = self.method == Method::Get && !self.has_body && self.era != Era::Stateless;
        is_plain && self.accepts_stream && self.cursor.is_none() && self.gap.is_none()
    }

    /// Method and target, for log lines.
    pub(super) fn target(&self) -> Box<str> {
        let line = memchr::memmem::find(&self.head, b" HTTP/").unwrap_or(0);
        String::from_utf8_lossy(&self.head[..line]).into()
    }
}

/// Whether a request that may have reached upstream may be sent once more (RFC 9110, 9.2.2).
pub(super) fn may_repeat(request: &Request) -> bool {
    let idempotent = !matches!(request.method, Method::Post | Method::Patch | Method::Other(_));
    idempotent && !request.has_body
}

/// The event stream of an exchange.
pub(super) struct Stream {
    pub(super) tracker: Tracker,
    pub(super) account: Account,
    /// An event stream has come from upstream, so a loss of it is a cut.
    pub(super) begun: bool,
    /// When upstream last sent something.
    pub(super) last_heard: Tick,
    /// When the present body began, and how many events the stream had received then.
    pub(super) body_began: (Tick, u64),
    /// The offset up to which the store has been given events.
    pub(super) stored: u64,
    /// Its token is known to clients.
    pub(super) has_token: bool,
    /// Lines of upstream's head that later readers need.
    pub(super) head: Option<Box<[u8]>>,
    /// Since when nobody reads, and where the whole events ended by then.
    pub(super) detached: Option<(Tick, u64)>,
}

/// A client's place in a log, and how far the chunk it is being sent has gone.
///
/// A chunk covers whole blocks (or a part of an oversize one), so that between chunks is an event boundary, the
/// only place for bytes of segno's own.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The next byte of the log to send.
    pub(super) offset: u64,
    /// Bytes of the log that the open chunk still has to carry.
    left: u32,
    chunked: bool,
    open: bool,
    lead: [u8; crate::http::CHUNK_HEAD],
    lead_len: u8,
    lead_sent: u8,
    tail_sent: u8,
}

impl Subscriber {
    pub(super) fn new(chunked: bool, offset: u64) -> Self {
        Self {
            offset,
            left: 0,
            chunked,
            open: false,
            lead: [0; crate::http::CHUNK_HEAD],
            lead_len: 0,
            lead_sent: 0,
            tail_sent: 0,
        }
    }

    /// Opens a chunk for everything up to `whole`, unless one is open.
    pub(super) fn open(&mut self, whole: u64) {
        if self.open || whole <= self.offset {
            return;
        }
        self.open = true;
        // More than a log ever holds.
        self.left = u32::try_from(whole - self.offset).unwrap_or(u32::MAX);
        self.lead_len = match self.chunked {
            true => crate::http::chunk_head(self.left, &mut self.lead).len() as u8,
            false => 0,
        };
        self.lead_sent = 0;
        self.tail_sent = if self.chunked { 0 } else { 2 };
    }

    /// Whether a chunk has been begun and not been sent to its end.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// What is left of the open chunk: its size line, a range of the log, its end.
    pub(super) fn pending(&self) -> (&[u8], std::ops::Range<u64>, &'static [u8]) {
        if !self.open {
            return (&[], self.offset..self.offset, &[]);
        }
        let lead = &self.lead[usize::from(self.lead_sent)..usize::from(self.lead_len)];
        (lead, self.offset..self.offset + u64::from(self.left), &crate::http::CHUNK_END[usize::from(self.tail_sent)..])
    }

    /// Notes that the socket took `n` bytes of what is pending.
    pub(super) fn consume(&mut self, n: usize) {
        let lead = n.min(usize::from(self.lead_len - self.lead_sent));
        self.lead_sent += lead as u8;
        let data = (n - lead).min(self.left as usize);
        self.left -= data as u32;
        self.offset += data as u64;
        let tail = (n - lead - data).min(usize::from(2 - self.tail_sent));
        self.tail_sent += tail as u8;
        if self.left == 0 && self.tail_sent == 2 {
            self.open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything in steps of `step` bytes and returns the wire.
    fn send(sub: &mut Subscriber, log: &[u8], step: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        sub.open(log.len() as u64);
        while sub.is_open() {
            let (lead, range, tail) = sub.pending();
            let all = [lead, &log[range.start as usize..range.end as usize], tail].concat();
            let n = step.min(all.len());
            wire.extend_from_slice(&all[..n]);
            sub.consume(n);
        }
        wire
    }

    #[test]
    fn a_chunk_is_the_same_however_the_socket_takes_it() {
        let log = b"data: hello, this is an event\n\n";
        for step in 1..50 {
            let mut sub = Subscriber::new(true, 0);
            assert_eq!(send(&mut sub, log, step), b"1f\r\ndata: hello, this is an event\n\n\r\n");
            assert_eq!(sub.offset, log.len() as u64);
        }
    }

    #[test]
    fn without_chunks_only_the_log_is_sent() {
        let log = b"data: x\n\n";
        for step in 1..12 {
            let mut sub = Subscriber::new(false, 0);
            assert_eq!(send(&mut sub, log, step), log);
        }
    }

    #[test]
    fn nothing_is_opened_for_nothing() {
        let mut sub = Subscriber::new(true, 7);
        sub.open(7);
        assert!(!sub.is_open());
    }
}
