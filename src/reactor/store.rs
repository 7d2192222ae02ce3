//! The reactor's way to the store beside the slots: questions, and events to be kept.
//!
//! In: what the machine asks and gives. Out: calls of functions that the engine made, which neither wait nor know of
//! the reactor; answers, which come back over a channel and the waker.
//! Law: nothing here waits; an answer that finds no place is as good as none, and the request goes on without it.

use crate::base::StreamName;
use crate::machine::{EventPart, ExchangeKey, LookUp, Stored};
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::fmt;
use std::sync::Arc;

/// Answers that may wait.
const ANSWERS: usize = 1_000;

/// An answer, and who waits for it.
pub(super) type Found = (ExchangeKey, Vec<Stored>);

/// Asks a question. The answer is given by calling the second argument, from any thread.
type Asks = Box<dyn Fn(LookUp, Answer) + Send>;

/// Takes events of a stream, or forgets all of them; false when that found no place.
type Keeps = Box<dyn Fn(&Arc<StreamName>, Option<EventPart>, bool) -> bool + Send>;

/// What the engine gives the reactor of the store.
pub struct StoreLink {
    asks: Asks,
    keeps: Keeps,
    back: Option<(Sender<Found>, Arc<Waker>)>,
}

/// Gives an answer back to the reactor. Never waits.
pub struct Answer {
    exchange: ExchangeKey,
    back: Option<(Sender<Found>, Arc<Waker>)>,
}

impl Answer {
    /// What the store knows; nothing, where it is away.
    pub fn give(self, found: Vec<Stored>) {
        if let Some((sender, waker)) = self.back
            && sender.try_send((self.exchange, found)).is_ok()
        {
            // A reactor that has ended needs no waking.
            let _ = waker.wake();
        }
    }
}

impl StoreLink {
    /// A link of these two functions, neither of which may wait.
    pub fn new(
        asks: impl Fn(LookUp, Answer) + Send + 'static,
        keeps: impl Fn(&Arc<StreamName>, Option<EventPart>, bool) -> bool + Send + 'static,
    ) -> Self {
        Self { asks: Box::new(asks), keeps: Box::new(keeps), back: None }
    }

    /// Where answers come.
    pub(super) fn answers(&mut self, waker: &Arc<Waker>) -> Receiver<Found> {
        let (sender, receiver) = bounded(ANSWERS);
        self.back = Some((sender, Arc::clone(waker)));
        receiver
    }

    pub(super) fn look_up(&self, question: LookUp) {
        let answer = Answer { exchange: question.exchange, back: self.back.clone() };
        (self.asks)(question, answer);
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
