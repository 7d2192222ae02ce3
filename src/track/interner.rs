//! Event ids as four-byte symbols, each id stored once per reactor thread however many streams carry it.
//!
//! In: the bytes of ids. Out: a [`Symbol`] per distinct id, counted; the place of an id nobody holds is reused.
//! Laws: never more distinct ids than the capacity (a full interner answers `None`, counted by the caller); equal
//! ids have equal symbols as long as one of them is held; hashing is keyed by the seed; ids of up to 40 bytes cost no
//! allocation once the tables have grown; growth doubles, so that it is paid for by the ids that came before it.

use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Ids up to this many bytes lie inside their entry.
pub(super) const INLINE: usize = 40;

/// Names one interned id, as long as somebody holds a reference to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

impl Symbol {
    /// The symbol as a number, for a log line or a map of the caller's own.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    const fn place(self) -> u32 {
        self.0.get() - 1
    }

    const fn at(place: u32) -> Option<Self> {
        match NonZeroU32::new(place.wrapping_add(1)) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }
}

enum Text {
    Short { len: u8, bytes: [u8; INLINE] },
    Long(Box<[u8]>),
}

impl Text {
    const EMPTY: Self = Self::Short { len: 0, bytes: [0; INLINE] };

    /// Overwrites a short text. In place: a copy of the whole entry would cost more than the id.
    fn set(&mut self, id: &[u8]) {
        if let Self::Short { len, bytes } = self
            && let Some(front) = bytes.get_mut(..id.len())
        {
            front.copy_from_slice(id);
            *len = id.len() as u8;
        } else {
            *self = Self::Long(id.into());
        }
    }

    fn get(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len).min(INLINE)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// One place, 64 bytes: a cache line. Free when `count` is zero; `hash` is then the number of the next free place.
#[repr(align(64))]
struct Entry {
    hash: u64,
    count: u32,
    text: Text,
}

/// How many references are given back together.
const LEAVING: usize = 64;

/// No free place.
const NONE: u64 = u64::MAX;

/// The ids of all streams of one reactor thread.
pub struct Interner {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    free: u64,
    live: usize,
    capacity: usize,
    hits: u64,
    misses: u64,
    long_bytes: usize,
    /// References to be given back together.
    leaving: Vec<Symbol>,
    hashing: FixedState,
}

impl Interner {
    /// An empty interner for at most `capacity` distinct ids, hashing with a key made of `seed`.
    pub fn new(seed: u64, capacity: usize) -> Self {
        Self {
            table: HashTable::new(),
            entries: Vec::new(),
            free: NONE,
            live: 0,
            capacity: capacity.min(u32::MAX as usize - 1),
            hits: 0,
            misses: 0,
            long_bytes: 0,
            leaving: Vec::with_capacity(LEAVING),
            hashing: FixedState::with_seed(seed),
        }
    }

    /// Takes one reference to `id`. True beside the symbol: nobody held this id until now. `None`: the interner is
    /// full, and nothing was taken.
    pub fn intern(&mut self, id: &[u8]) -> Option<(Symbol, bool)> {
        self.intern_times(id, 1)
    }

    /// Like [`Interner::intern`], taking `times` references at once.
    pub fn intern_times(&mut self, id: &[u8], times: u32) -> Option<(Symbol, bool)> {
        let hash = self.hash(id);
        if let Some(symbol) = self.find(hash, id) {
            self.hits += 1;
            let entry = self.entries.get_mut(symbol.place() as usize)?;
            entry.count = entry.count.saturating_add(times);
            return Some((symbol, false));
        }
        if self.live >= self.capacity {
            self.settle();
            if self.live >= self.capacity {
                return None;
            }
        }
        self.misses += 1;
        let symbol = self.place(hash, times, id)?;
        let entries = &self.entries;
        self.table.insert_unique(hash, symbol.place(), |&place| entries.get(place as usize).map_or(0, |e| e.hash));
        if id.len() > INLINE {
            self.long_bytes += id.len();
        }
        self.live += 1;
        Some((symbol, true))
    }

    /// The symbol of `id`, if somebody holds it. Takes no reference.
    pub fn lookup(&self, id: &[u8]) -> Option<Symbol> {
        self.find(self.hash(id), id)
    }

    /// The id; empty for a symbol that nobody holds.
    pub fn get(&self, symbol: Symbol) -> &[u8] {
        self.entries.get(symbol.place() as usize).map_or(&[], |e| e.text.get())
    }

    /// Takes one more reference. The caller must know that one is held already.
    pub fn retain(&mut self, symbol: Symbol) {
        if let Some(entry) = self.entries.get_mut(symbol.place() as usize) {
            debug_assert!(entry.count > 0, "retain of a symbol nobody holds");
            entry.count = entry.count.saturating_add(1);
        }
    }

    /// Gives one reference back; the last one frees the place. A count that has reached `u32::MAX` stays there: such
    /// an id is never freed, which is sound.
    pub fn release(&mut self, symbol: Symbol) {
        let Some(entry) = self.entries.get_mut(symbol.place() as usize) else { return };
        debug_assert!(entry.count > 0, "release of a symbol nobody holds");
        match entry.count {
            0 | u32::MAX => {}
            1 => self.free(symbol),
            _ => entry.count -= 1,
        }
    }

