//! Bodies: fixed and open lengths, and the chunked decoder beside a slow twin.

use super::*;
use crate::base::Random;
use crate::http::{CHUNK_HEAD, CHUNK_LINE_LIMIT, TRAILER_LIMIT, chunk_head};

/// How a body went: its content, and where or why it stopped.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    data: Vec<u8>,
    end: End,
}

#[derive(PartialEq, Eq, Debug)]
enum End {
    /// So many bytes were the body's.
    At(usize),
    Open,
    Damaged(BodyError),
}

/// Feeds the pieces that `cuts` make of `input`.
fn decode(length: BodyLength, input: &[u8], cuts: &[usize]) -> Outcome {
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

/// The twin: a cursor that takes one byte after the other and follows the grammar downwards, with no state to keep.
struct Twin<'a> {
    input: &'a [u8],
    at: usize,
    data: Vec<u8>,
}

impl Twin<'_> {
    fn run(input: &[u8]) -> Outcome {
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

    /// Collects the line byte by byte, and reads what there is of it again after each.
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

/// Reads a size line so far: its size when it is whole, nothing while it may still become a line.
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

fn chunked(input: &[u8]) -> Outcome {
    decode(BodyLength::Chunked, input, &[])
}

fn damaged(error: BodyError) -> End {
    End::Damaged(error)
}

#[test]
fn a_fixed_length_ends_where_it_says() {
    for cut in 0..=8 {
        let outcome = decode(BodyLength::Length(5), b"hello GET", &[cut]);
        assert_eq!(outcome, Outcome { data: b"hello".to_vec(), end: End::At(5) });
    }
    assert_eq!(decode(BodyLength::Length(5), b"hell", &[]).end, End::Open);
    assert_eq!(decode(BodyLength::Length(0), b"x", &[]).end, End::At(0));
    assert_eq!(decode(BodyLength::None, b"x", &[]).end, End::At(0));
}

#[test]
fn an_open_length_never_ends_by_itself() {
    let outcome = decode(BodyLength::UntilClose, b"all of it", &[3, 3, 7]);
    assert_eq!(outcome, Outcome { data: b"all of it".to_vec(), end: End::Open });
}

#[test]
fn eof_means_what_the_framing_says() {
    assert_eq!(BodyDecoder::new(BodyLength::UntilClose).at_eof(), AtEof::UntilClose);
    assert_eq!(BodyDecoder::new(BodyLength::None).at_eof(), AtEof::Clean);
    assert_eq!(BodyDecoder::new(BodyLength::Length(1)).at_eof(), AtEof::Truncated);
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    for byte in b"1\r\na\r\n0\r\n\r\n" {
        assert_eq!(decoder.at_eof(), AtEof::Truncated);
        decoder.next(&[*byte]).unwrap();
    }
    assert_eq!(decoder.at_eof(), AtEof::Clean);
    assert!(decoder.is_done());
}

#[test]
fn a_whole_small_chunk_takes_one_call() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    assert_eq!(decoder.next(b"5\r\nhello\r\n3\r\nabc\r\n"), Ok((10, Piece::Data(b"hello"))));
    assert_eq!(decoder.next(b"3\r\nabc\r\n"), Ok((8, Piece::Data(b"abc"))));
    assert_eq!(decoder.next(b""), Ok((0, Piece::More)));
    assert_eq!(decoder.next(b"0\r\n\r\nGET"), Ok((5, Piece::End)));
    assert_eq!(decoder.next(b"GET"), Ok((0, Piece::End)));
}

#[test]
fn every_pair_of_splits_gives_the_same_body() {
    let bodies: [&[u8]; 8] = [
        b"5\r\nhello\r\n0\r\n\r\nGET /",
        b"000A;x=\"y\"\r\n0123456789\r\n1 ; a\r\n!\r\n00\r\nTrailer: x\r\nB: c\r\n\r\nrest",
        b"3\r\nabcX\r\n",
        b"3\r\nabc\nX",
        b"3\nabc",
        b"3\r\nabc\r\n0\r\nA: b\n\r\n",
        b"3;a\rb\r\nabc\r\n",
        b"2\r\n\r\n\r\n0\r\n\r\n",
    ];
    for input in bodies {
        let expected = Twin::run(input);
        for a in 0..=input.len() {
            for b in a..=input.len() {
                assert_eq!(decode(BodyLength::Chunked, input, &[a, b]), expected, "{} {a} {b}", input.escape_ascii());
            }
        }
        let each: Vec<usize> = (1..input.len()).collect();
        assert_eq!(decode(BodyLength::Chunked, input, &each), expected);
    }
}

#[test]
fn sizes_have_sixteen_digits_at_most() {
    let max = b"ffffffffffffffff\r\nabc";
    assert_eq!(chunked(max), Outcome { data: b"abc".to_vec(), end: End::Open });
    assert_eq!(chunked(b"8000000000000000\r\nabc").end, End::Open);
    assert_eq!(chunked(b"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n").end, End::At(43));
    assert_eq!(chunked(b"10000000000000000\r\n").end, damaged(BodyError::SizeTooLarge));
    assert_eq!(chunked(b"00000000000000003\r\nabc").end, damaged(BodyError::SizeTooLarge));
    assert_eq!(chunked(b"ffffffffffffffff0").end, damaged(BodyError::SizeTooLarge));
}

