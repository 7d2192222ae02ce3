//! Publishes the machine's checkpoints: cursors through slots, events and removals through the store link.
//!
//! In: checkpoints, once a turn. Out: newest cursors in slots; events to keep; tombstones of streams that are
//! forgotten.
//! Laws: nothing here waits; a stream for which there is no slot goes on without being stored, which is counted.

use super::store::{Keep, LogNews, StoreLink};
use crate::base::{Pages, StreamName};
use crate::machine::{Checkpoint, EventPart, ExchangeKey, Input};
use crate::metrics::Metrics;
use crate::slot::{SlotKey, SlotWriter};
use std::collections::HashMap;
use std::sync::Arc;

/// The slots of the machine's streams, and removals that wait.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    writer: SlotWriter,
    /// By the index of the stream's key.
    slots: Pages<Option<StreamSlot>>,
    /// Streams whose tombstones wait for a slot.
    forgotten: Vec<(Arc<StreamName>, u64)>,
    /// Streams of whose stored logs the persister is to hear this once it has room.
    logs: Vec<(Arc<StreamName>, Keep)>,
    /// Streams whose stored logs are this instance's, where logs are shared.
    owned: HashMap<Arc<StreamName>, Owned>,
}

/// A stream with a log that is this instance's.
#[derive(Clone, Copy, Debug)]
struct Owned {
    stream: ExchangeKey,
    /// The claim of the first part, which the persister had no room for.
    claim: Option<u64>,
    /// The number behind its last event.
    next: u64,
    has_ended: bool,
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
        Self { writer, slots: Pages::default(), forgotten: Vec::new(), logs: Vec::new(), owned: HashMap::new() }
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
                self.keep(stream, part, store);
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
            Checkpoint::LogEnded { stream, whole } => self.end_log(stream, whole, store, metrics),
            Checkpoint::Ended { stream, keep } => {
                if self.get(stream).is_some()
                    && let Some(kept) = self.slots.get_mut(stream.index()).and_then(Option::take)
                {
                    let owned = self.owned.remove(&kept.name).filter(|owned| !owned.has_ended);
                    if keep {
                        self.writer.retire(kept.slot);
                        if owned.is_some() {
                            self.pass_on(kept.name, Keep::Release, store, metrics);
                        }
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

    /// Passes events on to be kept.
    fn keep(&mut self, stream: ExchangeKey, mut part: EventPart, store: &StoreLink) {
        let Some(kept) = self.slots.get_mut(stream.index()).and_then(Option::as_mut) else { return };
        if kept.stream != stream {
            return;
        }
        if store.is_shared() {
            let fresh = Owned { stream, claim: None, next: 0, has_ended: false };
            let owned = self.owned.entry(Arc::clone(&kept.name)).or_insert(fresh);
            let claim = part.claim.or(owned.claim.take());
            (part.claim, owned.next) = (claim, part.first + part.ends.len() as u64);
            if std::mem::take(&mut owned.has_ended) {
                self.logs.retain(|(name, keep)| *name != kept.name || *keep == Keep::Forget);
            }
            let is_kept = store.keep(&kept.name, Keep::Part { part, hole: kept.hole });
            owned.claim = claim.filter(|_| !is_kept);
            kept.hole = !is_kept;
            return;
        }
        kept.hole = !store.keep(&kept.name, Keep::Part { part, hole: kept.hole });
    }

    /// All events of a stream have been passed on.
    fn end_log(&mut self, stream: ExchangeKey, whole: bool, store: &StoreLink, metrics: &Metrics) {
        let Some(name) = self.get(stream).map(|kept| Arc::clone(&kept.name)) else { return };
        if let Some(owned) = self.owned.get_mut(&name) {
            owned.has_ended = true;
            let next = owned.next;
            self.pass_on(name, Keep::End { whole, next }, store, metrics);
        }
    }

    /// What the machine is to hear of the store's news, if it still has the stream.
    pub(super) fn hear(&mut self, news: LogNews) -> Option<Input<'static>> {
        match news {
            LogNews::Followed { exchange, news } => Some(Input::Followed { exchange, news }),
            LogNews::Watched { name, by_others } => {
                let stream = self.owned.get(&name)?.stream;
                Some(Input::Watched { stream, by_others })
            }
            LogNews::TakenOver { name } => {
                let stream = self.owned.remove(&name)?.stream;
                Some(Input::TakenOver { stream })
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
        while self.logs.pop_if(|(name, keep)| store.keep(name, keep.clone())).is_some() {}
    }

    fn forget_log(&mut self, name: Arc<StreamName>, store: &StoreLink, metrics: &Metrics) {
        self.pass_on(name, Keep::Forget, store, metrics);
    }

    /// Tells the persister of a log, now or once there is room.
    fn pass_on(&mut self, name: Arc<StreamName>, keep: Keep, store: &StoreLink, metrics: &Metrics) {
        if store.keep(&name, keep.clone()) {
            return;
        }
        if self.logs.len() < FORGOTTEN {
            self.logs.push((name, keep));
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
mod tests;
