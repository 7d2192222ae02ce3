//! Rolling restarts: a successor takes the listeners and the store over while clients read, connect and come back.
//!
//! In: processes that take over from each other, an upstream that numbers its events, clients that come back as their
//! `retry:` says. Out: what each client got, by a count of its own; connections that were refused.
//! Laws: no connection is refused; no event is lost or repeated; clients come back spread.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::client::read_chunk;
use support::process::Process;
use support::store::Store;
use support::{PATIENCE, rest};

/// How many proxies come after the first.
const RESTARTS: usize = 10;

/// Clients of streams with ids of upstream's, and of streams without.
const WITH_IDS: usize = 500;
const WITHOUT: usize = 100;

/// Over what time clients are told to come back.
const SPREAD: Duration = Duration::from_secs(2);

/// Time between two events of a stream.
const PACE: Duration = Duration::from_millis(500);

/// An upstream: `/feed/N` has events with ids and can be gone on with, `/plain/N` begins anew on each connection, any
/// other path is answered at once.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::Builder::new().stack_size(64 << 10).spawn(move || drop(serve(stream))).unwrap();
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 10, stream.try_clone()?);
    loop {
        let (mut path, mut after) = (String::new(), 0u64);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
            if let Some((name, value)) = line.trim_end().split_once(": ")
                && name.eq_ignore_ascii_case("last-event-id")
            {
                after = value.parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        let has_ids = path.starts_with("/feed/");
        if !has_ids && !path.starts_with("/plain/") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            continue;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for n in after + 1.. {
            let id = if has_ids { format!("id: {n}\n") } else { String::new() };
            let event = format!("{id}data: {n}\n\n");
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
            rest(PACE);
        }
    }
}

/// What went wrong, counted by the clients.
#[derive(Default)]
struct Counted {
    refused: AtomicU64,
    unanswered: AtomicU64,
    lost: AtomicU64,
    repeated: AtomicU64,
    gaps: AtomicU64,
    events: AtomicU64,
    returns: AtomicU64,
    /// How many were told to come back after how many half seconds.
    told: [AtomicU64; 6],
    stop: AtomicBool,
}

impl Counted {
    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads one stream for ever, as an `EventSource` does: comes back after `retry:` with the last id.
fn follow(proxy: SocketAddr, path: &str, counted: &Counted) {
    let (mut last_id, mut last, mut retry) = (String::new(), 0u64, 1_000);
    while !counted.stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(proxy) else {
            Counted::add(&counted.refused);
            rest(Duration::from_millis(100));
            continue;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let id = if last_id.is_empty() { String::new() } else { format!("Last-Event-ID: {last_id}\r\n") };
        let ask = format!("GET {path} HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n{id}\r\n");
        let asked = stream.write_all(ask.as_bytes());
        let mut reader = BufReader::with_capacity(1 << 10, stream);
        let mut line = String::new();
        let mut head = reader.read_line(&mut line);
        let is_ok = asked.is_ok() && line.starts_with("HTTP/1.1 200 ");
        while is_ok && head.as_ref().is_ok_and(|&n| n > 2) {
            line.clear();
            head = reader.read_line(&mut line);
        }
        if !is_ok {
            Counted::add(&counted.unanswered);
            rest(Duration::from_millis(100));
            continue;
        }
        let mut text = String::new();
        while let Ok(Some(chunk)) = read_chunk(&mut reader) {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((block, behind)) = text.split_once("\n\n") {
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => last_id = id.to_owned(),
                        Some(("retry", after)) => {
                            retry = after.parse().unwrap();
                            Counted::add(&counted.told[(retry / 500) as usize]);
                        }
                        Some(("event", "segno.gap")) => Counted::add(&counted.gaps),
                        Some(("data", data)) if !data.starts_with('{') => {
                            let n: u64 = data.parse().unwrap();
                            Counted::add(&counted.events);
                            // A stream without ids begins anew where upstream was asked anew.
                            let begins_anew = path.starts_with("/plain/") && n == 1;
                            if n <= last && !begins_anew {
                                Counted::add(&counted.repeated);
                            }
                            if n > last + 1 && !begins_anew {
                                Counted::add(&counted.lost);
                            }
                            last = n;
                        }
                        _ => {}
                    }
                }
                text = behind.to_owned();
            }
            if counted.stop.load(Ordering::Relaxed) {
                return;
            }
        }
        Counted::add(&counted.returns);
        rest(Duration::from_millis(retry));
    }
}

