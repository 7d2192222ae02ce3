//! What a slot holds, and how it is written without an allocation.
//!
//! In: a name, a phase, a cursor. Out: an `Arc` that is swapped into the slot; the one that comes back is kept as a
//! spare.
//! Law: a published value never changes. Only an `Arc` that nobody else holds is written again (`Shared::get_mut`).

use crate::base::{Cursor, StreamName};
use crate::sync::Shared;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is to become of a stream's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The stream lives: write the cursor.
    Live,
    /// The stream is gone and its record stays: write the cursor, then release the slot.
    Retired,
    /// The tombstone: remove the record, then release the slot.
    Removed,
}

/// The newest state of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Whose it is.
    pub name: Arc<StreamName>,
    /// The generation of the slot's key.
    pub generation: u32,
    /// What is to become of the record.
    pub phase: Phase,
    /// The delivered mark; in a retired or removed slot, the last one. None when there never was one.
    pub cursor: Option<Cursor>,
}

impl Published {
    /// Writes all of it anew.
    fn set(&mut self, name: &Arc<StreamName>, generation: u32, cursor: &Cursor) {
        if !Arc::ptr_eq(&self.name, name) {
            self.name = Arc::clone(name);
        }
        self.generation = generation;
        self.phase = Phase::Live;
        self.cursor = Some(cursor.clone());
    }
}

/// Spares that are looked at before a new one is made.
const LOOKS: usize = 4;

/// Values that came back from slots, to be written again. Those that the drain or a reader still holds wait their
/// turn; so there are never more than were held at one time, and one.
#[derive(Debug)]
pub(super) struct Spares {
    values: VecDeque<Shared<Published>>,
    capacity: usize,
}

impl Spares {
    /// None yet, at most `capacity`.
    pub(super) fn new(capacity: usize) -> Self {
        Self { values: VecDeque::new(), capacity }
    }

    /// A live value with this cursor: a spare written again, or a new one where all that were looked at are held.
    pub(super) fn write(&mut self, name: &Arc<StreamName>, generation: u32, cursor: &Cursor) -> Shared<Published> {
        for _ in 0..self.values.len().min(LOOKS) {
            let Some(mut spare) = self.values.pop_front() else { break };
            if let Some(value) = Shared::get_mut(&mut spare) {
                value.set(name, generation, cursor);
                return spare;
            }
            self.values.push_back(spare);
        }
        let cursor = Some(cursor.clone());
        Shared::new(Published { name: Arc::clone(name), generation, phase: Phase::Live, cursor })
    }

    /// Keeps what came back from a slot, if there is room.
    pub(super) fn keep(&mut self, value: Option<Shared<Published>>) {
        if self.values.len() < self.capacity {
            self.values.extend(value);
        }
    }
}
