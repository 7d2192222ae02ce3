//! Crowds of bad requests beside 500 streams.
//!
//! In: a proxy with bounds for one address. `SEGNO_BAD` sets how many requests there are of each kind. Out: what each of
//! them is answered, whether a stream loses an event, by how much the memory of the proxy's process grows; `--nocapture`
//! shows how late events are beside each kind.
//! Law: nobody but the stranger loses anything.

#![allow(clippy::print_stderr, reason = "the figures of a run are shown")]

use crate::ends::{ask, connect, status};
use crate::support::process::{Process, metric, page};
use crate::support::{PATIENCE, rest, until};
use segno::sync::Counter;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const STREAMS: usize = 500;
const WORKERS: usize = 8;
/// Connections and event streams that one address may have.
const CONNECTIONS: usize = 50;
const STREAMS_OF_ONE: usize = 10;
/// Between two events of a stream.
const PACE: Duration = Duration::from_millis(50);
/// By how much the memory of the process may grow at its peak, in MiB: streams, and what strangers take.
const BOUND: u64 = 96;

/// An upstream whose streams all get an event at once, with its number and its time in microseconds, until it is told to
/// stop.
fn upstream(since: Instant, stop: Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, arrived): (Sender<TcpStream>, _) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|n| n > 0) {}
            let begin = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            if (&stream).write_all(begin).is_ok() {
                let _ = sender.send(stream);
            }
        }
    });
    thread::spawn(move || {
        let mut streams = Vec::new();
        for n in 1.. {
            streams.extend(arrived.try_iter());
            let is_last = stop.recv_timeout(PACE).is_ok();
            let (at, end) = (since.elapsed().as_micros(), if is_last { "end" } else { "go" });
            let event = format!("id: {n}\ndata: {at} {end}\n\n");
            streams.retain_mut(|stream: &mut TcpStream| stream.write_all(event.as_bytes()).is_ok());
            if is_last {
                // Kept open: the end of a stream is not what is tried here.
                return rest(PATIENCE);
            }
        }
    });
    address
}

/// Reads a stream to its last event. Returns how late each event came, by the phase in which it came.
fn read(from: [u8; 4], to: SocketAddr, since: Instant, phase: &Counter, there: &Barrier) -> Vec<(u64, u64)> {
    let mut stream = connect(from, to);
    stream.write_all(b"GET /feed HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let (mut reader, mut line, mut last, mut late) = (BufReader::new(stream), String::new(), 0, Vec::new());
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream has ended after event {last}");
        if let Some(n) = line.strip_prefix("id: ").map(|n| n.trim().parse::<u64>().unwrap()) {
            assert!(last == 0 || n == last + 1, "event {n} after {last}");
            if last == 0 {
                there.wait();
            }
            last = n;
        }
        let Some((at, end)) = line.strip_prefix("data: ").and_then(|data| data.trim().split_once(' ')) else {
            continue;
        };
        let delay = (since.elapsed().as_micros() as u64).saturating_sub(at.parse().unwrap());
        late.push((phase.get(), delay));
        if end == "end" {
            return late;
        }
    }
}

