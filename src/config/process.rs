//! The values of the whole process, beside those of its routes.
//!
//! In: nothing. Out: a [`Config`] with its defaults, each field free to be set.
//! Law: each value says what more and less of it costs.

use super::networks::Networks;
use super::otlp::Otlp;
use super::routes::Routes;
use super::store::StoreConfig;
use super::tracing::Tracing;
use crate::base::{Span, TraceShare};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The whole configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where clients connect: at least one address. Default `127.0.0.1:8080`, which lets in nobody from outside.
    pub listen: Vec<SocketAddr>,
    /// Where clients connect without TLS, beside the addresses of `listen`, which speak TLS once there is a `tls_cert`.
    /// Default none. What is sent there can be read by everyone on the way.
    pub listen_plain: Vec<SocketAddr>,
    /// Files of certificates (PEM), each with the certificates that lead from it to its authority. Default none: the
    /// addresses of `listen` speak plain HTTP. With one, they speak TLS. A client gets the certificate that names the
    /// host which it asks for, else the first.
    pub tls_cert: Vec<PathBuf>,
    /// Files of the keys (PEM) of `tls_cert`, in the same order. Default none: each key is in its certificate's file.
    pub tls_key: Vec<PathBuf>,
    /// A file of certificates (PEM) of the authorities that vouch for clients. Default none: clients are not asked for a
    /// certificate. With one, who a certificate names is a part of who asks, and sessions of TLS are not resumed.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is served. Default [`ClientCert::Required`].
    pub client_cert: ClientCert,
    /// The address for metrics, health and sessions. Default none. Everyone who reaches it sees all counters and
    /// cursors, unless there is a token.
    pub admin: Option<SocketAddr>,
    /// Names by which the admin address may be called, beside `localhost` and addresses. Default none. Each name lets
    /// in pages of browsers that come from that name.
    pub admin_hosts: Vec<String>,
    /// A file with a token that requests to the admin address must send, but for `/health`. Default none. With one,
    /// everything that reads metrics has to know it.
    pub admin_token_file: Option<PathBuf>,
    /// Proxies in front of segno, whose word on the client (`X-Forwarded-*`, `Forwarded`) is believed. Default none.
    /// From every other peer these headers are replaced. An address that is trusted wrongly can name any client.
    pub trusted_proxies: Networks,
    /// Whether connections begin with a header of the PROXY protocol, version 1 or 2, before TLS. Default
    /// [`ProxyProtocol::Off`]. Needs `trusted_proxies`: an address that is trusted wrongly can name any client.
    pub proxy_protocol: ProxyProtocol,
    /// How long a client or an upstream may be unreachable before its connection counts as broken: it acknowledges
    /// nothing of what it was sent, or no probe. Default 60 s; zero leaves this to the system, which takes from a
    /// quarter of an hour to for ever. Longer rides out longer breaks of the network without a cut. Shorter finds
    /// sooner that a peer has vanished. A client has at least `body_timeout`.
    pub peer_timeout: Span,
    /// Over what time clients are sent elsewhere when segno drains, so that they do not come all at once. Default 5 s;
    /// at most half of `drain_timeout` is used. Longer spares whoever takes the clients over. Shorter ends sooner, which
    /// counts where nobody takes them over before this process has ended.
    pub drain_spread: Span,
    /// How long the store may be away before `/readyz` says that clients should go elsewhere. Default 30 s. Longer rides
    /// out longer outages of the store. Shorter repeats fewer events after a crash, and sends clients away for a short
    /// outage, though streams flow without a store.
    pub ready_without_store: Span,
    /// A path for a socket over which this process hands its listeners and its store to a successor. Default none. Only
    /// processes of the same user are served. It must lie where no other user can write.
    pub handover: Option<PathBuf>,
    /// How long a drain may take until the process ends: what nobody else can go on with has this time to end by
    /// itself. Default 10 s. Longer loses fewer answers that are under way. Shorter restarts sooner.
    pub drain_timeout: Span,
    /// Whether each request is told of in the log once it is over. Default false. With true, a busy proxy writes a line
    /// for each request, and what stands in paths is in the log.
    pub access_log: bool,
    /// How log lines are written. Default: text for people. JSON is for programs.
    pub log_format: LogFormat,
    /// Which traces are recorded. Default: none.
    pub tracing: Tracing,
    /// Where they are sent. Default: nowhere.
    pub otlp: Otlp,
    /// Whether the file is looked at every second, and taken over when it has changed. Default false: a signal or a
    /// request does it. With true, whoever can write the file changes what runs.
    pub watch: bool,
    /// Where cursors are kept. Default: in memory, so a restart forgets them.
    pub store: StoreConfig,
    /// Whether to start also with a store that cannot be the one that was meant: its path is wrong, or something else
    /// is there. Default false. With true, streams flow whatever is wrong with the store, and a mistyped path shows
    /// only in the log and the metrics.
    pub store_optional: bool,
    /// What goes to the store, and when.
    pub persist: Persist,
    /// Bounds of the whole process.
    pub limits: Limits,
    /// Which requests go where, and how each is treated.
    pub routes: Routes,
}

