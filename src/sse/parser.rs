//! Gives the whole events of a stream. They borrow from the input where they lie in one piece.
//!
//! In: the bytes of response bodies, one after the other, cut anywhere. Out: one [`Event`] or [`ParseError`] per call.
//! Laws: events do not depend on where the input was cut; no byte is searched twice; if a block lies in one input and
//! has one data line, only its id is copied; a block over a cap gives an error and sets nothing, except a reconnection
//! time before the error; memory is bounded by the caps: one buffer for the data, and four that hold one line each.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

mod pieces;

use std::mem;

use super::event::{Cap, Event, ParseError, ParserLimits};
use super::line::{self, CR, Field, Head, LF, line_end, work};

/// The state of a stream: last event ID, reconnection time, and the unfinished block of the present connection.
pub struct Parser {
    limits: ParserLimits,
    head: Head,
    /// Whether earlier inputs held field lines of the present block. The fields below hold what these lines set.
    open: bool,
    /// Whether to skip the rest of the block.
    skipping: bool,
    has_data: bool,
    has_event_type: bool,
    has_next_id: bool,
    /// Bytes of the unfinished line.
    line_bytes: usize,
    /// Bytes of the block's finished field lines, counting one byte for each line end.
    event_bytes: usize,
    data: Vec<u8>,
    event_type: Vec<u8>,
    /// The value of the unfinished line, for every field except `data`.
    value: Vec<u8>,
    /// The last event ID string.
    last_id: Vec<u8>,
    /// The last event ID buffer, if the open block has set it.
    next_id: Vec<u8>,
    retry: Option<u64>,
}

/// What the whole lines of the present block have set so far.
struct Found<'i> {
    data: Data<'i>,
    event_type: Option<&'i [u8]>,
    id: Option<&'i [u8]>,
    bytes: usize,
}

#[derive(Clone, Copy)]
enum Data<'i> {
    None,
    /// One line, which lies in the input.
    Line(&'i [u8]),
    /// The lines are in [`Parser::data`].
    Joined,
}

/// Whether to go on: `false` if the input is used up.
type GoOn = Result<bool, ParseError>;

impl Parser {
    /// A parser at the start of a new stream.
    #[must_use]
    pub fn new(limits: ParserLimits) -> Self {
        Self::with_last_event_id(limits, &[])
    }

    /// A parser that starts with the last event ID of an earlier connection, perhaps of another process.
    #[must_use]
    pub fn with_last_event_id(limits: ParserLimits, seed: &[u8]) -> Self {
        Self {
            limits,
            head: Head::Bom(0),
            open: false,
            skipping: false,
            has_data: false,
            has_event_type: false,
            has_next_id: false,
            line_bytes: 0,
            event_bytes: 0,
            data: Vec::new(),
            event_type: Vec::new(),
            value: Vec::new(),
            last_id: seed.to_vec(),
            next_id: Vec::new(),
            retry: None,
        }
    }

    /// Begins a new connection of the same stream. An unfinished block is discarded ("Once the end of the file is
    /// reached, any pending data must be discarded"). The last event ID string and the reconnection time stay. The last
    /// event ID buffer starts with that string instead of empty, so that events without an id keep the last one.
    pub fn reset(&mut self) {
        self.close();
        self.head = Head::Bom(0);
        self.skipping = false;
        self.line_bytes = 0;
    }

