//! What the tests over real sockets share: a proxy to test, an upstream that follows a script, and a raw client.
//!
//! In: scripts and requests. Out: bytes as they came, and how they ended.
//! Laws: nothing sleeps, and every wait has a time-out ([`PATIENCE`]), so that a fault fails a test instead of hanging
//! it; the system chooses every port, so that tests can run side by side.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its own part of this one")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

pub mod client;
pub mod front;
#[cfg(feature = "cli")]
pub mod process;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "cli")]
pub mod store;
#[cfg(feature = "tls")]
pub mod tls;
pub mod upstream;

pub use client::{Client, End};
pub use upstream::{Door, Peer, Script};

use segno::base::{Count, Span};
use segno::config::{Config, Ids, Route, Upstream};
use segno::engine::Engine;
use segno::metrics::Gauge;
use segno::reactor::Command;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

/// How long a test waits for anything. Far more than needed, so that no test fails on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a test checks a condition that gives no notice when it becomes true.
const LOOK: Duration = Duration::from_millis(5);

/// An engine in this process, stopped when it is dropped.
pub struct Proxy(Option<Engine>);

impl Proxy {
    /// One route to `upstream` with the defaults, except that segno adds no ids and does not linger.
    pub fn to(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {})
    }

    /// One route to `upstream`, with the changes that a test needs.
    pub fn with(upstream: SocketAddr, change: impl FnOnce(&mut Route)) -> Self {
        let mut route = Route::new(Upstream::parse(&format!("http://{upstream}")).expect("an address is an upstream"));
        route.ids = Ids::Off;
        route.linger = Span::ZERO;
        change(&mut route);
        Self::of(route)
    }

    /// One route.
    pub fn of(route: Route) -> Self {
        Self::of_config(Config { routes: vec![route].into(), ..Config::default() })
    }

    /// A configuration, on a port that the system chooses.
    pub fn of_config(config: Config) -> Self {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let config = Config { listen, ..config };
        Self(Some(Engine::start(config, 7).expect("the engine starts")))
    }

    pub fn engine(&self) -> &Engine {
        self.0.as_ref().expect("it is there until it is dropped")
    }

    pub fn address(&self) -> SocketAddr {
        self.engine().addresses()[0]
    }

    /// A new connection to the proxy.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn count(&self, count: Count) -> u64 {
        self.engine().count(count)
    }

    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.engine().metrics().gauge(gauge)
    }

    /// Waits until a count has reached `n`.
    pub fn until_count(&self, count: Count, n: u64) {
        until(&format!("{} is {n}", count.name()), || self.count(count) >= n);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(engine) = self.0.take() {
            engine.remote().send(Command::Stop);
            let ended = engine.join(Span::from_secs(1));
            assert!(ended.is_ok() || std::thread::panicking(), "the reactor failed: {ended:?}");
        }
    }
}

/// Waits until `done` is true. Counters and the kernel's figures give no notice, so `done` is called again and again.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if done() {
            return;
        }
        rest(LOOK);
    }
    panic!("waited for {PATIENCE:?}, and not yet: {what}");
}

/// Waits for a time without sleeping: on a channel on which nothing is ever sent.
pub fn rest(time: Duration) {
    let (_open, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

/// The two ends of a signal between a test and a script.
pub fn signal() -> (Signal, Awaited) {
    let (sender, receiver) = mpsc::channel();
    (Signal(sender), Awaited(receiver))
}

/// Tells the other side to go on.
#[derive(Clone)]
pub struct Signal(mpsc::Sender<()>);

impl Signal {
    pub fn give(&self) {
        // The waiting side may have ended already.
        let _ = self.0.send(());
    }
}

/// Waits for the other side.
pub struct Awaited(mpsc::Receiver<()>);

impl Awaited {
    pub fn take(&self) {
        self.0.recv_timeout(PATIENCE).expect("the other side gives the signal");
    }

    /// Whether the signal has been given by now.
    pub fn is_given(&self) -> bool {
        self.0.try_recv().is_ok()
    }

    /// Waits for the signal. Returns false if the other side ended without giving it.
    pub fn take_or_end(&self) -> bool {
        self.0.recv_timeout(PATIENCE).is_ok()
    }
}

/// The bytes of an event with an id.
pub fn event(id: usize) -> String {
    format!("id: {id}\nevent: tick\ndata: the event with the number {id}\n\n")
}

/// Events one after the other.
pub fn events(ids: std::ops::RangeInclusive<usize>) -> String {
    ids.map(event).collect()
}

/// Bytes without a period, so that a mistake by a power of two shows.
pub fn noise(n: usize) -> Vec<u8> {
    let mut random = segno::base::Random::new(n as u64);
    (0..n.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(n).collect()
}
