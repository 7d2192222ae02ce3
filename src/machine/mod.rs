//! The sans-IO whole: clients, upstreams and event streams as one state machine.
//!
//! In: [`Input`]s (what sockets, the store and the clock say), each with the time. Out: [`Output`]s (what sockets must
//! do), bytes to send ([`Machine::transmit`]), [`Checkpoint`]s for the store, counts, and the next time to be called.
//!
//! **The law of the loop.** Every [`Machine::handle`] is followed by draining [`Machine::poll_output`] until it gives
//! `None`, before the next input from outside. The result of an output, such as a write, may be handled in between. As
//! code that compiles:
//!
//! ```
//! use segno::base::{Span, Tick};
//! use segno::machine::{ConnKey, Input, Machine, Output};
//!
//! /// What the shell has beside the machine: sockets, a clock, a store.
//! trait Shell {
//!     fn now(&mut self) -> Tick;
//!     /// Waits until a socket is ready, at most until this time. `false`: stop.
//!     fn wait(&mut self, until: Option<Tick>) -> bool;
//!     /// The next connection that can be read, if there is one.
//!     fn readable(&mut self) -> Option<ConnKey>;
//!     /// At most `room` bytes; an empty read is an end.
//!     fn read(&mut self, conn: ConnKey, room: usize) -> Vec<u8>;
//!     /// How many of the bytes the socket took.
//!     fn write(&mut self, conn: ConnKey, slices: [&[u8]; 5]) -> usize;
//!     /// Everything but a flush.
//!     fn carry_out(&mut self, output: Output);
//! }
//!
//! fn run(machine: &mut Machine, shell: &mut impl Shell) {
//!     // 1. Wait for sockets, at most until the next deadline.
//!     while shell.wait(machine.poll_timeout()) {
//!         // 2. Read the clock once a turn.
//!         let now = shell.now();
//!         // 3. Read each socket that is ready, as far as the machine has room.
//!         while let Some(conn) = shell.readable() {
//!             let room = machine.poll_read(conn);
//!             if room > 0 {
//!                 let bytes = shell.read(conn, room);
//!                 match bytes.is_empty() {
//!                     true => machine.handle(Input::Eof { conn }, now),
//!                     false => machine.handle(Input::Data { conn, bytes: &bytes }, now),
//!                 }
//!                 drain(machine, shell, now);
//!             }
//!         }
//!         // 4. Let time pass.
//!         machine.handle(Input::Time, now);
//!         drain(machine, shell, now);
//!         // 5. Once a turn, take the checkpoints for the store and the counts for the metrics.
//!         machine.drain_checkpoints(|checkpoint| println!("{checkpoint:?}"));
//!         machine.drain_counts(|count, route, n| println!("{} {route:?} +{n}", count.name()));
//!     }
//! }
//!
//! fn drain(machine: &mut Machine, shell: &mut impl Shell, now: Tick) {
//!     while let Some(output) = machine.poll_output() {
//!         match output {
//!             // What was flushed comes back as an input, and may lead to more.
//!             Output::Flush { conn } => {
//!                 let bytes = shell.write(conn, machine.transmit(conn));
//!                 machine.handle(Input::Written { conn, bytes }, now);
//!             }
//!             output => shell.carry_out(output),
//!         }
//!     }
//! }
//! # let _ = |machine: &mut Machine, shell: &mut Nothing| run(machine, shell);
//! # struct Nothing;
//! # impl Shell for Nothing {
//! #     fn now(&mut self) -> Tick { Tick::ZERO + Span::ZERO }
//! #     fn wait(&mut self, _: Option<Tick>) -> bool { false }
//! #     fn readable(&mut self) -> Option<ConnKey> { None }
//! #     fn read(&mut self, _: ConnKey, _: usize) -> Vec<u8> { Vec::new() }
//! #     fn write(&mut self, _: ConnKey, _: [&[u8]; 5]) -> usize { 0 }
//! #     fn carry_out(&mut self, _: Output) {}
//! # }
//! ```
//!
//! **Inside.** `io` is the door, `cx` what is lent to every reaction. A `stream` owns its readers, `find` says whose
//! log a request belongs to, `book` keeps what the store is told. `flow` holds the conductors, which alone see all
//! of these together.
//!
//! Laws: nothing here reads a clock, a socket or a random source; all tables and buffers are bounded at start; no
//! input makes it panic; a reaction runs to its end before another begins, and what it leaves to be done for another
//! exchange waits on a queue that `handle` empties.
//!
//! Methods by prefix: `handle` takes what came from outside, `poll_*`, `transmit` and `drain_*` say what to do next,
//! `on_*` are the reactions within.

