//! What the store is told of streams: claims, ends and removals, while it has room and while it has none.

use super::*;
use crate::base::{Key, Span};
use crate::machine::LogBounds;
use crate::slot::{Phase, slots};
use std::sync::Mutex;

fn part(first: u64, claim: Option<u64>) -> EventPart {
    let bounds = LogBounds { events: 9, bytes: 99, age: Span::from_secs(9) };
    EventPart { first, bytes: b"x"[..].into(), ends: [1].into(), meta: Box::default(), bounds, claim }
}

/// What the store hears of one stream with a shared log, while it has room and while it has none.
#[test]
fn a_claim_goes_with_the_first_part_that_finds_room_and_a_log_ends_once() {
    let (writer, _drain) = slots(4);
    let (has_room, heard) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(Vec::new())));
    let keeps = {
        let (has_room, heard) = (Arc::clone(&has_room), Arc::clone(&heard));
        move |_: &Arc<StreamName>, keep: Keep| {
            let takes = *has_room.lock().unwrap();
            heard.lock().unwrap().extend(takes.then_some(keep));
            takes
        }
    };
    let store = StoreLink::new(|_, _| true, keeps).sharing(|_| true, |_| {});
    let (mut checkpoints, metrics) = (Checkpoints::new(writer), Metrics::default());
    let mut publish = |checkpoint| checkpoints.publish(checkpoint, &store, &metrics);
    let (stream, other) = (Key::from_bits(0), Key::from_bits(1));
    let name = |stream| StreamName { session: b"s"[..].into(), stream };
    publish(Checkpoint::Began { stream, name: name(1) });
    publish(Checkpoint::Events { stream, part: part(1, Some(3)) });
    *has_room.lock().unwrap() = true;
    for first in [2, 3] {
        publish(Checkpoint::Events { stream, part: part(first, None) });
    }
    publish(Checkpoint::LogEnded { stream, whole: true });
    publish(Checkpoint::Ended { stream, keep: true });
    let kept = |first, claim, hole| Keep::Part { part: part(first, claim), hole };
    let all = [kept(2, Some(3), true), kept(3, None, false), Keep::End { whole: true, next: 4 }];
    assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), all);
    publish(Checkpoint::Began { stream: other, name: name(2) });
    publish(Checkpoint::Events { stream: other, part: part(1, Some(0)) });
    let watched = checkpoints.hear(LogNews::Watched { name: Arc::new(name(2)), by_others: true });
    assert!(matches!(watched, Some(Input::Watched { stream, by_others: true }) if stream == other));
    assert!(checkpoints.hear(LogNews::Watched { name: Arc::new(name(1)), by_others: true }).is_none());
    checkpoints.publish(Checkpoint::Ended { stream: other, keep: true }, &store, &metrics);
    assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), [kept(1, Some(0), false), Keep::Release]);
    checkpoints.publish(Checkpoint::Began { stream: other, name: name(2) }, &store, &metrics);
    checkpoints.publish(Checkpoint::Events { stream: other, part: part(1, Some(0)) }, &store, &metrics);
    let taken = checkpoints.hear(LogNews::TakenOver { name: Arc::new(name(2)) });
    assert!(matches!(taken, Some(Input::TakenOver { stream }) if stream == other));
    checkpoints.publish(Checkpoint::Ended { stream: other, keep: true }, &store, &metrics);
    assert_eq!(*heard.lock().unwrap(), [kept(1, Some(0), false)]);
}

#[test]
fn removals_wait_for_room_are_repeated_and_those_above_the_bound_counted() {
    let (writer, mut drain) = slots(1);
    let has_room = Arc::new(Mutex::new(false));
    let store = StoreLink::new(|_, _| true, {
        let has_room = Arc::clone(&has_room);
        move |_, _| *has_room.lock().unwrap()
    });
    let (mut checkpoints, metrics) = (Checkpoints::new(writer), Metrics::default());
    for stream in 0..FORGOTTEN as u64 + 5 {
        let name = StreamName { session: b"s"[..].into(), stream };
        checkpoints.publish(Checkpoint::Forgotten { name, sequence: 1 }, &store, &metrics);
    }
    assert_eq!((checkpoints.forgotten.len(), checkpoints.logs.len()), (FORGOTTEN, 1));
    assert_eq!(metrics.persistence().removals_dropped.get(), 4);
    *has_room.lock().unwrap() = true;
    checkpoints.catch_up(&store, &metrics);
    assert!(checkpoints.logs.is_empty());
    while !checkpoints.forgotten.is_empty() {
        let key = drain.pop().unwrap();
        assert_eq!(drain.read(key).unwrap().phase, Phase::Removed);
        drain.release(key);
        checkpoints.catch_up(&store, &metrics);
    }
}
