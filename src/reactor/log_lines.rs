//! Notices of the machine and troubles of the reactor's own as log lines, at a bounded rate.
//!
//! In: notices and warnings. Out: lines for the journal. Lines above the rate are counted, and the next line that
//! passes tells their number. Details that nobody wants to read do not count.
//! Law: neither a flood of failures nor whoever reads the lines slows anything: see the laws of the journal.

use crate::base::{Access, Span, Tick};
use crate::journal::{About, Journal, Level};
use crate::machine::{Notice, Subject};
use std::fmt;
use tracing::level_filters::LevelFilter;

/// Lines in one period.
const LINES: u32 = 100;
const PERIOD: Span = Span::from_secs(1);

/// Passes log lines on, at most 100 a second.
#[derive(Debug)]
pub(super) struct LogLines {
    journal: Journal,
    /// When this period began.
    since: Tick,
    lines: u32,
}

impl LogLines {
    /// Lines for this journal.
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, since: Tick::ZERO, lines: 0 }
    }

    /// Says what the machine has noticed.
    pub(super) fn write(&mut self, notice: Notice, now: Tick) {
        let level = match (notice.is_detail(), notice.is_warning()) {
            (true, _) if LevelFilter::current() < LevelFilter::DEBUG => return,
            (true, _) => Level::Debug,
            (false, true) => Level::Warn,
            (false, false) => Level::Info,
        };
        let about = |subject: &Subject| About { stream: subject.stream, request: subject.request.clone() };
        match self.may_write(now) {
            true => {
                let about = notice.subject().map(about).unwrap_or_default();
                self.journal.say_about(level, notice, about);
            }
            false => self.journal.leave_out(),
        }
    }

    /// Tells the access log of a request. There is a line for each, whatever the rate of others.
    pub(super) fn served(&mut self, access: Box<Access>) {
        self.journal.served(access);
    }

    /// Says what went wrong outside of the machine.
    pub(super) fn warn(&mut self, what: fmt::Arguments<'_>, now: Tick) {
        match self.may_write(now) {
            true => self.journal.say(Level::Warn, what.to_string()),
            false => self.journal.leave_out(),
        }
    }

    fn may_write(&mut self, now: Tick) -> bool {
        if now.since(self.since) >= PERIOD {
            self.since = now;
            self.lines = 0;
        }
        self.lines += 1;
        self.lines <= LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::sync::Arc;

    fn lines() -> (LogLines, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        (LogLines::new(Journal::start(Arc::clone(&metrics)).unwrap()), metrics)
    }

    #[test]
    fn warnings_of_the_reactor_count_towards_the_rate() {
        let (mut lines, metrics) = lines();
        let say = |lines: &mut LogLines| lines.warn(format_args!("{}", 1), Tick::from_micros(1));
        (0..LINES).for_each(|_| say(&mut lines));
        lines.write(Notice::Full { what: "stream" }, Tick::from_micros(2));
        say(&mut lines);
        assert_eq!(metrics.log_lines_dropped().get(), 2);
    }

    #[test]
    fn a_flood_is_cut_to_the_rate_and_counted() {
        let (mut lines, metrics) = lines();
        let notice = Notice::Full { what: "stream" };
        for n in 0..1_000 {
            lines.write(notice.clone(), Tick::from_micros(n));
        }
        assert_eq!(metrics.log_lines_dropped().get(), 900);
        lines.write(notice, Tick::from_millis(1_001));
        assert_eq!(metrics.log_lines_dropped().get(), 900);
    }
}
