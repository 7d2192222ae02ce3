//! The sans-IO whole: clients, upstreams and event streams as one state machine.
//!
//! In: [`Input`]s (what sockets and the clock say), each with the time. Out: [`Output`]s (what sockets shall do),
//! bytes to send ([`Machine::transmit`]), counts, and the next time to be called.
//!
//! **The law of the loop.** Every [`Machine::handle`] is followed by draining [`Machine::poll_output`] until it gives
//! `None`, before the next `handle`. In its canonical shape:
//!
//! 1. wait for sockets, at most until [`Machine::poll_timeout`];
//! 2. read the clock once;
//! 3. for each socket with news: ask [`Machine::poll_read`] how much it may read, read, `handle` what came, drain;
//! 4. on `Flush`, write [`Machine::transmit`] and `handle` an [`Input::Written`];
//! 5. `handle` [`Input::Time`], drain;
//! 6. drain [`Machine::drain_counts`], go on.
//!
//! Laws: nothing here reads a clock, a socket or a random source; all tables and buffers are bounded at start; no
//! input makes it panic.
//!
//! Methods by prefix: `handle` takes what came from outside, `poll_*` and `transmit` say what to do next, `on_*` are
//! the reactions within.

mod answer;
mod attempt;
mod checkpoint;
mod client;
mod conn;
mod ending;
mod era;
mod exchange;
mod identity;
#[cfg(feature = "fuzzing")]
pub(crate) mod last_event_id;
mod linger;
mod meta;
mod notice;
mod repeat;
mod resume;
mod seats;
mod sessions;
mod stored;
mod stream;
mod timers;
mod transmit;
mod upstream;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod tests;

pub use checkpoint::Checkpoint;
pub use conn::{Conn, ConnKey};
pub use exchange::{Exchange, ExchangeKey};
pub use notice::{ConnectError, Notice};
pub use stored::{EventPart, LookUp, Stored, StoredEvents};
pub use transmit::Slices;

use crate::base::{Count, Counts, Random, Span, Table, Tick};
use crate::config::Config;
use crate::timer::{TimerKey, Wheel};
use crate::track::{Budget, Interner, TrackLimits};
use attempt::Pace;
use conn::Peer;
use identity::Secret;
use sessions::Sessions;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use timers::Timer;

/// Places for outputs that are kept between two inputs; a wave of timers may need many more for a moment.
const KEPT_OUTPUTS: usize = 4_096;

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client's connection was accepted. Answered by [`Output::Adopt`] or [`Output::Refuse`].
    Accepted {
        /// The client's address.
        peer: IpAddr,
    },
    /// The connection that [`Output::Connect`] asked for stands.
    Connected {
        /// The key that `Connect` gave.
        conn: ConnKey,
    },
    /// It could not be opened.
    ConnectFailed {
        /// The key that `Connect` gave; it names nothing from now on.
        conn: ConnKey,
        /// What went wrong.
        why: ConnectError,
    },
    /// Bytes were read, at most as many as [`Machine::poll_read`] allowed.
    Data {
        /// Where.
        conn: ConnKey,
        /// What.
        bytes: &'a [u8],
    },
    /// The other side has ended its sending.
    Eof {
        /// Where.
        conn: ConnKey,
    },
    /// The connection broke: a reset, a time-out of the kernel's, a TLS truncation.
    Reset {
        /// Where.
        conn: ConnKey,
    },
    /// The socket took the first bytes of what [`Machine::transmit`] gave.
    Written {
        /// Where.
        conn: ConnKey,
        /// How many.
        bytes: usize,
    },
    /// The store has answered a question; empty where it knows nothing or is away.
    Found {
        /// Who asked.
        exchange: ExchangeKey,
        /// What it knows.
        found: Vec<Stored>,
    },
    /// Time has passed.
    Time,
    /// No more clients are accepted: streams are cut so that clients go elsewhere, other requests end.
    Drain,
}

