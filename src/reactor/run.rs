//! The loop: one wait in the poll, one turn, one report.
//!
//! In: readiness of sockets, commands, answers of the store, deadlines of the machine. Out: work for the [`Shell`];
//! counts, gauges and checkpoints, once a turn.
//! Laws: a turn is bounded: a share of reads for each connection, and a share of time for each kind of work that clients
//! make without being streams; streams come first in each turn, so that strangers, however many come at once, hold up an
//! event for some shares at most.
//!
//! ```text
//! a turn: read streams of upstreams, write to readers that have room again
//!     -> for a share each: read clients -> read headers of proxies -> accept -> shake hands -> timers
//!     -> report
//! ```

use super::checkpoints::Checkpoints;
use super::connecting::Connecting;
use super::listeners::{ACCEPT_REST, Listeners};
#[cfg(feature = "tls")]
use super::lobby::Lobby;
use super::log_lines::LogLines;
use super::porch::Porch;
use super::reload::Prepared;
use super::remote::{Command, Commands, Remote};
use super::shell::{Doors, Shell};
use super::socket::is_no_descriptor;
use super::sockets::{Sockets, WAKER};
use super::start::{Parts, StartError};
use super::store::Replies;
use super::watch::Watch;
use crate::base::{Count, Span, Tick};
use crate::clock::Clock;
use crate::config::Config;
use crate::machine::{ConnKey, Input, Machine, UpstreamNews};
use crate::metrics::{Bound, Gauge, Metrics, TURN_ENDS, Trouble, UpstreamRow};
use crate::sync::Shared;
use crossbeam_channel::Sender;
use mio::Events;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How late the reactor may be before it counts as stuck. No turn takes as long.
const GRACE: Span = Span::from_secs(5);

/// How much later than it was told the system's poll may end, since it counts in milliseconds.
const ROUNDING: Span = Span::from_millis(2);

/// How long one kind of work that is none of the streams' may hold them up in one turn. One step takes some 20 us: a
/// request that is read and refused, a connection that is accepted.
const SHARE: Span = Span::from_micros(500);

/// How long handshakes may. A signature takes from 30 us to 1 ms.
#[cfg(feature = "tls")]
const SHAKING: Span = Span::from_millis(2);

/// How long a date holds.
const CALENDAR: Span = Span::from_secs(1);

/// Owns the sockets, and runs the machine on the thread that calls [`Reactor::run`].
#[derive(Debug)]
pub struct Reactor {
    clock: Clock,
    shell: Shell,
    listeners: Listeners,
    commands: Commands,
    replies: Replies,
    /// Replies of the store that were dropped, as far as log lines have said so.
    replies_dropped: u64,
    checkpoints: Checkpoints,
    metrics: Arc<Metrics>,
    stop_at: Option<Tick>,
    /// Over what time a drain sends clients elsewhere.
    spread: Span,
    /// Who waits until a drain has sent all elsewhere that can go on there.
    waits_for_drain: Option<Sender<()>>,
    /// When the calendar is looked at next.
    calendar_at: Tick,
    longest_turn: Span,
    /// By the place of a route: its number in the metrics.
    labels: Vec<Option<usize>>,
    /// By the place of a route: the row of its upstream in the metrics.
    rows: Vec<Row>,
}

/// The row of an upstream in the metrics, and what a place adds to it.
#[derive(Clone, Debug, Default)]
struct Row {
    row: Option<Shared<UpstreamRow>>,
    busy: u32,
}

impl Row {
    fn new(row: Shared<UpstreamRow>) -> Self {
        Self { row: Some(row), busy: 0 }
    }

    /// The place has so many requests now. Others may have the same row.
    fn set_busy(&mut self, busy: u32) {
        let before = u64::from(std::mem::replace(&mut self.busy, busy));
        if let Some(row) = &self.row {
            row.busy.set((row.busy.get() + u64::from(busy)).saturating_sub(before));
        }
    }
}

