//! Which records lack their expiry for a while, since they are written again and again.
//!
//! In: the names of records as they are written; rounds, which the persister begins. Out: whether a record may be
//! written without its expiry; the names of those that must get it now.
//! Laws: what may lack its expiry was written in this round or the one before; a record that lacks it stays known until
//! it has it; the number of names has a bound, beyond which records are written with their expiry.
//!
//! Redis writes many records by one command only without an expiry. A record whose stream goes on would be given it with
//! each cursor, for nothing: so it gets it when its stream has been quiet for a round.

use crate::base::StreamName;
use std::collections::HashMap;
use std::sync::Arc;

/// The most names. Each costs some 40 bytes, and keeps its name in memory.
const MOST: usize = 1 << 17;

/// See the module's page.
#[derive(Default)]
pub(super) struct Bare {
    known: HashMap<Arc<StreamName>, Known>,
    round: u64,
    /// Records that lack their expiry.
    count: usize,
}

struct Known {
    /// The round of the last write.
    round: u64,
    is_bare: bool,
}

impl Bare {
    /// Whether a record may lack its expiry from now on: it was written a while ago, and is so again.
    pub(super) fn may_lack(&self, name: &StreamName) -> bool {
        self.known.contains_key(name)
    }

    /// A record was written, or may have been; `is_bare`: without its expiry.
    pub(super) fn wrote(&mut self, name: &Arc<StreamName>, is_bare: bool) {
        let round = self.round;
        if let Some(known) = self.known.get_mut(name) {
            self.count = self.count + usize::from(is_bare) - usize::from(known.is_bare);
            *known = Known { round, is_bare };
        } else if self.known.len() < MOST && !is_bare {
            self.known.insert(Arc::clone(name), Known { round, is_bare });
        }
    }

    /// A record is gone.
    pub(super) fn removed(&mut self, name: &StreamName) {
        if let Some(known) = self.known.remove(name) {
            self.count -= usize::from(known.is_bare);
        }
    }

    /// Whether no record lacks its expiry.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Begins a round. Returns the names of the records that must get their expiry: of those that were not written in the
    /// round before, or of all.
    pub(super) fn next_round(&mut self, all: bool) -> Vec<Arc<StreamName>> {
        let round = self.round;
        let is_over = |known: &Known| all || known.round < round;
        self.known.retain(|_, known| known.is_bare || !is_over(known));
        self.round += 1;
        let over = self.known.iter().filter(|(_, known)| is_over(known));
        over.map(|(name, _)| Arc::clone(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(stream: u64) -> Arc<StreamName> {
        Arc::new(StreamName { session: b"s"[..].into(), stream })
    }

    #[test]
    fn a_record_lacks_its_expiry_while_it_is_written_in_each_round() {
        let (mut bare, a, b) = (Bare::default(), name(1), name(2));
        assert!(!bare.may_lack(&a), "the first write has an expiry");
        bare.wrote(&a, false);
        bare.wrote(&b, false);
        assert!(bare.may_lack(&a) && bare.is_empty());
        bare.wrote(&a, true);
        bare.wrote(&b, true);
        assert!(!bare.is_empty() && bare.next_round(false).is_empty());
        bare.wrote(&a, true);
        assert_eq!(bare.next_round(false), std::slice::from_ref(&b), "it was quiet for a round");
        assert_eq!(bare.next_round(false).len(), 2, "what was not given its expiry is told again");
        bare.removed(&b);
        bare.removed(&a);
        assert!(bare.is_empty() && !bare.may_lack(&b));
    }

    #[test]
    fn a_record_that_was_written_with_its_expiry_is_forgotten_after_a_round() {
        let (mut bare, a) = (Bare::default(), name(1));
        bare.wrote(&a, false);
        bare.wrote(&a, true);
        bare.wrote(&a, false);
        assert!(bare.is_empty() && bare.next_round(false).is_empty() && bare.may_lack(&a));
        assert!(bare.next_round(false).is_empty() && !bare.may_lack(&a));
        bare.wrote(&a, false);
        bare.wrote(&a, true);
        assert_eq!(bare.next_round(true).len(), 1, "at the end all get it");
    }

    #[test]
    fn beyond_the_bound_records_have_their_expiry() {
        let mut bare = Bare::default();
        (0..MOST as u64 + 5).for_each(|n| bare.wrote(&name(n), false));
        assert_eq!(bare.known.len(), MOST);
        assert!(!bare.may_lack(&name(MOST as u64 + 1)));
    }
}
