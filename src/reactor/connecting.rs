//! Connections to upstreams that are being opened: resolve the name, try the addresses in turn, shake hands for TLS.
//!
//! In: a connection's key and its route, readiness of its socket. Out: an open connection, or a [`ConnectError`] that
//! waits for the machine.
//! Laws: each attempt ends in exactly one of the two within `connect_timeout`, unless the machine closes the connection
//! before; no address takes the time of those behind it.

use super::log_lines::LogLines;
use super::reload::Prepared;
use super::resolve::{Known, Resolver};
use super::socket::{Dialing, Io, Socket, connect_error};
use super::sockets::Sockets;
use super::start::StartError;
#[cfg(feature = "tls")]
use super::tls;
use super::watch::Watch;
use crate::base::{Span, Tick};
#[cfg(feature = "tls")]
use crate::config::Scheme;
use crate::config::{Config, Route, Upstream};
use crate::machine::{ConnKey, ConnectError};
use mio::Waker;
use mio::net::TcpStream;
use socket2::SockRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Attempts whose time is over that are looked at a time.
const DUE: usize = 16;

/// All attempts that are under way.
#[derive(Debug)]
pub(super) struct Connecting {
    resolver: Resolver,
    /// Connections that wait for the addresses of their route's upstream, by their keys.
    unresolved: BTreeMap<u64, Unresolved>,
    /// When each attempt that is under way has had its time with its address, or with the resolver. Each connection is
    /// here once.
    deadlines: BTreeSet<(Tick, u64)>,
    /// Failures that the machine does not know of yet.
    failed: VecDeque<(ConnKey, ConnectError)>,
    watch: Watch,
    #[cfg(feature = "tls")]
    keyring: tls::Keyring,
    /// By the place of the route.
    targets: Vec<Target>,
}

/// What there is to know of a route's upstream.
#[derive(Debug)]
struct Target {
    connect_timeout: Span,
    upstream: Upstream,
    #[cfg(feature = "tls")]
    dials: Dials,
}

/// Where a route has what it needs to open connections over TLS.
#[cfg(feature = "tls")]
#[derive(Debug)]
enum Dials {
    /// Among the newest credentials, as the upstream with this number.
    Newest(usize),
    /// The configuration has the route no more. `None` where the upstream is plain HTTP.
    Kept(Option<tls::Dialer>),
}

#[derive(Clone, Copy, Debug)]
struct Unresolved {
    route: usize,
    give_up_at: Tick,
}

impl Connecting {
    /// Starts the resolver.
    ///
    /// # Errors
    /// [`StartError`], when the system gives no thread.
    pub(super) fn new(
        config: &Arc<Config>,
        waker: Arc<Waker>,
        #[cfg(feature = "tls")] keyring: tls::Keyring,
    ) -> Result<Self, StartError> {
        Ok(Self {
            resolver: Resolver::start(config, waker).map_err(StartError::System)?,
            unresolved: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            failed: VecDeque::new(),
            watch: Watch::of(config),
            #[cfg(feature = "tls")]
            keyring,
            targets: targets(config),
        })
    }

    /// Goes over to another configuration, whose routes have these places. Certificates of routes that have not changed
    /// may have.
    pub(super) fn reload(&mut self, prepared: &Prepared, places: &[usize]) {
        let config = &prepared.config;
        self.watch = Watch::of(config);
        #[cfg(feature = "tls")]
        self.change_credentials(prepared, places);
        let new = targets(config);
        self.resolver.put(places.iter().copied().zip(new.iter().map(|target| &target.upstream)));
        for (&place, target) in places.iter().zip(new) {
            match self.targets.get_mut(place) {
                Some(old) => *old = target,
                // New places come in their order.
                None => self.targets.push(target),
            }
        }
    }

    /// Puts new credentials in the place of those before. Routes that are not in these places keep what they have.
    #[cfg(feature = "tls")]
    fn change_credentials(&mut self, prepared: &Prepared, places: &[usize]) {
        let mut stays = vec![false; self.targets.len()];
        places.iter().for_each(|place| stays.get_mut(*place).into_iter().for_each(|stays| *stays = true));
        for (target, _) in self.targets.iter_mut().zip(stays).filter(|(_, stays)| !stays) {
            if let Dials::Newest(number) = target.dials {
                target.dials = Dials::Kept(self.keyring.dialer(number));
            }
        }
        self.keyring.put(Arc::clone(&prepared.credentials));
    }

    #[cfg(feature = "tls")]
    fn dialer(&self, route: usize) -> Option<tls::Dialer> {
        match &self.targets[route].dials {
            Dials::Newest(number) => self.keyring.dialer(*number),
            Dials::Kept(dialer) => dialer.clone(),
        }
    }

