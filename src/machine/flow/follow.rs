//! Streams that several instances have: one reads the upstream and writes the log, others read the log as it grows.
//!
//! In: a stored stream whose ids are segno's own, what the store tells of its log, what becomes of a log that this
//! instance writes. Out: streams whose source is the store; streams that go on for readers elsewhere, or let go.
//! Laws: a stream that follows publishes no cursor, writes no log and is not kept when nobody reads it; nobody who
//! follows holds the owner up; what the store has lost is a cut, after which the client comes back and is told of the
//! gap; the order of a POST whose client shows by its id that it was answered is not given again, also where no log has
//! the answer; a client that is ahead of a log waits for it, and gets nothing twice.
//! Source: `docs/many.md`, a client that comes back to another instance.
//!
//! ```text
//! look-up --> own ids? --no--> rebuild: the log is claimed, upstream is asked behind it
//!               | yes
//!               +--> its owner lives: replay, then Following --Events--> the log --> readers
//!               |                                           |--Ended---> a clean end, or a cut
//!               |                                           |--OwnerGone, Lost, Away for `heal_for` --> a cut
//!               +--> it has its end:  replay, then that end
//!               +--> its owner died:  replay, then the gap and a cut
//! ```

use super::resume::refuses_gaps;
use crate::base::{Count, Span, Tick};
use crate::http::{Method, ResponseHead};
use crate::machine::Machine;
use crate::machine::book::shares::Hold;
use crate::machine::book::stored::name_by_token;
use crate::machine::cx::Cx;
use crate::machine::exchange::{Ending, Exchange, Phase};
use crate::machine::find::identity::Token;
use crate::machine::io::{Followed, StoredEvents, StoredOwner, StoredStream};
use crate::machine::keys::ExchangeKey;
use crate::machine::notice::Notice;
use crate::machine::stream::readers::Words;
use crate::machine::wait::{Looked, Search};
use crate::sse;
use crate::track::GapReason;

/// Bytes of a followed log that are taken in at least, where readers have everything and there is still no room.
const PART: usize = 4 << 10;

/// Look-ups for an id that nobody knows: the instance that gave it may not have written its log yet.
const LOOKS_FOR_UNKNOWN: u32 = 3;
/// The same for the answer to a POST. Nothing else can be done for its client, and what keeps an instance that lives
/// from writing is over in about this time.
const LOOKS_FOR_ORDER: u32 = 20;
/// After so many look-ups for one request, the next ones come less often.
const LOOKS_SOON: u32 = 20;
const LOOKS_LATER: Span = Span::from_secs(1);
/// How much longer than a flush window a log may be on its way.
const LATE: Span = Span::from_millis(50);

/// Answers in a row that do not fit to what is here, after which a log counts as lost. A few may have been on their way
/// while it was followed from another place.
const MISFITS: u32 = 64;

/// What a look-up has found of a stream with ids of segno's own, whose log is in the tracker.
pub(super) struct Shared<'a> {
    pub(super) number: u64,
    pub(super) log: &'a StoredEvents,
    /// The number of the event that the client has.
    pub(super) seq: u64,
    /// Where that event ends in the log.
    pub(super) located: Option<u64>,
    pub(super) head: Option<ResponseHead>,
    /// Whether the client is told of gaps by a status.
    pub(super) refuses: bool,
}

/// What a stored log is for a client that has come back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Its owner writes on.
    Lives,
    /// All of it is here.
    Whole,
    /// Its owner is gone, or has lost upstream.
    Broken,
}

impl StoredEvents {
    fn source(&self) -> Source {
        match (self.end, self.owner) {
            (Some(true), _) => Source::Whole,
            (None, StoredOwner::Lives) => Source::Lives,
            _ => Source::Broken,
        }
    }
}

