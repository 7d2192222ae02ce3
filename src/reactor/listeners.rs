//! The sockets that listen, and which of them have connections to accept.
//!
//! In: addresses, readiness. Out: accepted connections, as many a turn as the loop has time for.
//! Laws: a listener that is ready stays ready until the system has no more connection for it; those that are ready take
//! turns, so that a crowd at one keeps nobody out at another; after a failure of the system accepting rests, so that a
//! lack of descriptors does not spin the loop.

use super::socket;
use super::start::StartError;
use super::watch::Watch;
use crate::base::{Span, Tick};
use crate::config::Config;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How long accepting rests after the system had no descriptor for a connection.
pub(super) const ACCEPT_REST: Span = Span::from_millis(50);

/// Listeners at most: one bit each in [`Listeners::ready`].
const MAX_LISTENERS: usize = 64;

/// Listeners have the tokens from here on, the waker's above all. No connection's key reaches them.
pub(super) const FIRST_LISTENER: usize = usize::MAX - 1_024;

/// How well a socket that listens already fits an address that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// It is bound to this address. An IPv4 address that is written as IPv6 is the IPv4 address; an IPv6 address without a
    /// zone is that address in any zone.
    Same,
    /// All addresses of IPv4 are asked for, and it has them and those of IPv6, as sockets of service managers do.
    More,
    /// Any port is asked for, and it has one.
    AnyPort,
}

impl Fit {
    /// Tries a socket. `None`: it is for something else.
    pub fn of(socket: &std::net::TcpListener, asked: SocketAddr) -> Option<Self> {
        let own = socket.local_addr().ok()?;
        let is_zone = |own: SocketAddr| match (own, asked) {
            (SocketAddr::V6(own), SocketAddr::V6(asked)) => asked.scope_id() == 0 || asked.scope_id() == own.scope_id(),
            _ => true,
        };
        let is_same = own.ip().to_canonical() == asked.ip().to_canonical() && is_zone(own);
        let has_more = || own.ip() == Ipv6Addr::UNSPECIFIED && asked.ip() == Ipv4Addr::UNSPECIFIED;
        match (own.port() == asked.port(), asked.port() == 0) {
            (true, _) if is_same => Some(Self::Same),
            (true, _) if has_more() && SockRef::from(socket).only_v6().is_ok_and(|only| !only) => Some(Self::More),
            (false, true) if is_same => Some(Self::AnyPort),
            _ => None,
        }
    }
}

/// The socket for each address, where there is one: the best fits first, and of equal ones the first for the first.
fn share_out(asked: &[SocketAddr], inherited: Vec<std::net::TcpListener>) -> Vec<Option<std::net::TcpListener>> {
    let mut left: Vec<Option<std::net::TcpListener>> = inherited.into_iter().map(Some).collect();
    let mut found: Vec<Option<std::net::TcpListener>> = asked.iter().map(|_| None).collect();
    for fit in [Fit::Same, Fit::More, Fit::AnyPort] {
        for (place, &address) in found.iter_mut().zip(asked).filter(|(place, _)| place.is_none()) {
            let fits = |socket: &Option<_>| socket.as_ref().and_then(|socket| Fit::of(socket, address)) == Some(fit);
            *place = left.iter().position(fits).and_then(|at| left.get_mut(at)?.take());
        }
    }
    found
}

/// All listeners.
#[derive(Debug)]
pub(super) struct Listeners {
    sockets: Vec<TcpListener>,
    /// So many of them, from the first on, speak TLS.
    secure: usize,
    /// Listeners that have more to accept, one bit each.
    ready: u64,
    /// The listener that has had its turn last.
    last: usize,
    rests_until: Option<Tick>,
}

