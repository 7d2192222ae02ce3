//! One publication through a slot, with and without a drain that reads along.

use segno::base::{Cursor, EventId, StreamName, Tick};
use segno::slot::slots;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 2_000_000;

pub(crate) fn run() {
    for streams in [1u64, 10_000] {
        let alone = publish(streams, false);
        let drained = publish(streams, true);
        println!("{streams:>6} streams: {alone:>4} ns alone, {drained:>4} ns beside a thread that drains");
    }
}

fn publish(streams: u64, drained: bool) -> u128 {
    let (mut writer, mut drain) = slots(streams as usize);
    let name = |stream| Arc::new(StreamName { session: b"session".as_slice().into(), stream });
    let keys: Vec<_> = (0..streams).map(|n| writer.take(name(n)).unwrap()).collect();
    let over = Arc::new(AtomicBool::new(!drained));
    let ends = Arc::clone(&over);
    let reader = thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            while let Some(key) = drain.pop() {
                std::hint::black_box(drain.read(key));
            }
            drain.wait(Some(Duration::from_millis(1)));
        }
    });
    let id = EventId::from_bytes(b"0a1b2c3d-4e5f-6071-8293-0123456789ab").unwrap();
    let begun = Instant::now();
    for n in 0..ROUNDS {
        let cursor = Cursor { sequence: n + 1, id: id.clone(), at: Tick::from_micros(n) };
        writer.publish(keys[(n % streams) as usize], &cursor);
    }
    let took = begun.elapsed().as_nanos() / u128::from(ROUNDS);
    over.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    took
}
