//! The sweep: removes from the store what nobody has used for long.
//!
//! In: the store, a page of it at a time; the slots. Out: records and logs removed.
//! Laws: each step looks at a bounded number of records; a record goes only if its last activity is too long ago when it
//! is removed, and no stream that lives now has its name; what an interrupted step leaves is found by the next round.
//!
//! Most records go by tombstones. What is left is of sessions that were evicted, of processes before this one, and of
//! removals that found no place.

use crate::base::{Span, StreamName, Tick};
use crate::slot::{Phase, Survey};
use crate::store::{LogStore, LogWrite, Outcome, SessionStore, StoreError, Write};
use std::collections::HashSet;
use std::sync::Arc;

/// Records or logs of one step.
const PAGE: usize = 256;

/// From the opening of the store to the first step, and between two rounds, in pauses.
const FIRST: u64 = 60;
const REST: u64 = 600;
/// From a write that found the store full to the next step.
const SOON: u64 = 1;

/// Goes round through the store.
#[derive(Debug)]
pub(super) struct Sweep {
    idle: Span,
    pause: Span,
    at: Tick,
    place: Place,
}

/// Behind which name the next step begins.
#[derive(Debug)]
enum Place {
    Records(Option<StreamName>),
    Logs(Option<StreamName>),
}

/// What a step has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Swept {
    pub(super) records: u64,
    pub(super) logs: u64,
}

/// The store's writing half, as a step needs it.
pub(super) struct Shelves<'s> {
    pub(super) sessions: &'s mut dyn SessionStore,
    pub(super) logs: Option<&'s mut (dyn LogStore + 'static)>,
}

impl Sweep {
    /// Removes what was last active more than `idle` ago; steps are `pause` apart.
    pub(super) fn new(idle: Span, pause: Span, now: Tick) -> Self {
        Self { idle, pause, at: now + pause.times(FIRST), place: Place::Records(None) }
    }

    /// When the next step is due; `None`: nothing ever goes.
    pub(super) fn due(&self) -> Option<Tick> {
        (self.idle < Span::MAX).then_some(self.at)
    }

    /// The store is full: what may go is looked for soon.
    pub(super) fn hasten(&mut self, now: Tick) {
        self.at = self.at.min(now + self.pause.times(SOON));
    }

    /// Looks at the next page and removes what may go. `now_ms` is `now` by the calendar.
    pub(super) fn step(
        &mut self,
        shelves: Shelves<'_>,
        survey: &Survey,
        now: Tick,
        now_ms: u64,
    ) -> Result<Swept, StoreError> {
        // Also after an error, so that a store that fails is not asked at once again.
        self.at = now + self.pause;
        let before_ms = now_ms.saturating_sub(self.idle.millis());
        match &self.place {
            Place::Records(after) => {
                let (last, swept) = sweep_records(shelves, survey, after.as_ref(), before_ms)?;
                self.place = last.map_or(Place::Logs(None), |last| Place::Records(Some(last)));
                Ok(swept)
            }
            Place::Logs(after) => {
                let (last, swept) = sweep_logs(shelves, survey, after.as_ref(), before_ms)?;
                if last.is_none() {
                    self.at = now + self.pause.times(REST);
                }
                self.place = last.map_or(Place::Records(None), |last| Place::Logs(Some(last)));
                Ok(swept)
            }
        }
    }
}

/// The last name of a page, if another page may follow.
fn last_of<T>(page: &[(StreamName, T)]) -> Option<StreamName> {
    page.last().filter(|_| page.len() >= PAGE).map(|(name, _)| name.clone())
}

fn sweep_records(
    shelves: Shelves<'_>,
    survey: &Survey,
    after: Option<&StreamName>,
    before_ms: u64,
) -> Result<(Option<StreamName>, Swept), StoreError> {
    let page = shelves.sessions.scan(after, PAGE)?;
    let last = last_of(&page);
    let old = page.into_iter().filter(|(_, cursor)| cursor.last_seen_ms < before_ms).map(|(name, _)| name);
    let old = without_live(old.collect(), survey);
    if old.is_empty() {
        return Ok((last, Swept::default()));
    }
    let items: Vec<_> = old.into_iter().map(|name| (Arc::new(name), Write::Expire { before_ms })).collect();
    let results = shelves.sessions.store_event_ids_batch(&items)?;
    // An item that failed stays for the next round.
    let gone = items.into_iter().zip(results).filter(|(_, result)| *result == Ok(Outcome::Written));
    let gone: Vec<_> = gone.map(|((name, _), _)| LogWrite::Remove { name }).collect();
    if let Some(logs) = shelves.logs.filter(|_| !gone.is_empty()) {
        logs.write_logs(&gone)?;
    }
    Ok((last, Swept { records: gone.len() as u64, logs: 0 }))
}

/// Logs go with their records; here go those that were left alone.
fn sweep_logs(
    shelves: Shelves<'_>,
    survey: &Survey,
    after: Option<&StreamName>,
    before_ms: u64,
) -> Result<(Option<StreamName>, Swept), StoreError> {
    let Some(logs) = shelves.logs else { return Ok((None, Swept::default())) };
    let page = logs.scan_logs(after, PAGE)?;
    let last = last_of(&page);
    let old = page.into_iter().filter(|(_, at_ms)| *at_ms < before_ms).map(|(name, _)| name);
    let mut alone = Vec::new();
    for name in without_live(old.collect(), survey) {
        if shelves.sessions.get_last_event_id(&name)?.is_none() {
            alone.push(LogWrite::Remove { name: Arc::new(name) });
        }
    }
    if alone.is_empty() {
        return Ok((last, Swept::default()));
    }
    let results = logs.write_logs(&alone)?;
    Ok((last, Swept { records: 0, logs: results.iter().filter(|result| result.is_ok()).count() as u64 }))
}

/// Takes out the names of streams that live, or have something on its way to the store. A stream that is read shows
/// life, but one without heartbeats may be silent for longer than any bound.
fn without_live(mut names: HashSet<StreamName>, survey: &Survey) -> HashSet<StreamName> {
    if !names.is_empty() {
        for (_, published) in survey.published().filter(|(_, published)| published.phase != Phase::Removed) {
            names.remove(&*published.name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Cursor, EventId};
    use crate::slot::{SlotWriter, slots};
    use crate::store::{LogBlock, LogBounds, MemoryStore, Record};

    const IDLE: Span = Span::from_secs(100);

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
            sweep: Sweep::new(IDLE, Span::from_secs(1), Tick::ZERO),
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
            let append = LogWrite::Append { name, block: Arc::new(block), meta, bounds };
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
                if matches!(self.sweep.place, Place::Records(None)) {
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
    fn a_step_is_bounded_and_rounds_lie_apart() {
        let mut w = world();
        w.now = Tick::from_millis(1_000_000);
        (0..1_000).for_each(|stream| w.put(stream, 0, 0));
        assert_eq!(w.step().records, PAGE as u64);
        w.round();
        assert!(w.sweep.due().unwrap().since(w.now) >= Span::from_secs(REST));
        w.sweep.hasten(w.now);
        assert_eq!(w.sweep.due(), Some(w.now + Span::from_secs(1)));
        assert_eq!(Sweep::new(Span::MAX, Span::from_secs(1), w.now).due(), None);
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
        assert!(matches!(w.sweep.place, Place::Records(None)));
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
}
