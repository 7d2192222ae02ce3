//! Notices of the machine and troubles of the reactor's own as log lines, at a bounded rate.
//!
//! In: notices and warnings. Out: lines through `tracing`. Lines above the rate are counted, and the next line that
//! passes is preceded by their number.
//! Law: a flood of failures slows nothing. The writer behind `tracing` must not wait either.

use crate::base::{Span, Tick};
use crate::machine::Notice;
use crate::metrics::Metrics;
use std::fmt;
use std::sync::Arc;

/// Lines in one period.
const LINES: u32 = 100;
const PERIOD: Span = Span::from_secs(1);

/// Writes log lines, at most 100 a second.
#[derive(Debug)]
pub(super) struct LogLines {
    metrics: Arc<Metrics>,
    /// When this period began.
    since: Tick,
    lines: u32,
    dropped: u64,
}

impl LogLines {
    /// Counts in `metrics` the lines that it drops.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, since: Tick::ZERO, lines: 0, dropped: 0 }
    }

    /// Writes what the machine has noticed.
    pub(super) fn write(&mut self, notice: &Notice, now: Tick) {
        self.line(notice.is_warning(), notice, now);
    }

    /// Writes what went wrong outside of the machine.
    pub(super) fn warn(&mut self, what: fmt::Arguments<'_>, now: Tick) {
        self.line(true, &what, now);
    }

    fn line(&mut self, is_warning: bool, what: &dyn fmt::Display, now: Tick) {
        if !self.may_write(now) {
            self.dropped += 1;
            self.metrics.log_lines_dropped().add(1);
            return;
        }
        // Reset before it is written: where nobody listens, the macro does not evaluate its arguments.
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
    fn warnings_of_the_reactor_count_towards_the_rate() {
        let metrics = Arc::new(Metrics::default());
        let mut lines = LogLines::new(Arc::clone(&metrics));
        let say = |lines: &mut LogLines| lines.warn(format_args!("{}", 1), Tick::from_micros(1));
        (0..LINES).for_each(|_| say(&mut lines));
        lines.write(&Notice::Full { what: "stream" }, Tick::from_micros(2));
        say(&mut lines);
        assert_eq!(metrics.log_lines_dropped().get(), 2);
    }

    #[test]
    fn a_flood_is_cut_to_the_rate_and_counted() {
        let metrics = Arc::new(Metrics::default());
        let mut lines = LogLines::new(Arc::clone(&metrics));
        let notice = Notice::Full { what: "stream" };
        for n in 0..1_000 {
            lines.write(&notice, Tick::from_micros(n));
        }
        assert_eq!(metrics.log_lines_dropped().get(), 900);
        lines.write(&notice, Tick::from_millis(1_001));
        assert_eq!((metrics.log_lines_dropped().get(), lines.dropped), (900, 0));
    }
}
