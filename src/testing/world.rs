//! The shell of a machine without sockets and without sleeping: clients, upstreams and the clock, as a test moves them.
//!
//! In: what the ends send, and how much they take. Out: bytes on their wires.
//! Laws: the world keeps to the law of the loop; outputs are drained after each input; nothing is read that
//! [`Machine::poll_read`] has no room for; a socket that took less than it was given is not written to until it takes
//! more. Whenever nothing moves, [`Machine::check_settled`] holds. When a world ends, all clients leave, and nothing
//! may be left.

use super::trace::Trace;
use crate::base::{Access, Span, StreamName, Tick, TraceSpan};
use crate::config::{Config, Limits, Route, StoreConfig, Upstream};
use crate::machine::{
    Close, ConnKey, ConnectError, ExchangeKey, Input, Lookup, Machine, Notice, Output, Refusal, Stake, TooManyRoutes,
};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A credential: no notice may hold it.
pub(crate) const SECRET: &str = "hush-hush";

/// What upstream does with connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dial {
    Accept,
    Refuse,
    /// Something is wrong with it, such as its certificate.
    Wrong,
    Hang,
}

/// How an end is closed by the machine, as the end sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Open,
    /// Our side was shut, the socket still reads.
    Shut,
    Closed,
    Reset,
}

pub(crate) enum Said {
    Bytes(Vec<u8>),
    Eof,
    Reset,
}

/// One end: a client or an upstream.
pub(crate) struct End {
    pub(crate) key: ConnKey,
    pub(crate) state: State,
    pub(crate) wire: Vec<u8>,
    pub(crate) said: VecDeque<Said>,
    /// Bytes of what the end said that the machine was handed.
    pub(crate) heard: usize,
    /// How many more bytes the end will take; `None`: all.
    pub(crate) takes: Option<usize>,
    pub(crate) writable: bool,
    pub(crate) established: bool,
    /// The most bytes that its kernel holds on the way out, if that is bounded.
    pub(crate) cap: Option<usize>,
    /// It may be slow to take what it is sent.
    pub(crate) patient: bool,
    /// How many bytes of the wire have arrived, where the rest is on its way and may get lost; `None`: all.
    pub(crate) arrived: Option<usize>,
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) now: Tick,
    pub(crate) ends: Vec<End>,
    pub(crate) by_key: HashMap<u64, usize>,
    /// Ends that are upstreams, in the order in which the machine asked for them.
    pub(crate) ups: Vec<usize>,
    /// When the machine asked for each of them.
    pub(crate) dialled: Vec<Tick>,
    pub(crate) dial: Dial,
    /// What single upstreams do with connections instead, by the place of each.
    pub(crate) dial_at: HashMap<usize, Dial>,
    /// The place of the upstream that each of them is for.
    pub(crate) placed: Vec<usize>,
    pub(crate) counts: HashMap<usize, u64>,
    pub(crate) notices: Vec<Notice>,
    /// What the access log was told.
    pub(crate) served: Vec<Access>,
    /// What was told of traces.
    pub(crate) traced: Vec<TraceSpan>,
    /// The places of routes after each reload.
    pub(crate) reloaded: Vec<Result<Box<[usize]>, TooManyRoutes>>,
    pub(crate) lookups: Vec<Lookup>,
    /// The logs of other instances that are followed, by exchange; behind which event and under which fence each is.
    pub(crate) followed: Vec<(ExchangeKey, StreamName, u64, u64)>,
    pub(crate) refused: usize,
    /// Why, for each of them.
    pub(crate) refusals: Vec<Refusal>,
    /// What clients hold that shake hands.
    pub(crate) let_in: Vec<Stake>,
    /// What the test is doing, for messages.
    pub(crate) what: String,
    pub(crate) flushing: VecDeque<usize>,
    pub(crate) reading: VecDeque<usize>,
    pub(crate) news: VecDeque<(ConnKey, Option<ConnectError>)>,
    /// Whether all is checked whenever nothing moves. The cost grows with the number of exchanges.
    pub(crate) checks: bool,
    /// Ends that the machine asks for what they have not acknowledged.
    pub(crate) asked: VecDeque<usize>,
    /// How often it has asked.
    pub(crate) questions: usize,
    /// What was done so far.
    pub(crate) trace: Trace,
}

/// A world with one route and the default settings, except that a stream which nobody reads is dropped at once.
pub(crate) fn world() -> World {
    world_with(|_, _| {})
}

pub(crate) fn world_with(adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    lingering_world(|route, limits| {
        route.linger = Span::ZERO;
        adjust(route, limits);
    })
}

