//! Event ids as four-byte symbols, each id stored once per reactor thread however many streams carry it.
//!
//! In: the bytes of ids. Out: a [`Symbol`] per distinct id, counted; the place of an id nobody holds is reused.
//! Laws: never more distinct ids than the capacity (a full interner answers `None`, counted by the caller); equal
//! ids have equal symbols as long as one of them is held; hashing is keyed by the seed; an id takes the smallest of
//! four kinds of places that holds it, and ids of up to 55 bytes cost no allocation of their own; what is freed is
//! given back, page by page and table by table.
//!
//! # Growth
//! Places grow by pages, which are not copied. The hash table is many small ones, so that no call waits for more than
//! one of them to be made anew: some ten thousand ids.

use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;

use crate::base::{Place, Slab, fetch};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Names one interned id, as long as somebody holds a reference to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

/// Kinds of places, in the lowest bits of a symbol.
const KINDS: u32 = 4;

impl Symbol {
    /// The symbol as a number, for a log line or a map of the caller's own.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    const fn kind(self) -> u32 {
        (self.0.get() - 1) % KINDS
    }

    const fn place(self) -> usize {
        ((self.0.get() - 1) / KINDS) as usize
    }

    fn at(place: usize, kind: u32) -> Option<Self> {
        let number = u32::try_from(place).ok()?.checked_mul(KINDS)?.checked_add(kind + 1)?;
        NonZeroU32::new(number).map(Self)
    }
}

/// What every place begins with. Free when `count` is zero; `hash` is then the number of the next free place.
#[derive(Clone, Copy)]
struct Head {
    hash: u32,
    count: u32,
}

/// A place for an id of up to `N` bytes.
struct Short<const N: usize> {
    head: Head,
    len: u8,
    bytes: [u8; N],
}

/// A place for any other.
struct Long {
    head: Head,
    bytes: Box<[u8]>,
}

impl<const N: usize> Place for Short<N> {
    fn vacant(next: u16, _: u32) -> Self {
        Self { head: Head { hash: u32::from(next), count: 0 }, len: 0, bytes: [0; N] }
    }

    fn next(&self) -> u16 {
        self.head.hash as u16
    }

    fn generation(&self) -> u32 {
        0
    }
}

impl Place for Long {
    fn vacant(next: u16, _: u32) -> Self {
        Self { head: Head { hash: u32::from(next), count: 0 }, bytes: Box::default() }
    }

    fn next(&self) -> u16 {
        self.head.hash as u16
    }

    fn generation(&self) -> u32 {
        0
    }
}

impl<const N: usize> Short<N> {
    /// The place with its id, if that fits.
    fn new(head: Head, id: &[u8]) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { head, len: id.len() as u8, bytes })
    }

    fn id(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(N)]
    }
}

/// The places, by kind: of 32, 48, 64 and 24 bytes.
#[derive(Default)]
struct Places {
    short: Slab<Short<23>>,
    middle: Slab<Short<39>>,
    wide: Slab<Short<55>>,
    long: Slab<Long>,
}

impl Places {
    #[inline]
    fn id(&self, symbol: Symbol) -> &[u8] {
        let place = symbol.place();
        let id = match symbol.kind() {
            0 => self.short.get(place).map(Short::id),
            1 => self.middle.get(place).map(Short::id),
            2 => self.wide.get(place).map(Short::id),
            _ => self.long.get(place).map(|long| &*long.bytes),
        };
        id.unwrap_or_default()
    }

    #[inline]
    fn head(&self, symbol: Symbol) -> Option<Head> {
        let place = symbol.place();
        match symbol.kind() {
            0 => self.short.get(place).map(|short| short.head),
            1 => self.middle.get(place).map(|short| short.head),
            2 => self.wide.get(place).map(|short| short.head),
            _ => self.long.get(place).map(|long| long.head),
        }
    }

    #[inline]
    fn head_mut(&mut self, symbol: Symbol) -> Option<&mut Head> {
        let place = symbol.place();
        match symbol.kind() {
            0 => self.short.get_mut(place).map(|short| &mut short.head),
            1 => self.middle.get_mut(place).map(|short| &mut short.head),
            2 => self.wide.get_mut(place).map(|short| &mut short.head),
            _ => self.long.get_mut(place).map(|long| &mut long.head),
        }
    }

