//! What handing counts over costs the thread that counts: no allocation. A scrape reads the shared numbers alone.
//!
//! In: a stream whose events pass the machine one by one, its counts published after each, as the reactor does once a
//! turn. Out: allocations.
//! Law: this file has one test, since allocations are counted for the whole process.
#![cfg(feature = "net")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test may panic: that is a failed test")]

use segno::admin::{PageFormat, metrics_page};
use segno::base::{Count, Tick};
use segno::config::{Config, Route, Upstream};
use segno::machine::{ConnKey, Input, Machine, Output};
use segno::metrics::Metrics;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENTS: usize = 10_000;

struct Stream {
    machine: Machine,
    metrics: Arc<Metrics>,
    upstream: Option<ConnKey>,
    now: u64,
    /// Allocations while counts were handed over.
    spent: usize,
}

impl Stream {
    fn handle(&mut self, input: Input<'_>) {
        self.now += 100;
        let now = Tick::from_micros(self.now);
        self.machine.handle(input, now);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Flush { conn } => {
                    let bytes = self.machine.transmit(conn).iter().map(|slice| slice.len()).sum();
                    self.machine.handle(Input::Written { conn, bytes }, now);
                }
                Output::AskUnacknowledged { conn } => {
                    self.machine.handle(Input::Unacknowledged { conn, bytes: 0 }, now);
                }
                Output::Connect { conn, .. } => self.upstream = Some(conn),
                _ => {}
            }
        }
        let (metrics, region) = (&self.metrics, Region::new(ALLOCATOR));
        self.machine.drain_timings(|timing, route, spans| metrics.add_spans(route, timing, spans));
        self.machine.drain_counts(|count, route, n| metrics.add_at(route, count, n));
        let spent = region.change();
        self.spent += spent.allocations + spent.reallocations;
    }

    /// An event with an id of its own. The bytes are changed in place.
    fn pass(&mut self, event: &mut [u8], n: usize) {
        let digits = b"20\r\nid: ".len();
        let mut left = n;
        for place in event[digits..digits + 8].iter_mut().rev() {
            (*place, left) = (b'0' + (left % 10) as u8, left / 10);
        }
        let conn = self.upstream.expect("an upstream");
        self.handle(Input::Data { conn, bytes: event });
    }
}

#[test]
fn an_event_is_counted_by_route_without_an_allocation() {
    let route = Route::new(Upstream::parse("http://up:9000").expect("an address"));
    let metrics = Arc::new(Metrics::new([route.name.clone()]));
    let store = segno::config::StoreConfig::Own;
    let config = Config { routes: vec![route].into(), store, ..Config::default() };
    let machine = Machine::new(Arc::new(config), 7, 11, Tick::from_micros(1));
    let mut stream = Stream { machine, metrics: Arc::clone(&metrics), upstream: None, now: 1, spent: 0 };
    stream.machine.handle(Input::Accepted { peer: IpAddr::V4(Ipv4Addr::LOCALHOST).into() }, Tick::from_micros(1));
    let Some(Output::Adopt { conn: client }) = stream.machine.poll_output() else { panic!("no client") };
    stream.handle(Input::Data { conn: client, bytes: REQUEST });
    let upstream = stream.upstream.expect("an upstream");
    stream.handle(Input::Connected { conn: upstream });
    stream.handle(Input::Data { conn: upstream, bytes: ANSWER });
    let block = "id: 00000000\ndata: xxxxxxxxxxx\n\n";
    let mut event = format!("{:x}\r\n{block}\r\n", block.len()).into_bytes();
    (0..EVENTS).for_each(|n| stream.pass(&mut event, n));

    stream.spent = 0;
    (EVENTS..2 * EVENTS).for_each(|n| stream.pass(&mut event, n));
    assert_eq!(stream.spent, 0);

    // A scrape reads the shared numbers, and the machine is not asked.
    let page = metrics_page(&metrics, Tick::from_micros(stream.now), PageFormat::OpenMetrics);
    let events = format!("segno_events_received_total{{route=\"/\"}} {}\n", 2 * EVENTS);
    assert!(page.contains(&events), "{page}");
    assert_eq!(metrics.get(Count::EventsSent), 2 * EVENTS as u64);
}
