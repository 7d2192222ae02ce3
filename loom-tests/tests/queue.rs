//! Dirty queue: a slot is on the queue at most once, and no update is lost between publishing and draining. Explored to
//! the end, except with two writers: these with at most four pre-emptions, since each further thread multiplies the
//! orders.

use segno::slot::{SlotKey, slots, slots_for};
use segno::sync::{Bits, Edge, Ends, Latest, Ring, Shared};
use segno_loom_tests::{bounded, cursor, drain_all, exhaustive, must_fail_without, name, sequence, thread};
use std::sync::Arc;

/// The writer publishes while the drain drains. In the end the drain has seen the last cursor.
fn model() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let publisher = thread::spawn(move || {
        (1..=3).for_each(|n| writer.publish(key, &cursor(n)));
        writer
    });
    let mut seen = 0;
    drain_all(&mut drain, |_, read| seen = sequence(read));
    let _writer = publisher.join().unwrap();
    assert!(drain.len() <= 1, "a slot is on the queue twice");
    drain_all(&mut drain, |_, read| seen = sequence(read));
    assert_eq!(seen, 3, "an update was lost");
}

#[test]
fn no_update_is_lost() {
    exhaustive(model);
}

/// A ring with one place: a second entry of the same slot would find no room, and the queue asserts that there is room.
fn tight() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let publisher = thread::spawn(move || (1..=3).for_each(|n| writer.publish(key, &cursor(n))));
    for _ in 0..2 {
        drain.pop();
    }
    publisher.join().unwrap();
}

#[test]
fn the_queue_never_overflows() {
    exhaustive(tight);
}

/// Two threads publish, each in its own slot; the ring has exactly one place for each. One thread uses a pen, as inline
/// trackers do.
fn two_writers() {
    let ([mut a, mut b], mut drain) = slots_for([1, 1]);
    let keys = [a.take(name(1)).unwrap(), b.take(name(2)).unwrap()];
    let mut pen = b.pen(keys[1]).unwrap();
    let threads = [
        thread::spawn(move || (1..=2).for_each(|n| a.publish(keys[0], &cursor(n)))),
        thread::spawn(move || (1..=2).for_each(|n| pen.publish(&cursor(n)))),
    ];
    let mut seen = [0; 2];
    let mut see = |key: SlotKey, read| seen[key.index as usize] = sequence(read);
    drain_all(&mut drain, &mut see);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(drain.len() <= 2, "a slot is on the queue twice");
    drain_all(&mut drain, &mut see);
    assert_eq!(seen, [2, 2], "an update was lost");
}

#[test]
fn no_update_of_two_writers_is_lost() {
    bounded(4, two_writers);
}

/// The order of the protocol's steps.
#[derive(Clone, Copy, Default)]
struct Steps {
    read_before_clear: bool,
    mark_before_value: bool,
    clear_before_pop: bool,
}

/// The protocol itself over a flag, a cell and a ring, so that its steps can be swapped.
fn protocol(steps: Steps) {
    let shared = Arc::new((Bits::new(0), Latest::default(), Ring::new(4)));
    let publisher = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            let (flag, cell, ring) = &*shared;
            let mark = || {
                if flag.swap(1, Ends::both(Edge::Change, Edge::Room)) == 0 {
                    assert!(ring.push(0));
                }
            };
            for n in 1..=2 {
                if steps.mark_before_value {
                    mark();
                }
                cell.put(Some(Shared::new(n)));
                if !steps.mark_before_value {
                    mark();
                }
            }
        }
    });
    let mut seen = 0;
    let drain = |seen: &mut i32| {
        let (flag, cell, ring) = &*shared;
        let clear = || flag.swap(0, Ends::both(Edge::Room, Edge::Change));
        loop {
            if steps.clear_before_pop {
                clear();
            }
            if ring.pop().is_none() {
                break;
            }
            let load = || cell.with(|n| n.copied());
            let early = load();
            if !steps.clear_before_pop {
                clear();
            }
            let read = if steps.read_before_clear { early } else { load() };
            *seen = read.unwrap_or(0);
        }
    };
    drain(&mut seen);
    publisher.join().unwrap();
    assert!(shared.2.count() <= 1, "a slot is on the queue twice");
    drain(&mut seen);
    assert_eq!(seen, 2, "an update was lost");
}

#[test]
fn the_protocol_in_its_order_holds() {
    exhaustive(|| protocol(Steps::default()));
}

must_fail_without! {
    without_the_release_of_a_change_an_update_is_lost: Change Release, exhaustive(model), "an update was lost";
    without_the_acquire_of_a_change_an_update_is_lost: Change Acquire, exhaustive(model), "an update was lost";
    without_the_release_of_a_pop_a_push_finds_no_room: Room Release, exhaustive(tight), "only while its flag is set";
    without_the_acquire_of_a_pop_a_push_finds_no_room: Room Acquire, exhaustive(tight), "only while its flag is set";
    without_the_release_of_an_entry_it_is_read_too_early: Entry Release, exhaustive(model), "Causality violation";
    without_the_acquire_of_an_entry_it_is_read_too_early: Entry Acquire, exhaustive(model), "Causality violation";
    without_the_release_of_a_change_one_of_two_writers_loses_an_update:
        Change Release, bounded(4, two_writers), "an update was lost";
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "an update was lost")]
fn reading_before_the_flag_is_cleared_loses_an_update() {
    exhaustive(|| protocol(Steps { read_before_clear: true, ..Steps::default() }));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "an update was lost")]
fn marking_before_the_value_is_there_loses_an_update() {
    exhaustive(|| protocol(Steps { mark_before_value: true, ..Steps::default() }));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "an update was lost")]
fn clearing_the_flag_before_the_pop_loses_an_update() {
    exhaustive(|| protocol(Steps { clear_before_pop: true, ..Steps::default() }));
}
