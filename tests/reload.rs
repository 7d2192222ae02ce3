//! A running proxy takes other configurations over, by a signal, by a request and by itself, and no stream notices.
//!
//! In: streams under load, a file that changes, signals, requests to the admin address. Out: every event that each
//! client got, log lines, answers, metrics.
//! Laws: nothing is lost, repeated or cut by a reload; a file with a mistake changes nothing and is told of with its
//! line and column.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use support::process::Process;
use support::{Client, End, rest};

/// Streams that run while the configuration changes.
const STREAMS: usize = 16;

/// Reloads, every third of them of a broken file.
const RELOADS: usize = 100;

/// An upstream that sends numbered events on every connection until it is told to end them.
struct Feed {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Feed {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let over = Arc::clone(&over);
                thread::spawn(move || serve(stream, &over));
            }
        });
        Self { address, is_over }
    }
}

fn serve(mut stream: TcpStream, is_over: &AtomicBool) {
    let mut head = [0; 4_096];
    if stream.read(&mut head).is_err() {
        return;
    }
    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = stream.write_all(begin.as_bytes());
    for n in 1_u64.. {
        let event = format!("id: {n}\ndata: {n}\n\n");
        if stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).is_err() {
            return;
        }
        if is_over.load(Ordering::Relaxed) {
            let _ = stream.write_all(b"0\r\n\r\n");
            return;
        }
        rest(Duration::from_millis(2));
    }
}

/// A client that reads its stream to the end. Returns how many events it got; fails if one is missing or comes twice.
fn read(mut client: Client) -> JoinHandle<u64> {
    client.open_events("/feed");
    thread::spawn(move || {
        let mut text = Vec::new();
        let end = client.read_chunks(|piece| text.extend_from_slice(piece));
        assert_eq!(end, End::Whole, "a stream was cut");
        let text = String::from_utf8(text).unwrap();
        let ids: Vec<u64> = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
        assert!(ids.iter().copied().eq(1..=ids.len() as u64), "lost or repeated: {ids:?}");
        ids.len() as u64
    })
}

struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("segno-{}-{name}.toml", std::process::id())))
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    fn start(&self, more: &[&str]) -> Process {
        let path = self.0.to_str().unwrap();
        let flags = ["--config", path, "--store", "memory", "--admin", "127.0.0.1:0"];
        Process::with_args(&[&flags[..], more].concat())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn metric(admin: SocketAddr, name: &str) -> String {
    let mut client = Client::connect(admin);
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    let page = client.answer();
    let line = page.text().lines().find_map(|line| line.strip_prefix(&format!("segno_{name} ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {}", page.text()))
}

#[test]
fn a_hundred_reloads_under_load_every_third_file_broken_and_no_stream_notices() {
    let (old, new) = (Feed::start(), Feed::start());
    let file = File::new("hundred");
    let route = |more: &str| format!("[[route]]\nupstream = \"http://{}\"\n{more}", old.address);
    file.write(&route(""));
    let mut proxy = file.start(&[]);
    let admin = proxy.admin();
    let readers: Vec<JoinHandle<u64>> = (0..STREAMS).map(|_| read(proxy.client())).collect();
    for n in 0..RELOADS {
        let heal = format!("heal_for = \"{}s\"\n", 10 + n);
        let other = format!("[[route]]\npath = \"/new\"\nupstream = \"http://{}\"\n", new.address);
        let said = match n % 3 {
            0 => {
                file.write(&route(&heal));
                "reloaded the configuration (SIGHUP): changed: route /"
            }
            1 => {
                file.write(&format!("{}{other}", route(&heal)));
                "reloaded the configuration (SIGHUP): changed: route /, new route /new"
            }
            _ => {
                file.write(&route("heel_for = \"1s\"\n"));
                ":3:1: unknown key `heel_for`: did you mean `heal_for`?"
            }
        };
        proxy.signal("HUP");
        proxy.until_said(said);
    }
    // The last file but one is sound and has the new route; the one after it takes the route away.
    file.write(&format!("{}[[route]]\npath = \"/new\"\nupstream = \"http://{}\"\n", route(""), new.address));
    proxy.signal("HUP");
    proxy.until_said("reloaded the configuration (SIGHUP): ");
    let mut client = proxy.client();
    client.open_events("/new/feed");
    client.until("id: 3\n");
    let taken: u64 = metric(admin, "config_reloads_total{outcome=\"taken\"}").parse().unwrap();
    let refused: u64 = metric(admin, "config_reloads_total{outcome=\"refused\"}").parse().unwrap();
    assert_eq!((taken, refused), (RELOADS as u64 - RELOADS as u64 / 3 + 1, RELOADS as u64 / 3));
    assert_eq!(metric(admin, "config_last_reload_successful"), "1");
    // Every stream has gone on through all of it.
    old.is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        let events = reader.join().expect("a stream without a fault");
        assert!(events > 50, "{events} events: the test shows nothing");
    }
    assert_eq!(support::process::metric(admin, "upstream_cuts_total"), 0);
    new.is_over.store(true, Ordering::Relaxed);
}

#[test]
fn a_request_and_the_command_reload_and_tell_what_takes_a_restart_and_what_is_wrong() {
    let feed = Feed::start();
    let file = File::new("request");
    let route = format!("[[route]]\nupstream = \"http://{}\"\n", feed.address);
    file.write(&route);
    let mut proxy = file.start(&[]);
    let admin = proxy.admin();
    let ask = |method: &str, more: &str| {
        let mut client = Client::connect(admin);
        client.send(format!("{method} /reload HTTP/1.1\r\nHost: {more}\r\nContent-Length: 0\r\n\r\n"));
        client.answer()
    };
    file.write(&format!("flush_window = \"1s\"\n[limits]\nstreams = 9\ntunnels = 3\n{route}window = 9\n"));
    let told = ask("POST", &admin.to_string());
    assert_eq!(told.status, 200, "{told:?}");
    let told: serde_json::Value = serde_json::from_str(told.text()).unwrap();
    assert_eq!(told["needs_restart"], serde_json::json!(["flush_window", "streams"]));
    assert_eq!(told["changed"], serde_json::json!(["tunnels", "route /"]));
    proxy.until_said("these take a restart: flush_window, streams");

    file.write(&format!("{route}\nlingre = \"1s\"\n"));
    let told = ask("POST", &admin.to_string());
    assert_eq!(told.status, 422, "{told:?}");
    let told: serde_json::Value = serde_json::from_str(told.text()).unwrap();
    let problem = &told["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&4.into(), &1.into()), "{told}");
    assert_eq!(metric(admin, "config_last_reload_successful"), "0");

    assert_eq!(ask("GET", &admin.to_string()).status, 405);
    assert_eq!(ask("POST", "evil.example").status, 421, "a page of another name");

    let command = |variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
        command.arg("reload").env("SEGNO_ADMIN", variable).output().unwrap()
    };
    let refused = command(&admin.to_string());
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stdout).contains("did you mean `linger`?"), "{refused:?}");
    file.write(&route);
    let taken = command(&admin.to_string());
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    assert!(String::from_utf8_lossy(&taken.stdout).contains("\"outcome\":\"reloaded\""), "{taken:?}");
}

