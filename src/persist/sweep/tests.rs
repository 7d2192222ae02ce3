//! The sweep over a store in memory, with a clock of the test's own.

use super::*;
use crate::base::{Cursor, EventId};
use crate::slot::{SlotWriter, slots};
use crate::store::{LogBlock, LogBounds, MemoryStore, Record};

const IDLE: Span = Span::from_secs(100);

/// Records that may stay.
const MOST: u64 = 2_500;

struct World {
    sweep: Sweep,
    records: MemoryStore,
    logs: MemoryStore,
    writer: SlotWriter,
    survey: Survey,
    now: Tick,
}

fn world() -> World {
    let (writer, drain) = slots(10);
    World {
        sweep: Sweep::new(IDLE, MOST, Span::from_secs(1), Tick::ZERO),
        records: MemoryStore::new(10_000),
        logs: MemoryStore::new(10_000),
        writer,
        survey: drain.survey(),
        now: Tick::ZERO,
    }
}

fn name(stream: u64) -> StreamName {
    StreamName { session: b"s"[..].into(), stream }
}

#[test]
fn a_cursor_that_a_user_has_named_stays_whatever_its_age_and_however_many_records_there_are() {
    let mut w = world();
    let id = EventId::from_bytes(b"1").unwrap();
    let named = StreamName { session: b"tail orders"[..].into(), stream: 0 };
    w.records.store_last_event_id(&named, &Record { epoch: 1, sequence: 1, id, last_seen_ms: 1 }).unwrap();
    (1..=2 * MOST).for_each(|n| w.put(n, 1_000_000, 1_000_000));
    w.now = Tick::from_millis(1_000_000);
    (0..100).for_each(|_| {
        w.step();
    });
    assert!(w.records.get_last_event_id(&named).unwrap().is_some());
    let left = (1..=2 * MOST).filter(|n| w.records.get_last_event_id(&name(*n)).unwrap().is_some()).count();
    assert!((left as u64) <= MOST, "{left}");
}

impl World {
    fn put(&mut self, stream: u64, last_seen_ms: u64, at_ms: u64) {
        let id = EventId::from_bytes(b"1").unwrap();
        let cursor = Record { epoch: 1, sequence: 1, id, last_seen_ms };
        self.records.store_last_event_id(&name(stream), &cursor).unwrap();
        self.put_log(stream, at_ms);
    }

    fn put_log(&mut self, stream: u64, at_ms: u64) {
        let block = LogBlock { first: 1, at_ms, bytes: b"e"[..].into(), ends: [1].into(), hole: false };
        let bounds = LogBounds { events: 9, bytes: 99, age_ms: 9 };
        let (name, meta) = (Arc::new(name(stream)), Arc::from(&b"m"[..]));
        let append = LogWrite::Append { name, block: Arc::new(block), meta, bounds, claim: None };
        self.logs.write_logs(&[append]).unwrap();
    }

    /// One step at its time, which is told by the calendar to begin at 0.
    fn step(&mut self) -> Swept {
        self.now = self.now.max(self.sweep.due().unwrap());
        let shelves = Shelves { sessions: &mut self.records, logs: Some(&mut self.logs) };
        self.sweep.step(shelves, &self.survey, self.now, self.now.micros() / 1_000).unwrap()
    }

    /// Steps until a round is over.
    fn round(&mut self) -> Swept {
        let mut sum = Swept::default();
        loop {
            let Swept { records, logs } = self.step();
            (sum.records, sum.logs) = (sum.records + records, sum.logs + logs);
            if matches!(self.sweep.place, SweepPosition::Records(None)) {
                return sum;
            }
        }
    }
}

#[test]
fn what_was_active_lately_stays_and_the_rest_goes_with_its_log() {
    let mut w = world();
    let now_ms = 1_000_000;
    w.now = Tick::from_millis(now_ms);
    for stream in 0..2_000 {
        let age = if stream % 2 == 0 { IDLE.millis() + 10_000 } else { IDLE.millis() - 60_000 };
        w.put(stream, now_ms - age, now_ms - age);
    }
    assert_eq!(w.round(), Swept { records: 1_000, logs: 0 });
    assert!((0..2_000).all(|n| w.records.get_last_event_id(&name(n)).unwrap().is_some() == (n % 2 == 1)));
    assert!((0..2_000).all(|n| w.logs.read_log(&name(n), 9).unwrap().is_some() == (n % 2 == 1)));
    assert_eq!(w.round(), Swept { records: 1_000, logs: 0 });
    assert!(w.records.is_empty());
}

