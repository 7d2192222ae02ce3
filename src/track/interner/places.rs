//! The places that ids lie in, of four sizes.
//!
//! In: ids, each with its hash and count. Out: the same, by symbol.
//! Laws: an id lies in the smallest kind of place that holds it; free places of a kind are a list through the places
//! themselves.

use super::symbol::Symbol;
use crate::base::{Place, Slab};

/// What every place begins with. A place is free when `count` is zero; `hash` is then the number of the next free
/// place.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) hash: u32,
    pub(super) count: u32,
}

/// The longest id that lies inside its place.
const INLINE: usize = 55;

/// A place for an id of up to `N` bytes.
pub(super) struct Short<const N: usize> {
    head: Head,
    len: u8,
    bytes: [u8; N],
}

/// A place for a longer id.
pub(super) struct Long {
    head: Head,
    bytes: Box<[u8]>,
}

impl<const N: usize> Place for Short<N> {
    fn vacant(next: u16, _: u32) -> Self {
        Self { head: Head { hash: u32::from(next), count: 0 }, len: 0, bytes: [0; N] }
    }

    fn next(&self) -> u16 {
        self.head.hash as u16
    }

    fn generation(&self) -> u32 {
        0
    }
}

impl Place for Long {
    fn vacant(next: u16, _: u32) -> Self {
        Self { head: Head { hash: u32::from(next), count: 0 }, bytes: Box::default() }
    }

    fn next(&self) -> u16 {
        self.head.hash as u16
    }

    fn generation(&self) -> u32 {
        0
    }
}

impl<const N: usize> Short<N> {
    /// A place with this id, if the id fits.
    fn new(head: Head, id: &[u8]) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { head, len: id.len() as u8, bytes })
    }

    fn id(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(N)]
    }
}

/// The places, by kind: of 32, 48, 64 and 24 bytes.
#[derive(Default)]
pub(super) struct Places {
    short: Slab<Short<23>>,
    middle: Slab<Short<39>>,
    wide: Slab<Short<INLINE>>,
    /// Few streams have any, and each tracker on a thread of its own has an interner.
    long: Option<Box<Slab<Long>>>,
    /// Bytes that long ids have on the heap.
    long_bytes: usize,
}

impl Places {
    #[inline]
    pub(super) fn id(&self, symbol: Symbol) -> &[u8] {
        let place = symbol.place();
        let id = match symbol.kind() {
            0 => self.short.get(place).map(Short::id),
            1 => self.middle.get(place).map(Short::id),
            2 => self.wide.get(place).map(Short::id),
            _ => self.long.as_ref().and_then(|long| long.get(place)).map(|long| &*long.bytes),
        };
        id.unwrap_or_default()
    }

    #[inline]
    pub(super) fn head(&self, symbol: Symbol) -> Option<Head> {
        let place = symbol.place();
        match symbol.kind() {
            0 => self.short.get(place).map(|short| short.head),
            1 => self.middle.get(place).map(|short| short.head),
            2 => self.wide.get(place).map(|short| short.head),
            _ => self.long.as_ref().and_then(|long| long.get(place)).map(|long| long.head),
        }
    }

    #[inline]
    pub(super) fn head_mut(&mut self, symbol: Symbol) -> Option<&mut Head> {
        let place = symbol.place();
        match symbol.kind() {
            0 => self.short.get_mut(place).map(|short| &mut short.head),
            1 => self.middle.get_mut(place).map(|short| &mut short.head),
            2 => self.wide.get_mut(place).map(|short| &mut short.head),
            _ => self.long.as_mut().and_then(|long| long.get_mut(place)).map(|long| &mut long.head),
        }
    }

    /// Puts an id into the smallest place that holds it. `None`: there are no more symbols.
    pub(super) fn insert(&mut self, head: Head, id: &[u8]) -> Option<Symbol> {
        if let Some(short) = Short::new(head, id) {
            Symbol::at(self.short.insert(|_| short), 0)
        } else if let Some(short) = Short::new(head, id) {
            Symbol::at(self.middle.insert(|_| short), 1)
        } else if let Some(short) = Short::new(head, id) {
            Symbol::at(self.wide.insert(|_| short), 2)
        } else {
            self.long_bytes += id.len();
            Symbol::at(self.long.get_or_insert_default().insert(|_| Long { head, bytes: id.into() }), 3)
        }
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, symbol: Symbol) {
        let place = symbol.place();
        match symbol.kind() {
            0 => drop(self.short.remove(place)),
            1 => drop(self.middle.remove(place)),
            2 => drop(self.wide.remove(place)),
            _ => {
                let left = self.long.as_mut().and_then(|long| long.remove(place));
                self.long_bytes -= left.map_or(0, |long| long.bytes.len());
            }
        }
    }

    /// Fetches the place that the next short id takes.
    #[inline]
    pub(super) fn warm(&self) {
        self.short.warm();
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| size_of::<Slab<Long>>() + long.bytes() + self.long_bytes);
        self.short.bytes() + self.middle.bytes() + self.wide.bytes() + long
    }
}

#[cfg(test)]
impl Places {
    /// Bytes that long ids have on the heap.
    pub(super) fn long_bytes(&self) -> usize {
        self.long_bytes
    }
}
