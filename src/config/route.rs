//! One route: which requests it takes, where they go, and every setting of how they are treated.
//!
//! In: an [`Upstream`]. Out: a [`Route`] with the defaults, each field free to be set.
//! Law: the docs of a setting give its unit and its default, and say what more and less of it costs.

use std::path::PathBuf;

use super::upstream::{Scheme, Upstream};
use super::upstreams::UpstreamSet;
use crate::base::Span;

/// Requests of one host and path prefix, and what is done with them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// What log lines and problems call this route. Two routes cannot have the same name. The name is part of who a
    /// session is, so a new name begins new sessions.
    pub name: String,
    /// The host that this route answers to, without a port. `None`: every host.
    pub host: Option<String>,
    /// The path prefix that this route answers to: `/`, or `/a/b` without a slash at its end. It matches whole
    /// segments: `/a` takes `/a` and `/a/b`, not `/ab`. Paths are compared byte by byte; nothing is decoded.
    pub path: String,
    /// Where requests go: to this upstream, which is the first where there are several.
    pub upstream: Upstream,
    /// The upstreams where there are several, and how they are used. Default: only `upstream`.
    pub set: UpstreamSet,
    /// Which `Host` the upstream is sent. Default [`HostSent::Auto`]. The client's own keeps redirects and links right.
    /// The upstream's is what a service behind TLS and a name of its own wants.
    pub upstream_host: HostSent,
    /// A file of certificates (PEM) to trust for this upstream instead of the system's. Default: the system's.
    pub upstream_ca: Option<PathBuf>,
    /// A file with the certificate (PEM) that this upstream is shown where it asks for one, and those that lead from it
    /// to its authority. Default none.
    pub upstream_cert: Option<PathBuf>,
    /// A file with the key (PEM) of `upstream_cert`. Default none: it is in the certificate's file.
    pub upstream_key: Option<PathBuf>,
    /// How long segno asks again for a stream that was cut, from its first attempt on, before it passes the cut on.
    /// Default 60 s. Longer rides out
    /// longer outages. Shorter tells clients sooner. Zero heals nothing.
    pub heal_for: Span,
    /// How long segno holds back the head of an answer while the upstream is away. Default 3 s. Longer keeps a status
    /// and a `Segno-Gap` header possible. Shorter lets the client see its stream open sooner.
    pub hold_head: Span,
    /// Attempts to heal per second to one upstream, all its streams together, a second's worth of them at once. Default
    /// 500. Of several routes with one upstream, the lowest rate rules. More heals a large outage faster. Fewer spares
    /// an upstream that has just come back.
    pub heal_rate: u32,
    /// Silence after which segno sends a client a comment. Default 15 s; zero sends none. Shorter finds dead clients
    /// sooner and keeps impatient middleboxes open. Longer saves packets.
    pub heartbeat: Span,
    /// How long segno keeps reading from the upstream after the last client left. Default 30 s. Longer lets clients
    /// come back to an unbroken stream; with a paid upstream, what it says in that time is paid for. Zero stops at
    /// once.
    pub linger: Span,
    /// The same for streams that a POST began, except in MCP up to 2025-11-25, where a disconnect is not a cancel.
    /// Default 10 s; nothing lingers where `linger` is zero. It also bounds how long a finished answer can be fetched
    /// by a client that lost it. Longer serves clients that were away longer; upstream may be paid for longer.
    pub linger_post: Span,
    /// Bytes that segno takes from the upstream while nobody reads the stream; then it drops the stream. Default 16
    /// MiB. More serves clients that were away longer. Less bounds what a stream without clients costs.
    pub linger_bytes: usize,
    /// What happens when the log is full and nobody reads. Default [`LingerFull::Pause`].
    pub linger_full: LingerFull,
    /// Whether a client that leaves cancels its request upstream at once, as if `linger` were zero. Default false. True
    /// saves the upstream's work; then the stream cannot be resumed.
    pub cancel_on_disconnect: bool,
    /// Whether a POST that its client tries again reads the answer to its first try. Default false. A try is known by
    /// `Idempotency-Key` or `X-Stainless-Retry-Count`, and its body is held back until it is whole. True saves a second
    /// answer of a paid upstream; what a client gives up before its answer begins goes on for `linger_post`, too.
    pub idempotent: bool,
    /// Whether segno adds ids of its own to events without ids. Default [`Ids::Auto`].
    pub ids: Ids,
    /// Whether upstream is asked for what it can compress. Default [`AcceptEncoding::Identity`]: `Accept-Encoding` is
    /// taken off what may be answered by an event stream, since a compressed one can be neither healed nor resumed.
    pub accept_encoding: AcceptEncoding,
    /// How a client learns that events which it asks for are gone. Default [`Gap::Event`].
    pub gap: Gap,
    /// Whether one upstream request serves several clients with the same target. Default [`Share::Off`]. Sharing saves
    /// upstream connections.
    pub share: Share,
    /// The request headers that go upstream where all clients of a target share one request ([`Share::Public`]).
    /// Default `Accept`, `Accept-Language`, `Cache-Control` and `Origin`. The others, credentials among them, and the
    /// client's address stay here, since upstream's answer is for everybody. A name more lets upstream answer
    /// differently by that header; if it says so in `Vary`, clients with other values get a request of their own.
    pub share_headers: Vec<String>,
    /// Where a client with a session header and without `Last-Event-ID` begins. Default [`ResumeFrom::Id`].
    pub resume_from: ResumeFrom,
    /// Headers that alone say who asks; `cookie:NAME` is a single cookie. Default none: every header that goes upstream
    /// counts, outside a list of those that say nothing of the person, and so does the address where an id can be
    /// guessed. Names let clients be found again whose other headers change. A request that has none of the names is
    /// treated as by default. What is not named here can no longer tell two people apart.
    pub principal: Vec<String>,
    /// How old upstream's last answer for a stream may be when a client comes back to it. Default none: a log is read
    /// by the principal that made it for as long as it lasts. With it, upstream is asked first with the client's own
    /// request, and lets the client go on by an event stream; every other answer goes to the client. That finds a
    /// revoked token, and costs a request upstream. For streams that a GET began: a POST's is then not replayed after
    /// this time unless upstream answers a GET there, too. After a restart nothing is replayed from the store.
    pub reauthorize: Option<Span>,
    /// The header in which clients name their session. Default `Mcp-Session-Id`.
    pub session_header: String,
    /// A query parameter that stands for `Last-Event-ID`, for clients that cannot set headers. Default none. segno
    /// takes it off the request.
    pub last_event_id_param: Option<String>,
    /// A reader that takes nothing for this long no longer holds back the delivered mark. Default 30 s. Such a reader
    /// stays connected until `body_timeout`.
    pub stall: Span,
    /// Silence of the upstream that counts as a cut. Default none, since a quiet stream may be sound, and
    /// `peer_timeout` finds connections that died unseen. Set it above the upstream's own ping interval to find an
    /// upstream that lives and has stopped working.
    pub upstream_idle: Option<Span>,
    /// How long a connection to the upstream may take, TLS included; its addresses share this time. Default 5 s. Longer
    /// suits distant upstreams. Shorter finds sooner that one is away.
    pub connect_timeout: Span,
    /// How long a client may take over the head of its request. Default 10 s. Longer suits slow links. Shorter bounds
    /// what slow clients can occupy.
    pub head_timeout: Span,
    /// How long a client may be silent within the body of its request. A client that takes nothing of its answer for
    /// this long is cut. Default 60 s. Longer tolerates slower clients. Shorter frees sockets and logs sooner.
    pub body_timeout: Span,
    /// How long segno keeps an idle connection of a client. Default 75 s. Longer saves handshakes. Shorter saves
    /// sockets.
    pub keep_alive: Span,
    /// How long the upstream may take over the head of an ordinary answer. Default 300 s; then the client gets 504. A
    /// request that accepts event streams waits without a limit.
    /// Longer suits slow upstreams. Shorter tells clients sooner.
    pub response_timeout: Span,
    /// Recent event ids kept per stream to know duplicates by. Default 48. Each costs 4 bytes and its share of the
    /// text. Fewer finds fewer duplicates when an upstream replays generously.
    pub window: usize,
    /// Recent events kept per stream for replay once clients have acknowledged them. Default 256. What is on its way to
    /// a client is kept however many events it is. The first of the bounds `replay_events`, `replay_bytes` and
    /// `replay_age` that is reached rules.
    pub replay_events: usize,
    /// Bytes of recent events kept per stream. Default 1 MiB. More replays further back and tolerates slower readers.
    /// The worst case in memory is this size times the streams, up to `log_budget`; where events have only a few bytes,
    /// up to twice as much again for the notes on them.
    pub replay_bytes: usize,
    /// Age of the oldest event kept. Default 5 min. Longer serves clients that were away longer.
    pub replay_age: Span,
    /// The largest event that is held whole, in bytes. Default 512 KiB; at most half of `replay_bytes`. A larger event
    /// passes through as it comes, and a cut inside it cannot be healed.
    pub max_event_bytes: usize,
    /// The longest event id that is tracked, in bytes. Default 1,024. A longer one is forwarded, but its stream cannot
    /// be resumed.
    pub max_id_bytes: usize,
    /// When a repeated event is dropped. Default [`Dedup::Resume`].
    pub dedup: Dedup,
}

