//! The hash tables that find a symbol by the hash of its id.
//!
//! In: hashes of 32 bits, each with the symbol of an id. Out: the symbols of ids that may be the one looked for.
//! Laws: there are so many tables that each stays small, since a table that grows is rebuilt in one go; a table that
//! has become mostly empty is made smaller.

use super::symbol::Symbol;
use hashbrown::HashTable;

/// About how many ids one table is for.
const TABLE: usize = 1 << 14;

/// The most tables.
const TABLES: usize = 1 << 11;

/// A table for this many ids is not made smaller: with the few ids of one stream that would happen all the time.
const LEAST: usize = 1 << 10;

/// Tables, a power of two of them. The lowest bits of a hash say which of them has the id.
pub(super) struct Tables {
    first: HashTable<Symbol>,
    /// All but the first.
    more: Box<[HashTable<Symbol>]>,
    /// Bytes that all of them have allocated.
    allocated: usize,
}

impl Tables {
    /// Empty tables for about `ids` ids.
    pub(super) fn new(ids: usize) -> Self {
        let count = (ids / TABLE).clamp(1, TABLES).next_power_of_two();
        Self { first: HashTable::new(), more: (1..count).map(|_| HashTable::new()).collect(), allocated: 0 }
    }

    /// Whether there is one table only, as for the ids of one stream.
    pub(super) fn is_one(&self) -> bool {
        self.more.is_empty()
    }

    /// The symbol with this hash that `is_it` says is the one.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(Symbol) -> bool) -> Option<Symbol> {
        let number = hash as usize & self.more.len();
        let table = number.checked_sub(1).and_then(|at| self.more.get(at)).unwrap_or(&self.first);
        table.find(spread(hash), |&symbol| is_it(symbol)).copied()
    }

    /// Puts in a symbol that is not there. `hash_of` gives the hash of a symbol that is there.
    #[inline]
    pub(super) fn insert(&mut self, hash: u32, symbol: Symbol, hash_of: impl Fn(Symbol) -> u32) {
        let table = self.of_mut(hash);
        let before = table.allocation_size();
        table.insert_unique(spread(hash), symbol, |&symbol| spread(hash_of(symbol)));
        let after = table.allocation_size();
        self.allocated += after - before;
    }

    /// Takes a symbol out. `hash_of` gives the hash of a symbol that stays.
    #[inline]
    pub(super) fn remove(&mut self, hash: u32, symbol: Symbol, hash_of: impl Fn(Symbol) -> u32) {
        let table = self.of_mut(hash);
        if let Ok(found) = table.find_entry(spread(hash), |other| *other == symbol) {
            found.remove();
        }
        // Less than three eighths full: a table of half the size has room for a third more ids than there are.
        if table.capacity() > LEAST && table.len() <= table.capacity() / 8 * 3 {
            let before = table.allocation_size();
            table.shrink_to(table.len() / 3 * 4, |&symbol| spread(hash_of(symbol)));
            let after = table.allocation_size();
            self.allocated = self.allocated + after - before;
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.allocated + size_of_val(&*self.more)
    }

    #[inline]
    fn of_mut(&mut self, hash: u32) -> &mut HashTable<Symbol> {
        let number = hash as usize & self.more.len();
        number.checked_sub(1).and_then(|at| self.more.get_mut(at)).unwrap_or(&mut self.first)
    }
}

/// The hash as a table needs it: a table picks a bucket by the lowest bits and tells neighbours apart by the highest
/// seven.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

#[cfg(test)]
impl Tables {
    /// The counted bytes, and the same looked up table by table.
    pub(super) fn allocated(&self) -> (usize, usize) {
        let sizes = std::iter::once(&self.first).chain(&self.more).map(HashTable::allocation_size);
        (self.allocated, sizes.sum())
    }
}
