//! One timer a connection, one an exchange. Deadlines that move away are looked at only when the timer fires, so
//! that an event costs no timer work.
//!
//! In: deadlines. Out: at or after a deadline, what is due is done.
//! Law: a timer that fired is set again to a later time, or not at all.

use super::conn::{ClientState, ConnKey, Peer, UpstreamState};
use super::exchange::{Exchange, ExchangeKey, Phase};
use super::linger::linger;
use super::{Close, Machine, Notice};
use crate::base::{Count, Tick};
use crate::config::Route;
use crate::http::Method;

/// Whose time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    Conn(ConnKey),
    Exchange(ExchangeKey),
    /// A session may have been idle for too long.
    Sessions,
}

impl Machine {
    pub(super) fn on_time(&mut self) {
        while let Some(timer) = self.wheel.poll(self.now) {
            match timer {
                Timer::Conn(conn) => self.on_conn_timer(conn),
                Timer::Exchange(key) => self.on_exchange_timer(key),
                Timer::Sessions => self.on_sessions_timer(),
            }
        }
    }

    /// Sets when a connection is looked after.
    pub(super) fn set_deadline(&mut self, conn: ConnKey, at: Tick) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.deadline = at;
        let set = c.timer.and_then(|t| self.wheel.deadline(t));
        if at < Tick::NEVER && set.is_some_and(|set| set <= at) {
            return;
        }
        if let Some(old) = c.timer.take() {
            self.wheel.cancel(old);
        }
        if at < Tick::NEVER {
            // The wheel has a place for each connection and each exchange.
            c.timer = self.wheel.add(at, Timer::Conn(conn)).ok();
        }
    }

    fn on_conn_timer(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.timer = None;
        let deadline = c.deadline;
        if deadline > self.now {
            return self.set_deadline(conn, deadline);
        }
        match &c.peer {
            Peer::Upstream(u) => match u.state {
                UpstreamState::Connecting => self.on_connect_timeout(conn),
                UpstreamState::Idle => self.drop_idle(conn),
                UpstreamState::Head | UpstreamState::Body => {}
            },
            Peer::Client(client) => match client.state {
                ClientState::Head if c.input.is_empty() => self.close(conn, Close::Finish),
                ClientState::Head => self.refuse(conn, 408, "the request's head did not arrive in time"),
                ClientState::Busy => self.on_body_timeout(conn),
                ClientState::Closing | ClientState::Lingering => self.close(conn, Close::Finish),
            },
        }
    }

    /// Sets an exchange's timer to its nearest deadline, unless it fires before that anyway.
    pub(super) fn arm(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let at = next_deadline(x, &self.config.routes[x.route()]);
        if at >= x.armed {
            return;
        }
        if let Some(old) = x.timer.take() {
            self.wheel.cancel(old);
        }
        x.armed = at;
        x.timer = self.wheel.add(at, Timer::Exchange(key)).ok();
    }

    fn on_exchange_timer(&mut self, key: ExchangeKey) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.timer = None;
        x.armed = Tick::NEVER;
        let d = Deadlines::of(x, &self.config.routes[x.route()]);
        if d.linger <= now {
            self.on_linger_over(key);
        } else if d.give_up <= now {
            self.on_wait_over(key);
        } else if d.stalled <= now {
            self.cut_stalled(key);
        } else if d.upstream_silent <= now {
            self.on_upstream_silent(key);
        } else {
            if d.hold <= now {
                self.open_early(key);
            }
            if d.heartbeat <= now {
                self.heartbeat(key);
            }
            if d.attempt <= now {
                self.on_attempt_due(key);
            }
        }
        self.arm(key);
    }

    /// Cuts the readers that took nothing for too long.
    fn cut_stalled(&mut self, key: ExchangeKey) {
        let mut seat = 0;
        while let Some(x) = self.exchanges.get(key)
            && seat < x.readers.end()
        {
            let limit = self.config.routes[x.route()].body_timeout;
            let stalled = x.readers.get(seat).filter(|r| r.blocked && r.last_sent + limit <= self.now);
            if let Some(reader) = stalled {
                let (client, target) = (reader.client, x.target());
                self.counts.one(Count::ClientsStalled);
                let why = "the client took nothing for too long".into();
                self.notice(Notice::NotHealed { target, why });
                self.on_reader_left(key, seat);
                self.close(client, Close::Reset);
            }
            seat += 1;
        }
    }
}

/// Everything an exchange waits for; [`Tick::NEVER`] where it does not.
struct Deadlines {
    attempt: Tick,
    hold: Tick,
    give_up: Tick,
    heartbeat: Tick,
    upstream_silent: Tick,
    stalled: Tick,
    linger: Tick,
}

impl Deadlines {
    fn of(x: &Exchange, route: &Route) -> Self {
        let never = Tick::NEVER;
        let waiting = matches!(x.phase, Phase::Waiting(_) | Phase::Connecting | Phase::Asked);
        let may_open = waiting && x.is_stream_request() && !x.head_sent;
        let limit = match (x.can_heal(), &x.request.method, x.phase) {
            (true, ..) | (_, Method::Post, Phase::Waiting(_) | Phase::Connecting) => route.heal_for,
            _ => route.response_timeout,
        };
        // The first attempt heals nothing, and has the time that a connection may take.
        let asks = matches!(x.phase, Phase::Connecting | Phase::Asked);
        let first = asks && x.tries <= 1 && x.stream.as_ref().is_none_or(|stream| !stream.begun);
        let limit = if first { limit.max(route.connect_timeout) } else { limit };
        let waiting = waiting && x.repeat.is_none();
        // A full socket needs no heartbeat, and `last_sent` then tells since when it has been full.
        let beats = x.is_open_stream() && !route.heartbeat.is_zero() && x.readers.iter().any(|(_, r)| !r.blocked);
        let beats = beats && !matches!(x.phase, Phase::Ending(_));
        let stuck = x.readers.iter().filter(|(_, r)| r.blocked).map(|(_, r)| r.last_sent).min();
        let listens = x.phase == Phase::Streaming;
        Self {
            attempt: match x.phase {
                // One that awaits its body is timed by its connection.
                Phase::Waiting(at) if x.repeat.is_none() => at,
                _ => never,
            },
            hold: if may_open { x.since + route.hold_head } else { never },
            give_up: if waiting { x.since + limit } else { never },
            heartbeat: if beats { x.last_sent + route.heartbeat } else { never },
            upstream_silent: match (&x.stream, route.upstream_idle) {
                (Some(stream), Some(idle)) if listens => stream.last_heard + idle,
                _ => never,
            },
            stalled: stuck.map_or(never, |since| since + route.body_timeout),
            linger: match x.stream.as_ref().and_then(|stream| stream.detached) {
                Some((since, _)) => since + linger(x, route),
                None => never,
            },
        }
    }
}

fn next_deadline(x: &Exchange, route: &Route) -> Tick {
    let d = Deadlines::of(x, route);
    let all = [d.attempt, d.hold, d.give_up, d.heartbeat, d.upstream_silent, d.stalled, d.linger];
    all.into_iter().min().unwrap_or(Tick::NEVER)
}
