//! What the worker counts.

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Events that cursors moved on by: each is a change.
    pub changes: u64,
    /// Times that a slot was found with activity alone.
    pub activity_changes: u64,
    /// Records written for cursors and removals.
    pub cursor_records: u64,
    /// Records written for activity alone.
    pub activity_records: u64,
    /// Records that the store refused, and whole batches.
    pub failures: u64,
    /// Records tried again.
    pub retries: u64,
    /// Cursors and removals that the store left aside for records as new or newer.
    pub fenced: u64,
    /// Last cursors of ended streams that a full store had no place for.
    pub given_up: u64,
}