#[test]
fn what_a_reload_brings_is_counted_by_its_name_and_shown_to_who_watches_and_obeyed_by_orders() {
    let (old, new) = (Feed::start(), Feed::start());
    let file = File::new("brings");
    let route = format!("[[route]]\nupstream = \"http://{}\"\n", old.address);
    file.write(&route);
    let mut proxy = file.start(&[]);
    let admin = proxy.admin();
    let mut viewer = Client::connect(admin);
    viewer.send(format!("GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    let other = format!("[[route]]\npath = \"/new\"\nupstream = \"http://{}\"\n", new.address);
    file.write(&format!(
        "drain_timeout = \"7s\"\ndrain_spread = \"0s\"\n[limits]\nlog_budget = \"8MiB\"\n{route}{other}"
    ));
    proxy.signal("HUP");
    proxy.until_said("changed: drain_spread, drain_timeout, log_budget, new route /new");
    let mut client = proxy.client();
    client.open_events("/new/feed");
    client.until("id: 3\n");
    let events = || metric(admin, "events_received_total{route=\"/new\"}").parse::<u64>().unwrap();
    support::until("its events are counted", || events() >= 3);
    // Both the one that watches and one that comes now see the new upstream and the new budget.
    let mut late = Client::connect(admin);
    late.send(format!("GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    for viewer in [&mut viewer, &mut late] {
        let (mut told, mut room) = (Vec::new(), [0; 4_096]);
        let shown = format!("\"log_budget\":{}", 8 << 20);
        let is_shown = |told: &[u8]| {
            let text = String::from_utf8_lossy(told);
            text.lines().any(|line| line.contains(&shown) && line.contains(&new.address.to_string()))
        };
        while !is_shown(&told) {
            let n = viewer.read(&mut room);
            assert_ne!(n, 0, "{}", String::from_utf8_lossy(&told));
            told.extend_from_slice(&room[..n]);
        }
    }
    let mut order = Client::connect(admin);
    order.send(format!("POST /drain HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(order.answer().text(), "{\"draining\":true,\"seconds\":7}\n");
}

#[test]
fn with_watch_a_file_that_has_changed_is_taken_over_also_when_it_is_replaced() {
    let feed = Feed::start();
    let file = File::new("watch");
    let route = format!("[[route]]\nupstream = \"http://{}\"\n", feed.address);
    file.write(&route);
    let mut proxy = file.start(&["--watch"]);
    file.write(&format!("{route}window = 7\n"));
    proxy.until_said("reloaded the configuration (its file has changed): changed: route /");
    let beside = File::new("watch-beside");
    beside.write(&format!("{route}window = 8\n"));
    fs::rename(&beside.0, &file.0).unwrap();
    proxy.until_said("reloaded the configuration (its file has changed): changed: route /");
}