/// Asks over a new connection again and again.
fn probe(proxy: SocketAddr, counted: &Counted) {
    while !counted.stop.load(Ordering::Relaxed) {
        match TcpStream::connect(proxy) {
            Err(_) => Counted::add(&counted.refused),
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let asked = stream.write_all(b"GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
                let mut line = String::new();
                let read = BufReader::new(stream).read_line(&mut line);
                if asked.is_err() || read.is_err() || !line.starts_with("HTTP/1.1 200 ") {
                    Counted::add(&counted.unanswered);
                }
            }
        }
        rest(Duration::from_millis(10));
    }
}

#[test]
fn ten_rolling_restarts_refuse_nobody_and_lose_and_repeat_nothing() {
    let (upstream, store) = (upstream(), Store::new("rolling"));
    let path = std::env::temp_dir().join(format!("segno-rolling-{}.sock", std::process::id()));
    let (path, url) = (path.to_str().unwrap().to_owned(), format!("http://{upstream}"));
    let flags = ["--upstream", &url, "--store", &store.flag(), "--durable", "--handover", &path];
    let more = ["--drain-spread", "2s", "--drain-timeout", "8s", "--take-over"];
    let mut proxy = Process::with_args(&[&flags[..], &more].concat());
    let address = proxy.address();
    let counted = Arc::new(Counted::default());
    let spawn = |work: Box<dyn FnOnce(&Counted) + Send>| {
        let counted = Arc::clone(&counted);
        thread::Builder::new().stack_size(128 << 10).spawn(move || work(&counted)).unwrap()
    };
    let mut threads = vec![spawn(Box::new(move |counted| probe(address, counted)))];
    for n in 0..WITH_IDS + WITHOUT {
        let path = if n < WITH_IDS { format!("/feed/{n}") } else { format!("/plain/{n}") };
        threads.push(spawn(Box::new(move |counted| follow(address, &path, counted))));
    }
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    support::until("all read", || count(&counted.events) >= 2 * (WITH_IDS + WITHOUT) as u64);
    let mut spreads = Vec::new();
    for _ in 0..RESTARTS {
        let before = count(&counted.events);
        let began = Instant::now();
        let successor = Process::at(address, &[&flags[..], &more].concat());
        let old = std::mem::replace(&mut proxy, successor);
        let (status, lines) = old.end();
        assert_eq!(status.code(), Some(0), "{lines:#?}");
        spreads.push(began.elapsed());
        rest(SPREAD + Duration::from_secs(1));
        assert!(count(&counted.events) > before);
    }
    counted.stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let all = [&counted.refused, &counted.unanswered, &counted.lost, &counted.repeated].map(count);
    println!(
        "{} events, {} returns, {} gaps stated; each took {spreads:?}",
        count(&counted.events),
        count(&counted.returns),
        count(&counted.gaps)
    );
    assert_eq!(all, [0; 4], "refused, unanswered, lost, repeated");
    assert!(count(&counted.returns) >= (RESTARTS * (WITH_IDS + WITHOUT)) as u64 * 9 / 10);
    // From half a second on, over 2.5 s: a fifth in each half second.
    let told: Vec<u64> = counted.told.iter().map(count).collect();
    let most: u64 = told.iter().sum();
    assert!(told[0] == 0 && told[1..].iter().all(|&n| (most / 7..=most * 2 / 7).contains(&n)), "{told:?}");
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_successor_that_dies_or_speaks_otherwise_changes_nothing() {
    let path = std::env::temp_dir().join(format!("segno-handover-{}.sock", std::process::id()));
    let name = path.to_str().unwrap();
    let url = format!("http://{}", upstream());
    let mut proxy = Process::with_flags(&["--upstream", &url, "--handover", name]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    for hello in ["segno-handover 1\n", "segno-handover 2\n", "GET / HTTP/1.1\r\n", &"x".repeat(1_000)] {
        let mut link = UnixStream::connect(&path).unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        link.write_all(hello.as_bytes()).unwrap();
        let mut line = String::new();
        // A line that is too long is not answered.
        let _ = BufReader::new(&link).read_line(&mut line);
        let is_ours = hello == "segno-handover 1\n";
        assert!(
            line.starts_with(if is_ours { "sockets 1" } else { "refused" }) || line.is_empty() && hello.len() > 99,
            "{line}"
        );
        drop(link);
        proxy.until_said("a successor did not take over");
    }
    // A second proxy that does not take over is told so, and the first one goes on.
    let second = Command::new(env!("CARGO_BIN_EXE_segno"))
        .args(["proxy", "--upstream", &url, "--store", "memory", "--listen", "127.0.0.1:0", "--handover", name])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("start with `--take-over`"));
    let mut client = proxy.client();
    client.get("/x");
    assert_eq!(client.answer().text(), "ok");
    drop(client);
    proxy.signal("TERM");
    assert_eq!(proxy.end().0.code(), Some(0));
    let _ = std::fs::remove_file(path);
}