/// Clients that come back.
impl Machine {
    /// A look-up may have come too early: what the client has got of another instance is not in the store yet. Asks the
    /// store once more in a moment. Whose owner lives is waited for, since it may write any moment what the client has;
    /// but no longer than for a store that does not answer.
    pub(super) fn looks_again(
        &mut self,
        key: ExchangeKey,
        id: &[u8],
        found: Option<&StoredStream>,
        looked: Looked,
    ) -> bool {
        let Looked { is_known, looks, since } = looked;
        let Self { cx, exchanges, .. } = self;
        let own = Token::parse(id).filter(|(token, _)| cx.secret.made(*token) && cx.config.persist.replay_shared);
        let (Some((token, seq)), Some(x)) = (own, exchanges.get_mut(key)) else { return false };
        let is_ahead = |log: &StoredEvents| last_own_id(&log.bytes, token).is_none_or(|last| last < seq);
        let most = match found.and_then(|stored| stored.log.as_ref()) {
            None if token.is_by_post() && !is_known => LOOKS_FOR_ORDER,
            None => LOOKS_FOR_UNKNOWN,
            Some(log) if log.source() == Source::Lives && is_ahead(log) => u32::MAX,
            Some(_) => 0,
        };
        let Some(mut wait) = x.phase.wait().filter(|_| looks < most) else { return false };
        // The client has waited since it was first looked for.
        wait.since = since;
        x.set_search(Some(Search { looks, is_asked: false }));
        let soon = cx.now + cx.config.persist.flush_window + LATE;
        let at = if looks < LOOKS_SOON { soon } else { cx.now + LOOKS_LATER };
        x.phase = Phase::Waiting { wait, at };
        x.arm(cx, key);
        true
    }

    /// The id of a POST shows that it was answered, and so executed, and its answer is in no log: it may have been lost
    /// with its instance. It is not given again, and its client is told. True: it was such a one.
    pub(super) fn refuse_lost_order(&mut self, key: ExchangeKey) -> bool {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key).filter(|x| is_given_order(cx, x)) else { return false };
        cx.counts.one(Count::OrdersNotRepeated);
        x.request.gap = Some(GapReason::Unknown);
        self.refuse_gap_for(key);
        true
    }

    /// An order that may be answered elsewhere cannot be looked for, since this instance drains: its client goes
    /// elsewhere. True: it was such a one.
    pub(super) fn send_order_elsewhere(&mut self, key: ExchangeKey) -> bool {
        let Self { cx, exchanges, .. } = self;
        let is_one = cx.draining && exchanges.get(key).is_some_and(|x| is_given_order(cx, x));
        if is_one {
            self.cut_readers(key);
        }
        is_one
    }

    /// Has a client read what the store holds of a stream with ids of segno's own, and then what another instance adds.
    pub(super) fn read_shared(&mut self, key: ExchangeKey, found: Shared<'_>) {
        let Shared { number, log, seq, located, head, refuses } = found;
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let (route, by_post, source) = (x.route(), log.is_by_post(), log.source());
        let name = name_by_token(cx, x, number);
        let Some(stream) = x.stream_mut() else { return };
        // Nothing of it is this instance's to store.
        stream.account.hold = Hold::Closed;
        let (whole, last) =
            (stream.tracker.whole(), stream.account.before.saturating_add(stream.tracker.received().seq));
        let goes_on = by_post || source == Source::Lives;
        let place = match located {
            Some(offset) => Some((offset, None)),
            None if goes_on && seq <= last => stream.tracker.replay_start().map(|at| (at, Some(GapReason::Evicted))),
            // It has got more than was stored.
            None if by_post => Some((whole, None)),
            None => None,
        };
        let has_all = place.is_some_and(|(offset, gap)| offset == whole && gap.is_none());
        let Some(((offset, gap), head)) = place.filter(|_| goes_on || !has_all).zip(head) else {
            let reason = match located {
                None if seq <= last => Some(GapReason::Evicted),
                _ if source == Source::Whole && has_all => None,
                _ => Some(GapReason::Restarted),
            };
            x.request.gap = None;
            return self.begin_anew(key, reason);
        };
        if has_all && source == Source::Whole {
            return self.answer_over(key);
        }
        let is_told_end = source == Source::Broken && by_post;
        x.request.gap = gap.or((is_told_end && has_all).then_some(GapReason::Refused));
        if x.request.gap.is_some() && refuses {
            return self.refuse_gap_for(key);
        }
        let Some(stream) = x.stream_mut() else { return };
        stream.tracker.rewind(offset);
        stream.has_told_end |= is_told_end && has_all;
        stream.readers.iter_mut().for_each(|reader| {
            reader.begin_at(offset);
            if is_told_end && !has_all && !refuses && reader.words != Words::None {
                reader.words = Words::OwnAndGap;
            }
        });
        let missed = stream.tracker.received().seq.saturating_sub(stream.events_before(offset));
        cx.counts.add_at(route, Count::Replays, u64::from(missed > 0));
        cx.counts.add_at(route, Count::EventsReplayed, missed);
        index.know_token(cx, key, x);
        x.send_heads(cx, conns, &head);
        let has_place = book.shares.followed() < cx.config.limits.follows;
        match source {
            Source::Lives if has_place => {
                cx.counts.one(Count::Follows);
                x.phase = Phase::Following { away: Tick::NEVER };
                book.shares.follow(cx, key, name, last, log.fence);
            }
            Source::Lives => {
                cx.counts.one(Count::OverFollows);
                cx.notice(Notice::Full { what: "followed stream" });
                self.end_stream(key, Ending::Cut);
            }
            Source::Whole | Source::Broken => {
                cx.counts.one(Count::Rebuilt);
                let ending = if source == Source::Whole { Ending::Clean } else { Ending::Cut };
                self.end_stream(key, ending);
            }
        }
        self.arm(key);
    }

    /// The client has all of an answer that is over.
    fn answer_over(&mut self, key: ExchangeKey) {
        let Some(client) = self.exchanges.get(key).map(Exchange::client) else { return };
        self.drop_exchange(key);
        if let Some(client) = client {
            self.conns.answer_and_close(&mut self.cx, client, 204, "", &[]);
        }
    }
}

