//! Wires the halves: a reactor on a thread of its own, and a handle to it.
//!
//! In: a configuration. Out: a running [`Engine`], its addresses and metrics, an orderly end.
//! Laws: nothing is accepted before [`Engine::start`] returns without an error; [`Engine::shutdown`] returns within
//! its deadline and a little.

use crate::base::{Count, Span};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::reactor::{Command, Reactor, Remote, StartError};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A running proxy.
#[derive(Debug)]
pub struct Engine {
    addresses: Vec<SocketAddr>,
    metrics: Arc<Metrics>,
    remote: Remote,
    reactor: JoinHandle<io::Result<()>>,
}

impl Engine {
    /// Binds the listeners and starts the reactor's thread. `seed` decides jitter and hash keys; take a random one.
    ///
    /// # Errors
    /// [`StartError`], naming what is missing and what to do.
    pub fn start(config: Config, seed: u64) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::default());
        let (reactor, remote) = Reactor::new(Arc::new(config), seed, Arc::clone(&metrics))?;
        let addresses = reactor.addresses();
        let thread = thread::Builder::new().name("segno-reactor".to_owned());
        let reactor = thread.spawn(move || reactor.run()).map_err(StartError::System)?;
        Ok(Self { addresses, metrics, remote, reactor })
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

    /// Something to end the engine with from another thread.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Accepts no more, cuts streams so that their clients come back elsewhere, lets other answers end for up to
    /// `within`, and stops.
    ///
    /// # Errors
    /// When the reactor had failed.
    pub fn shutdown(self, within: Span) -> io::Result<()> {
        self.remote.send(Command::Drain(within));
        self.join()
    }

    /// Waits until the reactor has stopped.
    ///
    /// # Errors
    /// When the reactor had failed.
    pub fn join(self) -> io::Result<()> {
        self.reactor.join().unwrap_or_else(|_| Err(io::Error::other("the reactor's thread panicked")))
    }
}
