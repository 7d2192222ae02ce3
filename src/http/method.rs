//! Methods and versions.
//!
//! In: the words of a start line. Out: values that are compared without their letters.
//! Law: methods are case-sensitive (RFC 9110 section 9.1), so `get` is an unknown method and is passed on unchanged.

use std::fmt;

/// A request method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// Any other token. It is passed on unchanged. Boxed twice, since it is rare and methods are kept for long.
    Other(Box<Box<str>>),
}

impl Method {
    /// The method as it is sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Other(name) => name,
        }
    }

    /// Reads a method; `None` if the bytes are not a token (RFC 9110 section 5.6.2).
    pub fn from_token(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            _ if is_token(token) => Self::Other(Box::new(std::str::from_utf8(token).ok()?.into())),
            _ => return None,
        })
    }

    /// Whether a request with this method normally has content. If it has none, it says `Content-Length: 0` (RFC 9110
    /// section 8.6).
    pub fn expects_content(&self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A protocol version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// HTTP/1.0: no chunking, connections close by default.
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// The number alone, as `Via` writes it.
    pub fn number(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
        }
    }

    /// Reads `HTTP/1.0` or `HTTP/1.1`.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"HTTP/1.1" => Some(Self::Http11),
            b"HTTP/1.0" => Some(Self::Http10),
            _ => None,
        }
    }

    /// Whether this has the form of a version: `HTTP/` digit `.` digit.
    pub(super) fn is_name(name: &[u8]) -> bool {
        matches!(name, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
    }
}

/// Whether the bytes are a token: one or more `tchar` (RFC 9110 section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_prints_as_it_was_read() {
        for name in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "PURGE", "M-SEARCH"] {
            assert_eq!(Method::from_token(name.as_bytes()).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_method_must_be_a_token() {
        for bad in [&b""[..], b"G ET", b"GET:", b"G\xc3\x89T", b"GE\tT", b"(GET)"] {
            assert_eq!(Method::from_token(bad), None);
        }
    }
}
