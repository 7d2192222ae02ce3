//! The one thread that owns every socket: a mio loop that carries out what the machine says.
//!
//! In: readiness of sockets, commands. Out: reads, writes, connections, counts, log lines.
//!
//! **Law of the thread.** It never waits but in `poll`: no lock, no disk, no name look-up, no store, no blocking
//! channel, no blocking log writer.
//!
//! Sockets are registered once, edge-triggered, for both directions. A read that gives less than it had room for has
//! emptied the socket (the kernel tells of what comes later, and of the other side's end, by a new edge), so an event
//! costs one wake-up, one read and one write.

pub(crate) mod checkpoints;
mod logs;
mod resolve;
mod socket;
mod store;
#[cfg(feature = "tls")]
mod tls;

pub use store::{Answer, StoreLink};
#[cfg(feature = "tls")]
pub use tls::{TlsError, client_session};

use crate::base::{Count, Pages, Span, Tick};
use crate::clock::Clock;
use crate::config::Config;
use crate::machine::{Close, ConnKey, ConnectError, Input, Machine, Output};
use crate::metrics::{Gauge, Metrics};
use crate::slot::SlotWriter;
use checkpoints::Checkpoints;
use crossbeam_channel::{Receiver, Sender, bounded};
use logs::Logs;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use resolve::{Known, Resolver};
use socket::{Dialing, Io, Socket, connect_error};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Answers;

/// Bytes read at a time, shared by all connections.
const READ_BUFFER: usize = 128 << 10;

/// Reads of one connection in one turn, before others get theirs.
const READS_PER_TURN: usize = 4;

/// Connections accepted in one turn.
const ACCEPTS_PER_TURN: usize = 256;

/// How long accepting rests after the system had no descriptor for a connection.
const ACCEPT_REST: Span = Span::from_millis(50);

/// Commands that may wait.
const COMMANDS: usize = 1_000;

const WAKER: Token = Token(usize::MAX);

/// Listeners have the tokens just below; no connection's key reaches them.
const FIRST_LISTENER: usize = usize::MAX - 1_024;

/// What the reactor is told from other threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Accept no more, cut streams, let other answers end; stop when all is done or this much time has passed.
    Drain(Span),
    /// Stop at once.
    Stop,
}

/// Sends commands to a reactor.
#[derive(Clone, Debug)]
pub struct Remote {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Sends a command; false when the reactor is gone or overrun.
    pub fn send(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok() && self.waker.wake().is_ok()
    }
}

/// Why a reactor cannot start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        why: io::Error,
    },
    /// The system gives no poll, thread or descriptor.
    System(io::Error),
    /// TLS towards an upstream cannot be set up.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// A route's upstream is `https://`, and this build has no TLS.
    NoTls {
        /// The upstream.
        upstream: String,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen { address, why } => {
                write!(f, "cannot listen on {address}: {why}; choose another address with `--listen`")
            }
            Self::System(why) => write!(f, "the system gives no resources to start with: {why}"),
            #[cfg(feature = "tls")]
            Self::Tls(why) => why.fmt(f),
            Self::NoTls { upstream } => {
                write!(f, "{upstream} needs TLS, which this build leaves out; build with the feature `tls`")
            }
        }
    }
}

impl std::error::Error for StartError {}

