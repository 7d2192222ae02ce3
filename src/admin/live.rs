//! The event stream of the dashboard: a snapshot of the numbers each second, and what happens to streams as it happens.
//!
//! In: the engine's counters and incidents, the time. Out: events of an event stream, after any of their ids.
//! Laws: the stream keeps segno's own contract: each event has an id, a client that comes back with the last one gets
//! what it has missed and nothing twice, and one that has missed more than is kept, or that comes from an earlier
//! process, is told so by a `segno.gap`. What is kept is bounded, however many incidents there are.

use super::facts::Facts;
use super::json::write_text;
use crate::base::{Span, Tick};
use crate::clock::Clock;
use crate::metrics::{Incident, Metrics};
use std::collections::{BTreeMap, VecDeque};

mod numbers;

/// Snapshots kept: five minutes of them.
const SNAPSHOTS: usize = 300;

/// Incidents kept.
const INCIDENTS: usize = 256;

/// Upstreams that are away, told of at once.
const AWAY: usize = 64;

/// The time between two snapshots.
const SNAPSHOT: Span = Span::from_secs(1);

/// The time between two snapshots at least, where the thread was held up.
const LEAST: Span = Span::from_millis(500);

/// The time between two looks at what has happened, while somebody watches.
const LOOK: Span = Span::from_millis(250);

/// Bytes of events that a viewer is handed at a time. One event may be larger.
const PIECE: usize = 64 << 10;

/// Where a viewer is in the stream: the number of the next event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u64);

/// What a new viewer is to be told first.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Missed {
    Nothing,
    /// Events after this id, for this reason.
    Some {
        after: String,
        reason: &'static str,
    },
}

/// The events of the last minutes.
#[derive(Debug)]
pub(super) struct Live {
    clock: Clock,
    /// What the first event for each viewer says of the configuration, and that event's data.
    facts: Facts,
    start: Box<[u8]>,
    /// When this process started, which makes its ids differ from those of the process before.
    boot: String,
    /// The number of the next event.
    next: u64,
    snapshots: VecDeque<(u64, Box<[u8]>)>,
    incidents: VecDeque<(u64, Box<[u8]>)>,
    /// Events up to this one may be gone.
    gone: u64,
    /// Upstreams that cannot be reached: since when, and why.
    away: BTreeMap<Box<str>, (u64, Box<str>)>,
    snapshot_at: Tick,
    look_at: Tick,
}

impl Live {
    pub(super) fn new(clock: Clock, facts: Facts) -> Self {
        Self {
            clock,
            start: start(clock, &facts).into(),
            facts,
            boot: format!("{:x}", clock.unix_ms(Tick::ZERO)),
            next: 1,
            snapshots: VecDeque::new(),
            incidents: VecDeque::new(),
            gone: 0,
            away: BTreeMap::new(),
            snapshot_at: Tick::ZERO,
            look_at: Tick::ZERO,
        }
    }

    /// When [`Live::on_time`] is due.
    pub(super) fn due(&self, watched: bool) -> Tick {
        if watched { self.look_at.min(self.snapshot_at) } else { self.snapshot_at }
    }

    /// The configuration that runs says this. Viewers are told again if it is something else than before.
    pub(super) fn go_by(&mut self, facts: Facts) {
        if facts == self.facts {
            return;
        }
        let start = start(self.clock, &facts);
        let event = self.event("start", &start);
        self.gone = self.gone.max(keep(&mut self.incidents, event, INCIDENTS));
        (self.facts, self.start) = (facts, start.into());
    }

    /// Takes what has happened, and a snapshot where it is time for one. True: there are new events.
    pub(super) fn on_time(&mut self, metrics: &Metrics, now: Tick) -> bool {
        let before = self.next;
        if self.look_at <= now {
            self.look_at = now + LOOK;
            while let Some(incident) = metrics.incidents().take() {
                self.on_incident(&incident);
            }
        }
        if self.snapshot_at <= now {
            // A thread that was held up does not make up for what it has missed.
            self.snapshot_at = (self.snapshot_at + SNAPSHOT).max(now + LEAST);
            let mut json = Vec::with_capacity(1 << 10);
            numbers::write(metrics, &self.away, self.clock, now, &mut json);
            let event = self.event("snapshot", &json);
            self.gone = self.gone.max(keep(&mut self.snapshots, event, SNAPSHOTS));
        }
        self.next > before
    }

    fn on_incident(&mut self, incident: &Incident) {
        let Incident { at, kind, what, stream, why } = incident;
        let at = self.clock.unix_ms(*at);
        match kind.word() {
            "away" if self.away.len() < AWAY => {
                self.away.insert(what.clone(), (at, why.clone()));
            }
            "back" => drop(self.away.remove(what)),
            _ => {}
        }
        let mut json = format!("{{\"at\":{at},\"kind\":\"{}\",\"what\":", kind.word()).into_bytes();
        write_text(what.as_bytes(), &mut json);
        json.extend_from_slice(b",\"why\":");
        write_text(why.as_bytes(), &mut json);
        if let Some(stream) = stream {
            json.extend_from_slice(format!(",\"stream\":\"{stream:x}\"").as_bytes());
        }
        json.push(b'}');
        let event = self.event("incident", &json);
        self.gone = self.gone.max(keep(&mut self.incidents, event, INCIDENTS));
    }

