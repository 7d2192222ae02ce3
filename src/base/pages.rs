//! A list that grows by whole pages, so that no value ever moves.
//!
//! In: values at its end. Out: the values by their index.
//! Law: growing costs one allocation of a page, never a copy of what is there: a table of 100,000 connections stalls
//! nobody when it grows, and leaves no freed copies of itself behind.

/// Values in a page.
const PAGE: usize = 256;

/// A growable list in pages of 256 values.
#[derive(Debug)]
pub struct Pages<T> {
    pages: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T> Pages<T> {
    /// Values in the list.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at an index.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.pages.get(index / PAGE)?.get(index % PAGE)
    }

    /// The value at an index.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages.get_mut(index / PAGE)?.get_mut(index % PAGE)
    }

    /// Adds a value behind the last.
    pub fn push(&mut self, value: T) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        if let Some(page) = self.pages.last_mut() {
            page.push(value);
            self.len += 1;
        }
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_where_it_is() {
        let mut pages = Pages::default();
        pages.push(0);
        let first: *const i32 = pages.get(0).unwrap();
        (1..5_000).for_each(|n| pages.push(n));
        assert!(std::ptr::eq(first, pages.get(0).unwrap()));
        assert!((0..5_000).all(|n| pages.get(n as usize) == Some(&n)));
        assert_eq!((pages.get(5_000), pages.len(), pages.iter().count()), (None, 5_000, 5_000));
    }
}
