//! Tests of the metrics page's form.
//!
//! In: counters with known values. Out: lines of both formats.

use super::*;
use crate::base::{Span, Spans};
use std::collections::HashSet;

fn filled() -> Arc<Metrics> {
    let metrics = Metrics::new(["/a\"b\\".to_owned(), "/c".to_owned()]);
    metrics.add_at(Some(0), Count::Events, 3);
    metrics.add_at(Some(1), Count::GapsEvicted, 2);
    metrics.add(Count::RequestsTooLarge, 5);
    metrics.persistence().note_latency(700_000);
    metrics.turns().note(&TURN_ENDS, Span::from_micros(30));
    let mut spans = Spans::default();
    spans.note(Span::from_millis(3));
    metrics.add_spans(Some(1), Timing::Heal, &spans);
    metrics.bound(Bound::LogBytes, 1_000);
    let rows = metrics.upstreams().go_by([("/c", "u:80"), ("/c", "v:80")].into_iter());
    rows[0].add(Count::UpstreamErrorsStatus, 4);
    rows[1].busy.set(6);
    rows[1].stand(Some(crate::metrics::Trouble { since: Tick::ZERO, why: "gone".into() }));
    metrics.set(Gauge::LongestTurn, 1_500_000);
    Arc::new(metrics)
}

fn has(page: &str, line: &str) {
    assert!(page.lines().any(|l| l == line), "no {line} in {page}");
}

#[test]
fn every_line_is_a_comment_or_a_name_and_a_number_and_none_comes_twice() {
    for format in [PageFormat::Text, PageFormat::OpenMetrics] {
        let page = metrics_page(&filled(), Tick::ZERO, format);
        let mut seen = HashSet::new();
        for line in page.lines() {
            match line.strip_prefix("# ") {
                Some(comment) => assert!(seen.insert(comment.to_owned()), "{line}"),
                None => {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    assert!(seen.insert(name.to_owned()) && value.parse::<f64>().is_ok(), "{line}");
                    assert!(name.starts_with("segno_") || name.starts_with("process_"), "{line}");
                }
            }
        }
        assert_eq!(page.ends_with("\n# EOF\n"), format == PageFormat::OpenMetrics);
        has(&page, "segno_events_received_total{route=\"/a\\\"b\\\\\"} 3");
        has(&page, "segno_gaps_total{route=\"/c\",reason=\"evicted\"} 2");
        has(&page, "segno_upstream_errors_total{route=\"/c\",upstream=\"u:80\",kind=\"status\"} 4");
        has(&page, "segno_upstream_up{route=\"/c\",upstream=\"u:80\"} 1");
        has(&page, "segno_upstream_up{route=\"/c\",upstream=\"v:80\"} 0");
        has(&page, "segno_upstream_busy{route=\"/c\",upstream=\"v:80\"} 6");
        has(&page, "segno_parse_errors_total{from=\"client\",kind=\"size\"} 5");
        let whole = if format == PageFormat::Text { "1" } else { "1.0" };
        has(&page, &format!("segno_persistence_latency_seconds_bucket{{le=\"{whole}\"}} 1"));
        has(&page, "segno_heal_seconds_count{route=\"/c\"} 1");
        assert_eq!(
            page.lines().filter(|l| l.starts_with("segno_heal_seconds_bucket{") && l.contains("+Inf")).count(),
            2
        );
        has(&page, "segno_budget_limit_bytes{budget=\"log\"} 1000");
        has(&page, "segno_reactor_longest_turn_seconds 1.5");
    }
}

#[test]
fn a_counter_is_declared_by_the_name_that_each_format_has_for_it() {
    has(&metrics_page(&filled(), Tick::ZERO, PageFormat::Text), "# TYPE segno_received_bytes_total counter");
    let open = metrics_page(&filled(), Tick::ZERO, PageFormat::OpenMetrics);
    has(&open, "# TYPE segno_received_bytes counter");
    has(&open, "# UNIT segno_received_bytes bytes");
}

#[test]
fn openmetrics_is_sent_where_it_is_asked_for_by_name() {
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, format) in [
        ("", PageFormat::Text),
        ("*/*", PageFormat::Text),
        ("text/plain;version=0.0.4", PageFormat::Text),
        (prometheus, PageFormat::OpenMetrics),
        ("Application/OpenMetrics-Text", PageFormat::OpenMetrics),
        ("application/openmetrics-text; version=1.0.0; q=0", PageFormat::Text),
        ("text/plain, application/openmetrics-text; q=0.2", PageFormat::OpenMetrics),
    ] {
        assert_eq!(PageFormat::of(accept.as_bytes()), format, "{accept}");
    }
}
