//! Keys with generations, and the bounded table they open.
//!
//! In: values. Out: a [`Key`] per value, which opens nothing once its value has been removed, also when the place
//! has been given to another value.
//! Laws: a table never holds more than its capacity (a full one hands the value back); a key of one table type does
//! not fit another's.

use super::slab::{self, Slab};
use super::step;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// Names one value in a [`Table`], for as long as it lives there. `T` says which kind of table: the type of its values,
/// or a marker of its own, so that a file which only passes keys on need not know the values.
pub struct Key<T> {
    /// The place in the table, with all bits turned: no table has a place `u32::MAX`, so this is never 0, and an
    /// `Option` of a key takes no more bytes than the key.
    turned: NonZeroU32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The place in the table; places are reused, keys are not.
    pub const fn index(self) -> usize {
        !self.turned.get() as usize
    }

    const fn new(index: u32, generation: u32) -> Self {
        // The last place but one is no table's either.
        let turned = match NonZeroU32::new(!index) {
            Some(turned) => turned,
            None => NonZeroU32::MIN,
        };
        Self { turned, generation, of: PhantomData }
    }

    /// Both halves in one number, for a log line or a poll token.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | !self.turned.get() as u64
    }

    /// The key that [`Key::to_bits`] came from. Other numbers give some key, which may open nothing.
    pub const fn from_bits(bits: u64) -> Self {
        Self::new(bits as u32, (bits >> 32) as u32)
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.turned == other.turned && self.generation == other.generation
    }
}

impl<T> Eq for Key<T> {}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation)
    }
}

enum Entry<T> {
    Taken { generation: u32, value: T },
    Free { generation: u32, next: u16 },
}

impl<T> slab::Place for Entry<T> {
    fn vacant(next: u16, generation: u32) -> Self {
        Self::Free { generation, next }
    }

    fn next(&self) -> u16 {
        match self {
            Self::Free { next, .. } => *next,
            Self::Taken { .. } => u16::MAX,
        }
    }

    fn generation(&self) -> u32 {
        match self {
            Self::Taken { generation, .. } | Self::Free { generation, .. } => *generation,
        }
    }
}

/// A bounded table of values, reached by [`Key`]. Grows as it fills, up to its capacity, and shrinks page by page; a
/// place costs the size of its value and 8 bytes or less.
pub struct Table<T, M = T> {
    places: Slab<Entry<T>>,
    len: u32,
    capacity: u32,
    of: PhantomData<fn() -> M>,
}

impl<T, M> Table<T, M> {
    /// An empty table for at most `capacity` values (at most `u32::MAX - 1`; more is cut to that).
    pub fn new(capacity: usize) -> Self {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX).min(u32::MAX - 1);
        Self { places: Slab::default(), len: 0, capacity, of: PhantomData }
    }

    /// Values in the table.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no value is in the table.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the next [`Table::insert`] will be refused.
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Puts a value in and names it.
    ///
    /// # Errors
    /// Hands the value back when the table is full.
    pub fn insert(&mut self, value: T) -> Result<Key<M>, T> {
        if self.is_full() {
            return Err(value);
        }
        self.len += 1;
        let mut of_place = 0;
        let index = self.places.insert(|generation| {
            of_place = generation;
            Entry::Taken { generation, value }
        });
        Ok(Key::new(index as u32, of_place))
    }

    /// Takes the value out; `None` when the key is stale. The key opens nothing from then on.
    pub fn remove(&mut self, key: Key<M>) -> Option<T> {
        let place = self.places.get(key.index())?;
        if !matches!(place, Entry::Taken { generation, .. } if *generation == key.generation) {
            return None;
        }
        let Some(Entry::Taken { value, .. }) = self.places.remove(key.index()) else { return None };
        self.len -= 1;
        Some(value)
    }

    /// The value, unless the key is stale.
    pub fn get(&self, key: Key<M>) -> Option<&T> {
        step();
        match self.places.get(key.index())? {
            Entry::Taken { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value, unless the key is stale.
    pub fn get_mut(&mut self, key: Key<M>) -> Option<&mut T> {
        step();
        match self.places.get_mut(key.index())? {
            Entry::Taken { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The key of the value at a place, if there is one.
    pub fn key_at(&self, index: usize) -> Option<Key<M>> {
        match self.places.get(index)? {
            Entry::Taken { generation, .. } => Some(Key::new(index as u32, *generation)),
            Entry::Free { .. } => None,
        }
    }

    /// One past the highest place there may be now: the range of [`Table::key_at`].
    pub fn places(&self) -> usize {
        self.places.end()
    }

    /// All keys with their values, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key<M>, &T)> {
        self.places.iter().filter_map(|(index, place)| match place {
            Entry::Taken { generation, value } => Some((Key::new(index as u32, *generation), value)),
            Entry::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_opens_nothing() {
        let mut t = Table::<_>::new(2);
        let a = t.insert("a").unwrap();
        assert_eq!(t.remove(a), Some("a"));
        let b = t.insert("b").unwrap();
        assert_eq!(b.index(), a.index());
        assert_eq!(t.get(a), None);
        assert_eq!(t.get_mut(a), None);
        assert_eq!(t.remove(a), None);
        assert_eq!(t.get(b), Some(&"b"));
    }

    #[test]
    fn a_full_table_hands_the_value_back() {
        let mut t = Table::<_>::new(1);
        let a = t.insert(1).unwrap();
        assert!(t.is_full());
        assert_eq!(t.insert(2), Err(2));
        t.remove(a);
        assert!(t.insert(2).is_ok());
    }

    #[test]
    fn bits_give_the_key_back() {
        let mut t = Table::<_>::new(4);
        let a = t.insert(1).unwrap();
        t.remove(a);
        let b = t.insert(2).unwrap();
        assert_eq!(Key::from_bits(b.to_bits()), b);
        assert_ne!(b.to_bits(), a.to_bits());
    }

    #[test]
    fn places_are_reused_before_new_ones_are_made() {
        let mut t = Table::<_>::new(100);
        let keys: Vec<_> = (0..10).map(|n| t.insert(n).unwrap()).collect();
        for k in &keys[3..6] {
            t.remove(*k);
        }
        for n in 0..3 {
            t.insert(n).unwrap();
        }
        assert_eq!((t.len(), t.iter().count(), t.iter().map(|(key, _)| key.index()).max()), (10, 10, Some(9)));
    }
}
