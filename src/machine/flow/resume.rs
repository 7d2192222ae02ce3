//! Clients that come back: each receives what it missed from its log, then joins the live stream without a seam; or it
//! goes upstream, and is told of the gap if one is known.
//!
//! In: requests with what was found for them, answers of the store, bodies of POSTs that may be repeated. Out: readers
//! with a place in a log, a status, or a request that goes upstream.
//! Law: gaps are stated in the way that the client's protocol has for them.
//! Source: `docs/behaviour.md`, what a returning client sees, and gaps.
//!
//! What becomes of a request with an id:
//!
//! ```text
//! find --Joins--> join: head, gap event or last id, then the log from the offset on
//!   |--Over-----> 204                      |--Later--> a cut: come back in a moment
//!   |--Repeats--> hold the body back; the same POST again? --yes--> join   --no--> upstream, gap `unknown`
//!   |--New, NewAfter--> may the store know it? --look_up--> rebuild the log, join, heal from its end
//!                                |               |  ^
//!                                |               |  +-- it could not be asked: again, up to `heal_for`, then a cut
//!                                |               v
//!                                +--> upstream: with its id, or without it and the gap told
//! ```

use crate::base::{Count, Rare, Tick};
use crate::config::{Gap, Share};
use crate::http::{BodyDecoder, Method};
use crate::machine::Machine;
use crate::machine::cx::{After, Cx};
use crate::machine::exchange::{Ending, Exchange, Phase, Request};
use crate::machine::find::body::{Held, HeldRequest, Progress};
use crate::machine::find::era::Era;
use crate::machine::find::identity::Token;
use crate::machine::find::{Finder, Found, Join};
use crate::machine::io::{Close, NotLookedUp, StoredStream};
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::Notice;
use crate::machine::pool::Conns;
use crate::machine::stream::readers::{Reader, Words};
use crate::machine::stream::{Greeting, Stream};
use crate::machine::wait::{Looked, Search};
use crate::sse::write_id;
use crate::track::{GapReason, write_gap};

/// Places in logs.
impl Machine {
    /// Before a client begins in a log, its events that are too old leave. If some did, `again` finds its place again.
    /// A page that could not read the answer goes upstream instead.
    pub(super) fn fresh(&mut self, request: &Request, found: Found, again: impl Fn(Finder<'_>) -> Found) -> Found {
        let found = self.without_old(found, again);
        self.for_page(request, found)
    }

    fn without_old(&mut self, found: Found, again: impl Fn(Finder<'_>) -> Found) -> Found {
        let Found::Joins(Join { stream: key, .. }) = found else { return found };
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return found };
        let route = x.route();
        let is_old = |stream: &&mut Stream| stream.tracker.has_expired(cx.limits(route), cx.now);
        let Some(stream) = x.stream_mut().filter(is_old) else { return found };
        stream.tracker.expire(cx.track(route));
        x.cut_fallen(cx, conns, key);
        again(self.finder())
    }

    /// A browser gives up for good on an answer that its page may not read. Where upstream has sent a stream no head,
    /// and has not lately told this page that it may read what lies here, the request goes upstream and waits, as any
    /// new one does.
    fn for_page(&self, request: &Request, found: Found) -> Found {
        let Found::Joins(join) = &found else { return found };
        let Some(page) = request.page() else { return found };
        let Some(x) = self.exchanges.get(join.stream) else { return found };
        let has_head = x.stream().is_some_and(|stream| stream.head.is_some());
        if has_head || self.cx.heads.own(self.cx.balancing.first(x.route()), Some(page)).is_some() {
            return found;
        }
        match request.cursor.as_deref().and_then(Token::parse) {
            Some(_) => Found::NewAfter(GapReason::Restarted),
            None => Found::New,
        }
    }

    /// A client that names its session and no event goes on in the log that its session has read last. `asks`: not
    /// before upstream has let it, where its last answer is too old.
    pub(super) fn in_session(&mut self, request: &Request, route: usize, asks: bool) -> Found {
        let Some(latest) = self.finder().latest(request, route) else { return Found::New };
        let again = |finder: Finder<'_>| finder.latest(request, route).map_or(Found::New, |latest| latest.found);
        let found = self.fresh(request, latest.found, again);
        if matches!(&found, Found::Joins(join) if !(asks && self.is_overdue(join))) {
            self.cx.counts.one(Count::SessionCursorsUsed);
            self.cx.counts.add(Count::SessionCursorsAmbiguous, u64::from(latest.is_one_of_several));
        }
        found
    }
}

/// Streams that are here.
impl Machine {
    /// Does what was found for a request that belongs to a stream.
    pub(super) fn resume_at(&mut self, conn: ConnKey, request: Request, reader: Reader, found: Found) {
        match found {
            Found::Joins(join) => self.join(conn, request, reader, join),
            Found::Over => self.conns.answer_and_close(&mut self.cx, conn, 204, "", &[]),
            _ => {
                // After a cut clients come back. Some would take a status for the end.
                self.cx.counts.one_at(request.route as usize, Count::StreamsCut);
                self.conns.close(&mut self.cx, conn, Close::Reset);
            }
        }
    }

