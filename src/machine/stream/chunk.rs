//! The chunk that a reader is being sent, and so its position in the log.
//!
//! In: how far the log's whole events go, how much the socket took. Out: a size line, a range of the log, an end.
//! Laws: the chunk is the same however the socket takes it; nothing of the log is copied.
//! Source: RFC 9112, 7.1 (chunked transfer coding).

/// A reader's position in a log, and how much of the chunk that it is being sent has gone out.
///
/// A chunk covers whole blocks (or a part of an oversize one), so that between two chunks lies an event boundary: the
/// only position for bytes of segno's own.
#[derive(Debug)]
pub(in crate::machine) struct Chunk {
    /// The next byte of the log to send.
    pub(in crate::machine) offset: u64,
    /// Bytes of the log that the open chunk still has to carry.
    left: u32,
    chunked: bool,
    open: bool,
    lead: [u8; crate::http::CHUNK_HEAD],
    lead_len: u8,
    lead_sent: u8,
    tail_sent: u8,
}

impl Chunk {
    pub(in crate::machine) fn new(chunked: bool, offset: u64) -> Self {
        Self {
            offset,
            left: 0,
            chunked,
            open: false,
            lead: [0; crate::http::CHUNK_HEAD],
            lead_len: 0,
            lead_sent: 0,
            tail_sent: 0,
        }
    }

    /// Opens a chunk for everything up to `whole`, unless one is open.
    pub(in crate::machine) fn open(&mut self, whole: u64) {
        if self.open || whole <= self.offset {
            return;
        }
        self.open = true;
        // More than a log ever holds.
        self.left = u32::try_from(whole - self.offset).unwrap_or(u32::MAX);
        self.lead_len = match self.chunked {
            true => crate::http::chunk_head(self.left, &mut self.lead).len() as u8,
            false => 0,
        };
        self.lead_sent = 0;
        self.tail_sent = if self.chunked { 0 } else { 2 };
    }

    /// Whether a chunk has been begun and not been sent to its end.
    pub(in crate::machine) fn is_open(&self) -> bool {
        self.open
    }

    /// What is left of the open chunk: its size line, a range of the log, its end.
    pub(in crate::machine) fn pending(&self) -> (&[u8], std::ops::Range<u64>, &'static [u8]) {
        if !self.open {
            return (&[], self.offset..self.offset, &[]);
        }
        let lead = &self.lead[usize::from(self.lead_sent)..usize::from(self.lead_len)];
        (lead, self.offset..self.offset + u64::from(self.left), &crate::http::CHUNK_END[usize::from(self.tail_sent)..])
    }

    /// Notes that the socket took `n` bytes of what is pending.
    pub(in crate::machine) fn consume(&mut self, n: usize) {
        let lead = n.min(usize::from(self.lead_len - self.lead_sent));
        self.lead_sent += lead as u8;
        let data = (n - lead).min(self.left as usize);
        self.left -= data as u32;
        self.offset += data as u64;
        let tail = (n - lead - data).min(usize::from(2 - self.tail_sent));
        self.tail_sent += tail as u8;
        if self.left == 0 && self.tail_sent == 2 {
            self.open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything in steps of `step` bytes and returns the wire.
    fn send(chunk: &mut Chunk, log: &[u8], step: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        chunk.open(log.len() as u64);
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
            let mut chunk = Chunk::new(true, 0);
            assert_eq!(send(&mut chunk, log, step), b"1f\r\ndata: hello, this is an event\n\n\r\n");
            assert_eq!(chunk.offset, log.len() as u64);
        }
    }

    #[test]
    fn without_chunks_only_the_log_is_sent() {
        let log = b"data: x\n\n";
        for step in 1..12 {
            let mut chunk = Chunk::new(false, 0);
            assert_eq!(send(&mut chunk, log, step), log);
        }
    }

    #[test]
    fn nothing_is_opened_for_nothing() {
        let mut chunk = Chunk::new(true, 7);
        chunk.open(7);
        assert!(!chunk.is_open());
    }
}
