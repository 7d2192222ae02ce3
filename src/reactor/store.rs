//! The reactor's way to the store beside the slots: look-ups, events to be kept, and logs of other instances to follow.
//!
//! In: look-ups, events and follows of the machine. Out: calls of functions that the engine made, which neither wait nor
//! know of the reactor; replies and news of logs, which come back over channels and the waker.
//! Laws: nothing here waits; a reply for which there is no room is counted and is an error to its request, never an
//! answer that nothing is stored; news for which there is no room are refused, and told again by whoever has them; the
//! bytes of all that waits are bounded.

use crate::base::StreamName;
use crate::machine::{EventPart, ExchangeKey, Followed, Lookup, NotLookedUp, StoredStream};
use crate::metrics::Metrics;
use crate::sync::Counter;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::fmt;
use std::sync::Arc;

/// Replies that may wait.
const REPLIES: usize = 1_000;

/// News of logs that may wait.
const NEWS: usize = 4_000;

/// Bytes of stored events in all replies and news that wait, at most.
const BYTES: u64 = 64 << 20;

/// What the store has found, and for which exchange.
pub(super) type Found = (ExchangeKey, Result<Vec<StoredStream>, NotLookedUp>);

/// Passes a look-up on; false when too many wait. The reply comes through the second argument, from any thread.
type LooksUp = Box<dyn Fn(Lookup, Reply) -> bool + Send>;

/// Passes on what becomes of a stream's log; false when too much waits.
type Keeps = Box<dyn Fn(&Arc<StreamName>, Keep) -> bool + Send>;

/// What becomes of a stream's log in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keep {
    /// More events.
    Part {
        /// The events.
        part: EventPart,
        /// Events before these could not be passed on.
        hole: bool,
    },
    /// All of the stream's events have been passed on.
    End {
        /// As upstream ended the stream; else upstream was lost.
        whole: bool,
        /// The number behind the last event.
        next: u64,
    },
    /// This instance has the stream no more. Its log stays.
    Release,
    /// The log is of no use any more.
    Forget,
}

/// A log of another instance that is to be followed, or no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Follow {
    /// Follow this log for an exchange.
    Begin {
        /// The exchange.
        exchange: ExchangeKey,
        /// The log.
        name: StreamName,
        /// The last event that is known, and the log's fence.
        after: u64,
        /// How often the log had changed its owner.
        fence: u64,
    },
    /// Follow nothing for it any more.
    End {
        /// The exchange.
        exchange: ExchangeKey,
    },
}

/// What the store says of logs, unasked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogNews {
    /// Of a log that an exchange follows.
    Followed {
        /// The exchange.
        exchange: ExchangeKey,
        /// What is new.
        news: Followed,
    },
    /// Whether another instance follows a log of this one.
    Watched {
        /// The log.
        name: Arc<StreamName>,
        /// Somebody follows it.
        by_others: bool,
    },
    /// Another instance has a log that was this one's.
    TakenOver {
        /// The log.
        name: Arc<StreamName>,
    },
}

/// What the engine adds to a link where logs are shared.
struct Shares {
    follows: Box<dyn Fn(Follow) -> bool + Send>,
    listens: Box<dyn Fn(NewsSender) + Send>,
}

/// What the reactor may ask of the store: functions of the engine's.
pub struct StoreLink {
    looks_up: LooksUp,
    keeps: Keeps,
    shares: Option<Shares>,
    back: Option<Back>,
}

impl StoreLink {
    /// A link made of two functions, neither of which may wait. Each returns false when too much waits already.
    pub fn new(
        looks_up: impl Fn(Lookup, Reply) -> bool + Send + 'static,
        keeps: impl Fn(&Arc<StreamName>, Keep) -> bool + Send + 'static,
    ) -> Self {
        Self { looks_up: Box::new(looks_up), keeps: Box::new(keeps), shares: None, back: None }
    }

    /// The same link where logs are shared: `follows` has logs of others followed, and returns false when too much
    /// waits; `listens` says once where news go.
    #[must_use]
    pub fn sharing(
        self,
        follows: impl Fn(Follow) -> bool + Send + 'static,
        listens: impl Fn(NewsSender) + Send + 'static,
    ) -> Self {
        Self { shares: Some(Shares { follows: Box::new(follows), listens: Box::new(listens) }), ..self }
    }

    /// Whether logs are shared.
    pub(super) fn is_shared(&self) -> bool {
        self.shares.is_some()
    }