    /// Begins to connect to the upstream of `route`.
    pub(super) fn connect(&mut self, conn: ConnKey, route: usize, sockets: &mut Sockets, now: Tick) {
        let give_up_at = now + self.targets[route].connect_timeout;
        match self.resolver.addresses(route, now) {
            Known::Addresses(rest) => self.try_in_turn(conn, route, rest, give_up_at, sockets, now),
            Known::Asked => {
                self.unresolved.insert(conn.to_bits(), Unresolved { route, give_up_at });
                self.deadlines.insert((give_up_at, conn.to_bits()));
            }
            Known::Unavailable => self.fail(conn, ConnectError::Unresolved),
        }
    }

    /// Goes on with the connections whose upstream's name has been looked up, well or not.
    pub(super) fn on_resolved(&mut self, sockets: &mut Sockets, now: Tick) {
        let answered = self.resolver.take_answers(now);
        let ready = self.unresolved.iter().filter(|(_, waiting)| answered.contains(&waiting.route));
        let ready: Vec<u64> = ready.map(|(key, _)| *key).collect();
        for key in ready {
            let Some(Unresolved { route, give_up_at }) = self.unresolved.remove(&key) else { continue };
            self.deadlines.remove(&(give_up_at, key));
            let conn = ConnKey::from_bits(key);
            match self.resolver.addresses(route, now) {
                Known::Addresses(rest) => self.try_in_turn(conn, route, rest, give_up_at, sockets, now),
                _ => self.fail(conn, ConnectError::Unresolved),
            }
        }
    }

    /// Tries the addresses in turn, each for its share of the time that is left; the rest of them stay with the socket.
    fn try_in_turn(
        &mut self,
        conn: ConnKey,
        route: usize,
        mut rest: VecDeque<SocketAddr>,
        give_up_at: Tick,
        sockets: &mut Sockets,
        now: Tick,
    ) {
        let mut why = ConnectError::Unresolved;
        while let Some(address) = rest.pop_front() {
            match self.open(address) {
                Ok(stream) => {
                    let until = now + share(give_up_at.since(now), rest.len());
                    let mut socket = Socket::new(Io::Plain(stream), conn.to_bits());
                    socket.dialing = Some(Box::new(Dialing { route, address, until, rest, give_up_at }));
                    if sockets.add(conn, socket).is_ok() {
                        self.deadlines.insert((until, conn.to_bits()));
                        return;
                    }
                    why = ConnectError::Local;
                    break;
                }
                Err(e) => {
                    why = connect_error(&e);
                    self.resolver.on_failed(route, address);
                }
            }
        }
        self.give_up(conn, route, why, now);
    }

    /// Begins to open a connection to one address.
    fn open(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        self.watch.upstream(SockRef::from(&stream));
        Ok(stream)
    }

    /// When [`Connecting::on_time`] must be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Some addresses that have had their time are given up for the next ones.
    pub(super) fn on_time(&mut self, sockets: &mut Sockets, now: Tick) {
        for _ in 0..DUE {
            let Some(&(_, key)) = self.deadlines.first().filter(|(at, _)| *at <= now) else { return };
            self.deadlines.pop_first();
            let conn = ConnKey::from_bits(key);
            match self.unresolved.remove(&key) {
                Some(_) => self.fail(conn, ConnectError::Unresolved),
                None => self.try_next(conn, ConnectError::TimedOut, sockets, now),
            }
        }
    }

    /// An address has failed: tries the next one, or ends the attempt.
    fn try_next(&mut self, conn: ConnKey, why: ConnectError, sockets: &mut Sockets, now: Tick) {
        let Some(dialing) = sockets.take(conn).and_then(|s| s.dialing) else { return };
        let Dialing { route, address, until, rest, give_up_at } = *dialing;
        self.deadlines.remove(&(until, conn.to_bits()));
        self.resolver.on_failed(route, address);
        match rest.is_empty() {
            true => self.give_up(conn, route, why, now),
            false => self.try_in_turn(conn, route, rest, give_up_at, sockets, now),
        }
    }

