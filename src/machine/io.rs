//! The door of the machine, on one page: everything that comes in and everything that goes out.
//!
//! In: [`Input`]s. Out: [`Output`]s, [`Slices`] to send, [`Checkpoint`]s for the store.
//! Laws: these are plain values, so that a test can write them down and a shell can carry them out; an input with a
//! stale key is no error, since the connection may have been closed before the input arrived.

use super::keys::{ConnKey, ExchangeKey, Stake};
use super::notice::{ConnectError, Notice};
use crate::base::{Access, Cursor, EventId, Span, StreamName, Tick, TraceSpan};
use crate::config::{Config, Networks};
use crate::http::{self, Headers};
use std::net::IpAddr;
use std::sync::Arc;

/// Who is at the other end of a client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Its address: in the one form that an address has.
    pub(super) address: IpAddr,
    pub(super) standing: Standing,
}

/// What the address of a connection says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Who it is: if `trusted_proxies` names it, a proxy that is believed, and that stands for others.
    Itself,
    /// Which proxy has connected for a purpose of its own, such as a health check. Its connections are not counted, like
    /// all of a trusted proxy. Since it speaks for nobody, what it says of others is not believed, and its requests count
    /// as those of its own address.
    Probe,
}

impl Origin {
    /// What connects from this address; from the unspecified one, if it is not known. An IPv4 address that is written as IPv6 is the IPv4 address.
    pub fn new(address: IpAddr, standing: Standing) -> Self {
        Self { address: address.to_canonical(), standing }
    }

    /// Whether it is a proxy that is trusted.
    pub(super) fn is_proxy(self, trusted: &Networks) -> bool {
        trusted.contains(self.address)
    }

    /// Whether what it says of the clients that it speaks for is believed.
    pub(super) fn is_believed(self, trusted: &Networks) -> bool {
        self.standing == Standing::Itself && trusted.contains(self.address)
    }

    /// The address that a request comes from: its own, or that of the client that it speaks for.
    pub(super) fn client(self, headers: &Headers, trusted: &Networks) -> IpAddr {
        match self.is_believed(trusted) {
            true => http::client_address(headers, self.address, |address| trusted.contains(address)),
            false => self.address,
        }
    }

