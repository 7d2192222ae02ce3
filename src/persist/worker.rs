//! The persister's mind: which slots are due, what a batch holds, what is tried again and when.
//!
//! In: slots that changed, results of batches, ticks. Out: batches; the time to be called next.
//!
//! A slot is clean, or waits for its window (on the wheel), or for another attempt (on the heap), or flies (in the batch
//! that the store has). Changes while it waits cost nothing: the batch reads the slot when it is made. Changes while it
//! flies are noted, and it waits anew when it has landed.
//!
//! Windows begin and end for all slots together, so that what changed within one is written by one commit: with windows
//! of their own, a hundred streams would cost nearly as many commits as records. A slot is written at most once a window,
//! and a change waits for at most one.
//!
//! A record may be removed through another slot than its stream's, when the stream has retired before. Then its stream's
//! slot, if that waits still, is not written any more: a late attempt would bring a dead record back.

use super::breaker::Breaker;
use crate::base::{Pages, Random, Span, StreamName, Tick};
use crate::slot::{Phase, Published, SlotDrain, SlotKey};
use crate::store::{Outcome, Record, StoreError, Write};
use crate::timer::{Backoff, RetryHeap, TimerKey, Wheel};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What the worker keeps to.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// From one write of what has changed to the next.
    pub window: Span,
    /// Between two writes of a stream that has activity alone.
    pub activity_window: Span,
    /// Records a batch; 0: as many as the store likes.
    pub batch: usize,
    /// Between attempts.
    pub retry: Backoff,
    /// Failed batches in a row before the breaker opens.
    pub breaker_after: u32,
    /// How long it stays open before the store is asked again.
    pub breaker_for: Span,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            window: Span::from_millis(100),
            activity_window: Span::from_secs(5),
            batch: 0,
            retry: Backoff::new(Span::from_millis(50), Span::from_secs(10)),
            breaker_after: 5,
            breaker_for: Span::from_secs(1),
        }
    }
}

impl WorkerConfig {
    /// When the window that lies around this time ends.
    pub(super) fn due(&self, at: Tick) -> Tick {
        let window = self.window.micros();
        match at.micros().checked_div(window) {
            Some(whole) => Tick::from_micros(whole.saturating_add(1).saturating_mul(window)),
            None => at,
        }
    }
}

/// The longest wait between attempts while somebody waits for everything.
const HURRIED: Span = Span::from_millis(50);

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Events that cursors moved on by, each a change of its cursor.
    pub changes: u64,
    /// Times that a slot was found with activity alone.
    pub activity_changes: u64,
    /// Records written for cursors and removals.
    pub cursor_records: u64,
    /// Records written for activity alone.
    pub activity_records: u64,
    /// Records that the store refused, and batches.
    pub failures: u64,
    /// Records tried again.
    pub retries: u64,
    /// Records that a newer owner had written.
    pub fenced: u64,
    /// Last cursors of ended streams that a full store had no place for.
    pub given_up: u64,
}

/// Where a slot is between its change and its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Clean,
    /// On the wheel.
    Waiting(TimerKey<SlotKey>),
    /// On the heap.
    Failed,
    /// In the batch; since when it has changed again, and with which change.
    Flying { again: Option<(Tick, u64)> },
}

/// What the worker knows of a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    generation: u32,
    attempts: u32,
    state: State,
    /// Which change it is waiting with, in the order of all; means something unless clean.
    serial: u64,
    /// Events at the durable mark, and the last sequence that was seen in the slot.
    durable: u64,
    seen: u64,
    /// The last activity that is durable.
    active: Tick,
    /// When it was last read for a batch: what was published before that is in it.
    boarded: Tick,
    /// The stream has retired and its record was removed since through another slot: nothing is written.
    buried: bool,
}

impl Entry {
    /// Notes what is newest in the slot. How many events lie between that and what was seen before; of a stream that was
    /// not seen before, one.
    fn see(&mut self, sequence: u64) -> u64 {
        let before = self.seen;
        self.seen = before.max(sequence);
        if before == 0 { sequence.min(1) } else { self.seen - before }
    }
}

/// A change that was found, its number in the order of all, and when.
#[derive(Clone, Copy, Debug)]
struct Change {
    serial: u64,
    key: SlotKey,
    since: Tick,
}

