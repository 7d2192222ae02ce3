//! A million events a second offered to the engine's own entry points, over 10,000 streams, with redb.
//!
//! Each stream is offered an event every 10 ms by the clock. A round that cannot be kept is not made up for: the events
//! that were taken are counted.

use super::process::{Scratch, threads};
use segno::Engine;
use segno::base::{Span, Tick};
use segno::config::{Config, StoreConfig};
use segno::engine::InlineTracker;
use std::io::Write;
use std::thread;

const STREAMS: usize = 10_000;
const ROUND: Span = Span::from_millis(10);
const SECONDS: u64 = 30;

/// Threads that feed, each its own streams.
const FEEDERS: usize = 2;

pub(crate) fn run() {
    let scratch = Scratch::new("load");
    let store = StoreConfig::Redb { path: scratch.0.clone() };
    let config = Config { listen: Vec::new(), store, ..Config::default() };
    let window = config.persist.flush_window;
    let engine = Engine::builder().config(config).trackers(STREAMS).start().unwrap();
    let started = threads();
    let open = |n: usize| {
        let mut tracker = engine.tracker(format!("stream-{n}").as_bytes(), Span::from_secs(10)).unwrap();
        tracker.connected();
        tracker
    };
    let mut trackers: Vec<InlineTracker> = (0..STREAMS).map(open).collect();
    let begun = engine.clock().now();
    let end = begun + Span::from_secs(SECONDS);
    let (mut lags, mut deepest, mut most_threads) = (Vec::new(), 0, 0);
    let events: u64 = thread::scope(|scope| {
        let feed = |trackers| scope.spawn(|| feed(&engine, trackers, end));
        let feeders: Vec<_> = trackers.chunks_mut(STREAMS / FEEDERS).map(feed).collect();
        while engine.clock().now() < end {
            thread::sleep(ROUND.into());
            let persistence = engine.metrics().persistence();
            lags.push(persistence.lag(engine.clock().now()).micros());
            deepest = deepest.max(persistence.queue_depth.get());
            most_threads = most_threads.max(threads() - FEEDERS as u64);
        }
        feeders.into_iter().map(|feeder| feeder.join().unwrap()).sum()
    });
    let took = engine.clock().now().since(begun);
    let persistence = engine.metrics().persistence();
    let (records, changes) = (persistence.cursor_records.get(), persistence.changes.get());
    lags.sort_unstable();
    let lag = |share: usize| lags[lags.len() * share / 100] / 1_000;
    let windows = took.micros() / window.micros() + 2;
    println!("{events} events in {:.1} s: {} a second", took.micros() as f64 / 1e6, events * 1_000_000 / took.micros());
    println!("threads: {started} after the start, {most_threads} at most since, the {FEEDERS} that feed aside");
    println!("records: {records}, at most streams x windows = {}", STREAMS as u64 * windows);
    println!("coalesce ratio: {:.1} ({changes} changes)", persistence.coalesce_ratio());
    println!(
        "lag: {} ms at the median, {} ms at 99 %, {} ms at most; the window is {} ms",
        lag(50),
        lag(99),
        lags[lags.len() - 1] / 1_000,
        window.millis()
    );
    println!("queue: {deepest} at most, of {STREAMS} streams");
    println!(
        "batches: {}, {} records each, {} ms each",
        persistence.batches.get(),
        records / persistence.batches.get().max(1),
        persistence.latency_sum.get() / 1_000 / persistence.batches.get().max(1)
    );
    let left = engine.shutdown(Span::from_secs(10)).unwrap();
    println!("left unflushed at the end: {}", left.cursors.len());
}

/// Offers each stream an event a round. How many events there were.
fn feed(engine: &Engine, trackers: &mut [InlineTracker], end: Tick) -> u64 {
    let clock = engine.clock();
    let (mut events, mut round, mut text, mut next) = (0, 0u64, Vec::new(), clock.now());
    while next < end {
        round += 1;
        text.clear();
        write!(text, "id: {round:020}\ndata: {:>40}\n\n", "x").unwrap();
        for tracker in &mut *trackers {
            tracker.feed(&text);
            tracker.forward(|_| Ok(())).unwrap();
        }
        events += trackers.len() as u64;
        next = (next + ROUND).max(clock.now());
        let left = next.since(clock.now());
        if !left.is_zero() {
            thread::sleep(left.into());
        }
    }
    events
}
