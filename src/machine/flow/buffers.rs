//! Who gives way where connections hold more than `buffer_budget`.
//!
//! In: connections that an input has touched. Out: those that wait for their sender are told to come back, the one that
//! has waited longest first, until the budget is kept.
//! Law: whoever sends a whole head at once is never told so; answers and bodies that pass wait instead
//! ([`room`](crate::machine::room)), and go on in small parts.

use crate::base::Count;
use crate::machine::Machine;
use crate::machine::conn::{ClientState, Conn};
use crate::machine::keys::ConnKey;
use crate::machine::notice::Notice;

impl Machine {
    /// Recounts what connections hold, and has some give way if it is too much.
    pub(in crate::machine) fn settle_buffers(&mut self) {
        loop {
            while let Some(conn) = self.conns.buffers.next_touched() {
                let waits = self.conns.get(conn).is_some_and(|c| self.waits_for_sender(c));
                self.conns.recount(conn, waits);
            }
            let Some(conn) = self.conns.buffers.gives_way() else { return };
            self.give_way(conn);
            self.finish();
        }
    }

    /// Whether a connection holds a part of a head, or of a body that is held back.
    fn waits_for_sender(&self, c: &Conn) -> bool {
        let held = || c.exchange.and_then(|key| self.exchanges.get(key)).is_some_and(|x| x.is_held());
        match c.client_state() {
            _ if c.input.is_empty() => false,
            Some(ClientState::Head) => true,
            Some(ClientState::Busy) => !c.body.is_done() && held(),
            _ => false,
        }
    }

    fn give_way(&mut self, conn: ConnKey) {
        self.cx.counts.one(Count::RequestsCrowdedOut);
        self.cx.counts.one(Count::OverBufferBudget);
        self.cx.notice(Notice::Full { what: "byte of `buffer_budget`" });
        if let Some(key) = self.conns.get(conn).and_then(|c| c.exchange) {
            self.drop_exchange(key);
        }
        self.refuse_for_now(conn, "too many requests come slowly; try again later");
    }
}
