//! The persister from outside: started, asked, told to flush, ended.
//!
//! In: calls from any thread. Out: messages to the persister's threads, over channels that are bounded.
//! Laws: no call here waits, but [`Persister::first_open`] and [`Persister::shutdown`]; a message that finds no place is
//! refused and counted; a persister that is dropped ends, and lets go of the store.

use super::PersistConfig;
use super::flusher::Flusher;
use super::logs::{self, LogSender};
use super::lookup::{Half, Lookup, Lookups, Openings};
use crate::base::{Cursor, Span, StreamName};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::slot::{Ringer, SlotDrain, Survey};
use crate::store::{LogWrite, Opened, Record, SessionStore, StoreError, StoredLog};
use crate::sync::{Asker, Post, desk, inbox};
use crossbeam_channel::{Receiver, bounded};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Messages that may wait.
const CONTROL: usize = 1_000;

/// Opens the store; called until it succeeds.
pub type Opener = Box<dyn FnMut() -> Result<Opened, StoreError> + Send>;

/// Takes an answer, on the look-up thread. It must not wait.
pub type Reply<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Says of a stored log whether it is wanted, on the look-up thread.
pub type Wanted = Box<dyn FnMut(&StoredLog) -> bool + Send>;

/// The channel to the persister is full, or the persister has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the persister is overrun or has ended; try again later")
    }
}

impl std::error::Error for Refused {}

/// What the flusher is told.
pub(super) enum Message {
    /// Answer when everything published before is durable.
    Flush(Answer),
    /// The look-ups' half of this opening of the store has failed for good.
    Closed {
        /// Its number.
        opening: u64,
    },
}

/// Tells a caller whether its flush was done, exactly once: that it was not where this is dropped, wherever it is then. A
/// flush may still lie in the inbox when the flusher ends.
pub(super) struct Answer(Option<Box<dyn FnOnce(bool) + Send>>);

impl Answer {
    /// Gives the answer.
    pub(super) fn give(mut self, all: bool) {
        if let Some(reply) = self.0.take() {
            reply(all);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(false);
        }
    }
}

/// Asks the persister, from any thread.
#[derive(Clone, Debug)]
pub struct PersistControl {
    messages: Post<Message>,
    lookups: Asker<Lookup>,
    logs: LogSender,
    ringer: Ringer,
    metrics: Arc<Metrics>,
}

impl PersistControl {
    /// Looks up the cursors of a session that were active last: at most `limit`, the last one first.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn load_session(
        &self,
        session: Box<[u8]>,
        limit: usize,
        reply: Reply<Vec<(StreamName, Record)>>,
    ) -> Result<(), Refused> {
        self.look_up(Lookup::Session { session, limit, reply })
    }

    /// Looks up one cursor.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn load(&self, name: StreamName, reply: Reply<Option<Record>>) -> Result<(), Refused> {
        self.look_up(Lookup::Cursor { name, reply })
    }

    /// Looks up the stored logs of a session that are wanted: at most `limit` streams, those first that were active last,
    /// the newest `max_bytes` of each.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn load_logs(
        &self,
        session: Box<[u8]>,
        wanted: Wanted,
        limit: usize,
        max_bytes: usize,
        reply: Reply<Vec<(StreamName, Record, StoredLog)>>,
    ) -> Result<(), Refused> {
        self.look_up(Lookup::Logs { session, wanted, limit, max_bytes, reply })
    }

    /// Lists cursors behind a name, at most `limit`.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn scan(
        &self,
        after: Option<StreamName>,
        limit: usize,
        reply: Reply<Vec<(StreamName, Record)>>,
    ) -> Result<(), Refused> {
        self.look_up(Lookup::Scan { after, limit, reply })
    }

    fn look_up(&self, lookup: Lookup) -> Result<(), Refused> {
        self.lookups.ask(lookup).map_err(|_| self.refused())
    }

    /// Has `reply` called with true once everything that was published before is durable; with false when the persister
    /// ends before, when the store was never opened, or when a thousand others wait already.
    ///
    /// # Errors
    /// [`Refused`]; then `reply` is not called.
    pub fn flush(&self, reply: Box<dyn FnOnce(bool) + Send>) -> Result<(), Refused> {
        if let Err(refused) = self.messages.leave(Message::Flush(Answer(Some(reply)))) {
            if let Message::Flush(mut answer) = refused {
                answer.0 = None;
            }
            return Err(self.refused());
        }
        self.ringer.call();
        Ok(())
    }

    /// Takes a block of a log for the store, or a log's removal. Refused where too many are on their way: the next block
    /// of that stream then has to state a hole, and a removal is to be said again.
    ///
    /// # Errors
    /// [`Refused`]; the block is dropped.
    pub fn append_log(&self, write: LogWrite) -> Result<(), Refused> {
        let is_block = matches!(write, LogWrite::Append { .. });
        if !self.logs.push(write) {
            self.metrics.persistence().log_blocks_dropped.add(u64::from(is_block));
            return Err(Refused);
        }
        self.ringer.ring();
        Ok(())
    }

    fn refused(&self) -> Refused {
        self.metrics.persistence().refused.add(1);
        Refused
    }
}

/// What was left when the persister ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unflushed {
    /// The streams whose newest cursor is not durable, with that cursor.
    pub cursors: Vec<(StreamName, Cursor)>,
    /// The store did not come back from a call; its thread was left behind.
    pub hung: bool,
}

