//! The addresses of upstreams. Helper threads look names up, since the system's resolver may take seconds.
//!
//! In: routes to resolve. Out: their addresses, through a bounded channel and a wake-up of the reactor.
//! Laws: the reactor's thread never calls the system's resolver; a host that is written as an address needs no thread;
//! known addresses are used at once, also while old ones are being refreshed; the address that worked last comes first,
//! and those that failed come last, the latest failure at the end.

use crate::base::{Span, Tick};
use crate::config::{Config, Upstream};
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::collections::{HashMap, VecDeque};
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

/// The number of no upstream.
const NONE: usize = usize::MAX;

/// Questions and answers that may wait. An upstream has one question at a time.
const WAITING: usize = 1_024;

/// The addresses of all upstreams, as far as they are known. Routes with the same upstream share them.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Which upstream each route has, by the place of the route.
    routes: Vec<usize>,
    upstreams: Vec<Addresses>,
    questions: Sender<Question>,
    answers: Receiver<Resolved>,
}

#[derive(Debug)]
struct Addresses {
    /// As the system's resolver takes it.
    name: Arc<str>,
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

/// The number of an upstream, and its name.
type Question = (usize, Arc<str>);

#[derive(Debug)]
struct Resolved {
    question: Question,
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
    /// A resolver for a configuration's upstreams; starts the threads that look names up.
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
        let (questions, to_do) = bounded(WAITING);
        let (done, answers) = bounded(WAITING);
        let mut resolver = Self { routes: Vec::new(), upstreams: Vec::new(), questions, answers };
        resolver.put(config.routes.each_upstream().map(|(_, _, upstream)| upstream).enumerate());
        // Another configuration may bring names, and no thread starts later.
        let threads = if config.routes.is_empty() { 0 } else { THREADS };
        for _ in 0..threads {
            let (to_do, done) = (to_do.clone(), done.clone());
            let (waker, resolve) = (Arc::clone(&waker), resolve.clone());
            let helper = thread::Builder::new().name("segno-resolver".to_owned());
            helper.spawn(move || work(&to_do, &done, &waker, resolve))?;
        }
        Ok(resolver)
    }

    /// The routes at these places have these upstreams from now on. Places beyond those known come in their order.
    pub(super) fn put<'u>(&mut self, new: impl Iterator<Item = (usize, &'u Upstream)>) {
        let new: Vec<(usize, &Upstream, String)> =
            new.map(|(place, upstream)| (place, upstream, name(upstream))).collect();
        for (place, ..) in &new {
            match self.routes.get_mut(*place) {
                Some(route) => *route = NONE,
                None => self.routes.push(NONE),
            }
        }
        let mut by_name: HashMap<Arc<str>, usize> =
            self.upstreams.iter().enumerate().map(|(at, entry)| (Arc::clone(&entry.name), at)).collect();
        let mut used = vec![false; self.upstreams.len()];
        let wanted = new.iter().filter_map(|(_, _, name)| by_name.get(name.as_str()));
        for at in wanted.chain(&self.routes).copied().filter(|at| *at != NONE) {
            used[at] = true;
        }
        let mut free: Vec<usize> = (0..used.len()).filter(|at| !used[*at]).collect();
        for (place, upstream, name) in new {
            let at = *by_name.entry(name.into()).or_insert_with_key(|name| {
                let entry = Addresses::new(Arc::clone(name), upstream);
                if let Some(at) = free.pop() {
                    self.upstreams[at] = entry;
                    return at;
                }
                self.upstreams.push(entry);
                self.upstreams.len() - 1
            });
            self.routes[place] = at;
        }
    }

    /// The addresses of a route's upstream. Looks the name up where they are unknown or old.
    pub(super) fn addresses(&mut self, route: usize, now: Tick) -> Known {
        let upstream = self.routes.get(route).and_then(|at| self.upstreams.get_mut(*at).map(|entry| (*at, entry)));
        let Some((at, entry)) = upstream else { return Known::Unavailable };
        if entry.stale_at <= now && !entry.asked {
            entry.asked = self.questions.try_send((at, Arc::clone(&entry.name))).is_ok();
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
        self.routes.get(route).and_then(|at| self.upstreams.get_mut(*at))
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
            let (at, name) = answer.question;
            // Another upstream may have this number by now.
            let Some(entry) = self.upstreams.get_mut(at).filter(|entry| entry.name == name) else { continue };
            entry.asked = false;
            if !answer.addresses.is_empty() {
                entry.known = answer.addresses;
                entry.stale_at = now + REFRESH;
                entry.put_in_order();
            }
            let routes = self.routes.iter().enumerate().filter(|(_, used)| **used == at);
            answered.extend(routes.map(|(route, _)| route));
        }
        answered
    }
}

impl Addresses {
    fn new(name: Arc<str>, upstream: &Upstream) -> Self {
        let written = upstream.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, upstream.port));
        Self {
            name,
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
    questions: &Receiver<Question>,
    answers: &Sender<Resolved>,
    waker: &Waker,
    resolve: impl Fn(&str) -> Vec<SocketAddr>,
) {
    while let Ok(question) = questions.recv() {
        let addresses = resolve(&question.1);
        if answers.send(Resolved { question, addresses }).is_err() || waker.wake().is_err() {
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
