//! The way back of free slots, from the drain to the writer.
//!
//! In: the indices of slots that the drain releases. Out: all of them at once, as a chain of links.
//! Laws: one thread gives, one takes. The taker takes the whole chain in one step, so it never acts on a chain that has
//! changed meanwhile (the ABA problem); the giver tries again only where the taker came in between.
//!
//! Source: Treiber, "Systems Programming: Coping with Parallelism" (IBM RJ 5118, 1986), emptied by one swap.

use crate::sync::{Bits, Edge, Ends};

/// The end of a chain.
pub(super) const NONE: u32 = u32::MAX;

/// The chain of free slots; its links lie in the slots.
#[derive(Debug)]
pub struct FreeList(Bits);

impl Default for FreeList {
    fn default() -> Self {
        Self(Bits::new(NONE))
    }
}

impl FreeList {
    /// Gives a slot back; `link` is the slot's own. Releases the link, and everything that was done with the slot
    /// before.
    pub fn give(&self, index: u32, link: &Bits) {
        let mut head = self.0.peek();
        loop {
            link.put(head);
            match self.0.exchange(head, index, Ends::release(Edge::Free)) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all slots that were given back: the index of the first in the chain, or [`NONE`]. Acquires the links.
    pub fn take(&self) -> u32 {
        self.0.swap(NONE, Ends::acquire(Edge::Free))
    }
}