impl Config {
    /// The share of traces that is recorded: where they are sent somewhere, all of them unless it is said otherwise.
    /// `None`: none is, and what clients say of theirs goes upstream as it came.
    pub fn trace_share(&self) -> Option<TraceShare> {
        self.tracing.sample.or(self.otlp.endpoint.as_ref().map(|_| TraceShare::ALL))
    }
}

/// Whether a client must have a certificate, where there is a `client_ca`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientCert {
    /// Yes: without one, there is no connection.
    #[default]
    Required,
    /// No. One that it sends must be good all the same.
    Optional,
}

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProxyProtocol {
    /// No.
    #[default]
    Off,
    /// All do. Whoever is not among `trusted_proxies` is cut.
    Require,
    /// Those of `trusted_proxies` do, and no others. What comes first is never a guess.
    Accept,
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)],
            listen_plain: Vec::new(),
            tls_cert: Vec::new(),
            tls_key: Vec::new(),
            client_ca: None,
            client_cert: ClientCert::Required,
            admin: None,
            admin_hosts: Vec::new(),
            admin_token_file: None,
            trusted_proxies: Networks::default(),
            proxy_protocol: ProxyProtocol::Off,
            peer_timeout: Span::from_secs(60),
            drain_spread: Span::from_secs(5),
            ready_without_store: Span::from_secs(30),
            handover: None,
            drain_timeout: Span::from_secs(10),
            access_log: false,
            log_format: LogFormat::Text,
            tracing: Tracing::default(),
            otlp: Otlp::default(),
            watch: false,
            store: StoreConfig::Memory,
            store_optional: false,
            persist: Persist::default(),
            limits: Limits::default(),
            routes: Routes::default(),
        }
    }
}

/// What goes to the store, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Persist {
    /// Time between two writes of all cursors that changed. Default 100 ms. Longer writes less. After a crash, up to
    /// one window of events may repeat.
    pub flush_window: Span,
    /// Least time between two writes for a session that is read but has no new event. Default 5 s. Longer writes less.
    /// Shorter keeps the stored last-seen time closer to the truth.
    pub activity_window: Span,
    /// Whether recent events are stored as well as cursors, so that replay survives a restart. Default false. With
    /// true, every byte of every event stream is also written to the store.
    pub durable: bool,
    /// Whether instances that have one store share what they store of recent events, so that a client goes on at any of
    /// them. Default false. Implies `durable`, and needs a store that several processes reach. With true, each instance reads
    /// from the store, a flush window late, the streams whose upstream another one has.
    pub replay_shared: bool,
    /// A session that nobody reads is forgotten after this time, in memory and in the store. Default 24 h. Longer lets
    /// clients come back later. Shorter keeps the store small.
    pub session_idle: Span,
}

impl Persist {
    /// Whether recent events are stored: to survive a restart, or to be shared.
    pub fn keeps_events(&self) -> bool {
        self.durable || self.replay_shared
    }
}

impl Default for Persist {
    fn default() -> Self {
        Self {
            flush_window: Span::from_millis(100),
            activity_window: Span::from_secs(5),
            durable: false,
            replay_shared: false,
            session_idle: Span::from_secs(24 * 3_600),
        }
    }
}

