//! The persister: cursors from slots, and events from logs, on their way into a store.
//!
//! In: slots that changed, log blocks, look-ups. Out: records in a store, written in coalesced batches; answers.
//!
//! [`Worker`] decides, on no thread and with no clock: which slots are due, what a batch holds, what is tried again and
//! when. [`Persister`] runs it on a thread of its own beside the store, and look-ups on a second one, so that a slow
//! write never holds up a resume.
//!
//! # Laws
//! 1. Only what was published is written, so durable <= delivered; a write that is not newer changes nothing.
//! 2. Retries carry slots, not values: each attempt reads the slot again.
//! 3. Nothing is given up: what the store refuses stays dirty until it takes it, and every failure is counted and said.
//!    But the last cursor of a stream that has ended is, and is counted, where the store holds as many records as it
//!    may.
//! 4. Slots are written in the order in which they became due, so a busy one cannot keep a quiet one waiting.
//! 5. Until the store has handed out an epoch nothing is written.
//! 6. A store call that hangs holds up neither the reactor, nor look-ups, nor the end of the process.
//! 7. What nobody has used for long leaves the store, so that it does not grow for ever.

mod breaker;
mod complaints;
mod config;
mod control;
mod flusher;
mod logs;
mod lookups;
mod message;
#[doc(hidden)]
pub mod parts;
mod persister;
mod sweep;
mod waits;
mod worker;
mod writing;

#[cfg(test)]
mod tests;

pub use config::{PersistConfig, WorkerConfig};
pub use control::{PersistControl, Refused};
pub use message::{Opener, Reply, Wanted};
pub use persister::{Persister, Unflushed};
pub use worker::Worker;
