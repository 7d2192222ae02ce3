//! What the persister has done and what it still has to do, as numbers that all threads share.
//!
//! In: numbers set by the persister's threads. Out: the same numbers, and their ratios.
//! Law: reading never waits, and never holds up the persister.

use crate::base::{Span, Tick};
use crate::sync::Counter;

/// Upper ends of the buckets of [`Persistence::latency`], in microseconds; the last bucket has no end.
pub const LATENCY_BUCKETS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The persister's numbers.
#[derive(Debug, Default)]
pub struct Persistence {
    /// Whether the store is open (1) or away (0).
    pub store_open: Counter,
    /// When the store was last seen to go away, in microseconds; 0: at the start.
    away_since: Counter,
    /// Times that the store's file, or its key's, was found deleted or replaced.
    pub store_files_lost: Counter,
    /// Whether names are hashed with another key than the store has (1), since the store opened too late.
    pub foreign_key: Counter,
    /// Slots with something that is not durable, activity included.
    pub queue_depth: Counter,
    /// Events that cursors moved on by and that are not durable.
    pub undurable: Counter,
    /// Records in the last batch.
    pub batch_size: Counter,
    /// Batches written or tried.
    pub batches: Counter,
    /// Batches by how long the store took: one count for each bucket of [`LATENCY_BUCKETS`], and one above.
    pub latency: [Counter; LATENCY_BUCKETS.len() + 1],
    /// Microseconds that the store took for all batches.
    pub latency_sum: Counter,
    /// Records that the store acknowledged.
    pub success: Counter,
    /// Records and batches that the store did not take.
    pub failure: Counter,
    /// Records tried again.
    pub retry: Counter,
    /// Records that a newer owner had written.
    pub fenced: Counter,
    /// Last cursors of ended streams that a full store did not take.
    pub given_up: Counter,
    /// Removals that found no room on their way. The sweep finds later what they leave behind.
    pub removals_dropped: Counter,
    /// Records that the sweep removed because nobody had used them for `session_idle`.
    pub swept_records: Counter,
    /// Logs that the sweep removed because no record belonged to them.
    pub swept_logs: Counter,
    /// The time of the oldest change that is not durable, in microseconds, plus one. 0: there is none.
    unflushed_since: Counter,
    /// Changes of cursors found in slots: one for each event that a cursor moved on by.
    pub changes: Counter,
    /// Records written for cursors.
    pub cursor_records: Counter,
    /// Changes that were activity alone.
    pub activity_changes: Counter,
    /// Records written for activity alone.
    pub activity_batched: Counter,
    /// Slots with activity alone to store.
    pub activity_queue_depth: Counter,
    /// Whether the breaker is open (1): the store keeps failing and is asked only now and then.
    pub breaker_open: Counter,
    /// Messages and streams that found no room in the persister.
    pub refused: Counter,
    /// Log blocks stored.
    pub log_blocks: Counter,
    /// Log blocks that found no room. The stored log states a hole there.
    pub log_blocks_dropped: Counter,
    /// Writes to shared logs that the store refused, since another instance has the log.
    pub log_writes_fenced: Counter,
    /// Shared logs that belong to this process.
    pub logs_owned: Counter,
    /// Logs of other instances that are followed.
    pub follows: Counter,
    /// Times that logs of other instances could not be read.
    pub follow_failures: Counter,
    /// Look-ups answered.
    pub lookups: Counter,
    /// Of these, the ones that failed or had no store.
    pub lookup_failures: Counter,
    /// Answers to look-ups that found no room on their way back to the reactor.
    pub answers_dropped: Counter,
}

impl Persistence {
    /// Changes of cursors for each record written, which shows how much coalescing saves. 0 before the first record.
    pub fn coalesce_ratio(&self) -> f64 {
        ratio(self.changes.get(), self.cursor_records.get())
    }

    /// Changes that were activity alone for each record written for them. 0 before the first record.
    pub fn activity_coalesce_ratio(&self) -> f64 {
        ratio(self.activity_changes.get(), self.activity_batched.get())
    }

    /// Notes the earliest time at which the oldest change that is not durable was made. `None`: all are durable.
    pub fn note_unflushed(&self, since: Option<Tick>) {
        self.unflushed_since.set(since.map_or(0, |since| since.micros().saturating_add(1)));
    }

    /// The store has been opened, or is away since now.
    pub fn note_open(&self, is_open: bool, now: Tick) {
        if !is_open {
            self.away_since.set(now.micros());
        }
        self.store_open.set(u64::from(is_open));
    }

    /// How long the store has been away; `None` while it is open. `now` is the time by the engine's clock.
    pub fn away_for(&self, now: Tick) -> Option<Span> {
        (self.store_open.get() == 0).then(|| now.since(Tick::from_micros(self.away_since.get())))
    }

    /// Age of the oldest change that is not durable, at most. It grows while the store hangs. `now` is the time by the
    /// engine's clock.
    pub fn lag(&self, now: Tick) -> Span {
        match self.unflushed_since.get().checked_sub(1) {
            Some(since) => now.since(Tick::from_micros(since)),
            None => Span::ZERO,
        }
    }

    /// Notes how long a batch took, in microseconds.
    pub fn note_latency(&self, micros: u64) {
        let bucket = LATENCY_BUCKETS.partition_point(|end| *end < micros);
        self.latency[bucket].add(1);
        self.latency_sum.add(micros);
    }
}

fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_grows_until_nothing_is_left_to_write() {
        let p = Persistence::default();
        assert_eq!(p.lag(Tick::from_millis(9)), Span::ZERO);
        for since in [Tick::ZERO, Tick::from_millis(2)] {
            p.note_unflushed(Some(since));
            assert_eq!(
                [5, 7].map(|now| p.lag(Tick::from_millis(now)).millis()),
                [5, 7].map(|now| now - since.micros() / 1_000)
            );
        }
        p.note_unflushed(None);
        assert_eq!(p.lag(Tick::from_millis(9)), Span::ZERO);
    }

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        let p = Persistence::default();
        for micros in [0, 1_000, 1_001, u64::MAX / 2] {
            p.note_latency(micros);
        }
        assert_eq!((p.latency[0].get(), p.latency[1].get(), p.latency[13].get()), (2, 1, 1));
    }

    #[test]
    fn a_store_is_away_since_the_start_or_since_it_went() {
        let (p, at) = (Persistence::default(), Tick::from_millis);
        assert_eq!(p.away_for(at(9)), Some(Span::from_millis(9)));
        p.note_open(true, at(10));
        assert_eq!(p.away_for(at(11)), None);
        p.note_open(false, at(12));
        assert_eq!(p.away_for(at(15)), Some(Span::from_millis(3)));
    }

    #[test]
    fn a_ratio_of_nothing_is_nothing() {
        assert_eq!(Persistence::default().coalesce_ratio(), 0.0);
    }
}
