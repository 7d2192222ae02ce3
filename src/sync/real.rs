//! The parts that loom has no twin of, on std, arc-swap and crossbeam.
//!
//! In: plain values. Out: cells, a ring, inboxes, a desk, parking.
//! Laws: those of the façade; each part has a model of the same name and with the same methods in `model`.

use super::edge::Heard;
use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select};
use crossbeam_queue::ArrayQueue;
#[cfg(feature = "net")]
pub use parking_lot::{Mutex, MutexGuard};
use std::fmt;
pub use std::sync::Arc as Shared;
use std::sync::{Arc, PoisonError};
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
    /// Puts a value, or none, in the place of the one before.
    pub fn put(&self, value: Option<Arc<T>>) {
        self.0.store(value);
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

/// Asks at a [`Desk`], from any thread.
pub struct Asker<Q>(Sender<Q>);

/// Tells a [`Desk`] what its answers are to come from. There is one.
pub struct Teller<W> {
    word: Arc<std::sync::Mutex<Option<W>>>,
    /// Full: the desk is woken, and has not looked yet.
    told: Sender<()>,
}

/// Where one thread is asked, and told what its answers are to come from.
pub struct Desk<Q, W> {
    questions: Receiver<Q>,
    word: Arc<std::sync::Mutex<Option<W>>>,
    told: Receiver<()>,
}

/// A desk at which at most `capacity` questions wait, and the newest word.
pub fn desk<Q, W>(capacity: usize) -> (Asker<Q>, Teller<W>, Desk<Q, W>) {
    let (asker, questions) = bounded(capacity);
    let (teller, told) = bounded(1);
    let word = Arc::new(std::sync::Mutex::new(None));
    (Asker(asker), Teller { word: Arc::clone(&word), told: teller }, Desk { questions, word, told })
}

/// Puts in a word, or none. Gives the one that was there.
fn exchange<W>(place: &std::sync::Mutex<Option<W>>, word: Option<W>) -> Option<W> {
    std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), word)
}

impl<Q> fmt::Debug for Asker<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

impl<Q> Clone for Asker<Q> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q> Asker<Q> {
    /// Asks. Never waits.
    ///
    /// # Errors
    /// The question, where there is no room, or nobody at the desk any more.
    pub fn ask(&self, question: Q) -> Result<(), Q> {
        self.0.try_send(question).map_err(TrySendError::into_inner)
    }
}

impl<W> fmt::Debug for Teller<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

impl<W> Teller<W> {
    /// Leaves a word in the place of the one before; that comes back if it was not heard.
    ///
    /// In one step: at no time is there none. And behind the lock: a desk that looks too early to find the word has
    /// taken the waking before, so that there is room for another.
    pub fn tell(&self, word: W) -> Option<W> {
        let unheard = exchange(&self.word, Some(word));
        let _ = self.told.try_send(());
        unheard
    }
}

impl<Q, W> fmt::Debug for Desk<Q, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl<Q, W> Desk<Q, W> {
    /// Waits for a question or a word. Where there are both, it is up to chance which of them comes.
    pub fn hear(&mut self) -> Heard<Q, W> {
        loop {
            let told = select! {
                recv(self.told) -> told => told,
                recv(self.questions) -> question => return question.map_or(Heard::End, Heard::Question),
            };
            match (self.newest(), told) {
                (Some(word), _) => return Heard::Word(word),
                (None, Err(_)) => {
                    self.told = never();
                    return Heard::Silence;
                }
                // It came with a question.
                (None, Ok(())) => {}
            }
        }
    }

    /// The word that was not heard yet.
    pub fn newest(&mut self) -> Option<W> {
        exchange(&self.word, None)
    }
}

/// A thread that sleeps, or will.
#[derive(Clone, Debug)]
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
