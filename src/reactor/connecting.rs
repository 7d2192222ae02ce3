//! Connections to upstreams that are being opened: resolve the name, try the addresses in turn, shake hands for TLS.
//!
//! In: a connection's key and its route, readiness of its socket. Out: an open connection, or a [`ConnectError`] that
//! waits for the machine.
//! Law: each attempt ends in exactly one of the two, unless the machine closes the connection before.

use super::log_lines::LogLines;
use super::resolve::{Known, Resolver};
use super::socket::{Dialing, Io, Socket, connect_error};
use super::sockets::Sockets;
use super::start::StartError;
#[cfg(feature = "tls")]
use super::tls;
use crate::base::Tick;
use crate::config::Config;
use crate::machine::{ConnKey, ConnectError};
use mio::Waker;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// All attempts that are under way.
#[derive(Debug)]
pub(super) struct Connecting {
    resolver: Resolver,
    /// Connections that wait for the addresses of their route's upstream.
    unresolved: Vec<(ConnKey, usize)>,
    /// Failures that the machine does not know of yet.
    failed: VecDeque<(ConnKey, ConnectError)>,
    /// By route; `None` where the upstream is plain HTTP.
    #[cfg(feature = "tls")]
    dialers: Vec<Option<tls::Dialer>>,
    /// Names upstreams in log lines about TLS.
    #[cfg(feature = "tls")]
    config: Arc<Config>,
}

impl Connecting {
    /// Starts the resolver, and reads the certificates of `https://` upstreams.
    ///
    /// # Errors
    /// [`StartError`], when the system gives no thread, or TLS cannot be set up.
    pub(super) fn new(config: &Arc<Config>, waker: Arc<Waker>) -> Result<Self, StartError> {
        Ok(Self {
            resolver: Resolver::start(config, waker).map_err(StartError::System)?,
            unresolved: Vec::new(),
            failed: VecDeque::new(),
            #[cfg(feature = "tls")]
            dialers: tls::Dialer::of_routes(config).map_err(StartError::Tls)?,
            #[cfg(feature = "tls")]
            config: Arc::clone(config),
        })
    }

    /// Begins to connect to the upstream of `route`.
    pub(super) fn connect(&mut self, conn: ConnKey, route: usize, sockets: &mut Sockets, now: Tick) {
        match self.resolver.addresses(route, now) {
            Known::Addresses(addresses) => self.connect_to(conn, route, addresses, sockets, now),
            Known::Asked => self.unresolved.push((conn, route)),
            Known::Unavailable => self.fail(conn, ConnectError::Unresolved),
        }
    }

    /// Goes on with the connections whose upstream's name has been looked up, well or not.
    pub(super) fn on_resolved(&mut self, sockets: &mut Sockets, now: Tick) {
        let answered = self.resolver.take_answers(now);
        let waiting = std::mem::take(&mut self.unresolved);
        for (conn, route) in waiting {
            match answered.contains(&route) {
                true => self.connect_resolved(conn, route, sockets, now),
                false => self.unresolved.push((conn, route)),
            }
        }
    }

    fn connect_resolved(&mut self, conn: ConnKey, route: usize, sockets: &mut Sockets, now: Tick) {
        match self.resolver.addresses(route, now) {
            Known::Addresses(addresses) => self.connect_to(conn, route, addresses, sockets, now),
            _ => self.fail(conn, ConnectError::Unresolved),
        }
    }

    /// Tries the addresses in turn; the rest of them stay with the socket.
    fn connect_to(
        &mut self,
        conn: ConnKey,
        route: usize,
        mut addresses: Vec<SocketAddr>,
        sockets: &mut Sockets,
        now: Tick,
    ) {
        let mut why = ConnectError::Unresolved;
        while !addresses.is_empty() {
            let address = addresses.remove(0);
            match TcpStream::connect(address) {
                Ok(stream) => {
                    let mut socket = Socket::new(Io::Plain(stream), conn.to_bits());
                    socket.dialing = Some(Box::new(Dialing { route, addresses }));
                    if sockets.add(conn, socket).is_ok() {
                        return;
                    }
                    why = ConnectError::Local;
                    break;
                }
                Err(e) => why = connect_error(&e),
            }
        }
        self.give_up(conn, route, why, sockets, now);
    }

    /// Goes on with an attempt whose socket has news. True when the connection is open; the caller then tells the
    /// machine. Otherwise the TLS handshake goes on, the next address is tried, or the attempt has failed.
    pub(super) fn go_on(&mut self, conn: ConnKey, sockets: &mut Sockets, lines: &mut LogLines, now: Tick) -> bool {
        let Some(s) = sockets.get_mut(conn) else { return false };
        let Some(route) = s.dialing.as_ref().map(|d| d.route) else { return false };
        let state = match &mut s.io {
            #[cfg(feature = "tls")]
            Io::Tls(t) => t.handshake().map_err(|e| {
                let upstream = &self.config.routes[route].upstream;
                let what =
                    format_args!("TLS with {upstream}: {e}; its next address is tried, or the attempt has failed");
                lines.warn(what, now);
                ConnectError::Tls
            }),
            Io::Plain(_) => s.connect_state(),
        };
        match state {
            Ok(false) => false,
            Ok(true) => self.on_connected(conn, route, sockets, lines, now),
            Err(why) => {
                match sockets.take(conn).and_then(|s| s.dialing) {
                    Some(dialing) if !dialing.addresses.is_empty() => {
                        self.connect_to(conn, route, dialing.addresses, sockets, now);
                    }
                    _ => self.give_up(conn, route, why, sockets, now),
                }
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
        if let Some(dialer) = &self.dialers[route]
            && let Some(s) = sockets.take(conn)
        {
            match s.io {
                Io::Plain(stream) => match dialer.dial(stream) {
                    Ok(tls) => {
                        sockets.put(conn, Socket { io: Io::Tls(Box::new(tls)), ..s });
                        return self.go_on(conn, sockets, lines, now);
                    }
                    Err(_) => {
                        self.give_up(conn, route, ConnectError::Tls, sockets, now);
                        return false;
                    }
                },
                Io::Tls(_) => sockets.put(conn, s),
            }
        }
        if let Some(s) = sockets.get_mut(conn) {
            let _ = s.stream().set_nodelay(true);
            s.established = true;
            // The handshake may have left bytes in the socket whose edge is over.
            s.readable |= !s.is_plain();
            s.writable = true;
            s.dialing = None;
        }
        true
    }

    fn give_up(&mut self, conn: ConnKey, route: usize, why: ConnectError, sockets: &mut Sockets, now: Tick) {
        drop(sockets.take(conn));
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

    /// Forgets a connection that was closed while it waited for an address.
    pub(super) fn forget(&mut self, conn: ConnKey) {
        self.unresolved.retain(|(waiting, _)| *waiting != conn);
    }
}
