//! How often upstream is asked on behalf of clients that asked once, as upstream sees it.
//!
//! In: the number of the client's request that each request to upstream carries, and when its connection was opened.
//! Out: a panic if upstream is asked again faster than `heal_rate` allows.
//! Law: the first request that carries a number is free, since a client made it; every further one takes a place.

use crate::base::{Span, Tick};
use std::collections::HashSet;

/// The header in which a client numbers its requests. It says nothing of the person, and goes upstream as it is.
pub(super) const NUMBER: &str = "X-Request-Id";

/// One process, and what it has asked of its upstream.
pub(super) struct Asked {
    /// Attempts a second, and how many of them may be made at once.
    rate: u64,
    /// Requests of clients that upstream has seen.
    seen: HashSet<u64>,
    /// When the next attempt would be due if all were evenly spaced.
    next: Tick,
}

impl Asked {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: u64::from(rate), seen: HashSet::new(), next: Tick::ZERO }
    }

    /// A request has come up, on a connection that was opened then.
    pub(super) fn ask(&mut self, number: u64, at: Tick) {
        if self.seen.insert(number) {
            return;
        }
        // Ticks are whole milliseconds where a timer is rounded, so an attempt may be that much early.
        let (gap, rounding) = (Span::from_micros(1_000_000 / self.rate), Span::from_millis(2));
        let burst = gap.times(self.rate - 1);
        assert!(at + burst + rounding >= self.next, "upstream is asked again faster than {} times a second", self.rate);
        self.next = self.next.max(at) + gap;
    }
}
