//! Header lines in the order in which they came.
//!
//! In: names and values. Out: look-ups by name, in any letter case.
//! Laws: one buffer holds all bytes and one list their boundaries, so that a head costs two allocations; every name is
//! a token, and no value holds a control byte except tab.
//! Source: RFC 9110 section 5.

use super::error::{HeadError, excerpt};
use super::method::is_token;
use std::fmt;

/// An ordered list of header lines. Names are kept as sent and compared without regard to case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a line's name and value start in `bytes`. The value ends where the next line starts.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Line {
    name: u32,
    value: u32,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for `lines` lines of `bytes` bytes in all.
    pub(super) fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines) }
    }

    /// Adds a line at the end.
    ///
    /// # Errors
    /// [`HeadError::HeaderName`] when the name is not a token, [`HeadError::Control`] when the value holds a control
    /// byte other than tab, [`HeadError::TooLong`] beyond 4 GiB. Nothing is added then.
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<(), HeadError> {
        if !is_token(name.as_bytes()) {
            return Err(HeadError::HeaderName { line: 0, text: excerpt(name.as_bytes()) });
        }
        if let Some(&byte) = value.iter().find(|&&b| is_forbidden(b)) {
            return Err(HeadError::Control { line: 0, byte });
        }
        self.push_checked(name, value)
    }

    /// Adds a line. The caller has checked its name and value.
    pub(super) fn push_checked(&mut self, name: &str, value: &[u8]) -> Result<(), HeadError> {
        const LIMIT: usize = u32::MAX as usize;
        let start = self.bytes.len();
        if name.len().saturating_add(value.len()).saturating_add(start) > LIMIT {
            return Err(HeadError::TooLong { limit: LIMIT });
        }
        self.lines.push(Line { name: start as u32, value: (start + name.len()) as u32 });
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Gives the lines with this name the values that `change` makes of theirs. A line stays as it is where `change`
    /// has none, or one that is no value of a header.
    pub fn change(&mut self, name: &str, mut change: impl FnMut(&[u8]) -> Option<Vec<u8>>) {
        let old = std::mem::replace(self, Self::with_capacity(self.lines.len(), self.bytes.len()));
        for (n, value) in old.iter() {
            let new = if n.eq_ignore_ascii_case(name) { change(value).filter(|new| is_field_value(new)) } else { None };
            // A line is left out only where all together would be over 4 GiB.
            let _ = self.push_checked(n, new.as_deref().unwrap_or(value));
        }
    }

    /// Puts one line with this value in the place of all lines with this name, at the end. `None`: no such line is left.
    /// A value that is none of a header leaves none, too.
    pub fn set(&mut self, name: &str, value: Option<&[u8]>) {
        let old = std::mem::replace(self, Self::with_capacity(self.lines.len(), self.bytes.len()));
        for (n, value) in old.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(name)) {
            // A line is left out only where all together would be over 4 GiB.
            let _ = self.push_checked(n, value);
        }
        if let Some(value) = value {
            let _ = self.push(name, value);
        }
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// All lines, in order: name as sent, value without the whitespace around it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().enumerate().map(|(n, line)| {
            let end = self.lines.get(n + 1).map_or(self.bytes.len(), |next| next.name as usize);
            let name = &self.bytes[line.name as usize..line.value as usize];
            (std::str::from_utf8(name).unwrap_or_default(), &self.bytes[line.value as usize..end])
        })
    }

    /// The values of all lines with this name, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the first line with this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// Whether any line has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The elements of all lines with this name, read as one comma-separated list without quoted strings
    /// (RFC 9110 section 5.6.1). Empty elements are included.
    pub fn tokens(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).flat_map(|value| value.split(|&b| b == b',')).map(trim)
    }

    /// Whether the comma-separated list with this name holds `token`, in any letter case.
    pub fn contains_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
    }
}

impl fmt::Debug for Headers {
    /// Names only: values hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Without spaces and tabs at either end (`OWS`, RFC 9110 section 5.6.3).
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether the bytes can be the value of a header: no control byte but tab.
pub fn is_field_value(bytes: &[u8]) -> bool {
    !bytes.iter().any(|&b| is_forbidden(b))
}

/// Whether this byte is forbidden in a field value (RFC 9110 section 5.5).
pub(super) fn is_forbidden(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Headers {
        let mut h = Headers::new();
        for (name, value) in [("Accept", "a"), ("X-Empty", ""), ("accept", "b"), ("Connection", "Close, ,\tX-Thing ")] {
            h.push(name, value.as_bytes()).unwrap();
        }
        h
    }

    #[test]
    fn names_match_in_any_case_and_keep_their_order() {
        let h = sample();
        assert_eq!(h.get("ACCEPT"), Some(&b"a"[..]));
        assert_eq!(h.get_all("Accept").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(h.get("x-empty"), Some(&b""[..]));
        assert_eq!(h.get("x-empt"), None);
        let names: Vec<_> = h.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Accept", "X-Empty", "accept", "Connection"]);
    }

    #[test]
    fn a_token_is_a_whole_list_element() {
        let h = sample();
        assert!(h.contains_token("connection", "close") && h.contains_token("connection", "x-thing"));
        assert!(!h.contains_token("connection", "thing") && !h.contains_token("connection", "clos"));
    }

    #[test]
    fn a_value_cannot_smuggle_a_line() {
        let mut h = Headers::new();
        assert_eq!(h.push("A", b"b\r\nC: d"), Err(HeadError::Control { line: 0, byte: b'\r' }));
        assert!(h.push("A: b\r\nC", b"d").is_err());
        assert!(h.push("", b"d").is_err());
        assert!(h.is_empty());
    }

    #[test]
    fn debug_shows_no_values() {
        let mut h = Headers::new();
        h.push("Authorization", b"secret").unwrap();
        assert_eq!(format!("{h:?}"), "[\"Authorization\"]");
    }
}