/// So many requests of one kind, by several workers at once. Each gets its number, and says what came of it: all must be
/// the same.
fn all(n: usize, expected: u16, one: impl Fn(usize) -> u16 + Send + Sync + 'static) {
    let one = Arc::new(one);
    let workers: Vec<JoinHandle<()>> = (0..WORKERS)
        .map(|worker| {
            let one = Arc::clone(&one);
            thread::spawn(move || {
                (worker..n).step_by(WORKERS).for_each(|k| assert_eq!(one(k), expected, "request {k}"));
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

/// So many connections that send this and then nothing, some hundred at a time. Returns when all have ended.
fn all_silent(n: usize, to: SocketAddr, first: u8, says: &'static str, expected: u16) {
    const AT_ONCE: usize = 400;
    all(n.div_ceil(AT_ONCE), expected, move |batch| {
        let held: Vec<TcpStream> = (0..AT_ONCE)
            .map(|k| {
                let from = [127, first, (batch % 200) as u8, 1 + (k % (2 * AT_ONCE / CONNECTIONS)) as u8];
                let mut stream = connect(from, to);
                stream.write_all(says.as_bytes()).unwrap();
                stream
            })
            .collect();
        let got: Vec<u16> = held.iter().map(status).collect();
        assert!(got.iter().all(|status| *status == got[0]), "{got:?}");
        got[0]
    });
}

/// A kind of bad requests: its name, the bound that it reaches, and how it is sent.
type Kind = (&'static str, &'static str, Box<dyn Fn()>);

/// The delay that this many of a thousand events are below.
fn share(delays: &[u64], thousandths: usize) -> u64 {
    delays[(delays.len() * thousandths / 1_000).min(delays.len() - 1)]
}

/// A proxy with bounds for one address, and some whom it trusts.
fn bounded_proxy(upstream: SocketAddr) -> Process {
    let (connections, streams) = (CONNECTIONS.to_string(), STREAMS_OF_ONE.to_string());
    Process::with_flags(&[
        "--upstream",
        &format!("http://{upstream}"),
        "--admin",
        "127.0.0.1:0",
        "--connections-per-address",
        &connections,
        "--streams-per-address",
        &streams,
        "--header-bytes",
        "8KiB",
        "--header-count",
        "100",
        "--head-timeout",
        "2s",
        "--trusted-proxies",
        "127.9.0.0/16",
        "--proxy-protocol",
        "accept",
    ])
}

/// Clients that read 500 streams to their ends, once all have begun. Each says how late each event was, by the phase in
/// which it came.
fn readers(to: SocketAddr, since: Instant, phase: &Arc<Counter>) -> Vec<JoinHandle<Vec<(u64, u64)>>> {
    // All ends of all streams but the proxy's are in this process.
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--nofile=8192:", "--pid", &pid]).status().unwrap();
    assert!(raised.success(), "the test needs 8,192 descriptors");
    let there = Arc::new(Barrier::new(STREAMS + 1));
    let readers = (0..STREAMS)
        .map(|k| {
            let (phase, there) = (Arc::clone(phase), Arc::clone(&there));
            let from = [127, 3, (k / STREAMS_OF_ONE) as u8, 1];
            let run = move || read(from, to, since, &phase, &there);
            thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap()
        })
        .collect();
    there.wait();
    // What is late while all begin says nothing.
    rest(Duration::from_millis(500));
    phase.add(1);
    readers
}

#[test]
fn ten_thousand_bad_requests_of_each_kind_cost_those_who_read_nothing() {
    let n = std::env::var("SEGNO_BAD").map_or(10_000, |text| text.parse().unwrap());
    let (since, (stop, stopped)) = (Instant::now(), mpsc::channel());
    let mut proxy = bounded_proxy(upstream(since, stopped));
    let (to, phase) = (proxy.address(), Arc::new(Counter::default()));
    let readers = readers(to, since, &phase);
    let before = proxy.resident();
    rest(Duration::from_secs(2));

    let kinds: [Kind; 7] = [
        (
            "connections of one address",
            "connections_per_address",
            Box::new(move || {
                let held: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect([127, 1, 1, 1], to)).collect();
                // They are accepted in the order in which they came.
                all(n, 429, move |_| status(&connect([127, 1, 1, 1], to)));
                drop(held);
            }),
        ),
        (
            "streams of one address",
            "streams_per_address",
            Box::new(move || {
                let events = "Host: h\r\nAccept: text/event-stream\r\nContent-Length: 0\r\n\r\n";
                let request = format!("POST /more HTTP/1.1\r\n{events}");
                let held: Vec<TcpStream> = (0..STREAMS_OF_ONE).map(|_| connect([127, 1, 2, 1], to)).collect();
                held.iter().for_each(|mut stream| stream.write_all(request.as_bytes()).unwrap());
                held.iter().for_each(|stream| assert_eq!(status(stream), 200));
                all(n, 429, move |_| ask([127, 1, 2, 1], to, &request));
                drop(held);
            }),
        ),
        (
            "long heads",
            "header_bytes",
            Box::new(move || {
                let request = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(9_000));
                all(n, 431, move |k| ask([127, 1, 3, (k % WORKERS) as u8 + 1], to, &request));
            }),
        ),
        (
            "many header lines",
            "header_count",
            Box::new(move || {
                let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: 1\r\n".repeat(100));
                all(n, 431, move |k| ask([127, 1, 4, (k % WORKERS) as u8 + 1], to, &request));
            }),
        ),
        ("slow heads", "head_timeout", Box::new(move || all_silent(n, to, 5, "GET / HT", 408))),
        (
            "bad headers of the PROXY protocol",
            "proxy_protocol",
            Box::new(move || {
                all(n, 0, move |k| ask([127, 9, 1, (k % WORKERS) as u8 + 1], to, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
            }),
        ),
        ("never a byte", "", Box::new(move || all_silent(n, to, 6, "", 0))),
    ];
    let admin = proxy.admin();
    let mut names = vec!["while all begin", "alone"];
    for (name, limit, run) in &kinds {
        phase.add(1);
        names.push(name);
        let begun = Instant::now();
        run();
        eprintln!("{n} of {name}: {:.1} s", begun.elapsed().as_secs_f64());
        if !limit.is_empty() {
            until(limit, || refused(admin, limit) >= n as u64);
        }
    }
    stop.send(()).unwrap();
    let mut late = vec![Vec::new(); names.len()];
    for reader in readers {
        for (phase, delay) in reader.join().unwrap() {
            late[phase as usize].push(delay);
        }
    }
    late.iter_mut().for_each(|delays| delays.sort_unstable());
    for (name, delays) in names.iter().zip(&late) {
        let (half, most) = (share(delays, 500), share(delays, 990));
        let times = half as f64 / share(&late[1], 500) as f64;
        eprintln!("{name}: {} events, {half} us late at 50 % ({times:.2} x alone), {most} us at 99 %", delays.len());
    }
    let grown = proxy.grown() >> 20;
    eprintln!("memory: {} MiB with all streams, {grown} MiB more than at the start at its peak", before >> 20);
    assert!(grown < BOUND, "its memory grew by {grown} MiB");
    assert_eq!(metric(admin, "gaps_total"), 0);
}

/// Refusals by one bound.
fn refused(admin: SocketAddr, limit: &str) -> u64 {
    let page = page(admin, "/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("segno_refused_total{{limit=\"{limit}\"}} ")));
    line.map_or(0, |value| value.parse().unwrap())
}

/// How many bad requests of a kind there are in a second, and for how long beside the streams, before as long without.
const A_SECOND: u32 = 200;
const SLICE: Duration = Duration::from_millis(500);

/// Sends one bad request of a kind. What it gives back is kept for longer than a head may take.
type One = (&'static str, fn(u32, SocketAddr) -> Option<TcpStream>);

const PACED: [One; 6] = [
    ("connections of one address", |_, to| {
        status(&connect([127, 1, 1, 1], to));
        None
    }),
    ("long heads", |k, to| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(9_000));
        ask([127, 1, 3, (k % 8) as u8 + 1], to, &request);
        None
    }),
    ("many header lines", |k, to| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: 1\r\n".repeat(100));
        ask([127, 1, 4, (k % 8) as u8 + 1], to, &request);
        None
    }),
    ("bad headers of the PROXY protocol", |k, to| {
        ask([127, 9, 1, (k % 8) as u8 + 1], to, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        None
    }),
    ("slow heads", |k, to| {
        let mut stream = connect([127, 1, 5, (k % 32) as u8 + 1], to);
        stream.write_all(b"GET / HT").unwrap();
        Some(stream)
    }),
    ("never a byte", |k, to| Some(connect([127, 1, 6, (k % 32) as u8 + 1], to))),
];

/// The middle of some numbers.
fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Slices with paced bad requests take turns with slices without, so that whatever else this machine does hits both. The
/// middle of the pairs' ratios is what counts.
#[test]
#[ignore = "minutes, and a figure for a quiet machine: `SEGNO_PAIRS` sets how many pairs of slices there are of each kind"]
fn beside_paced_bad_requests_streams_are_as_late_as_without() {
    let pairs: usize = std::env::var("SEGNO_PAIRS").map_or(20, |text| text.parse().unwrap());
    let (since, (stop, stopped)) = (Instant::now(), mpsc::channel());
    let proxy = bounded_proxy(upstream(since, stopped));
    let (to, phase) = (proxy.address(), Arc::new(Counter::default()));
    let readers = readers(to, since, &phase);
    let mut used = Vec::new();
    for (_, one) in PACED {
        for _ in 0..pairs {
            // They are not closed for want of a head before the pair is over.
            let held: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect([127, 1, 1, 1], to)).collect();
            let cpu = proxy.cpu_of("segno-reactor");
            rest(SLICE);
            phase.add(1);
            let between = proxy.cpu_of("segno-reactor");
            let (begun, mut k, mut kept) = (Instant::now(), 0, Vec::new());
            while begun.elapsed() < SLICE {
                kept.extend(one(k, to));
                k += 1;
                rest((Duration::from_secs(1) * k / A_SECOND).saturating_sub(begun.elapsed()));
            }
            phase.add(1);
            let more = (proxy.cpu_of("segno-reactor") - between).as_secs_f64() - (between - cpu).as_secs_f64();
            used.push(more * 1e6 / f64::from(k));
            assert!(k > 10, "they are not paced, but {k} in a slice");
            drop(held);
        }
    }
    stop.send(()).unwrap();
    let mut late = vec![Vec::new(); 2 + 2 * PACED.len() * pairs];
    readers.into_iter().flat_map(|reader| reader.join().unwrap()).for_each(|(phase, us)| late[phase as usize].push(us));
    late.iter_mut().for_each(|delays| delays.sort_unstable());
    for (n, (name, _)) in PACED.iter().enumerate() {
        let slices = &late[1 + 2 * n * pairs..][..2 * pairs];
        let ratio = |thousandths: usize| {
            let of =
                |pair: &[Vec<u64>]| share(&pair[1], thousandths) as f64 / share(&pair[0], thousandths).max(1) as f64;
            middle(slices.chunks(2).map(of).collect())
        };
        let (half, most) = (ratio(500), ratio(990));
        let each = middle(used[n * pairs..][..pairs].to_vec());
        eprintln!("{name}: {half:.2} x as late at 50 %, {most:.2} x at 99 %, {each:.0} us of the reactor for each");
        assert!(half < 1.25 && most < 1.5, "{name}");
    }
}
