//! Strangers: 10,000 bad requests of each kind beside 500 streams, and headers of the PROXY protocol.
//!
//! In: addresses of the network 127.0.0.0/8, each a client of its own; a proxy with bounds for one address. `SEGNO_BAD` sets
//! how many requests there are of each kind. Out: what each of them is answered, whether a stream loses an event, by how
//! much the memory of the proxy's process grows; `--nocapture` shows how late events are beside each kind.
//! Laws: nobody but the stranger loses anything; its address is the one that it connects from, or that a trusted proxy
//! names.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures of a run are shown")]

mod support;

use segno::base::Count;
use segno::config::{Config, ProxyProtocol, Route, Upstream};
use segno::sync::Counter;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use support::process::{Process, metric};
use support::{Client, PATIENCE, Proxy, Script, rest, until};

const STREAMS: usize = 500;
const WORKERS: usize = 8;
/// Connections and event streams that one address may have.
const CONNECTIONS: usize = 50;
const STREAMS_OF_ONE: usize = 10;
/// Between two events of a stream.
const PACE: Duration = Duration::from_millis(50);
/// By how much the memory of the process may grow at its peak, in MiB: streams, and what strangers take.
const BOUND: u64 = 96;

/// Connects from an address of 127.0.0.0/8.
fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The status of an answer; 0: the connection ended without one.
fn status(mut stream: &TcpStream) -> u16 {
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => std::str::from_utf8(&head[9..]).unwrap().parse().unwrap(),
        Err(_) => 0,
    }
}

/// Sends a request from an address. Returns the status of its answer.
fn ask(from: [u8; 4], to: SocketAddr, request: &str) -> u16 {
    let mut stream = connect(from, to);
    // Of a head that is too long, segno may refuse to read the rest.
    let _ = stream.write_all(request.as_bytes());
    status(&stream)
}

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

#[test]
fn ten_thousand_bad_requests_of_each_kind_cost_those_who_read_nothing() {
    let n = std::env::var("SEGNO_BAD").map_or(10_000, |text| text.parse().unwrap());
    // All ends of all streams but the proxy's are in this process.
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--nofile=8192:", "--pid", &pid]).status().unwrap();
    assert!(raised.success(), "the test needs 8,192 descriptors");
    let (since, (stop, stopped)) = (Instant::now(), mpsc::channel());
    let upstream = format!("http://{}", upstream(since, stopped));
    let (connections, streams) = (CONNECTIONS.to_string(), STREAMS_OF_ONE.to_string());
    let mut proxy = Process::with_flags(&[
        "--upstream",
        &upstream,
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
    ]);
    let (to, phase) = (proxy.address(), Arc::new(Counter::default()));
    let there = Arc::new(Barrier::new(STREAMS + 1));
    let readers: Vec<JoinHandle<Vec<(u64, u64)>>> = (0..STREAMS)
        .map(|k| {
            let (phase, there) = (Arc::clone(&phase), Arc::clone(&there));
            let from = [127, 3, (k / STREAMS_OF_ONE) as u8, 1];
            let run = move || read(from, to, since, &phase, &there);
            thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap()
        })
        .collect();
    there.wait();
    // What is late while all begin says nothing.
    rest(Duration::from_millis(500));
    phase.add(1);
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
    let page = support::process::page(admin, "/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("segno_refused_total{{limit=\"{limit}\"}} ")));
    line.map_or(0, |value| value.parse().unwrap())
}

/// A proxy that trusts 127.9.0.1, and an upstream that gives back each `X-Forwarded-For` that it is sent.
fn announced(mode: ProxyProtocol, requests: usize, change: impl FnOnce(&mut Config)) -> (Proxy, Script) {
    let script = Script::run(move |door| {
        for _ in 0..requests {
            let mut peer = door.accept();
            let head = peer.head();
            let value = head.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: ")).unwrap_or("none");
            peer.answer(value);
        }
    });
    let route = Route::new(Upstream::parse(&format!("http://{}", script.address())).unwrap());
    let mut config = Config {
        routes: vec![route].into(),
        trusted_proxies: ["127.9.0.1".parse().unwrap()].into_iter().collect(),
        proxy_protocol: mode,
        ..Config::default()
    };
    change(&mut config);
    (Proxy::of_config(config), script)
}

const FRONT: [u8; 4] = [127, 9, 0, 1];

/// A header of version 2 for a client at 203.0.113.7, with something behind its addresses.
fn binary() -> Vec<u8> {
    let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0, 80, 1, 187];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10"[..], &addresses, &[4, 0, 1, 42]].concat()
}

