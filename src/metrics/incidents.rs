//! What has just happened to streams and upstreams, for whoever looks at it live.
//!
//! In: incidents, from the reactor. Out: the same, oldest first, to one reader.
//! Laws: noting an incident never waits; at most [`HELD`] are held and at most [`NOTED`] of a kind are noted in a second, so
//! that a storm of cuts hides no gap; each one that is lost is counted.

use crate::base::{Span, Tick};
use crate::sync::Counter;
use crossbeam_queue::ArrayQueue;
use std::fmt;

/// Incidents that are held until somebody takes them. A newer one takes the place of the oldest.
const HELD: usize = 256;

/// Incidents of one kind noted in a second.
const NOTED: u32 = 20;

const PERIOD: Span = Span::from_secs(1);

/// What kind of thing has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IncidentKind {
    /// An event stream has lost its upstream and is being healed.
    Cut,
    /// A cut event stream goes on.
    Heal,
    /// A client was cut, because its stream could not go on.
    Lost,
    /// A client was told of a gap.
    Gap,
    /// An upstream cannot be reached.
    Away,
    /// An upstream answers again.
    Back,
    /// An upstream is left out, or its checks fail.
    Out,
    /// An upstream is used again, or its checks are good again.
    In,
}

impl IncidentKind {
    const COUNT: usize = Self::In as usize + 1;

    /// One word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Heal => "heal",
            Self::Lost => "lost",
            Self::Gap => "gap",
            Self::Away => "away",
            Self::Back => "back",
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incident {
    /// When, by the engine's clock.
    pub at: Tick,
    /// What kind of thing.
    pub kind: IncidentKind,
    /// Method and target of the request, without a query; an upstream's host and port.
    pub what: Box<str>,
    /// The number of the event stream, if it is one.
    pub stream: Option<u64>,
    /// Why it happened, or how long something took.
    pub why: Box<str>,
}

/// Incidents on their way from the reactor to whoever shows them.
pub struct Incidents {
    held: ArrayQueue<Incident>,
    lost: Counter,
}

impl Default for Incidents {
    fn default() -> Self {
        Self { held: ArrayQueue::new(HELD), lost: Counter::default() }
    }
}

impl fmt::Debug for Incidents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incidents").field("held", &self.held.len()).finish()
    }
}

impl Incidents {
    /// Notes an incident.
    pub fn note(&self, incident: Incident) {
        if self.held.force_push(incident).is_some() {
            self.lost.add(1);
        }
    }

    /// Takes the oldest. An incident goes to one reader.
    pub fn take(&self) -> Option<Incident> {
        self.held.pop()
    }

    /// Incidents that nobody was told of: too many came in a second, or nobody took them.
    pub fn lost(&self) -> &Counter {
        &self.lost
    }
}

/// How many incidents may be noted now. Kept by the thread that notes them.
#[derive(Debug, Default)]
pub struct IncidentRate {
    since: Tick,
    noted: [u32; IncidentKind::COUNT],
}

impl IncidentRate {
    /// Whether one more of this kind may be noted.
    pub fn allows(&mut self, kind: IncidentKind, now: Tick) -> bool {
        if now.since(self.since) >= PERIOD {
            *self = Self { since: now, ..Self::default() };
        }
        let noted = &mut self.noted[kind as usize];
        *noted += 1;
        *noted <= NOTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(n: u64) -> Incident {
        Incident {
            at: Tick::from_millis(n),
            kind: IncidentKind::Cut,
            what: "GET /".into(),
            stream: None,
            why: "".into(),
        }
    }

    #[test]
    fn the_newest_are_held_and_the_lost_are_counted() {
        let incidents = Incidents::default();
        (0..HELD as u64 + 7).for_each(|n| incidents.note(incident(n)));
        assert_eq!((incidents.lost().get(), incidents.take()), (7, Some(incident(7))));
        assert_eq!(std::iter::from_fn(|| incidents.take()).count(), HELD - 1);
    }

    #[test]
    fn a_storm_is_cut_to_the_rate_and_hides_no_other_kind() {
        let mut rate = IncidentRate::default();
        let mut allowed = |kind, at| (0..1_000).filter(|_| rate.allows(kind, Tick::from_millis(at))).count();
        assert_eq!((allowed(IncidentKind::Cut, 5), allowed(IncidentKind::Cut, 999)), (NOTED as usize, 0));
        assert_eq!(allowed(IncidentKind::Back, 999), NOTED as usize);
        assert_eq!(allowed(IncidentKind::Cut, 1_000), NOTED as usize);
    }
}
