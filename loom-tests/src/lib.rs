//! What the models share.
//!
//! Each file in `tests/` states one property in its first line, and whether it is explored to the end or with bounded
//! pre-emptions. Beside each property stand mutations that must fail: one end of an edge taken away by
//! `segno::sync::weakened`, or two steps of the protocol swapped. So the models are known to bite.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release` in this folder.
#![cfg(loom)]

use segno::base::{Cursor, EventId, StreamName, Tick};
use segno::slot::{Published, SlotDrain, SlotKey};
use segno::sync::{Edge, End, weakened};
use std::sync::Arc;

/// Explores a model to its end.
pub fn exhaustive(model: impl Fn() + Sync + Send + 'static) {
    loom::model(model);
}

/// Explores a model with at most so many pre-emptions.
pub fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Runs a model that must fail because one end of an edge is taken away.
///
/// # Panics
/// When the model does not fail: then the edge is not needed, or the model does not see that it is.
pub fn must_fail_without(edge: Edge, end: End, model: impl Fn() + Sync + Send + 'static + Clone) {
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| weakened(edge, end, || exhaustive(model))));
    assert!(failed.is_err(), "the model holds without the {end:?} end of {edge:?}");
}

/// Runs a model of a protocol with a mistake in it, which must fail.
///
/// # Panics
/// When the model does not fail.
pub fn must_fail(what: &str, model: impl Fn() + Sync + Send + 'static) {
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| exhaustive(model)));
    assert!(failed.is_err(), "the model holds although {what}");
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
pub fn sequence(published: Option<Arc<Published>>) -> u64 {
    published.and_then(|p| p.cursor.as_ref().map(|cursor| cursor.sequence)).unwrap_or(0)
}

/// Drains everything that is on the queue, and reads each slot.
pub fn drain_all(drain: &mut SlotDrain, mut each: impl FnMut(SlotKey, Option<Arc<Published>>)) {
    while let Some(key) = drain.pop() {
        let read = drain.read(key);
        each(key, read);
    }
}
