//! The bell: one thread sleeps at it, any thread wakes it.
//!
//! In: rings and calls. Out: a wait that ends with the next ring, or at once where one came since the last wait; a
//! nap that only a call ends early.
//! Laws: no ring is lost, also when it comes as the sleeper falls asleep; one ring ends at most one wait, so an idle
//! drain sleeps and does not spin. A ring during a nap costs no system call: a busy drain naps, so that a thousand
//! publications a second do not wake it a thousand times.
//!
//! # Orderings
//! The state is one word of four bits, changed by read-modify-write only. So when a ring and a falling asleep meet, the
//! later of the two sees the other. The thread that takes a ring sees what was done before the ring.

use crate::sync::{Bits, Edge, Ends, Latest, Shared, Sleeper, park};
use std::time::Duration;

/// Rung since the ring was last taken.
const RUNG: u32 = 1;
/// The drain sleeps, or is about to.
const ASLEEP: u32 = 2;
/// The drain naps, or is about to.
const NAPS: u32 = 4;
/// Called since the ring was last taken.
const CALLED: u32 = 8;

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// The bell was rung.
    Rung,
    /// It was not rung: the time is up, or the sleep ended early for no reason. Look at the clock.
    Quiet,
}

/// The bell of one sleeper.
#[derive(Debug)]
pub struct Bell {
    state: Bits,
    sleeper: Latest<Sleeper>,
}

impl Default for Bell {
    fn default() -> Self {
        Self { state: Bits::new(0), sleeper: Latest::default() }
    }
}

impl Bell {
    /// Wakes the sleeper from its present wait, or else from its next one. Never waits; makes a system call only when
    /// somebody sleeps and this is the first ring.
    ///
    /// Releases what was done before; acquires who sleeps.
    pub fn ring(&self) {
        if self.state.raise(RUNG, Ends::both(Edge::Rung, Edge::Asleep)) == ASLEEP {
            self.sleeper.with(|sleeper| sleeper.map(Sleeper::wake));
        }
    }

    /// Wakes the sleeper from its present wait or nap, or else from its next one of either kind. Never waits.
    ///
    /// Releases what was done before; acquires who sleeps.
    pub fn call(&self) {
        if self.state.raise(RUNG | CALLED, Ends::both(Edge::Rung, Edge::Asleep)) & (ASLEEP | NAPS) != 0 {
            self.sleeper.with(|sleeper| sleeper.map(Sleeper::wake));
        }
    }

    /// Sleeps for `limit`, or until called; rings do not end it. Rings that come meanwhile are used up: look for what
    /// they announced, as after a wait. One thread at a time.
    pub fn nap(&self, limit: Option<Duration>) {
        self.name_sleeper();
        while self.state.raise(NAPS, Ends::both(Edge::Asleep, Edge::Rung)) & CALLED == 0 {
            park(limit);
            if limit.is_some() {
                break;
            }
        }
        self.take();
    }

    /// Waits for a ring, at most for `limit`. One thread at a time.
    pub fn wait(&self, limit: Option<Duration>) -> Woken {
        self.name_sleeper();
        loop {
            if self.fall_asleep() && self.take() {
                return Woken::Rung;
            }
            park(limit);
            if self.take() {
                return Woken::Rung;
            }
            if limit.is_some() {
                return Woken::Quiet;
            }
        }
    }

    /// Says which thread to wake, where it is another one than before.
    fn name_sleeper(&self) {
        let me = Sleeper::current();
        if !self.sleeper.with(|sleeper| sleeper == Some(&me)) {
            self.sleeper.put(Some(Shared::new(me)));
        }
    }

    /// Asks to be woken. True when the bell was rung already. Releases who sleeps.
    fn fall_asleep(&self) -> bool {
        self.state.raise(ASLEEP, Ends::release(Edge::Asleep)) & RUNG != 0
    }

    /// Stops sleeping and takes the ring; true when there was one. Acquires what was done before the ring.
    fn take(&self) -> bool {
        self.state.swap(0, Ends::acquire(Edge::Rung)) & RUNG != 0
    }
}
