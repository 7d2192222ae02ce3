//! Fetching memory ahead of its use.
//!
//! In: places that will soon be touched. Out: nothing but that these places are on their way to the processor's caches.
//! Law: it changes nothing and waits for nothing. Where ten thousand streams take turns, each finds its memory cold.
//! Loads that do not depend on each other and are started together wait once, instead of one after the other.

use std::hint::black_box;

/// Loads a value and drops it.
#[inline(always)]
pub(crate) fn fetch<T: Copy>(at: Option<&T>) {
    black_box(at.copied());
}
