//! What clients and upstreams of tests send, and what a test asks about the bytes that they got.
//!
//! In: requests, answers, events. Out: statuses, bodies, events, heartbeats, counts.

use super::world::{Said, State, World};
use crate::base::{Count, Span};
use crate::config::Config;
use crate::machine::Input;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub(crate) const GET: &str = "GET /plain HTTP/1.1\r\nHost: h\r\n\r\n";
pub(crate) const GET_STREAM: &str = "GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
pub(crate) const POST: &str = "POST /llm HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
pub(crate) const STREAM_UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const LAST: &str = "0\r\n\r\n";

/// Bytes as a chunk.
pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

pub(crate) fn event(id: u32) -> String {
    format!("id: {id}\ndata: {id}\n\n")
}

/// What tests send and ask.
impl World {
    pub(crate) fn client(&mut self) -> usize {
        let before = self.ends.len();
        self.machine.handle(Input::Accepted { peer: IpAddr::V4(Ipv4Addr::LOCALHOST).into() }, self.now);
        self.pump();
        before
    }

    /// A client that has sent this.
    pub(crate) fn client_with(&mut self, request: &str) -> usize {
        let c = self.client();
        self.say(c, request);
        c
    }

    /// A client of an event stream that has got event 1, and the upstream that sent it.
    pub(crate) fn streaming(&mut self) -> (usize, usize) {
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

    /// The machine is handed what several ends say before any of it is written on.
    pub(crate) fn say_in_a_row(&mut self, row: &[(usize, String)]) {
        let mut late = std::collections::VecDeque::new();
        for (end, said) in row {
            let conn = self.ends[*end].key;
            assert!(self.machine.poll_read(conn) >= said.len(), "there is no room for it");
            self.ends[*end].heard += said.len();
            self.machine.handle(Input::Data { conn, bytes: said.as_bytes() }, self.now);
            while let Some(output) = self.machine.poll_output() {
                self.trace.output(&output);
                self.carry_out(output);
            }
            late.append(&mut self.flushing);
        }
        self.flushing = late;
        self.pump();
    }

    /// The end closes its connection. A stream that is cut by this is asked for again by the time that this returns, if
    /// it is the first cut in a row.
    pub(crate) fn fin(&mut self, end: usize) {
        self.hear(end, Said::Eof);
        self.pass_first_backoff(end);
    }

    /// The same with a reset.
    pub(crate) fn rst(&mut self, end: usize) {
        self.hear(end, Said::Reset);
        self.pass_first_backoff(end);
    }

    /// An upstream whose body did not last is asked again after at most 100 ms.
    fn pass_first_backoff(&mut self, end: usize) {
        if self.ups.contains(&end) {
            self.pass_ms(102);
        }
    }

    pub(crate) fn hear(&mut self, end: usize, said: Said) {
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

    /// Lets the time pass after which clients are asked what they have acknowledged.
    pub(crate) fn acknowledged(&mut self) {
        self.pass_ms(102);
    }

    /// How many bytes an end has sent and the machine has not read.
    pub(crate) fn unread(&self, end: usize) -> usize {
        self.ends[end].said.iter().map(|s| if let Said::Bytes(b) = s { b.len() } else { 0 }).sum()
    }

    pub(crate) fn up(&self, n: usize) -> usize {
        self.ups[n]
    }

    pub(crate) fn last_up(&self) -> usize {
        *self.ups.last().unwrap()
    }

    pub(crate) fn state(&self, end: usize) -> State {
        self.ends[end].state
    }

    pub(crate) fn wire(&self, end: usize) -> String {
        String::from_utf8_lossy(&self.ends[end].wire).into_owned()
    }

    pub(crate) fn status(&self, end: usize) -> u16 {
        self.wire(end).get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// The body an end got, without chunks, and whether the last chunk came.
    pub(crate) fn body(&self, end: usize) -> (String, bool) {
        let wire = self.wire(end);
        let (head, rest) = wire.split_once("\r\n\r\n").unwrap_or_default();
        if !head.contains("Transfer-Encoding: chunked") {
            return (rest.to_owned(), false);
        }
        dechunk(rest)
    }

    /// The events an end got, without heartbeats.
    pub(crate) fn events(&self, end: usize) -> String {
        without_heartbeats(&self.body(end).0)
    }

    pub(crate) fn heartbeats(&self, end: usize) -> usize {
        self.body(end).0.lines().filter(|line| *line == ":").count()
    }

    pub(crate) fn count(&mut self, count: Count) -> u64 {
        let counts = &mut self.counts;
        self.machine.drain_counts(|c, _, n| *counts.entry(c as usize).or_default() += n);
        self.counts.get(&(count as usize)).copied().unwrap_or(0)
    }

    /// Cuts that could not be healed.
    pub(crate) fn heals_failed(&mut self) -> u64 {
        self.all("heals_total") - self.count(Count::Heals)
    }

    /// Gaps stated.
    pub(crate) fn gaps(&mut self) -> u64 {
        self.all("gaps_total")
    }

    /// All counts that share a metric.
    fn all(&mut self, name: &str) -> u64 {
        Count::ALL.iter().filter(|count| count.name() == name).map(|count| self.count(*count)).sum()
    }

    /// Lets time pass, and calls the machine whenever one of its deadlines has come.
    pub(crate) fn pass(&mut self, span: Span) {
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

    pub(crate) fn pass_secs(&mut self, secs: u64) {
        self.pass(Span::from_secs(secs));
    }

    /// Ends at once what can go on elsewhere.
    pub(crate) fn drain(&mut self) {
        self.drain_over(Span::ZERO, Span::from_secs(10));
    }

    pub(crate) fn drain_over(&mut self, spread: Span, within: Span) {
        self.machine.handle(Input::Drain { spread, within }, self.now);
        self.pump();
    }

    /// Goes over to another configuration.
    pub(crate) fn reload(&mut self, config: Config) {
        self.machine.handle(Input::Reload { config: Arc::new(config) }, self.now);
        self.pump();
    }

    pub(crate) fn has_notice(&self, what: &str) -> bool {
        self.notices.iter().any(|n| n.to_string().contains(what))
    }
}

/// A stream without heartbeats: without each line that is an empty comment, and the blank line that may follow it.
pub(crate) fn without_heartbeats(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut was_heartbeat = false;
    for line in text.split_inclusive('\n') {
        let is_heartbeat = line == ":\n";
        if !(is_heartbeat || was_heartbeat && line == "\n") {
            kept.push_str(line);
        }
        was_heartbeat = is_heartbeat;
    }
    kept
}

/// Takes chunks off; whether the last one came.
pub(crate) fn dechunk(mut rest: &str) -> (String, bool) {
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
