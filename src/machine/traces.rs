//! Which requests are recorded as traces, and the parts of the recorded ones that are open.
//!
//! In: what clients say of their traces, beginnings and ends of parts. Out: a [`TraceContext`] for each request that
//! goes upstream; a [`TraceSpan`] for each part of a recorded one that is over.
//! Laws: while tracing is off, nothing is made and nothing is kept; a client's decision that its trace is recorded reaches
//! upstream whether segno records its own part or not; nothing is done for a single event; ids come from the
//! seed and the secret, so that a run replays and the ids tell nothing of either; of what clients may ask for, a bounded
//! number is recorded each second.
//! Source: W3C Trace Context, level 2.

use super::keys::ExchangeKey;
use super::wait::Pace;
use crate::base::{Fact, TRACEPARENT_HEADER, Tick, TraceContext, TraceKind, TraceShare, TraceSpan, shown};
use crate::config::Config;
use crate::http::{Headers, Method, RequestHead};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::collections::HashMap;
use std::hash::Hasher;
use std::net::IpAddr;

/// Bytes of a `tracestate` that are kept for a span.
const STATE: usize = 512;

/// Bytes of a name or an address that are kept for a span.
const NAME: usize = 256;

/// What is known of a machine's traces.
pub(super) struct Traces {
    /// The share that is recorded; `None`: tracing is off.
    share: Option<TraceShare>,
    follow: bool,
    pace: Pace,
    rate: u32,
    hash: SipHasher24,
    made: u64,
    /// Parts of recorded exchanges that are open: at most one of each kind for each.
    asks: HashMap<ExchangeKey, Box<TraceSpan>>,
    heals: HashMap<ExchangeKey, Box<TraceSpan>>,
    lookups: HashMap<ExchangeKey, Box<TraceSpan>>,
}

/// How a request takes part in a trace.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The place in the trace that upstream is told: the request's own, unless only the client's trace is recorded.
    pub(super) own: TraceContext,
    /// It has spans here.
    pub(super) is_recorded: bool,
    /// The client's span.
    pub(super) parent: Option<u64>,
    /// The client's `tracestate`.
    pub(super) state: Box<str>,
    /// The client's `traceparent` cannot be used, so its `tracestate` means nothing.
    pub(super) drops_state: bool,
    /// It would have been recorded, but too many were.
    pub(super) is_over_rate: bool,
}

impl Traces {
    pub(super) fn new(config: &Config, seed: u64, secret: u128) -> Self {
        let mut hash = SipHasher24::new_with_key(&secret.to_le_bytes());
        hash.write(b"traceparent");
        hash.write_u64(seed);
        let (asks, heals, lookups) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (follow, rate) = (config.tracing.follow, config.tracing.rate);
        let (share, pace) = (config.trace_share(), Pace::new(rate));
        Self { share, follow, pace, rate, hash, made: 0, asks, heals, lookups }
    }

    /// Goes by another configuration from now on.
    pub(super) fn reload(&mut self, config: &Config) {
        (self.share, self.follow) = (config.trace_share(), config.tracing.follow);
        let rate = config.tracing.rate;
        if self.rate != rate {
            (self.rate, self.pace) = (rate, Pace::new(rate));
        }
    }

    /// Decides how a request takes part. `None`: tracing is off, and its headers go upstream as they came.
    pub(super) fn take_part(&mut self, headers: &Headers, now: Tick) -> Option<Part> {
        let share = self.share?;
        let mut said = headers.get_all(TRACEPARENT_HEADER);
        let client = said.next().filter(|_| said.next().is_none()).and_then(TraceContext::parse);
        let trace = client.map_or_else(|| self.draw(), |client| client.trace);
        let wanted = match client {
            Some(client) if self.follow => client.is_sampled(),
            _ => share.takes(trace),
        };
        let is_over_rate = wanted && (self.rate == 0 || !self.pace.is_free(now));
        let is_recorded = wanted && !is_over_rate;
        let mut state = "".into();
        if is_recorded {
            self.pace.take(now);
            state = state_of(headers, client.is_some());
        }
        // The id of a trace that is made here is random (level 2).
        let random = client.map_or(2, |client| client.flags & 2);
        let own = match client {
            // Upstream's spans hang under the client's, and not under one that nobody tells of.
            Some(client) if client.is_sampled() && !is_recorded => client,
            _ => TraceContext { trace, span: self.span_id(), flags: random | u8::from(is_recorded) },
        };
        let (parent, drops_state) = (client.map(|client| client.span), client.is_none());
        Some(Part { own, is_recorded, parent, state, drops_state, is_over_rate })
    }

