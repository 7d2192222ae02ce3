//! Reads the chunked transfer coding.
//!
//! In: bytes as they arrive. Out: the data of each chunk, borrowed. Sizes, extensions and trailers are skipped.
//! Laws: a size has at most 16 hexadecimal digits, so that it cannot overflow; a line ends with CR LF and nothing else;
//! size lines and trailers are bounded. If a size line, the data of its chunk and the CR LF after the data lie in one
//! input, one call takes all three, since many servers write one chunk per event.
//! Source: RFC 9112 section 7.1. This decoder is stricter: it refuses whitespace before a size.

use super::piece::{BodyError, CHUNK_LINE_LIMIT, Piece, TRAILER_LIMIT};

/// The most digits of a size: as many as 64 bits take.
const SIZE_DIGITS: u8 = 16;

/// The place of the next byte in the coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In the size, after this many digits.
    Size(u8),
    /// In the whitespace between a size and a semicolon.
    Space,
    Extension,
    SizeFeed,
    Data,
    DataReturn,
    DataFeed,
    /// At the start of a trailer line, or of the last CR LF.
    TrailerStart,
    Trailer,
    TrailerFeed,
    LastFeed,
    Done,
    Failed(BodyError),
}

/// A chunked body that is being read.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Bytes of the present line, or of the trailer section.
    line: u32,
    /// Bytes left of the present chunk. While its size is read: the size so far.
    left: u64,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub const fn new() -> Self {
        Self { state: State::Size(0), line: 0, left: 0 }
    }

    /// Takes a piece from the front of `input`; see [`super::BodyDecoder::next`].
    ///
    /// # Errors
    /// [`BodyError`] if the coding is damaged. Every further call gives the same error.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Piece<'a>), BodyError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Data => return Ok(self.data(input, at)),
                State::Done => return Ok((at, Piece::End)),
                State::Failed(error) => return Err(error),
                State::Size(0) => {
                    if let Some((used, size)) = short_line(&input[at..]) {
                        at += used;
                        self.left = size;
                        self.state = State::Data;
                        continue;
                    }
                }
                _ => {}
            }
            let Some(&byte) = input.get(at) else { return Ok((at, Piece::More)) };
            at += 1;
            self.state = self.step(byte).unwrap_or_else(State::Failed);
        }
    }

    /// Whether the last chunk and the trailer section have been seen.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the last chunk has been seen. Some servers close the connection behind it, without the empty line.
    pub const fn has_last_chunk(&self) -> bool {
        matches!(self.state, State::TrailerStart | State::Trailer | State::TrailerFeed | State::LastFeed | State::Done)
    }

    /// Gives the bytes of the present chunk that lie in the input. Takes the CR LF after the chunk too, if it is there.
    fn data<'a>(&mut self, input: &'a [u8], at: usize) -> (usize, Piece<'a>) {
        let rest = &input[at..];
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
        if take == 0 {
            return (at, Piece::More);
        }
        self.left -= take as u64;
        let (data, behind) = rest.split_at(take);
        let mut used = at + take;
        if self.left == 0 {
            self.state = State::DataReturn;
            if behind.starts_with(b"\r\n") {
                used += 2;
                *self = Self::new();
            }
        }
        (used, Piece::Data(data))
    }

    /// Moves on by one byte that is not data.
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        match self.state {
            State::Size(_) | State::Space | State::Extension | State::SizeFeed => self.step_line(byte),
            State::TrailerStart | State::Trailer | State::TrailerFeed | State::LastFeed => self.step_trailer(byte),
            State::DataReturn if byte == b'\r' => Ok(State::DataFeed),
            State::DataFeed if byte == b'\n' => {
                *self = Self::new();
                Ok(self.state)
            }
            State::DataReturn | State::DataFeed => Err(BodyError::DataEnd(byte)),
            state @ (State::Data | State::Done | State::Failed(_)) => Ok(state),
        }
    }

    fn step_line(&mut self, byte: u8) -> Result<State, BodyError> {
        self.line += 1;
        if self.line > CHUNK_LINE_LIMIT {
            return Err(BodyError::LineTooLong);
        }
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => self.digit(digits, byte),
            (State::Size(0), _) => Err(BodyError::SizeByte(byte)),
            (State::SizeFeed, b'\n') => Ok(self.begin()),
            (State::SizeFeed, _) => Err(BodyError::LineByte(byte)),
            (_, b'\r') => Ok(State::SizeFeed),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) | (_, b';') => Ok(State::Extension),
            (State::Size(_) | State::Space, b' ' | b'\t') => Ok(State::Space),
            _ => Err(BodyError::LineByte(byte)),
        }
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<State, BodyError> {
        if digits == SIZE_DIGITS {
            return Err(BodyError::SizeTooLarge);
        }
        self.left = self.left << 4 | u64::from(hex(byte).unwrap_or(0));
        Ok(State::Size(digits + 1))
    }

    /// The state after a size line: the chunk's data, or the trailer section after the last chunk.
    fn begin(&mut self) -> State {
        self.line = 0;
        if self.left == 0 { State::TrailerStart } else { State::Data }
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, BodyError> {
        self.line += 1;
        if self.line > TRAILER_LIMIT {
            return Err(BodyError::TrailerTooLong);
        }
        match (self.state, byte) {
            (State::LastFeed, b'\n') => Ok(State::Done),
            (State::TrailerFeed, b'\n') => Ok(State::TrailerStart),
            (State::LastFeed | State::TrailerFeed, _) => Err(BodyError::TrailerByte(byte)),
            (State::TrailerStart, b'\r') => Ok(State::LastFeed),
            (_, b'\r') => Ok(State::TrailerFeed),
            (_, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Trailer),
            _ => Err(BodyError::TrailerByte(byte)),
        }
    }
}

/// Reads a size line at the front of `input`, if it is whole, has no extensions and is not the last chunk's. Gives its
/// bytes and the size.
#[inline]
fn short_line(input: &[u8]) -> Option<(usize, u64)> {
    let mut size = 0;
    for (n, &byte) in input.iter().take(SIZE_DIGITS as usize + 1).enumerate() {
        match hex(byte) {
            Some(_) if n == SIZE_DIGITS as usize => return None,
            Some(digit) => size = size << 4 | u64::from(digit),
            None => {
                let ends = byte == b'\r' && input.get(n + 1) == Some(&b'\n');
                return (ends && size > 0).then_some((n + 2, size));
            }
        }
    }
    None
}

#[inline]
fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
