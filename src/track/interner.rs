//! Event ids as four-byte symbols: each id is stored once per reactor thread, no matter how many streams carry it.
//!
//! In: the bytes of ids. Out: a [`Symbol`] for each distinct id, with a count of the references to it.
//! Laws: never more distinct ids than the capacity (a full interner answers `None`, and the caller counts that); equal
//! ids have equal symbols as long as one of them is held; hashing is keyed by the seed; memory of freed ids is given
//! back, page by page and table by table.
//!
//! # How
//! An id lies in a *place*, with its hash and its count of references. There are four kinds of places, and an id takes
//! the smallest that holds it; up to 55 bytes need no allocation of their own. A symbol is the number of the place and
//! its kind, so it leads to the id in one step. The other way, from an id to its symbol, goes through a hash table that
//! holds symbols alone and compares the ids in their places.
//!
//! ```text
//! intern(id):       hash it; a symbol in the table has this id?  count one more reference
//!                   else                                         take a place, put its symbol into the table
//! release(symbol):  count one less; the last one                 takes the symbol out of the table and frees the place
//! ```
//!
//! Most ids are new, so the usual cost of an event is one failed probe of the table and one place taken.
//!
//! # Growth
//! Places grow by pages, which are never copied. In place of one large hash table there are many small ones, so that no
//! call waits for more than one of them to be rebuilt: some ten thousand ids.

mod places;
mod symbol;
mod tables;
#[cfg(test)]
mod tests;

pub use symbol::Symbol;

use super::digest::Digest;
use crate::base::fetch;
use foldhash::fast::FixedState;
use places::{Head, Places};
use std::hash::{BuildHasher, Hasher};
use symbol::KINDS;
use tables::Tables;

/// How many references are given back together, where there are many streams.
const LEAVING: usize = 64;

/// The same where the interner is of a single stream.
const LEAVING_OF_FEW: usize = 8;

/// The ids of all streams of one reactor thread.
pub struct Interner {
    tables: Tables,
    places: Places,
    live: usize,
    capacity: usize,
    hits: u64,
    misses: u64,
    /// References that wait to be given back together.
    leaving: Vec<Symbol>,
    hashing: FixedState,
}

impl Interner {
    /// An empty interner for at most `capacity` distinct ids, hashing with a key made of `seed`.
    pub fn new(seed: u64, capacity: usize) -> Self {
        let capacity = capacity.min((u32::MAX / KINDS) as usize - 1);
        Self {
            tables: Tables::new(capacity),
            places: Places::default(),
            live: 0,
            capacity,
            hits: 0,
            misses: 0,
            leaving: Vec::new(),
            hashing: FixedState::with_seed(seed),
        }
    }

    /// Fetches the memory that the next id will touch, if that id is short. Of use where the interner is of a single
    /// stream.
    #[inline]
    pub fn warm(&self) {
        self.places.warm();
        fetch(self.leaving.first());
    }

    /// Takes one reference to `id`. True beside the symbol: nobody held this id before. `None`: the interner is full,
    /// and nothing was taken.
    pub fn intern(&mut self, id: &[u8]) -> Option<(Symbol, bool)> {
        self.intern_times(id, 1)
    }

    /// Like [`Interner::intern`], taking `times` references at once.
    pub fn intern_times(&mut self, id: &[u8], times: u32) -> Option<(Symbol, bool)> {
        let hash = self.hash(id);
        if let Some(symbol) = self.find(hash, id) {
            self.hits += 1;
            let head = self.places.head_mut(symbol)?;
            head.count = head.count.saturating_add(times);
            return Some((symbol, false));
        }
        if self.live >= self.capacity {
            self.settle();
            if self.live >= self.capacity {
                return None;
            }
        }
        self.misses += 1;
        let symbol = self.places.insert(Head { hash, count: times }, id)?;
        let places = &self.places;
        self.tables.insert(hash, symbol, |symbol| places.head(symbol).map_or(0, |head| head.hash));
        self.live += 1;
        Some((symbol, true))
    }

    /// The symbol of `id`, if somebody holds it. Takes no reference.
    pub fn lookup(&self, id: &[u8]) -> Option<Symbol> {
        self.find(self.hash(id), id)
    }

    /// The id; empty for a symbol that nobody holds.
    pub fn get(&self, symbol: Symbol) -> &[u8] {
        self.places.id(symbol)
    }

    /// Takes one more reference. The caller must know that one is held already.
    pub fn retain(&mut self, symbol: Symbol) {
        if let Some(head) = self.places.head_mut(symbol) {
            debug_assert!(head.count > 0, "retain of a symbol nobody holds");
            head.count = head.count.saturating_add(1);
        }
    }

    /// Gives one reference back; the last one frees the place. A count that has reached `u32::MAX` stays there, so such
    /// an id is never freed: that wastes memory, and breaks nothing.
    pub fn release(&mut self, symbol: Symbol) {
        let Some(head) = self.places.head_mut(symbol) else { return };
        debug_assert!(head.count > 0, "release of a symbol nobody holds");
        match head.count {
            0 | u32::MAX => {}
            1 => self.free(symbol),
            _ => head.count -= 1,
        }
    }

    /// Like [`Interner::release`], but at some later call; until then the id still counts as held. Many releases
    /// together wait for cold memory once, where one at a time would each wait.
    pub fn release_later(&mut self, symbol: Symbol) {
        self.leaving.push(symbol);
        if self.leaving.len() >= if self.tables.is_one() { LEAVING_OF_FEW } else { LEAVING } {
            self.settle();
        }
    }

    /// Does now what [`Interner::release_later`] put off.
    pub fn settle(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        // First all counts, then the ids that nobody holds: so no step of a loop waits for the step before it.
        leaving.retain(|symbol| match self.places.head_mut(*symbol) {
            Some(head) if head.count > 1 && head.count < u32::MAX => {
                head.count -= 1;
                false
            }
            _ => true,
        });
        leaving.drain(..).for_each(|symbol| self.release(symbol));
        self.leaving = leaving;
    }

    /// Distinct ids held.
    pub fn live(&self) -> usize {
        self.live
    }

    /// How often an id was there already.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How often an id was new.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// Bytes on the heap: places, tables, long ids.
    pub fn bytes(&self) -> usize {
        self.places.bytes() + self.tables.bytes() + self.leaving.capacity() * size_of::<Symbol>()
    }

    /// The digest of an event's bytes, under the same key.
    pub(super) fn digest(&self, bytes: (&[u8], &[u8])) -> Digest {
        Digest::of(&self.hashing, bytes)
    }

    fn hash(&self, id: &[u8]) -> u32 {
        let mut hasher = self.hashing.build_hasher();
        hasher.write(id);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }

    #[inline]
    fn find(&self, hash: u32, id: &[u8]) -> Option<Symbol> {
        self.tables.find(hash, |symbol| self.places.id(symbol) == id)
    }

    fn free(&mut self, symbol: Symbol) {
        let Some(hash) = self.places.head(symbol).map(|head| head.hash) else { return };
        let places = &self.places;
        self.tables.remove(hash, symbol, |symbol| places.head(symbol).map_or(0, |head| head.hash));
        self.places.remove(symbol);
        self.live -= 1;
    }
}