    /// The id of a new span.
    pub(super) fn span_id(&mut self) -> u64 {
        (self.draw() as u64).max(1)
    }

    fn draw(&mut self) -> u128 {
        self.made += 1;
        let mut hash = self.hash;
        hash.write_u64(self.made);
        hash.finish128().as_u128().max(1)
    }

    /// A part of a recorded exchange begins.
    fn begin(&mut self, kind: TraceKind, parent: TraceContext, now: Tick) -> Box<TraceSpan> {
        let context = TraceContext { span: self.span_id(), ..parent };
        Box::new(TraceSpan::new(kind, context, Some(parent.span), now, now))
    }

    /// Upstream is asked for the first time, unless it is being asked already. `parent`: the exchange's place, if it is
    /// recorded.
    pub(super) fn begin_ask(&mut self, key: ExchangeKey, parent: Option<TraceContext>, now: Tick) {
        if let Some(parent) = parent.filter(|_| self.share.is_some())
            && !self.asks.contains_key(&key)
        {
            let ask = self.begin(TraceKind::Ask, parent, now);
            self.asks.insert(key, ask);
        }
    }

    /// What asks upstream: a heal, or the first request.
    pub(super) fn asking(&mut self, key: ExchangeKey) -> Option<&mut TraceSpan> {
        if self.heals.is_empty() && self.asks.is_empty() {
            return None;
        }
        self.heals.get_mut(&key).or_else(|| self.asks.get_mut(&key)).map(|span| &mut **span)
    }

    /// The first request is over, if it is open. `error`: what became of it, where no answer came.
    pub(super) fn end_ask(&mut self, key: ExchangeKey, error: Option<&str>, now: Tick) -> Option<Box<TraceSpan>> {
        end(&mut self.asks, key, error, now)
    }

    /// A heal begins, unless one is open. `parent`: the exchange's place, if it is recorded.
    pub(super) fn begin_heal(&mut self, key: ExchangeKey, parent: Option<TraceContext>, now: Tick) {
        if let Some(parent) = parent.filter(|_| self.share.is_some())
            && !self.heals.contains_key(&key)
        {
            let heal = self.begin(TraceKind::Heal, parent, now);
            self.heals.insert(key, heal);
        }
    }

    /// A heal ends, if one is open. `error`: what became of it, where the stream did not go on.
    pub(super) fn end_heal(&mut self, key: ExchangeKey, error: Option<&str>, now: Tick) -> Option<Box<TraceSpan>> {
        end(&mut self.heals, key, error, now)
    }

    /// The store is asked.
    pub(super) fn begin_lookup(&mut self, key: ExchangeKey, parent: Option<TraceContext>, now: Tick) {
        if let Some(parent) = parent.filter(|_| self.share.is_some()) {
            let lookup = self.begin(TraceKind::Lookup, parent, now);
            self.lookups.insert(key, lookup);
        }
    }

    /// The store has answered, or has not.
    pub(super) fn end_lookup(&mut self, key: ExchangeKey, error: Option<&str>, now: Tick) -> Option<Box<TraceSpan>> {
        end(&mut self.lookups, key, error, now)
    }

    /// Parts that are open.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn open(&self) -> usize {
        self.asks.len() + self.heals.len() + self.lookups.len()
    }
}

fn end(
    open: &mut HashMap<ExchangeKey, Box<TraceSpan>>,
    key: ExchangeKey,
    error: Option<&str>,
    now: Tick,
) -> Option<Box<TraceSpan>> {
    if open.is_empty() {
        return None;
    }
    let mut span = open.remove(&key)?;
    (span.ended, span.error) = (now, error.map(Box::from));
    Some(span)
}

