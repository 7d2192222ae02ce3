//! What came of the attempts to take another configuration over while running.
//!
//! In: outcomes. Out: counters, and when the last one succeeded.
//! Law: reading never waits.

use crate::sync::Counter;

/// Attempts to reload the configuration.
#[derive(Debug)]
pub struct Reloads {
    /// Configurations that were taken over.
    pub taken: Counter,
    /// Configurations that were not: the one before went on.
    pub refused: Counter,
    /// Attempts that the reactor did not answer in time. What came of them is counted besides, once it is known.
    pub unknown: Counter,
    /// Whether the last attempt succeeded (1) or not (0); 1 before the first.
    pub last_succeeded: Counter,
    /// When the configuration that runs was read, in seconds since the Unix epoch.
    pub read_at: Counter,
}

impl Default for Reloads {
    fn default() -> Self {
        let last_succeeded = Counter::default();
        last_succeeded.set(1);
        let [taken, refused, unknown, read_at] = [(); 4].map(|()| Counter::default());
        Self { taken, refused, unknown, last_succeeded, read_at }
    }
}

impl Reloads {
    /// A configuration was taken over, at this time by the calendar.
    pub fn on_taken(&self, unix_secs: u64) {
        self.taken.add(1);
        self.last_succeeded.set(1);
        self.read_at.set(unix_secs);
    }

    /// It is not known whether a configuration is taken over.
    pub fn on_unknown(&self) {
        self.unknown.add(1);
        self.last_succeeded.set(0);
    }

    /// A configuration was not taken over.
    pub fn on_refused(&self) {
        self.refused.add(1);
        self.last_succeeded.set(0);
    }
}
