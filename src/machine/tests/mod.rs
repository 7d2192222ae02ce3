//! Tests of the machine as a whole, without sockets and without sleeping: a [`World`] plays clients, upstreams and
//! the clock.
//!
//! In: what a test has its ends say, and how much they take. Out: what each end got on the wire.
//! Laws: the world keeps to the law of the loop; after each step [`Machine::check_settled`] holds, so that no exchange is ever
//! left without a timer or a connection that will wake it; at a test's end all clients leave, and nothing may be left.
//!
//! The fuzz target `machine_ops` lives in the same world, so that one is compiled for it too.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is a failed test, or a find")]
#![cfg_attr(not(test), allow(dead_code, reason = "the fuzz target uses a part of the tests' world"))]

#[cfg(test)]
mod bodies;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod corners;
#[cfg(test)]
mod draining;
#[cfg(test)]
mod eras;
#[cfg(test)]
mod gaps;
#[cfg(test)]
mod healing;
#[cfg(test)]
mod holding;
#[cfg(feature = "fuzzing")]
pub(crate) mod machine_ops;
#[cfg(test)]
mod passing;
#[cfg(test)]
mod refusing;
#[cfg(test)]
mod resuming;
#[cfg(test)]
mod returning;
#[cfg(test)]
mod stored;
pub(crate) mod trace;
mod world;

use super::{Close, ConnKey, ConnectError, Input, Lookup, Machine, Notice, Output};
use crate::base::{Count, Span, Tick};
use crate::config::{Config, Limits, Route, Upstream};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use trace::Trace;

const GET: &str = "GET /plain HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_STREAM: &str = "GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
const POST: &str = "POST /llm HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const STREAM_UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "0\r\n\r\n";

/// What upstream does with connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dial {
    Accept,
    Refuse,
    Hang,
}

/// How an end is closed by the machine, as the end sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Open,
    /// Our side was shut, the socket still reads.
    Shut,
    Closed,
    Reset,
}

pub(crate) enum Said {
    Bytes(Vec<u8>),
    Eof,
    Reset,
}

/// One end: a client or an upstream.
pub(crate) struct End {
    key: ConnKey,
    state: State,
    pub(crate) wire: Vec<u8>,
    said: VecDeque<Said>,
    /// Bytes it will still take; `None`: all.
    takes: Option<usize>,
    writable: bool,
    established: bool,
    /// What its kernel holds at most on the way out, where that is bounded.
    pub(crate) cap: Option<usize>,
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) now: Tick,
    pub(crate) ends: Vec<End>,
    by_key: HashMap<u64, usize>,
    /// Ends that are upstreams, in the order they were asked for.
    pub(crate) ups: Vec<usize>,
    /// When each was asked for.
    dialled: Vec<Tick>,
    pub(crate) dial: Dial,
    counts: HashMap<&'static str, u64>,
    notices: Vec<Notice>,
    pub(crate) lookups: Vec<Lookup>,
    refused: usize,
    /// What goes on, for messages.
    pub(crate) what: String,
    flushing: VecDeque<usize>,
    reading: VecDeque<usize>,
    news: VecDeque<(ConnKey, bool)>,
    /// What was done so far.
    pub(crate) trace: Trace,
}

/// A world with one route, treated by default, but that what nobody reads is let go at once.
fn world() -> World {
    world_with(|_, _| {})
}

fn world_with(adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    lingering_world(|route, limits| {
        route.linger = Span::ZERO;
        adjust(route, limits);
    })
}

/// A world with one route, treated by default.
fn lingering_world(adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    world_of(one_route(adjust))
}

fn one_route(adjust: impl FnOnce(&mut Route, &mut Limits)) -> Config {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    let mut limits = Limits { streams: 100, connections: 300, ..Limits::default() };
    adjust(&mut route, &mut limits);
    Config { routes: vec![route].into(), limits, ..Config::default() }
}

fn world_of(config: Config) -> World {
    world_from(config, 7)
}

/// A process of its own: what it draws by chance comes from the seed.
pub(crate) fn world_from(config: Config, seed: u64) -> World {
    let now = Tick::from_millis(1_000_000);
    World {
        machine: Machine::new(Arc::new(config), seed, 11, now),
        now,
        ends: Vec::new(),
        by_key: HashMap::new(),
        ups: Vec::new(),
        dialled: Vec::new(),
        dial: Dial::Accept,
        counts: HashMap::new(),
        notices: Vec::new(),
        lookups: Vec::new(),
        refused: 0,
        what: String::new(),
        flushing: VecDeque::new(),
        reading: VecDeque::new(),
        news: VecDeque::new(),
        trace: Trace::default(),
    }
}

