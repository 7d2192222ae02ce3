//! The addresses of upstreams. Helper threads look names up, since the system's resolver may take seconds.
//!
//! In: routes to resolve. Out: their addresses, through a bounded channel and a wake-up of the reactor.
//! Laws: the reactor's thread never calls the system's resolver; a host that is written as an address needs no thread;
//! known addresses are used at once, also while old ones are being refreshed; the address that worked last comes first,
//! and those that failed come last, the latest failure at the end.

use crate::base::{Span, Tick, Vocabulary, Word};
use crate::config::{Config, Upstream};
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// How long addresses are used before the name is looked up again.
const REFRESH: Span = Span::from_secs(30);

/// Addresses of a name that are used. The system orders them, and another look-up may give others.
const ADDRESSES: usize = 16;

/// Threads that look names up, at most. A name whose look-up hangs keeps one of them, and others find their addresses.
const THREADS: usize = 4;

/// The addresses of all upstreams, as far as they are known. Routes with the same upstream share them.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Which upstream each route has.
    routes: Vec<Word>,
    /// By the numbers of their words.
    upstreams: Vec<Addresses>,
    questions: Option<Sender<Word>>,
    answers: Receiver<Resolved>,
}

#[derive(Debug)]
struct Addresses {
    upstream: Word,
    /// In the order in which they are tried.
    known: Vec<SocketAddr>,
    /// The one that worked last.
    good: Option<SocketAddr>,
    /// Those that failed since they worked last, the latest failure at the end.
    bad: Vec<SocketAddr>,
    /// The time to look the name up again; never for a host that is written as an address.
    stale_at: Tick,
    /// A helper thread has the question.
    asked: bool,
}

#[derive(Debug)]
struct Resolved {
    upstream: Word,
    addresses: Vec<SocketAddr>,
}

/// What the resolver knows of an upstream's addresses.
#[derive(Debug)]
pub(super) enum Known {
    /// Connect to the first of these that can be reached.
    Addresses(VecDeque<SocketAddr>),
    /// Wait for [`Resolver::take_answers`].
    Asked,
    /// The helper threads have ended, or too many questions wait.
    Unavailable,
}

impl Resolver {
    /// A resolver for a configuration's upstreams; starts threads when some of them are names.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(config: &Config, waker: Arc<Waker>) -> io::Result<Self> {
        Self::start_with(config, waker, system)
    }

    fn start_with(
        config: &Config,
        waker: Arc<Waker>,
        resolve: impl Fn(&str) -> Vec<SocketAddr> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let mut names = Vocabulary::new(config.routes.len());
        let (mut routes, mut upstreams) = (Vec::new(), Vec::new());
        for route in config.routes.iter() {
            // There is a place for each route's.
            let Some(word) = names.add(&name(&route.upstream)) else { continue };
            routes.push(word);
            if word.index() == upstreams.len() {
                upstreams.push(Addresses::new(word, &route.upstream));
            }
        }
        let (questions, to_do) = bounded(upstreams.len().max(1));
        let (done, answers) = bounded(upstreams.len().max(1));
        let to_resolve = upstreams.iter().filter(|addresses| addresses.known.is_empty()).count();
        let names = Arc::new(names);
        for _ in 0..to_resolve.min(THREADS) {
            let (names, to_do, done) = (Arc::clone(&names), to_do.clone(), done.clone());
            let (waker, resolve) = (Arc::clone(&waker), resolve.clone());
            let helper = thread::Builder::new().name("segno-resolver".to_owned());
            helper.spawn(move || work(&names, &to_do, &done, &waker, resolve))?;
        }
        Ok(Self { routes, upstreams, questions: (to_resolve > 0).then_some(questions), answers })
    }

    /// The addresses of a route's upstream. Looks the name up where they are unknown or old.
    pub(super) fn addresses(&mut self, route: usize, now: Tick) -> Known {
        let upstream = self.routes.get(route).and_then(|word| self.upstreams.get_mut(word.index()));
        let Some(entry) = upstream else { return Known::Unavailable };
        if entry.stale_at <= now && !entry.asked {
            entry.asked = self.questions.as_ref().is_some_and(|questions| questions.try_send(entry.upstream).is_ok());
        }
        match (entry.known.is_empty(), entry.asked) {
            (false, _) => Known::Addresses(entry.known.iter().copied().collect()),
            (true, true) => Known::Asked,
            (true, false) => Known::Unavailable,
        }
    }

    /// An address could not be reached: it is tried last from now on.
    pub(super) fn on_failed(&mut self, route: usize, address: SocketAddr) {
        if let Some(entry) = self.entry(route) {
            entry.good.take_if(|good| *good == address);
            entry.bad.retain(|bad| *bad != address);
            entry.bad.push(address);
            entry.put_in_order();
        }
    }

    /// An address was reached: it is tried first from now on.
    pub(super) fn on_connected(&mut self, route: usize, address: SocketAddr) {
        if let Some(entry) = self.entry(route).filter(|entry| entry.good != Some(address)) {
            entry.good = Some(address);
            entry.bad.retain(|bad| *bad != address);
            entry.put_in_order();
        }
    }

    /// A name has these addresses, whatever was found.
    #[cfg(test)]
    pub(super) fn know(&mut self, route: usize, addresses: &[SocketAddr]) {
        if let Some(entry) = self.entry(route) {
            entry.known = addresses.to_vec();
        }
    }

    fn entry(&mut self, route: usize) -> Option<&mut Addresses> {
        self.routes.get(route).and_then(|word| self.upstreams.get_mut(word.index()))
    }

    /// No address could be reached: the next request looks the name up again.
    pub(super) fn distrust(&mut self, route: usize, now: Tick) {
        if let Some(entry) = self.entry(route).filter(|entry| entry.stale_at < Tick::NEVER) {
            entry.stale_at = now;
        }
    }

    /// Takes in what the helper threads found. Returns the routes whose look-up has ended, well or not.
    pub(super) fn take_answers(&mut self, now: Tick) -> Vec<usize> {
        let mut answered = Vec::new();
        while let Ok(answer) = self.answers.try_recv() {
            let Some(entry) = self.upstreams.get_mut(answer.upstream.index()) else { continue };
            entry.asked = false;
            if !answer.addresses.is_empty() {
                entry.known = answer.addresses;
                entry.stale_at = now + REFRESH;
                entry.put_in_order();
            }
            let routes = self.routes.iter().enumerate().filter(|(_, word)| **word == answer.upstream);
            answered.extend(routes.map(|(route, _)| route));
        }
        answered
    }
}