    fn insert(&mut self, head: Head, id: &[u8]) -> Option<Symbol> {
        if let Some(short) = Short::new(head, id) {
            Symbol::at(self.short.insert(|_| short), 0)
        } else if let Some(short) = Short::new(head, id) {
            Symbol::at(self.middle.insert(|_| short), 1)
        } else if let Some(short) = Short::new(head, id) {
            Symbol::at(self.wide.insert(|_| short), 2)
        } else {
            Symbol::at(self.long.insert(|_| Long { head, bytes: id.into() }), 3)
        }
    }

    /// Frees a place. The bytes it had on the heap beside it.
    fn remove(&mut self, symbol: Symbol) -> usize {
        let place = symbol.place();
        match symbol.kind() {
            0 => drop(self.short.remove(place)),
            1 => drop(self.middle.remove(place)),
            2 => drop(self.wide.remove(place)),
            _ => return self.long.remove(place).map_or(0, |long| long.bytes.len()),
        }
        0
    }

    fn bytes(&self) -> usize {
        self.short.bytes() + self.middle.bytes() + self.wide.bytes() + self.long.bytes()
    }
}

/// The longest id that lies inside its place.
const INLINE: usize = 55;

/// How many references are given back together, where there are many.
const LEAVING: usize = 64;

/// The same for the ids of a single stream.
const LEAVING_OF_FEW: usize = 8;

/// Ids that one hash table is for, about.
const TABLE: usize = 1 << 14;

/// Hash tables at most.
const TABLES: usize = 1 << 11;

/// A table this small is not made smaller: what the few ids of one stream come and go by would do so all the time.
const LEAST: usize = 1 << 10;

/// Hash tables, a power of two of them. Which one an id is in: the lowest bits of its hash.
struct Tables {
    first: HashTable<Symbol>,
    /// All but the first.
    more: Box<[HashTable<Symbol>]>,
}

impl Tables {
    fn new(count: usize) -> Self {
        Self { first: HashTable::new(), more: (1..count).map(|_| HashTable::new()).collect() }
    }

    fn count(&self) -> usize {
        1 + self.more.len()
    }

    #[inline]
    fn of(&self, hash: u32) -> &HashTable<Symbol> {
        let number = hash as usize & self.more.len();
        number.checked_sub(1).and_then(|at| self.more.get(at)).unwrap_or(&self.first)
    }

    #[inline]
    fn of_mut(&mut self, hash: u32) -> &mut HashTable<Symbol> {
        let number = hash as usize & self.more.len();
        number.checked_sub(1).and_then(|at| self.more.get_mut(at)).unwrap_or(&mut self.first)
    }
}

/// The ids of all streams of one reactor thread.
pub struct Interner {
    tables: Tables,
    places: Places,
    live: usize,
    capacity: usize,
    hits: u64,
    misses: u64,
    long_bytes: usize,
    /// What all tables have allocated.
    table_bytes: usize,
    /// References to be given back together.
    leaving: Vec<Symbol>,
    hashing: FixedState,
}

impl Interner {
    /// An empty interner for at most `capacity` distinct ids, hashing with a key made of `seed`.
    pub fn new(seed: u64, capacity: usize) -> Self {
        let capacity = capacity.min((u32::MAX / KINDS) as usize - 1);
        let tables = (capacity / TABLE).clamp(1, TABLES).next_power_of_two();
        Self {
            tables: Tables::new(tables),
            places: Places::default(),
            live: 0,
            capacity,
            hits: 0,
            misses: 0,
            long_bytes: 0,
            table_bytes: 0,
            leaving: Vec::new(),
            hashing: FixedState::with_seed(seed),
        }
    }

    /// Asks ahead for what the next id touches, if it is a short one. For the ids of a single stream.
    #[inline]
    pub fn warm(&self) {
        self.places.short.warm();
        fetch(self.leaving.first());
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
        let hasher = |symbol: &Symbol| places.head(*symbol).map_or(0, |head| spread(head.hash));
        let table = self.tables.of_mut(hash);
        let before = table.allocation_size();
        table.insert_unique(spread(hash), symbol, hasher);
        self.table_bytes += table.allocation_size() - before;
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
        self.places.id(symbol)
    }

