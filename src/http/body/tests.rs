//! Bodies of fixed and of open length, and the chunked decoder compared with its slow twin.

use super::*;
use crate::base::Random;
use crate::http::body_twin::{End, Outcome, Twin, decode};
use crate::http::{CHUNK_HEAD, CHUNK_LINE_LIMIT, TRAILER_LIMIT, chunk_head};

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
    for (n, byte) in b"1\r\na\r\n0\r\n\r\n".iter().enumerate() {
        // The body is whole with its last chunk, also where the server then closes without an empty line.
        let expected = if n < 9 { AtEof::Truncated } else { AtEof::Clean };
        assert_eq!(decoder.at_eof(), expected, "after {n} bytes");
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
fn malformed_framing_is_an_error() {
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
fn an_endless_size_line_is_an_error_at_the_bound() {
    let line = |len: usize| [b"1;".to_vec(), vec![b'x'; len - 4], b"\r\na\r\n0\r\n\r\n".to_vec()].concat();
    let limit = CHUNK_LINE_LIMIT as usize;
    assert!(matches!(chunked(&line(limit)).end, End::At(_)));
    assert_eq!(chunked(&line(limit + 1)).end, damaged(BodyError::LineTooLong));
    assert_eq!(chunked(&[b"1;".to_vec(), vec![b'x'; 10_000]].concat()).end, damaged(BodyError::LineTooLong));
    assert_eq!(chunked(&[b"1".to_vec(), vec![b' '; 10_000]].concat()).end, damaged(BodyError::LineTooLong));
    assert_eq!(chunked(&vec![b'0'; 10_000]).end, damaged(BodyError::SizeTooLarge));
}

#[test]
fn an_endless_trailer_section_is_an_error_at_the_bound() {
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
fn a_written_body_is_read_back() {
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

/// A chunked body. In half of the cases a few bytes are changed, removed or inserted.
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

#[test]
fn each_error_has_its_own_message_that_shows_the_byte_or_the_bound() {
    let mut messages = std::collections::HashSet::new();
    let all = [
        (BodyError::SizeByte(0x5a), "0x5a"),
        (BodyError::SizeTooLarge, "16"),
        (BodyError::LineTooLong, "256"),
        (BodyError::LineByte(0x5a), "0x5a"),
        (BodyError::DataEnd(0x5a), "0x5a"),
        (BodyError::TrailerTooLong, "16384"),
        (BodyError::TrailerByte(0x5a), "0x5a"),
    ];
    for (error, shown) in all {
        let text = error.to_string();
        assert!(text.contains(shown) && !text.contains('\n') && !text.ends_with('.'), "{text}");
        assert!(messages.insert(text), "{error:?}");
    }
}