#[test]
fn framing_that_is_not_exact_is_damaged() {
    let cases: [(&[u8], BodyError); 16] = [
        (b" 5\r\nhello", BodyError::SizeByte(b' ')),
        (b"\r\n", BodyError::SizeByte(b'\r')),
        (b";x\r\n", BodyError::SizeByte(b';')),
        (b"-1\r\n", BodyError::SizeByte(b'-')),
        (b"+1\r\n", BodyError::SizeByte(b'+')),
        (b"0x5\r\nhello", BodyError::LineByte(b'x')),
        (b"5\nhello", BodyError::LineByte(b'\n')),
        (b"5\rhello", BodyError::LineByte(b'h')),
        (b"5\r\r\nhello", BodyError::LineByte(b'\r')),
        (b"5 5\r\nhello", BodyError::LineByte(b'5')),
        (b"5;a\nhello", BodyError::LineByte(b'\n')),
        (b"5;\0\r\n", BodyError::LineByte(0)),
        (b"5\r\nhello0\r\n", BodyError::DataEnd(b'0')),
        (b"5\r\nhello\n0\r\n", BodyError::DataEnd(b'\n')),
        (b"5\r\nhello\r0\r\n", BodyError::DataEnd(b'0')),
        (b"0\r\nA: b\n\r\n", BodyError::TrailerByte(b'\n')),
    ];
    for (input, error) in cases {
        assert_eq!(chunked(input).end, damaged(error), "{}", input.escape_ascii());
    }
}

#[test]
fn an_endless_size_line_is_damaged_at_the_bound() {
    let line = |len: usize| [b"1;".to_vec(), vec![b'x'; len - 4], b"\r\na\r\n0\r\n\r\n".to_vec()].concat();
    let limit = CHUNK_LINE_LIMIT as usize;
    assert!(matches!(chunked(&line(limit)).end, End::At(_)));
    assert_eq!(chunked(&line(limit + 1)).end, damaged(BodyError::LineTooLong));
    assert_eq!(chunked(&[b"1;".to_vec(), vec![b'x'; 10_000]].concat()).end, damaged(BodyError::LineTooLong));
    assert_eq!(chunked(&[b"1".to_vec(), vec![b' '; 10_000]].concat()).end, damaged(BodyError::LineTooLong));
    assert_eq!(chunked(&vec![b'0'; 10_000]).end, damaged(BodyError::SizeTooLarge));
}

#[test]
fn an_endless_trailer_section_is_damaged_at_the_bound() {
    let body = |len: usize| [b"0\r\nA:".to_vec(), vec![b'x'; len - 6], b"\r\n\r\n".to_vec()].concat();
    let limit = TRAILER_LIMIT as usize;
    assert_eq!(chunked(&body(limit)).end, End::At(limit + 3));
    assert_eq!(chunked(&body(limit + 1)).end, damaged(BodyError::TrailerTooLong));
    assert_eq!(
        chunked(&[b"0\r\n".to_vec(), b"A: b\r\n".repeat(5_000)].concat()).end,
        damaged(BodyError::TrailerTooLong)
    );
}

#[test]
fn what_is_written_is_read_back() {
    let mut random = Random::new(3);
    for _ in 0..300 {
        let (mut body, mut wire) = (Vec::new(), Vec::new());
        for _ in 0..random.below(6) {
            let chunk: Vec<u8> = (0..=random.below(300)).map(|_| random.next() as u8).collect();
            wire.extend_from_slice(chunk_head(chunk.len() as u32, &mut [0; CHUNK_HEAD]));
            wire.extend_from_slice(&chunk);
            wire.extend_from_slice(crate::http::CHUNK_END);
            body.extend_from_slice(&chunk);
        }
        wire.extend_from_slice(crate::http::LAST_CHUNK);
        let end = End::At(wire.len());
        wire.extend_from_slice(b"5\r\nnext");
        assert_eq!(decode(BodyLength::Chunked, &wire, &cuts(&mut random, wire.len())), Outcome { data: body, end });
    }
}

#[test]
fn the_decoder_agrees_with_its_twin_on_any_bytes() {
    for seed in 0..40_000 {
        let mut random = Random::new(seed);
        let input = damage(&mut random);
        let expected = Twin::run(&input);
        let cuts = cuts(&mut random, input.len());
        for cuts in [&[][..], &cuts] {
            let outcome = decode(BodyLength::Chunked, &input, cuts);
            assert_eq!(outcome, expected, "seed {seed}: {} at {cuts:?}", input.escape_ascii());
        }
    }
}

/// A chunked body, in half of the cases with a few bytes changed, taken out or put in.
fn damage(random: &mut Random) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..random.below(4) {
        let len = 1 + random.below(20) as usize;
        let extension = ["", "", "", ";a=b", " ;c", " "][random.below(6) as usize];
        let size = if random.below(2) == 0 { format!("{len:x}") } else { format!("{len:04X}") };
        wire.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        wire.extend((0..len).map(|_| b"a\r\n0"[random.below(4) as usize]));
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(
        [&b"0\r\n\r\n"[..], b"0;x\r\nA: b\r\nC: d\r\n\r\n", b"000\r\n\r\nGET"][random.below(3) as usize],
    );
    if random.below(2) == 0 {
        for _ in 0..=random.below(3) {
            let at = random.below(wire.len() as u64) as usize;
            let byte = b"\r\n;0a \t\0f\x7f\xff"[random.below(11) as usize];
            match random.below(3) {
                0 => wire[at] = byte,
                1 if wire.len() > 1 => drop(wire.remove(at)),
                _ => wire.insert(at, byte),
            }
        }
    }
    wire
}

fn cuts(random: &mut Random, len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..random.below(8)).map(|_| random.below(len as u64 + 1) as usize).collect();
    cuts.sort_unstable();
    cuts
}
