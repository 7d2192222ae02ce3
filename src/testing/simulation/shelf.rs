//! A store that two instances share: logs with owners, fences and leases, by simulated time.
//!
//! In: writes, look-ups and follows of instances. Out: answers, as the store's promises have them.
//! Laws: only the owner writes; a claim over another fence than the present one changes nothing; what was told to
//! followers is never written anew.

use crate::base::{EventId, Span, StreamName, Tick};
use crate::machine::{EventPart, Followed, Lookup, StoredEvents, StoredOwner, StoredStream};
use crate::sse;
use crate::track::own_prefix;
use std::collections::{BTreeMap, HashMap};

const LEASE: Span = Span::from_secs(3);

/// Events of a log at most.
const EVENTS: usize = 64;

#[derive(Default)]
struct Log {
    meta: Box<[u8]>,
    /// By number.
    events: BTreeMap<u64, Vec<u8>>,
    owner: u64,
    fence: u64,
    lease: Tick,
    end: Option<bool>,
    /// Until when somebody follows it.
    marked: Tick,
}

/// A known fault, switched in to see that its oracle finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The store takes writes of whoever comes.
    NoFence,
    /// The store leaves out events for those who follow.
    Skips,
    /// An error of the store is told as the answer that nothing is stored.
    DeafToErrors,
    /// Clients do not hear of gaps.
    MuteGaps,
    /// A log whose owner died is told to be whole.
    FalseEnd,
}

/// The store.
#[derive(Default)]
pub(super) struct Shelf {
    logs: HashMap<StreamName, Log>,
    records: HashMap<StreamName, (u64, EventId)>,
    /// What each event of a log was, for as long as the run lasts.
    was: HashMap<(StreamName, u64), Vec<u8>>,
    pub(super) fault: Option<Fault>,
}

/// Another instance owns the log.
pub(super) struct Fenced;

impl Shelf {
    pub(super) fn with(fault: Option<Fault>) -> Self {
        Self { fault, ..Self::default() }
    }

