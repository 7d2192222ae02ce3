//! `segno alerts` and `segno grafana`: that they work with what is really on the metrics page.
//!
//! In: what both print, the metrics page of a proxy with traffic; Prometheus and promtool. Out: a failure for each
//! metric that does not exist, each query that cannot be read or finds nothing, and each alert that fires without its fault or
//! not with it.
//! Law: where Prometheus is missing, that is said, and with `SEGNO_REQUIRE_PROMETHEUS=1` it is a failure.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

#[path = "support/prometheus.rs"]
mod prometheus;
mod support;
#[path = "support/workshop.rs"]
mod workshop;

use prometheus::Prometheus;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::process::{Process, page};
use support::{Script, signal, until};
use workshop::{find, missing};

const REQUIRED: &str = "SEGNO_REQUIRE_PROMETHEUS";
const CASES: &str = include_str!("monitoring/rules_test.yml");
const RUNBOOK: &str = include_str!("../docs/operating.md");

/// What the program prints.
fn printed(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_segno")).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// The names of the alerts.
fn alerts() -> Vec<String> {
    let rules = printed(&["alerts"]);
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned)).collect()
}

/// The queries of the dashboard, with its variables filled in.
fn queries() -> Vec<String> {
    let board: Value = serde_json::from_str(&printed(&["grafana"])).unwrap();
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let fill = |query: &str| query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
    let all: Vec<String> = targets.map(|target| fill(target["expr"].as_str().unwrap())).collect();
    assert!(all.len() > 20 && all.iter().all(|query| !query.contains(['$', '@'])), "{all:#?}");
    all
}

/// All words of a text that are names of metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("segno_") || word.starts_with("process_")).collect()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("monitoring-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs promtool. False: there is none.
fn promtool(args: &[&str], folder: &Path) -> bool {
    if find(&["promtool"], &["--version"]).is_none() {
        missing("there is no promtool", REQUIRED);
        return false;
    }
    let out = Command::new("promtool").args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{told}");
    true
}

#[test]
fn every_metric_of_alerts_and_dashboard_is_on_the_page() {
    let mut proxy = Process::with_flags(&["--upstream", "http://127.0.0.1:9", "--admin", "127.0.0.1:0"]);
    let page = page(proxy.admin(), "/metrics");
    let real: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let is_real = |name: &str| {
        let ends = ["", "_bucket", "_sum", "_count"];
        ends.iter().any(|end| name.strip_suffix(end).is_some_and(|family| real.contains(family)))
    };
    let (rules, board) = (printed(&["alerts"]), queries().join("\n"));
    let rules: String = rules.lines().filter(|line| !line.contains("runbook_url")).collect::<Vec<_>>().join("\n");
    for (from, text) in [("alerts", &rules), ("grafana", &board)] {
        let named = metrics_in(text);
        let invented: Vec<_> = named.iter().filter(|name| !is_real(name)).collect();
        assert!(named.len() > 8 && invented.is_empty(), "segno {from} names {invented:?}, which are not on the page");
    }
}

#[test]
fn every_alert_has_its_part_of_the_runbook_and_a_case_with_its_fault_and_without() {
    let (alerts, rules) = (alerts(), printed(&["alerts", "--runbook", "https://wiki.example/segno"]));
    assert!(alerts.len() >= 9, "{alerts:?}");
    for alert in alerts {
        assert!(RUNBOOK.contains(&format!("\n## {alert}\n")), "docs/operating.md has no section {alert}");
        let link = format!("https://wiki.example/segno#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} does not link to {link}");
        let silent = format!("{{ alertname: {alert}, eval_time: ");
        let fires = format!("- alertname: {alert}\n");
        assert!(CASES.contains(&silent) && CASES.contains(&fires), "tests/monitoring/rules_test.yml: {alert}");
    }
}

#[test]
fn each_alert_fires_with_its_fault_and_not_without() {
    let folder = folder("rules");
    fs::write(folder.join("rules.yml"), printed(&["alerts"])).unwrap();
    fs::write(folder.join("rules_test.yml"), CASES).unwrap();
    if promtool(&["check", "rules", "rules.yml"], &folder) {
        promtool(&["test", "rules", "rules_test.yml"], &folder);
    }
}

#[test]
fn the_dashboard_is_what_grafana_imports() {
    let board: Value = serde_json::from_str(&printed(&["grafana"])).unwrap();
    assert!(board["schemaVersion"].as_u64() >= Some(39) && board["uid"] == "segno" && board["title"] == "segno");
    let variables: Vec<_> = board["templating"]["list"].as_array().unwrap().iter().map(|v| &v["name"]).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let (mut taken, mut rows) = (BTreeSet::new(), 0);
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(place("x") + x < 24 && taken.insert((place("x") + x, place("y") + y)), "{panel} lies on another");
        }
        rows += usize::from(panel["type"] == "row");
        assert!(panel["type"] == "row" || panel["description"].as_str().is_some_and(|about| about.ends_with('.')));
    }
    assert!(rows >= 5, "{rows} rows");
}

#[test]
fn every_query_of_the_dashboard_finds_data_while_there_is_traffic() {
    if find(&["prometheus"], &["--version"]).is_none() {
        return missing("there is no Prometheus", REQUIRED);
    }
    let (stop, stopped) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1\ndata: one\n\n");
        stopped.take();
    });
    let mut proxy = Process::with_args(&[
        "--upstream",
        &format!("http://{}", script.address()),
        "--admin",
        "127.0.0.1:0",
        "--store",
        "memory",
    ]);
    let admin = proxy.admin();
    let mut client = proxy.client();
    client.get("/feed");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let prometheus = Prometheus::start(&folder("prometheus"), "1s", &[("segno", admin)], &printed(&["alerts"]));
    let scrapes = || prometheus.query("count_over_time(up[1m])").first().map(|found| found["value"][1].clone());
    until("it has scraped three times", || scrapes().is_some_and(|n| n.as_str().unwrap().parse::<u32>().unwrap() >= 3));
    for query in queries() {
        assert!(!prometheus.query(&query).is_empty(), "no data: {query}");
    }
    let rules = prometheus.get("/api/v1/rules");
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert_eq!(rules.len(), alerts().len());
    for rule in rules {
        assert!(rule["health"] != "err" && rule["state"] != "firing", "{rule}");
    }
    stop.give();
    script.end();
}
