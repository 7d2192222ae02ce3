//! Bell: no wake-up is lost, and one ring ends at most one wait. Explored to the end.
#![cfg(loom)]

use loom::thread;
use segno::slot::{Woken, slots};
use segno::sync::{Edge, End};
use segno_loom_tests::{cursor, exhaustive, must_fail_without, name, sequence};

/// The drain sleeps until the writer has published: if a ring were lost it would sleep for ever, which loom finds.
fn model() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let publisher = thread::spawn(move || writer.publish(key, &cursor(1)));
    let mut waits = 0;
    let seen = loop {
        if let Some(key) = drain.pop() {
            break sequence(drain.read(key));
        }
        assert_eq!(drain.wait(None), Woken::Rung);
        waits += 1;
        assert!(waits <= 2, "one ring ended several waits");
    };
    assert_eq!(seen, 1);
    publisher.join().unwrap();
}

#[test]
fn no_wake_up_is_lost() {
    exhaustive(model);
}

#[test]
fn a_ring_before_the_wait_ends_it_at_once() {
    exhaustive(|| {
        let (writer, mut drain) = slots(1);
        let ringer = writer.ringer();
        let ringing = thread::spawn(move || ringer.ring());
        assert_eq!(drain.wait(None), Woken::Rung);
        ringing.join().unwrap();
    });
}

#[test]
fn without_the_release_of_a_ring_the_drain_finds_nothing() {
    must_fail_without(Edge::Rung, End::Release, model);
}

#[test]
fn without_the_acquire_of_a_ring_the_drain_finds_nothing() {
    must_fail_without(Edge::Rung, End::Acquire, model);
}

#[test]
fn without_the_release_of_falling_asleep_nobody_is_woken() {
    must_fail_without(Edge::Asleep, End::Release, model);
}

#[test]
fn without_the_acquire_of_falling_asleep_nobody_is_woken() {
    must_fail_without(Edge::Asleep, End::Acquire, model);
}

/// The drain naps until it is called, however often it was rung before; what was published before the call is there.
fn nap_model() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let publisher = thread::spawn(move || {
        writer.publish(key, &cursor(1));
        writer.ringer().call();
    });
    drain.nap(None);
    let key = drain.pop().expect("what was published before the call is not there");
    assert_eq!(sequence(drain.read(key)), 1);
    publisher.join().unwrap();
}

#[test]
fn a_call_ends_a_nap() {
    exhaustive(nap_model);
}

#[test]
fn without_the_release_of_a_call_the_drain_finds_nothing() {
    must_fail_without(Edge::Rung, End::Release, nap_model);
}

#[test]
fn without_the_release_of_falling_asleep_nobody_ends_a_nap() {
    must_fail_without(Edge::Asleep, End::Release, nap_model);
}

#[test]
fn without_the_acquire_of_falling_asleep_nobody_ends_a_nap() {
    must_fail_without(Edge::Asleep, End::Acquire, nap_model);
}
