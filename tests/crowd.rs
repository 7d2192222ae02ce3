//! Many clients of one stream, some of them slow, over real sockets.
//!
//! In: clients that read fast, read slowly, or are cut. `SEGNO_SECONDS` sets how long the slow client's stream lasts (a
//! few seconds by default). Out: connections to upstream, delays, memory; `--nocapture` shows the figures.
//! Law: no client misses an event unless a gap says so, and a slow client does not delay the others.
#![cfg(feature = "net")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures of a long run are shown")]

mod support;

use segno::config::Share;
use segno::metrics::Gauge;
use segno::sync::Counter;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use support::{PATIENCE, Proxy, until};

/// Waits for a time without sleeping: on a channel on which nothing is ever sent.
fn rest(time: Duration) {
    let (_open, nothing) = channel::<()>();
    assert_eq!(nothing.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

/// A feed that goes on after the id of the request, and stays open after its last event.
#[derive(Clone, Copy)]
struct Feed {
    events: u64,
    bytes: usize,
    /// The time between two events. Zero: as fast as the proxy takes them.
    pace: Duration,
    /// Each event says when it was sent, in microseconds since this moment.
    since: Instant,
}

impl Feed {
    /// Starts the feed. Returns its address, and counters of its requests and of the events that it has sent.
    fn start(self) -> (SocketAddr, Arc<(Counter, Counter)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<(Counter, Counter)>::default());
        let counts = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&counts);
                thread::spawn(move || self.serve(stream, &counts));
            }
        });
        (address, seen)
    }

    fn serve(self, mut stream: TcpStream, (asked, sent): &(Counter, Counter)) -> Option<()> {
        asked.add(1);
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let id = head.lines().find_map(|line| line.strip_prefix("Last-Event-ID: "));
        let first = id.map_or(0, |id| id.parse::<u64>().unwrap()) + 1;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").ok()?;
        let begun = Instant::now();
        for n in first..=self.events {
            let at = self.since.elapsed().as_micros();
            let event = format!("id: {n}\ndata: {at} {}\n\n", "x".repeat(self.bytes));
            stream.write_all(event.as_bytes()).ok()?;
            sent.add(1);
            if let Some(left) = (self.pace * (n - first + 1) as u32).checked_sub(begun.elapsed())
                && !self.pace.is_zero()
            {
                rest(left);
            }
        }
        reader.read_line(&mut head).ok().map(drop)
    }
}

/// What a client has received, over all its connections.
#[derive(Default)]
struct Got {
    first: u64,
    last: u64,
    gaps: u64,
    told: bool,
    delays: Vec<u64>,
}

/// Connects to the stream, to go on after the last event that the client has.
fn ask(address: SocketAddr, got: &Got, receive_buffer: Option<usize>) -> BufReader<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let id = if got.last > 0 { format!("Last-Event-ID: {}\r\n", got.last) } else { String::new() };
    let request = format!("GET /feed HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{id}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::with_capacity(if receive_buffer.is_some() { 512 } else { 64 << 10 }, stream)
}

