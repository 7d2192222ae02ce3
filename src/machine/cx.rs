//! What the machine lends to a reaction, as [`TrackContext`] is lent to a tracker: everything that belongs to no single
//! connection, exchange or session.
//!
//! In: a configuration, a seed, a secret. Out: one value that is passed down by `&mut`.
//! Laws: all randomness of the machine comes from here, and so does its time; a reaction may begin, trim or drop
//! another exchange; what follows from that for the other one, such as that its last reader has left, waits as an
//! [`After`].

use super::balancing::Balancing;
use super::find::identity::Secret;
use super::io::Output;
use super::keys::{ConnKey, ExchangeKey, Timer};
use super::notice::{Notice, Subject};
use super::queue::Queues;
use super::routing::{PLACES, Routing, track_limits};
use super::stream::audience::Audience;
use super::stream::head::Heads;
use super::traces::Traces;
use super::visits::Visits;
use crate::base::{Count, Counts, Random, Span, Tick, TraceSpan};
use crate::config::{Config, Route};
use crate::http::{Date, HeadLimits};
use crate::timer::Wheel;
use crate::track::{Budget, GapReason, Interner, TrackContext, TrackLimits};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;

/// The capacity that the queue of work left to do keeps when it is empty.
const KEPT_AFTER: usize = 64;

/// What a reaction leaves to be done once it is over, before [`Machine::handle`](super::Machine::handle) returns.
///
/// So no reaction runs inside another one, and no exchange changes while its own reaction runs. The queue is bounded by
/// the tables: an exchange or a connection is on it at most once for each reason, and `handle` leaves it empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// Ask upstream for the exchange.
    Ask(ExchangeKey),
    /// The exchange is over: drop it.
    Ended(ExchangeKey),
    /// The client's connection is free, and its next request may lie in its input.
    ReadHead(ConnKey),
    /// The holder of this name may have a place for another event stream: an address, or else a principal.
    Place { name: u64, is_address: bool },
    /// The last reader has left the exchange.
    Unread(ExchangeKey),
    /// A reader has come for an answer that waits in the input of this connection to upstream.
    ReadAnswer(ConnKey),
}

/// What is lent.
pub(super) struct Cx {
    pub(super) config: Arc<Config>,
    /// The routes that are in use. They travel as numbers of their places.
    pub(super) routing: Routing,
    /// The largest bounds that have ruled since the start, for checks.
    pub(super) most: Most,
    /// Which of several upstreams takes a request.
    pub(super) balancing: Balancing,
    /// The attempts that wait for their turn at an upstream.
    pub(super) queues: Queues,
    pub(super) secret: Secret,
    /// The name of this process in `Via`.
    pub(super) name: Box<str>,
    /// What upstreams have lately said in the heads of their answers.
    pub(super) heads: Heads,
    /// Ids of requests, and what the access log is told.
    pub(super) visits: Visits,
    /// Which requests are recorded as traces, and the parts of them that are open.
    pub(super) traces: Traces,
    pub(super) wheel: Wheel<Timer>,
    pub(super) interner: Interner,
    pub(super) budget: Budget,
    pub(super) random: Random,
    pub(super) outputs: VecDeque<Output>,
    pub(super) counts: Counts,
    /// Who reads event streams.
    pub(super) audience: Audience,
    pub(super) after: VecDeque<After>,
    pub(super) now: Tick,
    /// The date for answers that have none.
    pub(super) date: Date,
    /// Tunnels that are open.
    pub(super) tunnels: usize,
    /// No client is accepted, and no cut is healed any more.
    pub(super) draining: bool,
    /// Time limits for connections whose request has not found its route yet: the longest of all routes.
    pub(super) head_timeout: Span,
    pub(super) keep_alive: Span,
    pub(super) body_timeout: Span,
}

impl Cx {
    pub(super) fn new(config: Arc<Config>, seed: u64, secret: u128, now: Tick) -> Self {
        let mut random = Random::new(seed);
        let limits = &config.limits;
        let routing = Routing::new(&config);
        let places = routing.all().len();
        let queues = Queues::new(routing.all());
        let timers = limits.connections.saturating_add(limits.streams).saturating_add(2 * PLACES + 3);
        let balancing = Balancing::new(&config.routes, routing.current(), limits.sessions);
        let mut cx = Self {
            routing,
            balancing,
            most: Most::default(),
            queues,
            secret: Secret::new(secret),
            name: own_name(seed, secret),
            heads: Heads::new(places),
            visits: Visits::new(config.access_log, seed, secret),
            traces: Traces::new(&config, seed, secret),
            wheel: Wheel::new(timers, now),
            interner: Interner::new(random.next(), symbols(&config)),
            budget: Budget::new(limits.log_budget),
            random,
            outputs: VecDeque::new(),
            counts: Counts::new(places),
            audience: Audience::default(),
            after: VecDeque::new(),
            now,
            date: Date::default(),
            tunnels: 0,
            draining: false,
            head_timeout: Span::ZERO,
            keep_alive: Span::ZERO,
            body_timeout: Span::ZERO,
            config: Arc::clone(&config),
        };
        cx.reload(config);
        cx
    }

    /// Goes by another configuration from now on, beside its routes.
    pub(super) fn reload(&mut self, config: Arc<Config>) {
        let longest = |of: fn(&Route) -> Span| config.routes.iter().map(of).max().unwrap_or_default();
        self.head_timeout = longest(|r| r.head_timeout);
        self.keep_alive = longest(|r| r.keep_alive);
        self.body_timeout = longest(|r| r.body_timeout);
        self.budget.set_limit(config.limits.log_budget);
        self.most.include(&config);
        self.traces.reload(&config);
        self.config = config;
    }

