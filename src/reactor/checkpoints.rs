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
                            // Refused, the lease runs out by itself.
                            store.keep(&kept.name, Keep::Release);
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
            let fresh = Owned { stream, claim: None, has_ended: false };
            let owned = self.owned.entry(Arc::clone(&kept.name)).or_insert(fresh);
            let claim = part.claim.or(owned.claim.take());
            part.claim = claim;
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
            self.pass_on(name, Keep::End { whole }, store, metrics);
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
mod tests {
    use super::*;
    use crate::base::{Key, Span};
    use crate::machine::LogBounds;
    use crate::slot::{Phase, slots};
    use std::sync::Mutex;

    fn part(first: u64, claim: Option<u64>) -> EventPart {
        let bounds = LogBounds { events: 9, bytes: 99, age: Span::from_secs(9) };
        EventPart { first, bytes: b"x"[..].into(), ends: [1].into(), meta: Box::default(), bounds, claim }
    }

    /// What the store hears of one stream with a shared log, while it has room and while it has none.
    #[test]
    fn a_claim_goes_with_the_first_part_that_finds_room_and_a_log_ends_once() {
        let (writer, _drain) = slots(4);
        let (has_room, heard) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(Vec::new())));
        let keeps = {
            let (has_room, heard) = (Arc::clone(&has_room), Arc::clone(&heard));
            move |_: &Arc<StreamName>, keep: Keep| {
                let takes = *has_room.lock().unwrap();
                heard.lock().unwrap().extend(takes.then_some(keep));
                takes
            }
        };
        let store = StoreLink::new(|_, _| true, keeps).sharing(|_| true, |_| {});
        let (mut checkpoints, metrics) = (Checkpoints::new(writer), Metrics::default());
        let mut publish = |checkpoint| checkpoints.publish(checkpoint, &store, &metrics);
        let (stream, other) = (Key::from_bits(0), Key::from_bits(1));
        let name = |stream| StreamName { session: b"s"[..].into(), stream };
        publish(Checkpoint::Began { stream, name: name(1) });
        publish(Checkpoint::Events { stream, part: part(1, Some(3)) });
        *has_room.lock().unwrap() = true;
        for first in [2, 3] {
            publish(Checkpoint::Events { stream, part: part(first, None) });
        }
        publish(Checkpoint::LogEnded { stream, whole: true });
        publish(Checkpoint::Ended { stream, keep: true });
        let kept = |first, claim, hole| Keep::Part { part: part(first, claim), hole };
        let all = [kept(2, Some(3), true), kept(3, None, false), Keep::End { whole: true }];
        assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), all);
        publish(Checkpoint::Began { stream: other, name: name(2) });
        publish(Checkpoint::Events { stream: other, part: part(1, Some(0)) });
        let watched = checkpoints.hear(LogNews::Watched { name: Arc::new(name(2)), by_others: true });
        assert!(matches!(watched, Some(Input::Watched { stream, by_others: true }) if stream == other));
        assert!(checkpoints.hear(LogNews::Watched { name: Arc::new(name(1)), by_others: true }).is_none());
        checkpoints.publish(Checkpoint::Ended { stream: other, keep: true }, &store, &metrics);
        assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), [kept(1, Some(0), false), Keep::Release]);
        checkpoints.publish(Checkpoint::Began { stream: other, name: name(2) }, &store, &metrics);
        checkpoints.publish(Checkpoint::Events { stream: other, part: part(1, Some(0)) }, &store, &metrics);
        let taken = checkpoints.hear(LogNews::TakenOver { name: Arc::new(name(2)) });
        assert!(matches!(taken, Some(Input::TakenOver { stream }) if stream == other));
        checkpoints.publish(Checkpoint::Ended { stream: other, keep: true }, &store, &metrics);
        assert_eq!(*heard.lock().unwrap(), [kept(1, Some(0), false)]);
    }

    #[test]
    fn removals_wait_for_room_are_repeated_and_those_above_the_bound_counted() {
        let (writer, mut drain) = slots(1);
        let has_room = Arc::new(Mutex::new(false));
        let store = StoreLink::new(|_, _| true, {
            let has_room = Arc::clone(&has_room);
            move |_, _| *has_room.lock().unwrap()
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
