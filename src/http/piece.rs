//! The types that the body decoders share: pieces, errors, and bounds.
//!
//! In: nothing. Out: types for [`super::BodyDecoder`] and [`super::ChunkedDecoder`], and the messages of the errors.
//! Law: a message says what is wrong and how to send it right.
//! Source: RFC 9112 section 7.1.

use std::fmt;

/// The most bytes of a size line, with its extensions and CR LF.
pub const CHUNK_LINE_LIMIT: u32 = 256;
/// The most bytes of a trailer section, with its last CR LF.
pub const TRAILER_LIMIT: u32 = 16 * 1024;

/// What the decoder found at the front of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// Content; never empty.
    Data(&'a [u8]),
    /// The input is used up and the body goes on.
    More,
    /// The body is complete. The unused rest of the input belongs to the next message.
    End,
}

/// A body whose framing is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk size starts with this byte, which is not a hexadecimal digit.
    SizeByte(u8),
    /// A chunk size has more than 16 digits.
    SizeTooLarge,
    /// A size line, extensions included, is longer than [`CHUNK_LINE_LIMIT`].
    LineTooLong,
    /// A size line holds this byte in a place where it is not allowed.
    LineByte(u8),
    /// This byte follows a chunk's data, where CR LF must be.
    DataEnd(u8),
    /// The trailer section is longer than [`TRAILER_LIMIT`].
    TrailerTooLong,
    /// The trailer section holds this byte in a place where it is not allowed.
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
            Self::DataEnd(b) => write!(f, "byte 0x{b:02x} follows a chunk's data; end the data with CR LF"),
            Self::TrailerTooLong => {
                write!(f, "the trailer section is over {} bytes; send fewer trailers", TRAILER_LIMIT)
            }
            Self::TrailerByte(b) => write!(f, "the trailer section holds byte 0x{b:02x}; end lines with CR LF"),
        }
    }
}

impl std::error::Error for BodyError {}
