//! Whether one upstream works, as far as its answers and its checks tell: left out after failures in a row, back after
//! a while or after good checks.
//!
//! In: failures and successes, results of checks, the time. Out: how long it is left out, and how much of its share it
//! gets.
//! Laws: what requests met and what checks found are two causes, and an upstream is back when neither holds. What
//! requests met holds for a time, twice as long each time in a row, up to [`LONGEST`]; good checks end it early only
//! where no request was answered, since a check says nothing of how requests are answered. What checks found holds until
//! they are good, or for a time where none can be made. One whose checks are bad does not come back by time alone.
//! Failures of requests change nothing while it is left out. One that is back gets a growing part of its share for as
//! long as `slow_start`.

use super::super::keys::{Alarm, ConnKey};
use crate::base::{Count, Span, Tick};
use crate::config::UpstreamSet;

/// The longest time for which an upstream is left out.
pub(in crate::machine) const LONGEST: Span = Span::from_secs(300);

/// The share of an upstream that is in full use, in the measure of [`Health::share`].
pub(in crate::machine) const FULL: u64 = 1_024;

/// How an upstream has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) enum Failure {
    /// It could not be connected to.
    Connect,
    /// It closed the connection without an answer.
    NoAnswer,
    /// It answered 502, 503 or 504.
    Status,
}

impl Failure {
    /// What a request that failed so is counted as.
    pub(in crate::machine) fn count(self) -> Count {
        match self {
            Self::Connect => Count::UpstreamErrorsConnect,
            Self::NoAnswer => Count::UpstreamErrorsNoAnswer,
            Self::Status => Count::UpstreamErrorsStatus,
        }
    }

    /// Whether the upstream was there, and so may be busy rather than away.
    pub(in crate::machine) fn was_there(self) -> bool {
        self == Self::NoAnswer || self == Self::Status
    }
}

/// What is known of one upstream.
#[derive(Debug)]
pub(in crate::machine) struct Health {
    /// Failures in a row.
    failures: u32,
    /// One of them showed that the upstream was there.
    was_there: bool,
    /// It is left out for what requests met.
    by_requests: Option<Out>,
    /// It is left out for what checks found; until when, where no more checks can be made.
    by_checks: Option<Tick>,
    /// Since when it has been left out.
    since: Tick,
    /// For how long it was left out last; zero: not lately.
    last: Span,
    /// When it came back, or was there first.
    back: Option<Tick>,
    /// What checks have found.
    pub(in crate::machine) checked: Checked,
    /// Since when and why it is left out, or fails its checks. `None`: it works.
    pub(in crate::machine) trouble: Option<(Tick, Box<str>)>,
    pub(in crate::machine) alarm: Alarm,
}

/// An upstream is left out for what requests met.
#[derive(Clone, Copy, Debug)]
struct Out {
    until: Tick,
    /// It was there, so that a good check is no news.
    was_there: bool,
}

/// What the checks of one upstream have found.
#[derive(Debug)]
pub(in crate::machine) struct Checked {
    /// When the next one is due; [`Tick::NEVER`]: it is not checked, or is being checked.
    pub(in crate::machine) at: Tick,
    /// The one that is under way.
    pub(in crate::machine) conn: Option<ConnKey>,
    /// How many in a row have been like the last one.
    row: u32,
    last_was_bad: bool,
    /// How many since the last one could not be made.
    skipped: u32,
    /// These are so many that checks say nothing any more.
    is_blind: bool,
    /// As many in a row have been bad as it takes, and not as many good since.
    pub(in crate::machine) is_down: bool,
}

impl Default for Checked {
    fn default() -> Self {
        Self { at: Tick::NEVER, conn: None, row: 0, last_was_bad: false, skipped: 0, is_blind: false, is_down: false }
    }
}

/// What follows from a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) enum Found {
    /// Nothing: too few in a row are like it.
    Nothing,
    /// The upstream works. Whether that is news.
    Up(bool),
    /// It does not work. Whether that is news.
    Down(bool),
}

impl Checked {
    /// A check has ended.
    pub(in crate::machine) fn note(&mut self, is_good: bool, set: &UpstreamSet) -> Found {
        self.row = if self.last_was_bad == is_good { 1 } else { self.row.saturating_add(1) };
        self.last_was_bad = !is_good;
        (self.skipped, self.is_blind) = (0, false);
        match is_good {
            true if self.row >= set.health_rise => Found::Up(std::mem::take(&mut self.is_down)),
            false if self.row >= set.health_fall => Found::Down(!std::mem::replace(&mut self.is_down, true)),
            _ => Found::Nothing,
        }
    }

    /// A check could not be made. As many in a row as make bad checks a failure make them say nothing any more.
    pub(in crate::machine) fn skip(&mut self, set: &UpstreamSet) {
        self.skipped = self.skipped.saturating_add(1);
        self.is_blind = self.skipped >= set.health_fall;
    }

    /// Whether they say that the upstream fails, as far as they still say something.
    fn are_bad(&self) -> bool {
        (self.last_was_bad || self.is_down) && !self.is_blind
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failures: 0,
            was_there: false,
            by_requests: None,
            by_checks: None,
            since: Tick::ZERO,
            last: Span::ZERO,
            back: None,
            checked: Checked::default(),
            trouble: None,
            alarm: Alarm::default(),
        }
    }
}

impl Health {
    pub(in crate::machine) fn is_ejected(&self) -> bool {
        self.by_requests.is_some() || self.by_checks.is_some()
    }

