//! The persister's mind: which slots are due, what a batch holds, what is tried again and when.
//!
//! In: slots that changed, results of batches, ticks. Out: batches; the time to be called next.
//! Laws: there is one batch at a time; each slot waits in one place at most; nothing here waits or reads a clock.
//!
//! ```text
//! clean --change--> waiting (wheel) --window ends--> in the batch --written--> clean, or waiting if it changed again
//!                                                          |  ^
//!                                                       failed |
//!                                                          v  | next attempt
//!                                                     failed (heap)
//! ```
//!
//! Changes while a slot waits cost nothing: the batch reads the slot when it is made. Changes while the slot is in the
//! batch are noted, and the slot waits again once the store has answered.
//!
//! Windows begin and end for all slots together, so that what changed within one is written by one commit: with windows
//! of their own, a hundred streams would cost nearly as many commits as records. A slot is written at most once a
//! window, and a change waits for at most one.
//!
//! A stream's record may be removed through another slot than the stream had, when the stream retired before. Its own
//! slot, if that still waits, is then not written any more: a late attempt would bring a dead record back. And where a
//! stream goes on under the name of one that was removed, a removal that still waits is not made any more: a late
//! attempt would take the record of a living stream.

mod changes;
mod entry;
mod stats;

use super::breaker::Breaker;
use super::config::WorkerConfig;
use crate::base::{Pages, Random, Span, StreamName, Tick};
use crate::slot::{Phase, Published, SlotDrain, SlotKey};
use crate::store::{Outcome, Record, StoreError, Write};
use crate::timer::{RetryHeap, Wheel};
use changes::{Change, Changes};
use entry::{Entry, State};
use stats::Stats;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The longest wait between attempts while somebody waits for everything.
const HURRIED: Span = Span::from_millis(50);

/// The longest wait between attempts where a part of the store is away. While it is, an attempt asks nobody.
const PART_AWAY: Span = Span::from_secs(2);

/// Refused cursors that are remembered.
const REFUSED: usize = 10_000;

/// What the batch knows of an item beside what is written.
#[derive(Clone, Copy, Debug)]
struct Item {
    key: SlotKey,
    /// The sequence that was read.
    sequence: u64,
    /// The last activity that was read.
    activity: Tick,
    phase: Phase,
    is_activity_alone: bool,
}

/// Decides what is written when. See the module's page.
pub struct Worker {
    config: WorkerConfig,
    epoch: u64,
    unix_ms_at_zero: u64,
    /// By the index of the slot, which is below the capacity of the slots.
    entries: Pages<Entry>,
    wheel: Wheel<SlotKey>,
    heap: RetryHeap<SlotKey>,
    breaker: Breaker,
    random: Random,
    /// The batch that the store has, and beside it what is known of each item.
    batch: Vec<(Arc<StreamName>, Write)>,
    items: Vec<Item>,
    changes: Changes,
    /// Retired streams with something that is not durable, by name and the index of the slot.
    retired: BTreeSet<(Arc<StreamName>, u32)>,
    /// Removals that are not durable, by name and the index of the slot.
    removals: BTreeSet<(Arc<StreamName>, u32)>,
    /// Epochs of their own, of streams that were taken over from another owner.
    epochs: HashMap<Arc<StreamName>, u64>,
    /// Cursors that were refused a while ago, where streams may be taken over: the word that this happened may come
    /// later.
    refused: HashMap<Arc<StreamName>, SlotKey>,
    /// Slots that are not clean.
    dirty: usize,
    /// Events that were found in the slots and are not durable.
    undurable: u64,
    /// Everything is due at once, whatever its window: somebody waits for it.
    is_hurried: bool,
    stats: Stats,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("dirty", &self.dirty).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker for `capacity` slots. `epoch` is what the store handed out; `unix_ms_at_zero` what the calendar said at
    /// [`Tick::ZERO`].
    pub fn new(config: WorkerConfig, capacity: usize, epoch: u64, unix_ms_at_zero: u64, seed: u64, now: Tick) -> Self {
        Self {
            breaker: Breaker::new(config.breaker_after, config.breaker_for),
            wheel: Wheel::new(capacity, now),
            heap: RetryHeap::new(capacity),
            config,
            epoch,
            unix_ms_at_zero,
            entries: Pages::default(),
            random: Random::new(seed),
            batch: Vec::new(),
            items: Vec::new(),
            changes: Changes::default(),
            retired: BTreeSet::new(),
            removals: BTreeSet::new(),
            epochs: HashMap::new(),
            refused: HashMap::new(),
            dirty: 0,
            undurable: 0,
            is_hurried: false,
            stats: Stats::default(),
        }
    }