    /// Gives a client a place in a stream: what it has missed first, then what comes.
    fn join(&mut self, conn: ConnKey, request: Request, reader: Reader, to: Join) {
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let Join { stream: key, offset, gap } = to;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let by_post = x.is_by_post(cx);
        let refuses = refuses_gaps(cx, &request, route, !by_post);
        if gap.is_some() && refuses {
            return refuse_gap(cx, conns, conn, &request, gap);
        }
        let is_cut = x.phase == Phase::Ending(Ending::Cut) && by_post;
        let place = x.request.place();
        let (shared, is_retried) = (cx.route(route).share != Share::Off, x.order().is_some());
        let Some(stream) = x.stream_mut() else { return };
        stream.has_told_end |= is_cut && gap == Some(GapReason::Refused);
        let Some(head) = cx.heads.later(cx.balancing.first(route), stream.head.as_ref(), request.page()) else {
            // A browser gives up for good on a head that does not let its page read. By a cut it comes back, and
            // upstream may have said by then what the page may read.
            cx.counts.one_at(route, Count::StreamsCut);
            return conns.close(cx, conn, Close::Reset);
        };
        // The newest connection of an MCP stream wins; with own ids, where streams are shared, and as a try of an order it
        // joins beside.
        if request.era.is_resumable_mcp() || !stream.tracker.has_own_ids() && !shared && !is_retried {
            let before = stream.readers.audience();
            stream.readers.part(|_| true, |other| conns.close(cx, other.client, Close::Reset));
            cx.audience.settle(before, stream.readers.audience());
        }
        let missed = stream.tracker.received().seq.saturating_sub(stream.events_before(offset));
        if missed > 0 {
            cx.counts.one_at(route, Count::Replays);
            cx.counts.add_at(route, Count::EventsReplayed, missed);
        }
        let until = stream.tracker.received().seq;
        if let Some(recorded) = cx.visits.recorded(conn) {
            recorded.link(place);
            if missed > 0 {
                recorded.begin_replay(cx.traces.span_id(), missed, until, cx.now);
            }
        }
        cx.counts.one_at(route, Count::Resumes);
        let owes_gap = is_cut && gap.is_none() && !refuses && reader.words != Words::None;
        let words = if owes_gap { Words::OwnAndGap } else { reader.words };
        let seat = stream.join(cx, route, Reader { words, ..reader }, offset);
        let lead = lead(&request, gap, stream, offset);
        if let Some(c) = conns.get_mut(conn) {
            c.sit(key, seat);
        }
        conns.set_deadline(cx, conn, Tick::NEVER);
        if stream.detached.take().is_some() {
            book.unread.remove(key);
            if let Some(session) = stream.account.session {
                book.sessions.read(session);
            }
        }
        stream.send_resumed_head(cx, conns, route, seat, &head, Greeting { gap, lead: &lead, id: request.id() });
        index.attend_order(key, x);
        x.cut_fallen(cx, conns, key);
        if let Some(reason) = gap {
            x.state_gap(cx, reason);
        }
        if goes_on_behind_the_end(x, cx) {
            self.heal(key);
        }
        self.conns.flush(&mut self.cx, conn);
        self.arm(key);
    }
}

/// Streams that are in the store.
impl Machine {
    /// The store has answered, or could not be asked.
    pub(in crate::machine) fn on_looked_up(&mut self, key: ExchangeKey, found: Result<Vec<StoredStream>, NotLookedUp>) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let waits = matches!(x.phase, Phase::Waiting { wait, .. } if wait.tries == 0);
        if !waits || x.stream().is_some() {
            return;
        }
        let Ok(found) = found else { return self.on_look_failed(key) };
        let lookup = self.cx.traces.end_lookup(key, None, self.cx.now);
        self.cx.traced(lookup);
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let looks = x.search().map_or(0, |search| search.looks);
        let since = x.phase.wait().map_or(self.cx.now, |wait| wait.since);
        x.end_search(self.cx.now);
        match x.request.wanted().map(Box::<[u8]>::from) {
            Some(id) => {
                if self.join_meanwhile(key, &id) {
                    return;
                }
                let is_known = found.iter().any(|stored| stored.log.is_some());
                let request = self.exchanges.get(key).map(|x| &x.request);
                let stored = request.and_then(|request| self.finder().pick(request, &id, found));
                if self.looks_again(key, &id, stored.as_ref(), Looked { is_known, looks, since }) {
                    return;
                }
                if let Some((number, log)) = stored.and_then(|stored| Some((stored.stream, stored.log?))) {
                    return self.rebuild_for(key, &id, number, &log);
                }
                if !is_known && self.refuse_lost_order(key) {
                    return;
                }
            }
            None => {
                let Self { cx, exchanges, .. } = self;
                if let Some(x) = exchanges.get_mut(key) {
                    x.begin_where_the_session_was(cx, found);
                }
            }
        }
        self.ask(key);
        self.arm(key);
    }

