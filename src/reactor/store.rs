//! The reactor's way to the store beside the slots: questions, and events to be kept.
//!
//! In: what the machine asks and gives. Out: calls of functions that the engine made, which neither wait nor know of
//! the reactor; answers, which come back over a channel and the waker.
//! Laws: nothing here waits; an answer that finds no place is as good as none, and the request goes on without it, which
//! is counted; the bytes of all answers that are on their way are bounded.

use crate::base::StreamName;
use crate::machine::{EventPart, ExchangeKey, Lookup, StoredStream};
use crate::metrics::Metrics;
use crate::sync::Counter;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::fmt;
use std::sync::Arc;

/// Answers that may wait.
const ANSWERS: usize = 1_000;

/// Bytes of stored events in them, at most.
const BYTES: u64 = 64 << 20;

/// An answer, and who waits for it.
pub(super) type Found = (ExchangeKey, Vec<StoredStream>);

/// Asks a question; false when it found no place. The answer is given by calling the second argument, from any thread.
type Asks = Box<dyn Fn(Lookup, Answer) -> bool + Send>;

/// Takes events of a stream, or forgets all of them; false when that found no place.
type Keeps = Box<dyn Fn(&Arc<StreamName>, Option<EventPart>, bool) -> bool + Send>;

/// What the engine gives the reactor of the store.
pub struct StoreLink {
    asks: Asks,
    keeps: Keeps,
    back: Option<Back>,
}

/// Gives an answer back to the reactor. Never waits.
pub struct Answer {
    exchange: ExchangeKey,
    back: Option<Back>,
}

/// The way of an answer.
#[derive(Clone)]
struct Back {
    sender: Sender<Found>,
    waker: Arc<Waker>,
    bytes: Arc<Counter>,
    metrics: Arc<Metrics>,
}

impl Answer {
    /// What the store knows; nothing, where it is away. Counted where it finds no place.
    pub fn give(self, found: Vec<StoredStream>) {
        let Some(Back { sender, waker, bytes, metrics }) = self.back else { return };
        let size = size(&found);
        bytes.add(size);
        if bytes.get() > BYTES || sender.try_send((self.exchange, found)).is_err() {
            bytes.take(size);
            metrics.persistence().answers_dropped.add(1);
            return;
        }
        // A reactor that has ended needs no waking.
        let _ = waker.wake();
    }
}

/// Bytes of stored events in an answer.
fn size(found: &[StoredStream]) -> u64 {
    found.iter().filter_map(|stored| stored.log.as_ref()).map(|log| log.bytes.len() as u64).sum()
}

/// Where answers come.
#[derive(Debug)]
pub(super) struct Answers {
    receiver: Receiver<Found>,
    bytes: Arc<Counter>,
}

impl Answers {
    /// The next one.
    pub(super) fn next(&self) -> Option<Found> {
        let found = self.receiver.try_recv().ok()?;
        self.bytes.take(size(&found.1));
        Some(found)
    }
}

impl StoreLink {
    /// A link of these two functions, neither of which may wait.
    pub fn new(
        asks: impl Fn(Lookup, Answer) -> bool + Send + 'static,
        keeps: impl Fn(&Arc<StreamName>, Option<EventPart>, bool) -> bool + Send + 'static,
    ) -> Self {
        Self { asks: Box::new(asks), keeps: Box::new(keeps), back: None }
    }

    /// Where answers come.
    pub(super) fn answers(&mut self, waker: &Arc<Waker>, metrics: &Arc<Metrics>) -> Answers {
        let (sender, receiver) = bounded(ANSWERS);
        let bytes = Arc::new(Counter::default());
        let answers = Answers { receiver, bytes: Arc::clone(&bytes) };
        self.back = Some(Back { sender, waker: Arc::clone(waker), bytes, metrics: Arc::clone(metrics) });
        answers
    }

    /// Asks. False: that found no place, and there will be no answer.
    pub(super) fn look_up(&self, question: Lookup) -> bool {
        let answer = Answer { exchange: question.exchange, back: self.back.clone() };
        (self.asks)(question, answer)
    }

    /// Hands events over. `hole`: some before them found no place.
    pub(super) fn keep(&self, name: &Arc<StreamName>, part: EventPart, hole: bool) -> bool {
        (self.keeps)(name, Some(part), hole)
    }

    /// Events of a stream are of no use any more. False: that found no place and is to be said again.
    pub(super) fn forget(&self, name: &Arc<StreamName>) -> bool {
        (self.keeps)(name, None, false)
    }
}

impl fmt::Debug for StoreLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreLink")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{EventId, Key};
    use crate::machine::StoredEvents;
    use mio::{Poll, Token};

    fn stored(bytes: usize) -> StoredStream {
        let log = StoredEvents { meta: Box::default(), first: 1, bytes: vec![0; bytes] };
        StoredStream { stream: 1, id: EventId::from_bytes(b"1").unwrap(), last_seen_ms: 0, log: Some(log) }
    }

    #[test]
    fn answers_without_a_place_are_counted_and_bytes_bounded() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (mut link, metrics) = (StoreLink::new(|_, _| true, |_, _, _| true), Arc::new(Metrics::default()));
        let answers = link.answers(&waker, &metrics);
        let give = |bytes| {
            let exchange: ExchangeKey = Key::from_bits(0);
            Answer { exchange, back: link.back.clone() }.give(vec![stored(bytes)]);
        };
        let dropped = || metrics.persistence().answers_dropped.get();
        (0..5).for_each(|_| give(BYTES as usize / 4));
        assert_eq!((dropped(), answers.bytes.get()), (1, BYTES));
        assert_eq!(answers.next().unwrap().1.len(), 1);
        give(BYTES as usize / 4);
        assert_eq!(dropped(), 1);
        while answers.next().is_some() {}
        assert_eq!(answers.bytes.get(), 0);
        (0..ANSWERS + 3).for_each(|_| give(1));
        assert_eq!((dropped(), answers.bytes.get()), (4, ANSWERS as u64));
    }
}
