//! The metrics page.
//!
//! In: counters. Out: OpenMetrics 1.0, or Prometheus' older text format.
//! Laws: a metric has the same name here, in code and in the docs, behind the prefix `segno_`; what every process has is
//! named as everywhere (`process_*`); every metric is on the page from the start.
//! Sources: OpenMetrics 1.0; Prometheus, "Exposition formats", text-based format 0.0.4.

use super::process;
use crate::base::{BUCKETS, Count, Tick, Timing, help_of};
use crate::metrics::{Bound, Exports, Gauge, Histogram, LATENCY_BUCKETS, Metrics, Persistence, Reloads, TURN_ENDS};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// How the metrics page is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageFormat {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0, which ends with `# EOF`.
    OpenMetrics,
}

impl PageFormat {
    /// The format that a request with this `Accept` is given: OpenMetrics where it is named and wanted.
    pub fn of(accept: &[u8]) -> Self {
        let accept = String::from_utf8_lossy(accept).to_ascii_lowercase();
        let names_it = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_named = parts.next() == Some("application/openmetrics-text");
            is_named && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
        };
        if accept.split(',').any(names_it) { Self::OpenMetrics } else { Self::Text }
    }

    /// The type of a page of this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All counters, gauges and ratios of an engine, and those of its process.
///
/// `now` is the time by the engine's clock.
pub fn metrics_page(metrics: &Arc<Metrics>, now: Tick, format: PageFormat) -> String {
    let mut registry = Registry::default();
    let page = Page { metrics: Arc::clone(metrics), now };
    registry.sub_registry_with_prefix("segno").register_collector(Box::new(page));
    registry.sub_registry_with_prefix("process").register_collector(Box::new(process::Process));
    let mut out = String::with_capacity(32 << 10);
    // Writing to a `String` does not fail, and neither do the collectors.
    let _ = match format {
        PageFormat::Text => prometheus_text::encode(&mut out, &registry),
        PageFormat::OpenMetrics => text::encode(&mut out, &registry),
    };
    out
}

/// What is written, at one time.
#[derive(Debug)]
struct Page {
    metrics: Arc<Metrics>,
    now: Tick,
}

/// Labels of a sample.
type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Collector for Page {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut out;
        let m = &*self.metrics;
        build_info(out)?;
        for family in Count::ALL.chunk_by(|a, b| a.name() == b.name()) {
            counts(out, m, family)?;
        }
        counter(out, "log_lines_dropped_total", "Log lines left out.", m.log_lines_dropped().get())?;
        let lost = "Incidents that the dashboard was not told of, because too many came in a second.";
        counter(out, "incidents_dropped_total", lost, m.incidents().lost().get())?;
        certificates(out, m)?;
        upstreams(out, m)?;
        for gauge in Gauge::ALL {
            match gauge.name().ends_with("_total") {
                true => counter(out, gauge.name(), gauge.help(), m.gauge(*gauge))?,
                false => value(out, gauge.name(), gauge.help(), m.gauge(*gauge) as f64 * gauge.scale())?,
            }
        }
        bounds(out, m)?;
        let bytes = "Bytes that a session takes on average, logs included.";
        value(out, "memory_bytes_per_session", bytes, m.memory_bytes_per_session())?;
        let ratio = "Share of event ids that were known.";
        value(out, "string_intern_hit_ratio", ratio, m.string_intern_hit_ratio())?;
        for timing in Timing::ALL {
            let all = m.timings(*timing).filter(|(route, spans)| !route.is_empty() || spans.sum() > 0);
            histograms(out, timing.name(), timing.help(), Timing::ends(), all)?;
        }
        let turns = "How long the turns of the reactor took, counted from when they were to begin.";
        histograms(out, "reactor_turn_seconds", turns, &TURN_ENDS, [("", m.turns())].into_iter())?;
        reloads(out, m.reloads())?;
        exports(out, m.exports())?;
        persistence(out, m.persistence(), self.now)
    }
}

