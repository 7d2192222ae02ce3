//! Routes with several upstreams: where a request goes, where it goes next, and which upstream is left out.
//!
//! In: exchanges that are about to ask, failures and answers of upstreams. Out: the place of the upstream in each
//! exchange; upstreams that are left out, and that are back.
//! Laws: a connection that was never established may be tried at the next upstream, whatever the request; a stream that
//! has begun goes on where its ids come from, unless the route says that all upstreams share them; requests of one
//! session go to one upstream for as long as it is in use; what a stream has told its client to send goes where the
//! stream comes from, and nowhere else.

use crate::base::{Count, Span, Tick};
use crate::config::{Route, Sticky};
use crate::http::{self, Method};
use crate::machine::Machine;
use crate::machine::balancing::{Failure, Name, Pick, TOLD};
use crate::machine::cx::Cx;
use crate::machine::exchange::{Exchange, Phase, Request};
use crate::machine::keys::{ExchangeKey, Timer};
use crate::machine::notice::{ConnectError, Notice};
use crate::machine::pool::Conns;
use crate::sse::{Parser, ParserLimits};
use std::borrow::Cow;

/// The upstream that alone understands a message.
enum Holder {
    Nobody,
    At(usize),
    /// Streams of several upstreams have told this target. Whose message it is cannot be seen.
    Contested,
}

/// Where requests go.
impl Machine {
    /// Settles to which of several upstreams an exchange's next attempt goes.
    pub(super) fn choose_upstream(&mut self, key: ExchangeKey) {
        let holder = self.holder_of(key);
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let place = x.route();
        match holder {
            Holder::At(place) => return x.lead_to(cx, key, place),
            Holder::Contested => cx.counts.one_at(place, Count::MessagesContested),
            Holder::Nobody => {}
        }
        if !cx.balancing.has_choice(place) || cx.balancing.is_in_round(key) {
            return;
        }
        let goes_on = x.has_begun() && x.request.placed;
        if goes_on && (!cx.route(place).set.shared_ids || cx.balancing.is_open(place)) {
            return;
        }
        let next = match by_session(cx, conns, &x.request) {
            Some(next) if !goes_on => Some(next),
            _ => pick(cx, conns, place),
        };
        x.lead_to(cx, key, next.unwrap_or(place));
    }

    /// The upstream of the streams whose client was told to POST what this exchange asks for, and who is the one that
    /// asks. No other understands it, also where that one is left out.
    fn holder_of(&self, key: ExchangeKey) -> Holder {
        let Self { cx, exchanges, .. } = self;
        if cx.balancing.endpoints.is_empty() {
            return Holder::Nobody;
        }
        let x = exchanges.get(key).filter(|x| x.request.method == Method::Post && !x.has_begun());
        let Some(x) = x else { return Holder::Nobody };
        let route = cx.route(x.route());
        let Some(target) = target_of(&x.request, route) else { return Holder::Nobody };
        let name = cx.secret.endpoint(route, target, x.request.holders.principal);
        let mut told = cx.balancing.endpoints.find(name);
        let Some(place) = told.next() else { return Holder::Nobody };
        // A stream keeps the place that its upstream had when it began.
        let is_it = |at: &usize| cx.route(*at).upstream == cx.route(place).upstream;
        if !told.all(|at| is_it(&at)) {
            return Holder::Contested;
        }
        Holder::At(cx.balancing.members(x.route()).find(is_it).unwrap_or(place))
    }

    /// A connection could not be opened: leads the exchange to the next upstream, if there is one that it may go to.
    pub(super) fn try_next_upstream(&mut self, key: ExchangeKey, why: ConnectError) -> bool {
        let has_holder = matches!(self.holder_of(key), Holder::At(_));
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return false };
        let place = x.route();
        let stays = has_holder || x.has_begun() && !cx.route(place).set.shared_ids;
        let is_ours = matches!(why, ConnectError::NoDescriptor | ConnectError::Local);
        let next = match stays || is_ours {
            true => None,
            false => next_of_round(cx, conns, key, place),
        };
        let (Some(next), Some(mut wait)) = (next, x.phase.wait()) else {
            cx.balancing.end_round(key);
            return false;
        };
        let name = |cx: &Cx, at: usize| -> Box<str> { cx.route(at).upstream.authority.as_str().into() };
        let why = format!("upstream {}: {why}", name(cx, place)).into();
        cx.counts.one_at(place, Count::UpstreamTriedNext);
        cx.notice(Notice::TriedNext { target: x.target(), why, next: name(cx, next) });
        // All attempts of a round are one.
        wait.tries = wait.tries.saturating_sub(1);
        x.phase = Phase::Waiting { wait, at: cx.now };
        x.lead_to(cx, key, next);
        self.on_attempt_due(key);
        self.arm(key);
        true
    }

    /// Until when a connection to an exchange's upstream may take.
    pub(super) fn connects_until(&mut self, key: ExchangeKey, place: usize) -> Tick {
        let has_holder = matches!(self.holder_of(key), Holder::At(_));
        let Self { cx, exchanges, .. } = self;
        let (timeout, shared) = (cx.route(place).connect_timeout, cx.route(place).set.shared_ids);
        let stays = has_holder || exchanges.get(key).is_none_or(|x| x.has_begun() && !shared);
        match stays || !cx.balancing.has_choice(place) {
            true => cx.now + timeout,
            false => cx.balancing.begin(key, place, timeout, cx.now),
        }
    }
}

