//! Free and reuse: a slot goes to another stream only after it was released, and a retry with the key of the stream
//! before reads nothing. Explored with at most three pre-emptions.
#![cfg(loom)]

use loom::thread;
use segno::slot::{Phase, slots};
use segno::sync::{Bits, Edge, End, Ends};
use segno_loom_tests::{bounded, cursor, exhaustive, must_fail, must_fail_without, name, sequence};
use std::sync::Arc;

/// The writer ends a stream and takes the slot again as soon as it may; the drain drains, retries and releases.
fn model() {
    let (mut writer, mut drain) = slots(1);
    let old = writer.take(name(1)).unwrap();
    writer.publish(old, &cursor(1));
    let publisher = thread::spawn(move || {
        writer.retire(old);
        let new = writer.take(name(2));
        if let Some(new) = new {
            writer.publish(new, &cursor(7));
        }
        (writer, new)
    });
    for _ in 0..2 {
        let Some(key) = drain.pop() else { continue };
        let read = drain.read(key);
        // What is read under a key is its own stream's.
        let stream = read.as_ref().map(|p| (p.name.stream, p.generation));
        assert!(stream.is_none_or(|(stream, generation)| (stream == 1) == (generation == old.generation)));
        if read.is_some_and(|p| p.phase != Phase::Live) {
            assert!(drain.release(key));
            // A retry that comes late.
            let late = drain.read(key);
            assert!(late.is_none(), "a released key reads {late:?}");
        }
    }
    let (_writer, new) = publisher.join().unwrap();
    if let Some(new) = new {
        assert_ne!(new, old);
        assert_eq!(sequence(drain.read(new)), 7);
        assert_eq!(drain.pop().or(Some(new)), Some(new));
    }
}

#[test]
fn a_slot_is_reused_only_after_its_release() {
    bounded(3, model);
}

/// The way of a free place from one thread to the other: the link must be seen with the place.
fn free_list() {
    let parts = Arc::new((segno::slot::parts::FreeList::default(), Bits::new(5), Bits::new(5)));
    let giver = thread::spawn({
        let parts = Arc::clone(&parts);
        move || {
            parts.0.give(0, &parts.1);
            parts.0.give(1, &parts.2);
        }
    });
    let mut found = Vec::new();
    let mut take = || {
        let mut at = parts.0.take();
        while at != u32::MAX {
            found.push(at);
            at = [&parts.1, &parts.2][at as usize].peek();
            assert_ne!(at, 5, "a link was not seen");
        }
    };
    take();
    giver.join().unwrap();
    take();
    found.sort_unstable();
    assert_eq!(found, [0, 1]);
}

#[test]
fn each_free_place_is_found_once() {
    exhaustive(free_list);
}

#[test]
fn without_release_a_link_is_not_seen() {
    must_fail_without(Edge::Free, End::Release, free_list);
}

#[test]
fn without_acquire_a_link_is_not_seen() {
    must_fail_without(Edge::Free, End::Acquire, free_list);
}

#[test]
fn giving_a_place_before_its_link_is_written_loses_places() {
    must_fail("a place is given before its link is written", || {
        let parts = Arc::new((Bits::new(u32::MAX), Bits::new(5)));
        let giver = thread::spawn({
            let parts = Arc::clone(&parts);
            move || {
                let _ = parts.0.exchange(u32::MAX, 0, Ends::release(Edge::Free));
                parts.1.put(u32::MAX);
            }
        });
        if parts.0.swap(u32::MAX, Ends::acquire(Edge::Free)) == 0 {
            assert_ne!(parts.1.peek(), 5, "a link was not seen");
        }
        giver.join().unwrap();
    });
}
