//! Reader: a third thread that reads `last_event_id` while the drain drains and releases sees its own stream's id or
//! none, and so does a thread that surveys all slots. Explored with at most four pre-emptions if three threads have
//! many steps, since there are too many orders to try all.

use segno::slot::slots;
use segno_loom_tests::{bounded, cursor, exhaustive, must_fail_without, name, sequence, thread};

fn model() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    let handle = writer.handle(key);
    let reader = thread::spawn(move || {
        let id = handle.last_event_id();
        assert!(id.is_none_or(|id| id.as_bytes() == b"1"), "another stream's id");
        let durable = handle.durable();
        assert!(durable <= 1, "{durable} is durable of 1");
    });
    let publisher = thread::spawn(move || {
        writer.retire(key);
        if let Some(next) = writer.take(name(2)) {
            writer.publish(next, &cursor(9));
        }
    });
    while let Some(key) = drain.pop() {
        drain.note_durable(key, sequence(drain.read(key)));
        drain.release(key);
    }
    reader.join().unwrap();
    publisher.join().unwrap();
}

/// One thread surveys all slots when the first stream has been stored, while its slot goes to the next stream.
fn survey() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    writer.retire(key);
    drain.note_durable(key, 1);
    let survey = drain.survey();
    let reader = thread::spawn(move || {
        let left = survey.unflushed().find(|published| published.name.stream == 1);
        assert!(left.is_none(), "a durable cursor is reported as left");
    });
    let publisher = thread::spawn(move || {
        if let Some(next) = writer.take(name(2)) {
            writer.publish(next, &cursor(9));
        }
    });
    drain.release(key);
    reader.join().unwrap();
    publisher.join().unwrap();
}

#[test]
fn a_reader_sees_its_own_stream_or_nothing() {
    bounded(4, model);
}

#[test]
fn what_was_stored_is_not_left() {
    exhaustive(survey);
}

must_fail_without! {
    without_release_a_number_is_read_of_another_stream: Durable Release, bounded(4, model), "9 is durable of 1";
    without_acquire_a_number_is_read_of_another_stream: Durable Acquire, bounded(4, model), "9 is durable of 1";
    without_release_what_was_stored_is_left:
        Durable Release, exhaustive(survey), "a durable cursor is reported as left";
    without_acquire_what_was_stored_is_left:
        Durable Acquire, exhaustive(survey), "a durable cursor is reported as left";
    without_release_a_value_is_read_before_it_is_written: Value Release, bounded(4, model), "Causality violation";
    without_acquire_a_value_is_read_before_it_is_written: Value Acquire, bounded(4, model), "Causality violation";
}

/// A handle that knows the slot but not its generation, and so not whose stay it is.
#[cfg(loom)]
#[test]
#[should_panic(expected = "another stream's id")]
fn a_handle_without_a_generation_reads_another_stream() {
    bounded(4, || {
        let (mut writer, mut drain) = slots(1);
        let key = writer.take(name(1)).unwrap();
        writer.publish(key, &cursor(1));
        let survey = drain.survey();
        let reader = thread::spawn(move || {
            let found = survey.published().find(|(found, _)| found.index == key.index);
            assert!(found.is_none_or(|(_, published)| published.name.stream == 1), "another stream's id");
        });
        let publisher = thread::spawn(move || {
            writer.retire(key);
            if let Some(next) = writer.take(name(2)) {
                writer.publish(next, &cursor(9));
            }
        });
        while let Some(key) = drain.pop() {
            drain.release(key);
        }
        reader.join().unwrap();
        publisher.join().unwrap();
    });
}
