//! Streams cut anywhere against a tracker that gets them whole; what repeats; which keys are forgotten.

use super::keys::LIMITS;
use crate::base::{Random, Span, Tick};
use crate::engine::Engine;
use crate::track::{Budget, Interner, TrackContext, Tracker};
use std::io::Write;

/// Lines of a stream, some of them the same again, with all kinds of line ends.
fn stream(r: &mut Random) -> Vec<u8> {
    const ENDS: [&str; 4] = ["\n", "\n", "\r\n", "\r"];
    let mut text = String::new();
    if r.below(4) == 0 {
        text.push('\u{feff}');
    }
    for n in 0..r.below(80) {
        match r.below(8) {
            0 => text.push_str(&format!("id: {}", r.below(20))),
            1 => text.push_str(&format!("id: {n}")),
            2 => text.push_str(": comment"),
            3 => text.push_str("retry: 7"),
            4 | 5 => text.push_str(&format!("data: {n}")),
            _ => {}
        }
        text.push_str(ENDS[r.below(4) as usize]);
    }
    text.into_bytes()
}

#[test]
fn however_a_stream_is_cut_the_same_bytes_are_forwarded() {
    let engine = Engine::builder().trackers(500).start().unwrap();
    for seed in 0..500u64 {
        let mut r = Random::new(seed);
        let text = stream(&mut r);
        let (mut interner, mut budget, now) = (Interner::new(0, 4_096), Budget::new(2 << 20), Tick::ZERO);
        let mut twin = Tracker::new(LIMITS);
        twin.begin(false, false);
        twin.feed(TrackContext { limits: LIMITS, interner: &mut interner, budget: &mut budget, now }, &text);
        let (a, b) = twin.slices(0, twin.whole());
        let expected = [a, b].concat();

        let mut tracker = engine.tracker(&seed.to_le_bytes(), Span::from_secs(30)).unwrap();
        let (mut client, mut rest) = (Vec::new(), &text[..]);
        let longest = [2, 20, 1_000][r.below(3) as usize];
        tracker.connected();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + r.below(longest) as usize).min(rest.len()));
            tracker.feed(piece);
            tracker.forward(|bytes| client.write_all(bytes)).unwrap();
            rest = behind;
        }
        let both = (String::from_utf8_lossy(&client), String::from_utf8_lossy(&expected));
        assert_eq!(both.0, both.1, "seed {seed}: {:?}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn an_unfinished_event_takes_no_room_from_what_tells_repeats_from_news() {
    let engine = Engine::builder().start().unwrap();
    let mut tracker = engine.tracker(b"a", Span::from_secs(30)).unwrap();
    let mut client = Vec::new();
    tracker.connected();
    for piece in ["id: 7\ndata: a\n\n", &format!("data: {}", "x".repeat(LIMITS.log_bytes + 8_192))] {
        tracker.feed(piece.as_bytes());
        tracker.forward(|bytes| client.write_all(bytes)).unwrap();
    }
    assert!(tracker.log_bytes() <= 8_192, "{}", tracker.log_bytes());
    tracker.connected();
    // Another event under the same id: only the bytes of the first can tell.
    tracker.feed(b"id: 7\ndata: done\n\n");
    tracker.forward(|bytes| client.write_all(bytes)).unwrap();
    assert_eq!(String::from_utf8_lossy(&client), "id: 7\ndata: a\n\nid: 7\ndata: done\n\n");
}

#[test]
fn keys_of_which_the_store_has_all_are_forgotten() {
    let engine = Engine::builder().trackers(4).start().unwrap();
    let mut most = 0;
    for n in 0..100u32 {
        let mut tracker = engine.tracker(&n.to_le_bytes(), Span::from_secs(30)).unwrap();
        tracker.feed(b"id: 1\ndata: a\n\n");
        tracker.forward(|_| Ok(())).unwrap();
        drop(tracker);
        let (done, wait) = crossbeam_channel::bounded(1);
        engine.store().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
        assert!(wait.recv().unwrap());
        most = most.max(engine.trackers.known());
    }
    assert!(most <= 8, "{most} keys were known at once");
}
