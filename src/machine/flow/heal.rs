//! Asking upstream: the first time, again while nothing has come, and to heal a cut.
//!
//! In: an exchange that waits, and what became of its attempts. Out: connections asked for, requests sent, the time
//! of the next attempt, or the end of the wait.
//! Laws: no POST that reached upstream is ever repeated; attempts of all exchanges to one upstream go through one queue
//! at `heal_rate`, but for the first attempt of a request; the first attempt of a heal is made at once if the body
//! before had lasted and asked for no `retry:`, later ones after a backoff ([`Wait`]); a wait ends with the first
//! attempt that fails when `heal_for` is over.
//!
//! How a cut is healed:
//!
//! ```text
//! cut --heal--> had the last body lasted? --no--> its wait goes on: a backoff ---> Waiting { at }
//!                        | yes: a new wait                                            |    ^
//!                        v                                                          timer  |
//!                  on_attempt_due <---------------------------------------------------+    |
//!                        | the queue of the upstream                                       |
//!                        v                                                                 | within
//!                      serve --its turn has come, or it is called up                       | heal_for
//!                        v                                                                 |
//!                       ask --idle connection or connect--> send_request                   |
//!                                         |                     |                          |
//!                                  connect_failed         no answer, 5xx ------> attempt_failed
//!                                         |                     |                          |
//!                                         +---------------------+                          | heal_for is over
//!                                                                                          v
//!                                                                                       give_up
//! ```

use crate::base::{Count, Span, Tick, TraceContext};
use crate::http::{self, Method};
use crate::machine::Machine;
use crate::machine::balancing::Failure;
use crate::machine::conn::{Conn, Peer, Upstream, UpstreamState};
use crate::machine::cx::{After, Cx};
use crate::machine::exchange::{Ending, Exchange, Exchanges, Phase};
use crate::machine::io::{Close, Output};
use crate::machine::keys::{ConnKey, ExchangeKey, Timer};
use crate::machine::notice::{ConnectError, Notice};
use crate::machine::queue::Entry;
use crate::machine::traces::at_another_place;
use crate::machine::wait::Wait;

/// Attempts.
impl Machine {
    /// Asks for the rest of a stream, either because upstream cut it, or because a client has come back for it. The
    /// clients see nothing of it.
    pub(super) fn heal(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let (random, limit) = (cx.random.next(), cx.route(x.route()).heal_for);
        let Some(stream) = x.stream() else { return };
        let retry = stream.tracker.retry();
        let (wait, at) = match x.phase {
            Phase::Streaming { wait, .. } if !stream.was_steady(cx.now) => {
                let mut wait = match stream.events_brought() {
                    0 => wait,
                    events => wait.anew(cx.now, events),
                };
                let at = wait.back_off(cx.now, wait.ends(cx.now, limit), random, retry);
                (wait, at)
            }
            Phase::Streaming { .. } => {
                let mut wait = Wait::new(cx.now);
                let at = wait.begin(cx.now, limit, random, retry);
                (wait, at)
            }
            // A client that comes back has waited by itself.
            _ => (Wait::new(cx.now), cx.now),
        };
        if wait.ends(cx.now, limit) <= cx.now {
            return self.give_up(key, 502, "upstream cut the stream again before an event came");
        }
        x.phase = Phase::Waiting { wait, at };
        cx.traces.begin_heal(key, x.request.recorded_place(), cx.now);
        let target = x.target();
        cx.notice(match wait.tries {
            0 => Notice::HealBegan { target },
            _ => {
                let (why, next) = ("upstream cut the stream again before an event came".into(), at.since(cx.now));
                Notice::AttemptFailed { target, why, next: Some(next), is_known: true }
            }
        });
        match at <= cx.now {
            true => self.on_attempt_due(key),
            false => x.arm(cx, key),
        }
    }

    /// The next attempt's time has come. The first attempt of a request is made now, others wait for their turn.
    pub(super) fn on_attempt_due(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let Phase::Waiting { wait, .. } = x.phase else { return };
        if wait.tries == 0 && x.stream().is_none() {
            return self.ask(key);
        }
        self.choose_upstream(key);
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        let Phase::Waiting { mut wait, .. } = x.phase else { return };
        let place = cx.queues.of(x.route());
        wait.ticket = cx.queues.at(place).line_up(key, exchanges.len(), |entry| is_waiting(exchanges, entry));
        if let Some(x) = exchanges.get_mut(key) {
            x.phase = Phase::Waiting { wait, at: Tick::NEVER };
        }
        self.serve(place);
    }

