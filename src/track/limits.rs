//! The bounds of a stream, and the shared parts that each call borrows.
//!
//! In: a route's configuration. Out: bounds, made consistent with each other.

use super::budget::Budget;
use super::interner::Interner;
use super::log::most_notes;
use crate::base::{Span, Tick};

/// When an event that was received before is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dedup {
    /// Only while catching up after a reconnect.
    #[default]
    Resume,
    /// Also in the middle of a body, if its id is in the window.
    Always,
    /// Never.
    Off,
}

/// The bounds of every stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackLimits {
    /// Ids remembered for duplicate detection (at least 1, at most 65,535). Four bytes each, and the ids themselves.
    pub window: usize,
    /// Events in the log that readers have acknowledged, at most. What is still on its way to a reader does not count:
    /// the bytes bound it.
    pub log_events: usize,
    /// Bytes in the log; rounded down to a power of two, and at least 512.
    pub log_bytes: usize,
    /// How long delivered events stay in the log.
    pub log_age: Span,
    /// An event with more bytes is passed through unbuffered. At most half the log's bytes: a larger value is cut to
    /// that.
    pub max_event_bytes: usize,
    /// An event with a longer id is forwarded untracked.
    pub max_id_bytes: usize,
    /// When duplicates are dropped.
    pub dedup: Dedup,
}

impl Default for TrackLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TrackLimits {
    /// Fits most streams: the window is longer than usual replays, the log longer than usual pauses.
    pub const DEFAULT: Self = Self {
        window: 48,
        log_events: 256,
        log_bytes: 1 << 20,
        log_age: Span::from_secs(300),
        max_event_bytes: 512 << 10,
        max_id_bytes: 1 << 10,
        dedup: Dedup::Resume,
    };

    /// The largest ring a log may have, in bytes: a power of two.
    pub(super) fn ring_bytes(&self) -> usize {
        let bytes = self.log_bytes.clamp(512, 1 << 40);
        1 << bytes.ilog2()
    }

    /// The most bytes on their way to a reader that a full log still holds, which is half of the log.
    pub fn in_flight_bytes(&self) -> usize {
        self.ring_bytes() / 2
    }

    /// The most notes on blocks that a log may have.
    pub fn notes(&self) -> usize {
        most_notes(self.ring_bytes())
    }

    /// The most bytes of an open block that are held back.
    pub(super) fn held_bytes(&self) -> usize {
        self.max_event_bytes.min(self.ring_bytes() / 2)
    }
}

/// What all streams of a thread share, lent to a tracker for one call.
pub struct TrackContext<'a> {
    /// The bounds.
    pub limits: &'a TrackLimits,
    /// The ids.
    pub interner: &'a mut Interner,
    /// The bytes of all logs.
    pub budget: &'a mut Budget,
    /// The time of the call.
    pub now: Tick,
}
