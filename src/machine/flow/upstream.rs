//! A connection to upstream: heads of answers in, bodies passed on or tracked.
//!
//! In: what upstream's socket says. Out: heads and bodies for clients, and events for trackers.
//! Laws: an answer that is not an event stream passes through as it is; reading stops while the client does not take
//! what has come; a breach of HTTP by upstream is logged and counted, and ends as a failure or a cut, never as a clean
//! end.

use crate::base::{Count, Span};
use crate::config::{Ids, Share};
use crate::http::{self, AtEof, BodyDecoder, BodyLength, HeadLimits, ResponseHead};
use crate::machine::Machine;
use crate::machine::conn::{Conn, Peer, UpstreamState};
use crate::machine::cx::Cx;
use crate::machine::exchange::{Ending, Exchange, Phase};
use crate::machine::find::era::Era;
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::Notice;
use crate::machine::room::NextRead;
use crate::machine::stream::{Body, Stream};
use crate::machine::verdict::{Response, Situation, Verdict, verdict};
use crate::machine::wait::STEADY;
use crate::track::GapReason;

/// MCP whose clients understand an event with an id and no data.
const PRIMED: Era = Era::Resumable { primes: true };

/// Heads.
impl Machine {
    pub(in crate::machine) fn on_upstream_data(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Some(c) = self.conns.get(conn) else { return };
        let Peer::Upstream(u) = &c.peer else { return };
        match u.state {
            UpstreamState::Body => self.on_body(conn, bytes),
            UpstreamState::Tunnel => self.pass_through(conn, bytes),
            UpstreamState::Head => {
                if let Some(c) = self.conns.get_mut(conn) {
                    c.input.push(bytes);
                }
                self.read_answer(conn);
            }
            // No request is open, so these bytes answer nothing. They must not be taken for the next answer.
            UpstreamState::Idle => self.conns.drop_idle(&mut self.cx, conn),
            UpstreamState::Checked => self.on_stale(conn),
            UpstreamState::Connecting => {}
        }
    }

    /// Takes heads off the input: any number of interim ones, then the answer's.
    fn read_answer(&mut self, conn: ConnKey) {
        let limits = HeadLimits { bytes: self.cx.config.limits.header_bytes, ..HeadLimits::default() };
        loop {
            let Self { cx, conns, exchanges, .. } = self;
            let Some(c) = conns.get_mut(conn) else { return };
            let Some((key, x)) = c.exchange.and_then(|key| Some((key, exchanges.get(key)?))) else {
                return conns.close(cx, conn, Close::Finish);
            };
            let Some(found) = c.find_head() else {
                if let Err(e) = limits.check_unfinished(&c.input) {
                    self.malformed(key, &e.to_string());
                }
                return;
            };
            match http::parse_response(&c.input[found.clone()], &x.request.method, limits) {
                Ok(head) if head.is_interim() => {
                    c.consume_input(found.end);
                    x.pass_interim(cx, conns, &head);
                }
                Ok(head) if head.status == 101 => {
                    c.consume_input(found.end);
                    return self.on_switched(key, conn, &head);
                }
                Ok(mut head) => {
                    c.consume_input(found.end);
                    x.localize(cx, &mut head);
                    return self.on_answer(key, conn, &head);
                }
                Err(e) => return self.malformed(key, &e.to_string()),
            }
        }
    }

