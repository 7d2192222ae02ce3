//! Streams of an earlier process: rebuilt from what the store has of them, for clients that come back.
//!
//! In: a request, and the stored stream that it names. Out: a stream that replays its stored events; or a request that
//! goes upstream, and whose client is told why.
//! Laws: a POST reads only what the same POST began; what is left of an answer to a POST ends with a gap, since nobody
//! has the rest; an id of segno's own never goes upstream.
//! Source: `docs/behaviour.md`, what a returning client sees, and gaps.

use super::end::close_stream;
use super::follow::{Shared, last_own_id};
use super::resume::refuses_gaps;
use crate::base::Count;
use crate::http::{BodyDecoder, Method};
use crate::machine::Machine;
use crate::machine::cx::Cx;
use crate::machine::exchange::Ending;
use crate::machine::find::identity::Token;
use crate::machine::io::StoredEvents;
use crate::machine::keys::ExchangeKey;
use crate::machine::stream::Stream;
use crate::machine::stream::readers::Words;
use crate::track::GapReason;

/// Bytes of a stored log that are taken in at least at a time.
const PART: usize = 4 << 10;

impl Machine {
    /// The store has the stream of an earlier process that a request names. A POST reads it only if it is the one that
    /// began it; another goes upstream, and its client is told that it begins anew.
    pub(super) fn rebuild_for(&mut self, key: ExchangeKey, id: &[u8], number: u64, log: &StoredEvents) {
        let Some(x) = self.exchanges.get(key).filter(|x| x.request.method == Method::Post) else {
            return self.rebuild(key, id, number, log);
        };
        let (conn, begun_by) = (x.client(), log.body());
        let held = self.held_again(key).filter(|held| begun_by.is_some_and(|body| held.is_repeat_of(body)));
        let Some((held, conn)) = held.zip(conn) else {
            if let Some(x) = self.exchanges.get_mut(key) {
                x.request.gap = x.request.gap.map(|_| GapReason::Restarted);
            }
            self.ask(key);
            return self.arm(key);
        };
        self.rebuild(key, id, number, log);
        let Some(x) = self.exchanges.get_mut(key).filter(|x| x.is_open_stream()) else { return };
        if let Some(c) = self.conns.get_mut(conn) {
            c.consume_input(held.len());
            c.body = BodyDecoder::Done;
        }
        x.heard_body = Some(Box::new(held.into_heard()));
    }

    /// Goes on with a stream of an earlier process: replays its events, then asks upstream for what comes after them.
    fn rebuild(&mut self, key: ExchangeKey, id: &[u8], number: u64, log: &StoredEvents) {
        let own = Token::parse(id).map(|(_, seq)| seq);
        let ends_here = own.is_some() && log.is_by_post();
        // The tracker begins without the cursor: that event is in the stored log, not before it.
        let cursor = self.exchanges.get_mut(key).map(|x| x.request.cursor.take()).unwrap_or_default();
        if !self.create_stream(key) {
            if let Some(x) = self.exchanges.get_mut(key) {
                x.request.cursor = cursor;
            }
            self.ask(key);
            return self.arm(key);
        }
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let refuses = refuses_gaps(cx, &x.request, route, !log.is_by_post());
        let head = cx.heads.own(cx.balancing.first(route), x.request.page());
        let Some(stream) = x.stream_mut() else { return };
        fill(stream, cx, route, &log.bytes);
        stream.account.number = number;
        if let Some(session) = stream.account.session.and_then(|session| book.sessions.get_mut(session)) {
            session.forget_record(number);
        }
        let before = log.first.saturating_sub(1);
        stream.account.before = before;
        let last_own = last_own_id(&log.bytes, cx.secret.token(number)).filter(|last| *last > before);
        if let Some(last) = last_own {
            stream.tracker.had_own_ids(cx.secret.token(number).prefix(), before, last - before);
        }
        let ends_with_own_id = stream.ends_with_own_id();
        let whole = stream.tracker.whole();
        stream.stored = whole;
        let located = match own {
            Some(seq) => seq.checked_sub(before).and_then(|seq| stream.tracker.locate_event(seq)),
            None => stream.tracker.locate(&cx.interner, id),
        };
        if cx.config.persist.replay_shared {
            if let Some(seq) = own.filter(|_| ends_here || ends_with_own_id) {
                return self.read_shared(key, Shared { number, log, seq, located, head, refuses });
            }
            book.shares.see(key, log.fence);
        }
        let is_known = own.is_some() || cx.knows_stored_ids(route);
        let joins = located.filter(|offset| is_known && (own.is_none() || ends_here || *offset < whole));
        let Some((offset, head)) = joins.zip(head) else {
            // The log cannot be joined here, or not by a page of an origin of which upstream has said nothing. So
            // upstream is asked, and the stream gets a new name.
            let has_left =
                located.is_none() && own.is_some_and(|seq| seq < before.saturating_add(stream.tracker.received().seq));
            let reason = if has_left { GapReason::Evicted } else { GapReason::Restarted };
            x.request.cursor = cursor;
            return self.begin_anew(key, own.map(|_| reason));
        };
        stream.tracker.rewind(offset);
        let has_all = offset == whole;
        stream.readers.iter_mut().for_each(|reader| {
            reader.begin_at(offset);
            if ends_here && !has_all && !refuses && reader.words != Words::None {
                reader.words = Words::OwnAndGap;
            }
        });
        // It is told of the cut now, and not once more when it comes again.
        stream.has_told_end |= ends_here && has_all && !refuses;
        let missed = stream.tracker.received().seq.saturating_sub(stream.events_before(offset));
        cx.counts.add_at(route, Count::Replays, u64::from(missed > 0));
        cx.counts.add_at(route, Count::EventsReplayed, missed);
        x.request.gap = (ends_here && has_all).then_some(GapReason::Refused);
        if x.request.gap.is_some() && refuses {
            return self.refuse_gap_for(key);
        }
        cx.counts.one(Count::Rebuilt);
        if own.is_some() || last_own.is_some() {
            index.know_token(cx, key, x);
        }
        x.send_heads(cx, conns, &head);
        match ends_here || ends_with_own_id {
            true => self.end_stream(key, Ending::Cut),
            // Upstream sends ids, or has begun to.
            false => self.heal(key),
        }
        self.arm(key);
    }

    /// Nothing in the store is of use: the request goes upstream as a new one.
    pub(super) fn begin_anew(&mut self, key: ExchangeKey, gap: Option<GapReason>) {
        let Self { cx, exchanges, index, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let left = close_stream(cx, index, book, key, x);
        x.end_stream(cx.now);
        x.request.gap = gap.or(x.request.gap);
        if let Some(left) = left {
            book.leave(cx, exchanges, left);
        }
        self.ask(key);
        self.arm(key);
    }
}

/// Feeds the events of a stored log to the tracker.
fn fill(stream: &mut Stream, cx: &mut Cx, route: usize, bytes: &[u8]) {
    stream.begun = true;
    stream.tracker.begin(false, true);
    let mut rest = bytes;
    loop {
        let whole = stream.tracker.whole();
        // No reader waits yet, so old events may leave: the newest ones stay, as many as the present bounds allow.
        stream.tracker.release_to(cx.track(route), whole);
        if rest.is_empty() {
            return;
        }
        let room = stream.tracker.room(cx.limits(route), &cx.budget).max(PART).min(rest.len());
        stream.tracker.feed(cx.track(route), &rest[..room]);
        rest = &rest[room..];
    }
}