mod balancing;
mod book;
mod buffers;
mod census;
mod conn;
mod cx;
mod deadlines;
mod exchange;
mod find;
mod flow;
mod io;
mod keys;
mod leaving;
mod notice;
mod pass;
mod pool;
mod queue;
mod room;
mod routing;
mod serve;
mod stream;
mod traces;
mod verdict;
mod visits;
mod wait;

pub use book::sessions::RECORDS_PER_SESSION;
#[cfg(feature = "fuzzing")]
pub use find::last_event_id::last_event_id;
pub use io::{
    Checkpoint, Close, EventPart, Followed, Input, LogBounds, Lookup, NotLookedUp, Origin, Output, Refusal, Slices,
    Standing, StoredEvents, StoredOwner, StoredStream, TooManyRoutes, UpstreamNews,
};
pub use keys::{ConnKey, ConnMark, ExchangeKey, ExchangeMark, Stake};
pub use notice::{ConnectError, Notice, Subject};

#[cfg(test)]
mod tests;

use crate::base::{Count, Spans, Table, Tick, Timing};
use crate::config::Config;
use crate::http::Date;
use crate::track::Window;
use book::Book;
use book::sessions::Session;
use census::Held;
use conn::Link;
use cx::{After, Cx};
use exchange::{Exchange, Exchanges};
use find::{Finder, Index};
use leaving::Leaving;
use pool::Conns;
use std::sync::Arc;
use stream::Stream;

/// The capacity that the queue of outputs keeps when it is empty. A wave of timers may need far more for a moment.
const KEPT_OUTPUTS: usize = 4_096;

/// All connections and exchanges of one reactor.
pub struct Machine {
    cx: Cx,
    conns: Conns,
    exchanges: Exchanges,
    index: Index,
    book: Book,
    /// Where the last search for log bytes to reclaim ended.
    reclaimed_at: usize,
    /// What a drain has still to end.
    leaving: Option<Box<Leaving>>,
    /// The steps of the costliest input so far.
    #[cfg(test)]
    pub(crate) most_steps: u64,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("connections", &self.conns.len())
            .field("exchanges", &self.exchanges.len())
            .field("now", &self.cx.now)
            .finish_non_exhaustive()
    }
}

/// From outside.
impl Machine {
    /// A machine for a configuration. `seed` decides jitter and hash keys, so that one seed replays a whole run.
    /// `secret` is the key under which principals and sessions are hashed: one that the store keeps finds them again
    /// after a restart.
    pub fn new(config: Arc<Config>, seed: u64, secret: u128, now: Tick) -> Self {
        let limits = config.limits.clone();
        let book = Book::new(&config);
        let cx = Cx::new(config, seed, secret, now);
        let mut machine = Self {
            conns: Conns::new(&limits, cx.routing.all().len()),
            exchanges: Table::new(limits.streams),
            index: Index::default(),
            book,
            reclaimed_at: 0,
            leaving: None,
            #[cfg(test)]
            most_steps: 0,
            cx,
        };
        machine.plan_checks();
        machine
    }