    fn on_answer(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        x.request.settle_era(x.heard_body.as_ref().and_then(|body| body.revision()));
        let response = Response {
            status: head.status,
            // The answer to a HEAD has the headers of a stream and no body.
            event_stream: http::is_event_stream(&head.headers) && head.body != BodyLength::None,
            encoded: http::is_encoded(&head.headers),
        };
        if matches!(head.status, 200..=299)
            && x.request.method != http::Method::Options
            && let Some(reads) = x.request.page()
        {
            cx.heads.learn(x.route(), reads, head);
        }
        if let Some(c) = conns.get_mut(conn) {
            c.body = BodyDecoder::new(head.body);
            if let Some(u) = c.upstream_mut() {
                u.state = UpstreamState::Body;
                u.keep_alive = head.keep_alive;
            }
        }
        let (route, retry_after) = (x.route(), http::retry_after(&head.headers));
        let is_held_too_long = cannot_be_held(x, cx, head.status, retry_after);
        let verdict = match judge(x, response) {
            Verdict::Retry if is_held_too_long => Verdict::Pass,
            Verdict::Stream if self.create_stream(key) => Verdict::Stream,
            // Who asked for a stream by name may be owed a gap or ids.
            Verdict::Stream if self.exchanges.get(key).is_some_and(|x| x.request.accepts_stream) => {
                return self.refuse_readers(key, "all sessions have streams; try again later");
            }
            Verdict::Stream => {
                self.cx.counts.one(Count::StreamsUntracked);
                Verdict::Pass
            }
            verdict => verdict,
        };
        if verdict != Verdict::Retry && head.status < 500 {
            self.upstream_is_back(route);
        }
        let Self { cx, conns, .. } = self;
        match verdict {
            Verdict::Stream => {
                if self.rejoin(key) {
                    return;
                }
                self.begin_stream(key, conn, head);
            }
            Verdict::Pass => {
                let Some(key) = self.part_ways(key, conn) else { return };
                self.end_deleted_session(key, head.status);
                let Self { cx, conns, exchanges, index, .. } = self;
                let Some(x) = exchanges.get_mut(key) else { return };
                index.await_no_more(x);
                if response.event_stream && response.encoded {
                    cx.counts.one(Count::StreamsEncoded);
                    cx.notice(Notice::EncodedStream { target: x.target() });
                }
                x.begin_pass(cx, conns, conn, head);
            }
            Verdict::End => return self.end_stream(key, Ending::Clean),
            Verdict::Retry => {
                conns.close(cx, conn, Close::Finish);
                return self.attempt_failed(key, &format!("upstream answered {}", head.status), true, retry_after);
            }
            Verdict::Refused => return self.on_cursor_refused(key, head.status),
            Verdict::Cut => return self.give_up(key, 502, &format!("upstream answered {}", head.status)),
        }
        if response.event_stream {
            self.see_off_ended(key);
        }
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
            cx.counts.one(Count::Heals);
            cx.notice(Notice::Healed { target: x.target(), tries: wait.tries, took: cx.now.since(wait.since) });
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
        let Some(head) = cx.heads.own(x.route(), x.request.page()) else {
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
        let Self { cx, exchanges, index, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return false };
        let Some(account) = account else { return false };
        index.await_no_more(x);
        index.forget_waiting(key, &x.request);
        x.become_stream(cx, account);
        true
    }
}

/// Bodies.
impl Machine {
    /// Takes in bytes of a body as far as there is room; the rest waits in the connection's input.
    fn on_body(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Some(key) = self.conns.get(conn).and_then(|c| c.exchange) else { return };
        if self.take_in(key, conn, bytes) {
            self.read_on(key, conn);
        }
    }

    /// There may be room again: takes in what waits in the connection's input, then reads the socket.
    pub(super) fn read_on(&mut self, key: ExchangeKey, conn: ConnKey) {
        while self.conns.is_held_back(conn) {
            let Self { cx, conns, exchanges, .. } = self;
            let Some(x) = exchanges.get_mut(key) else { return };
            match x.next_read(cx, conns, conn) {
                NextRead::Nothing => return,
                NextRead::Socket => return conns.read_again(cx, conn),
                NextRead::Input(waiting) => {
                    if self.take_in(key, conn, &waiting) {
                        // Nothing was taken in, so nothing would be the next time.
                        if self.conns.get(conn).is_none_or(|c| c.input.len() >= waiting.len()) {
                            return;
                        }
                        continue;
                    }
                    if self.conns.get(conn).is_some_and(|c| c.input.is_empty()) {
                        self.conns.read_again(&mut self.cx, conn);
                    }
                    return;
                }
            }
        }
    }

    /// Takes in a part of a body. True: some of it found no room, and waits in the connection's input.
    #[must_use]
    fn take_in(&mut self, key: ExchangeKey, conn: ConnKey, bytes: &[u8]) -> bool {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return false };
        let (used, body) = match x.phase {
            Phase::Streaming { .. } => self.feed(key, conn, bytes),
            Phase::Passing(_) => x.pass(cx, conns, conn, bytes),
            _ => return false,
        };
        let rest = &bytes[used..];
        match body {
            Body::Open if rest.is_empty() => false,
            Body::Open => {
                self.conns.keep_input(conn, rest);
                true
            }
            Body::Done => {
                self.conns.keep_input(conn, rest);
                self.on_body_end(key, conn);
                false
            }
            Body::Broken(why) => {
                self.malformed(key, &why);
                false
            }
        }
    }

