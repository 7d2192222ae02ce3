//! The streams that a drain ends: in which order, and when.
//!
//! In: streams, the time over which their ends are spread, random numbers. Out: the moment of each.
//! Law: the moments are spread evenly, and none is the same for each drain.

use super::keys::{Alarm, ExchangeKey};
use crate::base::{Random, Span, Tick};

/// The streams that leave, in the order in which they do.
pub(super) struct Leaving {
    pub(super) order: Vec<ExchangeKey>,
    pub(super) next: usize,
    /// When the next of them is ended; once all are, when others are looked for.
    pub(super) due: Tick,
    pub(super) began: Tick,
    /// Over what time their ends are spread.
    pub(super) ends_over: Span,
    /// Over what time clients of streams that end together come back.
    pub(super) spread: Span,
    /// When all others are ended.
    pub(super) until: Tick,
    pub(super) alarm: Alarm,
}

impl Leaving {
    /// When the next stream is ended: each has its share of the spread, and a moment of its own in it.
    pub(super) fn moment(&self, random: &mut Random) -> Tick {
        let share = self.ends_over.micros() / (self.order.len() as u64).max(1);
        let within = if share == 0 { 0 } else { random.below(share) };
        // Not `share` times the place, which would lose what the division leaves.
        let before = u128::from(self.ends_over.micros()) * self.next as u128 / (self.order.len() as u128).max(1);
        self.began + Span::from_micros(before as u64) + Span::from_micros(within)
    }
}
