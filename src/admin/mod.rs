//! What a running engine tells people and scrapers: metrics, health, stored cursors.
//!
//! In: `GET /metrics`, `/health`, `/sessions` on an address of its own. Out: the metrics page (Prometheus' text format),
//! a status, cursors as JSON lines.
//! Laws: nothing here touches the reactor: metrics are read from shared counters and cursors from the look-up thread;
//! requests are answered one at a time, each of bounded size, and a client that is slow is given up: after a second with
//! a request or a page of the answer, and after a minute in all.
//! Whoever reaches the address reads all of it: it is for the loopback or a private network.

mod page;
mod serve;

pub use page::metrics_page;
#[cfg(feature = "cli")]
pub(crate) use serve::write_json;
pub use serve::{Admin, Source};
