//! Parser and scanner, compared with the conformance corpus and with a simple twin, however the bytes are cut.
//!
//! In: `data/sse.jsonl` (one case per line: bytes, and what the standard makes of them) and seeded random streams.
//! Law: a result never depends on where the input is cut.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use segno::base::Random;
use segno::fuzzing::sse_reading::{Scanned, parsed, parser_part};
use segno::fuzzing::sse_twin::{self, Stream};
use serde_json::Value;

struct Case {
    name: String,
    input: Vec<u8>,
    chunks: Option<Vec<usize>>,
    expect: Value,
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base64: {c}"),
    };
    let mut out = Vec::new();
    let (mut bits, mut have) = (0u32, 0);
    for c in text.bytes().filter(|&c| c != b'=') {
        bits = bits << 6 | u32::from(digit(c));
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    out
}

fn cases() -> Vec<Case> {
    let corpus = include_str!("data/sse.jsonl");
    let case = |line| {
        let value: Value = serde_json::from_str(line).unwrap();
        let sizes = |v: &Value| v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        Case {
            name: value["name"].as_str().unwrap().to_owned(),
            input: base64(value["input_b64"].as_str().unwrap()),
            chunks: value.get("chunks").filter(|v| !v.is_null()).map(sizes),
            expect: value["expect"].clone(),
        }
    };
    corpus.lines().map(case).collect()
}

/// `input` in pieces of the given sizes. The rest is the last piece.
fn cut<'a>(input: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = input;
    let mut pieces = Vec::new();
    for &size in sizes {
        let (piece, left) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces.push(rest);
    pieces
}

/// All ways in which a case is cut.
fn cuttings<'a>(case: &'a Case) -> Vec<Vec<&'a [u8]>> {
    let input = case.input.as_slice();
    let mut all: Vec<Vec<&'a [u8]>> = [1, 2, 3, 7].iter().map(|&n| input.chunks(n).collect()).collect();
    all.push(vec![input]);
    all.extend(case.chunks.iter().map(|sizes| cut(input, sizes)));
    if input.len() <= 4096 {
        all.extend((0..=input.len()).map(|at| cut(input, &[at])));
    }
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check_against_corpus(found: &Stream, expect: &Value) {
    let events: Vec<Value> = found
        .events
        .iter()
        .map(|(t, d, i)| serde_json::json!({"type": text(t), "data": text(d), "id": text(i)}))
        .collect();
    assert_eq!(Value::Array(events), expect["events"]);
    assert_eq!(found.retry, expect["retry_ms"].as_u64());
    assert_eq!(text(&found.last_id), expect["last_event_id"].as_str().unwrap());
    assert_eq!(text(&found.id_buffer), expect["last_event_id_buffer"].as_str().unwrap());
}

#[test]
fn the_corpus_is_complete() {
    assert_eq!(cases().len(), 209);
}

#[test]
fn the_parser_finds_what_the_corpus_says_however_it_is_cut() {
    for case in cases() {
        println!("{}", case.name); // shown when the case fails
        let whole = parsed(&[&case.input]);
        check_against_corpus(&whole, &case.expect);
        assert_eq!(whole, parser_part(&sse_twin::read(&case.input)));
        for pieces in cuttings(&case) {
            assert!(parsed(&pieces) == whole, "cut into {} pieces", pieces.len());
        }
    }
}

#[test]
fn the_scanner_finds_the_blocks_of_the_corpus_however_it_is_cut() {
    for case in cases() {
        println!("{}", case.name); // shown when the case fails
        let twin = sse_twin::read(&case.input);
        let with_data = twin.blocks.iter().filter(|block| block.has_data).count();
        assert_eq!(with_data, case.expect["events"].as_array().unwrap().len());
        let last_id = twin.blocks.iter().rev().find_map(|block| block.id.as_deref()).unwrap_or_default();
        assert_eq!(text(last_id), case.expect["last_event_id"].as_str().unwrap());
        for pieces in cuttings(&case) {
            let mut scanned = Scanned::new(&case.input);
            pieces.iter().for_each(|piece| scanned.feed(piece.len()));
            scanned.check(&twin);
        }
    }
}

const TROUBLE: [&[u8]; 36] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b":",
    b" ",
    b": ",
    b"data",
    b"id",
    b"event",
    b"retry",
    b"data:",
    b"id:",
    b"event:",
    b"retry:",
    b"data: ",
    b"id: ",
    b"0",
    b"7",
    b"42",
    b"\0",
    b"\xef",
    b"\xbb",
    b"\xbf",
    b"\xef\xbb\xbf",
    b"\xff",
    b"d",
    b"i",
    b"e",
    b"r",
    b"x",
    b"\n",
    b"\n",
    b"\r",
    b"99999999999999999999",
    b"Data",
];

fn random_stream(random: &mut Random) -> Vec<u8> {
    let tokens = random.below(32);
    (0..tokens).flat_map(|_| TROUBLE[random.below(TROUBLE.len() as u64) as usize].iter().copied()).collect()
}

fn random_sizes(random: &mut Random, len: usize) -> Vec<usize> {
    let largest = [1, 3, 9, 40][random.below(4) as usize];
    let mut sizes = Vec::new();
    let mut left = len;
    while left > 0 {
        let size = (random.below(largest + 1) as usize).min(left);
        sizes.push(size);
        left -= size;
    }
    sizes
}

#[test]
fn parser_and_scanner_agree_with_the_twin_on_random_streams() {
    for seed in 0..100_000 {
        let random = &mut Random::new(seed);
        let stream = random_stream(random);
        let sizes = random_sizes(random, stream.len());
        let twin = sse_twin::read(&stream);
        let part = parser_part(&twin);
        assert_eq!(parsed(&[&stream]), part, "whole, seed {seed}, {:?}", text(&stream));
        assert_eq!(parsed(&cut(&stream, &sizes)), part, "cut, seed {seed}, {:?} {sizes:?}", text(&stream));
        let mut scanned = Scanned::new(&stream);
        for &size in &sizes {
            scanned.feed(size);
        }
        scanned.check(&twin);
    }
}

#[test]
fn the_scanner_agrees_with_the_twin_at_every_cut() {
    for seed in 0..20_000 {
        let random = &mut Random::new(!seed);
        let stream = random_stream(random);
        println!("seed {seed}, {:?}", text(&stream)); // the last one shown is the one that fails
        let mut scanned = Scanned::new(&stream);
        for size in random_sizes(random, stream.len()) {
            scanned.feed(size);
            scanned.check(&sse_twin::read(&stream[..scanned.fed()]));
        }
    }
}