    /// The store was opened again and has handed out `epoch`.
    ///
    /// The epoch is taken where nobody else had one in between: cursors of the same streams then only grow, and what
    /// the store has of a batch that was never answered is older. It is taken too where the store is a new one, which
    /// starts with low epochs. But where another owner was there in between, the records that it wrote stay out of this
    /// owner's reach.
    pub fn on_reopened(&mut self, epoch: u64, now: Tick) {
        if epoch <= self.epoch.saturating_add(1) {
            self.epoch = epoch;
        }
        // What the store said before it was closed tells nothing of what it says now.
        self.breaker.on_success();
        self.retry_now(now);
    }
}

/// Streams of other owners.
impl Worker {
    /// A stream was taken over from another owner: its cursors have this epoch from now on, and one that was refused
    /// with an earlier one is written again. Other streams keep theirs: of what others have taken from this owner, no
    /// late cursor may be written.
    pub(super) fn take_over(&mut self, name: Arc<StreamName>, epoch: u64, drain: &SlotDrain, now: Tick) {
        let refused = self.refused.remove(&name);
        self.epochs.insert(name, epoch);
        let Some(key) = refused else { return };
        let entry = self.entries.at(key.index as usize);
        if entry.generation == key.generation && drain.peek(key).is_some() {
            entry.durable = 0;
            if entry.state == State::Clean {
                self.on_change(key, now, true);
            }
        }
    }

    /// The epoch that a stream is written with.
    fn epoch_of(&self, name: &StreamName) -> u64 {
        if self.epochs.is_empty() {
            return self.epoch;
        }
        self.epochs.get(name).map_or(self.epoch, |epoch| self.epoch.max(*epoch))
    }

    /// A stream's cursor was refused.
    fn note_refused(&mut self, name: Arc<StreamName>, key: SlotKey) {
        if self.refused.len() >= REFUSED {
            self.refused.clear();
        }
        self.refused.insert(name, key);
    }
}

/// Changes come in.
impl Worker {
    /// A slot came off the dirty queue. It has changed at `since` at the earliest.
    pub fn on_dirty(&mut self, key: SlotKey, drain: &SlotDrain, since: Tick) {
        let Some((sequence, phase)) = drain.peek(key) else { return };
        if phase != Phase::Live {
            let Some(Published { name, .. }) = drain.read(key) else { return };
            match phase {
                Phase::Removed => {
                    bury(&mut self.entries, &self.retired, &name);
                    self.removals.insert((name, key.index));
                }
                _ => _ = self.retired.insert((name, key.index)),
            }
        }
        let entry = self.entries.at(key.index as usize);
        if entry.generation != key.generation {
            // The stream before was released, so nothing of it waits any more but a timer that will find it gone.
            if entry.state != State::Clean {
                self.dirty -= 1;
            }
            self.undurable = self.undurable.saturating_sub(u64::from(entry.owed));
            *entry = Entry { generation: key.generation, ..Entry::default() };
        }
        if entry.seen == 0
            && phase == Phase::Live
            && !self.removals.is_empty()
            && let Some(Published { name, .. }) = drain.read(key)
        {
            bury(&mut self.entries, &self.removals, &name);
        }
        let entry = self.entries.at(key.index as usize);
        let since = since.max(entry.read_at);
        let is_news = sequence > entry.seen || phase != Phase::Live;
        let events = entry.see(sequence);
        self.stats.changes += events;
        let owed = entry.owed.saturating_add(u32::try_from(events).unwrap_or(u32::MAX));
        self.undurable += u64::from(owed - entry.owed);
        entry.owed = owed;
        self.stats.activity_changes += u64::from(!is_news);
        self.on_change(key, since, is_news);
    }

    /// A slot has changed: it waits, if it does not already.
    fn on_change(&mut self, key: SlotKey, since: Tick, is_news: bool) {
        let entry = self.entries.at(key.index as usize);
        match entry.state {
            State::InBatch { again: None } => {
                let number = self.changes.note(key, since, is_news);
                entry.state = State::InBatch { again: Some((since, number)) };
            }
            State::InBatch { .. } | State::Failed => {}
            State::Waiting(timer) => {
                // An event does not wait for the window of activity.
                let at = self.config.due(since);
                if is_news && self.wheel.deadline(timer).is_some_and(|set| set > at) {
                    self.wheel.cancel(timer);
                    let number = self.changes.note(key, since, true);
                    self.wait(key, at, since, number);
                }
            }
            State::Clean => {
                let at = match is_news {
                    true => self.config.due(since),
                    false => self.config.due(since.max(entry.durable_activity + self.config.activity_window)),
                };
                self.dirty += 1;
                let number = self.changes.note(key, since, is_news);
                self.wait(key, at, since, number);
            }
        }
    }

