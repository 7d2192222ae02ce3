//! Wires the halves: the reactor on its thread, the persister on its two, and the handles to them.
//!
//! In: a configuration and a store. Out: a running [`Engine`], its addresses, metrics, trackers and cursors; an orderly
//! end.
//! Laws: nothing is accepted before [`Builder::start`] returns without an error; all threads are started there and none
//! later; [`Engine::shutdown`] returns within its deadline and a little, also when the store hangs; whether a start fails
//! or an engine is dropped, its threads end and the store is free for the next one.

mod builder;
mod inline;

#[cfg(test)]
pub(crate) use builder::stored;
pub use builder::{Builder, opener};
pub use inline::{InlineTracker, TrackerError};

use crate::base::{Count, Span};
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::persist::{PersistControl, Persister, Unflushed};
use crate::reactor::{Command, Remote, StartError};
use crate::slot::CursorHandle;
use inline::Trackers;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A running proxy, and the trackers of a program that does its own I/O.
///
/// Dropped, it stops at once and writes in the background what there is; [`Engine::shutdown`] waits for that.
#[derive(Debug)]
pub struct Engine {
    addresses: Vec<SocketAddr>,
    metrics: Arc<Metrics>,
    remote: StopWhenDropped,
    reactor: JoinHandle<io::Result<()>>,
    persister: Persister,
    trackers: Trackers,
    clock: Clock,
}

impl Engine {
    /// An engine that is still to be told what to do.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Binds the listeners and starts all threads, with the store that the configuration names. `seed` decides jitter
    /// and hash keys; take a random one.
    ///
    /// # Errors
    /// [`StartError`], naming what is missing and what to do.
    pub fn start(config: Config, seed: u64) -> Result<Self, StartError> {
        Self::builder().config(config).seed(seed).start()
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Counters and gauges, live.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// A count's present number.
    pub fn count(&self, count: Count) -> u64 {
        self.metrics.get(count)
    }

    /// Something to end the reactor with from another thread.
    pub fn remote(&self) -> Remote {
        self.remote.0.clone()
    }

    /// The clock that the engine's threads share.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A way to ask the persister, for any thread.
    pub fn store(&self) -> PersistControl {
        self.persister.control()
    }

    /// The tracker of the stream with this key, for use on the caller's own thread. The first one of a key restores
    /// its cursor from the store, which blocks the caller for up to `within`; others share its account.
    ///
    /// # Errors
    /// [`TrackerError`].
    pub fn tracker(&self, key: &[u8], within: Span) -> Result<InlineTracker, TrackerError> {
        self.trackers.open(key, within, &self.persister.control(), self.clock)
    }

    /// A reader of the cursor of the stream with this key, for any thread. `None`: it has no tracker now. What it reads it
    /// reads without a lock; finding it takes the lock of the table of trackers for a moment, so keep it.
    pub fn cursor(&self, key: &[u8]) -> Option<CursorHandle> {
        self.trackers.cursor(key)
    }

    /// Accepts no more, cuts streams so that their clients come back elsewhere, lets other answers end, writes all
    /// cursors to the store, and stops: within `deadline` and a little in all. What could not be written is returned.
    ///
    /// # Errors
    /// [`ReactorFailed`]; the cursors were written all the same, and what could not be is returned with it.
    pub fn shutdown(self, deadline: Span) -> Result<Unflushed, ReactorFailed> {
        let until = self.clock.now() + deadline;
        self.remote.0.send(Command::Drain(deadline));
        let result = join(self.reactor);
        let left = self.persister.shutdown(until.since(self.clock.now()).max(LEAST));
        ended(result, left)
    }

    /// Waits until the reactor has stopped, told to by [`Engine::remote`], then writes all cursors for up to `within`.
    ///
    /// # Errors
    /// As [`Engine::shutdown`].
    pub fn join(self, within: Span) -> Result<Unflushed, ReactorFailed> {
        let result = join(self.reactor);
        let left = self.persister.shutdown(within);
        ended(result, left)
    }
}

/// The reactor had failed before the engine was ended.
#[derive(Debug)]
pub struct ReactorFailed {
    /// What the system says.
    pub why: io::Error,
    /// What could not be written, as [`Engine::shutdown`] returns it.
    pub left: Unflushed,
}

impl fmt::Display for ReactorFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the reactor failed: {}", self.why)?;
        match self.left.cursors.len() {
            0 => Ok(()),
            n => write!(f, "; {n} cursors could not be stored"),
        }
    }
}

impl std::error::Error for ReactorFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

fn ended(reactor: io::Result<()>, left: Unflushed) -> Result<Unflushed, ReactorFailed> {
    match reactor {
        Ok(()) => Ok(left),
        Err(why) => Err(ReactorFailed { why, left }),
    }
}

/// Ends the reactor with the engine. One that has ended does not hear it.
#[derive(Debug)]
struct StopWhenDropped(Remote);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.send(Command::Stop);
    }
}

/// A store that works needs less than this for a last batch.
const LEAST: Span = Span::from_millis(250);

fn join(reactor: JoinHandle<io::Result<()>>) -> io::Result<()> {
    reactor.join().unwrap_or_else(|_| Err(io::Error::other("the reactor's thread panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::Opener;
    use crate::store::memory;
    use crate::store::scripted::Switch;
    use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
    use std::net::TcpListener;
    use std::time::Duration;

    /// A store, and a channel that ends with the thread that has it open.
    fn store() -> (Opener, Receiver<()>) {
        let (life, alive) = bounded(1);
        let open = move || {
            let _ = &life;
            Ok(memory::open(10))
        };
        (Box::new(open), alive)
    }

    fn ends(alive: &Receiver<()>) -> bool {
        alive.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Disconnected)
    }

    #[test]
    fn a_start_that_fails_leaves_no_store_open() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { listen: vec![taken.local_addr().unwrap()], ..Config::default() };
        let (open, alive) = store();
        assert!(matches!(Engine::builder().config(config).store(open).start(), Err(StartError::Listen { .. })));
        assert!(ends(&alive));
    }

    #[test]
    fn cursors_that_are_left_are_told_also_when_the_reactor_had_failed() {
        let switch = Switch::default();
        let open: Opener = Box::new({
            let switch = switch.clone();
            move || Ok(switch.wrap(memory::open(10)))
        });
        let engine = Engine::builder().store(open).start().unwrap();
        let mut tracker = engine.tracker(b"s", Span::from_secs(60)).unwrap();
        switch.refuse(true);
        tracker.feed(b"id: 1\ndata: x\n\n");
        tracker.forward(|_| Ok(())).unwrap();
        let reactor = std::thread::spawn(|| Err(io::Error::other("no poll")));
        let failed = Engine { reactor, ..engine }.shutdown(Span::ZERO).unwrap_err();
        assert_eq!((failed.why.to_string().as_str(), failed.left.cursors.len()), ("no poll", 1));
        assert_eq!(failed.to_string(), "the reactor failed: no poll; 1 cursors could not be stored");
    }

    #[test]
    fn an_engine_that_is_dropped_stops_and_closes_its_store() {
        let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
        let (open, alive) = store();
        let engine = Engine::builder().config(config).store(open).start().unwrap();
        let address = engine.addresses()[0];
        drop(engine);
        assert!(ends(&alive));
        // The reactor goes in its own time, and leaves its address to others.
        while TcpListener::bind(address).is_err() {
            std::thread::yield_now();
        }
    }
}
