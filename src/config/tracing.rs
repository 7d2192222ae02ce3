//! Traces: which of them are recorded.
//!
//! In: nothing. Out: [`Tracing`] with its defaults, each field free to be set.

use crate::base::TraceShare;

/// Traces. They are recorded where [`Tracing::sample`] is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracing {
    /// The share of requests whose trace is recorded, where their client does not decide. Default: none,
    /// and `traceparent` goes upstream as it came. More shows more of what happens; each recorded request takes about
    /// 1 KB while it lasts.
    pub sample: Option<TraceShare>,
    /// Whether a client's `traceparent` decides if its trace is recorded. Default true. With false, the share decides
    /// for every request, so that nobody outside can have traces recorded, and traces that began elsewhere have holes.
    pub follow: bool,
    /// Traces that are begun in a second, at most. Default 100. One more is not recorded, and counted. More lets more
    /// be recorded, and lets clients that ask for it make more work.
    pub rate: u32,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { sample: None, follow: true, rate: 100 }
    }
}