/// What a reactor is given beside its configuration.
#[derive(Debug)]
pub struct Parts {
    /// Decides jitter and hash keys.
    pub seed: u64,
    /// The key under which principals and sessions are hashed.
    pub secret: u128,
    /// The clock that all threads of the engine share.
    pub clock: Clock,
    /// Where cursors are published.
    pub slots: SlotWriter,
    /// The way to the store for all else.
    pub store: StoreLink,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

/// Owns the sockets.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    machine: Machine,
    clock: Clock,
    now: Tick,
    /// Names upstreams in what is said of TLS.
    #[cfg(feature = "tls")]
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    checkpoints: Checkpoints,
    store: StoreLink,
    answers: Answers,
    /// Answers known to have found no place.
    answers_dropped: u64,
    listeners: Vec<TcpListener>,
    /// Listeners that have more to accept, one bit each.
    acceptable: u64,
    accept_again_at: Option<Tick>,
    /// By the index of the connection's key.
    sockets: Pages<Option<Socket>>,
    accepted: Option<TcpStream>,
    /// Connections to read on, and to write.
    reading: VecDeque<ConnKey>,
    flushing: VecDeque<ConnKey>,
    /// News for the machine that came up while its outputs were carried out.
    failed: VecDeque<(ConnKey, ConnectError)>,
    /// Connections whose upstream's name is being looked up.
    unresolved: Vec<(ConnKey, usize)>,
    resolver: Resolver,
    #[cfg(feature = "tls")]
    dialers: Vec<Option<tls::Dialer>>,
    commands: Receiver<Command>,
    stop_at: Option<Tick>,
    longest_turn: Span,
    buffer: Box<[u8]>,
    logs: Logs,
}