    /// An event with the next number.
    fn event(&mut self, name: &str, json: &[u8]) -> (u64, Box<[u8]>) {
        let n = self.next;
        self.next += 1;
        let mut out = format!("id: {}-{n}\nevent: {name}\ndata: ", self.boot).into_bytes();
        out.extend_from_slice(json);
        out.extend_from_slice(b"\n\n");
        (n, out.into())
    }

    /// The place of a client that has had the events up to this id, and the first bytes for it.
    pub(super) fn enter(&self, last: Option<&[u8]>) -> (Place, Vec<u8>) {
        let (place, missed) = self.find(last);
        let mut out = b"retry: 1000\n\n".to_vec();
        if let Missed::Some { after, reason } = missed {
            let mut json = b"{\"after\":".to_vec();
            write_text(after.as_bytes(), &mut json);
            json.extend_from_slice(b",\"resumed_at\":");
            match self.after(place).next() {
                Some((n, _)) => write_text(format!("{}-{n}", self.boot).as_bytes(), &mut json),
                None => json.extend_from_slice(b"null"),
            }
            json.extend_from_slice(format!(",\"reason\":\"{reason}\"}}").as_bytes());
            out.extend_from_slice(b"event: segno.gap\ndata: ");
            out.extend_from_slice(&json);
            out.extend_from_slice(b"\n\n");
        }
        [b"event: start\ndata: ", &*self.start, b"\n\n"].iter().for_each(|part| out.extend_from_slice(part));
        (place, out)
    }

    fn find(&self, last: Option<&[u8]>) -> (Place, Missed) {
        let Some(last) = last.filter(|last| !last.is_empty()) else { return (Place(0), Missed::Nothing) };
        let after = String::from_utf8_lossy(last).into_owned();
        let known = after.rsplit_once('-').and_then(|(boot, n)| Some((boot == self.boot, n.parse::<u64>().ok()?)));
        match known {
            Some((true, n)) if n < self.gone => (Place(n + 1), Missed::Some { after, reason: "evicted" }),
            Some((true, n)) if n < self.next => (Place(n + 1), Missed::Nothing),
            Some((false, _)) => (Place(0), Missed::Some { after, reason: "restarted" }),
            _ => (Place(0), Missed::Some { after, reason: "unknown" }),
        }
    }

    /// Whether there is something for a viewer at this place.
    pub(super) fn has(&self, place: Place) -> bool {
        place.0 < self.next
    }

    /// Appends the next events for a viewer at this place, and moves it on.
    pub(super) fn go_on(&self, place: &mut Place, out: &mut Vec<u8>) {
        for (n, event) in self.after(*place) {
            if out.len() >= PIECE {
                return;
            }
            out.extend_from_slice(event);
            *place = Place(n + 1);
        }
        *place = Place(self.next);
    }

    /// All kept events from a place on, in order.
    fn after(&self, place: Place) -> impl Iterator<Item = (u64, &[u8])> {
        let mut snapshots = from(&self.snapshots, place).peekable();
        let mut incidents = from(&self.incidents, place).peekable();
        std::iter::from_fn(move || match (snapshots.peek(), incidents.peek()) {
            (Some((a, _)), Some((b, _))) if a > b => incidents.next(),
            (None, _) => incidents.next(),
            _ => snapshots.next(),
        })
    }
}

/// What does not change while the process runs.
fn start(clock: Clock, facts: &Facts) -> Vec<u8> {
    let (version, started) = (env!("CARGO_PKG_VERSION"), clock.unix_ms(Tick::ZERO));
    let Facts { upstreams, log_budget, buffer_budget } = facts;
    let mut json = format!(
        "{{\"version\":\"{version}\",\"started\":{started},\"log_budget\":{log_budget},\
         \"buffer_budget\":{buffer_budget},\"upstreams\":["
    )
    .into_bytes();
    for (n, upstream) in upstreams.iter().enumerate() {
        if n > 0 {
            json.push(b',');
        }
        write_text(upstream.as_bytes(), &mut json);
    }
    json.extend_from_slice(b"]}");
    json
}

/// Keeps an event, and at most `most` of them. Gives the number of the one that had to go; 0: none.
fn keep(events: &mut VecDeque<(u64, Box<[u8]>)>, event: (u64, Box<[u8]>), most: usize) -> u64 {
    events.push_back(event);
    if events.len() <= most { 0 } else { events.pop_front().map_or(0, |(n, _)| n) }
}

fn from(events: &VecDeque<(u64, Box<[u8]>)>, place: Place) -> impl Iterator<Item = (u64, &[u8])> {
    let first = events.partition_point(|(n, _)| *n < place.0);
    events.range(first..).map(|(n, event)| (*n, &**event))
}

#[cfg(test)]
mod tests;
