//! Another configuration for a running engine.
//!
//! In: configurations, from any thread. Out: what has changed and what takes a restart, or why nothing has changed.
//! Laws: one reload at a time; a configuration is whole or is not taken at all; the asking thread waits, and the
//! reactor does not; what the reactor has not answered in time is neither taken over nor refused until it has.

use crate::config::{Config, Fault, Reload};
use crate::journal::Journal;
use crate::machine::TooManyRoutes;
use crate::metrics::Metrics;
use crate::reactor::{Command, Prepared, Remote, StartError};
use crate::sync::{Latest, Mutex};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long the reactor may take. It needs a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The configuration that runs, for any thread. Looking waits for nobody, also while a reload is under way.
#[derive(Clone, Debug)]
pub struct Running(Arc<Latest<Config>>);

impl Running {
    pub(super) fn new(config: Arc<Config>) -> Self {
        let running = Self(Arc::default());
        running.0.put(Some(config));
        running
    }

    /// Looks at it.
    pub fn with<R>(&self, look: impl FnOnce(&Config) -> R) -> R {
        self.0.with(|now| match now {
            Some(config) => look(config),
            // There is one from the start.
            None => look(&Config::default()),
        })
    }
}

/// Takes configurations over into a running engine, from any thread.
#[derive(Clone)]
pub struct Reloader {
    remote: Remote,
    metrics: Arc<Metrics>,
    running: Running,
    /// Held by who reloads, with what the reactor has not answered in time.
    late: Arc<Mutex<Option<Late>>>,
    patience: Duration,
    /// It knows which traces are recorded.
    journal: Journal,
}

/// A configuration that the reactor has and that it has not answered for.
struct Late {
    found: Reload,
    done: Receiver<Result<(), TooManyRoutes>>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloader")
    }
}

/// Why a configuration was not taken over. The one before goes on, unless it is [`NotReloaded::Late`].
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
    /// The reactor has ended, or too many commands wait for it.
    NoReactor,
    /// The reactor has not answered for the configuration before this one, so it was not given this one.
    Busy,
    /// The reactor has not answered in time. It takes the configuration over when it turns again, unless
    /// [`Reloader::settled`] says otherwise then.
    Late,
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
            Self::NoReactor => f.write_str("the reactor has ended"),
            Self::Busy => {
                f.write_str("the reactor has not answered for the configuration before this one: try again later")
            }
            Self::Late => f.write_str("the reactor has not answered yet, and takes it over when it turns again"),
        }
    }
}

impl std::error::Error for NotReloaded {}

impl Reloader {
    pub(super) fn new(remote: Remote, metrics: Arc<Metrics>, running: Running, journal: Journal) -> Self {
        Self { remote, metrics, running, late: Arc::default(), patience: PATIENCE, journal }
    }

    /// Goes over to another configuration: to what may change while running. Streams keep the routes that they have.
    /// Waits for the reactor.
    ///
    /// # Errors
    /// [`NotReloaded`]. Then everything is as before, unless it is [`NotReloaded::Late`].
    pub fn reload(&self, new: &Config) -> Result<Reload, NotReloaded> {
        let mut late = self.late.lock();
        if let Some(before) = late.take() {
            match before.done.recv_timeout(self.patience) {
                Err(RecvTimeoutError::Timeout) => {
                    *late = Some(before);
                    return Err(NotReloaded::Busy);
                }
                answer => drop(self.settle(before.found, answer)),
            }
        }
        let faults = new.faults_in_library();
        if !faults.is_empty() {
            return Err(NotReloaded::Faults(faults));
        }
        let found = self.running.with(|running| running.reload(new));
        let faults = found.config.faults_in_library();
        if !faults.is_empty() {
            // What may change does not fit what takes a restart.
            return Err(NotReloaded::Faults(faults));
        }
        let prepared = Prepared::new(Arc::new(found.config.clone()), &self.metrics);
        let (prepared, done) = prepared.map_err(NotReloaded::Unusable)?;
        if !self.remote.send(Command::Reload(Arc::new(prepared))) {
            return Err(NotReloaded::NoReactor);
        }
        match done.recv_timeout(self.patience) {
            Err(RecvTimeoutError::Timeout) => {
                *late = Some(Late { found, done });
                Err(NotReloaded::Late)
            }
            answer => self.settle(found, answer),
        }
    }

    /// What has come of the configuration that was late, once. `None`: there is none, or it is still late.
    pub fn settled(&self) -> Option<Result<Reload, NotReloaded>> {
        let mut late = self.late.lock();
        let answer = match late.as_ref()?.done.try_recv() {
            Ok(answer) => Ok(answer),
            Err(e) if e.is_disconnected() => Err(RecvTimeoutError::Disconnected),
            Err(_) => return None,
        };
        Some(self.settle(late.take()?.found, answer))
    }

    /// The reactor has answered, or will not any more.
    fn settle(
        &self,
        found: Reload,
        answer: Result<Result<(), TooManyRoutes>, RecvTimeoutError>,
    ) -> Result<Reload, NotReloaded> {
        match answer {
            Ok(Ok(())) => {
                self.running.0.put(Some(Arc::new(found.config.clone())));
                self.journal.record(found.config.trace_share(), found.config.tracing.rate);
                Ok(found)
            }
            Ok(Err(why)) => Err(NotReloaded::TooManyRoutes { in_use: why.in_use }),
            Err(_) => Err(NotReloaded::NoReactor),
        }
    }

    /// The configuration that runs.
    pub fn running(&self) -> Config {
        self.running.with(Config::clone)
    }
}

#[cfg(test)]
mod tests;