    /// Puts a slot on the wheel.
    fn wait(&mut self, key: SlotKey, at: Tick, now: Tick, change: u64) {
        let at = if self.is_hurried { now } else { at };
        let entry = self.entries.at(key.index as usize);
        entry.change = change;
        // The wheel has a place for each slot.
        match self.wheel.add(at, key) {
            Ok(timer) => entry.state = State::Waiting(timer),
            Err(_) => self.clean(key),
        }
    }

    /// Nothing of a slot waits any more.
    fn clean(&mut self, key: SlotKey) {
        let entry = self.entries.at(key.index as usize);
        entry.state = State::Clean;
        let left = entry.still_owed();
        self.owe(key, left);
        self.dirty -= 1;
    }

    /// So many events of a slot are still to become durable.
    fn owe(&mut self, key: SlotKey, left: u32) {
        let entry = self.entries.at(key.index as usize);
        self.undurable = self.undurable.saturating_sub(u64::from(entry.owed - left));
        entry.owed = left;
    }
}

/// Batches go out.
impl Worker {
    /// What is to be written now; empty when nothing is due, or the breaker is open. Ask again only after
    /// [`Worker::on_result`].
    pub fn next_batch(&mut self, drain: &mut SlotDrain, store_likes: usize, now: Tick) -> &[(Arc<StreamName>, Write)] {
        self.batch.clear();
        self.items.clear();
        let likes = if self.config.batch == 0 { store_likes } else { self.config.batch };
        let limit = self.breaker.allows(likes.max(1), now);
        while self.batch.len() < limit
            && let Some((key, is_retry)) = self.next_due(now)
        {
            self.add(key, is_retry, drain, now);
        }
        &self.batch
    }

    /// The next slot that is due, and whether it is tried again.
    fn next_due(&mut self, now: Tick) -> Option<(SlotKey, bool)> {
        // In turn, so that those that failed do not keep others waiting, nor the other way round.
        let retry = if self.batch.len().is_multiple_of(2) { self.heap.pop_due(now) } else { None };
        if let Some((key, _)) = retry {
            return Some((key, true));
        }
        match self.wheel.poll(now) {
            Some(key) => Some((key, false)),
            None => self.heap.pop_due(now).map(|(key, _)| (key, true)),
        }
    }

    /// Reads a slot that is due and adds it to the batch, if there is something to write.
    fn add(&mut self, key: SlotKey, is_retry: bool, drain: &mut SlotDrain, now: Tick) {
        let entry = self.entries.at(key.index as usize);
        let is_due = matches!((entry.state, is_retry), (State::Failed, true) | (State::Waiting(_), false));
        if entry.generation != key.generation || !is_due {
            return;
        }
        let Some(published) = drain.read(key) else { return self.clean(key) };
        let activity = drain.last_seen(key).unwrap_or(Tick::ZERO);
        let Some(write) = self.write_for(key, &published, activity) else {
            self.clean(key);
            if published.phase != Phase::Live {
                self.release(key, &published.name, drain);
            }
            return;
        };
        let sequence = published.cursor.as_ref().map_or(0, |cursor| cursor.sequence);
        let is_activity_alone = matches!(write, Write::Activity { .. });
        let entry = self.entries.at(key.index as usize);
        (entry.state, entry.read_at) = (State::InBatch { again: None }, now);
        self.stats.retries += u64::from(is_retry);
        self.stats.changes += entry.see(sequence);
        self.items.push(Item { key, sequence, activity, phase: published.phase, is_activity_alone });
        self.batch.push((published.name, write));
    }

    /// What is to be written of a slot in which this was read; `None`: the store has it all.
    fn write_for(&mut self, key: SlotKey, published: &Published, activity: Tick) -> Option<Write> {
        let entry = self.entries.at(key.index as usize);
        let (durable, durable_activity, is_buried) = (entry.durable, entry.durable_activity, entry.is_buried);
        let last_seen_ms = self.unix_ms_at_zero.saturating_add(activity.micros() / 1_000);
        match (published.phase, &published.cursor) {
            _ if is_buried => None,
            (Phase::Removed, cursor) => {
                let sequence = cursor.as_ref().map_or(u64::MAX, |cursor| cursor.sequence);
                Some(Write::Remove { epoch: self.epoch_of(&published.name), sequence })
            }
            (Phase::Live | Phase::Retired, Some(cursor)) if cursor.sequence > durable => {
                let (sequence, id) = (cursor.sequence, cursor.id.clone());
                Some(Write::Cursor(Record { epoch: self.epoch_of(&published.name), sequence, id, last_seen_ms }))
            }
            (Phase::Live | Phase::Retired, Some(_)) if activity > durable_activity => {
                Some(Write::Activity { last_seen_ms })
            }
            _ => None,
        }
    }