    /// Whether one more failure leaves it out, as far as it alone decides.
    fn is_at_its_limit(&self, set: &UpstreamSet) -> bool {
        set.eject_after > 0 && self.failures + 1 >= set.eject_after && !self.is_ejected()
    }

    /// A request has failed. `may_eject`: it may be left out. Returns for how long it is from now on.
    pub(in crate::machine) fn fail(
        &mut self,
        set: &UpstreamSet,
        failure: Failure,
        may_eject: bool,
        now: Tick,
    ) -> Option<Span> {
        let is_last = self.is_at_its_limit(set);
        self.failures = self.failures.saturating_add(1);
        self.was_there |= failure.was_there();
        if !is_last || !may_eject {
            return None;
        }
        let span = match self.last.is_zero() {
            true => set.eject_for,
            false => self.last.times(2).min(LONGEST.max(set.eject_for)),
        };
        self.by_requests = Some(Out { until: now + span, was_there: self.was_there });
        (self.since, self.last) = (now, span);
        self.begin_row();
        // Checks before this say nothing of what has failed since.
        self.checked.row = 0;
        Some(span)
    }

    /// Checks have failed, and it may be left out: it is for as long as they do.
    pub(in crate::machine) fn fail_checks(&mut self, set: &UpstreamSet, now: Tick) {
        if !self.is_ejected() {
            self.since = now;
            self.begin_row();
        }
        self.by_checks.get_or_insert(now + set.eject_for);
    }

    /// Checks are good. True: it is left out for no other cause, and was left out.
    pub(in crate::machine) fn pass_checks(&mut self, now: Tick) -> bool {
        let is_out = self.is_ejected();
        self.by_checks = None;
        self.by_requests = self.by_requests.filter(|out| out.was_there && out.until > now);
        is_out && !self.is_ejected()
    }

    /// What failed before does not count any more.
    fn begin_row(&mut self) {
        (self.failures, self.was_there) = (0, false);
    }

    /// It has answered well. If it has done so for as long as it was left out, that is forgotten.
    pub(in crate::machine) fn succeed(&mut self, now: Tick) {
        self.begin_row();
        if self.back.is_some_and(|back| now.since(back) >= self.last) && !self.is_ejected() {
            self.last = Span::ZERO;
        }
    }

    /// Until when it is left out; [`Tick::NEVER`]: it is not, or no time brings it back.
    pub(in crate::machine) fn until(&self) -> Tick {
        let latest = self.by_requests.map(|out| out.until).max(self.by_checks);
        latest.filter(|_| !self.checked.are_bad()).unwrap_or(Tick::NEVER)
    }

    /// Whether it is left out for what checks found, and they say nothing any more.
    pub(in crate::machine) fn is_unchecked(&self) -> bool {
        self.by_checks.is_some() && self.checked.is_blind
    }

    /// It is used again. Returns for how long it was left out.
    pub(in crate::machine) fn come_back(&mut self, now: Tick) -> Span {
        (self.by_requests, self.by_checks, self.back) = (None, None, Some(now));
        self.begin_row();
        now.since(self.since)
    }

    /// The part of its share that it gets, of [`FULL`].
    pub(in crate::machine) fn share(&self, slow_start: Span, now: Tick) -> u64 {
        let Some(back) = self.back else { return FULL };
        let here = now.since(back).micros();
        match slow_start.micros() {
            whole if here < whole => (FULL * here / whole).max(FULL / 16),
            _ => FULL,
        }
    }

    /// The same upstream at another place.
    pub(in crate::machine) fn at_another_place(&self) -> Self {
        let checked = Checked { at: Tick::NEVER, conn: None, ..self.checked };
        Self { checked, trouble: self.trouble.clone(), alarm: Alarm::default(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(health: &mut Health, times: u32, now: Tick) -> Option<Span> {
        let set = UpstreamSet::default();
        (0..times).filter_map(|_| health.fail(&set, Failure::Status, true, now)).last()
    }

    #[test]
    fn it_is_left_out_for_twice_as_long_each_time_in_a_row_and_forgiven_when_it_has_lasted() {
        let (mut health, mut now) = (Health::default(), Tick::from_millis(1_000));
        assert_eq!(failed(&mut health, 2, now), None);
        for secs in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(failed(&mut health, 3, now), Some(Span::from_secs(secs)));
            assert_eq!(failed(&mut health, 9, now), None, "it is left out already");
            now = health.until();
            assert_eq!(health.come_back(now), Span::from_secs(secs));
        }
        health.succeed(now + Span::from_secs(299));
        assert_eq!(health.last, Span::from_secs(300));
        health.succeed(now + Span::from_secs(300));
        assert_eq!(failed(&mut health, 3, now + Span::from_secs(301)), Some(Span::from_secs(10)));
    }

    #[test]
    fn its_share_grows_evenly_once_it_is_back() {
        let (mut health, now) = (Health::default(), Tick::from_millis(1_000));
        let slow = Span::from_secs(10);
        assert_eq!(health.share(slow, now), FULL, "one that was always there is in full use");
        failed(&mut health, 3, now);
        health.come_back(now);
        let shares = [0, 1, 5, 9, 10].map(|secs| health.share(slow, now + Span::from_secs(secs)));
        assert_eq!(shares, [FULL / 16, FULL / 10, FULL / 2, FULL * 9 / 10, FULL]);
        assert_eq!(health.share(Span::ZERO, now), FULL);
    }
}
