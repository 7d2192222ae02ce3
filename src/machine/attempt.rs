//! Asking upstream: the first time, again while nothing has come, and to heal a cut.
//!
//! In: an exchange that waits, and what became of its attempts. Out: connections asked for, requests sent, the time
//! of the next attempt, or the end of the wait.
//! Laws: no POST that reached upstream is ever repeated; attempts to one upstream keep to `heal_rate`; the first one
//! of a heal is made at once as far as that allows, later ones after an exponential backoff with full jitter, never
//! sooner than upstream's `retry:` or `Retry-After` asks; a wait ends after `heal_for`.

use super::conn::{Conn, ConnKey, Peer, Upstream, UpstreamState};
use super::exchange::{Ending, ExchangeKey, Phase, may_repeat};
use super::{Close, ConnectError, Machine, Notice, Output};
use crate::base::{Count, Span, Tick};
use crate::http::Method;
use crate::timer::Backoff;

const BACKOFF: Backoff = Backoff::new(Span::from_millis(100), Span::from_secs(5));

/// How long an idle connection to upstream is kept. Node's servers close theirs after 5 s, the shortest of the
/// common ones.
const POOL_IDLE: Span = Span::from_secs(4);

/// How long it may have been idle to carry a request that must not be repeated.
const POOL_FRESH: Span = Span::from_secs(1);

/// Idle connections kept for a route.
const POOL_SIZE: usize = 64;

/// A body that lasts this long is an answer, also when no event comes.
const STEADY: Span = Span::from_secs(5);

/// Spaces attempts out: a burst of one second's worth, then one each 1/rate.
///
/// Source: the generic cell rate algorithm (ITU-T I.371, annex A), in its virtual scheduling form.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Span,
    burst: Span,
    next: Tick,
}

impl Pace {
    /// `rate` attempts a second; 0 is taken for 1.
    pub(super) fn new(rate: u32) -> Self {
        let rate = u64::from(rate.max(1));
        let gap = Span::from_micros(1_000_000 / rate);
        Self { gap, burst: gap.times(rate - 1), next: Tick::ZERO }
    }

    /// Reserves a place at or after `at` and says when it is.
    pub(super) fn reserve(&mut self, at: Tick) -> Tick {
        let free = self.next - self.burst;
        let at = at.max(free);
        self.next = self.next.max(at) + self.gap;
        at
    }
}

impl Machine {
    /// Makes an attempt: over an idle connection where that is safe, else over a new one.
    pub(super) fn ask(&mut self, key: ExchangeKey) {
        if self.refuse_gap_of(key) {
            return;
        }
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.tries = x.tries.saturating_add(1);
        let (route, fresh_only) = (x.route(), x.tries > 1 || x.stream.is_some());
        let repeatable = may_repeat(&x.request);
        if !fresh_only && let Some(conn) = self.take_idle(route, repeatable) {
            self.counts.one(Count::UpstreamReuses);
            self.attach(key, conn);
            return self.send_request(key, conn);
        }
        self.connect(key, route);
    }

    fn connect(&mut self, key: ExchangeKey, route: usize) {
        let upstream = Upstream {
            route: route as u32,
            state: UpstreamState::Connecting,
            reused: false,
            keep_alive: false,
            idle_since: self.now,
        };
        match self.conns.insert(Conn::new(Peer::Upstream(upstream))) {
            Ok(conn) => {
                self.attach(key, conn);
                if let Some(x) = self.exchanges.get_mut(key) {
                    x.phase = Phase::Connecting;
                }
                self.outputs.push_back(Output::Connect { conn, route });
                self.set_deadline(conn, self.now + self.config.routes[route].connect_timeout);
            }
            Err(_) => {
                self.notice(Notice::Full { what: "connection" });
                let random = self.random.next();
                if let Some(x) = self.exchanges.get_mut(key) {
                    // Never answered from here: the next pipelined request would be read in the middle of this one.
                    x.phase = Phase::Waiting(self.now + BACKOFF.delay(x.tries, random));
                }
                self.arm(key);
            }
        }
    }

    fn attach(&mut self, key: ExchangeKey, conn: ConnKey) {
        if let Some(c) = self.conns.get_mut(conn) {
            c.exchange = Some(key);
        }
        if let Some(x) = self.exchanges.get_mut(key) {
            x.upstream = Some(conn);
        }
    }

