//! The persister's threads, with stores that hang and refuse. Nothing here sleeps: tests wait for answers.

use crate::base::{Cursor, EventId, Span, StreamName, Tick};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::persist::*;
use crate::slot::{SlotKey, SlotWriter, slots};
use crate::store::memory::Shared;
use crate::store::scripted::{Behaviour, Scripted, Switch};
use crate::store::{LogBlock, LogBounds, LogWrite, Opened, Outcome, Record, SessionStore, StoreError};
use crate::timer::Backoff;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use std::sync::Arc;
use std::time::Duration;

struct Rig {
    persister: Persister,
    writer: SlotWriter,
    store: Shared,
    switch: Switch,
    metrics: Arc<Metrics>,
    /// Ends with the thread that writes.
    alive: Receiver<()>,
}

/// A minute is for ever.
const LONG: Duration = Duration::from_secs(60);

fn rig(capacity: usize) -> Rig {
    rig_opening(capacity, 0)
}

/// The store opens at the attempt with this number.
fn rig_opening(capacity: usize, refuse: u32) -> Rig {
    rig_with(capacity, refuse, Span::from_millis(1))
}

fn rig_with(capacity: usize, mut refuse: u32, window: Span) -> Rig {
    let (writer, drain) = slots(capacity);
    let (store, switch, metrics) = (Shared::new(10_000), Switch::default(), Arc::new(Metrics::default()));
    let config = PersistConfig {
        worker: WorkerConfig { window, ..WorkerConfig::default() },
        reopen: Backoff::new(Span::from_millis(1), Span::from_millis(1)),
        sweep_pause: Span::from_millis(1),
        ..PersistConfig::new(77, 1)
    };
    let (life, alive) = bounded(1);
    let open: Opener = Box::new({
        let (store, switch) = (store.clone(), switch.clone());
        move || {
            let _ = &life;
            if refuse > 0 {
                refuse -= 1;
                return Err(StoreError::Locked { path: "x".into() });
            }
            Ok(switch.wrap(store.open()))
        }
    });
    let persister = Persister::start(config, drain, open, Arc::clone(&metrics), Clock::start()).unwrap();
    Rig { persister, writer, store, switch, metrics, alive }
}

impl Rig {
    fn take(&mut self, stream: u64) -> SlotKey {
        let name = StreamName { session: b"s"[..].into(), stream };
        self.writer.take(Arc::new(name)).unwrap()
    }

    fn publish(&mut self, key: SlotKey, sequence: u64) {
        let id = EventId::from_bytes(sequence.to_string().as_bytes()).unwrap();
        self.writer.publish(key, &Cursor { sequence, id, at: Tick::ZERO });
    }

    /// Waits until everything published is durable.
    fn flush(&self) -> bool {
        let (done, wait) = bounded(1);
        self.persister.control().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
        wait.recv().unwrap()
    }

    /// For how long something has not been durable, as seen an hour after the start.
    fn lag(&self) -> Span {
        self.metrics.persistence().lag(Tick::from_millis(3_600_000))
    }

    fn look_up(&self, stream: u64) -> Option<u64> {
        let (done, wait) = bounded(1);
        let name = StreamName { session: b"s"[..].into(), stream };
        let reply = Box::new(move |found| done.send(found).unwrap());
        self.persister.control().load(name, reply).unwrap();
        wait.recv().unwrap().unwrap().map(|cursor| cursor.sequence)
    }
}

#[test]
fn a_flush_answers_when_everything_before_it_is_durable() {
    let mut r = rig(10);
    let keys: Vec<SlotKey> = (0..10).map(|n| r.take(n)).collect();
    for n in 1..200 {
        keys.iter().for_each(|key| r.publish(*key, n));
        assert!(r.flush());
        assert_eq!((r.look_up(0), r.writer.handle(keys[9]).durable()), (Some(n), n));
    }
}

