//! The cell of one stream's newest cursor: words that are written over again, so that publishing takes no new memory and
//! no step on anything that other streams share.
//!
//! In: cursors, from one thread at a time. Out: the newest one, whole, for any thread.
//! Laws: writing never waits; reading waits for nobody, and begins anew only where a whole cursor was written meanwhile;
//! nobody reads half of one cursor and half of another, or an older one after a newer one.
//!
//! # Orderings
//! There are two halves, and the writer fills the one that was not written last. Its count of writes carries the words
//! ([`Edge::Newest`]). A word that is written over carries the count before it ([`Edge::Over`]): so who has read one
//! finds, counting again, that its half is in use, and begins anew.
//!
//! # Why no swapped pointer
//! One that is swapped needs to know that nobody reads the old value. What arc-swap does for that touches memory of every
//! thread that ever read or wrote any cell, at each swap: threads that publish for different streams then wait for each
//! other's caches. Here a write touches its own stream's words alone.
//!
//! Source: Lamport, "Concurrent Reading and Writing" (CACM 20, 1977), with the two places of Peterson, "Concurrent Reading
//! While Writing" (TOPLAS 5, 1983); in the language's memory model after Boehm, "Can Seqlocks Get Along with Programming
//! Language Memory Models?" (MSPC 2012).

use crate::base::{Cursor, EventId, Tick, fetch};
use crate::sync::{Edge, Number};

/// Words of each half in front of the id: the sequence; the time and the id's length.
const HEAD: usize = 2;

/// Bytes in a word.
const WORD: usize = size_of::<u64>();

/// The lowest bits of the second word are the id's length; the time has the others: 285 years in microseconds.
const LEN_BITS: u32 = 11;

const _: () = assert!(EventId::MAX < 1 << LEN_BITS);

/// A place for cursors whose ids have up to a certain length.
#[derive(Debug)]
pub struct CursorCell {
    /// How many cursors were written. The last one is in the half that the lowest bit says.
    writes: Number,
    /// Both halves.
    words: Box<[Number]>,
}

impl CursorCell {
    /// An empty cell in which no cursor fits.
    pub fn empty() -> Self {
        Self { writes: Number::new(0), words: Box::default() }
    }

    /// A cell with this cursor, for those whose ids are about as long.
    pub fn with(cursor: &Cursor) -> Self {
        let half = HEAD + cursor.id.as_bytes().len().div_ceil(WORD);
        let cell = Self { writes: Number::new(0), words: (0..2 * half).map(|_| Number::new(0)).collect() };
        cell.write(cursor);
        cell
    }

    /// Writes the newest cursor; false, and nothing done, where its id is too long for the cell. One thread at a time.
    pub fn write(&self, cursor: &Cursor) -> bool {
        let (writes, id) = (self.writes.get() + 1, cursor.id.as_bytes());
        let Some((head, words)) = self.half(writes).split_at_checked(HEAD) else { return false };
        if id.len() > words.len() * WORD {
            return false;
        }
        let micros = cursor.at.micros().min(u64::MAX >> LEN_BITS);
        let header = [cursor.sequence, micros << LEN_BITS | id.len() as u64];
        head.iter().zip(header).for_each(|(word, n)| word.publish(n, Edge::Over));
        for (word, bytes) in words.iter().zip(id.chunks(WORD)) {
            let mut n = [0; WORD];
            n[..bytes.len()].copy_from_slice(bytes);
            word.publish(u64::from_le_bytes(n), Edge::Over);
        }
        self.writes.publish(writes, Edge::Newest);
        true
    }

    /// The newest cursor; none before the first.
    pub fn read(&self) -> Option<Cursor> {
        self.whole(decode)
    }

    /// The newest cursor's sequence; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.whole(|half| Some(half.first()?.observe(Edge::Over))).unwrap_or(0)
    }

    /// What `read` makes of a half that nobody has written over meanwhile; none before the first cursor.
    fn whole<R>(&self, read: impl Fn(&[Number]) -> Option<R>) -> Option<R> {
        loop {
            let writes = self.writes.observe(Edge::Newest);
            if writes == 0 {
                return None;
            }
            let found = read(self.half(writes));
            if self.writes.get() == writes {
                return found;
            }
        }
    }

    /// Asks ahead for what the next write touches.
    #[inline]
    pub(super) fn warm(&self) {
        fetch(self.half(self.writes.get() + 1).first().map(Number::get).as_ref());
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.writes.get() == 0
    }

    fn half(&self, writes: u64) -> &[Number] {
        let (even, odd) = self.words.split_at(self.words.len() / 2);
        if writes.is_multiple_of(2) { even } else { odd }
    }
}

/// The cursor of a half: nonsense, and never a panic, while it is being written.
fn decode(half: &[Number]) -> Option<Cursor> {
    let [sequence, time, id @ ..] = half else { return None };
    let (sequence, time) = (sequence.observe(Edge::Over), time.observe(Edge::Over));
    let len = (time & ((1 << LEN_BITS) - 1)) as usize;
    let (mut few, mut many) = ([0; 8 * WORD], Vec::new());
    let bytes = match few.get_mut(..len) {
        Some(few) => few,
        None => {
            many.resize(len, 0);
            &mut many[..]
        }
    };
    for (bytes, word) in bytes.chunks_mut(WORD).zip(id) {
        bytes.copy_from_slice(&word.observe(Edge::Over).to_le_bytes()[..bytes.len()]);
    }
    Some(Cursor { sequence, id: EventId::from_bytes(bytes)?, at: Tick::from_micros(time >> LEN_BITS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(sequence: u64, len: usize) -> Cursor {
        let id: Vec<u8> = (0..len).map(|n| sequence as u8 ^ n as u8).collect();
        Cursor { sequence, id: EventId::from_bytes(&id).unwrap(), at: Tick::from_micros(sequence * 7) }
    }

    #[test]
    fn what_is_written_last_is_read() {
        for len in 0..=EventId::MAX {
            let cell = CursorCell::with(&cursor(1, len));
            assert_eq!(cell.read(), Some(cursor(1, len)));
            for (n, shorter) in (2..).zip([len / 2, len, 0, len]) {
                assert!(cell.write(&cursor(n, shorter)));
                assert_eq!(cell.read(), Some(cursor(n, shorter)));
            }
        }
    }

    #[test]
    fn an_id_that_does_not_fit_changes_nothing() {
        assert!(!CursorCell::empty().write(&cursor(1, 0)));
        assert!(CursorCell::empty().is_empty() && CursorCell::empty().read().is_none());
        let cell = CursorCell::with(&cursor(1, 8));
        assert!(!cell.write(&cursor(2, 9)) && cell.write(&cursor(3, 8)));
        assert_eq!(cell.read(), Some(cursor(3, 8)));
    }

    #[test]
    fn a_time_beyond_its_bits_is_the_last_that_they_hold() {
        let cell = CursorCell::with(&Cursor { at: Tick::from_micros(u64::MAX), ..cursor(1, 3) });
        assert_eq!(cell.read().unwrap().at, Tick::from_micros(u64::MAX >> LEN_BITS));
        assert_eq!(cell.read().unwrap().id, cursor(1, 3).id);
    }
}
