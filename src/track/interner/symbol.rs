//! Symbols: the short names of interned ids.
//!
//! In: the number of a place, and its kind. Out: a number of four bytes that holds both, and is never zero.

use std::num::NonZeroU32;

/// Names one interned id, as long as somebody holds a reference to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

/// How many kinds of places there are. The lowest bits of a symbol hold the kind.
pub(super) const KINDS: u32 = 4;

impl Symbol {
    /// The symbol as a number, for a log line or a map of the caller's own.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    pub(super) const fn kind(self) -> u32 {
        (self.0.get() - 1) % KINDS
    }

    pub(super) const fn place(self) -> usize {
        ((self.0.get() - 1) / KINDS) as usize
    }

    pub(super) fn at(place: usize, kind: u32) -> Option<Self> {
        let number = u32::try_from(place).ok()?.checked_mul(KINDS)?.checked_add(kind + 1)?;
        NonZeroU32::new(number).map(Self)
    }
}
