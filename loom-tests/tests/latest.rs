//! Latest cell: a reading thread never sees an older cursor after a newer one, and always sees the last write in the
//! end. Explored to the end.

use segno::slot::slots;
use segno_loom_tests::{cursor, exhaustive, must_fail_without, name, thread};

fn model() {
    let (mut writer, _drain) = slots(1);
    let key = writer.take(name(1)).unwrap();
    let handle = writer.handle(key);
    let readers = [2, 1].map(|looks| {
        let handle = handle.clone();
        thread::spawn(move || {
            let mut last = 0;
            for _ in 0..looks {
                let now = handle.cursor().map_or(0, |c| c.sequence);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        })
    });
    writer.publish(key, &cursor(1));
    writer.publish(key, &cursor(2));
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(handle.cursor().map(|c| c.sequence), Some(2));
}

#[test]
fn a_reader_never_goes_back() {
    exhaustive(model);
}

must_fail_without! {
    without_release_a_value_is_read_before_it_is_written: Value Release, exhaustive(model), "Causality violation";
    without_acquire_a_value_is_read_before_it_is_written: Value Acquire, exhaustive(model), "Causality violation";
}

/// Two cells, and a word that says which of them is newer: a reading thread may look at the wrong moment.
#[cfg(loom)]
#[test]
#[should_panic(expected = "1 after 2")]
fn a_reader_that_remembers_where_it_looked_goes_back() {
    use segno::sync::{Latest, Shared};
    use std::sync::Arc;
    exhaustive(|| {
        let cells = Arc::new([Latest::default(), Latest::default()]);
        cells[0].put(Some(Shared::new(1)));
        let reader = thread::spawn({
            let cells = Arc::clone(&cells);
            move || {
                let look = |at: usize| cells[at].with(|n| n.copied().unwrap_or(0));
                let first = look(0).max(look(1));
                let second = look(0);
                assert!(second >= first, "{second} after {first}");
            }
        });
        cells[1].put(Some(Shared::new(2)));
        reader.join().unwrap();
    });
}
