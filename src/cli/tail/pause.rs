//! How long to wait between two connections to a stream.
//!
//! In: what each connection brings, what upstream asks for, ticks. Out: spans.
//! Laws: what upstream asks for is waited out in full; behind a connection that brought something, the next begins at
//! least a [`PACE`] after it began, since some upstreams end each after an event; those that bring nothing come at ever
//! longer intervals.

use crate::base::{Span, Tick};
use crate::timer::Backoff;
use crate::track::Fed;

const PACE: Span = Span::from_secs(1);

const BACKOFF: Backoff = Backoff::new(Span::from_millis(100), Span::from_secs(10));

/// What is remembered from one connection to the next.
#[derive(Default)]
pub(super) struct Pause {
    /// The time that upstream last set with a `retry` field.
    retry: Option<Span>,
    /// Connections in a row that brought nothing.
    tries: u32,
    began: Tick,
}

impl Pause {
    /// A connection is opened, redirects and all.
    pub(super) fn begin(&mut self, now: Tick) {
        self.began = now;
        self.tries += 1;
    }

    /// Bytes of the stream came.
    pub(super) fn note(&mut self, fed: &Fed) {
        self.retry = fed.retry.or(self.retry);
        if fed.events > 0 {
            self.tries = 0;
        }
    }

    /// Connections in a row that brought nothing.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// The connection is over. `asked`: its answer said when to come again.
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
    fn a_stream_that_flowed_for_long_is_asked_for_at_once() {
        let mut pause = Pause::default();
        pause.begin(Tick::ZERO);
        pause.note(&fed(1, 0));
        assert_eq!(pause.end(None, u64::MAX, Tick::ZERO + SECOND), Span::ZERO);
    }

    #[test]
    fn an_upstream_that_sends_one_event_a_connection_is_asked_once_a_second() {
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
    fn what_upstream_asks_for_is_waited_out_behind_an_event_too() {
        let mut pause = Pause::default();
        pause.begin(Tick::ZERO);
        pause.note(&Fed { retry: Some(SECOND.times(30)), ..fed(1, 0) });
        pause.note(&fed(1, 0));
        assert_eq!(pause.end(None, 0, Tick::ZERO + SECOND), SECOND.times(30));
        assert_eq!(pause.end(Some(SECOND.times(5)), 0, Tick::ZERO + SECOND), SECOND.times(5));
    }

    #[test]
    fn one_new_event_behind_many_repeats_is_news_and_repeats_alone_are_none() {
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
