//! Publishes what the machine says of streams through their slots.
//!
//! In: checkpoints, once a turn. Out: newest cursors in slots.
//! Laws: nothing here waits; a stream that finds no slot runs on unpersisted, which is counted.

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
    slots: Pages<Option<(ExchangeKey, SlotKey)>>,
    /// Tombstones that found no slot yet.
    forgotten: Vec<StreamName>,
}

/// Tombstones that may wait for a slot; further ones are left to the store's own sweep.
const FORGOTTEN: usize = 10_000;

impl Checkpoints {
    pub(super) fn new(writer: SlotWriter) -> Self {
        Self { writer, slots: Pages::default(), forgotten: Vec::new() }
    }

    /// Takes one checkpoint in.
    pub(super) fn publish(&mut self, checkpoint: Checkpoint, metrics: &Metrics) {
        match checkpoint {
            Checkpoint::Began { stream, name } => match self.writer.take(Arc::new(name)) {
                Some(slot) => self.keep(stream, slot),
                None => metrics.persistence().refused.add(1),
            },
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
                if let Some(slot) = self.slot(stream) {
                    if keep {
                        self.writer.retire(slot)
                    } else {
                        self.writer.remove(slot)
                    }
                    if let Some(place) = self.slots.get_mut(stream.index()) {
                        *place = None;
                    }
                }
                self.bury();
            }
            Checkpoint::Forgotten { name } => {
                if self.forgotten.len() < FORGOTTEN {
                    self.forgotten.push(name);
                }
                self.bury();
            }
        }
    }

    /// Publishes tombstones of records that have no stream any more, as far as there are slots.
    fn bury(&mut self) {
        while let Some(name) = self.forgotten.pop() {
            let name = Arc::new(name);
            match self.writer.take(Arc::clone(&name)) {
                Some(slot) => self.writer.remove(slot),
                None => {
                    self.forgotten.extend(Arc::into_inner(name));
                    return;
                }
            }
        }
    }

    fn keep(&mut self, stream: ExchangeKey, slot: SlotKey) {
        while self.slots.len() <= stream.index() {
            self.slots.push(None);
        }
        if let Some(place) = self.slots.get_mut(stream.index()) {
            *place = Some((stream, slot));
        }
    }

    fn slot(&self, stream: ExchangeKey) -> Option<SlotKey> {
        let (key, slot) = (*self.slots.get(stream.index())?)?;
        (key == stream).then_some(slot)
    }
}