    /// Opens the way back: replies to look-ups, and news of logs, from now on arrive here.
    pub(super) fn open(&mut self, waker: &Arc<Waker>, metrics: &Arc<Metrics>) -> Replies {
        let (sender, receiver) = bounded(REPLIES);
        // The places are taken at once.
        let (teller, news) = bounded(if self.is_shared() { NEWS } else { 1 });
        let bytes = Arc::new(Counter::default());
        let replies = Replies { receiver, news, bytes: Arc::clone(&bytes) };
        if let Some(shares) = &self.shares {
            (shares.listens)(NewsSender { teller, waker: Arc::clone(waker), bytes: Arc::clone(&bytes) });
        }
        self.back = Some(Back { sender, waker: Arc::clone(waker), bytes, metrics: Arc::clone(metrics) });
        replies
    }

    /// Passes a look-up on. False: too many wait, and there will be no reply.
    pub(super) fn look_up(&self, lookup: Lookup) -> bool {
        let reply = Reply { exchange: lookup.exchange, back: self.back.clone() };
        (self.looks_up)(lookup, reply)
    }

    /// Passes on what becomes of a log. False: too much waits.
    pub(super) fn keep(&self, name: &Arc<StreamName>, keep: Keep) -> bool {
        (self.keeps)(name, keep)
    }

    /// Has a log followed, or no more. False: too much waits, or logs are not shared.
    pub(super) fn follow(&self, follow: Follow) -> bool {
        self.shares.as_ref().is_some_and(|shares| (shares.follows)(follow))
    }
}

impl fmt::Debug for StoreLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreLink")
    }
}

/// Returns what the store has found to the reactor, from any thread. Never waits.
pub struct Reply {
    exchange: ExchangeKey,
    back: Option<Back>,
}

/// The way of a reply.
#[derive(Clone)]
struct Back {
    sender: Sender<Found>,
    waker: Arc<Waker>,
    bytes: Arc<Counter>,
    metrics: Arc<Metrics>,
}

impl Reply {
    /// Sends what the store has found, or that it could not be asked. Where too many bytes wait, the reply is counted
    /// and becomes an error; where too many replies wait, it is counted and dropped, and the request that waits takes
    /// that for an error after a while.
    pub fn send(self, mut found: Result<Vec<StoredStream>, NotLookedUp>) {
        let Some(Back { sender, waker, bytes, metrics }) = self.back else { return };
        let mut size = size(&found);
        bytes.add(size);
        if bytes.get() > BYTES {
            bytes.take(std::mem::take(&mut size));
            found = Err(NotLookedUp);
            metrics.persistence().answers_dropped.add(1);
        }
        if sender.try_send((self.exchange, found)).is_err() {
            bytes.take(size);
            metrics.persistence().answers_dropped.add(1);
            return;
        }
        // A reactor that has ended needs no waking.
        let _ = waker.wake();
    }
}

/// Tells the reactor news of logs, from any thread. Never waits.
#[derive(Clone, Debug)]
pub struct NewsSender {
    teller: Sender<LogNews>,
    waker: Arc<Waker>,
    bytes: Arc<Counter>,
}

impl NewsSender {
    /// Tells news. False: there is no room; whoever has them tells them again later.
    pub fn send(&self, news: LogNews) -> bool {
        let size = news.size();
        let held = self.bytes.get();
        // One alone may be larger than the bound. It would never find room.
        if size > 0 && held > 0 && held.saturating_add(size) > BYTES {
            return false;
        }
        self.bytes.add(size);
        let sent = self.teller.try_send(news).is_ok();
        if sent {
            // A reactor that has ended needs no waking.
            let _ = self.waker.wake();
        } else {
            self.bytes.take(size);
        }
        sent
    }
}

impl LogNews {
    /// Bytes of stored events in it.
    fn size(&self) -> u64 {
        match self {
            Self::Followed { news: Followed::Events(events), .. } => events.bytes.len() as u64,
            _ => 0,
        }
    }
}

/// Bytes of stored events in a reply.
fn size(found: &Result<Vec<StoredStream>, NotLookedUp>) -> u64 {
    found.iter().flatten().filter_map(|stored| stored.log.as_ref()).map(|log| log.bytes.len() as u64).sum()
}

/// The replies that wait for the reactor.
#[derive(Debug)]
pub(super) struct Replies {
    receiver: Receiver<Found>,
    news: Receiver<LogNews>,
    bytes: Arc<Counter>,
}

impl Replies {
    /// The oldest reply that waits.
    pub(super) fn next(&self) -> Option<Found> {
        let found = self.receiver.try_recv().ok()?;
        self.bytes.take(size(&found.1));
        Some(found)
    }

    /// The oldest news of logs that wait.
    pub(super) fn next_news(&self) -> Option<LogNews> {
        let news = self.news.try_recv().ok()?;
        self.bytes.take(news.size());
        Some(news)
    }
}

#[cfg(test)]
mod tests;
