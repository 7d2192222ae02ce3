//! The first store thread: runs the worker beside the writing half of the store.
//!
//! In: rings of the bell, messages, the clock. Out: batches to the store; numbers for the metrics; log lines.
//! Laws: the thread sleeps at the bell until something is due; each failure of the store is counted, and said at most
//! once every few seconds, with what happens next; a store that has failed for good is let go of, both halves, and opened
//! again, and the worker, which knows what is not durable, lives through that.

use super::PersistConfig;
use super::control::{Answer, Message, Opener};
use super::logs::{Fate, LogQueue};
use super::lookup::{Half, Openings};
use super::sweep::{Shelves, Sweep};
use super::worker::Worker;
use crate::base::{Random, Span, StreamName, Tick};
use crate::clock::Clock;
use crate::metrics::{Metrics, Persistence};
use crate::slot::{SlotDrain, Survey};
use crate::store::{LogStore, Opened, Outcome, SessionStore, StoreError, Write};
use crate::sync::Inbox;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::time::Duration;

/// Between two log lines about the same trouble.
const QUIET: Span = Span::from_secs(5);

/// Everything the thread owns.
pub(super) struct Flusher {
    config: PersistConfig,
    drain: SlotDrain,
    open: Opener,
    metrics: Arc<Metrics>,
    clock: Clock,
    inbox: Inbox<Message>,
    ending: Inbox<Span>,
    logs: LogQueue,
    opened: Openings,
    secret: Sender<u128>,
    random: Random,
    barriers: Vec<Barrier>,
    end_at: Option<Tick>,
    /// Since when there may have been changes that were not seen; `None`: it is woken for the first of them.
    unseen_since: Option<Tick>,
    /// When the slots are looked at again; `None`: the last look found nothing, and the bell says when there is something.
    look_at: Option<Tick>,
    complained_at: Option<Tick>,
    /// Times that the store was opened: the number of the present opening.
    openings: u64,
    /// The present opening can do nothing more.
    is_closed: bool,
    /// Openings in a row since something was stored.
    barren: u32,
    /// Failures beside those of the worker's batches.
    failures: u64,
}

/// Callers that may wait for what was published before.
const BARRIERS: usize = 1_000;

/// The newest change that a caller waits for, and whom to tell whether it was written.
type Barrier = (u64, Answer);

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

/// The writing half of an opened store.
struct Writing {
    sessions: Box<dyn SessionStore>,
    logs: Option<Box<dyn LogStore>>,
    likes: usize,
    worker: Worker,
    /// When log blocks are tried next, after a failure.
    logs_at: Tick,
    log_tries: u32,
    sweep: Sweep,
    survey: Survey,
}

impl Flusher {
    #[expect(clippy::too_many_arguments, reason = "called once, by what makes all of them")]
    pub(super) fn new(
        config: PersistConfig,
        drain: SlotDrain,
        open: Opener,
        metrics: Arc<Metrics>,
        clock: Clock,
        inbox: Inbox<Message>,
        ending: Inbox<Span>,
        logs: LogQueue,
        opened: Openings,
        secret: Sender<u128>,
    ) -> Self {
        let random = Random::new(config.seed);
        let (barriers, end_at, look_at, complained_at) = (Vec::new(), None, None, None);
        let unseen_since = Some(clock.now());
        Self {
            config,
            drain,
            open,
            metrics,
            clock,
            inbox,
            ending,
            logs,
            opened,
            secret,
            random,
            barriers,
            end_at,
            unseen_since,
            look_at,
            complained_at,
            openings: 0,
            is_closed: false,
            barren: 0,
            failures: 0,
        }
    }

    /// Opens the store, then writes until it is told to end; opens it again as often as it fails for good. Whoever waits for
    /// a flush in the end is told that it was not done.
    pub(super) fn run(mut self) {
        let mut worker = None;
        while let Some(mut writing) = self.open_store(worker.take()) {
            self.numbers().store_open.set(1);
            let mut last = false;
            while !last && !self.is_closed {
                last = self.step(&mut writing);
            }
            self.numbers().store_open.set(0);
            // Of both halves: as long as one is held, the file is locked.
            self.opened.say(None);
            if last {
                break;
            }
            worker = Some(writing.worker);
        }
    }