    /// The last event ID string, which a `Last-Event-ID` header would carry. A blank line sets it.
    #[must_use]
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_id
    }

    /// The last event ID buffer: the id that the unfinished block has set so far, else the last event ID string.
    #[must_use]
    pub fn last_event_id_buffer(&self) -> &[u8] {
        if self.has_next_id { &self.next_id } else { &self.last_id }
    }

    /// The reconnection time in milliseconds, if the stream has set one. Saturates.
    #[must_use]
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Takes bytes from the front of `input` up to the end of the next event, and returns the event; `None` if `input`
    /// is used up.
    ///
    /// # Errors
    /// [`ParseError`] for a block that is over a cap. Call again: parsing goes on with the next block.
    #[inline]
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<Result<Event<'a>, ParseError>> {
        loop {
            if self.head != Head::Start || self.skipping {
                match self.resume(input) {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
            let data = if self.has_data { Data::Joined } else { Data::None };
            let mut found = Found { data, event_type: None, id: None, bytes: self.event_bytes };
            match self.block(input, &mut found) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            self.commit_id(found.id);
            let has_event_type = self.open && self.close();
            // Without a data field there is no event, and the type is forgotten. An empty data field counts, since each
            // field adds a line end to the collected data (#dispatchMessage).
            let data = match found.data {
                Data::None => continue,
                Data::Line(line) => line,
                Data::Joined => &self.data,
            };
            // The last event field of the block gives the type. Without one, or with an empty one, the type is
            // `message` (#dispatchMessage).
            let event_type = match found.event_type {
                Some(event_type) => event_type,
                None if has_event_type => &self.event_type,
                None => &[],
            };
            let event_type = if event_type.is_empty() { b"message" } else { event_type };
            return Some(Ok(Event { event_type, data, last_event_id: &self.last_id }));
        }
    }

    /// Reads whole lines up to a blank one.
    #[inline(always)]
    fn block<'i>(&mut self, input: &mut &'i [u8], found: &mut Found<'i>) -> GoOn {
        let bytes = *input;
        let mut at = 0;
        while let Some(&first) = bytes.get(at) {
            // A blank line ends the block and dispatches what it collected (#event-stream-interpretation).
            if first == LF || first == CR {
                at = self.after_line_end(bytes, at);
                *input = &bytes[at..];
                return Ok(true);
            }
            let rest = &bytes[at..];
            let front = line::usual_front(rest);
            let skip = front.map_or(0, |(_, skip)| skip);
            let Some(len) = line_end(&rest[skip..]) else {
                *input = &[];
                self.carry(found);
                return self.read_piece(rest).map(|()| false);
            };
            let len = skip + len;
            // A line that begins with a colon is a comment and sets nothing (#event-stream-interpretation).
            if first != b':' {
                if let Some(error) = self.over(found.bytes, len) {
                    *input = &rest[len..];
                    return Err(self.give_up(error));
                }
                found.bytes += len + 1;
                let line = &rest[..len];
                let field = front.map(|(field, skip)| (field, &line[skip..])).or_else(|| line::field_of(line));
                self.take_field(field, found);
            }
            at = self.after_line_end(bytes, at + len);
        }
        *input = &[];
        self.carry(found);
        Ok(false)
    }

    /// Applies the field that a whole line sets.
    #[inline(always)]
    fn take_field<'i>(&mut self, field: Option<(Field, &'i [u8])>, found: &mut Found<'i>) {
        match field {
            // Each data field adds its value and a line end, and the dispatch drops the last line end. So there is one
            // line end between two values (#event-stream-interpretation).
            Some((Field::Data, value)) => found.data = self.join(found.data, value),
            // Of several event fields the last one names the type (#event-stream-interpretation).
            Some((Field::Event, value)) => found.event_type = Some(value),
            // An id replaces the one before, unless it holds NUL (#event-stream-interpretation).
            Some((Field::Id, value)) if line::is_id(value) => found.id = Some(value),
            // A retry field of digits alone counts at once, not at the blank line (#event-stream-interpretation).
            Some((Field::Retry, value)) => self.retry = line::number(value).or(self.retry),
            // Fields of other names mean nothing (#event-stream-interpretation).
            _ => {}
        }
    }

    #[inline(always)]
    fn join<'i>(&mut self, so_far: Data<'i>, value: &'i [u8]) -> Data<'i> {
        match so_far {
            Data::None => return Data::Line(value),
            Data::Line(first) => self.set_data(first),
            Data::Joined => {}
        }
        self.data.push(LF);
        self.data.extend_from_slice(value);
        work::count(value.len());
        Data::Joined
    }

    fn set_data(&mut self, line: &[u8]) {
        self.data.clear();
        self.data.extend_from_slice(line);
        work::count(line.len());
    }

    /// Sets the last event id to the id buffer. This happens at every blank line, even if no event is dispatched, and
    /// the buffer keeps its value for later blocks (`#dispatchMessage`).
    #[inline(always)]
    fn commit_id(&mut self, id: Option<&[u8]>) {
        if let Some(id) = id {
            self.last_id.clear();
            self.last_id.extend_from_slice(id);
            work::count(id.len());
        } else if self.has_next_id {
            mem::swap(&mut self.last_id, &mut self.next_id);
        }
    }

    /// Forgets the block. Returns whether an earlier input had set its event type.
    #[cold]
    fn close(&mut self) -> bool {
        self.open = false;
        self.has_data = false;
        self.has_next_id = false;
        self.event_bytes = 0;
        mem::take(&mut self.has_event_type)
    }

    /// The error if a field line of `line` bytes is over a cap, in a block that has `before` bytes already. If it is
    /// over both caps, the error names the one that fewer bytes reach, so that it is the same when the line comes in
    /// pieces.
    #[inline(always)]
    fn over(&self, before: usize, line: usize) -> Option<ParseError> {
        let ParserLimits { max_line_bytes, max_event_bytes } = self.limits;
        let room = max_event_bytes.saturating_sub(before + 1);
        if line <= max_line_bytes && line <= room {
            None
        } else if max_line_bytes <= room {
            Some(ParseError::TooLong { cap: Cap::Line, max: max_line_bytes })
        } else {
            Some(ParseError::TooLong { cap: Cap::Event, max: max_event_bytes })
        }
    }

    /// Drops the block in the middle of a line. Its rest will be skipped.
    #[cold]
    fn give_up(&mut self, error: ParseError) -> ParseError {
        self.close();
        self.skipping = true;
        self.head = Head::Other;
        self.line_bytes = 0;
        error
    }

    /// Where the line after the one that ends at `end` begins. CRLF is one line end. If a CR ends the input, the next
    /// input shows whether a LF belongs to it.
    #[inline(always)]
    fn after_line_end(&mut self, bytes: &[u8], end: usize) -> usize {
        if bytes[end] == LF {
            return end + 1;
        }
        match bytes.get(end + 1) {
            Some(&next) => end + 1 + usize::from(next == LF),
            None => {
                self.head = Head::AfterCr;
                end + 1
            }
        }
    }
}
