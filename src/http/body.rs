//! Takes the framing off a body.
//!
//! In: bytes as they arrive, in pieces of any size. Out: borrowed slices of content, and where the body ends.
//! Laws: no byte is buffered, copied or looked at twice; content, end and error do not depend on how the bytes are cut
//! into pieces; after an error, every further call gives the same error.
//! Source: RFC 9112 sections 6.3, 7.1, 8.

use super::chunked::ChunkedDecoder;
use super::length::BodyLength;
use super::piece::{BodyError, Piece};

/// What the end of the connection means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtEof {
    /// The body was complete before.
    Clean,
    /// The end of the connection is the end of the body.
    UntilClose,
    /// The end of the connection cuts the body.
    Truncated,
}

/// A body that is being read.
#[derive(Clone, Debug)]
pub enum BodyDecoder {
    /// The body has ended.
    Done,
    /// This many bytes of the body are left; never 0.
    Length(u64),
    /// The body comes in chunks.
    Chunked(ChunkedDecoder),
    /// The body goes on until the connection ends.
    UntilClose,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::None | BodyLength::Length(0) => Self::Done,
            BodyLength::Length(left) => Self::Length(left),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::new()),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// Takes a piece from the front of `input`. Returns how many bytes were used, and what they were. Call again with
    /// the rest until the piece is [`Piece::More`] or [`Piece::End`].
    ///
    /// # Errors
    /// [`BodyError`] if the framing is damaged. Every further call gives the same error. The connection must be closed.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Piece<'a>), BodyError> {
        match self {
            Self::Done => Ok((0, Piece::End)),
            Self::Chunked(chunked) => chunked.next(input),
            _ if input.is_empty() => Ok((0, Piece::More)),
            Self::UntilClose => Ok((input.len(), Piece::Data(input))),
            Self::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok((take, Piece::Data(&input[..take])))
            }
        }
    }

    /// Whether the body has ended. A body without content has ended from the start.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::Length(_) | Self::UntilClose => false,
        }
    }

    /// What the end of the connection means for the body, if it comes now.
    pub fn at_eof(&self) -> AtEof {
        match self {
            Self::UntilClose => AtEof::UntilClose,
            _ if self.is_done() => AtEof::Clean,
            // The last chunk has come, and with it the whole body (RFC 9112 section 8).
            Self::Chunked(chunked) if chunked.has_last_chunk() => AtEof::Clean,
            _ => AtEof::Truncated,
        }
    }
}

#[cfg(test)]
mod tests;
