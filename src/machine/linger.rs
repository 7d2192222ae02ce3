//! Letting go: a stream that nobody reads is kept for those that come back, for a time and so many bytes.
//!
//! In: readers that leave. Out: streams that are kept, and dropped in the end.
//! Laws: only a stream that can be resumed is kept; what a client may cancel by leaving is cancelled at once; a session
//! has a bounded number of streams that nobody reads, of which the oldest goes first.

use super::era::Era;
use super::exchange::{Ending, Exchange, ExchangeKey, Phase};
use super::{Machine, Notice};
use crate::base::{Count, Span};
use crate::config::{LingerFull, Route};
use crate::http::Method;

/// Streams of one session that nobody reads.
const DETACHED: usize = 16;

impl Machine {
    /// A reader has left, or has been given everything. The last one leaves the stream to those that come back, if that
    /// may be.
    pub(super) fn on_unread(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let linger = linger(x, &self.config.routes[x.route()]);
        if linger.is_zero() || self.draining || !is_worth_keeping(x) {
            return self.drop_exchange(key);
        }
        self.counts.one(Count::StreamsDetached);
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let Some(stream) = &mut x.stream else { return };
        // Not up to the end of an event that has not ended, since a cut takes that back.
        stream.detached = Some((now, stream.tracker.whole()));
        let session = stream.account.session;
        if let Some(session) = session {
            self.sessions.left(session, now);
            self.arm_sessions();
            self.bound_detached(session);
        }
        self.make_room(key);
        self.arm(key);
        if let Some(upstream) = self.exchanges.get(key).and_then(|x| x.upstream) {
            self.let_read(key, upstream);
        }
    }

    /// Somebody reads the stream again.
    pub(super) fn on_read_again(&mut self, key: ExchangeKey) {
        let Some(stream) = self.exchanges.get_mut(key).and_then(|x| x.stream.as_mut()) else { return };
        if stream.detached.take().is_some()
            && let Some(session) = stream.account.session
        {
            self.sessions.read(session);
        }
    }

    /// Drops the stream of a session that nobody has read for longest, where there are too many.
    fn bound_detached(&mut self, session: super::sessions::SessionKey) {
        let Some(entry) = self.sessions.get(session) else { return };
        let since = |key: &ExchangeKey| self.exchanges.get(*key)?.stream.as_ref()?.detached.map(|(since, _)| since);
        let detached = entry.streams.iter().filter_map(|key| Some((since(key)?, *key)));
        let (mut count, mut oldest) = (0, None);
        for (since, key) in detached {
            count += 1;
            if oldest.is_none_or(|(first, _)| since < first) {
                oldest = Some((since, key));
            }
        }
        if count > DETACHED
            && let Some((_, key)) = oldest
        {
            self.drop_exchange(key);
        }
    }

    /// Nobody came back in time, or upstream has sent more than may be kept waiting.
    pub(super) fn on_linger_over(&mut self, key: ExchangeKey) {
        if let Some(x) = self.exchanges.get(key) {
            let target = x.target();
            self.notice(Notice::LetGo { target });
        }
        self.drop_exchange(key);
    }

    /// Where a full log that nobody reads loses its oldest events: lets them go. True when the stream has had all that
    /// it may have while nobody reads.
    pub(super) fn make_room(&mut self, key: ExchangeKey) -> bool {
        let Some(x) = self.exchanges.get(key) else { return false };
        let route = &self.config.routes[x.route()];
        let Some(stream) = &x.stream else { return false };
        let Some((_, at)) = stream.detached else { return false };
        let over = stream.tracker.end() - at > route.linger_bytes as u64;
        if route.linger_full == LingerFull::Evict {
            let whole = stream.tracker.whole();
            self.track(key, |tracker, cx| tracker.release_to(cx, whole));
        }
        over
    }
}

/// How long a stream is kept when its last reader leaves.
pub(super) fn linger(x: &Exchange, route: &Route) -> Span {
    let none = route.cancel_on_disconnect || x.request.era == Era::Stateless;
    match (none, &x.request.method) {
        (true, _) => Span::ZERO,
        (_, Method::Get) => route.linger,
        _ if x.request.era.is_resumable_mcp() => route.linger,
        _ => route.linger.min(route.linger_post),
    }
}

/// Whether somebody could come back and find here what is to be found nowhere else.
fn is_worth_keeping(x: &Exchange) -> bool {
    let Some(stream) = x.stream.as_ref().filter(|stream| stream.begun) else { return false };
    let tracker = &stream.tracker;
    // Also the id that a client was primed with, before any event.
    let own = tracker.has_own_ids() || stream.has_token;
    if tracker.replay_start().is_none() || !(own || tracker.healable()) {
        return false;
    }
    match x.phase {
        // Upstream has all of it, and can be asked.
        Phase::Ending(_) if !own && tracker.delivered_offset() == tracker.whole() => false,
        Phase::Ending(Ending::Clean | Ending::Cut) | Phase::Streaming => true,
        Phase::Waiting(_) | Phase::Connecting | Phase::Asked => true,
        Phase::Passing => false,
    }
}