/// Bounds of the whole process. A bound that is reached is counted and answered; nothing grows past it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests being served at once, streams that linger included. Default 100,000. Each stream costs up to 5 KB
    /// beside its log. One more takes the place of a stream that nobody reads. If all have readers, it is answered
    /// 503.
    pub streams: usize,
    /// Sessions that are remembered, those without a stream included. Default 100,000. One more takes the place of the
    /// session that has been idle longest, whose streams and stored records go. If all of them have readers, it is
    /// answered 503.
    pub sessions: usize,
    /// Streams of one session at once. Default 10,000. One more takes the place of one that nobody reads. If all have
    /// readers, it is answered 503 before the upstream is asked. A client without credentials counts by its address,
    /// which many people may share, so a low number can hit them.
    pub streams_per_session: usize,
    /// Streams that nobody reads, of one principal, at once. Default 10,000. One more takes the place of the one that
    /// was left first. More lets a large deployment behind one key come back as a whole. Fewer bounds what one client
    /// can make the upstreams work for nobody.
    pub lingering_per_principal: usize,
    /// The same for one address of clients: an IPv4 address, or an IPv6 network of 64 bits. Default 10,000. Behind a
    /// proxy that is not trusted (`trusted_proxies`), all clients have its address.
    pub lingering_per_address: usize,
    /// Sockets at once, clients' and upstreams' together. Default 250,000: both sides of every stream, and room for
    /// ordinary requests. If the system's limit on open files is lower, that limit rules.
    pub connections: usize,
    /// Connections of one address of clients at once: an IPv4 address, or an IPv6 network of 64 bits. Default 0: no
    /// bound but `connections`. One more is answered 429; where it has not shaken hands (TLS), it is cut. Proxies that
    /// `trusted_proxies` names are not counted. An address may be a whole office, or all clients of a proxy that is not
    /// named there: a low number hits them all. A high one lets one machine take more.
    pub connections_per_address: usize,
    /// Requests for event streams of one address of clients at once, behind `trusted_proxies` of the address that they
    /// name. Default 0: no bound but `streams`. One more waits for `hold_head` if it is a GET, and is then answered 429,
    /// on which a browser gives up. A client whose network has changed counts twice until `peer_timeout`, so the bound
    /// should be at least twice what is meant.
    pub streams_per_address: usize,
    /// The same for one principal. Default 0. A principal may be one person or a whole deployment behind one key; and
    /// who invents credentials is another principal each time, which only `streams_per_address` bounds.
    pub streams_per_principal: usize,
    /// Requests at once that are neither event streams nor tunnels (yet). Default 100,000: no bound but `streams`. One
    /// more is answered 503. Fewer spare upstreams that answer slowly; more lets a burst wait instead.
    pub requests_in_flight: usize,
    /// TLS connections of clients that are being opened at once. Default 4,096. One more takes the place of the one that
    /// has been at it for longest. Each may take `head_timeout`. More lets more slow clients in at once; each takes
    /// about 10 KB.
    pub handshakes: usize,
    /// Tunnels at once: connections that have gone over to another protocol, such as WebSocket. Default 10,000. One
    /// more is answered 503 before the upstream is asked. Each takes two sockets and up to 256 KiB of `buffer_budget`.
    /// 0 offers no other protocol to the upstream.
    pub tunnels: usize,
    /// Streams of other instances that are followed through the store at once (`replay_shared`). Default 10,000. A
    /// client of one more gets what the store holds and is cut, so that it comes back for the rest. More takes more of
    /// the store's time.
    pub follows: usize,
    /// Bytes of the head of a request. Default 64 KiB. A longer one is answered 431, or 414 if its first line alone is
    /// longer. More allows larger cookies. A stream keeps the head of its request, so under many large ones more takes
    /// more memory.
    pub header_bytes: usize,
    /// Bytes of the head of an answer. Default 512 KiB, which is more than the usual clients take. A longer one is
    /// answered 502. More lets through what few clients read.
    pub answer_header_bytes: usize,
    /// Header lines of one message head, request or answer. Default 2,000. A request above it is answered 431, an answer
    /// becomes a 502. More lets servers set more cookies, and costs time for each such head.
    pub header_count: usize,
    /// Bytes that connections hold beside the logs, together: unfinished heads, bodies on their way, bodies that are
    /// held back. Default 64 MiB. Above three quarters of it, bodies are read in small parts as their receivers take
    /// them. Where it is used up, the request that has been coming in for longest is answered 503. More keeps many
    /// slow clients at full speed.
    pub buffer_budget: usize,
    /// Bytes of all logs together. Default 256 MiB. More replays further back over many streams. Under load this is
    /// nearly all the memory that segno uses.
    pub log_budget: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 100_000,
            sessions: 100_000,
            streams_per_session: 10_000,
            lingering_per_principal: 10_000,
            lingering_per_address: 10_000,
            connections: 250_000,
            connections_per_address: 0,
            streams_per_address: 0,
            streams_per_principal: 0,
            requests_in_flight: 100_000,
            handshakes: 4_096,
            tunnels: 10_000,
            follows: 10_000,
            header_bytes: 64 << 10,
            answer_header_bytes: 512 << 10,
            header_count: 2_000,
            buffer_budget: 64 << 20,
            log_budget: 256 << 20,
        }
    }
}
