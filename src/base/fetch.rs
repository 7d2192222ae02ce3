//! Asking memory ahead of time.
//!
//! In: places that will soon be touched. Out: nothing, but that they are on their way to the processor.
//! Law: it changes nothing and waits for nothing. Where ten thousand streams take turns, each finds its memory cold:
//! loads that do not need each other's values, made together, wait once instead of one after the other.

use std::hint::black_box;

/// Loads a value that nobody uses.
#[inline(always)]
pub(crate) fn fetch<T: Copy>(at: Option<&T>) {
    black_box(at.copied());
}