impl Route {
    /// The `Host` that the upstream is sent for a client that asked for this one.
    pub fn host_sent<'a>(&'a self, client: Option<&'a str>) -> &'a str {
        client.filter(|_| !self.sends_own_host()).unwrap_or(&self.upstream.authority)
    }

    /// Whether the upstream is sent the `Host` that its URL names.
    pub fn sends_own_host(&self) -> bool {
        match self.upstream_host {
            HostSent::Auto => self.upstream.scheme == Scheme::Https,
            HostSent::Client => false,
            HostSent::Upstream => true,
        }
    }

    /// How many upstreams it has.
    pub fn upstreams(&self) -> usize {
        self.set.all.len().max(1)
    }

    /// Its upstreams with their weights.
    pub fn each_upstream(&self) -> impl Iterator<Item = (&Upstream, u32)> {
        let alone = self.set.all.is_empty().then_some((&self.upstream, 1));
        alone.into_iter().chain(self.set.all.iter().map(|one| (&one.upstream, one.weight)))
    }

    /// The same requests with these upstreams, if there are any.
    #[must_use]
    pub fn with_upstreams(mut self, all: Vec<super::upstreams::Weighted>) -> Self {
        if let Some(first) = all.first() {
            self.upstream = first.upstream.clone();
        }
        self.set.all = all;
        self
    }

