//! The only file that names atomics, arc-swap or parking. Everything shared between threads is built from what stands
//! here, on std or, under `cfg(loom)`, on the model checker's twins.
//!
//! In: plain values and [`Edge`]s, which say what an operation makes visible to whom. Out: cells, bits, a ring, parking.
//! Laws: no operation takes a lock; two threads that each say something and look at what the other said do so by
//! read-modify-write, since loom judges plain sequentially consistent loads and stores as acquire and release.
//!
//! # Orderings
//! Counters and times are `Relaxed`: each is a number of its own, and no other memory is published through it.
//! All else is release on one side and acquire on the other of a named [`Edge`]; each edge says what it carries.
//! Under loom either end of an edge can be taken away (`weakened`), so that tests show that each is needed.
//!
//! # What loom cannot see
//! arc-swap, crossbeam and `Arc` do not answer to `cfg(loom)`. In their place stand models that promise no more: a release
//! store and an acquire load of an index, a ring of stamped places, a count of letters, a count of holders.

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
    pub use super::real::{Inbox, Latest, Post, Ring, Shared, Sleeper, inbox, park};
    #[cfg(not(loom))]
    use std::sync::atomic::{AtomicU32, AtomicU64};

    #[cfg(loom)]
    pub use super::model::{Inbox, Latest, Post, Ring, Shared, Sleeper, counted, inbox, park, weakened};
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
        /// From noting what is durable in a slot to reading it. Carries whose it is: by then the stream before has ended.
        Durable,
        /// Inside [`Latest`], from a swap to a load. Carries the value. Given by arc-swap.
        Value,
        /// Inside [`Ring`], from a push to a pop. Carries the entry. Given by crossbeam.
        Entry,
        /// Inside an [`Inbox`], from a letter's leaving to its taking. Carries what its sender did before. Given by
        /// crossbeam.
        Letter,
        /// From letting go of a [`Shared`] value to writing it again. Carries the reading of it. Given by `Arc`.
        Lent,
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

/// The parts that loom has no twin of, on std, arc-swap and crossbeam.
#[cfg(all(feature = "persist", not(loom)))]
mod real {
    use arc_swap::ArcSwapOption;
    use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
    use crossbeam_queue::ArrayQueue;
    use std::fmt;
    use std::sync::Arc;
    pub use std::sync::Arc as Shared;
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

    /// A bounded queue of numbers. Any thread pushes, one pops.
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

    /// Leaves letters in an [`Inbox`], from any thread.
    pub struct Post<T>(Sender<T>);

