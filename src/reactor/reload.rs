//! Another configuration for a running reactor.
//!
//! In: a configuration. Out: [`Prepared`], which holds all that has to be read for it, so that the reactor's thread
//! only puts it in its place.
//! Laws: files are read on the thread that asks, never on the reactor's; what cannot be prepared changes nothing.

use super::start::StartError;
#[cfg(feature = "tls")]
use super::tls;
use crate::config::Config;
use crate::machine::TooManyRoutes;
use crate::metrics::Metrics;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fmt;
use std::sync::Arc;

/// A configuration that a reactor can go over to at once.
pub struct Prepared {
    pub(super) config: Arc<Config>,
    /// By upstream, in the order of the routes: the number of its route in the metrics.
    pub(super) labels: Vec<Option<usize>>,
    #[cfg(feature = "tls")]
    pub(super) credentials: Arc<tls::Credentials>,
    done: Sender<Result<(), TooManyRoutes>>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("routes", &self.config.routes.len()).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Reads the certificates that the configuration names, and has its routes counted in `metrics`. What comes of it
    /// arrives at the receiver.
    ///
    /// # Errors
    /// [`StartError`], when TLS cannot be set up.
    pub fn new(
        config: Arc<Config>,
        metrics: &Metrics,
    ) -> Result<(Self, Receiver<Result<(), TooManyRoutes>>), StartError> {
        let (done, wait) = bounded(1);
        #[cfg(feature = "tls")]
        let credentials = Arc::new(tls::Credentials::load(&config).map_err(StartError::Tls)?);
        #[cfg(not(feature = "tls"))]
        super::start::refuse_tls(&config)?;
        let names: Vec<Option<usize>> = config.routes.iter().map(|route| metrics.route_added(&route.name)).collect();
        let labels = config.routes.each_upstream().map(|(route, _, _)| names.get(route).copied().flatten()).collect();
        let prepared = Self {
            config,
            labels,
            #[cfg(feature = "tls")]
            credentials,
            done,
        };
        Ok((prepared, wait))
    }

    /// Says what has come of it. Whoever asked may have gone.
    pub(crate) fn tell(&self, what: Result<(), TooManyRoutes>) {
        let _ = self.done.try_send(what);
    }
}