    /// Whether a request that comes from this address counts against it: that of a proxy which names nobody stands for
    /// others.
    pub(super) fn counts(self, client: IpAddr, trusted: &Networks) -> bool {
        !self.is_believed(trusted) || !trusted.contains(client)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self::new(address, Standing::Itself)
    }
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client has connected that shakes hands first. Answered by [`Output::LetIn`] or [`Output::Refuse`].
    Knocked {
        /// The client.
        peer: Origin,
    },
    /// A client that was let in has gone before it got a place.
    TurnedAway {
        /// What [`Output::LetIn`] gave.
        stake: Stake,
    },
    /// A client's connection was accepted. Answered by [`Output::Adopt`] or [`Output::Refuse`].
    Accepted {
        /// The client.
        peer: Origin,
    },
    /// A client's connection was accepted some time ago, and its proxy has said by now who it is. Answered as
    /// [`Input::Accepted`]; also where no client is accepted any more.
    Announced {
        /// The client.
        peer: Origin,
    },
    /// A client's connection was accepted, and its TLS handshake is done. Answered as [`Input::Accepted`].
    AcceptedSecure {
        /// The client.
        peer: Origin,
        /// What [`Output::LetIn`] gave. The machine has it from now on.
        stake: Stake,
        /// Who the client is by its certificate, which has been verified: bytes that are the same for all certificates
        /// of one client. `None`: it has sent none.
        certificate: Option<&'a [u8]>,
    },
    /// The connection that [`Output::Connect`] asked for is established, or nothing waits on the one of
    /// [`Output::Reuse`].
    Connected {
        /// The key that `Connect` gave.
        conn: ConnKey,
    },
    /// The connection that [`Output::Connect`] asked for could not be opened.
    ConnectFailed {
        /// The key that `Connect` gave; it names nothing from now on.
        conn: ConnKey,
        /// What went wrong.
        why: ConnectError,
    },
    /// The idle connection of [`Output::Reuse`] has ended, or bytes wait on it that answer nothing.
    Stale {
        /// The connection.
        conn: ConnKey,
    },
    /// The system has no file descriptor for a client's connection that waits to be accepted.
    NoDescriptor,
    /// Bytes were read, at most as many as [`Machine::poll_read`](super::Machine::poll_read) allowed.
    Data {
        /// The connection.
        conn: ConnKey,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The peer will send nothing more.
    Eof {
        /// The connection.
        conn: ConnKey,
    },
    /// The connection broke: a reset, a time-out in the kernel, a TLS truncation.
    Reset {
        /// The connection.
        conn: ConnKey,
    },
    /// The socket took the first bytes of what [`Machine::transmit`](super::Machine::transmit) gave.
    Written {
        /// The connection.
        conn: ConnKey,
        /// How many bytes. Fewer than the socket was given (0 is possible) means that the socket is full.
        bytes: usize,
    },
    /// The client has not acknowledged the last bytes that its socket took. Answers [`Output::AskUnacknowledged`], and
    /// comes before [`Input::Eof`] and [`Input::Reset`] of a client.
    Unacknowledged {
        /// The connection.
        conn: ConnKey,
        /// How many bytes, at most.
        bytes: u64,
    },
    /// The store has answered an [`Output::Lookup`].
    LookedUp {
        /// The exchange that asked.
        exchange: ExchangeKey,
        /// What the store knows, or that it could not be asked.
        found: Result<Vec<StoredStream>, NotLookedUp>,
    },
    /// What the store says of a log that an [`Output::Follow`] asked for.
    Followed {
        /// The exchange that follows the log.
        exchange: ExchangeKey,
        /// What is new.
        news: Followed,
    },
    /// Whether another instance follows the log of this stream has changed.
    Watched {
        /// The stream.
        stream: ExchangeKey,
        /// Somebody follows it.
        by_others: bool,
    },
    /// Another instance owns the log of this stream from now on. The store takes nothing more of this one.
    TakenOver {
        /// The stream.
        stream: ExchangeKey,
    },
    /// Time has passed. Some of what is due is done; where there is more, the next deadline is now.
    Time,
    /// What the calendar says. Answers of segno's own have this date; until it is told, none.
    Calendar {
        /// Seconds since the Unix epoch.
        unix_secs: u64,
    },
    /// Accept no more clients. Streams that can be gone on with elsewhere are cut so that their clients go there; others,
    /// and ordinary answers, may end by themselves.
    Drain {
        /// Over what time clients are sent elsewhere.
        spread: Span,
        /// When the shell stops; streams that run on are cut shortly before.
        within: Span,
    },
    /// Go by another configuration from now on, which differs from the one before only in what may change while
    /// running. What runs keeps its route. Answered by [`Output::Reloaded`].
    Reload {
        /// The configuration.
        config: Arc<Config>,
    },
}

/// Something that the shell must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The socket just accepted has this key.
    Adopt {
        /// The connection.
        conn: ConnKey,
    },
    /// The client that has just connected may shake hands.
    LetIn {
        /// What it holds of what its address may have: to be given back by [`Input::AcceptedSecure`] or
        /// [`Input::TurnedAway`].
        stake: Stake,
    },
    /// The socket just accepted gets no place: say so, where that needs no handshake, and close it.
    Refuse(Refusal),
    /// Open a connection to the route's upstream.
    Connect {
        /// The key of the new connection.
        conn: ConnKey,
        /// The place of the route and its upstream: its number among all upstreams of all routes of the configuration
        /// that the machine began with, or what [`Output::Reloaded`] said since.
        route: usize,
    },
    /// See whether anything waits on an idle connection to upstream, before a request goes out on it. Answered at once
    /// by [`Input::Connected`] or [`Input::Stale`].
    Reuse {
        /// The connection.
        conn: ConnKey,
    },
    /// There are bytes to send. They may wait for further inputs, as they do where a socket has no room.
    Flush {
        /// The connection.
        conn: ConnKey,
    },
    /// Read the connection again: there is room for what it sends.
    ReadAgain {
        /// The connection.
        conn: ConnKey,
    },
    /// Bound what the kernel holds of this stream on its way out, so that all of it can be replayed.
    CapSendBuffer {
        /// The connection.
        conn: ConnKey,
        /// The bound, in bytes.
        bytes: usize,
    },
    /// Upstream may be slow to take what it is sent next, or no longer: a request with a body is sent, or one without.
    BePatient {
        /// The connection.
        conn: ConnKey,
        /// Whether it may be slow.
        patient: bool,
    },
    /// Say how many bytes the client has not acknowledged. Answered by [`Input::Unacknowledged`].
    AskUnacknowledged {
        /// The connection.
        conn: ConnKey,
    },
    /// Nothing more will be sent: shut down our side, and go on reading.
    ShutdownWrite {
        /// The connection.
        conn: ConnKey,
    },
    /// Close the socket. The key names nothing from now on.
    Close {
        /// The connection.
        conn: ConnKey,
        /// How to close it.
        how: Close,
    },
    /// Ask the store. Answered by [`Input::LookedUp`]; an answer that does not come within a second counts as an error.
    Lookup(Lookup),
    /// Tell what another instance writes to a log, as it comes. Answered by any number of [`Input::Followed`], until
    /// [`Output::Unfollow`].
    Follow {
        /// The exchange that follows.
        exchange: ExchangeKey,
        /// The log.
        name: StreamName,
        /// The number of the last event that is here.
        after: u64,
        /// How often the log had changed its owner when it was looked up. With another owner its numbers may mean other
        /// events.
        fence: u64,
    },
    /// Tell nothing more of the log that this exchange follows.
    Unfollow {
        /// The exchange.
        exchange: ExchangeKey,
    },
    /// Log this.
    Notice(Notice),
    /// The machine goes by another configuration, or cannot.
    Reloaded {
        /// The place of each upstream of each of its routes, in their order. What has not changed has the place that
        /// it had.
        places: Result<Box<[usize]>, TooManyRoutes>,
    },
    /// A client's request is over: tell the access log. Comes only if there is one.
    Served(Box<Access>),
    /// A part of a recorded trace is over. Comes only if traces are recorded.
    Traced(Box<TraceSpan>),
}

