//! The writing half of an opened store, and one batch at a time on its way into it.
//!
//! In: what the worker says is due, log blocks off their queue, the slots' names. Out: calls to the store, and what
//! became of each of them.
//! Law: what the store answers goes to the worker, the queue and the sweep before anybody else hears of it.

use super::logs::{Fate, LogQueue};
use super::owning::Owning;
use super::sweep::{Shelves, Sweep, Swept};
use super::worker::Worker;
use crate::base::{Span, StreamName, Tick};
use crate::clock::Clock;
use crate::slot::{SlotDrain, Survey};
use crate::store::{LogOutcome, LogStore, Outcome, SessionStore, StoreError, Write};
use std::sync::Arc;

/// Leases that are given up at a time.
const GIVEN_UP: usize = 2_048;

/// How often the store does what it has put off, in pauses of the sweep.
const SETTLE: u64 = 30;

/// See the module's page.
pub(super) struct Writing {
    pub(super) worker: Worker,
    sessions: Box<dyn SessionStore>,
    logs: Option<Box<dyn LogStore>>,
    /// How many records a batch has, as the store likes it.
    batch_limit: usize,
    /// When log blocks are written next.
    logs_at: Tick,
    /// Batches of log blocks in a row that failed.
    log_tries: u32,
    /// A part of the store was away at the last attempt to write to it.
    has_part_away: bool,
    sweep: Sweep,
    survey: Survey,
    /// The pause between two times that the store does what it has put off, and when the next one comes.
    settle_pause: Span,
    settle_at: Tick,
}

/// What became of a batch of cursors.
pub(super) struct CursorBatch {
    /// Records in it.
    pub(super) size: usize,
    /// When the batch was begun, the store was called, and it had answered.
    pub(super) began: Tick,
    pub(super) called: Tick,
    pub(super) answered: Tick,
    /// Whether the store answered for each record.
    pub(super) is_answered: bool,
    /// How many cursors and removals were left aside for records that are as new or newer, and the name of one of them.
    pub(super) fenced: Option<(usize, Arc<StreamName>)>,
    /// The first failure, of a record or of the whole batch.
    pub(super) trouble: Option<StoreError>,
    /// The failure opened the breaker.
    pub(super) opened_breaker: bool,
}

/// What became of a batch of log blocks.
pub(super) struct LogBatch {
    /// Items in it.
    pub(super) size: usize,
    /// Items that were written.
    pub(super) written: u64,
    /// Items that were refused, since another process has the log.
    pub(super) fenced: u64,
    /// Blocks that are not tried again.
    pub(super) dropped: u64,
    /// The store had no place for a log.
    pub(super) is_full: bool,
    /// The first failure besides.
    pub(super) trouble: Option<StoreError>,
}

impl Writing {
    /// The half of a store that was opened just now.
    pub(super) fn new(
        sessions: Box<dyn SessionStore>,
        logs: Option<Box<dyn LogStore>>,
        worker: Worker,
        sweep: Sweep,
        survey: Survey,
    ) -> Self {
        Self {
            batch_limit: sessions.batch_limit(),
            settle_pause: sweep.pause().times(SETTLE),
            settle_at: Tick::ZERO,
            worker,
            sessions,
            logs,
            logs_at: Tick::ZERO,
            log_tries: 0,
            has_part_away: false,
            sweep,
            survey,
        }
    }

    /// Writes a batch of cursors. `None`: none is due.
    pub(super) fn write_cursors(&mut self, drain: &mut SlotDrain, clock: Clock) -> Option<CursorBatch> {
        let begun = clock.now();
        let batch = self.worker.next_batch(drain, self.batch_limit, begun);
        if batch.is_empty() {
            return None;
        }
        let (size, called) = (batch.len(), clock.now());
        let result = self.sessions.store_event_ids_batch(batch);
        let now = clock.now();
        let fenced = fenced(batch, result.as_deref().unwrap_or_default());
        let opened_breaker = self.worker.on_result(result.as_deref(), drain, now);
        let is_answered = result.is_ok();
        let trouble = match result {
            Ok(results) => first(results.into_iter().filter_map(Result::err)),
            Err(e) => Some(e),
        };
        self.has_part_away |= trouble.as_ref().is_some_and(StoreError::is_of_a_part);
        if matches!(trouble, Some(StoreError::Full { .. })) {
            self.sweep.hasten(now);
        }
        Some(CursorBatch { size, began: begun, called, answered: now, is_answered, fenced, trouble, opened_breaker })
    }

    /// Has what failed for a part of the store that was away tried again once that is back. True while one is away.
    pub(super) fn look_after_parts(&mut self, queue: &mut LogQueue, now: Tick) -> bool {
        if !self.has_part_away {
            return false;
        }
        if self.sessions.has_recovered() {
            self.worker.retry_now(now);
        }
        let logs_recovered = self.logs.as_mut().is_some_and(|logs| logs.has_recovered());
        queue.retry_held(logs_recovered, now);
        self.has_part_away = self.worker.has_failed() || queue.holds_back();
        self.has_part_away
    }

    /// When log blocks may be written next; `None`: the store keeps none.
    pub(super) fn logs_at(&self) -> Option<Tick> {
        self.logs.is_some().then_some(self.logs_at)
    }

