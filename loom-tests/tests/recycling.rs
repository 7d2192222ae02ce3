//! Recycling: a value that came back from the latest cell is written again only when nobody reads it any more. Explored to
//! the end with one reader; with two, and with the drain, at most three pre-emptions: there are too many orders to try all.

use segno::slot::{CursorHandle, slots};
use segno::sync::Shared;
use segno_loom_tests::{bounded, counted, cursor, exhaustive, must_fail_without, name, thread};
use std::collections::HashSet;

/// Looks so often: each cursor is whole, and none is older than the one before.
fn look(handle: &CursorHandle, looks: usize) {
    let mut last = 0;
    for _ in 0..looks {
        let Some(cursor) = handle.cursor() else { continue };
        assert_eq!(cursor.id.as_bytes(), cursor.sequence.to_string().as_bytes(), "half of one cursor, half of another");
        assert!(cursor.sequence >= last, "{} after {last}", cursor.sequence);
        last = cursor.sequence;
    }
}

/// The second value goes into a new place, the third into that of the first, if no reader is at it.
fn model<const LOOKS: usize, const READERS: usize>() {
    let (mut writer, _drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    let readers = [(); READERS].map(|()| {
        let handle = writer.handle(key);
        thread::spawn(move || look(&handle, LOOKS))
    });
    (2..=3).for_each(|n| writer.publish(key, &cursor(n)));
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    look(&writer.handle(key), 1);
}

/// The drain keeps what it read, as a batch does, while the writer goes on.
fn held() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    let batch = thread::spawn(move || {
        let key = drain.pop().unwrap();
        let held = drain.read(key).unwrap();
        let before = held.cursor.clone();
        drop(drain.read(key));
        assert_eq!(held.cursor, before, "what is held was written again");
    });
    (2..=4).for_each(|n| writer.publish(key, &cursor(n)));
    batch.join().unwrap();
}

#[test]
fn a_reader_never_sees_a_value_that_is_being_written() {
    counted(|| exhaustive(model::<1, 1>));
}

#[test]
fn nor_does_one_that_looks_twice() {
    counted(|| exhaustive(model::<2, 1>));
}

#[test]
fn nor_do_two() {
    counted(|| bounded(3, model::<1, 2>));
}

#[test]
fn what_the_drain_holds_stays_as_it_is() {
    counted(|| bounded(3, held));
}

/// Without this the models would hold whatever the readers do.
#[test]
fn values_are_written_again() {
    counted(|| {
        exhaustive(|| {
            let (mut writer, drain) = slots(1);
            let key = writer.take(name(1)).unwrap();
            let place = |n| {
                writer.publish(key, &cursor(n));
                drain.read(key).map(|published| Shared::as_ptr(&published)).unwrap()
            };
            let places: HashSet<_> = (1..=5).map(place).collect();
            assert_eq!(places.len(), 2);
        });
    });
}

must_fail_without! {
    without_the_release_of_letting_go_a_reader_is_overwritten:
        Lent Release, counted(|| exhaustive(model::<1, 1>)), "Causality violation";
    without_the_acquire_of_finding_a_value_free_a_reader_is_overwritten:
        Lent Acquire, counted(|| exhaustive(model::<1, 1>)), "Causality violation";
    without_the_release_of_a_swap_a_reader_is_overwritten:
        Value Release, counted(|| exhaustive(model::<1, 1>)), "Causality violation";
}

/// A value that comes back is taken for free: the cell let go of it, but a reader did not.
#[cfg(loom)]
#[test]
#[should_panic(expected = "what is held was written again")]
fn writing_again_whatever_comes_back_overwrites_a_reader() {
    use segno::sync::Latest;
    use std::sync::Arc;
    exhaustive(|| {
        // Numbers that change behind the reader's back, as a place that is written without asking would.
        let number = || Shared::new(segno::sync::Number::new(0));
        let cell = Arc::new(Latest::default());
        cell.swap(Some(number()));
        let reader = thread::spawn({
            let cell = Arc::clone(&cell);
            move || {
                let held = cell.load().unwrap();
                let before = held.get();
                assert_eq!(held.get(), before, "what is held was written again");
            }
        });
        if let Some(back) = cell.swap(Some(number())) {
            back.set(1);
            cell.swap(Some(back));
        }
        reader.join().unwrap();
    });
}
