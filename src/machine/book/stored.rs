//! Streams in the store: under which name, with which events, and which of them a request belongs to.
//!
//! In: exchanges, and what the store knows. Out: questions and events for the store; the one stored stream that a
//! client may read.
//! Names: a stream with ids of segno's own is named by its token, all others by session and target.
//! Laws: a look-up is waited for no longer than [`PATIENCE`]; a request with an upstream's id then goes upstream with
//! it, and one with an id of segno's own asks the store again, since nobody else can tell whether its events are gone;
//! a stored stream is read by the principal alone that made it; a name holds no query, which may
//! hold a secret.

use crate::base::{Count, EventId, Span, StreamName, Tick};
use crate::config::ResumeFrom;
use crate::http::{self, Method};
use crate::machine::cx::Cx;
use crate::machine::exchange::{Exchange, Phase, Request};
use crate::machine::find::Finder;
use crate::machine::find::identity::{ASKED, Identity, Token};
use crate::machine::io::{EventPart, LogBounds, Lookup, Output, StoredEvents, StoredStream};
use crate::machine::keys::ExchangeKey;
use crate::machine::wait::Search;
use crate::sse;
use crate::track::GapReason;

/// Bytes beside a stored log: for what, from where and by whom the stream was asked, whether by GET, and else the hash
/// of the request's body.
const META: usize = META_BODY + 16;
const META_GET: usize = ASKED;
const META_BODY: usize = ASKED + 1;

/// How long a look-up may take.
const PATIENCE: Span = Span::from_secs(1);

/// How long a request waits for the store at least, however short `heal_for` is: a look-up is no heal.
pub(in crate::machine) const LOOKED_UP: Span = Span::from_secs(2);

/// The most bytes of the words in a stored name.
const SHOWN: usize = 160;

/// The words by which a person knows a session.
pub(super) fn shown<'x>(x: &'x Exchange, session_header: &'x str) -> &'x [u8] {
    let words = if x.request.identity.named { session_header.as_bytes() } else { x.request.path() };
    &words[..words.len().min(SHOWN)]
}

/// The name under which the store has streams: words for people, and a hash that tells them from all others.
pub(super) fn name(shown: &[u8], hash: u128) -> Box<[u8]> {
    let mut name = Vec::with_capacity(shown.len() + 33);
    name.extend_from_slice(shown);
    name.extend_from_slice(format!(" {hash:032x}").as_bytes());
    name.into()
}

/// The hash at the end of a stream's name. It is the same from the stream's first event on.
pub(super) fn name_hash(cx: &Cx, x: &Exchange) -> u128 {
    match x.stream().filter(|stream| stream.tracker.has_own_ids()) {
        Some(stream) => cx.secret.stored_by_token(cx.secret.token(stream.account.number)),
        None => cx.secret.stored_by_session(&x.request.identity),
    }
}

/// The name under which the store has a stream with ids of segno's own that another instance made.
pub(in crate::machine) fn name_by_token(cx: &Cx, x: &Exchange, number: u64) -> StreamName {
    let hash = cx.secret.stored_by_token(cx.secret.token(number));
    StreamName { session: name(shown(x, &cx.route(x.route()).session_header), hash), stream: number }
}

/// The events that have come since the last call.
pub(super) fn next_part(cx: &Cx, x: &mut Exchange) -> Option<EventPart> {
    let (limits, asked, is_get) = (cx.limits(x.route()), x.request.identity.stored(), x.request.method == Method::Get);
    let body = x.heard_body.as_ref().map(|body| body.hash());
    let stream = x.stream_mut()?;
    // The log may hold only a part of an event above the bound. What is stored then begins after that event, and the
    // number of the first stored event shows it.
    let from = stream.stored.max(stream.tracker.replay_start()?);
    let (end, ends) = stream.tracker.events_behind(from);
    if ends.is_empty() {
        return None;
    }
    let mark = stream.tracker.received().seq;
    let later = stream.tracker.events_behind(end).1.len() as u64;
    let first = stream.account.before.saturating_add(mark - later - ends.len() as u64 + 1);
    stream.stored = end;
    let (a, b) = stream.tracker.slices(from, end);
    let mut meta = Vec::with_capacity(META);
    meta.extend_from_slice(&asked);
    meta.push(u8::from(is_get));
    meta.extend(body.into_iter().flat_map(u128::to_le_bytes));
    let bounds = LogBounds { events: limits.log_events, bytes: limits.log_bytes, age: limits.log_age };
    Some(EventPart { first, bytes: [a, b].concat().into(), ends: ends.into(), meta: meta.into(), bounds, claim: None })
}

impl StoredEvents {
    /// Whether a POST began the stream.
    pub(in crate::machine) fn is_by_post(&self) -> bool {
        self.meta.get(META_GET) != Some(&1)
    }

    /// The hash of the body of the POST that began the stream, where it was known.
    pub(in crate::machine) fn body(&self) -> Option<u128> {
        let hash = self.meta.get(META_BODY..META)?;
        Some(u128::from_le_bytes(hash.try_into().ok()?))
    }
}

