//! Traces on their way to a collector: what it gets of a healed stream, and what one that fails costs.
//!
//! In: clients with a `traceparent`, an upstream that cuts its stream, collectors of every mood. Out: spans as the
//! published messages read them, metrics, exit codes.
#![cfg(all(feature = "cli", feature = "otel"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(unexpected_cfgs, reason = "the published messages have features of their own")]

#[path = "support/collector.rs"]
mod collector;
mod support;

use collector::published::trace::v1::Span;
use collector::published::trace::v1::span::SpanKind;
use collector::published::trace::v1::status::StatusCode;
use collector::{Call, Collector, Mood, attribute};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::process::{Process, metric};
use support::until;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// An upstream that gives these answers, each on a connection of its own, and then closes it. The last one it gives again
/// and again.
fn upstream(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let last = answers.last().cloned().unwrap();
        let mut answers = answers.into_iter();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = stream.write_all(answers.next().unwrap_or_else(|| last.clone()).as_bytes());
        }
    });
    address
}

/// An upstream that gives one client this answer, and then says nothing more.
fn open_stream(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        stream.write_all(answer.as_bytes()).unwrap();
        // Until the proxy goes.
        lines.for_each(drop);
    });
    address
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(span: &Span, name: &str) -> Option<String> {
    attribute(&span.attributes, name)
}

fn spans(calls: &[Call]) -> Vec<&Span> {
    calls.iter().flat_map(Call::spans).collect()
}

fn one<'s>(spans: &[&'s Span], name: &str) -> &'s Span {
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    let found: Vec<&&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {names:?}");
    found[0]
}

