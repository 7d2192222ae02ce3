//! The reactor's link to the persister: two functions that neither wait nor know of each other's threads.
//!
//! In: a way to ask the persister. Out: a [`StoreLink`].
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
    let durable = config.persist.keeps_events();
    let keeps = move |name: &Arc<StreamName>, part: Option<EventPart>, hole: bool| {
        let Some(part) = part else {
            return !durable || store.append_log(LogWrite::Remove { name: Arc::clone(name), claim: None }).is_ok();
        };
        let EventPart { first, bytes, ends, meta, bounds, .. } = part;
        let (events, age_ms) = (bounds.events as u64, bounds.age.millis());
        let bounds = LogBounds { events, bytes: bounds.bytes as u64, age_ms };
        let block = LogBlock { first, at_ms: clock.unix_ms(clock.now()), bytes, ends, hole };
        let write =
            LogWrite::Append { name: Arc::clone(name), block: Arc::new(block), meta: meta.into(), bounds, claim: None };
        store.append_log(write).is_ok()
    };
    StoreLink::new(looks_up, keeps)
}
