//! Notices to log lines, at a bounded rate.
//!
//! In: notices. Out: lines through `tracing`; what is over the rate is counted, and told once it passes again.
//! Law: a flood of failures slows nothing; whoever writes the lines must not wait either.

use crate::base::{Span, Tick};
use crate::machine::Notice;
use crate::metrics::Metrics;

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
    pub(super) fn write(&mut self, notice: &Notice, now: Tick, metrics: &Metrics) {
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
        match notice.is_warning() {
            true => tracing::warn!("{notice}"),
            false => tracing::info!("{notice}"),
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
