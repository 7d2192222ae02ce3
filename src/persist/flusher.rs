//! The first store thread: runs the worker beside the writing half of the store.
//!
//! In: rings of the bell, messages, the clock. Out: batches to the store; numbers for the metrics; log lines.
//! Laws: the thread sleeps at the bell until something is due; each failure of the store is counted, and said at most
//! once every few seconds, with what happens next; when a store has failed for good, both halves of it are dropped and
//! it is opened again; the worker, which knows what is not durable, outlives that.
//!
//! ```text
//! open the store; until it is closed for good, or the end:
//!     look at the slots -> read messages -> write a batch of cursors -> write a batch of log blocks
//!     -> answer flushes -> show the numbers -> nothing written? sweep a page, else sleep
//! ```

use super::complaints::Complaints;
use super::config::PersistConfig;
use super::following::FollowLender;
use super::logs::LogQueue;
use super::message::{Half, Lender, Message, Opener};
use super::owning::Owning;
use super::spans::{Flushed, Spans};
use super::sweep::Sweep;
use super::waits::{Sleep, Waits};
use super::worker::Worker;
use super::writing::{CursorBatch, LogBatch, Writing};
use crate::base::{Random, Span, Tick};
use crate::clock::Clock;
use crate::journal::Level;
use crate::metrics::{Metrics, Persistence};
use crate::slot::SlotDrain;
use crate::store::{Opened, StoreError};
use crate::sync::{Counter, Inbox};
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::time::Duration;

/// What links the thread to the rest: its ends of the ways to it and from it.
pub(super) struct Links {
    /// Slots that changed.
    pub(super) drain: SlotDrain,
    /// Log blocks on their way.
    pub(super) logs: LogQueue,
    /// What callers and the look-up thread tell it.
    pub(super) messages: Inbox<Message>,
    /// How long it has until its end, once that is said.
    pub(super) ending: Inbox<Span>,
    /// Opens the store.
    pub(super) open: Opener,
    /// Hands the reading half of the store to the look-up thread.
    pub(super) lender: Lender,
    /// Hands the following half of the store to its thread.
    pub(super) follow_lender: FollowLender,
    /// Where others read the epoch that this process's claims name.
    pub(super) owner: Arc<Counter>,
    /// Tells of the first attempt to open the store that failed, and of the first that did not, with the key that names
    /// are hashed with. There is room for both; what comes later is read by nobody.
    pub(super) outcome: Sender<Result<u128, StoreError>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// Everything the thread owns.
pub(super) struct Flusher {
    config: PersistConfig,
    links: Links,
    waits: Waits,
    owning: Owning,
    complaints: Complaints,
    spans: Spans,
    random: Random,
    /// Times that the store was opened: the number of the present opening.
    openings: u64,
    /// The present opening can do nothing more.
    is_closed: bool,
    /// Openings in a row without a batch that was answered.
    barren: u32,
    /// Failures beside those of the worker's batches.
    failures: u64,
    /// The key that names are hashed with, where the store did not tell it in time.
    goes_by: Option<u128>,
    /// The store is to be tried at once.
    open_now: bool,
    /// The first failure to open the store was told.
    has_told_failure: bool,
}

impl Flusher {
    pub(super) fn new(config: PersistConfig, links: Links) -> Self {
        let random = Random::new(config.seed);
        let waits = Waits::new(links.clock.now());
        let complaints = Complaints::new(config.journal.clone());
        let spans = Spans::new(config.journal.clone(), config.trace_seed);
        let owning = Owning::new(config.lease);
        Self {
            config,
            links,
            waits,
            owning,
            complaints,
            spans,
            random,
            openings: 0,
            is_closed: false,
            barren: 0,
            failures: 0,
            goes_by: None,
            open_now: false,
            has_told_failure: false,
        }
    }

