//! Finds the stream that a request belongs to: the one that it names, one that it may share, or none.
//!
//! In: requests with `Last-Event-ID`, and requests that may share a stream. Out: a [`Found`].
//! Laws: only the principal that made a log reads it, and only for the target that it was asked for; an id of segno's
//! own never goes upstream; with no match, or several, the request goes upstream as it would without segno; a search
//! takes a bounded number of steps.
//!
//! An id of segno's own holds the stream's token, so one look into a table finds the stream; what remains is to see
//! that the request may read it, and where the event lies in its log. An upstream's id says nothing of a stream. It is
//! looked for in the logs of the streams of the request's own session, and only in those that nobody reads, unless the
//! route shares.
//!
//! ```text
//! MCP from 2026-07-28 on ------------------------> New
//! GET without a body, while not draining
//!   with an id of segno's own   --by_own_id------> Joins, Over or Later; NewAfter if no log can serve it
//!   with one that another made  --by_foreign_id--> Joins if upstream sent it here; else NewAfter
//!   with an upstream's id       --by_upstream_id-> Joins if exactly one stream has it (any, if the route shares)
//!   without an id, route shares --shared---------> Joins a live stream at its end
//!   otherwise -----------------------------------> New
//! POST with an id of segno's own, not draining --> Repeats: its body decides
//! anything else ---------------------------------> New; NewAfter with an id of segno's own
//! ```
//!
//! Source: `docs/behaviour.md`, what a returning client sees, and gaps.

pub(super) mod body;
pub(super) mod cursor;
pub(super) mod era;
pub(super) mod identity;
#[cfg(feature = "fuzzing")]
pub(super) mod last_event_id;
mod meta;
pub(super) mod orders;
mod principal;
pub(super) mod session;
mod variants;
pub(super) mod vary;

use super::book::sessions::Sessions;
use super::book::shares::Hold;
use super::book::unread::{Holder, Unread};
use super::cx::Cx;
use super::exchange::{Ending, Exchange, Exchanges, Phase, Request};
use super::keys::ExchangeKey;
use crate::config::Share;
use crate::http::Method;
use crate::track::{GapReason, Tracker};
use era::Era;
use identity::Token;
use orders::Orders;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::DefaultHasher;
use variants::Variants;

/// How many streams of a session are searched for an id. Where more of them have no reader, an index is asked.
pub(super) const LOOKS: usize = 64;

/// Where a request belongs.
pub(super) enum Found {
    /// Nowhere yet: it goes upstream.
    New,
    /// It goes upstream without its cursor, and nothing is missing that its client was not told of.
    Anew,
    /// It goes upstream without its cursor, and the client is told of the gap.
    NewAfter(GapReason),
    /// It reads a stream that is here.
    Joins(Join),
    /// It is a POST that names a stream by an id of segno's own. Its body will show whether it is the same POST again.
    Repeats(Token, u64),
    /// The stream has ended cleanly, and the client has all of it.
    Over,
    /// The stream is inside an event that is too large to hold, so no reader can begin there now.
    Later,
}

/// Where in a stream a request reads on.
pub(super) struct Join {
    pub(super) stream: ExchangeKey,
    /// The offset in its log.
    pub(super) offset: u64,
    /// Why events between the client's id and the offset are gone.
    pub(super) gap: Option<GapReason>,
}

impl Found {
    fn joins(stream: ExchangeKey, offset: u64, gap: Option<GapReason>) -> Self {
        Self::Joins(Join { stream, offset, gap })
    }
}

/// Finds exchanges by token, or by what they wait for.
#[derive(Default)]
pub(super) struct Index {
    /// Streams with ids of segno's own, by their tokens.
    tokens: HashMap<u128, ExchangeKey>,
    /// Requests that may be shared and have no stream yet, by session, target and all that they say to upstream.
    pub(super) waiting: HashMap<(u128, u64, u64), ExchangeKey>,
    /// By session: requests that have a place in it in case they become streams.
    awaited: HashMap<u128, usize>,
    /// Shared streams, by what tells their answers apart.
    pub(super) variants: Variants,
    /// What POSTs have ordered.
    pub(super) orders: Orders,
}

impl Index {
    /// Clients get ids with the stream's token, so it is found by its token from now on.
    pub(super) fn know_token(&mut self, cx: &Cx, key: ExchangeKey, x: &mut Exchange) {
        if let Some(stream) = x.stream_mut()
            && !std::mem::replace(&mut stream.has_token, true)
        {
            self.tokens.insert(cx.secret.token(stream.account.number).0, key);
        }
    }

    pub(super) fn forget_token(&mut self, token: Token) {
        self.tokens.remove(&token.0);
    }

    /// Other clients may wait for this request's answer.
    pub(super) fn know_waiting(&mut self, key: ExchangeKey, request: &Request) {
        self.waiting.insert(waiting_for(request), key);
    }

