//! Reader: a third thread reads `last_event_id` while the drain drains and releases, and sees its own stream's or
//! nothing. Explored with at most three pre-emptions.
#![cfg(loom)]

use loom::thread;
use segno::slot::{Phase, slots};
use segno::sync::{Edge, End, weakened};
use segno_loom_tests::{bounded, cursor, name};

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
        if drain.read(key).is_some_and(|p| p.phase != Phase::Live) {
            drain.note_durable(key, 1);
            drain.release(key);
        }
    }
    reader.join().unwrap();
    publisher.join().unwrap();
}

#[test]
fn a_reader_sees_its_own_stream_or_nothing() {
    bounded(3, model);
}

#[test]
fn without_release_a_value_is_read_before_it_is_written() {
    let failed = std::panic::catch_unwind(|| weakened(Edge::Value, End::Release, || bounded(3, model)));
    assert!(failed.is_err(), "the model holds without the release of a value");
}
