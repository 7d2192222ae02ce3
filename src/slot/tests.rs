//! The slots as a whole, on one thread against an obvious twin, and on two.

use super::*;
use crate::base::{Cursor, EventId, Random, StreamName, Tick};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

fn name(stream: u64) -> Arc<StreamName> {
    Arc::new(StreamName { session: b"s"[..].into(), stream })
}

fn cursor(sequence: u64) -> Cursor {
    let id = EventId::from_bytes(sequence.to_string().as_bytes()).unwrap();
    Cursor { sequence, id, at: Tick::from_millis(sequence) }
}

fn sequence(published: Option<Published>) -> Option<u64> {
    Some(published?.cursor.as_ref()?.sequence)
}

#[test]
fn what_was_published_is_popped_once_and_read_as_often_as_asked() {
    let (mut writer, mut drain) = slots(2);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    writer.publish(key, &cursor(2));
    assert_eq!((drain.len(), drain.pop(), drain.pop()), (1, Some(key), None));
    assert_eq!([sequence(drain.read(key)), sequence(drain.read(key))], [Some(2); 2]);
    writer.publish(key, &cursor(3));
    assert_eq!((drain.pop(), sequence(drain.read(key))), (Some(key), Some(3)));
}

#[test]
fn activity_before_the_first_mark_is_nothing_to_store() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.touch(key, Tick::from_millis(5));
    assert_eq!(drain.pop(), None);
    writer.publish(key, &cursor(1));
    drain.pop();
    writer.touch(key, Tick::from_millis(9));
    assert_eq!((drain.pop(), drain.last_seen(key)), (Some(key), Some(Tick::from_millis(9))));
}

#[test]
fn a_removal_stays_what_is_newest_until_it_is_released() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    let handle = writer.handle(key);
    writer.remove(key);
    writer.publish(key, &cursor(2));
    assert_eq!(handle.last_event_id(), None);
    for _ in 0..2 {
        assert_eq!(drain.read(key).unwrap().phase, Phase::Removed);
    }
    assert!(writer.take(name(2)).is_none());
    assert!(drain.release(key) && !drain.release(key));
    assert!(drain.read(key).is_none());
    let next = writer.take(name(2)).unwrap();
    assert_eq!((next.index, next.generation), (key.index, key.generation + 1));
}

#[test]
fn a_retired_slot_keeps_its_last_mark() {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(7));
    writer.retire(key);
    let last = drain.read(key).unwrap();
    assert_eq!((last.phase, last.cursor.clone()), (Phase::Retired, Some(cursor(7))));
}

#[test]
fn a_live_slot_is_not_released() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    assert!(!drain.release(key) && drain.read(key).is_some());
}

#[test]
fn a_handle_reads_its_stream_and_no_other() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let handle = writer.handle(key);
    assert_eq!(handle.last_event_id(), None);
    writer.publish(key, &cursor(3));
    assert_eq!(handle.clone().cursor(), Some(cursor(3)));
    writer.retire(key);
    drain.release(key);
    let next = writer.take(name(2)).unwrap();
    writer.publish(next, &cursor(9));
    assert_eq!(handle.cursor(), None);
}

#[test]
fn a_stale_key_does_nothing() {
    let (mut writer, mut drain) = slots(2);
    let stale = writer.take(name(1)).unwrap();
    writer.publish(stale, &cursor(1));
    writer.retire(stale);
    while drain.pop().is_some() {}
    drain.release(stale);
    let live = writer.take(name(2)).unwrap();
    assert_eq!(live.index, stale.index);
    writer.publish(live, &cursor(2));
    drain.pop();
    writer.publish(stale, &cursor(9));
    writer.touch(stale, Tick::from_millis(9));
    writer.remove(stale);
    writer.retire(stale);
    assert!(writer.pen(stale).is_none());
    assert_eq!((drain.pop(), sequence(drain.read(live)), writer.len()), (None, Some(2), 1));
    assert_eq!(drain.last_seen(live), Some(Tick::from_millis(2)));
}

