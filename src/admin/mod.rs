//! The admin address of a running engine: metrics, health, stored cursors.
//!
//! In: `GET /metrics`, `/health`, `/sessions` on an address of its own. Out: the metrics page (Prometheus' text
//! format), a status, cursors as JSON lines.
//! Laws: nothing here touches the reactor: metrics come from shared counters, cursors from the look-up thread. Requests
//! are answered one at a time, each of bounded size. A slow client is cut: after a second with its request or with a
//! page of the answer, and after a minute in all. Everyone who reaches the address can read all of it, so it belongs on
//! the loopback or a private network.

mod page;
mod serve;

pub use page::metrics_page;
#[cfg(feature = "cli")]
pub(crate) use serve::write_json;
pub use serve::{Admin, Source};
