//! What a stream remembers of its ids beside the window: marks, the first few ids, the run of consecutive integers.
//!
//! In: ids, as they are received. Out: whether an id is one of the first, whether it skips numbers.

use super::digest::Digest;
use super::interner::Symbol;
use super::window::Known;

/// A point between two events of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// How many events (blocks with data or an id) lie before it.
    pub seq: u64,
    /// The last event id there, if it is known. Valid as long as the tracker stands at this mark.
    pub id: Option<Symbol>,
}

/// A [`Mark`] as a stream keeps it, in 12 bytes.
#[derive(Clone, Copy, Default)]
#[repr(C, packed(4))]
pub(super) struct KeptMark {
    pub(super) seq: u64,
    pub(super) id: Option<Symbol>,
}

impl KeptMark {
    pub(super) fn get(self) -> Mark {
        Mark { seq: self.seq, id: self.id }
    }
}

/// How many of its first ids a stream remembers.
const FIRST_IDS: usize = 8;

/// The first distinct ids of a stream, or of the run of ids that began when upstream counted anew; the owner holds one
/// reference to each. Nothing is on the heap before the first.
#[derive(Default)]
pub(super) struct FirstIds {
    run: Option<Box<Run>>,
    /// No place is left. Noted here, so that an event need not touch the box, which is seldom in a cache.
    is_full: bool,
    /// All of these events have left the log. Noted here for the same reason.
    have_left: bool,
}

#[derive(Default)]
struct Run {
    events: Vec<Known>,
    /// The number of the logged block that brought the last of them.
    until: u64,
    /// The number of the logged block that began the run; 0: the stream began with it.
    since: u64,
}

impl FirstIds {
    /// Remembers the id of the logged block with this number, while there is a place. True: the id was taken, and the
    /// owner must hold a reference.
    pub(super) fn note(&mut self, id: Symbol, number: u64) -> bool {
        if self.is_full {
            return false;
        }
        let Run { events, until, .. } = &mut **self.run.get_or_insert_default();
        if events.iter().any(|known| known.id == id) {
            return false;
        }
        *until = number;
        // Doubles, but begins with one: many quiet streams have one event.
        if events.len() == events.capacity() {
            events.reserve_exact(events.len().max(1));
        }
        events.push(Known { id, digest: Digest::NONE });
        self.is_full = events.len() == FIRST_IDS;
        true
    }

    /// Whether the logged block with this number, which is about to leave the log, may be one of the first.
    pub(super) fn awaits(&mut self, number: u64) -> bool {
        match &self.run {
            Some(run) if !self.have_left => {
                self.have_left = self.is_full && number > run.until;
                // Events of the count before have their digests already.
                (run.since..=run.until).contains(&number)
            }
            _ => false,
        }
    }

    /// The event with this id, which [`FirstIds::awaits`] was asked for, has left the log.
    pub(super) fn note_left(&mut self, id: Symbol, digest: Digest) {
        let Some(run) = &mut self.run else { return };
        if let Some(known) = run.events.iter_mut().find(|known| known.id == id && known.digest == Digest::NONE) {
            known.digest = digest;
        }
    }

    /// What is known of the first events with ids, the first one first.
    pub(super) fn known(&self) -> impl Iterator<Item = Known> {
        self.run.iter().flat_map(|run| &run.events).copied()
    }

    /// Whether the logged block with this number brings one of the first ids again.
    pub(super) fn is_again(&self, id: Symbol, number: u64) -> bool {
        self.run.as_ref().is_some_and(|run| number > run.until && run.events.iter().any(|known| known.id == id))
    }

    /// Whether the logged block with this number belongs to a run that began when upstream counted anew.
    pub(super) fn is_counted_anew(&self, number: u64) -> bool {
        self.run.as_ref().is_some_and(|run| run.since > 0 && number >= run.since)
    }

    /// Whether an id is one of the first, and not the last of them.
    pub(super) fn is_followed(&self, id: Symbol) -> bool {
        let mut known = self.known();
        known.any(|known| known.id == id) && known.next().is_some()
    }

    /// Upstream counts anew, from the logged block with this number on. `kept`: the first events of the count before
    /// that came again, all the same; they are references that the caller holds.
    pub(super) fn begin_run(&mut self, number: u64, kept: Vec<Known>) {
        self.is_full = kept.len() == FIRST_IDS;
        self.have_left = false;
        self.run = Some(Box::new(Run { events: kept, until: number, since: number }));
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Symbol> + use<> {
        (self.is_full, self.have_left) = (false, false);
        self.run.take().into_iter().flat_map(|run| run.events).map(|known| known.id)
    }
}

/// How many ids in a row must be consecutive integers before a jump counts as a gap.
const LONG_RUN: u8 = 16;

/// The run of consecutive integers that the last ids are.
#[derive(Clone, Copy, Default)]
#[repr(C, packed(4))]
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
