//! How many steps a piece of work takes: tests count them, so that what shall not grow with a crowd is seen not to.
//!
//! In: a call for each value that is looked at. Out: in tests the count, elsewhere nothing.
//! Law: outside of tests this is no code at all.

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One value is looked at.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(test)]
    TAKEN.set(TAKEN.get() + 1);
}

/// Steps that this thread has taken so far.
#[cfg(all(test, feature = "net"))]
pub(crate) fn steps() -> u64 {
    TAKEN.get()
}
