//! Everything that an exchange waits for, and the nearest of these deadlines as its timer.
//!
//! In: an exchange and its route's settings. Out: seven points in time; [`Tick::NEVER`] for what the exchange does not
//! wait for.
//! Law: an event moves deadlines away and costs no timer work; the deadlines are compared only when the timer fires.

use super::book::stored::LOOKED_UP;
use super::cx::Cx;
use super::exchange::{Exchange, Phase};
use super::keys::{ExchangeKey, Timer};
use crate::base::Tick;
use crate::config::Route;
use crate::http::Method;

/// What is due when.
pub(super) struct Deadlines {
    /// The next attempt to reach upstream.
    pub(super) attempt: Tick,
    /// A held client gets a head of segno's own, which says that a stream begins.
    pub(super) hold: Tick,
    /// The wait for upstream ends.
    pub(super) give_up: Tick,
    /// Clients have heard nothing for long.
    pub(super) heartbeat: Tick,
    /// Upstream has been silent for too long.
    pub(super) upstream_silent: Tick,
    /// A reader has taken nothing for too long.
    pub(super) stalled: Tick,
    /// Nobody has come back to the stream.
    pub(super) linger: Tick,
}

impl Deadlines {
    pub(super) fn of(x: &Exchange, route: &Route) -> Self {
        let never = Tick::NEVER;
        let wait = x.phase.wait().filter(|_| x.phase.awaits_head());
        let held = x.is_held();
        // While the store may have what a client asks for, nothing can be said to the client yet.
        let is_silent = x.request.waits_for_head || x.request.reauthorizes || x.search().is_some();
        let may_open = x.is_stream_request() && !x.readers().head_sent && !is_silent;
        // A full socket needs no heartbeat. Its `last_sent` says since when the socket has been full.
        let beats = x.is_open_stream() && !route.heartbeat.is_zero() && x.readers().any_free();
        let beats = beats && !matches!(x.phase, Phase::Ending(_));
        Self {
            attempt: match x.phase {
                // A held request waits for its body, which its connection's timer limits.
                Phase::Waiting { at, .. } if !held => at,
                Phase::Parting { at } => at,
                _ => never,
            },
            hold: wait.filter(|_| may_open).map_or(never, |wait| wait.since + route.hold_head),
            give_up: give_up(x, route).filter(|_| !held).unwrap_or(never),
            heartbeat: if beats { x.readers().last_sent + route.heartbeat } else { never },
            upstream_silent: match (x.stream(), route.upstream_idle, x.phase) {
                (Some(stream), Some(idle), Phase::Streaming { .. }) => stream.last_heard + idle,
                _ => never,
            },
            stalled: x.readers().blocked_since().map_or(never, |since| since + route.body_timeout),
            linger: x.lingers_until(route).unwrap_or(never),
        }
    }

    fn nearest(&self) -> Tick {
        let all =
            [self.attempt, self.hold, self.give_up, self.heartbeat, self.upstream_silent, self.stalled, self.linger];
        all.into_iter().min().unwrap_or(Tick::NEVER)
    }
}

/// When the wait for upstream ends, apart from failures.
fn give_up(x: &Exchange, route: &Route) -> Option<Tick> {
    if x.search().is_some() {
        // The store is asked, and upstream will be afterwards.
        return x.phase.wait().map(|wait| wait.since + route.heal_for.max(LOOKED_UP));
    }
    let may_wait = x.can_heal() || x.request.method == Method::Post;
    match x.phase {
        // A stream in the queue has no time of its own there: it is asked for when its turn comes. A client that has no
        // head yet is not held for longer than it was told.
        Phase::Waiting { wait, at } if (at < Tick::NEVER || !x.is_open_stream()) && wait.tries > 0 => {
            Some(wait.clock + if may_wait { route.heal_for } else { route.response_timeout })
        }
        // An upstream that was reached and takes its time over a stream is slow and not away: its connection is watched
        // by the system. Ordinary answers have a time limit.
        // An answer that has come, and waits for the next try, is there as long as its exchange.
        Phase::Asked { .. } if x.has_waiting_answer() => None,
        Phase::Asked { wait, .. } if !x.can_heal() => Some(wait.clock + route.response_timeout),
        // The store is waited for as an upstream would be.
        Phase::Following { away } if away < Tick::NEVER => Some(away + route.heal_for),
        // A connection that is being opened has a time limit of its own.
        _ => None,
    }
}

impl Exchange {
    /// Sets the exchange's timer to its nearest deadline, unless it fires before that anyway.
    pub(super) fn arm(&mut self, cx: &mut Cx, key: ExchangeKey) {
        let at = Deadlines::of(self, cx.route(self.route())).nearest();
        self.alarm.set(&mut cx.wheel, at, Timer::Exchange(key));
    }
}
