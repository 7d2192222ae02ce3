//! The program and the engine over a store on Redis: wrong passwords, servers that are away, come back or are killed,
//! two engines with the same streams, and what all of it costs the server.
//!
//! In: `redis-server` or `valkey-server`, which `SEGNO_REQUIRE_REDIS=1` demands. Out: log lines, exit codes, events,
//! stored cursors, the server's own counts.
//! Laws: streams go on whatever Redis does; what was acknowledged is there after it was killed; a cursor never moves
//! back; no line has a password.
#![cfg(all(unix, feature = "redis", feature = "cli"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::Span;
use segno::config::{Config, StoreConfig};
use segno::engine::{Engine, InlineTracker};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::process::{Process, metric, page, stored};
use support::redis::Server;
use support::{Client, PATIENCE, Script, event, until};

/// An upstream of one stream, which sends an event for each number that the test asks for.
fn upstream() -> (Script, mpsc::Sender<usize>) {
    let (send, wanted) = mpsc::channel::<usize>();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        for n in wanted {
            peer.send_chunk(event(n));
        }
    });
    (script, send)
}

/// Sends event `n` and reads it as the client.
fn pass(n: usize, upstream: &mpsc::Sender<usize>, client: &mut Client) {
    upstream.send(n).unwrap();
    client.until(event(n));
}

/// Lets time pass.
fn pause(time: Duration) {
    let (_sender, nothing) = mpsc::channel::<()>();
    assert!(nothing.recv_timeout(time).is_err());
}

fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_segno")).args(arguments).env("NO_COLOR", "1").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn a_wrong_password_stops_the_start_with_user_and_host() {
    let Some(server) = Server::start(&["--requirepass", "sesame"]) else { return };
    let store = format!("redis://me:hush@127.0.0.1:{}", server.port);
    let proxy = ["proxy", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--store", &store];
    for arguments in [&proxy[..], &["sessions", "--store", &store]] {
        let (code, out, told) = program(arguments);
        assert!(matches!(code, Some(1 | 2)) && out.is_empty(), "{told}");
        assert!(told.contains("user `me`") && told.contains(&format!("127.0.0.1:{}", server.port)), "{told}");
        assert!(!told.contains("hush"), "{told}");
    }
}

#[test]
fn the_proxy_starts_without_redis_says_so_and_stores_once_it_is_there() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.kill();
    let ((script, send), store) = (upstream(), format!("redis://:hush@127.0.0.1:{}", server.port));
    let to = format!("http://{}", script.address());
    let mut proxy = Process::with_args(&["--upstream", &to, "--store", &store, "--admin", "127.0.0.1:0"]);
    let admin = proxy.admin();
    let line = proxy.until_said("the store cannot be opened");
    assert!(line.contains("nothing is written until one succeeds") && !line.contains("hush"), "{line}");
    assert!(proxy.listening().contains("store redis://127.0.0.1") && !proxy.listening().contains("hush"));
    let mut client = proxy.client();
    client.open_events("/events");
    pass(1, &send, &mut client);
    assert_eq!(metric(admin, "persistence_store_open"), 0);
    // A user without a password is let in: there is none.
    server.again();
    server.cli(&["ACL", "SETUSER", "default", ">hush"]);
    until("the cursor is stored", || stored(admin) == Some(1));
    // It goes away again, and the stream goes on.
    server.kill();
    for n in 2..10 {
        pass(n, &send, &mut client);
    }
    until("the store is known to be away", || metric(admin, "persistence_store_open") == 0);
    pass(10, &send, &mut client);
    let lag = |page: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix("segno_persistence_lag_seconds "));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
    };
    until("the lag grows", || lag(&page(admin, "/metrics")) > 0.1);
    server.again();
    server.cli(&["ACL", "SETUSER", "default", ">hush"]);
    until("the newest cursor is stored", || stored(admin) == Some(10));
    let (code, out, told) = program(&["sessions", "--store", &store]);
    assert!(code == Some(0) && out.contains("/events") && out.contains("10"), "{out}{told}");
    drop(send);
    script.end();
}

/// Waits until everything published is durable. False: the engine ended before.
fn flush(engine: &Engine) -> bool {
    let (done, wait) = mpsc::channel();
    engine.store().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
    wait.recv().unwrap()
}

fn engine(url: &str) -> Engine {
    let config = Config { listen: Vec::new(), store: StoreConfig::parse(url).unwrap(), ..Config::default() };
    Engine::builder().config(config).trackers(10_000).start().unwrap()
}

