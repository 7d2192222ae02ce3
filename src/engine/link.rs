//! The reactor's link to the persister: two functions that neither wait nor know of each other's threads.
//!
//! In: the bounds of each route's log, and a way to ask the persister. Out: a [`StoreLink`].
//! Laws: a look-up that is refused is a failed one; events that are refused leave a
//! hole, which the next ones state.

use super::lookup::look_up;
use crate::base::StreamName;
use crate::clock::Clock;
use crate::config::Config;
use crate::machine::{EventPart, Lookup};
use crate::persist::PersistControl;
use crate::reactor::{Reply, StoreLink};
use crate::store::{LogBlock, LogBounds, LogWrite};
use std::sync::Arc;

/// Makes the link. Where the configuration is not `durable`, no events are kept, and none need to be forgotten.
pub(super) fn link(config: &Config, store: PersistControl, clock: Clock) -> StoreLink {
    let looks_up = {
        let store = store.clone();
        move |lookup: Lookup, reply: Reply| look_up(&store, lookup, reply).is_ok()
    };
    let bounds: Vec<LogBounds> = config
        .routes
        .iter()
        .map(|route| LogBounds {
            events: route.replay_events as u64,
            bytes: route.replay_bytes as u64,
            age_ms: route.replay_age.millis(),
        })
        .collect();
    let durable = config.persist.durable;
    let keeps = move |name: &Arc<StreamName>, part: Option<EventPart>, hole: bool| {
        let Some(part) = part else {
            return !durable || store.append_log(LogWrite::Remove { name: Arc::clone(name) }).is_ok();
        };
        let Some(bounds) = bounds.get(part.route).copied() else { return false };
        let EventPart { first, bytes, ends, meta, .. } = part;
        let block = LogBlock { first, at_ms: clock.unix_ms(clock.now()), bytes, ends, hole };
        let write = LogWrite::Append { name: Arc::clone(name), block: Arc::new(block), meta: meta.into(), bounds };
        store.append_log(write).is_ok()
    };
    StoreLink::new(looks_up, keeps)
}
