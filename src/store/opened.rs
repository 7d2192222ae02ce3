//! An opened store: a writing half and a reading half, each for records and for logs.

use super::log::{LogFollower, LogStore};
use super::session::SessionStore;

/// An opened store: a half that writes, and a half that reads, for look-ups, which a slow write must not hold up.
pub struct Opened {
    /// Writes records.
    pub sessions: Box<dyn SessionStore>,
    /// Reads records.
    pub lookup: Box<dyn SessionStore>,
    /// Writes logs; `None` where the store keeps none.
    pub logs: Option<Box<dyn LogStore>>,
    /// Reads logs; `None` where the store keeps none.
    pub log_lookup: Option<Box<dyn LogStore>>,
    /// Follows logs that other processes write; `None` where the store is of one process, or keeps no logs.
    pub follower: Option<Box<dyn LogFollower>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}