/// A world with one route and the default settings.
pub(crate) fn lingering_world(adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    world_of(one_route(adjust))
}

pub(crate) fn one_route(adjust: impl FnOnce(&mut Route, &mut Limits)) -> Config {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    let mut limits = Limits { streams: 100, connections: 300, ..Limits::default() };
    adjust(&mut route, &mut limits);
    Config { routes: vec![route].into(), limits, store: StoreConfig::Own, ..Config::default() }
}

pub(crate) fn world_of(config: Config) -> World {
    world_from(config, 7)
}

/// A process of its own, whose random numbers come from the seed.
pub(crate) fn world_from(config: Config, seed: u64) -> World {
    let now = Tick::from_millis(1_000_000);
    World {
        machine: Machine::new(Arc::new(config), seed, 11, now),
        now,
        ends: Vec::new(),
        by_key: HashMap::new(),
        ups: Vec::new(),
        dialled: Vec::new(),
        dial: Dial::Accept,
        dial_at: HashMap::new(),
        placed: Vec::new(),
        counts: HashMap::new(),
        notices: Vec::new(),
        served: Vec::new(),
        traced: Vec::new(),
        reloaded: Vec::new(),
        lookups: Vec::new(),
        followed: Vec::new(),
        refused: 0,
        refusals: Vec::new(),
        let_in: Vec::new(),
        what: String::new(),
        flushing: VecDeque::new(),
        reading: VecDeque::new(),
        news: VecDeque::new(),
        checks: true,
        asked: VecDeque::new(),
        questions: 0,
        trace: Trace::default(),
    }
}

/// How the world works.
impl World {
    pub(crate) fn time(&mut self) {
        // Each input fires some timers.
        for _ in 0..1_000 {
            self.machine.handle(Input::Time, self.now);
            if self.machine.poll_timeout().is_none_or(|at| at > self.now) {
                break;
            }
        }
        assert!(self.machine.poll_timeout().is_none_or(|at| at > self.now), "the shell would spin");
        self.pump();
    }

