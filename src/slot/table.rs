//! The part of the slots that the threads share, and the keys to the slots.
//!
//! In: a capacity, and where each writer's slots end. Out: one table that never grows, which the writers, the drain and
//! the handles look at.
//! Law: a slot belongs to the writer from taking it until its end is published, then to the drain until it is released.

use super::bell::Bell;
use super::free::{FreeList, NONE};
use super::latest::Stay;
use super::queue::{CLEAN, DirtyQueue};
use crate::sync::{Bits, Edge, Latest, Number};

/// Names one stream's stay in a slot. Slots are used again; keys are not, until the generation wraps after 2^32
/// streams.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotKey {
    /// The place, below the capacity.
    pub index: u32,
    /// Which of the stays at this place it names.
    pub generation: u32,
}

/// What the threads share of one slot.
#[derive(Debug)]
pub(super) struct Slot {
    /// The stream that has published here, until the drain releases the slot.
    pub(super) latest: Latest<Stay>,
    /// The last activity, in microseconds. Has a meaning only once a cursor was published.
    pub(super) last_seen: Number,
    /// The sequence that the store has acknowledged; 0: none.
    durable: Number,
    /// The dirty flag.
    pub(super) dirty: Bits,
    /// The next free slot, while this one is free.
    pub(super) link: Bits,
}

impl Slot {
    /// The sequence that is durable of the key's stream; none when the key is stale. Only for a caller that has seen
    /// this stream in the slot, or knows that the slot was given to it.
    ///
    /// The number is read first and the key is checked after it: a reader that sees a number of a later stream also
    /// sees that this one has ended.
    pub(super) fn durable(&self, key: SlotKey) -> Option<u64> {
        let sequence = self.durable.observe(Edge::Durable);
        self.with(key, |_| sequence)
    }

    /// Notes the sequence that is durable. Releases which stream it belongs to.
    pub(super) fn note_durable(&self, sequence: u64) {
        self.durable.publish(sequence, Edge::Durable);
    }

    /// Calls `look` with the stream's stay, unless the key is stale.
    pub(super) fn with<R>(&self, key: SlotKey, look: impl FnOnce(&Stay) -> R) -> Option<R> {
        self.latest.with(|stay| stay.filter(|stay| stay.generation == key.generation).map(look))
    }
}

/// All slots, and what the threads tell each other through: queue, bell, free lists.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    pub(super) queue: DirtyQueue,
    pub(super) bell: Bell,
    /// One for each writer, with the first place after its slots.
    free: Box<[(u32, FreeList)]>,
}

impl Slots {
    pub(super) fn new(capacity: u32, ends: impl Iterator<Item = u32>) -> Self {
        let slot = |_| Slot {
            latest: Latest::default(),
            last_seen: Number::new(0),
            durable: Number::new(0),
            dirty: Bits::new(CLEAN),
            link: Bits::new(NONE),
        };
        Self {
            slots: (0..capacity).map(slot).collect(),
            queue: DirtyQueue::new(capacity as usize),
            bell: Bell::default(),
            free: ends.map(|end| (end, FreeList::default())).collect(),
        }
    }

    /// The slot at a place; none beyond the capacity.
    pub(super) fn at(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)
    }

    /// Says that a slot has something new. Called after the value was written, because the flag carries it.
    pub(super) fn mark(&self, index: u32) {
        let Some(slot) = self.at(index) else { return };
        if self.queue.mark(index, &slot.dirty) {
            self.bell.ring();
        }
    }

    /// How many slots there are.
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The free list of the writer that owns a place.
    pub(super) fn free(&self, index: u32) -> Option<&FreeList> {
        self.free.iter().find(|(end, _)| index < *end).map(|(_, list)| list)
    }
}