    /// Lets the exchanges whose turn it is ask their upstream, once this reaction is over.
    pub(super) fn serve(&mut self, place: usize) {
        let Self { cx, exchanges, .. } = self;
        let now = cx.now;
        let may_ask = |entry: Entry, of: &[usize]| {
            // One that was led to another upstream waits in that one's queue, which has tickets of its own.
            let is_here = exchanges.get(entry.key).is_some_and(|x| of[x.route()] == place);
            is_here && is_waiting(exchanges, entry) && asks_no_time(exchanges, entry.key, now)
        };
        while let Some(key) = cx.queues.next(place, now, may_ask) {
            cx.after.push_back(After::Ask(key));
        }
        let queue = cx.queues.at(place);
        let at = queue.next_at();
        queue.alarm.set(&mut cx.wheel, at, Timer::Queue(place));
    }

    /// Makes an attempt: over an idle connection where that is safe, else over a new one.
    pub(in crate::machine) fn ask(&mut self, key: ExchangeKey) {
        if self.refuse_gap_of(key) {
            return;
        }
        if self.cx.draining && self.exchanges.get(key).is_some_and(|x| x.leaves(&self.cx)) {
            // Its client has come too late for this process.
            self.send_elsewhere(key, Span::ZERO);
            return;
        }
        if self.exchanges.get(key).is_some_and(|x| !x.request.placed) {
            self.choose_upstream(key);
        }
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let Some(wait) = x.phase.wait_mut() else { return };
        wait.begin_attempt(cx.now);
        let wait = *wait;
        if !x.has_begun() {
            cx.traces.begin_ask(key, x.request.recorded_place(), cx.now);
        }
        if let Some(span) = cx.traces.asking(key) {
            x.request.describe(span, &cx.routing.at(route).upstream, x.has_begun(), wait.tries);
        }
        let fresh_only = wait.tries > 1 || x.stream().is_some();
        if !fresh_only && let Some(conn) = conns.take_idle(route, x.request.may_repeat(), cx.now) {
            if let Some(c) = conns.get_mut(conn) {
                c.exchange = Some(key);
            }
            x.phase = Phase::Connecting { wait, conn };
            let until = cx.now + cx.route(route).connect_timeout;
            conns.set_deadline(cx, conn, until);
            return cx.outputs.push_back(Output::Reuse { conn });
        }
        if conns.is_full() && !x.is_detached() {
            self.free_connections(1);
        }
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let upstream = Upstream {
            route: route as u32,
            state: UpstreamState::Connecting,
            reused: false,
            keep_alive: false,
            patient: false,
            since: cx.now,
        };
        let mut c = Conn::new(Peer::Upstream(upstream));
        c.exchange = Some(key);
        match conns.insert(c) {
            Some(conn) => {
                x.phase = Phase::Connecting { wait, conn };
                cx.outputs.push_back(Output::Connect { conn, route });
                let until = self.connects_until(key, route);
                self.conns.set_deadline(&mut self.cx, conn, until);
            }
            None => {
                cx.notice(Notice::Full { what: "connection" });
                // Do not answer here: the next pipelined request would be read in the middle of this reaction.
                x.phase = Phase::Waiting { wait, at: cx.now + wait.without_place(cx.random.next()) };
                x.arm(cx, key);
            }
        }
    }

    pub(in crate::machine) fn on_connected(&mut self, conn: ConnKey) {
        let Self { cx, conns, .. } = self;
        let Some(c) = conns.get(conn) else { return };
        if c.check().is_some() {
            return self.on_check_connected(conn);
        }
        if let Some(u) = c.upstream() {
            let count = if u.reused { Count::UpstreamReuses } else { Count::UpstreamConnects };
            cx.counts.one_at(u.route as usize, count);
        }
        if let Some(key) = c.exchange {
            cx.balancing.end_round(key);
        }
        match c.exchange {
            Some(key) => self.send_request(key, conn),
            None => conns.close(cx, conn, Close::Finish),
        }
    }

