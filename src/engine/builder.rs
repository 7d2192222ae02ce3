//! Collects what an engine needs, then makes it: store, persister, reactor, threads.
//!
//! In: a configuration, a seed, a store. Out: a running [`Engine`].
//! Laws: a store that is away at start does not stop the start: the engine streams at once and writes when the store
//! opens; a store that cannot be the one that was meant stops it, unless it is optional.

#[cfg(feature = "otel")]
use super::exports;
use super::inline::Trackers;
use super::link::link;
use super::reload::{Reloader, Running};
use super::running::{Engine, StopWhenDropped, StoreRelease};
use crate::base::{Span, entropy};
use crate::clock::Clock;
use crate::config::{Config, Limits, StoreConfig};
use crate::journal::Journal;
#[cfg(any(feature = "redb", feature = "tls"))]
use crate::journal::Level;
use crate::machine::RECORDS_PER_SESSION;
use crate::metrics::Metrics;
use crate::persist::{Opener, PersistConfig, Persister, WorkerConfig};
use crate::reactor::{Parts, Reactor, StartError};
use crate::slot::slots_for;
use crate::store::{StoreError, memory};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

/// How long the start waits for the first attempt to open the store, and for the key under which principals and
/// sessions are hashed where only the open store can tell it. An engine that starts without that key draws one of its
/// own, finds nothing that was stored before, and says so.
const FIRST_OPEN: Span = Span::from_secs(1);

/// Keys that may have trackers at once, by default.
const TRACKERS: usize = 10_000;

/// Collects what an engine needs. See [`Engine::builder`].
pub struct Builder {
    config: Config,
    seed: Option<u64>,
    open: Option<Opener>,
    trackers: usize,
    listeners: Vec<TcpListener>,
}

