//! Counters and gauges that all threads share.
//!
//! In: increments, drained from the machine once a turn; gauges, set by their owner. Out: the numbers, by name.
//! Law: counting costs one relaxed addition and never waits.

#[cfg(feature = "net")]
mod incidents;
mod persistence;

#[cfg(feature = "net")]
pub use incidents::{Incident, IncidentKind, IncidentRate, Incidents};
pub use persistence::{LATENCY_BUCKETS, Persistence};

use crate::base::{Count, Span, Tick};
use crate::sync::Counter;

/// One size that changes both ways, or a number that its owner keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gauge {
    /// Open connections, clients' and upstreams'.
    Connections,
    /// Requests being served, event streams among them.
    Exchanges,
    /// Sessions that segno remembers.
    Sessions,
    /// Event streams, those that linger included.
    Streams,
    /// Tunnels: connections that have gone over to another protocol.
    Tunnels,
    /// Bytes that connections hold beside the logs.
    BufferBytes,
    /// Bytes that all logs hold.
    LogBytes,
    /// Bytes that streams and sessions hold beside their logs: positions, windows, ids.
    StreamBytes,
    /// Times that an event id was known when segno interned it.
    InternHits,
    /// Times that an event id was new when segno interned it.
    InternMisses,
    /// The longest turn of the reactor since the start, in microseconds: the longest that a stream has waited for the
    /// others.
    LongestTurn,
    /// 1 from the moment that the reactor was told to end.
    Draining,
}

impl Gauge {
    /// All of them, in the order of their declaration.
    pub const ALL: &[Self] = &[
        Self::Connections,
        Self::Exchanges,
        Self::Sessions,
        Self::Streams,
        Self::Tunnels,
        Self::BufferBytes,
        Self::LogBytes,
        Self::StreamBytes,
        Self::InternHits,
        Self::InternMisses,
        Self::LongestTurn,
        Self::Draining,
    ];

    /// What the metric shows, in one line.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Connections => "Open connections, clients' and upstreams'.",
            Self::Exchanges => "Requests being served, event streams among them.",
            Self::Sessions => "Sessions that segno remembers.",
            Self::Streams => "Event streams, those that linger included.",
            Self::Tunnels => "Tunnels: connections that have gone over to another protocol.",
            Self::BufferBytes => "Bytes that connections hold beside the logs.",
            Self::LogBytes => "Bytes that all logs hold.",
            Self::StreamBytes => "Bytes that streams and sessions hold beside their logs.",
            Self::InternHits => "Times that an event id was known when segno interned it.",
            Self::InternMisses => "Times that an event id was new when segno interned it.",
            Self::LongestTurn => "Longest turn of the reactor since the start, in microseconds.",
            Self::Draining => "1 from the moment that the reactor was told to end.",
        }
    }

    /// The metric's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Exchanges => "exchanges",
            Self::Sessions => "sessions",
            Self::Streams => "streams",
            Self::Tunnels => "tunnels",
            Self::BufferBytes => "buffer_bytes",
            Self::LogBytes => "log_bytes",
            Self::StreamBytes => "stream_bytes",
            Self::InternHits => "string_intern_hits",
            Self::InternMisses => "string_intern_misses",
            Self::LongestTurn => "reactor_longest_turn_microseconds",
            Self::Draining => "draining",
        }
    }
}

/// When a certificate ceases to be good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateEnd {
    /// Its file.
    pub file: String,
    /// The first name that it is for; empty: it names none.
    pub name: String,
    /// The time, in seconds since the Unix epoch.
    pub not_after: i64,
}

/// All counters and gauges of one engine.
#[derive(Debug)]
pub struct Metrics {
    /// Those that are in use.
    #[cfg(feature = "persist")]
    certificates: crate::sync::Latest<Vec<CertificateEnd>>,
    counts: [Counter; Count::ALL.len()],
    gauges: [Counter; Gauge::ALL.len()],
    log_lines_dropped: Counter,
    /// By when the reactor is heard of again, in microseconds; 0 where there is none any more.
    reactor_due: Counter,
    persistence: Persistence,
    #[cfg(feature = "net")]
    incidents: Incidents,
}

/// Whether the reactor still does its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReactorState {
    /// It was heard of when it was to be.
    Turning,
    /// It should have been heard of so long ago.
    Late(Span),
    /// It has not begun, or has ended.
    Ended,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            #[cfg(feature = "persist")]
            certificates: crate::sync::Latest::default(),
            counts: std::array::from_fn(|_| Counter::default()),
            gauges: std::array::from_fn(|_| Counter::default()),
            log_lines_dropped: Counter::default(),
            reactor_due: Counter::default(),
            persistence: Persistence::default(),
            #[cfg(feature = "net")]
            incidents: Incidents::default(),
        }
    }
}

impl Metrics {
    /// Adds to a count.
    pub fn add(&self, count: Count, n: u64) {
        self.counts[count as usize].add(n);
    }

    /// The value of a count.
    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].get()
    }

    /// These certificates are in use from now on.
    #[cfg(feature = "persist")]
    pub fn tell_certificates(&self, ends: Vec<CertificateEnd>) {
        self.certificates.put(Some(std::sync::Arc::new(ends)));
    }

    /// The certificates that are in use.
    #[cfg(feature = "persist")]
    pub fn certificates(&self) -> Vec<CertificateEnd> {
        self.certificates.with(|ends| ends.cloned().unwrap_or_default())
    }

    /// Sets a gauge.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.gauges[gauge as usize].set(value);
    }

    /// Bytes that a session takes on average, logs included; 0 without sessions.
    pub fn memory_bytes_per_session(&self) -> f64 {
        let bytes = self.gauge(Gauge::LogBytes) + self.gauge(Gauge::StreamBytes);
        match self.gauge(Gauge::Sessions) {
            0 => 0.0,
            sessions => bytes as f64 / sessions as f64,
        }
    }

    /// The share of event ids that were known when segno interned them, from 0 to 1; 0 before the first.
    pub fn string_intern_hit_ratio(&self) -> f64 {
        let hits = self.gauge(Gauge::InternHits);
        match hits + self.gauge(Gauge::InternMisses) {
            0 => 0.0,
            all => hits as f64 / all as f64,
        }
    }

    /// The value of a gauge.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize].get()
    }

    /// The reactor says by when it is heard of again: [`Tick::NEVER`] where it has nothing to do until somebody wakes
    /// it, [`Tick::ZERO`] where it ends.
    pub fn expect_reactor(&self, by: Tick) {
        self.reactor_due.set(by.micros());
    }

    /// Whether the reactor still does its work, at this time by the engine's clock.
    pub fn reactor(&self, now: Tick) -> ReactorState {
        match Tick::from_micros(self.reactor_due.get()) {
            Tick::ZERO => ReactorState::Ended,
            due if due < now => ReactorState::Late(now.since(due)),
            _ => ReactorState::Turning,
        }
    }

    /// The persister's numbers.
    pub fn persistence(&self) -> &Persistence {
        &self.persistence
    }

    /// What has just happened to streams and upstreams.
    #[cfg(feature = "net")]
    pub fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// Log lines left out because there were more than the rate allows.
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
