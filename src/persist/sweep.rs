//! The sweep: removes records and logs that nobody has used for long.
//!
//! In: the store, a page of it at a time; the slots. Out: records and logs removed.
//! Laws: each step looks at a bounded number of records; a record is removed only if, at that moment, its last activity
//! is too long ago, or longer ago than that of as many as may stay, and no living stream has its name; a cursor that a
//! user has named is never removed, and does not count; what an interrupted step leaves is found by the next round.
//!
//! Most records are removed by tombstones. What is left belongs to earlier processes, and to removals that found no
//! place on their way. Where a round finds more records than there may be, the next one also removes those that were
//! active longest ago.

mod crowd;

use crate::base::{Span, StreamName, Tick};
use crate::slot::{Phase, Survey};
use crate::store::{LogStore, LogWrite, Outcome, SessionStore, StoreError, Write};
use crowd::Crowd;
use std::collections::HashSet;
use std::sync::Arc;

/// Records or logs that one step looks at.
const PAGE: usize = 256;

/// How long after the opening of the store the first step comes, and how long after the end of a round the next one
/// begins, in pauses.
const FIRST: u64 = 60;
const REST: u64 = 600;
/// How soon the next step comes after a write that found the store full, in pauses.
const SOON: u64 = 1;

/// Goes through the whole store, round after round.
#[derive(Debug)]
pub(super) struct Sweep {
    idle: Span,
    pause: Span,
    at: Tick,
    place: SweepPosition,
    crowd: Crowd,
    /// Records that were last active before this time are too many, by the last round.
    too_old_ms: u64,
}

/// The name after which the next step begins; `None`: at the first.
#[derive(Debug)]
enum SweepPosition {
    Records(Option<StreamName>),
    Logs(Option<StreamName>),
}

/// How much a step has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Swept {
    pub(super) records: u64,
    pub(super) logs: u64,
}

/// The store's writing half, as a step borrows it.
pub(super) struct Shelves<'s> {
    pub(super) sessions: &'s mut dyn SessionStore,
    pub(super) logs: Option<&'s mut (dyn LogStore + 'static)>,
}

impl Sweep {
    /// Removes what was last active more than `idle` ago, and what is more than `most` records; steps are `pause`
    /// apart.
    pub(super) fn new(idle: Span, most: u64, pause: Span, now: Tick) -> Self {
        let (at, place) = (now + pause.times(FIRST), SweepPosition::Records(None));
        Self { idle, pause, at, place, crowd: Crowd::new(most), too_old_ms: 0 }
    }

    /// The pause between two steps.
    pub(super) fn pause(&self) -> Span {
        self.pause
    }

    /// When the next step is due; `None`: nothing is ever removed.
    pub(super) fn due(&self) -> Option<Tick> {
        (self.idle < Span::MAX).then_some(self.at)
    }

    /// The store is full: the next step comes soon.
    pub(super) fn hasten(&mut self, now: Tick) {
        self.at = self.at.min(now + self.pause.times(SOON));
    }

    /// Looks at the next page and removes what may go. `now_ms` is `now` in milliseconds since the Unix epoch.
    pub(super) fn step(
        &mut self,
        shelves: Shelves<'_>,
        survey: &Survey,
        now: Tick,
        now_ms: u64,
    ) -> Result<Swept, StoreError> {
        // Set before anything can fail, so that a failing store is not asked again at once.
        self.at = now + self.pause;
        let before_ms = now_ms.saturating_sub(self.idle.millis());
        match &self.place {
            SweepPosition::Records(after) => {
                if after.is_none() {
                    self.crowd.begin(now_ms);
                }
                let before_ms = before_ms.max(self.too_old_ms);
                let (last, swept) = sweep_records(shelves, survey, after.as_ref(), before_ms, &mut self.crowd)?;
                if last.is_none() {
                    self.too_old_ms = self.crowd.too_old();
                }
                self.place = last.map_or(SweepPosition::Logs(None), |last| SweepPosition::Records(Some(last)));
                Ok(swept)
            }
            SweepPosition::Logs(after) => {
                let (last, swept) = sweep_logs(shelves, survey, after.as_ref(), before_ms)?;
                if last.is_none() && self.too_old_ms == 0 {
                    self.at = now + self.pause.times(REST);
                }
                self.place = last.map_or(SweepPosition::Records(None), |last| SweepPosition::Logs(Some(last)));
                Ok(swept)
            }
        }
    }
}

