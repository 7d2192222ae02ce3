//! What must hold between the values of a configuration.
//!
//! In: a [`Config`] from anywhere. Out: every [`Fault`] in it. Each names the key to change, and how to change it.
//! Law: a configuration without faults can run; the layers below need not check again.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use super::otlp::{Otlp, attribute};
use super::process::{Config, Limits, ProxyProtocol};
use super::route::Route;
use super::store::StoreConfig;
use super::units::show_size;
use super::upstream::Scheme;
use super::upstreams::{MAX_UPSTREAMS, UpstreamSet};
use crate::base::Span;

/// Routes at most: a request may be compared with each of them.
const MAX_ROUTES: usize = 1_024;
/// Upstreams of all routes at most: each has its own connections, addresses and counts.
const MAX_ALL_UPSTREAMS: usize = 1_024;
/// Blocks of trusted proxies at most: a request's addresses may be compared with each of them.
const MAX_TRUSTED: usize = 1_024;
/// The longest `drain_timeout`.
const DRAIN_TIMEOUT: Span = Span::from_secs(24 * 3_600);

/// What `peer_timeout` may be: its parts are whole seconds, and the system counts it in milliseconds.
const PEER_TIMEOUT: RangeInclusive<Span> = Span::from_secs(6)..=Span::from_secs(24 * 3_600);
/// Certificates at most: each start and each reload reads them all.
const MAX_CERTIFICATES: usize = 1_024;
/// Names of the admin address at most: each request is compared with each of them.
const MAX_ADMIN_HOSTS: usize = 64;
/// What is said of the process to a collector: items at most, and bytes of one.
const MAX_ATTRIBUTES: usize = 64;
const MAX_ATTRIBUTE: usize = 1 << 10;
/// How long a call to a collector may take.
const OTLP_TIMEOUT: RangeInclusive<Span> = Span::from_millis(10)..=Span::from_secs(60);
/// The shortest heartbeat. A shorter one would flood the clients.
const MIN_HEARTBEAT: Span = Span::from_millis(10);

/// The shortest time for which an upstream is left out. A shorter one would spare it nothing.
const MIN_EJECT: Span = Span::from_millis(100);

/// The shortest time between two checks of an upstream, and for one.
const MIN_CHECK: Span = Span::from_millis(100);

