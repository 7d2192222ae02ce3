//! Counters and gauges that all threads share.
//!
//! In: increments, drained from the machine once a turn; gauges, set by their owner. Out: the numbers, by name.
//! Law: counting costs one relaxed addition and never waits.

mod exports;
mod gauge;
mod histogram;
#[cfg(feature = "net")]
mod incidents;
mod persistence;
mod reloads;
#[cfg(feature = "net")]
mod upstreams;

pub use exports::Exports;
pub use gauge::{Bound, Gauge};
pub use histogram::{Histogram, TURN_ENDS};
#[cfg(feature = "net")]
pub use incidents::{Incident, IncidentKind, IncidentRate, Incidents};
pub use persistence::{LATENCY_BUCKETS, Persistence};
pub use reloads::Reloads;
#[cfg(feature = "net")]
pub use upstreams::{Trouble, UpstreamRow, Upstreams};

use crate::base::{Count, Span, Spans, Tick, Timing};
use crate::sync::{Counter, Shelf};

/// Routes that come after the start and are counted by themselves, at most. Their names stay, since a counter that went
/// would be no counter.
const LATER: usize = 1_024;

/// What is counted for one route.
#[derive(Debug)]
struct Row {
    route: String,
    counts: Box<[Counter]>,
    timings: Box<[Histogram]>,
}

impl Row {
    fn new(route: String) -> Self {
        Self {
            route,
            counts: Count::ALL.iter().map(|_| Counter::default()).collect(),
            timings: Timing::ALL.iter().map(|_| Histogram::default()).collect(),
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
    /// What belongs to no route, then each route's that was there at the start.
    rows: Box<[Row]>,
    /// Those of routes that have come since.
    later: Shelf<Row>,
    gauges: [Counter; Gauge::ALL.len()],
    bounds: [Counter; Bound::ALL.len()],
    turns: Histogram,
    log_lines_dropped: Counter,
    /// By when the reactor is heard of again, in microseconds; 0 where there is none any more.
    reactor_due: Counter,
    persistence: Persistence,
    #[cfg(feature = "net")]
    incidents: Incidents,
    #[cfg(feature = "net")]
    upstreams: Upstreams,
    reloads: Reloads,
    exports: Exports,
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
        Self::new([])
    }
}

impl Metrics {
    /// Nothing counted, for routes with these names.
    pub fn new(routes: impl IntoIterator<Item = String>) -> Self {
        let rows = std::iter::once(String::new()).chain(routes);
        Self {
            #[cfg(feature = "persist")]
            certificates: crate::sync::Latest::default(),
            rows: rows.map(Row::new).collect(),
            later: Shelf::new(LATER),
            gauges: std::array::from_fn(|_| Counter::default()),
            bounds: std::array::from_fn(|_| Counter::default()),
            turns: Histogram::default(),
            log_lines_dropped: Counter::default(),
            reactor_due: Counter::default(),
            persistence: Persistence::default(),
            #[cfg(feature = "net")]
            incidents: Incidents::default(),
            #[cfg(feature = "net")]
            upstreams: Upstreams::default(),
            reloads: Reloads::default(),
            exports: Exports::default(),
        }
    }
}

impl Metrics {
    /// Adds to a count.
    pub fn add(&self, count: Count, n: u64) {
        self.add_at(None, count, n);
    }

    /// Adds to a count of a route. One that is not known is none.
    pub fn add_at(&self, route: Option<usize>, count: Count, n: u64) {
        self.row(route).counts[count as usize].add(n);
    }

    /// Adds what was noted of a route.
    pub fn add_spans(&self, route: Option<usize>, timing: Timing, spans: &Spans) {
        self.row(route).timings[timing as usize].add(spans);
    }

    /// The number of the route with this name, if it is known.
    pub fn route_named(&self, name: &str) -> Option<usize> {
        self.all_rows().skip(1).position(|row| row.route == name)
    }

    /// The number of the route with this name, which is a new one if it is not known. `None`, and counted: there are
    /// too many new ones.
    pub fn route_added(&self, name: &str) -> Option<usize> {
        let known = self.route_named(name);
        let added = known.or_else(|| Some(self.later.add(Row::new(name.to_owned()))? + self.rows.len() - 1));
        if added.is_none() {
            self.add(Count::RoutesWithoutMetrics, 1);
        }
        added
    }