    /// Sends the request's head, with the cursor if there is one, and the part of its body that has come.
    fn send_request(&mut self, key: ExchangeKey, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let client = exchanges.get(key).and_then(|x| x.sender(conns));
        let (Some(x), Some(c)) = (exchanges.get_mut(key), conns.get_mut(conn)) else { return };
        let Some(mut wait) = x.phase.wait() else { return };
        let place = cx.traces.asking(key).map(|span| span.context);
        write_request(x, cx, c, place);
        if !x.readers().head_sent && !x.is_stream_request() {
            wait.restart_clock(cx.now);
        }
        x.phase = Phase::Asked { wait, conn };
        cx.counts.one_at(x.route(), Count::UpstreamRequests);
        let patient = x.request.has_body && !x.has_begun();
        if let Some(u) = c.upstream_mut() {
            u.state = UpstreamState::Head;
            u.since = cx.now;
            if std::mem::replace(&mut u.patient, patient) != patient {
                cx.outputs.push_back(Output::BePatient { conn, patient });
            }
        }
        conns.set_deadline(cx, conn, Tick::NEVER);
        conns.flush(cx, conn);
        conns.read_again(cx, conn);
        if let Some(client) = client {
            self.pump_request(client);
            self.read_body_again(client);
        }
        self.arm(key);
    }
}

/// Attempts that fail.
impl Machine {
    pub(in crate::machine) fn on_connect_failed(&mut self, conn: ConnKey, why: ConnectError) {
        let Some(c) = self.conns.remove(&mut self.cx, conn) else { return };
        if let Some(check) = c.check() {
            return self.on_check_unconnected(check.route as usize, why);
        }
        if why != ConnectError::NoDescriptor || !self.ask_with_another_descriptor(c.exchange) {
            self.connect_failed(c.exchange, why);
        }
    }

    pub(super) fn on_connect_timeout(&mut self, conn: ConnKey) {
        let key = self.conns.get(conn).and_then(|c| c.exchange);
        self.conns.close(&mut self.cx, conn, Close::Finish);
        self.connect_failed(key, ConnectError::TimedOut);
    }

    fn connect_failed(&mut self, key: Option<ExchangeKey>, why: ConnectError) {
        let Self { cx, exchanges, .. } = self;
        let Some((key, x)) = key.and_then(|key| Some((key, exchanges.get(key)?))) else { return };
        let place = x.route();
        cx.counts.one_at(place, Count::UpstreamConnectsFailed);
        if !matches!(why, ConnectError::NoDescriptor | ConnectError::Local) {
            self.upstream_failed(place, Failure::Connect, &why.to_string());
        }
        if self.try_next_upstream(key, why) {
            return;
        }
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        let may_wait = x.is_stream_request() || x.request.method == Method::Post;
        let host = &cx.route(x.route()).upstream.authority;
        let is_wrong = why.is_wrong() && !x.readers().head_sent && !x.has_begun();
        let why = format!("upstream {host}: {why}");
        if is_wrong {
            return self.refuse(key, &why);
        }
        self.attempt_failed(key, &why, may_wait, None);
    }

    /// Something is wrong with upstream that does not pass by itself: tells the clients, which have had nothing yet. A
    /// stream that has begun is kept for as long as a heal may take, since a certificate may be on its way.
    fn refuse(&mut self, key: ExchangeKey, why: &str) {
        let Some(x) = self.exchanges.get(key) else { return };
        self.cx.notice(Notice::AttemptFailed { target: x.target(), why: why.into(), next: None, is_known: false });
        self.cx.counts.one_at(x.route(), Count::UpstreamFailures);
        self.fail(key, 502, why);
    }

