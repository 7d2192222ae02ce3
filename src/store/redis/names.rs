//! The keys of the store on the server, and how names stand in them.
//!
//! In: a prefix, names. Out: keys and members of sorted sets; names again.
//! Law: members are in the order of their names: those of the session's bytes first, then of the stream's number. All
//! keys of one session have one hash tag.

use crate::base::StreamName;
use std::fmt::Write;

/// Sorted sets that the names of records are spread over. A part of the layout.
pub(super) const BUCKETS: u8 = 64;

/// The prefix of all keys.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: Box<str>,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// A key of the store's own numbers.
    pub(super) fn meta(&self, what: &str) -> String {
        format!("{}:{{meta}}:{what}", self.prefix)
    }

    /// The sorted set of the names in a bucket.
    pub(super) fn index(&self, bucket: u8) -> String {
        format!("{}:{{{bucket:02x}}}:names", self.prefix)
    }

    /// The record with this member in a bucket.
    pub(super) fn record(&self, bucket: u8, member: &str) -> String {
        format!("{}:{{{bucket:02x}}}:{member}", self.prefix)
    }
}

/// Logs.
impl Names {
    /// The stream of a log's blocks, with this member in a bucket.
    pub(super) fn log(&self, bucket: u8, member: &str) -> String {
        format!("{}:{{{bucket:02x}}}:log:{member}", self.prefix)
    }

    /// Who owns a log, and its totals.
    pub(super) fn log_state(&self, bucket: u8, member: &str) -> String {
        format!("{}:{{{bucket:02x}}}:own:{member}", self.prefix)
    }
}

/// The bucket of a session: FNV-1a (Fowler, Noll and Vo), folded.
pub(super) fn bucket(session: &[u8]) -> u8 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = session.iter().fold(0x811c_9dc5, step);
    ((hash ^ hash >> 16 ^ hash >> 8) % u32::from(BUCKETS)) as u8
}

/// The member of a name. A dot sorts before every digit, so a session comes before those that it begins.
pub(super) fn member(name: &StreamName) -> String {
    let mut member = String::with_capacity(name.session.len() * 2 + 17);
    for byte in &name.session {
        // Writing to a string cannot fail.
        let _ = write!(member, "{byte:02x}");
    }
    let _ = write!(member, ".{:016x}", name.stream);
    member
}

/// The name of a member. `None`: it is none of ours.
pub(super) fn name(member: &[u8]) -> Option<StreamName> {
    let (session, stream) = str::from_utf8(member).ok()?.split_once('.')?;
    if stream.len() != 16 || !session.len().is_multiple_of(2) || !session.is_ascii() {
        return None;
    }
    let digits = |at: usize| u8::from_str_radix(session.get(at..at + 2)?, 16).ok();
    let session: Option<Box<[u8]>> = (0..session.len()).step_by(2).map(digits).collect();
    Some(StreamName { session: session?, stream: u64::from_str_radix(stream, 16).ok()? })
}
