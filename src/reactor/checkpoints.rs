//! Publishes the machine's checkpoints: cursors through slots, events and removals through the store link.
//!
//! In: checkpoints, once a turn. Out: newest cursors in slots; events to keep; tombstones of streams that are
//! forgotten.
//! Laws: nothing here waits; a stream for which there is no slot goes on without being stored, which is counted.

use super::store::StoreLink;
use crate::base::{Pages, StreamName};
use crate::machine::{Checkpoint, ExchangeKey};
use crate::metrics::Metrics;
use crate::slot::{SlotKey, SlotWriter};
use std::sync::Arc;

/// The slots of the machine's streams, and removals that wait.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    writer: SlotWriter,
    /// By the index of the stream's key.
    slots: Pages<Option<StreamSlot>>,
    /// Streams whose tombstones wait for a slot.
    forgotten: Vec<(Arc<StreamName>, u64)>,
    /// Streams whose stored logs are to be removed once the persister has room for the message.
    logs: Vec<Arc<StreamName>>,
}

/// A stream's slot and name.
#[derive(Debug)]
struct StreamSlot {
    stream: ExchangeKey,
    slot: SlotKey,
    name: Arc<StreamName>,
    /// Events could not be passed on to the store. The next ones state the hole.
    hole: bool,
}

/// Tombstones that may wait for a slot, and as many removals of logs. Further ones are counted and left to the sweep
/// that the persister makes through the store.
const FORGOTTEN: usize = 10_000;

impl Checkpoints {
    pub(crate) fn new(writer: SlotWriter) -> Self {
        Self { writer, slots: Pages::default(), forgotten: Vec::new(), logs: Vec::new() }
    }

    /// Publishes one checkpoint.
    pub(crate) fn publish(&mut self, checkpoint: Checkpoint, store: &StoreLink, metrics: &Metrics) {
        match checkpoint {
            Checkpoint::Began { stream, name } => {
                let name = Arc::new(name);
                match self.writer.take(Arc::clone(&name)) {
                    Some(slot) => self.insert(StreamSlot { stream, slot, name, hole: false }),
                    None => metrics.persistence().refused.add(1),
                }
            }
            Checkpoint::Events { stream, part } => {
                if let Some(kept) = self.get(stream) {
                    kept.hole = !store.keep(&kept.name, part, kept.hole);
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
            // Logs are not shared yet.
            Checkpoint::LogEnded { .. } => {}
            Checkpoint::Ended { stream, keep } => {
                if self.get(stream).is_some()
                    && let Some(kept) = self.slots.get_mut(stream.index()).and_then(Option::take)
                {
                    if keep {
                        self.writer.retire(kept.slot);
                    } else {
                        self.writer.remove(kept.slot);
                        self.forget_log(kept.name, store, metrics);
                    }
                }
                self.bury(store, metrics);
            }
            Checkpoint::Forgotten { name, sequence } => {
                if self.forgotten.len() < FORGOTTEN {
                    self.forgotten.push((Arc::new(name), sequence));
                } else {
                    metrics.persistence().removals_dropped.add(1);
                }
                self.bury(store, metrics);
            }
        }
    }

    /// Publishes the tombstones that wait, as far as there are slots.
    fn bury(&mut self, store: &StoreLink, metrics: &Metrics) {
        while let Some((name, _)) = self.forgotten.pop_if(|(name, last)| self.writer.bury(Arc::clone(name), *last)) {
            self.forget_log(name, store, metrics);
        }
    }

    /// Tries again what had to wait. Called once a turn.
    pub(super) fn catch_up(&mut self, store: &StoreLink, metrics: &Metrics) {
        self.bury(store, metrics);
        while self.logs.pop_if(|name| store.forget(name)).is_some() {}
    }

    fn forget_log(&mut self, name: Arc<StreamName>, store: &StoreLink, metrics: &Metrics) {
        if store.forget(&name) {
            return;
        }
        if self.logs.len() < FORGOTTEN {
            self.logs.push(name);
        } else {
            metrics.persistence().removals_dropped.add(1);
        }
    }

    fn insert(&mut self, kept: StreamSlot) {
        let index = kept.stream.index();
        *self.slots.at(index) = Some(kept);
    }

    fn get(&mut self, stream: ExchangeKey) -> Option<&mut StreamSlot> {
        self.slots.get_mut(stream.index())?.as_mut().filter(|kept| kept.stream == stream)
    }

    fn slot(&mut self, stream: ExchangeKey) -> Option<SlotKey> {
        self.get(stream).map(|kept| kept.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{Phase, slots};
    use std::sync::Mutex;

    #[test]
    fn removals_wait_for_room_are_repeated_and_those_above_the_bound_counted() {
        let (writer, mut drain) = slots(1);
        let has_room = Arc::new(Mutex::new(false));
        let store = StoreLink::new(|_, _| true, {
            let has_room = Arc::clone(&has_room);
            move |_, _, _| *has_room.lock().unwrap()
        });
        let (mut checkpoints, metrics) = (Checkpoints::new(writer), Metrics::default());
        for stream in 0..FORGOTTEN as u64 + 5 {
            let name = StreamName { session: b"s"[..].into(), stream };
            checkpoints.publish(Checkpoint::Forgotten { name, sequence: 1 }, &store, &metrics);
        }
        assert_eq!((checkpoints.forgotten.len(), checkpoints.logs.len()), (FORGOTTEN, 1));
        assert_eq!(metrics.persistence().removals_dropped.get(), 4);
        *has_room.lock().unwrap() = true;
        checkpoints.catch_up(&store, &metrics);
        assert!(checkpoints.logs.is_empty());
        while !checkpoints.forgotten.is_empty() {
            let key = drain.pop().unwrap();
            assert_eq!(drain.read(key).unwrap().phase, Phase::Removed);
            drain.release(key);
            checkpoints.catch_up(&store, &metrics);
        }
    }
}
