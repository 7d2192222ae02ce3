//! How long upstream is waited for: one wait from its first attempt to its answer or its end. And the store before it.
//!
//! In: attempts, and what upstream asks for. Out: when the next attempt is due.
//! Laws: attempts follow an exponential backoff with full jitter, never sooner than upstream's `retry:` or
//! `Retry-After` asks, unless `heal_for` ends before that: then the last attempt is made at its end; while upstream is
//! away, no attempt is later than clients would make it by themselves; attempts to one upstream keep to `heal_rate`.

use crate::base::{Span, Tick};
use crate::timer::Backoff;

const BACKOFF: Backoff = Backoff::new(SHORTEST, Span::from_secs(5));
/// The bound of the first backoff, which no `retry:` shortens.
const SHORTEST: Span = Span::from_millis(100);

/// After this time browsers come back by themselves, where no `retry:` has said otherwise.
pub(super) const USUAL_RETRY: Span = Span::from_secs(3);

/// An upstream whose body lasts this long is steady: when that body is cut, upstream is asked again at once.
pub(super) const STEADY: Span = Span::from_secs(5);

/// A wait for upstream. It goes on while connections are opened and requests are answered. It ends with `heal_for`,
/// with a body that brings an event, or with one that lasts for [`STEADY`]. Only the last of these ends its backoff,
/// too; a body that brings several events shortens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, packed(4))]
pub(super) struct Wait {
    /// When it began: with the request, or with the cut.
    pub(super) since: Tick,
    /// From when on its time counts: its first attempt. Before that [`Tick::NEVER`].
    pub(super) clock: Tick,
    /// No attempt is made before, since upstream has asked for that.
    pub(super) not_before: Tick,
    /// Attempts so far.
    pub(super) tries: u32,
    /// Attempts since upstream was steady, which decide how long to back off.
    backoffs: u32,
    /// Tells which entry in the upstream's queue is its own.
    pub(super) ticket: u32,
}

impl Wait {
    pub(super) fn new(now: Tick) -> Self {
        Self { since: now, clock: Tick::NEVER, not_before: Tick::ZERO, tries: 0, backoffs: 0, ticket: 0 }
    }

    /// A body was cut that brought so many events and did not last. What is waited for now is the next one, but
    /// upstream is not steady. The more it brought, the sooner it is asked again: one event changes nothing.
    pub(super) fn anew(self, now: Tick, events: u64) -> Self {
        let brought = 2 * events.checked_ilog2().unwrap_or(0);
        Self { backoffs: self.backoffs.saturating_sub(brought), ..Self::new(now) }
    }

    /// An attempt is made.
    pub(super) fn begin_attempt(&mut self, now: Tick) {
        self.clock = self.clock.min(now);
        self.tries = self.tries.saturating_add(1);
        self.backoffs = self.backoffs.saturating_add(1);
    }

    /// The time limit of the wait runs from now on.
    pub(super) fn restart_clock(&mut self, now: Tick) {
        self.clock = now;
    }

    /// When the wait ends, if it may last for this long.
    pub(super) fn ends(&self, now: Tick, limit: Span) -> Tick {
        self.clock.min(now) + limit
    }

    /// When the next attempt is due, at the end of the wait at the latest. `asked`: what upstream asks for with
    /// `retry:` or `Retry-After`.
    pub(super) fn back_off(&mut self, now: Tick, ends: Tick, random: u64, asked: Option<Span>) -> Tick {
        self.not_before = ends.min(now + asked.unwrap_or_default());
        ends.min(now + BACKOFF.delay_at_least(self.backoffs.saturating_sub(1), random, asked))
    }

    /// When the next attempt is due after one that found upstream away. Clients without a proxy would come back every
    /// `retry`, so the backoff is no longer than that. `retry`: what this stream has said, and so keeps to. `usual`:
    /// where it has said nothing, what its clients would do.
    pub(super) fn back_off_as_clients(
        &mut self,
        now: Tick,
        ends: Tick,
        random: u64,
        retry: Option<Span>,
        usual: Span,
    ) -> Tick {
        self.not_before = ends.min(now + retry.unwrap_or_default());
        // A stream that keeps to `retry:` waits a little longer, so that streams that failed together spread.
        let most = retry.map_or(usual, |retry| Span::from_micros(retry.micros() / 4));
        let backoff = BACKOFF.at_most(most.max(SHORTEST));
        ends.min(now + backoff.delay_at_least(self.backoffs.saturating_sub(1), random, retry))
    }

