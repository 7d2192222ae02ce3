//! Which stream tells its client where to send messages: in MCP's transport of 2024-11-05 a stream's first event names
//! the URL of its messages, which only the upstream that has the stream understands.
//!
//! In: names of targets, as hashes under the process's key, and the exchanges whose streams have told them, with the
//! places of their upstreams. Out: the places from which a target is told, for as long as the exchanges are there.
//! Laws: an exchange has at most one target, so there are at most as many as exchanges; a target is of one principal, so
//! that nobody leads another's requests; each step costs the same, however many streams tell the same.
//! Source: Model Context Protocol, revision 2024-11-05, transports, "HTTP with SSE".

use super::names::Name;
use crate::machine::keys::ExchangeKey;
use std::collections::HashMap;

/// Bytes of the first event of a stream in which its client is told where to send messages.
pub(in crate::machine) const TOLD: u64 = 4 << 10;

/// Targets that streams have told their clients.
#[derive(Default, Debug)]
pub(in crate::machine) struct Endpoints {
    /// By target: from which places, and by how many streams of each. Mostly one.
    told: HashMap<Name, Vec<(u32, u32)>>,
    streams: HashMap<ExchangeKey, (Name, u32)>,
}

impl Endpoints {
    pub(in crate::machine) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The stream of this exchange, which comes from this place, has told its client this target.
    pub(in crate::machine) fn tell(&mut self, name: Name, key: ExchangeKey, place: usize) {
        self.forget(key);
        let place = place as u32;
        self.streams.insert(key, (name, place));
        let places = self.told.entry(name).or_default();
        match places.iter_mut().find(|(at, _)| *at == place) {
            Some((_, streams)) => *streams += 1,
            None => places.push((place, 1)),
        }
    }

    /// The places from which this target was told.
    pub(in crate::machine) fn find(&self, name: Name) -> impl Iterator<Item = usize> {
        self.told.get(&name).into_iter().flatten().map(|(place, _)| *place as usize)
    }

    /// The stream of this exchange comes from another place from now on.
    pub(in crate::machine) fn lead(&mut self, key: ExchangeKey, place: usize) {
        if !self.is_empty()
            && let Some((name, _)) = self.streams.get(&key).copied()
        {
            self.tell(name, key, place);
        }
    }

    /// The exchange is over.
    pub(in crate::machine) fn forget(&mut self, key: ExchangeKey) {
        let Some((name, place)) = self.streams.remove(&key) else { return };
        let Some(places) = self.told.get_mut(&name) else { return };
        places.iter_mut().filter(|(at, _)| *at == place).for_each(|(_, streams)| *streams -= 1);
        places.retain(|(_, streams)| *streams > 0);
        if places.is_empty() {
            self.told.remove(&name);
        }
    }

    /// Exchanges that have a target, and the place that each comes from. Also, how many streams all targets together
    /// have.
    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(in crate::machine) fn all(&self) -> (impl Iterator<Item = (ExchangeKey, usize)>, usize) {
        let streams = self.told.values().flatten().map(|(_, streams)| *streams as usize).sum();
        (self.streams.iter().map(|(key, (_, place))| (*key, *place as usize)), streams)
    }
}
