//! Parser and scanner against the conformance corpus and against an obvious twin, however the bytes are cut.
//!
//! In: `data/sse.jsonl` (one case a line: bytes, and what the standard says comes of them) and seeded random streams.
//! Law: a result never depends on where the input is cut.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "support/sse_twin.rs"]
mod sse_twin;

use segno::base::Random;
use segno::sse::{BlockId, Parser, ParserLimits, Position, Scan, Scanner};
use serde_json::Value;
use sse_twin::{Block, Event, Stream};

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

/// `input` in pieces of the given sizes; what they leave is the last piece.
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

/// Every way a case is fed.
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

/// No limit is in the way.
fn wide() -> ParserLimits {
    ParserLimits { max_line_bytes: usize::MAX, max_event_bytes: usize::MAX }
}

/// What the parser finds; the block fields stay empty.
fn parsed(pieces: &[&[u8]]) -> Stream {
    let mut parser = Parser::new(wide());
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = parser.next(&mut input) {
            let event = event.unwrap();
            events.push((event.event_type.to_vec(), event.data.to_vec(), event.last_event_id.to_vec()));
        }
        assert!(input.is_empty());
    }
    Stream {
        events,
        retry: parser.retry(),
        last_id: parser.last_event_id().to_vec(),
        id_buffer: parser.last_event_id_buffer().to_vec(),
        ..Stream::default()
    }
}

/// Feeds a scanner and keeps, in the offsets of the whole stream, what it finds.
struct Scanned<'a> {
    scanner: Scanner,
    stream: &'a [u8],
    fed: usize,
    settled: usize,
    blocks: Vec<Block>,
}

impl<'a> Scanned<'a> {
    fn new(stream: &'a [u8]) -> Self {
        Self { scanner: Scanner::new(usize::MAX), stream, fed: 0, settled: 0, blocks: Vec::new() }
    }

    /// A boundary between CR and LF stands for the one behind the LF: that LF belongs to no line.
    fn boundary(&self, at: usize) -> usize {
        at + usize::from(at > 0 && self.stream[at - 1] == b'\r' && self.stream.get(at) == Some(&b'\n'))
    }

    fn feed(&mut self, size: usize) {
        let input = &self.stream[self.fed..self.fed + size];
        let mut at = 0;
        loop {
            match self.scanner.scan(&input[at..]) {
                Scan::Block { end, block } => {
                    assert!(end > 0);
                    at += end;
                    let id = match block.id {
                        BlockId::None => None,
                        BlockId::Set(id) => Some(id.to_vec()),
                        BlockId::TooLong => panic!("no id is too long here"),
                    };
                    let (has_data, retry) = (block.has_data, block.retry);
                    let end = self.boundary(self.fed + at);
                    self.blocks.push(Block { end, id, has_data, retry });
                    self.settled = end;
                }
                Scan::More { whole } => {
                    if whole > 0 {
                        self.settled = self.boundary(self.fed + at + whole);
                    }
                    break;
                }
            }
        }
        self.fed += size;
    }

    /// The scanner agrees with the twin on all it was fed, and says rightly where that ends.
    fn check(&self, twin: &Stream) {
        let at = |block: &Block| Block { end: self.boundary(block.end), ..block.clone() };
        assert_eq!(self.blocks, twin.blocks.iter().map(at).collect::<Vec<_>>());
        let settled = self.boundary(twin.settled);
        assert_eq!(self.settled, settled);
        let rest = self.stream.get(settled..self.fed).unwrap_or(&[]);
        let expected = match rest.first() {
            None => Position::Boundary,
            _ if settled == 0 && rest.starts_with(b"\xef\xbb\xbf:") => Position::Comment,
            Some(b':') => Position::Comment,
            Some(_) => Position::Block,
        };
        assert_eq!(self.scanner.position(), expected);
    }
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

/// The parser's part of what the twin finds.
fn parser_part(twin: &Stream) -> Stream {
    Stream { blocks: Vec::new(), settled: 0, ..twin.clone() }
}

#[test]
fn the_corpus_is_whole() {
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
fn the_scanner_knows_at_every_cut_what_is_settled() {
    for seed in 0..20_000 {
        let random = &mut Random::new(!seed);
        let stream = random_stream(random);
        println!("seed {seed}, {:?}", text(&stream)); // the last one shown is the one that fails
        let mut scanned = Scanned::new(&stream);
        for size in random_sizes(random, stream.len()) {
            scanned.feed(size);
            scanned.check(&sse_twin::read(&stream[..scanned.fed]));
        }
    }
}