    /// A stream's slot has been written to its end: it may be given to another stream.
    fn release(&mut self, key: SlotKey, name: &Arc<StreamName>, drain: &mut SlotDrain) {
        let entry = (Arc::clone(name), key.index);
        self.retired.remove(&entry);
        self.removals.remove(&entry);
        if !self.epochs.is_empty() {
            self.epochs.remove(name);
        }
        if !self.refused.is_empty() {
            self.refused.remove(name);
        }
        self.owe(key, 0);
        drain.release(key);
    }
}

/// Results come back.
impl Worker {
    /// What became of the batch: a result for each item, or none. True when that opened the breaker.
    pub fn on_result(
        &mut self,
        result: Result<&[Result<Outcome, StoreError>], &StoreError>,
        drain: &mut SlotDrain,
        now: Tick,
    ) -> bool {
        let has_opened = match result {
            Ok(_) => {
                if self.breaker.on_success() {
                    self.retry_now(now);
                }
                false
            }
            Err(_) => {
                self.stats.failures += 1;
                self.breaker.on_failure(now)
            }
        };
        for at in 0..self.items.len() {
            let Item { key, phase, .. } = self.items[at];
            match result.map(|results| results.get(at)) {
                Ok(Some(Ok(outcome))) => self.on_stored(at, *outcome, drain, now),
                // What is gone makes no place for what lives: it would wait for ever, and its slot with it.
                Ok(Some(Err(StoreError::Full { .. }))) if phase == Phase::Retired => {
                    self.stats.failures += 1;
                    self.stats.given_up += 1;
                    self.give_up(at, drain);
                }
                Ok(Some(Err(e))) => {
                    self.stats.failures += 1;
                    let most = if e.is_of_a_part() { PART_AWAY } else { Span::MAX };
                    self.fail(key, most, now);
                }
                Ok(None) => {
                    self.stats.failures += 1;
                    self.fail(key, Span::MAX, now);
                }
                Err(_) => self.fail(key, Span::MAX, now),
            }
        }
        self.batch.clear();
        self.items.clear();
        has_opened
    }

    /// The store has taken the item at this place of the batch.
    fn on_stored(&mut self, at: usize, outcome: Outcome, drain: &mut SlotDrain, now: Tick) {
        let Item { key, sequence, activity, phase, is_activity_alone } = self.items[at];
        match (outcome, is_activity_alone) {
            (Outcome::Written, false) => self.stats.cursor_records += 1,
            (Outcome::Written, true) => self.stats.activity_records += 1,
            (Outcome::Stale, false) => self.stats.fenced += 1,
            (Outcome::Stale, true) => {}
        }
        let entry = self.entries.at(key.index as usize);
        let again = if let State::InBatch { again } = entry.state { again } else { None };
        entry.attempts = 0;
        entry.durable = entry.durable.max(sequence);
        entry.durable_activity = entry.durable_activity.max(activity);
        self.clean(key);
        drain.note_durable(key, sequence);
        if phase != Phase::Live {
            let name = Arc::clone(&self.batch[at].0);
            self.release(key, &name, drain);
        } else {
            if self.config.shared && outcome == Outcome::Stale && !is_activity_alone {
                self.note_refused(Arc::clone(&self.batch[at].0), key);
            }
            let Some((since, change)) = again else { return };
            let is_news = drain.peek(key).is_some_and(|(now, phase)| now > sequence || phase != Phase::Live);
            let at = if is_news { since } else { since + self.config.activity_window };
            self.dirty += 1;
            self.wait(key, self.config.due(at), now, change);
        }
    }

    /// The item at this place of the batch is not tried again.
    fn give_up(&mut self, at: usize, drain: &mut SlotDrain) {
        let (key, name) = (self.items[at].key, Arc::clone(&self.batch[at].0));
        self.clean(key);
        self.release(key, &name, drain);
    }

