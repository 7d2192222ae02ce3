//! The shared part of all slots, and the keys to them.
//!
//! In: a capacity. Out: the two ends, [`SlotWriter`] and [`SlotDrain`], over one table that never grows.
//! Law: a slot belongs to the writer from taking it until its end is published, then to the drain until it is released.

use super::bell::Bell;
use super::drain::SlotDrain;
use super::free::{FreeList, NONE};
use super::latest::Stay;
use super::queue::{CLEAN, DirtyQueue};
use super::writer::SlotWriter;
use crate::sync::{Bits, Edge, Latest, Number};
use std::sync::Arc;

/// Names one stream's stay in a slot. Slots are used again, keys are not (until a generation has gone round 2^32 times).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotKey {
    /// The place, below the capacity.
    pub index: u32,
    /// Which stay it is at this place.
    pub generation: u32,
}

/// What the threads share of one slot.
#[derive(Debug)]
pub(super) struct Slot {
    /// The stream that has published here, until the drain releases the slot.
    pub(super) latest: Latest<Stay>,
    /// The last activity, in microseconds. Means something only beside a published cursor.
    pub(super) last_seen: Number,
    /// Events at the mark that the store has acknowledged; 0: none.
    durable: Number,
    /// The dirty flag.
    pub(super) dirty: Bits,
    /// The next free slot, while this one is free.
    pub(super) link: Bits,
}

impl Slot {
    /// What of the key's stream is durable; none when the key is stale. For who has seen this stream in the slot, or knows
    /// that it was given the slot.
    ///
    /// The key is looked at behind the number: one of a later stream is not seen without the end of this one.
    pub(super) fn durable(&self, key: SlotKey) -> Option<u64> {
        let sequence = self.durable.observe(Edge::Durable);
        self.with(key, |_| sequence)
    }

    /// Notes what is durable. Releases whose it is.
    pub(super) fn note_durable(&self, sequence: u64) {
        self.durable.publish(sequence, Edge::Durable);
    }

    /// Looks at the stream's stay, unless the key is stale.
    pub(super) fn with<R>(&self, key: SlotKey, look: impl FnOnce(&Stay) -> R) -> Option<R> {
        self.latest.with(|stay| stay.filter(|stay| stay.generation == key.generation).map(look))
    }
}

/// All slots and the ways between the threads.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    pub(super) queue: DirtyQueue,
    pub(super) bell: Bell,
    /// One for each writer, with the first place behind its slots.
    free: Box<[(u32, FreeList)]>,
}

impl Slots {
    fn new(capacity: u32, ends: impl Iterator<Item = u32>) -> Self {
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

    /// Says that a slot has something new. After the value: the flag carries it.
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

    /// Where slots of the writer that owns a place come back.
    pub(super) fn free(&self, index: u32) -> Option<&FreeList> {
        self.free.iter().find(|(end, _)| index < *end).map(|(_, list)| list)
    }
}

/// The two ends of `capacity` slots (at most `u32::MAX - 1`; more is cut to that). All of it is allocated here, 48
/// bytes a slot; the writer's 16 bytes follow as slots are first taken.
pub fn slots(capacity: usize) -> (SlotWriter, SlotDrain) {
    let ([writer], drain) = slots_for([capacity]);
    (writer, drain)
}

/// Slots for several writers, each with so many of its own, and one drain for all.
pub fn slots_for<const N: usize>(capacities: [usize; N]) -> ([SlotWriter; N], SlotDrain) {
    let mut end = 0u32;
    let ranges = capacities.map(|capacity| {
        let first = end;
        end = first.saturating_add(u32::try_from(capacity).unwrap_or(NONE)).min(NONE - 1);
        first..end
    });
    let slots = Arc::new(Slots::new(end, ranges.iter().map(|range| range.end)));
    (ranges.map(|range| SlotWriter::new(Arc::clone(&slots), range)), SlotDrain::new(slots))
}
