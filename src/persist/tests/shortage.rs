//! The persister's threads over stores that lack something: a place, a log store, an answer.
//!
//! Law: what one store cannot do is counted, and keeps nothing else waiting.

use crate::base::{Cursor, EventId, Span, StreamName, Tick};
use crate::clock::Clock;
use crate::metrics::{Metrics, Persistence};
use crate::persist::*;
use crate::slot::{SlotKey, SlotWriter, slots};
use crate::store::memory::Shared;
use crate::store::scripted::{Behaviour, Call, Scripted};
use crate::store::{LogBlock, LogBounds, LogStore, LogWrite, Opened, Outcome, Record, SessionStore, StoreError};
use crate::timer::Backoff;
use crossbeam_channel::bounded;
use std::sync::Arc;

struct Rig {
    persister: Persister,
    writer: SlotWriter,
    store: Shared,
    metrics: Arc<Metrics>,
}

/// A persister over a store for so many records. `change` makes of it what is opened the n-th time.
fn rig(
    records: usize,
    adjust: impl FnOnce(&mut PersistConfig),
    mut change: impl FnMut(u32, Opened) -> Opened + Send + 'static,
) -> Rig {
    let (writer, drain) = slots(9);
    let (store, metrics) = (Shared::new(records), Arc::new(Metrics::default()));
    let mut config = PersistConfig {
        worker: WorkerConfig { window: Span::from_millis(1), ..WorkerConfig::default() },
        reopen: Backoff::new(Span::from_millis(1), Span::from_millis(1)),
        ..PersistConfig::new(77, 1)
    };
    adjust(&mut config);
    let (mut openings, shared) = (0, store.clone());
    let open: Opener = Box::new(move || {
        openings += 1;
        Ok(change(openings, shared.open()))
    });
    let persister = Persister::start(config, drain, open, Arc::clone(&metrics), Clock::start()).unwrap();
    assert_eq!(persister.first_open(Span::from_secs(60), false), Ok(Some(77)));
    Rig { persister, writer, store, metrics }
}

fn name(stream: u64) -> StreamName {
    StreamName { session: b"s"[..].into(), stream }
}

fn block(stream: u64) -> LogWrite {
    let block = LogBlock { first: 1, at_ms: 1, bytes: b"id: 1\n\n"[..].into(), ends: [7].into(), hole: false };
    let bounds = LogBounds { events: 9, bytes: 99, age_ms: 9 };
    LogWrite::Append {
        name: Arc::new(name(stream)),
        block: Arc::new(block),
        meta: Arc::from(&b"m"[..]),
        bounds,
        claim: None,
    }
}

impl Rig {
    fn numbers(&self) -> &Persistence {
        self.metrics.persistence()
    }

    fn publish(&mut self, stream: u64, sequence: u64) -> SlotKey {
        let key = self.writer.take(Arc::new(name(stream))).unwrap();
        let id = EventId::from_bytes(b"1").unwrap();
        self.writer.publish(key, &Cursor { sequence, id, at: Tick::ZERO });
        key
    }

    fn flush(&self) -> bool {
        let (done, wait) = bounded(1);
        self.persister.control().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
        wait.recv().unwrap()
    }

    /// The streams of this session whose logs the store has.
    fn logs(&self, session: &[u8]) -> Vec<u64> {
        let (done, wait) = bounded(1);
        let reply = Box::new(move |found| done.send(found).unwrap());
        self.persister.control().load_logs(session.into(), Box::new(|_| true), 9, 99, reply).unwrap();
        wait.recv().unwrap().unwrap().iter().map(|(name, ..)| name.stream).collect()
    }

    fn look_up(&self, stream: u64) -> Result<Option<u64>, StoreError> {
        let (done, wait) = bounded(1);
        self.persister.control().load(name(stream), Box::new(move |found| done.send(found).unwrap())).unwrap();
        Ok(wait.recv().unwrap()?.map(|cursor| cursor.sequence))
    }

    /// Waits until this holds, with a bound.
    fn until(&self, seen: impl Fn(&Self) -> bool) {
        let clock = Clock::start();
        while !seen(self) {
            assert!(clock.now().since(Tick::ZERO) < Span::from_secs(15), "it did not come");
            std::thread::yield_now();
        }
    }
}

/// A script that has one kind of call fail.
fn failing(which: Call, with: StoreError) -> impl FnMut(Call) -> Behaviour + Send {
    move |call| if call == which { Behaviour::Fails(with.clone()) } else { Behaviour::Passes }
}

fn no() -> StoreError {
    StoreError::Refused("no".into())
}

#[test]
fn a_session_is_found_with_its_cursors_and_the_streams_that_have_logs() {
    let mut r = rig(99, |_| {}, |_, opened| opened);
    (1..4).for_each(|stream| _ = r.publish(stream, 10 + stream));
    r.persister.control().append_log(block(2)).unwrap();
    assert!(r.flush());
    r.until(|r| r.numbers().log_blocks.get() == 1);
    let (done, wait) = bounded(1);
    let reply = Box::new(move |found| done.send(found).unwrap());
    r.persister.control().load_session(b"s"[..].into(), 9, reply).unwrap();
    let mut found: Vec<_> = wait.recv().unwrap().unwrap().iter().map(|(n, c)| (n.stream, c.sequence)).collect();
    found.sort_unstable();
    assert_eq!(found, [(1, 11), (2, 12), (3, 13)]);
    assert_eq!((r.logs(b"s"), r.logs(b"other")), (vec![2], vec![]));
}