    /// Goes on with an attempt whose socket has news. True when the connection is open; the caller then tells the
    /// machine. Otherwise the TLS handshake goes on, the next address is tried, or the attempt has failed.
    pub(super) fn go_on(&mut self, conn: ConnKey, sockets: &mut Sockets, lines: &mut LogLines, now: Tick) -> bool {
        let Some(s) = sockets.get_mut(conn) else { return false };
        let Some(route) = s.dialing.as_ref().map(|d| d.route) else { return false };
        let state = match &mut s.io {
            #[cfg(feature = "tls")]
            Io::Tls(t) => t.handshake().map_err(|e| {
                let upstream = &self.targets[route].upstream;
                let (why, words) = tls::in_words(&e);
                let what = format_args!("TLS with {upstream}: {words}; trying its next address, if there is one");
                lines.warn(what, now);
                why
            }),
            Io::Plain(_) => s.connect_state(),
        };
        match state {
            Ok(false) => false,
            Ok(true) => self.on_connected(conn, route, sockets, lines, now),
            Err(why) => {
                self.try_next(conn, why, sockets, now);
                false
            }
        }
    }

    /// The socket is connected, or its TLS handshake is done. Puts TLS over it where the route has TLS and it is plain.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables, reason = "only TLS needs more than the socket"))]
    fn on_connected(
        &mut self,
        conn: ConnKey,
        route: usize,
        sockets: &mut Sockets,
        lines: &mut LogLines,
        now: Tick,
    ) -> bool {
        #[cfg(feature = "tls")]
        if let Some(dialer) = self.dialer(route)
            && let Some(s) = sockets.take(conn)
        {
            match s.io {
                Io::Plain(stream) => match dialer.dial(stream) {
                    Ok(tls) => {
                        sockets.put(conn, Socket { io: Io::Tls(Box::new(tls)), ..s });
                        return self.go_on(conn, sockets, lines, now);
                    }
                    Err(_) => {
                        if let Some(dialing) = &s.dialing {
                            self.deadlines.remove(&(dialing.until, conn.to_bits()));
                        }
                        self.give_up(conn, route, ConnectError::Tls, now);
                        return false;
                    }
                },
                Io::Tls(_) => sockets.put(conn, s),
            }
        }
        #[cfg(feature = "tls")]
        if self.targets[route].upstream.scheme == Scheme::Https && sockets.get(conn).is_some_and(Socket::is_plain) {
            // Nothing for this upstream goes out in the clear.
            if let Some(dialing) = sockets.get(conn).and_then(|s| s.dialing.as_deref()) {
                self.deadlines.remove(&(dialing.until, conn.to_bits()));
            }
            self.give_up(conn, route, ConnectError::Tls, now);
            return false;
        }
        if let Some(s) = sockets.get_mut(conn) {
            let _ = s.stream().set_nodelay(true);
            s.established = true;
            // The handshake may have left bytes in the socket whose edge is over.
            s.readable |= !s.is_plain();
            s.writable = true;
            if let Some(dialing) = s.dialing.take() {
                self.deadlines.remove(&(dialing.until, conn.to_bits()));
                self.resolver.on_connected(route, dialing.address);
            }
        }
        true
    }

    fn give_up(&mut self, conn: ConnKey, route: usize, why: ConnectError, now: Tick) {
        self.resolver.distrust(route, now);
        self.fail(conn, why);
    }

    /// Leaves a failure for the machine.
    pub(super) fn fail(&mut self, conn: ConnKey, why: ConnectError) {
        self.failed.push_back((conn, why));
    }

    /// The oldest failure that the machine does not know of yet.
    pub(super) fn next_failed(&mut self) -> Option<(ConnKey, ConnectError)> {
        self.failed.pop_front()
    }

    /// Forgets a connection that was closed. `dialing`: it was being opened.
    pub(super) fn forget(&mut self, conn: ConnKey, dialing: Option<&Dialing>) {
        let key = conn.to_bits();
        if let Some(waiting) = self.unresolved.remove(&key) {
            self.deadlines.remove(&(waiting.give_up_at, key));
        }
        if let Some(dialing) = dialing {
            self.deadlines.remove(&(dialing.until, key));
        }
    }

    /// The upstream of a connection may be slow to take what it is sent, or no longer.
    pub(super) fn be_patient(&self, socket: &Socket, patient: bool) {
        self.watch.be_patient(SockRef::from(socket.stream()), patient);
    }
}

/// What there is to know of each upstream of each route.
fn targets(config: &Config) -> Vec<Target> {
    let target = |(_number, (_, route, upstream)): (usize, (usize, &Route, &Upstream))| Target {
        connect_timeout: route.connect_timeout,
        upstream: upstream.clone(),
        #[cfg(feature = "tls")]
        dials: Dials::Newest(_number),
    };
    config.routes.each_upstream().enumerate().map(target).collect()
}

/// The share of an address: what is left, evenly divided by it and `others`, which come after it.
fn share(left: Span, others: usize) -> Span {
    Span::from_micros(left.micros() / (others as u64 + 1))
}

#[cfg(test)]
mod tests;
