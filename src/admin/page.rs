//! The metrics page.
//!
//! In: counters. Out: Prometheus' text format.
//! Laws: a metric has the same name here, in code and in the docs; every metric is on the page from the start.
//! Source: Prometheus, "Exposition formats", text-based format 0.0.4.

use crate::base::{Count, Tick};
use crate::metrics::{Gauge, LATENCY_BUCKETS, Metrics, Persistence};
use std::fmt::Write;

/// All counters, gauges and ratios of an engine.
///
/// `now` is the time by the engine's clock.
pub fn metrics_page(metrics: &Metrics, now: Tick) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    for count in Count::ALL {
        page.add(count.name(), "counter", count.help(), metrics.get(*count));
    }
    page.add("log_lines_dropped_total", "counter", "Log lines left out.", metrics.log_lines_dropped().get());
    let lost = "Incidents that the dashboard was not told of, because too many came in a second.";
    page.add("incidents_dropped_total", "counter", lost, metrics.incidents().lost().get());
    for gauge in Gauge::ALL {
        page.add(gauge.name(), "gauge", gauge.help(), metrics.gauge(*gauge));
    }
    let bytes = metrics.memory_bytes_per_session();
    page.add("memory_bytes_per_session", "gauge", "Bytes that a session takes on average, logs included.", bytes);
    let ratio = metrics.string_intern_hit_ratio();
    page.add("string_intern_hit_ratio", "gauge", "Share of event ids that were known.", ratio);
    page.head("certificate_not_after_seconds", "gauge", "When a certificate ceases to be good, in seconds since 1970.");
    for end in metrics.certificates() {
        let labels = format!("{{file=\"{}\",name=\"{}\"}}", label(&end.file), label(&end.name));
        page.line("certificate_not_after_seconds", &labels, end.not_after);
    }
    persistence(&mut page, metrics.persistence(), now);
    page.0
}

/// A text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn persistence(page: &mut Page, p: &Persistence, now: Tick) {
    let seconds = |micros: u64| micros as f64 / 1e6;
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
            "persistence_swept_total",
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
        ("activity_updates_batched", "Records written for activity alone.", p.activity_batched.get()),
    ];
    for (name, help, value) in counters {
        page.add(name, "counter", help, value);
    }
    let gauges = [
        ("persistence_queue_depth", "Slots found with something that is not durable.", p.queue_depth.get()),
        ("persistence_batch_size", "Records in the last batch.", p.batch_size.get()),
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
    for (name, help, value) in gauges {
        page.add(name, "gauge", help, value);
    }
    let lag = "Age of the oldest change that is not durable, at most.";
    page.add("persistence_lag_seconds", "gauge", lag, seconds(p.lag(now).micros()));
    let changes = "Changes of cursors for each record written.";
    page.add("persistence_coalesce_ratio", "gauge", changes, p.coalesce_ratio());
    let activity = "Changes of activity for each record written for it.";
    page.add("activity_coalesce_ratio", "gauge", activity, p.activity_coalesce_ratio());
    page.head("persistence_latency_seconds", "histogram", "How long the store took for a batch.");
    let mut sum = 0;
    for (bucket, end) in p.latency.iter().zip(LATENCY_BUCKETS.map(Some).into_iter().chain([None])) {
        sum += bucket.get();
        match end {
            Some(end) => page.line("persistence_latency_seconds_bucket", &format!("{{le=\"{}\"}}", seconds(end)), sum),
            None => page.line("persistence_latency_seconds_bucket", "{le=\"+Inf\"}", sum),
        }
    }
    page.line("persistence_latency_seconds_sum", "", seconds(p.latency_sum.get()));
    page.line("persistence_latency_seconds_count", "", sum);
}

struct Page(String);

impl Page {
    fn add(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number_and_no_name_comes_twice() {
        let metrics = Metrics::default();
        metrics.add(Count::Events, 3);
        metrics.persistence().note_latency(700_000);
        let page = metrics_page(&metrics, Tick::ZERO);
        let mut seen = std::collections::HashSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(name) && value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(page.contains("\nevents_total 3\n"), "{page}");
        assert!(page.contains("\npersistence_latency_seconds_bucket{le=\"1\"} 1\n"), "{page}");
    }

    #[test]
    fn the_names_that_dashboards_know_are_there() {
        let page = metrics_page(&Metrics::default(), Tick::ZERO);
        for name in [
            "persistence_queue_depth",
            "persistence_batch_size",
            "persistence_latency_seconds_count",
            "persistence_success_total",
            "persistence_failure_total",
            "persistence_retry_total",
            "persistence_lag_seconds",
            "persistence_coalesce_ratio",
            "activity_updates_batched",
            "activity_queue_depth",
            "activity_coalesce_ratio",
            "memory_bytes_per_session",
            "string_intern_hit_ratio",
            "session_evictions_total",
            "sessions",
            "streams",
        ] {
            assert!(page.lines().any(|line| line.split(' ').next() == Some(name)), "{name}");
        }
    }
}
