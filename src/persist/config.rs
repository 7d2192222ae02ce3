//! What the persister is told before it starts.
//!
//! In: the defaults, a secret to offer and a seed. Out: the configuration of both threads.

use crate::base::{Span, Tick};
use crate::timer::Backoff;

/// What the persister is told before it starts.
#[derive(Clone, Debug)]
pub struct PersistConfig {
    /// What the worker keeps to.
    pub worker: WorkerConfig,
    /// Between attempts to open the store.
    pub reopen: Backoff,
    /// A record that was not active for so long is removed. [`Span::MAX`]: none is.
    pub idle: Span,
    /// Between two steps of the search for such records, each over a few hundred of them; it begins 60 of these after
    /// the store was opened, and again 600 after it came to the end.
    pub sweep_pause: Span,
    /// Bytes of log blocks on their way to the store, at most.
    pub log_bytes: usize,
    /// Where the key for names comes from if the store has none: 128 bits that nobody can guess.
    pub candidate: u128,
    /// Decides jitter.
    pub seed: u64,
}

impl PersistConfig {
    /// The defaults, with a secret to offer and a seed.
    pub fn new(candidate: u128, seed: u64) -> Self {
        let reopen = Backoff::new(Span::from_millis(100), Span::from_secs(5));
        let (idle, sweep_pause) = (Span::from_secs(24 * 3_600), Span::from_secs(1));
        let worker = WorkerConfig::default();
        Self { worker, reopen, idle, sweep_pause, log_bytes: 16 << 20, candidate, seed }
    }
}

/// What the worker keeps to.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// From one write of what has changed to the next.
    pub window: Span,
    /// Between two writes of a stream that has activity alone.
    pub activity_window: Span,
    /// Records a batch; 0: as many as the store likes.
    pub batch: usize,
    /// Between attempts.
    pub retry: Backoff,
    /// Failed batches in a row before the breaker opens.
    pub breaker_after: u32,
    /// How long it stays open before the store is asked again.
    pub breaker_for: Span,
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
        }
    }
}

impl WorkerConfig {
    /// When the window that lies around this time ends.
    pub(super) fn due(&self, at: Tick) -> Tick {
        let window = self.window.micros();
        match at.micros().checked_div(window) {
            Some(whole) => Tick::from_micros(whole.saturating_add(1).saturating_mul(window)),
            None => at,
        }
    }
}