#[test]
fn of_more_records_than_there_may_be_those_go_that_were_active_longest_ago() {
    let mut w = world();
    w.sweep = Sweep::new(Span::from_secs(1_000_000), MOST, Span::from_secs(1), Tick::ZERO);
    let now_ms = 1_000_000;
    w.now = Tick::from_millis(now_ms);
    (0..9_000).for_each(|stream| w.put(stream, now_ms - 5 * stream, now_ms));
    let found = w.round().records;
    assert_eq!((found, w.records.len()), (0, 9_000), "the first round counts");
    w.round();
    let left = w.records.scan(None, 9_000).unwrap();
    assert!((MOST as usize / 2..=MOST as usize).contains(&left.len()), "{} stay", left.len());
    let youngest = left.len() as u64;
    assert!(left.iter().all(|(name, _)| name.stream < youngest), "the youngest stay");
    // Its logs went along, and the next round finds nothing to do.
    assert_eq!((w.logs.scan_logs(None, 9_000).unwrap().len(), w.round()), (left.len(), Swept::default()));
}

#[test]
fn a_step_is_bounded_and_rounds_lie_apart() {
    let mut w = world();
    w.now = Tick::from_millis(1_000_000);
    (0..1_000).for_each(|stream| w.put(stream, 0, 0));
    assert_eq!(w.step().records, PAGE as u64);
    w.round();
    assert!(w.sweep.due().unwrap().since(w.now) >= Span::from_secs(REST));
    w.sweep.hasten(w.now);
    assert_eq!(w.sweep.due(), Some(w.now + Span::from_secs(1)));
    assert_eq!(Sweep::new(Span::MAX, MOST, Span::from_secs(1), w.now).due(), None);
}

#[test]
fn a_stream_that_lives_keeps_its_record_however_silent_it_is() {
    let mut w = world();
    w.now = Tick::from_millis(1_000_000);
    (0..3).for_each(|stream| w.put(stream, 0, 0));
    let id = EventId::from_bytes(b"1").unwrap();
    let keys = [0, 1].map(|stream| w.writer.take(Arc::new(name(stream))).unwrap());
    for key in keys {
        w.writer.publish(key, &Cursor { sequence: 1, id: id.clone(), at: Tick::ZERO });
    }
    w.writer.retire(keys[1]);
    assert_eq!(w.round(), Swept { records: 1, logs: 0 });
    w.writer.remove(keys[0]);
    assert_eq!((w.round(), w.records.len()), (Swept { records: 1, logs: 0 }, 1));
}

#[test]
fn of_a_store_without_logs_the_records_go() {
    let mut w = world();
    w.now = Tick::from_millis(1_000_000);
    (0..3).for_each(|stream| w.put(stream, 0, 0));
    let mut gone = 0;
    for _ in 0..2 {
        w.now = w.now.max(w.sweep.due().unwrap());
        let shelves = Shelves { sessions: &mut w.records, logs: None };
        let swept = w.sweep.step(shelves, &w.survey, w.now, w.now.micros() / 1_000).unwrap();
        gone += swept.records;
        assert_eq!(swept.logs, 0);
    }
    assert_eq!((gone, w.records.len()), (3, 0));
    assert!(matches!(w.sweep.place, SweepPosition::Records(None)));
}

#[test]
fn a_log_without_a_record_goes_once_it_is_old() {
    let mut w = world();
    let now_ms = 1_000_000;
    w.now = Tick::from_millis(now_ms);
    w.put(1, now_ms, 0);
    w.put_log(2, now_ms);
    w.put_log(3, 0);
    assert_eq!(w.round(), Swept { records: 0, logs: 1 });
    let left = w.logs.scan_logs(None, 9).unwrap();
    assert_eq!(left.iter().map(|(name, _)| name.stream).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn activity_that_came_since_the_page_was_read_saves_the_record() {
    let mut w = world();
    w.put(1, 5, 5);
    let expire = |before_ms| [(Arc::new(name(1)), Write::Expire { before_ms })];
    assert_eq!(w.records.store_event_ids_batch(&expire(5)).unwrap(), [Ok(Outcome::Stale)]);
    assert_eq!(w.records.store_event_ids_batch(&expire(6)).unwrap(), [Ok(Outcome::Written)]);
    assert_eq!(w.records.store_event_ids_batch(&expire(7)).unwrap(), [Ok(Outcome::Stale)]);
}
