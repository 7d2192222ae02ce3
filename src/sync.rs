//! The only file that names atomics, arc-swap or parking. Everything shared between threads is built from what stands
//! here, on std or, under `cfg(loom)`, on the model checker's twins.
//!
//! In: plain values and [`Edge`]s, which say what an operation makes visible to whom. Out: cells, bits, a ring, parking.
//! Laws: no operation takes a lock; the slots hand over through read-modify-write operations only, since loom judges
//! plain sequentially consistent loads and stores as acquire and release.
//!
//! # Orderings
//! Counters and times are `Relaxed`: each is a number of its own, and no other memory is published through it.
//! All else is release on one side and acquire on the other of a named [`Edge`]; each edge says what it carries.
//! Under loom either end of an edge can be taken away (`weakened`), so that tests show that each is needed.
//!
//! # What loom cannot see
//! arc-swap and crossbeam do not answer to `cfg(loom)`. In their place stand models that promise no more: a release
//! store and an acquire load of an index, and a ring of one producer and one consumer.

#[cfg(feature = "persist")]
pub use handover::*;

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

    /// Sets the number, where one thread alone does so.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number as it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the slots are made of.
#[cfg(feature = "persist")]
mod handover {
    use std::sync::atomic::Ordering;

    #[cfg(not(loom))]
    pub use super::real::{Latest, Ring, Sleeper, park};
    #[cfg(not(loom))]
    use std::sync::atomic::{AtomicU32, AtomicU64};

    #[cfg(loom)]
    pub use super::model::{Latest, Ring, Sleeper, park, weakened};
    #[cfg(loom)]
    use loom::sync::atomic::{AtomicU32, AtomicU64};

    /// Why one thread sees what another did before: a release on one end, an acquire on the other.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Edge {
        /// From setting a dirty flag to clearing it. Carries the value that was published before: a publication that
        /// finds the flag set leaves the queue alone, so only the flag tells the consumer of it.
        Change,
        /// From clearing a dirty flag to setting it again. Carries the pop before, so that the push finds room.
        Room,
        /// From ringing a bell to taking the ring. Carries what was pushed before.
        Rung,
        /// From falling asleep at a bell to ringing it. Carries who is to be woken.
        Asleep,
        /// From giving a place back to taking it. Carries the link to the next free place.
        Free,
        /// Inside [`Latest`], from a swap to a load. Carries the value. Given by arc-swap.
        Value,
        /// Inside [`Ring`], from a push to a pop. Carries the entry. Given by crossbeam.
        Entry,
    }

    /// The two sides of an [`Edge`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum End {
        /// The side that makes visible.
        Release,
        /// The side that sees.
        Acquire,
    }

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

    /// A number that one thread sets and any may read, without an edge.
    #[derive(Debug)]
    pub struct Number(AtomicU64);

    impl Number {
        /// Holding `n`.
        pub fn new(n: u64) -> Self {
            Self(AtomicU64::new(n))
        }

        /// Sets the number.
        pub fn set(&self, n: u64) {
            self.0.store(n, Ordering::Relaxed);
        }

        /// The number as it is now.
        pub fn get(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }
}

/// The parts that loom has no twin of, on std, arc-swap and crossbeam.
#[cfg(all(feature = "persist", not(loom)))]
mod real {
    use arc_swap::ArcSwapOption;
    use crossbeam_queue::ArrayQueue;
    use std::fmt;
    use std::sync::Arc;
    use std::thread::{self, Thread};
    use std::time::Duration;

    /// A cell with the newest value only. Reading never waits and never sees a value older than one it saw before.
    pub struct Latest<T>(ArcSwapOption<T>);

    impl<T> Default for Latest<T> {
        fn default() -> Self {
            Self(ArcSwapOption::const_empty())
        }
    }

    impl<T> Latest<T> {
        /// Puts a value, or none, in. Gives the one that was there, which no reader borrows any more: it is unique
        /// unless somebody keeps a copy of the `Arc`.
        pub fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
            self.0.swap(value)
        }

