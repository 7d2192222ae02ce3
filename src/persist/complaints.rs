//! What a store thread says of failures, and how often.
//!
//! In: failures, and the times of them. Out: lines for the journal.
//! Laws: at most one log line every few seconds, so that a store that fails does not fill the disk with log lines;
//! saying one never holds up the thread, so that nothing that reads log lines can delay a cursor.

use crate::base::{Span, Tick};
use crate::journal::{Journal, Level};

/// Between two log lines.
const QUIET: Span = Span::from_secs(5);

/// Says what is wrong, and remembers when it did so last.
pub(super) struct Complaints {
    journal: Journal,
    last: Option<Tick>,
}

impl Complaints {
    /// Complaints for this journal.
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, last: None }
    }

    /// Says `what` went wrong at `now`, unless something was said just before.
    pub(super) fn say(&mut self, now: Tick, what: impl FnOnce() -> String) {
        if self.last.is_none_or(|at| now.since(at) >= QUIET) {
            self.last = Some(now);
            self.journal.say(Level::Warn, what());
        }
    }
}
