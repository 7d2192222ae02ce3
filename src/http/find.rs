//! Finds where a head ends while its bytes still arrive.
//!
//! In: all bytes buffered so far, more of them at each call. Out: the end of the head.
//! Laws: no byte is looked at twice, but at most one carriage return; empty lines before the start line are skipped
//! (RFC 9112 section 2.2); a line may end with LF alone here, so that such a head is found, and then read or refused,
//! instead of being waited for.

use super::error::HeadError;

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes in all, with the empty line. A connection that sends a head takes at most this much memory.
    pub bytes: usize,
    /// Header lines.
    pub headers: usize,
}

impl Default for HeadLimits {
    /// 64 KiB and 2,000 lines.
    fn default() -> Self {
        Self { bytes: 64 * 1024, headers: 2_000 }
    }
}

impl HeadLimits {
    /// Checks whether the head can still fit, after [`HeadFinder::find`] has found no end in `buffered`.
    ///
    /// # Errors
    /// [`HeadError::TooLong`], or [`HeadError::RequestLineTooLong`] if even the first line has not ended.
    pub fn check_unfinished(&self, buffered: &[u8]) -> Result<(), HeadError> {
        if buffered.len() < self.bytes { Ok(()) } else { Err(self.too_long(buffered)) }
    }

    /// The error for a head that is too long: it says whether the first line alone is.
    pub(super) fn too_long(&self, head: &[u8]) -> HeadError {
        let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
        if line < self.bytes {
            HeadError::TooLong { limit: self.bytes }
        } else {
            HeadError::RequestLineTooLong { limit: self.bytes }
        }
    }
}

/// Searches a growing buffer for the end of a head, and remembers how far it has searched. One finder per head.
#[derive(Clone, Debug, Default)]
pub struct HeadFinder {
    /// Where the search goes on.
    looked: usize,
    /// Where the present line starts.
    line: usize,
    /// Bytes of empty lines before the start line.
    skip: usize,
    /// Whether a line that is not empty has ended.
    begun: bool,
}

impl HeadFinder {
    /// A finder that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the head ends in `buffered`, with its empty line; `None` if more bytes are needed. `buffered` holds all
    /// bytes so far and starts with the same bytes at each call. The head is `buffered[finder.skip()..end]`, and the
    /// bytes from `end` on belong to the body.
    pub fn find(&mut self, buffered: &[u8]) -> Option<usize> {
        while let Some(ahead) = buffered.get(self.looked..).and_then(|new| memchr::memchr(b'\n', new)) {
            let feed = self.looked + ahead;
            let line = buffered.get(self.line..feed).unwrap_or_default();
            self.looked = feed + 1;
            self.line = feed + 1;
            match line {
                b"\r" if !self.begun => self.skip = feed + 1,
                b"" | b"\r" => return Some(feed + 1),
                _ => self.begun = true,
            }
        }
        self.looked = self.looked.max(buffered.len());
        None
    }

    /// Bytes of empty lines before the start line.
    pub fn skip(&self) -> usize {
        self.skip
    }

    /// Whether a byte of a head was seen. If not, EOF is the end of an idle connection; else it is a cut.
    pub fn has_begun(&self) -> bool {
        self.looked > self.skip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_finds_the_same_end() {
        for head in
            ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\nGET / HTTP/1.0\r\n\r\n", "A\nB: c\n\n", "A\r\nB\n\r\n"]
        {
            let bytes = [head.as_bytes(), b"rest\r\n\r\n"].concat();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let mut finder = HeadFinder::new();
                    let found = [first, second, bytes.len()].iter().find_map(|&n| finder.find(&bytes[..n]));
                    assert_eq!(found, Some(head.len()), "{head:?} at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn empty_lines_before_the_start_line_are_skipped() {
        let mut finder = HeadFinder::new();
        assert_eq!(finder.find(b"\r\n\r"), None);
        assert!(finder.has_begun());
        assert_eq!(finder.find(b"\r\n\r\n"), None);
        assert!(!finder.has_begun());
        assert_eq!(finder.find(b"\r\n\r\nA\r\n\r\n"), Some(9));
        assert_eq!(finder.skip(), 4);
    }

    #[test]
    fn a_head_that_cannot_fit_is_refused_before_its_end() {
        let limits = HeadLimits { bytes: 8, headers: 1 };
        assert_eq!(limits.check_unfinished(b"GET / H"), Ok(()));
        assert_eq!(limits.check_unfinished(b"GET / HT"), Err(HeadError::RequestLineTooLong { limit: 8 }));
        assert_eq!(limits.check_unfinished(b"GET /\r\nHo"), Err(HeadError::TooLong { limit: 8 }));
    }

    #[test]
    fn a_buffer_that_shrinks_does_not_panic() {
        let mut finder = HeadFinder::new();
        finder.find(b"GET / HTTP/1.1\r\nHost");
        assert_eq!(finder.find(b"\n\n"), None);
    }
}