    /// Like [`Interner::release`], at some later call: until then the id still counts as held. Many releases at once
    /// wait for memory together, where one at a time waits for itself.
    pub fn release_later(&mut self, symbol: Symbol) {
        self.leaving.push(symbol);
        if self.leaving.len() == LEAVING {
            self.settle();
        }
    }

    /// Does now what [`Interner::release_later`] put off.
    pub fn settle(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        // First all counts, then the ids nobody holds: each loop has no step that waits for the one before it.
        leaving.retain(|symbol| match self.entries.get_mut(symbol.place() as usize) {
            Some(entry) if entry.count > 1 && entry.count < u32::MAX => {
                entry.count -= 1;
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

    /// Bytes on the heap: entries, table, long ids.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.table.allocation_size()
            + self.long_bytes
            + LEAVING * size_of::<Symbol>()
    }

    fn hash(&self, id: &[u8]) -> u64 {
        let mut hasher = self.hashing.build_hasher();
        hasher.write(id);
        hasher.finish()
    }

    fn find(&self, hash: u64, id: &[u8]) -> Option<Symbol> {
        let same =
            |&place: &u32| self.entries.get(place as usize).is_some_and(|e| e.hash == hash && e.text.get() == id);
        self.table.find(hash, same).and_then(|&place| Symbol::at(place))
    }

    fn place(&mut self, hash: u64, count: u32, id: &[u8]) -> Option<Symbol> {
        let place = if self.free == NONE { self.entries.len() as u32 } else { self.free as u32 };
        let symbol = Symbol::at(place)?;
        if self.free == NONE {
            self.entries.push(Entry { hash: NONE, count: 0, text: Text::EMPTY });
        }
        let entry = self.entries.get_mut(place as usize)?;
        self.free = entry.hash;
        entry.hash = hash;
        entry.count = count;
        entry.text.set(id);
        Some(symbol)
    }

    fn free(&mut self, symbol: Symbol) {
        let Some(entry) = self.entries.get_mut(symbol.place() as usize) else { return };
        if let Ok(found) = self.table.find_entry(entry.hash, |&place| place == symbol.place()) {
            found.remove();
        }
        if let Text::Long(bytes) = &entry.text {
            self.long_bytes -= bytes.len();
            entry.text = Text::EMPTY;
        }
        entry.count = 0;
        entry.hash = self.free;
        self.free = u64::from(symbol.place());
        self.live -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;
    use std::collections::HashMap;

    #[test]
    fn an_entry_is_one_cache_line() {
        assert_eq!((size_of::<Entry>(), size_of::<Option<Symbol>>()), (64, 4));
    }

    #[test]
    fn equal_ids_share_a_symbol_until_the_last_is_released() {
        let mut i = Interner::new(1, 8);
        let (a, new) = i.intern(b"a").unwrap();
        assert!(new);
        assert_eq!(i.intern(b"a"), Some((a, false)));
        i.release(a);
        assert_eq!(i.lookup(b"a"), Some(a));
        i.release(a);
        assert_eq!((i.lookup(b"a"), i.live()), (None, 0));
    }

    #[test]
    fn a_full_interner_refuses_new_ids_and_takes_known_ones() {
        let mut i = Interner::new(1, 1);
        let (a, _) = i.intern(b"a").unwrap();
        assert_eq!(i.intern(b"b"), None);
        assert_eq!(i.intern(b"a"), Some((a, false)));
    }

    #[test]
    fn a_late_release_frees_the_id_when_it_settles() {
        let mut i = Interner::new(1, 2);
        for n in 0..1_000u32 {
            let (s, new) = i.intern_times(&n.to_le_bytes(), 2).unwrap();
            assert!(new);
            i.release_later(s);
            i.release_later(s);
        }
        i.settle();
        assert_eq!(i.live(), 0);
    }

    #[test]
    fn a_long_id_is_kept_whole_and_its_bytes_are_counted() {
        let mut i = Interner::new(1, 8);
        let empty = i.bytes();
        let long = vec![b'x'; 1000];
        let (s, _) = i.intern(&long).unwrap();
        assert_eq!(i.get(s), &long[..]);
        assert!(i.bytes() >= empty + 1000);
        i.release(s);
        assert_eq!(i.long_bytes, 0);
    }

    #[test]
    fn it_agrees_with_a_counting_map_over_random_operations() {
        let mut i = Interner::new(9, 300);
        let mut twin: HashMap<Vec<u8>, (Symbol, u32)> = HashMap::new();
        let mut r = Random::new(3);
        for _ in 0..50_000 {
            let n = r.below(400);
            let id = if n.is_multiple_of(3) { format!("{n:060}") } else { n.to_string() }.into_bytes();
            if r.below(2) == 0 {
                match i.intern(&id) {
                    Some((s, new)) => {
                        let held = twin.entry(id.clone()).or_insert((s, 0));
                        assert_eq!((held.0, new), (s, held.1 == 0));
                        held.1 += 1;
                    }
                    None => assert!(twin.len() == 300 && !twin.contains_key(&id)),
                }
            } else if let Some((s, count)) = twin.get_mut(&id) {
                assert_eq!(i.get(*s), &id[..]);
                i.release(*s);
                *count -= 1;
                if *count == 0 {
                    twin.remove(&id);
                }
            }
            assert_eq!(i.lookup(&id), twin.get(&id).map(|h| h.0));
            assert_eq!(i.live(), twin.len());
        }
    }
}
