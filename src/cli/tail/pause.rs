//! How long to wait between two connections to a stream.
//!
//! In: what each connection brings, the wait that the upstream asks for, ticks. Out: how long to wait.
//! Laws: the wait is never shorter than the upstream asks, and never shorter than [`LEAST`]. After a connection that
//! brought an event, the next connection begins at least [`PACE`] after that one began, since some upstreams end each
//! connection after one event. After connections that brought none, the waits grow. To each wait chance adds up to
//! [`LEAST`], so that those whom one upstream has cut do not come back together.

use crate::base::{Span, Tick};
use crate::timer::Backoff;
use crate::track::Fed;

/// The least time between the starts of two connections, if the first one brought an event.
const PACE: Span = Span::from_secs(1);

/// The least wait, and the most that chance adds to any wait.
const LEAST: Span = Span::from_millis(250);

/// The waits after connections that brought no event.
const BACKOFF: Backoff = Backoff::new(Span::from_millis(250), Span::from_secs(10));

/// What chance adds after a connection that brought an event.
const JITTER: Backoff = Backoff::new(LEAST, LEAST);

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
        let floor = asked.or(self.retry).unwrap_or_default();
        match self.tries.checked_sub(1) {
            Some(attempt) => BACKOFF.delay_at_least(attempt, random, Some(floor.max(LEAST))),
            None => {
                let floor = floor.max(LEAST).max((self.began + PACE).since(now));
                JITTER.delay_at_least(0, random, Some(floor))
            }
        }
    }
}

#[cfg(test)]
mod tests;
