//! Reader: a third thread that reads `last_event_id` while the drain drains and releases sees its own stream's or nothing.
//! Explored with at most four pre-emptions: with three threads all orders are too many.

use segno::slot::{Phase, slots};
use segno_loom_tests::{bounded, cursor, must_fail_without, name, thread};

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
        if let Some(read) = drain.read(key).filter(|read| read.phase != Phase::Live) {
            drain.note_durable(key, read.cursor.as_ref().map_or(0, |cursor| cursor.sequence));
            drain.release(key);
        }
    }
    reader.join().unwrap();
    publisher.join().unwrap();
}

#[test]
fn a_reader_sees_its_own_stream_or_nothing() {
    bounded(4, model);
}

must_fail_without! {
    without_release_a_value_is_read_before_it_is_written: Value Release, bounded(4, model), "Causality violation";
    without_acquire_a_value_is_read_before_it_is_written: Value Acquire, bounded(4, model), "Causality violation";
}

/// A handle that knows a place, but not whose stay it is.
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
