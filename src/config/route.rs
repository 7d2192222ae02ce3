//! One route: which requests it takes, where they go, and every knob of how they are treated.
//!
//! In: an [`Upstream`]. Out: a [`Route`] with the design's defaults, each field free to be set.
//! Law: a knob says what more and less of it costs.

use std::path::PathBuf;

use super::upstream::Upstream;
use crate::base::Span;

/// Requests of one host and path prefix, and what is done with them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// What logs and metrics call it. Unlike any other route's.
    pub name: String,
    /// The host it answers to, without a port; every host when `None`.
    pub host: Option<String>,
    /// The path prefix it answers to: `/`, or `/a/b` without a slash at its end. Whole segments only: `/a` takes `/a` and
    /// `/a/b`, not `/ab`. Compared byte by byte, nothing is decoded.
    pub path: String,
    /// Where its requests go.
    pub upstream: Upstream,
    /// Certificates (PEM) to trust for this upstream instead of the system's.
    pub upstream_ca: Option<PathBuf>,
    /// How long a cut stream is asked for again before the cut is passed on. Default 60 s. Longer rides out longer
    /// outages; shorter tells clients sooner. Zero heals nothing.
    pub heal_for: Span,
    /// How long the head of an answer is held back while upstream cannot be reached. Default 3 s. Longer keeps a status
    /// and a gap header possible; shorter lets clients see the stream open sooner.
    pub hold_head: Span,
    /// Attempts to heal per second and upstream, all streams together. Default 500. More heals a large fall faster; less
    /// spares an upstream that has just come back.
    pub heal_rate: u32,
    /// A comment is sent downstream after this much silence. Default 15 s; zero sends none. Shorter finds dead clients
    /// and keeps impatient middleboxes open; longer saves packets.
    pub heartbeat: Span,
    /// How long upstream is kept reading after the last subscriber left. Default 30 s. Longer lets clients come back to
    /// an unbroken stream; with a paid upstream, what it says meanwhile is paid for. Zero lets it go at once.
    pub linger: Span,
    /// The same for streams that a POST began, unless it is MCP up to 2025-11-25, where a disconnect is not a cancel.
    /// Default 10 s; never longer than `linger`.
    pub linger_post: Span,
    /// Bytes of a stream that are taken from upstream while nobody reads; then it is let go. Default 16 MiB.
    pub linger_bytes: usize,
    /// What happens when the log is full and nobody reads. Default [`LingerFull::Pause`].
    pub linger_full: LingerFull,
    /// A client that leaves cancels its request upstream at once, as if `linger` were zero. Default off.
    pub cancel_on_disconnect: bool,
    /// Whether events without ids get some of segno's own. Default [`Ids::Auto`].
    pub ids: Ids,
    /// How a client that asks for events that are gone is told. Default [`Gap::Event`].
    pub gap: Gap,
    /// One upstream request serves all clients that ask for the same target with the same credentials. Default
    /// [`Share::Off`].
    pub share: Share,
    /// Where a client with a session header and without `Last-Event-ID` begins. Default [`ResumeFrom::Id`].
    pub resume_from: ResumeFrom,
    /// Headers that are credentials: who sends others may not read a stream's log. `cookie:NAME` is a single cookie.
    /// Where a request has none of them its cookies count, and where it has no cookies its address.
    pub principal: Vec<String>,
    /// The header in which clients name their session. Default `Mcp-Session-Id`.
    pub session_header: String,
    /// A query parameter that stands for `Last-Event-ID`, for clients that cannot set headers. None by default. It is
    /// taken off the request.
    pub last_event_id_param: Option<String>,
    /// How long a subscriber may take nothing before the delivered mark no longer waits for it. Default 30 s.
    pub stall: Span,
    /// Silence of upstream that counts as a cut. Off by default, since a quiet stream may be sound. Set it above the
    /// upstream's own ping interval to find connections that died unseen.
    pub upstream_idle: Option<Span>,
    /// How long a connection to upstream may take, TLS included. Default 5 s.
    pub connect_timeout: Span,
    /// How long a client may take over its request's head. Default 10 s. Shorter bounds what slow heads can hold.
    pub head_timeout: Span,
    /// How long a client may be silent within its request's body. Default 60 s.
    pub body_timeout: Span,
    /// How long an idle connection of a client is kept. Default 75 s. Longer saves handshakes; shorter saves sockets.
    pub keep_alive: Span,
    /// How long upstream may take over the head of its answer to an ordinary request. Default 300 s,
    /// then 504.
    pub response_timeout: Span,
    /// Recent event ids kept per stream to know a repeat by. Default 48. Each costs 4 bytes and its share of the text;
    /// fewer finds fewer repeats when an upstream replays generously.
    pub window: usize,
    /// Recent events kept per stream for replay. Default 256. This, `replay_bytes` and `replay_age` bound the log
    /// together: the first that is reached rules.
    pub replay_events: usize,
    /// Bytes of recent events kept per stream. Default 1 MiB. More replays further back and bears slower readers;
    /// worst-case memory is this times the streams, up to the budget of all logs.
    pub replay_bytes: usize,
    /// Age of the oldest event kept. Default 5 min. Longer serves clients that were away longer.
    pub replay_age: Span,
    /// The largest event that is held whole. Default 512 KiB; at most half of `replay_bytes`. A larger one is passed
    /// through as it comes: a cut inside it cannot be healed.
    pub max_event_bytes: usize,
    /// The longest event id that is tracked. Default 1,024. A longer one is forwarded and its stream cannot be resumed.
    pub max_id_bytes: usize,
    /// When a repeated event is dropped. Default [`Dedup::Resume`].
    pub dedup: Dedup,
}