impl Listeners {
    /// Binds and registers the first 64 of the addresses in a configuration. An inherited socket that fits one of them
    /// ([`Fit`]) is taken for it; others are closed.
    ///
    /// # Errors
    /// [`StartError::Listen`] for the first address that cannot be listened on.
    pub(super) fn bind(
        config: &Config,
        registry: &Registry,
        inherited: Vec<std::net::TcpListener>,
    ) -> Result<Self, StartError> {
        let (mut sockets, watch) = (Vec::new(), Watch::of(config));
        let asked: Vec<SocketAddr> = config.listens().take(MAX_LISTENERS).collect();
        let found = share_out(&asked, inherited);
        for (n, (address, found)) in asked.into_iter().zip(found).enumerate() {
            let wrong = |why| StartError::Listen { address, why };
            let mut listener = match found {
                Some(socket) => {
                    socket.set_nonblocking(true).map_err(wrong)?;
                    TcpListener::from_std(socket)
                }
                None => socket::listen(address).map_err(wrong)?,
            };
            watch.listener(SockRef::from(&listener));
            registry.register(&mut listener, Token(FIRST_LISTENER + n), Interest::READABLE).map_err(wrong)?;
            sockets.push(listener);
        }
        let secure = if config.speaks_tls() { config.listen.len() } else { 0 };
        Ok(Self { sockets, secure, ready: 0, last: 0, rests_until: None })
    }

    /// Connections that are accepted from now on are watched in this way.
    pub(super) fn watch(&self, watch: Watch) {
        self.sockets.iter().for_each(|listener| watch.listener(SockRef::from(listener)));
    }

    /// The addresses that are listened on.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|l| l.local_addr().ok()).collect()
    }

    /// Copies of the sockets, for another process. They stay open there when they are closed here.
    #[cfg(unix)]
    pub(super) fn share(&self) -> io::Result<Vec<std::os::fd::OwnedFd>> {
        use std::os::fd::AsFd;
        self.sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned()).collect()
    }

    /// Whether `token` is a listener's.
    pub(super) fn own(token: Token) -> bool {
        token.0 >= FIRST_LISTENER
    }

    /// The listener with this token has connections to accept.
    pub(super) fn on_ready(&mut self, token: Token) {
        let n = token.0 - FIRST_LISTENER;
        // One that was closed in the same turn has nothing to accept.
        if n < self.sockets.len() {
            self.ready |= 1 << n;
        }
    }

    /// Whether some listener has connections to accept and none rests.
    pub(super) fn must_accept_now(&self) -> bool {
        self.ready != 0 && self.rests_until.is_none()
    }

    /// When the rest ends, if accepting rests.
    pub(super) fn rests_until(&self) -> Option<Tick> {
        self.rests_until
    }

    /// Listens no more. Another process may hold copies of the sockets: while it does, the system goes on telling of
    /// connections that come, unless it is told that nobody here wants to know.
    pub(super) fn close(&mut self, registry: &Registry) {
        for socket in &mut self.sockets {
            // What is not registered tells of nothing.
            let _ = registry.deregister(socket);
        }
        self.sockets.clear();
        self.ready = 0;
        self.rests_until = None;
    }

    /// Descriptors were freed: accepting need not rest.
    pub(super) fn rest_no_more(&mut self) {
        self.rests_until = None;
    }

    /// The next listener that has connections to accept, in a circle.
    fn next_ready(&self) -> Option<usize> {
        let n = self.sockets.len();
        (1..=n).map(|k| (self.last + k) % n).find(|at| self.ready & 1 << at != 0)
    }

    /// Accepts connections, one from each listener in turn, until there are none or `each` wants no more. It is told
    /// whether the listener speaks TLS.
    ///
    /// # Errors
    /// When the system refuses a connection; accepting then rests for [`ACCEPT_REST`].
    pub(super) fn accept(
        &mut self,
        now: Tick,
        mut each: impl FnMut(TcpStream, IpAddr, bool) -> bool,
    ) -> io::Result<()> {
        if self.ready == 0 || self.rests_until.is_some_and(|until| until > now) {
            return Ok(());
        }
        self.rests_until = None;
        while let Some(n) = self.next_ready() {
            self.last = n;
            match self.sockets[n].accept() {
                Ok((stream, peer)) => {
                    if !each(stream, peer.ip().to_canonical(), n < self.secure) {
                        return Ok(());
                    }
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => self.ready &= !(1 << n),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.rests_until = Some(now + ACCEPT_REST);
                        return Err(e);
                    }
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
