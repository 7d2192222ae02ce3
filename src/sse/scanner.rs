//! Finds where blocks end, which id they set and whether they dispatch: what a proxy needs to know of a stream.
//!
//! In: the bytes of one response body, cut anywhere. Out: per call one [`Scan`]: the end of a block, or that the
//! input is used up.
//! Laws: no byte is searched twice for a line end; nothing is copied but an id whose block goes on in the next input;
//! the heap never holds more than four times the id cap; the answers do not depend on where the input was cut, except
//! that a CR at its end ends its line at once, and a LF that begins the next input belongs to that CR.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use super::line::{self, CR, Field, Head, LF, line_end, work};

/// The state between two inputs: 56 bytes, and the id of an unfinished block on the heap.
pub struct Scanner {
    /// The id of the open block, when `id` is `Held`; behind it (from `held` on) the value of an unfinished id line.
    bytes: Vec<u8>,
    retry: u64,
    /// The digits so far of an unfinished `retry` line.
    number: u64,
    max_id_bytes: u32,
    held: u32,
    head: Head,
    id: Carried,
    /// Whether a field line of the block is complete.
    open: bool,
    has_data: bool,
    has_retry: bool,
    /// Whether the unfinished `retry` line has a digit, or the unfinished id line more bytes than the cap.
    flagged: bool,
}

/// The id that the finished lines of an open block in earlier inputs have set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    None,
    Held,
    TooLong,
}

/// Where the bytes so far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// Between blocks, at the start of a line.
    Boundary,
    /// In an unfinished comment line that stands outside a block.
    Comment,
    /// In a block, or in an unfinished line that may begin one (a byte order mark without more is such a line).
    Block,
}

/// What [`Scanner::scan`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan<'a> {
    /// A block ended.
    Block {
        /// Bytes of the input up to and with the blank line.
        end: usize,
        /// What the block says.
        block: Block<'a>,
    },
    /// The input is used up.
    More {
        /// Bytes at the front of the input that lie outside of any open block: whole comment lines and blank lines.
        /// What follows is unfinished. 0 when a block, or the line at the front, was open before and still is.
        whole: usize,
    },
}

/// What a block says: its first field line, and all that follows up to the next blank line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block<'a> {
    /// The id it sets.
    pub id: BlockId<'a>,
    /// Whether there was a `data` field, so that a client dispatches an event.
    pub has_data: bool,
    /// Milliseconds of the last valid `retry` field; saturates.
    pub retry: Option<u64>,
}

/// The id that a block sets: that of its last valid id line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockId<'a> {
    /// No valid id line: the id stays what it was.
    None,
    /// The id; an empty one resets it.
    Set(&'a [u8]),
    /// An id with more bytes than the scanner's cap.
    TooLong,
}

