//! What one feed of a tracker did.
//!
//! In: nothing. Out: counts and facts, which the machine passes on.

use super::gap::GapReason;
use crate::base::Span;

/// What one feed did, for the shell's counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fed {
    /// Events taken: blocks with data or an id.
    pub events: u32,
    /// Events dropped because they were received before.
    pub duplicates: u32,
    /// Those of them that only the id could tell, because they are too large to be held.
    pub duplicates_by_id_alone: u32,
    /// A gap was stated in the log.
    pub gap: Option<GapReason>,
    /// The reconnection time that upstream asks for, when a block of this feed set it.
    pub retry: Option<Span>,
    /// A block that is too large to be held began to be passed through.
    pub oversize: bool,
    /// The stream's events get ids of segno's own from now on.
    pub own_ids: bool,
    /// Events forwarded untracked: their id is longer than the bound.
    pub ids_too_long: u32,
    /// Events forwarded untracked: the interner was full.
    pub ids_refused: u32,
}