    /// When the first attempt is due after a body that lasted: at once, unless upstream asks for time with `retry:`.
    pub(super) fn begin(&mut self, now: Tick, limit: Span, random: u64, asked: Option<Span>) -> Tick {
        match asked.filter(|asked| !asked.is_zero()) {
            None => now,
            asked => self.back_off(now, now + limit, random, asked),
        }
    }

    /// Time until the next attempt where this machine had no place for a connection.
    pub(super) fn without_place(&self, random: u64) -> Span {
        BACKOFF.delay(self.tries, random)
    }
}

/// A search in the store, which a request waits for before it goes upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Search {
    /// Look-ups so far.
    pub(super) looks: u32,
    /// The last of them has not been answered yet. Otherwise it has failed, and the next one is still to come.
    pub(super) is_asked: bool,
}

impl Search {
    /// Time until the next look-up after one that failed.
    pub(super) fn backoff(self, random: u64) -> Span {
        BACKOFF.delay(self.looks.saturating_sub(1), random)
    }
}

/// What look-ups for a client's event have shown so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    /// How many there were, and since when.
    pub(super) looks: u32,
    pub(super) since: Tick,
    /// The store has the stream, for whomever.
    pub(super) is_known: bool,
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

    /// When there is a place.
    pub(super) fn free_at(&self) -> Tick {
        self.next - self.burst
    }

    /// When there is a place without the burst: places that are taken then are evenly spaced.
    pub(super) fn even_at(&self) -> Tick {
        self.next
    }

    pub(super) fn is_free(&self, now: Tick) -> bool {
        self.free_at() <= now
    }

    /// Takes a place that is free now.
    pub(super) fn take(&mut self, now: Tick) {
        self.next = self.next.max(now) + self.gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When an attempt gets its place that is due now, in milliseconds from now.
    fn place(pace: &mut Pace, now: Tick) -> u64 {
        let at = pace.free_at().max(now);
        assert!(pace.is_free(at));
        pace.take(at);
        at.since(now).millis()
    }

    #[test]
    fn a_pace_lets_a_seconds_worth_go_at_once_and_spreads_the_rest() {
        let mut pace = Pace::new(10);
        let at: Vec<_> = (0..30).map(|_| place(&mut pace, Tick::from_millis(5_000))).collect();
        assert_eq!(at[..10], [0; 10]);
        assert_eq!(at[10..], std::array::from_fn::<u64, 20, _>(|i| 100 * (i as u64 + 1)));
    }

    #[test]
    fn a_pace_that_rested_gives_no_more_than_one_burst() {
        let mut pace = Pace::new(2);
        for now in [Tick::from_millis(9_000), Tick::from_millis(60_000)] {
            assert_eq!([0; 3].map(|_| place(&mut pace, now)), [0, 0, 500]);
        }
    }

    #[test]
    fn what_upstream_asks_for_is_kept_up_to_the_end_of_the_wait() {
        let (now, limit) = (Tick::from_millis(1_000), Span::from_secs(60));
        let mut wait = Wait::new(now);
        wait.begin_attempt(now);
        let later = now + Span::from_secs(50);
        let ends = wait.ends(later, limit);
        assert_eq!(ends, now + limit);
        assert_eq!(wait.back_off(later, ends, u64::MAX, Some(Span::from_secs(3))), later + Span::from_millis(3_100));
        assert_eq!(wait.back_off(later, ends, 0, Some(Span::from_secs(300))), ends);
        assert_eq!({ wait.not_before }, ends);
        assert_eq!(Wait::new(now).begin(now, limit, 9, None), now);
        assert_eq!(Wait::new(now).begin(now, limit, 0, Some(Span::from_secs(3))), now + Span::from_secs(3));
    }
}