/// What the lines of this input add to what the scanner carries.
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
    /// A scanner at the start of a body, where one byte order mark may stand: it counts as bytes of the first line.
    /// Ids of more than `max_id_bytes` are reported as [`BlockId::TooLong`] (the cap itself is at most `u32::MAX`).
    #[must_use]
    pub fn new(max_id_bytes: usize) -> Self {
        Self { head: Head::Bom(0), ..Self::resumed(max_id_bytes) }
    }

    /// A scanner at a block boundary in the middle of a stream: no byte order mark is expected.
    #[must_use]
    pub fn resumed(max_id_bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            retry: 0,
            number: 0,
            max_id_bytes: u32::try_from(max_id_bytes).unwrap_or(u32::MAX),
            held: 0,
            head: Head::Start,
            id: Carried::None,
            open: false,
            has_data: false,
            has_retry: false,
            flagged: false,
        }
    }

    /// The cap that it was made with.
    #[must_use]
    pub fn max_id_bytes(&self) -> usize {
        self.max_id_bytes as usize
    }

    /// Whether the next byte begins a line outside of any block, where neither a byte order mark nor the LF of a CRLF may
    /// still come.
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.head == Head::Start && !self.open
    }

    /// Where the bytes so far end.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.head {
            _ if self.open => Position::Block,
            Head::Start | Head::AfterCr | Head::Bom(0) => Position::Boundary,
            Head::Comment => Position::Comment,
            _ => Position::Block,
        }
    }

    /// Heap bytes in use.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Scans to the end of the next block, or to the end of `input`. After [`Scan::Block`] call again with what
    /// follows its `end`; after [`Scan::More`] with the bytes that come next from the network.
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

    /// Reads on in the line that an earlier input left unfinished. Gives where the next line begins; `None` when
    /// `input` does not reach so far.
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

    /// Reads whole lines from `at` on. `Ok` with the end of the block that ended; `Err` with the bytes that lie
    /// outside any block, when the input is used up.
    #[inline(always)]
    fn lines<'i>(&mut self, input: &'i [u8], start: usize, facts: &mut Facts<'i>) -> Result<usize, usize> {
        let mut at = start;
        let mut open = self.open;
        let mut whole = if open { 0 } else { start };
        while let Some(&first) = input.get(at) {
            // A blank line ends the block before it; without a field line there is no block
            // (#event-stream-interpretation).
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

    /// Takes in what a whole line sets.
    #[inline(always)]
    fn take_field<'i>(&self, field: Option<(Field, &'i [u8])>, facts: &mut Facts<'i>) {
        match field {
            // A data field makes the block dispatch, even when its value is empty (#dispatchMessage).
            Some((Field::Data, _)) => facts.has_data = true,
            // Of several id fields the last valid one counts at the blank line (#event-stream-interpretation).
            Some((Field::Id, value)) if line::is_id(value) => {
                let fits = value.len() <= self.max_id_bytes as usize;
                facts.id = if fits { FoundId::Set(value) } else { FoundId::TooLong };
            }
            // Of several retry fields the last that is a number counts (#event-stream-interpretation).
            Some((Field::Retry, value)) => facts.retry = line::number(value).or(facts.retry),
            // An id with NUL is passed over; event and unknown fields change nothing that is asked here (same section).
            _ => {}
        }
    }

    /// Where the line after the one that ends at `end` begins. CRLF is one line end; of a CR at the end of the input
    /// it is not known yet whether it is half of one.
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

    /// Ends the block: what it says, in this input and in earlier ones.
    #[inline(always)]
    fn close<'a>(&'a mut self, facts: Facts<'a>) -> Block<'a> {
        let carried = if self.open { self.take_carried() } else { (Carried::None, false, None) };
        let id = match facts.id {
            FoundId::Set(id) => BlockId::Set(id),
            FoundId::TooLong => BlockId::TooLong,
            FoundId::Carried => match carried.0 {
                Carried::None => BlockId::None,
                Carried::Held => BlockId::Set(&self.bytes),
                Carried::TooLong => BlockId::TooLong,
            },
        };
        Block { id, has_data: facts.has_data || carried.1, retry: facts.retry.or(carried.2) }
    }

    #[cold]
    fn take_carried(&mut self) -> (Carried, bool, Option<u64>) {
        let carried = (self.id, self.has_data, self.has_retry.then_some(self.retry));
        self.id = Carried::None;
        self.open = false;
        self.has_data = false;
        self.has_retry = false;
        carried
    }

    /// Keeps what the whole lines of this input say of a block that goes on in the next one.
    #[cold]
    fn carry(&mut self, facts: &Facts<'_>, open: bool) {
        self.open = open;
        self.has_data |= facts.has_data;
        if let Some(retry) = facts.retry {
            self.retry = retry;
            self.has_retry = true;
        }
        match facts.id {
            FoundId::Carried => {}
            FoundId::TooLong => self.id = Carried::TooLong,
            FoundId::Set(id) => {
                self.id = Carried::Held;
                self.bytes.clear();
                self.bytes.extend_from_slice(id);
                work::count(id.len());
            }
        }
    }

    /// Takes in a piece of a line that is not whole in one input.
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
                    (self.number, self.flagged) = (0, false);
                }
                self.read_retry(&piece[at..]);
            }
            _ => {}
        }
    }

    fn begin_id(&mut self) {
        if self.id != Carried::Held {
            self.bytes.clear();
        }
        self.held = self.bytes.len() as u32;
        self.flagged = false;
    }

    fn read_id(&mut self, piece: &[u8]) {
        work::count(piece.len());
        if !line::is_id(piece) {
            self.head = Head::Other;
            self.bytes.truncate(self.held as usize);
            return;
        }
        let so_far = self.bytes.len() - self.held as usize;
        if self.flagged || piece.len() > self.max_id_bytes as usize - so_far {
            self.flagged = true;
        } else {
            self.bytes.extend_from_slice(piece);
            work::count(piece.len());
        }
    }

    fn read_retry(&mut self, piece: &[u8]) {
        for &byte in piece {
            work::count(1);
            match line::push_digit(self.number, byte) {
                Some(number) => (self.number, self.flagged) = (number, true),
                None => {
                    self.head = Head::Other;
                    return;
                }
            }
        }
    }

    /// Ends a line that was not whole in one input.
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
                self.retry = self.number;
                self.has_retry = true;
            }
            _ => {}
        }
    }

    fn end_id(&mut self) {
        if self.flagged {
            self.bytes.clear();
            self.id = Carried::TooLong;
        } else {
            self.bytes.drain(..self.held as usize);
            work::count(self.bytes.len());
            self.id = Carried::Held;
        }
    }
}