#[test]
fn the_secret_is_the_stores_own() {
    let r = rig(1);
    assert_eq!(r.persister.first_open(Span::from_secs(60), false), Ok(Some(77)));
    assert_eq!(crate::store::SessionStore::secret(&mut r.store.clone(), 1), Ok(77));
}

#[test]
fn whoever_has_heard_that_the_store_is_open_finds_it_open() {
    for _ in 0..200 {
        let r = rig(1);
        assert_eq!(r.persister.first_open(Span::from_secs(60), false), Ok(Some(77)));
        assert_eq!(r.look_up(1), None);
    }
}

#[test]
fn a_store_that_is_away_at_first_gets_everything_when_it_opens() {
    let mut r = rig_opening(1, 20);
    let key = r.take(1);
    r.publish(key, 5);
    assert_eq!(r.persister.first_open(Span::from_secs(60), false), Ok(Some(77)));
    assert!(r.flush());
    assert_eq!(r.look_up(1), Some(5));
    // What failed before the store was open is counted with what fails later.
    assert_eq!((r.metrics.persistence().failure.get(), r.metrics.persistence().store_open.get()), (20, 1));
    r.switch.refuse(true);
    r.publish(key, 6);
    while r.metrics.persistence().failure.get() == 20 {
        std::thread::yield_now();
    }
    r.switch.refuse(false);
    assert!(r.flush() && r.metrics.persistence().failure.get() > 20);
}

#[test]
fn look_ups_without_a_store_are_answered_and_counted() {
    let r = rig_opening(1, u32::MAX);
    let (done, wait) = bounded(1);
    let name = StreamName { session: b"s"[..].into(), stream: 1 };
    r.persister.control().load(name, Box::new(move |found| done.send(found.is_err()).unwrap())).unwrap();
    assert_eq!(wait.recv_timeout(LONG), Ok(true));
    assert_eq!((r.metrics.persistence().lookups.get(), r.metrics.persistence().lookup_failures.get()), (1, 1));
}

#[test]
fn a_store_whose_reading_half_is_gone_is_opened_again_while_nothing_else_happens() {
    let (_writer, drain) = slots(1);
    let config = PersistConfig {
        reopen: Backoff::new(Span::from_millis(1), Span::from_millis(1)),
        idle: Span::MAX,
        ..PersistConfig::new(77, 1)
    };
    let (opened, openings) = unbounded();
    let (store, mut opening) = (Shared::new(10), 0);
    let open: Opener = Box::new(move || {
        opening += 1;
        opened.send(opening).unwrap();
        let good = store.open();
        if opening > 1 {
            return Ok(good);
        }
        let gone = Scripted::new(good.lookup, |_| Behaviour::Fails(StoreError::Closed));
        Ok(Opened { lookup: Box::new(gone), ..good })
    });
    let persister = Persister::start(config, drain, open, Arc::default(), Clock::start()).unwrap();
    assert_eq!((persister.first_open(Span::from_secs(60), false), openings.recv_timeout(LONG)), (Ok(Some(77)), Ok(1)));
    let (done, wait) = bounded(1);
    let name = StreamName { session: b"s"[..].into(), stream: 1 };
    persister.control().load(name, Box::new(move |found| done.send(found).unwrap())).unwrap();
    assert_eq!(wait.recv_timeout(LONG), Ok(Err(StoreError::Closed)));
    assert_eq!(openings.recv_timeout(LONG), Ok(2));
}

#[test]
fn a_flush_is_answered_while_the_store_has_never_been_open() {
    let mut r = rig_opening(1, u32::MAX);
    let key = r.take(1);
    r.publish(key, 1);
    assert!(!r.flush());
}

#[test]
fn look_ups_are_answered_while_a_write_hangs() {
    let mut r = rig(2);
    let key = r.take(1);
    r.publish(key, 1);
    assert!(r.flush());
    r.switch.hang(true);
    r.publish(key, 2);
    r.switch.await_hang();
    assert_eq!(r.look_up(1), Some(1));
    r.switch.hang(false);
    assert!(r.flush());
    assert_eq!(r.look_up(1), Some(2));
}