        /// The newest value, kept.
        pub fn load(&self) -> Option<Arc<T>> {
            self.0.load_full()
        }

        /// Looks at the newest value for the length of `look`, without touching its count.
        pub fn with<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
            look(self.0.load().as_deref())
        }
    }

    impl<T> fmt::Debug for Latest<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Latest")
        }
    }

    /// A bounded queue of numbers. One thread pushes, one pops.
    #[derive(Debug)]
    pub struct Ring(ArrayQueue<u32>);

    impl Ring {
        /// For at most `capacity` numbers, at least one.
        pub fn new(capacity: usize) -> Self {
            Self(ArrayQueue::new(capacity.max(1)))
        }

        /// Adds a number; false when the ring is full.
        pub fn push(&self, n: u32) -> bool {
            self.0.push(n).is_ok()
        }

        /// The oldest number.
        pub fn pop(&self) -> Option<u32> {
            self.0.pop()
        }

        /// Numbers in the ring, as far as can be told while others work on it.
        pub fn count(&self) -> usize {
            self.0.len()
        }
    }

    /// A thread that sleeps, or will.
    #[derive(Debug)]
    pub struct Sleeper(Thread);

    impl PartialEq for Sleeper {
        fn eq(&self, other: &Self) -> bool {
            self.0.id() == other.0.id()
        }
    }

    impl Eq for Sleeper {}

    impl Sleeper {
        /// The thread that asks.
        pub fn current() -> Self {
            Self(thread::current())
        }

        /// Ends its sleep, or its next one.
        pub fn wake(&self) {
            self.0.unpark();
        }
    }

    /// Sleeps until woken, at most for `limit`. May end for no reason.
    pub fn park(limit: Option<Duration>) {
        match limit {
            Some(limit) => thread::park_timeout(limit),
            None => thread::park(),
        }
    }
}

/// The parts that loom has no twin of, as models no stronger than the real ones.
#[cfg(all(feature = "persist", loom))]
mod model {
    use super::{Edge, End};
    use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use loom::thread::{self, Thread};
    use std::cell::Cell;
    use std::fmt;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    std::thread_local! {
        /// All threads of a model run on one thread of the system, so this binds the model and no other.
        static WEAK: Cell<Option<(Edge, End)>> = const { Cell::new(None) };
    }

