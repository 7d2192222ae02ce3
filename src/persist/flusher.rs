//! The first store thread: runs the worker beside the writing half of the store.
//!
//! In: rings of the bell, messages, the clock. Out: batches to the store; numbers for the metrics; log lines.
//! Laws: the thread sleeps at the bell until something is due; each failure of the store is counted, and said at most
//! once every few seconds, with what happens next.

use super::PersistConfig;
use super::control::{Answer, Message, Opener};
use super::logs::LogQueue;
use super::lookup::Half;
use super::worker::Worker;
use crate::base::{Random, Span, Tick};
use crate::clock::Clock;
use crate::metrics::{Metrics, Persistence};
use crate::slot::SlotDrain;
use crate::store::{LogStore, Opened, SessionStore, StoreError};
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
    logs: LogQueue,
    opened: Sender<Half>,
    secret: Sender<u128>,
    random: Random,
    barriers: Vec<Barrier>,
    end_at: Option<Tick>,
    /// Since when there may have been changes that were not seen; `None`: it was woken for the first of them.
    unseen_since: Option<Tick>,
    complained_at: Option<Tick>,
}

/// How often a busy flusher looks at the slots in a window.
const NAPS_IN_A_WINDOW: u32 = 8;

/// The newest change that a caller waits for, and whom to tell whether it was written.
type Barrier = (u64, Answer);

