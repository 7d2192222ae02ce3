//! Server-Sent Events that resume.
#![forbid(unsafe_code)]

pub mod base;

pub mod sync;

pub mod metrics;

#[cfg(feature = "net")]
pub mod clock;

pub mod config;
#[cfg(feature = "net")]
pub mod http;
pub mod sse;
pub mod timer;
pub mod track;

#[cfg(feature = "net")]
pub mod machine;
#[cfg(feature = "net")]
pub mod reactor;

#[cfg(feature = "net")]
pub mod engine;

#[cfg(feature = "cli")]
pub mod cli;