/// Bytes as a chunk.
pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn event(id: u32) -> String {
    format!("id: {id}\ndata: {id}\n\n")
}

/// What tests say and ask.
impl World {
    fn client(&mut self) -> usize {
        let before = self.ends.len();
        self.machine.handle(Input::Accepted { peer: IpAddr::V4(Ipv4Addr::LOCALHOST) }, self.now);
        self.pump();
        before
    }

    /// A client that has sent this.
    pub(crate) fn client_with(&mut self, request: &str) -> usize {
        let c = self.client();
        self.say(c, request);
        c
    }

    /// A client in an event stream that has got event 1, and the upstream it comes from.
    fn streaming(&mut self) -> (usize, usize) {
        let c = self.client_with(GET_STREAM);
        let u = self.up(self.ups.len() - 1);
        self.say(u, &format!("{STREAM}{}", chunk(&event(1))));
        (c, u)
    }

    pub(crate) fn say(&mut self, end: usize, bytes: &str) {
        self.say_bytes(end, bytes.as_bytes());
    }

    pub(crate) fn say_bytes(&mut self, end: usize, bytes: &[u8]) {
        self.hear(end, Said::Bytes(bytes.to_vec()));
    }

    pub(crate) fn fin(&mut self, end: usize) {
        self.hear(end, Said::Eof);
    }

    pub(crate) fn rst(&mut self, end: usize) {
        self.hear(end, Said::Reset);
    }

    fn hear(&mut self, end: usize, said: Said) {
        self.ends[end].said.push_back(said);
        self.reading.push_back(end);
        self.pump();
    }

    /// The end takes no more than `n` further bytes.
    pub(crate) fn takes(&mut self, end: usize, n: usize) {
        self.ends[end].takes = Some(n);
        self.ends[end].writable = true;
        self.write(end);
        self.pump();
    }

    pub(crate) fn takes_all(&mut self, end: usize) {
        self.ends[end].takes = None;
        self.ends[end].writable = true;
        self.write(end);
        self.pump();
    }

    /// Bytes that an end has said and the machine has not read.
    pub(crate) fn unread(&self, end: usize) -> usize {
        self.ends[end].said.iter().map(|s| if let Said::Bytes(b) = s { b.len() } else { 0 }).sum()
    }

    fn up(&self, n: usize) -> usize {
        self.ups[n]
    }

    fn last_up(&self) -> usize {
        *self.ups.last().unwrap()
    }

    fn state(&self, end: usize) -> State {
        self.ends[end].state
    }

    fn wire(&self, end: usize) -> String {
        String::from_utf8_lossy(&self.ends[end].wire).into_owned()
    }

    fn status(&self, end: usize) -> u16 {
        self.wire(end).get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// The body an end got, without chunks, and whether the last chunk came.
    fn body(&self, end: usize) -> (String, bool) {
        let wire = self.wire(end);
        let (head, rest) = wire.split_once("\r\n\r\n").unwrap_or_default();
        if !head.contains("Transfer-Encoding: chunked") {
            return (rest.to_owned(), false);
        }
        dechunk(rest)
    }

    /// The events an end got, without heartbeats.
    fn events(&self, end: usize) -> String {
        self.body(end).0.replace(":\n\n", "")
    }

    fn heartbeats(&self, end: usize) -> usize {
        self.body(end).0.matches(":\n\n").count()
    }

    fn count(&mut self, count: Count) -> u64 {
        let counts = &mut self.counts;
        self.machine.drain_counts(|c, n| *counts.entry(c.name()).or_default() += n);
        self.counts.get(count.name()).copied().unwrap_or(0)
    }

    /// Lets time pass, stopping wherever the machine wants to be called.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.time();
        }
        self.now = end;
        self.time();
    }

    pub(crate) fn pass_ms(&mut self, millis: u64) {
        self.pass(Span::from_millis(millis));
    }

    fn pass_secs(&mut self, secs: u64) {
        self.pass(Span::from_secs(secs));
    }

    pub(crate) fn drain(&mut self) {
        self.machine.handle(Input::Drain, self.now);
        self.pump();
    }

    fn has_notice(&self, what: &str) -> bool {
        self.notices.iter().any(|n| n.to_string().contains(what))
    }
}

/// Takes chunks off; whether the last one came.
fn dechunk(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
        if size == 0 {
            return (body, true);
        }
        body.push_str(&more[..size.min(more.len())]);
        let Some(more) = more.get(size + 2..) else { break };
        rest = more;
    }
    (body, false)
}
