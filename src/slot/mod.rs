//! Slots: where the reactor leaves the newest cursor of each stream for the persister.
//!
//! In: each writing thread publishes cursors, activity and removals with a [`SlotWriter`] of its own. Out: one thread
//! learns with a [`SlotDrain`] which slots changed and reads what is newest in them; any number of [`CursorHandle`]s read
//! along.
//!
//! ```text
//! publish: newest cursor -> dirty flag (was clear?) -> queue -> bell
//! drain:   bell -> queue -> dirty flag cleared -> newest cursor
//! ```
//!
//! # Laws
//! 1. Nobody waits for anybody, except the drain at its bell. Publishing allocates nothing in the steady state, and
//!    changes nothing that threads share but the stream's own slot and, once a drain, the queue and the bell.
//! 2. A slot is on the queue at most once, so the queue, as long as there are slots, takes every push.
//! 3. No update is lost: what is published after a slot was popped puts it on the queue again.
//! 4. A removal is a value like any other, published through the slot; what is newest stays the removal until the
//!    drain lets go of the slot. So a late retry that reads the slot again cannot bring a dead cursor back.
//! 5. A slot is given to another stream only after [`SlotDrain::release`], and the key of the stream before opens
//!    nothing from then on.
//!
//! # Memory
//! A slot costs 64 bytes beside its stream's stay, which is of 56 bytes and two cursors: 32 shared, 16 with the writer,
//! 16 in the queue.
//!
//! # Orderings
//! Each is an [`Edge`](crate::sync::Edge), which says what it carries; the operations are named methods in `cell`,
//! `queue`, `bell`, `free` and `table`. The models in `loom-tests` take away one end of each and expect to fail.

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
pub use handle::CursorHandle;
pub use latest::{Phase, Published};
pub use ringer::Ringer;
pub use table::SlotKey;
pub use writer::{SlotPen, SlotWriter};

/// The parts, for models of each.
#[doc(hidden)]
pub mod parts {
    pub use super::bell::Bell;
    pub use super::cell::CursorCell;
    pub use super::free::FreeList;
    pub use super::queue::DirtyQueue;
    pub use crate::sync::{Bits, Ends, Sleeper, park};
}