impl Reactor {
    /// Binds the listeners and prepares everything. Nothing is accepted before [`Reactor::run`].
    ///
    /// # Errors
    /// [`StartError`], naming what is missing.
    pub fn new(config: Arc<Config>, parts: Parts) -> Result<(Self, Remote), StartError> {
        let Parts { seed, secret, clock, slots, mut store, metrics, journal, listeners, .. } = parts;
        #[cfg(feature = "tls")]
        let keyring = parts.keyring;
        let (sockets, waker) = Sockets::new().map_err(StartError::System)?;
        let listeners = Listeners::bind(&config, sockets.registry(), listeners)?;
        #[cfg(feature = "tls")]
        keyring.reload(&config).map_err(StartError::Tls)?;
        #[cfg(not(feature = "tls"))]
        super::start::refuse_tls(&config)?;
        let now = clock.now();
        let connecting = Connecting::new(
            &config,
            Arc::clone(&waker),
            #[cfg(feature = "tls")]
            keyring.clone(),
        )?;
        #[cfg(feature = "tls")]
        let lobby = Lobby::new(&config, keyring);
        let doors = Doors {
            porch: Porch::new(&config),
            #[cfg(feature = "tls")]
            lobby,
        };
        let replies = store.open(&waker, &metrics);
        let (remote, commands) = Remote::new(waker);
        note_bounds(&metrics, &config);
        let labels = config.routes.each_upstream().map(|(route, _, _)| Some(route)).collect();
        let rows = upstream_rows(&metrics, &config).into_iter().map(Row::new).collect();
        let spread = config.drain_spread;
        let machine = Machine::new(config, seed, secret, now);
        let lines = LogLines::new(journal, Arc::clone(&metrics));
        metrics.expect_reactor(now + GRACE);
        let reactor = Self {
            clock,
            shell: Shell::new(machine, sockets, connecting, store, lines, now, doors),
            listeners,
            commands,
            replies,
            replies_dropped: 0,
            checkpoints: Checkpoints::new(slots),
            metrics,
            stop_at: None,
            spread,
            waits_for_drain: None,
            calendar_at: now,
            longest_turn: Span::ZERO,
            labels,
            rows,
        };
        Ok((reactor, remote))
    }