    /// An idle connection of the route, the latest used first.
    fn take_idle(&mut self, route: usize, repeatable: bool) -> Option<ConnKey> {
        let conn = *self.routes[route].pool.last()?;
        let idle_since = self.conns.get(conn)?.upstream()?.idle_since;
        if !repeatable && self.now.since(idle_since) > POOL_FRESH {
            return None;
        }
        self.routes[route].pool.pop();
        if let Some(u) = self.conns.get_mut(conn).and_then(Conn::upstream_mut) {
            u.reused = true;
        }
        Some(conn)
    }

    pub(super) fn on_connected(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        self.counts.one(Count::UpstreamConnects);
        match c.exchange {
            Some(key) => self.send_request(key, conn),
            None => self.close(conn, Close::Finish),
        }
    }

    pub(super) fn on_connect_failed(&mut self, conn: ConnKey, why: ConnectError) {
        let Some(c) = self.conns.remove(conn) else { return };
        if let Some(timer) = c.timer {
            self.wheel.cancel(timer);
        }
        self.counts.one(Count::UpstreamConnectsFailed);
        if let Some(key) = c.exchange {
            self.connect_failed(key, why);
        }
    }

    pub(super) fn on_connect_timeout(&mut self, conn: ConnKey) {
        let key = self.conns.get(conn).and_then(|c| c.exchange);
        self.close(conn, Close::Finish);
        self.counts.one(Count::UpstreamConnectsFailed);
        if let Some(key) = key {
            self.connect_failed(key, ConnectError::TimedOut);
        }
    }