    /// Opens the store, then writes until it is told to end; opens the store again as often as it fails for good.
    /// Callers who still wait for a flush at the end are told that it was not done.
    pub(super) fn run(mut self) {
        let mut worker = None;
        while let Some(mut writing) = self.open_store(worker.take()) {
            self.note_open(true);
            let mut is_last = false;
            while !is_last && !self.is_closed {
                is_last = self.step(&mut writing);
            }
            self.note_open(false);
            // Both halves go: as long as one is held, the file is locked.
            self.links.lender.take_back();
            self.links.follow_lender.tell(None);
            if is_last {
                break;
            }
            worker = Some(writing.worker);
        }
    }
}

/// Opening.
impl Flusher {
    /// Tries to open the store until it opens. `None`: it was told to end before. A worker from the opening before goes
    /// on.
    fn open_store(&mut self, mut worker: Option<Worker>) -> Option<Writing> {
        // A store that has just failed is given some time, in which the other thread drops its half too.
        let mut wait = worker.is_some().then(|| self.config.reopen.delay(self.barren, self.random.next()));
        for attempt in 0u32.. {
            if let Some(wait) = wait
                && !self.wait_to_open(wait, worker.as_mut())
            {
                return None;
            }
            self.note_unseen(worker.as_mut());
            match self.try_open() {
                Ok((opened, secret, epoch)) => return Some(self.begin(opened, secret, epoch, worker)),
                Err(e) => {
                    let next = self.config.reopen.delay(attempt.max(2), self.random.next());
                    wait = Some(next);
                    self.on_not_opened(&e, next, worker.as_mut());
                }
            }
        }
        None
    }

    /// Waits before an attempt, and reads messages meanwhile. False: there is no attempt any more.
    fn wait_to_open(&mut self, wait: Span, mut worker: Option<&mut Worker>) -> bool {
        let until = self.links.clock.now() + wait;
        while self.links.clock.now() < until {
            self.read_messages(worker.as_deref_mut());
            if std::mem::take(&mut self.open_now) {
                return true;
            }
            let now = self.links.clock.now();
            // Before the first opening it is not known whether there ever will be one: then the end comes at once.
            if self.waits.is_over(now) || self.waits.is_ending() && worker.is_none() {
                return false;
            }
            let until = self.waits.until_end(until);
            self.links.drain.wait(Some(Duration::from(until.since(now))));
        }
        true
    }

    /// Opens the store and asks what must be known before anything is written.
    fn try_open(&mut self) -> Result<(Opened, u128, u64), StoreError> {
        let mut opened = (self.links.open)()?;
        let secret = opened.sessions.secret(self.config.candidate)?;
        let epoch = opened.sessions.next_epoch()?;
        Ok((opened, secret, epoch))
    }

    fn on_not_opened(&mut self, why: &StoreError, next: Span, mut worker: Option<&mut Worker>) {
        self.note_failure();
        if !std::mem::replace(&mut self.has_told_failure, true) {
            let _ = self.links.outcome.try_send(Err(why.clone()));
        }
        self.complain(&format!(
            "the store cannot be opened: {why}; the next attempt is in {next}, and nothing is written until one succeeds"
        ));
        if let Some(worker) = worker.as_deref_mut() {
            self.publish(worker);
        }
        self.note_unseen(worker);
    }

    /// Says so where names are hashed with another key than the store has.
    fn compare_keys(&mut self) {
        let differs = |key: &u128| self.openings > 0 && *key != self.config.candidate;
        if self.goes_by.take_if(|key| differs(key)).is_some() {
            self.numbers().foreign_key.set(1);
            self.config.journal.say(
                Level::Warn,
                "the store opened too late to tell its key, so this process finds nothing that was stored before, and \
                 what it stores is not found after a restart; restart it while the store is there",
            );
        }
    }

