//! What the checks have in common.
//!
//! In: results of a store, and what it has promised. Out: nothing, or a panic; names and blocks to try it with.

use crate::base::StreamName;
use crate::store::error::StoreError;
use crate::store::log::LogBlock;
use std::fmt::Debug;
use std::sync::Arc;

pub(super) fn hold<T: PartialEq + Debug>(promise: &str, found: T, expected: T) {
    assert!(found == expected, "broken promise: {promise}: found {found:?}, expected {expected:?}");
}

pub(super) fn done<T>(what: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|e| panic!("the store failed while {what}: {e}"))
}

pub(super) fn name(session: &[u8], stream: u64) -> Arc<StreamName> {
    Arc::new(StreamName { session: session.into(), stream })
}

pub(super) fn block(first: u64, events: u32, at_ms: u64) -> Arc<LogBlock> {
    let ends: Box<[u32]> = (1..=events).map(|n| n * 10).collect();
    let bytes = vec![first as u8; events as usize * 10].into();
    Arc::new(LogBlock { first, at_ms, bytes, ends, hole: false })
}
