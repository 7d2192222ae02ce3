//! The body of the fuzz target `machine_ops`: the machine in the tests' world, with operations read from any bytes.
//!
//! In: bounds and knobs, then what clients, upstreams, the store and the clock do. Properties, after each: those of
//! [`Machine::check_settled`]; every table within its bound; marks in order and never back; no timer in the past; what
//! is emitted for the store has been delivered. At the end: each whole request was answered or its connection closed,
//! an answer is HTTP, and when all leave nothing is left.

use super::wire::*;
use super::world::*;
use crate::base::{EventId, Span};
use crate::config::{Config, Ids, LingerFull, ResumeFrom, Share};
use crate::machine::{Checkpoint, Input, NotLookedUp, StoredEvents, StoredOwner, StoredStream};
use arbitrary::{Arbitrary, Unstructured};
use std::collections::HashMap;

/// The most operations of one run.
const MAX_OPS: usize = 64;
/// Bytes that a connection may hold beside its bounds: one read, and what segno says by itself.
const SLACK: usize = 128 << 10;

#[derive(Arbitrary, Debug)]
struct Setup {
    connections: u8,
    streams: u8,
    budget: u16,
    replay_bytes: u8,
    replay_events: u8,
    max_event: u8,
    heal_for: u8,
    linger: u8,
    flags: u16,
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    /// A new client with a whole request; it may name an id that some client has seen, or a number.
    Ask {
        kind: u8,
        user: u8,
        id: Id,
    },
    /// A new client that says nothing yet.
    Client,
    Say {
        end: u8,
        bytes: &'a [u8],
    },
    /// An upstream begins its answer to a request that has come.
    Answer {
        up: u8,
        kind: u8,
    },
    /// An upstream sends events.
    Events {
        up: u8,
        first: u8,
        count: u8,
        kind: u8,
    },
    /// An upstream ends its body.
    Finish {
        up: u8,
    },
    Fin {
        end: u8,
    },
    Rst {
        end: u8,
    },
    Takes {
        end: u8,
        bytes: u16,
    },
    TakesAll {
        end: u8,
    },
    Pass {
        millis: u16,
    },
    Wait {
        secs: u8,
    },
    Dial {
        how: u8,
    },
    /// The store answers the last question.
    Found {
        what: u8,
        first: u8,
    },
    Drain,
    /// No more than this has arrived of what the end's socket took.
    Arrives {
        end: u8,
        bytes: u16,
    },
}

#[derive(Arbitrary, Debug)]
enum Id {
    None,
    Number(u8),
    /// The last one on the wire of some client.
    Seen(u8),
}

struct Run {
    w: World,
    /// Whether the answer of an upstream comes in chunks.
    chunked: HashMap<usize, bool>,
    /// Clients that sent a whole request.
    asked: Vec<usize>,
    /// The delivered mark of each stream when it was looked at last.
    marks: HashMap<(u64, u64), u64>,
    emitted: HashMap<u64, u64>,
}

/// The target's body.
pub fn machine_ops(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(setup) = Setup::arbitrary(&mut u) else { return };
    let w = world_of(config(&setup));
    let mut run = Run { w, chunked: HashMap::new(), asked: Vec::new(), marks: HashMap::new(), emitted: HashMap::new() };
    for _ in 0..MAX_OPS {
        let Some(op) = (!u.is_empty()).then(|| Op::arbitrary(&mut u).ok()).flatten() else { break };
        run.apply(&op);
        run.check();
    }
    run.end();
}

