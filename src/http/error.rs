//! Why a head was refused.
//!
//! In: what the parsers found. Out: one variant for each reason, with the status to answer and one line that says what
//! is wrong, where, and what to do.
//! Law: excerpts of the peer's bytes are escaped and shortened, so that an error is safe in a log line and in an
//! answer.
//! Source: RFC 9112 sections 2.2, 3, 5, 6 and RFC 9110 section 15 for the statuses.

use std::fmt;

/// Why a head is refused. Its end on the connection is uncertain, so the connection must be closed after the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HeadError {
    /// The head takes more bytes than the limit.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The request line alone takes more bytes than the limit.
    RequestLineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// There are more header lines than the limit.
    TooManyHeaders {
        /// The limit, in lines.
        limit: usize,
    },
    /// `Connection` lists more options than the limit.
    TooManyOptions {
        /// The limit, in options.
        limit: usize,
    },
    /// The bytes do not end with an empty line, or go on after one.
    Unfinished,
    /// The first line is not `method SP target SP version`.
    RequestLine(Box<str>),
    /// The protocol version is neither 1.0 nor 1.1.
    Version(Box<str>),
    /// The method is not a token.
    Method(Box<str>),
    /// `CONNECT` asks for a tunnel.
    Connect,
    /// The target has none of the forms that the method allows.
    Target(Box<str>),
    /// The target's path leads above the root, or out of the path of its route.
    Climbs(Box<str>),
    /// A line ends with a line feed that has no carriage return before it.
    BareLf {
        /// The line, counted from 1.
        line: usize,
    },
    /// A line holds a carriage return that no line feed follows.
    BareCr {
        /// The line, counted from 1.
        line: usize,
    },
    /// A header line starts with a space or a tab (obsolete line folding).
    Folded {
        /// The line, counted from 1.
        line: usize,
    },
    /// A line holds a control byte.
    Control {
        /// The line, counted from 1.
        line: usize,
        /// The byte.
        byte: u8,
    },
    /// A header has whitespace between its name and its colon.
    SpaceBeforeColon {
        /// The line, counted from 1.
        line: usize,
    },
    /// A header line has no colon, or its name is not a token.
    HeaderName {
        /// The line, counted from 1; 0 for a header that was not read from a head.
        line: usize,
        /// How the line starts.
        text: Box<str>,
    },
    /// An HTTP/1.1 request has no `Host`.
    HostMissing,
    /// There is more than one `Host`.
    HostRepeated,
    /// `Host`, or the authority of an absolute target, is not `host[:port]`.
    Host(Box<str>),
    /// There are both `Content-Length` and `Transfer-Encoding`.
    BothFramings,
    /// There is more than one `Content-Length`.
    ContentLengthRepeated,
    /// `Content-Length` is not made of digits alone.
    ContentLength(Box<str>),
    /// `Content-Length` does not fit in 64 bits.
    ContentLengthTooLarge,
    /// `Transfer-Encoding` names a coding other than `chunked`.
    TransferCoding(Box<str>),
    /// `Transfer-Encoding` does not name `chunked` exactly once.
    ChunkedNotOnce,
    /// There is a `Transfer-Encoding` in a request of HTTP/1.0, which has none.
    TransferEncodingIn10,
    /// `Expect` asks for something other than `100-continue`.
    Expect(Box<str>),
    /// The first line of a response is not `version SP status [SP reason]`.
    StatusLine(Box<str>),
    /// The response is 101, which switches to another protocol, and that one was not asked for.
    SwitchedProtocols,
}

impl HeadError {
    /// The status that answers a refused request. A refused *response* is answered 502, whatever the variant.
    pub fn status(&self) -> u16 {
        match self {
            Self::ContentLengthTooLarge => 413,
            Self::RequestLineTooLong { .. } => 414,
            Self::Expect(_) => 417,
            Self::TooLong { .. } | Self::TooManyHeaders { .. } | Self::TooManyOptions { .. } => 431,
            Self::Connect | Self::TransferCoding(_) => 501,
            Self::StatusLine(_) | Self::SwitchedProtocols => 502,
            Self::Version(_) => 505,
            _ => 400,
        }
    }

