//! Gaps in the middle of a stream: who is told of one, and who cannot be.
//!
//! In: a gap that stands in the log from now on. Out: a count, a log line, and cuts.
//! Law: who did not ask for an event stream by name reads nothing of segno's own.

use crate::machine::cx::{After, Cx};
use crate::machine::exchange::Exchange;
use crate::machine::keys::ExchangeKey;
use crate::machine::pool::Conns;
use crate::track::GapReason;

impl Exchange {
    /// A gap was stated to the clients.
    pub(in crate::machine) fn state_gap(&self, cx: &mut Cx, reason: GapReason) {
        cx.state_gap(self.route(), self.target(), reason);
    }

    /// A gap event stands in the log from now on. Readers that did not ask for an event stream by name cannot read it:
    /// they are cut before it, as they would have been by upstream.
    pub(in crate::machine) fn tell_gap(&mut self, cx: &mut Cx, conns: &mut Conns, key: ExchangeKey, reason: GapReason) {
        self.state_gap(cx, reason);
        let (route, before) = (self.route(), self.audience());
        let is_unread = self.stream_mut().is_some_and(|stream| stream.cut_unnamed(cx, conns, route));
        cx.audience.settle(before, self.audience());
        if is_unread {
            cx.after.push_back(After::Unread(key));
        }
    }
}
