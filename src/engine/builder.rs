//! What an engine is told before it starts.
//!
//! In: a configuration, a seed, a store. Out: a running [`Engine`].
//! Law: a store that is away at start is a store that is away: the engine streams at once and writes when it opens.

use super::inline::Trackers;
use super::{Engine, StopWhenDropped};
use crate::base::{Span, StreamName};
use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::machine::{EventPart, Lookup, StoredEvents, StoredStream};
use crate::metrics::Metrics;
use crate::persist::{Opener, PersistConfig, PersistControl, Persister, Refused, WorkerConfig};
use crate::reactor::{Answer, Parts, Reactor, StartError, StoreLink};
use crate::slot::slots_for;
use crate::sse::ids;
use crate::store::{LogBlock, LogBounds, LogWrite, Record, StoreError, StoredLog, memory};
use crate::track::own_prefix;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::thread;

/// How long the start waits for the store, which has the key for names. Later it goes on with a key of its own, and
/// finds nothing that was stored before.
const FIRST_OPEN: Span = Span::from_secs(1);

/// Trackers of the caller's own, unless told otherwise.
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

impl Builder {
    /// The configuration, which names listeners, routes and the store.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Decides jitter and hash keys. A random one by default.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// A store of the caller's own, in place of the configuration's. `open` is called on the persister's thread until it
    /// succeeds.
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
        let ([streams, inline], drain) = slots_for([config.limits.streams, trackers]);
        let persist = PersistConfig {
            worker: WorkerConfig {
                window: config.persist.flush_window,
                activity_window: config.persist.activity_window,
                ..WorkerConfig::default()
            },
            idle: config.persist.session_idle,
            ..PersistConfig::new(candidate, seed)
        };
        let open = open.unwrap_or_else(|| opener(&config.store, config.limits.streams));
        let persister =
            Persister::start(persist, drain, open, Arc::clone(&metrics), clock).map_err(StartError::System)?;
        let secret = persister.first_open(FIRST_OPEN).unwrap_or(candidate);
        let store = link(&config, persister.control(), clock);
        let parts = Parts { seed, secret, clock, slots: streams, store, metrics: Arc::clone(&metrics) };
        let (reactor, remote) = Reactor::new(Arc::new(config), parts)?;
        let addresses = reactor.addresses();
        let thread = thread::Builder::new().name("segno-reactor".to_owned());
        let reactor = thread.spawn(move || reactor.run()).map_err(StartError::System)?;
        let remote = StopWhenDropped(remote);
        Ok(Engine { addresses, metrics, remote, reactor, persister, trackers: Trackers::new(inline), clock })
    }
}

/// The reactor's way to the persister.
fn link(config: &Config, store: PersistControl, clock: Clock) -> StoreLink {
    let bounds: Vec<LogBounds> = config
        .routes
        .iter()
        .map(|route| LogBounds {
            events: route.replay_events as u64,
            bytes: route.replay_bytes as u64,
            age_ms: route.replay_age.millis(),
        })
        .collect();
    let asks = {
        let store = store.clone();
        // Refused, the request goes on by itself when its patience ends.
        move |question: Lookup, answer: Answer| ask(&store, question, answer).is_ok()
    };
    let durable = config.persist.durable;
    let keeps = move |name: &Arc<StreamName>, part: Option<EventPart>, hole: bool| {
        let Some(part) = part else {
            return !durable || store.append_log(LogWrite::Remove { name: Arc::clone(name) }).is_ok();
        };
        let Some(bounds) = bounds.get(part.route).copied() else { return false };
        let EventPart { first, bytes, ends, meta, .. } = part;
        let block = LogBlock { first, at_ms: clock.unix_ms(clock.now()), bytes, ends, hole };
        let write = LogWrite::Append { name: Arc::clone(name), block: Arc::new(block), meta: meta.into(), bounds };
        store.append_log(write).is_ok()
    };
    StoreLink::new(asks, keeps)
}

fn ask(store: &PersistControl, question: Lookup, answer: Answer) -> Result<(), Refused> {
    let Lookup { session, log_bytes, wanted, .. } = question;
    if log_bytes == 0 {
        return store.load_session(
            session,
            CURSORS,
            Box::new(move |found| {
                let stored = |(name, cursor): (StreamName, Record)| stored(&name, cursor, None);
                // A failure is counted and said where it was met; the request goes on as if nothing were stored.
                answer.give(found.unwrap_or_default().into_iter().map(stored).collect());
            }),
        );
    }
    // Of a stream with segno's own ids any of them will do: its log is found by what they all begin with.
    let (own, limit) = match own_prefix(&wanted) {
        Some(prefix) => (Some(Box::<[u8]>::from(prefix)), 1),
        None => (None, LOGS),
    };
    let is_wanted = move |id: &[u8]| match &own {
        Some(prefix) => id.starts_with(prefix),
        None => *id == *wanted,
    };
    store.load_logs(
        session,
        Box::new(move |log| whole_part(log).iter().any(|block| ids(&block.bytes).any(&is_wanted))),
        limit,
        log_bytes,
        Box::new(move |found| {
            let stored = |(name, cursor, log)| stored(&name, cursor, Some(log));
            answer.give(found.unwrap_or_default().into_iter().map(stored).collect());
        }),
    )
}

/// Cursors of a session that are told: where the last one stood, and whether there are several.
const CURSORS: usize = 2;

/// Logs that are told, where streams of one session share an id: one is gone on with only where no other may be meant.
const LOGS: usize = 8;

/// What lies behind the last hole of a log.
fn whole_part(log: &StoredLog) -> &[LogBlock] {
    &log.blocks[log.blocks.iter().rposition(|block| block.hole).unwrap_or(0)..]
}

/// A stream as the machine knows it: of its log, what lies behind the last hole.
pub(crate) fn stored(name: &StreamName, cursor: Record, log: Option<StoredLog>) -> StoredStream {
    let log = log.and_then(|log| {
        let blocks = whole_part(&log);
        let first = blocks.first()?.first;
        Some(StoredEvents {
            first,
            bytes: blocks.iter().flat_map(|b| b.bytes.iter().copied()).collect(),
            meta: log.meta,
        })
    });
    StoredStream { stream: name.stream, id: cursor.id, last_seen_ms: cursor.last_seen_ms, log }
}

/// Opens the store that a configuration names; in memory for at most `limit` records.
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

/// 128 bits that nobody can guess: two finished hashes under keys that the system drew.
fn secret() -> u128 {
    u128::from(random()) << 64 | u128::from(random())
}

/// A number that nobody can guess, from the keys that the standard library draws for its hash tables.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
