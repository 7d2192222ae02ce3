//! What a stream has received and delivered, and the bytes in between.
//!
//! In: the bytes of upstream's bodies, cut anywhere; how far readers have read. Out: the bytes to forward, with
//! duplicates of a healed body taken out and gaps stated; marks to resume from.
//!
//! ```text
//! bytes -> scanner -> ledger: live?         -> log -> slices for readers
//!                             catching up?  -> judged against the past -> log, or dropped
//! ```
//!
//! There is one [`Tracker`] for each stream. What streams share, one [`Interner`] and one [`Budget`] per reactor
//! thread, is lent to each call in a [`TrackContext`]. Nothing here reads a clock, waits, or knows a socket.
//! Source: laws 1, 3, 4, 5, 8 and 9 of `docs/ARCHITECTURE.md`.

mod bom;
mod budget;
mod catch_up;
mod digest;
mod fed;
mod front;
mod gap;
mod interner;
mod known;
mod ledger;
mod limits;
mod log;
#[cfg(feature = "fuzzing")]
pub(crate) mod log_ops;
mod logged;
mod marks;
mod own;
mod past;
mod ring;
#[cfg(test)]
mod tests;
mod tracker;
mod window;

pub use budget::Budget;
pub use fed::Fed;
pub use gap::{GapReason, write_gap};
pub use interner::{Interner, Symbol};
pub use limits::{Dedup, TrackContext, TrackLimits};
pub use marks::Mark;
pub use own::{OWN_MARK, OWN_PREFIX, own_prefix};
pub use tracker::{CutKind, Tracker};
pub use window::Window;
