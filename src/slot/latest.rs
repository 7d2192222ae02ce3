//! What a slot holds: a stream's stay; and the copy of it that a reader gets.
//!
//! In: a name, a phase, cursors. Out: a [`Stay`], which the slot shares with its readers; copies of the newest state,
//! as [`Published`].
//! Laws: only the cursor of a stay changes, in its cell. For a new phase, and for a cursor whose id is too long for the
//! cell, a new stay is put into the slot.

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

/// A copy of a stream's newest state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The stream.
    pub name: Arc<StreamName>,
    /// The generation of the slot's key.
    pub generation: u32,
    /// What is to become of the stream's record.
    pub phase: Phase,
    /// The delivered mark; the last one, where the stream has ended. `None` when there never was one.
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

    /// The same stream in another phase, at this cursor.
    pub(super) fn at(&self, phase: Phase, cursor: Option<&Cursor>) -> Self {
        let cell = cursor.map_or_else(CursorCell::empty, CursorCell::with);
        Self { name: Arc::clone(&self.name), generation: self.generation, phase, cell }
    }

    /// A copy of the newest state.
    pub(super) fn published(&self) -> Published {
        let Self { name, generation, phase, cell } = self;
        Published { name: Arc::clone(name), generation: *generation, phase: *phase, cursor: cell.read() }
    }
}
