//! What the trackers of one key share and change: the log, its ids, who is in the middle of what.
//!
//! In: blocks of any of the connections, in turn; how much the client took. Out: events in the log, each once; the
//! published cursor.
//! Laws: while one connection is inside an event that is too large to be held, no other one adds to the log; what is
//! published has been forwarded.

use crate::base::{Cursor, Tick};
use crate::slot::SlotPen;
use crate::track::{Budget, Dedup, Fed, Interner, TrackContext, TrackLimits, Tracker};

/// Bounds of an inline tracker that is the only one of its key. Its log serves to tell what comes again from what is
/// new, and for what the caller has not forwarded; nobody is replayed from it.
pub(super) const ALONE: &TrackLimits = &TrackLimits { log_bytes: 64 << 10, log_events: 64, ..TrackLimits::DEFAULT };

/// Bounds while a key has several trackers: their connections may bring the same events at any time.
pub(super) const SHARED: &TrackLimits = &TrackLimits { dedup: Dedup::Always, ..*ALONE };

/// Bytes of a key that may wait to be forwarded, and how many events.
pub(super) const UNFORWARDED: usize = 1 << 20;
pub(super) const UNFORWARDED_EVENTS: usize = 8_192;

/// Ids that a key may hold at once: those that wait, and those that come with one more read of small events.
const IDS: usize = 32_767;

/// What a log may keep of what was forwarded: its ring, and a record for each block in it.
const KEPT: usize = ALONE.log_bytes + (8 << 10);

/// What a read of an upstream connection changes. Its lock is taken once a read.
pub(super) struct State {
    pub(super) tracker: Tracker,
    pub(super) interner: Interner,
    pub(super) budget: Budget,
    pub(super) pen: SlotPen,
    /// Events that were forwarded under accounts before this one. They count, so that sequences of a key only grow.
    before: u64,
    /// Trackers of the key so far.
    trackers: u64,
    /// The tracker whose connection is inside an event that is too large to be held.
    open: Option<u64>,
    /// The tracker that has a copy of bytes to forward.
    pub(super) forwarding: Option<u64>,
}

impl State {
    pub(super) fn new(pen: SlotPen, before: u64, cursor: Option<&[u8]>, now: Tick) -> Self {
        let (mut interner, mut budget) = (Interner::new(0, IDS), Budget::new(2 << 20));
        let mut tracker = Tracker::new(ALONE);
        if let Some(id) = cursor {
            let cx = TrackContext { limits: ALONE, interner: &mut interner, budget: &mut budget, now };
            tracker.seed_cursor(cx, id);
        }
        Self { tracker, interner, budget, pen, before, trackers: 0, open: None, forwarding: None }
    }

    /// A number for another tracker.
    pub(super) fn number(&mut self) -> u64 {
        self.trackers += 1;
        self.trackers
    }

    /// Whether another connection's event must end before this tracker's blocks may be taken.
    pub(super) fn is_held_back(&self, number: u64) -> bool {
        self.open.is_some_and(|open| open != number)
    }

    /// Takes blocks of one connection.
    pub(super) fn take(&mut self, limits: &TrackLimits, now: Tick, number: u64, blocks: &[u8], sum: &mut Fed) {
        if blocks.is_empty() {
            return;
        }
        let Self { tracker, interner, budget, .. } = self;
        add(sum, &tracker.feed(TrackContext { limits, interner, budget, now }, blocks));
        self.open = self.tracker.is_open_oversize().then_some(number);
    }

    /// Takes blocks that had to wait, if they need not wait any longer.
    pub(super) fn take_waiting(
        &mut self,
        limits: &TrackLimits,
        now: Tick,
        number: u64,
        waiting: &mut Vec<u8>,
        sum: &mut Fed,
    ) {
        if !self.is_held_back(number) {
            self.take(limits, now, number, &std::mem::take(waiting), sum);
        }
    }

    /// Gives back what a large event has made the log grow above its bound, as far as it is forwarded.
    pub(super) fn fit(&mut self, limits: &TrackLimits, now: Tick) {
        let Self { tracker, interner, budget, .. } = self;
        if budget.used() > KEPT {
            tracker.trim(TrackContext { limits, interner, budget, now }, limits.log_bytes);
        }
    }

    /// A tracker's connection has ended. `true`: inside an event that is too large to be held, of which the client has
    /// a part. Others may go on.
    pub(super) fn close(&mut self, number: u64) -> bool {
        let had_open = self.open == Some(number);
        if had_open {
            self.open = None;
            self.tracker.begin(false, true);
        }
        had_open
    }

    /// The client took `n` more bytes.
    pub(super) fn forward(&mut self, limits: &TrackLimits, now: Tick, n: usize) {
        let Self { tracker, interner, budget, pen, before, .. } = self;
        let (old, to) = (tracker.delivered().seq, tracker.delivered_offset() + n as u64);
        tracker.advance(TrackContext { limits, interner, budget, now }, to);
        let mark = tracker.delivered();
        if mark.seq > old
            && let Some(id) = tracker.delivered_id(interner)
        {
            pen.publish(&Cursor { sequence: *before + mark.seq, id, at: now });
        } else {
            pen.touch(now);
        }
    }
}

pub(super) fn add(sum: &mut Fed, fed: &Fed) {
    sum.events += fed.events;
    sum.duplicates += fed.duplicates;
    sum.duplicates_by_id_alone += fed.duplicates_by_id_alone;
    sum.ids_too_long += fed.ids_too_long;
    sum.ids_refused += fed.ids_refused;
    sum.oversize |= fed.oversize;
    sum.gap = sum.gap.or(fed.gap);
    sum.retry = fed.retry.or(sum.retry);
}