    /// Writes the next batch of log blocks. Where the store keeps no logs, the blocks are dropped.
    pub(super) fn write_logs(&mut self, queue: &mut LogQueue, owning: &mut Owning, now: Tick) -> Option<LogBatch> {
        let batch = queue.next_batch();
        owning.sign(batch);
        let Some(store) = &mut self.logs else {
            let none = batch.len();
            queue.on_written(std::iter::repeat_n(Fate::Written, none));
            return None;
        };
        let size = batch.len();
        let result = store.write_logs(batch);
        let fate = |result: &Result<LogOutcome, StoreError>| match result {
            Ok(LogOutcome::Written { .. }) => Fate::Written,
            Ok(LogOutcome::Fenced) => Fate::Fenced,
            Err(StoreError::Full { .. }) => Fate::NoPlace,
            Err(e) if e.is_of_a_part() => Fate::PartAway,
            Err(_) => Fate::Failed,
        };
        for (write, result) in batch.iter().zip(result.iter().flatten()) {
            if let Ok(outcome) = result {
                owning.on_written(write, *outcome, now);
            }
        }
        let fates: Vec<Fate> = result.iter().flatten().map(fate).collect();
        let trouble = match result {
            Ok(results) => {
                first(results.into_iter().filter_map(Result::err).filter(|e| !matches!(e, StoreError::Full { .. })))
            }
            Err(e) => Some(e),
        };
        self.has_part_away |= fates.contains(&Fate::PartAway);
        let of = |kind| fates.iter().filter(|fate| **fate == kind).count() as u64;
        let (written, fenced) = (of(Fate::Written), of(Fate::Fenced));
        let is_full = fates.contains(&Fate::NoPlace);
        if is_full {
            self.sweep.hasten(now);
        }
        Some(LogBatch { size, written, fenced, dropped: queue.on_written(fates.into_iter()), is_full, trouble })
    }

    /// Has the store hand out a new epoch for the cursors of logs that were taken over: the owner before may have had a
    /// greater one than this process, and then the store would refuse them for ever.
    pub(super) fn renew_epochs(
        &mut self,
        owning: &mut Owning,
        drain: &mut SlotDrain,
        now: Tick,
    ) -> Result<(), StoreError> {
        if owning.taken().is_empty() {
            return Ok(());
        }
        let epoch = self.sessions.next_epoch()?;
        for name in owning.taken().drain(..) {
            self.worker.take_over(name, epoch, drain, now);
        }
        Ok(())
    }

    /// Gives up the leases of all logs that are this process's. What fails of that ends with the leases.
    pub(super) fn give_up_logs(&mut self, owning: &mut Owning) -> Result<(), StoreError> {
        let items = owning.give_up();
        let Some(store) = &mut self.logs else { return Ok(()) };
        items.chunks(GIVEN_UP).try_for_each(|items| store.write_logs(items).map(drop))
    }

    /// Notes whether log blocks failed, and puts the next batch off: `delay` says for how long after so many failures.
    pub(super) fn pace_logs(&mut self, failed: bool, window: Span, now: Tick, delay: impl FnOnce(u32) -> Span) {
        self.log_tries = if failed { self.log_tries + 1 } else { 0 };
        let wait = if failed { delay(self.log_tries).max(window) } else { window };
        self.logs_at = now + wait;
    }

    /// When the store does next what it has put off; `None`: there is nothing, or the breaker is open.
    pub(super) fn settle_due(&self) -> Option<Tick> {
        (!self.sessions.is_settled() && !self.worker.is_breaker_open()).then_some(self.settle_at)
    }

    /// Has the store do what it has put off, for what is quiet or for all.
    pub(super) fn settle(&mut self, all: bool, now: Tick) -> Result<(), StoreError> {
        // Set before anything can fail, so that a failing store is not asked again at once.
        self.settle_at = now + self.settle_pause;
        self.sessions.settle(all)
    }

    /// When the sweep takes its next step; `None`: it takes none while the breaker is open, or at all.
    pub(super) fn sweep_due(&self) -> Option<Tick> {
        self.sweep.due().filter(|_| !self.worker.is_breaker_open())
    }

    /// Takes a step of the sweep. `now_ms` is `now` by the calendar.
    pub(super) fn sweep(&mut self, now: Tick, now_ms: u64) -> Result<Swept, StoreError> {
        let shelves = Shelves { sessions: &mut *self.sessions, logs: self.logs.as_deref_mut() };
        self.sweep.step(shelves, &self.survey, now, now_ms)
    }
}

/// The first of these errors; of a part of the store that is away only where there is no other.
fn first(mut errors: impl Iterator<Item = StoreError>) -> Option<StoreError> {
    let first = errors.next()?;
    if !first.is_of_a_part() {
        return Some(first);
    }
    Some(errors.find(|e| !e.is_of_a_part()).unwrap_or(first))
}

/// How many cursors and removals of a batch the store left aside for what it has, and the name of one.
fn fenced(
    batch: &[(Arc<StreamName>, Write)],
    results: &[Result<Outcome, StoreError>],
) -> Option<(usize, Arc<StreamName>)> {
    let is_fenced = |(_, write): &&(Arc<StreamName>, Write)| !matches!(write, Write::Activity { .. });
    let stale = batch.iter().zip(results).filter(|(_, result)| **result == Ok(Outcome::Stale)).map(|(item, _)| item);
    let mut stale = stale.filter(is_fenced);
    let (name, _) = stale.next()?;
    Some((1 + stale.count(), Arc::clone(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fenced_is_told_by_number_and_name() {
        let item = |stream, write| (Arc::new(StreamName { session: b"s"[..].into(), stream }), write);
        let (remove, activity) = (Write::Remove { epoch: 1, sequence: 1 }, Write::Activity { last_seen_ms: 1 });
        let batch = [item(1, activity), item(2, remove.clone()), item(3, remove.clone()), item(4, remove)];
        let (stale, written) = (Ok(Outcome::Stale), Ok(Outcome::Written));
        let found = fenced(&batch, &[stale.clone(), written, stale.clone(), stale]);
        assert_eq!(found.map(|(count, name)| (count, name.stream)), Some((2, 3)));
        assert_eq!(fenced(&batch, &[]), None);
    }
}
