//! A full disk under the store of a real process: streams go on, the failure is counted and logged, and delivered
//! events are stored once there is space again.
//!
//! In: a limit on the size of files, set and lifted while the proxy runs. Writing beyond the limit fails as on a full
//! disk. Out: events, metrics, log lines, the stored cursors.
//! Law: the store never holds a cursor beyond what was delivered.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use support::process::{Process, metric, stored};
use support::store::Store;
use support::{Client, PATIENCE, Script, Signal, rest, signal};

/// A limit that lets only the head of a store's file be written.
const FULL: &str = "--fsize=4096:unlimited";
const SPACE: &str = "--fsize=unlimited";

fn event(id: usize) -> String {
    format!("id: {id}\ndata: {}\n\n", "x".repeat(8_000))
}

/// An upstream of one stream, which goes on until the signal or until the proxy leaves.
fn upstream() -> (Script, Signal) {
    let (over, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        for event in (1..).map(event) {
            if awaited.is_given() || !peer.pour(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()) {
                return;
            }
            rest(Duration::from_millis(1));
        }
    });
    (script, over)
}

/// A client of one stream, with the proxy's admin address.
struct Reader {
    client: Client,
    admin: SocketAddr,
    /// The number of the last event.
    last: usize,
}

impl Reader {
    fn open(proxy: &mut Process) -> Self {
        let (mut client, admin) = (proxy.client(), proxy.admin());
        client.open_events("/events");
        Self { client, admin, last: 0 }
    }

    /// Reads `count` events. They must come in order and with nothing between them.
    fn read(&mut self, count: usize) {
        for _ in 0..count {
            self.last += 1;
            let event = event(self.last);
            self.client.until(&event);
            assert!(self.client.text.starts_with(event.as_bytes()), "something came before event {}", self.last);
            self.client.text.drain(..event.len());
        }
    }

    /// Reads until `done`.
    fn read_until(&mut self, what: &str, done: impl Fn(SocketAddr) -> bool) {
        let begun = Instant::now();
        while !done(self.admin) {
            self.read(20);
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        }
    }

    /// Reads on to the end, on another thread.
    fn go_on(mut self) {
        thread::spawn(move || self.client.read_chunks(|_| ()));
    }
}

fn failures(admin: SocketAddr) -> u64 {
    metric(admin, "persistence_failure_total")
}

#[test]
fn cursors_that_a_full_disk_refused_are_written_when_it_has_space() {
    let ((script, over), store) = (upstream(), Store::new("disk-cursors"));
    let to = format!("http://{}", script.address());
    let mut proxy = Process::with_args(&["--upstream", &to, "--store", &store.flag(), "--admin", "127.0.0.1:0"]);
    let mut reader = Reader::open(&mut proxy);
    reader.read_until("a cursor is stored", |admin| stored(admin).is_some());
    proxy.limit(FULL);
    reader.read_until("the store has failed", |admin| failures(admin) >= 3);
    let line = proxy.until_said("the store refused cursors");
    assert!(line.contains(" WARN ") && line.contains("tried again"), "{line}");
    // The stream goes on, and what it delivers meanwhile is not stored.
    reader.read(100);
    let last = reader.last;
    assert!(proxy.grown() < 64 << 20, "its memory grew by {} bytes", proxy.grown());
    proxy.limit(SPACE);
    reader.read_until("the newest cursor is stored", |admin| stored(admin) >= Some(last));
    over.give();
    script.end();
    proxy.signal("TERM");
    reader.go_on();
    let (status, lines) = proxy.end();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(store.cursor() >= Some(last), "the store has {:?}, and {last} was delivered", store.cursor());
}

#[test]
fn log_blocks_that_filled_the_disk_are_counted_and_written_when_it_has_space() {
    let ((script, over), store) = (upstream(), Store::new("disk-logs"));
    let to = format!("http://{}", script.address());
    let flags = ["--upstream", &to, "--store", &store.flag(), "--admin", "127.0.0.1:0", "--durable"];
    // In blocks of 512 bytes: 3 MiB, above an empty store and below the log.
    let log = ["--replay-events", "100000", "--replay-bytes", "16MiB"];
    let mut proxy = Process::limited("-S -f 6144", &[&flags[..], &log].concat());
    let mut reader = Reader::open(&mut proxy);
    reader.read_until("the store is full", |admin| failures(admin) > 0);
    proxy.until_said("the store refused log blocks");
    reader.read(100);
    let before = metric(reader.admin, "persistence_log_blocks_total");
    proxy.limit(SPACE);
    reader.read_until("blocks are stored", |admin| metric(admin, "persistence_log_blocks_total") > before);
    over.give();
    script.end();
    proxy.signal("TERM");
    reader.go_on();
    assert_eq!(proxy.end().0.code(), Some(0));
}

#[test]
fn a_disk_that_stays_full_does_not_delay_the_end_and_unstored_cursors_are_logged() {
    let ((script, _over), store) = (upstream(), Store::new("disk-end"));
    let to = format!("http://{}", script.address());
    let mut proxy = Process::with_args(&["--upstream", &to, "--store", &store.flag(), "--admin", "127.0.0.1:0"]);
    let mut reader = Reader::open(&mut proxy);
    reader.read_until("a cursor is stored", |admin| stored(admin).is_some());
    proxy.limit(FULL);
    reader.read_until("the store has failed", |admin| failures(admin) > 0);
    let last = reader.last;
    reader.go_on();
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    let told = lines.iter().find(|line| line.contains("not stored: session /events")).expect("it names the stream");
    let id: usize = told
        .split("event id ")
        .nth(1)
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap();
    assert!(id >= last, "{told}, and {last} was delivered");
    assert_eq!(status.code(), Some(1), "{lines:#?}");
    // The cursor that the store acknowledged is still there.
    assert!(store.cursor().is_some_and(|stored| stored <= id), "{:?} is stored, {id} was delivered", store.cursor());
}
