//! The persister: cursors from slots, and events from logs, on their way into a store.
//!
//! In: slots that changed, log blocks, look-ups. Out: records in a store, written in coalesced batches; answers.
//!
//! [`Worker`] decides, on no thread and with no clock: which slots are due, what a batch holds, what is tried again and
//! when. [`Persister`] runs it on a thread of its own beside the store, and look-ups on a second one, so that a slow
//! write never holds up a resume.
//!
//! # Laws
//! 1. Only what was published is written, so durable <= delivered; a write that is not newer changes nothing.
//! 2. Retries carry slots, not values: each attempt reads the slot again.
//! 3. Nothing is given up: what the store refuses stays dirty until it takes it, and every failure is counted and said.
//!    But the last cursor of a stream that has ended is, and is counted, where the store holds as many records as it may.
//! 4. Slots are written in the order in which they became due, so a busy one cannot keep a quiet one waiting.
//! 5. Until the store has handed out an epoch nothing is written.
//! 6. A store call that hangs holds up neither the reactor, nor look-ups, nor the end of the process.
//! 7. What nobody has used for long leaves the store, so that it does not grow for ever.

mod breaker;
mod control;
mod flusher;
mod logs;
mod lookup;
mod sweep;
mod worker;

#[cfg(feature = "redb")]
#[cfg(test)]
mod reopen_tests;
#[cfg(test)]
mod shortage_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thread_tests;

pub use control::{Opener, PersistControl, Persister, Refused, Reply, Unflushed, Wanted};
pub use worker::{Worker, WorkerConfig};

/// The parts, for models of each.
#[doc(hidden)]
pub mod parts {
    pub use super::control::{End, lookups, threads};
}

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
