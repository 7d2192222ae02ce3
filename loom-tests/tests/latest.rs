//! Latest cell: a reader never sees an older cursor after a newer one, and the last write is seen in the end. Explored
//! to the end.
#![cfg(loom)]

use loom::thread;
use segno::slot::slots;
use segno::sync::{Edge, End};
use segno_loom_tests::{cursor, exhaustive, must_fail_without, name};

fn model() {
    let (mut writer, _drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let handle = writer.handle(key);
    let reader = thread::spawn({
        let handle = handle.clone();
        move || {
            let first = handle.cursor().map_or(0, |c| c.sequence);
            let second = handle.cursor().map_or(0, |c| c.sequence);
            assert!(second >= first, "{second} after {first}");
        }
    });
    writer.publish(key, &cursor(1));
    writer.publish(key, &cursor(2));
    reader.join().unwrap();
    assert_eq!(handle.cursor().map(|c| c.sequence), Some(2));
}

#[test]
fn a_reader_never_goes_back() {
    exhaustive(model);
}

#[test]
fn without_release_a_value_is_read_before_it_is_written() {
    must_fail_without(Edge::Value, End::Release, model);
}

#[test]
fn without_acquire_a_value_is_read_before_it_is_written() {
    must_fail_without(Edge::Value, End::Acquire, model);
}
