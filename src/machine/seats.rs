//! Who reads an answer: nearly always one client, with a shared or resumed stream several, with a lingering one none.
//!
//! In: readers, as they come. Out: the same readers by their seat, which stays theirs while they read.
//! Laws: finding a reader by its seat takes one step; one reader alone needs no memory of its own on the heap.

use super::exchange::Reader;

/// A reader's place.
pub(super) type Seat = u32;

/// The readers of one exchange.
#[derive(Default)]
pub(super) struct Seats {
    first: Option<Reader>,
    more: Option<Box<More>>,
    taken: u32,
}

/// Seats from 1 on. Takes a pointer's place while there are none.
#[derive(Default)]
struct More(Vec<Option<Reader>>);

impl Seats {
    pub(super) fn one(reader: Reader) -> Self {
        Self { first: Some(reader), more: None, taken: 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.taken as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    #[inline]
    pub(super) fn get(&self, seat: Seat) -> Option<&Reader> {
        match seat {
            0 => self.first.as_ref(),
            n => self.more.as_ref()?.0.get(n as usize - 1)?.as_ref(),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, seat: Seat) -> Option<&mut Reader> {
        match seat {
            0 => self.first.as_mut(),
            n => self.more.as_mut()?.0.get_mut(n as usize - 1)?.as_mut(),
        }
    }

    /// Gives a reader the lowest free seat.
    pub(super) fn take(&mut self, reader: Reader) -> Seat {
        self.taken += 1;
        if self.first.is_none() {
            self.first = Some(reader);
            return 0;
        }
        let More(more) = &mut **self.more.get_or_insert_default();
        // In a crowd without a gap nobody is looked at.
        let is_full = self.taken as usize > more.len() + 1;
        let free = if is_full { None } else { more.iter().position(Option::is_none) };
        let at = free.unwrap_or(more.len());
        match more.get_mut(at) {
            Some(seat) => *seat = Some(reader),
            None => more.push(Some(reader)),
        }
        at as u32 + 1
    }

    /// A reader leaves.
    pub(super) fn leave(&mut self, seat: Seat) -> Option<Reader> {
        let left = match seat {
            0 => self.first.take(),
            n => self.more.as_mut()?.0.get_mut(n as usize - 1)?.take(),
        };
        self.taken -= u32::from(left.is_some());
        if let Some(more) = &mut self.more {
            while more.0.pop_if(|last| last.is_none()).is_some() {}
            if more.0.is_empty() {
                self.more = None;
            }
        }
        left
    }

    /// The reader, where there is exactly one.
    pub(super) fn only(&self) -> Option<&Reader> {
        if self.taken == 1 { self.iter().next().map(|(_, reader)| reader) } else { None }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Seat, &Reader)> {
        let more = self
            .more
            .iter()
            .flat_map(|more| more.0.iter().enumerate())
            .filter_map(|(i, r)| Some((i as u32 + 1, r.as_ref()?)));
        self.first.iter().map(|r| (0, r)).chain(more)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Seat, &mut Reader)> {
        let more = self
            .more
            .iter_mut()
            .flat_map(|more| more.0.iter_mut().enumerate())
            .filter_map(|(i, r)| Some((i as u32 + 1, r.as_mut()?)));
        self.first.iter_mut().map(|r| (0, r)).chain(more)
    }

    /// One past the highest seat that may be taken: for loops that change the readers on their way.
    pub(super) fn end(&self) -> Seat {
        1 + self.more.as_ref().map_or(0, |more| more.0.len() as u32)
    }
}
