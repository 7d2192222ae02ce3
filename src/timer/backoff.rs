//! How long to wait before the next attempt: exponential, with full jitter.
//!
//! In: which attempt it is, a random number, and what the other side asked for. Out: a span.
//! Laws: the jitter is anything from zero to the exponential bound, so that clients which failed together do not return
//! together; the bound never exceeds the ceiling; a wait that the server asked for is kept in full.
//! Source: Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), "Full Jitter". Floors: the `retry`
//! field of WHATWG HTML, 9.2.6 "Interpreting an event stream"; `Retry-After`, RFC 9110, section 10.2.3.

use crate::base::Span;

/// A rule for the time between attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    base: Span,
    ceiling: Span,
}

impl Backoff {
    /// The bound is `base` for attempt 0, twice that for attempt 1, and so on up to `ceiling`.
    pub const fn new(base: Span, ceiling: Span) -> Self {
        Self { base, ceiling }
    }

    /// The same rule with a ceiling of at most `most`.
    pub const fn at_most(self, most: Span) -> Self {
        let ceiling = if most.micros() < self.ceiling.micros() { most } else { self.ceiling };
        Self { ceiling, ..self }
    }

    /// Time to wait before an attempt, counted from 0: uniform in `[0, min(ceiling, base * 2^attempt)]`, both ends
    /// included. `random` is 64 uniform bits.
    pub const fn delay(&self, attempt: u32, random: u64) -> Span {
        // There are at most 2^64 numbers to choose from, so the upper half of the product is one of them.
        let choices = self.bound(attempt).micros() as u128 + 1;
        Span::from_micros(((random as u128 * choices) >> 64) as u64)
    }

    /// Like [`Backoff::delay`], with the jitter added to `floor`, the wait that the other side asked for. Saturates.
    /// The ceiling does not bound the floor: the caller that reads the floor from the wire must.
    pub const fn delay_at_least(&self, attempt: u32, random: u64, floor: Option<Span>) -> Span {
        let jitter = self.delay(attempt, random);
        match floor {
            Some(floor) => Span::from_micros(floor.micros().saturating_add(jitter.micros())),
            None => jitter,
        }
    }

    const fn bound(&self, attempt: u32) -> Span {
        let factor = match 1u64.checked_shl(attempt) {
            Some(factor) => factor,
            None => u64::MAX,
        };
        let bound = self.base.times(factor);
        if bound.micros() < self.ceiling.micros() { bound } else { self.ceiling }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;

    const RULE: Backoff = Backoff::new(Span::from_millis(100), Span::from_secs(30));

    /// The bound by doubling, one attempt after the other.
    fn slow_bound(base: Span, ceiling: Span, attempt: u32) -> Span {
        (0..attempt).fold(base, |bound, _| bound.times(2)).min(ceiling)
    }

    #[test]
    fn the_ends_of_chance_are_nothing_and_the_bound() {
        let mut random = Random::new(2);
        for _ in 0..5_000 {
            let base = Span::from_micros(random.next() >> random.below(64));
            let ceiling = Span::from_micros(random.next() >> random.below(64));
            let attempt = random.below(80) as u32;
            let rule = Backoff::new(base, ceiling);
            assert_eq!(rule.delay(attempt, 0), Span::ZERO);
            assert_eq!(rule.delay(attempt, u64::MAX), slow_bound(base, ceiling, attempt));
        }
    }

    #[test]
    fn attempts_without_number_stay_at_the_ceiling() {
        assert_eq!(RULE.delay(u32::MAX, u64::MAX), Span::from_secs(30));
        assert_eq!(Backoff::new(Span::ZERO, Span::MAX).delay(u32::MAX, u64::MAX), Span::ZERO);
        assert_eq!(Backoff::new(Span::MAX, Span::MAX).delay(0, u64::MAX), Span::MAX);
    }

    #[test]
    fn delays_are_spread_evenly() {
        let mut random = Random::new(4);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let delay = RULE.delay(3, random.next());
            tenths[(delay.micros() * 10 / 800_001) as usize] += 1;
        }
        assert!(tenths.iter().all(|&n| (850..1_150).contains(&n)), "{tenths:?}");
    }

    #[test]
    fn a_floor_is_waited_out_before_the_jitter() {
        let floor = Span::from_secs(90);
        assert_eq!(RULE.delay_at_least(0, 0, Some(floor)), floor);
        assert_eq!(RULE.delay_at_least(0, u64::MAX, Some(floor)), Span::from_millis(90_100));
        assert_eq!(RULE.delay_at_least(0, u64::MAX, None), Span::from_millis(100));
        assert_eq!(RULE.delay_at_least(0, u64::MAX, Some(Span::MAX)), Span::MAX);
    }
}
