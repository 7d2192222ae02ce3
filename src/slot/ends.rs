//! Makes the slots: a table, with its writing ends and its draining end.
//!
//! In: how many slots each writer has. Out: a [`SlotWriter`] for each writing thread, one [`SlotDrain`].
//! Law: each slot is one writer's, and the drain has them all.

use super::drain::SlotDrain;
use super::free::NONE;
use super::table::Slots;
use super::writer::SlotWriter;
use std::sync::Arc;

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
