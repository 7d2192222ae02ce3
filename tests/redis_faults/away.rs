//! Redis is killed under load and comes back with its data: many streams of the engine's trackers, and some through its
//! sockets, side by side in one run.
//!
//! In: `SEGNO_SECONDS`, for how long it is away (default 2, under 1,000 streams; given, under 10,000). Out: how late
//! events were and how long the reactor's turns took while it was there, away, and back; how long the lag took to come
//! down.

use crate::rig::WINDOW;
use crate::support::redis::Server;
use crate::support::{Client, rest, until};
use segno::Engine;
use segno::base::{Span, StreamName};
use segno::config::{Config, Ids, Route, StoreConfig, Upstream};
use segno::metrics::TURN_ENDS;
use segno::store::redis::{Address, open};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The time between two events of a stream.
const PACE: Duration = Duration::from_millis(100);

/// Streams through sockets.
const SOCKETS: usize = 20;

/// The slices of a run.
const SLICES: [&str; 3] = ["there", "away", "back"];

/// An upstream whose events say when they were sent, in microseconds of this clock.
fn upstream(began: Instant) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                    line.clear();
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
                for n in 1u64.. {
                    let event = format!("id: {n}\ndata: {}\n\n", began.elapsed().as_micros());
                    if stream.write_all(event.as_bytes()).is_err() {
                        return;
                    }
                    rest(PACE);
                }
            });
        }
    });
    address
}

/// What a run has shown, by slice.
#[derive(Default)]
struct Shown {
    slice: AtomicUsize,
    /// How late events were, in microseconds.
    late: [Mutex<Vec<u64>>; 3],
    over: AtomicBool,
}

