//! What the models share: one way to run them under loom, on real threads, and under Miri.
//!
//! In: the body of a model: a function that starts threads, uses segno's slots and persister, and asserts. Out: a
//! failure if an assertion fails in any order of steps that is tried; a line on standard error with the number of
//! orders.
//! Laws: each file in `tests/` states one property in its first line, and whether loom explores it to the end. Each
//! property has mutations: `segno::sync::weakened` removes one end of a happens-before edge, or two steps are swapped.
//! Loom must find each mutation, with the failure that the test names. This shows that the models find real faults.
//!
//! A body does not depend on how it is run, except that it takes [`thread`] from here:
//!
//! | | command in this folder | what is tried |
//! |---|---|---|
//! | loom | `./run loom` | every order of steps, every value a load may see; mutations |
//! | threads | `./run threads` | the orders that occur in some thousand runs, with the real arc-swap and crossbeam |
//! | Miri | `./run miri` | one run for each of many seeds, with checks for races, provenance and leaks |
//!
//! `LOOM_MAX_PREEMPTIONS` replaces every model's own bound: 100 is as good as no bound, and takes days for some models.
//! `SEGNO_MODEL_RUNS` sets how often real threads run each model.

use segno::base::{Cursor, EventId, Span, StreamName, Tick};
use segno::clock::Clock;
use segno::persist::parts::{self, End};
use segno::persist::{Opener, PersistConfig, PersistControl, WorkerConfig};
use segno::slot::{Published, SlotDrain, SlotKey};
use segno::store::scripted::{Behaviour, Call, Scripted};
use segno::store::{MemoryStore, Opened, Record, SessionStore, StoreError, memory};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Threads of a model.
#[cfg(loom)]
pub use loom::thread;
/// Threads of a model.
#[cfg(not(loom))]
pub use std::thread;

/// Runs a model in every possible order.
pub fn exhaustive(model: impl Fn() + Sync + Send + 'static) {
    explore(None, model);
}

/// Runs a model in every order with at most this many pre-emptions.
pub fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    explore(Some(preemptions), model);
}

/// Runs a model in which a desk takes a question before a word, if it has both. Outside loom, chance decides.
pub fn questions_first(model: impl FnOnce()) {
    #[cfg(loom)]
    segno::sync::questions_first(model);
    #[cfg(not(loom))]
    model();
}

fn explore(bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let told = std::env::var("LOOM_MAX_PREEMPTIONS").ok().and_then(|n| n.parse().ok());
    let bound = told.or(bound);
    let report = Report { bound, begun: Instant::now(), runs: Arc::default() };
    let runs = Arc::clone(&report.runs);
    run(bound, move || {
        runs.fetch_add(1, Ordering::Relaxed);
        model();
    });
}

#[cfg(loom)]
fn run(bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 10_000;
    builder.check(model);
}