#[test]
fn a_hung_store_does_not_hang_the_end_and_what_is_left_is_told() {
    let mut r = rig(3);
    let (a, b) = (r.take(1), r.take(2));
    r.publish(a, 1);
    assert!(r.flush());
    r.switch.hang(true);
    r.publish(b, 7);
    r.switch.await_hang();
    let left = r.persister.shutdown(Span::from_millis(20));
    assert!(left.hung);
    let left: Vec<_> = left.cursors.iter().map(|(name, cursor)| (name.stream, cursor.sequence)).collect();
    assert_eq!(left, [(2, 7)]);
    r.switch.hang(false);
}

#[test]
fn the_lag_grows_while_the_store_hangs_or_does_not_open() {
    let mut r = rig(2);
    let (a, b) = (r.take(1), r.take(2));
    r.publish(a, 1);
    assert!(r.flush());
    // Until it has gone to sleep, something may have changed that it has not seen.
    while r.lag() > Span::ZERO {
        std::thread::yield_now();
    }
    r.switch.hang(true);
    r.publish(b, 1);
    r.switch.await_hang();
    assert!(r.lag() > Span::from_secs(3_000), "{}", r.lag());
    r.switch.hang(false);
    assert!(r.flush());
    while r.lag() > Span::ZERO {
        std::thread::yield_now();
    }
    let mut r = rig_opening(1, u32::MAX);
    let key = r.take(1);
    r.publish(key, 1);
    while r.metrics.persistence().failure.get() < 3 {
        std::thread::yield_now();
    }
    assert!(r.lag() > Span::from_secs(3_000), "{}", r.lag());
}

#[test]
fn a_flush_and_the_end_wait_for_no_window() {
    let mut r = rig_with(1, 0, Span::from_secs(86_400));
    let key = r.take(1);
    for n in 1..=50 {
        r.publish(key, 2 * n);
        assert!(r.flush());
        r.publish(key, 2 * n + 1);
    }
    assert_eq!(r.look_up(1), Some(100));
    let left = r.persister.shutdown(Span::from_secs(60));
    assert_eq!((left.cursors.len(), left.hung), (0, false));
    assert_eq!(r.store.open().lookup.scan(None, 10).unwrap()[0].1.sequence, 101);
}

#[test]
fn the_end_writes_everything_first() {
    let mut r = rig(100);
    for n in 0..100 {
        let key = r.take(n);
        r.publish(key, n + 1);
    }
    let left = r.persister.shutdown(Span::from_secs(60));
    assert_eq!((left.cursors.len(), left.hung), (0, false));
    let mut store = r.store.open();
    assert_eq!(store.lookup.scan(None, 1_000).unwrap().len(), 100);
}

#[test]
fn a_store_that_refuses_to_the_end_leaves_its_cursors_named() {
    let mut r = rig(3);
    let key = r.take(1);
    r.switch.refuse(true);
    r.publish(key, 3);
    let left = r.persister.shutdown(Span::from_millis(50));
    assert_eq!((left.cursors.len(), left.hung), (1, false));
}

#[test]
fn those_who_wait_for_a_store_that_refuses_are_bounded() {
    let mut r = rig(1);
    let key = r.take(1);
    assert!(r.flush());
    r.switch.refuse(true);
    r.publish(key, 1);
    let control = r.persister.control();
    let (done, wait) = unbounded();
    let mut asked = 0;
    while wait.is_empty() {
        let done = done.clone();
        asked += usize::from(control.flush(Box::new(move |all| done.send(all).unwrap())).is_ok());
    }
    r.switch.refuse(false);
    let all: Vec<bool> = (0..asked).map(|_| wait.recv_timeout(LONG).unwrap()).collect();
    assert!(!all[0] && r.metrics.persistence().refused.get() > 0);
    assert!(all.iter().filter(|all| **all).count() >= 1_000);
}

