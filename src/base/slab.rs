//! Values at numbered places, in pages that are given back when they are empty.
//!
//! In: values. Out: their places, which are reused when they have been left.
//! Laws: growing costs one allocation of a page, and copies nothing but a first page, which grows
//! in steps: a table of 100,000 connections stalls nobody when it grows, and a small one stays small. A page
//! whose last value has left is freed, but for one that is kept in case it is needed again at once. Of a slab of one
//! page nothing lies on the heap but its places.

use super::fetch;

/// Values in a page.
const PAGE: usize = 1_024;

/// Places by which the first page grows, from its fifth place on until it has 64.
const STEP: usize = 16;

/// No free place in the page.
const NONE: u16 = u16::MAX;

/// What a place holds: a value, or where the next free place of its page is.
pub trait Place {
    /// A free place in front of the free place `next`, with its generation.
    fn vacant(next: u16, generation: u32) -> Self;
    /// The free place behind this one. Asked of free places only.
    fn next(&self) -> u16;
    /// How often the place has been left. Constant where nobody needs it.
    fn generation(&self) -> u32;
}

/// A growable, shrinking list of places.
#[derive(Debug)]
pub struct Slab<P> {
    first: Page<P>,
    /// All pages but the first.
    more: Vec<Page<P>>,
    /// Those of them with free places, the one to use next last. A page that has filled since leaves when it comes up.
    open: Vec<u32>,
    /// The page that was empty last, and may be still.
    spare: Option<u32>,
    /// Places that memory is held for, in all pages.
    held: usize,
}

#[derive(Debug)]
struct Page<P> {
    places: Vec<P>,
    free: u16,
    taken: u16,
    is_open: bool,
    /// The least generation that a new place may have: one that was here before had less.
    generation: u32,
}

impl<P> Default for Page<P> {
    fn default() -> Self {
        Self { places: Vec::new(), free: NONE, taken: 0, is_open: true, generation: 0 }
    }
}

impl<P> Page<P> {
    fn has_room(&self) -> bool {
        self.free != NONE || self.places.len() < PAGE
    }
}

impl<P> Default for Slab<P> {
    fn default() -> Self {
        Self { first: Page::default(), more: Vec::new(), open: Vec::new(), spare: None, held: 0 }
    }
}

impl<P: Place> Slab<P> {
    /// What lies at a place, taken or free; `None` where there is no place.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&P> {
        let page = if index < PAGE { &self.first } else { self.more.get(index / PAGE - 1)? };
        page.places.get(index % PAGE)
    }

    /// What lies at a place, taken or free; `None` where there is no place.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut P> {
        self.page_mut(index / PAGE)?.places.get_mut(index % PAGE)
    }

    #[inline]
    fn page_mut(&mut self, number: usize) -> Option<&mut Page<P>> {
        if number == 0 { Some(&mut self.first) } else { self.more.get_mut(number - 1) }
    }

    /// Prefetches the place of the first page that is taken next.
    #[inline]
    pub(crate) fn warm(&self) {
        fetch(self.first.places.get(usize::from(self.first.free)).map(P::next).as_ref());
    }

    /// Takes a place for what `make` makes of its generation. The place's number.
    pub fn insert(&mut self, make: impl FnOnce(u32) -> P) -> usize {
        let number = self.open_page();
        let whole = !self.more.is_empty();
        let Some(page) = self.page_mut(number as usize) else { return usize::MAX };
        page.taken += 1;
        let mut grown = 0;
        let at = match page.places.get_mut(usize::from(page.free)) {
            Some(place) => {
                let at = page.free;
                page.free = place.next();
                *place = make(place.generation());
                usize::from(at)
            }
            None => {
                let before = page.places.capacity();
                if page.places.len() == before {
                    page.places.reserve_exact(if whole { PAGE } else { growth(before) });
                    grown = page.places.capacity() - before;
                }
                page.places.push(make(page.generation));
                page.places.len() - 1
            }
        };
        self.held += grown;
        number as usize * PAGE + at
    }

    /// A page with a free place, made now if there is none.
    fn open_page(&mut self) -> u32 {
        // The first page, unless it would have to be made anew while another stands open.
        let at_hand = self.first.free != NONE || self.first.places.len() < self.first.places.capacity();
        if at_hand || self.more.is_empty() && self.first.has_room() {
            return 0;
        }
        while let Some(&number) = self.open.last() {
            let Some(page) = self.page_mut(number as usize) else { break };
            if page.has_room() {
                return number;
            }
            page.is_open = false;
            self.open.pop();
        }
        if self.first.has_room() {
            return 0;
        }
        self.more.push(Page::default());
        let number = self.more.len() as u32;
        self.open.push(number);
        number
    }

    /// Leaves a taken place and hands over what was there.
    pub fn remove(&mut self, index: usize) -> Option<P> {
        let (number, at) = (index / PAGE, index % PAGE);
        let page = self.page_mut(number)?;
        let place = page.places.get_mut(at)?;
        let generation = place.generation().wrapping_add(1);
        let left = std::mem::replace(place, P::vacant(page.free, generation));
        page.free = at as u16;
        page.taken -= 1;
        let (is_empty, was_open) = (page.taken == 0, std::mem::replace(&mut page.is_open, true));
        if !was_open {
            self.open.push(number as u32);
        }
        if is_empty {
            self.on_empty(number as u32);
        }
        Some(left)
    }

    /// A page has become empty: one such page stays.
    fn on_empty(&mut self, number: u32) {
        let before = self.spare.replace(number).filter(|before| *before != number);
        if let Some(page) = before.and_then(|before| self.page_mut(before as usize))
            && page.taken == 0
        {
            let newest = page.places.iter().map(P::generation).max();
            page.generation = newest.unwrap_or(page.generation);
            let places = std::mem::take(&mut page.places);
            page.free = NONE;
            self.held -= places.capacity();
        }
    }

    /// One past the highest place there may be now, by whole pages.
    pub fn end(&self) -> usize {
        (1 + self.more.len()) * PAGE
    }

    /// All places, taken and free, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &P)> {
        let pages = std::iter::once(&self.first).chain(&self.more).enumerate();
        pages.flat_map(|(number, page)| page.places.iter().enumerate().map(move |(at, p)| (number * PAGE + at, p)))
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        self.held * size_of::<P>()
            + self.more.capacity() * size_of::<Page<P>>()
            + self.open.capacity() * size_of::<u32>()
    }
}

/// How much the first page grows by, when it has so many places.
fn growth(places: usize) -> usize {
    match places {
        0 => 4,
        1..64 => STEP.min(places * 3),
        _ => (places / 2).min(PAGE - places),
    }
}

#[cfg(test)]
mod tests;
