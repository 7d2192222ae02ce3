//! Where the pages come from, and where orders go.
//!
//! In: an engine. Out: its numbers and handles, for a thread of the admin address.
//! Law: nothing of this waits for the reactor.

use super::access::Access;
use super::reload::Reloads;
use crate::clock::Clock;
use crate::engine::{Engine, Running};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::persist::PersistControl;
use crate::reactor::Remote;
use crate::slot::SlotsView;
use std::sync::Arc;

/// Where the pages come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The engine's counters.
    pub metrics: Arc<Metrics>,
    /// The engine's store.
    pub store: PersistControl,
    /// The engine's clock.
    pub clock: Clock,
    /// The cursors of the streams that live.
    pub streams: SlotsView,
    /// Takes the order to drain.
    pub remote: Remote,
    /// Who reloads the configuration, if somebody does.
    pub reloads: Option<Reloads>,
    /// Where troubles are told.
    pub journal: Journal,
    /// The configuration that runs.
    pub running: Running,
    /// Who may read and order what.
    pub(super) access: Access,
}

impl Source {
    /// The pages of this engine.
    pub fn of(engine: &Engine) -> Self {
        let metrics = Arc::clone(engine.metrics());
        Self {
            metrics,
            store: engine.store(),
            clock: engine.clock(),
            streams: engine.streams(),
            remote: engine.remote(),
            reloads: None,
            journal: engine.journal(),
            running: engine.running(),
            access: Access::default(),
        }
    }
}
