//! What connections hold beside the logs: input that is not used yet, and bytes on their way out.
//!
//! In: connections whose buffers may have changed. Out: how many bytes all of them hold; whether they are tight; the
//! connection to give way, if they hold too much.
//! Laws: an input is followed by a recount of what it touched, so the count is exact between two inputs; of those that
//! wait for their sender, the one that has waited longest gives way first.

use super::keys::ConnKey;
use crate::track::Budget;
use std::collections::{BTreeMap, HashMap};

/// The capacity that the list of touched connections keeps.
const KEPT: usize = 64;

/// The bytes of all connections.
pub(super) struct Buffers {
    budget: Budget,
    /// Connections to recount.
    touched: Vec<ConnKey>,
    /// Connections with a part of a head, or of a body that is held back, by when that began.
    waiting: BTreeMap<u64, ConnKey>,
    /// By what each of them is found there.
    since: HashMap<ConnKey, u64>,
    begun: u64,
}

impl Buffers {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            budget: Budget::new(budget),
            touched: Vec::new(),
            waiting: BTreeMap::new(),
            since: HashMap::new(),
            begun: 0,
        }
    }

    /// Another budget from now on.
    pub(super) fn set_budget(&mut self, budget: usize) {
        self.budget.set_limit(budget);
    }

    pub(super) fn used(&self) -> usize {
        self.budget.used()
    }

    /// Whether so much is held that answers and bodies are read in small parts only. The rest is left to heads.
    pub(super) fn are_tight(&self) -> bool {
        self.budget.used() > self.budget.limit() / 4 * 3
    }

    /// Whether a connection is to be recounted, or too much is held.
    #[inline]
    pub(super) fn are_unsettled(&self) -> bool {
        !self.touched.is_empty() || self.budget.is_over()
    }

    pub(super) fn touch(&mut self, conn: ConnKey) {
        self.touched.push(conn);
    }

    pub(super) fn next_touched(&mut self) -> Option<ConnKey> {
        let next = self.touched.pop();
        if next.is_none() && self.touched.capacity() > KEPT {
            self.touched.shrink_to(KEPT);
        }
        next
    }

    /// A connection that held `charged` bytes holds `now`.
    pub(super) fn recount(&mut self, charged: u32, now: u32) {
        self.budget.give(charged as usize);
        self.budget.force_take(now as usize);
    }

    /// A connection begins to wait for its sender.
    pub(super) fn wait(&mut self, conn: ConnKey) {
        self.begun += 1;
        self.waiting.insert(self.begun, conn);
        self.since.insert(conn, self.begun);
    }

    pub(super) fn wait_no_more(&mut self, conn: ConnKey) {
        if let Some(since) = self.since.remove(&conn) {
            self.waiting.remove(&since);
        }
    }

    /// If too much is held, the connection that has waited for its sender for longest.
    pub(super) fn gives_way(&mut self) -> Option<ConnKey> {
        if !self.budget.is_over() {
            return None;
        }
        self.waiting.first_key_value().map(|(_, conn)| *conn)
    }

    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
