//! Two proxies with one Redis: clients that come back to the other one, and proxies that are killed.
//!
//! In: `redis-server` or `valkey-server`, which `SEGNO_REQUIRE_REDIS=1` demands; `SEGNO_SECONDS` for a longer run. Out:
//! what clients got, counted by readers of their own, how often upstream was asked, and how late events were.
//! Laws: of a stream with ids nothing is lost and nothing comes twice; of one without, nothing comes twice, and whatever
//! is missing was said; an order is given once.
#![cfg(all(unix, feature = "cli", feature = "redis"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures of a run are shown")]

mod support;

use segno::base::Random;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::process::Process;
use support::redis::Server;
use support::rest;

/// The time between two events of a stream.
const PACE: Duration = Duration::from_millis(50);

/// One write-behind window.
const WINDOW: Duration = Duration::from_millis(100);

fn seconds(default: u64) -> Duration {
    let given = std::env::var("SEGNO_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(given.unwrap_or(default))
}

/// An upstream with feeds and answers. Each event says its number and when it was sent, in microseconds.
struct Upstream {
    began: Instant,
    /// How often an answer was ordered.
    orders: AtomicU64,
    /// Events of an answer.
    length: u64,
}

impl Upstream {
    fn start(length: u64) -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Arc::new(Self { began: Instant::now(), orders: AtomicU64::new(0), length });
        let (address, serving) = (listener.local_addr().unwrap(), Arc::clone(&upstream));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let upstream = Arc::clone(&serving);
                thread::spawn(move || upstream.serve(stream));
            }
        });
        (address, upstream)
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let after = head.lines().find_map(|line| line.strip_prefix("Last-Event-ID: "));
        let is_answer = head.starts_with("POST ");
        let has_ids = head.contains(" /ids/");
        // A feed without ids is one for all: whoever asks gets what comes from now on.
        let mut n = match after {
            Some(id) => id.parse().expect("an id of upstream's own"),
            None if is_answer || has_ids => 0,
            None => self.now() / PACE.as_micros() as u64,
        };
        if is_answer {
            self.orders.fetch_add(1, Ordering::SeqCst);
        }
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        while !(is_answer && n == self.length) {
            n += 1;
            let id = if has_ids { format!("id: {n}\n") } else { String::new() };
            let event = format!("{id}data: {n} {}\n\n", self.now());
            if stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).is_err() {
                return;
            }
            match is_answer || has_ids {
                true => rest(PACE),
                false => {
                    let next = Duration::from_micros((n + 1) * PACE.as_micros() as u64);
                    rest(next.saturating_sub(self.began.elapsed()));
                }
            }
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    }
}

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// With the last chunk.
    Whole,
    Cut,
    /// The client has left by itself.
    Left,
}

/// What a client makes of what it gets. It has its own readers of HTTP and of event streams.
struct Client {
    request: String,
    post: Option<&'static str>,
    last_id: Option<String>,
    /// The number of the last event.
    last: u64,
    events: u64,
    /// It was told of a gap since that event.
    told: bool,
    gaps: u64,
    lost: u64,
    /// How late each event was that came live, in microseconds.
    late: Vec<u64>,
    /// Events that were sent before this came live on another connection.
    since: u64,
    what: Vec<String>,
}

impl Client {
    fn new(target: &str, post: Option<&'static str>) -> Self {
        let request = format!(
            "{} {target} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n",
            if post.is_some() { "POST" } else { "GET" }
        );
        Self {
            request,
            post,
            last_id: None,
            last: 0,
            events: 0,
            told: false,
            gaps: 0,
            lost: 0,
            late: Vec::new(),
            since: 0,
            what: Vec::new(),
        }
    }

