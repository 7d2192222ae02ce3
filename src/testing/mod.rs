//! What tests share: the world in which a machine lives without sockets, the simulation of whole lives, the body of the
//! fuzz target that drives a machine, and the fingerprint by which two runs are compared.
//!
//! In: nothing of a user's. Out: worlds.
//! Law: compiled for tests and fuzz targets alone; nothing but these may use it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is a failed test, or a find")]
#![cfg_attr(not(test), allow(dead_code, reason = "the fuzz target uses a part of the tests' world"))]

#[cfg(feature = "fuzzing")]
pub(crate) mod machine_ops;
#[cfg(test)]
pub(crate) mod received;
#[cfg(test)]
mod simulation;
pub(crate) mod trace;
pub(crate) mod wire;
pub(crate) mod world;