fn histograms<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    ends: &[u64; BUCKETS - 1],
    all: impl Iterator<Item = (&'a str, &'a Histogram)>,
) -> fmt::Result {
    let (name, unit) = in_unit(name);
    let mut metric = out.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
    for (route, spans) in all {
        let labels: Labels<'_> = Some(("route", route)).filter(|(_, route)| !route.is_empty()).into_iter().collect();
        buckets(&mut metric.encode_family(&labels)?, spans.sum(), ends, &spans.buckets())?;
    }
    Ok(())
}

/// Writes a histogram. Times are in microseconds.
fn buckets(metric: &mut MetricEncoder<'_>, sum: u64, ends: &[u64], buckets: &[u64]) -> fmt::Result {
    let ends = ends.iter().map(|end| seconds(*end)).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = ends.zip(buckets.iter().copied()).collect();
    let all = buckets.iter().map(|(_, n)| n).sum();
    metric.encode_histogram::<NoLabelSet>(seconds(sum), all, &buckets, None)
}

fn reloads(out: &mut DescriptorEncoder<'_>, r: &Reloads) -> fmt::Result {
    let help = "Attempts to take another configuration over while running, by what came of them.";
    let (name, _) = in_unit("config_reloads");
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (outcome, count) in [("taken", &r.taken), ("refused", &r.refused), ("unknown", &r.unknown)] {
        let labels: Labels<'_> = vec![("outcome", outcome)];
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count.get(), None)?;
    }
    let help = "Whether the last of them succeeded.";
    value(out, "config_last_reload_successful", help, r.last_succeeded.get())?;
    let help = "When the configuration that runs was read, in seconds since the Unix epoch.";
    value(out, "config_last_reload_success_timestamp_seconds", help, r.read_at.get())
}

fn exports(out: &mut DescriptorEncoder<'_>, e: &Exports) -> fmt::Result {
    counter(out, "trace_spans_sent_total", "Spans that the collector has taken.", e.sent.get())?;
    let help = "Spans that the collector has not got, by the reason.";
    let (name, _) = in_unit("trace_spans_dropped");
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    let reasons = [
        ("full", e.dropped_full.get()),
        ("refused", e.dropped_refused.get()),
        ("failed", e.dropped_failed.get()),
        ("ended", e.dropped_ended.get()),
    ];
    for (reason, count) in reasons {
        sample(&mut metric, vec![("reason", reason)], count)?;
    }
    counter(out, "trace_exports_failed_total", "Calls to the collector that failed.", e.failed.get())?;
    value(out, "trace_spans_waiting", "Spans that wait to be sent to the collector.", e.waiting.get())
}