    /// A look-up has failed, or was not answered in time. A request that needs the store asks it again in a while; any
    /// other goes upstream as it came.
    pub(super) fn on_look_failed(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let random = cx.random.next();
        let Some(x) = exchanges.get_mut(key) else { return };
        // The error of an earlier look-up, which was waited for long enough, says nothing new.
        let Some(search) = x.search().filter(|search| search.is_asked) else { return };
        cx.counts.one(Count::LookupsFailed);
        let lookup = cx.traces.end_lookup(key, Some("failed"), cx.now);
        cx.traced(lookup);
        if !x.needs_the_store() {
            x.end_search(cx.now);
            self.on_attempt_due(key);
            return self.arm(key);
        }
        x.set_search(Some(Search { is_asked: false, ..search }));
        let next = search.backoff(random);
        if let Some(wait) = x.phase.wait() {
            x.phase = Phase::Waiting { wait, at: cx.now + next };
        }
        let why = "the store could not be asked for the events behind the client's id".into();
        cx.notice(Notice::AttemptFailed { target: x.target(), why, next: Some(next), is_known: false });
        x.arm(cx, key);
    }

    /// The time of a search's next step has come: the look-up has taken too long, or the next one is due.
    pub(super) fn on_search_due(&mut self, key: ExchangeKey, search: Search) {
        if search.is_asked {
            return self.on_look_failed(key);
        }
        let Self { cx, exchanges, .. } = self;
        if let Some(x) = exchanges.get_mut(key) {
            x.send_look(cx, key);
        }
    }

    /// The store could not tell for too long: the client is cut, and told of no gap, since none is known.
    pub(super) fn give_up_search(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        cx.counts.one(Count::LookupsGivenUp);
        let why = "the store could not tell in time whether it has the events behind the client's id".into();
        cx.notice(Notice::NotHealed { target: x.target(), why });
        self.cut_readers(key);
    }

