//! The bodies of the fuzz targets. The feature `fuzzing` compiles them; it is off by default.
//!
//! In: any bytes. Out: nothing, or a panic that says which property does not hold.
//!
//! The separate package `fuzz` calls the bodies with a fuzzer's inputs; `cargo test` calls them from `tests/corpora.rs`
//! with the inputs that were kept. They are part of the library so that they change with it. They use the public
//! interface, with three exceptions that look inside a layer and so belong to it: `track::log_ops`,
//! `machine::last_event_id` and `testing::machine_ops`.
//! Laws: a body takes time that is linear in its input, or nearly so; it uses no clock, no file and no random numbers.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a body reports what it found by a panic")]

mod chunks;
#[cfg(feature = "file")]
mod config_toml;
#[cfg(feature = "net")]
mod http1_body;
#[cfg(feature = "net")]
mod http1_head;
#[cfg(feature = "net")]
mod proxy_protocol;
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
#[cfg(feature = "net")]
pub use proxy_protocol::proxy_protocol;

pub use crate::track::log_ops::log_ops;

#[cfg(feature = "net")]
pub use crate::machine::last_event_id;
#[cfg(feature = "net")]
pub use crate::testing::machine_ops::machine_ops;

/// The body of a fuzz target.
pub type Body = fn(&[u8]);

/// The bodies of this build, by the names of their targets. Each target's file in `fuzz/fuzz_targets` and its folder in
/// `fuzz/corpus` have the same name.
pub const TARGETS: &[(&str, Body)] = &[
    ("sse_split", sse_split),
    ("sse_roundtrip", sse_roundtrip),
    #[cfg(feature = "net")]
    ("http1_head", http1_head),
    #[cfg(feature = "net")]
    ("http1_body", http1_body),
    #[cfg(feature = "net")]
    ("proxy_protocol", proxy_protocol),
    #[cfg(feature = "net")]
    ("machine_ops", machine_ops),
    ("store_record", store_record),
    ("log_ops", log_ops),
    #[cfg(feature = "file")]
    ("config_toml", config_toml),
    #[cfg(feature = "net")]
    ("last_event_id", last_event_id),
];