/// How an upstream stands from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamNews<'a> {
    /// It serves so many requests, event streams among them.
    Busy(u32),
    /// It works, or since when and why it is left out or fails its checks.
    Stands(Option<(Tick, &'a str)>),
}

/// Why a client that has connected gets no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// All places are taken, or clients are no longer accepted: 503.
    Full,
    /// Its address has as many connections as it may: 429.
    Address,
}

/// Streams still use so many routes of earlier configurations that there is no place for more. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyRoutes {
    /// Earlier routes that are in use.
    pub in_use: usize,
}

/// How a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// In the ordinary way.
    Finish,
    /// What was sent arrives, and the peer can tell that it is incomplete: by its framing, and where the connection has
    /// a last word, by that word's absence.
    Cut,
    /// With a reset, so that the peer takes what it has for incomplete.
    Reset,
}

/// Bytes to send, in order. Some of the slices may be empty.
pub type Slices<'a> = [&'a [u8]; 5];

/// News of one stream for the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Checkpoint {
    /// A stream has something to store for the first time.
    Began {
        /// The stream, until its end.
        stream: ExchangeKey,
        /// The name under which the store knows it.
        name: StreamName,
    },
    /// The delivered mark has moved.
    Delivered {
        /// The stream.
        stream: ExchangeKey,
        /// The mark.
        cursor: Cursor,
    },
    /// Somebody reads the stream, though nothing new has come.
    Seen {
        /// The stream.
        stream: ExchangeKey,
        /// When.
        at: Tick,
    },
    /// Events have come that are to be stored too.
    Events {
        /// The stream.
        stream: ExchangeKey,
        /// The events.
        part: EventPart,
    },
    /// Upstream has ended the stream or was lost, and all its events have been handed over. Comes before
    /// [`Checkpoint::Ended`], and only where logs are shared: the log then stays until it expires, for those that read
    /// it elsewhere.
    LogEnded {
        /// The stream.
        stream: ExchangeKey,
        /// Upstream ended it cleanly, and the log has its end.
        whole: bool,
    },
    /// The stream is over; the key names nothing from now on.
    Ended {
        /// The stream.
        stream: ExchangeKey,
        /// Whether the record stays in the store.
        keep: bool,
    },
    /// The record of a stream that ended earlier is no longer needed.
    Forgotten {
        /// The name under which the store knows it.
        name: StreamName,
        /// The sequence at which the record stands, at most.
        sequence: u64,
    },
}