    /// An attempt came to nothing, and its connection is gone: plans the next one, or ends the wait. `retry_after`:
    /// what upstream asked for.
    pub(super) fn attempt_failed(&mut self, key: ExchangeKey, why: &str, may_retry: bool, retry_after: Option<Span>) {
        let Self { cx, exchanges, .. } = self;
        let random = cx.random.next();
        let Some(x) = exchanges.get(key) else { return };
        let Some(mut wait) = x.phase.wait() else { return };
        let (route, live) = (x.route(), exchanges.len());
        let retry = x.stream().and_then(|stream| stream.tracker.retry());
        let ends = wait.ends(cx.now, cx.route(route).heal_for);
        let usual = cx.queues.at(cx.queues.of(route)).usual_retry();
        let at = match retry_after {
            None => wait.back_off_as_clients(cx.now, ends, random, retry, usual),
            Some(_) => wait.back_off(cx.now, ends, random, retry.max(retry_after)),
        };
        let next = (may_retry && cx.now < ends).then(|| at.since(cx.now));
        let queue = cx.queues.at(cx.queues.of(route));
        // A request that was sent and may not be repeated says nothing of other requests.
        let is_away = may_retry || matches!(x.phase, Phase::Connecting { .. });
        queue.on_failure();
        let held = usize::from(next.is_some() && wait.tries <= 1);
        let is_news = is_away && queue.seems_away(cx.now, held);
        let is_known = is_away && queue.is_known_away();
        if next.is_some() {
            wait.ticket = queue.fall_asleep(key, live, |entry| is_waiting(exchanges, entry));
        }
        let Some(x) = exchanges.get_mut(key) else { return };
        x.phase = Phase::Waiting { wait, at };
        let target = x.target();
        if is_news {
            let host = cx.route(route).upstream.authority.as_str();
            let why =
                why.strip_prefix("upstream ").and_then(|why| why.strip_prefix(host)?.strip_prefix(": ")).unwrap_or(why);
            let notice = Notice::UpstreamAway { upstream: host.into(), why: why.into() };
            cx.notice(notice);
        }
        cx.notice(Notice::AttemptFailed { target, why: why.into(), next, is_known });
        match next {
            Some(_) => x.arm(cx, key),
            None => self.give_up(key, 502, why),
        }
    }

    /// Upstream has answered an attempt of an exchange: those that wait since it was away are called up.
    pub(super) fn upstream_is_back(&mut self, route: usize) {
        let Self { cx, .. } = self;
        let place = cx.queues.of(route);
        let queue = cx.queues.at(place);
        let back = queue.came_back(cx.now);
        if let Some((after, held)) = back {
            let upstream = cx.route(route).upstream.authority.as_str().into();
            cx.notice(Notice::UpstreamBack { upstream, after, held });
        }
        let queue = cx.queues.at(place);
        if queue.anyone_sleeps() {
            queue.on_answer(cx.now, cx.random.next());
            self.serve(place);
        }
    }

    /// Ends the wait for upstream: a cut where a stream is open or was asked for, an honest status elsewhere.
    pub(super) fn give_up(&mut self, key: ExchangeKey, status: u16, why: &str) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if let Some(upstream) = x.phase.upstream() {
            conns.close(cx, upstream, Close::Finish);
        }
        if !x.can_heal() {
            cx.counts.one_at(x.route(), Count::UpstreamFailures);
            return self.fail(key, status, why);
        }
        let count = if x.has_begun() { Count::HealsGivenUp } else { Count::UpstreamFailures };
        cx.counts.one_at(x.route(), count);
        cx.drop_ask(key, "given_up");
        cx.end_heal(key, x.phase.wait().map_or(0, |wait| wait.tries), Some("given_up"));
        cx.notice(Notice::NotHealed { target: x.target(), why: why.into() });
        match x.is_open_stream() {
            true => self.end_stream(key, Ending::Cut),
            false => self.cut_readers(key),
        }
    }
}

/// Whether an entry of a queue is its exchange's last, and the exchange still waits.
fn is_waiting(exchanges: &Exchanges, entry: Entry) -> bool {
    let phase = exchanges.get(entry.key).map(|x| x.phase);
    matches!(phase, Some(Phase::Waiting { wait, .. }) if wait.ticket == entry.ticket)
}

/// Whether upstream has not asked an exchange to wait for longer.
fn asks_no_time(exchanges: &Exchanges, key: ExchangeKey, now: Tick) -> bool {
    let wait = exchanges.get(key).and_then(|x| x.phase.wait());
    wait.is_some_and(|wait| { wait.not_before } <= now)
}

/// `place`: of what asks in its trace, if that is recorded.
fn write_request(x: &Exchange, cx: &Cx, c: &mut Conn, place: Option<TraceContext>) {
    let reached = x.stream().and_then(|stream| stream.tracker.cursor(&cx.interner));
    let resume_head = x.request.resume_head.as_deref().filter(|_| x.has_begun());
    let head = resume_head.unwrap_or(&x.request.head);
    match place {
        Some(place) => c.out.push(&at_another_place(head, place)),
        None => c.out.push(head),
    }
    match (reached, x.request.cursor.as_deref()) {
        (None, Some(lines)) if x.request.verbatim && !x.has_begun() => c.out.push(lines),
        _ => {
            let id = if x.stream().is_some() { reached } else { x.request.known_cursor() };
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                http::write_line("Last-Event-ID", id, c.out.end());
            }
        }
    }
    c.out.push(b"\r\n");
}