    /// Feeds a part of an event stream to the log and has its readers flushed.
    fn feed(&mut self, key: ExchangeKey, conn: ConnKey, bytes: &[u8]) -> (usize, Body) {
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let (Some(x), Some(c)) = (exchanges.get_mut(key), conns.beside_buffers(conn)) else {
            return (0, Body::Open);
        };
        let route = x.route();
        let Some(stream) = x.stream_mut() else { return (0, Body::Open) };
        let taken = stream.feed(cx, c, route, bytes);
        if cx.config.persist.durable {
            book.note_moved(key, &mut stream.account);
        }
        if taken.own_ids {
            index.know_token(cx, key, x);
        }
        if let Some(reason) = taken.gap {
            x.state_gap(cx, reason);
        }
        if x.make_room(cx) {
            self.let_go(key);
            return (bytes.len(), Body::Open);
        }
        if !cx.budget.is_over() {
            x.show(cx, conns, key);
            return (taken.used, taken.body);
        }
        self.reclaim();
        let Self { cx, conns, exchanges, .. } = self;
        if let Some(x) = exchanges.get_mut(key) {
            x.show(cx, conns, key);
        }
        (taken.used, taken.body)
    }

    /// The budget of all logs is used up: logs above their fair share give back what has been delivered, each in its
    /// turn, until the budget is kept. Each call looks at a bounded number, so that no event waits for all streams.
    fn reclaim(&mut self) {
        const LOOKS: usize = 64;
        let Self { cx, conns, exchanges, reclaimed_at, .. } = self;
        let fair = cx.config.limits.log_budget / exchanges.len().max(1);
        for _ in 0..exchanges.places().min(LOOKS) {
            if !cx.budget.is_over() {
                return;
            }
            *reclaimed_at = (*reclaimed_at + 1) % exchanges.places().max(1);
            let Some(key) = exchanges.key_at(*reclaimed_at) else { continue };
            let Some(x) = exchanges.get_mut(key) else { continue };
            let route = x.route();
            let freed = x.stream_mut().map_or(0, |stream| stream.tracker.trim(cx.track(route), fair));
            cx.counts.add(Count::LogBytesReclaimed, freed as u64);
            if freed > 0 {
                x.cut_fallen(cx, conns, key);
            }
        }
    }

    /// The body is whole: upstream's connection is free, the client gets what is left.
    fn on_body_end(&mut self, key: ExchangeKey, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        x.phase = Phase::Ending(Ending::Clean);
        let asked_whole = x.client().and_then(|k| conns.get(k)).is_none_or(|c| c.body.is_done());
        conns.recycle(cx, conn, asked_whole);
        let route = x.route();
        let Some(stream) = x.stream_mut() else { return x.end(cx, conns, Ending::Clean) };
        if let Some(reason) = stream.finish(cx, route) {
            x.state_gap(cx, reason);
        }
        x.cut_fallen(cx, conns, key);
        self.end_stream(key, Ending::Clean);
    }
}

/// Ends.
impl Machine {
    /// Upstream's connection has ended, with a reset or without.
    pub(in crate::machine) fn on_upstream_end(&mut self, conn: ConnKey, was_reset: bool) {
        let Some(c) = self.conns.get(conn) else { return };
        let Some(key) = c.exchange else { return self.conns.drop_idle(&mut self.cx, conn) };
        if c.upstream().is_some_and(|u| u.state == UpstreamState::Checked) {
            return self.on_stale(conn);
        }
        if c.upstream().is_some_and(|u| u.state == UpstreamState::Tunnel) {
            return self.on_tunnel_end(conn, was_reset);
        }
        let in_body = c.upstream().is_some_and(|u| u.state == UpstreamState::Body);
        match c.body.at_eof() {
            _ if !in_body => self.on_no_answer(key, conn),
            _ if was_reset => self.on_upstream_lost(key, "its connection broke"),
            AtEof::UntilClose => self.on_close_delimited_end(key, conn),
            _ => self.on_upstream_lost(key, "its connection ended in the middle"),
        }
    }

    fn on_close_delimited_end(&mut self, key: ExchangeKey, conn: ConnKey) {
        if let Some(u) = self.conns.get_mut(conn).and_then(Conn::upstream_mut) {
            u.keep_alive = false;
        }
        let Some(x) = self.exchanges.get(key) else { return };
        let may_ask = x.can_heal() && !self.cx.route(x.route()).heal_for.is_zero() && !self.cx.draining;
        // Some servers leave out the last blank line. Where nothing can be asked again, what ends with a line is whole.
        let is_cut = |stream: &Stream| {
            stream.is_inside_event() && (may_ask && stream.can_go_on(&self.cx) || !stream.tracker.ends_with_line())
        };
        match x.stream().is_some_and(is_cut) {
            true => self.on_upstream_lost(key, "its connection ended inside an event"),
            false => self.on_body_end(key, conn),
        }
    }

