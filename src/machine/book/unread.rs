//! Streams that nobody reads: who holds how many, and which of them was left first.
//!
//! In: streams that lose their last reader, are read again, or end. Out: the stream to drop where places run short; the
//! stream of a session that has an event with an id.
//! Laws: each step takes the same time however many streams there are, but for the search for the fullest address,
//! which takes the logarithm of their number; a stream that was left earlier goes earlier, unless one address holds
//! more than its share.
//!
//! Each stream is on four lists, its oldest member first: of all streams, and of those of its session, its principal
//! and its client's address.

use super::ids::Ids;
use crate::machine::keys::ExchangeKey;
use std::collections::{BTreeSet, HashMap};

/// Who holds streams that nobody reads. The numbers are hashes under a secret key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::machine) enum Holder {
    All,
    Session(u64),
    Principal(u64),
    Address(u64),
}

/// Whom a request counts against, beside its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::machine) struct Holders {
    pub(in crate::machine) principal: u64,
    pub(in crate::machine) address: u64,
}

impl Holder {
    pub(in crate::machine) fn session(id: u128) -> Self {
        Self::Session(id as u64)
    }
}

/// A stream's place on one list.
#[derive(Clone, Copy)]
struct Link {
    holder: Holder,
    older: Option<ExchangeKey>,
    newer: Option<ExchangeKey>,
}

#[derive(Default)]
struct List {
    oldest: Option<ExchangeKey>,
    newest: Option<ExchangeKey>,
    len: usize,
}

/// All streams that nobody reads.
#[derive(Default)]
pub(in crate::machine) struct Unread {
    links: HashMap<ExchangeKey, [Link; 4]>,
    lists: HashMap<Holder, List>,
    /// Addresses by how many streams they hold.
    fullest: BTreeSet<(usize, u64)>,
    /// The events of sessions with many streams.
    pub(in crate::machine) ids: Ids,
}

impl Unread {
    pub(in crate::machine) fn len(&self) -> usize {
        self.links.len()
    }

    pub(in crate::machine) fn len_of(&self, holder: Holder) -> usize {
        self.lists.get(&holder).map_or(0, |list| list.len)
    }

    /// The stream has lost its last reader.
    pub(in crate::machine) fn add(&mut self, key: ExchangeKey, session: u128, holders: Holders) {
        self.remove(key);
        let all = [
            Holder::All,
            Holder::session(session),
            Holder::Principal(holders.principal),
            Holder::Address(holders.address),
        ];
        let links = all.map(|holder| {
            let list = self.lists.entry(holder).or_default();
            let older = list.newest.replace(key);
            list.oldest.get_or_insert(key);
            list.len += 1;
            Link { holder, older, newer: None }
        });
        for link in links {
            self.set(link.older, link.holder, |older| older.newer = Some(key));
        }
        self.links.insert(key, links);
        self.count(holders.address, 1);
    }

    /// The stream is read again, or is over.
    pub(in crate::machine) fn remove(&mut self, key: ExchangeKey) {
        let Some(links) = self.links.remove(&key) else { return };
        for Link { holder, older, newer } in links {
            self.set(older, holder, |link| link.newer = newer);
            self.set(newer, holder, |link| link.older = older);
            let Some(list) = self.lists.get_mut(&holder) else { continue };
            list.len -= 1;
            if older.is_none() {
                list.oldest = newer;
            }
            if newer.is_none() {
                list.newest = older;
            }
            if list.len == 0 {
                self.lists.remove(&holder);
            }
            if let Holder::Address(address) = holder {
                self.count(address, -1);
            }
        }
        self.ids.forget(key);
    }

    /// The stream that was left first.
    pub(in crate::machine) fn oldest_of(&self, holder: Holder) -> Option<ExchangeKey> {
        self.lists.get(&holder)?.oldest
    }

    /// The streams of a holder, the one that was left first in front.
    pub(in crate::machine) fn of(&self, holder: Holder) -> impl Iterator<Item = ExchangeKey> {
        let newer = move |key: &ExchangeKey| self.link(*key, holder)?.newer;
        std::iter::successors(self.oldest_of(holder), newer)
    }

    /// The streams of a holder, the one that was left last in front.
    pub(in crate::machine) fn newest_of(&self, holder: Holder) -> impl Iterator<Item = ExchangeKey> {
        let older = move |key: &ExchangeKey| self.link(*key, holder)?.older;
        std::iter::successors(self.lists.get(&holder).and_then(|list| list.newest), older)
    }

    /// Whose streams go first where places run short: those of all, unless one address holds more than twice as many
    /// as the address of the oldest stream. So a client that leaves stream after stream loses its own, and no others.
    pub(in crate::machine) fn crowd(&self) -> Holder {
        let oldest = self.oldest_of(Holder::All).and_then(|key| self.links.get(&key));
        let held = oldest.map_or(0, |links| self.len_of(links[3].holder));
        match self.fullest.last() {
            Some((most, address)) if *most > 2 * held => Holder::Address(*address),
            _ => Holder::All,
        }
    }

    fn link(&self, key: ExchangeKey, holder: Holder) -> Option<&Link> {
        self.links.get(&key)?.iter().find(|link| link.holder == holder)
    }

    fn set(&mut self, key: Option<ExchangeKey>, holder: Holder, change: impl FnOnce(&mut Link)) {
        let links = key.and_then(|key| self.links.get_mut(&key));
        if let Some(link) = links.and_then(|links| links.iter_mut().find(|link| link.holder == holder)) {
            change(link);
        }
    }

    /// An address holds one stream more, or one less; its list has been changed already.
    fn count(&mut self, address: u64, by: isize) {
        let now = self.len_of(Holder::Address(address));
        self.fullest.remove(&(now.wrapping_add_signed(-by), address));
        if now > 0 {
            self.fullest.insert((now, address));
        }
    }
}

#[cfg(test)]
mod tests;