    /// Asks, and reads until the end, or until `leave` says that it has had enough.
    fn read(&mut self, to: SocketAddr, clock: impl Fn() -> u64, mut leave: impl FnMut(&Self) -> bool) -> Option<End> {
        let mut stream = TcpStream::connect(to).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let id = self.last_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let body = self.post.map(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(format!("{}{id}{}", self.request, body.unwrap_or("\r\n".to_owned())).as_bytes()).ok()?;
        self.since = clock();
        self.what.push(format!("{}: asks {to} after {:?} at {}", self.last, self.last_id, self.since / 1_000));
        let (mut raw, mut body, mut status) = (Vec::new(), String::new(), None);
        let mut part = [0; 16 << 10];
        loop {
            let n = match stream.read(&mut part) {
                Ok(0) => return Some(End::Cut),
                Ok(n) => n,
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => 0,
                Err(_) => return Some(End::Cut),
            };
            raw.extend_from_slice(&part[..n]);
            if status.is_none()
                && let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n")
            {
                let head = String::from_utf8(raw.drain(..end + 4).collect()).unwrap();
                let code: u16 = head[9..12].parse().unwrap();
                if head.contains("Segno-Gap: ") {
                    self.tell(head.lines().find(|line| line.starts_with("Segno-Gap")).unwrap());
                }
                if code != 200 {
                    self.what.push(format!("status {code}"));
                    if code == 410 {
                        self.last_id = None;
                    }
                    return Some(if code == 204 { End::Whole } else { End::Cut });
                }
                status = Some(code);
            }
            let mut end = None;
            while status.is_some()
                && end.is_none()
                && let Some(line) = raw.windows(2).position(|two| two == b"\r\n")
            {
                let size =
                    usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).expect("a chunk's size");
                if raw.len() < line + 2 + size + 2 {
                    break;
                }
                // Events may have come together with the last chunk.
                end = (size == 0).then_some(End::Whole);
                body.push_str(std::str::from_utf8(&raw[line + 2..line + 2 + size]).unwrap());
                raw.drain(..line + 4 + size);
            }
            while let Some(end) = body.find("\n\n") {
                let block: String = body.drain(..end + 2).collect();
                self.take(&block, clock());
            }
            if end.is_some() {
                return end;
            }
            if leave(self) {
                return Some(End::Left);
            }
        }
    }

    fn tell(&mut self, why: &str) {
        self.what.push(format!("told {why}"));
        self.told = true;
        self.gaps += 1;
    }

    fn take(&mut self, block: &str, now: u64) {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            self.last_id = Some(id.to_owned());
        }
        if field("event: ") == Some("segno.gap") {
            return self.tell(block);
        }
        let Some((n, sent)) = field("data: ").and_then(|data| data.split_once(' ')) else { return };
        let (n, sent): (u64, u64) = (n.parse().unwrap(), sent.parse().unwrap());
        let what = || self.what[self.what.len().saturating_sub(6)..].join("\n");
        assert!(n > self.last, "{}event {n} after {}: it came twice\n{}", self.request, self.last, what());
        let missing = n - self.last - 1;
        assert!(
            missing == 0 || self.told || self.last == 0 && self.last_id.is_some() && !self.request.contains("/ids/"),
            "{}event {n} after {}: {missing} are missing, and nobody said so\n{}",
            self.request,
            self.last,
            what()
        );
        if self.last > 0 {
            self.lost += missing;
        }
        if sent > self.since {
            self.late.push(now.saturating_sub(sent));
        }
        (self.last, self.told) = (n, false);
        self.events += 1;
    }
}

