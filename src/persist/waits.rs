//! What the writing thread waits for, and who waits for it.
//!
//! In: callers who ask for a flush; the end; the times of looks at the slots. Out: when the thread must wake, whether
//! it is in a hurry, whether its time is up.
//! Laws: the callers are bounded; each is answered, also when this is dropped.

use super::message::FlushReply;
use crate::base::{Span, Tick};

/// Callers that may wait for a flush at once.
const FLUSHES: usize = 1_000;

/// See the module's page.
pub(super) struct Waits {
    /// Callers who wait for a flush, each with the number of the newest change that it covers.
    flushes: Vec<(u64, FlushReply)>,
    /// When the thread ends, finished or not. `None` until it is told to end.
    end_at: Option<Tick>,
    /// When the slots are looked at again. `None`: the last look found nothing, and the bell says when there is
    /// something.
    look_at: Option<Tick>,
    /// Since when there may be changes that were not seen. `None`: the thread is woken for the first of them.
    unseen_since: Option<Tick>,
}

impl Waits {
    /// Nobody waits, and there may have been changes since `now`.
    pub(super) fn new(now: Tick) -> Self {
        Self { flushes: Vec::new(), end_at: None, look_at: None, unseen_since: Some(now) }
    }

    /// Whether one more caller may wait.
    pub(super) fn has_place(&self) -> bool {
        self.flushes.len() < FLUSHES
    }

    /// Has a caller wait until all changes up to `newest` are durable. Where no place is left, the caller is told that
    /// its flush was not done.
    pub(super) fn add_flush(&mut self, newest: u64, answer: FlushReply) {
        if self.has_place() {
            self.flushes.push((newest, answer));
        }
    }

    /// Answers the callers whose changes are durable: those before the change numbered `oldest`, or all of them where
    /// no change waits. True: there were callers, and now nobody is in a hurry any more.
    pub(super) fn answer_flushes(&mut self, oldest: Option<u64>) -> bool {
        if self.flushes.is_empty() {
            return false;
        }
        let oldest = oldest.unwrap_or(u64::MAX);
        for (_, answer) in self.flushes.extract_if(.., |(newest, _)| *newest < oldest) {
            answer.give(true);
        }
        !self.is_hurried()
    }

    /// Whether somebody waits for everything to be written.
    pub(super) fn is_hurried(&self) -> bool {
        self.is_ending() || !self.flushes.is_empty()
    }

    /// The thread ends at this time at the latest.
    pub(super) fn end_at(&mut self, at: Tick) {
        self.end_at = Some(at);
    }

    /// Whether the thread was told to end.
    pub(super) fn is_ending(&self) -> bool {
        self.end_at.is_some()
    }

    /// Whether the time is up that the thread had for its end.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.end_at.is_some_and(|at| at <= now)
    }

    /// The earlier of `at` and the end.
    pub(super) fn until_end(&self, at: Tick) -> Tick {
        self.end_at.map_or(at, |end| end.min(at))
    }

    /// Whether the slots are looked at now. At the end they are looked at in each step.
    pub(super) fn look_is_due(&self, now: Tick) -> bool {
        self.is_ending() || self.look_at.is_none_or(|at| at <= now)
    }

    /// When the slots are looked at again. `None`: when the bell rings.
    pub(super) fn look_again(&mut self, at: Option<Tick>) {
        self.look_at = at;
    }

    /// Notes a look at `now`. Since when there may have been changes that it was the first to see.
    pub(super) fn saw_all(&mut self, now: Tick) -> Tick {
        self.unseen_since.replace(now).unwrap_or(now)
    }

    /// Nothing is unseen: the bell says when something is.
    pub(super) fn none_unseen(&mut self) {
        self.unseen_since = None;
    }

    /// Since when there may be changes that were not seen.
    pub(super) fn unseen_since(&self) -> Option<Tick> {
        self.unseen_since
    }

    /// How the thread sleeps, where the first of its own deadlines is at `due`.
    pub(super) fn sleep(&self, due: Option<Tick>, now: Tick) -> Sleep {
        let left = |at: Tick| at.since(now);
        let due = [due, self.end_at].into_iter().flatten().min();
        match self.look_at.filter(|_| !self.is_ending()) {
            Some(look_at) => Sleep::Nap(left(due.map_or(look_at, |due| due.min(look_at)))),
            None => Sleep::Wait(due.map(left)),
        }
    }
}

/// How the thread sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sleep {
    /// For so long, whatever changes in the slots.
    Nap(Span),
    /// Until something changes; for so long at most, where there is a bound.
    Wait(Option<Span>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::Mutex;

    #[test]
    fn callers_are_answered_in_order_and_told_when_there_is_no_place() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let answer = |n: usize| {
            let told = Arc::clone(&told);
            FlushReply::new(Box::new(move |all| told.lock().unwrap().push((n, all))))
        };
        let mut waits = Waits::new(Tick::ZERO);
        (0..=FLUSHES).for_each(|n| waits.add_flush(n as u64, answer(n)));
        assert!(!waits.has_place());
        assert!(!waits.answer_flushes(Some(2)) && waits.is_hurried());
        assert_eq!(*told.lock().unwrap(), [(FLUSHES, false), (0, true), (1, true)]);
        assert!(waits.answer_flushes(None) && !waits.is_hurried() && !waits.answer_flushes(None));
    }

    #[test]
    fn it_naps_until_the_next_look_and_waits_where_there_is_none() {
        let (at, ms) = (Tick::from_millis, Span::from_millis);
        let mut waits = Waits::new(Tick::ZERO);
        assert_eq!(waits.sleep(Some(at(9)), at(2)), Sleep::Wait(Some(ms(7))));
        waits.look_again(Some(at(5)));
        assert_eq!(waits.sleep(Some(at(9)), at(2)), Sleep::Nap(ms(3)));
        waits.end_at(at(4));
        assert_eq!(waits.sleep(None, at(2)), Sleep::Wait(Some(ms(2))));
        assert!(waits.look_is_due(at(2)) && !waits.is_over(at(3)) && waits.is_over(at(4)));
    }
}
