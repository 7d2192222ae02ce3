//! Finds where blocks end, which id they set, and whether clients dispatch an event: what a proxy must know of a
//! stream.
//!
//! In: the bytes of one response body, cut anywhere. Out: one [`Scan`] per call: the end of a block, or that the input
//! is used up.
//! Laws: no byte is searched twice for a line end; only an id whose block goes on in the next input is copied; the heap
//! never holds more than four times the id cap. The results do not depend on where the input was cut, with one
//! exception: a CR at the end of an input ends its line at once, and a LF at the start of the next input belongs to
//! that CR.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use super::line::{self, CR, Field, Head, LF, line_end, work};

/// The state between two inputs: 24 bytes, and on the heap what the unfinished lines of a block have set.
pub struct Scanner {
    kept: Option<Box<Kept>>,
    max_id_bytes: u32,
    head: Head,
    id: Carried,
    /// Whether a field line of the block is complete.
    open: bool,
    has_data: bool,
    has_retry: bool,
    /// Whether the unfinished `retry` line has a digit, or the unfinished id line more bytes than the cap.
    flagged: bool,
}

/// Values of lines and blocks that span inputs. In a box of its own, since nearly all streams wait between blocks.
#[derive(Default)]
struct Kept {
    /// The id that [`Carried::Held`] is about, and behind it the value of the unfinished id line.
    bytes: Vec<u8>,
    /// Where in `bytes` the value of the unfinished id line begins.
    held: usize,
    /// What the finished `retry` lines of an open block have set.
    retry: u64,
    /// The digits of the unfinished `retry` line.
    number: u64,
}

/// The id that the finished lines of an open block in earlier inputs have set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    None,
    Held,
    TooLong,
}

/// Where the scanned bytes end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// Between blocks, at the start of a line.
    Boundary,
    /// In an unfinished comment line outside a block.
    Comment,
    /// In a block, or in an unfinished line that may begin a block. A byte order mark alone is such a line.
    Block,
}

/// What [`Scanner::scan`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan<'a> {
    /// A block ended.
    Block {
        /// Bytes of the input up to the end of the blank line.
        end: usize,
        /// What the block sets.
        block: Block<'a>,
    },
    /// The input is used up.
    More {
        /// Bytes at the front of the input that belong to no open block: whole comment lines and blank lines. The bytes
        /// after them are unfinished. 0 if a block, or the line at the front, was open before this input and still is.
        whole: usize,
    },
}

/// What a block sets. A block begins with its first field line and ends with the next blank line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block<'a> {
    /// The id that the block sets.
    pub id: BlockId<'a>,
    /// Whether the block has a `data` field, so that a client dispatches an event.
    pub has_data: bool,
    /// Milliseconds of the last valid `retry` field. Saturates.
    pub retry: Option<u64>,
}

/// The id that a block sets. The last valid id line counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockId<'a> {
    /// There is no valid id line, so the id stays as it was.
    None,
    /// The block sets this id. An empty id resets the client's id.
    Set(&'a [u8]),
    /// The block sets an id with more bytes than the scanner's cap.
    TooLong,
}

/// What the whole lines of this input set, besides what the scanner carries from earlier inputs.
struct Facts<'i> {
    id: FoundId<'i>,
    has_data: bool,
    retry: Option<u64>,
}

enum FoundId<'i> {
    Carried,
    Set(&'i [u8]),
    TooLong,
}

impl Scanner {
    /// A scanner at the start of a body, which may begin with a byte order mark. The mark counts as part of the first
    /// line. An id of more than `max_id_bytes` becomes [`BlockId::TooLong`] (the cap itself is at most `u32::MAX`).
    #[must_use]
    pub fn new(max_id_bytes: usize) -> Self {
        Self { head: Head::Bom(0), ..Self::resumed(max_id_bytes) }
    }

    /// A scanner at a block boundary in the middle of a stream: no byte order mark is expected.
    #[must_use]
    pub fn resumed(max_id_bytes: usize) -> Self {
        Self {
            kept: None,
            max_id_bytes: u32::try_from(max_id_bytes).unwrap_or(u32::MAX),
            head: Head::Start,
            id: Carried::None,
            open: false,
            has_data: false,
            has_retry: false,
            flagged: false,
        }
    }

    /// The cap on ids, in bytes.
    #[must_use]
    pub fn max_id_bytes(&self) -> usize {
        self.max_id_bytes as usize
    }

