//! Takes the framing off a body.
//!
//! In: bytes as they arrive, in pieces of any size. Out: borrowed slices of content, and where the body ends.
//! Laws: nothing is buffered, copied or looked at twice; how the bytes were cut into pieces changes neither the
//! content, nor the end, nor whether there is an error; an error repeats itself.
//! Source: RFC 9112 sections 6.3, 7.1, 8.

use super::chunked::ChunkedDecoder;
use super::length::BodyLength;
use super::piece::{BodyError, Piece};

/// What the end of the connection means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtEof {
    /// The body was complete before.
    Clean,
    /// It ends the body, which had no other end.
    UntilClose,
    /// It cuts the body.
    Truncated,
}

/// A body that is being read.
#[derive(Clone, Debug)]
pub enum BodyDecoder {
    /// No bytes are left of it.
    Done,
    /// So many bytes are left of it; never 0.
    Length(u64),
    /// It comes in chunks.
    Chunked(ChunkedDecoder),
    /// It goes on until the connection ends.
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

    /// Takes from the front of `input`. Gives how many bytes were used, and what they were; to be called with the
    /// rest until it gives [`Piece::More`] or [`Piece::End`].
    ///
    /// # Errors
    /// [`BodyError`] when the framing is damaged, from then on always. The connection is of no more use.
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

    /// Whether all of the body has been seen; of one without content, at once.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::Length(_) | Self::UntilClose => false,
        }
    }

    /// What it means if the connection ends here.
    pub fn at_eof(&self) -> AtEof {
        match self {
            Self::UntilClose => AtEof::UntilClose,
            _ if self.is_done() => AtEof::Clean,
            _ => AtEof::Truncated,
        }
    }
}

#[cfg(test)]
mod tests;
