//! How long things take, as far as the sans-IO layers can tell: one name for each, as in [`Count`](super::Count).
//!
//! In: spans. Out: how many of them fell into each bucket.
//! Law: noting a span costs two additions.

use super::Span;

/// Buckets of a histogram, with the one that has no end.
pub const BUCKETS: usize = 16;

/// Something that takes time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timing {
    /// From a request that went upstream to the head of its answer.
    UpstreamHead,
    /// From the first attempt to heal a cut to the answer that goes on with the stream.
    Heal,
}

impl Timing {
    /// All of them, in the order of their declaration.
    pub const ALL: &[Self] = &[Self::UpstreamHead, Self::Heal];

    /// The metric's name, without the prefix `segno_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpstreamHead => "upstream_head_seconds",
            Self::Heal => "heal_seconds",
        }
    }

    /// What the metric shows, in one line.
    pub const fn help(self) -> &'static str {
        match self {
            Self::UpstreamHead => "How long upstreams took from a request to the head of their answer.",
            Self::Heal => "How long it took to heal a cut, from the first attempt on.",
        }
    }

    /// Upper ends of the buckets, in microseconds. The last bucket has none.
    pub const fn ends() -> &'static [u64; BUCKETS - 1] {
        &[
            1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
            10_000_000, 30_000_000, 60_000_000,
        ]
    }
}

/// The spans of one [`Timing`] since the last drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spans {
    /// How many fell into each bucket.
    pub buckets: [u64; BUCKETS],
    /// All together, in microseconds.
    pub sum: u64,
}

impl Spans {
    /// Notes one.
    pub fn note(&mut self, span: Span) {
        let micros = span.micros();
        self.buckets[Timing::ends().partition_point(|end| *end < micros)] += 1;
        self.sum = self.sum.saturating_add(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_falls_into_the_first_bucket_that_holds_it() {
        let mut spans = Spans::default();
        for micros in [0, 1_000, 1_001, 60_000_001] {
            spans.note(Span::from_micros(micros));
        }
        assert_eq!((spans.buckets[0], spans.buckets[1], spans.buckets[BUCKETS - 1]), (2, 1, 1));
        assert_eq!(spans.sum, 60_002_002);
        assert!(Timing::ALL.iter().enumerate().all(|(i, timing)| *timing as usize == i));
    }
}