impl Addresses {
    fn new(word: Word, upstream: &Upstream) -> Self {
        let written = upstream.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, upstream.port));
        Self {
            upstream: word,
            stale_at: if written.is_some() { Tick::NEVER } else { Tick::ZERO },
            known: written.into_iter().collect(),
            good: None,
            bad: Vec::new(),
            asked: false,
        }
    }
}

impl Addresses {
    /// Good first, bad last, the others between them as the system gave them.
    fn put_in_order(&mut self) {
        let Self { known, good, bad, .. } = self;
        bad.retain(|bad| known.contains(bad));
        known.sort_by_key(|address| match bad.iter().position(|bad| bad == address) {
            _ if *good == Some(*address) => 0,
            None => 1,
            Some(at) => 2 + at,
        });
    }
}

/// An upstream as the system's resolver takes it.
fn name(upstream: &Upstream) -> String {
    format!("{}:{}", upstream.host, upstream.port)
}

/// What the system's resolver says. A name that cannot be resolved has no addresses: the machine decides what happens
/// next.
fn system(name: &str) -> Vec<SocketAddr> {
    name.to_socket_addrs().map(|found| found.take(ADDRESSES).collect()).unwrap_or_default()
}

/// A helper thread. It ends when the reactor does.
fn work(
    names: &Vocabulary,
    questions: &Receiver<Word>,
    answers: &Sender<Resolved>,
    waker: &Waker,
    resolve: impl Fn(&str) -> Vec<SocketAddr>,
) {
    while let Ok(upstream) = questions.recv() {
        let addresses = resolve(names.text(upstream));
        if answers.send(Resolved { upstream, addresses }).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn a_name_whose_look_up_hangs_does_not_hold_up_another() {
        let routes: Vec<Route> =
            ["hangs", "quick"].map(|host| Route::new(Upstream::parse(&format!("http://{host}:1")).unwrap())).into();
        let config = Config { routes: routes.into(), ..Config::default() };
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        // The look-up of `hangs` ends with the test.
        let (hold, held) = bounded::<()>(0);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let resolve = move |name: &str| {
            if name.starts_with("hangs") {
                let _ = held.recv();
            }
            vec![address]
        };
        let mut resolver = Resolver::start_with(&config, waker, resolve).unwrap();
        for route in 0..2 {
            assert!(matches!(resolver.addresses(route, Tick::ZERO), Known::Asked));
        }
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
        assert_eq!(resolver.take_answers(Tick::ZERO), [1]);
        assert!(matches!(resolver.addresses(1, Tick::ZERO), Known::Addresses(known) if known == [address]));
        drop(hold);
    }
}