/// Closes the connection with a reset, so that bytes on their way are lost.
fn cut(stream: BufReader<TcpStream>) {
    let socket = Socket::from(stream.into_inner());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

impl Got {
    /// Takes a line. Fails if an event is repeated or out of order, or follows a gap that was not stated.
    fn line(&mut self, line: &str, since: Instant) {
        let told = line.starts_with("event: segno.gap") || line.starts_with("Segno-Gap: ");
        self.gaps += u64::from(told && !self.told);
        self.told |= told;
        if let Some(n) =
            line.strip_prefix("id: ").and_then(|id| id.trim().parse::<u64>().ok()).filter(|n| *n != self.last)
        {
            if self.first == 0 {
                self.first = n;
            } else {
                assert!(n > self.last, "{n} after {}", self.last);
                assert!(n == self.last + 1 || self.told, "{n} after {}, and no gap was stated", self.last);
            }
            (self.last, self.told) = (n, false);
        }
        let at = line.strip_prefix("data: ").and_then(|data| data.split(' ').next()?.parse::<u64>().ok());
        self.delays.extend(at.map(|at| (since.elapsed().as_micros() as u64).saturating_sub(at)));
    }

    /// Reads until this event has come. Returns false if the connection ended before.
    fn read_to(&mut self, stream: &mut BufReader<TcpStream>, event: u64, since: Instant) -> bool {
        let mut line = String::new();
        // An event counts when it is whole, so its last line is read too.
        while self.last < event || line.trim_end() != "" {
            line.clear();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            self.line(&line, since);
        }
        true
    }
}

fn is_idle(proxy: &Proxy) -> bool {
    let metrics = proxy.engine().metrics();
    [Gauge::Connections, Gauge::Exchanges, Gauge::Streams, Gauge::LogBytes].iter().all(|g| metrics.gauge(*g) == 0)
}

#[test]
fn a_crowd_that_is_cut_at_once_costs_one_upstream_connection_and_loses_nothing() {
    const CROWD: usize = 500;
    let since = Instant::now();
    let feed = Feed { events: 1_200, bytes: 60, pace: Duration::from_millis(5), since };
    let (upstream, counts) = feed.start();
    let proxy = Proxy::with(upstream, |route| {
        route.share = Share::Public;
        route.linger = segno::base::Span::from_secs(1);
    });
    let (address, all_there) = (proxy.address(), Arc::new(Barrier::new(CROWD)));
    let clients: Vec<_> = (0..CROWD)
        .map(|_| {
            let all_there = Arc::clone(&all_there);
            let run = move || {
                let mut got = Got::default();
                let mut stream = ask(address, &got, None);
                assert!(got.read_to(&mut stream, 1, since));
                all_there.wait();
                cut(stream);
                let mut stream = ask(address, &got, None);
                assert!(got.read_to(&mut stream, feed.events, since), "cut at {}", got.last);
                got
            };
            thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap()
        })
        .collect();
    let got: Vec<Got> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert_eq!(got.iter().map(|got| got.gaps).sum::<u64>(), 0, "gaps were stated");
    assert_eq!(counts.0.get(), 1, "connections to upstream");
    // With no client left, the connection to upstream is closed, and all memory is freed.
    until("nothing is left", || is_idle(&proxy));
}

/// The 99th percentile of the fast clients' delays, and the number of the slow client's gaps.
fn with_slow_reader(slow: bool, seconds: u64) -> (u64, u64) {
    const FAST: usize = 50;
    let since = Instant::now();
    let feed = Feed { events: seconds * 1_000, bytes: 1_000, pace: Duration::from_millis(1), since };
    let (upstream, counts) = feed.start();
    let proxy = Proxy::with(upstream, |route| route.share = Share::Public);
    let address = proxy.address();
    let fast: Vec<_> = (0..FAST)
        .map(|_| {
            thread::spawn(move || {
                let mut got = Got::default();
                let mut stream = ask(address, &got, None);
                while !got.read_to(&mut stream, feed.events, since) {
                    stream = ask(address, &got, None);
                }
                got
            })
        })
        .collect();
    let slow = slow.then(|| thread::spawn(move || slow_reader(address, since, feed.events)));
    let mut most = 0;
    until_within("all is sent", Duration::from_secs(seconds) + PATIENCE, || {
        most = most.max(proxy.engine().metrics().gauge(Gauge::LogBytes));
        counts.1.get() >= feed.events
    });
    let mut delays = Vec::new();
    for got in fast.into_iter().map(|client| client.join().unwrap()) {
        assert_eq!((got.last, got.gaps), (feed.events, 0));
        delays.extend(got.delays);
    }
    delays.sort_unstable();
    // One log for all clients at the live edge, and one for the slow client: once it has fallen off the first log,
    // upstream is asked for its events again.
    assert!(most <= 2 * ((1 << 20) + (64 << 10)), "the logs took {most} bytes");
    (delays[delays.len() * 99 / 100], slow.map_or(0, |slow| slow.join().unwrap().gaps))
}

fn until_within(what: &str, time: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < time, "in time: {what}");
        rest(Duration::from_millis(5));
    }
}

