//! The chunk that a reader is being sent, and so its position in the log.
//!
//! In: how far the log's whole events go, how much the socket took. Out: a size line, a range of the log, an end.
//! Laws: the chunk is the same however the socket takes it; nothing of the log is copied.
//! Source: RFC 9112, 7.1 (chunked transfer coding).

use crate::http::{CHUNK_END, CHUNK_HEAD, chunk_head};

/// A reader's position in a log, and how much of the chunk that it is being sent has gone out.
///
/// A chunk covers whole blocks (or a part of an oversize one), so that between two chunks lies an event boundary: the
/// only position for bytes of segno's own.
///
/// A chunk is open as long as it has bytes of the log left or its end has not gone out.
#[derive(Debug)]
pub(in crate::machine) struct Chunk {
    /// The next byte of the log to send.
    pub(in crate::machine) offset: u64,
    /// Bytes of the log that the open chunk still has to carry.
    left: u32,
    /// The size line, at the end of the array.
    lead: [u8; CHUNK_HEAD],
    /// Where the part of the size line begins that has not gone out.
    lead_at: u8,
    /// Bytes of the chunk's end that have gone out. Without chunks there is no end to send.
    tail_sent: u8,
}

/// Bytes of a chunk's end.
const TAIL: u8 = CHUNK_END.len() as u8;

impl Chunk {
    pub(in crate::machine) fn new(offset: u64) -> Self {
        Self { offset, left: 0, lead: [0; CHUNK_HEAD], lead_at: CHUNK_HEAD as u8, tail_sent: TAIL }
    }

    /// Opens a chunk for everything up to `whole`, unless one is open. `chunked`: it has a size line and an end.
    pub(in crate::machine) fn open(&mut self, whole: u64, chunked: bool) {
        if self.is_open() || whole <= self.offset {
            return;
        }
        // More than a log ever holds.
        self.left = u32::try_from(whole - self.offset).unwrap_or(u32::MAX);
        if chunked {
            self.lead_at = (CHUNK_HEAD - chunk_head(self.left, &mut self.lead).len()) as u8;
            self.tail_sent = 0;
        }
    }

    /// Whether a chunk has been begun and not been sent to its end.
    #[inline]
    pub(in crate::machine) fn is_open(&self) -> bool {
        self.left > 0 || self.tail_sent < TAIL
    }

    /// What is left of the open chunk: its size line, a range of the log, its end.
    pub(in crate::machine) fn pending(&self) -> (&[u8], std::ops::Range<u64>, &'static [u8]) {
        let lead = &self.lead[usize::from(self.lead_at)..];
        (lead, self.offset..self.offset + u64::from(self.left), &CHUNK_END[usize::from(self.tail_sent)..])
    }

    /// Notes that the socket took `n` bytes of what is pending.
    pub(in crate::machine) fn consume(&mut self, n: usize) {
        let lead = n.min(CHUNK_HEAD - usize::from(self.lead_at));
        self.lead_at += lead as u8;
        let data = (n - lead).min(self.left as usize);
        self.left -= data as u32;
        self.offset += data as u64;
        let tail = (n - lead - data).min(usize::from(TAIL - self.tail_sent));
        self.tail_sent += tail as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything in steps of `step` bytes and returns the wire.
    fn send(chunk: &mut Chunk, chunked: bool, log: &[u8], step: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        chunk.open(log.len() as u64, chunked);
        while chunk.is_open() {
            let (lead, range, tail) = chunk.pending();
            let all = [lead, &log[range.start as usize..range.end as usize], tail].concat();
            let n = step.min(all.len());
            wire.extend_from_slice(&all[..n]);
            chunk.consume(n);
        }
        wire
    }

    #[test]
    fn a_chunk_is_the_same_however_the_socket_takes_it() {
        let log = b"data: hello, this is an event\n\n";
        for step in 1..50 {
            let mut chunk = Chunk::new(0);
            assert_eq!(send(&mut chunk, true, log, step), b"1f\r\ndata: hello, this is an event\n\n\r\n");
            assert_eq!(chunk.offset, log.len() as u64);
        }
    }

    #[test]
    fn without_chunks_only_the_log_is_sent() {
        let log = b"data: x\n\n";
        for step in 1..12 {
            let mut chunk = Chunk::new(0);
            assert_eq!(send(&mut chunk, false, log, step), log);
        }
    }

    #[test]
    fn nothing_is_opened_for_nothing() {
        let mut chunk = Chunk::new(7);
        chunk.open(7, true);
        assert!(!chunk.is_open());
    }
}
