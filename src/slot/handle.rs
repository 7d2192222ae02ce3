//! A reader of one stream's cursor, for any thread.
//!
//! In: a key. Out: the newest published cursor, as long as the stream has its slot.
//! Laws: reading never waits and never holds up the writer; a handle never sees an older cursor after a newer one, and
//! never another stream's.

use super::latest::{Phase, Published, Stay};
use super::table::{SlotKey, Slots};
use crate::base::{Cursor, EventId};
use std::sync::Arc;

/// Reads a stream's cursor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CursorHandle {
    slots: Arc<Slots>,
    key: SlotKey,
}

impl CursorHandle {
    pub(super) fn new(slots: Arc<Slots>, key: SlotKey) -> Self {
        Self { slots, key }
    }

    /// The last event id that was delivered. `None` before the first one, and after the stream was removed or released.
    pub fn last_event_id(&self) -> Option<EventId> {
        self.cursor().map(|cursor| cursor.id)
    }

    /// The delivered mark. `None` before the first one, and after the stream was removed or released.
    pub fn cursor(&self) -> Option<Cursor> {
        let alive = |stay: &Stay| if stay.phase == Phase::Removed { None } else { stay.cell.read() };
        self.slots.at(self.key.index)?.with(self.key, alive)?
    }

    /// The sequence that the store has acknowledged, never greater than the cursor's. 0: none yet.
    pub fn durable(&self) -> u64 {
        self.slots.at(self.key.index).and_then(|slot| slot.durable(self.key)).unwrap_or(0)
    }
}

/// Reads all streams that have a slot, for any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SlotsView {
    slots: Arc<Slots>,
}

impl SlotsView {
    pub(super) fn new(slots: Arc<Slots>) -> Self {
        Self { slots }
    }

    /// The streams in the slots from this place on: each with its place, and the sequence that the store has
    /// acknowledged. A stream that begins meanwhile may be missing. Reading holds up nobody.
    pub fn streams_from(&self, place: u32) -> impl Iterator<Item = (u32, Published, u64)> {
        (place..self.slots.capacity() as u32).filter_map(|index| {
            let slot = self.slots.at(index)?;
            let published = slot.latest.with(|stay| stay.map(Stay::published))?;
            let key = SlotKey { index, generation: published.generation };
            // The number of a stream that has just ended is another's.
            let durable = slot.durable(key)?;
            (published.phase != Phase::Removed).then_some((index, published, durable))
        })
    }
}
