//! Write amplification: what becomes of events on the disk, by streams and rates.
//!
//! Bytes are those that the process handed to the system for files. Each commit syncs twice.

use super::process::{Scratch, written};
use segno::Engine;
use segno::base::Span;
use segno::config::{Config, StoreConfig};
use std::io::Write;

const SECONDS: u64 = 5;

pub(crate) fn run() {
    println!(
        "{:>8}{:>10}{:>12}{:>12}{:>12}{:>10}{:>8}{:>14}{:>14}",
        "streams", "ev/s each", "events", "records", "bytes", "commits", "fsyncs", "events/record", "bytes/event"
    );
    for streams in [1, 100, 10_000] {
        for rate in [10, 1_000] {
            row(streams, rate);
        }
    }
}

/// One row. What cannot be fed at this rate is fed as fast as it can be.
fn row(streams: usize, rate: u64) {
    let scratch = Scratch::new("table");
    let store = StoreConfig::Redb { path: scratch.0.clone() };
    let config = Config { listen: Vec::new(), store, ..Config::default() };
    let engine = Engine::builder().config(config).trackers(streams).start().unwrap();
    let open = |n: usize| engine.tracker(format!("stream-{n}").as_bytes(), Span::from_secs(10)).unwrap();
    let mut trackers: Vec<_> = (0..streams).map(open).collect();
    for tracker in &mut trackers {
        tracker.connected();
    }
    let (before, begun, mut text, mut events) = (written(), engine.clock().now(), Vec::new(), 0);
    let end = begun + Span::from_secs(SECONDS);
    for round in 0..SECONDS * rate {
        if engine.clock().now() >= end {
            break;
        }
        text.clear();
        write!(text, "id: {round:020}\ndata: x\n\n").unwrap();
        for tracker in &mut trackers {
            tracker.feed(&text);
            tracker.forward(|_| Ok(())).unwrap();
        }
        events += streams as u64;
        let left = (begun + Span::from_micros((round + 1) * 1_000_000 / rate)).since(engine.clock().now());
        if !left.is_zero() {
            std::thread::sleep(left.into());
        }
    }
    let metrics = std::sync::Arc::clone(engine.metrics());
    engine.shutdown(Span::from_secs(10)).unwrap();
    let (records, commits) = (metrics.persistence().cursor_records.get(), metrics.persistence().batches.get());
    let bytes = written() - before;
    println!(
        "{streams:>8}{rate:>10}{events:>12}{records:>12}{bytes:>12}{commits:>10}{:>8}{:>14.1}{:>14.1}",
        commits * 2,
        events as f64 / records.max(1) as f64,
        bytes as f64 / events.max(1) as f64
    );
}