impl Default for Builder {
    /// No listener, no route, the store in memory: an engine for trackers alone.
    fn default() -> Self {
        let config = Config { listen: Vec::new(), ..Config::default() };
        Self { config, seed: None, open: None, trackers: TRACKERS, listeners: Vec::new() }
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

    /// Sockets that listen already, from a service manager or from a process before this one. Each is used in place of a
    /// new one for the address that it is bound to, if the configuration has that address; others are closed.
    #[must_use]
    pub fn listeners(self, listeners: Vec<TcpListener>) -> Self {
        Self { listeners, ..self }
    }

    /// Checks the configuration, binds the listeners and starts all threads. Without a listener and without a route the
    /// engine is there for trackers alone.
    ///
    /// # Errors
    /// [`StartError`], naming what is missing and what to do.
    pub fn start(self) -> Result<Engine, StartError> {
        let Self { mut config, seed, open, trackers, listeners } = self;
        if open.is_some() {
            config.store = StoreConfig::Own;
        }
        let faults = config.faults_in_library();
        if !faults.is_empty() {
            return Err(StartError::Config { faults });
        }
        let seed = seed.unwrap_or_else(|| entropy() as u64);
        let (metrics, clock) = (Arc::new(Metrics::new(config.routes.iter().map(|r| r.name.clone()))), Clock::start());
        let journal = Journal::start(Arc::clone(&metrics)).map_err(StartError::System)?;
        journal.record(config.trace_share(), config.tracing.rate);
        #[cfg(feature = "otel")]
        let (exporter, journal) = exports::start(&config, journal, &metrics, clock)?;
        let mut journal = journal;
        let known = if open.is_some() { None } else { known_key(&config, &mut journal)? };
        let candidate = known.unwrap_or_else(entropy);
        let ([streams, inline], drain) = slots_for([config.limits.streams, trackers]);
        let view = streams.view();
        let persist = PersistConfig {
            worker: WorkerConfig {
                window: config.persist.flush_window,
                activity_window: config.persist.activity_window,
                shared: config.persist.replay_shared,
                ..WorkerConfig::default()
            },
            shared: config.persist.replay_shared,
            idle: config.persist.session_idle,
            records: most_records(&config.limits, trackers),
            journal: journal.clone(),
            trace_seed: entropy() as u64,
            ..PersistConfig::new(candidate, seed)
        };
        let (idle, shared) = (config.persist.session_idle, config.persist.replay_shared);
        let open =
            open.unwrap_or_else(|| opener_with(&config.store, config.limits.streams, idle, shared, journal.clone()));
        let persister =
            Persister::start(persist, drain, open, Arc::clone(&metrics), clock).map_err(StartError::System)?;
        let opened = persister.first_open(FIRST_OPEN, known.is_some());
        let opened = opened.or_else(|e| if config.store_optional { Ok(None) } else { Err(not_usable(&e)) })?;
        let secret = known.or(opened).unwrap_or_else(|| {
            persister.go_by(candidate);
            candidate
        });
        let store = link(&config, persister.control(), clock);
        #[cfg(feature = "tls")]
        let keyring = crate::reactor::Keyring::new(Arc::clone(&metrics));
        let parts = Parts {
            seed,
            secret,
            clock,
            slots: streams,
            store,
            metrics: Arc::clone(&metrics),
            listeners,
            journal: journal.clone(),
            #[cfg(feature = "tls")]
            keyring: keyring.clone(),
        };
        let config = Arc::new(config);
        let (reactor, remote) = Reactor::new(Arc::clone(&config), parts)?;
        let running = Running::new(Arc::clone(&config));
        let reloader = Reloader::new(remote.clone(), Arc::clone(&metrics), running.clone(), journal.clone());
        #[cfg(feature = "tls")]
        for caution in keyring.facts().iter().flat_map(|facts| facts.cautions(clock.calendar_secs())) {
            journal.say(Level::Warn, caution);
        }
        let addresses = reactor.addresses();
        let thread = thread::Builder::new().name("segno-reactor".to_owned());
        let reactor = thread.spawn(move || reactor.run()).map_err(StartError::System)?;
        let remote = StopWhenDropped(remote);
        Ok(Engine {
            addresses,
            config,
            metrics,
            remote,
            reloader,
            running,
            reactor,
            store: persister.control(),
            persister: StoreRelease::new(persister),
            trackers: Trackers::new(inline),
            view,
            clock,
            journal,
            #[cfg(feature = "otel")]
            exporter,
        })
    }
}

/// Records that the store may have: one for each stream and tracker, and those that sessions keep of ended streams.
fn most_records(limits: &Limits, trackers: usize) -> u64 {
    let sessions = (limits.sessions as u64).saturating_mul(RECORDS_PER_SESSION as u64);
    sessions.saturating_add(limits.streams as u64).saturating_add(trackers as u64)
}

/// The key of the store that the configuration names, which can be read before the store is open, and while another
/// process has it. `None`: the open store will tell.
#[cfg_attr(not(feature = "redb"), expect(unused_variables, reason = "a store in memory has nothing to say"))]
fn known_key(config: &Config, journal: &mut Journal) -> Result<Option<u128>, StartError> {
    match &config.store {
        StoreConfig::Memory => Ok(Some(entropy())),
        #[cfg(feature = "redb")]
        StoreConfig::Redb { path } => match crate::store::redb::key(path, entropy()) {
            Ok((key, note)) => {
                note.into_iter().for_each(|note| journal.say(Level::Warn, note));
                Ok(key)
            }
            Err(e) if e.is_misconfigured() && !config.store_optional => Err(not_usable(&e)),
            Err(e) => {
                let what = format!("the store's key cannot be read or made: {e}; it is tried again with the store");
                journal.say(Level::Warn, what);
                Ok(None)
            }
        },
        _ => Ok(None),
    }
}

fn not_usable(why: &StoreError) -> StartError {
    StartError::Store { why: why.to_string() }
}

/// Opens the store that a configuration names. A store in memory holds at most twice `limit` records.
pub fn opener(store: &StoreConfig, limit: usize) -> Opener {
    opener_with(store, limit, Span::MAX, false, Journal::unheard())
}

/// The same. Where a store forgets records by itself, it does so after `idle`. `shared`: logs are shared with other
/// processes. What is worth a log line at an opening goes to the journal.
#[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "no other store forgets by itself"))]
fn opener_with(store: &StoreConfig, limit: usize, idle: Span, shared: bool, journal: Journal) -> Opener {
    match store {
        StoreConfig::Memory => {
            let memory = memory::Shared::new(limit.saturating_mul(2));
            Box::new(move || Ok(memory.open()))
        }
        #[cfg(feature = "redb")]
        StoreConfig::Redb { path } => {
            let (mut file, mut journal) = (crate::store::redb::Openings::new(path.clone()), journal);
            Box::new(move || {
                let opened = file.open();
                file.take_notes().into_iter().for_each(|note| journal.say(Level::Warn, note));
                opened
            })
        }
        #[cfg(feature = "redis")]
        StoreConfig::Redis { url } => {
            drop(journal);
            let (address, idle) = (crate::store::redis::Address::parse(url), (idle < Span::MAX).then(|| idle.into()));
            let open = if shared { crate::store::redis::open_shared } else { crate::store::redis::open };
            Box::new(move || open(address.as_ref().map_err(Clone::clone)?, idle))
        }
        #[allow(unreachable_patterns, reason = "stores that this build leaves out")]
        other => {
            drop(journal);
            let store: Box<str> = other.to_string().into();
            Box::new(move || Err(StoreError::NotBuilt { store: store.clone() }))
        }
    }
}
