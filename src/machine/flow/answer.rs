//! Upstream's answer, once its head is here: what it means for the exchange, and what happens then.
//!
//! In: heads of answers. Out: streams that begin or go on, answers that pass through, attempts that have failed.
//! Laws: what a status means stands in one table, `verdict`; an answer that is not an event stream passes through as
//! it is; a session that finds no place is never the client's error if it did not ask for events by name.

use crate::base::{Count, Span, Timing};
use crate::config::{Ids, Share};
use crate::http::{self, BodyDecoder, BodyLength, ResponseHead};
use crate::machine::Machine;
use crate::machine::balancing::Failure;
use crate::machine::conn::UpstreamState;
use crate::machine::cx::Cx;
use crate::machine::exchange::{Ending, Exchange, Phase};
use crate::machine::find::era::Era;
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::Notice;
use crate::machine::verdict::{Response, Situation, Verdict, verdict};

/// MCP whose clients understand an event with an id and no data.
const PRIMED: Era = Era::Resumable { primes: true };

/// What an answer means, and what is done.
impl Machine {
    pub(super) fn on_answer(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead) {
        let Some(response) = self.take_head(key, conn, head) else { return };
        self.judge_upstream(key, head);
        let retry_after = http::retry_after(&head.headers);
        let verdict = self.settle_verdict(key, response, retry_after);
        if verdict != Some(Verdict::Retry) {
            self.cx.end_ask(key, head.status);
        }
        let Some(verdict) = verdict else { return };
        match verdict {
            Verdict::Stream => self.go_on_as_stream(key, conn, head),
            Verdict::Pass => self.go_on_as_answer(key, conn, head, response),
            Verdict::End => {
                if let Some(x) = self.exchanges.get(key).filter(|x| x.has_begun()) {
                    self.cx.counts.one_at(x.route(), Count::HealsEnded);
                    self.cx.end_heal(key, x.phase.wait().map_or(0, |wait| wait.tries), None);
                }
                self.end_stream(key, Ending::Clean);
            }
            Verdict::Retry => {
                self.conns.close(&mut self.cx, conn, Close::Finish);
                self.attempt_failed(key, &format!("upstream answered {}", head.status), true, retry_after);
            }
            Verdict::Refused => self.on_cursor_refused(key, head.status),
            Verdict::Cut => self.give_up(key, 502, &format!("upstream answered {}", head.status)),
        }
    }

    /// Notes what the head says of the exchange, the route and the connection.
    fn take_head(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead) -> Option<Response> {
        let Self { cx, conns, exchanges, .. } = self;
        let x = exchanges.get_mut(key)?;
        if let Some(span) = cx.traces.asking(key) {
            span.say_now("http.response.status_code", u64::from(head.status));
        }
        x.request.settle_era(x.heard_body.as_ref().and_then(|body| body.revision()));
        if matches!(head.status, 200..=299)
            && x.request.method != http::Method::Options
            && let Some(reads) = x.request.page()
        {
            cx.heads.learn(cx.balancing.first(x.route()), reads, head);
        }
        if let Some(c) = conns.get_mut(conn) {
            c.body = BodyDecoder::new(head.body);
            if let Some(u) = c.upstream_mut() {
                u.state = UpstreamState::Body;
                u.keep_alive = head.keep_alive;
                cx.counts.note(u.route as usize, Timing::UpstreamHead, cx.now.since(u.since));
            }
        }
        Some(response(head))
    }

    /// What is done with an answer, when the client's patience and the places that are left count as well; an event
    /// stream has its place then. `None`: it found none, and its readers were told.
    fn settle_verdict(&mut self, key: ExchangeKey, response: Response, retry_after: Option<Span>) -> Option<Verdict> {
        let x = self.exchanges.get(key)?;
        let (route, by_name) = (x.route(), x.request.accepts_stream);
        let is_held_too_long = cannot_be_held(x, &self.cx, response.status, retry_after);
        let verdict = match judge(x, response) {
            Verdict::Retry if is_held_too_long => Verdict::Pass,
            Verdict::Stream if self.create_stream(key) => Verdict::Stream,
            // Who asked for a stream by name may be owed a gap or ids.
            Verdict::Stream if by_name => {
                self.refuse_readers(key, "all sessions have streams; try again later");
                return None;
            }
            Verdict::Stream => {
                self.cx.counts.one_at(route, Count::StreamsUntracked);
                Verdict::Pass
            }
            verdict => verdict,
        };
        if verdict != Verdict::Retry && response.status < 500 {
            self.upstream_is_back(route);
        }
        Some(verdict)
    }

