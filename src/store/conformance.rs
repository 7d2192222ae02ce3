//! The promises of [`store`](super) as a suite of checks for any store.
//!
//! In: a way to open a store, which is empty at first and keeps what it is given. Out: nothing, or a panic that names
//! the broken promise.
//!
//! ```
//! let memory = segno::store::memory::Shared::new(1_000_000);
//! segno::store::conformance::check(&mut || memory.open());
//! ```
#![allow(clippy::panic, reason = "a broken promise is a failed test")]

mod logs;
mod tools;

use super::log::{LogBlock, LogBounds, LogWrite};
use super::memory::MemoryStore;
use super::opened::Opened;
use super::record::Record;
use super::session::{Outcome, SessionStore, Write};
use crate::base::{EventId, Random, StreamName};
use std::sync::Arc;
use std::time::Duration;
use tools::{block, done, hold, name};

/// Runs the whole suite. `open` is called several times, each time after the last store was dropped, and must give a
/// store with everything that was kept before.
///
/// # Panics
/// When a promise is broken. The message names it.
pub fn check(open: &mut dyn FnMut() -> Opened) {
    epochs_grow(open);
    the_secret_stays(open);
    cursors_never_move_back(open);
    activity_makes_no_record(open);
    removal_is_fenced(open);
    what_expires_was_not_active(open);
    names_come_in_order(open);
    it_does_what_the_memory_store_does(open);
    halves_see_each_other(open);
    logs_keep_to_their_bounds(open);
}

/// Runs the suite of what a store promises besides that shares logs between processes. `open` is as for [`check`]; `pass`
/// lets so much time pass for the store.
///
/// # Panics
/// When a promise is broken. The message names it.
pub fn check_shared(open: &mut dyn FnMut() -> Opened, pass: &mut dyn FnMut(Duration)) {
    logs::check(open, pass);
}

fn cursor(epoch: u64, sequence: u64, last_seen_ms: u64) -> Record {
    let id = EventId::from_bytes(format!("{epoch}-{sequence}").as_bytes());
    Record { epoch, sequence, id: id.unwrap_or_else(|| panic!("a short id")), last_seen_ms }
}

fn write(store: &mut dyn SessionStore, name: &Arc<StreamName>, write: Write) -> Outcome {
    let results = done("writing", store.store_event_ids_batch(&[(Arc::clone(name), write)]));
    hold("a batch has one result an item", results.len(), 1);
    results.into_iter().next().map_or(Outcome::Stale, |result| done("writing an item", result))
}

fn epochs_grow(open: &mut dyn FnMut() -> Opened) {
    let mut last = 0;
    for _ in 0..3 {
        let mut store = open();
        for half in [&mut store.sessions, &mut store.lookup] {
            let epoch = done("asking for an epoch", half.next_epoch());
            assert!(epoch > last, "broken promise: an epoch is greater than all before it: {epoch} after {last}");
            last = epoch;
        }
    }
}

fn the_secret_stays(open: &mut dyn FnMut() -> Opened) {
    let first = done("asking for the secret", open().sessions.secret(u128::MAX - 6));
    for candidate in [0, 9] {
        hold("the secret stays", done("asking for the secret", open().lookup.secret(candidate)), first);
    }
}

fn cursors_never_move_back(open: &mut dyn FnMut() -> Opened) {
    let (promise, n) = ("no write moves a cursor backwards", name(b"back", 1));
    let order = [(2, 5), (2, 5), (2, 4), (1, 9), (2, 6), (3, 1), (2, 7)];
    let expected = [true, false, false, false, true, true, false];
    for ((epoch, sequence), expected) in order.into_iter().zip(expected) {
        let mut store = open();
        let stored = write(&mut *store.sessions, &n, Write::Cursor(cursor(epoch, sequence, 0)));
        hold(promise, stored == Outcome::Written, expected);
    }
    let mut store = open();
    hold(promise, done("storing", store.sessions.store_last_event_id(&n, &cursor(2, 9, 0))), Outcome::Stale);
    hold(promise, done("reading", store.sessions.get_last_event_id(&n)), Some(cursor(3, 1, 0)));
    done("removing", store.sessions.remove(&n));
}

