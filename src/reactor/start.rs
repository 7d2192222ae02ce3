//! What a reactor needs to start, and why it may fail to.
//!
//! In: the parts that the engine made. Out: values that [`super::Reactor::new`] takes and returns.
//! Law: an error names what is missing and, where there is something to do, what to do.

use super::store::StoreLink;
#[cfg(feature = "tls")]
use super::tls::{TlsError, tls_faults};
use crate::base::Span;
use crate::clock::Clock;
use crate::config::{Config, Fault, Section};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::slot::SlotWriter;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a reactor needs beside its configuration.
#[derive(Debug)]
pub struct Parts {
    /// Seeds jitter and the hash keys of tables.
    pub seed: u64,
    /// The key under which principals and sessions are hashed.
    pub secret: u128,
    /// The clock that all threads of the engine share.
    pub clock: Clock,
    /// Where cursors are published.
    pub slots: SlotWriter,
    /// Look-ups in the store, and events for it.
    pub store: StoreLink,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// Sockets that listen already, for the addresses that they are bound to.
    pub listeners: Vec<std::net::TcpListener>,
    /// Where log lines go.
    pub journal: Journal,
    /// The certificates for connections that come, which the reactor's start reads.
    #[cfg(feature = "tls")]
    pub keyring: super::tls::Keyring,
}

/// Why a reactor cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration cannot run.
    Config {
        /// Everything that is wrong with it, and what to do about it.
        faults: Vec<Fault>,
    },
    /// The reactor cannot listen on an address.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        why: io::Error,
    },
    /// The system refuses a poll, a thread or a descriptor.
    System(io::Error),
    /// The store is not where its name says, or is no store.
    Store {
        /// What is wrong, and what to do.
        why: String,
    },
    /// TLS cannot be set up.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// A route's upstream is `https://`, or listeners have a certificate, and this build has no TLS.
    NoTls {
        /// What needs it.
        what: String,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config { faults } => {
                f.write_str("the configuration cannot run")?;
                for (n, fault) in faults.iter().enumerate() {
                    let before = if n == 0 { ": " } else { "; " };
                    match fault.section {
                        Section::Route(route) => write!(f, "{before}route {}: {fault}", route + 1)?,
                        Section::Top | Section::Limits => write!(f, "{before}{fault}")?,
                    }
                }
                Ok(())
            }
            Self::Listen { address, why } => {
                write!(f, "cannot listen on {address}: {why}; choose another address with `--listen`")
            }
            Self::System(why) => write!(f, "the system gives no resources to start with: {why}"),
            Self::Store { why } => write!(f, "the store cannot be used: {why}"),
            #[cfg(feature = "tls")]
            Self::Tls(why) => why.fmt(f),
            Self::NoTls { what } => {
                write!(f, "{what} needs TLS, which this build leaves out; build with the feature `tls`")
            }
        }
    }
}

impl std::error::Error for StartError {}

/// Without TLS in this build, no upstream can be `https://`, and no listener either.
#[cfg(not(feature = "tls"))]
pub(super) fn refuse_tls(config: &Config) -> Result<(), StartError> {
    if config.speaks_tls() {
        return Err(StartError::NoTls { what: "`tls_cert`".to_owned() });
    }
    match config.routes.iter().find(|route| route.upstream.scheme == crate::config::Scheme::Https) {
        Some(route) => Err(StartError::NoTls { what: route.upstream.to_string() }),
        None => Ok(()),
    }
}

/// What is in the way of TLS: certificates that cannot be used, or no TLS in this build.
pub fn file_faults(config: &Config) -> Vec<Fault> {
    #[cfg(feature = "tls")]
    return tls_faults(config);
    #[cfg(not(feature = "tls"))]
    {
        let is_tls = |route: &crate::config::Route| route.upstream.scheme == crate::config::Scheme::Https;
        let routes = config.routes.iter().enumerate().filter(|(_, route)| is_tls(route));
        let fault = |(n, route): (usize, &crate::config::Route)| {
            let what = StartError::NoTls { what: route.upstream.to_string() }.to_string();
            Fault { section: Section::Route(n), key: "upstream", other: None, what }
        };
        let listens = config.speaks_tls().then(|| {
            let what = StartError::NoTls { what: "`tls_cert`".to_owned() }.to_string();
            Fault { section: Section::Top, key: "tls_cert", other: None, what }
        });
        listens.into_iter().chain(routes.map(fault)).collect()
    }
}

/// How long a client may take over what comes before its first request is read.
pub(super) fn head_patience(config: &Config) -> Span {
    config.routes.iter().map(|route| route.head_timeout).max().unwrap_or_default()
}
