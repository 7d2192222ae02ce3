//! The events that a stream knows beyond what its log holds: the last ones and the first ones, by id and digest.
//!
//! In: ids as they are received; digests of events that leave the log. Out: what is known of the events with an id.
//! Law: a digest is computed only for an event that is still remembered when it leaves the log. In a stream whose log
//! holds more events than its window, that is none after the first few.

use super::digest::Digest;
use super::interner::{Interner, Symbol};
use super::marks::FirstIds;
use super::window::Window;

/// The last and the first ids of a stream.
pub(super) struct KnownIds {
    pub(super) window: Window,
    pub(super) first: FirstIds,
}

impl KnownIds {
    /// Nothing is known yet. `window`: how many of the last ids are remembered.
    pub(super) fn new(window: usize) -> Self {
        Self { window: Window::new(window), first: FirstIds::default() }
    }

    /// Whether the event of the logged block with this number is remembered when it leaves the log, where `newer`
    /// blocks with ids stay.
    #[inline]
    pub(super) fn awaits(&mut self, number: u64, newer: usize) -> bool {
        self.first.awaits(number) || self.window.len() > newer
    }

    /// The event that [`KnownIds::awaits`] was asked for leaves the log, and this is what is kept of it.
    pub(super) fn note_left(&mut self, id: Symbol, number: u64, newer: usize, digest: Digest) {
        if let Some(known) = self.window.place_before(newer).filter(|known| known.id == id) {
            known.digest = digest;
        }
        if self.first.awaits(number) {
            self.first.note_left(id, digest);
        }
    }

    /// The digests of the events with this id.
    pub(super) fn digests(&self, id: Symbol) -> impl Iterator<Item = Digest> {
        self.window.known().chain(self.first.known()).filter(move |known| known.id == id).map(|known| known.digest)
    }

    /// Gives back all ids.
    pub(super) fn release(&mut self, interner: &mut Interner) {
        self.window.drain().chain(self.first.drain()).for_each(|id| interner.release(id));
    }
}
