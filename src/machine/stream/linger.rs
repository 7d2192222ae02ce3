//! A stream that nobody reads is kept for clients that come back, within a bound of time and one of bytes.
//!
//! In: a stream without readers, and its route's settings. Out: whether the stream is kept, how long, and what it may
//! still take from upstream.
//! Laws: only a stream that can be resumed is kept; what a client may cancel by leaving is cancelled at once.

use crate::base::{Span, Tick};
use crate::config::{LingerFull, Route};
use crate::http::Method;
use crate::machine::cx::Cx;
use crate::machine::exchange::{Exchange, Phase, Request};
use crate::machine::find::era::Era;
use crate::machine::find::orders::start_of;

impl Exchange {
    /// How long the stream stays when its last reader leaves.
    pub(in crate::machine) fn linger(&self, route: &Route) -> Span {
        linger(&self.request, route)
    }

    /// Whether a client could come back and find here what it finds nowhere else.
    pub(in crate::machine) fn is_worth_keeping(&self) -> bool {
        let Some(stream) = self.stream() else {
            // Upstream has the whole order, and nothing but a try of it can ask for its answer.
            return self.order().is_some() && matches!(self.phase, Phase::Asked { .. });
        };
        if !stream.begun {
            return false;
        }
        let tracker = &stream.tracker;
        // A client that was primed has an own id before any event has come.
        let own = tracker.has_own_ids() || stream.has_token;
        // What a POST began is found by something that nobody can guess, or not at all.
        let is_found = own || tracker.healable() && (self.request.method == Method::Get || self.request.is_secret());
        let is_retried = self.order().is_some() && start_of(tracker).is_some();
        if tracker.replay_start().is_none() || !is_found && !is_retried {
            return false;
        }
        // Who tries again has not got what its system never acknowledged. Of others, the socket's word will do.
        let has_all = if is_retried { tracker.marked_offset() } else { tracker.delivered_offset() } == tracker.whole();
        match self.phase {
            // Clients have everything, and upstream can be asked for it again.
            Phase::Ending(_) if !own && has_all => false,
            // Whoever comes back finds it in the store.
            Phase::Passing(_) | Phase::Tunnel { .. } | Phase::Following { .. } => false,
            _ => true,
        }
    }

    /// The last reader has left, and the stream is kept.
    pub(in crate::machine) fn detach(&mut self, now: Tick) {
        if let Some(stream) = self.stream_mut() {
            // What was on its way to the last reader counts as undelivered again: the reader may come back for it.
            let marked = stream.tracker.marked_offset();
            if marked < stream.tracker.delivered_offset() {
                stream.tracker.rewind(marked);
            }
            // An event that has not ended does not count, since a cut takes it back.
            stream.detached = Some(Box::new((now, stream.tracker.whole())));
        } else {
            self.detach_plain(now);
        }
    }

    /// Makes room in the log of a stream that nobody reads, where the route lets the oldest events go. `true`: the
    /// stream has taken all the bytes that it may take while nobody reads.
    #[must_use]
    pub(in crate::machine) fn make_room(&mut self, cx: &mut Cx) -> bool {
        let route = self.route();
        let Some(stream) = self.stream_mut() else { return false };
        let Some((_, at)) = stream.detached.as_deref().copied() else { return false };
        let over = !stream.account.watched && stream.tracker.end() - at > cx.route(route).linger_bytes as u64;
        if cx.route(route).linger_full == LingerFull::Evict {
            let whole = stream.tracker.whole();
            stream.tracker.release_to(cx.track(route), whole);
        }
        over
    }

    /// When the stream is dropped, if nobody comes back to it. `None`: there is no such time, or others read it.
    pub(in crate::machine) fn lingers_until(&self, route: &Route) -> Option<Tick> {
        if self.is_watched() {
            return None;
        }
        Some(self.detached_since()? + self.linger(route))
    }
}

fn linger(request: &Request, route: &Route) -> Span {
    let none = route.cancel_on_disconnect || request.era == Era::Stateless;
    match (none, &request.method) {
        (true, _) => Span::ZERO,
        (_, Method::Get) => route.linger,
        _ if request.era.is_resumable_mcp() => route.linger,
        // The switch that turns lingering off holds for all streams.
        _ if route.linger.is_zero() => Span::ZERO,
        _ => route.linger_post,
    }
}