    /// The request has its answer, or has ended.
    pub(super) fn forget_waiting(&mut self, key: ExchangeKey, request: &Request) {
        if self.waiting.is_empty() {
            return;
        }
        let wanted = waiting_for(request);
        if self.waiting.get(&wanted) == Some(&key) {
            self.waiting.remove(&wanted);
        }
    }

    /// Somebody reads the exchange again. If it is an order without a key, no retry finds it until it is left again.
    pub(super) fn attend_order(&mut self, key: ExchangeKey, x: &Exchange) {
        if let Some(order) = x.order().filter(|order| !order.keyed) {
            self.orders.forget(order, key);
        }
    }

    /// The exchange is no order any more: a retry goes upstream.
    pub(super) fn forget_order(&mut self, key: ExchangeKey, x: &mut Exchange) {
        if let Some(order) = x.heard_body.as_mut().and_then(|body| body.order.take()) {
            self.orders.forget(order, key);
        }
    }

    /// Requests that have a place in this session in case they become streams.
    pub(super) fn awaited(&self, session: u128) -> usize {
        self.awaited.get(&session).copied().unwrap_or(0)
    }

    /// A request of this session may become a stream.
    pub(super) fn await_stream(&mut self, session: u128) {
        *self.awaited.entry(session).or_default() += 1;
    }

    /// The request has become a stream, or will not become one.
    pub(super) fn await_no_more(&mut self, x: &mut Exchange) {
        if std::mem::take(&mut x.request.reserves)
            && let Entry::Occupied(mut count) = self.awaited.entry(x.request.identity.session)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(super) fn all_awaited(&self) -> usize {
        self.awaited.values().sum()
    }
}

fn waiting_for(request: &Request) -> (u128, u64, u64) {
    (request.identity.session, request.identity.target, vary::variant(&request.head, DefaultHasher::new()))
}

/// Whether what a stream carries is the answer to this request, too.
fn answers(x: &Exchange, request: &Request) -> bool {
    let (first, head) = (&x.request.head, &request.head);
    match x.stream().filter(|stream| stream.begun) {
        Some(stream) => vary::is_same_for(stream.varies.as_deref(), first, head),
        None => vary::say_the_same(first, head),
    }
}

/// What a search looks at.
#[derive(Clone, Copy)]
pub(super) struct Finder<'m> {
    pub(super) cx: &'m Cx,
    pub(super) exchanges: &'m Exchanges,
    pub(super) sessions: &'m Sessions,
    pub(super) unread: &'m Unread,
    pub(super) index: &'m Index,
}

impl<'m> Finder<'m> {
    /// Where a request belongs.
    pub(super) fn find(self, request: &Request, route: usize) -> Found {
        let own = request.cursor.as_deref().and_then(Token::parse);
        if request.era == Era::Stateless {
            return if own.is_some() { Found::NewAfter(GapReason::Unknown) } else { Found::New };
        }
        let may_read = request.method == Method::Get && !request.has_body && !self.cx.draining;
        let share = self.cx.route(route).share;
        match request.cursor.as_deref() {
            _ if !may_read && own.is_some() => {
                match own.filter(|_| request.method == Method::Post && !self.cx.draining) {
                    Some((token, seq)) => Found::Repeats(token, seq),
                    None => Found::NewAfter(GapReason::Unknown),
                }
            }
            _ if !may_read => Found::New,
            Some(id) => match own {
                Some((token, _)) if !self.cx.secret.made(token) => self.by_foreign_id(request, id, share),
                Some((token, seq)) => self.by_own_id(request, token, seq),
                None => self.by_upstream_id(request, id, share),
            },
            None if share != Share::Off && request.accepts_stream => self.shared(request),
            None => Found::New,
        }
    }

    /// Whether a request names a stream that is here and another principal's.
    pub(super) fn is_anothers(self, request: &Request) -> bool {
        let Some(id) = request.cursor.as_deref() else { return false };
        let identity = &request.identity;
        match Token::parse(id) {
            Some((token, _)) => self.by_token(token).is_some_and(|x| {
                let made_by = &x.request.identity;
                made_by.target == identity.target && !identity.owns(made_by)
            }),
            None => self.unread.of(Holder::session(identity.session)).take(LOOKS).any(|key| {
                let at_another = |x: &&Exchange| {
                    let made_by = &x.request.identity;
                    identity.shares(made_by) && !identity.is_at(made_by)
                };
                self.exchanges.get(key).filter(at_another).is_some_and(|x| locate(x, self.cx, id).is_some())
            }),
        }
    }

