//! What the tests over real sockets share: a proxy to test, an upstream that follows a script, a raw client.
//!
//! In: scripts and requests. Out: bytes as they came, and how they ended.
//! Laws: nothing sleeps and everything that waits has a time-out ([`PATIENCE`]), so that a fault is a failed test and
//! not a hanging one; every port is the system's choice, so that tests run side by side.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its own part of this one")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

pub mod client;
#[cfg(feature = "cli")]
pub mod process;
#[cfg(feature = "cli")]
pub mod store;
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

/// How long a test waits for anything. Far above what is needed, so that a busy machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at that tells nobody when it becomes true.
const LOOK: Duration = Duration::from_millis(5);

/// An engine in this process, stopped when it is dropped.
pub struct Proxy(Option<Engine>);

impl Proxy {
    /// One route to `upstream`, with the defaults, but that bytes pass as they are and upstream hears at once when a
    /// client leaves.
    pub fn to(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {})
    }

    /// One route to `upstream`, changed as a test needs it.
    pub fn with(upstream: SocketAddr, change: impl FnOnce(&mut Route)) -> Self {
        let mut route = Route::new(Upstream::parse(&format!("http://{upstream}")).expect("an address is an upstream"));
        route.ids = Ids::Off;
        route.linger = Span::ZERO;
        change(&mut route);
        Self::of(route)
    }

    /// One route.
    pub fn of(route: Route) -> Self {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let config = Config { listen, routes: vec![route].into(), ..Config::default() };
        Self(Some(Engine::start(config, 7).expect("the engine starts")))
    }

    pub fn engine(&self) -> &Engine {
        self.0.as_ref().expect("it is there until it is dropped")
    }

    pub fn address(&self) -> SocketAddr {
        self.engine().addresses()[0]
    }

    /// A new connection to it.
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

/// Waits until `done`. Counters and the kernel's figures tell nobody when they move, so they are looked at again and
/// again.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if done() {
            return;
        }
        rest(LOOK);
    }
    panic!("waited for {PATIENCE:?}, and not yet: {what}");
}

/// Waits without sleeping: on a channel that nothing is ever sent on.
pub fn rest(time: Duration) {
    let (_open, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

/// Both ends of a signal between a test and a script.
pub fn signal() -> (Signal, Awaited) {
    let (sender, receiver) = mpsc::channel();
    (Signal(sender), Awaited(receiver))
}

/// Tells the other side to go on.
#[derive(Clone)]
pub struct Signal(mpsc::Sender<()>);

impl Signal {
    pub fn give(&self) {
        // Whoever waited may have ended by then, as a test that has seen enough does.
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

    /// Waits too; false when the other side has ended instead.
    pub fn take_or_end(&self) -> bool {
        self.0.recv_timeout(PATIENCE).is_ok()
    }
}

/// An event with an id, its lines and the blank one.
pub fn event(id: usize) -> String {
    format!("id: {id}\nevent: tick\ndata: the event with the number {id}\n\n")
}

/// Events one after the other.
pub fn events(ids: std::ops::RangeInclusive<usize>) -> String {
    ids.map(event).collect()
}

/// Bytes without a period that a mistake of a power of two could hide in.
pub fn noise(n: usize) -> Vec<u8> {
    let mut random = segno::base::Random::new(n as u64);
    (0..n.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(n).collect()
}
