//! The names by which the parts of the machine point at each other: keys, seats, timers.
//!
//! In: nothing. Out: keys that say nothing of their values, so that a file can pass a key on without knowing its type.
//! Law: a key opens nothing once its value has gone, also when the place has been given to another value.

use crate::base::{Key, Tick};
use crate::timer::{TimerKey, Wheel};

/// Marks the keys of connections.
#[derive(Debug)]
pub enum ConnMark {}

/// Marks the keys of exchanges.
#[derive(Debug)]
pub enum ExchangeMark {}

/// Marks the keys of sessions.
#[derive(Debug)]
pub(super) enum SessionMark {}

/// Names a connection, a client's or one to upstream.
pub type ConnKey = Key<ConnMark>;

/// Names an exchange: a request, its answer, and the clients that read it.
pub type ExchangeKey = Key<ExchangeMark>;

/// Names a session.
pub(super) type SessionKey = Key<SessionMark>;

/// Names a reader among the readers of one exchange.
pub(super) type Seat = u32;

/// What a client holds of what its address or its principal may have, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stake(pub(super) u32);

impl Stake {
    /// Nothing is counted.
    pub const NONE: Self = Self(u32::MAX);

    /// Whether something is counted.
    pub(super) fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    /// A connection may have reached its deadline.
    Conn(ConnKey),
    /// An exchange may have reached one of its deadlines.
    Exchange(ExchangeKey),
    /// The next turn in the queue of an upstream may have come.
    Queue(usize),
    /// An upstream that is left out may be used again.
    Upstream(usize),
    /// A session may have been idle for too long.
    Sessions,
    /// Readers may have acknowledged what their sockets took.
    Marks,
    /// The next stream of a drain may end.
    Drain,
}

/// A timer that moves to a later time only when it fires, so that a deadline which moves away costs nothing.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Option<TimerKey<Timer>>,
    /// When the timer fires; [`Tick::NEVER`] while there is none.
    at: Tick,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { timer: None, at: Tick::NEVER }
    }
}

impl Alarm {
    /// Makes sure that the timer fires at `at` or before.
    pub(super) fn set(&mut self, wheel: &mut Wheel<Timer>, at: Tick, timer: Timer) {
        if at >= self.at {
            return;
        }
        self.cancel(wheel);
        self.at = at;
        // The wheel has a place for each connection, each exchange and each queue.
        self.timer = wheel.add(at, timer).ok();
    }

    /// The timer has fired.
    pub(super) fn fired(&mut self) {
        *self = Self::default();
    }

    pub(super) fn cancel(&mut self, wheel: &mut Wheel<Timer>) {
        if let Some(old) = self.timer.take() {
            wheel.cancel(old);
        }
        self.at = Tick::NEVER;
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn is_set(&self) -> bool {
        self.timer.is_some()
    }
}
