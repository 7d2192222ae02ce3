//! What the worker knows of one slot.
//!
//! In: what was found in the slot, and what became of its records. Out: where the slot is between a change and the
//! record of that change.

use crate::base::Tick;
use crate::slot::SlotKey;
use crate::timer::TimerKey;

/// Where a slot is between a change and its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum State {
    /// Everything that was found in it is durable.
    #[default]
    Clean,
    /// It waits for the end of its window, on the wheel.
    Waiting(TimerKey<SlotKey>),
    /// It waits for another attempt, on the heap.
    Failed,
    /// Its record is in the batch that the store has. `again`: since when it has changed since, and the number of that
    /// change.
    InBatch { again: Option<(Tick, u64)> },
}

/// What the worker knows of a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// The generation of the slot's key that all of this is about.
    pub(super) generation: u32,
    /// Attempts in a row that failed.
    pub(super) attempts: u32,
    pub(super) state: State,
    /// The number of the change that it waits with. Means nothing while the slot is clean.
    pub(super) change: u64,
    /// The sequence that the store has acknowledged.
    pub(super) durable: u64,
    /// The greatest sequence that was found in the slot.
    pub(super) seen: u64,
    /// Events that were found and are not durable.
    pub(super) owed: u32,
    /// The last activity that the store has acknowledged.
    pub(super) durable_activity: Tick,
    /// When it was last read for a batch, which has everything that was published before.
    pub(super) read_at: Tick,
    /// The stream has ended, and its name was removed or taken up again since through another slot: nothing is written
    /// any more.
    pub(super) is_buried: bool,
}

impl Entry {
    /// Notes the sequence that was found in the slot. How many events lie between this and what was found before; of a
    /// stream of which nothing was found before, one.
    pub(super) fn see(&mut self, sequence: u64) -> u64 {
        let before = self.seen;
        self.seen = before.max(sequence);
        if before == 0 { sequence.min(1) } else { self.seen - before }
    }

    /// How many of the events that were found may still become durable.
    pub(super) fn still_owed(&self) -> u32 {
        let behind = u32::try_from(self.seen.saturating_sub(self.durable)).unwrap_or(u32::MAX);
        if self.is_buried { 0 } else { self.owed.min(behind) }
    }

    /// Whether the slot waits with the change of this number.
    pub(super) fn waits_with(&self, change: u64) -> bool {
        match self.state {
            State::Clean => false,
            State::InBatch { again: Some((_, again)) } if again == change => true,
            _ => self.change == change,
        }
    }
}