    /// What an answer says of the upstream that gave it, where there are several.
    fn judge_upstream(&mut self, key: ExchangeKey, head: &ResponseHead) {
        let Some(place) = self.exchanges.get(key).map(Exchange::route) else { return };
        match head.status {
            502..=504 => self.upstream_failed(place, Failure::Status, &format!("it answered {}", head.status)),
            _ => {
                self.upstream_works(place);
                self.bind_session(key, head);
            }
        }
    }

    /// The answer is an event stream that is tracked.
    fn go_on_as_stream(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead) {
        if self.rejoin(key) {
            return;
        }
        self.begin_stream(key, conn, head);
        self.see_off_ended(key);
        self.read_behind_head(conn);
    }

    /// The answer passes through as it is, to the one client that it is for.
    fn go_on_as_answer(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead, response: Response) {
        if self.exchanges.get(key).is_some_and(Exchange::is_detached) {
            // A stream that found no place, and nobody to pass it to.
            return self.let_go(key);
        }
        let Some(own) = self.part_ways(key, conn) else { return };
        self.end_deleted_session(own, head.status);
        let Self { cx, conns, exchanges, index, .. } = self;
        let Some(x) = exchanges.get_mut(own) else { return };
        index.await_no_more(x);
        if response.event_stream && response.encoded {
            cx.counts.one_at(x.route(), Count::StreamsEncoded);
            cx.notice(Notice::EncodedStream { target: x.target() });
        }
        x.begin_pass(cx, conns, conn, head);
        if response.event_stream {
            self.see_off_ended(key);
        }
        self.read_behind_head(conn);
    }

    /// What has come behind the head is the body's beginning.
    fn read_behind_head(&mut self, conn: ConnKey) {
        let rest = self.conns.get_mut(conn).map(|c| c.input.take()).unwrap_or_default();
        self.on_body(conn, &rest);
    }