    /// Hands out the halves, and has the worker go on where it was.
    fn begin(&mut self, opened: Opened, secret: u128, epoch: u64, worker: Option<Worker>) -> Writing {
        let Opened { sessions, lookup, logs, log_lookup, follower } = opened;
        (self.openings, self.is_closed) = (self.openings + 1, false);
        self.barren = self.barren.saturating_add(1);
        self.links.lender.lend(Half { opening: self.openings, sessions: lookup, logs: log_lookup });
        if self.config.shared {
            if follower.is_none() {
                self.config.journal.say(
                    Level::Error,
                    "the store shares no logs with other processes, so `replay_shared` does no more than `durable`; use a \
                     store on Redis, or one with a follower",
                );
            }
            self.links.follow_lender.tell(follower.map(|follower| (self.openings, follower)));
        }
        self.links.owner.set(self.owning.go_by(epoch));
        // After the half was lent: a caller who has heard that the store is open may look something up.
        let _ = self.links.outcome.try_send(Ok(secret));
        // If the next opening finds a new store, that one is offered the key that names are hashed with now.
        self.config.candidate = secret;
        self.compare_keys();
        let now = self.links.clock.now();
        let worker = match worker {
            Some(mut worker) => {
                worker.on_reopened(epoch, now);
                worker
            }
            None => {
                let zero = self.links.clock.unix_ms(Tick::ZERO);
                let (config, seed) = (self.config.worker.clone(), self.random.next());
                Worker::new(config, self.links.drain.capacity(), epoch, zero, seed, now)
            }
        };
        let sweep = Sweep::new(self.config.idle, self.config.records, self.config.sweep_pause, now);
        Writing::new(sessions, logs, worker, sweep, self.links.drain.survey())
    }
}

/// One turn.
impl Flusher {
    /// Takes in what changed, writes what is due, or sleeps. True when it was the last turn.
    fn step(&mut self, writing: &mut Writing) -> bool {
        self.look(&mut writing.worker);
        self.read_messages(Some(&mut writing.worker));
        let has_part_away = writing.look_after_parts(&mut self.links.logs, self.links.clock.now());
        let wrote = self.write_cursors(writing) | self.write_logs(writing);
        self.answer_flushes(&mut writing.worker);
        self.publish(&mut writing.worker);
        let now = self.links.clock.now();
        if self.waits.is_ending() {
            let all = writing.worker.dirty() == 0 && self.links.drain.is_empty() && self.links.logs.is_empty();
            if all || self.waits.is_over(now) {
                self.give_up_logs(writing, now);
                self.settle_all(writing, now);
                self.waits.none_unseen();
                self.note_oldest(&mut writing.worker);
                return true;
            }
        }
        // Not when the store was found closed: the call that came with that message is used up, and would wake nobody.
        if !wrote && !self.is_closed && !self.settle(writing, now) && !self.sweep(writing, now) {
            self.sleep(writing, has_part_away, now);
        }
        false
    }

    /// Looks at the slots, if it is time. While something changes, one look a window is enough, when the window ends:
    /// what is found then is due at once. To look more often would have each stream queued, and its cursor fetched from
    /// the thread that writes it, several times for one record.
    fn look(&mut self, worker: &mut Worker) {
        let now = self.links.clock.now();
        if !self.waits.look_is_due(now) {
            return;
        }
        let is_busy = self.take_in(worker, now);
        self.waits.look_again(is_busy.then(|| self.config.worker.due(now)));
        // Before the store is called, which may take its time.
        self.publish(worker);
    }

    /// Takes in what changed since the last time. True when something had.
    fn take_in(&mut self, worker: &mut Worker, now: Tick) -> bool {
        let since = self.waits.saw_all(now);
        let mut is_busy = false;
        while let Some(key) = self.links.drain.pop() {
            worker.on_dirty(key, &self.links.drain, since);
            is_busy = true;
        }
        is_busy
    }

