//! Event tracking end to end, through the engine's public interface.
//!
//! In: bytes of several connections, restarts, failures of the store. Out: the bytes that are forwarded, the cursors.
//! Law: every event is forwarded once, and no cursor is stored before its event was forwarded.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![cfg(feature = "net")]

use segno::Engine;
use segno::base::{EventId, Span, StreamName};
use segno::config::Config;
use segno::engine::InlineTracker;
use segno::persist::Opener;
use segno::store::memory::Shared;
use segno::store::scripted::Switch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

const WAIT: Span = Span::from_secs(30);

/// A store in memory that outlives engines. A test can make it fail.
fn opener(store: &Shared, switch: &Switch) -> Opener {
    let (store, switch) = (store.clone(), switch.clone());
    Box::new(move || Ok(switch.wrap(store.open())))
}

fn engine(store: &Shared) -> Engine {
    Engine::builder().store(opener(store, &Switch::default())).start().unwrap()
}

fn event(n: u64) -> String {
    format!("id: {n}\ndata: event {n}\n\n")
}

fn events(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(event).collect()
}

/// An event with `kib` KiB of data in one line.
fn large(n: u64, kib: usize) -> String {
    format!("id: {n}\ndata: {}\n\n", "x".repeat(kib << 10))
}

/// Feeds bytes, and forwards what the tracker allows.
fn pass(tracker: &mut InlineTracker, bytes: &str, client: &mut Vec<u8>) {
    tracker.feed(bytes.as_bytes());
    forward(tracker, client);
}

fn forward(tracker: &mut InlineTracker, client: &mut Vec<u8>) {
    let took = tracker.forward(|bytes| {
        client.extend_from_slice(bytes);
        Ok(())
    });
    took.unwrap();
}

fn id(tracker: &InlineTracker) -> Option<String> {
    tracker.last_event_id().map(|id| String::from_utf8(id.as_bytes().to_vec()).unwrap())
}

/// Waits until everything published is durable.
fn flush(engine: &Engine) {
    let (done, wait) = mpsc::channel();
    engine.store().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
    assert!(wait.recv().unwrap());
}

#[test]
fn a_connection_that_comes_back_repeats_nothing_and_loses_nothing() {
    let engine = engine(&Shared::new(10));
    let mut tracker = engine.tracker(b"s", WAIT).unwrap();
    let (all, mut client) = (events(1..=200), Vec::new());
    // Each connection begins some events early and breaks at any point, also inside an event.
    for cut in (0..all.len()).step_by(37).chain([all.len()]) {
        let asked = id(&tracker).map_or(0, |id| id.parse::<u64>().unwrap());
        tracker.connected();
        let from: String = events(asked.saturating_sub(3).max(1)..=200);
        let end = all.len() - from.len();
        pass(&mut tracker, &from[..cut.saturating_sub(end).min(from.len())], &mut client);
    }
    assert_eq!(String::from_utf8(client).unwrap(), all);
}

#[test]
fn connections_that_share_a_key_forward_each_event_once() {
    let engine = engine(&Shared::new(10));
    let (mut a, mut b) = (engine.tracker(b"s", WAIT).unwrap(), engine.tracker(b"s", WAIT).unwrap());
    let mut client = Vec::new();
    let all = events(1..=100);
    // Both connections bring all events, in pieces of different sizes, so that sometimes one and sometimes the other is
    // ahead.
    let (mut of_a, mut of_b) = (all.as_bytes().chunks(23), all.as_bytes().chunks(31));
    loop {
        let (x, y) = (of_a.next(), of_b.next());
        for (tracker, piece) in [(&mut a, x), (&mut b, y)] {
            let Some(piece) = piece else { continue };
            pass(tracker, std::str::from_utf8(piece).unwrap(), &mut client);
        }
        if x.is_none() && y.is_none() {
            break;
        }
    }
    assert_eq!(String::from_utf8(client).unwrap(), all);
    assert_eq!(id(&a), id(&b));
}

/// The bytes of one read of a socket: a piece of an event, or the end of one and the start of the next.
const READ: usize = 13 << 10;

