//! The configuration: plain values with defaults, and the relations between them.
//!
//! In: values set in code, or by a configuration file and flags (`file`, with the feature `file`). Out: a [`Config`]
//! that the machine, the reactor and the engine read and never change.
//! Laws: nothing here opens, resolves or looks at anything outside; a default is sound alone and with all others;
//! [`Config::faults`] finds every fault, not only the first.

mod check;
#[cfg(feature = "file")]
pub mod file;
mod networks;
mod otlp;
mod process;
mod reload;
mod route;
mod routes;
mod store;
mod tracing;
mod units;
mod upstream;
mod upstreams;

pub use check::{Fault, Section};
pub use networks::{Network, NetworkError, Networks};
pub use otlp::{Otlp, OtlpEndpoint, OtlpHeaders};
pub use process::{ClientCert, Config, Limits, LogFormat, Persist, ProxyProtocol};
pub use reload::Reload;
pub use route::{AcceptEncoding, Dedup, Gap, HostSent, Ids, LingerFull, ResumeFrom, Route, Share};
pub use routes::Routes;
pub use store::StoreConfig;
pub use tracing::Tracing;
pub use units::{UnitError, parse_size, parse_span, show_size};
pub use upstream::{Scheme, Upstream, UpstreamError};
pub use upstreams::{Balance, MAX_UPSTREAMS, MAX_WEIGHT, Sticky, UpstreamSet, Weighted, WeightedError};
