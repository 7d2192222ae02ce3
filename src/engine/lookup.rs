//! Look-ups: which streams of a session the store has, and whose stored log holds an id.
//!
//! In: a [`Lookup`] of the machine. Out: its [`Reply`], sent from a store thread.
//! Laws: only what lies behind the last hole of a stored log is looked at and returned; a failure of the store is
//! counted and logged where it is met, and told to the request as a failure: what is stored is not known then.

use crate::base::StreamName;
use crate::machine::{Lookup, NotLookedUp, StoredEvents, StoredOwner, StoredStream};
use crate::persist::{PersistControl, Refused};
use crate::reactor::Reply;
use crate::sse::ids;
use crate::store::{LogBlock, LogEnd, Record, StoredLog};
use crate::track::own_prefix;

/// Cursors of a session that are returned: where the newest one stood, and whether there are several.
const CURSORS: usize = 2;

/// Logs that are returned where streams of one session share an id: the machine goes on with one only where no other
/// may be meant.
const LOGS: usize = 8;

/// Asks the store. Where the look-up wants no log, the cursors of the session are the reply.
///
/// # Errors
/// [`Refused`], when too many questions wait; then there is no reply.
pub(super) fn look_up(store: &PersistControl, lookup: Lookup, reply: Reply) -> Result<(), Refused> {
    if lookup.log_bytes == 0 { find_cursors(store, lookup, reply) } else { find_logs(store, lookup, reply) }
}

fn find_cursors(store: &PersistControl, lookup: Lookup, reply: Reply) -> Result<(), Refused> {
    store.load_session(
        lookup.session,
        CURSORS,
        Box::new(move |found| {
            let stored = |(name, cursor): (StreamName, Record)| stored(&name, cursor, None, 0);
            reply.send(found.map(|all| all.into_iter().map(stored).collect()).map_err(|_| NotLookedUp));
        }),
    )
}

fn find_logs(store: &PersistControl, lookup: Lookup, reply: Reply) -> Result<(), Refused> {
    let Lookup { session, log_bytes, wanted, .. } = lookup;
    // Of a stream with segno's own ids any of them will do: its log is found by what they all begin with.
    let (own, limit) = match own_prefix(&wanted) {
        Some(prefix) => (Some(Box::<[u8]>::from(prefix)), 1),
        None => (None, LOGS),
    };
    let is_wanted = move |id: &[u8]| match &own {
        Some(prefix) => id.starts_with(prefix),
        None => *id == *wanted,
    };
    let control = store.clone();
    store.load_logs(
        session,
        Box::new(move |log| whole_part(log).iter().any(|block| ids(&block.bytes).any(&is_wanted))),
        limit,
        log_bytes,
        Box::new(move |found| {
            let stored = |(name, cursor, log)| stored(&name, cursor, Some(log), control.owner());
            reply.send(found.map(|all| all.into_iter().map(stored).collect()).map_err(|_| NotLookedUp));
        }),
    )
}

/// A stored stream in the machine's words, with what lies behind the last hole of its log. `own`: what this process is
/// called as an owner of logs.
pub(crate) fn stored(name: &StreamName, cursor: Record, log: Option<StoredLog>, own: u64) -> StoredStream {
    let log = log.and_then(|log| {
        let blocks = whole_part(&log);
        let first = blocks.first()?.first;
        let owner = match log.owner {
            None => StoredOwner::None,
            Some(lease) if lease.epoch != own && lease.left_ms > 0 => StoredOwner::Lives,
            Some(_) => StoredOwner::Gone,
        };
        Some(StoredEvents {
            first,
            bytes: blocks.iter().flat_map(|b| b.bytes.iter().copied()).collect(),
            meta: log.meta,
            fence: log.fence,
            owner,
            end: log.end.map(|end| end == LogEnd::Whole),
        })
    });
    StoredStream { stream: name.stream, id: cursor.id, last_seen_ms: cursor.last_seen_ms, log }
}

/// What lies behind the last hole of a log.
fn whole_part(log: &StoredLog) -> &[LogBlock] {
    &log.blocks[log.blocks.iter().rposition(|block| block.hole).unwrap_or(0)..]
}
