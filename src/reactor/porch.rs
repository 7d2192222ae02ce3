//! Clients' connections that begin with a header of the PROXY protocol, until it has come.
//!
//! In: accepted sockets of proxies, readiness. Out: the same sockets behind their headers, and who their clients are.
//! Laws: nobody is believed but `trusted_proxies`; a client of whom a proxy says no address has not the proxy's own, which
//! is trusted, but the unspecified one, which is not; whether a header comes is told by the peer's address and never by what
//! it sends; a header is taken off the socket once it is whole, and not a byte behind it; each must come within a time,
//! and there is a bound on all who wait: one more takes the place of the one that has been here for longest.

use super::listeners::FIRST_LISTENER;
use super::log_lines::LogLines;
use crate::base::{Count, Counts, Span, Tick};
use crate::config::{Config, Networks, ProxyProtocol};
use crate::http::{Announced as Whom, PROXY_HEADER, Preface, proxy_header};
use crate::machine::{Origin, Standing};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr};

/// Those who wait here have the tokens from here on, so many at most. The lobby's and the listeners' are above.
const FIRST: usize = FIRST_LISTENER - 2 * TOKENS;
const TOKENS: usize = 1 << 16;

/// Connections that are closed at once where there are no descriptors.
const ROOM: usize = 16;

/// Connections whose time is over that are closed at a time.
const DUE: usize = 16;

/// All such connections.
#[derive(Debug)]
pub(super) struct Porch {
    mode: ProxyProtocol,
    trusted: Networks,
    guests: Vec<Option<Guest>>,
    free: Vec<usize>,
    /// When each header must have come.
    deadlines: BTreeSet<(Tick, usize)>,
    /// Places of those whose sockets have news, each at most once. Where one has left since, its successor is looked at,
    /// which harms nobody.
    ready: VecDeque<usize>,
    /// By place: whether it is among those.
    queued: Vec<bool>,
    most: usize,
    patience: Span,
    pub(super) counts: Counts,
}

#[derive(Debug)]
struct Guest {
    stream: TcpStream,
    peer: IpAddr,
    is_secure: bool,
    until: Tick,
}

/// A client behind the header of its connection.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) stream: TcpStream,
    pub(super) client: Origin,
    /// It shakes hands next.
    pub(super) is_secure: bool,
}

/// What a connection begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begins {
    /// With what the client says.
    AtOnce,
    /// With a header.
    WithHeader,
    /// Its peer may not connect.
    Never,
}

