//! Numbers that nobody can guess: keys of stores, seeds of processes, names of files.
//!
//! In: nothing. Out: bits of the system's own generator.
//! Law: what has to replay takes its numbers from [`Random`](super::Random) and a seed, never from here.

use std::hash::{BuildHasher, Hasher, RandomState};

/// 128 random bits that nobody can guess.
pub fn entropy() -> u128 {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u128::from_le_bytes(bytes),
        // A system that has no generator to ask. The keys of the standard library's hash tables are the best it has.
        Err(_) => (0..2).fold(0, |bits, _| bits << 64 | u128::from(RandomState::new().build_hasher().finish())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_is_always_the_same() {
        let (ones, zeros) = (0..64).map(|_| entropy()).fold((0, 0), |(ones, zeros), n| (ones | n, zeros | !n));
        assert_eq!((ones, zeros), (u128::MAX, u128::MAX));
    }
}