impl Exchange {
    /// Asks the store about a request, where that may help. True: the request waits for the answer.
    #[must_use]
    pub(in crate::machine) fn look_up(&mut self, cx: &mut Cx, key: ExchangeKey) -> bool {
        let route = cx.route(self.route());
        let is_read = match self.request.method {
            // One that has all of its stream needs nothing of the store.
            Method::Get => !self.request.has_body && (self.request.asked.is_none() || self.request.gap.is_some()),
            // One that names a stream of segno's own may be the POST that began it.
            Method::Post => self.request.asked.is_some(),
            _ => false,
        };
        // When upstream last let somebody read what is stored is not known.
        let durable = cx.config.persist.keeps_events() && route.reauthorize.is_none();
        let wanted = self.request.wanted();
        let by_session = route.resume_from == ResumeFrom::Session && self.request.identity.named && wanted.is_none();
        if !is_read || cx.draining || self.request.verbatim || !(durable && wanted.is_some() || by_session) {
            return false;
        }
        self.send_look(cx, key);
        true
    }

    /// Sends a look-up, the first or another.
    pub(in crate::machine) fn send_look(&mut self, cx: &mut Cx, key: ExchangeKey) {
        let (route, durable) = (cx.route(self.route()), cx.config.persist.keeps_events());
        let wanted = self.request.wanted();
        let own = wanted.and_then(Token::parse).map(|(token, _)| token).filter(|token| cx.secret.made(*token));
        let hash = match own {
            Some(token) => cx.secret.stored_by_token(token),
            None => cx.secret.stored_by_session(&self.request.identity),
        };
        let session = name(shown(self, &route.session_header), hash);
        let log_bytes = if durable && wanted.is_some() { route.replay_bytes } else { 0 };
        let wanted = wanted.unwrap_or_default().into();
        if let Some(wait) = self.phase.wait() {
            self.phase = Phase::Waiting { wait, at: cx.now + PATIENCE };
        }
        let looks = self.search().map_or(0, |search| search.looks) + 1;
        self.set_search(Some(Search { looks, is_asked: true }));
        cx.traces.begin_lookup(key, self.request.recorded_place(), cx.now);
        cx.outputs.push_back(Output::Lookup(Lookup { exchange: key, session, log_bytes, wanted }));
        self.arm(cx, key);
    }

    /// Whether nobody but the store can tell if the events that the client asks for are gone.
    pub(in crate::machine) fn needs_the_store(&self) -> bool {
        self.request.asked.is_some() && self.request.gap == Some(GapReason::Unknown)
    }

    /// The store has told what it knows, or is asked no more: from now on the request waits for upstream.
    pub(in crate::machine) fn end_search(&mut self, now: Tick) {
        if self.search().is_some_and(|search| search.looks > 1)
            && let Some(wait) = self.phase.wait_mut()
        {
            wait.since = now;
        }
        self.set_search(None);
    }

    /// A client that forgot its cursor goes on where its session's most recently active stream was.
    pub(in crate::machine) fn begin_where_the_session_was(&mut self, cx: &mut Cx, found: Vec<StoredStream>) {
        if found.len() > 1 {
            cx.counts.one(Count::SessionCursorsAmbiguous);
        }
        let latest = found.into_iter().max_by_key(|stored| stored.last_seen_ms);
        // What cannot stand in a header cannot be asked for.
        let goes_up = |id: &EventId| Token::parse(id.as_bytes()).is_none() && http::is_field_value(id.as_bytes());
        let is_known = cx.knows_stored_ids(self.route());
        let Some(id) = latest.map(|stored| stored.id).filter(|id| is_known && goes_up(id)) else { return };
        cx.counts.one(Count::SessionCursorsUsed);
        self.request.cursor = id.as_bytes().into();
    }
}

impl Finder<'_> {
    /// The one stored stream that has an event with the id after which a request wants to go on.
    pub(in crate::machine) fn pick(
        self,
        request: &Request,
        id: &[u8],
        found: Vec<StoredStream>,
    ) -> Option<StoredStream> {
        let own = Token::parse(id).map(|(token, _)| token);
        let fits = |stored: &StoredStream| {
            let Some(log) = stored.log.as_ref() else { return false };
            let Some(made_by) = Identity::of_stored(&log.meta) else { return false };
            let is_get = !log.is_by_post();
            if self.is_live(request.identity.session, stored.stream) {
                // Another request has gone on with it meanwhile.
                return false;
            }
            match own {
                Some(token) => self.cx.secret.token(stored.stream) == token && request.identity.owns(&made_by),
                // An id that can be guessed is answered where it was given. A stream that a POST began is only found by
                // something that nobody can guess.
                None => {
                    request.identity.is_at(&made_by)
                        && (is_get || request.is_secret())
                        && sse::ids(&log.bytes).any(|found| found == id)
                }
            }
        };
        let mut fitting = found.into_iter().filter(|stored| fits(stored));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }
}
