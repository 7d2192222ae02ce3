//! Tracks one stream across a cut, without a socket, as a proxy does between upstream and client.
//!
//! In: two bodies, which are part of this file. Out: the bytes that a client gets, on standard output.
//! Run: `cargo run --example track`.

use std::io::{self, Write};

use segno::Tracker;
use segno::base::Tick;
use segno::track::{Budget, CutKind, Interner, TrackContext, TrackLimits};

fn main() -> io::Result<()> {
    let limits = TrackLimits::default();
    // All streams of a thread share these: the interner holds at most 1,000 ids, the budget bounds the bytes of all
    // logs.
    let (mut interner, mut budget) = (Interner::new(7, 1_000), Budget::new(1 << 20));
    let mut tracker = Tracker::new(&limits);
    let mut out = io::stdout().lock();

    // The first body breaks off inside event 3.
    tracker.begin(false, false);
    let now = Tick::from_millis(0);
    let cx = TrackContext { limits: &limits, interner: &mut interner, budget: &mut budget, now };
    tracker.feed(cx, b"id: 1\ndata: do\n\nid: 2\ndata: re\n\nid: 3\ndata: m");
    assert_eq!(tracker.cut(), CutKind::MidBlock);
    let cursor = tracker.cursor(&interner).unwrap_or_default();
    writeln!(out, "cut; ask again with Last-Event-ID: {}\n", String::from_utf8_lossy(cursor))?;

    // The second body repeats event 2, although upstream was asked for the events after it.
    tracker.begin(true, true);
    let now = Tick::from_millis(20);
    let cx = TrackContext { limits: &limits, interner: &mut interner, budget: &mut budget, now };
    let fed = tracker.feed(cx, b"id: 2\ndata: re\n\nid: 3\ndata: mi\n\n");
    writeln!(out, "healed; dropped as repeated: {}\n", fed.duplicates)?;

    let (front, back) = tracker.slices(tracker.start(), tracker.whole());
    out.write_all(front)?;
    out.write_all(back)
}