#[cfg(not(loom))]
fn run(_bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let default = if cfg!(miri) { 1 } else { 2_000 };
    let runs = std::env::var("SEGNO_MODEL_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    (0..runs).for_each(|_| model());
}

/// Prints how often a model was run, even if it failed.
struct Report {
    bound: Option<usize>,
    begun: Instant,
    runs: Arc<AtomicU64>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let file = std::env::args().next().unwrap_or_default();
        let file = file.rsplit(['/', '\\']).next().and_then(|file| file.split('-').next()).unwrap_or_default();
        let thread = std::thread::current();
        let how = match (cfg!(loom), self.bound) {
            (false, _) => "sampled".to_owned(),
            (true, None) => "all".to_owned(),
            (true, Some(bound)) => format!("preemptions<={bound}"),
        };
        let (runs, ms) = (self.runs.load(Ordering::Relaxed), self.begun.elapsed().as_millis());
        let end = if std::thread::panicking() { "failed" } else { "held" };
        // Not by `eprintln`, whose output the test harness captures. If standard error is closed, nothing is lost.
        let line = format!("explored {file}::{} {how} {runs} {ms}ms {end}\n", thread.name().unwrap_or("?"));
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Tests that must fail: the model without one end of an edge. The text is part of the failure's message. Loom's own
/// messages are "deadlock", if all threads sleep, and "Causality violation", if a read and a write could race.
#[macro_export]
macro_rules! must_fail_without {
    ($($test:ident: $edge:ident $end:ident, $run:expr, $failure:literal;)*) => {
        $(
            #[cfg(loom)]
            #[test]
            #[should_panic(expected = $failure)]
            fn $test() {
                segno::sync::weakened(segno::sync::Edge::$edge, segno::sync::End::$end, || $run);
            }
        )*
    };
}

/// A stream's name.
pub fn name(stream: u64) -> Arc<StreamName> {
    Arc::new(StreamName { session: b"s"[..].into(), stream })
}

/// A cursor after `sequence` events.
///
/// # Panics
/// Never: the id is short.
pub fn cursor(sequence: u64) -> Cursor {
    let id = EventId::from_bytes(sequence.to_string().as_bytes()).expect("a number is a short id");
    Cursor { sequence, id, at: Tick::ZERO }
}

/// The sequence of a published cursor; 0 without one.
pub fn sequence(published: Option<Published>) -> u64 {
    published.and_then(|p| p.cursor).map_or(0, |cursor| cursor.sequence)
}

/// Takes everything off the queue, and reads each slot.
pub fn drain_all(drain: &mut SlotDrain, mut each: impl FnMut(SlotKey, Option<Published>)) {
    while let Some(key) = drain.pop() {
        let read = drain.read(key);
        each(key, read);
    }
}

/// A store in memory, and the persister's first thread, as a function to run on a thread of the model. `window` is the
/// flush window; if it is zero, a flusher with nothing to do sleeps until it is woken. Nothing in the store ever
/// expires, so the store is not swept; and there are no logs.
pub fn persister(drain: SlotDrain, window: Span) -> (Store, PersistControl, End, impl FnOnce() + Send) {
    let store = Store(memory::Shared::new(10));
    let open: Opener = Box::new({
        let store = store.clone();
        move || Ok(Opened { logs: None, log_lookup: None, ..store.0.open() })
    });
    let worker = WorkerConfig { window, ..WorkerConfig::default() };
    let config = PersistConfig { worker, idle: Span::MAX, log_bytes: 0, ..PersistConfig::new(77, 1) };
    let (control, end, run, _) = parts::threads(config, drain, open, clock());
    (store, control, end, run)
}

/// A clock that stands still.
pub fn clock() -> Clock {
    Clock::stopped(Tick::from_millis(1_000))
}

/// What a persister wrote.
#[derive(Clone)]
pub struct Store(memory::Shared);

impl Store {
    /// The sequence of a stored cursor; 0 without one.
    ///
    /// # Panics
    /// Never: memory does not fail.
    pub fn sequence(&self, stream: u64) -> u64 {
        let found = self.0.clone().get_last_event_id(&name(stream)).expect("memory does not fail");
        found.map_or(0, |cursor| cursor.sequence)
    }
}

/// A half of a store. Its cursor of stream 1 has the number of the half's opening as its sequence.
pub type Half = Scripted<MemoryStore>;

/// A half of this opening, which calls `let_go` when it is dropped.
///
/// # Panics
/// Never: memory does not fail.
pub fn half(opening: u64, let_go: impl FnOnce() + Send + 'static) -> Box<Half> {
    scripted(opening, let_go, || Behaviour::Passes)
}

/// The same, but failed for good.
///
/// # Panics
/// Never: memory does not fail.
pub fn closed_half(opening: u64, let_go: impl FnOnce() + Send + 'static) -> Box<Half> {
    scripted(opening, let_go, || Behaviour::Fails(StoreError::Closed))
}

fn scripted(opening: u64, let_go: impl FnOnce() + Send + 'static, behaviour: fn() -> Behaviour) -> Box<Half> {
    let mut store = Box::new(MemoryStore::new(1));
    let record = Record { epoch: 1, sequence: opening, id: cursor(1).id, last_seen_ms: 0 };
    store.store_last_event_id(&name(1), &record).expect("memory does not fail");
    let let_go = WhenDropped(Some(Box::new(let_go)));
    Box::new(Scripted::new(store, move |call| {
        // The script owns this value, and is dropped after the store.
        let _ = &let_go;
        if call == Call::Get { behaviour() } else { Behaviour::Passes }
    }))
}

/// Calls a function when it is dropped, unless a test has failed.
struct WhenDropped(Option<Box<dyn FnOnce() + Send>>);

impl Drop for WhenDropped {
    fn drop(&mut self) {
        if let Some(call) = self.0.take().filter(|_| !std::thread::panicking()) {
            call();
        }
    }
}
