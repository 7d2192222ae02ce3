//! The values of the whole process, beside those of its routes.
//!
//! In: nothing. Out: a [`Config`] with its defaults, each field free to be set.
//! Law: each value says what more and less of it costs.

use super::routes::Routes;
use super::store::StoreConfig;
use crate::base::Span;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The whole of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where clients connect; at least one address. Default `127.0.0.1:8080`: a proxy that nobody outside reaches until
    /// somebody says so.
    pub listen: Vec<SocketAddr>,
    /// Where metrics and health are served; nowhere by default. Whoever reaches it sees every route and counter.
    pub admin: Option<SocketAddr>,
    /// Where cursors are kept. Default: memory, so a restart forgets them.
    pub store: StoreConfig,
    /// How often, and how much, is written there.
    pub persist: Persist,
    /// Bounds of the whole process.
    pub limits: Limits,
    /// Which requests go where, and how each is treated.
    pub routes: Routes,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)],
            admin: None,
            store: StoreConfig::Memory,
            persist: Persist::default(),
            limits: Limits::default(),
            routes: Routes::default(),
        }
    }
}

/// What goes to the store, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Persist {
    /// From one write of the newest cursors of all streams that changed to the next. Default 100 ms. Longer writes less;
    /// after a crash at most one window repeats.
    pub flush_window: Span,
    /// The least time between two writes of a session that is active but has no new event. Default 5 s.
    pub activity_window: Span,
    /// Recent events are stored too, so that replay survives a restart. Off by default: every byte is then written.
    pub durable: bool,
    /// A session without a reader is forgotten after this, in memory and in the store. Default 24 h.
    pub session_idle: Span,
}

impl Default for Persist {
    fn default() -> Self {
        Self {
            flush_window: Span::from_millis(100),
            activity_window: Span::from_secs(5),
            durable: false,
            session_idle: Span::from_secs(24 * 3_600),
        }
    }
}

/// Bounds of the whole process. Reaching one is counted and answered, never grown past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Streams at once, lingering ones included. Default 100,000. Each costs up to 5 KB beside its log; one more is
    /// answered 503.
    pub streams: usize,
    /// Sessions that are remembered, those without a stream included. Default 100,000. One more takes the place of the
    /// one that has been idle longest; where all have readers it is answered 503.
    pub sessions: usize,
    /// Streams of one session at once. Default 10,000, since an anonymous session is an address, which many may share.
    /// One more is answered 503.
    pub streams_per_session: usize,
    /// Sockets at once, clients' and upstreams' together. Default 250,000: both sides of every stream, and room for
    /// ordinary requests. The system's limit on open files may be lower and then rules.
    pub connections: usize,
    /// Bytes of one message head, request or response. Default 64 KiB. More serves larger cookies; worst-case memory is
    /// this times the connections whose head is unfinished.
    pub header_bytes: usize,
    /// Bytes of all logs together. Default 256 MiB. More replays further back over many streams; this is nearly all
    /// the memory segno uses under load.
    pub log_budget: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 100_000,
            sessions: 100_000,
            streams_per_session: 10_000,
            connections: 250_000,
            header_bytes: 64 << 10,
            log_budget: 256 << 20,
        }
    }
}
