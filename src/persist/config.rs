//! What the persister is told before it starts.
//!
//! In: the defaults, a secret to offer and a seed. Out: the configuration of both its threads.

use super::worker::WorkerConfig;
use crate::base::Span;
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
    /// Between two steps of the search for such records, each over a few hundred of them; it begins 60 of these after the
    /// store was opened, and again 600 after it came to the end.
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
