//! The keys that have trackers, and the account that all trackers of one key share.
//!
//! In: keys of the caller. Out: accounts, restored from the store or from what the store has not taken yet.
//! Laws: a key has one account at a time; the table's lock is never held while the store is asked; an account that goes
//! retires its slot, and its key stays known until the store has its newest cursor.

use super::state::{ALONE, SHARED, State};
use crate::base::{Cursor, EventId, Span, StreamName};
use crate::clock::Clock;
use crate::persist::{PersistControl, Refused};
use crate::slot::{CursorHandle, SlotKey, SlotWriter};
use crate::store::StoreError;
use crate::sync::{Mutex, MutexGuard};
use crate::track::TrackLimits;
use crossbeam_channel::bounded;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The longest key, in bytes.
const KEY_MAX: usize = 256;

/// Why there is no tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackerError {
    /// The key is longer than 256 bytes.
    KeyTooLong {
        /// Its length.
        len: usize,
    },
    /// As many keys have trackers as the engine was built for. See [`crate::engine::Builder::trackers`].
    Full {
        /// That number.
        limit: usize,
    },
}

impl fmt::Display for TrackerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLong { len } => write!(f, "a key of {len} bytes is longer than {KEY_MAX}"),
            Self::Full { limit } => {
                write!(f, "all {limit} places for trackers are taken; drop one, or build with more")
            }
        }
    }
}

impl std::error::Error for TrackerError {}

/// Why a key does not go on from its stored cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotRestored {
    /// Too many questions to the store wait.
    Overrun,
    /// The store could not say where the stream stands.
    Store(StoreError),
    /// The store did not answer in time.
    TimedOut,
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overrun => write!(f, "the key cannot be restored: {Refused}"),
            Self::Store(why) => write!(f, "the key cannot be restored: {why}"),
            Self::TimedOut => f.write_str("the key cannot be restored: the store did not answer in time; try again"),
        }
    }
}

impl std::error::Error for NotRestored {}

/// All keys that have trackers. The lock is taken only to open and to close one.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Trackers(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    writer: SlotWriter,
    /// A key outlives its last tracker until the store has all that was published.
    keys: HashMap<Box<[u8]>, Entry>,
    /// How often keys were forgotten.
    sweeps: u64,
}

/// A key that has trackers, or had some.
#[derive(Debug)]
struct Entry {
    account: Weak<Account>,
    slot: SlotKey,
    handle: CursorHandle,
    /// The slot of the account before, where the store did not have its cursor when this one was opened.
    before: Option<CursorHandle>,
}

impl Entry {
    /// The newest cursor that may not be in the store yet, and the slot that holds it until it is.
    fn unwritten(&self) -> Option<(CursorHandle, Cursor)> {
        let slots = [Some(&self.handle), self.before.as_ref()].into_iter();
        slots.flatten().find_map(|slot| Some((slot.clone(), slot.cursor()?)))
    }
}

/// What the trackers of one key share.
pub(in crate::engine) struct Account {
    name: Arc<StreamName>,
    slot: SlotKey,
    pub(super) handle: CursorHandle,
    trackers: Trackers,
    pub(super) clock: Clock,
    pub(super) not_restored: Option<NotRestored>,
    state: Mutex<State>,
}

impl Trackers {
    /// No key yet. `writer` has a slot for each key that may have trackers at once.
    pub(in crate::engine) fn new(writer: SlotWriter) -> Self {
        Self(Arc::new(Mutex::new(Open { writer, keys: HashMap::new(), sweeps: 0 })))
    }

    /// The account of `key`, restored where no tracker has it. Asks the store for at most `within`.
    ///
    /// # Errors
    /// [`TrackerError`].
    pub(in crate::engine) fn open(
        &self,
        key: &[u8],
        within: Span,
        store: &PersistControl,
        clock: Clock,
    ) -> Result<Arc<Account>, TrackerError> {
        if key.len() > KEY_MAX {
            return Err(TrackerError::KeyTooLong { len: key.len() });
        }
        let (until, name) = (clock.now() + within, Arc::new(StreamName { session: key.into(), stream: 0 }));
        loop {
            let open = self.0.lock();
            if let Some(account) = open.account(key) {
                return Ok(account);
            }
            let (seen, unwritten) = (open.seen(key), open.keys.get(key).and_then(Entry::unwritten));
            drop(open);
            // Not under the lock, since the store may take its time. After the look at the slot, so that a cursor which
            // has left the slot by now is found in the store.
            let stored = restore(&name, until.since(clock.now()), store);
            let mut open = self.0.lock();
            if let Some(account) = open.account(key) {
                return Ok(account);
            }
            if open.seen(key) == seen {
                return open.add(self, name, stored, unwritten, clock);
            }
            // Another caller has opened and closed the key since: what the store said may be older than that.
        }
    }

