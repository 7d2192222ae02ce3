//! How long upstream is waited for: one wait from its first attempt to its answer or its end.
//!
//! In: attempts, and what upstream asks for. Out: when the next attempt is due.
//! Laws: attempts follow an exponential backoff with full jitter, never sooner than upstream's `retry:` or
//! `Retry-After` asks; attempts to one upstream keep to `heal_rate`.

use crate::base::{Span, Tick};
use crate::timer::Backoff;

const BACKOFF: Backoff = Backoff::new(Span::from_millis(100), Span::from_secs(5));

/// A body that lasts this long is an answer, also when no event comes.
pub(super) const STEADY: Span = Span::from_secs(5);

/// A wait for upstream. It goes on while connections are opened and requests are answered, and ends with `heal_for` or
/// with a body that brings an event or lasts for [`STEADY`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wait {
    /// When it began: with the request, or with the cut.
    pub(super) since: Tick,
    /// What upstream last asked for with `Retry-After`; zero if it did not.
    pub(super) retry_after: Span,
    /// Attempts so far.
    pub(super) tries: u32,
    /// The next attempt has its place in the upstream's pace.
    pub(super) paced: bool,
}

impl Wait {
    pub(super) fn new(now: Tick) -> Self {
        Self { since: now, retry_after: Span::ZERO, tries: 0, paced: false }
    }

    /// Time until the next attempt after one that failed. `retry`: what the stream's `retry:` field asks for.
    pub(super) fn backoff(&mut self, random: u64, retry: Option<Span>) -> Span {
        let retry_after = Some(std::mem::take(&mut self.retry_after)).filter(|wait| !wait.is_zero());
        BACKOFF.delay_at_least(self.tries.saturating_sub(1), random, retry.max(retry_after))
    }

    /// Time until the next attempt where this machine had no place for a connection.
    pub(super) fn without_place(&self, random: u64) -> Span {
        BACKOFF.delay(self.tries, random)
    }
}

/// Spaces attempts out: at first as many at once as one second allows, then one every 1/rate seconds.
///
/// Source: the generic cell rate algorithm (ITU-T I.371, annex A), in its virtual scheduling form.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Span,
    burst: Span,
    next: Tick,
}

impl Pace {
    /// `rate` attempts a second; 0 is taken for 1.
    pub(super) fn new(rate: u32) -> Self {
        let rate = u64::from(rate.max(1));
        let gap = Span::from_micros(1_000_000 / rate);
        Self { gap, burst: gap.times(rate - 1), next: Tick::ZERO }
    }

    /// Reserves a place at or after `at` and says when it is.
    pub(super) fn reserve(&mut self, at: Tick) -> Tick {
        let free = self.next - self.burst;
        let at = at.max(free);
        self.next = self.next.max(at) + self.gap;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_lets_a_seconds_worth_go_at_once_and_spreads_the_rest() {
        let mut pace = Pace::new(10);
        let now = Tick::from_millis(5_000);
        let at: Vec<_> = (0..30).map(|_| pace.reserve(now).since(now).millis()).collect();
        assert_eq!(at[..10], [0; 10]);
        assert_eq!(at[10..], std::array::from_fn::<u64, 20, _>(|i| 100 * (i as u64 + 1)));
    }

    #[test]
    fn a_pace_that_rested_gives_no_more_than_one_burst() {
        let mut pace = Pace::new(2);
        let at = |pace: &mut Pace, ms| pace.reserve(Tick::from_millis(ms)).since(Tick::from_millis(ms)).millis();
        assert_eq!([at(&mut pace, 9_000), at(&mut pace, 9_000), at(&mut pace, 9_000)], [0, 0, 500]);
        assert_eq!([at(&mut pace, 60_000), at(&mut pace, 60_000), at(&mut pace, 60_000)], [0, 0, 500]);
    }
}