    /// While the store was asked, another request may have brought the stream back: joins that stream. True: it did.
    fn join_meanwhile(&mut self, key: ExchangeKey, id: &[u8]) -> bool {
        let Some(x) = self.exchanges.get(key) else { return true };
        let Some(conn) = x.client() else { return false };
        let request = Request { cursor: id.into(), asked: Rare::NONE, gap: None, ..x.request.clone() };
        let (route, found) = (x.route(), self.finder().find(&request, x.route()));
        let found = self.fresh(&request, found, |finder| finder.find(&request, route));
        if matches!(found, Found::Repeats(..)) {
            return self.held_again(key).is_some_and(|held| self.answer_held(conn, key, &held) == Repeat::Answered);
        }
        if !matches!(found, Found::Joins(_) | Found::Over | Found::Later) {
            return false;
        }
        self.move_reader(key, conn, request, found);
        true
    }

    /// Whether upstream has to be asked before a client reads a stream, since its last answer for it is too old.
    pub(super) fn is_overdue(&self, join: &Join) -> bool {
        let Some(x) = self.exchanges.get(join.stream) else { return false };
        let limit = self.cx.route(x.route()).reauthorize;
        let authorized = x.stream().map(|stream| stream.authorized);
        limit.zip(authorized).is_some_and(|(limit, at)| at + limit <= self.cx.now)
    }

    /// Upstream lets a client read on that came back to an old stream: it reads from the log, and upstream's answer is
    /// not needed. False: upstream was not asked for that, or the stream is gone meanwhile.
    pub(super) fn rejoin(&mut self, key: ExchangeKey) -> bool {
        let Some(x) = self.exchanges.get_mut(key) else { return false };
        if !std::mem::take(&mut x.request.reauthorizes) {
            return false;
        }
        let (Some(conn), route, mut request) = (x.client(), x.route(), x.request.clone()) else { return false };
        request.cursor = request.asked.take().or(request.cursor);
        let found = self.finder().find(&request, route);
        let found = match self.fresh(&request, found, |finder| finder.find(&request, route)) {
            Found::New => self.in_session(&request, route, false),
            found => found,
        };
        if let Found::Joins(join) = &found
            && let Some(stream) = self.exchanges.get_mut(join.stream).and_then(Exchange::stream_mut)
        {
            stream.authorized = self.cx.now;
        }
        match found {
            Found::Joins(_) | Found::Over | Found::Later => {
                self.move_reader(key, conn, request, found);
                true
            }
            Found::NewAfter(reason) => {
                if let Some(x) = self.exchanges.get_mut(key) {
                    x.request.gap = Some(reason);
                }
                false
            }
            Found::New | Found::Anew | Found::Repeats(..) => false,
        }
    }

    /// The only reader of an exchange reads another stream from now on: the exchange is dropped.
    pub(super) fn move_reader(&mut self, key: ExchangeKey, conn: ConnKey, request: Request, found: Found) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let before = x.audience();
        let Some(reader) = x.readers_mut().leave(0) else { return };
        self.cx.audience.settle(before, x.audience());
        self.drop_exchange(key);
        self.conns.leave(conn);
        self.resume_at(conn, request, reader, found);
    }
}

/// POSTs that come again.
impl Machine {
    /// More of a body that is held back may have come, and may show which stream its request belongs to.
    pub(super) fn hear_body(&mut self, conn: ConnKey, key: ExchangeKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let (Some(x), Some(c)) = (exchanges.get_mut(key), conns.get(conn)) else { return };
        let Some(mut held) = x.take_held() else { return };
        let progress = held.hear(&c.input);
        let mut repeat = Repeat::Unknown;
        match progress {
            Progress::Open { came } => {
                x.hold(held);
                if came {
                    // The client's time limit starts again.
                    let until = cx.now + cx.route(x.route()).body_timeout;
                    conns.set_deadline(cx, conn, until);
                }
                return;
            }
            Progress::Whole => repeat = self.answer_held(conn, key, &held),
            Progress::Unknown => {}
        }
        if repeat == Repeat::Answered || !self.takes_place_in_session(conn, key) {
            return;
        }
        if let Held::Tries(this) = held.why {
            self.begin_order(key, &held, this, progress == Progress::Whole);
        }
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        // The client will append the answer to what it has, so it is told. MCP has no way to say so on a POST.
        let told = matches!(held.why, Held::Repeats(..)) && !x.request.era.is_resumable_mcp();
        let reason = match repeat {
            Repeat::Anew => GapReason::Refused,
            _ => GapReason::Unknown,
        };
        x.request.gap = told.then_some(reason);
        if repeat == Repeat::Anew {
            // It has read the event for it. So this answer tells it in its head, and begins like any other.
            x.request.asked = Rare::NONE;
        }
        if let Some(wait) = x.phase.wait_mut() {
            wait.since = cx.now;
        }
        let is_whole = progress == Progress::Whole;
        if !(is_whole && (x.look_up(cx, key) || self.send_order_elsewhere(key))) {
            self.cx.after.push_back(After::Ask(key));
        }
    }

