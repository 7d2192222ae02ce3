//! Where cursors outlive a process: what a store promises, and a store in memory.
//!
//! In: cursors by session and stream, from the store threads only. Out: the same cursors, later.
//!
//! # What a store promises
//! 1. A call that returns `Ok` has done what it says. After an `Err` nothing is known of the call, and what was
//!    acknowledged before still stands.
//! 2. No write moves a cursor backwards: cursors of one stream are ordered by epoch, then by sequence. A write that is
//!    not newer than the record changes nothing and returns [`Outcome::Stale`].
//! 3. Each epoch is handed out once and is greater than all before it, no matter who asks. It is the fencing token of
//!    Kleppmann, "How to do distributed locking" (2016).
//! 4. The items of a batch stand alone: each has its own result, in the order given, and one that fails does not make
//!    another fail.
//! 5. Activity only moves forward, and makes no record where there is none.
//! 6. A removed record is gone for every later call, until a newer cursor is written. A removal names an epoch and a
//!    sequence, as a cursor does, and takes no record that is newer than these.
//! 7. Names come in the order of their session's bytes, then of the stream's number.
//! 8. The secret is the same for everybody who asks, and lasts as long as the records do.
//! 9. A store that has failed for good says so with [`StoreError::Closed`], or [`StoreError::Gone`] where its file is
//!    gone: then both halves are dropped and the store is opened again.
//! 10. An expired record is removed only if its last activity lies before the time given, and that is checked in the
//!     same step: a newer write beside it is not lost.
//!
//! Calls may block, so they are made on the store threads and never on the reactor's.

pub mod conformance;
pub mod encoding;
mod error;
mod log;
pub mod memory;
mod opened;
mod record;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "redis")]
pub mod redis;
#[doc(hidden)]
pub mod scripted;
mod session;

pub use error::{ServerFault, StoreError};
pub use log::{
    Claim, FOLLOWED_MS, FollowNews, Following, Lease, LogBlock, LogBounds, LogEnd, LogFollower, LogOutcome, LogStore,
    LogWrite, StoredLog,
};
pub use memory::MemoryStore;
pub use opened::Opened;
pub use record::Record;
pub use session::{Outcome, SessionStore, Write};