fn persistence(out: &mut DescriptorEncoder<'_>, p: &Persistence, now: Tick) -> fmt::Result {
    let counters = [
        ("persistence_success_total", "Records that the store acknowledged.", p.success.get()),
        ("persistence_failure_total", "Records and batches that the store did not take.", p.failure.get()),
        ("persistence_retry_total", "Records tried again.", p.retry.get()),
        ("persistence_fenced_total", "Records that a newer owner had written.", p.fenced.get()),
        (
            "persistence_given_up_total",
            "Last cursors of ended streams that a full store did not take.",
            p.given_up.get(),
        ),
        ("persistence_removals_dropped_total", "Removals that found no room on their way.", p.removals_dropped.get()),
        (
            "persistence_swept_records_total",
            "Records removed because nobody had used them for `session_idle`.",
            p.swept_records.get(),
        ),
        ("persistence_swept_logs_total", "Logs removed that no record belonged to.", p.swept_logs.get()),
        ("persistence_refused_total", "Messages and streams that found no room in the persister.", p.refused.get()),
        (
            "persistence_store_files_lost_total",
            "Times that the store's file, or its key's, was found deleted or replaced.",
            p.store_files_lost.get(),
        ),
        ("persistence_changes_total", "Changes of cursors found in slots.", p.changes.get()),
        ("persistence_records_total", "Records written for cursors.", p.cursor_records.get()),
        ("persistence_batches_total", "Batches written or tried.", p.batches.get()),
        ("persistence_lookups_total", "Look-ups answered.", p.lookups.get()),
        ("persistence_lookup_failures_total", "Look-ups that failed, or had no store.", p.lookup_failures.get()),
        ("persistence_answers_dropped_total", "Answers to look-ups that found no room.", p.answers_dropped.get()),
        ("persistence_log_blocks_total", "Log blocks stored.", p.log_blocks.get()),
        ("persistence_log_blocks_dropped_total", "Log blocks that found no room.", p.log_blocks_dropped.get()),
        (
            "persistence_log_writes_fenced_total",
            "Writes to shared logs that were refused, since another instance has the log.",
            p.log_writes_fenced.get(),
        ),
        (
            "persistence_follow_failures_total",
            "Times that logs of other instances could not be read.",
            p.follow_failures.get(),
        ),
        ("activity_updates_batched_total", "Records written for activity alone.", p.activity_batched.get()),
    ];
    for (name, help, n) in counters {
        counter(out, name, help, n)?;
    }
    let gauges = [
        ("persistence_queue_depth", "Slots found with something that is not durable.", p.queue_depth.get()),
        ("persistence_batch_size", "Records in the last batch.", p.batch_size.get()),
        ("persistence_logs_owned", "Shared logs that belong to this instance.", p.logs_owned.get()),
        ("persistence_follows", "Logs of other instances that are followed.", p.follows.get()),
        ("persistence_store_open", "1 while the store is open.", p.store_open.get()),
        (
            "persistence_foreign_key",
            "1 if the store opened too late to tell its key: what is stored is not found after a restart.",
            p.foreign_key.get(),
        ),
        (
            "persistence_breaker_open",
            "1 while the store keeps failing and is asked only now and then.",
            p.breaker_open.get(),
        ),
        ("activity_queue_depth", "Slots with activity alone to store.", p.activity_queue_depth.get()),
    ];
    for (name, help, n) in gauges {
        value(out, name, help, n)?;
    }
    let behind = "Events that were delivered and are not durable, as far as the persister has looked.";
    value(out, "undurable_events", behind, p.undurable.get())?;
    let lag = "Age of the oldest change that is not durable, at most.";
    value(out, "persistence_lag_seconds", lag, seconds(p.lag(now).micros()))?;
    let changes = "Changes of cursors for each record written.";
    value(out, "persistence_coalesce_ratio", changes, p.coalesce_ratio())?;
    let activity = "Changes of activity for each record written for it.";
    value(out, "activity_coalesce_ratio", activity, p.activity_coalesce_ratio())?;
    let help = "How long the store took for a batch.";
    let mut latency =
        out.encode_descriptor("persistence_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    let all: Vec<u64> = p.latency.iter().map(|bucket| bucket.get()).collect();
    buckets(&mut latency, p.latency_sum.get(), &LATENCY_BUCKETS, &all)
}

/// The version, and the features that were built in.
fn build_info(out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let all = [
        ("cli", cfg!(feature = "cli")),
        ("otel", cfg!(feature = "otel")),
        ("redb", cfg!(feature = "redb")),
        ("redis", cfg!(feature = "redis")),
        ("tls", cfg!(feature = "tls")),
    ];
    let built: Vec<&str> = all.iter().filter(|(_, is_built)| *is_built).map(|(name, _)| *name).collect();
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("features", &built.join(","))];
    let help = "The version of segno, and the features that were built in.";
    // As a gauge: the type `info` of OpenMetrics is none of the older format.
    let mut info = out.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
    info.encode_family(&labels)?.encode_gauge(&1u64)
}

/// When the certificates that are in use cease to be good.
fn certificates(out: &mut DescriptorEncoder<'_>, m: &Metrics) -> fmt::Result {
    let help = "When a certificate ceases to be good, in seconds since 1970.";
    let unit = Some(&Unit::Seconds);
    let mut metric = out.encode_descriptor("certificate_not_after", help, unit, MetricType::Gauge)?;
    for end in m.certificates() {
        metric.encode_family(&[("file", &*end.file), ("name", &*end.name)])?.encode_gauge(&end.not_after)?;
    }
    Ok(())
}

