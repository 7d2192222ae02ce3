//! Written events are read back, and a value that cannot be written is refused with the place of the wrong byte.
//!
//! In: the sizes of the pieces, and a list of items to write. Out: a panic if a property does not hold.
//! Laws: parser and scanner find each event, in order, with its type, data and id, and the reconnection time; a refusal
//! leaves the output unchanged.

use super::chunks::cut;
use crate::sse::{Parser, ParserLimits, Position, Scan, Scanner, WriteError, write_comment, write_event, write_retry};
use arbitrary::{Arbitrary, Unstructured};

#[derive(Arbitrary, Debug)]
enum Item<'a> {
    Comment(&'a [u8]),
    Event { event_type: Option<&'a str>, id: Option<&'a [u8]>, data: &'a [u8] },
    Retry(u64),
}

/// What parser and scanner must have found at the end.
#[derive(Default)]
struct Expected {
    events: Vec<[Vec<u8>; 3]>,
    id: Vec<u8>,
    retry: Option<u64>,
    blocks: usize,
}

/// The target's body.
pub fn sse_roundtrip(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(sizes) = <[u8; 3]>::arbitrary(&mut u) else { return };
    let (mut out, mut expected) = (Vec::new(), Expected::default());
    while !u.is_empty()
        && let Ok(item) = Item::arbitrary(&mut u)
    {
        write(&item, &mut out, &mut expected);
    }
    let mut parser = Parser::new(ParserLimits::default());
    let mut scanner = Scanner::new(usize::MAX);
    let (mut events, mut blocks) = (Vec::new(), 0);
    for piece in cut(&out, &sizes) {
        let mut input = piece;
        while let Some(event) = parser.next(&mut input) {
            let event = event.expect("nothing is too long");
            events.push([event.event_type.to_vec(), event.data.to_vec(), event.last_event_id.to_vec()]);
        }
        let mut rest = piece;
        while let Scan::Block { end, .. } = scanner.scan(rest) {
            blocks += 1;
            rest = &rest[end..];
        }
    }
    assert_eq!(events, expected.events);
    assert_eq!((parser.retry(), blocks), (expected.retry, expected.blocks));
    assert_eq!(scanner.position(), Position::Boundary, "the output does not end at a boundary");
}

fn write(item: &Item<'_>, out: &mut Vec<u8>, expected: &mut Expected) {
    match *item {
        Item::Comment(text) => write_comment(out, text),
        Item::Retry(milliseconds) => {
            write_retry(out, milliseconds);
            expected.retry = Some(milliseconds);
            expected.blocks += 1;
        }
        Item::Event { event_type, id, data } => {
            let before = out.len();
            let unfit = |value: &[u8]| value.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0));
            let wrong_id = id.and_then(unfit).map(WriteError::Id);
            let wrong = wrong_id.or(event_type.and_then(|name| unfit(name.as_bytes())).map(WriteError::EventType));
            let written = write_event(out, event_type, id, data);
            assert_eq!(written.err(), wrong);
            if wrong.is_some() {
                return assert_eq!(out.len(), before, "a refusal wrote something");
            }
            if let Some(id) = id {
                expected.id = id.to_vec();
            }
            let event_type = event_type.filter(|name| !name.is_empty()).unwrap_or("message");
            expected.events.push([event_type.into(), with_feeds(data), expected.id.clone()]);
            expected.blocks += 1;
        }
    }
}

/// `data` with LF in place of each line end.
fn with_feeds(data: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(data.len());
    for (n, byte) in data.iter().enumerate() {
        match byte {
            b'\r' => found.push(b'\n'),
            b'\n' if n > 0 && data[n - 1] == b'\r' => {}
            _ => found.push(*byte),
        }
    }
    found
}
