//! Notices and troubles of the shell's own to log lines, at a bounded rate.
//!
//! In: notices, and what else is to be said. Out: lines through `tracing`; what is over the rate is counted, and told once it passes again.
//! Law: a flood of failures slows nothing; whoever writes the lines must not wait either.

use crate::base::{Span, Tick};
use crate::machine::Notice;
use crate::metrics::Metrics;
use std::fmt;

/// Lines in one period.
const LINES: u32 = 100;
const PERIOD: Span = Span::from_secs(1);

/// Writes notices.
#[derive(Debug, Default)]
pub(super) struct Logs {
    since: Tick,
    lines: u32,
    dropped: u64,
}

impl Logs {
    /// Says what the machine has noticed.
    pub(super) fn write(&mut self, notice: &Notice, now: Tick, metrics: &Metrics) {
        self.line(notice.is_warning(), notice, now, metrics);
    }

    /// Says what went wrong outside of the machine.
    pub(super) fn warn(&mut self, what: fmt::Arguments<'_>, now: Tick, metrics: &Metrics) {
        self.line(true, &what, now, metrics);
    }

    fn line(&mut self, is_warning: bool, what: &dyn fmt::Display, now: Tick, metrics: &Metrics) {
        if !self.may_write(now) {
            self.dropped += 1;
            metrics.log_lines_dropped().add(1);
            return;
        }
        // Taken before it is told: nobody may be listening, and then the macro's arguments are not evaluated.
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            tracing::warn!("left out {dropped} log lines in the last {PERIOD}");
        }
        match is_warning {
            true => tracing::warn!("{what}"),
            false => tracing::info!("{what}"),
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

    #[test]
    fn what_the_shell_says_has_a_part_in_the_rate() {
        let (mut logs, metrics) = (Logs::default(), Metrics::default());
        let say = |logs: &mut Logs| logs.warn(format_args!("{}", 1), Tick::from_micros(1), &metrics);
        (0..LINES).for_each(|_| say(&mut logs));
        logs.write(&Notice::Full { what: "stream" }, Tick::from_micros(2), &metrics);
        say(&mut logs);
        assert_eq!(metrics.log_lines_dropped().get(), 2);
    }

    #[test]
    fn a_flood_is_cut_to_the_rate_and_counted() {
        let (mut logs, metrics) = (Logs::default(), Metrics::default());
        let notice = Notice::Full { what: "stream" };
        for n in 0..1_000 {
            logs.write(&notice, Tick::from_micros(n), &metrics);
        }
        assert_eq!(metrics.log_lines_dropped().get(), 900);
        logs.write(&notice, Tick::from_millis(1_001), &metrics);
        assert_eq!((metrics.log_lines_dropped().get(), logs.dropped), (900, 0));
    }
}