    /// Asks for the store until it opens; `None` when told to end before. A worker from the opening before goes on.
    fn open_store(&mut self, mut worker: Option<Worker>) -> Option<Writing> {
        // A store that has just failed is given some time, in which the other thread lets go of it too.
        let mut wait = worker.is_some().then(|| self.config.reopen.delay(self.barren, self.random.next()));
        for attempt in 0u32.. {
            if let Some(wait) = wait {
                let until = self.clock.now() + wait;
                while self.clock.now() < until {
                    self.read_inbox(worker.as_mut());
                    let now = self.clock.now();
                    // Before the first opening it is not known whether there ever will be one.
                    if self.end_at.is_some_and(|at| at <= now || worker.is_none()) {
                        return None;
                    }
                    let until = self.end_at.map_or(until, |at| at.min(until));
                    self.drain.wait(Some(Duration::from(until.since(now))));
                }
            }
            self.note_unseen(worker.as_mut());
            match self.try_open() {
                Ok((opened, secret, epoch)) => return Some(self.begin(opened, secret, epoch, worker)),
                Err(e) => {
                    let next = self.config.reopen.delay(attempt.max(2), self.random.next());
                    self.note_failure();
                    self.complain(&format!(
                        "the store cannot be opened: {e}; asked again in {next}, nothing is written meanwhile"
                    ));
                    wait = Some(next);
                    if let Some(worker) = &mut worker {
                        self.publish(worker);
                    }
                    self.note_unseen(worker.as_mut());
                }
            }
        }
        None
    }

    /// Opens the store and asks what must be known before anything is written.
    fn try_open(&mut self) -> Result<(Opened, u128, u64), StoreError> {
        let mut opened = (self.open)()?;
        let secret = opened.sessions.secret(self.config.candidate)?;
        let epoch = opened.sessions.next_epoch()?;
        Ok((opened, secret, epoch))
    }

    /// Shares out the halves, and has the worker go on where it was.
    fn begin(&mut self, opened: Opened, secret: u128, epoch: u64, worker: Option<Worker>) -> Writing {
        let Opened { sessions, lookup, logs, log_lookup } = opened;
        (self.openings, self.is_closed) = (self.openings + 1, false);
        self.barren = self.barren.saturating_add(1);
        self.opened.say(Some(Half { opening: self.openings, sessions: lookup, logs: log_lookup }));
        // Behind the half: whoever has heard that the store is open may look something up. One is ever read.
        let _ = self.secret.try_send(secret);
        // A store that begins anew is told the key that names are hashed with now.
        self.config.candidate = secret;
        let worker = match worker {
            Some(mut worker) => {
                worker.on_reopened(epoch);
                worker
            }
            None => {
                let zero = self.clock.unix_ms(Tick::ZERO);
                let (config, seed) = (self.config.worker.clone(), self.random.next());
                Worker::new(config, self.drain.capacity(), epoch, zero, seed, self.clock.now())
            }
        };
        let likes = sessions.batch_limit();
        let sweep = Sweep::new(self.config.idle, self.config.sweep_pause, self.clock.now());
        let survey = self.drain.survey();
        Writing { sessions, logs, likes, worker, logs_at: Tick::ZERO, log_tries: 0, sweep, survey }
    }

