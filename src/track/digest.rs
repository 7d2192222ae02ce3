//! What is kept of an event's bytes when they leave the log: a keyed hash, by which a repeat is still known.
//!
//! In: the bytes of an event, as the two slices in which a ring holds them. Out: a [`Digest`].
//! Laws: the digest does not depend on where the ring wraps; two different events have the same one by chance in one of
//! 2^64 cases, and nobody can find such a pair without the key.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

/// The digest of an event's bytes, or why there is none. Two words of 32 bits, so that an id and a digest take 12
/// bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Digest([u32; 2]);

impl Digest {
    /// The event's bytes are in the log. Also for an id of which this process never had an event.
    pub(super) const NONE: Self = Self([0, 0]);
    /// The event was too large to be held, so there never was anything to hash.
    pub(super) const TOO_LARGE: Self = Self([1, 0]);

    /// The digest of `a` followed by `b`.
    pub(super) fn of(hashing: &FixedState, (a, b): (&[u8], &[u8])) -> Self {
        let mut hasher = hashing.build_hasher();
        let (words, rest) = a.as_chunks::<8>();
        words.iter().for_each(|word| hasher.write_u64(u64::from_le_bytes(*word)));
        // The word in which `a` ends and `b` begins.
        let mut between = [0; 8];
        between[..rest.len()].copy_from_slice(rest);
        let taken = if rest.is_empty() { 0 } else { b.len().min(8 - rest.len()) };
        between[rest.len()..rest.len() + taken].copy_from_slice(&b[..taken]);
        if !rest.is_empty() {
            hasher.write_u64(u64::from_le_bytes(between));
        }
        let (words, rest) = b[taken..].as_chunks::<8>();
        words.iter().for_each(|word| hasher.write_u64(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            hasher.write_u64(u64::from_le_bytes(last));
        }
        hasher.write_usize(a.len() + b.len());
        let hash = hasher.finish();
        let digest = Self([hash as u32, (hash >> 32) as u32]);
        // The two values that mean something else are given away.
        if digest == Self::NONE || digest == Self::TOO_LARGE { Self([2, 0]) } else { digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_digest_does_not_depend_on_where_the_ring_wraps() {
        let hashing = FixedState::with_seed(7);
        let bytes: Vec<u8> = (0..60).collect();
        let mut seen = HashSet::new();
        for len in 0..=bytes.len() {
            let of = |at: usize| Digest::of(&hashing, (&bytes[..at], &bytes[at..len]));
            let whole = of(len);
            assert!((0..=len).all(|at| of(at) == whole), "{len} bytes");
            assert!(seen.insert(whole.0), "{len} bytes have the digest of fewer");
        }
    }

    #[test]
    fn a_digest_depends_on_each_byte_and_on_the_key() {
        let bytes = *b"id: 17\ndata: some event\n\n";
        let digest = |seed, bytes: &[u8]| Digest::of(&FixedState::with_seed(seed), (bytes, b""));
        for at in 0..bytes.len() {
            let mut other = bytes;
            other[at] ^= 1;
            assert_ne!(digest(7, &bytes), digest(7, &other));
        }
        assert_ne!(digest(7, &bytes), digest(8, &bytes));
    }
}
