//! Notices of the machine and troubles of the reactor's own as log lines, at a bounded rate.
//!
//! In: notices and warnings. Out: lines for the journal, and incidents for those who look at them live. Lines above the rate are counted, and the next line that
//! passes tells their number. Details that nobody wants to read do not count.
//! Law: neither a flood of failures nor whoever reads the lines slows anything: see the laws of the journal.

use crate::base::{Access, Span, Tick, TraceSpan};
use crate::journal::{About, Journal, Level};
use crate::machine::{Notice, Subject};
use crate::metrics::{Incident, IncidentKind, IncidentRate, Metrics};
use std::fmt;
use std::sync::Arc;
use tracing::level_filters::LevelFilter;

/// Lines in one period.
const LINES: u32 = 100;
const PERIOD: Span = Span::from_secs(1);

/// Passes log lines on, at most 100 a second.
#[derive(Debug)]
pub(super) struct LogLines {
    journal: Journal,
    metrics: Arc<Metrics>,
    rate: IncidentRate,
    /// When this period began.
    since: Tick,
    lines: u32,
}

impl LogLines {
    /// Lines for this journal.
    pub(super) fn new(journal: Journal, metrics: Arc<Metrics>) -> Self {
        Self { journal, metrics, rate: IncidentRate::default(), since: Tick::ZERO, lines: 0 }
    }

    /// Says what the machine has noticed.
    pub(super) fn write(&mut self, notice: Notice, now: Tick) {
        self.note(&notice, now);
        let level = match (notice.is_detail(), notice.is_warning()) {
            (true, _) if LevelFilter::current() < LevelFilter::DEBUG => return,
            (true, _) => Level::Debug,
            (false, true) => Level::Warn,
            (false, false) => Level::Info,
        };
        let about = |subject: &Subject| About {
            stream: subject.stream,
            request: subject.request.clone(),
            trace: subject.trace,
        };
        match self.may_write(now) {
            true => {
                let about = notice.subject().map(about).unwrap_or_default();
                self.journal.say_about(level, notice, about);
            }
            false => self.journal.leave_out(),
        }
    }

    /// Notes what somebody who looks at it live should see.
    fn note(&mut self, notice: &Notice, now: Tick) {
        let Some(kind) = kind(notice) else { return };
        match self.rate.allows(kind, now) {
            true => self.metrics.incidents().note(incident(kind, notice, now)),
            false => self.metrics.incidents().lost().add(1),
        }
    }

    /// Tells the access log of a request. There is a line for each, whatever the rate of others.
    pub(super) fn served(&mut self, access: Box<Access>) {
        self.journal.served(access);
    }

    /// Tells of a part of a trace.
    pub(super) fn traced(&mut self, span: Box<TraceSpan>) {
        self.journal.traced(span);
    }

    /// Says what went wrong outside of the machine.
    pub(super) fn warn(&mut self, what: fmt::Arguments<'_>, now: Tick) {
        self.say(Level::Warn, what, now);
    }

    /// Says what happened outside of the machine, where nobody need act on it.
    pub(super) fn inform(&mut self, what: fmt::Arguments<'_>, now: Tick) {
        self.say(Level::Info, what, now);
    }

    fn say(&mut self, level: Level, what: fmt::Arguments<'_>, now: Tick) {
        match self.may_write(now) {
            true => self.journal.say(level, what.to_string()),
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

/// What kind of incident a notice tells of, if it tells of one.
fn kind(notice: &Notice) -> Option<IncidentKind> {
    Some(match notice {
        Notice::HealBegan { .. } => IncidentKind::Cut,
        Notice::Healed { .. } => IncidentKind::Heal,
        Notice::NotHealed { .. } => IncidentKind::Lost,
        Notice::Gap { .. } => IncidentKind::Gap,
        Notice::UpstreamAway { .. } => IncidentKind::Away,
        Notice::UpstreamBack { .. } => IncidentKind::Back,
        Notice::UpstreamEjected { .. } | Notice::ChecksFail { .. } => IncidentKind::Out,
        Notice::UpstreamReturned { .. } | Notice::ChecksPass { .. } => IncidentKind::In,
        _ => return None,
    })
}

fn incident(kind: IncidentKind, notice: &Notice, at: Tick) -> Incident {
    let why: Box<str> = match notice {
        Notice::Healed { tries, took, .. } => format!("after {}, attempts: {tries}", took.rough()).into(),
        Notice::Gap { reason, .. } => reason.as_str().into(),
        Notice::UpstreamBack { after, held, .. } => format!("after {}, held: {held}", after.rough()).into(),
        Notice::UpstreamReturned { after, .. } => format!("after {}", after.rough()).into(),
        Notice::ChecksFail { why, .. } => format!("{why}; it is used on").into(),
        Notice::NotHealed { why, .. } | Notice::UpstreamAway { why, .. } | Notice::UpstreamEjected { why, .. } => {
            why.clone()
        }
        _ => "".into(),
    };
    let (what, stream) = match notice {
        Notice::UpstreamAway { upstream, .. }
        | Notice::UpstreamBack { upstream, .. }
        | Notice::UpstreamEjected { upstream, .. }
        | Notice::UpstreamReturned { upstream, .. }
        | Notice::ChecksFail { upstream, .. }
        | Notice::ChecksPass { upstream } => (upstream.clone(), None),
        _ => notice.subject().map(|about| (about.target.clone(), about.stream)).unwrap_or_default(),
    };
    Incident { at, kind, what, stream, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> (LogLines, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        (LogLines::new(Journal::start(Arc::clone(&metrics)).unwrap(), Arc::clone(&metrics)), metrics)
    }

    #[test]
    fn what_a_viewer_should_see_is_noted_and_a_storm_is_bounded() {
        let (mut lines, metrics) = lines();
        let (target, now) = (|| Subject::from("GET /feed"), Tick::from_micros(1));
        let took = Span::from_millis(340);
        let all = [
            Notice::HealBegan { target: target() },
            Notice::Healed { target: target(), tries: 1, took },
            Notice::Full { what: "stream" },
            Notice::UpstreamBack { upstream: "h:80".into(), after: took, held: 9 },
        ];
        all.into_iter().for_each(|notice| lines.write(notice, now));
        let noted: Vec<_> = std::iter::from_fn(|| metrics.incidents().take()).collect();
        let seen: Vec<_> = noted.iter().map(|i| (i.kind.word(), &*i.what, &*i.why)).collect();
        let back = ("back", "h:80", "after 340 ms, held: 9");
        assert_eq!(seen, [("cut", "GET /feed", ""), ("heal", "GET /feed", "after 340 ms, attempts: 1"), back]);
        (0..100).for_each(|_| lines.write(Notice::HealBegan { target: target() }, now));
        assert_eq!(metrics.incidents().lost().get(), 81);
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