/// Upstreams that fail, and that are back.
impl Machine {
    /// An upstream has failed.
    pub(super) fn upstream_failed(&mut self, place: usize, failure: Failure, why: &str) {
        let Self { cx, .. } = self;
        cx.counts.one_at(place, failure.count());
        let route = cx.routing.at(place);
        let Some(until) = cx.balancing.fail(route, place, failure, cx.now) else { return };
        left_out(cx, place, why, Some(until));
    }

    /// An upstream has answered well.
    pub(super) fn upstream_works(&mut self, place: usize) {
        let now = self.cx.now;
        self.cx.balancing.at(place).succeed(now);
    }

    /// The time for which an upstream was left out may be over.
    pub(super) fn on_upstream_timer(&mut self, place: usize) {
        let Self { cx, .. } = self;
        cx.balancing.at(place).alarm.fired();
        let health = cx.balancing.at(place);
        if health.until() <= cx.now {
            if health.is_unchecked() {
                cx.counts.one_at(place, Count::ReturnsUnchecked);
            }
            self.bring_back(place);
        }
        if self.cx.balancing.at(place).checked.at <= self.cx.now {
            self.begin_check(place);
        }
        arm(&mut self.cx, place);
    }

    /// An upstream is used again.
    pub(super) fn bring_back(&mut self, place: usize) {
        let Self { cx, .. } = self;
        let now = cx.now;
        let after = cx.balancing.at(place).come_back(now);
        cx.balancing.stand(place, None);
        let upstream = cx.route(place).upstream.authority.as_str().into();
        cx.notice(Notice::UpstreamReturned { upstream, after });
    }
}

/// Sessions that stay at their upstream.
impl Machine {
    /// An upstream has answered a request: what belongs to the session that the request or the answer names goes there
    /// from now on.
    pub(super) fn bind_session(&mut self, key: ExchangeKey, head: &crate::http::ResponseHead) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        let (place, good) = (x.route(), matches!(head.status, 200..=299));
        if !good || !cx.balancing.has_choice(place) || cx.route(place).set.sticky != Sticky::Session {
            return;
        }
        let route = cx.route(place);
        let begun = head.headers.get(&route.session_header).filter(|name| !name.is_empty());
        let named = begun.or_else(|| x.request.header(&route.session_header));
        let Some(name) = named.map(|session| cx.secret.sticky(route, session)) else { return };
        match x.request.method {
            Method::Delete => cx.balancing.names.forget(name),
            _ => cx.balancing.names.bind(name, place),
        }
    }
}

impl Exchange {
    /// The first event of a stream's body has come, at this offset: notes where it tells the client to send messages.
    pub(super) fn hear_endpoint(&self, cx: &mut Cx, key: ExchangeKey, from: u64) {
        let Some(stream) = self.stream().filter(|_| self.request.method == Method::Get) else { return };
        let tracker = &stream.tracker;
        let (a, b) = tracker.slices(from, tracker.whole().min(from + TOLD));
        let bytes = if b.is_empty() { Cow::Borrowed(a) } else { Cow::Owned([a, b].concat()) };
        let limits = ParserLimits { max_line_bytes: TOLD as usize, max_event_bytes: TOLD as usize };
        let (mut parser, mut input) = (Parser::new(limits), &*bytes);
        let Some(Ok(event)) = parser.next(&mut input) else { return };
        if event.event_type != b"endpoint" {
            return;
        }
        let route = cx.routing.at(self.route());
        if let Some(target) = target_told(&self.request, route, &event.data_str()) {
            let name = cx.secret.endpoint(route, &target, self.request.holders.principal);
            cx.balancing.endpoints.tell(name, key, self.route());
        }
    }

    /// The upstream at this place is asked from now on.
    fn lead_to(&mut self, cx: &mut Cx, key: ExchangeKey, place: usize) {
        let request = &mut self.request;
        let before = std::mem::replace(&mut request.route, place as u32);
        request.placed = true;
        cx.balancing.endpoints.lead(key, place);
        let route = cx.route(place);
        if before as usize != place && route.sends_own_host() {
            set_host(&mut request.head, &route.upstream.authority);
            if let Some(head) = request.resume_head.as_deref() {
                let mut head: Box<[u8]> = head.into();
                set_host(&mut head, &route.upstream.authority);
                request.resume_head = Some(head).into();
            }
        }
    }
}

