//! Wires the halves: the reactor on its thread, the persister on its two, and the handles to them.
//!
//! In: a configuration and a store. Out: a running [`Engine`], its addresses, metrics, trackers and cursors; an orderly
//! end.
//! Laws: nothing is accepted before [`Builder::start`] returns without an error; all threads are started there and none
//! later; [`Engine::shutdown`] returns within its deadline and a little, also when the store hangs; whether a start
//! fails or an engine is dropped, its threads end and the store is free for the next one.
//!
//! `builder` makes an engine of its parts; `link` and `lookup` connect the reactor to the store; `running` is the
//! engine itself; `exports` is its way to a collector of traces; `reload` takes another configuration over; `obstacles` says what would keep it from starting; `inline` has trackers for callers with sockets of their own.

mod builder;
#[cfg(feature = "otel")]
mod exports;
mod inline;
mod link;
mod lookup;
mod obstacles;
mod reload;
mod running;

pub use builder::{Builder, opener};
pub use inline::{InlineTracker, NotRestored, TrackerError};
#[cfg(test)]
pub(crate) use lookup::stored;
pub use obstacles::{obstacles, remarks};
pub use reload::{NotReloaded, Reloader, Running};
pub use running::{Engine, ReactorFailed, StoreRelease};
