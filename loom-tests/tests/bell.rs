//! Bell: no wake-up is lost, and one ring ends at most one wait, so that no thread spins. Explored to the end.

use segno::slot::parts::Bell;
use segno::slot::{Woken, slots};
use segno::sync::{Bits, Edge, Ends};
use segno_loom_tests::{cursor, exhaustive, must_fail_without, name, sequence, thread};
use std::sync::Arc;

/// The drain sleeps until the writer has published. If a ring were lost, the drain would sleep for ever.
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

/// Two threads ring at the same time. What they did before is seen once both rings have been taken.
fn two_ring() {
    let shared = Arc::new((Bell::default(), Bits::new(0)));
    let ringers = [1, 2].map(|bit| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            shared.1.raise(bit, Ends::release(Edge::Value));
            shared.0.ring();
        })
    });
    let (bell, done) = &*shared;
    let mut waits = 0;
    while done.peek() != 3 {
        bell.wait(None);
        waits += 1;
        assert!(waits <= 2, "one ring ended several waits");
    }
    ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
}

#[test]
fn two_who_ring_at_one_time_are_both_heard() {
    exhaustive(two_ring);
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

/// The drain naps until it is called, however often the bell rang before. What was published before the call is there.
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

must_fail_without! {
    without_the_release_of_a_ring_the_drain_finds_nothing: Rung Release, exhaustive(model), "deadlock";
    without_the_acquire_of_a_ring_the_drain_finds_nothing: Rung Acquire, exhaustive(model), "deadlock";
    without_the_release_of_falling_asleep_nobody_is_woken: Asleep Release, exhaustive(model), "deadlock";
    without_the_acquire_of_falling_asleep_nobody_is_woken: Asleep Acquire, exhaustive(model), "deadlock";
    without_the_release_of_a_ring_one_of_two_is_not_heard: Rung Release, exhaustive(two_ring), "deadlock";
    without_the_release_of_a_call_the_drain_finds_nothing: Rung Release, exhaustive(nap_model), "is not there";
    without_the_acquire_of_a_call_the_drain_finds_nothing: Rung Acquire, exhaustive(nap_model), "is not there";
    without_the_release_of_falling_asleep_nobody_ends_a_nap: Asleep Release, exhaustive(nap_model), "deadlock";
    without_the_acquire_of_falling_asleep_nobody_ends_a_nap: Asleep Acquire, exhaustive(nap_model), "deadlock";
}

/// A bell with two words instead of one, each written by one side and read by the other, as bells are often made.
#[cfg(loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn with_a_word_for_each_side_a_wake_up_is_lost() {
    use segno::sync::{Sleeper, park};
    exhaustive(|| {
        let words = Arc::new((Bits::new(0), Bits::new(0), Sleeper::current()));
        let ringer = thread::spawn({
            let words = Arc::clone(&words);
            move || {
                let (rung, asleep, sleeper) = &*words;
                rung.put(1);
                if asleep.peek() == 1 {
                    sleeper.wake();
                }
            }
        });
        let (rung, asleep, _) = &*words;
        asleep.put(1);
        while rung.peek() == 0 {
            park(None);
        }
        ringer.join().unwrap();
    });
}

/// Checking for a ring and falling asleep are two steps here.
#[cfg(loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn looking_before_falling_asleep_loses_a_wake_up() {
    use segno::sync::{Sleeper, park};
    exhaustive(|| {
        let bell = Arc::new((Bits::new(0), Sleeper::current()));
        let ringer = thread::spawn({
            let bell = Arc::clone(&bell);
            move || {
                if bell.0.raise(1, Ends::release(Edge::Rung)) == 2 {
                    bell.1.wake();
                }
            }
        });
        while bell.0.swap(0, Ends::acquire(Edge::Rung)) & 1 == 0 {
            bell.0.swap(2, Ends::release(Edge::Asleep));
            park(None);
        }
        ringer.join().unwrap();
    });
}