fn config(setup: &Setup) -> Config {
    let flag = |n: u16| setup.flags >> n & 1 == 1;
    let mut config = one_route(|route, limits| {
        limits.connections = 2 + usize::from(setup.connections % 16);
        limits.streams = 1 + usize::from(setup.streams % 8);
        limits.tunnels = usize::from(setup.connections % 3);
        limits.sessions = 1 + usize::from(setup.streams / 8 % 8);
        limits.streams_per_session = 1 + usize::from(setup.streams / 64);
        limits.lingering_per_principal = 1 + usize::from(setup.connections / 16);
        limits.lingering_per_address = 1 + usize::from(setup.connections / 32);
        // 0: no bound.
        limits.streams_per_address = usize::from(setup.connections / 64);
        limits.streams_per_principal = usize::from(setup.replay_events / 64);
        limits.connections_per_address = 2 * usize::from(setup.linger / 64);
        limits.requests_in_flight = 1 + usize::from(setup.heal_for / 32);
        route.replay_bytes = 1_024 << (setup.replay_bytes % 4);
        limits.buffer_budget = if setup.streams & 32 == 0 { 64 << 10 } else { 64 << 20 };
        limits.log_budget = route.replay_bytes + usize::from(setup.budget);
        route.replay_events = 1 + usize::from(setup.replay_events % 40);
        route.max_event_bytes = (32 + usize::from(setup.max_event) * 4).min(route.replay_bytes / 2);
        route.heal_for = Span::from_secs(u64::from(setup.heal_for % 90));
        route.linger = Span::from_secs(u64::from(setup.linger % 40));
        route.linger_full = if flag(0) { LingerFull::Evict } else { LingerFull::Pause };
        route.ids = if flag(1) { Ids::Off } else { Ids::Auto };
        route.share = [Share::Off, Share::Off, Share::Principal, Share::Public][usize::from(setup.flags >> 2 & 3)];
        route.resume_from = if flag(4) { ResumeFrom::Session } else { ResumeFrom::Id };
        route.upstream_idle = flag(5).then_some(Span::from_secs(9));
        route.cancel_on_disconnect = flag(6);
        route.last_event_id_param = flag(7).then(|| "last".to_owned());
        route.window = 1 + usize::from(setup.flags >> 8 & 31);
        route.idempotent = flag(15);
        route.gap = if flag(13) { crate::config::Gap::Status } else { crate::config::Gap::Event };
    });
    config.persist.durable = flag(14);
    assert_eq!(config.faults(), []);
    config
}

impl Run {
    fn apply(&mut self, op: &Op<'_>) {
        match *op {
            Op::Client => drop(self.client()),
            Op::Ask { kind, user, ref id } => self.ask(kind, user, id),
            Op::Say { end, bytes } => {
                if let Some(end) = self.live(end) {
                    self.w.say_bytes(end, &bytes[..bytes.len().min(512)]);
                }
            }
            Op::Answer { up, kind } => self.answer(up, kind),
            Op::Events { up, first, count, kind } => self.events(up, first, count, kind),
            Op::Finish { up } => {
                if let Some(up) = self.live_up(up) {
                    self.w.say(up, LAST);
                }
            }
            Op::Fin { end } => self.with(end, World::fin),
            Op::Rst { end } => self.with(end, World::rst),
            Op::Takes { end, bytes } => self.with(end, |w, end| w.takes(end, usize::from(bytes))),
            Op::TakesAll { end } => self.with(end, World::takes_all),
            Op::Pass { millis } => self.w.pass_ms(u64::from(millis)),
            Op::Wait { secs } => self.w.pass_secs(u64::from(secs)),
            Op::Dial { how } => {
                self.w.dial = [Dial::Accept, Dial::Accept, Dial::Refuse, Dial::Hang][usize::from(how % 4)];
            }
            Op::Found { what, first } => self.found(what, first),
            Op::Drain => self.w.drain(),
            Op::Arrives { end, bytes } => self.with(end, |w, end| w.ends[end].arrived = Some(usize::from(bytes))),
        }
    }

    fn with(&mut self, end: u8, call: impl FnOnce(&mut World, usize)) {
        if let Some(end) = self.live(end) {
            call(&mut self.w, end);
        }
    }