    fn write_limit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "the head is over {limit} bytes; send fewer or shorter headers"),
            Self::RequestLineTooLong { limit } => {
                write!(f, "the request line is over {limit} bytes; shorten the path or query")
            }
            Self::TooManyHeaders { limit } => write!(f, "over {limit} header lines; send fewer"),
            Self::TooManyOptions { limit } => write!(f, "Connection lists over {limit} options; send fewer"),
            _ => self.write_line(f),
        }
    }

    fn write_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BareLf { line } => write!(f, "line {line} ends with LF alone; end lines with CR LF"),
            Self::BareCr { line } => write!(f, "line {line} holds a CR without LF; end lines with CR LF"),
            Self::Folded { line } => write!(f, "line {line} starts with whitespace; write each header on one line"),
            Self::Control { line, byte } => {
                write!(f, "line {line} holds the control byte 0x{byte:02x}; encode or remove it")
            }
            Self::SpaceBeforeColon { line } => {
                write!(f, "line {line} has whitespace before its colon; write the colon right after the name")
            }
            Self::HeaderName { line, text } => {
                write!(f, "line {line} is not \"name: value\" with a plain name: \"{text}\"; correct the header")
            }
            _ => self.write_framing(f),
        }
    }

    fn write_framing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothFramings => f.write_str("both Content-Length and Transfer-Encoding are given; send one"),
            Self::ContentLengthRepeated => f.write_str("Content-Length is given more than once; send one"),
            Self::ContentLength(text) => {
                write!(f, "Content-Length is \"{text}\"; send decimal digits and nothing else")
            }
            Self::ContentLengthTooLarge => f.write_str("Content-Length does not fit in 64 bits; send a smaller body"),
            Self::TransferCoding(text) => {
                write!(f, "Transfer-Encoding names \"{text}\"; only chunked is understood here")
            }
            Self::ChunkedNotOnce => {
                f.write_str("Transfer-Encoding does not name chunked exactly once; send \"Transfer-Encoding: chunked\"")
            }
            Self::TransferEncodingIn10 => {
                f.write_str("HTTP/1.0 has no Transfer-Encoding; send HTTP/1.1 or Content-Length")
            }
            _ => self.write_rest(f),
        }
    }

    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestLine(text) => {
                write!(f, "the first line is \"{text}\"; send \"METHOD /path HTTP/1.1\" with single spaces")
            }
            Self::Version(text) => write!(f, "the version is \"{text}\"; speak HTTP/1.1 or HTTP/1.0"),
            Self::Method(text) => write!(f, "the method is \"{text}\"; use letters, digits and token signs only"),
            Self::Connect => f.write_str("CONNECT asks for a tunnel, which is not offered here; ask for a path"),
            Self::Target(text) => {
                write!(f, "the target is \"{text}\"; send a path that starts with \"/\", or an http(s) URL")
            }
            Self::Climbs(text) => {
                write!(f, "the target \"{text}\" leads out of what is served here; send the path without \"..\"")
            }
            Self::HostMissing => f.write_str("the HTTP/1.1 request has no Host header; send one"),
            Self::HostRepeated => f.write_str("there is more than one Host header; send one"),
            Self::Host(text) => write!(f, "the host is \"{text}\"; send a name or address and an optional port"),
            Self::Expect(text) => write!(f, "Expect is \"{text}\"; only 100-continue is understood here"),
            Self::StatusLine(text) => write!(f, "the status line is \"{text}\"; it should be \"HTTP/1.1 200 OK\""),
            Self::SwitchedProtocols => f.write_str("the response is 101, but its protocol was not asked for"),
            _ => f.write_str("the head does not end with its empty line; end it with CR LF CR LF"),
        }
    }
}

impl HeadError {
    /// The target leads out of what is served. Shows no more of it than may be shown.
    pub fn climbs(target: &str) -> Self {
        Self::Climbs(excerpt(target.as_bytes()))
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_limit(f)
    }
}

impl std::error::Error for HeadError {}

/// The first bytes of what the peer sent, escaped and short enough for one line.
pub(super) fn excerpt(bytes: &[u8]) -> Box<str> {
    const LONGEST: usize = 60;
    // A query and what follows a `;` may hold a token, and what stands before an `@` a password.
    let names_user = bytes.contains(&b'@');
    let secret = bytes.iter().position(|&b| matches!(b, b'?' | b';') || names_user && b == b':');
    cut(bytes, secret.unwrap_or(bytes.len()).min(LONGEST))
}

/// How a header line starts: as much of it as can be a name. What follows may be a credential.
pub(super) fn excerpt_of_name(line: &[u8]) -> Box<str> {
    const LONGEST: usize = 24;
    let is_behind = |&b: &u8| matches!(b, b':' | b'=' | b' ' | b'\t');
    cut(line, line.iter().position(is_behind).unwrap_or(line.len()).min(LONGEST))
}

fn cut(bytes: &[u8], end: usize) -> Box<str> {
    let more = if bytes.len() > end { "..." } else { "" };
    format!("{}{more}", bytes[..end].escape_ascii()).into_boxed_str()
}

#[cfg(test)]
mod tests;
