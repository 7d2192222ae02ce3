//! The reactor's end of the slots.
//!
//! In: what happens to streams: one begins, delivers, shows activity, ends. Out: newest cursors in slots, indices on
//! the queue, rings of the bell.
//! Laws: no call waits; a stale key does nothing; once the end of a stream was published, the writer leaves the slot
//! alone until the drain has released it.

use super::free::{FreeList, NONE};
use super::handle::{CursorHandle, SlotsView};
use super::latest::{Phase, Stay};
use super::ringer::Ringer;
use super::table::{SlotKey, Slots};
use crate::base::{Cursor, EventId, StreamName, Tick, fetch};
use crate::sync::Shared;
use std::ops::Range;
use std::sync::Arc;

/// What the writer alone knows of a slot.
#[derive(Debug)]
pub(super) struct WriterSide {
    /// The stream that has the slot, if one has.
    stay: Option<Shared<Stay>>,
    /// The generation of the stream that has the slot, or of the next one that will.
    generation: u32,
    /// A [`SlotPen`] publishes for this stream.
    lent: bool,
}

/// The places of one writer, in order, as far as they were ever taken.
#[derive(Debug)]
struct Places {
    /// The index of the first place's slot.
    first: u32,
    places: Vec<WriterSide>,
}

impl Places {
    /// The place of a key, unless the key is stale or belongs to another writer.
    fn at(&mut self, key: SlotKey) -> Option<&mut WriterSide> {
        let place = self.places.get_mut(key.index.checked_sub(self.first)? as usize)?;
        (place.generation == key.generation).then_some(place)
    }

    /// The stay of a stream that the writer itself publishes for.
    fn stay(&mut self, key: SlotKey) -> Option<&mut Shared<Stay>> {
        self.at(key).filter(|place| !place.lent)?.stay.as_mut()
    }
}

/// The end that one publishing thread holds.
#[derive(Debug)]
pub struct SlotWriter {
    slots: Arc<Slots>,
    /// The indices of this writer's slots.
    range: Range<u32>,
    places: Places,
    /// The first slot of the chain that was taken off the free list.
    free: u32,
    /// Slots that streams have now.
    taken: usize,
}

impl SlotWriter {
    pub(super) fn new(slots: Arc<Slots>, range: Range<u32>) -> Self {
        let places = Places { first: range.start, places: Vec::new() };
        Self { slots, range, places, free: NONE, taken: 0 }
    }

    /// Gives a stream a slot. `None` when no slot is free: the stream then runs unpersisted.
    pub fn take(&mut self, name: Arc<StreamName>) -> Option<SlotKey> {
        let index = self.next_free()?;
        let place = self.places.places.get_mut((index - self.range.start) as usize)?;
        (place.stay, place.lent) = (Some(Shared::new(Stay::new(name, place.generation))), false);
        self.taken += 1;
        Some(SlotKey { index, generation: place.generation })
    }

    /// A slot that was given back, or else one that was never used.
    fn next_free(&mut self) -> Option<u32> {
        if self.free == NONE {
            self.free = self.slots.free(self.range.start).map_or(NONE, FreeList::take);
        }
        if let Some(slot) = self.slots.at(self.free) {
            return Some(std::mem::replace(&mut self.free, slot.link.peek()));
        }
        let index = self.range.start + self.places.places.len() as u32;
        if index >= self.range.end {
            return None;
        }
        self.places.places.push(WriterSide { stay: None, generation: 0, lent: false });
        Some(index)
    }

    /// Publishes a delivered mark. Allocates only for the first mark, and for one whose id is longer than all before
    /// it.
    pub fn publish(&mut self, key: SlotKey, cursor: &Cursor) {
        let Some(stay) = self.places.stay(key) else { return };
        self.slots.publish(key, stay, cursor);
    }

    /// Notes activity without a new mark. Before the first mark there is nothing to store, so nothing is queued.
    pub fn touch(&mut self, key: SlotKey, at: Tick) {
        let Some(stay) = self.places.stay(key) else { return };
        self.slots.touch(key, stay, at);
    }

    /// Publishes a tombstone: the record is removed. The key opens nothing here from now on.
    pub fn remove(&mut self, key: SlotKey) {
        self.end(key, Phase::Removed, None);
    }

    /// Publishes a tombstone for a stream that ended earlier, whose record stands at this sequence at most. False: no
    /// slot is free.
    pub fn bury(&mut self, name: Arc<StreamName>, sequence: u64) -> bool {
        let (Some(key), Some(id)) = (self.take(name), EventId::from_bytes(b"")) else { return false };
        self.end(key, Phase::Removed, Some(Cursor { sequence, id, at: Tick::ZERO }));
        true
    }

