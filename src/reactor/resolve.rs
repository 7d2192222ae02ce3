//! Names of upstreams to addresses, on a helper thread, since the system's resolver may wait for seconds.
//!
//! In: routes to resolve. Out: their addresses, through a bounded channel and a wake-up of the reactor.
//! Laws: the reactor never asks the resolver itself; an address that is written as one needs no thread; a known
//! answer is used at once and refreshed behind it.

use crate::base::{Span, Tick};
use crate::config::Config;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// How long an answer is used before it is asked for anew.
const REFRESH: Span = Span::from_secs(30);

/// The addresses of all upstreams, as far as they are known.
#[derive(Debug)]
pub(super) struct Resolver {
    routes: Vec<Entry>,
    asks: Option<Sender<Ask>>,
    answers: Receiver<Resolved>,
}

#[derive(Debug)]
struct Entry {
    host: String,
    port: u16,
    known: Vec<SocketAddr>,
    /// When the answer is old; never for a written address.
    stale_at: Tick,
    asked: bool,
}

#[derive(Debug)]
struct Ask {
    route: usize,
    host: String,
    port: u16,
}

#[derive(Debug)]
struct Resolved {
    route: usize,
    addresses: Vec<SocketAddr>,
}

/// What is known of an upstream's addresses.
#[derive(Debug)]
pub(super) enum Known {
    /// Connect to one of these.
    Addresses(Vec<SocketAddr>),
    /// Wait for [`Resolver::take_answers`].
    Asked,
    /// The helper thread is gone or overrun.
    Unavailable,
}

impl Resolver {
    /// A resolver for a configuration's upstreams; starts a thread when one of them is a name.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(config: &Config, waker: Arc<Waker>) -> io::Result<Self> {
        let routes: Vec<Entry> = config.routes.iter().map(|r| Entry::new(&r.upstream.host, r.upstream.port)).collect();
        let names = routes.iter().filter(|r| r.known.is_empty()).count();
        let (asks, to_do) = bounded(routes.len().max(1));
        let (done, answers) = bounded(routes.len().max(1));
        if names > 0 {
            thread::Builder::new().name("segno-resolver".to_owned()).spawn(move || work(&to_do, &done, &waker))?;
        }
        Ok(Self { routes, asks: (names > 0).then_some(asks), answers })
    }

    /// The addresses of a route's upstream; asks for them where they are unknown or old.
    pub(super) fn addresses(&mut self, route: usize, now: Tick) -> Known {
        let Some(entry) = self.routes.get_mut(route) else { return Known::Unavailable };
        if entry.stale_at <= now && !entry.asked {
            let ask = Ask { route, host: entry.host.clone(), port: entry.port };
            entry.asked = self.asks.as_ref().is_some_and(|asks| asks.try_send(ask).is_ok());
        }
        match (entry.known.is_empty(), entry.asked) {
            (false, _) => Known::Addresses(entry.known.clone()),
            (true, true) => Known::Asked,
            (true, false) => Known::Unavailable,
        }
    }

    /// A connection to a known address failed: the next request asks again.
    pub(super) fn distrust(&mut self, route: usize, now: Tick) {
        if let Some(entry) = self.routes.get_mut(route)
            && entry.stale_at < Tick::NEVER
        {
            entry.stale_at = now;
        }
    }

    /// Takes in what the helper found; gives the routes that have an answer now, good or bad.
    pub(super) fn take_answers(&mut self, now: Tick) -> Vec<usize> {
        let mut answered = Vec::new();
        while let Ok(answer) = self.answers.try_recv() {
            let entry = &mut self.routes[answer.route];
            entry.asked = false;
            if !answer.addresses.is_empty() {
                entry.known = answer.addresses;
                entry.stale_at = now + REFRESH;
            }
            answered.push(answer.route);
        }
        answered
    }
}

impl Entry {
    fn new(host: &str, port: u16) -> Self {
        let written = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        Self {
            host: host.to_owned(),
            port,
            stale_at: if written.is_some() { Tick::NEVER } else { Tick::ZERO },
            known: written.into_iter().collect(),
            asked: false,
        }
    }
}

/// The helper thread: ends when the reactor does.
fn work(asks: &Receiver<Ask>, answers: &Sender<Resolved>, waker: &Waker) {
    while let Ok(ask) = asks.recv() {
        // A name that cannot be resolved is an answer without addresses: the machine says what happens next.
        let addresses = (ask.host.as_str(), ask.port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        if answers.send(Resolved { route: ask.route, addresses }).is_err() || waker.wake().is_err() {
            return;
        }
    }
}