    /// Carries everything out until nothing moves.
    pub(crate) fn pump(&mut self) {
        loop {
            self.settle();
            let Some(end) = self.reading.pop_front() else { break };
            self.read(end);
        }
        if self.checks {
            self.machine.check_settled();
        }
    }

    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.trace.output(&output);
                self.carry_out(output);
            }
            if let Some((conn, failed)) = self.news.pop_front() {
                let input = match failed {
                    None => Input::Connected { conn },
                    Some(why) => Input::ConnectFailed { conn, why },
                };
                self.machine.handle(input, self.now);
            } else if let Some(end) = self.asked.pop_front() {
                self.acknowledge(end);
            } else if let Some(end) = self.flushing.pop_front() {
                self.write(end);
            } else {
                return;
            }
        }
    }

    pub(crate) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Adopt { conn } => self.add(conn, true),
            Output::LetIn { stake } => self.let_in.push(stake),
            Output::Refuse(why) => {
                self.refused += 1;
                self.refusals.push(why);
            }
            Output::Connect { conn, route } => {
                self.ups.push(self.ends.len());
                self.dialled.push(self.now);
                self.placed.push(route);
                let dial = self.dial_at.get(&route).copied().unwrap_or(self.dial);
                self.add(conn, dial == Dial::Accept);
                match dial {
                    Dial::Accept => self.news.push_back((conn, None)),
                    Dial::Refuse => self.news.push_back((conn, Some(ConnectError::Refused))),
                    Dial::Wrong => self.news.push_back((conn, Some(ConnectError::Certificate))),
                    Dial::Hang => {}
                }
            }
            Output::Reuse { conn } => {
                let quiet = self.end_of(conn).said.is_empty();
                self.machine.handle(if quiet { Input::Connected { conn } } else { Input::Stale { conn } }, self.now);
            }
            Output::Flush { conn } => self.flushing.extend(self.by_key.get(&conn.to_bits())),
            Output::ReadAgain { conn } => self.reading.extend(self.by_key.get(&conn.to_bits())),
            Output::CapSendBuffer { conn, bytes } => self.end_of(conn).cap = Some(bytes),
            Output::BePatient { conn, patient } => self.end_of(conn).patient = patient,
            Output::AskUnacknowledged { conn } => {
                self.questions += 1;
                self.asked.extend(self.by_key.get(&conn.to_bits()));
            }
            Output::ShutdownWrite { conn } => self.end_of(conn).state = State::Shut,
            Output::Close { conn, how } => {
                self.end_of(conn).state = if how == Close::Reset { State::Reset } else { State::Closed };
                self.by_key.remove(&conn.to_bits());
            }
            Output::Lookup(lookup) => self.lookups.push(lookup),
            Output::Follow { exchange, name, after, fence } => {
                assert!(self.followed.iter().all(|(other, ..)| *other != exchange), "followed twice");
                self.followed.push((exchange, name, after, fence));
            }
            Output::Unfollow { exchange } => {
                let before = self.followed.len();
                self.followed.retain(|(other, ..)| *other != exchange);
                assert_eq!(self.followed.len() + 1, before, "unfollowed without cause");
            }
            Output::Notice(notice) => {
                let line = notice.to_string();
                let is_sound = line.len() < 1_000 && !line.contains(char::is_control) && !line.contains(SECRET);
                assert!(is_sound, "no line for a log: {line:?}");
                self.notices.push(notice);
            }
            Output::Served(access) => self.served.push(*access),
            Output::Traced(span) => self.traced.push(*span),
            Output::Reloaded { places } => self.reloaded.push(places),
        }
    }

    pub(crate) fn add(&mut self, key: ConnKey, established: bool) {
        self.by_key.insert(key.to_bits(), self.ends.len());
        self.ends.push(End {
            key,
            state: State::Open,
            wire: Vec::new(),
            said: VecDeque::new(),
            heard: 0,
            takes: None,
            writable: true,
            established,
            cap: None,
            patient: false,
            arrived: None,
        });
    }

    /// Tells the machine how much of what an end's socket took has not arrived.
    pub(crate) fn acknowledge(&mut self, end: usize) {
        let End { key, wire, arrived, .. } = &self.ends[end];
        let bytes = arrived.map_or(0, |arrived| wire.len().saturating_sub(arrived)) as u64;
        self.machine.handle(Input::Unacknowledged { conn: *key, bytes }, self.now);
    }

    pub(crate) fn end_of(&mut self, conn: ConnKey) -> &mut End {
        let end = self.by_key[&conn.to_bits()];
        &mut self.ends[end]
    }

    pub(crate) fn is_live(&self, end: usize) -> bool {
        matches!(self.ends[end].state, State::Open | State::Shut) && self.ends[end].established
    }

    pub(crate) fn read(&mut self, end: usize) {
        while self.is_live(end) && !self.ends[end].said.is_empty() {
            let conn = self.ends[end].key;
            let room = self.machine.poll_read(conn);
            if room == 0 {
                return;
            }
            let said = &mut self.ends[end].said;
            let input = match said.pop_front() {
                Some(Said::Bytes(mut bytes)) => {
                    if bytes.len() > room {
                        said.push_front(Said::Bytes(bytes.split_off(room)));
                    }
                    self.ends[end].heard += bytes.len();
                    self.machine.handle(Input::Data { conn, bytes: &bytes }, self.now);
                    self.settle();
                    continue;
                }
                Some(Said::Reset) => Input::Reset { conn },
                _ => Input::Eof { conn },
            };
            if !self.ups.contains(&end) {
                self.acknowledge(end);
            }
            self.machine.handle(input, self.now);
            self.settle();
        }
    }

    pub(crate) fn write(&mut self, end: usize) {
        if !self.is_live(end) || !self.ends[end].writable {
            return;
        }
        let e = &mut self.ends[end];
        let all = self.machine.transmit(e.key).concat();
        assert!(e.state == State::Open || all.is_empty(), "bytes after the end");
        let n = e.takes.map_or(all.len(), |takes| takes.min(all.len()));
        e.takes = e.takes.map(|takes| takes - n);
        e.wire.extend_from_slice(&all[..n]);
        e.writable = n == all.len();
        self.trace.sent(e.key.to_bits(), &all[..n]);
        self.machine.handle(Input::Written { conn: e.key, bytes: n }, self.now);
    }
}

impl Drop for World {
    /// All clients leave: nothing may be left of them.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for end in 0..self.ends.len() {
            if self.is_live(end) && !self.ups.contains(&end) {
                self.machine.handle(Input::Eof { conn: self.ends[end].key }, self.now);
                self.pump();
                if self.is_live(end) {
                    // It has closed its socket, which answers what is still sent to it with a reset.
                    self.machine.handle(Input::Reset { conn: self.ends[end].key }, self.now);
                    self.pump();
                }
            }
        }
        self.pass_secs(40);
        self.pass(self.machine.session_idle());
        self.trace.tell_world();
        self.machine.check_empty();
    }
}
