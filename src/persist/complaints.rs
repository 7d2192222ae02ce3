//! How often a thread says that something is wrong.
//!
//! In: the times of failures. Out: whether this one is said.
//! Law: at most one log line every few seconds, so that a store that fails does not fill the disk with log lines.

use crate::base::{Span, Tick};

/// Between two log lines.
const QUIET: Span = Span::from_secs(5);

/// When something was said last.
#[derive(Default)]
pub(super) struct Complaints(Option<Tick>);

impl Complaints {
    /// Whether a failure at `now` is said. Then it counts as said.
    pub(super) fn may_say(&mut self, now: Tick) -> bool {
        let may = self.0.is_none_or(|at| now.since(at) >= QUIET);
        if may {
            self.0 = Some(now);
        }
        may
    }
}