#[test]
fn whoever_rings_ends_a_wait_without_limit() {
    let (mut writer, mut drain) = slots(1);
    assert!(writer.is_empty());
    let ringer = writer.ringer();
    let other = thread::spawn(move || ringer.ring());
    assert_eq!(drain.wait(None), Woken::Rung);
    other.join().unwrap();
    writer.take(name(1)).unwrap();
    assert!(!writer.is_empty());
}

#[test]
fn a_nap_without_limit_ends_with_a_call_and_not_with_what_is_published() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let ringer = writer.ringer();
    let other = thread::spawn(move || {
        for n in 1..1_000 {
            writer.publish(key, &cursor(n));
        }
        ringer.call();
    });
    drain.nap(None);
    assert_eq!((drain.pop(), sequence(drain.read(key))), (Some(key), Some(999)));
    other.join().unwrap();
}

#[test]
fn publishing_again_and_again_stays_in_one_place_until_an_id_is_longer() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let place = |writer: &SlotWriter| writer.place_of(key);
    writer.publish(key, &cursor(10_000_000));
    let first = place(&writer);
    for n in 10_000_001..10_000_100 {
        writer.publish(key, &cursor(n));
        assert_eq!((sequence(drain.read(key)), place(&writer)), (Some(n), first));
    }
    let held = drain.read(key).unwrap();
    writer.publish(key, &cursor(100_000_000));
    assert_ne!(place(&writer), first);
    assert_eq!((held.cursor, sequence(drain.read(key))), (Some(cursor(10_000_099)), Some(100_000_000)));
    assert_eq!((drain.pop(), drain.pop()), (Some(key), None));
}

#[test]
fn a_pen_and_the_end_behind_it_agree_on_the_last_mark() {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let mut pen = writer.pen(key).unwrap();
    assert!(writer.pen(key).is_none());
    pen.touch(Tick::from_millis(3));
    assert!(drain.is_empty());
    (1..=3).for_each(|n| pen.publish(&cursor(n)));
    pen.publish(&cursor(1_000_000_000));
    // Not the writer's any more: what it knows of the stream is older.
    writer.publish(key, &cursor(4));
    writer.retire(key);
    let last = drain.read(key).unwrap();
    assert_eq!((last.phase, last.cursor), (Phase::Retired, Some(cursor(1_000_000_000))));
}

#[test]
fn a_survey_sees_every_slot_with_something_in_it() {
    let (mut writer, drain) = slots(5);
    let survey = drain.survey();
    let keys: Vec<SlotKey> = (0..4).map(|n| writer.take(name(n)).unwrap()).collect();
    writer.publish(keys[1], &cursor(5));
    writer.publish(keys[3], &cursor(6));
    writer.remove(keys[3]);
    let found: Vec<_> = survey.published().map(|(key, published)| (key, published.phase)).collect();
    assert_eq!(found, [(keys[1], Phase::Live), (keys[3], Phase::Removed)]);
}

#[test]
fn a_removal_that_is_not_stored_yet_leaves_no_cursor_to_be_saved() {
    let (mut writer, drain) = slots(3);
    let survey = drain.survey();
    let keys: Vec<SlotKey> = (0..3).map(|n| writer.take(name(n)).unwrap()).collect();
    keys.iter().for_each(|key| writer.publish(*key, &cursor(5)));
    writer.remove(keys[0]);
    writer.retire(keys[1]);
    let left: Vec<u64> = survey.unflushed().map(|published| published.name.stream).collect();
    assert_eq!(left, [1, 2]);
}

#[test]
fn two_writers_have_slots_of_their_own() {
    let ([mut a, mut b], mut drain) = slots_for([1, 2]);
    let (one, two) = (a.take(name(1)).unwrap(), b.take(name(2)).unwrap());
    assert!(a.take(name(3)).is_none());
    a.publish(one, &cursor(1));
    b.publish(two, &cursor(2));
    a.publish(two, &cursor(9));
    assert_eq!([drain.pop(), drain.pop(), drain.pop()], [Some(one), Some(two), None]);
    assert_eq!(sequence(drain.read(two)), Some(2));
    a.remove(one);
    drain.release(one);
    assert!(b.take(name(4)).is_some() && b.take(name(5)).is_none());
    assert_eq!(a.take(name(6)).unwrap().index, one.index);
}

