//! A store that fails as it is told: the test door for everything that must bear failing stores.
//!
//! In: a store and a [`Script`] that the test holds on to. Out: the same store, with faults.
//! Law: a call that fails before the store was asked changes nothing; one that fails behind it has done its work, as
//! after a connection that broke before the answer came.

use super::{Opened, SessionStore, StoreError, Stored, StoredCursor, Write};
use crate::base::StreamName;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What a store is to do wrong, changed from the test while it is in use.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<(Mutex<Faults>, Condvar)>);

#[derive(Debug, Default)]
struct Faults {
    calls: u64,
    refuse_every: u64,
    refuse_all: bool,
    fail_items_every: u64,
    fail_behind: bool,
    hang: bool,
    hanging: bool,
    close_after: Option<u64>,
}

impl Script {
    /// Refuses every `n`th writing call; 0: none.
    pub fn refuse_every(&self, n: u64) {
        self.lock().refuse_every = n;
    }

    /// Refuses every writing call until told otherwise.
    pub fn refuse_all(&self, refuse: bool) {
        self.lock().refuse_all = refuse;
    }

    /// Fails every `n`th item of a batch alone; 0: none.
    pub fn fail_items_every(&self, n: u64) {
        self.lock().fail_items_every = n;
    }

    /// Refusals come when the store has done its work.
    pub fn fail_behind(&self, behind: bool) {
        self.lock().fail_behind = behind;
    }

    /// Writing calls do not return until told otherwise.
    pub fn hang(&self, hang: bool) {
        self.lock().hang = hang;
        self.0.1.notify_all();
    }

    /// Waits until a call hangs.
    pub fn await_hang(&self) {
        let mut faults = self.lock();
        while !faults.hanging {
            faults = self.0.1.wait(faults).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The store is closed once so many calls have been made.
    pub fn close_after(&self, calls: u64) {
        self.lock().close_after = Some(calls);
    }

    /// Writing calls so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Puts the faults into a store's writing half.
    pub fn wrap(&self, opened: Opened) -> Opened {
        let sessions = Box::new(Faulty { store: opened.sessions, script: self.clone(), items: 0 });
        Opened { sessions, ..opened }
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; whether it is to fail.
    fn enter(&self) -> Result<(), StoreError> {
        let mut faults = self.lock();
        faults.calls += 1;
        while faults.hang {
            faults.hanging = true;
            self.0.1.notify_all();
            faults = self.0.1.wait(faults).unwrap_or_else(PoisonError::into_inner);
        }
        faults.hanging = false;
        if faults.close_after.is_some_and(|limit| faults.calls > limit) {
            return Err(StoreError::Closed);
        }
        if faults.refuse_all || every(faults.calls, faults.refuse_every) {
            return Err(StoreError::Refused("the test says no".into()));
        }
        Ok(())
    }
}

/// Whether a call is one of every `n`th; none is where `n` is 0.
fn every(call: u64, n: u64) -> bool {
    n > 0 && call.is_multiple_of(n)
}

struct Faulty {
    store: Box<dyn SessionStore>,
    script: Script,
    items: u64,
}

impl SessionStore for Faulty {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        self.script.enter()?;
        self.store.next_epoch()
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        self.store.secret(candidate)
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<StoredCursor>, StoreError> {
        self.store.get_last_event_id(name)
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Stored, StoreError>>, StoreError> {
        if let Err(e) = self.script.enter() {
            if self.script.lock().fail_behind && e != StoreError::Closed {
                self.store.store_event_ids_batch(items)?;
            }
            return Err(e);
        }
        let each = self.script.lock().fail_items_every;
        let mut results = Vec::new();
        for item in items {
            self.items += 1;
            results.push(match every(self.items, each) {
                true => Err(StoreError::Refused("the test says no to this one".into())),
                false => {
                    let mut one = self.store.store_event_ids_batch(std::slice::from_ref(item))?;
                    one.pop().unwrap_or(Err(StoreError::Closed))
                }
            });
        }
        Ok(results)
    }

    fn store_last_event_id(&mut self, name: &StreamName, cursor: &StoredCursor) -> Result<Stored, StoreError> {
        self.script.enter()?;
        self.store.store_last_event_id(name, cursor)
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        self.script.enter()?;
        self.store.remove(name)
    }

    fn scan(
        &mut self,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<(StreamName, StoredCursor)>, StoreError> {
        self.store.scan(after, limit)
    }

    fn batch_limit(&self) -> usize {
        self.store.batch_limit()
    }
}
