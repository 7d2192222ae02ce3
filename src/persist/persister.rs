//! The persister's threads: started, waited for, ended.
//!
//! In: a configuration, the drain of the slots, a way to open the store. Out: the threads, and a [`PersistControl`] to
//! ask them.
//! Laws: no call waits, but [`Persister::first_open`] and [`Persister::shutdown`]; a persister that is dropped ends,
//! and closes the store.

use super::complaints::Complaints;
use super::config::PersistConfig;
use super::control::PersistControl;
use super::flusher::{Flusher, Links};
use super::following::{FollowLender, FollowThread, following};
use super::logs::{self, LogQueue};
use super::lookups::LookupThread;
use super::message::{Lender, Message, Opener};
use crate::base::{Cursor, Span, StreamName};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::slot::{Ringer, SlotDrain, Survey};
use crate::store::StoreError;
use crate::sync::{Counter, Inbox, Post, desk, inbox};
use crossbeam_channel::{Receiver, bounded};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How many messages may wait, and how many questions.
const CONTROL: usize = 1_000;

/// How long a persister that nobody waits for may go on writing.
const LEFT_ALONE: Span = Span::from_secs(5);

/// How long the flusher may take to notice that its time is up.
const GRACE: Duration = Duration::from_millis(50);

/// The persister's two threads.
#[derive(Debug)]
pub struct Persister {
    control: PersistControl,
    survey: Survey,
    opening: Receiver<Result<u128, StoreError>>,
    end: End,
    ended: Receiver<()>,
    clock: Clock,
}

impl Persister {
    /// Starts both threads. The first of them opens the store, and tries again until that succeeds.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(
        config: PersistConfig,
        drain: SlotDrain,
        open: Opener,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> io::Result<Self> {
        let (last, ended) = bounded(1);
        let (survey, shared) = (drain.survey(), config.shared);
        let Parts { control, end, flusher, lookups, follows, opening } =
            Parts::new(config, drain, open, metrics, clock);
        if shared {
            thread::Builder::new().name("segno-follow".to_owned()).spawn(move || follows.run())?;
        }
        thread::Builder::new().name("segno-lookup".to_owned()).spawn(move || lookups.run())?;
        thread::Builder::new().name("segno-persist".to_owned()).spawn(move || {
            flusher.run();
            // There may be nobody left who listens.
            let _ = last.try_send(());
        })?;
        Ok(Self { control, survey, opening, end, ended, clock })
    }

    /// A way to ask the persister, for any thread.
    pub fn control(&self) -> PersistControl {
        self.control.clone()
    }

    /// Waits until the store has opened for the first time, and returns the key that names are hashed with. `None`: the
    /// store did not open within this time. Where the caller has the key (`has_key`), also `None` as soon as the first
    /// attempt has failed.
    ///
    /// # Errors
    /// The store's name or path is wrong ([`StoreError::is_misconfigured`]). The attempts go on all the same.
    pub fn first_open(&self, within: Span, has_key: bool) -> Result<Option<u128>, StoreError> {
        let until = self.clock.now() + within;
        loop {
            match self.opening.recv_timeout(Duration::from(until.since(self.clock.now()))) {
                Ok(Ok(secret)) => return Ok(Some(secret)),
                Ok(Err(e)) if e.is_misconfigured() => return Err(e),
                Ok(Err(_)) if !has_key => {}
                _ => return Ok(None),
            }
        }
    }

    /// Tells that names are hashed with this key, because the store did not tell one in time. Should it have another, a
    /// log line says what that means.
    pub fn go_by(&self, key: u128) {
        if self.control.messages.leave(Message::GoesBy(key)).is_ok() {
            self.control.ringer.call();
        }
    }

    /// Writes everything and ends, within about this much time. A store call that hangs is left behind, with its
    /// thread.
    pub fn shutdown(mut self, within: Span) -> Unflushed {
        let ended = self.end.say(within) && self.ended.recv_timeout(Duration::from(within) + GRACE).is_ok();
        let left = self.survey.unflushed();
        let left = left.filter_map(|published| Some(((*published.name).clone(), published.cursor.clone()?)));
        Unflushed { cursors: left.collect(), hung: !ended }
    }
}

/// What was not durable when the persister ended.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Unflushed {
    /// The streams whose newest cursor is not durable, with that cursor.
    pub cursors: Vec<(StreamName, Cursor)>,
    /// The store did not come back from a call; its thread was left behind.
    pub hung: bool,
}

/// Ends the persister, by a call or when this is dropped. It has an inbox of its own, so that a flood of questions does
/// not delay the end.
#[doc(hidden)]
#[derive(Debug)]
pub struct End {
    /// Empty once the end was said.
    post: Option<Post<Span>>,
    ringer: Ringer,
}

impl End {
    /// Tells the persister to write everything and then end, and to end in any case when this much time has passed.
    /// False when it was told before, or has ended.
    pub fn say(&mut self, within: Span) -> bool {
        let is_left = self.post.take().is_some_and(|post| post.leave(within).is_ok());
        if is_left {
            self.ringer.call();
        }
        is_left
    }
}

impl Drop for End {
    /// Tells the threads to write what there is and to close the store, and does not wait for them. So a start that
    /// failed leaves the store free for the next one.
    fn drop(&mut self) {
        self.say(LEFT_ALONE);
    }
}

/// Both halves of the persister, before they have threads.
pub(super) struct Parts {
    pub(super) control: PersistControl,
    pub(super) end: End,
    pub(super) flusher: Flusher,
    pub(super) lookups: LookupThread,
    pub(super) follows: FollowThread,
    opening: Receiver<Result<u128, StoreError>>,
}

impl Parts {
    pub(super) fn new(
        config: PersistConfig,
        drain: SlotDrain,
        open: Opener,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let ringer = drain.ringer();
        let Front { control, lookups, follows, lender, follow_lender, logs, messages } =
            Front::new(ringer.clone(), &config, Arc::clone(&metrics), clock);
        let (end, ending) = inbox(1);
        let (outcome, opening) = bounded(2);
        let owner = Arc::clone(&control.owner);
        let links =
            Links { drain, logs, messages, ending, open, lender, follow_lender, owner, outcome, metrics, clock };
        let end = End { post: Some(end), ringer };
        Self { control, end, flusher: Flusher::new(config, links), lookups, follows, opening }
    }
}

/// What callers talk to: the control, the look-up thread that answers its questions, and the writing thread's ends of
/// the channels.
pub(super) struct Front {
    pub(super) control: PersistControl,
    pub(super) lookups: LookupThread,
    pub(super) follows: FollowThread,
    pub(super) lender: Lender,
    follow_lender: FollowLender,
    logs: LogQueue,
    messages: Inbox<Message>,
}

impl Front {
    pub(super) fn new(ringer: Ringer, config: &PersistConfig, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let (post, messages) = inbox(CONTROL);
        let (questions, teller, desk) = desk(CONTROL);
        let (log_sender, logs) = logs::queue(config.log_bytes);
        let lookups = LookupThread {
            desk,
            messages: post.clone(),
            ringer: ringer.clone(),
            metrics: Arc::clone(&metrics),
            clock,
            complaints: Complaints::new(config.journal.clone()),
        };
        let complaints = Complaints::new(config.journal.clone());
        let (words, follow_lender, follows) =
            following(config.shared, post.clone(), ringer.clone(), Arc::clone(&metrics), clock, complaints);
        let owner = Arc::new(Counter::default());
        let control =
            PersistControl { messages: post, questions, logs: log_sender, follows: words, owner, ringer, metrics };
        Self { control, lookups, follows, lender: Lender(teller), follow_lender, logs, messages }
    }
}
