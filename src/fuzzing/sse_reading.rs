//! Feeds parser and scanner in pieces, and compares what they find with what the twin finds in the whole stream.
//!
//! In: a stream, and where it is cut. Out: what was found, in the twin's types.
//! Law: there are no limits here; other tests cover them.

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

/// The part of the twin's result that the parser must find too.
pub fn parser_part(twin: &Stream) -> Stream {
    Stream { blocks: Vec::new(), settled: 0, ..twin.clone() }
}

/// Feeds a scanner and keeps what it finds, with offsets in the whole stream.
pub struct Scanned<'a> {
    scanner: Scanner,
    stream: &'a [u8],
    fed: usize,
    settled: usize,
    blocks: Vec<Block>,
}

impl<'a> Scanned<'a> {
    /// A scanner that has been fed nothing of `stream` yet.
    pub fn new(stream: &'a [u8]) -> Self {
        Self { scanner: Scanner::new(usize::MAX), stream, fed: 0, settled: 0, blocks: Vec::new() }
    }

    /// Moves a boundary between CR and LF to after the LF, which belongs to no line.
    fn boundary(&self, at: usize) -> usize {
        at + usize::from(at > 0 && self.stream[at - 1] == b'\r' && self.stream.get(at) == Some(&b'\n'))
    }

    /// How many bytes have been fed.
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

    /// Checks that the scanner agrees with the twin on all bytes fed so far, and on where they end.
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
