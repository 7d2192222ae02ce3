//! The reactor's way to the store beside the slots: look-ups, and events to be kept.
//!
//! In: look-ups and events of the machine. Out: calls of two functions that the engine made, which neither wait nor
//! know of the reactor; replies, which come back over a channel and the waker.
//! Laws: nothing here waits; a reply for which there is no room is counted and is an error to its request, never an
//! answer that nothing is stored; the bytes of all replies that wait are bounded.

use crate::base::StreamName;
use crate::machine::{EventPart, ExchangeKey, Lookup, NotLookedUp, StoredStream};
use crate::metrics::Metrics;
use crate::sync::Counter;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::fmt;
use std::sync::Arc;

/// Replies that may wait.
const REPLIES: usize = 1_000;

/// Bytes of stored events in all replies that wait, at most.
const BYTES: u64 = 64 << 20;

/// What the store has found, and for which exchange.
pub(super) type Found = (ExchangeKey, Result<Vec<StoredStream>, NotLookedUp>);

/// Passes a look-up on; false when too many wait. The reply comes through the second argument, from any thread.
type LooksUp = Box<dyn Fn(Lookup, Reply) -> bool + Send>;

/// Passes events of a stream on, or (`None`) the word to forget all of them; false when too much waits. The last
/// argument says that events before these could not be passed on.
type Keeps = Box<dyn Fn(&Arc<StreamName>, Option<EventPart>, bool) -> bool + Send>;

/// What the reactor may ask of the store: two functions of the engine's.
pub struct StoreLink {
    looks_up: LooksUp,
    keeps: Keeps,
    back: Option<Back>,
}

impl StoreLink {
    /// A link made of these two functions, neither of which may wait. Each returns false when too much waits already.
    pub fn new(
        looks_up: impl Fn(Lookup, Reply) -> bool + Send + 'static,
        keeps: impl Fn(&Arc<StreamName>, Option<EventPart>, bool) -> bool + Send + 'static,
    ) -> Self {
        Self { looks_up: Box::new(looks_up), keeps: Box::new(keeps), back: None }
    }

    /// Opens the way back: replies to look-ups from now on arrive here.
    pub(super) fn open(&mut self, waker: &Arc<Waker>, metrics: &Arc<Metrics>) -> Replies {
        let (sender, receiver) = bounded(REPLIES);
        let bytes = Arc::new(Counter::default());
        let replies = Replies { receiver, bytes: Arc::clone(&bytes) };
        self.back = Some(Back { sender, waker: Arc::clone(waker), bytes, metrics: Arc::clone(metrics) });
        replies
    }

    /// Passes a look-up on. False: too many wait, and there will be no reply.
    pub(super) fn look_up(&self, lookup: Lookup) -> bool {
        let reply = Reply { exchange: lookup.exchange, back: self.back.clone() };
        (self.looks_up)(lookup, reply)
    }

    /// Passes events on to be kept. `hole`: events before them could not be passed on. False: too much waits.
    pub(super) fn keep(&self, name: &Arc<StreamName>, part: EventPart, hole: bool) -> bool {
        (self.keeps)(name, Some(part), hole)
    }

    /// Passes on that a stream's events are of no use any more. False: too much waits; the caller tries again.
    pub(super) fn forget(&self, name: &Arc<StreamName>) -> bool {
        (self.keeps)(name, None, false)
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

/// Bytes of stored events in a reply.
fn size(found: &Result<Vec<StoredStream>, NotLookedUp>) -> u64 {
    found.iter().flatten().filter_map(|stored| stored.log.as_ref()).map(|log| log.bytes.len() as u64).sum()
}

/// The replies that wait for the reactor.
#[derive(Debug)]
pub(super) struct Replies {
    receiver: Receiver<Found>,
    bytes: Arc<Counter>,
}

impl Replies {
    /// The oldest reply that waits.
    pub(super) fn next(&self) -> Option<Found> {
        let found = self.receiver.try_recv().ok()?;
        self.bytes.take(size(&found.1));
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{EventId, Key};
    use crate::machine::{StoredEvents, StoredOwner};
    use mio::{Poll, Token};

    fn stored(bytes: usize) -> StoredStream {
        let log = StoredEvents {
            meta: Box::default(),
            first: 1,
            bytes: vec![0; bytes],
            fence: 0,
            owner: StoredOwner::None,
            end: None,
        };
        StoredStream { stream: 1, id: EventId::from_bytes(b"1").unwrap(), last_seen_ms: 0, log: Some(log) }
    }

    #[test]
    fn replies_without_room_are_counted_and_their_bytes_bounded() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (mut link, metrics) = (StoreLink::new(|_, _| true, |_, _, _| true), Arc::new(Metrics::default()));
        let replies = link.open(&waker, &metrics);
        let send = |bytes| {
            let exchange: ExchangeKey = Key::from_bits(0);
            Reply { exchange, back: link.back.clone() }.send(Ok(vec![stored(bytes)]));
        };
        let dropped = || metrics.persistence().answers_dropped.get();
        (0..5).for_each(|_| send(BYTES as usize / 4));
        assert_eq!((dropped(), replies.bytes.get()), (1, BYTES));
        assert_eq!(replies.next().unwrap().1.unwrap().len(), 1);
        send(BYTES as usize / 4);
        assert_eq!(dropped(), 1);
        // The one without room was not lost: it is an error.
        let rest: Vec<bool> = std::iter::from_fn(|| replies.next()).map(|(_, found)| found.is_ok()).collect();
        assert_eq!(rest, [true, true, true, false, true]);
        assert_eq!(replies.bytes.get(), 0);
        (0..REPLIES + 3).for_each(|_| send(1));
        assert_eq!((dropped(), replies.bytes.get()), (4, REPLIES as u64));
    }
}
