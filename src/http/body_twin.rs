//! A second, slow decoder of chunked bodies. Tests and fuzz targets compare the real decoder with it.
//!
//! In: a body, and where it is cut. Out: its content, and where or why the body ended.
//! Law: the code is as simple as can be: each function follows one rule of the grammar.
//! Source: RFC 9112 section 7.1.

use super::{AtEof, BodyDecoder, BodyError, BodyLength, CHUNK_LINE_LIMIT, Piece, TRAILER_LIMIT};

/// What a decoder made of a body: its content, and where or why it stopped.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) data: Vec<u8>,
    pub(crate) end: End,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The body ended after this many bytes.
    At(usize),
    /// The input ended before the body.
    Open,
    /// The framing is damaged.
    Damaged(BodyError),
}

/// Feeds `input` to the real decoder, in pieces that end at `cuts`.
pub(crate) fn decode(length: BodyLength, input: &[u8], cuts: &[usize]) -> Outcome {
    let mut decoder = BodyDecoder::new(length);
    let (mut data, mut used, mut start) = (Vec::new(), 0, 0);
    for &cut in cuts.iter().chain([&input.len()]) {
        let mut piece = &input[start..cut];
        start = cut;
        loop {
            match decoder.next(piece) {
                Ok((n, what)) => {
                    used += n;
                    piece = &piece[n..];
                    match what {
                        Piece::Data(bytes) => {
                            assert!(!bytes.is_empty());
                            data.extend_from_slice(bytes);
                        }
                        Piece::More => break assert!(piece.is_empty()),
                        Piece::End => return ended(&decoder, data, used),
                    }
                }
                Err(error) => {
                    assert_eq!(decoder.next(b"0\r\n\r\n"), Err(error), "an error repeats itself");
                    return Outcome { data, end: End::Damaged(error) };
                }
            }
        }
    }
    assert!(!decoder.is_done());
    Outcome { data, end: End::Open }
}

fn ended(decoder: &BodyDecoder, data: Vec<u8>, used: usize) -> Outcome {
    assert!(decoder.is_done());
    assert_eq!(decoder.at_eof(), AtEof::Clean);
    Outcome { data, end: End::At(used) }
}

/// The slow decoder. It takes one byte after the other, and its only state is the position in the input.
pub(crate) struct Twin<'a> {
    input: &'a [u8],
    at: usize,
    data: Vec<u8>,
}

impl Twin<'_> {
    pub(crate) fn run(input: &[u8]) -> Outcome {
        let mut twin = Twin { input, at: 0, data: Vec::new() };
        let end = match twin.body() {
            Ok(()) => End::At(twin.at),
            Err(None) => End::Open,
            Err(Some(error)) => End::Damaged(error),
        };
        Outcome { data: twin.data, end }
    }

    fn take(&mut self) -> Result<u8, Option<BodyError>> {
        let byte = *self.input.get(self.at).ok_or(None)?;
        self.at += 1;
        Ok(byte)
    }

    fn body(&mut self) -> Result<(), Option<BodyError>> {
        loop {
            let size = self.size_line()?;
            if size == 0 {
                return self.trailers();
            }
            for _ in 0..size {
                let byte = self.take()?;
                self.data.push(byte);
            }
            for wanted in *b"\r\n" {
                let byte = self.take()?;
                if byte != wanted {
                    return Err(Some(BodyError::DataEnd(byte)));
                }
            }
        }
    }

    /// Takes the line byte by byte, and reads all of the line again after each byte.
    fn size_line(&mut self) -> Result<u64, Option<BodyError>> {
        let start = self.at;
        loop {
            self.take()?;
            let line = &self.input[start..self.at];
            if let Some(size) = judge(line).map_err(Some)? {
                return Ok(size);
            }
        }
    }

    fn trailers(&mut self) -> Result<(), Option<BodyError>> {
        let start = self.at;
        loop {
            let byte = self.take()?;
            let section = &self.input[start..self.at];
            if section.len() > TRAILER_LIMIT as usize {
                return Err(Some(BodyError::TrailerTooLong));
            }
            let after_return = section.len() > 1 && section[section.len() - 2] == b'\r';
            let fits = if after_return { byte == b'\n' } else { byte == b'\r' || is_text(byte) };
            if !fits {
                return Err(Some(BodyError::TrailerByte(byte)));
            }
            if section == b"\r\n" || section.ends_with(b"\r\n\r\n") {
                return Ok(());
            }
        }
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Reads a size line so far: gives its size if the line is whole, and `None` if more bytes can still make it whole.
fn judge(line: &[u8]) -> Result<Option<u64>, BodyError> {
    let last = line[line.len() - 1];
    if line.len() > CHUNK_LINE_LIMIT as usize {
        return Err(BodyError::LineTooLong);
    }
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    match digits {
        0 => return Err(BodyError::SizeByte(last)),
        17.. => return Err(BodyError::SizeTooLarge),
        _ => {}
    }
    let rest = &line[digits..];
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let text = String::from_utf8_lossy(&line[..digits]);
    let fits = match &rest[blanks..] {
        [] => true,
        [b';', extension @ .., _] | [b';', extension @ ..] if !extension.contains(&b'\r') => {
            rest.len() == blanks + 1 || is_text(last) || last == b'\r'
        }
        [b'\r'] => true,
        [.., b'\r', b'\n'] => return Ok(u64::from_str_radix(&text, 16).ok()),
        _ => false,
    };
    if fits { Ok(None) } else { Err(BodyError::LineByte(last)) }
}