#[test]
fn a_large_event_in_pieces_is_forwarded_once_by_connections_that_share_a_key() {
    for kib in [40, 400] {
        let engine = engine(&Shared::new(10));
        let (mut a, mut b) = (engine.tracker(b"s", WAIT).unwrap(), engine.tracker(b"s", WAIT).unwrap());
        let all = [event(1), large(2, kib), event(3), large(4, kib), event(5)].concat();
        let mut client = Vec::new();
        // Piece by piece, from both connections in turn; then all of it once more, from one of them.
        for piece in all.as_bytes().chunks(READ).map(|piece| std::str::from_utf8(piece).unwrap()) {
            pass(&mut a, piece, &mut client);
            pass(&mut b, piece, &mut client);
        }
        b.connected();
        for piece in all.as_bytes().chunks(READ).map(|piece| std::str::from_utf8(piece).unwrap()) {
            pass(&mut b, piece, &mut client);
        }
        assert!(client == all.as_bytes(), "{kib} KiB: {} bytes of {}", client.len(), all.len());
        assert_eq!(id(&a).as_deref(), Some("5"));
        assert!(a.log_bytes() < 80 << 10, "{kib} KiB: the log keeps {} bytes", a.log_bytes());
    }
}

#[test]
fn a_large_event_in_pieces_that_comes_before_it_was_forwarded_is_told_by_its_bytes() {
    for kib in [40, 400] {
        let engine = engine(&Shared::new(10));
        let (mut a, mut b) = (engine.tracker(b"s", WAIT).unwrap(), engine.tracker(b"s", WAIT).unwrap());
        let all = large(1, kib);
        let mut fed = [(0, 0, 0); 2];
        for (tracker, sum) in [&mut a, &mut b].into_iter().zip(&mut fed) {
            for piece in all.as_bytes().chunks(READ) {
                let fed = tracker.feed(piece);
                *sum = (sum.0 + fed.events, sum.1 + fed.duplicates, sum.2 + fed.duplicates_by_id_alone);
            }
        }
        assert_eq!(fed, [(1, 0, 0), (0, 1, 0)], "{kib} KiB");
        let mut client = Vec::new();
        forward(&mut b, &mut client);
        assert!(client == all.as_bytes(), "{kib} KiB: {} bytes of {}", client.len(), all.len());
    }
}

#[test]
fn a_large_event_that_comes_again_after_a_reconnect_is_forwarded_once() {
    for kib in [40, 400] {
        let engine = engine(&Shared::new(10));
        let mut tracker = engine.tracker(b"s", WAIT).unwrap();
        let (all, mut client) = ([event(1), large(2, kib), large(3, kib), event(4)].concat(), Vec::new());
        // Cut in the first large event, after it, in the second and after that. Each time upstream repeats one event.
        let second = event(1).len() + large(2, kib).len();
        for cut in [event(1).len() + READ + 7, second, second + 2 * READ, all.len() - event(4).len(), all.len()] {
            let from = match id(&tracker).as_deref() {
                None | Some("1") => 0,
                Some("2") => event(1).len(),
                Some("3") => second,
                other => panic!("{other:?} was not sent yet"),
            };
            tracker.connected();
            for piece in all.as_bytes()[from..cut].chunks(READ) {
                pass(&mut tracker, std::str::from_utf8(piece).unwrap(), &mut client);
            }
        }
        assert!(client == all.as_bytes(), "{kib} KiB: {} bytes of {}", client.len(), all.len());
    }
}

#[test]
fn a_restart_goes_on_where_the_last_process_was() {
    let store = Shared::new(10);
    let mut client = Vec::new();
    for life in 0..5u64 {
        let engine = engine(&store);
        let mut tracker = engine.tracker(b"session", WAIT).unwrap();
        let asked = id(&tracker).map_or(0, |id| id.parse::<u64>().unwrap());
        assert_eq!(asked, life * 10);
        tracker.connected();
        pass(&mut tracker, &events(asked + 1..=asked + 10), &mut client);
        let left = engine.shutdown(WAIT).unwrap();
        assert_eq!((left.cursors.len(), left.hung), (0, false));
    }
    assert_eq!(String::from_utf8(client).unwrap(), events(1..=50));
}

