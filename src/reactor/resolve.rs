//! The addresses of upstreams. A helper thread looks names up, since the system's resolver may take seconds.
//!
//! In: routes to resolve. Out: their addresses, through a bounded channel and a wake-up of the reactor.
//! Laws: the reactor's thread never calls the system's resolver; a host that is written as an address needs no thread;
//! known addresses are used at once, also while old ones are being refreshed.

use crate::base::{Span, Tick};
use crate::config::Config;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// How long addresses are used before the name is looked up again.
const REFRESH: Span = Span::from_secs(30);

/// The addresses of all upstreams, as far as they are known.
#[derive(Debug)]
pub(super) struct Resolver {
    routes: Vec<Addresses>,
    questions: Option<Sender<Question>>,
    answers: Receiver<Resolved>,
}

#[derive(Debug)]
struct Addresses {
    host: String,
    port: u16,
    known: Vec<SocketAddr>,
    /// The time to look the name up again; never for a host that is written as an address.
    stale_at: Tick,
    /// The helper thread has the question.
    asked: bool,
}

#[derive(Debug)]
struct Question {
    route: usize,
    host: String,
    port: u16,
}

#[derive(Debug)]
struct Resolved {
    route: usize,
    addresses: Vec<SocketAddr>,
}

/// What the resolver knows of an upstream's addresses.
#[derive(Debug)]
pub(super) enum Known {
    /// Connect to one of these.
    Addresses(Vec<SocketAddr>),
    /// Wait for [`Resolver::take_answers`].
    Asked,
    /// The helper thread has ended, or too many questions wait.
    Unavailable,
}

impl Resolver {
    /// A resolver for a configuration's upstreams; starts a thread when one of them is a name.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(config: &Config, waker: Arc<Waker>) -> io::Result<Self> {
        let routes: Vec<Addresses> =
            config.routes.iter().map(|r| Addresses::new(&r.upstream.host, r.upstream.port)).collect();
        let names = routes.iter().filter(|r| r.known.is_empty()).count();
        let (questions, to_do) = bounded(routes.len().max(1));
        let (done, answers) = bounded(routes.len().max(1));
        if names > 0 {
            thread::Builder::new().name("segno-resolver".to_owned()).spawn(move || work(&to_do, &done, &waker))?;
        }
        Ok(Self { routes, questions: (names > 0).then_some(questions), answers })
    }

    /// The addresses of a route's upstream. Looks the name up where they are unknown or old.
    pub(super) fn addresses(&mut self, route: usize, now: Tick) -> Known {
        let Some(entry) = self.routes.get_mut(route) else { return Known::Unavailable };
        if entry.stale_at <= now && !entry.asked {
            let question = Question { route, host: entry.host.clone(), port: entry.port };
            entry.asked = self.questions.as_ref().is_some_and(|questions| questions.try_send(question).is_ok());
        }
        match (entry.known.is_empty(), entry.asked) {
            (false, _) => Known::Addresses(entry.known.clone()),
            (true, true) => Known::Asked,
            (true, false) => Known::Unavailable,
        }
    }

    /// A connection to a known address failed: the next request looks the name up again.
    pub(super) fn distrust(&mut self, route: usize, now: Tick) {
        if let Some(entry) = self.routes.get_mut(route)
            && entry.stale_at < Tick::NEVER
        {
            entry.stale_at = now;
        }
    }

    /// Takes in what the helper thread found. Returns the routes whose look-up has ended, well or not.
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

impl Addresses {
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

/// The helper thread. It ends when the reactor does.
fn work(questions: &Receiver<Question>, answers: &Sender<Resolved>, waker: &Waker) {
    while let Ok(question) = questions.recv() {
        // A name that cannot be resolved has no addresses: the machine decides what happens next.
        let addresses =
            (question.host.as_str(), question.port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        if answers.send(Resolved { route: question.route, addresses }).is_err() || waker.wake().is_err() {
            return;
        }
    }
}