/// Streams that follow.
impl Machine {
    /// The store tells of a log that is followed.
    pub(in crate::machine) fn on_followed(&mut self, key: ExchangeKey, news: Followed) {
        let Self { cx, exchanges, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let Phase::Following { away } = x.phase else { return };
        // What comes while events wait for room was on its way before the store was told.
        let Some(following) = book.shares.get_mut(key).filter(|following| !following.is_paused) else { return };
        let here = x.stream().map_or(0, |s| s.account.before.saturating_add(s.tracker.received().seq));
        match news {
            Followed::Events(log) => {
                x.phase = Phase::Following { away: Tick::NEVER };
                if log.first != here + 1 {
                    following.misfits += 1;
                    if following.misfits > MISFITS {
                        self.break_follow(key, "the store left out events of its log");
                    }
                    return;
                }
                following.misfits = 0;
                self.take_followed(key, log.bytes, 0);
            }
            Followed::Ended { whole: true, last } if last != here => {
                self.break_follow(key, "its end came without all of its events");
            }
            Followed::Ended { whole, .. } => self.end_stream(key, if whole { Ending::Clean } else { Ending::Cut }),
            Followed::OwnerGone => self.outlive_owner(key),
            Followed::Lost => self.break_follow(key, "events of its log have left the store"),
            Followed::Away => {
                x.phase = Phase::Following { away: away.min(cx.now) };
                x.arm(cx, key);
            }
        }
    }

    /// Takes in events of a followed log from the byte `from` on, as far as there is room.
    fn take_followed(&mut self, key: ExchangeKey, bytes: Vec<u8>, from: usize) {
        let Self { cx, exchanges, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let Some(stream) = x.stream_mut() else { return };
        let mut taken = from;
        while taken < bytes.len() {
            let room = stream.tracker.room(cx.limits(route), &cx.budget);
            // Where all readers have everything there will never be more room.
            let room = if stream.is_delivered() { room.max(PART) } else { room };
            if room == 0 {
                break;
            }
            let end = bytes.len().min(taken.saturating_add(room));
            let fed = stream.tracker.feed(cx.track(route), &bytes[taken..end]);
            cx.counts.add(Count::EventsFollowed, u64::from(fed.events));
            taken = end;
        }
        let (number, before) = (stream.account.number, stream.account.before);
        let token = cx.secret.token(number);
        // A line may have come in part before, and the last one may be here in part, and so the number in it.
        let [begin, end] = [from, taken].map(|at| memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |at| at + 1));
        if let Some(last) = last_own_id(&bytes[begin..end], token).and_then(|last| last.checked_sub(before)) {
            stream.tracker.had_own_ids(token.prefix(), before, last);
        }
        stream.last_heard = cx.now;
        let here = before.saturating_add(stream.tracker.received().seq);
        match taken < bytes.len() {
            true => book.shares.pause(cx, key, bytes, taken),
            false => book.shares.go_on(cx, key, here),
        }
        if cx.budget.is_over() {
            self.reclaim();
        }
        let Self { cx, conns, exchanges, .. } = self;
        if let Some(x) = exchanges.get_mut(key) {
            x.show(cx, conns, key);
        }
    }

    /// Readers have made room: takes in events that waited for it.
    pub(super) fn take_rest(&mut self, key: ExchangeKey) {
        if let Some((rest, taken)) = self.book.shares.take_rest(&mut self.cx, key) {
            self.take_followed(key, rest, taken);
        }
    }

    /// The instance that has the upstream has died. Of an answer to a POST nobody gets the rest, which is said; a feed
    /// is begun anew by clients that come back.
    fn outlive_owner(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let by_post = x.is_by_post(cx);
        let refuses = refuses_gaps(cx, &x.request, x.route(), !by_post);
        if by_post && !refuses {
            let readers = x.readers_mut().iter_mut().filter(|reader| reader.words != Words::None);
            readers.for_each(|reader| reader.words = Words::OwnAndGap);
        }
        self.break_follow(key, "the instance that had its upstream is gone");
    }

    /// A log cannot be followed any more: its readers are cut. They come back, and go on or are told of the gap.
    pub(super) fn break_follow(&mut self, key: ExchangeKey, why: &str) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        cx.counts.one(Count::FollowsBroken);
        cx.notice(Notice::NotHealed { target: x.target(), why: why.into() });
        self.end_stream(key, Ending::Cut);
    }
}

