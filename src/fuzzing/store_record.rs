//! Records of a store: any bytes are read without a panic, and written records are read back.
//!
//! In: bytes that may be a record, or the values of one. Out: a panic if a property does not hold.
//! Laws: accepted bytes are the bytes that would be written for their values; written values are read back; a record
//! that is cut, or of another version, is refused as damaged.

use crate::base::EventId;
use crate::store::encoding::{decode_block, decode_record, encode_block, encode_record};
use crate::store::{LogBlock, Record};
use arbitrary::{Arbitrary, Unstructured};

/// The version that this build writes.
const VERSION: u8 = 1;

#[derive(Arbitrary, Debug)]
struct Values<'a> {
    numbers: [u64; 3],
    hole: bool,
    /// How long each event is.
    lengths: Vec<u8>,
    id: &'a [u8],
    other_version: u8,
    cut: u16,
}

/// The target's body.
pub fn store_record(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    match kind % 2 {
        0 => read(rest),
        _ => {
            if let Ok(values) = Values::arbitrary_take_rest(Unstructured::new(rest)) {
                write_and_read(&values);
            }
        }
    }
}

fn read(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Ok(cursor) = decode_record(bytes) {
        encode_record(&cursor, &mut out);
        assert_eq!(out, bytes);
    }
    if let Ok(block) = decode_block(bytes) {
        assert!(block.bytes.len() + 4 * block.ends.len() <= bytes.len());
        encode_block(&block, &mut out);
        assert_eq!(out, bytes);
    }
    if bytes.first() != Some(&VERSION) {
        assert!(decode_record(bytes).is_err() && decode_block(bytes).is_err());
    }
}

fn write_and_read(values: &Values<'_>) {
    let mut out = vec![7];
    let [first, second, third] = values.numbers;
    if let Some(id) = EventId::from_bytes(values.id) {
        let cursor = Record { epoch: first, sequence: second, id, last_seen_ms: third };
        encode_record(&cursor, &mut out);
        assert_eq!(decode_record(&out).unwrap(), cursor);
        spoil(&mut out.clone(), values, 25, |bytes| decode_record(bytes).is_err());
    } else {
        assert!(values.id.len() > EventId::MAX);
    }
    let block = block(values, first, second);
    encode_block(&block, &mut out);
    assert_eq!(decode_block(&out).unwrap(), block);
    // Without an event, nothing in the block says where its bytes end.
    let least = if block.ends.is_empty() { 22 } else { out.len() };
    spoil(&mut out, values, least, |bytes| decode_block(bytes).is_err());
}

fn block(values: &Values<'_>, first: u64, at_ms: u64) -> LogBlock {
    let ends = values.lengths.iter().scan(0, |end, length| {
        *end += u32::from(*length);
        Some(*end)
    });
    let ends: Box<[u32]> = ends.collect();
    let bytes = ends.last().map_or(values.id.into(), |last| vec![b'd'; *last as usize].into());
    LogBlock { first: first.min(u64::MAX - ends.len() as u64), at_ms, bytes, ends, hole: values.hole }
}

/// Checks that a record is damaged if it is cut to fewer than `least` bytes, or is of another version.
fn spoil(bytes: &mut [u8], values: &Values<'_>, least: usize, damaged: impl Fn(&[u8]) -> bool) {
    let cut = usize::from(values.cut) % least;
    assert!(damaged(&bytes[..cut]), "a record of {} bytes, cut to {cut}", bytes.len());
    if values.other_version != VERSION {
        bytes[0] = values.other_version;
        assert!(damaged(bytes), "version {}", values.other_version);
    }
}