    /// Ends a stream whose record stays: what was published last is still written. The key opens nothing here from now
    /// on.
    pub fn retire(&mut self, key: SlotKey) {
        self.end(key, Phase::Retired, None);
    }

    /// `last`: the stream's last cursor, where it was not published through this slot.
    fn end(&mut self, key: SlotKey, phase: Phase, last: Option<Cursor>) {
        let Some(place) = self.places.at(key) else { return };
        let Some(stay) = place.stay.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        self.taken -= 1;
        let Some(slot) = self.slots.at(key.index) else { return };
        // Read from the slot: a pen may have put a stay there that the writer does not know.
        let cursor = last.or_else(|| slot.with(key, |newest| newest.cell.read()).flatten());
        slot.latest.put(Some(Shared::new(stay.at(phase, cursor.as_ref()))));
        self.slots.mark(key.index);
    }

    /// A way to publish for this stream alone, on another thread. There is at most one; from now on the writer itself
    /// publishes only the stream's end.
    pub fn pen(&mut self, key: SlotKey) -> Option<SlotPen> {
        let stay = Shared::clone(self.places.stay(key)?);
        self.places.at(key)?.lent = true;
        Some(SlotPen { slots: Arc::clone(&self.slots), key, stay })
    }

    /// A reader of the stream's cursor, for any thread.
    pub fn handle(&self, key: SlotKey) -> CursorHandle {
        CursorHandle::new(Arc::clone(&self.slots), key)
    }

    /// A reader of all streams that have a slot, of every writer, for any thread.
    pub fn view(&self) -> SlotsView {
        SlotsView::new(Arc::clone(&self.slots))
    }

    /// A way to ring the drain's bell, for any thread.
    pub fn ringer(&self) -> Ringer {
        Ringer::new(Arc::clone(&self.slots))
    }

    /// Slots that streams have. Slots that wait for the drain to release them are not counted.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether no stream has a slot.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// How many slots this writer has in all.
    pub fn capacity(&self) -> usize {
        self.range.len()
    }
}

impl Slots {
    /// Publishes a cursor of the stream with this stay: in the stay's cell, or with a new stay where that cell is too
    /// small.
    #[inline]
    fn publish(&self, key: SlotKey, stay: &mut Shared<Stay>, cursor: &Cursor) {
        let Some(slot) = self.at(key.index) else { return };
        slot.last_seen.set(cursor.at.micros());
        if !stay.cell.write(cursor) {
            *stay = Shared::new(stay.at(Phase::Live, Some(cursor)));
            slot.latest.put(Some(Shared::clone(stay)));
        }
        self.mark(key.index);
    }

    /// Notes activity of the stream with this stay, unless the stream has published nothing.
    #[inline]
    fn touch(&self, key: SlotKey, stay: &Stay, at: Tick) {
        let Some(slot) = self.at(key.index).filter(|_| !stay.cell.is_empty()) else { return };
        slot.last_seen.set(at.micros());
        self.mark(key.index);
    }
}

/// Publishes the cursor of one stream, on a thread of its own. Made by [`SlotWriter::pen`].
///
/// Law: it publishes nothing once the stream's end was published.
#[derive(Debug)]
pub struct SlotPen {
    slots: Arc<Slots>,
    key: SlotKey,
    stay: Shared<Stay>,
}

impl SlotPen {
    /// Publishes a delivered mark. Allocates only for the first mark, and for one whose id is longer than all before
    /// it.
    pub fn publish(&mut self, cursor: &Cursor) {
        self.slots.publish(self.key, &mut self.stay, cursor);
    }

    /// Fetches the memory that the next publication will touch.
    #[inline]
    pub fn warm(&self) {
        fetch(self.slots.at(self.key.index).map(|slot| slot.last_seen.get()).as_ref());
        self.stay.cell.warm();
    }

    /// Notes activity without a new mark. Before the first mark there is nothing to store.
    pub fn touch(&mut self, at: Tick) {
        self.slots.touch(self.key, &self.stay, at);
    }
}

#[cfg(test)]
impl SlotWriter {
    /// The address of a stream's newest stay.
    pub(super) fn place_of(&self, key: SlotKey) -> *const () {
        self.slots
            .at(key.index)
            .map_or(std::ptr::null(), |slot| slot.latest.with(|stay| std::ptr::from_ref(stay.unwrap()).cast()))
    }
}

/// The sizes that the module's page promises: a slot with the stamp and number that the queue keeps for it, and a stay
/// with the two counts of its `Arc`.
#[cfg(not(loom))]
const _: () =
    assert!(size_of::<super::table::Slot>() + size_of::<WriterSide>() + 16 <= 64 && size_of::<Stay>() + 16 <= 56);