/// A slot in the batch.
#[derive(Clone, Copy, Debug)]
struct Flight {
    key: SlotKey,
    sequence: u64,
    active: Tick,
    phase: Phase,
    activity_alone: bool,
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
    batch: Vec<(Arc<StreamName>, Write)>,
    flights: Vec<Flight>,
    /// Changes of cursors in the order they were found, each with its time; those written since are passed over.
    order: VecDeque<Change>,
    /// The same for activity alone.
    quiet: VecDeque<Change>,
    /// Retired streams with something that is not durable, by name and the index of the slot.
    retired: BTreeSet<(Arc<StreamName>, u32)>,
    serial: u64,
    dirty: usize,
    /// Everything is due at once, whatever its window: somebody waits for it.
    hurry: bool,
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
            flights: Vec::new(),
            order: VecDeque::new(),
            quiet: VecDeque::new(),
            retired: BTreeSet::new(),
            serial: 0,
            dirty: 0,
            hurry: false,
            stats: Stats::default(),
        }
    }

    /// The store was opened again and has handed out `epoch`.
    ///
    /// It is taken where nobody else had one in between: cursors of the same streams then only grow, and what is in the
    /// store of a batch that was never answered is older. It is taken too where the store is another one, which has
    /// begun anew. But where another owner was there in between, what that one wrote stays fenced off from this one.
    pub fn on_reopened(&mut self, epoch: u64) {
        if epoch <= self.epoch.saturating_add(1) {
            self.epoch = epoch;
        }
        // What it said before it was closed tells nothing of what it says now.
        self.breaker.on_success();
    }

    /// A slot came off the dirty queue. It has changed at `since` at the earliest.
    pub fn on_dirty(&mut self, key: SlotKey, drain: &SlotDrain, since: Tick) {
        let Some((sequence, phase)) = drain.peek(key) else { return };
        if phase != Phase::Live {
            let Some(Published { name, .. }) = drain.read(key) else { return };
            match phase {
                Phase::Removed => self.bury(&name),
                _ => _ = self.retired.insert((name, key.index)),
            }
        }
        let entry = self.entries.at(key.index as usize);
        if entry.generation != key.generation {
            // The stay before was released, so nothing of it waits any more but a timer that finds it stale.
            if entry.state != State::Clean {
                self.dirty -= 1;
            }
            *entry = Entry { generation: key.generation, ..Entry::default() };
        }
        let since = since.max(entry.boarded);
        let news = sequence > entry.seen || phase != Phase::Live;
        self.stats.changes += entry.see(sequence);
        self.stats.activity_changes += u64::from(!news);
        match entry.state {
            State::Flying { again: None } => {
                let serial = self.note(key, since, news);
                self.entries.at(key.index as usize).state = State::Flying { again: Some((since, serial)) };
            }
            State::Flying { .. } | State::Failed => {}
            State::Waiting(timer) if news => {
                let at = self.config.due(since);
                if self.wheel.deadline(timer).is_some_and(|set| set > at) {
                    self.wheel.cancel(timer);
                    let serial = self.note(key, since, true);
                    self.wait(key, at, since, serial);
                }
            }
            State::Waiting(_) => {}
            State::Clean => {
                let at = match news {
                    true => self.config.due(since),
                    false => self.config.due(since.max(entry.active + self.config.activity_window)),
                };
                self.dirty += 1;
                let serial = self.note(key, since, news);
                self.wait(key, at, since, serial);
            }
        }
    }

    /// Retired slots of this name write nothing any more. A retired slot comes off the queue before the tombstone of its
    /// stream does, so none is missed.
    fn bury(&mut self, name: &Arc<StreamName>) {
        let all = (Arc::clone(name), 0)..=(Arc::clone(name), u32::MAX);
        for (_, index) in self.retired.range(all) {
            self.entries.at(*index as usize).buried = true;
        }
    }

    /// A slot has been written to its end: it may be given to another stream.
    fn let_go(&mut self, key: SlotKey, name: &Arc<StreamName>, drain: &mut SlotDrain) {
        self.retired.remove(&(Arc::clone(name), key.index));
        drain.release(key);
    }

    /// Notes a change and numbers it.
    fn note(&mut self, key: SlotKey, since: Tick, news: bool) -> u64 {
        self.serial += 1;
        let order = if news { &mut self.order } else { &mut self.quiet };
        order.push_back(Change { serial: self.serial, key, since });
        self.serial
    }

    /// Puts a slot on the wheel.
    fn wait(&mut self, key: SlotKey, at: Tick, now: Tick, serial: u64) {
        let at = if self.hurry { now } else { at };
        let entry = self.entries.at(key.index as usize);
        entry.serial = serial;
        // The wheel has a place for each slot.
        match self.wheel.add(at, key) {
            Ok(timer) => entry.state = State::Waiting(timer),
            Err(_) => {
                entry.state = State::Clean;
                self.dirty -= 1;
            }
        }
    }

    /// What is to be written now; empty when nothing is due, or the breaker is open. Ask again only after
    /// [`Worker::on_result`].
    pub fn next_batch(&mut self, drain: &mut SlotDrain, store_likes: usize, now: Tick) -> &[(Arc<StreamName>, Write)] {
        self.batch.clear();
        self.flights.clear();
        let likes = if self.config.batch == 0 { store_likes } else { self.config.batch };
        let limit = self.breaker.allows(likes.max(1), now);
        while self.batch.len() < limit {
            // Those that failed do not keep others waiting, nor the other way round.
            let retry = if self.batch.len().is_multiple_of(2) { self.heap.pop_due(now) } else { None };
            let key = match retry {
                Some((key, _)) => Some((key, true)),
                None => match self.wheel.poll(now) {
                    Some(key) => Some((key, false)),
                    None => self.heap.pop_due(now).map(|(key, _)| (key, true)),
                },
            };
            let Some((key, retry)) = key else { break };
            self.board(key, retry, drain, now);
        }
        &self.batch
    }

    /// Reads a slot that is due and adds it to the batch, if there is something to write.
    fn board(&mut self, key: SlotKey, retry: bool, drain: &mut SlotDrain, now: Tick) {
        let entry = self.entries.at(key.index as usize);
        let due = matches!((entry.state, retry), (State::Failed, true) | (State::Waiting(_), false));
        if entry.generation != key.generation || !due {
            return;
        }
        let Some(published) = drain.read(key) else {
            entry.state = State::Clean;
            self.dirty -= 1;
            return;
        };
        let active = drain.last_seen(key).unwrap_or(Tick::ZERO);
        let sequence = published.cursor.as_ref().map_or(0, |cursor| cursor.sequence);
        let last_seen_ms = self.unix_ms_at_zero.saturating_add(active.micros() / 1_000);
        let write = match (published.phase, &published.cursor) {
            _ if entry.buried => None,
            (Phase::Removed, _) => Some(Write::Remove { epoch: self.epoch }),
            (Phase::Live | Phase::Retired, Some(cursor)) if sequence > entry.durable => {
                let id = cursor.id.clone();
                Some(Write::Cursor(Record { epoch: self.epoch, sequence, id, last_seen_ms }))
            }
            (Phase::Live | Phase::Retired, Some(_)) if active > entry.active => Some(Write::Activity { last_seen_ms }),
            _ => None,
        };
        let Some(write) = write else {
            entry.state = State::Clean;
            self.dirty -= 1;
            if published.phase != Phase::Live {
                self.let_go(key, &published.name, drain);
            }
            return;
        };
        self.stats.retries += u64::from(retry);
        (entry.state, entry.boarded) = (State::Flying { again: None }, now);
        self.stats.changes += entry.see(sequence);
        let activity_alone = matches!(write, Write::Activity { .. });
        self.flights.push(Flight { key, sequence, active, phase: published.phase, activity_alone });
        self.batch.push((Arc::clone(&published.name), write));
    }

    /// What became of the batch: a result an item, or none. True when that opened the breaker.
    pub fn on_result(
        &mut self,
        result: Result<&[Result<Outcome, StoreError>], &StoreError>,
        drain: &mut SlotDrain,
        now: Tick,
    ) -> bool {
        let opened = match result {
            Ok(_) => {
                self.breaker.on_success();
                false
            }
            Err(_) => {
                self.stats.failures += 1;
                self.breaker.on_failure(now)
            }
        };
        for at in 0..self.flights.len() {
            let flight = self.flights[at];
            match result.map(|results| results.get(at)) {
                Ok(Some(Ok(stored))) => self.land(at, *stored, drain, now),
                // What is gone makes no place for what lives: it would wait for ever, and its slot with it.
                Ok(Some(Err(StoreError::Full { .. }))) if self.flights[at].phase == Phase::Retired => {
                    self.stats.failures += 1;
                    self.stats.given_up += 1;
                    self.give_up(at, drain);
                }
                Ok(Some(Err(_)) | None) => {
                    self.stats.failures += 1;
                    self.fail(flight.key, now);
                }
                Err(_) => self.fail(flight.key, now),
            }
        }
        self.batch.clear();
        self.flights.clear();
        opened
    }

    /// The store has taken the item at this place of the batch.
    fn land(&mut self, at: usize, stored: Outcome, drain: &mut SlotDrain, now: Tick) {
        let Flight { key, sequence, active, phase, activity_alone } = self.flights[at];
        match (stored, activity_alone) {
            (Outcome::Written, false) => self.stats.cursor_records += 1,
            (Outcome::Written, true) => self.stats.activity_records += 1,
            (Outcome::Stale, false) => self.stats.fenced += 1,
            (Outcome::Stale, true) => {}
        }
        let entry = self.entries.at(key.index as usize);
        let again = if let State::Flying { again } = entry.state { again } else { None };
        entry.state = State::Clean;
        entry.attempts = 0;
        entry.durable = entry.durable.max(sequence);
        entry.active = entry.active.max(active);
        self.dirty -= 1;
        drain.note_durable(key, sequence);
        if phase != Phase::Live {
            let name = Arc::clone(&self.batch[at].0);
            self.let_go(key, &name, drain);
        } else if let Some((since, serial)) = again {
            let news = drain.peek(key).is_some_and(|(now, phase)| now > sequence || phase != Phase::Live);
            let at = if news { since } else { since + self.config.activity_window };
            self.dirty += 1;
            self.wait(key, self.config.due(at), now, serial);
        }
    }

    /// The item at this place of the batch is not tried again.
    fn give_up(&mut self, at: usize, drain: &mut SlotDrain) {
        let (key, name) = (self.flights[at].key, Arc::clone(&self.batch[at].0));
        self.entries.at(key.index as usize).state = State::Clean;
        self.dirty -= 1;
        self.let_go(key, &name, drain);
    }

    fn fail(&mut self, key: SlotKey, now: Tick) {
        let random = self.random.next();
        let entry = self.entries.at(key.index as usize);
        if let State::Flying { again: Some((_, serial)) } = entry.state {
            // The next attempt carries both changes: what waits is the older one.
            entry.serial = entry.serial.min(serial);
        }
        entry.state = State::Failed;
        let delay = self.config.retry.delay(entry.attempts, random);
        let delay = if self.hurry { delay.min(HURRIED) } else { delay };
        entry.attempts = entry.attempts.saturating_add(1);
        let attempt = entry.attempts;
        // The heap has a place for each slot.
        if self.heap.push(now + delay, key, attempt).is_err() {
            self.dirty -= 1;
            entry.state = State::Clean;
        }
    }

    /// Makes everything due at once, and whatever comes from now on, until [`Worker::relax`].
    pub fn hurry(&mut self, now: Tick) {
        self.hurry = true;
        for index in 0..self.entries.end() {
            if let Some(entry) = self.entries.get_mut(index)
                && let State::Waiting(timer) = entry.state
                && let Some(key) = self.wheel.cancel(timer)
                && let Ok(timer) = self.wheel.add(now, key)
            {
                entry.state = State::Waiting(timer);
            }
        }
        while let Some((key, _)) = self.heap.pop_due(Tick::NEVER) {
            let entry = self.entries.at(key.index as usize);
            if entry.generation == key.generation && entry.state == State::Failed {
                let serial = entry.serial;
                self.wait(key, now, now, serial);
            }
        }
    }

    /// Goes back to windows.
    pub fn relax(&mut self) {
        self.hurry = false;
    }

    /// When [`Worker::next_batch`] will have something, at the earliest. `None`: when a slot changes.
    pub fn next_deadline(&self) -> Option<Tick> {
        let due = [self.wheel.next_deadline(), self.heap.next_deadline()].into_iter().flatten().min()?;
        Some(self.breaker.probe_at().map_or(due, |probe| due.max(probe)))
    }

    /// The number of the change found last: everything up to it is durable once [`Worker::oldest`] is beyond.
    pub fn newest(&self) -> u64 {
        self.serial
    }

    /// The number of the oldest change that is not durable; `None` when all are.
    pub fn oldest(&mut self) -> Option<u64> {
        self.settle();
        [&self.order, &self.quiet].into_iter().filter_map(|list| list.front()).map(|change| change.serial).min()
    }

    /// When the oldest change of a cursor was made that is not durable, at the earliest.
    pub fn unflushed_since(&mut self) -> Option<Tick> {
        self.settle();
        self.order.front().map(|change| change.since)
    }

    /// Passes over what has been written since.
    fn settle(&mut self) {
        let entries = &self.entries;
        for list in [&mut self.order, &mut self.quiet] {
            while list.pop_front_if(|change| !is_open(entries, change)).is_some() {}
            if list.len() > 4 * self.dirty + 1_024 {
                list.retain(|change| is_open(entries, change));
            }
        }
    }

    /// Slots with something that is not durable.
    pub fn dirty(&self) -> usize {
        self.dirty
    }

    /// Changes of activity alone that wait.
    pub fn quiet(&self) -> usize {
        self.quiet.len()
    }

    /// Whether the breaker is open.
    pub fn is_open(&self) -> bool {
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

/// Whether this change is still the one its slot waits with.
fn is_open(entries: &Pages<Entry>, change: &Change) -> bool {
    let Some(entry) = entries.get(change.key.index as usize) else { return false };
    let waits = match entry.state {
        State::Clean => false,
        State::Flying { again: Some((_, serial)) } if serial == change.serial => true,
        _ => entry.serial == change.serial,
    };
    waits && entry.generation == change.key.generation
}
