//! What became of recorded spans on their way to a collector.
//!
//! In: numbers from those who pass spans on, and from the thread that sends them. Out: the same numbers.
//! Law: each span is counted once: sent, dropped with its reason, or waiting.

use crate::sync::Counter;

/// Spans and calls, counted.
#[derive(Debug, Default)]
pub struct Exports {
    /// Spans that the collector has taken.
    pub sent: Counter,
    /// Spans that found no room in the queue.
    pub dropped_full: Counter,
    /// Spans that the collector refused.
    pub dropped_refused: Counter,
    /// Spans given up because the collector was away, or answered what cannot be read.
    pub dropped_failed: Counter,
    /// Spans that were left at the end of the process.
    pub dropped_ended: Counter,
    /// Calls to the collector that failed.
    pub failed: Counter,
    /// Spans that wait to be sent.
    pub waiting: Counter,
}