fn read(address: SocketAddr, began: Instant, shown: &Shown, n: usize) {
    let mut client = Client::connect(address);
    client.get_events(&format!("/feed/{n}"));
    let mut reader = BufReader::new(client.socket().try_clone().unwrap());
    let mut line = String::new();
    while !shown.over.load(Ordering::Relaxed) && reader.read_line(&mut line).is_ok_and(|n| n > 0) {
        if let Some(sent) = line.strip_prefix("data: ").and_then(|text| text.trim().parse::<u64>().ok()) {
            let late = (began.elapsed().as_micros() as u64).saturating_sub(sent);
            shown.late[shown.slice.load(Ordering::Relaxed)].lock().unwrap().push(late);
        }
        line.clear();
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// Has the feeder end, also where the test fails.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The upper end of the bucket that this share of the turns between two looks fell into, in microseconds.
fn share(before: &[u64], after: &[u64], percent: u64) -> u64 {
    let turns: Vec<u64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    let wanted = turns.iter().sum::<u64>() * percent / 100;
    let mut sum = 0;
    let bucket = turns.iter().position(|n| {
        sum += n;
        sum > wanted
    });
    bucket.and_then(|at| TURN_ENDS.get(at)).copied().unwrap_or(u64::MAX)
}

/// What the engine says is durable, by name.
fn told(engine: &Engine) -> HashMap<StreamName, u64> {
    engine.streams().streams_from(0).map(|(_, published, durable)| ((*published.name).clone(), durable)).collect()
}

/// A reader of its own finds at least this.
fn check_stored(address: &Address, told: &HashMap<StreamName, u64>) {
    let mut store = open(address, None).unwrap();
    let (mut found, mut after) = (HashMap::new(), None);
    loop {
        let page = store.lookup.scan(after.as_ref(), 1_000).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page.into_iter().map(|(name, record)| (name, record.sequence)));
    }
    for (name, told) in told {
        let stored = found.get(name).copied().unwrap_or(0);
        assert!(stored >= *told, "{name:?}: {stored} is stored, and {told} was said to be durable");
    }
}

#[test]
fn streams_do_not_notice_that_redis_is_away_and_nothing_acknowledged_is_lost() {
    let given = std::env::var("SEGNO_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let (seconds, streams) = (Duration::from_secs(given.unwrap_or(2)), if given.is_some() { 10_000 } else { 1_000 });
    // With `everysec` Redis may acknowledge before the system has the write, and a kill then loses it.
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let (began, shown) = (Instant::now(), Arc::new(Shown::default()));
    let upstream = upstream(began);
    let mut route = Route::new(Upstream::parse(&format!("http://{upstream}")).unwrap());
    route.ids = Ids::Off;
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let store = StoreConfig::Redis { url: server.url() };
    let config = Config { listen, store, routes: vec![route].into(), ..Config::default() };
    let engine = Engine::builder().config(config).trackers(streams).start().unwrap();
    let clients: Vec<_> = (0..SOCKETS)
        .map(|n| {
            let (address, shown) = (engine.addresses()[0], Arc::clone(&shown));
            thread::spawn(move || read(address, began, &shown, n))
        })
        .collect();
    let mut trackers: Vec<_> = (0..streams)
        .map(|n| {
            let mut tracker = engine.tracker(format!("stream-{n}").as_bytes(), Span::from_secs(10)).unwrap();
            tracker.connected();
            tracker
        })
        .collect();
    let (persistence, lag) = (engine.metrics().persistence(), || -> Duration {
        engine.metrics().persistence().lag(engine.clock().now()).into()
    });
    let (address, over) = (Address::parse(&server.url()).unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        let end = Over(&over);
        let feeder = scope.spawn(|| {
            // A tenth of the streams each hundredth of a second.
            let (mut round, part) = (0u64, trackers.len().div_ceil(10));
            let mut next = Instant::now();
            while !over.load(Ordering::Relaxed) {
                round += 1;
                let text = format!("id: {round:020}\ndata: x\n\n");
                for tracker in trackers.chunks_mut(part) {
                    for tracker in tracker {
                        tracker.feed(text.as_bytes());
                        tracker.forward(|_| Ok(())).unwrap();
                    }
                    next += PACE / 10;
                    rest(next.saturating_duration_since(Instant::now()));
                }
            }
            round
        });
        until("cursors are written", || persistence.cursor_records.get() > streams as u64);
        let mut turns = vec![engine.metrics().turns().buckets()];
        let (mut lags, mut memory) = ([Duration::ZERO; 3], [0; 3]);
        let mut slice = |at: usize, time: Duration| {
            shown.slice.store(at, Ordering::Relaxed);
            let begun = Instant::now();
            while begun.elapsed() < time {
                rest(Duration::from_millis(5));
                lags[at] = lags[at].max(lag());
            }
            turns.push(engine.metrics().turns().buckets());
            memory[at] = resident();
        };
        slice(0, seconds);
        let before = told(&engine);
        server.kill();
        slice(1, seconds);
        let written = persistence.success.get();
        let acknowledged = told(&engine);
        server.again();
        let back = Instant::now();
        until("the store is open", || persistence.store_open.get() == 1);
        let open_after = back.elapsed();
        check_stored(&address, &before);
        until("the lag is back", || lag() < 2 * WINDOW);
        let caught_up = back.elapsed();
        check_stored(&address, &acknowledged);
        slice(2, seconds);
        drop(end);
        let rounds = feeder.join().unwrap();
        for (at, name) in SLICES.iter().enumerate() {
            let mut late = shown.late[at].lock().unwrap().clone();
            late.sort_unstable();
            assert!(late.len() > 20, "{name}: {} events", late.len());
            eprintln!(
                "{name}: {} events {} us late at the median, {} us at 99 %; turns {} us at the median, {} us at 99 %; \
                 lag {:?} at most; {} MiB",
                late.len(),
                late[late.len() / 2],
                late[late.len() * 99 / 100],
                share(&turns[at], &turns[at + 1], 50),
                share(&turns[at], &turns[at + 1], 99),
                lags[at],
                memory[at]
            );
        }
        eprintln!(
            "open {open_after:?} after it was back, all caught up {caught_up:?}; {rounds} rounds, {written} records"
        );
        let median = |at: usize| {
            let mut late = shown.late[at].lock().unwrap().clone();
            late.sort_unstable();
            late[late.len() / 2]
        };
        // Other processes take this machine's time as well: a store that holds the reactor up costs seconds.
        assert!(median(1) < 4 * median(0) + 20_000, "{} and {}", median(0), median(1));
        assert!(lags[1] > seconds / 2, "the lag tells that it is away");
        // The streams' own logs still fill in this time, whatever becomes of the store.
        let logs = (streams as u64 * seconds.as_secs() * 10 * 64) >> 20;
        assert!(memory[1] < memory[0] + 32 + logs, "memory grew from {} to {} MiB", memory[0], memory[1]);
        // How soon it is open again, is its own matter too: it loads its data, and is asked at least every five seconds.
        assert!(caught_up - open_after < Duration::from_secs(2), "{open_after:?}, {caught_up:?}");
    });
    let (flushed, done) = std::sync::mpsc::channel();
    engine.store().flush(Box::new(move |all| flushed.send(all).unwrap())).unwrap();
    assert!(done.recv_timeout(crate::support::PATIENCE).unwrap());
    let last = told(&engine);
    assert!(last.len() >= streams, "{}", last.len());
    check_stored(&address, &last);
    shown.over.store(true, Ordering::Relaxed);
    let left = engine.shutdown(Span::from_secs(10)).unwrap();
    assert!(!left.hung);
    clients.into_iter().for_each(|client| drop(client.join()));
}
