//! What stays known of events when their bytes leave the log.
//!
//! In: blocks that are about to leave, a new count of upstream's. Out: digests, in the lists of known ids.
//! Law: the bytes by which an event is known again are those of its fields alone.

use super::Log;
use crate::track::digest::Digest;
use crate::track::front::first_field_in;
use crate::track::interner::{Interner, Symbol};
use crate::track::logged::Kinds;
use crate::track::window::Known;
use std::ops::Range;

impl Log {
    /// The bytes by which the block with this number is known again; `None` when not all of them are held, or when they
    /// were too many to be held.
    pub(in crate::track) fn event(&self, number: u64) -> Option<Range<u64>> {
        let is_large = self.logged(number)?.is(Kinds::LARGE);
        self.range(number).filter(|_| !is_large).map(|range| self.event_in(range))
    }

    /// The bytes by which a block is known again, out of all its bytes: without its front, and without the LF of a last
    /// CRLF, since a block may have ended at a CR whose LF came in the next read.
    pub(in crate::track) fn event_in(&self, block: Range<u64>) -> Range<u64> {
        let byte = |at| self.ring.byte(at);
        let from = first_field_in(byte, block.clone());
        let back = |n: u64| block.end.checked_sub(n).filter(|&at| at >= from).and_then(byte);
        let is_crlf = back(1) == Some(b'\n') && back(2) == Some(b'\r');
        from..block.end - u64::from(is_crlf)
    }

    /// The digest of a held event.
    pub(in crate::track) fn digest(&self, event: Range<u64>, interner: &Interner) -> Digest {
        interner.digest(self.slices(event))
    }

    /// What is kept of the event of this number when it leaves.
    fn digest_of(&self, number: u64, interner: &Interner) -> Digest {
        let small = self.event(number).filter(|event| event.end - event.start <= u64::from(self.held_bytes));
        small.map_or(Digest::TOO_LARGE, |event| self.digest(event, interner))
    }

    /// The first block, which has this id, is about to leave.
    #[inline]
    pub(in crate::track) fn note_left(&mut self, id: Symbol, interner: &Interner) {
        let number = self.evicted;
        self.with_ids -= 1;
        let newer = self.with_ids as usize;
        if self.known.awaits(number, newer) {
            let digest = self.digest_of(number, interner);
            self.known.note_left(id, number, newer, digest);
        }
    }

    /// Upstream counts anew, and the next block is the first one that differs; this is its id. The first events of the
    /// count before it came again, all the same, so they are also the first ones of the new count.
    pub(in crate::track) fn begin_run(&mut self, id: Option<Symbol>, interner: &mut Interner) {
        let digest_of = |id| {
            let number = (self.evicted..self.next_number()).find(|n| self.logged(*n).is_some_and(|b| b.id == Some(id)));
            number.map_or(Digest::TOO_LARGE, |number| self.digest_of(number, interner))
        };
        let known: Vec<Known> = self.known.first.known().collect();
        let same = known.iter().position(|known| Some(known.id) == id).unwrap_or(known.len());
        let digest = |known: &Known| if known.digest == Digest::NONE { digest_of(known.id) } else { known.digest };
        let kept = known[..same].iter().map(|known| Known { digest: digest(known), ..*known }).collect();
        known[same..].iter().for_each(|known| interner.release_later(known.id));
        let number = self.next_number();
        self.known.first.begin_run(number, kept);
    }
}
