//! Collects what an engine needs, then makes it: store, persister, reactor, threads.
//!
//! In: a configuration, a seed, a store. Out: a running [`Engine`].
//! Law: a store that is away at start does not stop the start: the engine streams at once and writes when the store
//! opens.

use super::inline::Trackers;
use super::link::link;
use super::running::{Engine, StopWhenDropped};
use crate::base::Span;
use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::persist::{Opener, PersistConfig, Persister, WorkerConfig};
use crate::reactor::{Parts, Reactor, StartError};
use crate::slot::slots_for;
use crate::store::{StoreError, memory};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::thread;

/// How long the start waits for the store, which holds the key under which principals and sessions are hashed. An
/// engine that starts without it draws a key of its own, and finds nothing that was stored before.
const FIRST_OPEN: Span = Span::from_secs(1);

/// Keys that may have trackers at once, by default.
const TRACKERS: usize = 10_000;

/// Collects what an engine needs. See [`Engine::builder`].
pub struct Builder {
    config: Config,
    seed: Option<u64>,
    open: Option<Opener>,
    trackers: usize,
}

impl Default for Builder {
    /// No listener, no route, the store in memory: an engine for trackers alone.
    fn default() -> Self {
        let config = Config { listen: Vec::new(), ..Config::default() };
        Self { config, seed: None, open: None, trackers: TRACKERS }
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// Returns a builder with default settings: no listener, no route, the store in memory.
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
}

impl Builder {
    /// The configuration, which names listeners, routes and the store.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// The seed of jitter and hash keys. Random by default.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// A store of the caller's own, in place of the one that the configuration names. The persister's thread calls
    /// `open` until it succeeds.
    #[must_use]
    pub fn store(self, open: Opener) -> Self {
        Self { open: Some(open), ..self }
    }

    /// How many keys may have trackers at once. Default 10,000.
    #[must_use]
    pub fn trackers(self, count: usize) -> Self {
        Self { trackers: count, ..self }
    }

    /// Binds the listeners and starts all threads.
    ///
    /// # Errors
    /// [`StartError`], naming what is missing and what to do.
    pub fn start(self) -> Result<Engine, StartError> {
        let Self { config, seed, open, trackers } = self;
        let seed = seed.unwrap_or_else(random);
        let (metrics, clock, candidate) = (Arc::new(Metrics::default()), Clock::start(), secret());
        let journal = Journal::start(Arc::clone(&metrics)).map_err(StartError::System)?;
        let ([streams, inline], drain) = slots_for([config.limits.streams, trackers]);
        let persist = PersistConfig {
            worker: WorkerConfig {
                window: config.persist.flush_window,
                activity_window: config.persist.activity_window,
                ..WorkerConfig::default()
            },
            idle: config.persist.session_idle,
            journal: journal.clone(),
            ..PersistConfig::new(candidate, seed)
        };
        let open = open.unwrap_or_else(|| opener(&config.store, config.limits.streams));
        let persister =
            Persister::start(persist, drain, open, Arc::clone(&metrics), clock).map_err(StartError::System)?;
        let secret = persister.first_open(FIRST_OPEN).unwrap_or(candidate);
        let store = link(&config, persister.control(), clock);
        let parts = Parts {
            seed,
            secret,
            clock,
            slots: streams,
            store,
            metrics: Arc::clone(&metrics),
            journal: journal.clone(),
        };
        let (reactor, remote) = Reactor::new(Arc::new(config), parts)?;
        let addresses = reactor.addresses();
        let thread = thread::Builder::new().name("segno-reactor".to_owned());
        let reactor = thread.spawn(move || reactor.run()).map_err(StartError::System)?;
        let remote = StopWhenDropped(remote);
        Ok(Engine { addresses, metrics, remote, reactor, persister, trackers: Trackers::new(inline), clock, journal })
    }
}

/// Opens the store that a configuration names. A store in memory holds at most twice `limit` records.
pub fn opener(store: &StoreConfig, limit: usize) -> Opener {
    match store {
        StoreConfig::Memory => {
            let memory = memory::Shared::new(limit.saturating_mul(2));
            Box::new(move || Ok(memory.open()))
        }
        #[cfg(feature = "redb")]
        StoreConfig::Redb { path } => {
            let path = path.clone();
            Box::new(move || crate::store::redb::open(&path))
        }
        other => {
            let store: Box<str> = other.to_string().into();
            Box::new(move || Err(StoreError::NotBuilt { store: store.clone() }))
        }
    }
}

/// 128 random bits that nobody can guess: two numbers of [`random`].
fn secret() -> u128 {
    u128::from(random()) << 64 | u128::from(random())
}

/// A random number that nobody can guess, from the keys that the standard library draws for its hash tables.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
