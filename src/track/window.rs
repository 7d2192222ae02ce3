//! The last ids of a stream, twelve bytes each: the id's symbol, and the digest of its event once the log has let go of
//! the event's bytes.
//!
//! In: symbols, in the order in which they were received; digests. Out: whether a symbol is among the last N, and of
//! which events.
//! Laws: holds at most its capacity; every symbol that was pushed comes out again exactly once, from [`Window::push`]
//! or [`Window::drain`], so that the caller can release it; nothing is allocated before the first symbol.

use super::digest::Digest;
use super::interner::Symbol;
use crate::base::fetch;

/// How many places a window begins with. It grows fourfold up to its capacity, so that a stream with few ids stays
/// small.
const FIRST: usize = 1;

/// An event of which no more than this is known when its bytes have left the log.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) id: Symbol,
    pub(super) digest: Digest,
}

/// A bounded ring of symbols, the newest pushing out the oldest.
pub struct Window {
    /// Places. The first `len` of them are taken.
    ring: Box<[Option<Known>]>,
    len: u16,
    /// The oldest symbol's place, once the ring is full.
    oldest: u16,
    capacity: u16,
}

impl Window {
    /// Bytes of one place.
    pub const PLACE: usize = size_of::<Option<Known>>();

    /// An empty window of `capacity` symbols, at least one and at most `u16::MAX`.
    pub fn new(capacity: usize) -> Self {
        let capacity = u16::try_from(capacity).unwrap_or(u16::MAX).max(1);
        Self { ring: Box::default(), len: 0, oldest: 0, capacity }
    }

    /// Puts the newest symbol in. Returns the oldest where it was pushed out: the caller releases it.
    pub fn push(&mut self, symbol: Symbol) -> Option<Symbol> {
        let newest = Known { id: symbol, digest: Digest::NONE };
        if self.len < self.capacity {
            let len = self.len();
            if len == self.ring.len() {
                let places = (len * 4).max(FIRST).min(usize::from(self.capacity));
                let free = std::iter::repeat_n(None, places - len);
                self.ring = self.ring.iter().copied().chain(free).collect();
            }
            *self.ring.get_mut(len)? = Some(newest);
            self.len += 1;
            return None;
        }
        let place = self.ring.get_mut(usize::from(self.oldest))?;
        self.oldest = if self.oldest + 1 == self.capacity { 0 } else { self.oldest + 1 };
        place.replace(newest).map(|known| known.id)
    }

    /// Fetches the memory that the next [`Window::push`] touches, once the window is full.
    #[inline]
    pub(super) fn warm(&self) {
        fetch(self.ring.get(usize::from(self.oldest)));
    }

    /// Whether the symbol is among the last ones.
    pub fn contains(&self, symbol: Symbol) -> bool {
        self.iter().any(|s| s == symbol)
    }

    /// The symbols, newest first.
    pub fn iter(&self) -> impl Iterator<Item = Symbol> {
        self.known().map(|known| known.id)
    }

    /// What is known of the last events with ids, newest first.
    pub(super) fn known(&self) -> impl Iterator<Item = Known> {
        let taken = &self.ring[..self.len()];
        let (newer, older) = taken.split_at(usize::from(self.oldest).min(taken.len()));
        newer.iter().rev().chain(older.iter().rev()).copied().flatten()
    }

    /// The place after which `newer` symbols were pushed, if it is still held.
    pub(super) fn place_before(&mut self, newer: usize) -> Option<&mut Known> {
        let (len, oldest) = (self.len(), usize::from(self.oldest));
        let back = len.checked_sub(newer + 1)?;
        self.ring.get_mut((oldest + back) % len)?.as_mut()
    }

    /// Symbols held.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether no symbol is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        size_of_val(&*self.ring)
    }

    /// Takes all symbols out and gives the memory back.
    pub fn drain(&mut self) -> impl Iterator<Item = Symbol> {
        (self.len, self.oldest) = (0, 0);
        std::mem::take(&mut self.ring).into_iter().flatten().map(|known| known.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;
    use crate::track::Interner;
    use std::collections::VecDeque;

    #[test]
    fn it_agrees_with_a_plain_queue() {
        let mut interner = Interner::new(1, 100);
        let symbols: Vec<Symbol> = (0..20u8).map(|n| interner.intern(&[n]).unwrap().0).collect();
        for capacity in [1, 3, 4, 5, 17, 48] {
            let (mut window, mut twin, mut r) = (Window::new(capacity), VecDeque::new(), Random::new(5));
            for _ in 0..500 {
                let s = symbols[r.below(20) as usize];
                twin.push_back(s);
                let out = if twin.len() > capacity { twin.pop_front() } else { None };
                assert_eq!(window.push(s), out);
                assert!(window.iter().eq(twin.iter().rev().copied()));
                let asked = symbols[r.below(20) as usize];
                assert_eq!(window.contains(asked), twin.contains(&asked));
                let newer = r.below(20) as usize;
                let place = window.place_before(newer).map(|known| known.id);
                assert_eq!(place, twin.iter().rev().nth(newer).copied());
            }
            assert_eq!(window.memory(), capacity * 12);
            assert_eq!(window.drain().count(), capacity.min(500));
        }
    }

    #[test]
    fn nothing_is_allocated_before_the_first_symbol() {
        assert_eq!(Window::new(48).memory(), 0);
    }
}
