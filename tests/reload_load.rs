//! A hundred reloads of a real proxy under a thousand streams, while clients come and go.
//!
//! In: one upstream that sends each stream ten events a second, files that add and take away routes, raise and lower
//! limits, and every third of which is broken; signals. Out: every event that each client got, answers, metrics, memory
//! and descriptors of the process.
//! Laws: no stream notices; who comes is served by one configuration or the other; what a configuration took is given
//! back after the next one.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::process::{Process, metric};
use support::{Client, rest, until};

const STREAMS: usize = 1_000;
const RELOADS: usize = 100;

/// The time between two events of a stream.
const EVENTS: Duration = Duration::from_millis(100);

/// Routes that each sound file has beside those that serve, so that what is not given back shows.
const OTHERS: usize = 400;

/// By how much the process may grow from the twentieth reload to the last. Of configurations that are not given back, these would take 23 MiB.
const GROWN: u64 = 12 << 20;

/// An upstream that sends all its streams an event at a time, and answers whatever else is asked at once.
struct Upstream {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (all, over) = (Arc::clone(&streams), Arc::clone(&is_over));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                stream.set_nodelay(true).unwrap();
                let mut head = [0; 4_096];
                let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                if matches!(stream.read(&mut head), Ok(1..)) && stream.write_all(begin.as_bytes()).is_ok() {
                    all.lock().unwrap().push((stream, 0_u64));
                }
            }
        });
        thread::spawn(move || {
            let mut next = Instant::now();
            loop {
                next += EVENTS;
                rest(next.saturating_duration_since(Instant::now()));
                let ends = over.load(Ordering::Relaxed);
                streams.lock().unwrap().retain_mut(|(stream, n)| send_next(stream, n, ends));
                if ends {
                    return;
                }
            }
        });
        Self { address, is_over }
    }
}

/// Sends the next event, and the end where it is time for it. False: the stream is over.
fn send_next(stream: &mut TcpStream, n: &mut u64, ends: bool) -> bool {
    *n += 1;
    let event = format!("id: {n}\ndata: {n}\n\n");
    let end = if ends { "0\r\n\r\n" } else { "" };
    stream.write_all(format!("{:x}\r\n{event}\r\n{end}", event.len()).as_bytes()).is_ok() && !ends
}

/// A configuration. `n` says which of the limits and routes it has.
fn sound(upstream: SocketAddr, n: usize) -> String {
    let low = n % 2 == 1;
    let (log, buffers, in_flight) = if low { ("2MiB", "1MiB", 200) } else { ("256MiB", "64MiB", 100_000) };
    let (tunnels, per_session) = if low { (0, 1_200) } else { (100, 10_000) };
    let limits = format!(
        "[limits]\nlog_budget = \"{log}\"\nbuffer_budget = \"{buffers}\"\nrequests_in_flight = {in_flight}\n\
         tunnels = {tunnels}\nstreams_per_session = {per_session}\nconnections_per_address = {}\n",
        if low { 1_100 } else { 0 }
    );
    let mut text = format!(
        "{limits}[defaults]\nlinger = \"0s\"\nids = \"off\"\n[[route]]\nupstream = \"http://{upstream}\"\nheal_for = \"{}s\"\n",
        10 + n
    );
    for other in 0..OTHERS {
        let upstream = format!("http://127.0.0.1:{}", 1_000 + n + other);
        text.push_str(&format!("[[route]]\npath = \"/other-{n}-{other}\"\nupstream = \"{upstream}\"\n"));
    }
    if low {
        text.push_str(&format!("[[route]]\npath = \"/now-and-then\"\nupstream = \"http://{upstream}/\"\n"));
    }
    text
}

/// Clients that come, read two events and leave, until it is over. Each must be served.
fn come_and_go(proxy: SocketAddr, served: &AtomicU64, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        for target in ["/feed", "/now-and-then"] {
            let mut client = Client::connect(proxy);
            client.open_events(target);
            client.until("id: 2\n");
            client.close();
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The file of the configuration, which goes with the test.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_hundred_reloads_under_a_thousand_streams_every_third_file_broken() {
    let own = std::process::id().to_string();
    assert!(Command::new("prlimit").args(["--nofile=8192:", "--pid", &own]).status().unwrap().success());
    let upstream = Upstream::start();
    let file = File(std::env::temp_dir().join(format!("segno-{own}-load.toml")));
    let write = |text: &str| fs::write(&file.0, text).unwrap();
    write(&sound(upstream.address, 0));
    let path = file.0.to_str().unwrap();
    let mut proxy = Process::with_args(&["--config", path, "--store", "memory", "--admin", "127.0.0.1:0"]);
    let (admin, address) = (proxy.admin(), proxy.address());
    let readers: Vec<_> = (0..STREAMS).map(|_| proxy.client().read_numbered("/feed")).collect();
    until("every stream has a first event", || metric(admin, "events_sent_total") >= STREAMS as u64);
    let served = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let (mut early, mut descriptors) = (0, 0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| come_and_go(address, &served, &is_over));
        }
        for n in 1..=RELOADS {
            let said = if n % 3 == 2 {
                write(&sound(upstream.address, n).replace("\nids = \"off\"", "\nidz = \"off\""));
                ":10:1: unknown key `idz`: did you mean `ids`?"
            } else {
                write(&sound(upstream.address, n));
                "reloaded the configuration (SIGHUP): changed: "
            };
            proxy.signal("HUP");
            proxy.until_said(said);
            if n == RELOADS / 5 {
                (early, descriptors) = (proxy.resident(), proxy.descriptors());
            }
            rest(Duration::from_millis(60));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let (late, served) = (proxy.resident(), served.load(Ordering::Relaxed));
    assert!(served > 100, "{served} clients came and went: the test shows nothing");
    let taken = metric(admin, "config_reloads_total");
    assert_eq!(taken, RELOADS as u64);
    assert!(late < early + GROWN, "{early} bytes after the twentieth reload, {late} after the last");
    until("who has left holds no descriptor", || proxy.descriptors() <= descriptors);
    // The routes of earlier configurations that nothing uses have given their places back.
    write(&sound(upstream.address, 0));
    proxy.signal("HUP");
    proxy.until_said("reloaded the configuration (SIGHUP): changed: ");

    upstream.is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        let events = reader.join().expect("a stream without a fault");
        assert!(events > 30, "{events} events: the test shows nothing");
    }
    assert_eq!((metric(admin, "upstream_cuts_total"), metric(admin, "gaps_total")), (0, 0));
}
