//! `segno parse`: reads an event stream on standard input and writes its events as JSON lines on standard output.
//!
//! In: bytes. Out: `{"type","data","id"}` for each event, then `{"last_event_id","retry_ms"}`.
//! Laws: the events of one read are written before the next read; memory is bounded by the largest event and one read;
//! an event over the cap is reported and skipped; a closed standard output ends the command without an error.
//! Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream".

use std::borrow::Cow;
use std::io::{self, BufWriter, ErrorKind, Read, Write};

use serde::Serialize;

use super::Stop;
use super::args::ParseArgs;
use crate::sse::{Event, Parser, ParserLimits};

/// An event as a JSON line.
#[derive(Serialize)]
pub(super) struct EventLine<'a> {
    r#type: Cow<'a, str>,
    data: Cow<'a, str>,
    id: Cow<'a, str>,
}

#[derive(Serialize)]
struct LastLine<'a> {
    last_event_id: Cow<'a, str>,
    retry_ms: Option<u64>,
}

/// Parses `input` to its end.
pub(super) fn run(args: &ParseArgs, input: impl Read, out: impl Write, log: impl Write) -> Result<(), Stop> {
    let max = args.max_event_bytes;
    let limits = ParserLimits { max_line_bytes: max, max_event_bytes: max };
    let run = Run { parser: Parser::new(limits), out: BufWriter::with_capacity(64 << 10, out), log, events: 0 };
    run.all(input, args.read_size)
}

struct Run<O: Write, L: Write> {
    parser: Parser,
    out: BufWriter<O>,
    log: L,
    /// Events so far, with the skipped ones.
    events: u64,
}

impl<O: Write, L: Write> Run<O, L> {
    fn all(mut self, mut input: impl Read, read_size: usize) -> Result<(), Stop> {
        let mut buffer = vec![0; read_size];
        loop {
            let bytes = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => &buffer[..n],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Stop::failed("reading standard input", error)),
            };
            match self.take(bytes) {
                Ok(()) => {}
                Err(error) => return ended(&error),
            }
        }
        self.last().or_else(|error| ended(&error))
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(found) = self.parser.next(&mut bytes) {
            self.events += 1;
            match found {
                Ok(event) => write_line(&mut self.out, &EventLine::from(event))?,
                Err(error) => {
                    // If standard error is closed, nobody can see the report.
                    let _ = writeln!(self.log, "segno: event {}: {error}", self.events);
                }
            }
        }
        self.out.flush()
    }

    fn last(&mut self) -> io::Result<()> {
        let last_event_id = String::from_utf8_lossy(self.parser.last_event_id());
        write_line(&mut self.out, &LastLine { last_event_id, retry_ms: self.parser.retry() })?;
        self.out.flush()
    }
}

impl<'a> From<Event<'a>> for EventLine<'a> {
    fn from(event: Event<'a>) -> Self {
        Self { r#type: event.event_type_str(), data: event.data_str(), id: event.last_event_id_str() }
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// How the command ends when standard output cannot be written. A closed pipe is not a failure.
fn ended(error: &io::Error) -> Result<(), Stop> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Stop::failed("writing standard output", error)),
    }
}

#[cfg(test)]
mod tests;