    /// One of the ends, if it is open.
    fn live(&self, end: u8) -> Option<usize> {
        let end = usize::from(end).checked_rem(self.w.ends.len())?;
        self.w.is_live(end).then_some(end)
    }

    fn live_up(&self, up: u8) -> Option<usize> {
        let up = self.w.ups[usize::from(up).checked_rem(self.w.ups.len())?];
        self.w.is_live(up).then_some(up)
    }

    /// A new client, or `None` if it is refused.
    fn client(&mut self) -> Option<usize> {
        let (ends, refused) = (self.w.ends.len(), self.w.refused);
        let client = self.w.client();
        assert_eq!((self.w.ends.len() - ends) + (self.w.refused - refused), 1, "a client is taken or refused");
        (self.w.refused == refused).then_some(client)
    }

    fn ask(&mut self, kind: u8, user: u8, id: &Id) {
        let id = match id {
            Id::None => None,
            Id::Number(n) => Some(n.to_string()),
            Id::Seen(client) => self.seen(*client),
        };
        let Some(client) = self.client() else { return };
        let (parameter, header) = match id {
            Some(id) if kind & 64 != 0 => (format!("?a&last={id}"), String::new()),
            Some(id) => (String::new(), format!("Last-Event-ID: {id}\r\n")),
            None => (String::new(), String::new()),
        };
        let accept = "Accept: text/event-stream\r\n";
        let (method, version, lines, body) = match kind % 8 {
            0..=2 => ("GET", "1.1", accept, ""),
            3 => ("GET", "1.0", accept, ""),
            4 if kind & 8 != 0 => ("POST", "1.1", "Content-Length: 2\r\nX-Stainless-Retry-Count: 1\r\n", "hi"),
            7 if kind & 8 != 0 => ("POST", "1.1", "Content-Length: 2\r\nIdempotency-Key: k\r\n", "hi"),
            4 => ("POST", "1.1", "Content-Length: 2\r\nAccept: text/event-stream\r\n", "hi"),
            5 => ("POST", "1.1", "Transfer-Encoding: chunked\r\nMcp-Session-Id: s\r\n", "1\r\nx\r\n0\r\n\r\n"),
            6 if kind & 128 != 0 => ("GET", "1.1", "Connection: Upgrade\r\nUpgrade: x\r\n", ""),
            6 => ("HEAD", "1.1", "", ""),
            _ => ("GET", "1.1", "", ""),
        };
        let mcp = ["", "", "MCP-Protocol-Version: 2025-11-25\r\n", "MCP-Protocol-Version: 2026-07-28\r\n"];
        let (mcp, user) = (mcp[usize::from(kind >> 4 & 3)], user % 3);
        let request = format!(
            "{method} /feed{parameter} HTTP/{version}\r\nHost: h\r\nAuthorization: {user}\r\n{lines}{mcp}{header}\r\n{body}"
        );
        self.asked.push(client);
        self.w.say(client, &request);
    }

    /// The last id on a client's wire.
    fn seen(&self, client: u8) -> Option<String> {
        let client = self.asked.get(usize::from(client).checked_rem(self.asked.len())?)?;
        let wire = self.w.wire(*client);
        let at = wire.rfind("\nid: ")? + 5;
        wire[at..].split_once('\n').map(|(id, _)| id.trim_end().to_owned()).filter(|id| id.len() < 64)
    }

    fn answer(&mut self, up: u8, kind: u8) {
        let Some(up) = self.live_up(up) else { return };
        let head = match kind % 12 {
            0..=4 => STREAM,
            5 => STREAM_UNTIL_CLOSE,
            6 => OK,
            7 => "HTTP/1.1 204 No Content\r\n\r\n",
            8 => "HTTP/1.1 503 Away\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            // A tunnel, if there was an offer: other bytes and ends then go both ways.
            9 if kind & 128 != 0 => "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            9 => "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
            10 => "HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno",
            _ => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\n",
        };
        self.chunked.insert(up, head == STREAM);
        self.w.say(up, head);
    }

