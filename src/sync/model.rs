//! The parts that loom has no twin of, as models no stronger than the real ones.
//!
//! In: plain values, and which end of an edge is taken away. Out: what `real` gives, in any order that loom tries.
//! Laws: what a part carries from thread to thread goes through loom's atomics with the [`Edge`] that it stands for;
//! memory behind a lock is for the model alone, and the lock is never held over an operation that loom sees.

use super::edge::{Edge, End, Heard};
use loom::cell::UnsafeCell;
use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicUsize as Own};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

std::thread_local! {
    /// All threads of a model run on one thread of the system, so these bind the model and no other.
    static WEAK: Cell<Option<(Edge, End)>> = const { Cell::new(None) };
    static QUESTIONS_FIRST: Cell<bool> = const { Cell::new(false) };
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

/// Runs `model` with desks that hear a question before a word, where there are both.
pub fn questions_first(model: impl FnOnce()) {
    switched(&QUESTIONS_FIRST, true, model);
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

/// A lock for cold paths. `real` has the one of parking_lot, which has no poison either.
#[cfg(feature = "net")]
#[derive(Debug)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(feature = "net")]
pub use loom::sync::MutexGuard;

#[cfg(feature = "net")]
impl<T> Mutex<T> {
    /// Holding `value`.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Waits until no other thread has the lock, and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that only the model needs: never held over an operation that loom sees.
fn lock<T>(memory: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands for bytes that are no atomic: loom fails where reading them meets writing them. The lock is for the compiler
/// only, which lets nobody share a bare cell.
#[derive(Debug)]
struct Bytes(std::sync::Mutex<UnsafeCell<()>>);

impl Bytes {
    fn new() -> Self {
        Self(std::sync::Mutex::new(UnsafeCell::new(())))
    }

    fn read(&self) {
        lock(&self.0).with(|_| ());
    }

    fn write(&self) {
        lock(&self.0).with_mut(|_| ());
    }
}

/// A counted value, as `Arc`. Loom fails where it is read by one who cannot know that it was made.
pub struct Shared<T> {
    value: Arc<T>,
    bytes: Arc<Bytes>,
}

impl<T> Shared<T> {
    /// Holds `value`.
    pub fn new(value: T) -> Self {
        Self { value: Arc::new(value), bytes: Arc::new(Bytes::new()) }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), bytes: Arc::clone(&self.bytes) }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.bytes.read();
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
    values: std::sync::Mutex<Vec<Option<Shared<T>>>>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { newest: AtomicUsize::new(0), values: std::sync::Mutex::new(vec![None]) }
    }
}

impl<T> Latest<T> {
    /// Puts a value, or none, in the place of the one before.
    pub fn put(&self, value: Option<Shared<T>>) {
        let index = {
            let mut values = lock(&self.values);
            values.push(value);
            values.len() - 1
        };
        self.newest.swap(index, ordering(Edge::Value, End::Release));
    }

    /// Looks at the newest value.
    pub fn with<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        let newest = self.newest.load(ordering(Edge::Value, End::Acquire));
        let value = lock(&self.values)[newest].clone();
        look(value.as_deref())
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
    places: Box<[RingEntry]>,
    claimed: AtomicUsize,
    pops: Own,
}

#[derive(Debug)]
struct RingEntry {
    stamp: AtomicUsize,
    bytes: Bytes,
    n: AtomicU32,
}

impl Ring {
    /// For at most `capacity` numbers, at least one.
    pub fn new(capacity: usize) -> Self {
        let place =
            |at| RingEntry { stamp: AtomicUsize::new(2 * at), bytes: Bytes::new(), n: AtomicU32::new(u32::MAX) };
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
    letters: std::sync::Mutex<VecDeque<T>>,
}

/// An inbox. It is never full: models leave few letters.
pub fn inbox<T>(_capacity: usize) -> (Post<T>, Inbox<T>) {
    let mail = Arc::new(Mail { left: AtomicUsize::new(0), letters: std::sync::Mutex::new(VecDeque::new()) });
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

/// Asks at a [`Desk`], from any thread.
pub struct Asker<Q> {
    /// The last letter is none: nobody can ask any more.
    questions: Post<Option<Q>>,
    desk: Arc<Sitting>,
}

/// Tells a [`Desk`] what its answers are to come from. There is one.
pub struct Teller<W> {
    words: Arc<Words<W>>,
    desk: Arc<Sitting>,
}

/// Where one thread is asked, and told what its answers are to come from.
pub struct Desk<Q, W> {
    questions: Inbox<Option<Q>>,
    words: Arc<Words<W>>,
    desk: Arc<Sitting>,
    is_silent: bool,
}

/// Who can still ask, and how the thread at the desk is woken.
struct Sitting {
    askers: AtomicUsize,
    woken: Notify,
}

/// A place for one word.
struct Words<W> {
    /// Twice the number of the word that lies here; 0: none does. And one when no more are told.
    told: AtomicUsize,
    count: Own,
    word: std::sync::Mutex<Option<(W, Bytes)>>,
}

/// A desk with one asker. Questions always find room: models ask little.
pub fn desk<Q, W>(capacity: usize) -> (Asker<Q>, Teller<W>, Desk<Q, W>) {
    let (post, questions) = inbox(capacity);
    let desk = Arc::new(Sitting { askers: AtomicUsize::new(1), woken: Notify::new() });
    let words = Arc::new(Words { told: AtomicUsize::new(0), count: Own::new(0), word: std::sync::Mutex::new(None) });
    let teller = Teller { words: Arc::clone(&words), desk: Arc::clone(&desk) };
    (Asker { questions: post, desk: Arc::clone(&desk) }, teller, Desk { questions, words, desk, is_silent: false })
}

impl<Q> fmt::Debug for Asker<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

impl<Q> Clone for Asker<Q> {
    fn clone(&self) -> Self {
        self.desk.askers.fetch_add(1, Ordering::Relaxed);
        Self { questions: self.questions.clone(), desk: Arc::clone(&self.desk) }
    }
}

impl<Q> Drop for Asker<Q> {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.desk.askers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.questions.leave(None);
            self.desk.woken.notify();
        }
    }
}

impl<Q> Asker<Q> {
    /// Asks. Never waits.
    ///
    /// # Errors
    /// The question, where there is nobody at the desk any more.
    pub fn ask(&self, question: Q) -> Result<(), Q> {
        let left = self.questions.leave(Some(question));
        left.map_err(|refused| refused.expect("it is the one that was left"))?;
        self.desk.woken.notify();
        Ok(())
    }
}

impl<W> fmt::Debug for Teller<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

impl<W> Drop for Teller<W> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.words.told.fetch_or(1, ordering(Edge::Word, End::Release));
            self.desk.woken.notify();
        }
    }
}