    /// The exchange whose stream has this token. The caller checks who may read it.
    pub(super) fn by_token(self, token: Token) -> Option<&'m Exchange> {
        self.exchanges.get(*self.index.tokens.get(&token.0)?)
    }

    /// The stream that an id of segno's own names.
    pub(super) fn by_own_id(self, request: &Request, token: Token, seq: u64) -> Found {
        let key = self.index.tokens.get(&token.0).copied();
        let Some((key, x)) = key.and_then(|key| Some((key, self.owned(key, request)?))) else {
            return Found::NewAfter(GapReason::Unknown);
        };
        let Some(stream) = x.stream() else { return Found::NewAfter(GapReason::Unknown) };
        // Ids count all events of the stream, and the tracker those that have come in this process.
        let (tracker, before) = (&stream.tracker, stream.account.before);
        if seq > before.saturating_add(tracker.received().seq) {
            return Found::NewAfter(GapReason::Unknown);
        }
        let Some(offset) = seq.checked_sub(before).and_then(|seq| tracker.locate_event(seq)) else {
            return behind_a_gap(key, tracker);
        };
        let has_all = offset == tracker.whole();
        let by_post = x.is_by_post(self.cx);
        match x.phase {
            Phase::Ending(Ending::Clean) if has_all && by_post => Found::Over,
            // It was told that the rest is gone. The same POST once more is a new order, as it would be without segno,
            // and upstream knows no GET for it.
            Phase::Ending(Ending::Cut) if has_all && by_post && stream.has_told_end => match request.method {
                Method::Post => Found::Anew,
                _ => Found::NewAfter(GapReason::Refused),
            },
            // The client first got what the log holds. Now that it has all of it, it is told that the rest is gone.
            Phase::Ending(Ending::Cut) if has_all && by_post => Found::joins(key, offset, Some(GapReason::Refused)),
            // A process before may have received more than was stored.
            Phase::Ending(ending) if has_all && seq > 0 && !tracker.gives_own_ids() => match ending {
                // Another instance has told its end.
                Ending::Clean if stream.account.hold == Hold::Closed => Found::Anew,
                _ => Found::NewAfter(GapReason::Restarted),
            },
            // A GET whose upstream is gone goes upstream as a new stream, which has ids of its own. Its client has all
            // that came.
            Phase::Ending(_) if has_all => self.begun_anew(request).unwrap_or(Found::Anew),
            _ => Found::joins(key, offset, None),
        }
    }

    /// The stream that a client began when it last came with this id, if it is here: of that stream the client has no id.
    fn begun_anew(self, request: &Request) -> Option<Found> {
        let id = request.cursor.as_deref()?;
        self.streams_of(request.identity.session).iter().take(LOOKS).find_map(|key| {
            let x = self.owned(*key, request).filter(|x| x.request.asked.as_deref() == Some(id))?;
            let tracker = &x.stream()?.tracker;
            let start = tracker.locate_event(0).map(|offset| Found::joins(*key, offset, None));
            Some(start.unwrap_or_else(|| behind_a_gap(*key, tracker)))
        })
    }

    /// The stream that an id names which another segno made. If upstream is such a segno, logs here may hold its ids.
    fn by_foreign_id(self, request: &Request, id: &[u8], share: Share) -> Found {
        match self.by_upstream_id(request, id, share) {
            Found::New => Found::NewAfter(GapReason::Unknown),
            found => found,
        }
    }

    /// The only detached stream whose log has the upstream's id. With sharing, a stream that others read will do.
    fn by_upstream_id(self, request: &Request, id: &[u8], share: Share) -> Found {
        let session = request.identity.session;
        let unread = Holder::session(session);
        if share != Share::Off {
            // Shared streams all carry the same events: any will do.
            let mut all = self.shared_streams(request).filter_map(|(key, x)| self.with_id(key, x, request, id));
            return all.next().unwrap_or(Found::New);
        }
        let at_its_place = |key: ExchangeKey| {
            let x = self.open(key).filter(|x| request.identity.is_at(&x.request.identity))?;
            self.with_id(key, x, request, id)
        };
        if self.unread.len_of(unread) > LOOKS {
            return self.unread.ids.only(session, id).and_then(at_its_place).unwrap_or(Found::New);
        }
        let mut all = self.unread.of(unread).filter_map(at_its_place);
        match (all.next(), all.next()) {
            (Some(only), None) => only,
            _ => Found::New,
        }
    }

    /// The stream, if its log has the id.
    fn with_id(self, key: ExchangeKey, x: &Exchange, request: &Request, id: &[u8]) -> Option<Found> {
        // A stream that a POST began is only found by something that nobody can guess.
        let may_find = x.request.method == Method::Get || request.is_secret();
        // What is left of a session that was deleted is found no more.
        let is_known = x.stream().is_some_and(|stream| stream.account.session.is_some());
        let offset = locate(x, self.cx, id).filter(|_| may_find && is_known && !x.ends_inside_event())?;
        Some(Found::joins(key, offset, None))
    }

    /// A stream of the same target that others read, or wait for.
    fn shared(self, request: &Request) -> Found {
        let can_join =
            |x: &Exchange, tracker: &Tracker| !matches!(x.phase, Phase::Ending(_)) && !tracker.is_open_oversize();
        self.shared_streams(request)
            .find_map(|(key, x)| {
                let tracker = x.stream().map(|stream| &stream.tracker).filter(|tracker| can_join(x, tracker))?;
                Some(Found::joins(key, tracker.whole(), None))
            })
            .unwrap_or(Found::New)
    }

    /// The first event of a stream, if its log holds it.
    pub(super) fn at_the_start(self, key: ExchangeKey) -> Found {
        let Some(tracker) = self.exchanges.get(key).and_then(Exchange::stream).map(|stream| &stream.tracker) else {
            return Found::New;
        };
        match orders::start_of(tracker) {
            Some(offset) => Found::Joins(Join { stream: key, offset, gap: None }),
            None if tracker.has_aged() => Found::NewAfter(GapReason::Expired),
            None => Found::NewAfter(GapReason::Evicted),
        }
    }

    /// A request for the same target and session that says the same to upstream and still waits for its answer.
    pub(super) fn waiting(self, request: &Request) -> Option<ExchangeKey> {
        let key = *self.index.waiting.get(&waiting_for(request))?;
        let joins = |x: &&Exchange| {
            x.is_joinable() && self.goes_where(x, request) && vary::say_the_same(&x.request.head, &request.head)
        };
        self.exchanges.get(key).filter(joins).filter(|_| !self.cx.draining).map(|_| key)
    }

    /// Whether a stream with this number is here, in this session or known by its token.
    pub(super) fn is_live(self, session: u128, number: u64) -> bool {
        if self.by_token(self.cx.secret.token(number)).is_some() {
            return true;
        }
        let number_of = |key: &ExchangeKey| Some(self.exchanges.get(*key)?.stream()?.account.number);
        self.streams_of(session).iter().any(|key| number_of(key) == Some(number))
    }

    fn streams_of(self, session: u128) -> &'m [ExchangeKey] {
        let session = self.sessions.find(session).and_then(|key| self.sessions.get(key));
        session.map_or(&[], |session| &session.streams)
    }

    /// Streams that a request may share: the one that the index has for it, then some of its session's.
    fn shared_streams(self, request: &Request) -> impl Iterator<Item = (ExchangeKey, &'m Exchange)> {
        let some = self.streams_of(request.identity.session).iter().take(LOOKS).copied();
        self.index.variants.find(request).into_iter().chain(some).filter_map(move |key| {
            let x = self.open(key).filter(|x| request.identity.shares(&x.request.identity))?;
            (answers(x, request) && self.goes_where(x, request)).then_some((key, x))
        })
    }

    /// Whether a request goes to the upstream that an exchange has asked, or to one that is chosen together with it. After another configuration has taken over, a
    /// route of the same name may lead elsewhere.
    fn goes_where(self, x: &Exchange, request: &Request) -> bool {
        let (asked, place) = (&self.cx.route(x.route()).upstream, request.route as usize);
        let mut others = self.cx.balancing.members(place);
        *asked == self.cx.route(place).upstream || others.any(|other| self.cx.route(other).upstream == *asked)
    }

    /// The first streams of the request's session that its principal made, at the address that it has now.
    fn streams_at_its_place(self, request: &Request) -> impl Iterator<Item = (ExchangeKey, &'m Exchange)> {
        let streams = self.streams_of(request.identity.session).iter().take(LOOKS);
        streams.filter_map(move |key| {
            Some((*key, self.open(*key).filter(|x| request.identity.is_at(&x.request.identity))?))
        })
    }

    /// The stream, if it is of the request's principal and session, wherever that is now, and for its target.
    fn owned(self, key: ExchangeKey, request: &Request) -> Option<&'m Exchange> {
        self.open(key).filter(|x| request.identity.owns(&x.request.identity))
    }

    fn open(self, key: ExchangeKey) -> Option<&'m Exchange> {
        self.exchanges.get(key).filter(|x| x.is_open_stream())
    }
}

/// A stream whose log has lost the events that a client wants: the client begins with what is left.
fn behind_a_gap(key: ExchangeKey, tracker: &Tracker) -> Found {
    let reason = if tracker.has_aged() { GapReason::Expired } else { GapReason::Evicted };
    tracker.replay_start().map_or(Found::Later, |start| Found::joins(key, start, Some(reason)))
}

fn locate(x: &Exchange, cx: &Cx, id: &[u8]) -> Option<u64> {
    x.stream()?.tracker.locate(&cx.interner, id)
}
