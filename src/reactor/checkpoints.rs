//! Publishes what the machine says of streams through their slots.
//!
//! In: checkpoints, once a turn. Out: newest cursors in slots.
//! Laws: nothing here waits; a stream that finds no slot runs on unpersisted, which is counted.

use super::store::StoreLink;
use crate::base::{Pages, StreamName};
use crate::machine::{Checkpoint, ExchangeKey};
use crate::metrics::Metrics;
use crate::slot::{SlotKey, SlotWriter};
use std::sync::Arc;

/// The slots of the machine's streams.
#[derive(Debug)]
pub(super) struct Checkpoints {
    writer: SlotWriter,
    /// By the index of the stream's key.
    slots: Pages<Option<Place>>,
    /// Tombstones that found no slot yet.
    forgotten: Vec<StreamName>,
}

/// A stream's slot and name.
#[derive(Debug)]
struct Place {
    stream: ExchangeKey,
    slot: SlotKey,
    name: Arc<StreamName>,
    /// Events found no place on their way to the store: the next ones state the hole.
    hole: bool,
}

/// Tombstones that may wait for a slot; further ones are left to the store's own sweep.
const FORGOTTEN: usize = 10_000;

impl Checkpoints {
    pub(super) fn new(writer: SlotWriter) -> Self {
        Self { writer, slots: Pages::default(), forgotten: Vec::new() }
    }

    /// Takes one checkpoint in.
    pub(super) fn publish(&mut self, checkpoint: Checkpoint, store: &StoreLink, metrics: &Metrics) {
        match checkpoint {
            Checkpoint::Began { stream, name } => {
                let name = Arc::new(name);
                match self.writer.take(Arc::clone(&name)) {
                    Some(slot) => self.keep(Place { stream, slot, name, hole: false }),
                    None => metrics.persistence().refused.add(1),
                }
            }
            Checkpoint::Events { stream, part } => {
                if let Some(place) = self.place(stream) {
                    place.hole = !store.keep(&place.name, part, place.hole);
                }
            }
            Checkpoint::Delivered { stream, cursor } => {
                if let Some(slot) = self.slot(stream) {
                    self.writer.publish(slot, &cursor);
                }
            }
            Checkpoint::Seen { stream, at } => {
                if let Some(slot) = self.slot(stream) {
                    self.writer.touch(slot, at);
                }
            }
            Checkpoint::Ended { stream, keep } => {
                if self.place(stream).is_some()
                    && let Some(place) = self.slots.get_mut(stream.index()).and_then(Option::take)
                {
                    if keep {
                        self.writer.retire(place.slot);
                    } else {
                        self.writer.remove(place.slot);
                        store.forget(&place.name);
                    }
                }
                self.bury(store);
            }
            Checkpoint::Forgotten { name } => {
                if self.forgotten.len() < FORGOTTEN {
                    self.forgotten.push(name);
                }
                self.bury(store);
            }
        }
    }

    /// Publishes tombstones of records that have no stream any more, as far as there are slots.
    fn bury(&mut self, store: &StoreLink) {
        while let Some(name) = self.forgotten.pop() {
            let name = Arc::new(name);
            match self.writer.take(Arc::clone(&name)) {
                Some(slot) => {
                    self.writer.remove(slot);
                    store.forget(&name);
                }
                None => {
                    self.forgotten.extend(Arc::into_inner(name));
                    return;
                }
            }
        }
    }

    fn keep(&mut self, place: Place) {
        let index = place.stream.index();
        *self.slots.at(index) = Some(place);
    }

    fn place(&mut self, stream: ExchangeKey) -> Option<&mut Place> {
        self.slots.get_mut(stream.index())?.as_mut().filter(|place| place.stream == stream)
    }

    fn slot(&mut self, stream: ExchangeKey) -> Option<SlotKey> {
        self.place(stream).map(|place| place.slot)
    }
}