    /// Takes one more reference. The caller must know that one is held already.
    pub fn retain(&mut self, symbol: Symbol) {
        if let Some(head) = self.places.head_mut(symbol) {
            debug_assert!(head.count > 0, "retain of a symbol nobody holds");
            head.count = head.count.saturating_add(1);
        }
    }

    /// Gives one reference back; the last one frees the place. A count that has reached `u32::MAX` stays there: such
    /// an id is never freed, which is sound.
    pub fn release(&mut self, symbol: Symbol) {
        let Some(head) = self.places.head_mut(symbol) else { return };
        debug_assert!(head.count > 0, "release of a symbol nobody holds");
        match head.count {
            0 | u32::MAX => {}
            1 => self.free(symbol),
            _ => head.count -= 1,
        }
    }

    /// Like [`Interner::release`], at some later call: until then the id still counts as held. Many releases at once
    /// wait for memory together, where one at a time waits for itself.
    pub fn release_later(&mut self, symbol: Symbol) {
        self.leaving.push(symbol);
        if self.leaving.len() >= if self.tables.count() > 1 { LEAVING } else { LEAVING_OF_FEW } {
            self.settle();
        }
    }

    /// Does now what [`Interner::release_later`] put off.
    pub fn settle(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        // First all counts, then the ids nobody holds: each loop has no step that waits for the one before it.
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
        self.places.bytes()
            + self.table_bytes
            + size_of_val(&*self.tables.more)
            + self.long_bytes
            + self.leaving.capacity() * size_of::<Symbol>()
    }

    fn hash(&self, id: &[u8]) -> u32 {
        let mut hasher = self.hashing.build_hasher();
        hasher.write(id);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }

    #[inline]
    fn find(&self, hash: u32, id: &[u8]) -> Option<Symbol> {
        self.tables.of(hash).find(spread(hash), |&symbol| self.places.id(symbol) == id).copied()
    }

    fn free(&mut self, symbol: Symbol) {
        let Some(hash) = self.places.head(symbol).map(|head| head.hash) else { return };
        let places = &self.places;
        let table = self.tables.of_mut(hash);
        if let Ok(found) = table.find_entry(spread(hash), |other| *other == symbol) {
            found.remove();
        }
        // Three eighths full: half of it serves for a third more.
        if table.capacity() > LEAST && table.len() <= table.capacity() / 8 * 3 {
            let hasher = |symbol: &Symbol| places.head(*symbol).map_or(0, |head| spread(head.hash));
            self.table_bytes -= table.allocation_size();
            table.shrink_to(table.len() / 3 * 4, hasher);
            self.table_bytes += table.allocation_size();
        }
        self.long_bytes -= self.places.remove(symbol);
        self.live -= 1;
    }
}

/// The hash as a table sees it, which takes places by the lowest bits and tells neighbours apart by the highest seven.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;
    use std::collections::HashMap;

    impl Tables {
        fn sizes(&self) -> usize {
            std::iter::once(&self.first).chain(&self.more).map(HashTable::allocation_size).sum()
        }
    }

    #[test]
    fn a_place_is_as_large_as_it_says() {
        assert_eq!((size_of::<Short<23>>(), size_of::<Short<39>>(), size_of::<Short<55>>()), (32, 48, 64));
        assert_eq!((size_of::<Long>(), size_of::<Option<Symbol>>()), (24, 4));
    }

    #[test]
    fn what_is_freed_is_given_back() {
        let mut i = Interner::new(1, 1 << 20);
        let empty = i.bytes();
        let ids = |n: u32| [format!("{n}"), format!("{n:030}"), format!("{n:050}"), format!("{n:080}")];
        let all: Vec<Symbol> = (0..20_000).flat_map(ids).map(|id| i.intern(id.as_bytes()).unwrap().0).collect();
        let full = i.bytes() - empty;
        all.iter().take(all.len() / 2).for_each(|symbol| i.release(*symbol));
        let half = i.bytes() - empty;
        assert_eq!(i.table_bytes, i.tables.sizes());
        assert!(half * 100 <= full * 60, "{half} of {full}");
        all.iter().skip(all.len() / 2).for_each(|symbol| i.release(*symbol));
        assert!(i.bytes() - empty < full / 10, "{} of {full}", i.bytes() - empty);
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
