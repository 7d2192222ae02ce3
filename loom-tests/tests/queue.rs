//! Dirty queue: a slot is on it at most once, and no update is lost between publishing and draining. Explored to the
//! end.
#![cfg(loom)]

use loom::thread;
use segno::slot::slots;
use segno::sync::{Bits, Edge, End, Ends, Latest, Ring};
use segno_loom_tests::{cursor, drain_all, exhaustive, must_fail, must_fail_without, name, sequence};
use std::sync::Arc;

/// The writer publishes while the drain drains; what the drain has seen at the end is the last one.
fn model() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let publisher = thread::spawn(move || {
        writer.publish(key, &cursor(1));
        writer.publish(key, &cursor(2));
        writer
    });
    let mut seen = 0;
    drain_all(&mut drain, |_, read| seen = sequence(read));
    let _writer = publisher.join().unwrap();
    assert!(drain.len() <= 1, "a slot is on the queue twice");
    drain_all(&mut drain, |_, read| seen = sequence(read));
    assert_eq!(seen, 2, "an update was lost");
}

#[test]
fn no_update_is_lost() {
    exhaustive(model);
}

#[test]
fn the_queue_never_overflows() {
    // A ring of one place: a second entry of the same slot would find no room, which the queue asserts.
    exhaustive(|| {
        let (mut writer, mut drain) = slots(1);
        let key = writer.take(name(1)).unwrap();
        let publisher = thread::spawn(move || (1..=2).for_each(|n| writer.publish(key, &cursor(n))));
        drain.pop();
        publisher.join().unwrap();
    });
}

/// The protocol itself over a flag, a cell and a ring, so that its steps can be swapped.
fn protocol(read_before_clear: bool, mark_before_value: bool) {
    let shared = Arc::new((Bits::new(0), Latest::default(), Ring::new(4)));
    let publisher = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            let (flag, cell, ring) = &*shared;
            let mark = || {
                if flag.swap(1, Ends::both(Edge::Change, Edge::Room)) == 0 {
                    ring.push(0);
                }
            };
            for n in 1..=2 {
                if mark_before_value {
                    mark();
                }
                cell.swap(Some(Arc::new(n)));
                if !mark_before_value {
                    mark();
                }
            }
        }
    });
    let mut seen = 0;
    let drain = |seen: &mut i32| {
        let (flag, cell, ring) = &*shared;
        while ring.pop().is_some() {
            let early = cell.load();
            flag.swap(0, Ends::both(Edge::Room, Edge::Change));
            let read = if read_before_clear { early } else { cell.load() };
            *seen = read.map_or(0, |n| *n);
        }
    };
    drain(&mut seen);
    publisher.join().unwrap();
    drain(&mut seen);
    assert_eq!(seen, 2, "an update was lost");
}

#[test]
fn the_protocol_in_its_order_holds() {
    exhaustive(|| protocol(false, false));
}

#[test]
fn reading_before_the_flag_is_cleared_loses_an_update() {
    must_fail("the slot is read before its flag is cleared", || protocol(true, false));
}

#[test]
fn marking_before_the_value_is_there_loses_an_update() {
    must_fail("the slot is marked before the value is there", || protocol(false, true));
}

#[test]
fn without_the_release_of_a_change_an_update_is_lost() {
    must_fail_without(Edge::Change, End::Release, model);
}

#[test]
fn without_the_acquire_of_a_change_an_update_is_lost() {
    must_fail_without(Edge::Change, End::Acquire, model);
}
