//! The persister's end of the slots.
//!
//! In: which slots have something new. Out: what is newest in them, read as often as needed; slots given back.
//! Law: each attempt to store a slot reads it again; no value is carried from one attempt to the next.

use super::bell::Woken;
use super::latest::{Phase, Published, Stay};
use super::ringer::Ringer;
use super::table::{SlotKey, Slots};
use crate::base::Tick;
use std::sync::Arc;
use std::time::Duration;

/// The end that one storing thread holds.
#[derive(Debug)]
pub struct SlotDrain {
    slots: Arc<Slots>,
}

impl SlotDrain {
    pub(super) fn new(slots: Arc<Slots>) -> Self {
        Self { slots }
    }

    /// The next slot with something new, oldest first. A publication from now on puts it on the queue again.
    ///
    /// A slot that was released while it was on the queue is passed over, or comes with the key of the stream that it
    /// has now.
    pub fn pop(&mut self) -> Option<SlotKey> {
        loop {
            let index = self.slots.queue.pop(|index| self.slots.at(index).map(|slot| &slot.dirty))?;
            let generation = |stay: Option<&Stay>| stay.map(|stay| stay.generation);
            if let Some(generation) = self.slots.at(index)?.latest.with(generation) {
                return Some(SlotKey { index, generation });
            }
        }
    }

    /// A copy of what is newest in the slot; none when the key is stale.
    pub fn read(&self, key: SlotKey) -> Option<Published> {
        self.slots.at(key.index)?.with(key, Stay::published)
    }

    /// The sequence of what is newest in the slot, 0 without a mark, and the phase; none when the key is stale.
    pub fn peek(&self, key: SlotKey) -> Option<(u64, Phase)> {
        self.slots.at(key.index)?.with(key, |stay| (stay.cell.sequence(), stay.phase))
    }

    /// The stream's last activity, which may be later than its cursor's; none when the key is stale.
    pub fn last_seen(&self, key: SlotKey) -> Option<Tick> {
        let slot = self.slots.at(key.index)?;
        slot.with(key, |_| Tick::from_micros(slot.last_seen.get()))
    }

    /// Notes the sequence that the store has acknowledged.
    pub fn note_durable(&self, key: SlotKey, sequence: u64) {
        if let Some(slot) = self.slots.at(key.index) {
            slot.with(key, |_| slot.note_durable(sequence));
        }
    }

    /// Gives back a slot once the end of its stream, retired or removed, has been stored; the key opens nothing from
    /// now on. False, and nothing is done, when the key is stale or the stream still lives.
    pub fn release(&mut self, key: SlotKey) -> bool {
        let Some(slot) = self.slots.at(key.index) else { return false };
        if slot.with(key, |stay| stay.phase == Phase::Live) != Some(false) {
            return false;
        }
        // Empty it first: once the slot is on the free list, it belongs to the next stream.
        slot.latest.put(None);
        slot.note_durable(0);
        if let Some(free) = self.slots.free(key.index) {
            free.give(key.index, &slot.link);
        }
        true
    }

    /// Waits until something is published or [`Ringer::ring`] is called, at most for `limit`; returns at once when that
    /// has happened since the last wait. After [`Woken::Rung`], pop until nothing is left: a ring counts once.
    pub fn wait(&mut self, limit: Option<Duration>) -> Woken {
        self.slots.bell.wait(limit)
    }

    /// Sleeps for `limit`, or until [`Ringer::call`], no matter what is published meanwhile. Then pop until nothing is
    /// left.
    pub fn nap(&mut self, limit: Option<Duration>) {
        self.slots.bell.nap(limit);
    }

    /// A view of all slots for any thread, also while the drain is held up.
    pub fn survey(&self) -> Survey {
        Survey { slots: Arc::clone(&self.slots) }
    }

    /// A way to ring the bell, for any thread.
    pub fn ringer(&self) -> Ringer {
        Ringer::new(Arc::clone(&self.slots))
    }

    /// Slots on the queue.
    pub fn len(&self) -> usize {
        self.slots.queue.len()
    }

    /// Whether no slot is on the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

/// A view of what all slots hold.
#[derive(Clone, Debug)]
pub struct Survey {
    slots: Arc<Slots>,
}

impl Survey {
    /// Cursors that are published and that the store has not acknowledged. Streams that are to be removed are left out:
    /// nobody resumes them.
    pub fn unflushed(&self) -> impl Iterator<Item = Published> {
        self.published().filter_map(|(key, published)| {
            // `None`: the stream has ended meanwhile, and its end is stored.
            let durable = self.slots.at(key.index)?.durable(key)?;
            let is_behind = published.cursor.as_ref().is_some_and(|cursor| cursor.sequence > durable);
            (is_behind && published.phase != Phase::Removed).then_some(published)
        })
    }

    /// Each slot in which something was published, with what is newest in it.
    pub fn published(&self) -> impl Iterator<Item = (SlotKey, Published)> {
        (0..self.slots.capacity() as u32).filter_map(|index| {
            let published = self.slots.at(index)?.latest.with(|stay| stay.map(Stay::published))?;
            Some((SlotKey { index, generation: published.generation }, published))
        })
    }
}