    /// Takes in what happened. A stale key is no error: the connection was closed before the input arrived.
    pub fn handle(&mut self, input: Input<'_>, now: Tick) {
        #[cfg(test)]
        let before = crate::base::steps();
        self.cx.now = now.max(self.cx.now);
        match input {
            Input::Knocked { peer } => self.on_knocked(peer),
            Input::TurnedAway { stake } => self.conns.census.remove(stake, Held::Connection),
            Input::Accepted { peer } => self.on_accepted(peer, Link::Plain),
            Input::Announced { peer } => self.on_accepted(peer, Link::Announced),
            Input::AcceptedSecure { peer, stake, certificate } => {
                self.on_accepted(peer, Link::Secure { stake, certificate });
            }
            Input::Connected { conn } => self.on_connected(conn),
            Input::ConnectFailed { conn, why } => self.on_connect_failed(conn, why),
            Input::Stale { conn } => self.on_stale(conn),
            Input::NoDescriptor => self.on_no_descriptor(),
            Input::Data { conn, bytes } => match self.is_client(conn) {
                Some(true) => self.on_client_data(conn, bytes),
                Some(false) => self.on_upstream_data(conn, bytes),
                None => {}
            },
            Input::Eof { conn } => match self.is_client(conn) {
                Some(true) => self.on_client_end(conn),
                Some(false) => self.on_upstream_end(conn, false),
                None => {}
            },
            Input::Reset { conn } => match self.is_client(conn) {
                Some(true) => self.on_client_gone(conn),
                Some(false) => self.on_upstream_end(conn, true),
                None => {}
            },
            Input::Written { conn, bytes } => self.on_written(conn, bytes),
            Input::Unacknowledged { conn, bytes } => self.on_unacknowledged(conn, bytes),
            Input::LookedUp { exchange, found } => self.on_looked_up(exchange, found),
            Input::Followed { exchange, news } => self.on_followed(exchange, news),
            Input::Watched { stream, by_others } => self.on_watched(stream, by_others),
            Input::TakenOver { stream } => self.on_taken_over(stream),
            Input::Time => self.on_time(),
            Input::Calendar { unix_secs } => self.cx.date = Date::at(unix_secs),
            Input::Drain { spread, within } => self.on_drain(spread, within),
            Input::Reload { config } => self.on_reload(config),
        }
        if !self.cx.after.is_empty() {
            self.finish();
        }
        if self.conns.buffers.are_unsettled() {
            self.settle_buffers();
        }
        #[cfg(test)]
        {
            self.most_steps = self.most_steps.max(crate::base::steps() - before);
        }
        #[cfg(debug_assertions)]
        self.check_a_few();
    }

    /// Does the work that reactions left on the queue.
    fn finish(&mut self) {
        while let Some(after) = self.cx.pop_after() {
            match after {
                After::Ask(key) => {
                    self.ask(key);
                    self.arm(key);
                }
                After::Ended(key) => self.drop_exchange(key),
                After::ReadHead(conn) => self.read_head(conn),
                After::Place { name, is_address } => self.on_place(name, is_address),
                After::Unread(key) => self.on_unread(key),
                After::ReadAnswer(conn) => self.read_answer(conn),
            }
        }
    }

    fn is_client(&self, conn: ConnKey) -> Option<bool> {
        self.conns.get(conn).map(|c| c.client_state().is_some())
    }
}

/// What to do next.
impl Machine {
    /// The next thing to do outside, if there is one.
    pub fn poll_output(&mut self) -> Option<Output> {
        let Some(output) = self.cx.outputs.pop_front() else {
            if self.cx.outputs.capacity() > KEPT_OUTPUTS {
                self.cx.outputs.shrink_to(KEPT_OUTPUTS);
            }
            return None;
        };
        if let Output::Flush { conn } = output
            && let Some(c) = self.conns.beside_buffers(conn)
        {
            c.flush_queued = false;
        }
        Some(output)
    }

    /// When [`Input::Time`] must be handled at the latest; `None` when nothing is timed.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.cx.wheel.next_deadline()
    }

    /// Hands over the checkpoints for the store since the last call.
    pub fn drain_checkpoints(&mut self, each: impl FnMut(Checkpoint)) {
        self.book.drain(&mut self.cx, &mut self.exchanges, each);
    }

    /// Hands over how long things took since the last call, by route. Call it before [`Machine::drain_counts`].
    pub fn drain_timings(&mut self, each: impl FnMut(Timing, Option<usize>, &Spans)) {
        self.cx.counts.drain_timings(each);
    }

    /// Hands over how upstreams stand, where that has changed since the last call, by the places of their routes.
    pub fn drain_upstreams(&mut self, mut each: impl FnMut(usize, UpstreamNews<'_>)) {
        self.conns.drain_busy(|place, busy| each(place, UpstreamNews::Busy(busy)));
        self.cx.balancing.drain(|place, trouble| {
            each(place, UpstreamNews::Stands(trouble.map(|(since, why)| (*since, &**why))));
        });
    }

    /// Hands over what has been counted since the last call: how much of what, for which route if it is counted so.
    pub fn drain_counts(&mut self, each: impl FnMut(Count, Option<usize>, u64)) {
        self.cx.counts.drain(each);
    }
}