    /// Reads the end first: then callers who asked before the end was said are heard, and told the truth.
    fn read_messages(&mut self, mut worker: Option<&mut Worker>) {
        if let Some(within) = self.links.ending.take() {
            let now = self.links.clock.now();
            self.waits.end_at(now + within);
            if let Some(worker) = &mut worker {
                self.take_in(worker, now);
                worker.hurry(now);
            }
        }
        while let Some(message) = self.links.messages.take() {
            match message {
                Message::Flush(_) if !self.waits.has_place() => self.numbers().refused.add(1),
                Message::Flush(answer) => {
                    if let Some(worker) = &mut worker {
                        let now = self.links.clock.now();
                        self.take_in(worker, now);
                        worker.hurry(now);
                        self.waits.add_flush(worker.newest(), answer);
                    }
                }
                Message::GoesBy(key) => {
                    self.goes_by = Some(key);
                    self.compare_keys();
                }
                Message::Listen(listener) => self.owning.listen(listener),
                Message::OpenNow => self.open_now = !self.is_open(),
                Message::Closed { opening } => self.is_closed |= opening == self.openings,
            }
        }
    }

    /// Answers callers whose changes are durable.
    fn answer_flushes(&mut self, worker: &mut Worker) {
        if self.waits.answer_flushes(worker.oldest()) {
            worker.relax();
        }
    }

    /// Sleeps until something is due; while nothing changes, also until something does. While much changes, being woken
    /// for each change would cost both threads more than all the rest: then the thread naps until it looks again.
    ///
    /// A nap takes the rings that come during it, so after a nap there is always a look before the thread waits.
    fn sleep(&mut self, writing: &mut Writing, has_part_away: bool, now: Tick) {
        let logs = writing.logs_at().filter(|_| self.links.logs.has_more());
        let parts = has_part_away.then(|| now + self.config.worker.window);
        let untold = self.owning.has_untold().then(|| now + self.config.worker.window);
        let (next, sweep) = (writing.worker.next_deadline(), self.sweep_due(writing));
        let settle = self.settle_due(writing);
        let due = [next, logs, parts, sweep, settle, self.owning.due(), untold].into_iter().flatten().min();
        match self.waits.sleep(due, now) {
            Sleep::Nap(span) => self.links.drain.nap(Some(span.into())),
            Sleep::Wait(limit) => {
                self.waits.none_unseen();
                self.note_oldest(&mut writing.worker);
                self.links.drain.wait(limit.map(Duration::from));
            }
        }
    }
}

/// Writing.
impl Flusher {
    /// Writes one batch of cursors. False when none was due.
    fn write_cursors(&mut self, writing: &mut Writing) -> bool {
        let Some(batch) = writing.write_cursors(&mut self.links.drain, self.links.clock) else { return false };
        if batch.is_answered {
            self.barren = 0;
        }
        let numbers = self.numbers();
        numbers.batches.add(1);
        numbers.batch_size.set(batch.size as u64);
        numbers.note_latency(batch.answered.since(batch.began).micros());
        self.tell_of_cursors(&batch);
        self.complain_of_cursors(&batch);
        true
    }

    fn tell_of_cursors(&mut self, batch: &CursorBatch) {
        let CursorBatch { size, began, called, answered, trouble, .. } = batch;
        let (operation, trouble) = ("store_event_ids_batch", trouble.as_ref());
        let (size, began, called, answered) = (*size, *began, *called, *answered);
        let batch = Flushed { what: "cursors", operation, size, began, called, answered, trouble };
        self.spans.tell(&batch, self.links.clock.now());
    }

    fn complain_of_cursors(&mut self, batch: &CursorBatch) {
        if let Some((count, name)) = &batch.fenced {
            let session = name.session.escape_ascii();
            self.complain(&format!(
                "{count} cursors were not stored, one of them of session {session}: the store has records as new or newer, \
                 written by another process or by an attempt whose answer was lost; they are left as they are"
            ));
        }
        if let Some(e) = &batch.trouble {
            let next = match (self.note_closed(e), batch.opened_breaker) {
                (true, _) => "the store is opened again, then they are tried again",
                (false, true) => "the store is asked only now and then until it answers",
                (false, false) => "they are tried again",
            };
            self.complain(&format!("the store refused cursors ({} in the batch): {e}; {next}", batch.size));
        }
    }

