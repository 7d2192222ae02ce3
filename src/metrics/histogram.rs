//! How long something took, as numbers that all threads share.
//!
//! In: spans, or how many of them fell into each bucket. Out: the same numbers.
//! Law: noting a span costs two relaxed additions.

use crate::base::{BUCKETS, Span, Spans};
use crate::sync::Counter;

/// Upper ends of the buckets of a turn of the reactor, in microseconds. The last bucket has none.
pub const TURN_ENDS: [u64; BUCKETS - 1] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// Spans, by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

impl Histogram {
    /// Adds what was noted elsewhere.
    pub fn add(&self, spans: &Spans) {
        for (bucket, n) in self.buckets.iter().zip(spans.buckets) {
            if n > 0 {
                bucket.add(n);
            }
        }
        self.sum.add(spans.sum);
    }

    /// Notes one span, in buckets with these upper ends.
    pub fn note(&self, ends: &[u64; BUCKETS - 1], span: Span) {
        let micros = span.micros();
        self.buckets[ends.partition_point(|end| *end < micros)].add(1);
        self.sum.add(micros);
    }

    /// How many spans fell into each bucket.
    pub fn buckets(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.buckets[at].get())
    }

    /// All spans together, in microseconds.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}
