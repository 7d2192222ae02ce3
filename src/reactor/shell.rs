//! The machine among its sockets: what the poll reports goes in, and all that the machine says is carried out.
//!
//! In: readiness of sockets, inputs for the machine. Out: reads, writes, connections, look-ups, log lines.
//! Laws: each input is followed by all outputs that it causes, before the next one ([`Shell::settle`]); a connection
//! gets a bounded number of reads a turn; upstreams are read as soon as the poll has news of them, clients wait for the
//! share of the turn that is theirs.
//!
//! **Writes in a row.** What a few upstreams say is read first and written then: writes that follow each other wake the
//! clients' side once, and not once for each event. They wait while other upstreams are read that say little. Any other
//! input, a second read of the same connection and the end of the turn come behind them.

use super::connecting::Connecting;
#[cfg(feature = "tls")]
use super::lobby::{Arrival, Lobby, Step};
use super::log_lines::LogLines;
use super::porch::{Begins, Porch};
use super::refusal::refuse;
use super::socket::{Io, Socket, has_vanished};
use super::sockets::Sockets;
use super::store::{Follow, StoreLink};
use crate::base::{Span, Tick};
use crate::machine::{
    Close, ConnKey, ConnectError, Followed, Input, Machine, NotLookedUp, Origin, Output, Refusal, Stake, TooManyRoutes,
};
use mio::event::Event;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::IpAddr;

/// Bytes read at a time, shared by all connections.
const READ_BUFFER: usize = 128 << 10;

/// Reads of one connection in one turn, before others get theirs.
const READS_PER_TURN: usize = 4;

/// Writes that wait while others are read. More would be late by more than a write takes.
const WRITES_IN_A_ROW: usize = 16;

/// A read of more than this is written before the next one, while the processor's caches hold it.
const LITTLE: usize = 4 << 10;

/// How long one that has connected before a drain may take over its header and handshake, where nobody else is left.
const AT_THE_DOOR: Span = Span::from_secs(1);

/// The machine and everything that it acts on.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) machine: Machine,
    pub(super) sockets: Sockets,
    pub(super) store: StoreLink,
    pub(super) lines: LogLines,
    /// The time of this turn.
    pub(super) now: Tick,
    /// Connections whose peers have vanished since the last report.
    pub(super) vanished: u64,
    pub(super) connecting: Connecting,
    /// While the proxy drains: how long those are waited for whom the machine does not know yet.
    doors_close_at: Option<Tick>,
    /// What the machine has said of a new configuration.
    pub(super) reloaded: Option<Result<Box<[usize]>, TooManyRoutes>>,
    /// Accepted just now: the machine takes it or refuses it before the next one.
    accepted: Option<Io>,
    /// Its socket is registered already, under another token.
    is_watched: bool,
    /// Connections whose proxy says first for whom they are.
    pub(super) porch: Porch,
    /// What the client that has just knocked holds, if it was let in.
    let_in: Option<Stake>,
    /// Clients with TLS before and after the machine knows them.
    #[cfg(feature = "tls")]
    pub(super) lobby: Lobby,
    /// Upstreams' connections to read again in the next turn.
    reading: VecDeque<ConnKey>,
    /// Clients' connections to read.
    asking: VecDeque<ConnKey>,
    /// Connections that the machine has bytes for.
    flushing: VecDeque<ConnKey>,
    buffer: Box<[u8]>,
}

/// Where clients wait before the machine knows them.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) porch: Porch,
    #[cfg(feature = "tls")]
    pub(super) lobby: Lobby,
}

impl Shell {
    /// Nothing is connected yet.
    pub(super) fn new(
        machine: Machine,
        sockets: Sockets,
        connecting: Connecting,
        store: StoreLink,
        lines: LogLines,
        now: Tick,
        doors: Doors,
    ) -> Self {
        let Doors {
            porch,
            #[cfg(feature = "tls")]
            lobby,
        } = doors;
        Self {
            machine,
            sockets,
            store,
            lines,
            now,
            vanished: 0,
            connecting,
            doors_close_at: None,
            reloaded: None,
            accepted: None,
            is_watched: false,
            porch,
            let_in: None,
            #[cfg(feature = "tls")]
            lobby,
            reading: VecDeque::new(),
            asking: VecDeque::new(),
            flushing: VecDeque::new(),
            buffer: vec![0; READ_BUFFER].into(),
        }
    }

