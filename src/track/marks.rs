//! What a stream remembers of its ids beside the window: marks, the first few ids, the run of consecutive integers.
//!
//! In: ids, as they are received. Out: whether an id is one of the first, whether it skips numbers.

use super::interner::Symbol;

/// A point between two events of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// How many events (blocks with data or an id) lie before it.
    pub seq: u64,
    /// The last event id there, if it is known. Valid as long as the tracker stands at this mark.
    pub id: Option<Symbol>,
}

/// How many of its first ids a stream remembers.
const FIRST_IDS: usize = 8;

/// The first distinct ids of a stream; the owner holds one reference to each. Nothing is on the heap before the first.
#[derive(Default)]
pub(super) struct FirstIds {
    ids: Option<Box<First>>,
    /// No place is left. Noted here, so that an event need not touch the box, which is seldom in a cache.
    is_full: bool,
}

#[derive(Default)]
struct First {
    ids: [Option<Symbol>; FIRST_IDS],
    /// The number of the logged block that brought the last of them.
    until: u64,
}

impl FirstIds {
    /// Remembers the id of the logged block with this number, while there is a place. True: the id was taken, and the
    /// owner must hold a reference.
    pub(super) fn note(&mut self, id: Symbol, number: u64) -> bool {
        if self.is_full {
            return false;
        }
        let First { ids, until } = &mut **self.ids.get_or_insert_default();
        if ids.contains(&Some(id)) {
            return false;
        }
        *until = number;
        if let Some(place) = ids.iter_mut().find(|place| place.is_none()) {
            *place = Some(id);
        }
        self.is_full = ids[FIRST_IDS - 1].is_some();
        true
    }

    pub(super) fn contains(&self, id: Symbol) -> bool {
        self.position(id).is_some()
    }

    /// Whether the logged block with this number brings one of the first ids again.
    pub(super) fn is_again(&self, id: Symbol, number: u64) -> bool {
        self.ids.as_ref().is_some_and(|first| number > first.until && first.ids.contains(&Some(id)))
    }

    /// The position of an id among the first ones, from 0.
    pub(super) fn position(&self, id: Symbol) -> Option<usize> {
        self.ids.as_ref()?.ids.iter().position(|place| *place == Some(id))
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.ids.as_ref().map_or(0, |first| first.ids.iter().flatten().count())
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Symbol> {
        self.is_full = false;
        self.ids.take().into_iter().flat_map(|first| first.ids.into_iter().flatten())
    }
}

/// How many ids in a row must be consecutive integers before a jump counts as a gap.
const LONG_RUN: u8 = 16;

/// The run of consecutive integers that the last ids are.
#[derive(Clone, Copy, Default)]
pub(super) struct NumberRun {
    last: u64,
    length: u8,
}

impl NumberRun {
    /// Takes in the next id.
    pub(super) fn note(&mut self, id: &[u8]) {
        *self = match integer(id) {
            Some(n) if self.length > 0 && self.last.checked_add(1) == Some(n) => {
                Self { last: n, length: self.length.saturating_add(1) }
            }
            Some(n) => Self { last: n, length: 1 },
            None => Self::default(),
        };
    }

    /// Whether this id, if it came next, would leave integers out after a long run.
    pub(super) fn skips_to(self, id: &[u8]) -> bool {
        self.length >= LONG_RUN && integer(id).is_some_and(|n| self.last.checked_add(1).is_some_and(|next| n > next))
    }
}

/// The canonical decimal integer that an id is: digits, no leading zero, at most `u64::MAX`.
fn integer(id: &[u8]) -> Option<u64> {
    let canonical = matches!(id, [b'0'] | [b'1'..=b'9', ..]) && id.len() <= 20;
    if !canonical {
        return None;
    }
    id.iter().try_fold(0u64, |n, &digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { n.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_integers_count() {
        for n in [0, 1, 9, 10, 12_345, u64::MAX] {
            assert_eq!(integer(n.to_string().as_bytes()), Some(n));
        }
        for id in ["", "00", "01", "+1", "-1", " 1", "1 ", "1a", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(integer(id.as_bytes()), None, "{id}");
        }
    }

    #[test]
    fn a_jump_counts_after_sixteen_consecutive_ids() {
        let run = |ids: std::ops::Range<u64>| {
            let mut run = NumberRun::default();
            ids.for_each(|n| run.note(n.to_string().as_bytes()));
            run
        };
        assert!(run(4..20).skips_to(b"21"));
        assert!(!run(4..20).skips_to(b"20") && !run(4..20).skips_to(b"19") && !run(4..20).skips_to(b"x"));
        assert!(!run(5..20).skips_to(b"21"));
        let mut broken = run(4..20);
        broken.note(b"19");
        assert!(!broken.skips_to(b"30"));
    }
}