fn activity_makes_no_record(open: &mut dyn FnMut() -> Opened) {
    let (promise, n) = ("activity moves forward and makes no record", name(b"activity", 1));
    let mut store = open();
    let store = &mut *store.sessions;
    hold(promise, write(store, &n, Write::Activity { last_seen_ms: 5 }), Outcome::Stale);
    hold(promise, done("reading", store.get_last_event_id(&n)), None);
    write(store, &n, Write::Cursor(cursor(1, 1, 5)));
    hold(promise, write(store, &n, Write::Activity { last_seen_ms: 4 }), Outcome::Stale);
    hold(promise, write(store, &n, Write::Activity { last_seen_ms: 9 }), Outcome::Written);
    hold(promise, done("reading", store.get_last_event_id(&n)), Some(cursor(1, 1, 9)));
    write(store, &n, Write::Cursor(cursor(1, 2, 7)));
    hold(promise, done("reading", store.get_last_event_id(&n)), Some(cursor(1, 2, 9)));
    done("removing", store.remove(&n));
}

fn removal_is_fenced(open: &mut dyn FnMut() -> Opened) {
    let (promise, n) = ("no removal takes a record that is newer than it", name(b"fence", 1));
    let mut store = open();
    let store = &mut *store.sessions;
    write(store, &n, Write::Cursor(cursor(4, 2, 0)));
    for (epoch, sequence) in [(3, 9), (4, 1), (0, u64::MAX)] {
        hold(promise, write(store, &n, Write::Remove { epoch, sequence }), Outcome::Stale);
        hold(promise, done("reading", store.get_last_event_id(&n)), Some(cursor(4, 2, 0)));
    }
    hold(promise, write(store, &n, Write::Remove { epoch: 4, sequence: 2 }), Outcome::Written);
    hold("a removed record is gone", done("reading", store.get_last_event_id(&n)), None);
    done("removing what is not there", store.remove(&n));
}

fn what_expires_was_not_active(open: &mut dyn FnMut() -> Opened) {
    let (promise, n) = ("an expired record goes only if its last activity is too long ago", name(b"expire", 1));
    let mut store = open();
    let store = &mut *store.sessions;
    hold(promise, write(store, &n, Write::Expire { before_ms: u64::MAX }), Outcome::Stale);
    write(store, &n, Write::Cursor(cursor(9, 1, 5)));
    write(store, &n, Write::Activity { last_seen_ms: 7 });
    hold(promise, write(store, &n, Write::Expire { before_ms: 7 }), Outcome::Stale);
    hold(promise, done("reading", store.get_last_event_id(&n)), Some(cursor(9, 1, 7)));
    hold(promise, write(store, &n, Write::Expire { before_ms: 8 }), Outcome::Written);
    hold("a removed record is gone", done("reading", store.get_last_event_id(&n)), None);
}

fn names_come_in_order(open: &mut dyn FnMut() -> Opened) {
    let promise = "names come in the order of their session's bytes, then the stream's number";
    let mut names = Vec::new();
    for session in [&b""[..], b"a", b"a\0", b"a\0b", b"aa", b"b", b"\xff", b"\xff\xff"] {
        for stream in [0, 1, 255, 256, u64::MAX] {
            names.push(name(session, stream));
        }
    }
    let items: Vec<_> = names.iter().rev().map(|n| (Arc::clone(n), Write::Cursor(cursor(1, 1, 0)))).collect();
    let results = done("writing a batch", open().sessions.store_event_ids_batch(&items));
    hold("a batch has one result an item", results.len(), items.len());
    let mut opened = open();
    let store = &mut *opened.lookup;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = done("scanning", store.scan(after.as_ref(), 7));
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page.into_iter().map(|(n, _)| n));
    }
    let expected: Vec<StreamName> = names.iter().map(|n| (**n).clone()).collect();
    hold(promise, found, expected);
    let of = |store: &mut dyn SessionStore, session: &[u8], limit| -> Vec<u64> {
        done("reading a session", store.session(session, limit)).into_iter().map(|(n, _)| n.stream).collect()
    };
    hold("a session's records are its own", of(store, b"a", 100), vec![0, 1, 255, 256, u64::MAX]);
    hold("a session's records are its own", of(store, b"a\0", 2), vec![0, 1]);
    hold("a session's records are its own", of(store, b"c", 2), vec![]);
    names.iter().for_each(|n| done("removing", opened.sessions.remove(n)));
}