/// Something that shall be done outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The socket just accepted is this connection.
    Adopt {
        /// Its key.
        conn: ConnKey,
    },
    /// The socket just accepted has no place: answer 503 and close it.
    Refuse,
    /// Open a connection to the route's upstream.
    Connect {
        /// Its key.
        conn: ConnKey,
        /// The route, by its place in the configuration.
        route: usize,
    },
    /// There are bytes to send.
    Flush {
        /// Where.
        conn: ConnKey,
    },
    /// The connection may be read again.
    Resume {
        /// Where.
        conn: ConnKey,
    },
    /// Bound what the kernel holds of this stream on its way out, so that all of it can be replayed.
    CapSendBuffer {
        /// Where.
        conn: ConnKey,
        /// To how many bytes.
        bytes: usize,
    },
    /// Nothing more is sent: shut down our side, go on reading.
    ShutdownWrite {
        /// Where.
        conn: ConnKey,
    },
    /// Close the socket. The key names nothing from now on.
    Close {
        /// Where.
        conn: ConnKey,
        /// How.
        how: Close,
    },
    /// Ask the store. Answered by [`Input::Found`]; without an answer the request goes on after a second.
    LookUp(LookUp),
    /// Log this.
    Notice(Notice),
}

/// How a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// As connections end.
    Finish,
    /// With a reset, so that the other side takes what it has for incomplete.
    Reset,
}

/// All connections and exchanges of one reactor.
pub struct Machine {
    config: Arc<Config>,
    routes: Vec<RouteState>,
    conns: Table<Conn>,
    exchanges: Table<Exchange>,
    sessions: Sessions,
    secret: Secret,
    wheel: Wheel<Timer>,
    interner: Interner,
    budget: Budget,
    random: Random,
    outputs: VecDeque<Output>,
    counts: Counts,
    /// Streams whose delivered mark may have moved since checkpoints were drained.
    moved: Vec<ExchangeKey>,
    checkpoints: Vec<Checkpoint>,
    /// Streams with ids of segno's own, by their tokens.
    tokens: HashMap<u128, ExchangeKey>,
    /// Requests that may be shared and have no stream yet, by session and target.
    waiting: HashMap<(u128, u64), ExchangeKey>,
    /// When sessions are looked at for those that have been idle for too long.
    sessions_timer: Option<TimerKey<Timer>>,
    now: Tick,
    draining: bool,
    /// Exchanges that are event streams.
    streams: usize,
    /// Where the last search for log bytes to reclaim ended.
    reclaimed_at: usize,
    /// Time limits before a request has found its route.
    head_timeout: Span,
    keep_alive: Span,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("connections", &self.conns.len())
            .field("exchanges", &self.exchanges.len())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What the machine keeps for a route.
#[derive(Debug)]
struct RouteState {
    limits: TrackLimits,
    /// Idle connections to upstream, the latest used last.
    pool: Vec<ConnKey>,
    pace: Pace,
}

impl Machine {
    /// A machine for a configuration. `seed` decides jitter and hash keys, so that one seed replays a whole run. `secret`
    /// is the key under which principals and sessions are hashed: one that the store keeps finds them again after a
    /// restart.
    pub fn new(config: Arc<Config>, seed: u64, secret: u128, now: Tick) -> Self {
        let mut random = Random::new(seed);
        let limits = &config.limits;
        let routes = config.routes.iter().map(|r| RouteState::new(stream::limits(r), r.heal_rate)).collect();
        let longest = |of: fn(&crate::config::Route) -> Span| config.routes.iter().map(of).max().unwrap_or_default();
        Self {
            routes,
            conns: Table::new(limits.connections),
            exchanges: Table::new(limits.streams),
            sessions: Sessions::new(limits.sessions),
            secret: Secret::new(secret),
            wheel: Wheel::new(limits.connections.saturating_add(limits.streams).saturating_add(1), now),
            interner: Interner::new(random.next(), stream::symbols(&config)),
            budget: Budget::new(limits.log_budget),
            random,
            outputs: VecDeque::new(),
            counts: Counts::default(),
            moved: Vec::new(),
            checkpoints: Vec::new(),
            tokens: HashMap::new(),
            waiting: HashMap::new(),
            sessions_timer: None,
            now,
            draining: false,
            streams: 0,
            reclaimed_at: 0,
            head_timeout: longest(|r| r.head_timeout),
            keep_alive: longest(|r| r.keep_alive),
            config,
        }
    }

