//! A connection to upstream: heads of answers in, bodies passed on or tracked.
//!
//! In: what upstream's socket says. Out: heads of answers, bodies for clients, and events for trackers.
//! Laws: reading stops while the client does not take what has come; a breach of HTTP by upstream is logged and counted,
//! and ends as a failure or a cut, never as a clean end.

use super::answer::passes;
use crate::base::Count;
use crate::http::{self, AtEof, HeadError};
use crate::machine::Machine;
use crate::machine::balancing::Failure;
use crate::machine::conn::{Conn, Peer, UpstreamState};
use crate::machine::exchange::{Ending, Phase};
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::Notice;
use crate::machine::room::NextRead;
use crate::machine::stream::{Body, Stream};
use crate::machine::wait::STEADY;
use crate::track::GapReason;

/// Heads.
impl Machine {
    pub(in crate::machine) fn on_upstream_data(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Some(c) = self.conns.get(conn) else { return };
        let Peer::Upstream(u) = &c.peer else { return self.on_check_data(conn, bytes) };
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
    pub(in crate::machine) fn read_answer(&mut self, conn: ConnKey) {
        let limits = self.cx.answer_head();
        loop {
            let Self { cx, conns, exchanges, .. } = self;
            let Some(c) = conns.get_mut(conn) else { return };
            let Some((key, x)) = c.exchange.and_then(|key| Some((key, exchanges.get_mut(key)?))) else {
                return conns.close(cx, conn, Close::Finish);
            };
            let Some(found) = c.find_head() else {
                if let Err(e) = limits.check_unfinished(&c.input) {
                    self.malformed(key, &told(&e));
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
                // Nobody is here for it, and one that is no event stream can be kept in its socket alone.
                Ok(head) if x.is_detached() && passes(x, &head) => {
                    c.input.search_again();
                    return x.let_answer_wait();
                }
                Ok(mut head) => {
                    c.consume_input(found.end);
                    x.localize(cx, &mut head);
                    x.allow_cursor(cx, &mut head);
                    return self.on_answer(key, conn, &head);
                }
                Err(e) => return self.malformed(key, &told(&e)),
            }
        }
    }
}

/// Bodies.
impl Machine {
    /// Takes in bytes of a body as far as there is room; the rest waits in the connection's input.
    pub(super) fn on_body(&mut self, conn: ConnKey, bytes: &[u8]) {
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
        let first = stream.is_before_first_event().then(|| stream.tracker.whole());
        let taken = stream.feed(cx, c, route, bytes);
        let first = first.filter(|_| !stream.is_before_first_event());
        let is_watched = stream.account.watched;
        if cx.config.persist.keeps_events() {
            book.note_moved(key, &mut stream.account);
        }
        if let Some(from) = first {
            x.hear_endpoint(cx, key, from);
        }
        if taken.own_ids {
            index.know_token(cx, key, x);
        }
        if let Some(reason) = taken.gap {
            x.tell_gap(cx, conns, key, reason);
        }
        if x.make_room(cx) {
            self.let_go(key);
            return (bytes.len(), Body::Open);
        }
        if is_watched {
            self.release_to_others(key);
        }
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return (taken.used, taken.body) };
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
    pub(super) fn reclaim(&mut self) {
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
        cx.queues.at(cx.queues.of(route)).hear_retry(stream.tracker.retry());
        if let Some(reason) = stream.finish(cx, route) {
            x.tell_gap(cx, conns, key, reason);
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
        if c.check().is_some() {
            return self.on_check_end(conn);
        }
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
            _ if was_reset => self.on_upstream_lost(key, Count::UpstreamCutsReset, "its connection broke"),
            AtEof::UntilClose => self.on_close_delimited_end(key, conn),
            AtEof::Clean => self.on_unfinished_trailers(key, conn),
            _ => self.on_upstream_lost(key, Count::UpstreamCutsClosed, "its connection ended in the middle"),
        }
    }

    /// The connection ended behind the last chunk, without the empty line that follows it. The body is whole.
    fn on_unfinished_trailers(&mut self, key: ExchangeKey, conn: ConnKey) {
        if let Some(u) = self.conns.get_mut(conn).and_then(Conn::upstream_mut) {
            u.keep_alive = false;
        }
        self.on_body_end(key, conn);
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
            true => self.on_upstream_lost(key, Count::UpstreamCutsClosed, "its connection ended inside an event"),
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
        let place = x.route();
        if !stale {
            self.upstream_failed(place, Failure::NoAnswer, "it closed the connection without an answer");
        }
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
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
        self.on_upstream_lost(key, Count::UpstreamCutsSilent, "it was silent for longer than `upstream_idle`");
    }

    /// Upstream broke HTTP's rules: takes nothing more from this connection.
    pub(super) fn malformed(&mut self, key: ExchangeKey, why: &str) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        let in_body = matches!(x.phase, Phase::Streaming { .. } | Phase::Passing(_));
        cx.counts.one(if in_body { Count::UpstreamBodiesBad } else { Count::UpstreamHeadsBad });
        cx.notice(Notice::Malformed { target: x.target(), why: why.into() });
        match in_body {
            true => self.on_upstream_lost(key, Count::UpstreamCutsMalformed, why),
            false => self.give_up(key, 502, &format!("upstream broke HTTP: {why}")),
        }
    }

    /// The body of an answer ended before its end. `kind`: what a stream's cut is counted as. A stream is healed where that is possible; else the cut is passed
    /// on.
    fn on_upstream_lost(&mut self, key: ExchangeKey, kind: Count, why: &str) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if let Some(upstream) = x.phase.upstream() {
            conns.close(cx, upstream, Close::Finish);
        }
        let route = x.route();
        let (can_ask, draining) = (x.can_heal() && !cx.route(route).heal_for.is_zero(), cx.draining);
        let Some(stream) = x.stream_mut() else { return x.end(cx, conns, Ending::Cut) };
        cx.counts.one_at(route, kind);
        let holds_all = stream.cut();
        cx.queues.at(cx.queues.of(route)).hear_retry(stream.tracker.retry());
        if can_ask && holds_all && stream.can_go_on(cx) && !draining {
            return self.heal(key);
        }
        let why = match (can_ask, holds_all) {
            (false, _) => format!("upstream cut the stream ({why}), which cannot be asked for again"),
            (_, false) => format!("upstream cut the stream ({why}) inside an event too large to hold"),
            _ if draining => format!("upstream cut the stream ({why}), and nothing is begun any more"),
            _ => format!("upstream cut the stream ({why}), which has no event id to go on from"),
        };
        cx.counts.one_at(route, Count::HealsImpossible);
        cx.notice(Notice::NotHealed { target: x.target(), why: why.into() });
        self.end_stream(key, Ending::Cut);
    }

    /// Upstream does not know the cursor any more: states the gap to the client, then cuts it.
    pub(super) fn on_cursor_refused(&mut self, key: ExchangeKey, status: u16) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        if let Some(stream) = x.stream_mut() {
            stream.tracker.state_gap(cx.track(route), GapReason::Refused, None);
        }
        x.tell_gap(cx, conns, key, GapReason::Refused);
        x.cut_fallen(cx, conns, key);
        cx.counts.one_at(route, Count::HealsRefused);
        cx.end_heal(key, x.phase.wait().map_or(0, |wait| wait.tries), Some("refused"));
        let why = format!("upstream answered {status} to the stream's last event id").into();
        cx.notice(Notice::NotHealed { target: x.target(), why });
        self.end_stream(key, Ending::Cut);
    }
}

/// Why the head of an answer is refused. A bound is told with its key.
fn told(e: &HeadError) -> String {
    match e {
        HeadError::TooLong { limit } | HeadError::RequestLineTooLong { limit } => {
            format!("the head of its answer is over {limit} bytes, which is `answer_header_bytes`")
        }
        HeadError::TooManyHeaders { limit } => {
            format!("the head of its answer has over {limit} lines, which is `header_count`")
        }
        e => e.to_string(),
    }
}