/// How each upstream of each route stands.
fn upstreams(out: &mut DescriptorEncoder<'_>, m: &Metrics) -> fmt::Result {
    let rows = m.upstreams().rows();
    let help = "1 while an upstream gets its share of new requests, 0 while it is left out or its checks fail.";
    let mut metric = out.encode_descriptor("upstream_up", help, None, MetricType::Gauge)?;
    for row in &rows {
        metric
            .encode_family(&[("route", &*row.route), ("upstream", &*row.upstream)])?
            .encode_gauge(&u64::from(row.is_up()))?;
    }
    let help = "Requests that an upstream serves, event streams among them.";
    let mut metric = out.encode_descriptor("upstream_busy", help, None, MetricType::Gauge)?;
    for row in &rows {
        metric.encode_family(&[("route", &*row.route), ("upstream", &*row.upstream)])?.encode_gauge(&row.busy.get())?;
    }
    Ok(())
}

/// A metric that one count has for itself, or several share.
fn counts(out: &mut DescriptorEncoder<'_>, m: &Metrics, family: &[Count]) -> fmt::Result {
    let Some(first) = family.first() else { return Ok(()) };
    let (name, unit) = in_unit(first.name().trim_end_matches("_total"));
    let mut metric = out.encode_descriptor(name, help_of(*first), unit.as_ref(), MetricType::Counter)?;
    let rows = if first.is_by_upstream() { m.upstreams().rows() } else { Vec::new() };
    for count in family {
        if count.is_by_upstream() {
            for row in &rows {
                let names = [("route", &*row.route), ("upstream", &*row.upstream)];
                sample(
                    &mut metric,
                    names.into_iter().chain(count.labels().iter().copied()).collect(),
                    row.get(*count),
                )?;
            }
            continue;
        }
        if !count.is_by_route() {
            sample(&mut metric, count.labels().to_vec(), m.get(*count))?;
            continue;
        }
        for (route, n) in m.by_route(*count).filter(|(route, n)| !route.is_empty() || *n > 0) {
            let route = Some(("route", route)).filter(|(_, route)| !route.is_empty());
            sample(&mut metric, route.into_iter().chain(count.labels().iter().copied()).collect(), n)?;
        }
    }
    Ok(())
}

fn sample(metric: &mut MetricEncoder<'_>, labels: Labels<'_>, n: u64) -> fmt::Result {
    metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&n, None)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, n: u64) -> fmt::Result {
    let (name, unit) = in_unit(name.trim_end_matches("_total"));
    let mut metric = out.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, u64, u64>(&n, None)
}

fn value(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, n: impl EncodeGaugeValue) -> fmt::Result {
    let (name, unit) = in_unit(name);
    out.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&n)
}

/// How much of each bounded thing is taken, beside its bound. Bytes have a metric of their own.
fn bounds(out: &mut DescriptorEncoder<'_>, m: &Metrics) -> fmt::Result {
    let all = [
        ("budget_used", "Bytes taken of each budget.", true, false),
        ("budget_limit", "The bytes of each budget.", true, true),
        ("places_used", "Places taken of each table.", false, false),
        ("places_limit", "The places of each table.", false, true),
    ];
    for (name, help, of_bytes, is_limit) in all {
        let unit = of_bytes.then_some(Unit::Bytes);
        let mut metric = out.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for bound in Bound::ALL {
            let name = bound.gauge().name();
            let (word, is_bytes) = name.strip_suffix("_bytes").map_or((name, false), |word| (word, true));
            if is_bytes == of_bytes {
                let n = if is_limit { m.limit(*bound) } else { m.gauge(bound.gauge()) };
                let label = if of_bytes { "budget" } else { "table" };
                metric.encode_family(&[(label, word)])?.encode_gauge(&n)?;
            }
        }
    }
    Ok(())
}

/// A name without its unit, and the unit.
fn in_unit(name: &str) -> (&str, Option<Unit>) {
    let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
    for (end, unit) in units {
        if let Some(name) = name.strip_suffix(end) {
            return (name, Some(unit));
        }
    }
    (name, None)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests;