#[test]
fn what_comes_with_the_id_of_the_last_process_is_forwarded_since_it_may_be_another_event() {
    let store = Shared::new(10);
    let mut client = Vec::new();
    for body in [events(1..=3), "id: 3\nevent: done\ndata\n\n".to_owned()] {
        let engine = engine(&store);
        let mut tracker = engine.tracker(b"session", WAIT).unwrap();
        tracker.connected();
        pass(&mut tracker, &body, &mut client);
        engine.shutdown(WAIT).unwrap();
    }
    assert_eq!(String::from_utf8(client).unwrap(), events(1..=3) + "id: 3\nevent: done\ndata\n\n");
}

#[test]
fn an_event_that_was_not_forwarded_is_not_stored() {
    let store = Shared::new(10);
    let engine = engine(&store);
    let mut tracker = engine.tracker(b"s", WAIT).unwrap();
    pass(&mut tracker, &events(1..=3), &mut Vec::new());
    tracker.feed(event(4).as_bytes());
    let refused = tracker.forward(|_| Err(std::io::ErrorKind::BrokenPipe.into()));
    assert!(refused.is_err());
    flush(&engine);
    assert_eq!(engine.cursor(b"s").unwrap().last_event_id(), EventId::from_bytes(b"3"));
    let mut client = Vec::new();
    forward(&mut tracker, &mut client);
    assert_eq!(client, event(4).as_bytes());
}

