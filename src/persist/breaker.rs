//! The circuit breaker: a store that keeps failing is asked only now and then.
//!
//! In: successes and failures of whole batches. Out: whether a batch may be tried, and how large it may be.
//! Law: an open breaker allows one small batch at a time, a rest apart, until one succeeds.
//! Source: Nygard, "Release It!" (2007), chapter "Circuit Breaker".

use crate::base::{Span, Tick};

/// How many records the batch has that tests whether the store is back.
const PROBE: usize = 16;

/// Counts failures in a row.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    limit: u32,
    rest: Span,
    /// While the breaker is open: when the store is asked next.
    probe_at: Option<Tick>,
}

impl Breaker {
    /// Opens after `limit` failures in a row, for `rest` each time.
    pub(super) fn new(limit: u32, rest: Span) -> Self {
        Self { failures: 0, limit: limit.max(1), rest, probe_at: None }
    }

    /// How many records a batch may have at `now`; 0: none may be tried.
    pub(super) fn allows(&self, limit: usize, now: Tick) -> usize {
        match self.probe_at {
            None => limit,
            Some(at) if at <= now => limit.min(PROBE),
            Some(_) => 0,
        }
    }

    /// When the breaker allows a batch again; `None` while it is closed.
    pub(super) fn probe_at(&self) -> Option<Tick> {
        self.probe_at
    }

    /// A batch went through. True when that closed the breaker.
    pub(super) fn on_success(&mut self) -> bool {
        self.failures = 0;
        self.probe_at.take().is_some()
    }

    /// A batch failed. True when that opened the breaker.
    pub(super) fn on_failure(&mut self, now: Tick) -> bool {
        self.failures = self.failures.saturating_add(1);
        let was_open = self.probe_at.is_some();
        if self.failures >= self.limit {
            self.probe_at = Some(now + self.rest);
        }
        !was_open && self.probe_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_one_success() {
        let mut b = Breaker::new(3, Span::from_secs(1));
        let at = Tick::from_millis;
        assert!(!b.on_failure(at(0)) && !b.on_failure(at(1)));
        assert!(!b.on_success());
        assert!(!b.on_failure(at(2)) && !b.on_failure(at(3)) && b.on_failure(at(4)));
        assert_eq!((b.allows(99, at(500)), b.allows(99, at(1_004)), b.allows(3, at(1_004))), (0, PROBE, 3));
        assert!(!b.on_failure(at(1_004)));
        assert_eq!((b.allows(99, at(2_000)), b.probe_at()), (0, Some(at(2_004))));
        assert!(b.on_success() && !b.on_success());
        assert_eq!((b.allows(99, at(2_000)), b.probe_at()), (99, None));
    }
}
