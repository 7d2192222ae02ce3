//! What the parser does if an input ends in the middle of a line, a line end, a byte order mark, a block, or a block
//! that it has given up.
//!
//! In: the last bytes of one input, the first bytes of the next. Out: a parser at the start of a line.
//! Laws: a line in pieces gives the same result as the whole line; no byte is searched twice.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use std::mem;

use super::super::event::ParseError;
use super::super::line::{self, CR, Field, Head, LF, line_end, work};
use super::{Data, Found, GoOn, Parser};

impl Parser {
    /// Keeps what the whole lines of this input set in a block that goes on in the next input.
    #[cold]
    pub(super) fn carry(&mut self, found: &Found<'_>) {
        if found.bytes == 0 {
            return;
        }
        self.open = true;
        self.event_bytes = found.bytes;
        match found.data {
            Data::None => {}
            Data::Line(line) => {
                self.set_data(line);
                self.has_data = true;
            }
            Data::Joined => self.has_data = true,
        }
        if let Some(event_type) = found.event_type {
            keep(&mut self.event_type, event_type);
            self.has_event_type = true;
        }
        if let Some(id) = found.id {
            keep(&mut self.next_id, id);
            self.has_next_id = true;
        }
    }

    /// Goes on where the last input ended: in a line, after a CR, in a byte order mark, or in a block to skip.
    #[cold]
    pub(super) fn resume(&mut self, input: &mut &[u8]) -> GoOn {
        let Some(&first) = input.first() else { return Ok(false) };
        match self.head {
            Head::AfterCr => {
                self.head = Head::Start;
                *input = &input[usize::from(first == LF)..];
            }
            Head::Bom(before) => self.read_bom(input, before),
            _ => {}
        }
        match self.head {
            _ if self.skipping => Ok(self.skip(input)),
            Head::Start => Ok(true),
            _ => self.finish_line(input),
        }
    }

    fn read_bom(&mut self, input: &mut &[u8], before: u8) {
        let taken = self.head.read_bom(input);
        *input = &input[taken..];
        match self.head {
            Head::Bom(3) => self.head = Head::Start,
            Head::Other => self.line_bytes = usize::from(before) + taken,
            _ => {}
        }
    }

    fn finish_line(&mut self, input: &mut &[u8]) -> GoOn {
        let bytes = *input;
        let end = line_end(bytes);
        let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        *input = rest;
        self.read_piece(piece)?;
        let Some(end) = end else { return Ok(false) };
        self.end_line();
        *input = &bytes[self.after_line_end(bytes, end)..];
        Ok(true)
    }

    /// Reads a piece of a line that spans inputs.
    pub(super) fn read_piece(&mut self, piece: &[u8]) -> Result<(), ParseError> {
        let before = self.head;
        let value_at = self.head.read(piece);
        if matches!(self.head, Head::Comment | Head::Bom(_)) {
            return Ok(());
        }
        self.line_bytes += piece.len();
        if let Some(error) = self.over(self.event_bytes, self.line_bytes) {
            return Err(self.give_up(error));
        }
        let Head::Value(field) = self.head else { return Ok(()) };
        if before != self.head {
            self.begin_value(field);
        }
        let value = if field == Field::Data { &mut self.data } else { &mut self.value };
        value.extend_from_slice(&piece[value_at..]);
        work::count(piece.len() - value_at);
        Ok(())
    }

    fn begin_value(&mut self, field: Field) {
        if field != Field::Data {
            self.value.clear();
        } else if self.has_data {
            self.data.push(LF);
        } else {
            self.data.clear();
            self.has_data = true;
        }
    }

    /// Ends a line that spans inputs, by the same rules as [`Parser::take_field`].
    fn end_line(&mut self) {
        let head = mem::replace(&mut self.head, Head::Start);
        if head == Head::Comment {
            return;
        }
        self.open = true;
        self.event_bytes += mem::take(&mut self.line_bytes) + 1;
        let Some(field) = head.field() else { return };
        if head != Head::Value(field) {
            self.begin_value(field);
        }
        match field {
            Field::Data => {}
            Field::Event => {
                mem::swap(&mut self.event_type, &mut self.value);
                self.has_event_type = true;
            }
            Field::Id if line::is_id(&self.value) => {
                mem::swap(&mut self.next_id, &mut self.value);
                self.has_next_id = true;
            }
            Field::Id => {}
            Field::Retry => self.retry = line::number(&self.value).or(self.retry),
        }
    }

    /// Skips the rest of a block that was given up. `false` if the input is used up before the block ends.
    fn skip(&mut self, input: &mut &[u8]) -> bool {
        while let Some(&first) = input.first() {
            if self.head == Head::Start && (first == LF || first == CR) {
                self.skipping = false;
                *input = &input[self.after_line_end(input, 0)..];
                return true;
            }
            let Some(end) = line_end(input) else {
                self.head = Head::Other;
                *input = &[];
                return false;
            };
            self.head = Head::Start;
            *input = &input[self.after_line_end(input, end)..];
        }
        false
    }
}

fn keep(buffer: &mut Vec<u8>, value: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(value);
    work::count(value.len());
}
