//! What a store puts off while it writes is done every now and then, and before the end.

use crate::base::{Cursor, EventId, Span, StreamName, Tick};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::persist::*;
use crate::slot::slots;
use crate::store::memory::Shared;
use crate::store::{Opened, Outcome, Record, SessionStore, StoreError, Write};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;
use std::time::Duration;

/// A store that owes something after each write. Tells each call that asks it to settle, refuses the first of them, and
/// has done it after three.
struct Debtor {
    store: Box<dyn SessionStore>,
    owes: u32,
    calls: Sender<bool>,
    is_first: bool,
}

impl SessionStore for Debtor {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        self.store.next_epoch()
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        self.store.secret(candidate)
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<Record>, StoreError> {
        self.store.get_last_event_id(name)
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        self.owes = 3;
        self.store.store_event_ids_batch(items)
    }

    fn store_last_event_id(&mut self, name: &StreamName, cursor: &Record) -> Result<Outcome, StoreError> {
        self.store.store_last_event_id(name, cursor)
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        self.store.remove(name)
    }

    fn scan(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        self.store.scan(after, limit)
    }

    fn is_settled(&self) -> bool {
        self.owes == 0
    }

    fn settle(&mut self, all: bool) -> Result<(), StoreError> {
        self.calls.send(all).unwrap();
        if std::mem::take(&mut self.is_first) {
            return Err(StoreError::Refused("not now".into()));
        }
        self.owes = if all { 0 } else { self.owes - 1 };
        Ok(())
    }
}

/// A persister over such a store whose sweep makes pauses of so long, the calls, and a function that publishes.
fn debtor(pause: Span) -> (Persister, Receiver<bool>, Arc<Metrics>, impl FnMut(u64)) {
    let (mut writer, drain) = slots(1);
    let ((calls, told), metrics) = (unbounded(), Arc::new(Metrics::default()));
    let worker = WorkerConfig { window: Span::from_millis(1), ..WorkerConfig::default() };
    let config = PersistConfig { worker, sweep_pause: pause, ..PersistConfig::new(77, 1) };
    let open: Opener = Box::new(move || {
        let opened = Shared::new(10).open();
        let sessions = Debtor { store: opened.sessions, owes: 0, calls: calls.clone(), is_first: true };
        Ok(Opened { sessions: Box::new(sessions), ..opened })
    });
    let persister = Persister::start(config, drain, open, Arc::clone(&metrics), Clock::start()).unwrap();
    let key = writer.take(Arc::new(StreamName { session: b"s"[..].into(), stream: 1 })).unwrap();
    let publish = move |sequence: u64| {
        let id = EventId::from_bytes(b"x").unwrap();
        writer.publish(key, &Cursor { sequence, id, at: Tick::ZERO });
    };
    (persister, told, metrics, publish)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_a_store_has_put_off_is_done_every_now_and_then_until_nothing_is_left() {
    let (persister, told, metrics, mut publish) = debtor(Span::from_millis(1));
    let clock = Clock::start();
    let began = clock.now();
    publish(1);
    // The first was refused: that is a failure, and it comes again in its time.
    let calls: Vec<bool> = (0..4).map(|_| told.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(calls, [false; 4]);
    let took = clock.now().since(began);
    assert!(took >= Span::from_millis(90), "three pauses: {took:?}");
    assert_eq!(metrics.persistence().failure.get(), 1);
    let left = persister.shutdown(Span::from_secs(60));
    assert!(left.cursors.is_empty() && told.is_empty(), "nothing was left to do");
}

#[test]
fn what_a_store_has_put_off_is_done_for_all_before_the_end() {
    let (persister, told, _, mut publish) = debtor(Span::from_secs(3_600));
    publish(1);
    assert_eq!(told.recv_timeout(LONG), Ok(false));
    publish(2);
    assert!(persister.shutdown(Span::from_secs(60)).cursors.is_empty());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [true]);
}