    fn all_rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().chain(self.later.iter())
    }

    fn row(&self, route: Option<usize>) -> &Row {
        let at = route.map_or(0, |route| route + 1);
        match self.rows.get(at) {
            Some(row) => row,
            None => self.later.get(at - self.rows.len()).unwrap_or(&self.rows[0]),
        }
    }

    /// The value of a count, of all routes together.
    pub fn get(&self, count: Count) -> u64 {
        self.all_rows().map(|row| row.counts[count as usize].get()).sum()
    }

    /// The value of all counts that share this metric, of all routes together.
    pub fn all(&self, name: &str) -> u64 {
        Count::ALL.iter().filter(|count| count.name() == name).map(|count| self.get(*count)).sum()
    }

    /// The value of a count, by route. That of no route has an empty name, and comes first.
    pub fn by_route(&self, count: Count) -> impl Iterator<Item = (&str, u64)> {
        self.all_rows().map(move |row| (&*row.route, row.counts[count as usize].get()))
    }

    /// How long something took, by route. That of no route has an empty name, and comes first.
    pub fn timings(&self, timing: Timing) -> impl Iterator<Item = (&str, &Histogram)> {
        self.all_rows().map(move |row| (&*row.route, &row.timings[timing as usize]))
    }

    /// How long the turns of the reactor took, counted from when they were to begin.
    pub fn turns(&self) -> &Histogram {
        &self.turns
    }

    /// Sets a bound.
    pub fn bound(&self, bound: Bound, limit: u64) {
        self.bounds[bound as usize].set(limit);
    }

    /// A bound, as it was set last.
    pub fn limit(&self, bound: Bound) -> u64 {
        self.bounds[bound as usize].get()
    }

    /// These certificates are in use from now on.
    #[cfg(feature = "persist")]
    pub fn tell_certificates(&self, ends: Vec<CertificateEnd>) {
        self.certificates.put(Some(crate::sync::Shared::new(ends)));
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

    /// The upstreams of all routes.
    #[cfg(feature = "net")]
    pub fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// Attempts to reload the configuration.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Spans on their way to a collector.
    pub fn exports(&self) -> &Exports {
        &self.exports
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
        assert_eq!((m.get(Count::Events), m.get(Count::Requests), m.gauge(Gauge::Connections)), (7, 0, 9));
    }

    #[test]
    fn a_count_is_the_sum_of_its_routes() {
        let m = Metrics::new(["/a".to_owned(), "/b".to_owned()]);
        m.add_at(Some(1), Count::Events, 3);
        m.add_at(Some(0), Count::Events, 4);
        m.add_at(Some(2), Count::Events, 5);
        assert_eq!((m.route_named("/b"), m.route_named("")), (Some(1), None));
        assert_eq!(m.by_route(Count::Events).collect::<Vec<_>>(), [("", 5), ("/a", 4), ("/b", 3)]);
        assert_eq!(m.get(Count::Events), 12);
    }

    #[test]
    fn a_route_that_comes_later_is_counted_by_its_name_up_to_a_bound() {
        let m = Metrics::new(["/a".to_owned()]);
        let late = m.route_added("/b");
        m.add_at(late, Count::Events, 3);
        m.add_at(m.route_added("/a"), Count::Events, 4);
        assert_eq!((late, m.route_added("/b"), m.route_named("/b")), (Some(1), late, late));
        assert_eq!(m.by_route(Count::Events).collect::<Vec<_>>(), [("", 0), ("/a", 4), ("/b", 3)]);
        assert!((1..LATER).all(|n| m.route_added(&format!("/{n}")).is_some()));
        let more = m.route_added("/one-more");
        m.add_at(more, Count::Events, 5);
        assert_eq!((more, m.get(Count::RoutesWithoutMetrics), m.get(Count::Events)), (None, 1, 12));
        assert_eq!(m.by_route(Count::Events).next(), Some(("", 5)));
    }
}