/// The part of the configuration that a fault lies in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Section {
    /// The top level.
    Top,
    /// The limits.
    Limits,
    /// The route with this number: counted from zero, in the order given.
    Route(usize),
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The part that it lies in.
    pub section: Section,
    /// The key whose value is wrong, as a file writes it.
    pub key: &'static str,
    /// The second key, where the fault is a relation between two.
    pub other: Option<&'static str>,
    /// What is wrong and what to do, in one line.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Config {
    /// Everything that is wrong. Empty for a configuration that can run.
    pub fn faults(&self) -> Vec<Fault> {
        let mut found = Vec::new();
        self.top(&mut Finder { section: Section::Top, found: &mut found });
        limits(&self.limits, &mut Finder { section: Section::Limits, found: &mut found });
        for (n, route) in self.routes.iter().enumerate() {
            let mut finder = Finder { section: Section::Route(n), found: &mut found };
            address(route, &mut finder);
            bounds(route, &mut finder);
            sizes(route, &self.limits, &mut finder);
            spans(route, &mut finder);
            upstreams(route, &mut finder);
        }
        repeats(&self.routes, &mut found);
        found
    }

    /// Like [`Config::faults`], for an engine in a library, which may have trackers alone: then there is neither a
    /// listener nor a route.
    pub fn faults_in_library(&self) -> Vec<Fault> {
        let has_trackers_alone = self.listen.is_empty() && self.routes.is_empty();
        let is_about_those = |fault: &Fault| fault.section == Section::Top && matches!(fault.key, "listen" | "route");
        let mut faults = self.faults();
        faults.retain(|fault| !(has_trackers_alone && is_about_those(fault)));
        faults
    }

    fn exports(&self, finder: &mut Finder) {
        let Otlp { endpoint, attributes, service, timeout, .. } = &self.otlp;
        if let Some(at) = endpoint {
            if !cfg!(feature = "otel") {
                finder.add("otlp", "this build cannot send traces: take one with the feature `otel`".to_owned());
            } else if at.is_secure() && !cfg!(feature = "tls") {
                finder.add("otlp", "this build has no TLS (feature `tls`): write `http://`".to_owned());
            }
        }
        if let Some(wrong) = attributes.iter().find(|text| attribute(text).is_none()) {
            let shown = wrong.escape_debug();
            finder.add("otlp_attributes", format!("`otlp_attributes` has `{shown}`: write `name=value`"));
        }
        if attributes.len() > MAX_ATTRIBUTES || attributes.iter().any(|text| text.len() > MAX_ATTRIBUTE) {
            let what =
                format!("`otlp_attributes` has more than {MAX_ATTRIBUTES} items, or one above {MAX_ATTRIBUTE} bytes");
            finder.add("otlp_attributes", what);
        }
        if service.is_empty() || service.len() > MAX_ATTRIBUTE {
            finder.add("otlp_service", "`otlp_service` is empty or too long: write a name".to_owned());
        }
        if !OTLP_TIMEOUT.contains(timeout) {
            let (least, most) = (OTLP_TIMEOUT.start(), OTLP_TIMEOUT.end());
            finder.add("otlp_timeout", format!("`otlp_timeout` is {timeout}: write a time from {least} to {most}"));
        }
    }

    fn top(&self, finder: &mut Finder) {
        if self.listen.is_empty() {
            finder.add("listen", "no address to listen on: give one, such as `127.0.0.1:8080`".to_owned());
        }
        self.tls(finder);
        self.exports(finder);
        if self.persist.replay_shared && matches!(self.store, StoreConfig::Memory | StoreConfig::Redb { .. }) {
            let what = format!(
                "`replay_shared` shares events with other instances, and no other instance reaches `store` ({}): give \
                 a Redis server, such as `redis://HOST`",
                self.store
            );
            finder.add("replay_shared", what);
        }
        if let Some(admin) = self.admin
            && let Some(listen) = self.listens().find(|listen| overlap(*listen, admin))
        {
            finder.add("admin", format!("`admin` ({admin}) lies on `listen` ({listen}): give it another port"));
        }
        if let Some(host) = self.admin_hosts.iter().find(|host| !is_host_name(host)) {
            let host = host.escape_debug();
            finder
                .add("admin_hosts", format!("`admin_hosts` names `{host}`: write a name alone, without port or path"));
        }
        if self.admin_hosts.len() > MAX_ADMIN_HOSTS {
            let n = self.admin_hosts.len();
            finder.add("admin_hosts", format!("{n} names are more than the {MAX_ADMIN_HOSTS} that are allowed"));
        }
        if self.trusted_proxies.len() > MAX_TRUSTED {
            let n = self.trusted_proxies.len();
            let what = format!("{n} blocks are more than the {MAX_TRUSTED} that are allowed: write larger blocks");
            finder.add("trusted_proxies", what);
        }
        if self.proxy_protocol != ProxyProtocol::Off && self.trusted_proxies.is_empty() {
            let what = "`proxy_protocol` is of no use without `trusted_proxies`: name the proxies that send it";
            finder.relate("proxy_protocol", "trusted_proxies", what.to_owned());
        }
        if !self.peer_timeout.is_zero() && !PEER_TIMEOUT.contains(&self.peer_timeout) {
            let (given, least, most) = (self.peer_timeout, PEER_TIMEOUT.start(), PEER_TIMEOUT.end());
            let what =
                format!("`peer_timeout` is {given}: write 0s for the system's own, or a time from {least} to {most}");
            finder.add("peer_timeout", what);
        }
        if self.drain_timeout.is_zero() || self.drain_timeout > DRAIN_TIMEOUT {
            let given = self.drain_timeout;
            let what = format!("`drain_timeout` is {given}: write a time from 1ms to {DRAIN_TIMEOUT}");
            finder.add("drain_timeout", what);
        }
        if self.drain_spread > self.drain_timeout {
            let (spread, timeout) = (self.drain_spread, self.drain_timeout);
            let what = format!("`drain_spread` ({spread}) is longer than `drain_timeout` ({timeout}): make it shorter");
            finder.add("drain_spread", what);
        }
        for (key, span) in [
            ("flush_window", self.persist.flush_window),
            ("activity_window", self.persist.activity_window),
            ("session_idle", self.persist.session_idle),
        ] {
            if span.is_zero() {
                finder.add(key, format!("`{key}` is 0s, which leaves no time at all: write a longer one"));
            }
        }
        match self.routes.len() {
            0 => finder.add("route", "no routes: add a `[[route]]` with an `upstream`".to_owned()),
            n if n > MAX_ROUTES => {
                finder
                    .add("route", format!("{n} routes are more than the {MAX_ROUTES} that are allowed: take some out"));
            }
            _ => {}
        }
        let upstreams: usize = self.routes.iter().map(Route::upstreams).sum();
        if self.routes.len() <= MAX_ROUTES && upstreams > MAX_ALL_UPSTREAMS {
            let what = format!(
                "{upstreams} upstreams of all routes are more than the {MAX_ALL_UPSTREAMS} that are allowed: take some out"
            );
            finder.add("route", what);
        }
    }
}