fn start(at: SocketAddr, upstream: SocketAddr, store: &Server) -> Process {
    let (upstream, store) = (format!("http://{upstream}"), store.url());
    Process::at(at, &["--upstream", &upstream, "--store", &store, "--replay-shared"])
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn percentile(all: &mut [u64], share: f64) -> Duration {
    all.sort_unstable();
    let at = (all.len() as f64 * share) as usize;
    Duration::from_micros(all.get(at.min(all.len().saturating_sub(1))).copied().unwrap_or(0))
}

/// An answer of an LLM, whose client is cut again and again and comes back to the other proxy.
#[test]
fn an_answer_is_ordered_once_and_read_to_its_end_at_the_other_proxy() {
    let Some(store) = Server::start(&[]) else { return };
    let length = seconds(6).as_millis() as u64 / PACE.as_millis() as u64;
    let (address, upstream) = Upstream::start(length);
    let (a, b) = (start(ANY, address, &store), start(ANY, address, &store));
    let mut client = Client::new("/v1/chat", Some("{\"stream\":true}"));
    let clock = || upstream.now();
    let until = |n: u64| move |client: &Client| client.last >= n;
    assert_eq!(client.read(a.address(), clock, until(length / 10)), Some(End::Left), "{:?}", client.what);
    let direct = std::mem::take(&mut client.late);
    for cut in 1..=5 {
        let end = client.read(b.address(), clock, until(length * (cut + 1) / 8));
        assert_eq!(end, Some(End::Left), "{:#?}", client.what);
    }
    assert_eq!(client.read(b.address(), clock, |_| false), Some(End::Whole), "{:#?}", client.what);
    assert_eq!((client.last, client.events, client.gaps), (length, length, 0), "{:#?}", client.what);
    assert_eq!(upstream.orders.load(Ordering::SeqCst), 1, "one order, one answer");
    let (mut late, mut direct) = (client.late, direct);
    let (half, most) = (percentile(&mut late, 0.5), percentile(&mut late, 0.99));
    let usual = percentile(&mut direct, 0.5);
    eprintln!(
        "delay through the store: median {half:?}, 99th percentile {most:?}, of {} events; at the owner {usual:?}",
        late.len()
    );
    assert!(late.len() as u64 > length / 3, "{} events came live", late.len());
    // A short run may share its machine with others: it shows that events come as they are made, and a run of a length
    // that was asked for shows how soon.
    let bound = if std::env::var_os("SEGNO_SECONDS").is_some() { 2 * WINDOW + usual } else { 20 * WINDOW };
    assert!(most <= bound, "{most:?} late at the 99th percentile");
}

/// Clients at random on two proxies, one of which is killed every few seconds.
#[test]
fn clients_at_random_lose_nothing_that_has_ids_and_are_told_of_what_has_none() {
    let Some(store) = Server::start(&[]) else { return };
    let (address, upstream) = Upstream::start(0);
    let mut proxies = [start(ANY, address, &store), start(ANY, address, &store)];
    let at = [proxies[0].address(), proxies[1].address()];
    let over = Arc::new(AtomicBool::new(false));
    let kills = Arc::new(Mutex::new(0));
    let clients: Vec<_> = (0..200)
        .map(|n: u64| {
            let (over, upstream) = (Arc::clone(&over), Arc::clone(&upstream));
            thread::spawn(move || {
                let mut random = Random::new(n + 1);
                let target = if n.is_multiple_of(2) { format!("/ids/{n}") } else { format!("/feed/{n}") };
                let mut client = Client::new(&target, None);
                while !over.load(Ordering::SeqCst) {
                    let leaves = upstream.now() + 300_000 + random.below(2_000_000);
                    let clock = || upstream.now();
                    let leave = |_: &Client| upstream.now() > leaves || over.load(Ordering::SeqCst);
                    if client.read(at[random.below(2) as usize], clock, leave) != Some(End::Left) {
                        rest(Duration::from_millis(20 + random.below(100)));
                    }
                }
                client
            })
        })
        .collect();
    let until = Instant::now() + seconds(11);
    let mut turn = 0;
    while Instant::now() + Duration::from_secs(2) < until {
        rest(Duration::from_secs(5).min(until.saturating_duration_since(Instant::now())));
        let proxy = &mut proxies[turn % 2];
        proxy.signal("KILL");
        proxy_is_gone(proxy);
        *proxy = start(at[turn % 2], address, &store);
        turn += 1;
        *kills.lock().unwrap() += 1;
    }
    over.store(true, Ordering::SeqCst);
    let clients: Vec<Client> =
        clients.into_iter().map(|client| client.join().expect("a client met what must not be")).collect();
    let (ids, bare): (Vec<_>, Vec<_>) = clients.into_iter().partition(|client| client.request.contains("/ids/"));
    let sum = |all: &[Client], of: fn(&Client) -> u64| all.iter().map(of).sum::<u64>();
    eprintln!(
        "{} kills; with ids: {} events, {} lost, {} gaps; without: {} events, {} lost and said in {} gaps",
        turn,
        sum(&ids, |c| c.events),
        sum(&ids, |c| c.lost),
        sum(&ids, |c| c.gaps),
        sum(&bare, |c| c.events),
        sum(&bare, |c| c.lost),
        sum(&bare, |c| c.gaps)
    );
    assert!(turn >= 2 && sum(&ids, |c| c.events) > 10_000 && sum(&bare, |c| c.events) > 5_000);
    assert_eq!(sum(&ids, |c| c.lost), 0);
    assert!(ids.iter().chain(&bare).all(|client| client.events > 20), "all go on");
}

fn proxy_is_gone(proxy: &Process) {
    support::until("the proxy is gone", || proxy.has_ended());
}
