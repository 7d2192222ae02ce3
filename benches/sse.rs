//! The scanner and the parser beside their limit: one search for a line end per line, and nothing else.
//!
//! In: four kinds of streams, in reads of 16 KiB. Out: bytes a second. Only ratios of one run mean anything.
//! Each bench checks the number of events it found.

use divan::{Bencher, counter::BytesCount};
use segno::sse::{Parser, ParserLimits, Scan, Scanner};
use std::hint::black_box;

const READ: usize = 16 << 10;

fn main() {
    divan::main();
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// 120 bytes: id, event, data.
    Llm,
    /// 363 bytes: id, event, data.
    Mcp,
    /// 16 KiB in one data line.
    Big,
    /// 9 bytes.
    Tiny,
}

const KINDS: [Kind; 4] = [Kind::Llm, Kind::Mcp, Kind::Big, Kind::Tiny];

/// A stream of a kind, and the number of its events.
fn stream(kind: Kind) -> (Vec<u8>, usize) {
    let event = |n: usize| match kind {
        Kind::Llm => format!("id: {n:08}\nevent: delta\ndata: {}\n\n", "x".repeat(84)),
        Kind::Mcp => format!("id: {n:036}\nevent: message\ndata: {}\n\n", "x".repeat(299)),
        Kind::Big => format!("data: {}\n\n", "x".repeat(16_376)),
        Kind::Tiny => format!("data: {}\n\n", n % 10),
    };
    let mut bytes = Vec::new();
    let mut events = 0;
    while bytes.len() < 1 << 20 {
        bytes.extend_from_slice(event(events).as_bytes());
        events += 1;
    }
    (bytes, events)
}

#[divan::bench(args = KINDS)]
fn limit(bencher: Bencher<'_, '_>, kind: Kind) {
    let (bytes, _) = stream(kind);
    bencher.counter(BytesCount::of_slice(&bytes)).bench_local(|| {
        let mut lines = 0;
        for mut read in black_box(&bytes).chunks(READ) {
            while let Some(at) = memchr::memchr2(b'\r', b'\n', read) {
                lines += 1;
                read = &read[at + 1..];
            }
        }
        lines
    });
}

#[divan::bench(args = KINDS)]
fn scanner(bencher: Bencher<'_, '_>, kind: Kind) {
    let (bytes, events) = stream(kind);
    bencher.counter(BytesCount::of_slice(&bytes)).bench_local(|| {
        let mut scanner = Scanner::new(1_024);
        let mut found = 0;
        for mut read in black_box(&bytes).chunks(READ) {
            while let Scan::Block { end, block } = scanner.scan(read) {
                found += usize::from(black_box(block).has_data);
                read = &read[end..];
            }
        }
        assert_eq!(found, events);
    });
}

#[divan::bench(args = KINDS)]
fn parser(bencher: Bencher<'_, '_>, kind: Kind) {
    let (bytes, events) = stream(kind);
    bencher.counter(BytesCount::of_slice(&bytes)).bench_local(|| {
        let mut parser = Parser::new(ParserLimits::default());
        let mut found = 0;
        for mut read in black_box(&bytes).chunks(READ) {
            while let Some(event) = parser.next(&mut read) {
                found += usize::from(black_box(event).is_ok());
            }
        }
        assert_eq!(found, events);
    });
}
