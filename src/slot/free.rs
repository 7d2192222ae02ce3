//! The way back of free slots, from the drain to the writer.
//!
//! In: the indices that the drain lets go of. Out: all of them at once, as a chain of links.
//! Laws: one thread gives, one takes. The taker takes the whole chain, so no index can come back in between unseen, and
//! needs no second look; the giver tries again only when the taker was there in between.
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
    /// Gives a slot back; `link` is its own. Releases the link, and all that was done with the slot before.
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

    /// Takes all that were given back: the first of the chain, or [`NONE`]. Acquires the links.
    pub fn take(&self) -> u32 {
        self.0.swap(NONE, Ends::acquire(Edge::Free))
    }
}
