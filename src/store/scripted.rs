//! A store that fails as a script says: for everything that must bear failing stores.
//!
//! In: a store, and a script that is asked before each call. Out: the same store, with faults.
//! Laws: a call that is to fail never reaches the store, so it changes nothing; one that is to fail late has done its
//! work first, as when a connection breaks before the answer comes.
//!
//! A script is any function from a [`Call`] to a [`Behaviour`]; one that does not return is a store that hangs. A
//! [`Switch`] is a script that a test turns while the store is in use.

use super::error::StoreError;
use super::log::{FollowNews, Following, LogFollower, LogOutcome, LogStore, LogWrite, StoredLog};
use super::opened::Opened;
use super::record::Record;
use super::session::{Outcome, SessionStore, Write};
use crate::base::StreamName;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a store is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// To hand out an epoch.
    Epoch,
    /// To give or keep the secret.
    Secret,
    /// To read one record.
    Get,
    /// To read a page of records, or those of a session.
    Scan,
    /// To write or remove records.
    Write,
    /// To do what writing has put off.
    Settle,
    /// To read one log.
    ReadLog,
    /// To list logs.
    ScanLogs,
    /// To write or remove logs.
    WriteLogs,
    /// To tell what is new in logs.
    Follow,
}

/// How the store behaves at a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// The store does it.
    Passes,
    /// It fails, and the store does not hear of it.
    Fails(StoreError),
    /// The store does it, and then it fails.
    FailsLate(StoreError),
    /// Of a batch each item fails, and the batch does not. Any other call passes.
    FailsItems(StoreError),
}

/// A store with a script. `S` is [`SessionStore`], [`LogStore`] or [`LogFollower`], or what implements one of them.
pub struct Scripted<S: ?Sized> {
    /// Dropped before the script, so that what the script owns outlives the store.
    store: Box<S>,
    script: Script,
}

type Script = Box<dyn FnMut(Call) -> Behaviour + Send>;

impl<S: ?Sized> Scripted<S> {
    /// The store, with this script.
    pub fn new(store: Box<S>, script: impl FnMut(Call) -> Behaviour + Send + 'static) -> Self {
        Self { store, script: Box::new(script) }
    }

    /// Makes a call of which nothing is done in part.
    fn call<T>(&mut self, call: Call, run: impl FnOnce(&mut S) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match (self.script)(call) {
            Behaviour::Passes | Behaviour::FailsItems(_) => run(&mut self.store),
            Behaviour::Fails(e) => Err(e),
            Behaviour::FailsLate(e) => run(&mut self.store).and(Err(e)),
        }
    }

    /// Makes a call with a batch of so many items.
    fn batch<T>(
        &mut self,
        call: Call,
        items: usize,
        run: impl FnOnce(&mut S) -> Result<Vec<Result<T, StoreError>>, StoreError>,
    ) -> Result<Vec<Result<T, StoreError>>, StoreError> {
        match (self.script)(call) {
            Behaviour::Passes => run(&mut self.store),
            Behaviour::Fails(e) => Err(e),
            Behaviour::FailsLate(e) => run(&mut self.store).and(Err(e)),
            Behaviour::FailsItems(e) => Ok((0..items).map(|_| Err(e.clone())).collect()),
        }
    }
}

impl<S: SessionStore + ?Sized> SessionStore for Scripted<S> {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        self.call(Call::Epoch, |store| store.next_epoch())
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        self.call(Call::Secret, |store| store.secret(candidate))
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<Record>, StoreError> {
        self.call(Call::Get, |store| store.get_last_event_id(name))
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        self.batch(Call::Write, items.len(), |store| store.store_event_ids_batch(items))
    }

    fn store_last_event_id(&mut self, name: &StreamName, record: &Record) -> Result<Outcome, StoreError> {
        self.call(Call::Write, |store| store.store_last_event_id(name, record))
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        self.call(Call::Write, |store| store.remove(name))
    }

    fn scan(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        self.call(Call::Scan, |store| store.scan(after, limit))
    }

    fn batch_limit(&self) -> usize {
        self.store.batch_limit()
    }

    fn has_recovered(&mut self) -> bool {
        self.store.has_recovered()
    }

    fn is_settled(&self) -> bool {
        self.store.is_settled()
    }