/// The twin: what each slot holds, who waits in the queue.
#[derive(Default)]
struct Twin {
    live: Vec<(SlotKey, u64, u64)>,
    ended: Vec<(SlotKey, Phase)>,
    queue: VecDeque<SlotKey>,
}

impl Twin {
    fn mark(&mut self, key: SlotKey) {
        if !self.queue.contains(&key) {
            self.queue.push_back(key);
        }
    }
}

#[test]
fn any_operations_do_what_they_do_to_lists() {
    const CAPACITY: usize = 6;
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut writer, mut drain) = slots(CAPACITY);
        let mut twin = Twin::default();
        let mut next = 0;
        for _ in 0..300 {
            let pick = |random: &mut Random, len: usize| random.below(len.max(1) as u64) as usize;
            let live = pick(&mut random, twin.live.len());
            match random.below(8) {
                0 => {
                    next += 1;
                    let key = writer.take(name(next));
                    let used = twin.live.len() + twin.ended.len();
                    assert_eq!(key.is_some(), used < CAPACITY, "seed {seed}");
                    twin.live.extend(key.map(|key| (key, next, 0)));
                }
                1..=3 if !twin.live.is_empty() => {
                    next += 1;
                    let (key, ..) = twin.live[live];
                    twin.live[live].2 = next;
                    writer.publish(key, &cursor(next));
                    twin.mark(key);
                }
                4 if !twin.live.is_empty() => {
                    let (key, _, published) = twin.live[live];
                    writer.touch(key, Tick::from_millis(next));
                    if published > 0 {
                        twin.mark(key);
                    }
                }
                5 if !twin.live.is_empty() && random.below(3) == 0 => {
                    let (key, ..) = twin.live.remove(live);
                    let remove = random.below(2) == 0;
                    if remove {
                        writer.remove(key)
                    } else {
                        writer.retire(key)
                    }
                    twin.ended.push((key, if remove { Phase::Removed } else { Phase::Retired }));
                    twin.mark(key);
                }
                6 => {
                    let key = drain.pop();
                    assert_eq!(key, twin.queue.pop_front(), "seed {seed}");
                }
                7 if !twin.ended.is_empty() => {
                    let at = pick(&mut random, twin.ended.len());
                    let (key, phase) = twin.ended[at];
                    assert_eq!(drain.read(key).map(|p| p.phase), Some(phase), "seed {seed}");
                    // The drain lets go of a slot only when it is not on the queue.
                    if !twin.queue.contains(&key) {
                        twin.ended.remove(at);
                        assert!(drain.release(key), "seed {seed}");
                        assert!(drain.read(key).is_none());
                    }
                }
                _ => {}
            }
            for (key, _, published) in &twin.live {
                let expected = (*published > 0).then_some(*published);
                assert_eq!(sequence(drain.read(*key)), expected, "seed {seed}");
            }
            assert_eq!((writer.len(), drain.len()), (twin.live.len(), twin.queue.len()), "seed {seed}");
        }
    }
}

#[test]
fn the_last_mark_is_always_drained_and_none_comes_before_an_older_one() {
    const LAST: u64 = 50_000;
    let (mut writer, mut drain) = slots(4);
    let keys: Vec<SlotKey> = (0..4).map(|n| writer.take(name(n)).unwrap()).collect();
    let handle = writer.handle(keys[0]);
    let publisher = thread::spawn({
        let keys = keys.clone();
        move || {
            for n in 1..=LAST {
                writer.publish(keys[(n % 4) as usize], &cursor(n));
            }
            writer
        }
    });
    let reader = thread::spawn(move || {
        let mut last = 0;
        while last < LAST {
            let now = handle.cursor().map_or(0, |cursor| cursor.sequence);
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    });
    let mut seen = [0; 4];
    while seen != [LAST, LAST - 3, LAST - 2, LAST - 1] {
        while let Some(key) = drain.pop() {
            let now = sequence(drain.read(key)).unwrap();
            let last = &mut seen[key.index as usize];
            assert!(now >= *last, "{now} after {last}");
            *last = now;
        }
        if seen != [LAST, LAST - 3, LAST - 2, LAST - 1] {
            drain.wait(None);
        }
    }
    publisher.join().unwrap();
    reader.join().unwrap();
}