/// TLS.
impl Config {
    /// All addresses that clients connect to.
    pub fn listens(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.iter().chain(&self.listen_plain).copied()
    }

    /// Whether the addresses of `listen` speak TLS.
    pub fn speaks_tls(&self) -> bool {
        !self.tls_cert.is_empty()
    }

    /// Each file of certificates with the file of its key.
    pub fn tls_pairs(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let key = |n, cert| self.tls_key.get(n).unwrap_or(cert);
        self.tls_cert.iter().enumerate().map(move |(n, cert)| (cert.as_path(), key(n, cert).as_path()))
    }

    fn tls(&self, finder: &mut Finder) {
        let (certs, keys) = (self.tls_cert.len(), self.tls_key.len());
        if keys > 0 && keys != certs {
            let what = format!(
                "`tls_cert` names {certs} files and `tls_key` {keys}: name a key for each certificate, in the same order"
            );
            finder.relate("tls_key", "tls_cert", what);
        }
        if certs > MAX_CERTIFICATES {
            let what = format!("{certs} certificates are more than the {MAX_CERTIFICATES} that are allowed");
            finder.add("tls_cert", what);
        }
        let needs = |key| format!("`{key}` is of no use without `tls_cert`: name a certificate, or take it out");
        if certs == 0 && self.client_ca.is_some() {
            finder.add("client_ca", needs("client_ca"));
        }
        if certs == 0 && !self.listen_plain.is_empty() {
            let what =
                "`listen_plain` is for addresses beside those that speak TLS: without `tls_cert` name them in `listen`";
            finder.add("listen_plain", what.to_owned());
        }
        if let Some((plain, listen)) = self
            .listen_plain
            .iter()
            .find_map(|plain| self.listen.iter().find(|l| overlap(**l, *plain)).map(|l| (plain, l)))
        {
            let what = format!("`listen_plain` ({plain}) lies on `listen` ({listen}): give it another port");
            finder.relate("listen_plain", "listen", what);
        }
    }
}

/// Whether two listeners would have the same port of some address. Some systems let both have it, and whichever is more
/// exact gets the connections.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_same = a.ip().to_canonical() == b.ip().to_canonical();
    a.port() != 0 && a.port() == b.port() && (is_same || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn is_host_name(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    !name.is_empty() && name.bytes().all(sound)
}

struct Finder<'a> {
    section: Section,
    found: &'a mut Vec<Fault>,
}

impl Finder<'_> {
    fn add(&mut self, key: &'static str, what: String) {
        self.found.push(Fault { section: self.section, key, other: None, what });
    }

    fn relate(&mut self, key: &'static str, other: &'static str, what: String) {
        self.found.push(Fault { section: self.section, key, other: Some(other), what });
    }

    fn count(&mut self, key: &'static str, value: usize, allowed: RangeInclusive<usize>) {
        if !allowed.contains(&value) {
            let (least, most) = allowed.into_inner();
            self.add(key, format!("`{key}` is {value}: write a number from {least} to {most}"));
        }
    }

    fn size(&mut self, key: &'static str, value: usize, allowed: RangeInclusive<usize>) {
        if !allowed.contains(&value) {
            let (value, least, most) = (show_size(value), show_size(*allowed.start()), show_size(*allowed.end()));
            self.add(key, format!("`{key}` is {value}: write a size from {least} to {most}"));
        }
    }
}

