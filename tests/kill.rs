//! `kill -9` of a proxy with many streams, at random moments.
//!
//! In: `SEGNO_ROUNDS` sets the number of kills, `SEGNO_SEED` the moments. Out: stored cursors, events, requests to
//! upstream.
//! Laws: each stored cursor was delivered to the client's socket, and is only a little behind it; after a restart,
//! replay goes on from the stored cursor, out of the stored log and not from upstream.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures of a long run are shown")]

use segno::base::Random;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const STREAMS: usize = 50;

/// The time between two events of a stream.
const PACE: Duration = Duration::from_millis(10);

/// How many events a cursor may be behind at the median: the events of the flush window of 100 ms, and one and a half
/// times as many for the commit and a busy machine. If no cursor were written, the second kill would exceed this.
const BEHIND: u64 = 25;

/// How many events before the stored cursor a client begins that reads from the stored log.
const BACK: u64 = 30;

/// Waits for a time without sleeping: on a channel on which nothing is ever sent.
fn rest(time: Duration) {
    let (_open, nothing) = channel::<()>();
    assert_eq!(nothing.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

/// An endless feed that goes on after the id of the request. Each event says in which round it was sent.
#[derive(Clone, Default)]
struct Feed {
    round: Arc<AtomicU64>,
    /// For each stream and round, the id of its first request.
    asked: Arc<Mutex<HashMap<(usize, u64), u64>>>,
}

impl Feed {
    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, feed) = (listener.local_addr().unwrap(), self.clone());
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| {
                let feed = feed.clone();
                drop(thread::spawn(move || feed.serve(stream)));
            });
        });
        address
    }

    fn serve(&self, mut stream: TcpStream) {
        let round = self.round.load(Ordering::SeqCst);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let id = head.lines().find_map(|line| line.strip_prefix("Last-Event-ID: "));
        let mut n: u64 = id.map_or(0, |id| id.parse().unwrap());
        let target = head.split(' ').nth(1).and_then(|target| target.strip_prefix("/s/")).unwrap();
        self.asked.lock().unwrap().entry((target.parse().unwrap(), round)).or_insert(n);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        loop {
            n += 1;
            if stream.write_all(format!("id: {n}\ndata: {n} {round}\n\n").as_bytes()).is_err() {
                return;
            }
            rest(PACE);
        }
    }

    /// The id of the first request for this stream in this round.
    fn asked(&self, n: usize, round: u64) -> Option<u64> {
        self.asked.lock().unwrap().get(&(n, round)).copied()
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

/// Reads a stream to its end. The receiver gets the events, each with the round in which it was sent.
fn client(address: SocketAddr, n: usize, after: u64) -> Receiver<Vec<(u64, u64)>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let id = if after > 0 { format!("Last-Event-ID: {after}\r\n") } else { String::new() };
        let request = format!("GET /s/{n} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{id}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        // The kill shows as an end or as a reset.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        // Only whole events are forwarded, but the last chunk may be cut.
        let whole = body.rfind("\n\n").map_or("", |at| &body[..at]);
        let event = |line: &str| {
            let (n, round) = line.strip_prefix("data: ")?.split_once(' ')?;
            Some((n.parse().ok()?, round.trim().parse().ok()?))
        };
        let _ = sender.send(whole.split('\n').filter_map(event).collect());
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
    let feed = Feed::default();
    let upstream = feed.start();
    let mut got = vec![0u64; STREAMS];
    let mut cursors = HashMap::new();
    let (mut behind, mut replayed) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        feed.round.store(round, Ordering::SeqCst);
        let proxy = Proxy::start(upstream, &store);
        // One half of the clients goes on after the last event it has; the other begins again before the stored cursor.
        let after = |n: usize| match cursors.get(&n) {
            Some(cursor) if n % 2 == 1 => u64::saturating_sub(*cursor, BACK),
            _ => got[n],
        };
        let after: Vec<u64> = (0..STREAMS).map(after).collect();
        let clients: Vec<_> = (0..STREAMS).map(|n| client(proxy.address, n, after[n])).collect();
        rest(Duration::from_micros(300_000 + random.below(500_000)));
        proxy.kill();
        for (n, client) in clients.into_iter().enumerate() {
            let (events, sent): (Vec<u64>, Vec<u64>) = client.recv().unwrap().into_iter().unzip();
            let expected: Vec<u64> = (after[n] + 1..).take(events.len()).collect();
            assert_eq!(events, expected, "round {round}, stream {n}: lost, repeated or out of order");
            // Events of an earlier round came out of the log, and upstream was not asked for them.
            let old = sent.iter().take_while(|sent| **sent < round).count() as u64;
            assert!(sent.iter().skip(old as usize).all(|sent| *sent == round), "round {round}, stream {n}: {sent:?}");
            if let Some(asked) = feed.asked(n, round).filter(|_| !events.is_empty()) {
                assert_eq!(asked, after[n] + old, "round {round}, stream {n}: upstream sent what was replayed");
            }
            if n % 2 == 1 && after[n] > 0 {
                replayed.push(old);
            }
            got[n] = got[n].max(after[n] + events.len() as u64);
        }
        cursors = stored(&store);
        for (n, got) in got.iter().enumerate().filter(|(_, got)| **got > 0) {
            let cursor = cursors.get(&n).copied().unwrap_or(0);
            assert!(cursor <= *got, "round {round}, stream {n}: {cursor} is stored, {got} had been delivered");
            behind.push(got - cursor);
        }
    }
    behind.sort_unstable();
    replayed.sort_unstable();
    let at = |all: &[u64], share: usize| all.get(all.len().saturating_sub(1) * share / 1_000).copied().unwrap_or(0);
    eprintln!(
        "{rounds} kills, {} streams looked at: events behind, in the middle {}, 99 % {}, at most {} (an event is {PACE:?}); \
         replayed, in the middle {} of {}",
        behind.len(),
        at(&behind, 500),
        at(&behind, 990),
        at(&behind, 1_000),
        at(&replayed, 500),
        replayed.len()
    );
    assert!(at(&behind, 500) <= BEHIND, "cursors are written late or not at all: {behind:?}");
    assert!(rounds < 2 || at(&replayed, 500) >= BACK / 3, "stored logs are hardly replayed: {replayed:?}");
    let _ = std::fs::remove_file(&store);
}
