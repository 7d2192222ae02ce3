//! The reactor's link to the persister: functions that neither wait nor know of each other's threads.
//!
//! In: a way to ask the persister. Out: a [`StoreLink`].
//! Laws: a look-up that is refused is a failed one; events that are refused leave a
//! hole, which the next ones state.

use super::lookup::look_up;
use crate::base::Key;
use crate::base::StreamName;
use crate::clock::Clock;
use crate::config::Config;
use crate::machine::{EventPart, Followed, Lookup, StoredEvents, StoredOwner};
use crate::persist::{FollowedLog, LogNews, PersistControl};
use crate::reactor::{Follow, Keep, LogNews as ReactorNews, NewsSender, Reply, StoreLink};
use crate::store::{Claim, LogBlock, LogBounds, LogEnd, LogWrite};
use std::sync::Arc;

/// Makes the link. Where the configuration is not `durable`, no events are kept, and none need to be forgotten.
pub(super) fn link(config: &Config, store: PersistControl, clock: Clock) -> StoreLink {
    let looks_up = {
        let store = store.clone();
        move |lookup: Lookup, reply: Reply| look_up(&store, lookup, reply).is_ok()
    };
    let (durable, shared) = (config.persist.keeps_events(), config.persist.replay_shared);
    let control = store.clone();
    let keeps = move |name: &Arc<StreamName>, keep: Keep| !durable || keeps(&control, clock, shared, name, keep);
    let link = StoreLink::new(looks_up, keeps);
    if !shared {
        return link;
    }
    let control = store.clone();
    let follows = move |follow| match follow {
        Follow::Begin { exchange, name, after, fence } => {
            control.follow(exchange.to_bits(), name, after, fence).is_ok()
        }
        Follow::End { exchange } => control.unfollow(exchange.to_bits()).is_ok(),
    };
    let listens = move |to: NewsSender| store.listen(Arc::new(move |news| to.send(translated(news))));
    link.sharing(follows, listens)
}

/// Passes on what becomes of a log. False: too much waits.
fn keeps(store: &PersistControl, clock: Clock, shared: bool, name: &Arc<StreamName>, keep: Keep) -> bool {
    let name = Arc::clone(name);
    // The persister puts in who it is, and for how long at most.
    let claim = |seen| Claim { owner: 0, seen, lease_ms: u64::MAX };
    let write = match keep {
        Keep::Forget => LogWrite::Remove { name, claim: shared.then(|| claim(None)) },
        Keep::End { whole, next } => {
            LogWrite::End { name, claim: claim(None), end: if whole { LogEnd::Whole } else { LogEnd::Cut }, next }
        }
        Keep::Release => LogWrite::Hold { name, claim: Claim { lease_ms: 0, ..claim(None) } },
        Keep::Part { part, hole } => {
            let EventPart { first, bytes, ends, meta, bounds, claim: seen } = part;
            let (events, age_ms) = (bounds.events as u64, bounds.age.millis());
            let bounds = LogBounds { events, bytes: bounds.bytes as u64, age_ms };
            let block = Arc::new(LogBlock { first, at_ms: clock.unix_ms(clock.now()), bytes, ends, hole });
            LogWrite::Append { name, block, meta: meta.into(), bounds, claim: shared.then(|| claim(seen)) }
        }
    };
    store.append_log(write).is_ok()
}

/// The persister's news in the reactor's words.
fn translated(news: LogNews) -> ReactorNews {
    let (key, news) = match news {
        LogNews::TakenOver { name } => return ReactorNews::TakenOver { name },
        LogNews::Watched { name, followed } => return ReactorNews::Watched { name, by_others: followed },
        LogNews::Followed { key, news } => (key, news),
    };
    let news = match news {
        FollowedLog::Blocks(blocks) => Followed::Events(StoredEvents {
            meta: Box::default(),
            first: blocks.first().map_or(0, |block| block.first),
            bytes: blocks.iter().flat_map(|block| block.bytes.iter().copied()).collect(),
            fence: 0,
            owner: StoredOwner::Lives,
            end: None,
        }),
        FollowedLog::Ended(end, last) => Followed::Ended { whole: end == LogEnd::Whole, last },
        FollowedLog::OwnerGone => Followed::OwnerGone,
        FollowedLog::Lost => Followed::Lost,
        FollowedLog::Away => Followed::Away,
    };
    ReactorNews::Followed { exchange: Key::from_bits(key), news }
}