    /// Whether there is something to do before the poll has news: some connection has used up its reads of the last
    /// turn, or some kind of work its share.
    pub(super) fn must_go_on_now(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.lobby.has_work() {
            return true;
        }
        !self.reading.is_empty() || !self.asking.is_empty() || self.porch.has_work()
    }

    /// Whether all connections have closed. Who has come before the drain began and not got to a request has a moment.
    pub(super) fn is_deserted(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.lobby.sees_somebody_off() {
            return false;
        }
        let waits = self.doors_close_at.is_some_and(|at| self.now < at) && self.somebody_is_at_the_door();
        !waits && self.machine.connections() == 0
    }

    fn somebody_is_at_the_door(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.lobby.next_deadline().is_some() {
            return true;
        }
        self.porch.next_deadline().is_some()
    }

    /// A drain begins.
    pub(super) fn close_doors(&mut self) {
        let at = self.now + AT_THE_DOOR;
        self.doors_close_at = self.doors_close_at.or(Some(at));
    }

    /// Reads the upstreams that have used up their reads of the last turn.
    pub(super) fn read_again(&mut self) {
        for _ in 0..self.reading.len() {
            if let Some(conn) = self.reading.pop_front() {
                self.read_on(conn);
            }
        }
    }

    /// Reads one client that has said something. False: there is none.
    pub(super) fn read_next_client(&mut self) -> bool {
        let next = self.asking.pop_front();
        next.into_iter().for_each(|conn| self.read_on(conn));
        next.is_some()
    }

    /// A connection was accepted. An address has one form from here on. Where a proxy says first for whom it is, that is waited for.
    pub(super) fn on_accepted(&mut self, stream: TcpStream, peer: IpAddr, is_secure: bool) {
        match self.porch.begins(peer, &mut self.lines, self.now) {
            Begins::AtOnce => self.offer(stream, peer.into(), is_secure, false),
            Begins::WithHeader => self.porch.enter(stream, (peer, is_secure), self.sockets.registry(), self.now),
            Begins::Never => {}
        }
    }

    /// Reads one connection whose header is waited for. False: none has news.
    pub(super) fn read_next_header(&mut self) -> bool {
        let Self { porch, buffer, lines, now, .. } = self;
        let had_work = porch.has_work();
        if let Some(announced) = porch.step(buffer, lines, *now) {
            self.offer(announced.stream, announced.client, announced.is_secure, true);
        }
        had_work
    }

    /// Offers a new connection to the machine; one with TLS shakes hands first.
    fn offer(&mut self, stream: TcpStream, peer: Origin, is_secure: bool, is_watched: bool) {
        #[cfg(feature = "tls")]
        if is_secure {
            self.tell(Input::Knocked { peer });
            // Who is refused before a handshake can be told nothing: it is closed.
            if let Some(stake) = self.let_in.take() {
                let arrival = Arrival { stream, peer, stake, is_watched };
                self.lobby.enter(arrival, self.sockets.registry(), self.now);
                self.see_guests_off();
            }
            return;
        }
        debug_assert!(cfg!(feature = "tls") || !is_secure, "a build without TLS has no such listener");
        (self.accepted, self.is_watched) = (Some(Io::Plain(stream)), is_watched);
        self.tell(if is_watched { Input::Announced { peer } } else { Input::Accepted { peer } });
    }

    /// Goes one step on with a client that shakes hands. One that is done with it is offered to the machine. False: none
    /// has news.
    #[cfg(feature = "tls")]
    pub(super) fn shake_hands(&mut self) -> bool {
        let had_work = self.lobby.has_work();
        if let Step::Open(tls, peer, stake) = self.lobby.step(&mut self.buffer, &mut self.lines, self.now) {
            let certificate = tls.identity();
            (self.accepted, self.is_watched) = (Some(Io::Tls(tls)), true);
            self.tell(Input::AcceptedSecure { peer, stake, certificate: certificate.as_deref() });
        }
        self.see_guests_off();
        had_work
    }

    /// Gives back what guests held who have gone.
    #[cfg(feature = "tls")]
    fn see_guests_off(&mut self) {
        while let Some(stake) = self.lobby.next_gone() {
            self.tell(Input::TurnedAway { stake });
        }
    }