    fn connect_failed(&mut self, key: ExchangeKey, why: ConnectError) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.upstream = None;
        let may_wait = x.is_stream_request() || x.request.method == Method::Post;
        let host = &self.config.routes[x.route()].upstream.authority;
        let why = format!("upstream {host}: {why}");
        self.attempt_failed(key, &why, may_wait);
    }

    /// Sends the request's head, with the cursor where there is one, and what is there of its body.
    fn send_request(&mut self, key: ExchangeKey, conn: ConnKey) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let Some(c) = self.conns.get_mut(conn) else { return };
        x.phase = Phase::Asked;
        let cursor = match &x.stream {
            Some(stream) => stream.tracker.cursor(&self.interner),
            None => x.request.cursor.as_deref(),
        };
        let head = match (&x.stream, &x.request.resume_head) {
            (Some(stream), Some(head)) if stream.begun => head,
            _ => &x.request.head,
        };
        c.out.push(head);
        if let Some(id) = cursor.filter(|id| !id.is_empty()) {
            c.out.push(b"Last-Event-ID: ");
            c.out.push(id);
            c.out.push(b"\r\n");
        }
        c.out.push(b"\r\n");
        let client = x.client();
        if let Some(u) = c.upstream_mut() {
            u.state = UpstreamState::Head;
        }
        if !x.head_sent && !x.is_stream_request() {
            x.since = self.now;
        }
        self.set_deadline(conn, Tick::NEVER);
        self.flush(conn);
        self.resume(conn);
        if let Some(client) = client {
            self.pump_request(client);
            self.resume_body(client);
        }
        self.arm(key);
    }

    /// An attempt came to nothing: plans the next one, or ends the wait.
    pub(super) fn attempt_failed(&mut self, key: ExchangeKey, why: &str, may_retry: bool) {
        let (random, now) = (self.random.next(), self.now);
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let route = &self.config.routes[x.route()];
        let asked = x.stream.as_ref().and_then(|s| s.tracker.retry());
        let floor = asked.max(Some(std::mem::take(&mut x.retry_after)).filter(|wait| !wait.is_zero()));
        let delay = BACKOFF.delay_at_least(x.tries.saturating_sub(1), random, floor);
        let at = now + delay;
        let next = (may_retry && at < x.since + route.heal_for).then(|| at.since(now));
        if next.is_some() {
            x.phase = Phase::Waiting(at);
            x.paced = false;
        }
        let target = x.target();
        self.notice(Notice::AttemptFailed { target, why: why.into(), next });
        match next {
            Some(_) => self.arm(key),
            None => self.give_up(key, 502, why),
        }
    }

    /// A stream was cut by upstream: asks for the rest, the client seeing nothing of it. A cut soon after an answer
    /// that brought no event belongs to the wait before it, which then goes on; else an upstream that hangs up behind
    /// each head would be asked without pause and without end.
    pub(super) fn heal(&mut self, key: ExchangeKey) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let brought_nothing = x.stream.as_ref().is_some_and(|s| {
            let (began, events) = s.body_began;
            s.tracker.received().seq == events && now.since(began) < STEADY
        });
        if brought_nothing {
            return self.attempt_failed(key, "upstream cut the stream again before an event came", true);
        }
        x.since = now;
        x.tries = 0;
        x.retry_after = Span::ZERO;
        x.phase = Phase::Waiting(now);
        x.paced = false;
        let target = x.target();
        self.notice(Notice::HealBegan { target });
        self.on_attempt_due(key);
    }

    /// The next attempt's time has come: makes it, or waits for its place in the upstream's pace. Places are taken
    /// only now, so that streams which wait long do not hold up those that could be asked for at once.
    pub(super) fn on_attempt_due(&mut self, key: ExchangeKey) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let place = if x.paced { now } else { self.routes[x.route()].pace.reserve(now) };
        if place <= now {
            return self.ask(key);
        }
        x.phase = Phase::Waiting(place);
        x.paced = true;
        self.arm(key);
    }

    /// `heal_for`, or the time for an answer, is over.
    pub(super) fn on_wait_over(&mut self, key: ExchangeKey) {
        let asked = self.exchanges.get(key).is_some_and(|x| x.phase == Phase::Asked);
        match asked {
            true => self.give_up(key, 504, "upstream did not answer in time"),
            false => self.give_up(key, 502, "upstream could not be reached in time"),
        }
    }

    /// Ends the wait for upstream: a cut where a stream is open or was asked for, an honest status elsewhere.
    pub(super) fn give_up(&mut self, key: ExchangeKey, status: u16, why: &str) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let target = x.target();
        if let Some(upstream) = x.upstream.take() {
            self.close(upstream, Close::Finish);
        }
        let Some(x) = self.exchanges.get(key) else { return };
        if x.can_heal() {
            self.counts.one(Count::HealsFailed);
            self.notice(Notice::NotHealed { target, why: why.into() });
            match x_is_open(self, key) {
                true => self.end_stream(key, Ending::Cut),
                false => self.cut_readers(key),
            }
        } else {
            self.counts.one(Count::UpstreamFailures);
            self.fail(key, status, why);
        }
    }

    /// Keeps a connection for the next request, or closes it.
    pub(super) fn recycle(&mut self, conn: ConnKey, whole: bool) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.exchange = None;
        let clean = c.input.is_empty() && c.out.is_empty();
        let Some(u) = c.upstream_mut() else { return };
        let pool = &mut self.routes[u.route as usize].pool;
        if !whole || !u.keep_alive || !clean || pool.len() >= POOL_SIZE || self.draining {
            return self.close(conn, Close::Finish);
        }
        u.state = UpstreamState::Idle;
        u.idle_since = self.now;
        pool.push(conn);
        c.out.release();
        self.set_deadline(conn, self.now + POOL_IDLE);
        self.resume(conn);
    }

    /// Closes an idle connection.
    pub(super) fn drop_idle(&mut self, conn: ConnKey) {
        if let Some(u) = self.conns.get(conn).and_then(Conn::upstream) {
            self.routes[u.route as usize].pool.retain(|k| *k != conn);
        }
        self.close(conn, Close::Finish);
    }
}

fn x_is_open(machine: &Machine, key: ExchangeKey) -> bool {
    machine.exchanges.get(key).is_some_and(|x| x.is_open_stream())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_lets_a_seconds_worth_go_at_once_and_spreads_the_rest() {
        let mut pace = Pace::new(10);
        let now = Tick::from_millis(5_000);
        let at: Vec<_> = (0..30).map(|_| pace.reserve(now).since(now).millis()).collect();
        assert_eq!(at[..10], [0; 10]);
        assert_eq!(at[10..], std::array::from_fn::<u64, 20, _>(|i| 100 * (i as u64 + 1)));
    }

    #[test]
    fn a_pace_that_rested_gives_no_more_than_one_burst() {
        let mut pace = Pace::new(2);
        let at = |pace: &mut Pace, ms| pace.reserve(Tick::from_millis(ms)).since(Tick::from_millis(ms)).millis();
        assert_eq!([at(&mut pace, 9_000), at(&mut pace, 9_000), at(&mut pace, 9_000)], [0, 0, 500]);
        assert_eq!([at(&mut pace, 60_000), at(&mut pace, 60_000), at(&mut pace, 60_000)], [0, 0, 500]);
    }
}
