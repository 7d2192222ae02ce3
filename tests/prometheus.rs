//! Real Prometheus against a proxy that has something to do.
//!
//! In: `segno demo` with an admin address, and the programs `prometheus` and `promtool`. Out: what Prometheus knows
//! after some scrapes, and what `promtool check metrics` says.
//! Laws: every metric that operators were promised is there, with a sane value; promtool finds nothing to say. Where
//! the programs are missing, that is said, and with `SEGNO_REQUIRE_PROMETHEUS=1` it is a failure.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What must be there, as a query, and the least and the greatest value of the sum of its samples.
const PROMISED: &[(&str, f64, f64)] = &[
    ("segno_persistence_queue_depth", 0.0, 1e6),
    ("segno_persistence_batch_size", 1.0, 1e6),
    ("segno_persistence_latency_seconds_count", 1.0, 1e6),
    ("segno_persistence_latency_seconds_sum", 0.0, 1e4),
    ("segno_persistence_success_total", 1.0, 1e9),
    ("segno_persistence_failure_total", 0.0, 0.0),
    ("segno_activity_updates_batched_total", 0.0, 1e9),
    ("segno_activity_queue_depth", 0.0, 1e6),
    ("segno_activity_coalesce_ratio", 0.0, 1e6),
    ("segno_memory_bytes_per_session", 100.0, 1e8),
    ("segno_string_intern_hit_ratio", 0.0, 1.0),
    ("segno_session_evictions_total", 0.0, 0.0),
    ("sum(segno_upstream_cuts_total{kind=\"closed\"})", 1.0, 1e6),
    ("sum(segno_upstream_cuts_total{kind=\"reset\"})", 1.0, 1e6),
    ("sum(segno_heals_total{outcome=\"healed\",route=\"/\"})", 1.0, 1e6),
    ("sum(segno_heal_seconds_count{route=\"/\"})", 1.0, 1e6),
    ("histogram_quantile(0.5, sum by (le) (segno_heal_seconds_bucket))", 0.0, 60.0),
    ("sum(segno_replays_total)", 1.0, 1e6),
    ("sum(segno_replayed_events_total)", 1.0, 1e6),
    ("sum(segno_gaps_total{reason=~\"refused|skipped|restarted\"})", 1.0, 1e6),
    ("count(sum by (reason) (segno_gaps_total))", 6.0, 6.0),
    ("sum(segno_duplicates_dropped_total)", 0.0, 1e6),
    ("sum(segno_ids_injected_total)", 1.0, 1e6),
    ("sum(segno_heartbeats_total)", 0.0, 1e6),
    ("segno_subscribers", 1.0, 1e3),
    ("segno_slow_readers", 0.0, 1e3),
    ("sum(segno_backpressure_total)", 0.0, 1e6),
    ("sum(segno_resumes_refused_total)", 0.0, 1e6),
    ("sum(segno_received_bytes_total)", 1e3, 1e9),
    ("sum(segno_sent_bytes_total)", 1e3, 1e9),
    ("sum(segno_events_received_total)", 100.0, 1e7),
    ("sum(segno_events_sent_total)", 100.0, 1e7),
    ("sum(segno_upstream_head_seconds_count)", 10.0, 1e6),
    ("segno_reactor_turn_seconds_count", 100.0, 1e9),
    ("sum(segno_accept_errors_total)", 0.0, 0.0),
    ("count(sum by (kind) (segno_accept_errors_total))", 3.0, 3.0),
    ("sum(segno_parse_errors_total)", 0.0, 1e6),
    ("count(sum by (from) (segno_parse_errors_total))", 2.0, 2.0),
    ("count(sum by (kind) (segno_parse_errors_total))", 7.0, 7.0),
    ("count(sum by (outcome) (segno_heals_total))", 5.0, 5.0),
    ("count(sum by (kind) (segno_upstream_cuts_total))", 4.0, 4.0),
    ("count(sum by (limit) (segno_refused_total))", 14.0, 99.0),
    ("count(segno_budget_used_bytes / segno_budget_limit_bytes <= 1)", 3.0, 3.0),
    ("count(segno_places_used / segno_places_limit <= 1)", 6.0, 6.0),
    ("segno_undelivered_events", 0.0, 1e6),
    ("segno_undurable_events", 0.0, 1e6),
    ("segno_persistence_lag_seconds", 0.0, 60.0),
    ("segno_build_info{version!=\"\"}", 1.0, 1.0),
    ("process_cpu_seconds_total", 0.0, 1e3),
    ("process_resident_memory_bytes", 1e6, 1e10),
    ("process_open_fds", 10.0, 1e6),
    ("time() - process_start_time_seconds", 0.0, 300.0),
    ("up", 1.0, 1.0),
];

