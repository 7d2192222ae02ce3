//! How many read event streams, and how many of them are slow.
//!
//! In: what a part of the whole was and is. Out: the whole.
//! Law: each change is told once, so that nobody has to count all streams.

/// Who reads event streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::machine) struct Audience {
    pub(in crate::machine) readers: u32,
    /// Those of them whose socket is full.
    pub(in crate::machine) slow: u32,
}

impl Audience {
    /// A part of the whole has changed from one into the other.
    pub(in crate::machine) fn settle(&mut self, before: Self, after: Self) {
        self.readers = (self.readers + after.readers).saturating_sub(before.readers);
        self.slow = (self.slow + after.slow).saturating_sub(before.slow);
    }
}
