//! What the models share: one way to run them under loom, on real threads, and under Miri.
//!
//! In: the body of a model, a function over segno's slots and persister that starts threads and asserts. Out: a failure in
//! any order of its steps that is tried; a line on stderr that says how many were.
//! Laws: each file in `tests/` states one property in its first line, and whether loom explores it to the end. Beside each
//! property stand mutations: one end of an edge taken away by `segno::sync::weakened`, or two steps swapped. Loom must
//! find each of them, with the failure that is named; so the models are known to bite.
//!
//! The bodies know nothing of who runs them, but take [`thread`] from here:
//!
//! | | command in this folder | what is tried |
//! |---|---|---|
//! | loom | `./run loom` | every order of steps, every value a load may see; mutations |
//! | threads | `./run threads` | whatever happens in some thousand runs, with arc-swap and crossbeam themselves |
//! | Miri | `./run miri` | the same once for each of many seeds, with races, provenance and leaks checked |
//!
//! `LOOM_MAX_PREEMPTIONS` takes the place of every model's own bound: 100 is as good as none, and takes days for some.
//! `SEGNO_MODEL_RUNS` says how often real threads run each.

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

/// Runs a model in every order there is.
pub fn exhaustive(model: impl Fn() + Sync + Send + 'static) {
    explore(None, model);
}

/// Runs a model in every order with at most so many pre-emptions.
pub fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    explore(Some(preemptions), model);
}

/// Runs a model whose desks hear a question before a word, where there are both. Outside of loom that is up to chance.
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

/// Says how often a model was run, also when it failed.
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
        // Not through `eprintln`, which the test harness keeps to itself. Where nobody listens, nothing is lost.
        let line = format!("explored {file}::{} {how} {runs} {ms}ms {end}\n", thread.name().unwrap_or("?"));
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Tests that must fail: the model without one end of an edge. The text is that of the failure; loom's own are "deadlock",
/// where everybody sleeps, and "Causality violation", where a read was not kept apart from a write.
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

/// A cursor after so many events.
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

/// Drains everything that is on the queue, and reads each slot.
pub fn drain_all(drain: &mut SlotDrain, mut each: impl FnMut(SlotKey, Option<Published>)) {
    while let Some(key) = drain.pop() {
        let read = drain.read(key);
        each(key, read);
    }
}

/// A store in memory, and the persister's first thread before it: run it on a thread of the model. `window`: what is
/// coalesced; with none, a flusher with nothing to do sleeps until it is woken. Nothing in the store is ever too old, so it
/// is not searched; and there are no logs.
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

/// A half of a store. The cursor of stream 1 that it holds has the number of the half's opening for its sequence.
pub type Half = Scripted<MemoryStore>;

/// A half of this opening, which calls `let_go` when it is dropped.
///
/// # Panics
/// Never: memory does not fail.
pub fn half(opening: u64, let_go: impl FnOnce() + Send + 'static) -> Box<Half> {
    scripted(opening, let_go, || Behaviour::Passes)
}

/// The same, failed for good.
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
        // The script owns it, and is dropped after the store.
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