/// The client's `tracestate`, if it belongs to a `traceparent`, is text and is not too long.
fn state_of(headers: &Headers, belongs: bool) -> Box<str> {
    let lines: Vec<&[u8]> = headers.get_all("tracestate").filter(|_| belongs).collect();
    let all = String::from_utf8(lines.join(&b","[..])).unwrap_or_default();
    if all.len() <= STATE { all.into() } else { "".into() }
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(super) struct CameFrom {
    /// The other end of its connection.
    pub(super) peer: IpAddr,
    /// Behind `trusted_proxies`, the address that they name.
    pub(super) client: IpAddr,
    pub(super) is_secure: bool,
}

/// A method that no standard knows may be any word, so it is not told.
pub(super) fn say_method(span: &mut TraceSpan, method: &Method) {
    let known = !matches!(method, Method::Other(_));
    span.say_now("http.request.method", if known { method.as_str() } else { "_OTHER" });
}

/// A host, with its port if it has one.
pub(super) fn say_server(span: &mut TraceSpan, host: &str) {
    let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    span.say_now("server.address", &*shown(port.map_or(host, |(name, _)| name), NAME));
    if let Some((_, port)) = port {
        span.say_now("server.port", u64::from(port));
    }
}

/// What a recorded request is told of, while it is served.
pub(super) struct Recorded {
    span: TraceSpan,
    /// What it had missed, until its client has that.
    replay: Option<Replay>,
}

struct Replay {
    span: u64,
    began: Tick,
    /// Events that it has missed, and how many the stream has up to the last of them.
    events: u64,
    until: u64,
}

impl Recorded {
    /// A request has come from `peer`, for the client at `client`.
    pub(super) fn new(part: &Part, head: &RequestHead, path: &str, from: CameFrom, now: Tick) -> Box<Self> {
        let CameFrom { peer, client, is_secure } = from;
        let mut span = TraceSpan::new(TraceKind::Exchange, part.own, part.parent, now, now);
        span.state.clone_from(&part.state);
        say_method(&mut span, &head.method);
        span.say("url.scheme", if is_secure { "https" } else { "http" });
        span.say("url.path", path);
        if let Some(host) = &head.host {
            say_server(&mut span, host);
        }
        span.say("client.address", &*client.to_canonical().to_string());
        span.say("network.peer.address", &*peer.to_canonical().to_string());
        Box::new(Self { span, replay: None })
    }

    /// Its place in its trace.
    pub(super) fn context(&self) -> TraceContext {
        self.span.context
    }

    /// Says one thing of it.
    pub(super) fn say(&mut self, name: &'static str, what: impl Into<Fact>) {
        self.span.say(name, what);
    }

    /// It reads what another request has asked for.
    pub(super) fn link(&mut self, other: Option<TraceContext>) {
        self.span.link = other.filter(|other| other.is_sampled() && *other != self.span.context);
    }

    /// It is sent `events` events that it has missed, up to the first `until` events of the stream.
    pub(super) fn begin_replay(&mut self, span: u64, events: u64, until: u64, began: Tick) {
        self.replay = Some(Replay { span, began, events, until });
    }

    /// Its client's socket has taken the first `events` events of the stream. Returns the replay, if that is its end.
    pub(super) fn took(&mut self, events: u64, now: Tick) -> Option<Box<TraceSpan>> {
        let is_over = self.replay.as_ref().is_some_and(|replay| events >= replay.until);
        if is_over { self.end_replay(None, now) } else { None }
    }

    /// The replay ends, if one is open.
    pub(super) fn end_replay(&mut self, error: Option<&str>, now: Tick) -> Option<Box<TraceSpan>> {
        let Replay { span, began, events, .. } = self.replay.take()?;
        let own = self.span.context;
        let context = TraceContext { span, ..own };
        let mut replay = TraceSpan::new(TraceKind::Replay, context, Some(own.span), began, now);
        replay.error = error.map(Box::from);
        replay.link = self.span.link;
        replay.say("segno.events", events);
        Some(Box::new(replay))
    }

    /// The request is over.
    pub(super) fn end(mut self: Box<Self>, error: Option<&str>, now: Tick) -> Box<TraceSpan> {
        self.span.ended = now;
        self.span.error = error.map(Box::from);
        Box::new(self.span)
    }
}

/// A head that segno wrote, whose request takes another place in its trace.
pub(super) fn at_another_place(head: &[u8], place: TraceContext) -> Vec<u8> {
    let is_it = |line: &[u8]| {
        let (name, rest) = line.split_at_checked(TRACEPARENT_HEADER.len()).unwrap_or_default();
        name.eq_ignore_ascii_case(TRACEPARENT_HEADER.as_bytes()) && rest.first() == Some(&b':')
    };
    let mut changed: Vec<u8> = Vec::with_capacity(head.len() + 80);
    for line in head.split_inclusive(|&b| b == b'\n').filter(|line| !is_it(line)) {
        changed.extend_from_slice(line);
    }
    changed.extend_from_slice(format!("{TRACEPARENT_HEADER}: {place}\r\n").as_bytes());
    changed
}
