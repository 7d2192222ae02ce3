//! A cursor as a store keeps it.
//!
//! In: the parts of a cursor, and the epoch of the owner that writes it. Out: a record; which of two is newer.
//! Law: records of one stream are ordered by epoch, then by sequence.

use crate::base::EventId;

/// A cursor as a store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The epoch of the owner that wrote it.
    pub epoch: u64,
    /// How many events this owner had delivered on the stream, from 1.
    pub sequence: u64,
    /// The id of the last of them.
    pub id: EventId,
    /// When the session was last active, in milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
}

impl Record {
    /// Whether this record may replace `other`.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.epoch, self.sequence) > (other.epoch, other.sequence)
    }
}
