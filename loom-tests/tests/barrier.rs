//! Flush barrier: every flush is answered, and then everything that was published before it is durable. Explored with
//! at most three pre-emptions if one thread asks, and two if two threads ask: a turn of the flusher has too many steps
//! to try all orders.

use segno::base::Span;
use segno::slot::parts::Bell;
use segno::slot::{slots, slots_for};
use segno::sync::{Ring, inbox};
use segno_loom_tests::{Store, bounded, cursor, exhaustive, must_fail_without, name, persister, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Without a window everything is written at once, and a flusher that is not woken sleeps for ever. With a window only
/// a flush writes, since the clock stands still.
const NONE: Span = Span::ZERO;
const WINDOW: Span = Span::from_millis(100);

/// An answer that checks that this much is durable. The test's own counter is not part of the model. After a failure,
/// answers are not checked.
fn check(store: &Store, stream: u64, least: u64, answers: &Arc<AtomicU32>) -> impl FnOnce(bool) + Send + 'static {
    let (store, answers) = (store.clone(), Arc::clone(answers));
    move |all| {
        if std::thread::panicking() {
            return;
        }
        assert!(all, "the flush was given up");
        let durable = store.sequence(stream);
        assert!(durable >= least, "{durable} is durable of {least}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// One thread publishes, asks for a flush, and publishes again. Only the answer ends the model, so a missing answer is
/// found.
fn model(window: Span) {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let (store, control, end, run) = persister(drain, window);
    let answers = Arc::default();
    let answer = check(&store, 1, 1, &answers);
    let asking = thread::spawn(move || {
        writer.publish(key, &cursor(1));
        let reply = move |all| {
            answer(all);
            drop(end);
        };
        control.flush(Box::new(reply)).unwrap();
        writer.publish(key, &cursor(2));
    });
    run();
    asking.join().unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 1, "a flush was not answered");
}

/// Two threads publish, each in its own slot, and ask for a flush. The last answer ends the model.
fn two(window: Span) {
    let (writers, drain) = slots_for([1, 1]);
    let (store, control, end, run) = persister(drain, window);
    let (answers, end) = (Arc::default(), Arc::new(end));
    let mut stream = 0;
    let asking = writers.map(|mut writer| {
        stream += 1;
        let key = writer.take(name(stream)).unwrap();
        let (control, end) = (control.clone(), Arc::clone(&end));
        let answer = check(&store, stream, 1, &answers);
        thread::spawn(move || {
            writer.publish(key, &cursor(1));
            let reply = move |all| {
                answer(all);
                drop(end);
            };
            control.flush(Box::new(reply)).unwrap();
        })
    });
    // The answers, on the flusher's thread, drop what is left.
    drop(end);
    run();
    asking.into_iter().for_each(|asking| asking.join().unwrap());
    assert_eq!(answers.load(Ordering::Relaxed), 2, "a flush was not answered");
}

#[test]
fn a_flush_is_answered_when_all_before_it_is_durable() {
    bounded(3, || model(NONE));
}

#[test]
fn a_flush_does_not_wait_for_a_window() {
    bounded(3, || model(WINDOW));
}

#[test]
fn each_of_two_is_answered() {
    bounded(2, || two(NONE));
}

must_fail_without! {
    without_the_release_of_a_call_the_flush_is_not_found: Rung Release, bounded(3, || model(NONE)), "deadlock";
    without_the_acquire_of_a_call_the_flush_is_not_found: Rung Acquire, bounded(3, || model(NONE)), "deadlock";
    without_the_release_of_a_letter_a_change_is_not_seen: Letter Release, bounded(3, || model(WINDOW)), "0 is durable of 1";
    without_the_acquire_of_a_letter_a_change_is_not_seen: Letter Acquire, bounded(3, || model(WINDOW)), "0 is durable of 1";
}

/// The order of the protocol's steps.
#[derive(Clone, Copy, Default)]
struct Steps {
    call_before_letter: bool,
    number_before_changes: bool,
}

/// The protocol itself over a queue of changes, an inbox and a bell, so that its steps can be swapped.
fn protocol(steps: Steps) {
    let shared = Arc::new((Ring::new(2), Bell::default()));
    let (post, mut letters) = inbox(1);
    let asking = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            let (changes, bell) = &*shared;
            assert!(changes.push(1));
            if steps.call_before_letter {
                bell.call();
            }
            post.leave(()).unwrap();
            if !steps.call_before_letter {
                bell.call();
            }
        }
    });
    let (changes, bell) = &*shared;
    let mut durable = 0;
    loop {
        let letter = steps.number_before_changes.then(|| letters.take()).flatten();
        let barrier = durable;
        let first = if steps.number_before_changes { None } else { letters.take() };
        durable += u32::from(changes.pop().is_some());
        if letter.is_some() || first.is_some() {
            let said = if steps.number_before_changes { barrier } else { durable };
            assert_eq!(said, 1, "answered for what was not seen");
            break;
        }
        bell.wait(None);
    }
    asking.join().unwrap();
}

#[test]
fn the_protocol_in_its_order_holds() {
    exhaustive(|| protocol(Steps::default()));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn calling_before_the_letter_is_there_leaves_it_unread() {
    exhaustive(|| protocol(Steps { call_before_letter: true, ..Steps::default() }));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "answered for what was not seen")]
fn numbering_a_flush_before_the_changes_are_taken_in_answers_too_early() {
    exhaustive(|| protocol(Steps { number_before_changes: true, ..Steps::default() }));
}
