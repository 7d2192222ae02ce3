//! The one place that reads the machine's clock.
//!
//! In: the operating system's monotonic clock, and its calendar. Out: [`Tick`]s since the clock was made.
//! Law: time does not go backwards, and everything above the sockets takes it as an argument.

use crate::base::Tick;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock that starts at [`Tick::ZERO`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hands: Hands,
    /// The calendar's time at the start, in milliseconds since the Unix epoch.
    unix_ms: u64,
}

/// Where the time since the start comes from.
#[derive(Clone, Copy, Debug)]
enum Hands {
    Since(Instant),
    Stopped(Tick),
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { hands: Hands::Since(Instant::now()), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// A clock that stands still, for models: every run of a model must see the same times.
    #[doc(hidden)]
    pub fn stopped(at: Tick) -> Self {
        Self { hands: Hands::Stopped(at), unix_ms: 0 }
    }

    /// A time by the calendar, in milliseconds since the Unix epoch. The calendar is read once, so these times do not
    /// go backwards either.
    pub fn unix_ms(&self, at: Tick) -> u64 {
        self.unix_ms.saturating_add(at.micros() / 1_000)
    }

    /// What the calendar says now, in seconds since the Unix epoch. It may go backwards, as calendars do.
    pub fn calendar_secs(&self) -> u64 {
        match self.hands {
            Hands::Since(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            Hands::Stopped(_) => 0,
        }
    }

    /// What the calendar says of `at`, by what it says now, in microseconds since the Unix epoch. It may go backwards from
    /// call to call, as calendars do.
    pub fn calendar_micros(&self, at: Tick) -> u64 {
        let ago = self.now().micros().saturating_sub(at.micros());
        let now = match self.hands {
            Hands::Since(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros(),
            Hands::Stopped(_) => 0,
        };
        u64::try_from(now).unwrap_or(u64::MAX).saturating_sub(ago)
    }

    /// The time since the start.
    pub fn now(&self) -> Tick {
        match self.hands {
            Hands::Since(start) => Tick::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Hands::Stopped(at) => at,
        }
    }
}
