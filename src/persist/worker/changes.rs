//! The changes that were found, in their order: how old the oldest is that is not durable, and what a flush waits for.
//!
//! In: changes as they are found. Out: the oldest that still waits.
//! Laws: each change has a number, greater than all before it; a change that was written is passed over the next time
//! that somebody asks; the lists are never much longer than the slots that wait.

use crate::base::Tick;
use crate::slot::SlotKey;
use std::collections::VecDeque;

/// A change that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) number: u64,
    pub(super) key: SlotKey,
    /// When it was made, at the earliest.
    pub(super) since: Tick,
}

/// See the module's page.
#[derive(Default)]
pub(super) struct Changes {
    /// Those of cursors, and ends of streams.
    cursors: VecDeque<Change>,
    /// Those of activity alone.
    activity: VecDeque<Change>,
    newest: u64,
}

impl Changes {
    /// Notes a change and numbers it.
    pub(super) fn note(&mut self, key: SlotKey, since: Tick, is_news: bool) -> u64 {
        self.newest += 1;
        let list = if is_news { &mut self.cursors } else { &mut self.activity };
        list.push_back(Change { number: self.newest, key, since });
        self.newest
    }

    /// Passes over what does not wait any more, where `dirty` slots do.
    pub(super) fn settle(&mut self, dirty: usize, waits: impl Fn(&Change) -> bool) {
        for list in [&mut self.cursors, &mut self.activity] {
            while list.pop_front_if(|change| !waits(change)).is_some() {}
            if list.len() > 4 * dirty + 1_024 {
                list.retain(&waits);
            }
        }
    }

    /// The number of the change that was found last.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The number of the oldest change; `None` where there is none. Settle first.
    pub(super) fn oldest(&self) -> Option<u64> {
        [&self.cursors, &self.activity].into_iter().filter_map(|list| list.front()).map(|change| change.number).min()
    }

    /// When the oldest change of a cursor was made, at the earliest. Settle first.
    pub(super) fn oldest_cursor(&self) -> Option<Tick> {
        self.cursors.front().map(|change| change.since)
    }

    /// Changes of activity alone.
    pub(super) fn activity(&self) -> usize {
        self.activity.len()
    }
}