    /// The body is whole: answers what it shows to have come before.
    fn answer_held(&mut self, conn: ConnKey, key: ExchangeKey, held: &HeldRequest) -> Repeat {
        match held.why {
            Held::Repeats(token, seq) => self.answer_repeat(conn, key, held, token, seq),
            Held::Tries(this) if self.answer_try(conn, key, held, this) => Repeat::Answered,
            Held::Tries(_) => Repeat::Unknown,
        }
    }

    /// The same of a request whose body is here and was held back before.
    pub(super) fn held_again(&self, key: ExchangeKey) -> Option<HeldRequest> {
        let x = self.exchanges.get(key)?;
        let c = self.conns.get(x.client()?)?;
        let (token, seq) = Token::parse(x.request.wanted()?)?;
        let mut held = HeldRequest::new(Held::Repeats(token, seq), c.body.clone(), &self.cx.secret);
        (held.hear(&c.input) == Progress::Whole).then_some(held)
    }

    /// The body is whole: answers from the log of the stream that a POST with the same body began.
    fn answer_repeat(&mut self, conn: ConnKey, key: ExchangeKey, held: &HeldRequest, token: Token, seq: u64) -> Repeat {
        let finder = self.finder();
        let (Some(x), Some(first)) = (self.exchanges.get(key), finder.by_token(token)) else {
            return Repeat::Unknown;
        };
        let same = first.heard_body.as_ref().is_some_and(|first| held.is_repeat_of(first.hash()));
        if !same || first.request.method != Method::Post {
            return Repeat::Unknown;
        }
        let mut request = x.request.clone();
        request.cursor = request.asked.take();
        let found = finder.by_own_id(&request, token, seq);
        let found = self.fresh(&request, found, |finder| finder.by_own_id(&request, token, seq));
        let overdue = matches!(&found, Found::Joins(join) if self.is_overdue(join));
        match found {
            Found::Anew => return Repeat::Anew,
            Found::New | Found::NewAfter(_) => return Repeat::Unknown,
            // To ask upstream whether it may still be read would be to order it again.
            _ if overdue && self.cx.route(request.route as usize).idempotent => {
                self.drop_exchange(key);
                refuse_gap(&mut self.cx, &mut self.conns, conn, &request, Some(GapReason::Refused));
                return Repeat::Answered;
            }
            _ if overdue => return Repeat::Unknown,
            _ => {}
        }
        if let Some(c) = self.conns.get_mut(conn) {
            c.consume_input(held.len());
            c.body = BodyDecoder::Done;
        }
        self.move_reader(key, conn, request, found);
        Repeat::Answered
    }
}

/// What became of a POST that names a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repeat {
    /// It reads the stream that its like began.
    Answered,
    /// It goes upstream as a new one: upstream has cut the answer to its like, and its client was told so.
    Anew,
    /// No such stream is here that a POST with this body began.
    Unknown,
}