#[test]
fn a_header_of_the_proxy_protocol_is_read_of_trusted_proxies_alone() {
    let (proxy, script) = announced(ProxyProtocol::Accept, 4, |_| {});
    let to = proxy.address();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let says = |from: [u8; 4], parts: &[&[u8]]| {
        let mut client = Client::over(connect(from, to));
        parts.iter().for_each(|part| client.send(part));
        client.get("/");
        client.answer()
    };
    let text = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
    assert_eq!(says(FRONT, &[text]).text(), "2001:db8::7");
    let bytes = binary();
    let parts: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(says(FRONT, &parts).text(), "203.0.113.7");
    assert_eq!(says(FRONT, &[local]).text(), "127.9.0.1");
    // Nobody else has one: what looks like one is a bad request.
    assert_eq!(says([127, 8, 0, 1], &[]).text(), "127.8.0.1");
    assert_eq!(says([127, 8, 0, 1], &[text]).status, 400);
    script.end();
    assert_eq!(ask(FRONT, to, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 0, "a trusted proxy must say for whom");
    proxy.until_count(Count::OverProxyProtocol, 1);
    assert_eq!((proxy.count(Count::ProxyHeaders), proxy.count(Count::OverProxyProtocol)), (3, 1));
}

#[test]
fn a_client_whose_address_no_proxy_knows_has_no_trust_and_counts() {
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", &unix] {
        let one = |config: &mut Config| config.limits.connections_per_address = 1;
        let (proxy, script) = announced(ProxyProtocol::Accept, 1, one);
        let mut client = Client::over(connect(FRONT, proxy.address()));
        client.send([header, b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n"].concat());
        assert_eq!(client.answer().text(), "unknown");
        let mut second = connect(FRONT, proxy.address());
        second.write_all(header).unwrap();
        assert_eq!(status(&second), 429);
        script.end();
    }
}

#[test]
fn a_health_check_speaks_for_nobody_and_is_not_counted() {
    let (proxy, script) = announced(ProxyProtocol::Accept, 2, |config| config.limits.connections_per_address = 1);
    let checks = [(); 2].map(|()| {
        let mut check = Client::over(connect(FRONT, proxy.address()));
        check.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        check.send("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
        assert_eq!(check.answer().text(), "127.9.0.1");
        check
    });
    drop(checks);
    script.end();
}

#[test]
fn where_the_header_is_required_whoever_is_not_trusted_is_cut() {
    let (proxy, script) = announced(ProxyProtocol::Require, 1, |config| config.limits.connections_per_address = 1);
    let to = proxy.address();
    assert_eq!(ask([127, 8, 0, 1], to, "PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 0);
    // A count is passed on at the end of a turn, and the cut may be seen before.
    proxy.until_count(Count::OverProxyProtocol, 1);
    // The bound of an address is that of the client's.
    let mut first = Client::over(connect(FRONT, to));
    first.send(binary());
    first.get("/");
    assert_eq!(first.answer().text(), "203.0.113.7");
    let mut second = connect(FRONT, to);
    second.write_all(&binary()).unwrap();
    assert_eq!(status(&second), 429);
    until("the first has left", || {
        let _ = first.socket().shutdown(std::net::Shutdown::Both);
        let mut third = connect(FRONT, to);
        third.write_all(&[&binary()[..], b"BAD\r\n\r\n"].concat()).unwrap();
        status(&third) == 400
    });
    script.end();
}

#[test]
fn who_never_sends_its_header_is_closed_in_time() {
    let (proxy, _script) = announced(ProxyProtocol::Accept, 0, |config| {
        let mut routes = config.routes.to_vec();
        routes[0].head_timeout = segno::base::Span::from_millis(300);
        config.routes = routes.into();
    });
    let mut stream = connect(FRONT, proxy.address());
    stream.write_all(b"PROXY TCP4 ").unwrap();
    assert_eq!(status(&stream), 0);
    proxy.until_count(Count::OverProxyProtocol, 1);
    // Whoever only opens the port is not told of. The next connection is looked at after it.
    drop(connect(FRONT, proxy.address()));
    assert_eq!(ask(FRONT, proxy.address(), "NO HEADER\r\n"), 0);
    proxy.until_count(Count::OverProxyProtocol, 2);
    assert_eq!(proxy.count(Count::OverProxyProtocol), 2);
}

#[cfg(feature = "tls")]
#[test]
fn the_header_stands_before_tls() {
    let authority = support::tls::Authority::new();
    let pair = authority.sign("a", &["localhost"]);
    let (proxy, script) = announced(ProxyProtocol::Require, 1, |config| {
        config.tls_cert = vec![pair.cert.clone()];
        config.tls_key = vec![pair.key.clone()];
        config.limits.connections_per_address = 1;
    });
    let mut stream = connect(FRONT, proxy.address());
    stream.write_all(&binary()).unwrap();
    let mut client = Client::over(support::tls::tls_over(authority.client_config(None), stream, "localhost"));
    client.get("/");
    assert_eq!(client.answer().text(), "203.0.113.7");
    // One more of this address is cut before the handshake: it could not be told anything.
    let mut second = connect(FRONT, proxy.address());
    second.write_all(&binary()).unwrap();
    assert_eq!(status(&second), 0);
    proxy.until_count(Count::OverConnectionsPerAddress, 1);
    script.end();
}
