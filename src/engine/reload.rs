//! Another configuration for a running engine.
//!
//! In: configurations, from any thread. Out: what has changed and what takes a restart, or why nothing has changed.
//! Laws: one reload at a time; a configuration is whole or is not taken at all; the asking thread waits, and the
//! reactor does not.

use crate::config::{Config, Fault, Reload};
use crate::journal::Journal;
use crate::reactor::{Command, Prepared, Remote, StartError};
use crate::sync::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long the reactor may take. It needs a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes configurations over into a running engine, from any thread.
#[derive(Clone)]
pub struct Reloader {
    remote: Remote,
    running: Arc<Mutex<Config>>,
    /// It knows which traces are recorded.
    journal: Journal,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloader")
    }
}

/// Why a configuration was not taken over. The one before goes on.
#[derive(Debug)]
pub enum NotReloaded {
    /// It cannot run.
    Faults(Vec<Fault>),
    /// What it names cannot be used.
    Unusable(StartError),
    /// Streams still use too many routes of earlier configurations.
    TooManyRoutes {
        /// How many.
        in_use: usize,
    },
    /// The reactor has ended, or does not answer.
    NoAnswer,
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Faults(faults) => {
                let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
                write!(f, "the configuration cannot run: {}", told.join("; "))
            }
            Self::Unusable(why) => why.fmt(f),
            Self::TooManyRoutes { in_use } => {
                write!(f, "streams still use {in_use} routes of earlier configurations: wait for some to end")
            }
            Self::NoAnswer => f.write_str("the reactor does not answer"),
        }
    }
}

impl std::error::Error for NotReloaded {}

impl Reloader {
    pub(super) fn new(remote: Remote, config: Config, journal: Journal) -> Self {
        Self { remote, running: Arc::new(Mutex::new(config)), journal }
    }

    /// Goes over to another configuration: to what may change while running. Streams keep the routes that they have.
    /// Waits for the reactor.
    ///
    /// # Errors
    /// [`NotReloaded`]. Then everything is as before.
    pub fn reload(&self, new: &Config) -> Result<Reload, NotReloaded> {
        let mut running = self.running.lock();
        let faults = new.faults_in_library();
        if !faults.is_empty() {
            return Err(NotReloaded::Faults(faults));
        }
        let found = running.reload(new);
        let faults = found.config.faults_in_library();
        if !faults.is_empty() {
            // What may change does not fit what takes a restart.
            return Err(NotReloaded::Faults(faults));
        }
        let (prepared, done) = Prepared::new(Arc::new(found.config.clone())).map_err(NotReloaded::Unusable)?;
        if !self.remote.send(Command::Reload(Arc::new(prepared))) {
            return Err(NotReloaded::NoAnswer);
        }
        match done.recv_timeout(PATIENCE) {
            Ok(Ok(())) => {
                running.clone_from(&found.config);
                self.journal.record(running.trace_share(), running.tracing.rate);
                Ok(found)
            }
            Ok(Err(why)) => Err(NotReloaded::TooManyRoutes { in_use: why.in_use }),
            Err(_) => Err(NotReloaded::NoAnswer),
        }
    }

    /// The configuration that runs.
    pub fn running(&self) -> Config {
        self.running.lock().clone()
    }
}