/// Ends the program when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_knows_every_promised_metric_and_promtool_has_nothing_to_say() {
    if !["prometheus", "promtool"].iter().all(|name| runs(name)) {
        return missing("Prometheus is not here (`apt-get install prometheus`)");
    }
    let (_demo, admin) = demo();
    let (_prometheus, api) = prometheus(admin);
    let began = Instant::now();
    let mut wrong = Vec::new();
    // The demo cuts streams all the time, so what is awaited comes soon.
    while began.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_secs(1));
        wrong = PROMISED.iter().filter_map(|promised| judge(api, promised)).collect();
        if wrong.is_empty() {
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let page = get(admin, "/metrics").expect("the metrics page");
    let mut lint = Command::new("promtool");
    let lint = lint.args(["check", "metrics"]);
    let mut lint = lint.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    lint.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let told = lint.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.status.success() && words.is_empty(), "{words}");
}

/// What is wrong with a metric, if anything is.
fn judge(api: SocketAddr, (query, least, most): &(&str, f64, f64)) -> Option<String> {
    let encoded: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
    let answer = get(api, &format!("/api/v1/query?query={encoded}"));
    let json: Value = answer.and_then(|body| serde_json::from_str(&body).ok()).unwrap_or_default();
    let samples = json["data"]["result"].as_array().cloned().unwrap_or_default();
    if samples.is_empty() {
        return Some(format!("{query}: nothing ({json})"));
    }
    let values = samples.iter().map(|sample| sample["value"][1].as_str().unwrap().parse::<f64>().unwrap());
    let sum: f64 = values.sum();
    (!(*least..=*most).contains(&sum)).then(|| format!("{query}: {sum}, not {least} to {most}"))
}

/// An empty folder of this run.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The demo, and its admin address.
fn demo() -> (Running, SocketAddr) {
    let store = folder("demo").join("cursors.redb");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_segno"))
        .args(["demo", "--duration", "50s", "--admin", "127.0.0.1:0"])
        .args(["--store", &format!("redb:{}", store.display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines().map_while(Result::ok);
    let demo = Running(demo);
    let line = lines.find(|line| line.contains("metrics and health at http://")).expect("the admin address");
    let admin = line.rsplit("http://").next().unwrap().parse().unwrap();
    // It must not stop at a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (demo, admin)
}

/// Prometheus, scraping this address, and the address of its own API.
fn prometheus(admin: SocketAddr) -> (Running, SocketAddr) {
    let folder = folder("prometheus");
    let config = folder.join("prometheus.yml");
    let scrape = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: segno, static_configs: [{{targets: [\"{admin}\"]}}]}}]\n"
    );
    std::fs::write(&config, scrape).unwrap();
    // Free a moment ago, and asked for at once.
    let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={api}"))
        .args(["--log.level=error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Running(prometheus), api)
}

/// The body of an answer with status 200.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut all = String::new();
    stream.read_to_string(&mut all).ok()?;
    let (head, body) = all.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Says so where nobody can overlook it, and fails where the run is required.
fn missing(what: &str) {
    assert!(std::env::var_os("SEGNO_REQUIRE_PROMETHEUS").is_none_or(|value| value != "1"), "{what}");
    // Not by `eprintln!`, which the test harness captures.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}");
}
