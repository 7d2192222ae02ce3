//! How records and log blocks are encoded: with a version, and with every length checked.
//!
//! In: values, or bytes. Out: bytes; the values again, or what is wrong with the bytes.
//! Laws: decoding never panics and never allocates more than there are bytes; bytes that are too few or too many, or
//! have another version, are damaged.
//!
//! All numbers are little-endian. A record is `1`, epoch, sequence, last seen (8 bytes each), the id. A block is `1`,
//! flags (1 byte each), first, at (8 each), the count of events (4), where each ends (4 each), the bytes.

use super::error::StoreError;
use super::log::LogBlock;
use super::record::Record;
use crate::base::EventId;

/// The version of the layout of a record, and that of a block.
const RECORD: u8 = 1;
const BLOCK: u8 = 1;
/// The only flag of a block.
const HOLE: u8 = 1;

/// Encodes a record into `out`, which is emptied first.
pub fn encode_record(record: &Record, out: &mut Vec<u8>) {
    out.clear();
    out.push(RECORD);
    for number in [record.epoch, record.sequence, record.last_seen_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(record.id.as_bytes());
}

/// Decodes a record.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn decode_record(bytes: &[u8]) -> Result<Record, StoreError> {
    let mut r = Reader(bytes);
    r.version(RECORD)?;
    let (epoch, sequence, last_seen_ms) = (r.u64()?, r.u64()?, r.u64()?);
    let id = EventId::from_bytes(r.0).ok_or(damaged("its id is too long"))?;
    Ok(Record { epoch, sequence, id, last_seen_ms })
}

/// Encodes a block into `out`, which is emptied first.
pub fn encode_block(block: &LogBlock, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[BLOCK, if block.hole { HOLE } else { 0 }]);
    out.extend_from_slice(&block.first.to_le_bytes());
    out.extend_from_slice(&block.at_ms.to_le_bytes());
    out.extend_from_slice(&(block.ends.len() as u32).to_le_bytes());
    block.ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
    out.extend_from_slice(&block.bytes);
}

/// Decodes a block.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn decode_block(bytes: &[u8]) -> Result<LogBlock, StoreError> {
    let mut r = Reader(bytes);
    r.version(BLOCK)?;
    let flags = r.take::<1>()?[0];
    if flags > HOLE {
        return Err(damaged("it has flags that are not known"));
    }
    let (first, at_ms, count) = (r.u64()?, r.u64()?, r.u32()? as usize);
    if count > r.0.len() / 4 {
        return Err(damaged("it ends too early"));
    }
    let mut ends = Vec::with_capacity(count);
    for _ in 0..count {
        ends.push(r.u32()?);
    }
    let sorted = ends.is_sorted() && ends.last().is_none_or(|last| *last as usize == r.0.len());
    if !sorted || first.checked_add(count as u64).is_none() {
        return Err(damaged("its events lie outside of it"));
    }
    Ok(LogBlock { first, at_ms, bytes: r.0.into(), ends: ends.into(), hole: flags == HOLE })
}

const fn damaged(why: &'static str) -> StoreError {
    StoreError::Damaged { why }
}

/// The bytes that are left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn version(&mut self, known: u8) -> Result<(), StoreError> {
        match self.take::<1>()?[0] {
            version if version == known => Ok(()),
            _ => Err(damaged("its version is not known")),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, StoreError> {
        self.take().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, StoreError> {
        self.take().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;

    fn cursor(id: usize) -> Record {
        let id = EventId::from_bytes(&vec![b'x'; id]).unwrap();
        Record { epoch: 1, sequence: u64::MAX, id, last_seen_ms: 3 }
    }

    fn block(events: u32) -> LogBlock {
        let ends: Box<[u32]> = (1..=events).map(|n| n * 3).collect();
        LogBlock { first: 7, at_ms: 9, bytes: vec![b'd'; events as usize * 3].into(), ends, hole: events % 2 == 1 }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = Vec::new();
        for id in [0, 1, 64, 65, EventId::MAX] {
            encode_record(&cursor(id), &mut out);
            assert_eq!(decode_record(&out).unwrap(), cursor(id));
        }
        for events in [0, 1, 2, 300] {
            encode_block(&block(events), &mut out);
            assert_eq!(decode_block(&out).unwrap(), block(events));
        }
    }

    #[test]
    fn a_record_that_ends_early_is_damaged() {
        let mut out = Vec::new();
        encode_record(&cursor(3), &mut out);
        assert!((0..25).all(|len| decode_record(&out[..len]).is_err()));
        encode_block(&block(2), &mut out);
        assert!((0..out.len()).all(|len| decode_block(&out[..len]).is_err()));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut random = Random::new(1);
        let mut out = Vec::new();
        encode_block(&block(3), &mut out);
        for _ in 0..20_000 {
            let mut bytes = out.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
            bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
            let _ = (decode_record(&bytes), decode_block(&bytes));
        }
    }
}
