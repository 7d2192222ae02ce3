//! The bodies of the fuzz targets, behind one door that is shut by default.
//!
//! In: any bytes. Out: nothing, or a panic that says which property does not hold.
//!
//! A fuzzer calls them from `fuzz`, a package of its own; plain `cargo test` calls them from `tests/corpora.rs` with the
//! inputs that were worth keeping. They are compiled with the library so that they change with it, and the feature
//! `fuzzing` opens the door. They speak of the public interface; the three that look inside a layer stand in that
//! layer, since nobody else may: `track::log_ops`, `machine::last_event_id` and `machine::tests::machine_ops`.
//! Laws: a body ends in time that is linear in its input, or nearly so; it reads no clock, no file and no chance.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is how a body says what it found")]

mod chunks;
#[cfg(feature = "file")]
mod config_toml;
#[cfg(feature = "net")]
mod http1_body;
#[cfg(feature = "net")]
mod http1_head;
pub mod sse_reading;
mod sse_roundtrip;
mod sse_split;
pub mod sse_twin;
mod store_record;

pub use sse_roundtrip::sse_roundtrip;
pub use sse_split::sse_split;
pub use store_record::store_record;

#[cfg(feature = "file")]
pub use config_toml::config_toml;
#[cfg(feature = "net")]
pub use http1_body::http1_body;
#[cfg(feature = "net")]
pub use http1_head::http1_head;

pub use crate::track::log_ops::log_ops;

#[cfg(feature = "net")]
pub use crate::machine::last_event_id;
#[cfg(feature = "net")]
pub use crate::testing::machine_ops::machine_ops;

/// One body.
pub type Body = fn(&[u8]);

/// The bodies of this build by the names of their targets, which those of their files in `fuzz/fuzz_targets` and of
/// their folders in `fuzz/corpus` are too.
pub const TARGETS: &[(&str, Body)] = &[
    ("sse_split", sse_split),
    ("sse_roundtrip", sse_roundtrip),
    #[cfg(feature = "net")]
    ("http1_head", http1_head),
    #[cfg(feature = "net")]
    ("http1_body", http1_body),
    #[cfg(feature = "net")]
    ("machine_ops", machine_ops),
    ("store_record", store_record),
    ("log_ops", log_ops),
    #[cfg(feature = "file")]
    ("config_toml", config_toml),
    #[cfg(feature = "net")]
    ("last_event_id", last_event_id),
];