    /// Takes in what happened. A stale key is no error: the connection was closed while the news travelled.
    pub fn handle(&mut self, input: Input<'_>, now: Tick) {
        self.now = now.max(self.now);
        match input {
            Input::Accepted { peer } => self.on_accepted(peer),
            Input::Connected { conn } => self.on_connected(conn),
            Input::ConnectFailed { conn, why } => self.on_connect_failed(conn, why),
            Input::Data { conn, bytes } => match self.is_client(conn) {
                Some(true) => self.on_client_data(conn, bytes),
                Some(false) => self.on_upstream_data(conn, bytes),
                None => {}
            },
            Input::Eof { conn } => match self.is_client(conn) {
                Some(true) => self.on_client_gone(conn),
                Some(false) => self.on_upstream_eof(conn),
                None => {}
            },
            Input::Reset { conn } => match self.is_client(conn) {
                Some(true) => self.on_client_gone(conn),
                Some(false) => self.on_upstream_reset(conn),
                None => {}
            },
            Input::Written { conn, bytes } => self.on_written(conn, bytes),
            Input::Found { exchange, found } => self.on_found(exchange, found),
            Input::Time => self.on_time(),
            Input::Drain => self.on_drain(),
        }
    }

    /// The next thing to do outside, if there is one.
    pub fn poll_output(&mut self) -> Option<Output> {
        let Some(output) = self.outputs.pop_front() else {
            self.outputs.shrink_to(KEPT_OUTPUTS);
            return None;
        };
        if let Output::Flush { conn } = output
            && let Some(c) = self.conns.get_mut(conn)
        {
            c.flush_queued = false;
        }
        Some(output)
    }

    /// When [`Input::Time`] must be handled at the latest; `None` when nothing is timed.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.wheel.next_deadline()
    }

    /// Hands over what has been counted since the last call.
    pub fn drain_counts(&mut self, each: impl FnMut(Count, u64)) {
        self.counts.drain(each);
    }

    /// Open connections, clients' and upstreams'.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Clients that would take what they have got for a whole answer if everything were closed now: those whose answers
    /// end with the connection. A stop resets them; all others see by themselves that theirs is cut.
    pub fn deceived_by_a_close(&self) -> impl Iterator<Item = ConnKey> {
        let is_deceived = |c: &Conn| {
            let reader = c.seated().and_then(|(key, seat)| self.exchanges.get(key)?.readers.get(seat));
            reader.is_some_and(|reader| reader.until_close)
        };
        self.conns.iter().filter(move |(_, c)| is_deceived(c)).map(|(conn, _)| conn)
    }

    /// Requests being served, event streams among them.
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    /// Sessions that are remembered.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Event streams, those that linger included.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Bytes that all logs hold, in the measure of `log_budget`.
    pub fn log_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Bytes that streams, sessions and event ids hold beside the logs, about.
    pub fn stream_bytes(&self) -> usize {
        let window = self.config.routes.iter().map(|r| r.window).max().unwrap_or_default() * 4;
        self.exchanges.len() * size_of::<Exchange>()
            + self.streams * (size_of::<exchange::Stream>() + window)
            + self.sessions.len() * size_of::<sessions::Session>()
            + self.interner.bytes()
    }

    /// How often an event id was known when it was interned, and how often it was new.
    pub fn interned(&self) -> (u64, u64) {
        (self.interner.hits(), self.interner.misses())
    }

    fn is_client(&self, conn: ConnKey) -> Option<bool> {
        self.conns.get(conn).map(|c| matches!(c.peer, Peer::Client(_)))
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    /// Asks for a flush, once until it is taken up.
    fn flush(&mut self, conn: ConnKey) {
        if let Some(c) = self.conns.get_mut(conn)
            && !std::mem::replace(&mut c.flush_queued, true)
        {
            self.outputs.push_back(Output::Flush { conn });
        }
    }

    /// Lets the shell read again, if it was told not to.
    fn resume(&mut self, conn: ConnKey) {
        if let Some(c) = self.conns.get_mut(conn)
            && std::mem::take(&mut c.paused)
        {
            self.outputs.push_back(Output::Resume { conn });
        }
    }

    /// Forgets a connection and has its socket closed.
    fn close(&mut self, conn: ConnKey, how: Close) {
        if let Some(c) = self.conns.remove(conn) {
            if let Some(timer) = c.timer {
                self.wheel.cancel(timer);
            }
            self.outputs.push_back(Output::Close { conn, how });
        }
    }
}

impl RouteState {
    fn new(limits: TrackLimits, heal_rate: u32) -> Self {
        Self { limits, pool: Vec::new(), pace: Pace::new(heal_rate) }
    }
}
