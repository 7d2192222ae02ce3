//! How long to wait between two connections to a stream.
//!
//! In: what each connection brings, the wait that the upstream asks for, ticks. Out: how long to wait.
//! Laws: the wait is never shorter than the upstream asks. After a connection that brought an event, the next
//! connection begins at least [`PACE`] after that one began, since some upstreams end each connection after one event.
//! After connections that brought none, the waits grow.

use crate::base::{Span, Tick};
use crate::timer::Backoff;
use crate::track::Fed;

/// The least time between the starts of two connections, if the first one brought an event.
const PACE: Span = Span::from_secs(1);

/// The waits after connections that brought no event.
const BACKOFF: Backoff = Backoff::new(Span::from_millis(100), Span::from_secs(10));

/// What the wait depends on.
#[derive(Default)]
pub(super) struct Pause {
    /// The time that the upstream last set with a `retry` field.
    retry: Option<Span>,
    /// Connections in a row that brought no event.
    tries: u32,
    began: Tick,
}

impl Pause {
    /// Notes that a connection is about to begin. Its redirects belong to it.
    pub(super) fn begin(&mut self, now: Tick) {
        self.began = now;
        self.tries += 1;
    }

    /// Notes what came over the connection.
    pub(super) fn note(&mut self, fed: &Fed) {
        self.retry = fed.retry.or(self.retry);
        if fed.events > 0 {
            self.tries = 0;
        }
    }

    /// Connections in a row that brought no event.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// How long to wait after the connection. `asked` is the wait that its answer asked for.
    pub(super) fn end(&self, asked: Option<Span>, random: u64, now: Tick) -> Span {
        let floor = asked.or(self.retry);
        match self.tries.checked_sub(1) {
            Some(attempt) => BACKOFF.delay_at_least(attempt, random, floor),
            None => (self.began + PACE).since(now).max(floor.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Span = Span::from_secs(1);

    fn fed(events: u32, duplicates: u32) -> Fed {
        Fed { events, duplicates, ..Fed::default() }
    }

    #[test]
    fn after_a_long_connection_the_next_begins_at_once() {
        let mut pause = Pause::default();
        pause.begin(Tick::ZERO);
        pause.note(&fed(1, 0));
        assert_eq!(pause.end(None, u64::MAX, Tick::ZERO + SECOND), Span::ZERO);
    }

    #[test]
    fn an_upstream_that_sends_one_event_per_connection_is_asked_once_a_second() {
        let (mut pause, mut now) = (Pause::default(), Tick::ZERO);
        for _ in 0..10 {
            pause.begin(now);
            pause.note(&fed(1, 0));
            now = now + Span::from_millis(3);
            assert_eq!(pause.end(None, u64::MAX, now), Span::from_millis(997));
            now = now + Span::from_millis(997);
        }
    }

    #[test]
    fn the_wait_that_upstream_asks_for_counts_after_an_event_too() {
        let mut pause = Pause::default();
        pause.begin(Tick::ZERO);
        pause.note(&Fed { retry: Some(SECOND.times(30)), ..fed(1, 0) });
        pause.note(&fed(1, 0));
        assert_eq!(pause.end(None, 0, Tick::ZERO + SECOND), SECOND.times(30));
        assert_eq!(pause.end(Some(SECOND.times(5)), 0, Tick::ZERO + SECOND), SECOND.times(5));
    }

    #[test]
    fn one_new_event_among_repeats_resets_the_wait_and_repeats_alone_do_not() {
        let mut pause = Pause::default();
        for _ in 0..20 {
            pause.begin(Tick::ZERO);
            pause.note(&fed(0, 3));
            pause.note(&fed(1, 3));
        }
        assert_eq!((pause.tries(), pause.end(None, u64::MAX, Tick::ZERO + SECOND)), (0, Span::ZERO));
        for _ in 0..20 {
            pause.begin(Tick::ZERO);
            pause.note(&fed(0, 3));
        }
        assert_eq!((pause.tries(), pause.end(None, u64::MAX, Tick::ZERO + SECOND)), (20, SECOND.times(10)));
    }
}
