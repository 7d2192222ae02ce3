//! Writes events, comments and reconnection times.
//!
//! In: values. Out: bytes, appended to a buffer. Every parser reads them back as the same values, except that each line
//! end in the data becomes LF.
//! Laws: the output is whole blocks or whole comment lines, so that it can stand at any block boundary; a value that
//! cannot be written is refused, and then nothing is written.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

use std::error::Error;
use std::fmt;

use super::id::write_id;
use super::line::line_end;

/// Why an event cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The id holds a CR, a LF or a NUL, at this byte.
    Id(usize),
    /// The event type holds a CR, a LF or a NUL, at this byte.
    EventType(usize),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, at) = match self {
            Self::Id(at) => ("id", at),
            Self::EventType(at) => ("event type", at),
        };
        write!(f, "{what} holds a CR, LF or NUL at byte {at}")
    }
}

impl Error for WriteError {}

/// Appends one event to `out`. Each line of `data`, ended by LF, CR or CRLF, gets a `data` line. A line end at the end
/// of `data` adds an empty `data` line, so that it is read back. An empty id (`Some`) resets the client's id.
///
/// # Errors
/// [`WriteError`] if the id or the type does not fit on one line. Then `out` is unchanged.
pub fn write_event(
    out: &mut Vec<u8>,
    event_type: Option<&str>,
    id: Option<&[u8]>,
    data: &[u8],
) -> Result<(), WriteError> {
    if let Some(at) = id.and_then(unfit) {
        return Err(WriteError::Id(at));
    }
    if let Some(at) = event_type.and_then(|event_type| unfit(event_type.as_bytes())) {
        return Err(WriteError::EventType(at));
    }
    if let Some(id) = id {
        write_id(out, id);
    }
    if let Some(event_type) = event_type {
        write_line(out, b"event: ", event_type.as_bytes());
    }
    write_lines(out, b"data: ", data);
    out.push(b'\n');
    Ok(())
}

/// Appends `text` to `out` as comment lines, one for each line of the text. An empty text gives one bare colon. No
/// blank line follows, since a comment needs none.
pub fn write_comment(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        out.extend_from_slice(b":\n");
    } else {
        write_lines(out, b": ", text);
    }
}

/// Appends a block to `out` that sets the client's reconnection time, in milliseconds, and nothing else.
pub fn write_retry(out: &mut Vec<u8>, milliseconds: u64) {
    write_line(out, b"retry: ", milliseconds.to_string().as_bytes());
    out.push(b'\n');
}

/// Appends one line. `name` ends with a colon and the one space that clients remove, so that a value that begins with a
/// space keeps that space.
fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn write_lines(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    let mut rest = text;
    while let Some(end) = line_end(rest) {
        write_line(out, name, &rest[..end]);
        let ends = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + ends..];
    }
    write_line(out, name, rest);
}

fn unfit(value: &[u8]) -> Option<usize> {
    memchr::memchr3(b'\r', b'\n', 0, value)
}
