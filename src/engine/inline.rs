//! Trackers on the caller's own thread: for programs that do their own I/O and want streams to resume.
//!
//! In: body bytes of the caller's upstream connections. Out: bytes to forward, with duplicates taken out; cursors in
//! the store.
//!
//! Laws: two trackers of one key share one account, so that an event which comes on both is forwarded once; a key is
//! restored before its first event, from the store or from what the store has not taken yet; what is published has been
//! forwarded.

mod keys;
#[cfg(test)]
mod tests;
mod tracker;

pub use keys::TrackerError;
pub(super) use keys::Trackers;
pub use tracker::InlineTracker;
