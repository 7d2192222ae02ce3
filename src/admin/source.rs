//! Where the pages come from, and where orders go.
//!
//! In: an engine. Out: its numbers and handles, for a thread of the admin address.
//! Law: nothing of this waits for the reactor.

use super::access::Access;
use super::facts::Facts;
use super::reload::Reloads;
use crate::base::Span;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::persist::PersistControl;
use crate::reactor::Remote;
use crate::slot::SlotsView;
use std::sync::Arc;

const STORE_AWAY: Span = Span::from_secs(30);

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
    /// What the dashboard says of the configuration.
    pub facts: Facts,
    /// Who may read and order what.
    pub(super) access: Access,
    /// How long the store may be away before `/readyz` sends clients elsewhere. Default 30 s. Longer rides out longer
    /// outages of the store. Shorter risks fewer repeated events after a crash.
    pub store_away: Span,
    /// How long unfinished answers may go on after `POST /drain`. Default: `drain_timeout`.
    pub drain_for: Span,
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
            facts: Facts::of(engine.config()),
            access: Access::default(),
            store_away: STORE_AWAY,
            drain_for: engine.config().drain_timeout,
        }
    }
}
