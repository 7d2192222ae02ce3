//! The persister's threads without threads, for models that run them on threads of their own.

pub use super::persister::End;

use super::config::PersistConfig;
use super::control::PersistControl;
use super::message::{Half, Opener};
use super::persister::{Front, Parts};
use crate::clock::Clock;
use crate::slot::{Ringer, SlotDrain};
use crate::store::SessionStore;
use std::sync::Arc;

/// Both store threads, the writing one first. Each is to be run on a thread of its own.
#[doc(hidden)]
pub fn threads(
    config: PersistConfig,
    drain: SlotDrain,
    open: Opener,
    clock: Clock,
) -> (PersistControl, End, impl FnOnce() + Send, impl FnOnce() + Send) {
    let Parts { control, end, flusher, lookups, .. } = Parts::new(config, drain, open, Arc::default(), clock);
    (control, end, move || flusher.run(), move || lookups.run())
}

/// The number of an opening, with its reading half; or none.
type MaybeOpen = Option<(u64, Box<dyn SessionStore>)>;

/// The look-up thread alone, and what the writing thread has of it: a function that lends it the half of an opening, or
/// takes the half back.
#[doc(hidden)]
pub fn lookups(ringer: Ringer, clock: Clock) -> (PersistControl, impl Fn(MaybeOpen) + Send, impl FnOnce() + Send) {
    let Front { control, lookups, lender, .. } =
        Front::new(ringer, &PersistConfig { log_bytes: 0, ..PersistConfig::new(0, 0) }, Arc::default(), clock);
    let lend = move |half: MaybeOpen| match half {
        Some((opening, sessions)) => lender.lend(Half { opening, sessions, logs: None }),
        None => lender.take_back(),
    };
    (control, lend, move || lookups.run())
}
