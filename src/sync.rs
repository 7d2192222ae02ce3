//! The only file that names atomics. Everything shared between threads is built from what stands here, so that a
//! model checker can take its place.
//!
//! # Orderings
//! Counters are added to and read with `Relaxed`: each is a number of its own, and no other memory is published
//! through it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only counts up, or is set; shared without a lock.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`: one relaxed addition.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the number, where one thread alone does so.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number as it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
