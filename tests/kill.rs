//! `kill -9` of a proxy with many streams, at moments by chance: what the store says afterwards had been given to the
//! client's socket, and replay goes on from there.
//!
//! `SEGNO_ROUNDS` sets the number of kills, `SEGNO_SEED` the moments.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures of a long run are shown")]

use segno::base::Random;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

const STREAMS: usize = 50;

/// Between two events of a stream.
const PACE: Duration = Duration::from_millis(10);

/// Waits without sleeping: on a channel that nothing is ever sent on.
fn rest(time: Duration) {
    let (_open, nothing) = channel::<()>();
    assert_eq!(nothing.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

/// A feed that goes on behind the id it is asked with, for ever.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(move || feed(stream)))));
    address
}

fn feed(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let id = head.lines().find_map(|line| line.strip_prefix("Last-Event-ID: "));
    let mut n: u64 = id.map_or(0, |id| id.parse().unwrap());
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    loop {
        n += 1;
        if stream.write_all(format!("id: {n}\ndata: {n}\n\n").as_bytes()).is_err() {
            return;
        }
        rest(PACE);
    }
}

struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(upstream: SocketAddr, store: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_segno"))
            .args(["proxy", "--listen", "127.0.0.1:0", "--durable", "--upstream", &format!("http://{upstream}")])
            .args(["--store", &format!("redb:{}", store.display())])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let address = first.split("http://").nth(1).and_then(|rest| rest.split([',', ';', ' ']).next());
        let address = address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{first:?}"));
        thread::spawn(move || drop(lines.read_to_end(&mut Vec::new())));
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Reads a stream to its end; gives the events it got.
fn client(address: SocketAddr, n: usize, after: u64) -> Receiver<Vec<u64>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let id = if after > 0 { format!("Last-Event-ID: {after}\r\n") } else { String::new() };
        let request = format!("GET /s/{n} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{id}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        // The end is a kill: an end or a reset.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        // Only whole events are forwarded, but the last chunk may be cut.
        let whole = body.rfind("\n\n").map_or("", |at| &body[..at]);
        let events = whole.split('\n').filter_map(|line| line.strip_prefix("data: ")?.trim().parse().ok()).collect();
        let _ = sender.send(events);
    });
    receiver
}

/// The stored cursors, by stream.
fn stored(store: &Path) -> HashMap<usize, u64> {
    let out = Command::new(env!("CARGO_BIN_EXE_segno"))
        .args(["sessions", "--json", "--store", &format!("redb:{}", store.display())])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let mut cursors = HashMap::new();
    for record in json["sessions"].as_array().unwrap() {
        let name = record["session"].as_str().unwrap();
        let n = name.strip_prefix("/s/").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
        let id: u64 = record["last_event_id"].as_str().unwrap().parse().unwrap();
        let cursor = cursors.entry(n).or_insert(0);
        *cursor = id.max(*cursor);
    }
    cursors
}

#[test]
fn what_is_stored_was_delivered_and_replay_goes_on_from_it() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let (rounds, seed) = (number("SEGNO_ROUNDS", 4), number("SEGNO_SEED", 1));
    let mut random = Random::new(seed);
    let store = std::env::temp_dir().join(format!("segno-kill-{}.redb", std::process::id()));
    let _ = std::fs::remove_file(&store);
    let upstream = upstream();
    let mut got = vec![0u64; STREAMS];
    let mut behind = Vec::new();
    for round in 0..rounds {
        let proxy = Proxy::start(upstream, &store);
        let clients: Vec<_> = (0..STREAMS).map(|n| client(proxy.address, n, got[n])).collect();
        rest(Duration::from_micros(300_000 + random.below(500_000)));
        proxy.kill();
        for (n, client) in clients.into_iter().enumerate() {
            let events = client.recv().unwrap();
            let expected: Vec<u64> = (got[n] + 1..).take(events.len()).collect();
            assert_eq!(events, expected, "round {round}, stream {n}: lost, repeated or out of order");
            got[n] += events.len() as u64;
        }
        let cursors = stored(&store);
        for (n, got) in got.iter().enumerate().filter(|(_, got)| **got > 0) {
            let cursor = cursors.get(&n).copied().unwrap_or(0);
            assert!(cursor <= *got, "round {round}, stream {n}: {cursor} is stored, {got} had been delivered");
            behind.push(got - cursor);
        }
    }
    behind.sort_unstable();
    let at = |share: usize| behind[(behind.len() - 1) * share / 1_000];
    eprintln!(
        "{rounds} kills, {} streams looked at: events behind, in the middle {}, 99 % {}, at most {} (an event is {PACE:?})",
        behind.len(),
        at(500),
        at(990),
        at(1_000)
    );
    assert!(at(500) <= 200, "cursors are not written");
    let _ = std::fs::remove_file(&store);
}