/// A question for the store: what is known of a session's streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// The exchange that waits for the answer.
    pub exchange: ExchangeKey,
    /// The session's name in the store.
    pub session: Box<[u8]>,
    /// How many bytes of recent events are wanted of each stream, at most; 0: cursors alone.
    pub log_bytes: usize,
    /// The id after which the client wants to go on; empty if the client names none. The answer may leave out a stream
    /// if none of its events has this id or, where the id is segno's own, another id of the same stream.
    pub wanted: Box<[u8]>,
}

/// The store could not be asked, so it is not known what it has: it is away, it failed, or too much waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotLookedUp;

/// What the store knows of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredStream {
    /// The stream's number.
    pub stream: u64,
    /// Its delivered mark.
    pub id: EventId,
    /// When it was last active, in milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
    /// Its recent events, if they were asked for and are there.
    pub log: Option<StoredEvents>,
}

/// Recent events of a stream, without a hole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvents {
    /// What [`EventPart::meta`] was.
    pub meta: Box<[u8]>,
    /// The number of the first event.
    pub first: u64,
    /// The events, one after the other.
    pub bytes: Vec<u8>,
    /// How often the log has changed its owner; 0 where logs are not shared.
    pub fence: u64,
    /// Who writes the log.
    pub owner: StoredOwner,
    /// The log has its end. `true`: as upstream ended the stream; `false`: upstream was lost.
    pub end: Option<bool>,
}

/// Who writes a stored log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum StoredOwner {
    /// Nobody: logs are not shared, or the last owner has given it up.
    #[default]
    None,
    /// Another instance, whose lease runs.
    Lives,
    /// An instance whose lease is over, or this one, which has no such stream any more.
    Gone,
}

/// What the store says of a log that is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Followed {
    /// Events behind those that are here, without a hole.
    Events(StoredEvents),
    /// The log has its end, and all its events were told.
    Ended {
        /// As upstream ended the stream.
        whole: bool,
        /// The number of its last event.
        last: u64,
    },
    /// The lease of its owner is over, and all its events were told.
    OwnerGone,
    /// Events behind those that are here have left the log, or the log is gone.
    Lost,
    /// The store cannot be asked. It will be asked again.
    Away,
}

/// Events for the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventPart {
    /// The number of the first event in the stream, counted from 1.
    pub first: u64,
    /// Whole events, as they are forwarded.
    pub bytes: Box<[u8]>,
    /// Where each event ends within the bytes.
    pub ends: Box<[u32]>,
    /// What is needed to go on with the stream.
    pub meta: Box<[u8]>,
    /// The bounds of the stored log: those of the stream's route.
    pub bounds: LogBounds,
    /// With the first part of a stream: the fence over which this process claims the log; 0 for a log that is new.
    /// `None`: it is this process's already, or logs are not shared.
    pub claim: Option<u64>,
}

/// What a log may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBounds {
    /// Events.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
    /// The age of the oldest.
    pub age: Span,
}
