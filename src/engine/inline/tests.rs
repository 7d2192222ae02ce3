//! Streams cut anywhere against a tracker that gets them whole; what repeats; which keys are forgotten.

use super::state::ALONE;
use crate::base::{Random, Span, Tick};
use crate::engine::Engine;
use crate::persist::Opener;
use crate::store::{StoreError, memory};
use crate::track::{Budget, Interner, TrackContext, Tracker};
use std::io::Write;
use std::sync::{Arc, Mutex};

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
        let mut twin = Tracker::new(ALONE);
        twin.begin(false, false);
        twin.feed(TrackContext { limits: ALONE, interner: &mut interner, budget: &mut budget, now }, &text);
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
    for piece in ["id: 7\ndata: a\n\n", &format!("data: {}", "x".repeat(ALONE.log_bytes + 8_192))] {
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

#[test]
fn a_cursor_is_not_lost_however_many_events_wait() {
    let engine = Engine::builder().start().unwrap();
    let mut tracker = engine.tracker(b"a", Span::from_secs(30)).unwrap();
    let (mut n, mut refused) = (0, 0);
    tracker.connected();
    while tracker.room() > 0 {
        n += 1;
        refused += tracker.feed(format!("id: {n}\ndata: {n}\n\n").as_bytes()).ids_refused;
    }
    assert!(n > 4_096 && refused == 0, "{n} events, {refused} without an id");
    assert_eq!(tracker.last_event_id().unwrap().as_bytes(), n.to_string().as_bytes());
    let mut client = Vec::new();
    tracker.forward(|bytes| client.write_all(bytes)).unwrap();
    assert_eq!(engine.cursor(b"a").unwrap().last_event_id().unwrap().as_bytes(), n.to_string().as_bytes());
    assert!(tracker.room() > 0);
}

#[test]
fn a_stream_may_repeat_itself() {
    let engine = Engine::builder().start().unwrap();
    let mut tracker = engine.tracker(b"a", Span::from_secs(30)).unwrap();
    tracker.connected();
    let text = "id: 1\ndata: tick\n\n".repeat(3);
    assert_eq!(tracker.feed(text.as_bytes()).duplicates, 0);
    let mut client = Vec::new();
    tracker.forward(|bytes| client.write_all(bytes)).unwrap();
    assert_eq!(String::from_utf8_lossy(&client), text);
}

#[test]
fn no_event_of_another_connection_comes_between_the_parts_of_a_large_one() {
    let engine = Engine::builder().start().unwrap();
    let mut large = engine.tracker(b"a", Span::from_secs(30)).unwrap();
    let mut small = engine.tracker(b"a", Span::from_secs(30)).unwrap();
    let mut client = Vec::new();
    let part = "x".repeat(ALONE.max_event_bytes);
    large.feed(format!("id: 1\ndata: {part}").as_bytes());
    large.forward(|bytes| client.write_all(bytes)).unwrap();
    assert!(!client.is_empty());
    for piece in ["id: 2\nda", "ta: b\n\nid: 3\ndata: c\n\n", "id: 4\nda"] {
        small.feed(piece.as_bytes());
        assert_eq!((small.room(), small.pending()), (0, &b""[..]));
    }
    large.feed(b"yz\n\n");
    assert!(small.room() > 0);
    small.feed(b"ta: d\n\n");
    small.forward(|bytes| client.write_all(bytes)).unwrap();
    let expected = format!("id: 1\ndata: {part}yz\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\nid: 4\ndata: d\n\n");
    assert!(String::from_utf8_lossy(&client) == expected, "{} of {} bytes", client.len(), expected.len());
    // Its connection breaks inside the next one: the others go on.
    large.feed(format!("data: {part}").as_bytes());
    assert_eq!((small.room(), large.connected()), (0, crate::track::CutKind::MidOversize));
    assert!(small.room() > 0);
}

#[test]
fn what_a_client_took_in_part_is_not_forwarded_again() {
    let engine = Engine::builder().start().unwrap();
    let mut trackers = [(); 2].map(|()| engine.tracker(b"a", Span::from_secs(30)).unwrap());
    let text: String = (0..100).map(|n| format!("id: {n}\ndata: {n}\n\n")).collect();
    trackers[0].feed(text.as_bytes());
    let mut client = Vec::new();
    for step in 0.. {
        let [a, b] = &mut trackers;
        let (it, other) = if step % 2 == 0 { (a, b) } else { (b, a) };
        let mut took = 0;
        while took < 100 && !it.pending().is_empty() {
            assert!(other.pending().is_empty(), "two forward at the same time");
            let n = it.pending().len().min(37);
            client.extend_from_slice(&it.pending()[..n]);
            it.advance(n);
            took += n;
            // No lock is held meanwhile.
            assert!(engine.cursor(b"a").is_some() && other.last_event_id().is_some());
        }
        if client.len() >= text.len() {
            break;
        }
    }
    assert_eq!(String::from_utf8_lossy(&client), text);
    assert_eq!(engine.cursor(b"a").unwrap().last_event_id().unwrap().as_bytes(), b"99");
}

#[test]
fn a_store_that_is_away_refuses_no_tracker_and_gets_its_cursor_later() {
    let (store, away) = (memory::Shared::new(10), Arc::new(Mutex::new(false)));
    let opener = || -> Opener {
        let (store, away) = (store.clone(), Arc::clone(&away));
        Box::new(move || match *away.lock().unwrap() {
            true => Err(StoreError::Refused("the test says no".into())),
            false => Ok(store.open()),
        })
    };
    let pass = |engine: &Engine, id: &str, within| {
        let mut tracker = engine.tracker(b"a", within).unwrap();
        tracker.feed(format!("id: {id}\ndata: a\n\n").as_bytes());
        tracker.forward(|_| Ok(())).unwrap();
        tracker
    };
    let engine = Engine::builder().store(opener()).start().unwrap();
    drop(pass(&engine, "1", Span::from_secs(30)));
    assert!(engine.shutdown(Span::from_secs(30)).unwrap().cursors.is_empty());
    *away.lock().unwrap() = true;
    let engine = Engine::builder().store(opener()).start().unwrap();
    let tracker = pass(&engine, "2", Span::from_millis(50));
    assert!(tracker.not_restored().is_some());
    *away.lock().unwrap() = false;
    drop(tracker);
    // The store is tried again in its own time.
    let (done, wait) = crossbeam_channel::bounded(1);
    loop {
        let done = done.clone();
        engine.store().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
        if wait.recv().unwrap() {
            break;
        }
    }
    assert!(engine.shutdown(Span::from_secs(30)).unwrap().cursors.is_empty());
    let engine = Engine::builder().store(opener()).start().unwrap();
    let tracker = engine.tracker(b"a", Span::from_secs(30)).unwrap();
    assert_eq!(tracker.last_event_id().unwrap().as_bytes(), b"2", "the store kept an older cursor");
    assert_eq!(tracker.not_restored(), None);
}