    /// Whether the next byte begins a line outside any block, and can be neither part of a byte order mark nor the LF
    /// of a CRLF.
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.head == Head::Start && !self.open
    }

    /// Where the scanned bytes end.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.head {
            _ if self.open => Position::Block,
            Head::Start | Head::AfterCr | Head::Bom(0) => Position::Boundary,
            Head::Comment => Position::Comment,
            _ => Position::Block,
        }
    }

    /// The id that the whole lines of the open block have set so far.
    #[must_use]
    pub fn open_id(&self) -> BlockId<'_> {
        match self.id {
            Carried::TooLong => BlockId::TooLong,
            // The value of an unfinished id line lies behind the id.
            Carried::Held if self.head == Head::Value(Field::Id) => {
                BlockId::Set(&self.bytes()[..self.kept.as_ref().map_or(0, |kept| kept.held)])
            }
            Carried::Held => BlockId::Set(self.bytes()),
            Carried::None => BlockId::None,
        }
    }

    /// Heap bytes in use.
    /// What is kept of ids.
    fn bytes(&self) -> &[u8] {
        self.kept.as_ref().map_or(&[], |kept| &kept.bytes)
    }

    fn kept_mut(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes.capacity())
    }

    /// Scans to the end of the next block, or to the end of `input`. After [`Scan::Block`], call again with the bytes
    /// after its `end`; after [`Scan::More`], call again with the next bytes of the body.
    #[inline]
    pub fn scan<'a>(&'a mut self, input: &'a [u8]) -> Scan<'a> {
        let start = if self.head == Head::Start { Some(0) } else { self.resume(input) };
        let Some(start) = start else { return Scan::More { whole: 0 } };
        let mut facts = Facts { id: FoundId::Carried, has_data: false, retry: None };
        match self.lines(input, start, &mut facts) {
            Ok(end) => Scan::Block { end, block: self.close(facts) },
            Err(whole) => Scan::More { whole },
        }
    }

    /// Goes on in the line that an earlier input left unfinished. Returns where the next line begins; `None` if the
    /// line does not end in `input`.
    #[cold]
    fn resume(&mut self, input: &[u8]) -> Option<usize> {
        let &first = input.first()?;
        if self.head == Head::AfterCr {
            self.head = Head::Start;
            return Some(usize::from(first == LF));
        }
        let begin = self.head.read_bom(input);
        if self.head == Head::Start {
            return Some(0);
        }
        let rest = &input[begin..];
        let end = line_end(rest);
        self.read_piece(&rest[..end.unwrap_or(rest.len())]);
        let end = begin + end?;
        self.end_line();
        Some(self.after_line_end(input, end))
    }

    /// Reads whole lines from `start` on. `Ok` gives the end of the block that ended. `Err` means that the input is
    /// used up, and gives the bytes that belong to no open block.
    #[inline(always)]
    fn lines<'i>(&mut self, input: &'i [u8], start: usize, facts: &mut Facts<'i>) -> Result<usize, usize> {
        let mut at = start;
        let mut open = self.open;
        let mut whole = if open { 0 } else { start };
        while let Some(&first) = input.get(at) {
            // A blank line ends a block. Without a field line there is no block to end (#event-stream-interpretation).
            if first == LF || first == CR {
                at = self.after_line_end(input, at);
                if open {
                    return Ok(at);
                }
                whole = at;
                continue;
            }
            let rest = &input[at..];
            let front = line::usual_front(rest);
            let skip = front.map_or(0, |(_, skip)| skip);
            let Some(len) = line_end(&rest[skip..]) else {
                self.carry(facts, open);
                self.read_piece(rest);
                return Err(whole);
            };
            let len = skip + len;
            // A line that begins with a colon is a comment and sets nothing (#event-stream-interpretation).
            if first != b':' {
                open = true;
                let line = &rest[..len];
                let field = front.map(|(field, skip)| (field, &line[skip..])).or_else(|| line::field_of(line));
                self.take_field(field, facts);
            }
            at = self.after_line_end(input, at + len);
            if !open {
                whole = at;
            }
        }
        self.carry(facts, open);
        Err(whole)
    }

    /// Applies the field that a whole line sets.
    #[inline(always)]
    fn take_field<'i>(&self, field: Option<(Field, &'i [u8])>, facts: &mut Facts<'i>) {
        match field {
            // With a data field, even an empty one, a client dispatches an event (#dispatchMessage).
            Some((Field::Data, _)) => facts.has_data = true,
            // Of several id fields the last valid one counts at the blank line (#event-stream-interpretation).
            Some((Field::Id, value)) if line::is_id(value) => {
                let fits = value.len() <= self.max_id_bytes as usize;
                facts.id = if fits { FoundId::Set(value) } else { FoundId::TooLong };
            }
            // Of several retry fields the last one that is a number counts (#event-stream-interpretation).
            Some((Field::Retry, value)) => facts.retry = line::number(value).or(facts.retry),
            // An id with NUL is ignored. Event and unknown fields do not matter here (same section).
            _ => {}
        }
    }

    /// Where the line after the one that ends at `end` begins. CRLF is one line end. If a CR ends the input, the next
    /// input shows whether a LF belongs to it.
    #[inline(always)]
    fn after_line_end(&mut self, input: &[u8], end: usize) -> usize {
        if input[end] == LF {
            return end + 1;
        }
        match input.get(end + 1) {
            Some(&next) => end + 1 + usize::from(next == LF),
            None => {
                self.head = Head::AfterCr;
                end + 1
            }
        }
    }

    /// Ends the block. Returns what it has set, in this input and in earlier ones.
    #[inline(always)]
    fn close<'a>(&'a mut self, facts: Facts<'a>) -> Block<'a> {
        let carried = if self.open { self.take_carried() } else { (Carried::None, false, None) };
        let id = match facts.id {
            FoundId::Set(id) => BlockId::Set(id),
            FoundId::TooLong => BlockId::TooLong,
            FoundId::Carried => match carried.0 {
                Carried::None => BlockId::None,
                Carried::Held => BlockId::Set(self.bytes()),
                Carried::TooLong => BlockId::TooLong,
            },
        };
        Block { id, has_data: facts.has_data || carried.1, retry: facts.retry.or(carried.2) }
    }

    #[cold]
    fn take_carried(&mut self) -> (Carried, bool, Option<u64>) {
        let carried = (self.id, self.has_data, self.kept.as_ref().filter(|_| self.has_retry).map(|kept| kept.retry));
        self.id = Carried::None;
        self.open = false;
        self.has_data = false;
        self.has_retry = false;
        carried
    }

    /// Keeps what the whole lines of this input set in a block that goes on in the next input.
    #[cold]
    fn carry(&mut self, facts: &Facts<'_>, open: bool) {
        self.open = open;
        self.has_data |= facts.has_data;
        if let Some(retry) = facts.retry {
            self.kept_mut().retry = retry;
            self.has_retry = true;
        }
        match facts.id {
            FoundId::Carried => {}
            FoundId::TooLong => self.id = Carried::TooLong,
            FoundId::Set(id) => {
                self.id = Carried::Held;
                let bytes = &mut self.kept_mut().bytes;
                bytes.clear();
                bytes.extend_from_slice(id);
                work::count(id.len());
            }
        }
    }

    /// Reads a piece of a line that spans inputs.
    fn read_piece(&mut self, piece: &[u8]) {
        let before = self.head;
        let at = self.head.read(piece);
        match self.head {
            Head::Value(Field::Id) => {
                if before != self.head {
                    self.begin_id();
                }
                self.read_id(&piece[at..]);
            }
            Head::Value(Field::Retry) => {
                if before != self.head {
                    (self.kept_mut().number, self.flagged) = (0, false);
                }
                self.read_retry(&piece[at..]);
            }
            _ => {}
        }
    }

    fn begin_id(&mut self) {
        let is_held = self.id == Carried::Held;
        let kept = self.kept_mut();
        if !is_held {
            kept.bytes.clear();
        }
        kept.held = kept.bytes.len();
        self.flagged = false;
    }

    fn read_id(&mut self, piece: &[u8]) {
        work::count(piece.len());
        let kept = self.kept.get_or_insert_default();
        if !line::is_id(piece) {
            self.head = Head::Other;
            kept.bytes.truncate(kept.held);
            return;
        }
        let so_far = kept.bytes.len() - kept.held;
        if self.flagged || piece.len() > self.max_id_bytes as usize - so_far {
            self.flagged = true;
        } else {
            kept.bytes.extend_from_slice(piece);
            work::count(piece.len());
        }
    }

    fn read_retry(&mut self, piece: &[u8]) {
        for &byte in piece {
            work::count(1);
            let kept = self.kept.get_or_insert_default();
            match line::push_digit(kept.number, byte) {
                Some(number) => (kept.number, self.flagged) = (number, true),
                None => {
                    self.head = Head::Other;
                    return;
                }
            }
        }
    }

    /// Ends a line that spans inputs.
    fn end_line(&mut self) {
        let head = std::mem::replace(&mut self.head, Head::Start);
        if head == Head::Comment || head.is_blank() {
            return;
        }
        self.open = true;
        match head.field() {
            Some(Field::Data) => self.has_data = true,
            Some(Field::Id) => {
                if head != Head::Value(Field::Id) {
                    self.begin_id();
                }
                self.end_id();
            }
            Some(Field::Retry) if head == Head::Value(Field::Retry) && self.flagged => {
                let kept = self.kept_mut();
                kept.retry = kept.number;
                self.has_retry = true;
            }
            _ => {}
        }
    }

    fn end_id(&mut self) {
        let kept = self.kept.get_or_insert_default();
        if self.flagged {
            kept.bytes.clear();
            self.id = Carried::TooLong;
        } else {
            kept.bytes.drain(..kept.held);
            work::count(kept.bytes.len());
            self.id = Carried::Held;
        }
    }
}