/// Feeds one tracker events from `first` to `last`, and forwards them.
fn feed(tracker: &mut InlineTracker, first: u64, last: u64) {
    let mut bytes = String::new();
    (first..=last).for_each(|n| write!(bytes, "id: {n}\ndata: x\n\n").unwrap());
    tracker.feed(bytes.as_bytes());
    tracker.forward(|_| Ok(())).unwrap();
}

#[test]
fn what_was_acknowledged_is_there_after_redis_was_killed_under_load() {
    let Some(mut server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let engine = engine(&server.url());
    let mut trackers: Vec<InlineTracker> =
        (0..50u64).map(|n| engine.tracker(&n.to_le_bytes(), Span::from_secs(5)).unwrap()).collect();
    let mut last = 0;
    for round in 0..4 {
        for _ in 0..20 {
            trackers.iter_mut().for_each(|tracker| feed(tracker, last + 1, last + 5));
            last += 5;
        }
        assert!(flush(&engine), "round {round}");
        let acknowledged = last;
        // More is on its way while the server is killed.
        trackers.iter_mut().for_each(|tracker| feed(tracker, last + 1, last + 5));
        last += 5;
        server.kill();
        trackers.iter_mut().for_each(|tracker| feed(tracker, last + 1, last + 5));
        last += 5;
        server.again();
        let mut found = HashMap::new();
        until("the server has loaded its file", || {
            let store = segno::store::redis::Address::parse(&server.url()).unwrap();
            let Ok(mut store) = segno::store::redis::open(&store, None) else { return false };
            let Ok(records) = store.lookup.scan(None, 100) else { return false };
            found = records.into_iter().map(|(name, record)| (name, record.sequence)).collect();
            true
        });
        assert_eq!(found.len(), 50, "round {round}");
        assert!(found.values().all(|sequence| *sequence >= acknowledged), "round {round}: {acknowledged}, {found:?}");
    }
    assert!(flush(&engine));
    drop(trackers);
    assert!(engine.shutdown(Span::from_secs(5)).unwrap().cursors.is_empty());
}

/// What the server has had since its counts were set back.
struct Load {
    commands: u64,
    received: u64,
    sent: u64,
}

fn load(server: &Server) -> Load {
    let bytes = server.cli(&["INFO", "stats"]);
    let bytes = |name: &str| bytes.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap();
    let (received, sent) = (bytes("total_net_input_bytes:"), bytes("total_net_output_bytes:"));
    let calls = |line: &str| -> Option<u64> { line.split("calls=").nth(1)?.split(',').next()?.parse().ok() };
    // Commands within scripts are among them.
    let stats = server.cli(&["INFO", "commandstats"]);
    let own = ["cmdstat_info", "cmdstat_config", "cmdstat_client", "cmdstat_ping"];
    let lines = stats.lines().filter(|line| !own.iter().any(|name| line.starts_with(name)));
    Load { commands: lines.filter_map(calls).sum(), received, sent }
}

/// Seconds that a variable gives, or else `otherwise`.
fn seconds(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// A connection that sends commands as they are, and counts answers.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends commands in one round trip. Each has one line as its answer, but for `lines` more in all.
    fn ask(&mut self, commands: &[&[&str]], lines: usize) {
        let mut packed = String::new();
        for words in commands {
            write!(packed, "*{}\r\n", words.len()).unwrap();
            words.iter().for_each(|word| write!(packed, "${}\r\n{word}\r\n", word.len()).unwrap());
        }
        self.0.get_mut().write_all(packed.as_bytes()).unwrap();
        for _ in 0..commands.len() + lines {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            assert!(line.ends_with('\n') && !line.starts_with('-'), "{line}");
        }
    }
}

/// Events of one stream in the schemes that segno is compared with.
const EVENTS: u64 = 1_000;

/// A `SET` for each event, with an expiry, so many to a round trip.
fn naive(server: &Server, at_once: u64) -> Load {
    let mut raw = Raw::to(server);
    server.cli(&["CONFIG", "RESETSTAT"]);
    for first in (0..EVENTS).step_by(at_once as usize) {
        let ids: Vec<String> = (first..first + at_once).map(|n| format!("{:032x}", u128::from(n) << 64)).collect();
        let key = "cursor:0123456789abcdef0123456789abcdef";
        let commands: Vec<[&str; 5]> = ids.iter().map(|id| ["SET", key, id, "EX", "86400"]).collect();
        raw.ask(&commands.iter().map(|command| &command[..]).collect::<Vec<_>>(), 0);
    }
    load(server)
}

/// What vercel/resumable-stream 2.2 asks for a stream: a sentinel, two subscriptions, and for each reader that comes
/// back a `PUBLISH` for each chunk. It keeps no cursor.
fn resumable_stream(server: &Server, readers: usize) -> Load {
    let (mut publisher, mut subscriber, mut back) = (Raw::to(server), Raw::to(server), Raw::to(server));
    let chunk = format!("data: {}\n\n", "x".repeat(248));
    let sentinel = "resumable-stream:rs:sentinel:0123456789abcdef0123456789abcdef";
    let topics =
        ["request", "cancel"].map(|what| format!("resumable-stream:rs:{what}:0123456789abcdef0123456789abcdef"));
    let listener = "resumable-stream:rs:chunk:01234567-89ab-cdef-0123-456789abcdef";
    server.cli(&["FLUSHALL"]);
    server.cli(&["CONFIG", "RESETSTAT"]);
    publisher.ask(&[&["INCR", sentinel]], 0);
    topics.iter().for_each(|topic| subscriber.ask(&[&["SUBSCRIBE", topic]], 5));
    for _ in 0..readers {
        publisher.ask(&[&["INCR", sentinel]], 0);
        back.ask(&[&["SUBSCRIBE", listener]], 5);
        let request = r#"{"listenerId":"01234567-89ab-cdef-0123-456789abcdef","skipCharacters":0}"#;
        publisher.ask(&[&["PUBLISH", &topics[0], request], &["PUBLISH", listener, ""]], 0);
        (0..EVENTS).for_each(|_| publisher.ask(&[&["PUBLISH", listener, &chunk]], 0));
        publisher.ask(&[&["PUBLISH", listener, "DONE"]], 0);
    }
    publisher.ask(&[&["SET", sentinel, "DONE", "EX", "86400"]], 0);
    // Behind what was published to it.
    topics.iter().for_each(|topic| subscriber.ask(&[&["UNSUBSCRIBE", topic]], 0));
    load(server)
}

/// Sessions, events a second of each, the window in milliseconds, and how many times fewer commands than events there
/// must be at least; 0: there are more, since no window has two events.
const LOADS: [(u64, u64, u64, u64); 6] = [
    (1, 10, 100, 0),
    (1, 50, 100, 2),
    (1, 50, 1_000, 10),
    (1, 500, 100, 20),
    (100, 10, 100, 20),
    (10_000, 10, 100, 20),
];

/// Commands and bytes by the server's own counts, in a table as `docs/many.md` has it. Streams are under way when it is
/// counted. `SEGNO_REDIS_COST_SECONDS` makes each row longer.
#[test]
fn cursors_cost_redis_a_tenth_of_a_write_for_each_event_or_less() {
    let Some(server) = Server::start(&[]) else { return };
    let mut table = String::from("\n| what | commands | bytes in | bytes out | batches |\n|---|---|---|---|---|\n");
    let mut row = |what: &str, load: &Load, events: u64, batches: u64| {
        let of = |n: u64| (n as f64 * 1e3 / events as f64).round();
        let numbers = [load.commands, load.received, load.sent, batches].map(of);
        let [commands, received, sent, batches] = numbers;
        writeln!(table, "| {what} | {commands} | {received} | {sent} | {batches} |").unwrap();
    };
    row("`SET` for each event", &naive(&server, 1), EVENTS, EVENTS);
    row("the same, 50 in a pipeline", &naive(&server, 50), EVENTS, EVENTS / 50);
    for readers in 0..2 {
        let load = resumable_stream(&server, readers);
        row(&format!("resumable-stream, readers that came back: {readers}"), &load, EVENTS, load.commands);
    }
    let mut costly = Vec::new();
    for (sessions, rate, window, fewer) in LOADS {
        server.cli(&["FLUSHALL"]);
        let mut config =
            Config { listen: Vec::new(), store: StoreConfig::parse(&server.url()).unwrap(), ..Config::default() };
        config.persist.flush_window = Span::from_millis(window);
        let engine = Engine::builder().config(config).trackers(sessions as usize).start().unwrap();
        let key = |n: u64| format!("/chat {:032x}", u128::from(n) * 0x9e37_79b9_7f4a_7c15);
        let mut trackers: Vec<InlineTracker> =
            (0..sessions).map(|n| engine.tracker(key(n).as_bytes(), Span::from_secs(5)).unwrap()).collect();
        let mut sent = vec![0u64; trackers.len()];
        for n in 1..=2 {
            trackers.iter_mut().for_each(|tracker| feed(tracker, n, n));
            sent.fill(n);
            assert!(flush(&engine));
        }
        // Each session's events are as far apart, and those of all spread evenly.
        let (gap, mut events) = (1_000_000 / rate, 0);
        let batches = || engine.metrics().persistence().batches.get();
        let before = batches();
        server.cli(&["CONFIG", "RESETSTAT"]);
        let (began, lasts) =
            (Instant::now(), Duration::from_secs(seconds("SEGNO_REDIS_COST_SECONDS", 1).max(window / 500)));
        while began.elapsed() < lasts {
            let now = began.elapsed().as_micros() as u64;
            for (n, (tracker, sent)) in trackers.iter_mut().zip(&mut sent).enumerate() {
                let due = 2 + (now + gap - gap * n as u64 / sessions) / gap;
                if due > *sent {
                    feed(tracker, *sent + 1, due);
                    events += due - *sent;
                    *sent = due;
                }
            }
            pause(Duration::from_millis(1));
        }
        assert!(flush(&engine));
        let load = load(&server);
        let name = format!("segno, sessions: {sessions}, events a second of each: {rate}, window: {window} ms");
        row(&name, &load, events, batches() - before);
        if load.commands * fewer > events || load.commands > events * 5 / 2 {
            costly.push(format!("{name}: {} commands for {events} events", load.commands));
        }
        drop(trackers);
        engine.shutdown(Span::from_secs(5)).unwrap();
    }
    let _ = writeln!(std::io::stderr(), "{table}");
    assert!(costly.is_empty(), "{costly:#?}");
}

/// Two engines have the same streams, as where one was held up and another took its place. The later one's epoch is
/// greater: nothing of the earlier one is written any more, and it counts what was refused.
#[test]
fn an_engine_whose_streams_another_has_taken_is_refused_and_counts_it() {
    let Some(server) = Server::start(&[]) else { return };
    let (earlier, later) = (engine(&server.url()), engine(&server.url()));
    let keys: Vec<Vec<u8>> = (0..5u64).map(|n| n.to_le_bytes().to_vec()).collect();
    let open = |engine: &Engine| -> Vec<InlineTracker> {
        keys.iter().map(|key| engine.tracker(key, Span::from_secs(5)).unwrap()).collect()
    };
    let mut trackers = [open(&earlier), open(&later)];
    let fenced = |engine: &Engine| engine.metrics().persistence().fenced.get();
    trackers[0].iter_mut().for_each(|tracker| feed(tracker, 1, 5));
    assert!(flush(&earlier));
    assert_eq!((fenced(&earlier), fenced(&later)), (0, 0));
    trackers[1].iter_mut().for_each(|tracker| feed(tracker, 1, 7));
    assert!(flush(&later));
    let address = segno::store::redis::Address::parse(&server.url()).unwrap();
    let mut store = segno::store::redis::open(&address, None).unwrap();
    let mut marks = || -> Vec<(u64, u64)> {
        let records = store.lookup.scan(None, 100).unwrap();
        records.into_iter().map(|(_, record)| (record.epoch, record.sequence)).collect()
    };
    let taken = marks();
    assert_eq!(taken.len(), keys.len());
    let (began, lasts, mut last) = (Instant::now(), Duration::from_secs(seconds("SEGNO_REDIS_RACE_SECONDS", 1)), 7);
    let mut before = taken.clone();
    while began.elapsed() < lasts {
        last += 1;
        trackers.iter_mut().flatten().for_each(|tracker| feed(tracker, last, last));
        pause(Duration::from_millis(1));
        let now = marks();
        assert!(before.iter().zip(&now).all(|(before, now)| before <= now), "from {before:?} to {now:?}");
        assert!(now.iter().all(|(epoch, _)| *epoch == taken[0].0), "{now:?}");
        before = now;
    }
    assert!(flush(&earlier) && flush(&later));
    assert_eq!(marks(), vec![(taken[0].0, last); keys.len()]);
    assert!(fenced(&earlier) >= keys.len() as u64 && fenced(&later) == 0, "{} refused", fenced(&earlier));
    drop(trackers);
    for engine in [earlier, later] {
        engine.shutdown(Span::from_secs(5)).unwrap();
    }
}