    /// Keys that are known now, those that wait for the store included.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.0.lock().keys.len()
    }

    /// A reader of the cursor of `key`, if it has trackers.
    pub(in crate::engine) fn cursor(&self, key: &[u8]) -> Option<CursorHandle> {
        let open = self.0.lock();
        let entry = open.keys.get(key)?;
        (entry.account.strong_count() > 0).then(|| entry.handle.clone())
    }
}

impl Open {
    fn account(&self, key: &[u8]) -> Option<Arc<Account>> {
        self.keys.get(key)?.account.upgrade()
    }

    /// Changes whenever a key is opened.
    fn seen(&self, key: &[u8]) -> (Option<SlotKey>, u64) {
        (self.keys.get(key).map(|entry| entry.slot), self.sweeps)
    }

    /// Adds an account that goes on from the newer of two cursors.
    fn add(
        &mut self,
        trackers: &Trackers,
        name: Arc<StreamName>,
        stored: Result<Option<(EventId, u64)>, NotRestored>,
        unwritten: Option<(CursorHandle, Cursor)>,
        clock: Clock,
    ) -> Result<Arc<Account>, TrackerError> {
        let limit = self.writer.capacity();
        let slot = self.writer.take(Arc::clone(&name)).ok_or(TrackerError::Full { limit })?;
        let pen = self.writer.pen(slot).ok_or(TrackerError::Full { limit })?;
        // What the process knows by itself is newer than anything that is stored.
        let (stored, why) = match stored {
            Ok(stored) => (stored, None),
            Err(why) => (None, Some(why).filter(|_| unwritten.is_none())),
        };
        let durable = stored.as_ref().map_or(0, |(_, sequence)| *sequence);
        let (before, newest) = match unwritten.filter(|(_, cursor)| cursor.sequence > durable) {
            Some((slot, cursor)) => (Some(slot), Some((cursor.id, cursor.sequence))),
            None => (None, stored),
        };
        let (id, forwarded) = match &newest {
            Some((id, sequence)) => (Some(id.as_bytes()), *sequence),
            // A store refuses sequences that go back, and nobody knows the stored one: the time in microseconds is
            // above every number of events.
            None if why.is_some() => (None, clock.unix_ms(clock.now()).saturating_mul(1_000)),
            None => (None, 0),
        };
        let state = Mutex::new(State::new(pen, forwarded, id, clock.now()));
        let handle = self.writer.handle(slot);
        let (key, trackers) = (name.session.clone(), trackers.clone());
        let account =
            Arc::new(Account { slot, handle: handle.clone(), trackers, name, clock, not_restored: why, state });
        self.sweep(limit);
        self.keys.insert(key, Entry { account: Arc::downgrade(&account), slot, handle, before });
        Ok(account)
    }

    /// Forgets keys without trackers whose newest cursor the store has, once there are twice `limit` keys. Each of the
    /// others has a slot, so at least half of the keys go.
    fn sweep(&mut self, limit: usize) {
        if self.keys.len() >= limit.saturating_mul(2) {
            self.keys.retain(|_, entry| entry.account.strong_count() > 0 || entry.unwritten().is_some());
            self.sweeps += 1;
        }
    }
}

/// What the store knows of a key: its id and sequence.
fn restore(name: &StreamName, within: Span, store: &PersistControl) -> Result<Option<(EventId, u64)>, NotRestored> {
    let (answer, wait) = bounded(1);
    // The caller may have given up waiting.
    let reply = Box::new(move |found| drop(answer.try_send(found)));
    store.load(name.clone(), reply).map_err(|Refused| NotRestored::Overrun)?;
    match wait.recv_timeout(Duration::from(within)) {
        Ok(Ok(found)) => Ok(found.map(|cursor| (cursor.id, cursor.sequence))),
        Ok(Err(e)) => Err(NotRestored::Store(e)),
        Err(_) => Err(NotRestored::TimedOut),
    }
}

impl Account {
    /// Whether a single tracker has this account.
    pub(super) fn is_alone(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    /// The bounds that hold now.
    pub(super) fn limits(self: &Arc<Self>) -> &'static TrackLimits {
        if self.is_alone() { ALONE } else { SHARED }
    }

    /// A caller that panicked while it forwarded has moved nothing, so its lock is as good as any.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.trackers.0.lock().writer.retire(self.slot);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}