    /// The slot's record was not written: it is tried again, after `most` at the latest.
    fn fail(&mut self, key: SlotKey, most: Span, now: Tick) {
        let random = self.random.next();
        let entry = self.entries.at(key.index as usize);
        if let State::InBatch { again: Some((_, change)) } = entry.state {
            // The next attempt carries both changes: what waits is the older one.
            entry.change = entry.change.min(change);
        }
        entry.state = State::Failed;
        let delay = self.config.retry.at_most(most).delay(entry.attempts, random);
        let delay = if self.is_hurried { delay.min(HURRIED) } else { delay };
        entry.attempts = entry.attempts.saturating_add(1);
        // The heap has a place for each slot.
        if self.heap.push(now + delay, key, entry.attempts).is_err() {
            self.clean(key);
        }
    }
}

/// Hurry, deadlines, numbers.
impl Worker {
    /// Makes everything due at once, and whatever comes from now on, until [`Worker::relax`].
    pub fn hurry(&mut self, now: Tick) {
        self.is_hurried = true;
        for index in 0..self.entries.end() {
            if let Some(entry) = self.entries.get_mut(index)
                && let State::Waiting(timer) = entry.state
                && let Some(key) = self.wheel.cancel(timer)
                && let Ok(timer) = self.wheel.add(now, key)
            {
                entry.state = State::Waiting(timer);
            }
        }
        self.retry_now(now);
    }

    /// Makes everything due that has failed: what was in the way is gone.
    pub fn retry_now(&mut self, now: Tick) {
        while let Some((key, _)) = self.heap.pop_due(Tick::NEVER) {
            let entry = self.entries.at(key.index as usize);
            if entry.generation == key.generation && entry.state == State::Failed {
                let change = entry.change;
                self.wait(key, now, now, change);
            }
        }
    }

    /// Whether anything waits that has failed.
    pub fn has_failed(&self) -> bool {
        !self.heap.is_empty()
    }

    /// Goes back to windows.
    pub fn relax(&mut self) {
        self.is_hurried = false;
    }

    /// When [`Worker::next_batch`] will have something, at the earliest. `None`: when a slot changes.
    pub fn next_deadline(&self) -> Option<Tick> {
        let due = [self.wheel.next_deadline(), self.heap.next_deadline()].into_iter().flatten().min()?;
        Some(self.breaker.probe_at().map_or(due, |probe| due.max(probe)))
    }

    /// The number of the change that was found last: everything up to it is durable once [`Worker::oldest`] is greater.
    pub fn newest(&self) -> u64 {
        self.changes.newest()
    }

    /// The number of the oldest change that is not durable; `None` when all are.
    pub fn oldest(&mut self) -> Option<u64> {
        self.settle();
        self.changes.oldest()
    }

    /// When the oldest change of a cursor was made that is not durable, at the earliest.
    pub fn unflushed_since(&mut self) -> Option<Tick> {
        self.settle();
        self.changes.oldest_cursor()
    }

    /// Passes over the changes that were written since.
    fn settle(&mut self) {
        let entries = &self.entries;
        self.changes.settle(self.dirty, |change| waits(entries, change));
    }

    /// Slots with something that is not durable.
    pub fn dirty(&self) -> usize {
        self.dirty
    }

    /// Events that were found in the slots and are not durable: how far the durable mark is behind the delivered one, in
    /// all streams together.
    pub fn undurable(&self) -> u64 {
        self.undurable
    }

    /// Changes of activity alone that wait.
    pub fn quiet(&self) -> usize {
        self.changes.activity()
    }

    /// Whether the breaker is open.
    pub fn is_breaker_open(&self) -> bool {
        self.breaker.probe_at().is_some()
    }

    /// What a slot costs the worker at most, in bytes: its entry, and its place on the wheel or the heap.
    pub const fn bytes_a_slot() -> usize {
        size_of::<Entry>() + size_of::<crate::timer::Entry<SlotKey>>()
    }

    /// What was counted since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// The slots of this name on a list write nothing any more. What ended comes off the queue before what comes after it
/// under the same name, so none is missed.
fn bury(entries: &mut Pages<Entry>, list: &BTreeSet<(Arc<StreamName>, u32)>, name: &Arc<StreamName>) {
    let all = (Arc::clone(name), 0)..=(Arc::clone(name), u32::MAX);
    for (_, index) in list.range(all) {
        entries.at(*index as usize).is_buried = true;
    }
}

/// Whether a change is still the one that its slot waits with.
fn waits(entries: &Pages<Entry>, change: &Change) -> bool {
    let entry = entries.get(change.key.index as usize);
    entry.is_some_and(|entry| entry.generation == change.key.generation && entry.waits_with(change.number))
}