impl Route {
    /// Every request to `upstream`, treated by default.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            name: "/".to_owned(),
            host: None,
            path: "/".to_owned(),
            upstream,
            upstream_ca: None,
            heal_for: Span::from_secs(60),
            hold_head: Span::from_secs(3),
            heal_rate: 500,
            heartbeat: Span::from_secs(15),
            linger: Span::from_secs(30),
            linger_post: Span::from_secs(10),
            linger_bytes: 16 << 20,
            linger_full: LingerFull::Pause,
            cancel_on_disconnect: false,
            ids: Ids::Auto,
            gap: Gap::Event,
            share: Share::Off,
            resume_from: ResumeFrom::Id,
            principal: CREDENTIALS.iter().map(|&name| name.to_owned()).collect(),
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

/// The headers that are credentials by default.
const CREDENTIALS: [&str; 6] =
    ["Authorization", "Proxy-Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Mcp-Session-Id"];

/// What happens when the log is full of undelivered events and nobody reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LingerFull {
    /// Upstream is not read until somebody comes back: nothing is lost.
    #[default]
    Pause,
    /// The oldest events leave, for live feeds; whoever comes back is told of the gap.
    Evict,
}

/// Whether events without ids get some of segno's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ids {
    /// Where the first event of a stream has no id, until upstream sends one.
    #[default]
    Auto,
    /// Never: such streams cannot be resumed.
    Off,
}

/// How a client that asks for events that are gone is told.
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
    /// All clients of a target share one, whoever they are: for public feeds.
    Public,
}

/// Where a client with a session header and without `Last-Event-ID` begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResumeFrom {
    /// Where upstream begins.
    #[default]
    Id,
    /// Behind the stored delivered mark of its session's most recently active stream.
    Session,
}

/// When an event that a stream has already carried is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dedup {
    /// Only while catching up after a reconnect. A legal stream may repeat an id, so this is the safe choice.
    #[default]
    Resume,
    /// Always: for an upstream that repeats itself and whose ids are unique.
    Always,
    /// Never: whatever upstream sends is forwarded.
    Off,
}
