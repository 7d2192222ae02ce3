//! With `real` and `model` below it, the only files that name atomics, arc-swap or parking. Everything shared between
//! threads is built from what stands here, on std or, under `cfg(loom)`, on the model checker's twins.
//!
//! In: plain values and `Edge`s, which say what an operation makes visible to whom. Out: cells, bits, a ring, inboxes,
//! a desk, parking, a lock for cold paths.
//! Laws: no operation takes a lock, but telling and hearing at a desk, which the store threads alone do, and `Mutex`,
//! which the reactor's thread never takes; two threads that each say something and look at what the other said do so by
//! read-modify-write, since loom judges plain sequentially consistent loads and stores as acquire and release.
//!
//! # Orderings
//! Counters and times are `Relaxed`: each is a number of its own, and no other memory is published through it.
//! All else is release on one side and acquire on the other of a named `Edge`; each edge says what it carries.
//! Under loom either end of an edge can be taken away (`weakened`), so that tests show that each is needed.
//!
//! # What loom cannot see
//! arc-swap, crossbeam and `Arc` do not answer to `cfg(loom)`. In their place stand models that promise no more: a
//! release store and an acquire load of an index, a ring of stamped places, a count of letters, the number of a word.

#[cfg(feature = "persist")]
pub use handover::*;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only counts up, or is set; shared without a lock.
///
/// It is std's under loom too: counters live outside of models.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`: one relaxed addition.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` off again, which must have been added before.
    pub fn take(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Takes off up to `n`, where others may have taken it off before. Returns how much there was of it.
    pub fn claim(&self, n: u64) -> u64 {
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(n)));
        before.map_or(0, |held| held.min(n))
    }

    /// Sets the number, where one thread alone does so.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number as it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A bounded list that grows: whoever adds may wait for another that adds, and whoever reads waits for nobody.
///
/// Its places are std's under loom too: what is on it never leaves, so there is no hand-over to model.
#[derive(Debug)]
pub struct Shelf<T>(Box<[OnceLock<T>]>);

impl<T> Shelf<T> {
    /// For at most `places` things.
    pub fn new(places: usize) -> Self {
        Self((0..places).map(|_| OnceLock::new()).collect())
    }

    /// Adds a thing at the first free place, and gives the place. `None`: there is none.
    pub fn add(&self, mut thing: T) -> Option<usize> {
        for (at, place) in self.0.iter().enumerate() {
            match place.set(thing) {
                Ok(()) => return Some(at),
                Err(back) => thing = back,
            }
        }
        None
    }

    /// The thing at a place.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at)?.get()
    }

    /// All things, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map_while(OnceLock::get)
    }
}

/// What threads hand things over with.
#[cfg(feature = "persist")]
mod handover {
    use std::sync::atomic::Ordering;

    pub use super::edge::{Edge, End, Heard};

    #[cfg(all(feature = "net", loom))]
    pub use super::model::{Mutex, MutexGuard};
    #[cfg(all(feature = "net", not(loom)))]
    pub use super::real::{Mutex, MutexGuard};

    #[cfg(not(loom))]
    pub use super::real::{Asker, Desk, Inbox, Latest, Post, Ring, Shared, Sleeper, Teller, desk, inbox, park};
    #[cfg(not(loom))]
    use std::sync::atomic::{AtomicU32, AtomicU64};

    #[cfg(loom)]
    pub use super::model::{
        Asker, Desk, Inbox, Latest, Post, Ring, Shared, Sleeper, Teller, desk, inbox, park, questions_first, weakened,
    };
    #[cfg(loom)]
    use loom::sync::atomic::{AtomicU32, AtomicU64};

    /// The edges that one operation is an end of.
    #[derive(Clone, Copy, Debug)]
    pub struct Ends {
        releases: Option<Edge>,
        acquires: Option<Edge>,
    }

    impl Ends {
        /// Makes visible through `edge`.
        pub const fn release(edge: Edge) -> Self {
            Self { releases: Some(edge), acquires: None }
        }

        /// Sees through `edge`.
        pub const fn acquire(edge: Edge) -> Self {
            Self { releases: None, acquires: Some(edge) }
        }

        /// Makes visible through one edge and sees through another.
        pub const fn both(releases: Edge, acquires: Edge) -> Self {
            Self { releases: Some(releases), acquires: Some(acquires) }
        }

        /// The ordering of a read-modify-write at these ends.
        #[cfg(not(loom))]
        const fn order(self) -> Ordering {
            Self::strength(self.releases.is_some(), self.acquires.is_some())
        }

        #[cfg(loom)]
        fn order(self) -> Ordering {
            let holds = |edge: Option<Edge>, end| edge.is_some_and(|edge| super::model::holds(edge, end));
            Self::strength(holds(self.releases, End::Release), holds(self.acquires, End::Acquire))
        }

        const fn strength(releases: bool, acquires: bool) -> Ordering {
            match (releases, acquires) {
                (true, true) => Ordering::AcqRel,
                (true, false) => Ordering::Release,
                (false, true) => Ordering::Acquire,
                (false, false) => Ordering::Relaxed,
            }
        }
    }

    /// 32 bits that threads change by read-modify-write.
    #[derive(Debug)]
    pub struct Bits(AtomicU32);

    impl Bits {
        /// Holding `bits`.
        pub fn new(bits: u32) -> Self {
            Self(AtomicU32::new(bits))
        }

        /// Sets `bits` beside those that are set. Gives what was there.
        pub fn raise(&self, bits: u32, ends: Ends) -> u32 {
            self.0.fetch_or(bits, ends.order())
        }

        /// Puts `bits` in the place of all. Gives what was there.
        pub fn swap(&self, bits: u32, ends: Ends) -> u32 {
            self.0.swap(bits, ends.order())
        }

        /// Puts `new` where `expected` stands.
        ///
        /// # Errors
        /// What stands there instead.
        pub fn exchange(&self, expected: u32, new: u32, ends: Ends) -> Result<u32, u32> {
            self.0.compare_exchange(expected, new, ends.order(), Ordering::Relaxed)
        }

        /// Reads without an edge: the number alone.
        pub fn peek(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }

        /// Writes without an edge: an operation that follows makes it visible.
        pub fn put(&self, bits: u32) {
            self.0.store(bits, Ordering::Relaxed);
        }
    }

    /// A number that one thread sets and any may read.
    #[derive(Debug)]
    pub struct Number(AtomicU64);

    impl Number {
        /// Holding `n`.
        pub fn new(n: u64) -> Self {
            Self(AtomicU64::new(n))
        }

        /// Sets the number, without an edge.
        pub fn set(&self, n: u64) {
            self.0.store(n, Ordering::Relaxed);
        }

        /// The number as it is now, without an edge.
        pub fn get(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        /// Sets the number. Makes visible through `edge`.
        pub fn publish(&self, n: u64, edge: Edge) {
            self.0.store(n, Ends::release(edge).order());
        }

        /// The number as it is now. Sees through `edge`.
        pub fn observe(&self, edge: Edge) -> u64 {
            self.0.load(Ends::acquire(edge).order())
        }
    }
}

#[cfg(feature = "persist")]
mod edge;
#[cfg(all(feature = "persist", loom))]
mod model;
#[cfg(all(feature = "persist", not(loom)))]
mod real;