impl<W> Teller<W> {
    /// Leaves a word in the place of the one before; that comes back if it was not heard.
    pub fn tell(&self, word: W) -> Option<W> {
        let bytes = Bytes::new();
        bytes.write();
        let number = 2 * (self.words.count.fetch_add(1, Ordering::Relaxed) + 1);
        self.words.told.swap(number, ordering(Edge::Word, End::Release));
        let unheard = lock(&self.words.word).replace((word, bytes));
        self.desk.woken.notify();
        unheard.map(|(word, _)| word)
    }
}

impl<W> Words<W> {
    /// What lies here, or did a while ago.
    fn look(&self) -> usize {
        self.told.load(ordering(Edge::Word, End::Acquire))
    }

    /// The word that lies here.
    fn take(&self) -> Option<W> {
        self.told.fetch_and(1, ordering(Edge::Word, End::Acquire));
        let (word, bytes) = lock(&self.word).take()?;
        bytes.read();
        Some(word)
    }
}

impl<Q, W> fmt::Debug for Desk<Q, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl<Q, W> Desk<Q, W> {
    /// Waits for a question or a word. Where there are both, a word comes first, or a question inside of
    /// [`questions_first`].
    pub fn hear(&mut self) -> Heard<Q, W> {
        loop {
            let heard = match QUESTIONS_FIRST.get() {
                true => self.question().or_else(|| self.word()),
                false => self.word().or_else(|| self.question()),
            };
            match heard {
                Some(heard) => return heard,
                None => self.desk.woken.wait(),
            }
        }
    }

    /// The word that was not heard yet; none also when its telling has not been seen yet.
    pub fn newest(&mut self) -> Option<W> {
        if self.words.look() < 2 { None } else { self.words.take() }
    }

    fn question(&mut self) -> Option<Heard<Q, W>> {
        self.questions.take().map(|letter| letter.map_or(Heard::End, Heard::Question))
    }

    fn word(&mut self) -> Option<Heard<Q, W>> {
        if self.is_silent {
            return None;
        }
        match self.words.look() {
            0 => None,
            1 => {
                self.is_silent = true;
                Some(Heard::Silence)
            }
            _ => self.words.take().map(Heard::Word),
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
#[derive(Clone, Debug)]
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
