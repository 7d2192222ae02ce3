//! One stream as upstream keeps it, from connection to connection.
//!
//! In: requests, with the id they resume at. Out: an [`Response`], and what has been written when.
//! Laws: an id that was never sent is not asked for; a kind of cut is healed when the stream goes on in the way of that
//! kind, not before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::kind::{Cut, Kind};
use super::script::Script;
use super::world::{World, lock};
use crate::base::Tick;

/// What upstream does with a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Response {
    /// RST before the first byte.
    Reset,
    /// A head without a body.
    Status(u16),
    /// The stream, from one of its events on.
    Body(Body),
}

/// How a connection carries its part of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Body {
    /// The first event.
    pub(super) from: usize,
    /// Where the connection breaks; `None` when it carries the stream to its end.
    pub(super) cut: Option<Cut>,
    /// What precedes the first event.
    pub(super) preface: &'static str,
}

#[derive(Default)]
struct State {
    started: Option<Tick>,
    cuts_made: usize,
    /// The cut that is to be healed next.
    healing: Option<Kind>,
    failures_left: u32,
    /// Events sent, at least in part of one connection.
    high: usize,
    /// When each event was written first; `NEVER` when it was written again.
    written: Vec<Tick>,
    outages: usize,
    over: bool,
}

/// One stream.
pub(super) struct Lane {
    pub(super) script: Script,
    state: Mutex<State>,
}

impl Lane {
    /// A stream that nobody has asked for yet.
    pub(super) fn new(script: Script) -> Self {
        let written = Vec::with_capacity(script.len());
        Self { script, state: Mutex::new(State { written, ..State::default() }) }
    }

    /// Decides on a request.
    pub(super) fn answer(&self, world: &World, last_id: Option<&str>) -> Response {
        let mut state = lock(&self.state);
        if state.started.is_some() && self.script.rule.method() == "POST" {
            world.fail(format!("{}: upstream was asked again with a POST", self.script.name));
            return Response::Status(409);
        }
        state.started.get_or_insert_with(|| world.now());
        if state.over {
            return self.rest(last_id).unwrap_or_else(|| self.afterwards(world));
        }
        if state.failures_left > 0 {
            state.failures_left -= 1;
            return match state.healing {
                Some(Kind::Status503) => Response::Status(503),
                Some(Kind::Status429) => Response::Status(429),
                _ => Response::Reset,
            };
        }
        let found = last_id.map(|id| self.script.find(id));
        let after = match found {
            None => None,
            Some(Some(n)) if n < state.high => Some(n),
            Some(_) => {
                world.fail(format!("{}: upstream was asked for an id that it never sent", self.script.name));
                return Response::Status(400);
            }
        };
        let healing = state.healing.take();
        if healing.is_some() && self.script.skip.is_empty() {
            world.tally().healed += 1;
        }
        let cut = self.script.cuts.get(state.cuts_made).copied();
        Response::Body(Body { from: self.from(healing, after), cut, preface: preface(healing) })
    }

    /// Whether an event with this id has been sent.
    pub(super) fn has_sent(&self, id: &str) -> bool {
        let high = lock(&self.state).high;
        self.script.find(id).is_some_and(|n| n < high)
    }

    /// What a stream that has ended still has for a client that was cut off near its end.
    fn rest(&self, last_id: Option<&str>) -> Option<Response> {
        let n = self.script.find(last_id?).filter(|_| self.script.rule.leaves())?;
        let from = self.script.next(n);
        (from < self.script.len()).then_some(Response::Body(Body { from, cut: None, preface: "" }))
    }

    fn from(&self, healing: Option<Kind>, after: Option<usize>) -> usize {
        match (healing, after) {
            (Some(Kind::RestartInt | Kind::RestartUuid), _) | (_, None) => 0,
            (Some(Kind::Inclusive), Some(n)) => n,
            (_, Some(n)) => self.script.next(n),
        }
    }

    fn afterwards(&self, world: &World) -> Response {
        let status = self.script.rule.afterwards();
        if status.is_none() {
            world.fail(format!("{}: upstream was asked again for a stream that had ended", self.script.name));
        }
        Response::Status(status.unwrap_or(404))
    }

    /// When event `n` happens.
    pub(super) fn due(&self, n: usize) -> Tick {
        lock(&self.state).started.unwrap_or_default() + self.script.period.times(n as u64)
    }

    /// Event `n` is about to be written whole, at `now`.
    pub(super) fn writes(&self, n: usize, now: Tick) {
        let mut state = lock(&self.state);
        state.high = state.high.max(n + 1);
        if n < state.written.len() {
            state.written[n] = Tick::NEVER;
            return;
        }
        state.written.resize(n, Tick::NEVER);
        state.written.push(now);
    }

    /// When event `n` was written, if it was written once.
    pub(super) fn written(&self, n: usize) -> Option<Tick> {
        lock(&self.state).written.get(n).copied().filter(|&at| at != Tick::NEVER)
    }

    /// The connection is about to be cut. `planned`: by the script, else by an outage.
    pub(super) fn cuts(&self, world: &World, kind: Kind, planned: bool) {
        let mut state = lock(&self.state);
        state.cuts_made += usize::from(planned);
        state.healing = Some(kind);
        state.failures_left = kind.failures();
        if self.script.skip.is_empty() {
            world.tally().cuts[kind as usize] += 1;
        }
    }

    /// Upstream has nothing more to send.
    pub(super) fn ends(&self) {
        lock(&self.state).over = true;
    }

    /// Whether an outage takes this connection with it: a quarter of the fleet each, in turn.
    pub(super) fn falls_with(&self, outage: usize) -> bool {
        let mut state = lock(&self.state);
        let falls = self.script.rule.falls() && self.script.slot % 4 == outage % 4 && state.outages < outage;
        state.outages = if falls { outage } else { state.outages };
        falls
    }
}

/// The streams that upstream knows now, by name. The clients open and close them: a bounded number at one time.
#[derive(Default)]
pub(super) struct Lanes(Mutex<HashMap<String, Arc<Lane>>>);

impl Lanes {
    /// Lets upstream know a stream.
    pub(super) fn open(&self, script: Script) -> Arc<Lane> {
        let lane = Arc::new(Lane::new(script));
        lock(&self.0).insert(lane.script.name.clone(), Arc::clone(&lane));
        lane
    }

    /// Lets upstream forget a stream.
    pub(super) fn close(&self, lane: &Lane) {
        lock(&self.0).remove(&lane.script.name);
    }

    /// The stream of that name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Lane>> {
        lock(&self.0).get(name).map(Arc::clone)
    }
}

/// What a healed response begins with.
const fn preface(healing: Option<Kind>) -> &'static str {
    match healing {
        Some(Kind::Bom) => "\u{feff}",
        Some(Kind::Retry50) => "retry: 50\n\n",
        _ => "",
    }
}