#[test]
fn a_store_that_keeps_no_logs_takes_cursors_and_nothing_waits_for_it() {
    let mut r =
        rig(99, |config| config.log_bytes = 1_000, |_, opened| Opened { logs: None, log_lookup: None, ..opened });
    for n in 1..100 {
        // A block stays on its way until the writing thread has seen it.
        r.until(|r| r.persister.control().append_log(block(n)).is_ok());
    }
    r.publish(1, 5);
    assert!(r.flush());
    assert_eq!((r.look_up(1), r.logs(b"s"), r.numbers().log_blocks.get()), (Ok(Some(5)), vec![], 0));
    assert!(!r.persister.shutdown(Span::from_secs(60)).hung);
}

#[test]
fn a_block_that_finds_no_place_on_its_way_is_refused_and_counted() {
    let r = rig(99, |config| config.log_bytes = 1, |_, opened| opened);
    assert_eq!(r.persister.control().append_log(block(1)), Err(Refused));
    assert_eq!(r.numbers().log_blocks_dropped.get(), 1);
    assert!(Refused.to_string().contains("try again"));
}

#[test]
fn blocks_that_a_full_store_has_no_place_for_are_dropped_and_counted() {
    let r = rig(1, |_| {}, |_, opened| opened);
    (1..4).for_each(|n| r.persister.control().append_log(block(n)).unwrap());
    r.until(|r| r.numbers().log_blocks.get() + r.numbers().log_blocks_dropped.get() == 3);
    assert_eq!((r.numbers().log_blocks.get(), r.numbers().log_blocks_dropped.get()), (1, 2));
    assert_eq!(r.persister.shutdown(Span::from_secs(60)).cursors, []);
}

#[test]
fn blocks_that_a_store_refuses_are_tried_again_in_their_order() {
    let retry = Backoff::new(Span::from_millis(1), Span::from_millis(1));
    let r = rig(
        9,
        |config| config.worker.retry = retry,
        |_, opened| {
            let mut behaviours = [
                Behaviour::Fails(no()),
                Behaviour::Fails(no()),
                Behaviour::FailsItems(no()),
                Behaviour::FailsItems(no()),
            ]
            .into_iter();
            let script = move |call| match call {
                Call::WriteLogs => behaviours.next().unwrap_or(Behaviour::Passes),
                _ => Behaviour::Passes,
            };
            let logs = opened.logs.map(|store| Box::new(Scripted::new(store, script)) as Box<dyn LogStore>);
            Opened { logs, ..opened }
        },
    );
    let names = [1, 2, 1];
    names.into_iter().for_each(|stream| r.persister.control().append_log(block(stream)).unwrap());
    r.until(|r| r.numbers().log_blocks.get() == 3);
    assert_eq!((r.numbers().failure.get(), r.numbers().log_blocks_dropped.get()), (4, 0));
}

#[test]
fn a_full_store_is_searched_sooner_for_what_nobody_uses() {
    // The first search would else begin after 60 pauses.
    let mut r = rig(1, |config| config.sweep_pause = Span::from_millis(500), |_, opened| opened);
    let cursor = Record { epoch: 0, sequence: 1, id: EventId::from_bytes(b"old").unwrap(), last_seen_ms: 5 };
    assert_eq!(r.store.clone().store_last_event_id(&name(9), &cursor), Ok(Outcome::Written));
    r.publish(1, 5);
    r.until(|r| r.look_up(1) == Ok(Some(5)));
    assert_eq!((r.look_up(9), r.numbers().swept_records.get()), (Ok(None), 1));
}

#[test]
fn a_search_that_fails_is_counted_and_keeps_nothing_else_waiting() {
    let pause = |config: &mut PersistConfig| config.sweep_pause = Span::from_millis(1);
    let mut r = rig(9, pause, |_, opened| {
        let sessions = Box::new(Scripted::new(opened.sessions, failing(Call::Scan, no())));
        Opened { sessions, ..opened }
    });
    r.until(|r| r.numbers().failure.get() > 1);
    r.publish(1, 5);
    assert!(r.flush());
    assert_eq!((r.look_up(1), r.numbers().store_open.get()), (Ok(Some(5)), 1));
}

#[test]
fn a_search_that_finds_the_store_closed_has_it_opened_again() {
    let pause = |config: &mut PersistConfig| config.sweep_pause = Span::from_millis(1);
    let mut r = rig(9, pause, |opening, opened| match opening {
        1 => {
            let sessions = Box::new(Scripted::new(opened.sessions, failing(Call::Scan, StoreError::Closed)));
            Opened { sessions, ..opened }
        }
        _ => opened,
    });
    let old = Record { epoch: 0, sequence: 1, id: EventId::from_bytes(b"old").unwrap(), last_seen_ms: 5 };
    assert_eq!(r.store.clone().store_last_event_id(&name(9), &old), Ok(Outcome::Written));
    r.until(|r| r.numbers().swept_records.get() == 1);
    r.publish(1, 5);
    assert!(r.flush());
}

#[test]
fn a_look_up_that_finds_the_store_closed_has_it_opened_again() {
    let r = rig(
        9,
        |_| {},
        |opening, opened| match opening {
            1 => {
                let lookup = Box::new(Scripted::new(opened.lookup, failing(Call::Get, StoreError::Closed)));
                Opened { lookup, ..opened }
            }
            _ => opened,
        },
    );
    assert_eq!(r.look_up(1), Err(StoreError::Closed));
    r.until(|r| r.look_up(1) == Ok(None));
    assert!(r.numbers().lookup_failures.get() >= 1);
}
