//! The event stream format: a scanner that finds the ends of blocks, a parser that gives whole events, and a writer.
//!
//! In: the bytes of a `text/event-stream` body, cut anywhere. Out: block boundaries and ids ([`Scanner`]), events
//! ([`Parser`]), or the bytes of an event ([`write_event`]).
//! Laws: the results do not depend on where the bytes were cut; the work is linear in the bytes; nothing is an error
//! except a line, a block or an id over its cap.
//! Source: WHATWG HTML, <https://html.spec.whatwg.org/multipage/server-sent-events.html>, sections
//! `#parsing-an-event-stream` and `#event-stream-interpretation`.

mod event;
mod id;
mod line;
mod parser;
mod scanner;
#[cfg(test)]
mod tests;
mod writer;

pub use event::{Cap, Event, ParseError, ParserLimits};
pub use id::{ids, write_id};
pub use parser::Parser;
pub use scanner::{Block, BlockId, Position, Scan, Scanner};
pub use writer::{WriteError, write_comment, write_event, write_retry};