fn limits(limits: &Limits, finder: &mut Finder) {
    finder.count("streams", limits.streams, 1..=10_000_000);
    finder.count("sessions", limits.sessions, 1..=10_000_000);
    finder.count("streams_per_session", limits.streams_per_session, 1..=10_000_000);
    finder.count("lingering_per_principal", limits.lingering_per_principal, 1..=10_000_000);
    finder.count("lingering_per_address", limits.lingering_per_address, 1..=10_000_000);
    finder.count("connections", limits.connections, 2..=20_000_000);
    finder.count("connections_per_address", limits.connections_per_address, 0..=20_000_000);
    finder.count("streams_per_address", limits.streams_per_address, 0..=10_000_000);
    finder.count("streams_per_principal", limits.streams_per_principal, 0..=10_000_000);
    finder.count("requests_in_flight", limits.requests_in_flight, 1..=10_000_000);
    finder.count("handshakes", limits.handshakes, 1..=65_536);
    finder.count("tunnels", limits.tunnels, 0..=10_000_000);
    finder.count("follows", limits.follows, 0..=10_000_000);
    finder.size("header_bytes", limits.header_bytes, 1 << 10..=16 << 20);
    finder.size("answer_header_bytes", limits.answer_header_bytes, 1 << 10..=16 << 20);
    finder.count("header_count", limits.header_count, 10..=100_000);
    finder.size("buffer_budget", limits.buffer_budget, 64 << 10..=1 << 40);
    finder.size("log_budget", limits.log_budget, 1 << 10..=1 << 40);
}

fn address(route: &Route, finder: &mut Finder) {
    if route.name.is_empty() {
        finder.add("name", "`name` is empty: give the route a name or leave the key out".to_owned());
    }
    if let Some(host) = &route.host
        && (host.is_empty() || host.contains(['/', '@', ' ']) || has_port(host))
    {
        finder.add("host", format!("`host` is `{host}`: write the name alone, without scheme, port or path"));
    }
    if !route.path.starts_with('/')
        || route.path.contains(['?', '#'])
        || !route.path.bytes().all(|b| b.is_ascii_graphic())
    {
        let path = route.path.escape_debug();
        finder.add(
            "path",
            format!("`path` is `{path}`: write a prefix that begins with `/`, percent-encoded, without a query"),
        );
    }
}

fn has_port(host: &str) -> bool {
    !host.starts_with('[') && host.contains(':') || host.contains("]:")
}

fn bounds(route: &Route, finder: &mut Finder) {
    finder.count("heal_rate", route.heal_rate as usize, 1..=1_000_000);
    finder.count("window", route.window, 1..=65_536);
    finder.count("replay_events", route.replay_events, 1..=1_000_000);
    finder.count("max_id_bytes", route.max_id_bytes, 1..=65_536);
    finder.size("replay_bytes", route.replay_bytes, 1 << 10..=1 << 30);
    if route.max_event_bytes == 0 {
        finder.add("max_event_bytes", "`max_event_bytes` is 0: write a size, such as `512KiB`".to_owned());
    }
}

fn sizes(route: &Route, limits: &Limits, finder: &mut Finder) {
    let half = route.replay_bytes / 2;
    if route.max_event_bytes > half {
        let (event, replay) = (show_size(route.max_event_bytes), show_size(route.replay_bytes));
        let (half, twice) = (show_size(half), show_size(route.max_event_bytes.saturating_mul(2)));
        finder.relate(
            "max_event_bytes",
            "replay_bytes",
            format!(
                "`max_event_bytes` ({event}) is more than half of `replay_bytes` ({replay}): lower it to {half} or raise \
                 `replay_bytes` to {twice}"
            ),
        );
    }
    if route.replay_bytes > limits.log_budget {
        let (replay, budget) = (show_size(route.replay_bytes), show_size(limits.log_budget));
        finder.relate(
            "replay_bytes",
            "log_budget",
            format!("`replay_bytes` ({replay}) is more than `log_budget` ({budget}), which all logs share: lower one or raise the other"),
        );
    }
}

