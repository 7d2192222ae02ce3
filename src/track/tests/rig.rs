//! One tracker with everything it borrows, and what upstream sends it.

use crate::base::Tick;
use crate::track::*;

/// One tracker with all it borrows, and a reader that takes everything at once.
pub(super) struct Rig {
    pub(super) limits: TrackLimits,
    pub(super) interner: Interner,
    pub(super) budget: Budget,
    pub(super) now: Tick,
    pub(super) tracker: Tracker,
    pub(super) out: Vec<u8>,
    pub(super) read: u64,
}

impl Rig {
    pub(super) fn new(limits: TrackLimits) -> Self {
        let tracker = Tracker::new(&limits);
        let (interner, budget) = (Interner::new(7, 10_000), Budget::new(64 << 20));
        Self { limits, interner, budget, now: Tick::ZERO, tracker, out: Vec::new(), read: 0 }
    }

    pub(super) fn with<T>(&mut self, call: impl FnOnce(&mut Tracker, TrackContext<'_>) -> T) -> T {
        let cx = TrackContext {
            limits: &self.limits,
            interner: &mut self.interner,
            budget: &mut self.budget,
            now: self.now,
        };
        call(&mut self.tracker, cx)
    }

    pub(super) fn feed(&mut self, bytes: impl AsRef<[u8]>) -> Fed {
        self.with(|t, cx| t.feed(cx, bytes.as_ref()))
    }

    /// The reader takes at most `n` bytes of what it may have; the delivered mark follows.
    pub(super) fn take(&mut self, n: u64) {
        assert!(self.tracker.start() <= self.read, "the reader fell off the tail");
        let to = self.tracker.whole().min(self.read.saturating_add(n));
        let (a, b) = self.tracker.slices(self.read, to);
        assert_eq!((a.len() + b.len()) as u64, to - self.read);
        self.out.extend_from_slice(a);
        self.out.extend_from_slice(b);
        self.read = to;
        self.with(|t, cx| t.advance(cx, to));
    }

    /// Feeds, delivers all, and gives what came out.
    pub(super) fn pass(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.feed(bytes);
        self.drain()
    }

    pub(super) fn drain(&mut self) -> String {
        self.take(u64::MAX);
        String::from_utf8(std::mem::take(&mut self.out)).unwrap()
    }

    pub(super) fn heal(&mut self) {
        self.tracker.cut();
        self.tracker.begin(true, true);
    }

    pub(super) fn cursor(&self) -> Option<&[u8]> {
        self.tracker.cursor(&self.interner)
    }

    pub(super) fn release(&mut self) {
        self.tracker.release(&mut self.interner, &mut self.budget);
        assert_eq!((self.interner.live(), self.budget.used()), (0, 0));
    }
}

pub(super) fn rig() -> Rig {
    let mut rig = Rig::new(TrackLimits::default());
    rig.tracker.begin(false, false);
    rig
}

/// A rig that has received the numbered events of a range.
pub(super) fn rig_with(ids: std::ops::Range<u32>) -> Rig {
    let mut rig = rig();
    ids.for_each(|n| drop(rig.pass(event(n))));
    rig
}

pub(super) fn event(n: u32) -> String {
    format!("id: {n}\ndata: event {n}\n\n")
}

pub(super) fn gap(reason: &str, after: &str, resumed_at: &str) -> String {
    format!("event: segno.gap\ndata: {{\"after\":{after},\"resumed_at\":{resumed_at},\"reason\":\"{reason}\"}}\n\n")
}