    impl<T> fmt::Debug for Post<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Post")
        }
    }

    impl<T> Clone for Post<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    /// Where one thread finds letters. With it go those that it holds, and those that come later are refused.
    pub struct Inbox<T>(Receiver<T>);

    /// An inbox for at most `capacity` letters.
    pub fn inbox<T>(capacity: usize) -> (Post<T>, Inbox<T>) {
        let (post, inbox) = bounded(capacity);
        (Post(post), Inbox(inbox))
    }

    impl<T> Post<T> {
        /// Leaves a letter. Never waits.
        ///
        /// # Errors
        /// The letter, where there is no room, or no inbox any more.
        pub fn leave(&self, letter: T) -> Result<(), T> {
            self.0.try_send(letter).map_err(TrySendError::into_inner)
        }
    }

    impl<T> fmt::Debug for Inbox<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Inbox")
        }
    }

    impl<T> Inbox<T> {
        /// The oldest letter.
        pub fn take(&mut self) -> Option<T> {
            self.0.try_recv().ok()
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
    use loom::cell::UnsafeCell;
    use loom::sync::Notify;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::fmt;
    use std::ops::Deref;
    use std::sync::atomic::{AtomicU32, AtomicUsize as Own};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    std::thread_local! {
        /// All threads of a model run on one thread of the system, so these bind the model and no other.
        static WEAK: Cell<Option<(Edge, End)>> = const { Cell::new(None) };
        static COUNTED: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `model` with `switch` set, also where it fails.
    fn switched<T: Copy>(switch: &'static std::thread::LocalKey<Cell<T>>, to: T, model: impl FnOnce()) {
        struct Restore<T: Copy + 'static>(&'static std::thread::LocalKey<Cell<T>>, T);
        impl<T: Copy> Drop for Restore<T> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        let _restore = Restore(switch, switch.replace(to));
        model();
    }

    /// Runs `model` with one end of an edge taken away.
    pub fn weakened(edge: Edge, end: End, model: impl FnOnce()) {
        switched(&WEAK, Some((edge, end)), model);
    }

    /// Runs `model` with values that know who holds them, so that those which nobody holds are written again. Without,
    /// every value is taken for held, which saves steps where that is not what is looked at.
    pub fn counted(model: impl FnOnce()) {
        switched(&COUNTED, true, model);
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

    /// Memory that only the model needs: never held over an operation that loom sees.
    fn lock<T>(memory: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands for bytes that are no atomic: loom fails where reading them meets writing them. The lock is for the compiler
    /// only, which lets nobody share a bare cell.
    #[derive(Debug)]
    struct Bytes(Mutex<UnsafeCell<()>>);

    impl Bytes {
        fn new() -> Self {
            Self(Mutex::new(UnsafeCell::new(())))
        }

        fn read(&self) {
            lock(&self.0).with(|_| ());
        }

        fn write(&self) {
            lock(&self.0).with_mut(|_| ());
        }
    }

    /// A counted value, as `Arc`. What is behind it may be written again by one who holds it alone.
    pub struct Shared<T> {
        value: Arc<T>,
        held: Arc<Held>,
        /// Whether this one is among the holders; a cell takes its place.
        holds: bool,
    }

    /// Who holds a value, and who touches it.
    struct Held {
        holders: AtomicUsize,
        bytes: Bytes,
    }

    impl<T> Shared<T> {
        /// Holds `value`, alone.
        pub fn new(value: T) -> Self {
            let held = Held { holders: AtomicUsize::new(1), bytes: Bytes::new() };
            Self { value: Arc::new(value), held: Arc::new(held), holds: true }
        }

        /// The value to be written again, if nobody else holds it.
        ///
        /// One read-modify-write, as entering is. So whoever enters later sees that the value left its cell, which
        /// arc-swap sees to by looking at the cell again.
        pub fn get_mut(this: &mut Self) -> Option<&mut T>
        where
            T: Clone,
        {
            let order = match holds(Edge::Lent, End::Acquire) {
                true => Ordering::AcqRel,
                false => Ordering::Release,
            };
            if !COUNTED.get() || this.held.holders.compare_exchange(1, 1, order, Ordering::Relaxed).is_err() {
                return None;
            }
            this.held.bytes.write();
            // The cells keep what they had; only loom knows that these are the same bytes.
            Some(Arc::make_mut(&mut this.value))
        }

        /// Where the value lies: the same again when it was written again. Points to nothing.
        pub fn as_ptr(this: &Self) -> *const T {
            Arc::as_ptr(&this.held).cast()
        }

        /// The parts, with the holder's count.
        fn into_entry(mut self) -> Entry<T> {
            self.holds = false;
            (Arc::clone(&self.value), Arc::clone(&self.held))
        }

        /// Takes the place of a holder.
        fn from_entry((value, held): Entry<T>) -> Self {
            Self { value, held, holds: true }
        }
    }

    impl Held {
        fn enter(&self) {
            if COUNTED.get() {
                self.holders.fetch_add(1, Ordering::Acquire);
            }
        }

        fn leave(&self) {
            if COUNTED.get() && !std::thread::panicking() {
                self.holders.fetch_sub(1, ordering(Edge::Lent, End::Release));
            }
        }
    }

    impl<T> Clone for Shared<T> {
        fn clone(&self) -> Self {
            self.held.enter();
            Self::from_entry((Arc::clone(&self.value), Arc::clone(&self.held)))
        }
    }

    impl<T> Drop for Shared<T> {
        fn drop(&mut self) {
            if self.holds {
                self.held.leave();
            }
        }
    }

    impl<T> Deref for Shared<T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.bytes.read();
            &self.value
        }
    }

    impl<T: fmt::Debug> fmt::Debug for Shared<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.value.fmt(f)
        }
    }

    /// Every value the cell ever had, and the index of the newest: a load may see an old index, as far as acquire
    /// allows.
    pub struct Latest<T> {
        newest: AtomicUsize,
        values: Mutex<Vec<Option<Entry<T>>>>,
    }

    type Entry<T> = (Arc<T>, Arc<Held>);

    impl<T> Default for Latest<T> {
        fn default() -> Self {
            Self { newest: AtomicUsize::new(0), values: Mutex::new(vec![None]) }
        }
    }

    impl<T> Latest<T> {
        /// Puts a value, or none, in. Gives the one that was there, unique unless somebody holds it.
        pub fn swap(&self, value: Option<Shared<T>>) -> Option<Shared<T>> {
            let entry = value.map(Shared::into_entry);
            let index = {
                let mut values = lock(&self.values);
                values.push(entry);
                values.len() - 1
            };
            let old = self.newest.swap(index, ordering(Edge::Value, End::Release));
            self.entry(old).map(Shared::from_entry)
        }

        /// The newest value, kept. What is held after it left the cell is none of the cell's values any more: so it is
        /// looked at again once it is held, as arc-swap does.
        pub fn load(&self) -> Option<Shared<T>> {
            loop {
                let entry = self.entry(self.look())?;
                if !COUNTED.get() {
                    return Some(Shared::from_entry(entry));
                }
                entry.1.enter();
                match self.entry(self.look()) {
                    Some(again) if Arc::ptr_eq(&entry.1, &again.1) => return Some(Shared::from_entry(again)),
                    _ => entry.1.leave(),
                }
            }
        }

        /// Looks at the newest value.
        pub fn with<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
            look(self.load().as_deref())
        }

        fn look(&self) -> usize {
            self.newest.load(ordering(Edge::Value, End::Acquire))
        }

        fn entry(&self, index: usize) -> Option<Entry<T>> {
            lock(&self.values)[index].clone()
        }
    }

    impl<T> fmt::Debug for Latest<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Latest")
        }
    }

    /// A ring of stamped places: any thread pushes, one pops. A stamp says which push or pop its place waits for: twice
    /// the number of that push, and one more for the pop behind it.
    ///
    /// The one who pops keeps its own number outside of the model: loom looks for another order only at the last access
    /// before a store, so a thread that loads a number just before it stores it would hide the other side's loads.
    #[derive(Debug)]
    pub struct Ring {
        places: Box<[Place]>,
        claimed: AtomicUsize,
        pops: Own,
    }

    #[derive(Debug)]
    struct Place {
        stamp: AtomicUsize,
        bytes: Bytes,
        n: AtomicU32,
    }

    impl Ring {
        /// For at most `capacity` numbers, at least one.
        pub fn new(capacity: usize) -> Self {
            let place =
                |at| Place { stamp: AtomicUsize::new(2 * at), bytes: Bytes::new(), n: AtomicU32::new(u32::MAX) };
            Self { places: (0..capacity.max(1)).map(place).collect(), claimed: AtomicUsize::new(0), pops: Own::new(0) }
        }

        /// Adds a number; false when the ring is full, or the pop before has not been seen yet. Then a place is lost,
        /// and no model goes on from there.
        pub fn push(&self, n: u32) -> bool {
            let at = self.claimed.fetch_add(1, Ordering::AcqRel);
            let place = &self.places[at % self.places.len()];
            if place.stamp.load(Ordering::Acquire) != 2 * at {
                return false;
            }
            place.bytes.write();
            place.n.store(n, Ordering::Relaxed);
            place.stamp.store(2 * at + 1, ordering(Edge::Entry, End::Release));
            true
        }

        /// The oldest number; none when no push was seen. Waits for a push that has claimed its place and is not done,
        /// as crossbeam does.
        pub fn pop(&self) -> Option<u32> {
            let at = self.pops.load(Ordering::Relaxed);
            let place = &self.places[at % self.places.len()];
            while place.stamp.load(ordering(Edge::Entry, End::Acquire)) != 2 * at + 1 {
                if self.claimed.load(Ordering::Acquire) == at {
                    return None;
                }
                thread::yield_now();
            }
            place.bytes.read();
            let n = place.n.load(Ordering::Relaxed);
            self.pops.store(at + 1, Ordering::Relaxed);
            place.stamp.store(2 * (at + self.places.len()), Ordering::Release);
            Some(n)
        }

        /// Numbers in the ring, for the one who pops.
        pub fn count(&self) -> usize {
            self.claimed.load(Ordering::Acquire) - self.pops.load(Ordering::Relaxed)
        }
    }

    /// Leaves letters in an [`Inbox`], from any thread.
    pub struct Post<T>(Arc<Mail<T>>);

    /// Where one thread finds letters. With it go those that it holds, and those that come later are refused.
    pub struct Inbox<T> {
        mail: Arc<Mail<T>>,
        taken: usize,
    }

    struct Mail<T> {
        /// Twice the letters ever left, and one when there is no inbox any more.
        left: AtomicUsize,
        letters: Mutex<VecDeque<T>>,
    }

    /// An inbox. It is never full: models leave few letters.
    pub fn inbox<T>(_capacity: usize) -> (Post<T>, Inbox<T>) {
        let mail = Arc::new(Mail { left: AtomicUsize::new(0), letters: Mutex::new(VecDeque::new()) });
        (Post(Arc::clone(&mail)), Inbox { mail, taken: 0 })
    }

    impl<T> fmt::Debug for Post<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Post")
        }
    }

    impl<T> Clone for Post<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Post<T> {
        /// Leaves a letter. Never waits.
        ///
        /// # Errors
        /// The letter, where there is no inbox any more.
        pub fn leave(&self, letter: T) -> Result<(), T> {
            // What is left as a model fails is for nobody.
            if std::thread::panicking() || self.0.left.fetch_add(2, ordering(Edge::Letter, End::Release)) & 1 == 1 {
                return Err(letter);
            }
            lock(&self.0.letters).push_back(letter);
            Ok(())
        }
    }

    impl<T> fmt::Debug for Inbox<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Inbox")
        }
    }

    impl<T> Inbox<T> {
        /// The oldest letter; none when its leaving has not been seen yet.
        pub fn take(&mut self) -> Option<T> {
            if self.mail.left.load(ordering(Edge::Letter, End::Acquire)) / 2 == self.taken {
                return None;
            }
            self.taken += 1;
            lock(&self.mail.letters).pop_front()
        }
    }

    impl<T> Drop for Inbox<T> {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                self.mail.left.fetch_or(1, Ordering::AcqRel);
                let letters = std::mem::take(&mut *lock(&self.mail.letters));
                drop(letters);
            }
        }
    }

    loom::thread_local! {
        static TOKEN: Arc<Notify> = Arc::new(Notify::new());
    }

    /// A thread that sleeps, or will.
    ///
    /// Not loom's own parking: there waking makes all that was done before visible at once, also to a thread that has
    /// not slept yet.
    #[derive(Debug)]
    pub struct Sleeper(Arc<Notify>);

    impl PartialEq for Sleeper {
        fn eq(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    impl Eq for Sleeper {}

    impl Sleeper {
        /// The thread that asks.
        pub fn current() -> Self {
            Self(TOKEN.with(Arc::clone))
        }

        /// Ends its sleep, or its next one.
        pub fn wake(&self) {
            self.0.notify();
        }
    }

    /// Sleeps until woken; once in a model also for no reason. With a limit it is up at once: any moment is one at which
    /// time can be up.
    pub fn park(limit: Option<Duration>) {
        match limit {
            Some(_) => thread::yield_now(),
            None => TOKEN.with(Arc::clone).wait(),
        }
    }
}