/// The writing half of an opened store.
struct Writing {
    sessions: Box<dyn SessionStore>,
    logs: Option<Box<dyn LogStore>>,
    likes: usize,
    worker: Worker,
    /// When log blocks are tried next, after a failure.
    logs_at: Tick,
    log_tries: u32,
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
        logs: LogQueue,
        opened: Sender<Half>,
        secret: Sender<u128>,
    ) -> Self {
        let random = Random::new(config.seed);
        let (barriers, end_at, unseen_since, complained_at) = (Vec::new(), None, None, None);
        Self {
            config,
            drain,
            open,
            metrics,
            clock,
            inbox,
            logs,
            opened,
            secret,
            random,
            barriers,
            end_at,
            unseen_since,
            complained_at,
        }
    }

    /// Opens the store, then writes until it is told to end. Whoever waits for a flush then is told that it was not done.
    pub(super) fn run(mut self) {
        if let Some(mut writing) = self.open_store() {
            self.numbers().store_open.set(1);
            while !self.step(&mut writing) {}
        }
    }

    /// Asks for the store until it opens; `None` when told to end before.
    fn open_store(&mut self) -> Option<Writing> {
        for attempt in 0u32.. {
            match self.try_open() {
                Ok(writing) => return Some(writing),
                Err(e) => {
                    let wait = self.config.reopen.delay(attempt.max(2), self.random.next());
                    self.numbers().failure.add(1);
                    self.complain(&format!(
                        "the store cannot be opened: {e}; asked again in {wait}, nothing is written meanwhile"
                    ));
                    let until = self.clock.now() + wait;
                    while self.clock.now() < until {
                        let now = self.clock.now();
                        self.read_inbox(None);
                        if self.end_at.is_some() {
                            return None;
                        }
                        self.drain.wait(Some(Duration::from(until.since(now))));
                    }
                }
            }
        }
        None
    }

    fn try_open(&mut self) -> Result<Writing, StoreError> {
        let Opened { mut sessions, lookup, logs, log_lookup } = (self.open)()?;
        let secret = sessions.secret(self.config.candidate)?;
        let epoch = sessions.next_epoch()?;
        let likes = sessions.batch_limit();
        let now = self.clock.now();
        let zero = self.clock.unix_ms(Tick::ZERO);
        let worker =
            Worker::new(self.config.worker.clone(), self.drain.capacity(), epoch, zero, self.random.next(), now);
        // Each has room for the one message it is ever sent.
        let _ = (self.opened.try_send(Half { sessions: lookup, logs: log_lookup }), self.secret.try_send(secret));
        Ok(Writing { sessions, logs, likes, worker, logs_at: Tick::ZERO, log_tries: 0 })
    }

    /// Takes in what changed, writes what is due, or sleeps. True when it was the last.
    fn step(&mut self, writing: &mut Writing) -> bool {
        let now = self.clock.now();
        let since = self.unseen_since.replace(now).unwrap_or(now);
        let busy = self.take_in(&mut writing.worker, since);
        self.read_inbox(Some(&mut writing.worker));
        let wrote = self.write_cursors(writing) | self.write_logs(writing);
        self.answer_barriers(&mut writing.worker);
        self.publish(&mut writing.worker);
        let now = self.clock.now();
        if let Some(at) = self.end_at {
            let all = writing.worker.dirty() == 0 && self.drain.is_empty() && self.logs.is_empty();
            if all || at <= now {
                return true;
            }
        }
        if !wrote {
            self.sleep(writing, now, busy);
        }
        false
    }

    /// Takes in what changed at or after `since`. True when something had.
    fn take_in(&mut self, worker: &mut Worker, since: Tick) -> bool {
        let mut busy = false;
        while let Some(key) = self.drain.pop() {
            worker.on_dirty(key, &self.drain, since);
            busy = true;
        }
        busy
    }

    /// Sleeps until something is due; while nothing changes also until something does. While much does, being woken for
    /// each change would cost both threads more than all the rest: then it naps, and looks again in a part of a window.
    fn sleep(&mut self, writing: &Writing, now: Tick, busy: bool) {
        let logs = (!self.logs.is_empty() && writing.logs.is_some()).then_some(writing.logs_at);
        let until = [writing.worker.next_deadline(), logs, self.end_at].into_iter().flatten().min();
        let until = until.map(|at| Duration::from(at.since(now)));
        let nap = Duration::from(self.config.worker.window) / NAPS_IN_A_WINDOW;
        if busy && !nap.is_zero() {
            self.drain.nap(Some(until.map_or(nap, |until| until.min(nap))));
        } else {
            self.drain.wait(until);
            self.unseen_since = None;
        }
    }

    fn read_inbox(&mut self, mut worker: Option<&mut Worker>) {
        while let Some(message) = self.inbox.take() {
            match message {
                Message::Flush(answer) => {
                    if let Some(worker) = &mut worker {
                        let now = self.clock.now();
                        self.take_in(worker, now);
                        worker.hurry(now);
                        self.barriers.push((worker.newest(), answer));
                    }
                }
                Message::Shutdown(within) => {
                    let now = self.clock.now();
                    self.end_at = Some(now + within);
                    if let Some(worker) = &mut worker {
                        self.take_in(worker, now);
                        worker.hurry(now);
                    }
                }
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
        let Writing { sessions, worker, likes, .. } = writing;
        let batch = worker.next_batch(&mut self.drain, *likes, begun);
        if batch.is_empty() {
            return false;
        }
        let size = batch.len();
        let result = sessions.store_event_ids_batch(batch);
        let now = self.clock.now();
        let numbers = self.numbers();
        numbers.batches.add(1);
        numbers.batch_size.set(size as u64);
        numbers.note_latency(now.since(begun).micros());
        let opened = worker.on_result(result.as_deref(), &mut self.drain, now);
        let trouble = match &result {
            Ok(results) => results.iter().find_map(|result| result.as_ref().err()),
            Err(e) => Some(e),
        };
        if let Some(e) = trouble {
            let next = if opened { "it is asked only now and then until it answers" } else { "they are tried again" };
            self.complain(&format!("the store refused cursors ({size} in the batch): {e}; {next}"));
        }
        true
    }

    /// Writes one batch of log blocks, if there is one.
    fn write_logs(&mut self, writing: &mut Writing) -> bool {
        let now = self.clock.now();
        let Some(store) = &mut writing.logs else {
            let none = self.logs.next_batch().len();
            self.logs.on_written(std::iter::repeat_n(true, none));
            return false;
        };
        if writing.logs_at > now && self.end_at.is_none() || self.logs.is_empty() {
            return false;
        }
        let batch = self.logs.next_batch();
        let result = store.write_logs(batch);
        let trouble = match &result {
            Ok(results) => results.iter().find_map(|result| result.as_ref().err()).cloned(),
            Err(e) => Some(e.clone()),
        };
        let written: Vec<bool> = result.unwrap_or_default().iter().map(Result::is_ok).collect();
        self.numbers().log_blocks.add(written.iter().filter(|written| **written).count() as u64);
        self.logs.on_written(written.into_iter());
        match trouble {
            None => {
                writing.log_tries = 0;
                writing.logs_at = now + self.config.worker.window;
            }
            Some(e) => {
                writing.log_tries += 1;
                let wait = self.config.worker.retry.delay(writing.log_tries, self.random.next());
                writing.logs_at = now + wait.max(self.config.worker.window);
                self.numbers().failure.add(1);
                self.complain(&format!("the store refused log blocks: {e}; they are tried again"));
            }
        }
        true
    }

    fn numbers(&self) -> &Persistence {
        self.metrics.persistence()
    }

    /// Shows the worker's numbers to other threads.
    fn publish(&self, worker: &mut Worker) {
        let (numbers, now) = (self.numbers(), self.clock.now());
        let stats = *worker.stats();
        numbers.queue_depth.set(worker.dirty() as u64);
        numbers.activity_queue_depth.set(worker.quiet() as u64);
        numbers.lag.set(worker.lag(now).micros());
        numbers.changes.set(stats.changes);
        numbers.activity_changes.set(stats.activity_changes);
        numbers.cursor_records.set(stats.cursor_records);
        numbers.activity_batched.set(stats.activity_records);
        numbers.success.set(stats.cursor_records + stats.activity_records);
        numbers.failure.set(stats.failures);
        numbers.retry.set(stats.retries);
        numbers.fenced.set(stats.fenced);
        numbers.breaker_open.set(u64::from(worker.is_open()));
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
