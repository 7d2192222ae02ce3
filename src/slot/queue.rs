//! The dirty queue: which slots have something new, each at most once.
//!
//! In: indices, each with the dirty flag of its slot. Out: the indices, oldest first, their flags cleared.
//! Laws: an index is pushed only by the one who set its flag, and its flag is cleared only by the one who popped it; so
//! a ring as long as there are slots is never full.
//!
//! # Orderings
//! Both sides are read-modify-writes of the flag, so either the mark comes first, and the pop that clears it sees what
//! was published before the mark; or the clearing comes first, and the mark finds the flag clear and pushes again.

use crate::sync::{Bits, Edge, Ends, Ring};

/// A flag that is not set, as [`Bits`].
pub(super) const CLEAN: u32 = 0;
const DIRTY: u32 = 1;

/// Any thread marks, one pops.
#[derive(Debug)]
pub struct DirtyQueue(Ring);

impl DirtyQueue {
    /// For the indices of `capacity` slots.
    pub fn new(capacity: usize) -> Self {
        Self(Ring::new(capacity))
    }

    /// Says that there is something new in the slot. True when that was not known yet: then ring the bell.
    ///
    /// Releases what was published before, acquires the pop before, so that the push finds room.
    pub fn mark(&self, index: u32, flag: &Bits) -> bool {
        if flag.swap(DIRTY, Ends::both(Edge::Change, Edge::Room)) == DIRTY {
            return false;
        }
        let pushed = self.0.push(index);
        debug_assert!(pushed, "an index is on the ring only while its flag is set");
        true
    }

    /// The next slot with something new. Clears its flag before anything is read.
    ///
    /// Acquires what was published before the mark, releases the pop.
    pub fn pop<'a>(&self, flag: impl FnOnce(u32) -> Option<&'a Bits>) -> Option<u32> {
        let index = self.0.pop()?;
        flag(index)?.swap(CLEAN, Ends::both(Edge::Room, Edge::Change));
        Some(index)
    }

    /// Slots that wait.
    pub(super) fn len(&self) -> usize {
        self.0.count()
    }
}
