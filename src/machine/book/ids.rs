//! Which stream of a session has an event with this id: an index, for sessions where many streams have no reader.
//!
//! In: streams that nobody reads, with the ids that their logs hold. Out: the only stream that held an id when it was
//! entered, for the caller to look into.
//! Laws: a look takes one step; where several streams hold an id, none is given; only hashes are kept.

use crate::machine::keys::ExchangeKey;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Streams that hold one id: how many, and the sum of their keys, which is the key where there is one.
#[derive(Default)]
struct Holding {
    count: u32,
    keys: u64,
}

/// The ids of the streams that were entered.
#[derive(Default)]
pub(in crate::machine) struct Ids {
    hashing: RandomState,
    /// By session and id, hashed.
    holding: HashMap<u64, Holding>,
    /// What was entered for each stream.
    entered: HashMap<ExchangeKey, Box<[u64]>>,
}

impl Ids {
    pub(in crate::machine) fn has(&self, key: ExchangeKey) -> bool {
        self.entered.contains_key(&key)
    }

    /// Enters a stream with the ids that its log holds.
    pub(in crate::machine) fn enter<'i>(
        &mut self,
        key: ExchangeKey,
        session: u128,
        ids: impl Iterator<Item = &'i [u8]>,
    ) {
        let mut all: Vec<u64> = ids.map(|id| self.hashing.hash_one((session, id))).collect();
        all.sort_unstable();
        all.dedup();
        for hash in &all {
            let holding = self.holding.entry(*hash).or_default();
            holding.count += 1;
            holding.keys = holding.keys.wrapping_add(key.to_bits());
        }
        self.entered.insert(key, all.into());
    }

    /// The stream is read again, or is over.
    pub(in crate::machine) fn forget(&mut self, key: ExchangeKey) {
        for hash in self.entered.remove(&key).into_iter().flatten() {
            let Some(holding) = self.holding.get_mut(&hash) else { continue };
            holding.count -= 1;
            holding.keys = holding.keys.wrapping_sub(key.to_bits());
            if holding.count == 0 {
                self.holding.remove(&hash);
            }
        }
    }

    /// The only stream that has an event with this id.
    pub(in crate::machine) fn only(&self, session: u128, id: &[u8]) -> Option<ExchangeKey> {
        let holding = self.holding.get(&self.hashing.hash_one((session, id)))?;
        (holding.count == 1).then(|| ExchangeKey::from_bits(holding.keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_one_stream_is_found_and_one_of_several_is_not() {
        let (a, b) = (ExchangeKey::from_bits(3 << 32 | 1), ExchangeKey::from_bits(2));
        let mut ids = Ids::default();
        ids.enter(a, 7, [&b"1"[..], b"2", b"2"].into_iter());
        ids.enter(b, 7, [&b"2"[..], b"3"].into_iter());
        let find = |ids: &Ids| [&b"1"[..], b"2", b"3", b"4"].map(|id| ids.only(7, id));
        assert_eq!(find(&ids), [Some(a), None, Some(b), None]);
        assert_eq!(ids.only(8, b"1"), None);
        ids.forget(b);
        assert_eq!(find(&ids), [Some(a), Some(a), None, None]);
        ids.forget(a);
        assert!(ids.holding.is_empty() && ids.entered.is_empty());
    }
}
