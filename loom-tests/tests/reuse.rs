//! Free and reuse: a slot goes to another stream only after its release, and a retry with the key of the former stream
//! reads nothing. Explored to the end.

use segno::slot::{Phase, slots};
use segno::sync::Bits;
use segno_loom_tests::{cursor, exhaustive, must_fail_without, name, sequence, thread};
use std::sync::Arc;

/// The writer ends a stream and takes its slot again as soon as it can, while the drain drains, retries and releases.
fn model() {
    let (mut writer, mut drain) = slots(1);
    let old = writer.take(name(1)).unwrap();
    writer.publish(old, &cursor(1));
    let publisher = thread::spawn(move || {
        writer.retire(old);
        let new = writer.take(name(2));
        if let Some(new) = new {
            writer.publish(new, &cursor(7));
        }
        (writer, new)
    });
    let mut popped = Vec::new();
    for _ in 0..2 {
        let Some(key) = drain.pop() else { continue };
        popped.push(key);
        let read = drain.read(key);
        // A key reads only the cursor of its own stream.
        let stream = read.as_ref().map(|p| (p.name.stream, p.generation));
        assert!(stream.is_none_or(|(stream, generation)| (stream == 1) == (generation == old.generation)));
        if read.is_some_and(|p| p.phase != Phase::Live) {
            assert!(drain.release(key));
            // A retry that comes late.
            let late = drain.read(key);
            assert!(late.is_none(), "a released key reads {late:?}");
        }
    }
    let (_writer, new) = publisher.join().unwrap();
    if let Some(new) = new {
        assert_ne!(new, old);
        assert_eq!(sequence(drain.read(new)), 7);
        // The slot is on the queue, or was before, with the key of one stream or the other.
        assert!(popped.contains(&new) || drain.pop() == Some(new), "what was published is not queued");
    }
}

#[test]
fn a_slot_is_reused_only_after_its_release() {
    exhaustive(model);
}

/// How a free place goes from one thread to the other: who sees the place must see its link too.
fn free_list() {
    let parts = Arc::new((segno::slot::parts::FreeList::default(), Bits::new(5), Bits::new(5)));
    let giver = thread::spawn({
        let parts = Arc::clone(&parts);
        move || {
            parts.0.give(0, &parts.1);
            parts.0.give(1, &parts.2);
        }
    });
    let mut found = Vec::new();
    let mut take = || {
        let mut at = parts.0.take();
        while at != u32::MAX {
            found.push(at);
            at = [&parts.1, &parts.2][at as usize].peek();
            assert_ne!(at, 5, "a link was not seen");
        }
    };
    take();
    giver.join().unwrap();
    take();
    found.sort_unstable();
    assert_eq!(found, [0, 1]);
}

#[test]
fn each_free_place_is_found_once() {
    exhaustive(free_list);
}

must_fail_without! {
    without_release_a_link_is_not_seen: Free Release, exhaustive(free_list), "a link was not seen";
    without_acquire_a_link_is_not_seen: Free Acquire, exhaustive(free_list), "a link was not seen";
    without_the_release_of_a_change_the_new_stream_is_not_queued: Change Release, exhaustive(model), "queued";
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "a link was not seen")]
fn giving_a_place_before_its_link_is_written_loses_places() {
    use segno::sync::{Edge, Ends};
    exhaustive(|| {
        let parts = Arc::new((Bits::new(u32::MAX), Bits::new(5)));
        let giver = thread::spawn({
            let parts = Arc::clone(&parts);
            move || {
                let _ = parts.0.exchange(u32::MAX, 0, Ends::release(Edge::Free));
                parts.1.put(u32::MAX);
            }
        });
        if parts.0.swap(u32::MAX, Ends::acquire(Edge::Free)) == 0 {
            assert_ne!(parts.1.peek(), 5, "a link was not seen");
        }
        giver.join().unwrap();
    });
}

/// The slot goes on the free list first and is emptied afterwards, when it may already belong to another stream.
#[cfg(loom)]
#[test]
#[should_panic(expected = "the new stream's value is gone")]
fn releasing_a_slot_before_it_is_empty_empties_the_next_streams() {
    use segno::slot::parts::FreeList;
    use segno::sync::{Latest, Shared};
    exhaustive(|| {
        let parts = Arc::new((FreeList::default(), Bits::new(5), Latest::default()));
        parts.2.put(Some(Shared::new(1)));
        let writer = thread::spawn({
            let parts = Arc::clone(&parts);
            move || {
                let (free, _, cell) = &*parts;
                if free.take() == 0 {
                    cell.put(Some(Shared::new(2)));
                    assert!(cell.with(|n| n.is_some()), "the new stream's value is gone");
                }
            }
        });
        let (free, link, cell) = &*parts;
        free.give(0, link);
        cell.put(None);
        writer.join().unwrap();
    });
}