    /// Takes in what changed, writes what is due, or sleeps. True when it was the last.
    fn step(&mut self, writing: &mut Writing) -> bool {
        self.look(&mut writing.worker);
        self.read_inbox(Some(&mut writing.worker));
        let wrote = self.write_cursors(writing) | self.write_logs(writing);
        self.answer_barriers(&mut writing.worker);
        self.publish(&mut writing.worker);
        let now = self.clock.now();
        if let Some(at) = self.end_at {
            let all = writing.worker.dirty() == 0 && self.drain.is_empty() && self.logs.is_empty();
            if all || at <= now {
                self.unseen_since = None;
                self.note_oldest(&mut writing.worker);
                return true;
            }
        }
        // What was said of its half by a look-up has been taken out of the inbox with its call: nothing else would wake it.
        if !wrote && !self.is_closed && !self.sweep(writing, now) {
            self.sleep(writing, now);
        }
        false
    }

    /// Takes in what changed since the last look. While something does, one look a window is enough, when the window ends:
    /// what is found then is due at once. To look more often would have each stream queued, and its cursor fetched from
    /// the thread that writes it, so many times for one record.
    fn look(&mut self, worker: &mut Worker) {
        let now = self.clock.now();
        if self.look_at.is_some_and(|at| now < at) && self.end_at.is_none() {
            return;
        }
        let busy = self.take_in(worker, now);
        self.look_at = busy.then(|| self.config.worker.due(now));
        // It is seen while the store takes its time.
        self.publish(worker);
    }

    /// Takes in what changed since the last time. True when something had.
    fn take_in(&mut self, worker: &mut Worker, now: Tick) -> bool {
        let since = self.unseen_since.replace(now).unwrap_or(now);
        let mut busy = false;
        while let Some(key) = self.drain.pop() {
            worker.on_dirty(key, &self.drain, since);
            busy = true;
        }
        busy
    }

    /// Sleeps until something is due; while nothing changes also until something does. While much does, being woken for
    /// each change would cost both threads more than all the rest: then it naps until it looks again.
    ///
    /// A nap takes the rings that come during it, so behind one there is always a look before it waits. At the end there is
    /// a look in each step, and none naps.
    fn sleep(&mut self, writing: &mut Writing, now: Tick) {
        let logs = (!self.logs.is_empty() && writing.logs.is_some()).then_some(writing.logs_at);
        let due = [writing.worker.next_deadline(), logs, self.sweep_due(writing), self.end_at];
        let until = due.into_iter().flatten().min();
        if let Some(at) = self.look_at.filter(|_| self.end_at.is_none()) {
            let until = until.map_or(at, |until| until.min(at));
            self.drain.nap(Some(until.since(now).into()));
        } else {
            self.unseen_since = None;
            self.note_oldest(&mut writing.worker);
            self.drain.wait(until.map(|at| at.since(now).into()));
        }
    }

    /// The end first: then whoever asked before it was said is heard, and told the truth.
    fn read_inbox(&mut self, mut worker: Option<&mut Worker>) {
        if let Some(within) = self.ending.take() {
            let now = self.clock.now();
            self.end_at = Some(now + within);
            if let Some(worker) = &mut worker {
                self.take_in(worker, now);
                worker.hurry(now);
            }
        }
        while let Some(message) = self.inbox.take() {
            match message {
                Message::Flush(answer) => {
                    if self.barriers.len() >= BARRIERS {
                        self.numbers().refused.add(1);
                    } else if let Some(worker) = &mut worker {
                        let now = self.clock.now();
                        self.take_in(worker, now);
                        worker.hurry(now);
                        self.barriers.push((worker.newest(), answer));
                    }
                }
                Message::Closed { opening } => self.is_closed |= opening == self.openings,
            }
        }
    }

    /// Answers those whose changes are durable.
    fn answer_barriers(&mut self, worker: &mut Worker) {
        if self.barriers.is_empty() {
            return;
        }
        let oldest = worker.oldest().unwrap_or(u64::MAX);
        let (done, waiting): (Vec<_>, _) =
            std::mem::take(&mut self.barriers).into_iter().partition(|(n, _)| *n < oldest);
        self.barriers = waiting;
        done.into_iter().for_each(|(_, answer)| answer.give(true));
        if self.barriers.is_empty() && self.end_at.is_none() {
            worker.relax();
        }
    }

