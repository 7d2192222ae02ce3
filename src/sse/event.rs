//! What a parser gives: events, errors, and the limits that lead to errors.
//!
//! In: slices of the input or of the parser. Out: events that name these slices.
//! Law: bytes stay bytes; a caller that wants text decodes them.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// How large a line and a block may be before the parser gives the block up. They bound the parser's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParserLimits {
    /// The most bytes of one field line, without its line end.
    pub max_line_bytes: usize,
    /// The most bytes of all field lines of one block, counting one byte for each line end.
    pub max_event_bytes: usize,
}

impl Default for ParserLimits {
    /// 512 KiB each.
    fn default() -> Self {
        Self { max_line_bytes: 512 << 10, max_event_bytes: 512 << 10 }
    }
}

/// A cap of [`ParserLimits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cap {
    /// [`ParserLimits::max_line_bytes`].
    Line,
    /// [`ParserLimits::max_event_bytes`].
    Event,
}

/// Why the parser gave a block up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ParseError {
    /// The block, or a line in it, has more bytes than a cap. The parser goes on with the next block.
    TooLong {
        /// The cap that was reached first.
        cap: Cap,
        /// The value of that cap, in bytes.
        max: usize,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::TooLong { cap, max } = self;
        match cap {
            Cap::Line => write!(f, "line of more than {max} bytes (max_line_bytes), its event is dropped"),
            Cap::Event => write!(f, "event of more than {max} bytes (max_event_bytes), it is dropped"),
        }
    }
}

impl Error for ParseError {}

/// One event, as a client dispatches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// The event's type; `message` if the block names none.
    pub event_type: &'a [u8],
    /// The values of its `data` lines, joined by LF.
    pub data: &'a [u8],
    /// The last event ID, set by this event or by an earlier one; empty if there is none.
    pub last_event_id: &'a [u8],
}

impl<'a> Event<'a> {
    /// The data decoded as the standard says: malformed UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn data_str(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.data)
    }

    /// The type decoded as the standard says: malformed UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn event_type_str(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.event_type)
    }

    /// The last event ID decoded as the standard says: malformed UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn last_event_id_str(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.last_event_id)
    }
}
