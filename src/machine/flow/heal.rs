//! Asking upstream: the first time, again while nothing has come, and to heal a cut.
//!
//! In: an exchange that waits, and what became of its attempts. Out: connections asked for, requests sent, the time
//! of the next attempt, or the end of the wait.
//! Laws: no POST that reached upstream is ever repeated; attempts to one upstream keep to `heal_rate`; the first
//! attempt of a heal is made at once as far as that allows, later ones after a backoff ([`Wait`]); a wait ends after
//! `heal_for`.
//!
//! How a cut is healed:
//!
//! ```text
//! cut --heal--> did the last body bring nothing? --yes--> the earlier wait continues: attempt_failed
//!                        | no: a new wait
//!                        v
//!               on_attempt_due <----------- timer ------------- Waiting { at }
//!                  | its place in the pace has come                   ^
//!                  v                                                  | later, within heal_for
//!                 ask --idle connection or connect--> send_request    |
//!                                   |                     |           |
//!                            connect_failed         no answer, 5xx -> attempt_failed
//!                                   |                     |           |
//!                                   +---------------------+           | heal_for is over
//!                                                                     v
//!                                                                  give_up
//! ```

use crate::base::{Count, Tick};
use crate::http::{self, Method};
use crate::machine::Machine;
use crate::machine::conn::{Conn, Peer, Upstream, UpstreamState};
use crate::machine::cx::Cx;
use crate::machine::exchange::{Ending, Exchange, Phase};
use crate::machine::io::{Close, Output};
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::{ConnectError, Notice};
use crate::machine::wait::Wait;

/// Attempts.
impl Machine {
    /// Upstream cut a stream: asks for the rest. The client sees nothing of it.
    pub(super) fn heal(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if let (Some(stream), Some(wait)) = (x.stream(), x.phase.wait())
            && stream.brought_nothing(cx.now)
        {
            x.phase = Phase::Waiting { wait, at: cx.now };
            return self.attempt_failed(key, "upstream cut the stream again before an event came", true);
        }
        x.phase = Phase::Waiting { wait: Wait::new(cx.now), at: cx.now };
        cx.notice(Notice::HealBegan { target: x.target() });
        self.on_attempt_due(key);
    }

    /// The next attempt's time has come: makes it, or waits for its place in the upstream's pace. Places are taken
    /// only now, so that streams which wait long do not hold up those that could be asked for at once.
    pub(super) fn on_attempt_due(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let Phase::Waiting { wait, at } = &mut x.phase else { return };
        let place = if wait.paced { cx.now } else { cx.paces[route].reserve(cx.now) };
        if place <= cx.now {
            return self.ask(key);
        }
        (*at, wait.paced) = (place, true);
        x.arm(cx, key);
    }

    /// Makes an attempt: over an idle connection where that is safe, else over a new one.
    pub(in crate::machine) fn ask(&mut self, key: ExchangeKey) {
        if self.refuse_gap_of(key) {
            return;
        }
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let Some(wait) = x.phase.wait_mut() else { return };
        wait.tries = wait.tries.saturating_add(1);
        let wait = *wait;
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
            idle_since: cx.now,
        };
        let mut c = Conn::new(Peer::Upstream(upstream));
        c.exchange = Some(key);
        match conns.insert(c) {
            Ok(conn) => {
                x.phase = Phase::Connecting { wait, conn };
                cx.outputs.push_back(Output::Connect { conn, route });
                let until = cx.now + cx.route(route).connect_timeout;
                conns.set_deadline(cx, conn, until);
            }
            Err(_) => {
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
        let reused = c.upstream().is_some_and(|u| u.reused);
        cx.counts.one(if reused { Count::UpstreamReuses } else { Count::UpstreamConnects });
        match c.exchange {
            Some(key) => self.send_request(key, conn),
            None => conns.close(cx, conn, Close::Finish),
        }
    }

    /// Sends the request's head, with the cursor if there is one, and the part of its body that has come.
    fn send_request(&mut self, key: ExchangeKey, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let (Some(x), Some(c)) = (exchanges.get_mut(key), conns.get_mut(conn)) else { return };
        let Some(mut wait) = x.phase.wait() else { return };
        write_request(x, cx, c);
        if !x.readers().head_sent && !x.is_stream_request() {
            wait.since = cx.now;
        }
        x.phase = Phase::Asked { wait, conn };
        let client = x.client();
        let patient = x.request.has_body && !x.has_begun();
        if let Some(u) = c.upstream_mut() {
            u.state = UpstreamState::Head;
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
        cx.counts.one(Count::UpstreamConnectsFailed);
        let Some((key, x)) = key.and_then(|key| Some((key, exchanges.get_mut(key)?))) else { return };
        let may_wait = x.is_stream_request() || x.request.method == Method::Post;
        let host = &cx.route(x.route()).upstream.authority;
        let why = format!("upstream {host}: {why}");
        self.attempt_failed(key, &why, may_wait);
    }

    /// An attempt came to nothing, and its connection is gone: plans the next one, or ends the wait.
    pub(super) fn attempt_failed(&mut self, key: ExchangeKey, why: &str, may_retry: bool) {
        let Self { cx, exchanges, .. } = self;
        let random = cx.random.next();
        let Some(x) = exchanges.get_mut(key) else { return };
        let Some(mut wait) = x.phase.wait() else { return };
        let retry = x.stream().and_then(|stream| stream.tracker.retry());
        let at = cx.now + wait.backoff(random, retry);
        let next = (may_retry && at < wait.since + cx.route(x.route()).heal_for).then(|| at.since(cx.now));
        wait.paced = false;
        x.phase = Phase::Waiting { wait, at };
        cx.notice(Notice::AttemptFailed { target: x.target(), why: why.into(), next });
        match next {
            Some(_) => x.arm(cx, key),
            None => self.give_up(key, 502, why),
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
            cx.counts.one(Count::UpstreamFailures);
            return self.fail(key, status, why);
        }
        cx.counts.one(Count::HealsFailed);
        cx.notice(Notice::NotHealed { target: x.target(), why: why.into() });
        match x.is_open_stream() {
            true => self.end_stream(key, Ending::Cut),
            false => self.cut_readers(key),
        }
    }
}

fn write_request(x: &Exchange, cx: &Cx, c: &mut Conn) {
    let reached = x.stream().and_then(|stream| stream.tracker.cursor(&cx.interner));
    let resume_head = x.request.resume_head.as_ref().filter(|_| x.has_begun());
    c.out.push(resume_head.unwrap_or(&x.request.head));
    match (reached, &x.request.cursor) {
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