/// Ends the persister: when it is said, or when this is dropped. A post of its own: whoever asks much delays no end.
#[doc(hidden)]
#[derive(Debug)]
pub struct End {
    /// Until it is said.
    post: Option<Post<Span>>,
    ringer: Ringer,
}

impl End {
    /// Says that everything is to be written, and then is the end; at this much time from now in any case. False when it
    /// was said before, or the persister has ended.
    pub fn say(&mut self, within: Span) -> bool {
        let is_left = self.post.take().is_some_and(|post| post.leave(within).is_ok());
        if is_left {
            self.ringer.call();
        }
        is_left
    }
}

impl Drop for End {
    /// Has the threads write what there is and close the store, and does not wait for that: a start that failed must
    /// leave the store to the next one.
    fn drop(&mut self) {
        self.say(LEFT_ALONE);
    }
}

/// The persister before it has threads.
struct Parts {
    control: PersistControl,
    end: End,
    flusher: Flusher,
    lookups: Lookups,
    secret: Receiver<u128>,
}

impl Parts {
    fn new(config: PersistConfig, drain: SlotDrain, open: Opener, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let (messages, letters) = inbox(CONTROL);
        let (lookups, opened, desk) = desk(CONTROL);
        let (secret, secrets) = bounded(1);
        let (end, ending) = inbox(1);
        let (logs, log_queue) = logs::queue(config.log_bytes);
        let ringer = drain.ringer();
        let answering = Lookups {
            desk,
            messages: messages.clone(),
            ringer: ringer.clone(),
            metrics: Arc::clone(&metrics),
            clock,
            complained_at: None,
        };
        let (told, opened) = (Arc::clone(&metrics), Openings(opened));
        let flusher = Flusher::new(config, drain, open, told, clock, letters, ending, log_queue, opened, secret);
        let end = End { post: Some(end), ringer: ringer.clone() };
        let control = PersistControl { messages, lookups, logs, ringer, metrics };
        Self { control, end, flusher, lookups: answering, secret: secrets }
    }
}

/// Both store threads, the writing one first, each to be run on any thread, for models of them.
#[doc(hidden)]
pub fn threads(
    config: PersistConfig,
    drain: SlotDrain,
    open: Opener,
    clock: Clock,
) -> (PersistControl, End, impl FnOnce() + Send, impl FnOnce() + Send) {
    let Parts { control, end, flusher, lookups, .. } = Parts::new(config, drain, open, Arc::default(), clock);
    (control, end, move || flusher.run(), move || lookups.run())
}

/// The number of an opening, with its half for look-ups; or none.
type MaybeOpen = Option<(u64, Box<dyn SessionStore>)>;

/// The look-ups alone, to be run on any thread, for models of them; and what the writing thread has: it says which opening
/// is looked up in, by its number, or that none is.
#[doc(hidden)]
pub fn lookups(ringer: Ringer, clock: Clock) -> (PersistControl, impl Fn(MaybeOpen) + Send, impl FnOnce() + Send) {
    let (lookups, opened, desk) = desk(CONTROL);
    let (opened, (messages, _), (logs, _)) = (Openings(opened), inbox(CONTROL), logs::queue(0));
    let (letters, metrics) = (messages.clone(), Arc::<Metrics>::default());
    let told = Arc::clone(&metrics);
    let answering =
        Lookups { desk, messages: letters, ringer: ringer.clone(), metrics: told, clock, complained_at: None };
    let control = PersistControl { messages, lookups, logs, ringer, metrics };
    let say = move |half: MaybeOpen| {
        opened.say(half.map(|(opening, sessions)| Half { opening, sessions, logs: None }));
    };
    (control, say, move || answering.run())
}

/// The persister's two threads.
#[derive(Debug)]
pub struct Persister {
    control: PersistControl,
    survey: Survey,
    secret: Receiver<u128>,
    end: End,
    ended: Receiver<()>,
}

impl Persister {
    /// Starts both threads. The store is opened on the first of them, again and again until it opens.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        config: PersistConfig,
        drain: SlotDrain,
        open: Opener,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> io::Result<Self> {
        let (last, ended) = bounded(1);
        let survey = drain.survey();
        let Parts { control, end, flusher, lookups, secret } = Parts::new(config, drain, open, metrics, clock);
        thread::Builder::new().name("segno-lookup".to_owned()).spawn(move || lookups.run())?;
        thread::Builder::new().name("segno-persist".to_owned()).spawn(move || {
            flusher.run();
            // Nobody may be left to hear it.
            let _ = last.try_send(());
        })?;
        Ok(Self { control, survey, secret, end, ended })
    }

    /// A way to ask, for any thread.
    pub fn control(&self) -> PersistControl {
        self.control.clone()
    }

    /// Waits for the store to open for the first time: the key that names are hashed with. `None`: it did not within
    /// the time.
    pub fn first_open(&self, within: Span) -> Option<u128> {
        self.secret.recv_timeout(Duration::from(within)).ok()
    }

    /// Writes everything and ends, within about this much time. A store call that hangs is left behind on its thread.
    pub fn shutdown(mut self, within: Span) -> Unflushed {
        let ended = self.end.say(within) && self.ended.recv_timeout(Duration::from(within) + GRACE).is_ok();
        let left = self.survey.unflushed();
        let left = left.filter_map(|published| Some(((*published.name).clone(), published.cursor.clone()?)));
        Unflushed { cursors: left.collect(), hung: !ended }
    }
}

/// How long a persister that nobody waits for may go on writing.
const LEFT_ALONE: Span = Span::from_secs(5);

/// For the flusher to notice that its time is up.
const GRACE: Duration = Duration::from_millis(50);