    fn events(&mut self, up: u8, first: u8, count: u8, kind: u8) {
        let Some(up) = self.live_up(up) else { return };
        let mut text = String::new();
        for n in (0..u32::from(count % 8)).map(|n| u32::from(first) + n) {
            text += &match kind % 6 {
                0 | 1 => event(n),
                2 => format!("data: {n}\n\n"),
                3 => format!(": ping\r\nid: {n}\r\nevent: e\r\ndata: {n}\r\n\r\n"),
                4 => format!("id: {n}\ndata: {}\n\n", "x".repeat(usize::from(count) * 8)),
                _ => format!("id\ndata: {n}\nretry: {n}\n\n"),
            };
        }
        // A part of the last event only.
        text.truncate(text.len() - (usize::from(kind >> 4).min(text.len())));
        let chunked = self.chunked.get(&up).copied().unwrap_or(false);
        let text = if chunked && !text.is_empty() { chunk(&text) } else { text };
        self.w.say(up, &text);
    }

    fn found(&mut self, what: u8, first: u8) {
        let Some(question) = self.w.lookups.pop() else { return };
        let events: String = (0..u32::from(what % 8)).map(|n| event(u32::from(first) + n)).collect();
        let mut meta = self.w.machine.asked_of(question.exchange).unwrap_or_default();
        meta.push(what >> 3 & 1);
        let log = StoredEvents {
            meta: meta.into(),
            first: u64::from(first),
            bytes: events.into_bytes(),
            fence: 0,
            owner: StoredOwner::None,
            end: None,
        };
        let stored = |stream| StoredStream {
            stream,
            id: EventId::from_bytes(first.to_string().as_bytes()).unwrap(),
            last_seen_ms: stream,
            log: (question.log_bytes > 0).then(|| log.clone()),
        };
        let found = if what == 0xff { Err(NotLookedUp) } else { Ok((0..u64::from(what >> 6)).map(stored).collect()) };
        self.w.machine.handle(Input::LookedUp { exchange: question.exchange, found }, self.w.now);
        self.w.pump();
    }

    fn check(&mut self) {
        let World { machine, trace, .. } = &mut self.w;
        let emitted = &mut self.emitted;
        machine.drain_checkpoints(|checkpoint| match trace.with(checkpoint) {
            Checkpoint::Delivered { stream, cursor } => {
                let last = emitted.insert(stream.to_bits(), cursor.sequence);
                assert!(last.is_none_or(|last| last <= cursor.sequence), "a mark for the store went back");
            }
            Checkpoint::Ended { stream, .. } => drop(emitted.remove(&stream.to_bits())),
            _ => {}
        });
        let m = &self.w.machine;
        m.check_bounds(SLACK);
        let marks: HashMap<(u64, u64), u64> = m.delivered_marks().collect();
        for (stream, seq) in &marks {
            assert!(self.marks.get(stream).is_none_or(|last| last <= seq), "a delivered mark went back");
        }
        self.marks = marks;
    }

    /// Upstreams go away, clients take everything, and time passes.
    fn end(&mut self) {
        self.w.dial = Dial::Refuse;
        for up in self.w.ups.clone() {
            if self.w.is_live(up) {
                self.w.rst(up);
            }
        }
        for end in 0..self.w.ends.len() {
            if self.w.is_live(end) {
                self.w.takes_all(end);
            }
        }
        self.w.pass_secs(400);
        self.check();
        assert_eq!(self.w.machine.exchanges(), 0, "a request that has no end");
        for client in self.asked.drain(..) {
            let wire = self.w.wire(client);
            // A client may have taken a few bytes and left.
            assert!(wire.starts_with("HTTP/1.1 ") || "HTTP/1.1 ".starts_with(&wire), "no HTTP: {wire}");
            assert!(!wire.is_empty() || !self.w.is_live(client), "a request without an answer");
        }
    }
}