impl Porch {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            mode: config.proxy_protocol,
            trusted: config.trusted_proxies.clone(),
            guests: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            queued: Vec::new(),
            most: config.limits.handshakes,
            patience: super::start::head_patience(config),
            counts: Counts::default(),
        }
    }

    /// Goes by another configuration. Who waits for its header goes on.
    pub(super) fn go_by(&mut self, config: &Config) {
        self.mode = config.proxy_protocol;
        self.trusted = config.trusted_proxies.clone();
        self.patience = super::start::head_patience(config);
    }

    /// Whether `token` is that of somebody who waits here.
    pub(super) fn own(token: Token) -> bool {
        (FIRST..FIRST + TOKENS).contains(&token.0)
    }

    /// When [`Porch::on_time`] must be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// What the connection of this peer begins with. One that may not connect is counted.
    pub(super) fn begins(&mut self, peer: IpAddr, lines: &mut LogLines, now: Tick) -> Begins {
        match self.mode {
            ProxyProtocol::Off => Begins::AtOnce,
            _ if self.trusted.contains(peer) => Begins::WithHeader,
            ProxyProtocol::Accept => Begins::AtOnce,
            ProxyProtocol::Require => {
                self.counts.one(Count::OverProxyProtocol);
                let why =
                    "`proxy_protocol` is `require` and `trusted_proxies` does not name it; its connection is closed";
                lines.inform(format_args!("connection of {peer}: {why}"), now);
                Begins::Never
            }
        }
    }

    /// A proxy has connected, and says first for whom.
    pub(super) fn enter(&mut self, mut stream: TcpStream, from: (IpAddr, bool), registry: &Registry, now: Tick) {
        let (peer, is_secure) = from;
        let at = self.place();
        let watches = registry.register(&mut stream, Token(FIRST + at), Interest::READABLE | Interest::WRITABLE);
        if watches.is_err() {
            self.counts.one(Count::OverProxyProtocol);
            return self.free.push(at);
        }
        let until = now + self.patience;
        self.deadlines.insert((until, at));
        self.guests[at] = Some(Guest { stream, peer, is_secure, until });
    }

    /// A free place. Who has been here for longest makes room if there is none.
    fn place(&mut self) -> usize {
        if self.deadlines.len() >= self.most {
            self.crowd_out();
        }
        self.free.pop().unwrap_or_else(|| {
            self.guests.push(None);
            self.queued.push(false);
            self.guests.len() - 1
        })
    }

    fn crowd_out(&mut self) -> bool {
        let Some((_, at)) = self.deadlines.first().copied() else { return false };
        self.counts.one(Count::OverHandshakes);
        self.leave(at).is_some()
    }

    /// The system has no descriptors: those who have been here for longest leave. False: there is nobody.
    pub(super) fn make_room(&mut self) -> bool {
        (0..ROOM).filter(|_| self.crowd_out()).count() > 0
    }

    fn leave(&mut self, at: usize) -> Option<Guest> {
        let guest = self.guests.get_mut(at)?.take()?;
        self.deadlines.remove(&(guest.until, at));
        self.free.push(at);
        Some(guest)
    }

    /// Some of those whose headers have not come in time are closed.
    pub(super) fn on_time(&mut self, lines: &mut LogLines, now: Tick) {
        for _ in 0..DUE {
            let Some((_, at)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) else { return };
            let Some(guest) = self.leave(at) else { continue };
            let patience = self.patience;
            self.refuse(&guest, format_args!("no header within {patience}"), lines, now);
        }
    }

    /// The poll has news of a connection.
    pub(super) fn on_ready(&mut self, token: Token) {
        let at = token.0 - FIRST;
        if let (Some(Some(_)), Some(queued)) = (self.guests.get(at), self.queued.get_mut(at))
            && !std::mem::replace(queued, true)
        {
            self.ready.push_back(at);
        }
    }

    /// Whether some connection has news.
    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Looks at one connection that has news. Gives it back once its header is whole.
    pub(super) fn step(&mut self, buffer: &mut [u8], lines: &mut LogLines, now: Tick) -> Option<Announced> {
        let at = self.ready.pop_front()?;
        self.queued.get_mut(at).into_iter().for_each(|queued| *queued = false);
        let guest = self.guests.get_mut(at)?.as_mut()?;
        let most = buffer.len().min(PROXY_HEADER);
        let read = guest.stream.peek(&mut buffer[..most]);
        let preface = match read {
            // Whoever only looks whether the port is open closes without a word.
            Ok(0) => return self.leave(at).and(None),
            Ok(n) => proxy_header(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => return self.leave(at).and(None),
        };
        match preface {
            Preface::Partial => None,
            Preface::Wrong => {
                let guest = self.leave(at)?;
                self.refuse(&guest, format_args!("it does not begin with a header that can be read"), lines, now);
                None
            }
            Preface::Whole { length, whom } => {
                let mut guest = self.leave(at)?;
                // These bytes are here.
                guest.stream.read_exact(&mut buffer[..length]).ok()?;
                self.counts.one(Count::ProxyHeaders);
                let Guest { stream, peer, is_secure, .. } = guest;
                let client = match whom {
                    Whom::Client(client) => client.into(),
                    Whom::Itself => Origin::new(peer, Standing::Probe),
                    Whom::Somebody => IpAddr::from(Ipv6Addr::UNSPECIFIED).into(),
                };
                Some(Announced { stream, client, is_secure })
            }
        }
    }

    fn refuse(&mut self, guest: &Guest, why: std::fmt::Arguments<'_>, lines: &mut LogLines, now: Tick) {
        self.counts.one(Count::OverProxyProtocol);
        lines.inform(format_args!("PROXY protocol of {}: {why}; its connection is closed", guest.peer), now);
    }
}

#[cfg(test)]
mod tests;
