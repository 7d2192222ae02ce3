//! Trackers on the caller's own thread: for programs that do their own I/O and want streams to resume.
//!
//! In: body bytes of the caller's upstream connections. Out: bytes to forward, with duplicates taken out; cursors in
//! the store.
//!
//! Laws: two trackers of one key share one account, so that an event which comes on both is forwarded once; a key is
//! restored before its first event, from the store or from what the store has not taken yet; a store that is away
//! refuses no tracker, and the tracker says so; what is published has been forwarded.

mod keys;
mod state;
#[cfg(test)]
mod tests;
mod tracker;

pub(super) use keys::Trackers;
pub use keys::{NotRestored, TrackerError};
pub use tracker::InlineTracker;