    /// Runs `model` with one end of an edge taken away.
    pub fn weakened(edge: Edge, end: End, model: impl FnOnce()) {
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                WEAK.set(None);
            }
        }
        let _restore = Restore;
        WEAK.set(Some((edge, end)));
        model();
    }

    /// Whether this end of the edge is in force.
    pub(super) fn holds(edge: Edge, end: End) -> bool {
        WEAK.get() != Some((edge, end))
    }

    fn ordering(edge: Edge, end: End) -> Ordering {
        match (holds(edge, end), end) {
            (false, _) => Ordering::Relaxed,
            (true, End::Release) => Ordering::Release,
            (true, End::Acquire) => Ordering::Acquire,
        }
    }

    /// Every value the cell ever had, and the index of the newest: a load may see an old index, as far as acquire
    /// allows. Values are kept, so none comes back unique: that rests on arc-swap and `Arc` alone.
    pub struct Latest<T> {
        newest: AtomicUsize,
        /// Memory only, no part of the protocol: never held over an operation that loom sees.
        values: Mutex<Vec<Arc<Entry<T>>>>,
    }

    struct Entry<T> {
        value: Option<Arc<T>>,
        /// Written before the swap: a reader that does not see it has the pointer, but not what it points to.
        written: AtomicU32,
    }

    impl<T> Default for Latest<T> {
        fn default() -> Self {
            let none = Entry { value: None, written: AtomicU32::new(1) };
            Self { newest: AtomicUsize::new(0), values: Mutex::new(vec![Arc::new(none)]) }
        }
    }

    impl<T> Latest<T> {
        /// Puts a value, or none, in. Gives the one that was there.
        pub fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
            let entry = Arc::new(Entry { value, written: AtomicU32::new(0) });
            entry.written.store(1, Ordering::Relaxed);
            let index = {
                let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
                values.push(entry);
                values.len() - 1
            };
            let old = self.newest.swap(index, ordering(Edge::Value, End::Release));
            self.entry(old).value.clone()
        }

        /// The newest value, kept.
        pub fn load(&self) -> Option<Arc<T>> {
            let entry = self.entry(self.newest.load(ordering(Edge::Value, End::Acquire)));
            assert_eq!(entry.written.load(Ordering::Relaxed), 1, "a value was read before it was written");
            entry.value.clone()
        }

        /// Looks at the newest value.
        pub fn with<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
            look(self.load().as_deref())
        }

        fn entry(&self, index: usize) -> Arc<Entry<T>> {
            Arc::clone(&self.values.lock().unwrap_or_else(PoisonError::into_inner)[index])
        }
    }

    impl<T> fmt::Debug for Latest<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Latest")
        }
    }

    /// A ring of one producer and one consumer: all that the slots ask of a queue.
    ///
    /// Each side keeps its own number outside of the model: loom looks for another order only at the last access before
    /// a store, so a thread that loads a number just before it stores it would hide the other side's loads.
    #[derive(Debug)]
    pub struct Ring {
        places: Box<[AtomicU32]>,
        pushed: AtomicUsize,
        popped: AtomicUsize,
        pushes: Own,
        pops: Own,
    }

    /// A number of one thread's own.
    type Own = std::sync::atomic::AtomicUsize;

    impl Ring {
        /// For at most `capacity` numbers, at least one.
        pub fn new(capacity: usize) -> Self {
            let places = (0..capacity.max(1)).map(|_| AtomicU32::new(u32::MAX)).collect();
            let (pushed, popped) = (AtomicUsize::new(0), AtomicUsize::new(0));
            Self { places, pushed, popped, pushes: Own::new(0), pops: Own::new(0) }
        }

        /// Adds a number; false when the ring is full, or the pop before has not been seen yet.
        pub fn push(&self, n: u32) -> bool {
            let pushed = self.pushes.load(Ordering::Relaxed);
            if pushed - self.popped.load(Ordering::Acquire) == self.places.len() {
                return false;
            }
            self.places[pushed % self.places.len()].store(n, Ordering::Relaxed);
            self.pushes.store(pushed + 1, Ordering::Relaxed);
            self.pushed.store(pushed + 1, ordering(Edge::Entry, End::Release));
            true
        }

        /// The oldest number; none when the push before has not been seen yet.
        pub fn pop(&self) -> Option<u32> {
            let popped = self.pops.load(Ordering::Relaxed);
            if self.pushed.load(ordering(Edge::Entry, End::Acquire)) == popped {
                return None;
            }
            let n = self.places[popped % self.places.len()].load(Ordering::Relaxed);
            self.pops.store(popped + 1, Ordering::Relaxed);
            self.popped.store(popped + 1, Ordering::Release);
            Some(n)
        }

        /// Numbers in the ring, for the one who pops.
        pub fn count(&self) -> usize {
            self.pushed.load(Ordering::Acquire) - self.pops.load(Ordering::Relaxed)
        }
    }

    /// A thread that sleeps, or will.
    #[derive(Debug)]
    pub struct Sleeper(Thread);

    impl PartialEq for Sleeper {
        fn eq(&self, other: &Self) -> bool {
            self.0.id() == other.0.id()
        }
    }

    impl Eq for Sleeper {}

    impl Sleeper {
        /// The thread that asks.
        pub fn current() -> Self {
            Self(thread::current())
        }

        /// Ends its sleep, or its next one.
        pub fn wake(&self) {
            self.0.unpark();
        }
    }

    /// Sleeps until woken. With a limit it is up at once: any moment is one at which time can be up.
    pub fn park(limit: Option<Duration>) {
        match limit {
            Some(_) => thread::yield_now(),
            None => thread::park(),
        }
    }
}