/// Reads 1,000 bytes a second while the stream goes on, then the rest. Comes back when it is cut.
fn slow_reader(address: SocketAddr, since: Instant, events: u64) -> Got {
    let mut got = Got::default();
    while got.last < events {
        let mut stream = ask(address, &got, Some(4 << 10));
        let mut line = String::new();
        let mut credit = 0;
        loop {
            line.clear();
            let Ok(bytes @ 1..) = stream.read_line(&mut line) else { break };
            got.line(&line, since);
            credit += bytes;
            if credit >= 1_000 {
                credit = 0;
                rest(Duration::from_secs(1));
            }
            if got.last >= events || since.elapsed() > Duration::from_millis(events + 500) {
                return got;
            }
        }
    }
    got
}

#[test]
fn a_slow_reader_beside_fast_ones_holds_up_nobody_and_is_told_what_it_missed() {
    let seconds = std::env::var("SEGNO_SECONDS").map_or(3, |text| text.parse().unwrap());
    let (alone, _) = with_slow_reader(false, seconds);
    let (beside, gaps) = with_slow_reader(true, seconds);
    eprintln!(
        "delay of 50 fast readers at 99 %: {alone} us alone, {beside} us beside a slow one, which got {gaps} gaps"
    );
}

#[test]
fn a_slow_reader_that_is_cut_with_half_a_megabyte_in_flight_loses_nothing() {
    const READ: u64 = 10;
    let since = Instant::now();
    let feed = Feed { events: 5_000, bytes: 4_000, pace: Duration::ZERO, since };
    let (upstream, counts) = feed.start();
    let proxy = Proxy::with(upstream, |route| route.linger = segno::base::Span::from_secs(30));
    let mut got = Got::default();
    let mut stream = ask(proxy.address(), &got, Some(32 << 10));
    assert!(got.read_to(&mut stream, READ, since));
    // Wait until every buffer between client and upstream is full.
    let mut sent = (0, Instant::now());
    until("upstream has to wait", || {
        let now = counts.1.get();
        if now != sent.0 {
            sent = (now, Instant::now());
        }
        sent.1.elapsed() > Duration::from_millis(300)
    });
    assert!(sent.0 < feed.events, "upstream was never made to wait");
    // What is stored has arrived, and the client's system takes little: the rest is in segno's send buffer and its log.
    let (in_flight, arrived) = ((sent.0 - READ) * 4_000, (delivered(&proxy) - READ) * 4_000);
    assert!(in_flight > 512 << 10, "only {in_flight} bytes are in flight");
    assert!(arrived <= 128 << 10, "{arrived} bytes count as delivered to a client that has room for 64 KiB");
    cut(stream);
    let mut stream = ask(proxy.address(), &got, None);
    assert!(got.read_to(&mut stream, feed.events, since));
    assert_eq!((got.last, got.gaps, counts.0.get()), (feed.events, 0, 1));
}

/// The last event of the only stream that the client has got, as it is stored.
fn delivered(proxy: &Proxy) -> u64 {
    let store = proxy.engine().store();
    let (done, wait) = channel();
    store.flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
    assert!(wait.recv_timeout(PATIENCE).unwrap());
    let (done, wait) = channel();
    store.scan(None, 1, Box::new(move |found| done.send(found).unwrap())).unwrap();
    let found = wait.recv_timeout(PATIENCE).unwrap().unwrap();
    std::str::from_utf8(found[0].1.id.as_bytes()).unwrap().parse().unwrap()
}
