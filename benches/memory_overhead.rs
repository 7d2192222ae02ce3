//! Memory of a session, by a counting allocator: bytes asked for and not given back.
//!
//! In: sessions of the sans-IO machine, each a live event stream with its two connections; trackers on the caller's
//! own thread. Out: bytes per session, by what it holds, and of these the bytes of its log, which `log_budget` bounds;
//! what is left when half of 100,000 sessions are evicted.
//! Law: it fails when a figure is above its bound.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a program that measures and prints")]

use segno::base::{Span, StreamName, Tick};
use segno::config::{Config, Limits, Persist, Route, Upstream};
use segno::machine::{ConnKey, Input, Machine, Output};
use segno::store::{Opened, Outcome, Record, SessionStore, StoreError, Write};
use segno::{Engine, engine::InlineTracker};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Sessions in the averages.
const SOME: usize = 10_000;
/// Sessions at once before half are evicted.
const ALL: usize = 100_000;
/// Ids in a window by default.
const WINDOW: usize = 48;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What a session holds.
#[derive(Clone, Copy)]
enum Holds {
    /// A head has come, and no event.
    Nothing,
    /// As many ids as the window takes, of so many bytes each.
    Window { id: usize },
    /// The same with 20-byte ids, and a log of 4 KiB.
    Log,
}

fn main() -> ExitCode {
    let kinds = [
        ("idle", Holds::Nothing, 1_500),
        ("window of 48 ids of 20 bytes", Holds::Window { id: 20 }, 5_000),
        ("window of 48 ids of 36 bytes", Holds::Window { id: 36 }, 5_000),
        ("the first, and events of 4 KiB", Holds::Log, 5_000),
    ];
    let mut failed = false;
    println!("{:<32}{:>17}{:>24}{:>8}", "bytes per session", "proxied (log)", "own thread (log)", "bound");
    for (name, holds, bound) in kinds {
        let (proxied, inline) = (proxied(holds), inline(holds));
        let show = |(beside, log): (usize, usize)| format!("{beside} ({log})");
        println!("{name:<32}{:>17}{:>24}{bound:>8}", show(proxied), show(inline));
        failed |= proxied.0 > bound || inline.0 > bound;
    }
    failed |= !evicted("each session's events together", |world| {
        (0..ALL).for_each(|n| world.fill(n, Holds::Window { id: 20 }));
    });
    failed |= !evicted("all sessions' events in turn", |world| {
        for event in 0..WINDOW {
            (0..ALL).for_each(|n| world.event(n, &event_text(n, event, 20, 1)));
        }
    });
    ExitCode::from(u8::from(failed))
}

