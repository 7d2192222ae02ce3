//! The reactor's end of the slots.
//!
//! In: what streams do: come, deliver, show life, go. Out: newest values in slots, indices on the queue, rings.
//! Laws: no call waits; a stale key does nothing; after a slot's end was published the writer leaves it alone until the
//! drain has released it.

use super::bell::Ringer;
use super::free::{FreeList, NONE};
use super::handle::CursorHandle;
use super::latest::{Phase, Published, Spares};
use super::table::{SlotKey, Slots};
use crate::base::{Cursor, StreamName, Tick};
use crate::sync::Shared;
use std::ops::Range;
use std::sync::Arc;

/// What the writer alone knows of a slot.
#[derive(Debug)]
pub(super) struct Place {
    /// The stream that has the slot, if one has.
    name: Option<Arc<StreamName>>,
    /// The generation of the stream that has the slot, or of the next that will.
    generation: u32,
    /// Whether anything was published by that stream.
    published: bool,
}

/// The one who publishes.
#[derive(Debug)]
pub struct SlotWriter {
    slots: Arc<Slots>,
    /// The slots that are this writer's.
    range: Range<u32>,
    /// Those taken at least once, in their order.
    places: Vec<Place>,
    /// The first of the free slots that were taken off the free list.
    free: u32,
    /// Slots that streams have.
    taken: usize,
    spares: Spares,
}

impl SlotWriter {
    pub(super) fn new(slots: Arc<Slots>, range: Range<u32>) -> Self {
        let spares = Spares::new(range.len());
        Self { slots, range, places: Vec::new(), free: NONE, taken: 0, spares }
    }

    /// Gives a stream a slot. None when none is free: the stream then runs unpersisted.
    pub fn take(&mut self, name: Arc<StreamName>) -> Option<SlotKey> {
        let index = self.next_free()?;
        let place = self.places.get_mut((index - self.range.start) as usize)?;
        place.name = Some(name);
        place.published = false;
        self.taken += 1;
        Some(SlotKey { index, generation: place.generation })
    }

    /// A slot that was given back, else one that was never used.
    fn next_free(&mut self) -> Option<u32> {
        if self.free == NONE {
            self.free = self.slots.free(self.range.start).map_or(NONE, FreeList::take);
        }
        if let Some(slot) = self.slots.at(self.free) {
            return Some(std::mem::replace(&mut self.free, slot.link.peek()));
        }
        let index = self.range.start + self.places.len() as u32;
        if index >= self.range.end {
            return None;
        }
        self.places.push(Place { name: None, generation: 0, published: false });
        Some(index)
    }

    /// Publishes a delivered mark. No allocation where the id lies inside the cursor and a spare is free.
    pub fn publish(&mut self, key: SlotKey, cursor: &Cursor) {
        let Some((place, name)) = self.open(key) else { return };
        place.published = true;
        let value = self.spares.write(&name, key.generation, cursor);
        let Some(slot) = self.slots.at(key.index) else { return };
        slot.last_seen.set(cursor.at.micros());
        let old = slot.latest.swap(Some(value));
        self.spares.keep(old);
        self.slots.mark(key.index);
    }

    /// Notes activity without a new mark. Before the first mark there is nothing to store, so nothing is queued.
    pub fn touch(&mut self, key: SlotKey, at: Tick) {
        let Some((place, _)) = self.open(key) else { return };
        if !place.published {
            return;
        }
        let Some(slot) = self.slots.at(key.index) else { return };
        slot.last_seen.set(at.micros());
        self.slots.mark(key.index);
    }

    /// Publishes a tombstone: the record goes, and the key opens nothing here from now on.
    pub fn remove(&mut self, key: SlotKey) {
        self.end(key, Phase::Removed);
    }

    /// Lets a stream go whose record stays: what was published last is still written. The key opens nothing here from
    /// now on.
    pub fn retire(&mut self, key: SlotKey) {
        self.end(key, Phase::Retired);
    }

    fn end(&mut self, key: SlotKey, phase: Phase) {
        let Some((place, name)) = self.open(key) else { return };
        place.name = None;
        place.generation = place.generation.wrapping_add(1);
        self.taken -= 1;
        let Some(slot) = self.slots.at(key.index) else { return };
        let cursor = slot.with(key, |newest| newest.cursor.clone()).flatten();
        let last = Shared::new(Published { name, generation: key.generation, phase, cursor });
        let old = slot.latest.swap(Some(last));
        self.spares.keep(old);
        self.slots.mark(key.index);
    }

    /// A way to publish for this stream alone, on another thread.
    pub fn pen(&mut self, key: SlotKey) -> Option<SlotPen> {
        let (place, name) = self.open(key)?;
        let published = place.published;
        Some(SlotPen { slots: Arc::clone(&self.slots), key, name, spares: Spares::new(2), published })
    }

    /// A reader of the stream's cursor, for any thread.
    pub fn handle(&self, key: SlotKey) -> CursorHandle {
        CursorHandle::new(Arc::clone(&self.slots), key)
    }

    /// One that rings the drain's bell, for any thread.
    pub fn ringer(&self) -> Ringer {
        Ringer(Arc::clone(&self.slots))
    }

    /// Slots that streams have; those that the drain has not released yet are not counted.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether no stream has a slot.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// How many slots are this writer's.
    pub fn capacity(&self) -> usize {
        self.range.len()
    }

    /// The place and its stream, unless the key is stale or another writer's.
    fn open(&mut self, key: SlotKey) -> Option<(&mut Place, Arc<StreamName>)> {
        let place = self.places.get_mut(key.index.checked_sub(self.range.start)? as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let name = Arc::clone(place.name.as_ref()?);
        Some((place, name))
    }
}

/// Publishes the cursor of one stream, on a thread of its own. Made by [`SlotWriter::pen`].
///
/// Law: as long as there is a pen, the writer itself publishes nothing for the stream but its end.
#[derive(Debug)]
pub struct SlotPen {
    slots: Arc<Slots>,
    key: SlotKey,
    name: Arc<StreamName>,
    spares: Spares,
    published: bool,
}

impl SlotPen {
    /// Publishes a delivered mark. No allocation where the id lies inside the cursor and nobody holds the value before.
    pub fn publish(&mut self, cursor: &Cursor) {
        let value = self.spares.write(&self.name, self.key.generation, cursor);
        let Some(slot) = self.slots.at(self.key.index) else { return };
        self.published = true;
        slot.last_seen.set(cursor.at.micros());
        let old = slot.latest.swap(Some(value));
        self.spares.keep(old);
        self.slots.mark(self.key.index);
    }

    /// Notes activity without a new mark. Before the first mark there is nothing to store.
    pub fn touch(&mut self, at: Tick) {
        let Some(slot) = self.slots.at(self.key.index).filter(|_| self.published) else { return };
        slot.last_seen.set(at.micros());
        self.slots.mark(self.key.index);
    }
}

/// The promise of the module's page: a slot's own bytes, with the stamp and number that the queue keeps of it.
#[cfg(not(loom))]
const _: () = assert!(size_of::<super::table::Slot>() + size_of::<Place>() + 16 <= 64);
