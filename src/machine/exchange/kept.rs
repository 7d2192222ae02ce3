//! An exchange while nobody reads it: kept for clients that come back, with an answer that has begun or has not.
//!
//! In: the last reader that leaves, the next one that comes. Out: since when nobody reads; the order that a retry finds
//! the exchange by; whether an ordinary answer waits for that retry.
//! Law: an exchange without a head is kept only as an order.

use super::{Answer, Exchange};
use crate::base::Tick;
use crate::machine::find::orders::Order;
use crate::machine::keys::{ConnKey, Seat};
use crate::machine::pool::Conns;

impl Exchange {
    /// Whether all readers have left, and the answer is kept for clients that come back.
    pub(in crate::machine) fn is_detached(&self) -> bool {
        match &self.answer {
            Answer::Stream(stream) => stream.detached.is_some(),
            Answer::Plain(plain) => plain.detached.is_some(),
        }
    }

    /// When the last reader left, if the exchange is kept for clients that come back.
    pub(in crate::machine) fn detached_since(&self) -> Option<Tick> {
        match &self.answer {
            Answer::Stream(stream) => stream.detached.as_ref().map(|detached| detached.0),
            Answer::Plain(plain) => plain.detached,
        }
    }

    /// The last reader has left before a head came.
    pub(in crate::machine) fn detach_plain(&mut self, now: Tick) {
        if let Answer::Plain(plain) = &mut self.answer {
            plain.detached = Some(now);
        }
    }

    /// A client waits for the head again. True: none did.
    #[must_use]
    pub(in crate::machine) fn attend(&mut self) -> bool {
        match &mut self.answer {
            Answer::Plain(plain) => plain.detached.take().is_some(),
            Answer::Stream(_) => false,
        }
    }

    /// The order that it carries.
    pub(in crate::machine) fn order(&self) -> Option<Order> {
        self.heard_body.as_ref()?.order
    }

    /// The head of an ordinary answer waits for a reader from now on.
    pub(in crate::machine) fn let_answer_wait(&mut self) {
        if let Answer::Plain(plain) = &mut self.answer {
            plain.answer_waits = true;
        }
    }

    /// Whether the head of an ordinary answer waits for a reader.
    pub(in crate::machine) fn has_waiting_answer(&self) -> bool {
        matches!(&self.answer, Answer::Plain(plain) if plain.answer_waits)
    }

    /// Lets the head of an ordinary answer wait no longer. True: it did.
    #[must_use]
    pub(in crate::machine) fn take_waiting_answer(&mut self) -> bool {
        match &mut self.answer {
            Answer::Plain(plain) => std::mem::take(&mut plain.answer_waits),
            Answer::Stream(_) => false,
        }
    }

    /// A try has come and waits for the head beside others.
    pub(in crate::machine) fn note_newest(&mut self, seat: Seat) {
        if let Answer::Plain(plain) = &mut self.answer {
            plain.newest = seat;
        }
    }

    /// The client of the newest try that waits for the head.
    pub(in crate::machine) fn newest(&self) -> Option<ConnKey> {
        let Answer::Plain(plain) = &self.answer else { return None };
        let last = plain.readers.get(plain.newest);
        let newest =
            last.or_else(|| plain.readers.iter().map(|(_, reader)| reader).max_by_key(|reader| reader.last_sent));
        newest.map(|reader| reader.client)
    }

    /// The client whose request is sent upstream: the one reader, or among several the one that still sends its body.
    pub(in crate::machine) fn sender(&self, conns: &Conns) -> Option<ConnKey> {
        let sends = |client: &ConnKey| conns.get(*client).is_some_and(|c| !c.body.is_done());
        self.client().or_else(|| self.readers().iter().map(|(_, reader)| reader.client).find(sends))
    }
}
