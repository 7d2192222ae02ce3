//! Streams that are taken over from an owner with a greater epoch: their cursors are stored, those of others are not
//! raised, and the persister says who has which log.

use super::world::{World, name};
use crate::base::{Cursor, EventId, Span, StreamName, Tick};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::persist::*;
use crate::slot::slots;
use crate::store::memory::Shared;
use crate::store::{Claim, LogBlock, LogBounds, LogStore, LogWrite, Record, SessionStore, Write};
use crossbeam_channel::{Receiver, unbounded};
use std::sync::Arc;
use std::time::Duration;

fn record(epoch: u64, sequence: u64) -> Record {
    Record { epoch, sequence, id: EventId::from_bytes(b"old").unwrap(), last_seen_ms: 0 }
}

#[test]
fn a_cursor_that_was_refused_is_written_again_once_its_stream_is_taken_over_and_others_keep_their_epoch() {
    let mut w = World::new(WorkerConfig { shared: true, ..WorkerConfig::default() }, 4);
    for stream in [1, 2] {
        w.store.store_event_ids_batch(&[(name(stream), Write::Cursor(record(50, 9)))]).unwrap();
        w.life.begin(stream);
    }
    w.publish(0);
    w.publish(1);
    w.pass(Span::from_millis(300));
    let epoch =
        |w: &mut World, stream| w.store.get_last_event_id(&name(stream)).unwrap().map(|r| (r.epoch, r.sequence));
    assert_eq!((epoch(&mut w, 1), epoch(&mut w, 2)), (Some((50, 9)), Some((50, 9))));
    w.life.worker.take_over(name(1), 60, &w.life.drain, w.now);
    w.pass(Span::from_millis(300));
    assert_eq!((epoch(&mut w, 1), epoch(&mut w, 2)), (Some((60, 1)), Some((50, 9))));
    w.publish(0);
    w.publish(1);
    w.pass(Span::from_millis(300));
    assert_eq!((epoch(&mut w, 1), epoch(&mut w, 2)), (Some((60, 2)), Some((50, 9))));
}

/// A process that shares logs over a store, and what it is told.
fn process(store: &Shared) -> (Persister, crate::slot::SlotWriter, Receiver<LogNews>) {
    let (writer, drain) = slots(4);
    let window = Span::from_millis(1);
    let worker = WorkerConfig { window, shared: true, ..WorkerConfig::default() };
    let config = PersistConfig { worker, shared: true, lease: Span::from_millis(30), ..PersistConfig::new(1, 1) };
    let store = store.clone();
    let open: Opener = Box::new(move || Ok(store.open()));
    let persister = Persister::start(config, drain, open, Arc::new(Metrics::default()), Clock::start()).unwrap();
    persister.first_open(Span::from_secs(60), false).unwrap();
    let (sender, news) = unbounded();
    persister.control().listen(Arc::new(move |news| sender.send(news).is_ok()));
    (persister, writer, news)
}

fn append(stream: u64, first: u64, seen: Option<u64>) -> LogWrite {
    let block = Arc::new(LogBlock { first, at_ms: 0, bytes: b"x"[..].into(), ends: [1].into(), hole: false });
    let bounds = LogBounds { events: 9, bytes: 99, age_ms: 9 };
    let claim = Some(Claim { owner: 0, seen, lease_ms: u64::MAX });
    LogWrite::Append { name: name(stream), block, meta: Arc::from([]), bounds, claim }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn of_two_processes_one_has_a_log_the_other_follows_takes_it_over_and_stores_its_cursor() {
    let mut store = Shared::new(99);
    let (a, _writer, to_a) = process(&store);
    let (b, mut writer, to_b) = process(&store);
    a.control().append_log(append(1, 1, Some(0))).unwrap();
    b.control().follow(7, (*name(1)).clone(), 0, 1).unwrap();
    let told = loop {
        // Before the first block is there, there is no log.
        match to_b.recv_timeout(LONG).unwrap() {
            LogNews::Followed { key: 7, news: FollowedLog::Lost } => {
                b.control().follow(7, (*name(1)).clone(), 0, 1).unwrap();
            }
            told => break told,
        }
    };
    let LogNews::Followed { key: 7, news: FollowedLog::Blocks(blocks) } = told else { panic!("{told:?}") };
    assert_eq!(blocks.iter().map(|block| block.first).collect::<Vec<_>>(), [1]);
    // Nothing more is written: a hold tells that somebody follows.
    let watched = LogNews::Watched { name: name(1), followed: true };
    assert_eq!(to_a.recv_timeout(LONG).unwrap(), watched);
    let owned = store.read_log(&name(1), 99).unwrap().unwrap().owner.unwrap();
    assert_eq!(owned.epoch, a.control().owner());
    // The record is of an owner with a greater epoch.
    store.store_event_ids_batch(&[(name(1), Write::Cursor(record(1_000, 9)))]).unwrap();
    while store.next_epoch().unwrap() < 1_000 {}
    let slot = writer.take(name(1)).unwrap();
    writer.publish(slot, &Cursor { sequence: 3, id: EventId::from_bytes(b"new").unwrap(), at: Tick::ZERO });
    b.control().append_log(append(1, 2, Some(1))).unwrap();
    // Its own follower still counts as one.
    let mut news = std::iter::from_fn(|| to_b.recv_timeout(LONG).ok());
    let told = news.find(|news| matches!(news, LogNews::Followed { .. }));
    assert_eq!(told, Some(LogNews::Followed { key: 7, news: FollowedLog::OwnerGone }));
    assert_eq!(to_a.recv_timeout(LONG).unwrap(), LogNews::TakenOver { name: name(1) });
    let (done, wait) = unbounded();
    let stored = |store: &mut Shared| store.get_last_event_id(&name(1)).unwrap().unwrap();
    while stored(&mut store).epoch <= 1_000 {
        let done = done.clone();
        b.control().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
        wait.recv_timeout(LONG).unwrap();
    }
    assert_eq!((stored(&mut store).sequence, stored(&mut store).id.as_bytes()), (3, &b"new"[..]));
    // A clean end gives the log up.
    assert!(!b.shutdown(Span::from_secs(60)).hung && !a.shutdown(Span::from_secs(60)).hung);
    let left: StreamName = (*name(1)).clone();
    assert_eq!(store.read_log(&left, 99).unwrap().unwrap().owner, None);
}
