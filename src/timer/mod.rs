//! What happens later: many deadlines at once, attempts put off, and how long to put them off.
//!
//! A [`Wheel`] holds the timers of connections, streams and slots; a [`RetryHeap`] holds the retries of a store; a
//! [`Backoff`] says how far apart attempts are.
//! Laws: no clock and no chance in here, ticks and random numbers are passed in; both containers are bounded; a
//! deadline at [`Tick::NEVER`](crate::base::Tick::NEVER) does not come.

mod backoff;
mod list;
mod retry;
mod wheel;

pub use backoff::Backoff;
pub use retry::{Full, RetryHeap};
pub use wheel::{Entry, TimerKey, Wheel};
