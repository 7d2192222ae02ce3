//! Wires the halves: the reactor on its thread, the persister on its two, and the handles to them.
//!
//! In: a configuration and a store. Out: a running [`Engine`], its addresses, metrics, trackers and cursors; an orderly
//! end.
//! Laws: nothing is accepted before [`Builder::start`] returns without an error; all threads are started there and none
//! later; [`Engine::shutdown`] returns within its deadline and a little, also when the store hangs.

mod builder;
mod inline;

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
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A running proxy, and the trackers of a program that does its own I/O.
#[derive(Debug)]
pub struct Engine {
    addresses: Vec<SocketAddr>,
    metrics: Arc<Metrics>,
    remote: Remote,
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
        self.remote.clone()
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

    /// Reads the cursor of the stream with this key, without a lock, from any thread. `None`: it has no tracker now.
    pub fn cursor(&self, key: &[u8]) -> Option<CursorHandle> {
        self.trackers.cursor(key)
    }

    /// Accepts no more, cuts streams so that their clients come back elsewhere, lets other answers end, writes all
    /// cursors to the store, and stops: within `deadline` and a little in all. What could not be written is returned.
    ///
    /// # Errors
    /// When the reactor had failed; the cursors were written all the same, as far as they could be.
    pub fn shutdown(self, deadline: Span) -> io::Result<Unflushed> {
        let until = self.clock.now() + deadline;
        self.remote.send(Command::Drain(deadline));
        let result = join(self.reactor);
        let left = self.persister.shutdown(until.since(self.clock.now()).max(LEAST));
        result.map(|()| left)
    }

    /// Waits until the reactor has stopped, told to by [`Engine::remote`], then writes all cursors for up to `within`.
    ///
    /// # Errors
    /// As [`Engine::shutdown`].
    pub fn join(self, within: Span) -> io::Result<Unflushed> {
        let result = join(self.reactor);
        let left = self.persister.shutdown(within);
        result.map(|()| left)
    }
}

/// A store that works needs less than this for a last batch.
const LEAST: Span = Span::from_millis(250);

fn join(reactor: JoinHandle<io::Result<()>>) -> io::Result<()> {
    reactor.join().unwrap_or_else(|_| Err(io::Error::other("the reactor's thread panicked")))
}