    /// Writes one batch of log blocks. False when there was none, or none may be written yet.
    fn write_logs(&mut self, writing: &mut Writing) -> bool {
        let now = self.links.clock.now();
        if self.owning.due().is_some_and(|at| at <= now) {
            let holds = self.owning.holds(now);
            self.links.logs.hold(holds);
        }
        self.owning.tell_news();
        let is_early = writing.logs_at().is_some_and(|at| at > now) && !self.waits.is_ending();
        if is_early || !self.links.logs.has_more() {
            return false;
        }
        let Some(batch) = writing.write_logs(&mut self.links.logs, &mut self.owning, now) else { return false };
        let LogBatch { size, written, fenced, dropped, is_full, mut trouble } = batch;
        let (operation, answered) = ("write_logs", self.links.clock.now());
        let (began, called, trouble_of) = (now, now, trouble.as_ref());
        let batch = Flushed { what: "events", operation, size, began, called, answered, trouble: trouble_of };
        self.spans.tell(&batch, answered);
        if let Err(e) = writing.renew_epochs(&mut self.owning, &mut self.links.drain, now) {
            trouble = trouble.or(Some(e));
        }
        self.owning.tell_news();
        self.numbers().log_writes_fenced.add(fenced);
        self.numbers().logs_owned.set(self.owning.count() as u64);
        self.numbers().log_blocks.add(written);
        self.numbers().log_blocks_dropped.add(dropped);
        if is_full {
            self.complain("the store is full of logs; blocks of other streams are dropped, and the holes are stated");
        }
        let (retry, random) = (self.config.worker.retry, &mut self.random);
        // Where logs are shared, their owner must write again before others take it for gone.
        let most = self.config.shared.then(|| Span::from_micros(self.config.lease.micros() / 3));
        let delay = |tries| {
            let delay = retry.delay(tries, random.next());
            most.map_or(delay, |most| delay.min(most))
        };
        let failed = trouble.as_ref().is_some_and(|e| !e.is_of_a_part());
        writing.pace_logs(failed, self.config.worker.window, now, delay);
        if let Some(e) = trouble {
            self.note_failure();
            let next = if self.note_closed(&e) { "the store is opened again, then they" } else { "they" };
            self.complain(&format!("the store refused log blocks: {e}; {next} are tried again"));
        }
        true
    }

    /// At the end, so that other processes need not wait for the leases to run out.
    fn give_up_logs(&mut self, writing: &mut Writing, now: Tick) {
        if self.owning.count() > 0
            && !self.waits.is_over(now)
            && let Err(e) = writing.give_up_logs(&mut self.owning)
        {
            self.note_failure();
            self.complain(&format!("the store refused to give up the leases of logs: {e}; they run out soon"));
        }
    }

    /// Has the store do what it has put off, for what is quiet, while there is nothing else to do. True when it did.
    fn settle(&mut self, writing: &mut Writing, now: Tick) -> bool {
        if self.settle_due(writing).is_none_or(|at| at > now) {
            return false;
        }
        if let Err(e) = writing.settle(false, now) {
            self.note_failure();
            let next = if self.note_closed(&e) { "the store is opened again" } else { "they are tried again" };
            self.complain(&format!("the store refused the expiry of records: {e}; {next}"));
        }
        true
    }

    /// When that is due; `None` while somebody is in a hurry.
    fn settle_due(&self, writing: &Writing) -> Option<Tick> {
        writing.settle_due().filter(|_| !self.waits.is_hurried())
    }

