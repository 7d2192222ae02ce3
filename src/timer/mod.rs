//! What happens later: many deadlines at once, retries in their order, and how far apart attempts are.
//!
//! A [`Wheel`] holds the timers of connections, streams and slots; a [`RetryHeap`] holds the retries of a store; a
//! [`Backoff`] says how far apart attempts are.
//! Laws: nothing here reads a clock or draws a random number, both are passed in; both containers are bounded; a
//! deadline at [`Tick::NEVER`](crate::base::Tick::NEVER) does not come.

mod backoff;
mod list;
mod retry;
mod wheel;

pub use backoff::Backoff;
pub use retry::{Full, RetryHeap};
pub use wheel::{Entry, TimerKey, Wheel};
