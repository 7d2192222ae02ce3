//! Rewriting: a cursor that is read while its words are overwritten is read whole, and never after a newer one.
//! Explored to the end with one reading thread; with two, or with the drain, at most two pre-emptions, since there are
//! too many orders to try all.

use segno::base::Cursor;
use segno::slot::parts::CursorCell;
use segno::slot::slots;
use segno_loom_tests::{bounded, cursor, exhaustive, must_fail_without, name, thread};
use std::sync::Arc;

/// The sequence of a cursor whose id takes a second word.
const LONG: u64 = 1_000_000_000;

/// Reads `looks` times. Each cursor must be whole, and none older than the one before.
fn look(mut read: impl FnMut() -> Option<Cursor>, looks: usize) {
    let mut last = 0;
    for _ in 0..looks {
        let Some(cursor) = read() else { continue };
        assert_eq!(cursor.id.as_bytes(), cursor.sequence.to_string().as_bytes(), "half of one cursor, half of another");
        assert!(cursor.sequence >= last, "{} after {last}", cursor.sequence);
        last = cursor.sequence;
    }
}

/// The third cursor overwrites the first, which a thread may be reading.
fn model<const LOOKS: usize, const READERS: usize>() {
    let cell = Arc::new(CursorCell::with(&cursor(1)));
    let readers = [(); READERS].map(|()| {
        let cell = Arc::clone(&cell);
        thread::spawn(move || look(|| cell.read(), LOOKS))
    });
    (2..=3).for_each(|n| assert!(cell.write(&cursor(n))));
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(cell.read(), Some(cursor(3)));
}

/// A pen writes an id that is too long for the cell. The slot gets another cell, and the drain reads the last
/// cursor from there.
fn outgrown() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let handle = writer.handle(key);
    let mut pen = writer.pen(key).unwrap();
    pen.publish(&cursor(1));
    let reader = thread::spawn(move || look(|| handle.cursor(), 2));
    for n in [2, LONG, LONG + 1] {
        pen.publish(&cursor(n));
    }
    drop(pen);
    writer.retire(key);
    reader.join().unwrap();
    assert_eq!(drain.pop(), Some(key));
    assert_eq!(drain.read(key).and_then(|last| last.cursor), Some(cursor(LONG + 1)));
}

/// The drain reads twice, as for an attempt and a retry, while the writer goes on.
fn drained() {
    let (mut writer, mut drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    writer.publish(key, &cursor(1));
    let batch = thread::spawn(move || {
        let key = drain.pop().unwrap();
        let (least, _) = drain.peek(key).unwrap();
        assert!(least > 0, "nothing is there");
        look(
            || {
                drain
                    .read(key)?
                    .cursor
                    .inspect(|read| assert!(read.sequence >= least, "{} after {least}", read.sequence))
            },
            2,
        );
    });
    (2..=4).for_each(|n| writer.publish(key, &cursor(n)));
    batch.join().unwrap();
}

#[test]
fn a_reader_never_sees_half_a_cursor() {
    exhaustive(model::<1, 1>);
}

#[test]
fn a_reader_that_looks_twice_never_sees_half_a_cursor() {
    exhaustive(model::<2, 1>);
}

#[test]
fn two_readers_never_see_half_a_cursor() {
    bounded(2, model::<1, 2>);
}

#[test]
fn an_id_that_outgrows_its_cell_is_read_whole() {
    exhaustive(outgrown);
}

#[test]
fn what_the_drain_reads_is_whole_and_never_goes_back() {
    bounded(2, drained);
}

must_fail_without! {
    without_the_release_of_a_count_half_a_cursor_is_read: Newest Release, exhaustive(model::<1, 1>), "half of one";
    without_the_acquire_of_a_count_half_a_cursor_is_read: Newest Acquire, exhaustive(model::<1, 1>), "half of one";
    without_the_release_of_a_word_half_a_cursor_is_read: Over Release, exhaustive(model::<1, 1>), "half of one";
    without_the_acquire_of_a_word_half_a_cursor_is_read: Over Acquire, exhaustive(model::<1, 1>), "half of one";
}

/// Ways to write and to read a cell.
#[cfg(loom)]
#[derive(Clone, Copy, Default)]
struct Steps {
    count_before_words: bool,
    one_half: bool,
    counted_once: bool,
}

/// The protocol itself, over a count and two words for each half, so that its steps can be swapped.
#[cfg(loom)]
fn protocol(steps: Steps) {
    use segno::sync::{Edge, Number};
    let shared = Arc::new((Number::new(0), [(); 4].map(|()| Number::new(0))));
    let half = move |n: u64| match (steps.one_half, n % 2) {
        (true, _) | (false, 0) => [0, 1],
        _ => [2, 3],
    };
    let reader = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            let (count, words) = &*shared;
            for _ in 0..4 {
                let writes = count.observe(Edge::Newest);
                let [a, b] = half(writes).map(|at| words[at].observe(Edge::Over));
                if steps.counted_once || count.get() == writes {
                    assert_eq!(a, b, "half of one cursor, half of another");
                    break;
                }
            }
        }
    });
    let (count, words) = &*shared;
    for n in 1..=2 {
        if steps.count_before_words {
            count.publish(n, Edge::Newest);
        }
        half(n).into_iter().for_each(|at| words[at].publish(n, Edge::Over));
        if !steps.count_before_words {
            count.publish(n, Edge::Newest);
        }
    }
    reader.join().unwrap();
}

#[cfg(loom)]
#[test]
fn the_protocol_in_its_order_holds() {
    exhaustive(|| protocol(Steps::default()));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "half of one cursor")]
fn counting_a_write_before_its_words_shows_half_a_cursor() {
    exhaustive(|| protocol(Steps { count_before_words: true, ..Steps::default() }));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "half of one cursor")]
fn a_single_half_shows_half_a_cursor() {
    exhaustive(|| protocol(Steps { one_half: true, ..Steps::default() }));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "half of one cursor")]
fn not_counting_again_shows_half_a_cursor() {
    exhaustive(|| protocol(Steps { counted_once: true, ..Steps::default() }));
}