#[test]
fn a_persister_that_is_dropped_writes_what_there_is_and_closes_the_store() {
    let mut r = rig(1);
    let key = r.take(1);
    assert_eq!(r.persister.first_open(Span::from_secs(60), false), Ok(Some(77)));
    r.publish(key, 3);
    let Rig { persister, store, alive, .. } = r;
    // A caller that could still ask does not keep the store open.
    let control = persister.control();
    drop(persister);
    assert_eq!(alive.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    assert_eq!(store.open().lookup.scan(None, 9).unwrap().len(), 1);
    let (done, wait) = bounded(1);
    control.scan(None, 1, Box::new(move |found| done.send(found.is_err()).unwrap())).unwrap();
    assert_eq!(wait.recv_timeout(LONG), Ok(true));
}

#[test]
fn a_full_control_channel_is_a_counted_refusal() {
    let mut r = rig(1);
    let key = r.take(1);
    assert!(r.flush());
    r.switch.hang(true);
    r.publish(key, 1);
    r.switch.await_hang();
    let control = r.persister.control();
    let refused = (0..1_200).filter(|_| control.flush(Box::new(|_| {})).is_err()).count();
    assert_eq!((refused, r.metrics.persistence().refused.get()), (200, 200));
    r.switch.hang(false);
}

#[test]
fn what_nobody_has_used_for_long_leaves_the_store() {
    let mut r = rig(1);
    let key = r.take(1);
    r.publish(key, 1);
    let name = StreamName { session: b"s"[..].into(), stream: 9 };
    let id = EventId::from_bytes(b"old").unwrap();
    let cursor = Record { epoch: 0, sequence: 1, id, last_seen_ms: 5 };
    assert_eq!(r.store.clone().store_last_event_id(&name, &cursor), Ok(Outcome::Written));
    while r.metrics.persistence().swept_records.get() == 0 {
        std::thread::yield_now();
    }
    assert!(r.flush());
    assert_eq!((r.look_up(9), r.look_up(1)), (None, Some(1)));
}

#[test]
fn log_blocks_are_stored_and_found_with_their_session() {
    let mut r = rig(1);
    let key = r.take(1);
    r.publish(key, 1);
    let name = Arc::new(StreamName { session: b"s"[..].into(), stream: 1 });
    let block = LogBlock { first: 1, at_ms: 1, bytes: b"id: 1\n\n"[..].into(), ends: [7].into(), hole: false };
    let bounds = LogBounds { events: 9, bytes: 99, age_ms: 9 };
    let meta = Arc::from(&b"m"[..]);
    r.persister
        .control()
        .append_log(LogWrite::Append { name, block: Arc::new(block.clone()), meta, bounds, claim: None })
        .unwrap();
    let store = r.store.clone();
    assert!(r.flush());
    assert_eq!(r.persister.shutdown(Span::from_secs(60)).cursors, []);
    let mut logs = store.open().logs.unwrap();
    let name = StreamName { session: b"s"[..].into(), stream: 1 };
    assert_eq!(logs.read_log(&name, 99).unwrap().unwrap().blocks, [block]);
}

#[test]
fn a_store_that_opens_too_late_to_tell_its_key_says_so_where_it_has_another() {
    for (stored, differs) in [(None, 0), (Some(77), 0), (Some(5), 1)] {
        let r = rig_opening(1, 20);
        let secret = stored.map(|key| crate::store::SessionStore::secret(&mut r.store.clone(), key).unwrap());
        assert_eq!(secret, stored);
        // The rig's candidate is 77, and so is what the names are hashed with.
        r.persister.go_by(77);
        assert!(r.persister.first_open(Span::from_secs(60), false).is_ok() && r.flush());
        assert_eq!(r.metrics.persistence().foreign_key.get(), differs, "{stored:?}");
    }
}