fn it_does_what_the_memory_store_does(open: &mut dyn FnMut() -> Opened) {
    let promise = "any batch does what it does to the memory store";
    let mut random = Random::new(11);
    let mut twin = MemoryStore::new(usize::MAX);
    for _ in 0..30 {
        let mut store = open();
        for _ in 0..4 {
            let mut items = Vec::new();
            for _ in 0..random.below(12) {
                let n = name(if random.below(2) == 0 { b"x" } else { b"y" }, random.below(4));
                let (epoch, sequence, seen) = (1 + random.below(3), 1 + random.below(20), random.below(50));
                items.push(match random.below(7) {
                    6 => (n, Write::Expire { before_ms: seen }),
                    0 => (n, Write::Remove { epoch, sequence }),
                    1 => (n, Write::Activity { last_seen_ms: seen }),
                    _ => (n, Write::Cursor(cursor(epoch, sequence, seen))),
                });
            }
            let results = done("writing a batch", store.sessions.store_event_ids_batch(&items));
            hold(promise, results, done("writing the twin", twin.store_event_ids_batch(&items)));
        }
        hold(promise, done("scanning", store.lookup.scan(None, 100)), done("scanning", twin.scan(None, 100)));
    }
    let mut store = open();
    for (n, _) in done("scanning", twin.scan(None, 100)) {
        done("removing", store.sessions.remove(&n));
    }
}

fn halves_see_each_other(open: &mut dyn FnMut() -> Opened) {
    let n = name(b"halves", 1);
    let mut store = open();
    write(&mut *store.sessions, &n, Write::Cursor(cursor(1, 1, 0)));
    let found = done("looking up", store.lookup.get_last_event_id(&n));
    hold("the half that looks up sees what was acknowledged", found, Some(cursor(1, 1, 0)));
    done("removing", store.sessions.remove(&n));
}

fn logs_keep_to_their_bounds(open: &mut dyn FnMut() -> Opened) {
    if open().logs.is_none() {
        return;
    }
    let (n, other) = (name(b"log", 1), name(b"log", 2));
    let bounds = LogBounds { events: 6, bytes: 1_000, age_ms: 100 };
    let append = |block: Arc<LogBlock>, bounds: LogBounds| {
        [LogWrite::Append { name: Arc::clone(&n), block, meta: Arc::from(&b"meta"[..]), bounds, claim: None }]
    };
    let mut firsts = |items: &[LogWrite]| -> Vec<u64> {
        let mut store = open();
        let Some(mut logs) = store.logs.take() else { return Vec::new() };
        done("writing logs", logs.write_logs(items)).into_iter().for_each(|result| _ = done("writing a block", result));
        let log = done("reading a log", logs.read_log(&n, usize::MAX));
        log.map_or(Vec::new(), |log| log.blocks.iter().map(|block| block.first).collect())
    };
    hold("blocks come in order", firsts(&append(block(1, 2, 0), bounds)), vec![1]);
    hold("blocks come in order", firsts(&append(block(3, 2, 10), bounds)), vec![1, 3]);
    hold("blocks come in order", firsts(&append(block(5, 2, 20), bounds)), vec![1, 3, 5]);
    hold("the bound of events", firsts(&append(block(7, 1, 30), bounds)), vec![3, 5, 7]);
    hold("the bound of age", firsts(&append(block(8, 1, 125), bounds)), vec![7, 8]);
    let few = LogBounds { bytes: 15, ..bounds };
    hold("the bound of bytes", firsts(&append(block(9, 1, 125), few)), vec![9]);
    hold("the newest block stays", firsts(&append(block(20, 50, 900), few)), vec![20]);
    hold("a log is its own", firsts(&[LogWrite::Remove { name: other, claim: None }]), vec![20]);
    let mut store = open();
    let Some(logs) = &mut store.logs else { return };
    done("writing logs", logs.write_logs(&append(block(75, 2, 900), LogBounds { bytes: 9_999, events: 99, ..bounds })));
    let log = done("reading a log", logs.read_log(&n, usize::MAX));
    let holes = log.map(|log| (log.meta, log.blocks.iter().map(|block| block.hole).collect::<Vec<_>>()));
    hold("a hole is stated", holes, Some((Box::from(&b"meta"[..]), vec![false, true])));
    let last = done("reading a part", logs.read_log(&n, 25)).map(|log| log.blocks.len());
    hold("as many bytes as asked for", last, Some(1));
    let listed = done("listing logs", logs.scan_logs(None, 9));
    assert!(
        listed.is_empty() || listed == [((*n).clone(), 900)],
        "broken promise: a log is listed with the time of its newest block: {listed:?}"
    );
    hold("logs are listed behind a name", done("listing logs", logs.scan_logs(Some(&*n), 9)), Vec::new());
    done("removing", logs.write_logs(&[LogWrite::Remove { name: Arc::clone(&n), claim: None }]));
    hold("a removed log is not listed", done("listing logs", logs.scan_logs(None, 9)), Vec::new());
    hold("a removed log is gone", done("reading a log", logs.read_log(&n, 99)), None);
}
