//! Time as a number: a [`Tick`] is a point, a [`Span`] a length, both in whole microseconds.
//!
//! In: numbers a test can write, or what `clock` reads. Out: points that only move by arithmetic that saturates.
//! Law: nothing here reads a clock; time is passed in.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, in microseconds since the owner of the clock started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tick(u64);

/// A length of time, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(u64);

impl Tick {
    /// The earliest point.
    pub const ZERO: Self = Self(0);
    /// A point that never comes; a timer set to it does not fire.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The point `millis` milliseconds after the start; saturates.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the start.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The time that has passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span: longer than anything that is measured.
    pub const MAX: Self = Self(u64::MAX);

    /// `n` microseconds.
    pub const fn from_micros(n: u64) -> Self {
        Self(n)
    }

    /// `n` milliseconds; saturates.
    pub const fn from_millis(n: u64) -> Self {
        Self(n.saturating_mul(1_000))
    }

    /// `n` seconds; saturates.
    pub const fn from_secs(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// Whole microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whether this is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The span as people read it: two digits that count, such as `2.3ms`, `1.5s`, `4m 10s`. Log lines show spans so.
    pub const fn rough(self) -> Rough {
        Rough(self)
    }

    /// This span `factor` times; saturates.
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add<Span> for Tick {
    type Output = Self;

    /// The later point; saturates at [`Tick::NEVER`].
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Tick {
    type Output = Self;

    /// The earlier point; saturates at [`Tick::ZERO`].
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl From<Duration> for Span {
    /// Rounds up to a whole microsecond, so that no wait ends early; saturates.
    fn from(d: Duration) -> Self {
        let micros = d.as_nanos().div_ceil(1_000);
        Self(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl From<Span> for Duration {
    fn from(s: Span) -> Self {
        Duration::from_micros(s.0)
    }
}

impl fmt::Display for Span {
    /// Writes the span as the command line reads it: `30s`, `250ms`, `17us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n % 1_000_000 == 0 => write!(f, "{}s", n / 1_000_000),
            n if n % 1_000 == 0 => write!(f, "{}ms", n / 1_000),
            n => write!(f, "{n}us"),
        }
    }
}

/// A span as people read it. See [`Span::rough`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rough(Span);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A number below ten keeps its first decimal, unless that is a zero.
        let decimal = |f: &mut fmt::Formatter<'_>, n: u64, unit: u64, name: &str| match (n / unit, n % unit * 10 / unit)
        {
            (whole, 0) => write!(f, "{whole} {name}"),
            (whole, _) if whole >= 10 => write!(f, "{whole} {name}"),
            (whole, tenths) => write!(f, "{whole}.{tenths} {name}"),
        };
        let pair = |f: &mut fmt::Formatter<'_>, n: u64, names: [&str; 2]| match (n / 60, n % 60) {
            (whole, 0) => write!(f, "{whole} {}", names[0]),
            (whole, rest) => write!(f, "{whole} {} {rest} {}", names[0], names[1]),
        };
        match self.0.0 {
            n if n < 1_000 => write!(f, "{n} us"),
            n if n < 1_000_000 => decimal(f, n, 1_000, "ms"),
            n if n < 60_000_000 => decimal(f, n, 1_000_000, "s"),
            n if n < 3_600_000_000 => pair(f, n / 1_000_000, ["min", "s"]),
            n => pair(f, n / 60_000_000, ["h", "min"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Tick::NEVER + Span::from_secs(1), Tick::NEVER);
        assert_eq!(Tick::ZERO - Span::from_secs(1), Tick::ZERO);
        assert_eq!(Tick::from_millis(1).since(Tick::from_millis(2)), Span::ZERO);
        assert_eq!(Span::from_secs(u64::MAX), Span::MAX);
    }

    #[test]
    fn a_duration_rounds_up() {
        assert_eq!(Span::from(Duration::from_nanos(1)), Span::from_micros(1));
        assert_eq!(Span::from(Duration::MAX), Span::MAX);
    }

    #[test]
    fn a_span_prints_in_its_largest_whole_unit() {
        assert_eq!(Span::from_secs(30).to_string(), "30s");
        assert_eq!(Span::from_millis(1_500).to_string(), "1500ms");
        assert_eq!(Span::from_micros(17).to_string(), "17us");
    }

    #[test]
    fn a_rough_span_has_the_unit_that_people_would_choose() {
        for (micros, said) in [
            (0, "0 us"),
            (850, "850 us"),
            (2_298, "2.2 ms"),
            (12_345, "12 ms"),
            (340_000, "340 ms"),
            (1_000_000, "1 s"),
            (1_549_000, "1.5 s"),
            (59_999_999, "59 s"),
            (60_000_000, "1 min"),
            (250_000_000, "4 min 10 s"),
            (3_600_000_000, "1 h"),
            (93_780_000_000, "26 h 3 min"),
        ] {
            assert_eq!(Span::from_micros(micros).rough().to_string(), said);
        }
    }
}