    /// Writes one batch of cursors, if one is due.
    fn write_cursors(&mut self, writing: &mut Writing) -> bool {
        let begun = self.clock.now();
        let Writing { sessions, worker, likes, sweep, .. } = writing;
        let batch = worker.next_batch(&mut self.drain, *likes, begun);
        if batch.is_empty() {
            return false;
        }
        let size = batch.len();
        let result = sessions.store_event_ids_batch(batch);
        let now = self.clock.now();
        let fenced = fenced(batch, result.as_deref().unwrap_or_default());
        if result.is_ok() {
            self.barren = 0;
        }
        let numbers = self.numbers();
        numbers.batches.add(1);
        numbers.batch_size.set(size as u64);
        numbers.note_latency(now.since(begun).micros());
        let opened = worker.on_result(result.as_deref(), &mut self.drain, now);
        let trouble = match &result {
            Ok(results) => results.iter().find_map(|result| result.as_ref().err()),
            Err(e) => Some(e),
        };
        if let Some((count, name)) = fenced {
            let session = name.session.escape_ascii();
            self.complain(&format!(
                "{count} cursors were not stored, of session {session} one: the store has some as new or newer, which \
                 another process wrote, or an attempt whose answer was lost; they are left as they are"
            ));
        }
        if matches!(trouble, Some(StoreError::Full { .. })) {
            sweep.hasten(now);
        }
        if let Some(e) = trouble {
            let next = match (self.note_closed(e), opened) {
                (true, _) => "it is opened again, and they are tried again",
                (false, true) => "it is asked only now and then until it answers",
                (false, false) => "they are tried again",
            };
            self.complain(&format!("the store refused cursors ({size} in the batch): {e}; {next}"));
        }
        true
    }

    /// Writes one batch of log blocks, if there is one.
    fn write_logs(&mut self, writing: &mut Writing) -> bool {
        let now = self.clock.now();
        let Some(store) = &mut writing.logs else {
            let none = self.logs.next_batch().len();
            self.logs.on_written(std::iter::repeat_n(Fate::Written, none));
            return false;
        };
        if writing.logs_at > now && self.end_at.is_none() || self.logs.is_empty() {
            return false;
        }
        let batch = self.logs.next_batch();
        let result = store.write_logs(batch);
        let fate = |result: &Result<(), StoreError>| match result {
            Ok(()) => Fate::Written,
            Err(StoreError::Full { .. }) => Fate::NoPlace,
            Err(_) => Fate::Failed,
        };
        let fates: Vec<Fate> = result.iter().flatten().map(fate).collect();
        let trouble = match result {
            Ok(results) => results.into_iter().filter_map(Result::err).find(|e| !matches!(e, StoreError::Full { .. })),
            Err(e) => Some(e),
        };
        self.numbers().log_blocks.add(fates.iter().filter(|fate| **fate == Fate::Written).count() as u64);
        if fates.contains(&Fate::NoPlace) {
            writing.sweep.hasten(now);
            self.complain("the store holds as many logs as it may; blocks of others are dropped, and holes stated");
        }
        let dropped = self.logs.on_written(fates.into_iter());
        self.numbers().log_blocks_dropped.add(dropped);
        match trouble {
            None => {
                writing.log_tries = 0;
                writing.logs_at = now + self.config.worker.window;
            }
            Some(e) => {
                writing.log_tries += 1;
                let wait = self.config.worker.retry.delay(writing.log_tries, self.random.next());
                writing.logs_at = now + wait.max(self.config.worker.window);
                self.note_failure();
                let next = if self.note_closed(&e) { "it is opened again, and they" } else { "they" };
                self.complain(&format!("the store refused log blocks: {e}; {next} are tried again"));
            }
        }
        true
    }

    /// Counts a failure that the worker does not know of.
    fn note_failure(&mut self) {
        self.failures += 1;
        self.numbers().failure.add(1);
    }

