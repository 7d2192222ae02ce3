//! What the body decoders give: pieces, and why a body is damaged.
//!
//! In: nothing. Out: the words of [`super::BodyDecoder`] and [`super::ChunkedDecoder`], and their bounds.
//! Source: RFC 9112 section 7.1.

use std::fmt;

/// Bytes of a size line, extensions and CR LF included.
pub const CHUNK_LINE_LIMIT: u32 = 256;
/// Bytes of a trailer section, its last CR LF included.
pub const TRAILER_LIMIT: u32 = 16 * 1024;

/// What a piece of input was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// Content; never empty.
    Data(&'a [u8]),
    /// The input is used up and the body goes on.
    More,
    /// The body is complete; the unused rest of the input belongs to the next message.
    End,
}

/// A body whose framing is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk size starts with this byte, which is no hexadecimal digit.
    SizeByte(u8),
    /// A chunk size has more than 16 digits.
    SizeTooLarge,
    /// A size line, extensions included, is longer than [`CHUNK_LINE_LIMIT`].
    LineTooLong,
    /// This byte stands in a size line where it must not.
    LineByte(u8),
    /// This byte stands behind a chunk's data, where CR LF must be.
    DataEnd(u8),
    /// The trailer section is longer than [`TRAILER_LIMIT`].
    TrailerTooLong,
    /// This byte stands in the trailer section where it must not.
    TrailerByte(u8),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SizeByte(b) => write!(f, "a chunk size starts with byte 0x{b:02x}; it must start with a hex digit"),
            Self::SizeTooLarge => f.write_str("a chunk size has over 16 digits; send smaller chunks"),
            Self::LineTooLong => {
                write!(f, "a chunk size line is over {} bytes; leave extensions out", CHUNK_LINE_LIMIT)
            }
            Self::LineByte(b) => write!(f, "a chunk size line holds byte 0x{b:02x}; end it with CR LF"),
            Self::DataEnd(b) => write!(f, "byte 0x{b:02x} follows a chunk's data; CR LF must"),
            Self::TrailerTooLong => {
                write!(f, "the trailer section is over {} bytes; send fewer trailers", TRAILER_LIMIT)
            }
            Self::TrailerByte(b) => write!(f, "the trailer section holds byte 0x{b:02x}; end lines with CR LF"),
        }
    }
}

impl std::error::Error for BodyError {}