impl Reactor {
    /// Binds the listeners and prepares everything. Nothing is accepted before [`Reactor::run`].
    ///
    /// # Errors
    /// [`StartError`], naming what is missing.
    pub fn new(config: Arc<Config>, with: Parts) -> Result<(Self, Remote), StartError> {
        let Parts { seed, secret, clock, slots, mut store, metrics } = with;
        let poll = Poll::new().map_err(StartError::System)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(StartError::System)?);
        let mut listeners = Vec::new();
        for (n, &address) in config.listen.iter().enumerate().take(64) {
            let wrong = |why| StartError::Listen { address, why };
            let mut listener = socket::listen(address).map_err(wrong)?;
            let token = Token(FIRST_LISTENER + n);
            poll.registry().register(&mut listener, token, Interest::READABLE).map_err(wrong)?;
            listeners.push(listener);
        }
        #[cfg(not(feature = "tls"))]
        if let Some(route) = config.routes.iter().find(|r| r.upstream.scheme == crate::config::Scheme::Https) {
            return Err(StartError::NoTls { upstream: route.upstream.to_string() });
        }
        let now = clock.now();
        let (sender, commands) = bounded(COMMANDS);
        let reactor = Self {
            machine: Machine::new(Arc::clone(&config), seed, secret, now),
            resolver: Resolver::start(&config, Arc::clone(&waker)).map_err(StartError::System)?,
            #[cfg(feature = "tls")]
            dialers: tls::Dialer::of_routes(&config).map_err(StartError::Tls)?,
            poll,
            clock,
            now,
            #[cfg(feature = "tls")]
            config,
            checkpoints: Checkpoints::new(slots),
            answers: store.answers(&waker, &metrics),
            metrics,
            answers_dropped: 0,
            store,
            listeners,
            acceptable: 0,
            accept_again_at: None,
            sockets: Pages::default(),
            accepted: None,
            reading: VecDeque::new(),
            flushing: VecDeque::new(),
            failed: VecDeque::new(),
            unresolved: Vec::new(),
            commands,
            stop_at: None,
            longest_turn: Span::ZERO,
            buffer: vec![0; READ_BUFFER].into(),
            logs: Logs::default(),
        };
        Ok((reactor, Remote { commands: sender, waker }))
    }

    /// The addresses that are listened on; a port 0 in the configuration is the system's choice here.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|l| l.local_addr().ok()).collect()
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        loop {
            match self.poll.poll(&mut events, self.wait()) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            self.now = self.clock.now();
            let last = self.turn(&events);
            self.longest_turn = self.longest_turn.max(self.clock.now().since(self.now));
            self.metrics.set(Gauge::LongestTurn, self.longest_turn.micros());
            if last {
                self.stop();
                return Ok(());
            }
        }
    }

    /// All sockets are closed next: no client may take a part of an answer for the whole. What is on its way to the
    /// others still arrives.
    fn stop(&self) {
        for conn in self.machine.must_reset_on_stop() {
            if let Some(Some(socket)) = self.sockets.get(conn.index())
                && socket.key == conn.to_bits()
            {
                socket.reset_on_close();
            }
        }
    }

    /// How long the poll may wait.
    fn wait(&self) -> Option<Duration> {
        if !self.reading.is_empty() || (self.acceptable != 0 && self.accept_again_at.is_none()) {
            return Some(Duration::ZERO);
        }
        let next = [self.machine.poll_timeout(), self.accept_again_at, self.stop_at];
        next.into_iter().flatten().min().map(|at| Duration::from(at.since(self.now)))
    }

    /// One turn of the loop; true when it is the last.
    fn turn(&mut self, events: &Events) -> bool {
        for _ in 0..self.reading.len() {
            if let Some(conn) = self.reading.pop_front() {
                self.read_on(conn);
            }
        }
        for event in events {
            match event.token() {
                WAKER => self.on_woken(),
                Token(n) if n >= FIRST_LISTENER => self.acceptable |= 1 << (n - FIRST_LISTENER),
                Token(bits) => self.on_ready(ConnKey::from_bits(bits as u64), event),
            }
        }
        if self.acceptable != 0 {
            self.accept();
        }
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tell(Input::Time);
        }
        self.report();
        self.stop_at.is_some_and(|at| at <= self.now || self.machine.connections() == 0)
    }

    /// Passes on what the turn has brought: counts, and marks for the store.
    fn report(&mut self) {
        let Self { metrics, machine, checkpoints, store, .. } = self;
        machine.drain_counts(|count, n| metrics.add(count, n));
        machine.drain_checkpoints(|checkpoint| checkpoints.publish(checkpoint, store, metrics));
        checkpoints.catch_up(store, metrics);
        metrics.set(Gauge::Connections, machine.connections() as u64);
        metrics.set(Gauge::Exchanges, machine.exchanges() as u64);
        metrics.set(Gauge::Sessions, machine.sessions() as u64);
        metrics.set(Gauge::Streams, machine.streams() as u64);
        metrics.set(Gauge::LogBytes, machine.log_bytes() as u64);
        metrics.set(Gauge::StreamBytes, machine.stream_bytes() as u64);
        let (hits, misses) = machine.interned();
        metrics.set(Gauge::InternHits, hits);
        metrics.set(Gauge::InternMisses, misses);
        let dropped = metrics.persistence().answers_dropped.get();
        let new = dropped - std::mem::replace(&mut self.answers_dropped, dropped);
        if new > 0 {
            let what = format_args!("no place for {new} answers of the store; their requests go on without");
            self.logs.warn(what, self.now, &self.metrics);
        }
    }

    fn on_woken(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Stop => self.stop_at = Some(self.now),
                Command::Drain(within) => {
                    self.stop_at = Some(self.now + within);
                    self.listeners.clear();
                    self.acceptable = 0;
                    self.accept_again_at = None;
                    self.tell(Input::Drain);
                }
            }
        }
        while let Some((exchange, found)) = self.answers.next() {
            self.tell(Input::LookedUp { exchange, found });
        }
        let answered = self.resolver.take_answers(self.now);
        let waiting = std::mem::take(&mut self.unresolved);
        for (conn, route) in waiting {
            match answered.contains(&route) {
                true => self.connect_resolved(conn, route),
                false => self.unresolved.push((conn, route)),
            }
        }
        self.settle();
    }

    /// Tells the machine something and carries out all that it says.
    fn tell(&mut self, input: Input<'_>) {
        self.machine.handle(input, self.now);
        self.settle();
    }

    /// Carries out outputs, then one write, and so on until both are used up.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.carry_out(output);
            }
            if let Some((conn, why)) = self.failed.pop_front() {
                self.machine.handle(Input::ConnectFailed { conn, why }, self.now);
            } else if let Some(conn) = self.flushing.pop_front() {
                self.write(conn);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Flush { conn } => self.flushing.push_back(conn),
            Output::ReadAgain { conn } => self.queue_read(conn),
            Output::Adopt { conn } => self.adopt(conn),
            Output::Refuse => self.refuse(),
            Output::Connect { conn, route } => self.connect(conn, route),
            Output::CapSendBuffer { conn, bytes } => {
                if let Some(s) = self.socket(conn) {
                    s.cap_send_buffer(bytes);
                }
            }
            Output::ShutdownWrite { conn } => {
                if let Some(s) = self.socket(conn) {
                    // A connection that is broken already says so when it is read.
                    let _ = s.stream().shutdown(std::net::Shutdown::Write);
                }
            }
            Output::Close { conn, how } => {
                self.unresolved.retain(|(waiting, _)| *waiting != conn);
                if let Some(socket) =
                    self.sockets.get_mut(conn.index()).and_then(|s| s.take_if(|s| s.key == conn.to_bits()))
                    && how == Close::Reset
                {
                    socket.reset_on_close();
                }
            }
            Output::Lookup(question) => {
                if !self.store.look_up(question) {
                    let what =
                        format_args!("no place for a question to the store; the request goes on without an answer");
                    self.logs.warn(what, self.now, &self.metrics);
                }
            }
            Output::Notice(notice) => self.logs.write(&notice, self.now, &self.metrics),
        }
    }

    fn socket(&mut self, conn: ConnKey) -> Option<&mut Socket> {
        self.sockets.get_mut(conn.index())?.as_mut().filter(|s| s.key == conn.to_bits())
    }

    fn put(&mut self, conn: ConnKey, socket: Socket) {
        *self.sockets.at(conn.index()) = Some(socket);
    }

    fn register(&mut self, conn: ConnKey) -> io::Result<()> {
        let Self { poll, sockets, .. } = self;
        let Some(Some(socket)) = sockets.get_mut(conn.index()) else { return Ok(()) };
        let token = Token(conn.to_bits() as usize);
        poll.registry().register(socket.stream_mut(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Accepts a bounded number of connections of each listener that has some.
    fn accept(&mut self) {
        if self.accept_again_at.is_some_and(|at| at > self.now) {
            return;
        }
        self.accept_again_at = None;
        for n in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                if self.acceptable & 1 << n == 0 {
                    break;
                }
                match self.listeners[n].accept() {
                    Ok((stream, peer)) => {
                        self.accepted = Some(stream);
                        self.tell(Input::Accepted { peer: peer.ip() });
                    }
                    Err(e) => match e.kind() {
                        io::ErrorKind::WouldBlock => self.acceptable &= !(1 << n),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                        _ => {
                            self.metrics.add(Count::AcceptsFailed, 1);
                            let what = format_args!("cannot accept a connection: {e}; trying again in {ACCEPT_REST}");
                            self.logs.warn(what, self.now, &self.metrics);
                            self.accept_again_at = Some(self.now + ACCEPT_REST);
                            return;
                        }
                    },
                }
            }
        }
    }

    fn adopt(&mut self, conn: ConnKey) {
        let Some(stream) = self.accepted.take() else { return };
        // Without it small events wait for each other; the connection works all the same.
        let _ = stream.set_nodelay(true);
        self.put(conn, Socket::accepted(stream, conn.to_bits()));
        if self.register(conn).is_err() {
            if let Some(place) = self.sockets.get_mut(conn.index()) {
                *place = None;
            }
            self.failed.push_back((conn, ConnectError::Local));
        }
    }

    /// All places are taken: says so in one write, as far as the socket takes it.
    fn refuse(&mut self) {
        if let Some(mut stream) = self.accepted.take() {
            let _ = stream.write(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    }

    fn connect(&mut self, conn: ConnKey, route: usize) {
        match self.resolver.addresses(route, self.now) {
            Known::Addresses(addresses) => self.connect_to(conn, route, addresses),
            Known::Asked => self.unresolved.push((conn, route)),
            Known::Unavailable => self.failed.push_back((conn, ConnectError::Unresolved)),
        }
    }

    fn connect_resolved(&mut self, conn: ConnKey, route: usize) {
        match self.resolver.addresses(route, self.now) {
            Known::Addresses(addresses) => self.connect_to(conn, route, addresses),
            _ => self.failed.push_back((conn, ConnectError::Unresolved)),
        }
    }

    /// Tries the addresses in turn; the rest of them stay with the socket.
    fn connect_to(&mut self, conn: ConnKey, route: usize, mut addresses: Vec<SocketAddr>) {
        let mut why = ConnectError::Unresolved;
        while !addresses.is_empty() {
            let address = addresses.remove(0);
            match TcpStream::connect(address) {
                Ok(stream) => {
                    let mut socket = Socket::new(Io::Plain(stream), conn.to_bits());
                    socket.dialing = Some(Box::new(Dialing { route, addresses }));
                    self.put(conn, socket);
                    if self.register(conn).is_ok() {
                        return;
                    }
                    why = ConnectError::Local;
                    break;
                }
                Err(e) => why = connect_error(&e),
            }
        }
        self.connect_failed(conn, route, why);
    }

    fn connect_failed(&mut self, conn: ConnKey, route: usize, why: ConnectError) {
        if let Some(place) = self.sockets.get_mut(conn.index()) {
            place.take_if(|s| s.key == conn.to_bits());
        }
        self.resolver.distrust(route, self.now);
        self.failed.push_back((conn, why));
    }

    /// A socket has news.
    fn on_ready(&mut self, conn: ConnKey, event: &mio::event::Event) {
        let Some(s) = self.socket(conn) else { return };
        s.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        // Every edge tells of both directions: only a socket that was full has something waiting for it.
        let was_full = s.established && !s.writable;
        s.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        s.read_closed |= event.is_read_closed() || event.is_error();
        if !s.established {
            self.go_on_connecting(conn);
            self.settle();
            // What upstream said before it was asked has had its edge already.
            return self.read_on(conn);
        }
        if event.is_error() && !s.is_upstream {
            // A client that has reset is gone, also where nothing more is read of it.
            return self.tell(Input::Reset { conn });
        }
        #[cfg(feature = "tls")]
        if let Io::Tls(t) = &mut s.io
            && t.flush().is_err()
        {
            s.read_to_the_break();
        }
        let (readable, wanted) = (s.readable, was_full && s.writable);
        if readable {
            self.read_on(conn);
        }
        if wanted {
            self.write(conn);
            self.settle();
        }
    }

    /// A connection attempt has news: it stands, goes on with TLS, fails over to the next address, or has failed.
    fn go_on_connecting(&mut self, conn: ConnKey) {
        let Some(s) = self.socket(conn) else { return };
        let Some(route) = s.dialing.as_ref().map(|d| d.route) else { return };
        let state = match &mut s.io {
            #[cfg(feature = "tls")]
            Io::Tls(t) => t.handshake().map_err(|e| {
                let upstream = &self.config.routes[route].upstream;
                let what =
                    format_args!("TLS with {upstream}: {e}; its next address is tried, or the attempt has failed");
                self.logs.warn(what, self.now, &self.metrics);
                ConnectError::Tls
            }),
            Io::Plain(_) => s.connect_state(),
        };
        match state {
            Ok(false) => {}
            Ok(true) => self.on_connected(conn, route),
            Err(why) => match self.sockets.get_mut(conn.index()).and_then(Option::take).and_then(|s| s.dialing) {
                Some(dialing) if !dialing.addresses.is_empty() => self.connect_to(conn, route, dialing.addresses),
                _ => self.connect_failed(conn, route, why),
            },
        }
    }

    fn on_connected(&mut self, conn: ConnKey, route: usize) {
        #[cfg(feature = "tls")]
        if let Some(dialer) = &self.dialers[route]
            && let Some(place) = self.sockets.get_mut(conn.index())
            && let Some(s) = place.take()
        {
            match s.io {
                Io::Plain(stream) => match dialer.dial(stream) {
                    Ok(tls) => {
                        *place = Some(Socket { io: Io::Tls(Box::new(tls)), ..s });
                        return self.go_on_connecting(conn);
                    }
                    Err(_) => return self.connect_failed(conn, route, ConnectError::Tls),
                },
                Io::Tls(_) => *place = Some(s),
            }
        }
        let _ = route;
        if let Some(s) = self.socket(conn) {
            let _ = s.stream().set_nodelay(true);
            s.established = true;
            // The handshake may have left bytes in the socket whose edge is over.
            s.readable |= !s.is_plain();
            s.writable = true;
            s.dialing = None;
        }
        self.machine.handle(Input::Connected { conn }, self.now);
    }

    fn queue_read(&mut self, conn: ConnKey) {
        if let Some(s) = self.socket(conn)
            && s.readable
            && s.established
            && !std::mem::replace(&mut s.queued, true)
        {
            self.reading.push_back(conn);
        }
    }

    /// Reads while there is something, room for it, and the turn's share.
    fn read_on(&mut self, conn: ConnKey) {
        if let Some(s) = self.socket(conn) {
            s.queued = false;
        }
        for _ in 0..READS_PER_TURN {
            if !self.read(conn) {
                return;
            }
        }
        self.queue_read(conn);
    }

    /// Reads once; true when there may be more.
    fn read(&mut self, conn: ConnKey) -> bool {
        let room = self.machine.poll_read(conn).min(READ_BUFFER);
        let Self { sockets, buffer, machine, now, .. } = self;
        let Some(Some(s)) = sockets.get_mut(conn.index()) else { return false };
        if s.key != conn.to_bits() || !s.established || !s.readable || room == 0 {
            return false;
        }
        match s.read(&mut buffer[..room]) {
            Ok(0) if !s.broken => {
                s.readable = false;
                machine.handle(Input::Eof { conn }, *now);
            }
            Ok(n) if n > 0 => {
                // Less than there was room for: the socket is empty, and what comes next is a new edge. Inside TLS
                // there may be more, and so there may be when the other side has ended.
                s.readable = n == room || s.read_closed || !s.is_plain();
                machine.handle(Input::Data { conn, bytes: &buffer[..n] }, *now);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && !s.broken => s.readable = false,
            _ => {
                s.readable = false;
                machine.handle(Input::Reset { conn }, *now);
            }
        }
        self.settle();
        self.socket(conn).is_some_and(|s| s.readable)
    }

    /// Writes once what the machine has for a socket. Leaves what the machine says to that to [`Reactor::settle`].
    fn write(&mut self, conn: ConnKey) {
        let Self { sockets, machine, now, .. } = self;
        let Some(Some(s)) = sockets.get_mut(conn.index()) else { return };
        if s.key != conn.to_bits() || !s.writable || !s.established {
            return;
        }
        let parts = machine.transmit(conn);
        let mut slices = [IoSlice::new(&[]); 5];
        let (mut count, mut total) = (0, 0);
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            slices[count] = IoSlice::new(part);
            count += 1;
            total += part.len();
        }
        let result = if count == 0 { Ok(0) } else { s.write(&slices[..count]) };
        let written = match result {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) if s.is_upstream => {
                // It may have answered before it stopped reading, as a refusal of a large body does.
                s.read_to_the_break();
                return self.queue_read(conn);
            }
            Err(_) => {
                s.writable = false;
                return machine.handle(Input::Reset { conn }, *now);
            }
        };
        s.writable = written == total;
        machine.handle(Input::Written { conn, bytes: written }, *now);
    }
}