/// An upstream is left out from now on: for a time, or until its checks are good.
pub(super) fn left_out(cx: &mut Cx, place: usize, why: &str, until: Option<Span>) {
    let upstream = cx.route(place).upstream.authority.as_str().into();
    cx.balancing.stand(place, Some((cx.now, why.into())));
    cx.counts.one_at(place, Count::UpstreamEjections);
    cx.notice(Notice::UpstreamEjected { upstream, why: why.into(), until });
    arm(cx, place);
}

/// Sets the timer of an upstream to its nearest deadline.
pub(super) fn arm(cx: &mut Cx, place: usize) {
    let health = cx.balancing.at(place);
    let next = health.until().min(health.checked.at);
    health.alarm.set(&mut cx.wheel, next, Timer::Upstream(place));
}

/// The upstream of the session that a request belongs to. `None`: it belongs to none.
fn by_session(cx: &mut Cx, conns: &Conns, request: &Request) -> Option<usize> {
    let place = request.route as usize;
    let name: Name = match cx.route(place).set.sticky {
        Sticky::Off => return None,
        Sticky::Principal => request.holders.principal,
        Sticky::Session => {
            let route = cx.route(place);
            let name = cx.secret.sticky(route, request.header(&route.session_header)?);
            match cx.balancing.names.find(name) {
                Some(bound) if cx.balancing.is_open(bound) && cx.balancing.members(place).any(|at| at == bound) => {
                    return Some(bound);
                }
                _ => name,
            }
        }
    };
    let Cx { balancing, routing, secret, now, .. } = cx;
    let set = &routing.at(place).set;
    let pick = Pick { place, set, now: *now, busy: conns.busy() };
    balancing.by_name(pick, |at| secret.rendezvous(name, &routing.at(at).upstream))
}

/// The upstream whose turn it is.
fn pick(cx: &mut Cx, conns: &Conns, place: usize) -> Option<usize> {
    let Cx { balancing, routing, now, .. } = cx;
    balancing.next(Pick { place, set: &routing.at(place).set, now: *now, busy: conns.busy() }, 0)
}

/// The next upstream that an exchange has not tried.
fn next_of_round(cx: &mut Cx, conns: &Conns, key: ExchangeKey, place: usize) -> Option<usize> {
    let Cx { balancing, routing, now, .. } = cx;
    balancing.next_of_round(key, Pick { place, set: &routing.at(place).set, now: *now, busy: conns.busy() })
}

/// The target that a client asks for: what upstream is asked for, without the path of the upstream's URL.
fn target_of<'a>(request: &'a Request, route: &Route) -> Option<&'a str> {
    let target = request.head.split(|b| *b == b' ').nth(1)?;
    std::str::from_utf8(target).ok()?.strip_prefix(route.upstream.base_path.trim_end_matches('/'))
}

/// The target that the client of this request asks for here, where its stream has told it this URL. `None`: it asks
/// somebody else.
fn target_told(request: &Request, route: &Route, url: &str) -> Option<String> {
    let first = |name| {
        let value = request.header(name).and_then(|value| std::str::from_utf8(value).ok());
        value.and_then(|value| value.split(',').next()).unwrap_or_default().trim()
    };
    let scheme = if first("X-Forwarded-Proto").eq_ignore_ascii_case("https") { "https" } else { "http" };
    let http::Referred { server, target } = http::refer(url, scheme, target_of(request, route)?)?;
    let Some(server) = server else { return Some(target) };
    // The names under which upstream knows what the client asks: what stands before segno may end TLS without a word.
    let hosts = [first("X-Forwarded-Host"), host_of(first("Forwarded")), first("Host")];
    let hosts = &hosts[..if route.sends_own_host() { 2 } else { 3 }];
    let is_asked = |host: &&str| !host.is_empty() && server.is(scheme, host);
    if server.scheme.is_none_or(|named| named == scheme || named == "https") && hosts.iter().any(is_asked) {
        return Some(target);
    }
    let own = &route.upstream;
    let is_own = server.scheme.is_none_or(|named| named == own.scheme.as_str());
    let rest = target.strip_prefix(own.base_path.trim_end_matches('/')).filter(|rest| rest.starts_with('/'));
    rest.filter(|_| is_own && server.is(own.scheme.as_str(), &own.authority)).map(str::to_owned)
}

/// The host in an element of `Forwarded`.
fn host_of(forwarded: &str) -> &str {
    let pairs = forwarded.split(';').filter_map(|pair| pair.split_once('='));
    let host = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("host")).map(|(_, value)| value.trim()).next();
    host.unwrap_or_default().trim_matches('"')
}

/// Writes another `Host` into a head. It is the first line behind the request line.
fn set_host(head: &mut Box<[u8]>, host: &str) {
    let mut lines = head.split_inclusive(|&b| b == b'\n');
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return };
    if second.get(..6).is_some_and(|name| name.eq_ignore_ascii_case(b"Host: ")) {
        let rest = &head[first.len() + second.len()..];
        *head = [first, b"Host: ", host.as_bytes(), b"\r\n", rest].concat().into();
    }
}
