//! The admin address of a running engine: dashboard, metrics, health, streams, stored cursors, and the order to drain.
//!
//! In: `GET /`, `/events`, `/metrics`, `/healthz`, `/readyz`, `/streams`, `/sessions`, `POST /reload` and `POST /drain` on
//! an address of its own. Out: the dashboard and its event stream, the metrics page (OpenMetrics, or Prometheus' older format), a
//! status with its reasons, cursors as JSON.
//! Laws: nothing here but an order touches the reactor: metrics come from shared counters, live cursors from the slots,
//! stored ones from the look-up thread. Many
//! requests are served at once, each of bounded size and for a bounded time, and an idle client delays nobody. What
//! tells of sessions or of traffic is for those alone who name this address as its owner does, and have its token where
//! there is one; health is for everyone.

mod access;
mod answer;
mod conn;
mod dashboard;
mod facts;
mod health;
mod json;
mod list;
mod live;
mod page;
mod paging;
mod process;
mod reload;
mod respond;
mod serve;
mod source;

pub use access::{Access, TokenError};
#[cfg(feature = "cli")]
pub(crate) use json::write_json;
pub use page::{PageFormat, metrics_page};
pub use reload::{Answerer, Reloaded, Reloads};
pub use serve::Admin;
pub use source::Source;
