//! An opened store: a writing half and a reading half of each of its two kinds.

use super::log::LogStore;
use super::session::SessionStore;

/// A store that was opened: a half that writes, for the persister, and a half that reads, for look-ups, which a slow
/// write must not hold up.
pub struct Opened {
    /// Writes cursors.
    pub sessions: Box<dyn SessionStore>,
    /// Reads cursors.
    pub lookup: Box<dyn SessionStore>,
    /// Writes logs, where the store can.
    pub logs: Option<Box<dyn LogStore>>,
    /// Reads logs.
    pub log_lookup: Option<Box<dyn LogStore>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}