    /// The same for all records at the end, as far as there is time.
    fn settle_all(&mut self, writing: &mut Writing, now: Tick) {
        if writing.settle_due().is_some()
            && !self.is_closed
            && !self.waits.is_over(now)
            && let Err(e) = writing.settle(true, now)
        {
            self.note_failure();
            self.complain(&format!(
                "the store refused the expiry of records: {e}; a sweep removes them when it is time"
            ));
        }
    }

    /// Looks for records that nobody uses any more, a page at a time, while there is nothing else to do. True when it
    /// did.
    fn sweep(&mut self, writing: &mut Writing, now: Tick) -> bool {
        if self.sweep_due(writing).is_none_or(|at| at > now) {
            return false;
        }
        match writing.sweep(now, self.links.clock.unix_ms(now)) {
            Ok(swept) => {
                self.numbers().swept_records.add(swept.records);
                self.numbers().swept_logs.add(swept.logs);
            }
            Err(e) => {
                self.note_failure();
                let next = if self.note_closed(&e) { "the store is opened again" } else { "the search goes on later" };
                self.complain(&format!("the store failed during the search for records that nobody uses: {e}; {next}"));
            }
        }
        true
    }

    /// When the next step of the sweep is due; `None` while somebody is in a hurry, or the store fails.
    fn sweep_due(&self, writing: &Writing) -> Option<Tick> {
        writing.sweep_due().filter(|_| !self.waits.is_hurried())
    }
}

/// Numbers and log lines.
impl Flusher {
    fn numbers(&self) -> &Persistence {
        self.links.metrics.persistence()
    }

    fn is_open(&self) -> bool {
        self.numbers().store_open.get() == 1
    }

    fn note_open(&self, is_open: bool) {
        self.numbers().note_open(is_open, self.links.clock.now());
    }

    /// Shows the worker's numbers to other threads.
    fn publish(&self, worker: &mut Worker) {
        self.note_oldest(worker);
        let numbers = self.numbers();
        let stats = *worker.stats();
        numbers.queue_depth.set(worker.dirty() as u64);
        numbers.activity_queue_depth.set(worker.quiet() as u64);
        numbers.undurable.set(worker.undurable());
        numbers.changes.set(stats.changes);
        numbers.activity_changes.set(stats.activity_changes);
        numbers.cursor_records.set(stats.cursor_records);
        numbers.activity_batched.set(stats.activity_records);
        numbers.success.set(stats.cursor_records + stats.activity_records);
        numbers.failure.set(stats.failures + self.failures);
        numbers.retry.set(stats.retries);
        numbers.fenced.set(stats.fenced);
        numbers.given_up.set(stats.given_up);
        numbers.breaker_open.set(u64::from(worker.is_breaker_open()));
    }

    /// Shows since when something is not durable. Changes that were not looked for yet may be as old as the last look.
    fn note_oldest(&self, worker: &mut Worker) {
        self.numbers().note_unflushed(worker.unflushed_since().or(self.waits.unseen_since()));
    }

    /// The same while the store is not open, and nobody looks at the slots.
    fn note_unseen(&mut self, worker: Option<&mut Worker>) {
        if self.links.drain.is_empty() {
            self.waits.saw_all(self.links.clock.now());
        }
        let found = worker.and_then(Worker::unflushed_since);
        self.numbers().note_unflushed(found.or(self.waits.unseen_since()));
    }

    /// Counts a failure that the worker does not know of.
    fn note_failure(&mut self) {
        self.failures += 1;
        self.numbers().failure.add(1);
    }

    /// Notes that the store can do nothing more, where it says so.
    fn note_closed(&mut self, why: &StoreError) -> bool {
        let is_closed = why.ends_the_opening();
        self.is_closed |= is_closed;
        self.numbers().store_files_lost.add(u64::from(matches!(why, StoreError::Gone { .. })));
        is_closed
    }

    /// Says what went wrong, unless something was said just now.
    fn complain(&mut self, what: &str) {
        self.complaints.say(self.links.clock.now(), || what.to_owned());
    }
}