    pub(super) fn append(
        &mut self,
        name: &StreamName,
        epoch: u64,
        part: &EventPart,
        claim: Option<u64>,
        now: Tick,
    ) -> Result<(), Fenced> {
        let log = self.logs.entry(name.clone()).or_default();
        let is_owner = log.owner == epoch;
        let may_claim = claim == Some(log.fence);
        if !is_owner && !may_claim && self.fault != Some(Fault::NoFence) {
            return Err(Fenced);
        }
        // A store that only appends.
        let is_blind = !is_owner && !may_claim;
        if !is_owner && !is_blind {
            (log.owner, log.fence) = (epoch, log.fence + 1);
        }
        let last = log.events.last_key_value().map_or(0, |(last, _)| *last);
        if part.first > last + 1 {
            // A hole: only what lies behind it is of use.
            log.events.clear();
        }
        if !is_owner && !is_blind {
            log.events.split_off(&part.first);
        }
        let first = if is_blind { last + 1 } else { part.first };
        (log.meta, log.lease) = (part.meta.clone(), now + LEASE);
        let mut from = 0;
        for (number, end) in (first..).zip(part.ends.iter().map(|end| *end as usize)) {
            let event = part.bytes[from..end].to_vec();
            from = end;
            let own = sse::ids(&event).any(|id| own_prefix(id).is_some());
            let was = self.was.entry((name.clone(), number)).or_insert_with(|| event.clone());
            assert!(!own || *was == event, "{number} of {name:?} is two events: {was:?} and {event:?}");
            log.events.insert(number, event);
        }
        let numbers: Vec<u64> = log.events.values().flat_map(|event| upstream_number(event)).collect();
        assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "a log mixes events of two owners: {numbers:?}");
        while log.events.len() > EVENTS {
            log.events.pop_first();
        }
        Ok(())
    }

    /// Whether somebody follows the log.
    pub(super) fn is_followed(&self, name: &StreamName, now: Tick) -> bool {
        self.logs.get(name).is_some_and(|log| log.marked > now)
    }

    pub(super) fn hold(&mut self, name: &StreamName, epoch: u64, now: Tick) -> Result<(), Fenced> {
        match self.logs.get_mut(name) {
            Some(log) if log.owner == epoch => log.lease = now + LEASE,
            Some(_) => return Err(Fenced),
            None => {}
        }
        Ok(())
    }

    pub(super) fn end(&mut self, name: &StreamName, epoch: u64, whole: bool) {
        if let Some(log) = self.logs.get_mut(name).filter(|log| log.owner == epoch) {
            log.end = Some(whole);
        }
    }

    /// The stream is over: the lease ends, and the log goes if nobody needs it.
    pub(super) fn close(&mut self, name: &StreamName, epoch: u64, keep: bool, now: Tick) {
        let Some(log) = self.logs.get_mut(name).filter(|log| log.owner == epoch) else { return };
        log.lease = log.lease.min(now);
        if !keep {
            self.logs.remove(name);
            self.records.remove(name);
        }
    }

    pub(super) fn record(&mut self, name: &StreamName, epoch: u64, id: EventId) {
        self.records.insert(name.clone(), (epoch, id));
    }

    pub(super) fn look_up(&self, lookup: &Lookup, epoch: u64, now: Tick) -> Vec<StoredStream> {
        let prefix = own_prefix(&lookup.wanted);
        let is_wanted = |id: &[u8]| prefix.map_or(*id == *lookup.wanted, |prefix| id.starts_with(prefix));
        let of_session = self.records.iter().filter(|(name, _)| name.session == lookup.session);
        let mut found: Vec<StoredStream> = of_session
            .filter_map(|(name, (_, id))| {
                let log = self.logs.get(name)?;
                log.events.values().any(|event| sse::ids(event).any(is_wanted)).then_some(())?;
                let owner = match () {
                    () if log.owner != epoch && log.lease > now => StoredOwner::Lives,
                    () => StoredOwner::Gone,
                };
                let events = StoredEvents {
                    meta: log.meta.clone(),
                    first: *log.events.first_key_value()?.0,
                    bytes: log.events.values().flatten().copied().collect(),
                    fence: log.fence,
                    owner,
                    end: log.end,
                };
                Some(StoredStream { stream: name.stream, id: id.clone(), last_seen_ms: 1, log: Some(events) })
            })
            .collect();
        found.sort_by_key(|stored| stored.stream);
        found
    }

    /// Whether a log has an event of the stream that an id of segno's own names.
    pub(super) fn knows(&self, id: &str) -> bool {
        let Some(prefix) = own_prefix(id.as_bytes()) else { return false };
        let of = |log: &Log| log.events.values().any(|event| sse::ids(event).any(|id| id.starts_with(prefix)));
        self.records.keys().any(|name| self.logs.get(name).is_some_and(of))
    }

    /// What there is behind an event; the number of the last event told. `None`: nothing yet.
    pub(super) fn follow(&mut self, name: &StreamName, after: u64, fence: u64, now: Tick) -> Option<(Followed, u64)> {
        let Some(log) = self.logs.get_mut(name) else { return Some((Followed::Lost, after)) };
        if log.fence != fence {
            return Some((Followed::OwnerGone, after));
        }
        log.marked = now + LEASE;
        let last = *log.events.last_key_value()?.0;
        if last > after {
            if *log.events.first_key_value()?.0 > after + 1 {
                return Some((Followed::Lost, after));
            }
            let first = if self.fault == Some(Fault::Skips) && last > after + 1 { after + 2 } else { after + 1 };
            let bytes = log.events.range(first..).flat_map(|(_, event)| event.iter().copied()).collect();
            // A store that leaves events out, and says that it does not.
            let first = after + 1;
            let (meta, owner) = (Box::default(), StoredOwner::None);
            return Some((Followed::Events(StoredEvents { meta, first, bytes, fence, owner, end: None }), last));
        }
        match log.end {
            Some(whole) => Some((Followed::Ended { whole, last: after }, after)),
            None if log.lease <= now => Some((Followed::OwnerGone, after)),
            None => None,
        }
    }
}

/// The number in an id that upstream gave.
fn upstream_number(event: &[u8]) -> Option<u64> {
    let id = sse::ids(event).next()?;
    std::str::from_utf8(id).ok()?.parse().ok()
}