/// Streams that are followed.
impl Machine {
    /// Whether somebody follows a stream of this instance has changed.
    pub(in crate::machine) fn on_watched(&mut self, key: ExchangeKey, by_others: bool) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let Some(stream) = x.stream_mut().filter(|stream| stream.account.hold != Hold::Closed) else { return };
        if std::mem::replace(&mut stream.account.watched, by_others) == by_others {
            return;
        }
        if let Some(detached) = stream.detached.as_mut().filter(|_| !by_others) {
            // The last one who read has left now.
            detached.0 = cx.now;
        }
        x.arm(cx, key);
        self.go_at_others_pace(key);
    }

    /// A stream that others follow is not held up by the clients that it has here. While none of them takes anything,
    /// what the store has been given may leave the log.
    pub(super) fn go_at_others_pace(&mut self, key: ExchangeKey) {
        let upstream = self.exchanges.get(key).and_then(|x| x.phase.upstream());
        self.release_to_others(key);
        if let Some(upstream) = upstream.filter(|upstream| self.conns.is_held_back(*upstream)) {
            self.read_on(key, upstream);
        }
    }

    /// Hands what has come over to the store, and lets it leave the log.
    pub(super) fn release_to_others(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, book, .. } = self;
        let Some(x) = exchanges.get_mut(key).filter(|x| x.is_watched() && !x.readers().any_free()) else { return };
        book.hand_over(cx, key, x);
        let route = x.route();
        if let Some(stream) = x.stream_mut() {
            let stored = stream.stored;
            stream.tracker.release_to(cx.track(route), stored);
        }
    }

    /// Another instance owns the log of a stream. Where nobody reads it here, it is let go; else it goes on, and is not
    /// stored any more.
    pub(in crate::machine) fn on_taken_over(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let is_ours = x.stream().is_some_and(|stream| stream.account.hold != Hold::Closed);
        if !is_ours {
            return;
        }
        cx.counts.one(Count::TakenOver);
        book.give_up(key, x);
        match x.is_detached() {
            true => self.drop_exchange(key),
            false => self.arm(key),
        }
    }
}

impl Exchange {
    /// Whether another instance follows the stream, and there is more to come for it.
    pub(in crate::machine) fn is_watched(&self) -> bool {
        let goes_on = !matches!(self.phase, Phase::Ending(_));
        goes_on && self.stream().is_some_and(|stream| stream.account.watched)
    }
}

/// Whether the id of a POST shows that the same was answered before, by whichever instance, and whether that is all
/// that is known of it.
fn is_given_order(cx: &Cx, x: &Exchange) -> bool {
    let token = x.request.asked.as_deref().and_then(Token::parse).map(|(token, _)| token);
    let is_own = token.is_some_and(|token| token.is_by_post() && cx.secret.made(token));
    cx.config.persist.replay_shared && is_own && x.request.method == Method::Post
}

/// The number in the last id of a stored log that has this token.
pub(super) fn last_own_id(log: &[u8], token: Token) -> Option<u64> {
    sse::ids(log).filter_map(Token::parse).filter(|(made, _)| *made == token).map(|(_, number)| number).last()
}
