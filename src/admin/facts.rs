//! What the dashboard says of the configuration.
//!
//! In: a configuration. Out: upstreams and budgets, as plain values.
//! Law: nothing that is secret or that names a client.

use crate::config::{Config, Limits};

/// What the dashboard says of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    /// Host and port of each upstream.
    pub(super) upstreams: Vec<String>,
    /// Bytes that all logs may take.
    pub(super) log_budget: u64,
    /// Bytes that all buffers may take.
    pub(super) buffer_budget: u64,
}

impl Facts {
    /// Those of a configuration.
    pub(super) fn of(config: &Config) -> Self {
        let mut upstreams: Vec<_> =
            config.routes.each_upstream().map(|(_, _, upstream)| upstream.authority.clone()).collect();
        upstreams.sort();
        upstreams.dedup();
        let Limits { log_budget, buffer_budget, .. } = config.limits;
        Self { upstreams, log_budget: log_budget as u64, buffer_budget: buffer_budget as u64 }
    }
}
