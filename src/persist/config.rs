//! What the persister is told before it starts.
//!
//! In: the defaults, a secret to offer and a seed. Out: the configuration of both threads.

use crate::base::{Span, Tick};
use crate::journal::Journal;
use crate::timer::Backoff;

/// What the persister is told before it starts.
#[derive(Clone, Debug)]
pub struct PersistConfig {
    /// The configuration of the worker.
    pub worker: WorkerConfig,
    /// How long to wait between attempts to open the store.
    pub reopen: Backoff,
    /// A record whose stream was not active for this long is removed. [`Span::MAX`]: none is.
    pub idle: Span,
    /// Records that stay at most: of more, those go that were active longest ago. What a step finds too many goes in
    /// the next round, so for some minutes there may be more.
    pub records: u64,
    /// The pause between two steps of the search for such records; each step looks at a few hundred of them. The search
    /// begins 60 pauses after the store was opened, and again 600 pauses after it came to the end.
    pub sweep_pause: Span,
    /// The most bytes of log blocks that may be on their way to the store.
    pub log_bytes: usize,
    /// Logs are shared with other processes: they have owners, and one more thread follows those of others.
    pub shared: bool,
    /// How long a log belongs to this process after its last write to it, unless it writes again. Shorter shows sooner
    /// to others that this process is dead; longer bears a slower store.
    pub lease: Span,
    /// The key to hash names with, if the store has none yet: 128 bits that nobody can guess.
    pub candidate: u128,
    /// Seeds the jitter.
    pub seed: u64,
    /// Seeds the ids of traces. They are sent elsewhere, so nothing else may come from this seed.
    pub trace_seed: u64,
    /// Where failures of the store are told, and batches that are recorded as traces. Default: nowhere.
    pub journal: Journal,
}

impl PersistConfig {
    /// The defaults, with a secret to offer and a seed.
    pub fn new(candidate: u128, seed: u64) -> Self {
        let reopen = Backoff::new(Span::from_millis(100), Span::from_secs(5));
        let (idle, sweep_pause) = (Span::from_secs(24 * 3_600), Span::from_secs(1));
        let worker = WorkerConfig::default();
        let (records, journal, trace_seed) = (u64::MAX, Journal::unheard(), seed);
        let (log_bytes, shared, lease) = (16 << 20, false, Span::from_secs(3));
        Self {
            worker,
            reopen,
            idle,
            records,
            sweep_pause,
            log_bytes,
            shared,
            lease,
            candidate,
            seed,
            trace_seed,
            journal,
        }
    }
}

/// The configuration of the worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// How long changes are collected before they are written together. Longer means fewer commits, and more to repeat
    /// after a crash.
    pub window: Span,
    /// How long activity alone waits before it is written.
    pub activity_window: Span,
    /// Records in a batch; 0: as many as the store likes.
    pub batch: usize,
    /// How long a record waits between attempts.
    pub retry: Backoff,
    /// Failed batches in a row before the breaker opens.
    pub breaker_after: u32,
    /// How long the breaker stays open before the store is asked again.
    pub breaker_for: Span,
    /// Streams may be taken over from other owners.
    pub shared: bool,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            window: Span::from_millis(100),
            activity_window: Span::from_secs(5),
            batch: 0,
            retry: Backoff::new(Span::from_millis(50), Span::from_secs(10)),
            breaker_after: 5,
            breaker_for: Span::from_secs(1),
            shared: false,
        }
    }
}

impl WorkerConfig {
    /// When the window ends that this time lies in.
    pub(super) fn due(&self, at: Tick) -> Tick {
        let window = self.window.micros();
        match at.micros().checked_div(window) {
            Some(whole) => Tick::from_micros(whole.saturating_add(1).saturating_mul(window)),
            None => at,
        }
    }
}
