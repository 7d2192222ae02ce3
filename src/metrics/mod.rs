//! Counters that all threads see.
//!
//! In: increments, drained from the machine once a turn. Out: numbers by name.
//! Law: counting costs one relaxed addition and never waits.

mod persistence;

pub use persistence::{LATENCY_BUCKETS, Persistence};

use crate::base::Count;
use crate::sync::Counter;

/// The present size of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gauge {
    /// Open connections, clients' and upstreams'.
    Connections,
    /// Requests being served, event streams among them.
    Exchanges,
    /// Bytes that all logs hold.
    LogBytes,
}

impl Gauge {
    /// All of them, in the order of their declaration.
    pub const ALL: &[Self] = &[Self::Connections, Self::Exchanges, Self::LogBytes];

    /// The metric's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Exchanges => "exchanges",
            Self::LogBytes => "log_bytes",
        }
    }
}

/// All counters and gauges of one engine.
#[derive(Debug)]
pub struct Metrics {
    counts: [Counter; Count::ALL.len()],
    gauges: [Counter; Gauge::ALL.len()],
    log_lines_dropped: Counter,
    persistence: Persistence,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| Counter::default()),
            gauges: std::array::from_fn(|_| Counter::default()),
            log_lines_dropped: Counter::default(),
            persistence: Persistence::default(),
        }
    }
}

impl Metrics {
    /// Adds to a count.
    pub fn add(&self, count: Count, n: u64) {
        self.counts[count as usize].add(n);
    }

    /// A count's present number.
    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].get()
    }

    /// Sets a gauge.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.gauges[gauge as usize].set(value);
    }

    /// A gauge's present value.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize].get()
    }

    /// The persister's numbers.
    pub fn persistence(&self) -> &Persistence {
        &self.persistence
    }

    /// Counts log lines that were left out, so that a flood of them does not slow the reactor.
    pub fn log_lines_dropped(&self) -> &Counter {
        &self.log_lines_dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_gauges_are_kept_apart() {
        let m = Metrics::default();
        m.add(Count::Events, 3);
        m.add(Count::Events, 4);
        m.set(Gauge::Connections, 9);
        assert_eq!((m.get(Count::Events), m.get(Count::Gaps), m.gauge(Gauge::Connections)), (7, 0, 9));
        assert!(Gauge::ALL.iter().enumerate().all(|(i, g)| *g as usize == i));
    }
}
