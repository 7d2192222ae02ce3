//! Values by index, in pages: a page is allocated when one of its values is first used.
//!
//! In: indices. Out: the values at these indices, at first the default.
//! Law: a new page costs one allocation and never a copy of other pages. So a list of 100,000 sockets does not stall
//! when it grows, and a high index costs no more than its own page.

/// Values in a page.
const PAGE: usize = 256;

/// A sparse list in pages of 256 values.
#[derive(Debug)]
pub struct Pages<T>(Vec<Option<Box<[T]>>>);

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> Pages<T> {
    /// The value at an index; `None` if its page has never been used.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index / PAGE)?.as_deref()?.get(index % PAGE)
    }

    /// The value at an index; `None` if its page has never been used.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index / PAGE)?.as_deref_mut()?.get_mut(index % PAGE)
    }

    /// The value at an index; the default if it was not set. The caller must bound the indices: each page below costs
    /// 16 bytes, allocated or not.
    pub fn at(&mut self, index: usize) -> &mut T {
        let page = index / PAGE;
        if page >= self.0.len() {
            self.0.resize_with(page + 1, || None);
        }
        let page = self.0[page].get_or_insert_with(|| std::iter::repeat_with(T::default).take(PAGE).collect());
        &mut page[index % PAGE]
    }

    /// One past the highest index of any page.
    pub fn end(&self) -> usize {
        self.0.len() * PAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_where_it_is() {
        let mut pages = Pages::default();
        let first: *const i32 = pages.at(0);
        (1..5_000).for_each(|n| *pages.at(n as usize) = n);
        assert!(std::ptr::eq(first, pages.get(0).unwrap()));
        assert!((0..5_000).all(|n| pages.get(n as usize) == Some(&n)));
        assert_eq!((pages.get(10_000), pages.end()), (None, 5_120));
    }

    #[test]
    fn a_page_that_nobody_used_is_not_made() {
        let mut pages = Pages::<u64>::default();
        *pages.at(100_000) = 1;
        assert_eq!((pages.get(0), pages.get(99_999), pages.get(100_000)), (None, Some(&0), Some(&1)));
        assert_eq!(pages.0.iter().flatten().count(), 1);
    }
}
