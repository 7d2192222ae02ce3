//! An event on its way through the machine: from an upstream's socket through parser, tracker and log to a client's.
//!
//! In: streams of events of 120 and 256 bytes, one event a read. Out: time per event by divan. With `SEGNO_EVENTS=N`
//! and `SEGNO_BYTES=N` nothing is measured and so many events pass: what `valgrind --tool=callgrind` counts for two
//! such numbers tells the instructions of one event by their difference. `SEGNO_TRACE_SHARE=1` records the stream as a
//! trace, `0` only asks whether to.

#![allow(clippy::expect_used, clippy::panic, reason = "a bench that cannot be set up measures nothing")]

use divan::{Bencher, counter::ItemsCount};
use segno::base::Tick;
use segno::config::{Config, Route, Tracing, Upstream};
use segno::machine::{ConnKey, Input, Machine, Output};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Events in one measured run.
const ROUND: usize = 10_000;

const REQUEST: &[u8] = b"GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn main() {
    match number("SEGNO_EVENTS") {
        Some(events) => {
            let mut stream = Stream::new(number("SEGNO_BYTES").unwrap_or(256));
            (0..events).for_each(|_| stream.pass());
        }
        None => divan::main(),
    }
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// A client that reads an upstream's stream.
struct Stream {
    machine: Machine,
    upstream: ConnKey,
    now: u64,
    event: Vec<u8>,
    n: usize,
    sent: usize,
}

impl Stream {
    fn new(bytes: usize) -> Self {
        let route = Route::new(Upstream::parse("http://up:9000").expect("an address"));
        let sample = std::env::var("SEGNO_TRACE_SHARE").ok().and_then(|share| share.parse().ok());
        let tracing = Tracing { sample, ..Tracing::default() };
        let config = Config { routes: vec![route].into(), tracing, ..Config::default() };
        let now = Tick::from_micros(1);
        let mut machine = Machine::new(Arc::new(config), 7, 11, now);
        machine.handle(Input::Accepted { peer: IpAddr::V4(Ipv4Addr::LOCALHOST).into() }, now);
        let Some(Output::Adopt { conn: client }) = machine.poll_output() else { panic!("no client") };
        machine.handle(Input::Data { conn: client, bytes: REQUEST }, now);
        let mut upstream = None;
        while let Some(output) = machine.poll_output() {
            if let Output::Connect { conn, .. } = output {
                upstream = Some(conn);
            }
        }
        let upstream = upstream.expect("an upstream");
        let mut stream = Self { machine, upstream, now: 1, event: Vec::new(), n: 0, sent: 0 };
        stream.handle(Input::Connected { conn: upstream });
        stream.handle(Input::Data { conn: upstream, bytes: ANSWER });
        let id = "id: 00000000-0000-0000-0000-000000000000\n";
        let data = format!("data: {}\n\n", "x".repeat(bytes - id.len() - "data: \n\n".len()));
        stream.event = format!("{:x}\r\n{id}{data}\r\n", bytes).into_bytes();
        stream
    }

    /// One event, with an id of its own.
    fn pass(&mut self) {
        let mut event = std::mem::take(&mut self.event);
        let digits = event.windows(2).position(|two| two == b"id").expect("an id") + "id: ".len() + 24;
        let mut n = self.n;
        for place in event[digits..digits + 12].iter_mut().rev() {
            (*place, n) = (b'0' + (n % 10) as u8, n / 10);
        }
        self.n += 1;
        let before = self.sent;
        self.handle(Input::Data { conn: self.upstream, bytes: &event });
        assert!(self.sent > before, "the event did not pass");
        self.event = event;
        if self.n.is_multiple_of(64) {
            self.machine.drain_checkpoints(drop);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.now += 100;
        let now = Tick::from_micros(self.now);
        self.machine.handle(input, now);
        while let Some(output) = self.machine.poll_output() {
            if let Output::Flush { conn } = output {
                let bytes = self.machine.transmit(conn).iter().map(|slice| slice.len()).sum();
                self.sent += bytes;
                self.machine.handle(Input::Written { conn, bytes }, now);
            }
        }
    }
}

#[divan::bench(args = [120, 256], sample_count = 50)]
fn event(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut stream = Stream::new(bytes);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(move || (0..ROUND).for_each(|_| stream.pass()));
}
