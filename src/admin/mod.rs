//! The admin address of a running engine: dashboard, metrics, health, stored cursors.
//!
//! In: `GET /`, `/events`, `/metrics`, `/health`, `/sessions` on an address of its own. Out: the dashboard and its event
//! stream, the metrics page (Prometheus' text format), a status, cursors as JSON lines.
//! Laws: nothing here touches the reactor: metrics come from shared counters, cursors from the look-up thread. Many
//! requests are served at once, each of bounded size and for a bounded time, and an idle client delays nobody. What
//! tells of sessions or of traffic is for those alone who name this address as its owner does, and have its token where
//! there is one; `/health` is for everyone.

mod access;
mod answer;
mod conn;
mod dashboard;
mod facts;
mod list;
mod live;
mod page;
mod serve;

pub use access::{Access, TokenError};
pub use facts::Facts;
#[cfg(feature = "cli")]
pub(crate) use list::write_json;
pub use page::metrics_page;
pub use serve::{Admin, Source};
