//! `segno parse`: an event stream on standard input becomes JSON lines on standard output.
//!
//! In: bytes. Out: `{"type","data","id"}` for each event, then `{"last_event_id","retry_ms"}`.
//! Laws: what was read has been written out before more is read; memory is bounded by the largest event and one read; an
//! event over the cap is reported and skipped; a reader that goes away ends the command in peace.
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
    /// Blocks so far, skipped ones included.
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
                    // With standard error gone there is nobody to tell.
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

/// What an error in writing comes to.
fn ended(error: &io::Error) -> Result<(), Stop> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Stop::failed("writing standard output", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8], read_size: usize, max_event_bytes: usize) -> (String, String) {
        let (mut out, mut log) = (Vec::new(), Vec::new());
        run(&ParseArgs { read_size, max_event_bytes }, input, &mut out, &mut log).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(log).unwrap())
    }

    const STREAM: &[u8] =
        "\u{feff}: hi\nretry: 250\nid: 1\ndata: a\ndata: \"b\"\n\nevent: x\r\ndata:ü\r\n\r\ndata: never ends"
            .as_bytes();

    #[test]
    fn each_event_is_a_line_and_the_last_line_says_where_the_stream_stands() {
        let lines = concat!(
            "{\"type\":\"message\",\"data\":\"a\\n\\\"b\\\"\",\"id\":\"1\"}\n",
            "{\"type\":\"x\",\"data\":\"ü\",\"id\":\"1\"}\n",
            "{\"last_event_id\":\"1\",\"retry_ms\":250}\n",
        );
        assert_eq!(parse(STREAM, 64 << 10, 1 << 20), (lines.to_owned(), String::new()));
    }

    #[test]
    fn the_lines_do_not_depend_on_the_size_of_reads() {
        let whole = parse(STREAM, 64 << 10, 1 << 20);
        for size in 1..STREAM.len() {
            assert_eq!(parse(STREAM, size, 1 << 20), whole, "{size}");
        }
    }

    #[test]
    fn an_empty_stream_has_a_last_line_only() {
        assert_eq!(parse(b"", 1, 1).0, "{\"last_event_id\":\"\",\"retry_ms\":null}\n");
    }

    #[test]
    fn an_event_over_the_cap_is_reported_and_skipped() {
        let input = [b"data: 1\n\ndata: ".as_slice(), &[b'x'; 100], b"\n\ndata: 3\n\n"].concat();
        let (out, log) = parse(&input, 7, 50);
        assert_eq!(out.lines().count(), 3);
        assert!(out.contains("\"3\"") && !out.contains('x'), "{out}");
        assert!(log.starts_with("segno: event 2: "), "{log}");
    }

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_goes_away_ends_it_in_peace_and_a_full_disk_does_not() {
        let args = ParseArgs { read_size: 10, max_event_bytes: 100 };
        assert!(run(&args, STREAM, Refusing(ErrorKind::BrokenPipe), Vec::new()).is_ok());
        let stop = run(&args, STREAM, Refusing(ErrorKind::StorageFull), Vec::new()).unwrap_err();
        assert_eq!(stop.code(), 1);
    }
}
