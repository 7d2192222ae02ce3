//! How many connections and event streams each address and each principal has, and who waits for one of them to end.
//!
//! In: clients that come, ask for an event stream, wait for a place, and go. Out: a [`Stake`] for each that is counted;
//! of those that wait, who has waited for longest.
//! Laws: an address or a principal is here while it has a stake, and no longer, so that there are at most three names for
//! each connection; what has no bound is not counted, and takes no memory; each step takes the same time, but for those
//! that wait, of whom there are few.
//!
//! A name is a hash under a secret key ([`Holders`](super::book::unread::Holders)), so that nobody can choose names that
//! collide.

use super::keys::{ConnKey, Stake};
use std::collections::{HashMap, VecDeque};

/// Clients that wait for a place, of all and of one holder: those who come while as many wait are refused at once.
const WAITING: usize = 1_024;
const WAITING_OF_ONE: u32 = 16;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    Connection,
    Stream,
    /// A request that waits for the end of a stream.
    Wait,
}

#[derive(Clone, Copy, Default, Debug)]
struct Entry {
    name: u64,
    /// By what is counted.
    counts: [u32; 3],
}

/// All that is counted.
#[derive(Default)]
pub(super) struct Census {
    /// Where each name's entry is.
    places: HashMap<u64, u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Who waits for a stream of which holder to end, the one that came first in front.
    waiting: VecDeque<(ConnKey, Stake)>,
}

impl Census {
    /// How much the holder of this name has.
    pub(super) fn held_by(&self, name: u64, what: Held) -> usize {
        let entry = self.places.get(&name).and_then(|place| self.entries.get(*place as usize));
        entry.map_or(0, |entry| entry.counts[what as usize] as usize)
    }

    /// How much the holder of a stake has.
    pub(super) fn count_of(&self, stake: Stake, what: Held) -> usize {
        self.entries.get(stake.0 as usize).map_or(0, |entry| entry.counts[what as usize] as usize)
    }

    /// The holder of this name has one more.
    pub(super) fn add(&mut self, name: u64, what: Held) -> Stake {
        let Self { places, entries, free, .. } = self;
        let place = *places.entry(name).or_insert_with(|| {
            let fresh = Entry { name, counts: [0; 3] };
            match free.pop() {
                Some(place) => {
                    entries[place as usize] = fresh;
                    place
                }
                None => {
                    entries.push(fresh);
                    entries.len() as u32 - 1
                }
            }
        });
        entries[place as usize].counts[what as usize] += 1;
        Stake(place)
    }

    /// A stake is given back. A holder without any is forgotten.
    pub(super) fn remove(&mut self, stake: Stake, what: Held) {
        let Some(entry) = self.entries.get_mut(stake.0 as usize) else { return };
        entry.counts[what as usize] = entry.counts[what as usize].saturating_sub(1);
        if entry.counts == [0; 3] && self.places.remove(&entry.name).is_some() {
            self.free.push(stake.0);
        }
        if self.places.is_empty() {
            // What a crowd has taken is given back when it has gone.
            (self.places, self.entries, self.free) = Default::default();
        }
    }

    /// A client waits until the holder of this name has a stream less. False: too many wait already.
    pub(super) fn wait(&mut self, conn: ConnKey, name: u64) -> bool {
        self.wait_no_more(conn);
        let has_room = self.held_by(name, Held::Wait) < WAITING_OF_ONE as usize && self.waiting.len() < WAITING;
        if has_room {
            let stake = self.add(name, Held::Wait);
            self.waiting.push_back((conn, stake));
        }
        has_room
    }

    /// The name of the holder of a stake, if somebody waits for a stream of it to end.
    pub(super) fn waited_for(&self, stake: Stake) -> Option<u64> {
        let entry = self.entries.get(stake.0 as usize)?;
        (entry.counts[Held::Wait as usize] > 0).then_some(entry.name)
    }

    /// Takes out who has waited for longest for a stream of the holder of this name to end.
    pub(super) fn next_waiting(&mut self, name: u64) -> Option<ConnKey> {
        if self.held_by(name, Held::Wait) == 0 {
            return None;
        }
        let stake = Stake(*self.places.get(&name)?);
        let at = self.waiting.iter().position(|(_, waits_for)| *waits_for == stake)?;
        let (conn, stake) = self.waiting.remove(at)?;
        self.remove(stake, Held::Wait);
        Some(conn)
    }

    /// Takes out all that wait, the one that came first in front.
    pub(super) fn all_waiting(&mut self) -> Vec<ConnKey> {
        let all = std::mem::take(&mut self.waiting);
        all.into_iter()
            .map(|(conn, stake)| {
                self.remove(stake, Held::Wait);
                conn
            })
            .collect()
    }

    /// A client waits no more.
    pub(super) fn wait_no_more(&mut self, conn: ConnKey) {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == conn)
            && let Some((_, stake)) = self.waiting.remove(at)
        {
            self.remove(stake, Held::Wait);
        }
    }

    /// Clients that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Addresses and principals that are counted.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How much all together have.
    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(super) fn all(&self, what: Held) -> usize {
        self.places.values().map(|place| self.entries[*place as usize].counts[what as usize] as usize).sum()
    }
}

#[cfg(test)]
mod tests;
