//! One global byte budget for the logs of all streams.
//!
//! In: bytes taken and given back. Out: whether there is room.
//! Law: [`Budget::try_take`] never goes above the
//! limit; [`Budget::force_take`] may, for the small first piece that every log gets so that each stream can make
//! progress.

/// A count of bytes with a limit.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: usize,
    undelivered: u64,
}

impl Budget {
    /// A budget of `limit` bytes, none of them used.
    pub const fn new(limit: usize) -> Self {
        Self { limit, used: 0, undelivered: 0 }
    }

    /// Takes `n` bytes, or nothing when that would go above the limit.
    pub fn try_take(&mut self, n: usize) -> bool {
        let granted = n <= self.left();
        if granted {
            self.used += n;
        }
        granted
    }

    /// Takes `n` bytes, even above the limit.
    pub fn force_take(&mut self, n: usize) {
        self.used = self.used.saturating_add(n);
    }

    /// Gives `n` bytes back.
    pub fn give(&mut self, n: usize) {
        debug_assert!(n <= self.used, "more is given back than was taken");
        self.used = self.used.saturating_sub(n);
    }

    /// So many events were received.
    pub(super) fn receive(&mut self, events: u64) {
        self.undelivered += events;
    }

    /// So many of the events that were received are delivered, or their stream is over.
    pub(super) fn settle(&mut self, events: u64) {
        debug_assert!(events <= self.undelivered, "more events are delivered than were received");
        self.undelivered = self.undelivered.saturating_sub(events);
    }

    /// Events that were received and are not delivered, of all streams that share this budget.
    pub const fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// Bytes in use.
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Another limit from now on. What is in use beyond it stays until it is given back.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Bytes that may be used.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that [`Budget::try_take`] would still grant.
    pub const fn left(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Whether more is in use than the limit allows: time to trim logs.
    pub const fn is_over(&self) -> bool {
        self.used > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_force_goes_above_the_limit() {
        let mut b = Budget::new(10);
        assert!(b.try_take(10) && !b.try_take(1) && !b.is_over());
        b.force_take(5);
        assert_eq!((b.used(), b.left(), b.is_over()), (15, 0, true));
        b.give(6);
        assert!(b.try_take(1) && !b.is_over());
    }
}