    /// The connection ended before an answer came.
    fn on_no_answer(&mut self, key: ExchangeKey, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(c) = conns.get(conn) else { return };
        let stale = c.input.is_empty() && c.upstream().is_some_and(|u| u.reused);
        let was_slow = c.upstream().is_some_and(|u| cx.now.since(u.since) >= STEADY);
        conns.close(cx, conn, Close::Finish);
        let Some(x) = exchanges.get_mut(key) else { return };
        if stale && x.request.may_repeat() {
            // Upstream closed an idle connection while the request travelled: it has not been served.
            return self.ask(key);
        }
        // A POST that is being healed is asked for by GET, which may be repeated.
        let may_retry = x.can_heal();
        if let Some(wait) = x.phase.wait_mut().filter(|_| was_slow) {
            // Upstream was there all the time. Only now it is away.
            wait.restart_clock(cx.now);
        }
        self.attempt_failed(key, "upstream closed the connection without an answer", may_retry, None);
    }

    pub(super) fn on_upstream_silent(&mut self, key: ExchangeKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let upstream = x.phase.upstream().and_then(|u| conns.get(u));
        if upstream.is_some_and(|c| c.paused || !c.input.is_empty())
            && let Some(stream) = x.stream_mut()
        {
            // Upstream is not silent: segno is not reading it.
            stream.last_heard = cx.now;
            return;
        }
        self.on_upstream_lost(key, "it was silent for longer than `upstream_idle`");
    }

    /// Upstream broke HTTP's rules: takes nothing more from this connection.
    pub(super) fn malformed(&mut self, key: ExchangeKey, why: &str) {
        let Self { cx, exchanges, .. } = self;
        cx.counts.one(Count::UpstreamMalformed);
        let Some(x) = exchanges.get(key) else { return };
        cx.notice(Notice::Malformed { target: x.target(), why: why.into() });
        match x.phase {
            Phase::Streaming { .. } | Phase::Passing(_) => self.on_upstream_lost(key, why),
            _ => self.give_up(key, 502, &format!("upstream broke HTTP: {why}")),
        }
    }

    /// The body of an answer ended before its end. A stream is healed where that is possible; else the cut is passed
    /// on.
    fn on_upstream_lost(&mut self, key: ExchangeKey, why: &str) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if let Some(upstream) = x.phase.upstream() {
            conns.close(cx, upstream, Close::Finish);
        }
        let (can_ask, draining) = (x.can_heal() && !cx.route(x.route()).heal_for.is_zero(), cx.draining);
        let Some(stream) = x.stream_mut() else { return x.end(cx, conns, Ending::Cut) };
        cx.counts.one(Count::UpstreamCuts);
        let holds_all = stream.cut();
        if can_ask && holds_all && stream.can_go_on(cx) && !draining {
            return self.heal(key);
        }
        let why = match (can_ask, holds_all) {
            (false, _) => format!("upstream cut the stream ({why}), which cannot be asked for again"),
            (_, false) => format!("upstream cut the stream ({why}) inside an event too large to hold"),
            _ if draining => format!("upstream cut the stream ({why}), and nothing is begun any more"),
            _ => format!("upstream cut the stream ({why}), which has no event id to go on from"),
        };
        cx.counts.one(Count::HealsFailed);
        cx.notice(Notice::NotHealed { target: x.target(), why: why.into() });
        self.end_stream(key, Ending::Cut);
    }

    /// Upstream does not know the cursor any more: states the gap to the client, then cuts it.
    fn on_cursor_refused(&mut self, key: ExchangeKey, status: u16) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        if let Some(stream) = x.stream_mut() {
            stream.tracker.state_gap(cx.track(route), GapReason::Refused, None);
        }
        x.state_gap(cx, GapReason::Refused);
        x.cut_fallen(cx, conns, key);
        cx.counts.one(Count::HealsFailed);
        let why = format!("upstream answered {status} to the stream's last event id").into();
        cx.notice(Notice::NotHealed { target: x.target(), why });
        self.end_stream(key, Ending::Cut);
    }
}

/// Whether upstream asks a client that has no head yet to come back after a longer time than it may be held for. Then
/// it is told so, as it would be without segno.
fn cannot_be_held(x: &Exchange, cx: &Cx, status: u16, retry_after: Option<Span>) -> bool {
    let Some(wait) = x.phase.wait() else { return false };
    let ends = wait.ends(cx.now, cx.route(x.route()).heal_for);
    status == 503 && x.stream().is_none() && retry_after.is_some_and(|asked| asked > ends.since(cx.now))
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
