//! One stream as the upstream keeps it, over all its connections.
//!
//! In: requests, with their `Last-Event-ID`. Out: a [`Response`] for each, and the time at which each event was
//! written.
//! Laws: a request for an id that was never sent is a failure; a cut counts as healed when the stream goes on in the
//! way that the kind of the cut demands, not before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::kind::{Cut, Kind};
use super::script::Script;
use super::world::{World, lock};
use crate::base::Tick;

/// What the upstream does with a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Response {
    /// RST before the first byte.
    Reset,
    /// A head without a body.
    Status(u16),
    /// The stream, from some event on.
    Body(Body),
}

/// How a connection carries its part of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Body {
    /// The first event.
    pub(super) from: usize,
    /// Where the connection breaks; `None` when it carries the stream to its end.
    pub(super) cut: Option<Cut>,
    /// What is sent before the first event.
    pub(super) preface: &'static str,
}

#[derive(Default)]
struct State {
    started: Option<Tick>,
    cuts_made: usize,
    /// The cut that the next request has to heal.
    healing: Option<Kind>,
    failures_left: u32,
    /// One more than the highest number of an event that was sent.
    high: usize,
    /// When each event was written; `NEVER` if it was written more than once.
    written: Vec<Tick>,
    /// The number of the last outage that cut this stream.
    outages: usize,
    over: bool,
}

/// One stream.
pub(super) struct Stream {
    pub(super) script: Script,
    state: Mutex<State>,
}

impl Stream {
    /// A stream that nobody has asked for yet.
    pub(super) fn new(script: Script) -> Self {
        let written = Vec::with_capacity(script.len());
        Self { script, state: Mutex::new(State { written, ..State::default() }) }
    }

    /// Decides what to do with a request.
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

    /// After the stream's end: the events that a client which left near the end has not got.
    fn rest(&self, last_id: Option<&str>) -> Option<Response> {
        let n = self.script.find(last_id?).filter(|_| self.script.rule.client_leaves())?;
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
        let status = self.script.rule.status_after_end();
        if status.is_none() {
            world.fail(format!("{}: upstream was asked again for a stream that had ended", self.script.name));
        }
        Response::Status(status.unwrap_or(404))
    }

    /// When event `n` is to be sent.
    pub(super) fn due(&self, n: usize) -> Tick {
        lock(&self.state).started.unwrap_or_default() + self.script.period.times(n as u64)
    }

    /// Notes that event `n` is about to be written whole, at `now`.
    pub(super) fn note_write(&self, n: usize, now: Tick) {
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

    /// Notes that the connection is about to be cut: by the script if `planned`, else by an outage.
    pub(super) fn note_cut(&self, world: &World, kind: Kind, planned: bool) {
        let mut state = lock(&self.state);
        state.cuts_made += usize::from(planned);
        state.healing = Some(kind);
        state.failures_left = kind.failures();
        if self.script.skip.is_empty() {
            world.tally().cuts[kind as usize] += 1;
        }
    }

    /// Notes that the stream is over.
    pub(super) fn note_end(&self) {
        lock(&self.state).over = true;
    }

    /// Whether this outage cuts the connection. Each outage cuts a quarter of the fleet, in turn.
    pub(super) fn is_cut_by_outage(&self, outage: usize) -> bool {
        let mut state = lock(&self.state);
        let falls =
            self.script.rule.is_cut_by_outages() && self.script.client % 4 == outage % 4 && state.outages < outage;
        state.outages = if falls { outage } else { state.outages };
        falls
    }
}

/// The streams that the upstream knows now, by name. The clients open and close them, so their number is bounded.
#[derive(Default)]
pub(super) struct Streams(Mutex<HashMap<String, Arc<Stream>>>);

impl Streams {
    /// Makes a stream known to the upstream.
    pub(super) fn open(&self, script: Script) -> Arc<Stream> {
        let stream = Arc::new(Stream::new(script));
        lock(&self.0).insert(stream.script.name.clone(), Arc::clone(&stream));
        stream
    }

    /// Makes the upstream forget a stream.
    pub(super) fn close(&self, stream: &Stream) {
        lock(&self.0).remove(&stream.script.name);
    }

    /// The stream of that name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Stream>> {
        lock(&self.0).get(name).map(Arc::clone)
    }
}

/// What the first response after a cut begins with.
const fn preface(healing: Option<Kind>) -> &'static str {
    match healing {
        Some(Kind::Bom) => "\u{feff}",
        Some(Kind::Retry50) => "retry: 50\n\n",
        _ => "",
    }
}
