//! Scanner, parser and twin find the same in any stream, however it is cut.
//!
//! In: two caps, the sizes of the pieces, the stream. Out: a panic if a property does not hold.
//! Laws: without caps, scanner and parser agree with the twin; with caps, the results do not depend on the cuts, ids
//! are bounded, and no block is skipped without an error.

use super::chunks::Chunks;
use super::sse_reading::{Scanned, parsed, parser_part};
use super::sse_twin::{self, Event};
use crate::sse::{BlockId, ParseError, Parser, ParserLimits, Scan, Scanner};

/// The target's body.
pub fn sse_split(data: &[u8]) {
    let [line, event, rest @ ..] = data else { return };
    let chunks = Chunks::new(rest);
    let pieces = chunks.pieces();
    let twin = sse_twin::read(chunks.text);
    let part = parser_part(&twin);
    assert_eq!(parsed(&[chunks.text]), part, "the parser, in one piece");
    assert_eq!(parsed(&pieces), part, "the parser, in pieces");
    for pieces in [&[chunks.text][..], &pieces] {
        let mut scanned = Scanned::new(chunks.text);
        pieces.iter().for_each(|piece| scanned.feed(piece.len()));
        scanned.check(&twin);
    }
    let limits = ParserLimits { max_line_bytes: usize::from(*line), max_event_bytes: usize::from(*event) };
    assert_eq!(capped(&pieces, limits), capped(&[chunks.text], limits), "the parser, {limits:?}");
    let cap = usize::from(*line % 40);
    assert_eq!(ids(&pieces, cap), ids(&[chunks.text], cap), "the scanner, ids of at most {cap} bytes");
}

/// What a parser with limits gives, and its state at the end.
type Capped = (Vec<Result<Event, ParseError>>, Vec<u8>, Vec<u8>, Option<u64>);

fn capped(pieces: &[&[u8]], limits: ParserLimits) -> Capped {
    let mut parser = Parser::new(limits);
    let mut found = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = parser.next(&mut input) {
            if let Ok(event) = &event {
                assert!(
                    event.data.len() <= limits.max_event_bytes && event.last_event_id.len() <= limits.max_line_bytes
                );
            }
            found.push(event.map(|e| (e.event_type.to_vec(), e.data.to_vec(), e.last_event_id.to_vec())));
        }
        assert!(input.is_empty());
    }
    (found, parser.last_event_id().to_vec(), parser.last_event_id_buffer().to_vec(), parser.retry())
}

/// The ids of all blocks, under a cap, and whether the blocks have data. `Some(None)` is an id over the cap.
fn ids(pieces: &[&[u8]], cap: usize) -> Vec<(Option<Option<Vec<u8>>>, bool)> {
    let mut scanner = Scanner::new(cap);
    let mut found = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while let Scan::Block { end, block } = scanner.scan(rest) {
            let id = match block.id {
                BlockId::None => None,
                BlockId::Set(id) => {
                    assert!(id.len() <= cap);
                    Some(Some(id.to_vec()))
                }
                BlockId::TooLong => Some(None),
            };
            found.push((id, block.has_data));
            rest = &rest[end..];
        }
    }
    found
}
