//! A route with three upstreams, of which one is killed and comes back.
//!
//! In: streams and POSTs over real sockets. Out: what each client got, counted by the clients, and where it came from.
//! Laws: where all upstreams share their ids nothing is lost or repeated; where they do not, a loss is stated, and no
//! stream gets events of two upstreams; a POST that reached an upstream is executed once.
#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use segno::base::{Count, Span};
use segno::config::{Ids, Route, Upstream, Weighted};
use support::{Client, End, Proxy, rest, until};

const STREAMS: usize = 50;

#[derive(Default)]
struct State {
    is_down: AtomicBool,
    is_closed: AtomicBool,
    is_over: AtomicBool,
    forgets: AtomicBool,
    /// It answers checks badly.
    is_sick: AtomicBool,
    begun: AtomicUsize,
    open: AtomicUsize,
    posts: AtomicUsize,
}

/// An upstream that sends numbered events from the id on that it is asked for.
struct Feed {
    address: SocketAddr,
    state: Arc<State>,
}

impl Feed {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let feed = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        feed.listen(listener, name);
        feed
    }

    fn listen(&self, listener: TcpListener, name: &'static str) {
        let state = Arc::clone(&self.state);
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            while !state.is_down.load(SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    rest(Duration::from_millis(1));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let state = Arc::clone(&state);
                thread::spawn(move || serve(stream, name, &state));
            }
            drop(listener);
            state.is_closed.store(true, SeqCst);
        });
    }

    fn kill(&self) {
        self.state.is_down.store(true, SeqCst);
        until("the upstream is gone", || self.state.is_closed.load(SeqCst) && self.open() == 0);
    }

    fn come_back(&self, name: &'static str) {
        self.state.is_down.store(false, SeqCst);
        self.listen(TcpListener::bind(self.address).unwrap(), name);
    }

    fn begun(&self) -> usize {
        self.state.begun.load(SeqCst)
    }

    fn open(&self) -> usize {
        self.state.open.load(SeqCst)
    }
}

