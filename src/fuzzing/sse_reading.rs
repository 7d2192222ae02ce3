//! Parser and scanner, fed in pieces, beside what the twin finds in the whole.
//!
//! In: a stream and where it is cut. Out: what was found, in the twin's words.
//! Law: no limit is in the way here; those are tested apart.

use super::sse_twin::{Block, Event, Stream};
use crate::sse::{BlockId, Parser, ParserLimits, Position, Scan, Scanner};

/// What the parser finds; the block fields stay empty.
pub fn parsed(pieces: &[&[u8]]) -> Stream {
    let mut parser = Parser::new(ParserLimits { max_line_bytes: usize::MAX, max_event_bytes: usize::MAX });
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = parser.next(&mut input) {
            let event = event.expect("no event is too long");
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

/// The parser's part of what the twin finds.
pub fn parser_part(twin: &Stream) -> Stream {
    Stream { blocks: Vec::new(), settled: 0, ..twin.clone() }
}

/// Feeds a scanner and keeps, in the offsets of the whole stream, what it finds.
pub struct Scanned<'a> {
    scanner: Scanner,
    stream: &'a [u8],
    fed: usize,
    settled: usize,
    blocks: Vec<Block>,
}

impl<'a> Scanned<'a> {
    /// Nothing of `stream` has been fed.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { scanner: Scanner::new(usize::MAX), stream, fed: 0, settled: 0, blocks: Vec::new() }
    }

    /// A boundary between CR and LF stands for the one behind the LF: that LF belongs to no line.
    fn boundary(&self, at: usize) -> usize {
        at + usize::from(at > 0 && self.stream[at - 1] == b'\r' && self.stream.get(at) == Some(&b'\n'))
    }

    /// Bytes that were fed.
    pub fn fed(&self) -> usize {
        self.fed
    }

    /// Feeds the next `size` bytes.
    pub fn feed(&mut self, size: usize) {
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
    pub fn check(&self, twin: &Stream) {
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