fn spans(route: &Route, finder: &mut Finder) {
    if route.upstream_key.is_some() && route.upstream_cert.is_none() {
        let what = "`upstream_key` is of no use without `upstream_cert`: name the certificate, or take it out";
        finder.add("upstream_key", what.to_owned());
    }
    if route.upstream_cert.is_some() && route.upstream.scheme == Scheme::Http {
        let what = "`upstream_cert` is of no use with an `http://` upstream: write `https://`, or take it out";
        finder.relate("upstream_cert", "upstream", what.to_owned());
    }
    let must_wait = [
        ("connect_timeout", route.connect_timeout),
        ("head_timeout", route.head_timeout),
        ("body_timeout", route.body_timeout),
        ("response_timeout", route.response_timeout),
        ("replay_age", route.replay_age),
        ("stall", route.stall),
    ];
    for (key, _) in must_wait.iter().filter(|(_, span)| span.is_zero()) {
        finder.add(key, format!("`{key}` is 0s, which leaves no time at all: write a longer one"));
    }
    let names = route.principal.iter().chain(std::iter::once(&route.session_header));
    if let Some(name) = names.into_iter().find(|name| !is_header(name.strip_prefix("cookie:").unwrap_or(name))) {
        let key = if *name == route.session_header { "session_header" } else { "principal" };
        let name = name.escape_debug();
        finder.add(key, format!("`{key}` names `{name}`: write a header's name, such as `Authorization`"));
    }
    if let Some(name) = route.share_headers.iter().find(|name| !is_header(name)) {
        let name = name.escape_debug();
        finder.add("share_headers", format!("`share_headers` names `{name}`: write a header's name, such as `Accept`"));
    }
    if let Some(name) = route.last_event_id_param.as_ref().filter(|name| !is_header(name)) {
        let name = name.escape_debug();
        finder.add(
            "last_event_id_param",
            format!("`last_event_id_param` is `{name}`: write a plain name, such as `lastEventId`"),
        );
    }
    if !route.heartbeat.is_zero() && route.heartbeat < MIN_HEARTBEAT {
        let given = route.heartbeat;
        finder.add("heartbeat", format!("`heartbeat` is {given}: write 0s for none, or at least {MIN_HEARTBEAT}"));
    }
}

/// Several upstreams, and how they are used.
fn upstreams(route: &Route, finder: &mut Finder) {
    let (key, set) = ("upstreams", &route.set);
    if set.all.len() > MAX_UPSTREAMS {
        let n = set.all.len();
        finder
            .add(key, format!("{n} upstreams are more than the {MAX_UPSTREAMS} that a route may have: take some out"));
    }
    if set.all.first().is_some_and(|first| first.upstream != route.upstream) {
        finder.add(key, "`upstream` is not the first of `upstreams`: name the same one in both".to_owned());
    }
    for (n, one) in set.all.iter().enumerate().take(MAX_UPSTREAMS) {
        let (upstream, first) = (&one.upstream, &set.all[0].upstream);
        if set.all[..n].iter().any(|other| other.upstream == *upstream) {
            finder.add(key, format!("{upstream} stands here twice: take one out, or give one of them a `weight`"));
        } else if (upstream.scheme, &upstream.base_path) != (first.scheme, &first.base_path) {
            let what =
                format!("{upstream} and {first} differ in their scheme or path: write the same for all of a route");
            finder.add(key, what);
        }
    }
    finder.count("eject_share", set.eject_share as usize, 1..=100);
    if set.eject_for < MIN_EJECT {
        finder.add("eject_for", format!("`eject_for` is {}: write at least {MIN_EJECT}", set.eject_for));
    }
    checks(set, finder);
}

/// How upstreams are checked.
fn checks(set: &UpstreamSet, finder: &mut Finder) {
    let is_target = |path: &str| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if let Some(path) = set.health.as_ref().filter(|path| !is_target(path)) {
        let path = path.escape_debug();
        finder.add("health", format!("`health` is `{path}`: write a path, such as `/health`"));
    }
    for (key, span) in [("health_every", set.health_every), ("health_timeout", set.health_timeout)] {
        if span < MIN_CHECK {
            finder.add(key, format!("`{key}` is {span}: write at least {MIN_CHECK}"));
        }
    }
    finder.count("health_fall", set.health_fall as usize, 1..=100);
    finder.count("health_rise", set.health_rise as usize, 1..=100);
    if let Some(status) = set.health_status.filter(|status| !(200..=599).contains(status)) {
        finder.add("health_status", format!("`health_status` is {status}: write 0, or a status from 200 to 599"));
    }
}

/// Whether a header can have this name. Source: RFC 9110, section 5.6.2.
fn is_header(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(sound)
}

/// Names the later of two routes that claim the same requests, or the same name.
fn repeats(routes: &[Route], found: &mut Vec<Fault>) {
    let mut places = HashMap::new();
    let mut names = HashMap::new();
    for (n, route) in routes.iter().enumerate() {
        let mut finder = Finder { section: Section::Route(n), found };
        let host = route.host.as_ref().map(|host| host.to_ascii_lowercase());
        if let Some(first) = places.insert((host, route.path.as_str()), n) {
            let (name, first) = (&route.name, first + 1);
            finder.add(
                "path",
                format!("route `{name}` takes the same host and path as route {first}: take one of them out"),
            );
        } else if names.insert(route.name.as_str(), n).is_some() {
            let name = &route.name;
            finder.add("name", format!("two routes are called `{name}`: give one of them another `name`"));
        }
    }
}

#[cfg(test)]
mod tests;
