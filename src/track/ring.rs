//! Bytes of a stream in a ring, addressed by their offset since the stream began.
//!
//! In: bytes at the end. Out: any range that is still held, as at most two slices.
//! Laws: `start <= end`; `end - start <= capacity`; the capacity is zero or a power of two; offsets never change
//! meaning, also when the ring is resized.

use crate::base::fetch;
use std::ops::Range;

/// The held bytes `start..end` of a stream.
#[derive(Default)]
pub(super) struct Ring {
    bytes: Box<[u8]>,
    start: u64,
    end: u64,
}

impl Ring {
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// The range as two slices, the second of which is empty unless the range wraps. Cut to what is held.
    pub(super) fn slices(&self, range: Range<u64>) -> (&[u8], &[u8]) {
        let from = range.start.clamp(self.start, self.end);
        let to = range.end.clamp(from, self.end);
        if from == to {
            return (&[], &[]);
        }
        let (at, len) = (self.place(from), (to - from) as usize);
        let first = len.min(self.bytes.len() - at);
        (&self.bytes[at..at + first], &self.bytes[..len - first])
    }

    /// One held byte.
    pub(super) fn byte(&self, offset: u64) -> Option<u8> {
        if offset < self.start || offset >= self.end {
            return None;
        }
        self.bytes.get(self.place(offset)).copied()
    }

    /// Whether two held ranges have the same bytes.
    pub(super) fn same(&self, a: Range<u64>, b: Range<u64>) -> bool {
        if a.end - a.start != b.end - b.start {
            return false;
        }
        let ((a1, a2), (b1, b2)) = (self.slices(a), self.slices(b));
        let n = a1.len().min(b1.len());
        if a1[..n] != b1[..n] {
            return false;
        }
        a1[n..].iter().chain(a2).eq(b1[n..].iter().chain(b2))
    }

    /// Appends bytes. The caller has made room; bytes that do not fit are not taken.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        debug_assert!(self.len() + bytes.len() <= self.capacity(), "no room was made");
        let bytes = &bytes[..bytes.len().min(self.capacity() - self.len())];
        if bytes.is_empty() {
            return;
        }
        let at = self.place(self.end);
        let (first, second) = bytes.split_at(bytes.len().min(self.bytes.len() - at));
        self.bytes[at..at + first.len()].copy_from_slice(first);
        self.bytes[..second.len()].copy_from_slice(second);
        self.end += bytes.len() as u64;
    }

    /// Fetches the memory that the next bytes go to: the first two cache lines. The processor fetches the lines after
    /// these by itself.
    #[inline]
    pub(super) fn warm(&self) {
        fetch(self.bytes.get(self.place(self.end)));
        fetch(self.bytes.get(self.place(self.end + 64)));
    }

    /// Forgets the bytes from `end` on.
    pub(super) fn truncate(&mut self, end: u64) {
        self.end = end.clamp(self.start, self.end);
    }

    /// Forgets the bytes before `start`.
    pub(super) fn forget(&mut self, start: u64) {
        self.start = start.clamp(self.start, self.end);
    }

    /// Moves the held bytes into a ring of `capacity` bytes: a power of two that holds them, or zero.
    pub(super) fn resize(&mut self, capacity: usize) {
        debug_assert!(capacity >= self.len() && (capacity == 0 || capacity.is_power_of_two()));
        if capacity < self.len() {
            return;
        }
        let mut ring = Self { bytes: vec![0; capacity].into_boxed_slice(), start: self.start, end: self.start };
        let (a, b) = self.slices(self.start..self.end);
        ring.append(a);
        ring.append(b);
        *self = ring;
    }

    fn place(&self, offset: u64) -> usize {
        offset as usize & (self.bytes.len().wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;

    #[test]
    fn it_agrees_with_a_plain_vec_over_random_operations() {
        for seed in 0..20 {
            let (mut r, mut ring, mut twin) = (Random::new(seed), Ring::default(), Vec::<u8>::new());
            ring.resize(64);
            for _ in 0..2_000 {
                match r.below(6) {
                    0..=2 => {
                        let room = (ring.capacity() - ring.len()) as u64;
                        let bytes: Vec<u8> = (0..r.below(room + 1)).map(|_| r.below(2) as u8).collect();
                        ring.append(&bytes);
                        twin.extend(bytes);
                    }
                    3 => ring.forget(ring.start() + r.below(ring.len() as u64 + 1)),
                    4 => {
                        ring.truncate(ring.end() - r.below(ring.len() as u64 / 4 + 1));
                        twin.truncate(ring.end() as usize);
                    }
                    _ => ring.resize((ring.len() << r.below(3)).clamp(16, ring.len().max(256)).next_power_of_two()),
                }
                assert_eq!(ring.end(), twin.len() as u64);
                let pick = |r: &mut Random| ring.start() + r.below(ring.len() as u64 + 1);
                let (a, b) = (pick(&mut r), pick(&mut r));
                let range = a.min(b)..a.max(b);
                let (x, y) = ring.slices(range.clone());
                assert_eq!([x, y].concat(), twin[range.start as usize..range.end as usize]);
                let n = r.below(4).min(ring.end() - a).min(ring.end() - b);
                let same = twin[a as usize..(a + n) as usize] == twin[b as usize..(b + n) as usize];
                assert_eq!(ring.same(a..a + n, b..b + n), same);
                assert_eq!(ring.byte(a), twin.get(a as usize).copied());
            }
        }
    }
}