#[test]
fn a_collector_gets_the_spans_of_a_healed_stream_under_the_traceparent_of_its_client() {
    let up = upstream(vec![
        format!("{HEAD}{}", chunk("retry: 20\nid: 1\ndata: x\n\n")),
        format!("{HEAD}{}0\r\n\r\n", chunk("id: 2\ndata: y\n\n")),
    ]);
    let collector = Collector::new(Mood::Takes);
    let (url, up) = (collector.url(), format!("http://{up}"));
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush%20hush"),
        ("OTEL_SERVICE_NAME", "feed"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let began = SystemTime::now();
    let args = ["--store", "memory", "--upstream", &up, "--trace-sample", "0"];
    let process = Process::with_env(&args, &variables);
    let mut client = process.client();
    client.send(format!(
        "GET /feed?key=hush HTTP/1.1\r\nHost: feed.example:81\r\nAccept: text/event-stream\r\n\
         tracestate: a=b\r\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n\r\n"
    ));
    client.head();
    client.until("data: y");
    process.signal("TERM");
    let (status, lines) = process.end();
    assert!(status.success(), "{lines:?}");
    assert!(!lines.concat().contains("hush"), "{lines:?}");
    let calls = collector.calls();
    let all = spans(&calls);
    assert!(all.iter().all(|span| hex(&span.trace_id) == TRACE), "{all:#?}");
    let (exchange, ask, heal) = (one(&all, "GET /"), one(&all, "GET"), one(&all, "heal"));
    assert_eq!(all.len(), 3);
    assert_eq!((hex(&exchange.parent_span_id), &*exchange.trace_state), ("00f067aa0ba902b7".to_owned(), "a=b"));
    assert_eq!((&ask.parent_span_id, &heal.parent_span_id), (&exchange.span_id, &exchange.span_id));
    assert_eq!(exchange.kind(), SpanKind::Server);
    assert_eq!((ask.kind(), heal.kind()), (SpanKind::Client, SpanKind::Client));
    let times = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
    let nanos = |at: SystemTime| u64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    assert!(nanos(began) <= times(exchange).0 && times(exchange).1 <= nanos(SystemTime::now()));
    for part in [ask, heal] {
        assert!(times(exchange).0 <= times(part).0 && times(part).0 <= times(part).1, "{part:?}");
        assert!(times(part).1 <= times(exchange).1 + 1_000, "{part:?} {exchange:?}");
        assert_eq!(said(part, "url.full").unwrap(), format!("{up}/feed"));
        assert_eq!(part.status.as_ref().unwrap().code(), StatusCode::Unset);
    }
    // Each span is told by a look at the calendar of its own.
    assert!(times(ask).1 <= times(heal).0 + 1_000);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/"),
        ("http.response.status_code", "200"),
        ("url.path", "/feed"),
        ("url.scheme", "http"),
        ("server.address", "feed.example"),
        ("server.port", "81"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("segno.events", "2"),
    ] {
        assert_eq!(said(exchange, name).as_deref(), Some(value), "{name}");
    }
    let call = &calls[0];
    assert!(call.head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", call.head);
    let head = call.head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    assert!(head.contains("api-key: hush hush\r\n"), "{head}");
    assert_eq!(call.resource("service.name").as_deref(), Some("feed"));
    assert_eq!(call.resource("deployment.environment.name").as_deref(), Some("test"));
}

/// A proxy that records everything, and one answered request. Returns how long the request took.
fn traced(otlp: &str, more: &[&str]) -> (Process, Duration) {
    let up = format!(
        "http://{}",
        upstream(vec!["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi".to_owned()])
    );
    let args = ["--upstream", &up, "--otlp", otlp, "--admin", "127.0.0.1:0"];
    let timeout: &[&str] = if more.contains(&"--otlp-timeout") { &[] } else { &["--otlp-timeout", "300ms"] };
    let process = Process::with_args(&[&args, timeout, more].concat());
    let began = Instant::now();
    for _ in 0..20 {
        let mut client = process.client();
        client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.answer().text(), "hi");
    }
    (process, began.elapsed())
}

/// The process ends as soon as one without a collector, or a second later. Returns what it has said.
fn ends_soon(process: Process) -> String {
    let began = Instant::now();
    process.signal("TERM");
    let (status, lines) = process.end();
    assert!(status.success(), "{lines:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    lines.join("\n")
}

#[cfg(feature = "tls")]
#[test]
fn a_collector_with_tls_gets_spans_if_its_authority_is_trusted_and_none_otherwise() {
    let (authority, other) = (support::tls::Authority::new(), support::tls::Authority::new());
    let up = format!("http://{}", upstream(vec!["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned()]));
    for (trusted, is_told) in [(&authority, true), (&other, false)] {
        let collector = Collector::secure(authority.server("localhost"));
        let url = format!("https://localhost:{}", collector.address.port());
        let args = ["--store", "memory", "--upstream", &up, "--otlp", &url, "--admin", "127.0.0.1:0"];
        let mut process = Process::with_env(&args, &[("SSL_CERT_FILE", trusted.file.to_str().unwrap())]);
        let mut client = process.client();
        client.send("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().text(), "hi");
        let admin = process.admin();
        if is_told {
            let names: Vec<String> = collector.call().spans().map(|span| span.name.clone()).collect();
            assert_eq!(names.len(), 2, "{names:?}");
            until("they are counted", || metric(admin, "trace_spans_sent_total") == 2);
        } else {
            until("they are dropped", || metric(admin, "trace_spans_dropped_total") == 2);
            let line = process.until_said("the collector of traces has not taken");
            assert!(line.contains("certificate"), "{line}");
            assert!(collector.calls().is_empty() && metric(admin, "trace_spans_sent_total") == 0);
        }
        ends_soon(process);
    }
}

/// A proxy of which the call to the collector outlasts it says how many spans stay behind.
#[test]
fn spans_behind_a_call_that_hangs_at_the_end_are_told_of() {
    let hung = Collector::new(Mood::Hangs);
    let (process, _) = traced(&hung.url(), &["--store", "memory", "--otlp-timeout", "60s"]);
    hung.call();
    let said = ends_soon(process);
    assert!(said.contains("so it may not have the last 40 spans"), "{said}");
}

#[test]
fn a_collector_that_hangs_or_is_away_holds_up_no_answer_and_no_end() {
    let hung = Collector::new(Mood::Hangs);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [hung.url(), format!("http://{dead}")] {
        let (mut process, took) = traced(&url, &["--store", "memory"]);
        assert!(took < Duration::from_secs(2), "{took:?}");
        let admin = process.admin();
        until("a call has failed", || metric(admin, "trace_exports_failed_total") > 0);
        assert!(metric(admin, "trace_spans_waiting") > 0 && metric(admin, "trace_spans_sent_total") == 0);
        process.until_said("the collector of traces has not taken");
        ends_soon(process);
    }
}

#[test]
fn a_collector_that_answers_what_cannot_be_read_costs_its_spans_alone() {
    for (mood, reason) in [(Mood::Floods, "failed"), (Mood::Babbles, "failed"), (Mood::Refuses, "refused")] {
        let collector = Collector::new(mood);
        let (mut process, _) = traced(&collector.url(), &["--store", "memory"]);
        let admin = process.admin();
        until("all spans are dropped", || metric(admin, "trace_spans_dropped_total") == 40);
        let page = support::process::page(admin, "/metrics");
        assert!(
            page.contains(&format!("segno_trace_spans_dropped_total{{reason=\"{reason}\"}} 40")),
            "{mood:?} {page}"
        );
        assert_eq!(metric(admin, "trace_spans_waiting"), 0);
        process.assert_grown_below(16);
        ends_soon(process);
    }
}

#[test]
fn a_collector_that_takes_a_part_or_floods_behind_its_word_is_believed() {
    for (mood, sent) in [(Mood::TakesAllBut(3), 37), (Mood::FloodsBody, 40)] {
        let collector = Collector::new(mood);
        let (mut process, _) = traced(&collector.url(), &["--store", "memory"]);
        let admin = process.admin();
        until("the spans are sent", || metric(admin, "trace_spans_sent_total") == sent);
        assert_eq!(metric(admin, "trace_spans_dropped_total"), 40 - sent);
        if sent < 40 {
            process.until_said("has not taken 3 spans: it says `too many`");
        }
        ends_soon(process);
    }
}

#[test]
fn a_collector_that_asks_for_time_is_asked_again_after_it_and_told_of_batches() {
    let collector = Collector::new(Mood::Later);
    let file = std::env::temp_dir().join(format!("segno-otlp-{}.redb", std::process::id()));
    let up = format!("http://{}", open_stream(format!("{HEAD}{}", chunk("id: 1\ndata: x\n\n"))));
    let store = format!("redb:{}", file.display());
    let args = ["--upstream", &up, "--otlp", &collector.url(), "--store", &store, "--linger", "0s"];
    let mut process = Process::with_args(&args);
    let mut client = process.client();
    client.send("GET /x HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
    client.head();
    client.until("data: x");
    let (first, second) = (collector.call(), collector.call());
    assert!(second.at.duration_since(first.at) >= Duration::from_secs(1));
    assert_eq!(first.message, second.message);
    process.until_said("it answers 503; they are tried again");
    drop(client);
    process.signal("TERM");
    assert!(process.end().0.success());
    let later = collector.calls();
    let all: Vec<&Span> = second.spans().chain(spans(&later)).collect();
    let flush = all.iter().find(|span| span.name == "batch flush").expect("a batch");
    let call = all.iter().find(|span| span.parent_span_id == flush.span_id).expect("its call");
    assert_eq!((&*call.name, call.kind()), ("store call", SpanKind::Internal));
    assert_eq!(said(flush, "segno.batch.records").as_deref(), Some("1"));
    assert!(flush.parent_span_id.is_empty() && flush.trace_id == call.trace_id);
    let _ = std::fs::remove_file(&file);
    let _ = std::fs::remove_file(file.with_extension("redb.key"));
}

const PAGE: &str = include_str!("../docs/traces.md");

/// The first words and the rest of the lines of a block of YAML, each with the names that it stands below.
fn lines_of(yaml: &str) -> Vec<(String, String)> {
    let mut names: Vec<(usize, &str)> = Vec::new();
    let mut lines = Vec::new();
    for line in yaml.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        names.retain(|(above, _)| *above < depth);
        let (name, rest) = line.trim().split_once(':').unwrap_or_else(|| panic!("{line:?} has no name"));
        names.push((depth, name));
        let path: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
        lines.push((path.join("."), rest.trim().to_owned()));
    }
    lines
}

/// What the page has a collector listen on is what it has segno send to, and all that its pipeline names is defined.
#[test]
fn the_collector_of_the_page_takes_what_segno_of_the_page_sends() {
    let yaml = PAGE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let lines = lines_of(yaml);
    let said = |path: &str| lines.iter().find(|(known, _)| known == path).map(|(_, rest)| rest.clone());
    let listens = said("receivers.otlp.protocols.http.endpoint").unwrap();
    let sends: Vec<&str> = PAGE
        .match_indices("--otlp http://")
        .map(|(at, _)| PAGE[at + 14..].split_whitespace().next().unwrap())
        .collect();
    assert!(sends.len() >= 2 && sends.iter().all(|to| *to == listens), "{sends:?} and {listens}");
    for kind in ["receivers", "exporters"] {
        let names = said(&format!("service.pipelines.traces.{kind}")).unwrap();
        for name in names.trim_matches(['[', ']']).split(',').map(str::trim) {
            assert!(said(&format!("{kind}.{name}")).is_some(), "{kind}: {name} of the pipeline");
        }
    }
}
