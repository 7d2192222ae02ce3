//! The dirty queue: which slots have something new, each at most once.
//!
//! In: indices, each with the dirty flag of its slot. Out: the indices, oldest first, their flags cleared.
//! Laws: only the thread that set an index's flag pushes the index, and only the thread that popped the index clears
//! the flag. So a ring with one place for each slot is never full.
//!
//! # Orderings
//! Both sides change the flag by a read-modify-write, so one of them comes first. If the mark does, the pop that clears
//! it sees what was published before the mark. If the clearing does, the mark finds the flag clear and pushes again.

use crate::sync::{Bits, Edge, Ends, Ring};

/// The value of a flag that is not set.
pub(super) const CLEAN: u32 = 0;
const DIRTY: u32 = 1;

/// Any thread marks slots, one thread pops them.
#[derive(Debug)]
pub struct DirtyQueue(Ring);

impl DirtyQueue {
    /// For the indices of `capacity` slots.
    pub fn new(capacity: usize) -> Self {
        Self(Ring::new(capacity))
    }

    /// Marks the slot as one with something new. True when it was not marked before: then ring the bell.
    ///
    /// Releases what was published before; acquires the previous pop, so that the push finds room.
    pub fn mark(&self, index: u32, flag: &Bits) -> bool {
        if flag.swap(DIRTY, Ends::both(Edge::Change, Edge::Room)) == DIRTY {
            return false;
        }
        let pushed = self.0.push(index);
        debug_assert!(pushed, "an index is on the ring only while its flag is set");
        true
    }

    /// The next slot with something new. Clears its flag; the caller reads the slot after that.
    ///
    /// Acquires what was published before the mark; releases the pop.
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