    /// The route to one upstream of several: the same settings, and no other upstream.
    #[cfg(feature = "net")]
    pub(crate) fn to_one(&self, upstream: &Upstream) -> Self {
        let set = UpstreamSet { all: Vec::new(), ..self.set.clone() };
        Self { upstream: upstream.clone(), set, ..self.clone() }
    }

    /// Every request to `upstream`, treated by default.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            name: "/".to_owned(),
            host: None,
            path: "/".to_owned(),
            upstream,
            set: UpstreamSet::default(),
            upstream_host: HostSent::Auto,
            upstream_ca: None,
            upstream_cert: None,
            upstream_key: None,
            heal_for: Span::from_secs(60),
            hold_head: Span::from_secs(3),
            heal_rate: 500,
            heartbeat: Span::from_secs(15),
            linger: Span::from_secs(30),
            linger_post: Span::from_secs(10),
            linger_bytes: 16 << 20,
            linger_full: LingerFull::Pause,
            cancel_on_disconnect: false,
            idempotent: false,
            ids: Ids::Auto,
            accept_encoding: AcceptEncoding::Identity,
            gap: Gap::Event,
            share: Share::Off,
            share_headers: SHARED.iter().map(|&name| name.to_owned()).collect(),
            resume_from: ResumeFrom::Id,
            principal: Vec::new(),
            reauthorize: None,
            session_header: "Mcp-Session-Id".to_owned(),
            last_event_id_param: None,
            stall: Span::from_secs(30),
            upstream_idle: None,
            connect_timeout: Span::from_secs(5),
            head_timeout: Span::from_secs(10),
            body_timeout: Span::from_secs(60),
            keep_alive: Span::from_secs(75),
            response_timeout: Span::from_secs(300),
            window: 48,
            replay_events: 256,
            replay_bytes: 1 << 20,
            replay_age: Span::from_secs(300),
            max_event_bytes: 512 << 10,
            max_id_bytes: 1024,
            dedup: Dedup::Resume,
        }
    }
}

/// The request headers that go upstream for everybody by default.
const SHARED: [&str; 4] = ["Accept", "Accept-Language", "Cache-Control", "Origin"];

/// Which `Host` the upstream is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HostSent {
    /// The client's towards `http://`, the upstream's towards `https://`.
    #[default]
    Auto,
    /// The client's.
    Client,
    /// The upstream's, as its URL names it.
    Upstream,
}

/// What happens when the log is full of undelivered events and nobody reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LingerFull {
    /// segno stops reading until a client comes back. Nothing is lost, and the upstream has to wait.
    #[default]
    Pause,
    /// The oldest events are dropped, for live feeds. A client that comes back is told of the gap.
    Evict,
}

/// Whether segno adds ids of its own to events without ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ids {
    /// Yes, where the first event of a stream has no id, until the upstream sends one.
    #[default]
    Auto,
    /// No: such streams cannot be resumed.
    Off,
}

/// What becomes of a request's `Accept-Encoding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AcceptEncoding {
    /// It is taken off requests that name `text/event-stream` in `Accept`, and off every POST. Their answers come
    /// uncompressed.
    #[default]
    Identity,
    /// It goes upstream as it came. An event stream that upstream compresses passes through untracked.
    Pass,
}

/// How a client learns that events which it asks for are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gap {
    /// By a header and an event at the start of the stream; MCP clients by 400, as their protocol says.
    #[default]
    Event,
    /// By 410 instead of a stream (MCP clients by 400).
    Status,
}

/// Whether one upstream request serves several clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Share {
    /// Each client has its own.
    #[default]
    Off,
    /// Clients with the same credentials and the same target share one.
    Principal,
    /// All clients of a target share one, whatever their credentials: for feeds that everyone may read.
    Public,
}

/// Where a client with a session header and without `Last-Event-ID` begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResumeFrom {
    /// Where the upstream begins.
    #[default]
    Id,
    /// After the delivered mark of its session's most recently active stream, also after a restart.
    Session,
}

/// When segno drops an event that a stream has already carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dedup {
    /// Only while the stream catches up after a heal. A legal stream may repeat an id, so this is the safe choice.
    #[default]
    Resume,
    /// Always: for an upstream that repeats itself and whose ids are unique.
    Always,
    /// Never: whatever upstream sends is forwarded.
    Off,
}
