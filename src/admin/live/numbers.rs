//! A snapshot: the numbers that the dashboard shows, as one JSON object.
//!
//! In: the engine's counters, the upstreams that are away. Out: JSON on one line.
//! Law: counters are told as they stand, not as rates, so that a snapshot that is missed costs no number.

use crate::admin::json::write_text;
use crate::base::{Count, Tick};
use crate::clock::Clock;
use crate::metrics::{Gauge, Metrics, ReactorState, Trouble};
use std::collections::BTreeMap;

/// Upstreams that a snapshot tells of.
const UPSTREAMS: usize = 64;

const COUNTS: &[(&str, Count)] = &[
    ("events", Count::Events),
    ("event_bytes", Count::EventBytes),
    ("requests", Count::Requests),
    ("requests_refused", Count::RequestsRefused),
    ("streams_started", Count::StreamsStarted),
    ("streams_ended", Count::StreamsEnded),
    ("streams_cut", Count::StreamsCut),
    ("streams_refused", Count::StreamsRefused),
    ("resumes", Count::Resumes),
    ("heals", Count::Heals),
    ("duplicates", Count::Duplicates),
    ("connects", Count::UpstreamConnects),
    ("connects_failed", Count::UpstreamConnectsFailed),
    ("failures", Count::UpstreamFailures),
    ("evictions", Count::SessionEvictions),
];

const GAUGES: &[(&str, Gauge)] = &[
    ("connections", Gauge::Connections),
    ("exchanges", Gauge::Exchanges),
    ("sessions", Gauge::Sessions),
    ("streams", Gauge::Streams),
    ("tunnels", Gauge::Tunnels),
    ("buffer_bytes", Gauge::BufferBytes),
    ("log_bytes", Gauge::LogBytes),
    ("stream_bytes", Gauge::StreamBytes),
    ("longest_turn_us", Gauge::LongestTurn),
    ("draining", Gauge::Draining),
];

/// Appends the object.
pub(super) fn write(
    metrics: &Metrics,
    away: &BTreeMap<Box<str>, (u64, Box<str>)>,
    clock: Clock,
    now: Tick,
    out: &mut Vec<u8>,
) {
    let mut number = |name: &str, n: u64| out.extend_from_slice(format!(",\"{name}\":{n}").as_bytes());
    COUNTS.iter().for_each(|(name, count)| number(name, metrics.get(*count)));
    let heals = metrics.all("heals_total");
    number("cuts", metrics.all("upstream_cuts_total"));
    number("heals_failed", heals.saturating_sub(metrics.get(Count::Heals) + metrics.get(Count::HealsEnded)));
    number("gaps", metrics.all("gaps_total"));
    GAUGES.iter().for_each(|(name, gauge)| number(name, metrics.gauge(*gauge)));
    let p = metrics.persistence();
    number("stored", p.success.get());
    number("store_failures", p.failure.get());
    number("store_queue", p.queue_depth.get());
    number("store_open", p.store_open.get());
    number("store_failing", p.breaker_open.get());
    number("lag_ms", p.lag(now).millis());
    number("incidents_lost", metrics.incidents().lost().get());
    number("reactor_late_ms", late(metrics.reactor(now)));
    number("at", clock.unix_ms(now));
    out.extend_from_slice(b",\"away\":[");
    for (n, (upstream, (since, why))) in away.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"{\"upstream\":" } else { b",{\"upstream\":" });
        write_text(upstream.as_bytes(), out);
        out.extend_from_slice(format!(",\"since\":{since},\"why\":").as_bytes());
        write_text(why.as_bytes(), out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"upstreams\":[");
    let left = upstreams(metrics, clock, out);
    out.extend_from_slice(format!("],\"upstreams_left\":{left}}}").as_bytes());
    // The first name has a comma before it, which is where the object opens.
    out[0] = b'{';
}

/// How upstreams stand, those in trouble first. Returns how many there was no room for.
fn upstreams(metrics: &Metrics, clock: Clock, out: &mut Vec<u8>) -> usize {
    let mut all: Vec<_> = metrics.upstreams().rows().into_iter().map(|row| (row.trouble(), row)).collect();
    let left = all.len().saturating_sub(UPSTREAMS);
    if left > 0 {
        all.sort_by_key(|(trouble, _)| trouble.is_none());
    }
    for (n, (trouble, row)) in all.iter().take(UPSTREAMS).enumerate() {
        out.extend_from_slice(if n == 0 { b"{\"upstream\":" } else { b",{\"upstream\":" });
        write_text(row.upstream.as_bytes(), out);
        out.extend_from_slice(b",\"route\":");
        write_text(row.route.as_bytes(), out);
        out.extend_from_slice(format!(",\"busy\":{}", row.busy.get()).as_bytes());
        if let Some(Trouble { since, why }) = trouble {
            out.extend_from_slice(format!(",\"out_since\":{},\"why\":", clock.unix_ms(*since)).as_bytes());
            write_text(why.as_bytes(), out);
        }
        out.push(b'}');
    }
    left
}

/// By how much the reactor is late; one that has ended is late for ever.
fn late(state: ReactorState) -> u64 {
    match state {
        ReactorState::Turning => 0,
        ReactorState::Late(late) => late.millis().max(1),
        ReactorState::Ended => 1 << 40,
    }
}
