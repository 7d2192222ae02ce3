//! The persister: cursors from slots, and events from logs, on their way into a store.
//!
//! In: slots that changed, log blocks, look-ups. Out: records in a store, written in coalesced batches; answers.
//!
//! ```text
//! slots ------------> worker (wheel, batch, retry heap) --+
//! log blocks -------> queue of log blocks ----------------+-> writing half of the store    thread 1: Flusher
//! flush, end -------> Waits                              -+
//! look-ups --------------------------------------------------> reading half of the store   thread 2: LookupThread
//! logs to follow --------------------------------------------> following half              thread 3: FollowThread
//! ```
//!
//! [`Worker`] decides which slots are due, what a batch holds, what is tried again and when; it has no thread and no
//! clock. [`Persister`] runs the worker on a thread of its own, beside the store. Look-ups run on a second thread, so
//! that a slow write never holds up a resume. Where processes share logs, a third one follows those of others.
//!
//! # Laws
//! 1. Only what was published is written, so durable <= delivered; a write that is not newer changes nothing.
//! 2. Retries carry slots, not values: each attempt reads the slot again.
//! 3. Nothing is given up: what the store refuses stays dirty until the store takes it, and every failure is counted
//!    and logged. There is one exception, which is counted too: the last cursor of a stream that has ended, where the
//!    store is full.
//! 4. Slots are written in the order in which they became due, so a busy slot cannot keep a quiet one waiting.
//! 5. Nothing is written until the store has handed out an epoch.
//! 6. A store call that hangs holds up neither the reactor, nor look-ups, nor the end of the process.
//! 7. A log that processes share is written by its owner alone: each claim is compared with the log's fence by the store,
//!    and who is refused is told so.
//! 8. Records that nobody has used for long are removed, so that the store does not grow for ever.

mod breaker;
mod complaints;
mod config;
mod control;
mod flusher;
mod following;
mod logs;
mod lookups;
mod message;
mod owning;
#[doc(hidden)]
pub mod parts;
mod persister;
mod spans;
mod sweep;
mod waits;
mod worker;
mod writing;

#[cfg(test)]
mod tests;

pub use config::{PersistConfig, WorkerConfig};
pub use control::{PersistControl, Refused};
pub use message::{FollowedLog, Listener, LogNews, Opener, Reply, Wanted};
pub use persister::{Persister, Unflushed};
pub use worker::Worker;
