//! Tombstones: after a removal is published, no attempt reads an older cursor, however late the attempt is. Explored to
//! the end.

use segno::slot::{Phase, slots};
use segno_loom_tests::{cursor, exhaustive, must_fail_without, name, thread};

fn model() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    let publisher = thread::spawn(move || {
        writer.publish(key, &cursor(2));
        writer.remove(key);
        writer
    });
    let mut removed = false;
    let mut last = None;
    for _ in 0..3 {
        if drain.pop().is_some() {
            last = drain.read(key).map(|p| p.phase);
        }
        // A first attempt, or a retry: each reads the slot again.
        let Some(newest) = drain.read(key) else { continue };
        assert!(!removed || newest.phase == Phase::Removed, "a dead cursor came back");
        removed = newest.phase == Phase::Removed;
    }
    let _writer = publisher.join().unwrap();
    while let Some(key) = drain.pop() {
        last = drain.read(key).map(|p| p.phase);
    }
    assert_eq!(last, Some(Phase::Removed), "the removal was lost");
}

#[test]
fn a_late_retry_brings_no_dead_cursor_back() {
    exhaustive(model);
}

must_fail_without! {
    without_the_release_of_a_change_the_removal_is_lost: Change Release, exhaustive(model), "the removal was lost";
    without_the_acquire_of_a_change_the_removal_is_lost: Change Acquire, exhaustive(model), "the removal was lost";
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "a dead cursor came back")]
fn a_retry_that_carries_a_value_brings_it_back() {
    use segno::sync::{Latest, Shared};
    use std::sync::Arc;
    exhaustive(|| {
        let cell = Arc::new(Latest::default());
        cell.put(Some(Shared::new(1)));
        let publisher = thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.put(None)
        });
        let load = || cell.with(|n: Option<&i32>| n.copied());
        let carried = load();
        let first = load();
        let retry = carried;
        assert!(first.is_some() || retry.is_none(), "a dead cursor came back");
        publisher.join().unwrap();
    });
}
