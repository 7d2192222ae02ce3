//! The front of a block: a byte order mark, blank lines and comments before its first field.
//!
//! In: the bytes of a block, in a slice or in a ring. Out: where the first field stands, or the end.
//! Law: the front is no part of the event. Of two blocks that differ in their fronts alone, one is a repeat of the
//! other; an id of segno's own goes after the front.

use super::bom::BOM;
use std::ops::Range;

/// Where the first field of a block stands that begins `bytes`.
pub(super) fn first_field(bytes: &[u8]) -> usize {
    let mut at = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    loop {
        match bytes.get(at) {
            Some(b'\n' | b'\r') => at += 1,
            Some(b':') => at += memchr::memchr2(b'\n', b'\r', &bytes[at..]).unwrap_or(bytes.len() - at),
            _ => return at,
        }
    }
}

/// The same for a block that lies in a ring, where its bytes may wrap. `byte`: the ring's byte at an offset.
pub(super) fn first_field_in(byte: impl Fn(u64) -> Option<u8>, range: Range<u64>) -> u64 {
    let byte = |at: u64| if at < range.end { byte(at) } else { None };
    let mut at = range.start;
    if BOM.iter().zip(at..).all(|(mark, at)| byte(at) == Some(*mark)) {
        at += BOM.len() as u64;
    }
    loop {
        match byte(at) {
            Some(b'\n' | b'\r') => at += 1,
            Some(b':') => {
                while !matches!(byte(at), None | Some(b'\n' | b'\r')) {
                    at += 1;
                }
            }
            _ => return at,
        }
    }
}