    /// Upstream has ended a session that its client deleted: drops its streams and records.
    fn end_deleted_session(&mut self, key: ExchangeKey, status: u16) {
        let Self { cx, exchanges, book, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        let identity = x.request.identity;
        let is_delete = x.request.method == http::Method::Delete && identity.named && x.request.era.is_resumable_mcp();
        if is_delete
            && matches!(status, 200..=299 | 404 | 410)
            && let Some(session) = book.sessions.find(identity.session)
        {
            let gone = book.end_session(cx, exchanges, session);
            gone.into_iter().for_each(|key| self.drop_exchange(key));
        }
    }
}

/// Streams that begin.
impl Machine {
    /// An event stream comes from upstream: the first time, or to go on after a cut.
    fn begin_stream(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead) {
        let healed = self.exchanges.get(key).is_some_and(Exchange::has_begun);
        let Self { cx, conns, exchanges, index, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let Some(wait) = x.phase.wait() else { return };
        if healed {
            let took = cx.now.since(wait.since);
            cx.counts.one_at(x.route(), Count::Heals);
            cx.counts.note(x.route(), Timing::Heal, took);
            cx.end_heal(key, wait.tries, None);
            cx.notice(Notice::Healed { target: x.target(), tries: wait.tries, took });
        }
        x.phase = Phase::Streaming { wait, conn };
        let era = x.request.era;
        let offers = cx.route(x.route()).ids == Ids::Auto && era != Era::Stateless && x.request.is_by_name();
        let route = x.route();
        if let Some(stream) = x.stream_mut() {
            stream.begin(cx, route, head, offers);
        }
        if cx.route(route).share != Share::Off
            && let Some(stream) = x.stream()
        {
            index.variants.enter(key, &x.request, stream.varies.as_deref());
        }
        x.send_heads(cx, conns, head);
        // Who comes with an id has one to come back with, and upstream knows it.
        if !healed && offers && era == PRIMED && x.request.cursor.is_none() {
            if let Some(stream) = x.stream() {
                stream.prime(cx, conns);
            }
            index.know_token(cx, key, x);
        }
        x.arm(cx, key);
    }

    /// `hold_head` is over: the client is told that a stream begins, and gets heartbeats until it does. A page of another
    /// origin to which upstream has said nothing at this path waits on, since a browser gives up for good on a head without the
    /// lines that let the page read it.
    pub(super) fn open_early(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let Some(head) = cx.heads.own(cx.balancing.first(x.route()), x.request.page()) else {
            x.request.waits_for_head = true;
            return;
        };
        if !self.create_stream(key) {
            // There may be a place by the time that upstream answers.
            if let Some(x) = self.exchanges.get_mut(key) {
                x.request.waits_for_head = true;
            }
            return;
        }
        let Self { cx, conns, exchanges, .. } = self;
        if let Some(x) = exchanges.get_mut(key) {
            x.send_heads(cx, conns, &head);
            x.heartbeat(cx, conns, key);
        }
    }

    /// Makes an exchange a stream of its session, unless it is one. False: the session has no place.
    #[must_use]
    pub(super) fn create_stream(&mut self, key: ExchangeKey) -> bool {
        let Self { cx, exchanges, book, .. } = self;
        let Some(x) = exchanges.get(key) else { return false };
        if x.stream().is_some() {
            return true;
        }
        let (session, by_post) = (x.request.identity.session, x.request.method == http::Method::Post);
        let mut gone = Vec::new();
        let account = book.open(cx, exchanges, key, session, by_post, &mut gone);
        gone.into_iter().for_each(|key| self.drop_exchange(key));
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return false };
        let Some(account) = account else { return false };
        index.await_no_more(x);
        index.forget_waiting(key, &x.request);
        conns.count_stream(cx, x);
        x.become_stream(cx, account);
        if x.is_detached()
            && let Some(session) = x.stream().and_then(|stream| stream.account.session)
        {
            // Nobody reads it yet.
            book.left(cx, session);
        }
        true
    }
}

/// Whether upstream asks a client that has no head yet to come back after a longer time than it may be held for. Then
/// it is told so, as it would be without segno.
fn cannot_be_held(x: &Exchange, cx: &Cx, status: u16, retry_after: Option<Span>) -> bool {
    let Some(wait) = x.phase.wait() else { return false };
    let ends = wait.ends(cx.now, cx.route(x.route()).heal_for);
    status == 503 && x.stream().is_none() && retry_after.is_some_and(|asked| asked > ends.since(cx.now))
}

/// Whether an answer passes through as it is.
pub(super) fn passes(x: &Exchange, head: &ResponseHead) -> bool {
    judge(x, response(head)) == Verdict::Pass
}

/// What a head says of its answer.
fn response(head: &ResponseHead) -> Response {
    Response {
        status: head.status,
        // The answer to a HEAD has the headers of a stream and no body.
        event_stream: http::is_event_stream(&head.headers) && head.body != BodyLength::None,
        encoded: http::is_encoded(&head.headers),
    }
}

/// What a response means for an exchange.
fn judge(x: &Exchange, response: Response) -> Verdict {
    let situation = match x.stream() {
        Some(stream) if stream.begun || x.request.cursor.is_some() => Situation::Healing,
        Some(_) => Situation::Opened,
        None if x.is_stream_request() => Situation::Held,
        None => Situation::Plain,
    };
    // An MCP server answers 409 until it has noticed that the stream was cut.
    let conflict = response.status == 409 && situation == Situation::Healing && x.request.era.is_resumable_mcp();
    if conflict { Verdict::Retry } else { verdict(situation, response) }
}
