//! Slots: where the reactor leaves the newest cursor of each stream for the persister.
//!
//! In: cursors, activity and removals, which each writing thread publishes with a [`SlotWriter`] of its own. Out: which
//! slots changed and what is newest in them, for one thread with a [`SlotDrain`]; the same cursors for any number of
//! [`CursorHandle`]s.
//!
//! ```text
//! publish: newest cursor -> dirty flag (was clear?) -> queue -> bell
//! drain:   bell -> queue -> dirty flag cleared -> newest cursor
//! ```
//!
//! # Laws
//! 1. No thread waits for another, except the drain at its bell. In the steady state publishing allocates nothing, and
//!    changes no shared memory but the stream's own slot and, at the first change after a drain, the queue and the
//!    bell.
//! 2. A slot is on the queue at most once, so a queue with one place for each slot takes every push.
//! 3. No update is lost: a publication after the slot was popped puts the slot on the queue again.
//! 4. A removal is a value like any other, published through the slot, and stays the newest value until the drain
//!    releases the slot. So a late retry, which reads the slot again, cannot bring a dead cursor back.
//! 5. A slot is given to another stream only after [`SlotDrain::release`]. From then on the key of the previous stream
//!    opens nothing.
//!
//! # Memory
//! A slot costs 64 bytes: 32 shared, 16 with the writer, 16 in the queue. Its stream's stay costs 56 bytes more, and
//! two cursors.
//!
//! # Orderings
//! Each ordering belongs to an [`Edge`](crate::sync::Edge), which says what it carries; the operations are named
//! methods in `cell`, `queue`, `bell`, `free` and `table`. The models in `loom-tests` take away one end of each edge
//! and expect a failure.

mod bell;
mod cell;
mod drain;
mod ends;
mod free;
mod handle;
mod latest;
mod queue;
mod ringer;
mod table;
mod writer;

#[cfg(test)]
mod tests;

pub use bell::Woken;
pub use drain::{SlotDrain, Survey};
pub use ends::{slots, slots_for};
pub use handle::{CursorHandle, SlotsView};
pub use latest::{Phase, Published};
pub use ringer::Ringer;
pub use table::SlotKey;
pub use writer::{SlotPen, SlotWriter};

/// The parts, for a model of each.
#[doc(hidden)]
pub mod parts {
    pub use super::bell::Bell;
    pub use super::cell::CursorCell;
    pub use super::free::FreeList;
    pub use super::queue::DirtyQueue;
    pub use crate::sync::{Bits, Ends, Sleeper, park};
}