/// What there is.
impl Machine {
    /// Open connections, clients' and upstreams'.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Requests being served, event streams among them.
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    /// Requests that are neither event streams nor tunnels.
    pub fn in_flight(&self) -> usize {
        self.exchanges.len().saturating_sub(self.book.streams).saturating_sub(self.cx.tunnels)
    }

    /// Requests that wait for an event stream of their address or their principal to end.
    pub fn held_requests(&self) -> usize {
        self.conns.census.waiting()
    }

    /// Addresses and principals that have something which counts against a bound of theirs.
    pub fn counted(&self) -> usize {
        self.conns.census.len()
    }

    /// Sessions that are remembered.
    pub fn sessions(&self) -> usize {
        self.book.sessions.len()
    }

    /// Event streams, those that linger included.
    pub fn streams(&self) -> usize {
        self.book.streams
    }

    /// The date that answers of segno's own have.
    pub fn date(&self) -> Date {
        self.cx.date
    }

    /// Clients that read an event stream, and how many of them have a full socket.
    pub fn subscribers(&self) -> (usize, usize) {
        (self.cx.audience.readers as usize, self.cx.audience.slow as usize)
    }

    /// Events that were received and are not delivered, of all streams.
    pub fn undelivered(&self) -> u64 {
        self.cx.budget.undelivered()
    }

    /// Tunnels: connections of clients that carry another protocol.
    pub fn tunnels(&self) -> usize {
        self.cx.tunnels
    }

    /// Bytes that all logs hold, in the measure of `log_budget`.
    pub fn log_bytes(&self) -> usize {
        self.cx.budget.used()
    }

    /// Bytes that connections hold beside the logs, in the measure of `buffer_budget`.
    pub fn buffer_bytes(&self) -> usize {
        self.conns.buffers.used()
    }

    /// Bytes that streams, sessions and event ids hold beside the logs, about.
    pub fn stream_bytes(&self) -> usize {
        let window = self.cx.routing.all().iter().map(|r| r.window).max().unwrap_or_default() * Window::PLACE;
        self.exchanges.len() * size_of::<Exchange>()
            + self.streams() * (size_of::<Stream>() + window)
            + self.sessions() * size_of::<Session>()
            + self.cx.interner.bytes()
            + self.cx.heads.bytes()
    }

    /// Bytes of upstreams' heads that are kept for clients that come back.
    pub fn head_bytes(&self) -> usize {
        self.cx.heads.bytes()
    }

    /// Bytes that [`Machine::head_bytes`] may reach, about: then heads are kept in part.
    pub const HEAD_BYTES: usize = stream::head::ALL_BYTES;

    /// Event ids that are interned.
    pub fn event_ids(&self) -> usize {
        self.cx.interner.live()
    }

    /// How many [`Machine::event_ids`] there can be.
    pub fn event_id_places(config: &Config) -> usize {
        cx::symbols(config)
    }

    /// How often an event id was known when it was interned, and how often it was new.
    pub fn interned(&self) -> (u64, u64) {
        (self.cx.interner.hits(), self.cx.interner.misses())
    }

    /// The clients that a stop must reset: their answers end with the connection, so that after an ordinary close they
    /// would take what they have for a whole answer. All other clients can tell that their answer was cut.
    pub fn must_reset_on_stop(&self) -> impl Iterator<Item = ConnKey> {
        let until_close = |(key, seat)| {
            let reader = self.exchanges.get(key).and_then(|x| x.readers().get(seat));
            reader.is_some_and(|reader| reader.until_close)
        };
        self.conns.iter().filter(move |(_, c)| c.seated().is_some_and(until_close)).map(|(conn, _)| conn)
    }

    fn finder(&self) -> Finder<'_> {
        Finder {
            cx: &self.cx,
            exchanges: &self.exchanges,
            sessions: &self.book.sessions,
            unread: &self.book.unread,
            index: &self.index,
        }
    }
}