    fn settle(&mut self, all: bool) -> Result<(), StoreError> {
        self.call(Call::Settle, |store| store.settle(all))
    }
}

impl<S: LogStore + ?Sized> LogStore for Scripted<S> {
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<LogOutcome, StoreError>>, StoreError> {
        self.batch(Call::WriteLogs, items.len(), |store| store.write_logs(items))
    }

    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError> {
        self.call(Call::ReadLog, |store| store.read_log(name, max_bytes))
    }

    fn scan_logs(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, u64)>, StoreError> {
        self.call(Call::ScanLogs, |store| store.scan_logs(after, limit))
    }

    fn has_recovered(&mut self) -> bool {
        self.store.has_recovered()
    }
}

impl<S: LogFollower + ?Sized> LogFollower for Scripted<S> {
    fn follow(&mut self, wanted: &[Following], patience: Duration) -> Result<Vec<(usize, FollowNews)>, StoreError> {
        self.call(Call::Follow, |store| store.follow(wanted, patience))
    }
}

/// A script that a test turns while the store is in use: calls that write pass, are refused, or hang; the others pass.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    /// Writing calls so far.
    calls: u64,
    refuses: bool,
    hangs: bool,
    /// A call hangs now.
    is_hanging: bool,
}

impl Switch {
    /// Puts the switch on the writing half of a store's cursors.
    pub fn wrap(&self, opened: Opened) -> Opened {
        let switch = self.clone();
        let sessions = Box::new(Scripted::new(opened.sessions, move |call| switch.behaviour(call)));
        Opened { sessions, ..opened }
    }

    /// Refuses writing calls from now on, or takes them again.
    pub fn refuse(&self, refuses: bool) {
        self.lock().refuses = refuses;
    }

    /// Lets no writing call return from now on; or lets all return, those that hang included.
    pub fn hang(&self, hangs: bool) {
        self.lock().hangs = hangs;
        self.0.1.notify_all();
    }

    /// Waits until a call hangs.
    pub fn await_hang(&self) {
        drop(self.wait_while(self.lock(), |state| !state.is_hanging));
    }

    /// Writing calls so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    fn behaviour(&self, call: Call) -> Behaviour {
        if !matches!(call, Call::Epoch | Call::Write) {
            return Behaviour::Passes;
        }
        let mut state = self.lock();
        state.calls += 1;
        state.is_hanging = state.hangs;
        self.0.1.notify_all();
        state = self.wait_while(state, |state| state.hangs);
        state.is_hanging = false;
        match state.refuses {
            true => Behaviour::Fails(StoreError::Refused("the test says no".into())),
            false => Behaviour::Passes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No thread leaves the state half changed.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'s>(&self, state: MutexGuard<'s, State>, holds: impl Fn(&State) -> bool) -> MutexGuard<'s, State> {
        self.0.1.wait_while(state, |state| holds(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;
    use crate::store::MemoryStore;

    #[test]
    fn a_call_that_fails_changes_nothing_and_one_that_fails_late_has_done_its_work() {
        let no = || StoreError::Refused("no".into());
        let mut behaviours =
            [Behaviour::Fails(no()), Behaviour::FailsItems(no()), Behaviour::FailsLate(no())].into_iter();
        let script = move |call| match call {
            Call::Write => behaviours.next().unwrap_or(Behaviour::Passes),
            _ => Behaviour::Passes,
        };
        let mut store = Scripted::new(Box::new(MemoryStore::new(9)), script);
        let record = Record { epoch: 1, sequence: 1, id: EventId::from_bytes(b"1").unwrap(), last_seen_ms: 0 };
        let items = [1, 2].map(|stream| {
            let name = Arc::new(StreamName { session: b"s"[..].into(), stream });
            (name, Write::Cursor(record.clone()))
        });
        assert_eq!(store.store_event_ids_batch(&items), Err(no()));
        assert_eq!(store.store_event_ids_batch(&items), Ok(vec![Err(no()); 2]));
        assert_eq!(store.get_last_event_id(&items[0].0), Ok(None));
        assert_eq!(store.store_event_ids_batch(&items), Err(no()));
        assert_eq!(store.get_last_event_id(&items[0].0), Ok(Some(record)));
        assert_eq!(store.store_event_ids_batch(&items), Ok(vec![Ok(Outcome::Stale); 2]));
    }
}