fn serve(mut stream: TcpStream, name: &str, state: &State) {
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0].into());
    }
    if head.starts_with("GET /health ") {
        let status = if state.is_sick.load(SeqCst) { "503 Sick" } else { "200 OK" };
        let _ =
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
        return;
    }
    if head.starts_with("POST /messages") {
        let is_mine = head.starts_with(&format!("POST /messages?id={name}"));
        let status = if is_mine { "202 Accepted" } else { "404 Not Found" };
        let _ =
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
        return;
    }
    if head.starts_with("POST") {
        state.posts.fetch_add(1, SeqCst);
        return;
    }
    let lower = head.to_ascii_lowercase();
    let after = lower.split("last-event-id: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    if after.is_some() && state.forgets.load(SeqCst) {
        let _ = stream.write_all(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    state.begun.fetch_add(1, SeqCst);
    state.open.fetch_add(1, SeqCst);
    let _ = stream.write_all(begin.as_bytes());
    if head.starts_with("GET /sse") {
        let event = format!("event: endpoint\ndata: /messages?id={name}{}\n\n", state.begun.load(SeqCst));
        let _ = stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    for n in after.map_or(0, |id| id.parse::<u64>().unwrap()) + 1.. {
        let event = format!("id: {n}\ndata: {name}\n\n");
        let is_sent = stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).is_ok();
        if !is_sent || state.is_down.load(SeqCst) {
            break;
        }
        if state.is_over.load(SeqCst) {
            let _ = stream.write_all(b"0\r\n\r\n");
            break;
        }
        rest(Duration::from_millis(5));
    }
    state.open.fetch_sub(1, SeqCst);
}

fn proxy(feeds: &[Feed], shared_ids: bool) -> Proxy {
    Proxy::of(route(feeds, shared_ids))
}

fn route(feeds: &[Feed], shared_ids: bool) -> Route {
    let all: Vec<Weighted> =
        feeds.iter().map(|feed| Weighted::parse(&format!("http://{}", feed.address)).unwrap()).collect();
    let first: Upstream = all[0].upstream.clone();
    let mut route = Route::new(first);
    (route.ids, route.linger) = (Ids::Off, Span::ZERO);
    (route.set.all, route.set.shared_ids) = (all, shared_ids);
    (route.set.eject_for, route.set.slow_start) = (Span::from_millis(200), Span::ZERO);
    route
}

/// Reads a stream to its end.
fn read(mut client: Client) -> JoinHandle<(End, String)> {
    client.open_events("/feed");
    thread::spawn(move || {
        let end = client.rest();
        (end, client.text().to_owned())
    })
}

fn ids(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[test]
fn streams_whose_ids_all_share_lose_and_repeat_nothing_when_one_upstream_dies_and_returns() {
    let feeds = ["tick"; 3].map(Feed::start);
    let proxy = proxy(&feeds, true);
    let mut readers: Vec<_> = (0..STREAMS).map(|_| read(proxy.client())).collect();
    let begun: Vec<usize> = feeds.iter().map(Feed::begun).collect();
    assert!(begun.iter().all(|n| (16..=17).contains(n)), "{begun:?}");
    feeds[0].kill();
    until("all go on at the others", || feeds[1].open() + feeds[2].open() == STREAMS);
    feeds[0].come_back("tick");
    until("it gets streams again", || {
        readers.push(read(proxy.client()));
        feeds[0].begun() > begun[0]
    });
    feeds.iter().for_each(|feed| feed.state.is_over.store(true, SeqCst));
    for reader in readers {
        let (end, text) = reader.join().unwrap();
        let ids = ids(&text);
        assert!(ids.iter().copied().eq(1..=ids.len() as u64), "lost or repeated: {ids:?}");
        assert!(end == End::Whole && !ids.is_empty() && !text.contains("segno.gap"), "{end:?} {text}");
    }
}

#[test]
fn where_ids_are_not_shared_a_loss_is_stated_and_no_stream_mixes_two_upstreams() {
    let feeds = ["a", "b", "c"].map(Feed::start);
    let proxy = proxy(&feeds, false);
    let readers: Vec<_> = (0..STREAMS).map(|_| read(proxy.client())).collect();
    let of_first = feeds[0].begun();
    feeds[0].state.forgets.store(true, SeqCst);
    feeds[0].kill();
    // Each stream finds its own upstream away first. No other may take it over.
    proxy.until_count(Count::UpstreamConnectsFailed, of_first as u64);
    feeds[0].come_back("a");
    proxy.until_count(Count::UpstreamCutsClosed, 1);
    until("the lost streams are told of", || readers.iter().filter(|r| r.is_finished()).count() == of_first);
    feeds.iter().for_each(|feed| feed.state.is_over.store(true, SeqCst));
    let mut told = 0;
    for reader in readers {
        let (end, text) = reader.join().unwrap();
        let ids = ids(&text);
        assert!(ids.iter().copied().eq(1..=ids.len() as u64), "{ids:?}");
        let sources = ["a", "b", "c"].map(|name| text.contains(&format!("data: {name}\n")));
        assert_eq!(sources.iter().filter(|is_one| **is_one).count(), 1, "{text}");
        assert_eq!((end == End::Cut, text.contains("segno.gap")), (sources[0], sources[0]), "{text}");
        told += usize::from(sources[0]);
    }
    assert_eq!(told, of_first);
}

#[test]
fn messages_of_a_stream_that_names_their_url_reach_the_upstream_that_has_it() {
    let feeds = ["a", "b", "c"].map(Feed::start);
    let proxy = proxy(&feeds, false);
    let mut streams: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    for stream in &mut streams {
        stream.open_events("/sse");
        stream.until("id=");
        stream.until("\n\n");
    }
    for stream in streams.iter().cycle().take(18) {
        let url = stream.text().lines().find_map(|line| line.strip_prefix("data: /messages")).unwrap();
        let mut client = proxy.client();
        client.send(format!("POST /messages{url} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.answer().status, 202, "{url}");
    }
    feeds.iter().for_each(|feed| feed.state.is_over.store(true, SeqCst));
}

#[test]
fn an_upstream_whose_checks_are_bad_gets_no_request_until_they_are_good() {
    let feeds = ["a", "b", "c"].map(Feed::start);
    let mut route = route(&feeds, false);
    (route.set.health, route.set.health_every) = (Some("/health".to_owned()), Span::from_millis(100));
    let proxy = Proxy::of(route);
    feeds[0].state.is_sick.store(true, SeqCst);
    proxy.until_count(Count::UpstreamEjections, 1);
    let asked = || {
        let before = feeds[0].state.posts.load(SeqCst);
        for _ in 0..6 {
            let mut client = proxy.client();
            client.send("POST /do HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
            client.answer();
        }
        feeds[0].state.posts.load(SeqCst) - before
    };
    assert_eq!(asked(), 0);
    feeds[0].state.is_sick.store(false, SeqCst);
    until("it gets requests again", || asked() > 0);
}

/// How many streams each upstream has served so far.
fn begun<const N: usize>(feeds: &[Feed; N]) -> [usize; N] {
    std::array::from_fn(|n| feeds[n].begun())
}

#[test]
fn new_streams_go_where_the_fewest_are_until_all_have_as_many() {
    let feeds = ["a", "b", "c"].map(Feed::start);
    let mut route = route(&feeds, false);
    route.set.balance = segno::config::Balance::LeastStreams;
    let proxy = Proxy::of(route);
    let mut open: Vec<Client> = (0..15).map(|_| proxy.client()).collect();
    open.iter_mut().for_each(|client| _ = client.open_events("/feed"));
    assert_eq!(begun(&feeds), [5; 3]);
    // All streams of one upstream end, and the next ones go there.
    for client in &mut open {
        client.until("data: ");
    }
    open.retain(|client| !client.text().contains("data: a"));
    until("its streams have ended", || feeds[0].open() == 0);
    until("segno knows", || proxy.gauge(segno::metrics::Gauge::Streams) == 10);
    let mut more: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    more.iter_mut().for_each(|client| _ = client.open_events("/feed"));
    assert_eq!(begun(&feeds), [10, 5, 5]);
    feeds.iter().for_each(|feed| feed.state.is_over.store(true, SeqCst));
}

#[test]
fn weights_hold_to_within_one_stream() {
    let feeds = ["a", "b"].map(Feed::start);
    let mut route = route(&feeds, false);
    route.set.all[0].weight = 3;
    let proxy = Proxy::of(route);
    let mut open: Vec<Client> = (0..41).map(|_| proxy.client()).collect();
    for (n, client) in (1..).zip(&mut open) {
        client.open_events("/feed");
        let [first, second] = begun(&feeds);
        assert!(first + second == n && (4 * first).abs_diff(3 * n) <= 4, "{first} of {n}");
    }
    feeds.iter().for_each(|feed| feed.state.is_over.store(true, SeqCst));
}

#[test]
fn a_session_stays_where_it_is_over_clients_that_come_and_go() {
    let feeds = ["a", "b", "c"].map(Feed::start);
    let proxy = proxy(&feeds, false);
    let ask = |n: usize| {
        let mut client = proxy.client();
        client.send(format!(
            "GET /feed HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nMcp-Session-Id: s{n}\r\n\r\n"
        ));
        client.head();
        client.until("data: ");
        client.until("\n\n");
        client.text().lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned()
    };
    let first: Vec<String> = (0..12).map(ask).collect();
    assert!(["a", "b", "c"].iter().filter(|name| first.iter().any(|at| at == *name)).count() > 1, "{first:?}");
    for _ in 0..3 {
        assert_eq!((0..12).map(ask).collect::<Vec<_>>(), first);
    }
    feeds.iter().for_each(|feed| feed.state.is_over.store(true, SeqCst));
}

#[test]
fn an_upstream_that_is_back_is_given_little_at_first() {
    let feeds = ["a", "b"].map(Feed::start);
    let mut route = route(&feeds, true);
    // So long that this test sees its beginning, however slow it is.
    route.set.slow_start = Span::from_secs(3_600);
    let proxy = Proxy::of(route);
    feeds[0].kill();
    until("it is left out", || {
        proxy.client().open_events("/feed");
        proxy.count(Count::UpstreamEjections) > 0
    });
    feeds[0].come_back("a");
    let before = begun(&feeds);
    until("it gets one again", || {
        proxy.client().open_events("/feed");
        feeds[0].begun() > before[0]
    });
    let before = begun(&feeds);
    (0..64).for_each(|_| _ = proxy.client().open_events("/feed"));
    let now = begun(&feeds);
    let share = now[0] - before[0];
    // A sixteenth of the share of one that is in full use: 1 of 17.
    assert!((1..=6).contains(&share) && now[1] - before[1] == 64 - share, "{share} of 64");
    feeds.iter().for_each(|feed| feed.state.is_over.store(true, SeqCst));
}

#[test]
fn a_post_that_reached_an_upstream_is_executed_once() {
    let feeds = ["a", "b", "c"].map(Feed::start);
    let proxy = proxy(&feeds, true);
    for n in 1..=6 {
        let mut client = proxy.client();
        client.send("POST /do HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer().status, 502);
        assert_eq!(feeds.iter().map(|feed| feed.state.posts.load(SeqCst)).sum::<usize>(), n);
    }
}
