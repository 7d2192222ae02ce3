//! The one place that reads the machine's clock.
//!
//! In: the operating system's monotonic clock. Out: [`Tick`]s since the clock was made.
//! Law: time does not go backwards, and everything above the sockets gets it passed in.

use crate::base::Tick;
use std::time::Instant;

/// A monotonic clock that starts at [`Tick::ZERO`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time since the start.
    pub fn now(&self) -> Tick {
        Tick::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
