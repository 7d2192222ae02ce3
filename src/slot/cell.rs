//! The cell of one stream's newest cursor: words that are overwritten, so that publishing takes no new memory and
//! touches nothing that other streams share.
//!
//! In: cursors, from one thread at a time. Out: the newest one, whole, for any thread.
//! Laws: writing never waits; reading waits for nobody, and starts again only where a whole cursor was written
//! meanwhile; nobody reads half of one cursor and half of another, nor an older cursor after a newer one.
//!
//! # How
//! A cell has two halves, each with room for one cursor, and a count of the cursors written. The writer always fills
//! the half that does not hold the newest cursor:
//!
//! ```text
//! write(cursor):                            read():
//!     n = count + 1                             loop:
//!     fill half n % 2, word by word                 n = count
//!     count = n                                     copy half n % 2, word by word
//!                                                   if count is still n: the copy is whole
//! ```
//!
//! While the writer fills one half, readers copy the other one undisturbed. A reader meets the writer only when it is
//! so slow that a whole write ends and the next one begins during its copy. The count then has moved on, and the reader
//! starts again. What it copied of such a half is nonsense, which `decode` bears and nobody sees.
//!
//! # Orderings
//! The count carries the words of its half ([`Edge::Newest`]): a reader that sees count `n` sees cursor `n` whole, or
//! words that are newer. A word that is overwritten carries the count before it ([`Edge::Over`]): a reader that saw one
//! word of cursor `n + 2` also sees that the count has passed `n`, and so starts again.
//!
//! # Why no swapped pointer
//! To swap a pointer, the writer must know that nobody reads the old value any more. What arc-swap does for that
//! touches, at each swap, memory of every thread that ever read or wrote any cell: threads that publish for different
//! streams then wait for each other's caches. Here a write touches the words of its own stream alone.
//!
//! Source: Lamport, "Concurrent Reading and Writing" (CACM 20, 1977), with the two places of Peterson, "Concurrent
//! Reading While Writing" (TOPLAS 5, 1983); in the language's memory model after Boehm, "Can Seqlocks Get Along with
//! Programming Language Memory Models?" (MSPC 2012).

use crate::base::{Cursor, EventId, Tick, fetch};
use crate::sync::{Edge, Number};

/// Words of each half before the id: one for the sequence, one for the time and the id's length.
const HEAD: usize = 2;

/// Bytes in a word.
const WORD: usize = size_of::<u64>();

/// The lowest bits of the second word hold the id's length. The others hold the time: 285 years in microseconds.
const LEN_BITS: u32 = 11;

const _: () = assert!(EventId::MAX < 1 << LEN_BITS);

/// A place for cursors whose ids have up to a certain length.
#[derive(Debug)]
pub struct CursorCell {
    /// How many cursors were written. Its lowest bit says which half has the newest one.
    writes: Number,
    /// Both halves, the one of even counts first.
    words: Box<[Number]>,
}

impl CursorCell {
    /// An empty cell, which no cursor fits into.
    pub fn empty() -> Self {
        Self { writes: Number::new(0), words: Box::default() }
    }

    /// A cell that holds this cursor, with room for ids up to its length, rounded up to a word.
    pub fn with(cursor: &Cursor) -> Self {
        let half = HEAD + cursor.id.as_bytes().len().div_ceil(WORD);
        let cell = Self { writes: Number::new(0), words: (0..2 * half).map(|_| Number::new(0)).collect() };
        cell.write(cursor);
        cell
    }

    /// Writes the newest cursor. False, and nothing is done, where its id is too long for the cell. One thread at a
    /// time.
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

    /// The newest cursor; `None` before the first.
    pub fn read(&self) -> Option<Cursor> {
        self.whole(decode)
    }

    /// The newest cursor's sequence; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.whole(|half| Some(half.first()?.observe(Edge::Over))).unwrap_or(0)
    }

    /// What `read` makes of the newest half, repeated until nobody has overwritten that half meanwhile; `None` before
    /// the first cursor.
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

    /// Fetches the memory that the next write will touch.
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

/// Decodes the cursor of a half. While the half is being written the result is nonsense, and never a panic.
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
