//! Whether one upstream works, as far as its answers and its checks tell: left out after failures in a row, back after
//! a while or after good checks.
//!
//! In: failures and successes, results of checks, the time. Out: how long it is left out, and how much of its share it
//! gets.
//! Laws: an upstream is left out for twice as long each time in a row, up to [`LONGEST`]; failures while it is left out
//! change nothing; one whose checks are bad does not come back by time alone; one that is back gets a growing part
//! of its share for as long as `slow_start`.

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
    /// Until when it is left out; [`Tick::NEVER`]: it is not, or no time brings it back.
    ejected: Option<Tick>,
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
    /// As many in a row have been bad as it takes, and not as many good since.
    pub(in crate::machine) is_down: bool,
}

impl Default for Checked {
    fn default() -> Self {
        Self { at: Tick::NEVER, conn: None, row: 0, last_was_bad: false, is_down: false }
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
        match is_good {
            true if self.row >= set.health_rise => Found::Up(std::mem::take(&mut self.is_down)),
            false if self.row >= set.health_fall => Found::Down(!std::mem::replace(&mut self.is_down, true)),
            _ => Found::Nothing,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failures: 0,
            ejected: None,
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
        self.ejected.is_some()
    }

    /// Whether one more failure leaves it out, as far as it alone decides.
    pub(in crate::machine) fn is_at_its_limit(&self, set: &UpstreamSet) -> bool {
        set.eject_after > 0 && self.failures + 1 >= set.eject_after && self.ejected.is_none()
    }

    /// It has failed. `may_eject`: it may be left out. Returns for how long it is from now on.
    pub(in crate::machine) fn fail(&mut self, set: &UpstreamSet, may_eject: bool, now: Tick) -> Option<Span> {
        let is_last = self.is_at_its_limit(set);
        self.failures = self.failures.saturating_add(1);
        (is_last && may_eject).then(|| self.eject(set, now))
    }

    /// It is left out from now on. Returns for how long, if no check says otherwise.
    pub(in crate::machine) fn eject(&mut self, set: &UpstreamSet, now: Tick) -> Span {
        let span = match self.last.is_zero() {
            true => set.eject_for,
            false => self.last.times(2).min(LONGEST.max(set.eject_for)),
        };
        (self.ejected, self.since, self.last, self.failures) = (Some(now + span), now, span, 0);
        // Checks before this say nothing of what has failed since.
        self.checked.row = 0;
        span
    }

    /// It has answered well. If it has done so for as long as it was left out, that is forgotten.
    pub(in crate::machine) fn succeed(&mut self, now: Tick) {
        self.failures = 0;
        if self.back.is_some_and(|back| now.since(back) >= self.last) && self.ejected.is_none() {
            self.last = Span::ZERO;
        }
    }

    /// Until when it is left out.
    pub(in crate::machine) fn until(&self) -> Tick {
        self.ejected.filter(|_| !self.checked.last_was_bad && !self.checked.is_down).unwrap_or(Tick::NEVER)
    }

    /// It is used again. Returns for how long it was left out.
    pub(in crate::machine) fn come_back(&mut self, now: Tick) -> Option<Span> {
        self.ejected.take()?;
        (self.back, self.failures) = (Some(now), 0);
        Some(now.since(self.since))
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
        let Self { failures, ejected, since, last, back, ref checked, ref trouble, .. } = *self;
        let checked = Checked { at: Tick::NEVER, conn: None, ..*checked };
        Self { failures, ejected, since, last, back, checked, trouble: trouble.clone(), alarm: Alarm::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(health: &mut Health, times: u32, now: Tick) -> Option<Span> {
        let set = UpstreamSet::default();
        (0..times).filter_map(|_| health.fail(&set, true, now)).last()
    }

    #[test]
    fn it_is_left_out_for_twice_as_long_each_time_in_a_row_and_forgiven_when_it_has_lasted() {
        let (mut health, mut now) = (Health::default(), Tick::from_millis(1_000));
        assert_eq!(failed(&mut health, 2, now), None);
        for secs in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(failed(&mut health, 3, now), Some(Span::from_secs(secs)));
            assert_eq!(failed(&mut health, 9, now), None, "it is left out already");
            now = health.until();
            assert_eq!(health.come_back(now), Some(Span::from_secs(secs)));
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
