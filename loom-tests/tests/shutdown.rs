//! Shutdown: everything that was published before it is flushed, and a later flush is answered or refused. Explored
//! with at most three pre-emptions: a turn of the flusher has too many steps to try all orders.

use segno::base::Span;
use segno::slot::slots;
use segno_loom_tests::{bounded, cursor, must_fail_without, name, persister, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const NONE: Span = Span::ZERO;
const WINDOW: Span = Span::from_millis(100);
/// The clock stands still, so this never passes.
const PATIENCE: Span = Span::from_secs(9);

/// The flusher runs while a stream is published and ended. Then everything is shut down.
fn model(window: Span) {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let survey = drain.survey();
    let (store, _control, mut end, run) = persister(drain, window);
    let publishing = thread::spawn(move || {
        (1..=2).for_each(|n| writer.publish(key, &cursor(n)));
        assert!(end.say(PATIENCE));
    });
    run();
    publishing.join().unwrap();
    assert_eq!(store.sequence(1), 2, "a cursor was not flushed");
    assert_eq!(survey.unflushed().count(), 0, "a durable cursor is reported as left");
}

/// One thread publishes while another shuts down. What is published meanwhile is flushed, or reported as left.
fn unannounced() {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let survey = drain.survey();
    let (store, _control, mut end, run) = persister(drain, NONE);
    let publishing = thread::spawn(move || writer.publish(key, &cursor(1)));
    let ending = thread::spawn(move || assert!(end.say(PATIENCE)));
    run();
    publishing.join().unwrap();
    ending.join().unwrap();
    assert_eq!(store.sequence(1) == 1, survey.unflushed().count() == 0, "a cursor is neither flushed nor left");
}

/// A removal is flushed like a cursor, and its slot becomes free again.
fn removal() {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let (store, _control, mut end, run) = persister(drain, NONE);
    let publishing = thread::spawn(move || {
        writer.publish(key, &cursor(1));
        writer.remove(key);
        assert!(end.say(PATIENCE));
        writer
    });
    run();
    let mut writer = publishing.join().unwrap();
    assert_eq!(store.sequence(1), 0, "a removal was not flushed");
    assert!(writer.take(name(2)).is_some(), "the slot did not come back");
}

/// Dropping `end` shuts down, too.
fn dropped() {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let (store, _control, end, run) = persister(drain, WINDOW);
    let publishing = thread::spawn(move || {
        writer.publish(key, &cursor(1));
        drop(end);
    });
    run();
    publishing.join().unwrap();
    assert_eq!(store.sequence(1), 1, "a cursor was not flushed");
}

/// A flush that was asked for before the end is done and answered.
fn flush_before() {
    let (mut writer, drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let (_store, control, mut end, run) = persister(drain, WINDOW);
    let answers = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&answers);
    let asking = thread::spawn(move || {
        writer.publish(key, &cursor(1));
        let reply = move |all| {
            count.fetch_add(u32::from(all), Ordering::Relaxed);
        };
        control.flush(Box::new(reply)).unwrap();
        assert!(end.say(PATIENCE));
    });
    run();
    asking.join().unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 1, "a flush before the end was given up");
}

/// A flush that comes while the persister ends is refused or answered, so that no thread waits for ever.
fn late_flush() {
    let (_writer, drain) = slots(1);
    let (_store, control, mut end, run) = persister(drain, NONE);
    let asking = thread::spawn(move || {
        let answers = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&answers);
        let reply = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let accepted = control.flush(Box::new(reply)).is_ok();
        (accepted, answers)
    });
    let ending = thread::spawn(move || assert!(end.say(PATIENCE)));
    run();
    let (accepted, answers) = asking.join().unwrap();
    ending.join().unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), u32::from(accepted), "a flush is neither refused nor answered once");
}

#[test]
fn everything_published_before_is_flushed() {
    bounded(3, || model(NONE));
}

#[test]
fn no_window_is_waited_for() {
    bounded(3, || model(WINDOW));
}

#[test]
fn what_is_published_meanwhile_is_flushed_or_reported_as_left() {
    bounded(3, unannounced);
}

#[test]
fn removals_are_flushed() {
    bounded(3, removal);
}

#[test]
fn dropping_the_end_shuts_down() {
    bounded(3, dropped);
}

#[test]
fn a_flush_before_the_end_is_done() {
    bounded(3, flush_before);
}

#[test]
fn a_flush_at_the_end_is_refused_or_answered() {
    bounded(3, late_flush);
}

must_fail_without! {
    without_the_release_of_a_call_the_end_is_not_heard: Rung Release, bounded(3, || model(NONE)), "deadlock";
    without_the_acquire_of_a_call_the_end_is_not_heard: Rung Acquire, bounded(3, || model(NONE)), "deadlock";
    without_the_release_of_a_letter_a_cursor_is_not_flushed:
        Letter Release, bounded(3, || model(WINDOW)), "a cursor was not flushed";
    without_the_acquire_of_a_letter_a_cursor_is_not_flushed:
        Letter Acquire, bounded(3, || model(WINDOW)), "a cursor was not flushed";
    without_the_release_of_a_letter_a_flush_is_given_up:
        Letter Release, bounded(3, flush_before), "a flush before the end was given up";
    without_the_acquire_of_a_letter_a_flush_is_given_up:
        Letter Acquire, bounded(3, flush_before), "a flush before the end was given up";
    without_the_release_of_a_change_a_cursor_is_not_flushed:
        Change Release, bounded(3, || model(NONE)), "a cursor was not flushed";
}
