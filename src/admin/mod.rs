//! The admin address of a running engine: metrics, health, stored cursors.
//!
//! In: `GET /metrics`, `/health`, `/sessions` on an address of its own. Out: the metrics page (Prometheus' text
//! format), a status, cursors as JSON lines.
//! Laws: nothing here touches the reactor: metrics come from shared counters, cursors from the look-up thread. Many
//! requests are served at once, each of bounded size and for a bounded time, and an idle client delays nobody. What
//! tells of sessions or of traffic is for those alone who name this address as its owner does, and have its token where
//! there is one; `/health` is for everyone.

mod access;
mod answer;
mod conn;
mod list;
mod page;
mod serve;

pub use access::{Access, TokenError};
#[cfg(feature = "cli")]
pub(crate) use list::write_json;
pub use page::metrics_page;
pub use serve::{Admin, Source};
