//! What `segno tail` writes: events on standard output, the state of the stream on standard error.
//!
//! In: bytes of whole events; the state of the stream. Out: the same bytes, or one JSON line per event. On standard
//! error a line for each change, and a live line if only standard error is a terminal.
//! Law: when `write` returns, standard output has taken the bytes.

use crate::base::{Span, Tick};
use crate::cli::parse::EventLine;
use crate::sse::{Parser, ParserLimits};
use std::io::{self, IsTerminal, StdoutLock, Write};

/// Writes events on standard output.
pub(super) struct Events {
    out: StdoutLock<'static>,
    json: Option<Parser>,
    /// Events that have come.
    pub(super) count: u64,
}

impl Events {
    pub(super) fn new(json: bool) -> Self {
        let limits = ParserLimits { max_line_bytes: 64 << 20, max_event_bytes: 64 << 20 };
        Self { out: io::stdout().lock(), json: json.then(|| Parser::new(limits)), count: 0 }
    }

    /// Writes bytes of whole events and flushes them.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match &mut self.json {
            None => self.out.write_all(bytes)?,
            Some(parser) => {
                while let Some(found) = parser.next(&mut bytes) {
                    // An event over the parser's limits is left out. The tracker passes none that is so large.
                    let Ok(event) = found else { continue };
                    serde_json::to_writer(&mut self.out, &EventLine::from(event))?;
                    self.out.write_all(b"\n")?;
                }
            }
        }
        self.out.flush()
    }
}

/// Writes the state of the stream on standard error.
pub(super) struct Status {
    /// Whether there is a live line.
    live: bool,
    shown_at: Tick,
    started_at: Tick,
}

/// The time between two updates of the live line.
const UPDATE: Span = Span::from_millis(250);

impl Status {
    pub(super) fn new(now: Tick) -> Self {
        let live = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { live, shown_at: Tick::ZERO, started_at: now }
    }

    /// Writes a line that stays, about something that has changed.
    pub(super) fn say(&mut self, what: &str) {
        // If standard error is closed, nobody can see the line.
        let _ = match self.live {
            true => writeln!(io::stderr(), "\r\x1b[Ksegno: {what}"),
            false => writeln!(io::stderr(), "segno: {what}"),
        };
        self.shown_at = Tick::ZERO;
    }

    /// Updates the live line, if there is one and the last update is old enough.
    pub(super) fn show(&mut self, events: u64, last_id: Option<&[u8]>, state: &str, now: Tick) {
        if !self.live || now.since(self.shown_at) < UPDATE {
            return;
        }
        self.shown_at = now;
        let seconds = now.since(self.started_at).millis().max(1) as f64 / 1e3;
        let id = last_id.map(|id| format!(", last id {}", id.escape_ascii())).unwrap_or_default();
        let _ = write!(io::stderr(), "\r\x1b[K{events} events, {:.1}/s{id}, {state}", events as f64 / seconds);
    }

    /// Removes the live line.
    pub(super) fn end(&mut self) {
        if self.live {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
