//! Redis that falls silent, dies, or hands its slots over: servers that the test starts itself, and a persister in this
//! process.
//!
//! In: `redis-server` or `valkey-server`, which `SEGNO_REQUIRE_REDIS=1` demands. Out: cursors as an independent reader
//! finds them, what the persister says is durable, and how late it is.
//! Laws: what was said to be durable is there; who is not concerned by a fault does not notice it; when the fault is
//! over, everything is written within two windows.
#![cfg(all(unix, feature = "redis", feature = "net"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures of a run are shown")]

mod support;

#[path = "redis_faults/away.rs"]
mod away;
#[path = "redis_faults/masters.rs"]
mod masters;
#[path = "redis_faults/nodes.rs"]
mod nodes;
#[path = "redis_faults/rig.rs"]
mod rig;
#[cfg(feature = "cli")]
#[path = "redis_faults/starts.rs"]
mod starts;
