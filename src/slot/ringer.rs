//! Wakes the persister from any thread: for those who leave it messages elsewhere than in a slot.
//!
//! In: rings and calls. Out: the end of the drain's wait, or of its nap as well.
//! Law: neither call waits, and none is lost: one that comes while the drain is awake ends its next sleep.

use super::table::Slots;
use std::sync::Arc;

/// Rings the bell of a drain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ringer(Arc<Slots>);

impl Ringer {
    pub(super) fn new(slots: Arc<Slots>) -> Self {
        Self(slots)
    }

    /// Ends the drain's wait, the present one or the next, but no nap. Never waits.
    pub fn ring(&self) {
        self.0.bell.ring();
    }

    /// Ends the drain's wait or nap, the present one or the next. Never waits.
    pub fn call(&self) {
        self.0.bell.call();
    }
}