    /// The system has no descriptor for a client: has the machine close what nobody uses. False: nothing was closed.
    pub(super) fn free_descriptors(&mut self) -> bool {
        #[cfg(feature = "tls")]
        if self.lobby.make_room() {
            self.see_guests_off();
            return true;
        }
        if self.porch.make_room() {
            return true;
        }
        let before = self.machine.connections();
        self.tell(Input::NoDescriptor);
        self.machine.connections() < before
    }

    /// Goes on with the connections whose upstream's name has been looked up.
    pub(super) fn on_resolved(&mut self) {
        self.write_what_waits();
        self.connecting.on_resolved(&mut self.sockets, self.now);
        self.settle();
    }

    /// When [`Shell::on_time`] must be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        let next = self.connecting.next_deadline().into_iter().chain(self.machine.poll_timeout());
        let next = next.chain(self.porch.next_deadline()).chain(self.doors_close_at.filter(|at| *at > self.now));
        #[cfg(feature = "tls")]
        let next = next.chain(self.lobby.next_deadline());
        next.min()
    }

    /// Some of what is due by now is done: first what became of attempts to connect, which the machine then knows. False:
    /// nothing is due.
    pub(super) fn on_time(&mut self) -> bool {
        if self.next_deadline().is_none_or(|at| at > self.now) {
            return false;
        }
        self.connecting.on_time(&mut self.sockets, self.now);
        self.porch.on_time(&mut self.lines, self.now);
        #[cfg(feature = "tls")]
        self.lobby.on_time(&mut self.lines, self.now);
        #[cfg(feature = "tls")]
        self.see_guests_off();
        self.settle();
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tell(Input::Time);
        }
        true
    }

    /// Reads and writes as far as the poll's news allows.
    pub(super) fn on_ready(&mut self, conn: ConnKey, event: &Event) {
        let is_more = |s: &Socket| s.established && s.is_upstream && !event.is_error();
        if !self.sockets.get(conn).is_some_and(is_more) {
            self.write_what_waits();
        }
        let Some(s) = self.sockets.get_mut(conn) else { return };
        s.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        // Every edge tells of both directions: only a socket that was full has something waiting for it.
        let was_full = s.established && !s.writable;
        s.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        s.read_closed |= event.is_read_closed() || event.is_error();
        if !s.established {
            if self.connecting.go_on(conn, &mut self.sockets, &mut self.lines, self.now) {
                self.machine.handle(Input::Connected { conn }, self.now);
            }
            self.settle();
            // What upstream said before it was asked has had its edge already.
            return self.read_on(conn);
        }
        if event.is_error() && !s.is_upstream {
            // A client that has reset is gone, also where nothing more is read of it.
            let why = s.stream().take_error();
            self.vanished += u64::from(why.is_ok_and(|why| why.as_ref().is_some_and(has_vanished)));
            self.tell_unacknowledged(conn);
            return self.tell(Input::Reset { conn });
        }
        #[cfg(feature = "tls")]
        if let Io::Tls(t) = &mut s.io
            && t.flush().is_err()
        {
            s.read_to_the_break();
        }
        let (readable, has_room_again) = (s.readable, was_full && s.writable);
        match (readable, s.is_upstream) {
            (true, true) => self.read_on(conn),
            (true, false) => self.queue_read(conn),
            (false, _) => {}
        }
        if has_room_again {
            self.write(conn);
            self.settle();
        }
    }

    /// Prepares the close of all sockets: no client may take a part of an answer for the whole. What is on its way to
    /// other clients still arrives.
    pub(super) fn reset_unfinished(&self) {
        for conn in self.machine.must_reset_on_stop() {
            if let Some(socket) = self.sockets.get(conn) {
                socket.reset_on_close();
            }
        }
        #[cfg(feature = "tls")]
        self.lobby.cut_off_all();
    }

    /// Tells the machine something and carries out all that it says.
    pub(super) fn tell(&mut self, input: Input<'_>) {
        self.write_what_waits();
        self.machine.handle(input, self.now);
        self.settle();
    }

    /// Makes the writes that wait while others are read.
    #[inline]
    pub(super) fn write_what_waits(&mut self) {
        if !self.flushing.is_empty() {
            self.settle();
        }
    }

    /// Carries out all outputs, then makes one write, until neither is left.
    fn settle(&mut self) {
        loop {
            self.settle_but_writes();
            let Some(conn) = self.flushing.pop_front() else { return };
            self.write(conn);
        }
    }

    /// Carries out all outputs, then reports one failure, until neither is left.
    fn settle_but_writes(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.carry_out(output);
            }
            let Some((conn, why)) = self.connecting.next_failed() else { return };
            self.machine.handle(Input::ConnectFailed { conn, why }, self.now);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Flush { conn } => self.flushing.push_back(conn),
            Output::ReadAgain { conn } => self.queue_read(conn),
            Output::Adopt { conn } => self.adopt(conn),
            Output::LetIn { stake } => self.let_in = Some(stake),
            Output::Refuse(why) => self.refuse(why),
            Output::Connect { conn, route } => self.connecting.connect(conn, route, &mut self.sockets, self.now),
            Output::Reuse { conn } => {
                let is_quiet = self.sockets.get_mut(conn).is_some_and(Socket::is_quiet);
                let input = if is_quiet { Input::Connected { conn } } else { Input::Stale { conn } };
                self.machine.handle(input, self.now);
            }
            Output::CapSendBuffer { conn, bytes } => {
                if let Some(s) = self.sockets.get(conn) {
                    s.cap_send_buffer(bytes);
                }
            }
            Output::BePatient { conn, patient } => {
                if let Some(s) = self.sockets.get(conn) {
                    self.connecting.be_patient(s, patient);
                }
            }
            Output::AskUnacknowledged { conn } => self.tell_unacknowledged(conn),
            Output::ShutdownWrite { conn } => {
                if let Some(s) = self.sockets.get_mut(conn) {
                    s.shut_write();
                }
            }
            Output::Close { conn, how } => self.close(conn, how),
            Output::Lookup(question) => {
                let exchange = question.exchange;
                if !self.store.look_up(question) {
                    let what = format_args!("too many look-ups in the store wait; one more has failed");
                    self.lines.warn(what, self.now);
                    self.machine.handle(Input::LookedUp { exchange, found: Err(NotLookedUp) }, self.now);
                }
            }
            Output::Follow { exchange, name, after, fence } => {
                if !self.store.follow(Follow::Begin { exchange, name, after, fence }) {
                    let what =
                        format_args!("too many words for the thread that follows logs wait; one more was refused");
                    self.lines.warn(what, self.now);
                    self.machine.handle(Input::Followed { exchange, news: Followed::Away }, self.now);
                }
            }
            Output::Unfollow { exchange } => {
                if !self.store.follow(Follow::End { exchange }) {
                    let what = format_args!("a log is followed on, since too many words for its thread wait");
                    self.lines.warn(what, self.now);
                }
            }
            Output::Notice(notice) => self.lines.write(notice, self.now),
            Output::Served(access) => self.lines.served(access),
            Output::Traced(span) => self.lines.traced(span),
            Output::Reloaded { places } => self.reloaded = Some(places),
        }
    }

    /// Tells the machine how much of what a client's socket took may still be on its way.
    fn tell_unacknowledged(&mut self, conn: ConnKey) {
        let bytes = self.sockets.get_mut(conn).map_or(u64::MAX, |s| s.unacknowledged(self.now));
        self.machine.handle(Input::Unacknowledged { conn, bytes }, self.now);
    }

    fn adopt(&mut self, conn: ConnKey) {
        let Some(io) = self.accepted.take() else { return };
        let mut socket = Socket::accepted(io, conn.to_bits());
        let is_watched = std::mem::take(&mut self.is_watched);
        // What came before it was watched under this token has had its edge already.
        socket.readable |= is_watched;
        // Without it small events wait for each other; the connection works all the same.
        let _ = socket.stream().set_nodelay(true);
        let sockets = &mut self.sockets;
        let added = if is_watched { sockets.take_over(conn, socket) } else { sockets.add(conn, socket) };
        if added.is_err() {
            self.connecting.fail(conn, ConnectError::Local);
        } else if is_watched {
            self.queue_read(conn);
        }
    }

    /// Tells a client that it finds no place.
    fn refuse(&mut self, why: Refusal) {
        if let Some(io) = self.accepted.take() {
            refuse(io, why, self.machine.date().text());
        }
    }

    fn close(&mut self, conn: ConnKey, how: Close) {
        let socket = self.sockets.take(conn);
        self.connecting.forget(conn, socket.as_ref().and_then(|s| s.dialing.as_deref()));
        match (socket, how) {
            (Some(socket), Close::Reset) => socket.reset_on_close(),
            #[cfg(not(feature = "tls"))]
            (Some(socket), Close::Finish | Close::Cut) => socket.close(),
            #[cfg(feature = "tls")]
            (Some(socket), Close::Finish | Close::Cut) => {
                let peer = socket.stream().peer_addr().map(|peer| peer.ip().into());
                if let (Some(tls), Ok(peer)) = (socket.close(how == Close::Cut), peer) {
                    self.lobby.see_off(tls, peer, self.sockets.registry(), self.now);
                    // It may have taken the place of one that shook hands.
                    while let Some(stake) = self.lobby.next_gone() {
                        self.machine.handle(Input::TurnedAway { stake }, self.now);
                    }
                }
            }
            (None, _) => {}
        }
    }

    fn queue_read(&mut self, conn: ConnKey) {
        if let Some(s) = self.sockets.get_mut(conn)
            && s.readable
            && s.established
            && !std::mem::replace(&mut s.queued, true)
        {
            if s.is_upstream { &mut self.reading } else { &mut self.asking }.push_back(conn);
        }
    }

    /// Reads while the socket has bytes, the machine has room, and the connection has reads left in this turn.
    fn read_on(&mut self, conn: ConnKey) {
        if let Some(s) = self.sockets.get_mut(conn) {
            s.queued = false;
        }
        for _ in 0..READS_PER_TURN {
            if !self.read(conn) {
                return;
            }
            self.write_what_waits();
        }
        self.queue_read(conn);
    }

    /// Reads once. True when there may be more.
    fn read(&mut self, conn: ConnKey) -> bool {
        let room = self.machine.poll_read(conn).min(READ_BUFFER);
        let Some(s) = self.sockets.get_mut(conn) else { return false };
        if !s.established || !s.readable || room == 0 {
            return false;
        }
        let read = s.read(&mut self.buffer[..room]);
        let writes_may_wait = s.is_upstream && matches!(read, Ok(1..=LITTLE));
        if !writes_may_wait {
            self.write_what_waits();
        }
        let Self { sockets, buffer, machine, now, vanished, .. } = self;
        let Some(s) = sockets.get_mut(conn) else { return false };
        let is_over = match &read {
            Ok(n) => *n == 0,
            Err(e) => e.kind() != io::ErrorKind::WouldBlock || s.broken,
        };
        if is_over && !s.is_upstream {
            // Before its place in the log is given up.
            let bytes = s.unacknowledged(*now);
            machine.handle(Input::Unacknowledged { conn, bytes }, *now);
        }
        match read {
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
            result => {
                *vanished += u64::from(result.as_ref().is_err_and(has_vanished));
                s.readable = false;
                machine.handle(Input::Reset { conn }, *now);
            }
        }
        self.settle_but_writes();
        if !writes_may_wait || self.flushing.len() >= WRITES_IN_A_ROW {
            self.settle();
        }
        self.sockets.get(conn).is_some_and(|s| s.readable)
    }

    /// Writes once what the machine has for a socket. What the machine says to that is left to [`Shell::settle`].
    fn write(&mut self, conn: ConnKey) {
        let Self { sockets, machine, now, vanished, .. } = self;
        let Some(s) = sockets.get_mut(conn) else { return };
        if !s.writable || !s.established {
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
            Err(e) if s.is_upstream => {
                *vanished += u64::from(has_vanished(&e));
                // It may have answered before it stopped reading, as a refusal of a large body does.
                s.read_to_the_break();
                return self.queue_read(conn);
            }
            Err(e) => {
                *vanished += u64::from(has_vanished(&e));
                s.writable = false;
                let bytes = s.unacknowledged(*now);
                machine.handle(Input::Unacknowledged { conn, bytes }, *now);
                return machine.handle(Input::Reset { conn }, *now);
            }
        };
        s.writable = written == total;
        machine.handle(Input::Written { conn, bytes: written }, *now);
    }
}