/// The last name of a page, if another page may follow.
fn last_of<T>(page: &[(StreamName, T)]) -> Option<StreamName> {
    page.last().filter(|_| page.len() >= PAGE).map(|(name, _)| name.clone())
}

fn sweep_records(
    shelves: Shelves<'_>,
    survey: &Survey,
    after: Option<&StreamName>,
    before_ms: u64,
    crowd: &mut Crowd,
) -> Result<(Option<StreamName>, Swept), StoreError> {
    let page = shelves.sessions.scan(after, PAGE)?;
    let last = last_of(&page);
    let page: Vec<_> = page.into_iter().filter(|(name, _)| !name.is_named_cursor()).collect();
    page.iter().filter(|(_, cursor)| cursor.last_seen_ms >= before_ms).for_each(|(_, c)| crowd.note(c.last_seen_ms));
    let old = page.into_iter().filter(|(_, cursor)| cursor.last_seen_ms < before_ms).map(|(name, _)| name);
    let old = without_live(old.collect(), survey);
    if old.is_empty() {
        return Ok((last, Swept::default()));
    }
    let items: Vec<_> = old.into_iter().map(|name| (Arc::new(name), Write::Expire { before_ms })).collect();
    let results = shelves.sessions.store_event_ids_batch(&items)?;
    // A record whose removal failed stays for the next round.
    let gone = items.into_iter().zip(results).filter(|(_, result)| *result == Ok(Outcome::Written));
    let gone: Vec<_> = gone.map(|((name, _), _)| LogWrite::Remove { name, claim: None }).collect();
    if let Some(logs) = shelves.logs.filter(|_| !gone.is_empty()) {
        logs.write_logs(&gone)?;
    }
    Ok((last, Swept { records: gone.len() as u64, logs: 0 }))
}

/// Logs are removed with their records. This removes logs that have no record any more.
fn sweep_logs(
    shelves: Shelves<'_>,
    survey: &Survey,
    after: Option<&StreamName>,
    before_ms: u64,
) -> Result<(Option<StreamName>, Swept), StoreError> {
    let Some(logs) = shelves.logs else { return Ok((None, Swept::default())) };
    let page = logs.scan_logs(after, PAGE)?;
    let last = last_of(&page);
    let old = page.into_iter().filter(|(_, at_ms)| *at_ms < before_ms).map(|(name, _)| name);
    let mut alone = Vec::new();
    for name in without_live(old.collect(), survey) {
        if shelves.sessions.get_last_event_id(&name)?.is_none() {
            alone.push(LogWrite::Remove { name: Arc::new(name), claim: None });
        }
    }
    if alone.is_empty() {
        return Ok((last, Swept::default()));
    }
    let results = logs.write_logs(&alone)?;
    Ok((last, Swept { records: 0, logs: results.iter().filter(|result| result.is_ok()).count() as u64 }))
}

/// Takes out the names of streams that live, or have something on its way to the store. The age of a record is not
/// enough to tell: a living stream without heartbeats may be silent for longer than any bound.
fn without_live(mut names: HashSet<StreamName>, survey: &Survey) -> HashSet<StreamName> {
    if !names.is_empty() {
        for (_, published) in survey.published().filter(|(_, published)| published.phase != Phase::Removed) {
            names.remove(&*published.name);
        }
    }
    names
}

#[cfg(test)]
mod tests;
