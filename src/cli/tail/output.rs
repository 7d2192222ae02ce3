//! What `segno tail` writes: events on standard output, what goes on with the stream on standard error.
//!
//! In: bytes of whole events. Out: the same bytes, or a JSON line an event; a line that is kept up to date where
//! standard error is a terminal of its own, log lines elsewhere.

use crate::base::{Span, Tick};
use crate::cli::parse::EventLine;
use crate::sse::{Parser, ParserLimits};
use std::io::{self, IsTerminal, StdoutLock, Write};

/// Standard output.
pub(super) struct Events {
    out: StdoutLock<'static>,
    json: Option<Parser>,
    pub(super) count: u64,
}

impl Events {
    pub(super) fn new(json: bool) -> Self {
        let limits = ParserLimits { max_line_bytes: 64 << 20, max_event_bytes: 64 << 20 };
        Self { out: io::stdout().lock(), json: json.then(|| Parser::new(limits)), count: 0 }
    }

    /// Writes bytes of whole events, and has them out.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match &mut self.json {
            None => self.out.write_all(bytes)?,
            Some(parser) => {
                while let Some(found) = parser.next(&mut bytes) {
                    // An event beyond the bound is left out; the tracker lets none pass that is larger.
                    let Ok(event) = found else { continue };
                    serde_json::to_writer(&mut self.out, &EventLine::from(event))?;
                    self.out.write_all(b"\n")?;
                }
            }
        }
        self.out.flush()
    }
}

/// Standard error.
pub(super) struct Status {
    live: bool,
    shown_at: Tick,
    since: Tick,
}

/// Between two updates of the live line.
const UPDATE: Span = Span::from_millis(250);

impl Status {
    pub(super) fn new(now: Tick) -> Self {
        let live = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { live, shown_at: Tick::ZERO, since: now }
    }

    /// Says what has changed: a line that stays.
    pub(super) fn say(&mut self, what: &str) {
        // Without standard error there is nobody to tell.
        let _ = match self.live {
            true => writeln!(io::stderr(), "\r\x1b[Ksegno: {what}"),
            false => writeln!(io::stderr(), "segno: {what}"),
        };
        self.shown_at = Tick::ZERO;
    }

    /// Keeps the live line up to date, where there is one.
    pub(super) fn show(&mut self, events: u64, last_id: Option<&[u8]>, state: &str, now: Tick) {
        if !self.live || now.since(self.shown_at) < UPDATE {
            return;
        }
        self.shown_at = now;
        let seconds = now.since(self.since).millis().max(1) as f64 / 1e3;
        let id = last_id.map(|id| format!(", last id {}", id.escape_ascii())).unwrap_or_default();
        let _ = write!(io::stderr(), "\r\x1b[K{events} events, {:.1}/s{id}, {state}", events as f64 / seconds);
    }

    /// Leaves the terminal clean.
    pub(super) fn end(&mut self) {
        if self.live {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