fn live() -> usize {
    let stats = COUNTING.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Bytes per session of streams through the machine: beside the log, and of the log.
fn proxied(holds: Holds) -> (usize, usize) {
    let mut world = World::new();
    let before = live();
    (0..SOME).for_each(|n| world.open(n));
    (0..SOME).for_each(|n| world.fill(n, holds));
    let log = world.machine.log_bytes();
    ((live() - before - log) / SOME, log / SOME)
}

/// The same of trackers on this thread.
fn inline(holds: Holds) -> (usize, usize) {
    let open = || {
        let (sessions, lookup) = (Box::new(Forgetful), Box::new(Forgetful));
        Ok(Opened { sessions, lookup, logs: None, log_lookup: None, follower: None })
    };
    let engine = Engine::builder().trackers(SOME).store(Box::new(open)).start().unwrap();
    let before = live();
    let mut trackers: Vec<InlineTracker> = Vec::with_capacity(SOME);
    let own = SOME * size_of::<InlineTracker>();
    for n in 0..SOME {
        let mut tracker = engine.tracker(&session(n), Span::from_secs(10)).unwrap();
        tracker.connected();
        events(n, holds, |event| {
            tracker.feed(event);
            tracker.forward(|_| Ok(())).unwrap();
        });
        trackers.push(tracker);
    }
    let bytes = live() - before - own;
    let log: usize = trackers.iter().map(InlineTracker::log_bytes).sum();
    drop(trackers);
    // Its threads give memory back as they end, which must not be while the next figure is taken.
    engine.shutdown(Span::from_secs(10)).unwrap();
    ((bytes - log) / SOME, log / SOME)
}

/// 100,000 sessions, of which those that came first leave and are forgotten. True when what is left is at most 5 %
/// above half.
fn evicted(how: &str, fill: impl Fn(&mut World)) -> bool {
    let mut world = World::new();
    let before = live();
    (0..ALL).for_each(|n| world.open(n));
    fill(&mut world);
    world.pass(Span::from_secs(20));
    let full = live() - before;
    (0..ALL / 2).for_each(|n| world.leave(n));
    // What nobody reads lingers, then sessions without a stream expire.
    world.pass(Span::from_secs(120));
    let half = live() - before;
    let ratio = half as f64 / (full as f64 / 2.0);
    println!(
        "{ALL} sessions, {how}: {} MB; half evicted: {} MB, {ratio:.3} of half",
        full / 1_000_000,
        half / 1_000_000
    );
    ratio <= 1.05
}

fn session(n: usize) -> [u8; 36] {
    let mut name = [b'0'; 36];
    let digits = n.to_string();
    name[36 - digits.len()..].copy_from_slice(digits.as_bytes());
    name
}

/// An event whose id no other session has.
fn event_text(session: usize, n: usize, id: usize, data: usize) -> String {
    format!("id: {:0>id$}\ndata: {:x>data$}\n\n", session * 1_000 + n, "")
}

/// The events of a session that make it hold what it shall.
fn events(session: usize, holds: Holds, mut each: impl FnMut(&[u8])) {
    let (id, data) = match holds {
        Holds::Nothing => return,
        Holds::Window { id } => (id, 1),
        // 48 events of 85 bytes.
        Holds::Log => (20, 52),
    };
    (0..WINDOW).for_each(|n| each(event_text(session, n, id, data).as_bytes()));
}

/// The machine, and as much of a shell as it needs.
struct World {
    machine: Machine,
    now: Tick,
    clients: Vec<ConnKey>,
    upstreams: Vec<ConnKey>,
}

impl World {
    fn new() -> Self {
        let route = Route::new(Upstream::parse("http://up:9000").unwrap());
        let limits = Limits { log_budget: 4 << 30, ..Limits::default() };
        let persist = Persist { session_idle: Span::from_secs(60), ..Persist::default() };
        let config = Config { routes: vec![route].into(), limits, persist, ..Config::default() };
        let now = Tick::from_millis(0);
        let machine = Machine::new(Arc::new(config), 7, 11, now);
        let (clients, upstreams) = (Vec::with_capacity(ALL), Vec::with_capacity(ALL));
        Self { machine, now, clients, upstreams }
    }

    fn open(&mut self, n: usize) {
        self.handle(Input::Accepted { peer: IpAddr::V4(Ipv4Addr::LOCALHOST).into() });
        let request = format!(
            "GET /mcp HTTP/1.1\r\nHost: localhost:8080\r\nAccept: text/event-stream\r\nUser-Agent: measure/1.0\r\n\
             Mcp-Session-Id: {}\r\n\r\n",
            String::from_utf8_lossy(&session(n))
        );
        self.handle(Input::Data { conn: self.clients[n], bytes: request.as_bytes() });
        self.handle(Input::Data { conn: self.upstreams[n], bytes: HEAD });
    }

    fn fill(&mut self, n: usize, holds: Holds) {
        events(n, holds, |event| self.event(n, std::str::from_utf8(event).unwrap()));
    }

    fn event(&mut self, n: usize, text: &str) {
        let bytes = format!("{:x}\r\n{text}\r\n", text.len());
        self.handle(Input::Data { conn: self.upstreams[n], bytes: bytes.as_bytes() });
    }

    fn leave(&mut self, n: usize) {
        self.handle(Input::Eof { conn: self.clients[n] });
    }

    /// Time passes, timer by timer.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.handle(Input::Time);
        }
        self.now = end;
        self.handle(Input::Time);
    }

    fn handle(&mut self, input: Input<'_>) {
        self.machine.handle(input, self.now);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Adopt { conn } => self.clients.push(conn),
                Output::Connect { conn, .. } => {
                    self.upstreams.push(conn);
                    self.machine.handle(Input::Connected { conn }, self.now);
                }
                Output::Reuse { conn } => self.machine.handle(Input::Connected { conn }, self.now),
                Output::Flush { conn } => {
                    let bytes = self.machine.transmit(conn).iter().map(|slice| slice.len()).sum();
                    self.machine.handle(Input::Written { conn, bytes }, self.now);
                }
                _ => {}
            }
        }
        self.machine.drain_checkpoints(drop);
        self.machine.drain_counts(|_, _, _| {});
    }
}

/// A store that takes everything and keeps nothing, so that only the engine's memory is counted.
struct Forgetful;

impl SessionStore for Forgetful {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        Ok(1)
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        Ok(candidate)
    }

    fn get_last_event_id(&mut self, _: &StreamName) -> Result<Option<Record>, StoreError> {
        Ok(None)
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        Ok(items.iter().map(|_| Ok(Outcome::Written)).collect())
    }

    fn store_last_event_id(&mut self, _: &StreamName, _: &Record) -> Result<Outcome, StoreError> {
        Ok(Outcome::Written)
    }

    fn remove(&mut self, _: &StreamName) -> Result<(), StoreError> {
        Ok(())
    }

    fn scan(&mut self, _: Option<&StreamName>, _: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        Ok(Vec::new())
    }

    fn batch_limit(&self) -> usize {
        1_000
    }
}