#[test]
fn a_cursor_is_read_from_any_thread_and_never_goes_back() {
    let engine = engine(&Shared::new(10));
    let mut tracker = engine.tracker(b"s", WAIT).unwrap();
    let handle = engine.cursor(b"s").unwrap();
    let reader = thread::spawn(move || {
        let mut last = 0;
        while last < 5_000 {
            let now =
                handle.last_event_id().map_or(0, |id| std::str::from_utf8(id.as_bytes()).unwrap().parse().unwrap());
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    });
    (1..=5_000).for_each(|n| pass(&mut tracker, &event(n), &mut Vec::new()));
    reader.join().unwrap();
}

#[test]
fn a_store_that_fails_for_a_while_gets_the_newest_cursor_in_the_end() {
    let (store, switch) = (Shared::new(10), Switch::default());
    let engine = Engine::builder().store(opener(&store, &switch)).start().unwrap();
    let mut tracker = engine.tracker(b"s", WAIT).unwrap();
    switch.refuse(true);
    (1..=50).for_each(|n| pass(&mut tracker, &event(n), &mut Vec::new()));
    let before = switch.calls();
    while switch.calls() < before + 3 {
        pass(&mut tracker, ":\n\n", &mut Vec::new());
    }
    switch.refuse(false);
    flush(&engine);
    assert_eq!(tracker.cursor().durable(), 50);
    let persistence = engine.metrics().persistence();
    assert!(persistence.failure.get() >= 3 && persistence.retry.get() >= 1);
}

#[test]
fn a_key_may_be_opened_again_after_its_last_tracker_went() {
    let engine = Engine::builder().trackers(1).store(opener(&Shared::new(10), &Switch::default())).start().unwrap();
    for n in 1..20 {
        let mut tracker = engine.tracker(b"s", WAIT).unwrap();
        assert_eq!(id(&tracker), (n > 1).then(|| (n - 1).to_string()));
        assert!(engine.tracker(b"other", WAIT).is_err());
        pass(&mut tracker, &event(n), &mut Vec::new());
        drop(tracker);
        assert!(engine.cursor(b"s").is_none());
        flush(&engine);
    }
}

/// An engine that writes nothing by itself: its flush window does not end.
fn unflushed(store: &Shared) -> Engine {
    let mut config = Config { listen: Vec::new(), ..Config::default() };
    config.persist.flush_window = Span::from_secs(3_600);
    Engine::builder().config(config).store(opener(store, &Switch::default())).start().unwrap()
}

/// The stored cursor of the key "s".
fn stored(engine: &Engine) -> Option<(String, u64)> {
    let (answer, wait) = mpsc::channel();
    let name = StreamName { session: b"s"[..].into(), stream: 0 };
    engine.store().load(name, Box::new(move |found| answer.send(found.unwrap()).unwrap())).unwrap();
    let found = wait.recv().unwrap()?;
    Some((String::from_utf8(found.id.as_bytes().to_vec()).unwrap(), found.sequence))
}

#[test]
fn a_key_that_is_opened_again_goes_on_from_what_was_forwarded_not_from_what_was_written() {
    let engine = unflushed(&Shared::new(10));
    let mut client = Vec::new();
    for life in 0..5 {
        let mut tracker = engine.tracker(b"s", WAIT).unwrap();
        let asked = id(&tracker).map_or(0, |id| id.parse::<u64>().unwrap());
        assert_eq!(asked, life * 10);
        pass(&mut tracker, &events(asked + 1..=asked + 10), &mut client);
        drop(tracker);
        assert_eq!(engine.cursor(b"s").map(|_| ()), None);
        // A tracker that only reads changes nothing.
        assert_eq!(id(&engine.tracker(b"s", WAIT).unwrap()), Some((asked + 10).to_string()));
        if life == 2 {
            assert_eq!(stored(&engine), None);
            flush(&engine);
            assert_eq!(stored(&engine), Some(("30".to_owned(), 30)));
        }
    }
    assert_eq!(String::from_utf8(client).unwrap(), events(1..=50));
    flush(&engine);
    assert_eq!(stored(&engine), Some(("50".to_owned(), 50)));
}

#[test]
fn a_key_that_comes_and_goes_on_many_threads_never_goes_back() {
    let mut config = Config { listen: Vec::new(), ..Config::default() };
    // Slots are written, released and reused all the time.
    config.persist.flush_window = Span::from_micros(200);
    let store = opener(&Shared::new(10), &Switch::default());
    let engine = Engine::builder().config(config).store(store).start().unwrap();
    let (forwarded, feeding) = (AtomicU64::new(0), Mutex::new(()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let least = forwarded.load(Ordering::SeqCst);
                    let mut tracker = engine.tracker(b"s", WAIT).unwrap();
                    // One thread at a time, so that none feeds events that are old by now. Trackers come and go freely.
                    let turn = feeding.lock().unwrap();
                    let next = id(&tracker).map_or(0, |id| id.parse::<u64>().unwrap()) + 1;
                    assert!(next > least, "{least} had been forwarded, and it asks for events after {}", next - 1);
                    pass(&mut tracker, &event(next), &mut Vec::new());
                    forwarded.store(next, Ordering::SeqCst);
                    drop(turn);
                }
            });
        }
    });
    flush(&engine);
    let last = forwarded.into_inner();
    assert_eq!(stored(&engine), Some((last.to_string(), last)));
}

/// The plan of old asked for a thousand events a second on one session, and spawned a task for each.
#[test]
fn test_load_1000_events_per_second() {
    const SECONDS: u64 = 3;
    let store = Shared::new(10);
    let engine = engine(&store);
    let mut tracker = engine.tracker(b"s", WAIT).unwrap();
    let clock = engine.clock();
    let (begun, mut client, mut most) = (clock.now(), Vec::new(), 0);
    for n in 1..=SECONDS * 1_000 {
        // The clock sets the rate, not the speed of the machine.
        while clock.now().since(begun) < Span::from_millis(n) {
            thread::yield_now();
        }
        pass(&mut tracker, &event(n), &mut client);
        most = most.max(engine.metrics().persistence().queue_depth.get());
    }
    flush(&engine);
    let persistence = engine.metrics().persistence();
    let (changes, records) = (SECONDS * 1_000, persistence.cursor_records.get());
    let windows = clock.now().since(begun).millis() / 100 + 2;
    assert_eq!(String::from_utf8(client).unwrap(), events(1..=changes));
    assert!(records <= windows, "{records} records in {windows} windows");
    assert!(changes / records >= 9, "{changes} changes made {records} records");
    assert!(most <= 1, "{most} slots waited, of one stream");
    assert_eq!(tracker.cursor().durable(), changes);
}
