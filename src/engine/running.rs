//! A running engine: what it tells and hands out, and its end.
//!
//! In: threads and handles that the builder made. Out: addresses, counts, trackers, cursors; what could not be written.
//! Laws: an engine that is dropped stops its reactor; an ordered end takes its deadline and a little, no longer.

use super::inline::{InlineTracker, TrackerError, Trackers};
use super::reload::{Reloader, Running};
use crate::base::{Count, Span};
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::persist::{PersistControl, Persister, Unflushed};
use crate::reactor::{Command, Remote};
use crate::slot::{CursorHandle, SlotsView};
use crate::sync::Mutex;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A running proxy, and the trackers of a program that does its own I/O.
///
/// An engine that is dropped stops at once and writes in the background what is not stored yet. [`Engine::shutdown`]
/// waits for that.
#[derive(Debug)]
pub struct Engine {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) remote: StopWhenDropped,
    pub(super) reloader: Reloader,
    pub(super) running: Running,
    pub(super) reactor: JoinHandle<io::Result<()>>,
    pub(super) persister: StoreRelease,
    pub(super) store: PersistControl,
    pub(super) trackers: Trackers,
    pub(super) view: SlotsView,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    #[cfg(feature = "otel")]
    pub(super) exporter: Option<crate::otlp::Exporter>,
}

impl Engine {
    /// The addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The configuration that the engine was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Counters and gauges, live.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The value of a count.
    pub fn count(&self, count: Count) -> u64 {
        self.metrics.get(count)
    }

    /// A handle that sends commands to the reactor, for any thread.
    pub fn remote(&self) -> Remote {
        self.remote.0.clone()
    }

    /// A handle that takes another configuration over while the engine runs, for any thread.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// The configuration that runs, which reloads may change, for any thread.
    pub fn running(&self) -> Running {
        self.running.clone()
    }

    /// The clock that the engine's threads share.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A handle to say log lines with that never waits for whoever reads them, for any thread.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// A reader of all streams whose cursor is published, for any thread.
    pub fn streams(&self) -> SlotsView {
        self.view.clone()
    }

    /// A handle for questions to the store, for any thread.
    pub fn store(&self) -> PersistControl {
        self.store.clone()
    }

    /// A handle that writes and closes the store while the engine runs on, for any thread.
    pub fn store_release(&self) -> StoreRelease {
        self.persister.clone()
    }

    /// The tracker of the stream with this key, for use on the caller's own thread. The first one of a key restores
    /// its cursor from the store, which blocks the caller for up to `within`; others share its account. A store that is
    /// away or slow refuses no tracker: see [`InlineTracker::not_restored`]. The record of a key that begins with
    /// `tail ` never expires: `segno tail` keeps its cursors so.
    ///
    /// # Errors
    /// [`TrackerError`].
    pub fn tracker(&self, key: &[u8], within: Span) -> Result<InlineTracker, TrackerError> {
        self.trackers.open(key, within, &self.store, self.clock).map(InlineTracker::new)
    }

    /// A reader of the cursor of the stream with this key, for any thread. `None`: the key has no tracker now. Reading
    /// takes no lock; finding the reader takes the lock of the table of trackers for a moment, so keep the reader.
    pub fn cursor(&self, key: &[u8]) -> Option<CursorHandle> {
        self.trackers.cursor(key)
    }

    /// Drains and stops: accepts no more connections, cuts streams so that their clients come back elsewhere, lets
    /// other answers end, and writes all cursors to the store. Takes `deadline` and a little in all. Returns what could
    /// not be written.
    ///
    /// # Errors
    /// [`ReactorFailed`]. Cursors were written all the same; the error holds those that could not be.
    pub fn shutdown(self, deadline: Span) -> Result<Unflushed, ReactorFailed> {
        let until = self.clock.now() + deadline;
        self.remote.0.send(Command::Drain(deadline));
        let result = join(self.reactor);
        let left = self.persister.end(until.since(self.clock.now()).max(LEAST));
        #[cfg(feature = "otel")]
        super::exports::end(self.exporter, until.since(self.clock.now()).max(LEAST), &self.journal);
        self.journal.flush(LAST_LINES);
        ended(result, left)
    }

    /// Waits until a command through [`Engine::remote`] has stopped the reactor, then writes all cursors for up to
    /// `within`.
    ///
    /// # Errors
    /// As [`Engine::shutdown`].
    pub fn join(self, within: Span) -> Result<Unflushed, ReactorFailed> {
        let result = join(self.reactor);
        #[cfg(feature = "otel")]
        let until = self.clock.now() + within;
        let left = self.persister.end(within);
        #[cfg(feature = "otel")]
        super::exports::end(self.exporter, until.since(self.clock.now()).max(LEAST), &self.journal);
        self.journal.flush(LAST_LINES);
        ended(result, left)
    }
}

/// Closes the store of an engine that drains, so that another process can open it. Streams that still run are not stored
/// any more.
#[derive(Clone, Debug)]
pub struct StoreRelease(Arc<Mutex<Storing>>);

/// The store is open, or was closed with this left.
#[derive(Debug)]
enum Storing {
    Open(Persister),
    Closed(Unflushed),
}

impl StoreRelease {
    pub(super) fn new(persister: Persister) -> Self {
        Self(Arc::new(Mutex::new(Storing::Open(persister))))
    }

    /// Writes everything for up to `within`, then closes the store. Returns what could not be written, which the end of
    /// the engine tells again; `None`: the store was closed before. Whoever ends the engine meanwhile waits for this.
    pub fn release(&self, within: Span) -> Option<Unflushed> {
        let mut storing = self.0.lock();
        match std::mem::replace(&mut *storing, Storing::Closed(Unflushed::default())) {
            Storing::Open(persister) => {
                let left = persister.shutdown(within);
                *storing = Storing::Closed(left.clone());
                Some(left)
            }
            closed => {
                *storing = closed;
                None
            }
        }
    }

    /// Closes the store if it is open. Returns what could not be written, whoever has closed it.
    fn end(&self, within: Span) -> Unflushed {
        self.release(within).unwrap_or_else(|| match &*self.0.lock() {
            Storing::Closed(left) => left.clone(),
            Storing::Open(_) => Unflushed::default(),
        })
    }
}

/// The reactor had failed before the engine was ended.
#[derive(Debug)]
pub struct ReactorFailed {
    /// The system's error.
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

/// Stops the reactor when the engine is dropped. A reactor that has ended ignores the command.
#[derive(Debug)]
pub(super) struct StopWhenDropped(pub(super) Remote);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.send(Command::Stop);
    }
}

/// The time for the last batch, also where the deadline has passed. A store that works needs less.
const LEAST: Span = Span::from_millis(250);

/// How long the last log lines may take.
const LAST_LINES: Duration = Duration::from_millis(250);

fn join(reactor: JoinHandle<io::Result<()>>) -> io::Result<()> {
    reactor.join().unwrap_or_else(|_| Err(io::Error::other("the reactor's thread panicked")))
}

#[cfg(test)]
mod tests;
