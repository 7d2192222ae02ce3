//! What a slot holds: a stream's stay, and what those who look at it are given.
//!
//! In: a name, a phase, cursors. Out: a [`Stay`] that the slot shares with who looks at it; copies of what is newest, as
//! [`Published`].
//! Laws: of a stay only the cursor changes, in its cell; a new phase, and a cursor whose id is too long for the cell, are
//! a new stay in the slot.

use super::cell::CursorCell;
use crate::base::{Cursor, StreamName};
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

/// The newest state of a stream, as it was when it was looked at.
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

/// A stream in a slot.
#[derive(Debug)]
pub(super) struct Stay {
    pub(super) name: Arc<StreamName>,
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) cell: CursorCell,
}

impl Stay {
    /// A stream that has published nothing.
    pub(super) fn new(name: Arc<StreamName>, generation: u32) -> Self {
        Self { name, generation, phase: Phase::Live, cell: CursorCell::empty() }
    }

    /// The same stream in this phase, at this cursor.
    pub(super) fn at(&self, phase: Phase, cursor: Option<&Cursor>) -> Self {
        let cell = cursor.map_or_else(CursorCell::empty, CursorCell::with);
        Self { name: Arc::clone(&self.name), generation: self.generation, phase, cell }
    }

    /// What is newest.
    pub(super) fn published(&self) -> Published {
        let Self { name, generation, phase, cell } = self;
        Published { name: Arc::clone(name), generation: *generation, phase: *phase, cursor: cell.read() }
    }
}