    /// The route at this place.
    #[inline]
    pub(super) fn route(&self, route: usize) -> &Route {
        self.routing.at(route)
    }

    /// Whether a stored id means the same to whichever upstream is asked for it. Which of several gave it is not stored, and
    /// another one may mean other events by it.
    pub(super) fn knows_stored_ids(&self, place: usize) -> bool {
        !self.balancing.has_choice(place) || self.route(place).set.shared_ids
    }

    /// The tracker's limits of the route at this place.
    #[inline]
    pub(super) fn limits(&self, route: usize) -> &TrackLimits {
        &self.routing.limits[route]
    }

    /// How large a request's head may be.
    pub(super) fn request_head(&self) -> HeadLimits {
        let limits = &self.config.limits;
        HeadLimits { bytes: limits.header_bytes, headers: limits.header_count }
    }

    /// How large an answer's head may be.
    pub(super) fn answer_head(&self) -> HeadLimits {
        let limits = &self.config.limits;
        HeadLimits { bytes: limits.answer_header_bytes, headers: limits.header_count }
    }

    /// When a client's body, or what a client is sent, has taken too long.
    pub(super) fn body_deadline(&self, route: usize) -> Tick {
        self.now + self.route(route).body_timeout
    }

    /// What a tracker of this route is lent.
    pub(super) fn track(&mut self, route: usize) -> TrackContext<'_> {
        TrackContext {
            limits: &self.routing.limits[route],
            interner: &mut self.interner,
            budget: &mut self.budget,
            now: self.now,
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    /// A gap is stated to the clients of a stream of this route.
    pub(super) fn state_gap(&mut self, route: usize, target: Subject, reason: GapReason) {
        self.counts.one_at(route, count_of(reason));
        self.notice(Notice::Gap { target, reason });
    }

    /// A client's request is over. `owed`: bytes of its answer that the socket will still take. `whole`: the client
    /// was sent all of the answer.
    pub(super) fn end_visit(&mut self, conn: ConnKey, owed: usize, whole: bool) {
        let Some(ended) = self.visits.end(conn, owed, whole, self.now) else { return };
        self.outputs.extend(ended.access.map(Output::Served));
        self.traced(ended.replay);
        self.traced(ended.exchange);
    }

    /// A part of a recorded trace is over.
    pub(super) fn traced(&mut self, span: Option<Box<TraceSpan>>) {
        self.outputs.extend(span.map(Output::Traced));
    }

    /// The first request to upstream is over, if it is open: upstream has answered with this status.
    pub(super) fn end_ask(&mut self, key: ExchangeKey, status: u16) {
        let error = (status >= 400).then(|| status.to_string());
        let ask = self.traces.end_ask(key, error.as_deref(), self.now);
        self.traced(ask);
    }

    /// The same where no answer has come.
    pub(super) fn drop_ask(&mut self, key: ExchangeKey, error: &str) {
        let ask = self.traces.end_ask(key, Some(error), self.now);
        self.traced(ask);
    }

    /// A heal is over, if one is open. `error`: what became of it, where the stream did not go on.
    pub(super) fn end_heal(&mut self, key: ExchangeKey, tries: u32, error: Option<&str>) {
        if let Some(mut heal) = self.traces.end_heal(key, error, self.now) {
            heal.say("segno.tries", u64::from(tries));
            self.traced(Some(heal));
        }
    }

    pub(super) fn pop_after(&mut self) -> Option<After> {
        let after = self.after.pop_front();
        if after.is_none() {
            self.after.shrink_to(KEPT_AFTER);
        }
        after
    }
}

/// Which gaps are counted as this one.
fn count_of(reason: GapReason) -> Count {
    match reason {
        GapReason::Expired => Count::GapsExpired,
        GapReason::Evicted => Count::GapsEvicted,
        GapReason::Unknown => Count::GapsUnknown,
        GapReason::Refused => Count::GapsRefused,
        GapReason::Restarted => Count::GapsRestarted,
        GapReason::Skipped => Count::GapsSkipped,
    }
}

/// Bounds that a check goes by. What was taken in under a larger bound may be there still.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Most {
    pub(super) header_bytes: usize,
    pub(super) buffer_budget: usize,
    pub(super) log_budget: usize,
    pub(super) replay_bytes: usize,
}

impl Most {
    fn include(&mut self, config: &Config) {
        self.header_bytes = self.header_bytes.max(config.limits.header_bytes).max(config.limits.answer_header_bytes);
        self.buffer_budget = self.buffer_budget.max(config.limits.buffer_budget);
        self.log_budget = self.log_budget.max(config.limits.log_budget);
        let largest = config.routes.iter().map(|route| route.replay_bytes).max();
        self.replay_bytes = self.replay_bytes.max(largest.unwrap_or_default());
    }
}

/// The name of this process in `Via`, by which it knows a request that comes back to it. No other process has it, so
/// that several may stand one behind the other; and it tells nothing of the seed.
fn own_name(seed: u64, secret: u128) -> Box<str> {
    let mut hash = SipHasher24::new_with_key(&secret.to_le_bytes());
    hash.write(b"Via");
    hash.write_u64(seed);
    let bits = hash.finish128().as_u128();
    let letter = |n: u32| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(bits >> (5 * n)) as usize % 32]);
    format!("segno-{}", (0..6).map(letter).collect::<String>()).into()
}

/// How many different event ids can be alive at once: what all windows and logs can hold.
pub(super) fn symbols(config: &Config) -> usize {
    let events = |r: &Route| r.replay_events.max(track_limits(r).notes());
    let each = config.routes.iter().map(|r| r.window + events(r) + 16).max().unwrap_or(0);
    config.limits.streams.saturating_mul(each).min(u32::MAX as usize / 2)
}
