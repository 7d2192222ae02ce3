//! Tracking an event: scanner, window, interner, log, marks, and the eviction of the oldest.
//!
//! In: 256-byte events with ids of 36 bytes, fed to so many streams in turn. Out: time per event. Beyond what the
//! caches hold it is a measure of memory more than of code.

use divan::{Bencher, counter::ItemsCount};
use segno::base::Tick;
use segno::track::{Budget, Interner, TrackContext, TrackLimits, Tracker};

/// Events in one measured run.
const ROUND: usize = 10_000;

fn main() {
    divan::main();
}

struct Streams {
    limits: TrackLimits,
    interner: Interner,
    budget: Budget,
    trackers: Vec<Tracker>,
    next: usize,
}

impl Streams {
    /// Streams whose logs are full, so that each event evicts one.
    fn new(count: usize) -> Self {
        let limits = TrackLimits::default();
        let trackers = (0..count).map(|_| Tracker::new(&limits)).collect();
        let mut all =
            Self { limits, interner: Interner::new(7, 16 << 20), budget: Budget::new(16 << 30), trackers, next: 0 };
        for tracker in &mut all.trackers {
            tracker.begin(false, false);
        }
        let fill = (all.limits.log_events + 1) * count;
        (0..fill).for_each(|_| all.take());
        all
    }

    /// One event of the next stream, received and delivered.
    fn take(&mut self) {
        let n = self.next;
        self.next += 1;
        let stream = n % self.trackers.len();
        let event = format!("id: {n:036}\ndata: {:0>205}\n\n", stream);
        let now = Tick::from_micros(n as u64);
        let Self { limits, interner, budget, trackers, .. } = self;
        let tracker = &mut trackers[stream];
        let fed = tracker.feed(TrackContext { limits, interner, budget, now }, event.as_bytes());
        assert_eq!(fed.events, 1);
        let whole = tracker.whole();
        tracker.advance(TrackContext { limits, interner, budget, now }, whole);
    }
}

#[divan::bench(args = [1, 100, 1_000, 10_000], sample_count = 20)]
fn event(bencher: Bencher<'_, '_>, streams: usize) {
    let mut all = Streams::new(streams);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(move || (0..ROUND).for_each(|_| all.take()));
}