/// Gaps that are told by a status.
impl Machine {
    /// A request is about to go upstream although the events that it asks for are gone. If its client is told of gaps
    /// by a status, or asks by GET for what a POST began, answers with a status. True: it was answered.
    pub(super) fn refuse_gap_of(&mut self, key: ExchangeKey) -> bool {
        let Some(x) = self.exchanges.get(key) else { return false };
        let is_first = x.stream().is_none() && x.phase.wait().is_some_and(|wait| wait.tries == 0);
        let refuses =
            refuses_gaps(&self.cx, &x.request, x.route(), x.request.is_standalone()) || x.request.asks_for_a_post();
        if !is_first || x.request.gap.is_none() || !refuses {
            return false;
        }
        self.refuse_gap_for(key);
        true
    }

    /// Drops an exchange and tells its client of the gap by a status.
    pub(super) fn refuse_gap_for(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let (request, client) = (x.request.clone(), x.client());
        self.drop_exchange(key);
        if let Some(client) = client {
            refuse_gap(&mut self.cx, &mut self.conns, client, &request, request.gap);
        }
    }
}

/// Answers a request whose events are gone: 400 where MCP says so (404 would end its session), else 410.
fn refuse_gap(cx: &mut Cx, conns: &mut Conns, conn: ConnKey, request: &Request, gap: Option<GapReason>) {
    let status = if request.era.is_resumable_mcp() { 400 } else { 410 };
    let reason = gap.unwrap_or(GapReason::Unknown);
    cx.state_gap(request.route as usize, request.subject(None), reason);
    let text = format!("events behind this Last-Event-ID are gone ({reason}); begin without it");
    answer_gap(cx, conns, conn, request, status, reason, &text);
}

/// Answers with a status that tells of a gap, so that a page of another origin can read it where it may.
pub(super) fn answer_gap(
    cx: &mut Cx,
    conns: &mut Conns,
    conn: ConnKey,
    request: &Request,
    status: u16,
    reason: GapReason,
    text: &str,
) {
    let lines = cx.heads.gap_lines(cx.balancing.first(request.route as usize), request.page(), reason);
    let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (&**name, &**value)).collect();
    conns.answer_and_close(cx, conn, status, text, &lines);
}

/// Whether a client of this request is told of gaps by a status instead of a stream. `standalone`: the stream that it
/// asks for is none that a POST began. In MCP such a one is never refused: its head alone tells of the gap.
pub(super) fn refuses_gaps(cx: &Cx, request: &Request, route: usize, standalone: bool) -> bool {
    request.era.is_resumable_mcp() && !standalone || cx.route(route).gap == Gap::Status
}

/// Whether a stream that has ended, and that a client has joined, is asked for again after what its log holds: a GET
/// whose upstream has ids.
fn goes_on_behind_the_end(x: &Exchange, cx: &Cx) -> bool {
    let Some(stream) = x.stream() else { return false };
    let can_ask = x.request.method == Method::Get && stream.can_go_on(cx) && !stream.ends_with_own_id();
    can_ask
        && match x.phase {
            // Other readers may have been sent the end already, which cannot be taken back.
            Phase::Ending(Ending::Clean) => stream.readers.len() == 1 && !x.ends_inside_event(),
            Phase::Ending(Ending::Cut) => true,
            _ => false,
        }
}

/// What a resumed stream begins with: the gap event, or the client's last id if no event would carry one soon.
fn lead(request: &Request, gap: Option<GapReason>, stream: &Stream, offset: u64) -> Vec<u8> {
    let mut lead = Vec::new();
    let Some(id) = request.cursor.as_deref().filter(|_| request.is_by_name()) else { return lead };
    if gap.is_some() && request.era.is_resumable_mcp() {
        return lead;
    }
    if let Some(reason) = gap {
        let resumed_at = stream.first_own_id(offset);
        write_gap(&mut lead, reason, Some(id), resumed_at.as_ref().map(|id| id.as_bytes()));
    } else if offset == stream.tracker.whole() {
        write_id(&mut lead, id);
        // Clients of MCP know an event without data; for others a block that dispatches nothing keeps the cursor.
        let primes = request.era == Era::Resumable { primes: true };
        lead.extend_from_slice(if primes { b"data:\n\n" } else { b"\n" });
    }
    lead
}