    /// The addresses that are listened on; a port 0 in the configuration is the system's choice here.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// Runs until a [`Command`] ends it.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub fn run(mut self) -> io::Result<()> {
        let _end = SayEnd(Arc::clone(&self.metrics));
        let mut events = Events::with_capacity(1_024);
        let mut ended = self.clock.now();
        loop {
            let timeout = self.timeout();
            let due = timeout.map_or(Tick::NEVER, |timeout| ended + timeout.into() + ROUNDING);
            let wakes = timeout.map_or(Tick::NEVER, |timeout| self.shell.now + timeout.into());
            self.metrics.expect_reactor(wakes + GRACE);
            match self.shell.sockets.poll(&mut events, timeout) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            let began = self.clock.now();
            self.metrics.expect_reactor(began + GRACE);
            self.shell.now = began;
            let is_last = self.turn(&events);
            ended = self.clock.now();
            // A turn that began too late, since the processor was elsewhere, has held up the streams as well.
            let took = ended.since(began.min(due));
            self.metrics.turns().note(&TURN_ENDS, took);
            self.longest_turn = self.longest_turn.max(took);
            self.metrics.set(Gauge::LongestTurn, self.longest_turn.micros());
            if is_last {
                self.shell.reset_unfinished();
                return Ok(());
            }
        }
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        if self.shell.must_go_on_now() || self.listeners.must_accept_now() {
            return Some(Duration::ZERO);
        }
        let next = [self.shell.next_deadline(), self.listeners.rests_until(), self.stop_at];
        next.into_iter().flatten().min().map(|at| Duration::from(at.since(self.shell.now)))
    }

    /// One turn of the loop. True when it is the last.
    fn turn(&mut self, events: &Events) -> bool {
        if self.shell.now >= self.calendar_at {
            self.calendar_at = self.shell.now + CALENDAR;
            self.shell.tell(Input::Calendar { unix_secs: self.clock.calendar_secs() });
        }
        self.shell.read_again();
        for event in events {
            match event.token() {
                WAKER => self.on_woken(),
                token if Listeners::own(token) => self.listeners.on_ready(token),
                #[cfg(feature = "tls")]
                token if Lobby::own(token) => self.shell.lobby.on_ready(token),
                token if Porch::own(token) => self.shell.porch.on_ready(token),
                token => self.shell.on_ready(ConnKey::from_bits(token.0 as u64), event),
            }
        }
        self.shell.write_what_waits();
        self.share(SHARE, Shell::read_next_client);
        self.share(SHARE, Shell::read_next_header);
        self.accept();
        #[cfg(feature = "tls")]
        self.share(SHAKING, Shell::shake_hands);
        self.share(SHARE, Shell::on_time);
        let now = self.shell.now;
        self.report();
        // Behind the report: the last cursors and events are on their way to the store.
        if let Some(to) = self.waits_for_drain.take_if(|_| self.shell.machine.has_sent_all_elsewhere()) {
            let _ = to.try_send(());
        }
        self.stop_at.is_some_and(|at| at <= now || self.shell.is_deserted())
    }

    /// Takes steps until one finds nothing to do, or the share of the turn is over. What is left has its share in the
    /// next turn, behind the streams.
    fn share(&mut self, share: Span, mut step: impl FnMut(&mut Shell) -> bool) {
        let mut left = Share::new(self.clock, share);
        while step(&mut self.shell) && left.lasts() {}
    }

    /// Takes in what other threads have left: commands, replies of the store, addresses.
    fn on_woken(&mut self) {
        while let Some(command) = self.commands.next() {
            match command {
                Command::Stop => {
                    self.metrics.set(Gauge::Draining, 1);
                    self.stop_at = Some(self.shell.now);
                }
                Command::Drain(within) => {
                    self.metrics.set(Gauge::Draining, 1);
                    let at = self.shell.now + within;
                    self.stop_at = Some(self.stop_at.map_or(at, |before| before.min(at)));
                    self.listeners.close(self.shell.sockets.registry());
                    self.shell.close_doors();
                    let half = Span::from_micros(within.micros() / 2);
                    let spread = self.spread.min(half);
                    self.shell.tell(Input::Drain { spread, within });
                }
                #[cfg(unix)]
                Command::Share(to) => {
                    // Whoever asked may have gone.
                    let _ = to.try_send(self.listeners.share());
                }
                Command::SayWhenDrained(to) => self.waits_for_drain = Some(to),
                Command::Reload(prepared) => self.reload(&prepared),
            }
        }
        while let Some((exchange, found)) = self.replies.next() {
            self.shell.tell(Input::LookedUp { exchange, found });
        }
        while let Some(news) = self.replies.next_news() {
            if let Some(input) = self.checkpoints.hear(news) {
                self.shell.tell(input);
            }
        }
        self.shell.on_resolved();
    }

    /// Goes over to another configuration, if the machine does.
    fn reload(&mut self, prepared: &Prepared) {
        self.shell.tell(Input::Reload { config: Arc::clone(&prepared.config) });
        match self.shell.reloaded.take() {
            Some(Ok(places)) => {
                self.listeners.watch(Watch::of(&prepared.config));
                self.spread = prepared.config.drain_spread;
                note_bounds(&self.metrics, &prepared.config);
                self.label(prepared, &places);
                self.shell.porch.go_by(&prepared.config);
                #[cfg(feature = "tls")]
                self.shell.lobby.go_by(&prepared.config);
                self.shell.connecting.reload(prepared, &places);
                prepared.tell(Ok(()));
            }
            Some(Err(why)) => prepared.tell(Err(why)),
            // The machine answers each time.
            None => {}
        }
    }

    /// Counts each route under its name, whatever its place is now, and each upstream in its row.
    fn label(&mut self, prepared: &Prepared, places: &[usize]) {
        let rows = upstream_rows(&self.metrics, &prepared.config);
        for ((&place, &label), row) in places.iter().zip(&prepared.labels).zip(rows) {
            if self.labels.len() <= place {
                self.labels.resize(place + 1, None);
                self.rows.resize(place + 1, Row::default());
            }
            if !self.rows[place].row.as_ref().is_some_and(|before| Shared::ptr_eq(before, &row)) {
                self.rows[place].set_busy(0);
                self.rows[place] = Row::new(row);
            }
            self.labels[place] = label;
        }
    }

    fn accept(&mut self) {
        let Self { listeners, shell, metrics, clock, .. } = self;
        let (now, mut left) = (shell.now, Share::new(*clock, SHARE));
        let each = |stream, peer, secure| {
            shell.on_accepted(stream, peer, secure);
            left.lasts()
        };
        if let Err(e) = listeners.accept(now, each) {
            metrics.add(count_of(&e), 1);
            if is_no_descriptor(&e) && shell.free_descriptors() {
                return listeners.rest_no_more();
            }
            shell.lines.warn(format_args!("cannot accept a connection: {e}; trying again in {ACCEPT_REST}"), now);
        }
    }

    /// Passes on what the turn has brought: counts, gauges, and marks for the store.
    fn report(&mut self) {
        let Self { metrics, shell, checkpoints, labels, rows, .. } = self;
        let label = |route: Option<usize>| labels.get(route?).copied().flatten();
        let Shell {
            machine,
            store,
            vanished,
            porch,
            #[cfg(feature = "tls")]
            lobby,
            ..
        } = shell;
        metrics.add(Count::PeersVanished, std::mem::take(vanished));
        porch.counts.drain(|count, route, n| metrics.add_at(route, count, n));
        #[cfg(feature = "tls")]
        lobby.counts.drain(|count, route, n| metrics.add_at(route, count, n));
        machine.drain_timings(|timing, route, spans| metrics.add_spans(label(route), timing, spans));
        machine.drain_counts(|count, route, n| {
            metrics.add_at(label(route), count, n);
            if count.is_by_upstream()
                && let Some(Row { row: Some(row), .. }) = route.and_then(|place| rows.get(place))
            {
                row.add(count, n);
            }
        });
        machine.drain_upstreams(|place, news| {
            let Some(row) = rows.get_mut(place) else { return };
            match (news, &row.row) {
                (UpstreamNews::Busy(busy), _) => row.set_busy(busy),
                (UpstreamNews::Stands(trouble), Some(row)) => {
                    row.stand(trouble.map(|(since, why)| Trouble { since, why: why.into() }));
                }
                _ => {}
            }
        });
        machine.drain_checkpoints(|checkpoint| checkpoints.publish(checkpoint, store, metrics));
        checkpoints.catch_up(store, metrics);
        metrics.set(Gauge::Connections, machine.connections() as u64);
        metrics.set(Gauge::Exchanges, machine.exchanges() as u64);
        metrics.set(Gauge::InFlight, machine.in_flight() as u64);
        metrics.set(Gauge::HeldRequests, machine.held_requests() as u64);
        metrics.set(Gauge::Counted, machine.counted() as u64);
        metrics.set(Gauge::Sessions, machine.sessions() as u64);
        metrics.set(Gauge::Streams, machine.streams() as u64);
        metrics.set(Gauge::Tunnels, machine.tunnels() as u64);
        metrics.set(Gauge::BufferBytes, machine.buffer_bytes() as u64);
        metrics.set(Gauge::LogBytes, machine.log_bytes() as u64);
        metrics.set(Gauge::StreamBytes, machine.stream_bytes() as u64);
        metrics.set(Gauge::HeadBytes, machine.head_bytes() as u64);
        metrics.set(Gauge::EventIds, machine.event_ids() as u64);
        metrics.set(Gauge::Undelivered, machine.undelivered());
        let (readers, slow) = machine.subscribers();
        metrics.set(Gauge::Subscribers, readers as u64);
        metrics.set(Gauge::SlowReaders, slow as u64);
        let (hits, misses) = machine.interned();
        metrics.set(Gauge::InternHits, hits);
        metrics.set(Gauge::InternMisses, misses);
        self.warn_of_dropped_replies();
    }

    fn warn_of_dropped_replies(&mut self) {
        let dropped = self.metrics.persistence().answers_dropped.get();
        let new = dropped - std::mem::replace(&mut self.replies_dropped, dropped);
        if new > 0 {
            let what = format_args!("dropped {new} replies of the store, too many wait; their requests go on without");
            self.shell.lines.warn(what, self.shell.now);
        }
    }
}