    /// Looks for what nobody uses any more, a page at a time, while there is nothing else to do. True when it did.
    fn sweep(&mut self, writing: &mut Writing, now: Tick) -> bool {
        if self.sweep_due(writing).is_none_or(|at| at > now) {
            return false;
        }
        let Writing { sessions, logs, sweep, survey, .. } = writing;
        let shelves = Shelves { sessions: &mut **sessions, logs: logs.as_deref_mut() };
        match sweep.step(shelves, survey, now, self.clock.unix_ms(now)) {
            Ok(swept) => {
                self.numbers().swept_records.add(swept.records);
                self.numbers().swept_logs.add(swept.logs);
            }
            Err(e) => {
                self.note_failure();
                let next = if self.note_closed(&e) { "it is opened again" } else { "they are looked for again" };
                self.complain(&format!("the store failed while records were looked for that nobody uses: {e}; {next}"));
            }
        }
        true
    }

    /// When it is time to look; `None`: not while somebody waits, or the store fails. Asked only of a store that is open.
    fn sweep_due(&self, writing: &Writing) -> Option<Tick> {
        let waits = self.end_at.is_some() || !self.barriers.is_empty() || writing.worker.is_open();
        writing.sweep.due().filter(|_| !waits)
    }

    /// Notes that the store can do nothing more, where that is what it says.
    fn note_closed(&mut self, why: &StoreError) -> bool {
        let is_closed = *why == StoreError::Closed;
        self.is_closed |= is_closed;
        is_closed
    }

    fn numbers(&self) -> &Persistence {
        self.metrics.persistence()
    }

    /// Shows the worker's numbers to other threads.
    fn publish(&self, worker: &mut Worker) {
        self.note_oldest(worker);
        let numbers = self.numbers();
        let stats = *worker.stats();
        numbers.queue_depth.set(worker.dirty() as u64);
        numbers.activity_queue_depth.set(worker.quiet() as u64);
        numbers.changes.set(stats.changes);
        numbers.activity_changes.set(stats.activity_changes);
        numbers.cursor_records.set(stats.cursor_records);
        numbers.activity_batched.set(stats.activity_records);
        numbers.success.set(stats.cursor_records + stats.activity_records);
        numbers.failure.set(stats.failures + self.failures);
        numbers.retry.set(stats.retries);
        numbers.fenced.set(stats.fenced);
        numbers.given_up.set(stats.given_up);
        numbers.breaker_open.set(u64::from(worker.is_open()));
    }

    /// Shows since when something is not durable. Changes that are not looked for yet may be as old as the last look.
    fn note_oldest(&self, worker: &mut Worker) {
        self.numbers().note_unflushed(worker.unflushed_since().or(self.unseen_since));
    }

    /// The same while there is no store, and nothing is looked at.
    fn note_unseen(&mut self, worker: Option<&mut Worker>) {
        if self.drain.is_empty() {
            self.unseen_since = Some(self.clock.now());
        }
        let found = worker.and_then(Worker::unflushed_since);
        self.numbers().note_unflushed(found.or(self.unseen_since));
    }

    /// Says what went wrong, unless that was said just now.
    fn complain(&mut self, what: &str) {
        let now = self.clock.now();
        if self.complained_at.is_none_or(|at| now.since(at) >= QUIET) {
            self.complained_at = Some(now);
            tracing::warn!("{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fenced_is_told_by_number_and_name() {
        let item = |stream, write| (Arc::new(StreamName { session: b"s"[..].into(), stream }), write);
        let (remove, activity) = (Write::Remove { epoch: 1 }, Write::Activity { last_seen_ms: 1 });
        let batch = [item(1, activity), item(2, remove.clone()), item(3, remove.clone()), item(4, remove)];
        let (stale, written) = (Ok(Outcome::Stale), Ok(Outcome::Written));
        let found = fenced(&batch, &[stale.clone(), written, stale.clone(), stale]);
        assert_eq!(found.map(|(count, name)| (count, name.stream)), Some((2, 3)));
        assert_eq!(fenced(&batch, &[]), None);
    }
}