/// The rows in the metrics of a configuration's upstreams, in its order.
fn upstream_rows(metrics: &Metrics, config: &Config) -> Vec<Shared<UpstreamRow>> {
    let all = config.routes.each_upstream();
    metrics.upstreams().go_by(all.map(|(_, route, upstream)| (route.name.as_str(), upstream.authority.as_str())))
}

/// Says how much of everything there may be.
fn note_bounds(metrics: &Metrics, config: &Config) {
    let limits = &config.limits;
    let all = [
        (Bound::Connections, limits.connections),
        (Bound::Exchanges, limits.streams),
        (Bound::InFlight, limits.requests_in_flight),
        (Bound::Sessions, limits.sessions),
        (Bound::Tunnels, limits.tunnels),
        (Bound::LogBytes, limits.log_budget),
        (Bound::BufferBytes, limits.buffer_budget),
        (Bound::HeadBytes, Machine::HEAD_BYTES),
        (Bound::EventIds, Machine::event_id_places(config)),
    ];
    for (bound, limit) in all {
        metrics.bound(bound, limit as u64);
    }
}

/// A share of a turn. It begins with its first step, so that a turn in which there is none costs no look at the clock.
struct Share {
    clock: Clock,
    length: Span,
    until: Option<Tick>,
}

impl Share {
    fn new(clock: Clock, length: Span) -> Self {
        Self { clock, length, until: None }
    }

    /// Whether there is time for another step.
    fn lasts(&mut self) -> bool {
        let now = self.clock.now();
        now < *self.until.get_or_insert(now + self.length)
    }
}

/// What an accept that failed is counted as.
fn count_of(e: &io::Error) -> Count {
    match e.kind() {
        _ if is_no_descriptor(e) => Count::AcceptsWithoutDescriptor,
        io::ErrorKind::OutOfMemory => Count::AcceptsWithoutMemory,
        _ => Count::AcceptsFailed,
    }
}

/// Says that the reactor has ended, however it does.
struct SayEnd(Arc<Metrics>);

impl Drop for SayEnd {
    fn drop(&mut self) {
        self.0.expect_reactor(Tick::ZERO);
    }
}
