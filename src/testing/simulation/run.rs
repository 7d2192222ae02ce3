//! One run: a process, its clients, its upstreams and its disk, moved by the actions of a script.
//!
//! In: actions. Out: a panic if a promise is broken; how many events reached clients.
//! Law: one seed and one script give the same run.

use super::bounds::{ABOVE, BUDGET, BUFFERS, CONNECTIONS, STREAMS, config, heal_rate};
use super::client::Client;
use super::disk::{Disk, Life, MODES, Mode};
use super::pace::{Asked, NUMBER};
use super::script::{Action, Canary, What};
use super::source::{Answer, GROUP, KINDS, Kind, Sequence, THERE};
use crate::base::{Count, Random, Span};
use crate::config::Config;
use crate::machine::{Input, NotLookedUp};
use crate::testing::received::{FIELD, Received};
use crate::testing::wire::chunk;
use crate::testing::world::{Dial, Said, World, world_from};
use std::collections::{HashMap, HashSet};

/// Clients of a run. Those with the same owner are one principal.
const CLIENTS: u64 = 6;
const OWNERS: u64 = 4;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n";

pub(super) struct Run {
    w: World,
    life: Life,
    disk: Disk,
    random: Random,
    clients: Vec<Client>,
    feeds: HashMap<usize, Feed>,
    received: Received,
    /// How many events of each sequence exist.
    tops: HashMap<Sequence, u64>,
    /// Ids that have arrived at clients.
    given: HashSet<String>,
    /// Ids that this process has looked up in the store: whether a look-up was answered.
    looked_up: HashMap<String, bool>,
    failing: u64,
    /// What this process has asked of upstream, and how many requests clients have made.
    asked: Asked,
    /// What this process runs with.
    config: Config,
    rate: u32,
    requests: u64,
    canary: Option<Canary>,
    events: u64,
    /// Processes so far.
    lives: u64,
}

/// A connection of an upstream.
struct Feed {
    sequence: Sequence,
    first: u64,
    next: u64,
    /// The body ends cleanly after this event.
    until: u64,
    chunked: bool,
    /// Nobody can read it.
    zipped: bool,
    silent: bool,
    done: bool,
}

impl Run {
    pub(super) fn new(seed: u64, canary: Option<Canary>) -> Self {
        let mut random = Random::new(seed ^ 0x5e60);
        let mut disk = Disk::new(canary);
        let rate = heal_rate(&mut random);
        let config = config(&mut random, rate, canary);
        let w = world_from(config.clone(), random.next());
        let life = Life::new(&mut disk, random.next(), w.now);
        let clients = (0..CLIENTS)
            .map(|n| {
                let kind = KINDS[random.below(KINDS.len() as u64) as usize];
                let call = u64::from(kind.is_call()) * (1 + n * 1_000);
                // Where each connection has a count of its own, an id says nothing of another connection's events.
                let owner = if kind == Kind::Anew { n } else { n % OWNERS };
                let sequence = Sequence { kind, owner, call };
                Client::new(sequence, random.below(6) == 0)
            })
            .collect();
        let (feeds, tops, given) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self {
            w,
            life,
            disk,
            random,
            clients,
            feeds,
            received: Received::default(),
            tops,
            given,
            looked_up: HashMap::new(),
            failing: 0,
            asked: Asked::new(rate),
            config,
            rate,
            requests: 0,
            canary,
            events: 0,
            lives: 1,
        }
    }

    pub(super) fn step(&mut self, action: Action) {
        let Action { what, a, b } = action;
        let n = (a % CLIENTS) as usize;
        match what {
            What::Grow => {
                let sequence = self.clients[n].seen.sequence;
                *self.tops.entry(sequence).or_default() += 1 + b % 4;
            }
            What::Connect => self.connect(n),
            What::CutClient => self.cut_client(n),
            What::Slow => self.clients[n].slow = true,
            What::Arrive => self.arrive(n, (b % 3_000) as usize),
            What::Fast => self.clients[n].slow = false,
            What::CutUpstream => {
                if let Some(u) = self.live_feed(a) {
                    // Without chunks, a close between two events is a clean end.
                    let chunked = self.feeds.get(&u).is_some_and(|feed| feed.chunked);
                    if b % 2 == 0 || !chunked { self.w.hear(u, Said::Reset) } else { self.w.hear(u, Said::Eof) }
                }
            }
            What::Tear => self.tear(a, b),
            What::Silence => {
                if let Some(feed) = self.live_feed(a).and_then(|u| self.feeds.get_mut(&u)) {
                    feed.silent = true;
                }
            }
            What::Fail => self.failing = b % 4,
            What::Dial => self.w.dial = [Dial::Accept, Dial::Accept, Dial::Refuse, Dial::Hang][(b % 4) as usize],
            What::Pass => self.pass(b % 2_000),
            What::Jump => self.pass(b % 200_000),
            What::Disk => self.disk.mode = MODES[(b % MODES.len() as u64) as usize],
            What::Persist => {
                self.life.step(&mut self.disk, &self.given, self.w.now);
            }
            What::Answer => self.answer_lookup(a, b),
            What::Kill => self.kill(b % 2 == 0),
            What::Restart => self.restart(),
            What::Reload => self.reload(),
        }
        self.settle();
    }

    /// Everything that follows by itself: upstreams answer and send, clients read, the store is told.
    fn settle(&mut self) {
        self.answer();
        self.pour();
        (0..self.clients.len()).for_each(|n| self.let_take(n));
        (0..self.clients.len()).for_each(|n| self.look(n));
        let World { machine, trace, .. } = &mut self.w;
        self.life.report(machine, trace, self.canary);
        let m = &self.w.machine;
        let bound = BUDGET + m.exchanges() * ABOVE;
        assert!(m.log_bytes() <= bound, "{} bytes in logs, {bound} may be", m.log_bytes());
        let bound = BUFFERS + m.connections() * ABOVE;
        assert!(m.buffer_bytes() <= bound, "{} bytes in buffers, {bound} may be", m.buffer_bytes());
        assert!(m.sessions() <= STREAMS && m.exchanges() <= STREAMS, "{} {}", m.sessions(), m.exchanges());
        assert!(m.connections() <= CONNECTIONS && m.streams() <= STREAMS, "{} {}", m.connections(), m.streams());
    }

    fn pass(&mut self, ms: u64) {
        match self.canary {
            Some(Canary::NoTime) => self.w.now = self.w.now + Span::from_millis(ms),
            _ => self.w.pass_ms(ms),
        }
    }
}

/// Clients.
impl Run {
    fn connect(&mut self, n: usize) {
        let c = &mut self.clients[n];
        // A client that finds no place is refused, and then there is no end to look at.
        if c.end.is_some_and(|end| self.w.is_live(end)) || self.w.machine.connections() >= CONNECTIONS {
            return;
        }
        let resumes = c.seen.last_id.is_some() && c.seen.sequence.kind.resumes();
        if c.seen.sequence.kind.is_call() && c.posting && !resumes {
            c.next_call();
        }
        let (sequence, id) = (c.seen.sequence, c.seen.last_id.clone());
        if id.is_none() {
            // A reader that joins a stream begins behind its newest event, which counts as delivered from then on.
            let feeds = self.feeds.values().filter(|feed| feed.sequence == sequence);
            self.given.extend(feeds.filter_map(|feed| sequence.id(feed.next - 1)));
        }
        let posts = sequence.kind.is_call() && !resumes;
        let id = id.filter(|_| !posts).map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let body = match sequence.kind {
            Kind::Stateless => {
                "{\"params\":{\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}}}".to_owned()
            }
            _ => "{}".to_owned(),
        };
        let (method, body) = if posts { ("POST", body) } else { ("GET", String::new()) };
        let about = match posts {
            true => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
            false => String::new(),
        };
        let version = if c.old { "1.0" } else { "1.1" };
        let there = if std::mem::take(&mut c.there) { THERE } else { "" };
        self.requests += 1;
        c.seen.ask(&self.requests.to_string());
        let request = format!(
            "{method} {}{there} HTTP/{version}\r\nHost: h\r\nConnection: close\r\nAuthorization: {}\r\nAccept: text/event-stream\r\n{}{id}{about}{NUMBER}: {}\r\n\r\n{body}",
            sequence.path(),
            sequence.owner,
            sequence.kind.lines(sequence.owner),
            self.requests,
        );
        c.begin();
        c.joins_live = id.is_empty();
        let end = self.w.client();
        self.w.ends[end].arrived = self.clients[n].slow.then_some(0);
        self.w.say(end, &request);
        self.clients[n].end = Some(end);
    }

    /// A slow client's kernel takes as much as it may hold; a fast client takes all.
    fn let_take(&mut self, n: usize) {
        let Some(end) = self.clients[n].end.filter(|end| self.w.is_live(*end)) else { return };
        if !self.clients[n].slow {
            return self.w.takes_all(end);
        }
        self.w.ends[end].arrived = Some(self.clients[n].arrived);
        let holds = self.w.ends[end].cap.map_or(8_192, |cap| 4 * cap);
        let held = self.w.ends[end].wire.len() - self.clients[n].arrived.min(self.w.ends[end].wire.len());
        self.w.takes(end, holds.saturating_sub(held));
    }

    fn arrive(&mut self, n: usize, bytes: usize) {
        self.clients[n].arrived += bytes;
    }

    /// The connection breaks: what was on its way is lost.
    fn cut_client(&mut self, n: usize) {
        if let Some(end) = self.clients[n].end.filter(|end| self.w.is_live(*end)) {
            self.w.rst(end);
        }
        self.look(n);
        self.clients[n].end = None;
    }

    /// Reads what has arrived, as clients do.
    fn look(&mut self, n: usize) {
        let Some(end) = self.clients[n].end else { return };
        let live = self.w.is_live(end);
        self.received.refresh(&self.w);
        let Self { w, clients, given, looked_up, canary, events, random, lives, received, .. } = self;
        let c = &mut clients[n];
        let wire = &mut w.ends[end].wire;
        if *canary == Some(Canary::Torn) && random.below(50) == 0 && wire.len() > c.arrived {
            *wire.last_mut().unwrap_or(&mut 0) ^= 1;
        }
        if !c.slow {
            c.arrived = wire.len();
        }
        c.arrived = c.arrived.min(wire.len());
        // The rest is on its way, and gets lost with the connection.
        w.ends[end].arrived = c.slow.then_some(c.arrived);
        let wire = &w.ends[end].wire;
        let had = c.read.status;
        c.read.arrive(&wire[..c.arrived]);
        if *canary == Some(Canary::MuteGaps) {
            c.read.gap = None;
        }
        if had == 0 && c.read.status != 0 && !c.head() {
            return;
        }
        while let Some(block) = c.read.next_block() {
            let before = c.seen.last;
            given.extend(block.lines().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned));
            // A client without an id begins after events that it never had, and may be told so by a gap.
            if c.joins_live {
                let after = block.split("\"after\":\"").nth(1).and_then(|rest| rest.split('"').next());
                given.extend(after.map(str::to_owned));
            }
            if *canary == Some(Canary::Swallowed) && c.seen.sequence.kind == Kind::Anew && random.below(8) == 0 {
                continue;
            }
            if *canary == Some(Canary::LostAnew) && c.seen.sequence.kind == Kind::Live && random.below(4) == 0 {
                let n = block.rsplit(' ').nth(1).and_then(|n| n.parse().ok());
                if let Some(up) = n.and_then(|n| received.that_ends_with(&block, n)) {
                    c.seen.lose(&block);
                    w.hear(up, Said::Reset);
                    continue;
                }
            }
            c.seen.take(&block, received, *canary == Some(Canary::MuteGaps));
            if c.seen.last != before {
                *events += 1;
                (c.life, c.forgotten) = (*lives, w.count(Count::SessionEvictions));
            }
        }
        if let Some(asked) = c.seen.asked.as_ref().filter(|_| c.seen.unknown) {
            let waits = w.lookups.iter().any(|question| *question.wanted == *asked.as_bytes());
            let answered = looked_up.get(asked).copied().unwrap_or(!waits);
            assert!(answered, "{asked} is said to be unknown, and the store could not tell");
        }
        if c.read.is_whole() {
            c.finish();
        } else if !live {
            c.end = None;
        }
    }
}

/// Upstreams.
impl Run {
    /// Answers the requests that have come.
    fn answer(&mut self) {
        for (at, u) in self.w.ups.clone().into_iter().enumerate() {
            if self.feeds.contains_key(&u) || !self.w.is_live(u) {
                continue;
            }
            let wire = String::from_utf8_lossy(&self.w.ends[u].wire).into_owned();
            let Some((head, body)) = wire.split_once("\r\n\r\n") else { continue };
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            if field("Content-Length: ").is_some_and(|n| n.parse() != Ok(body.len())) {
                continue;
            }
            let id = field("Last-Event-ID: ");
            assert!(id.is_none_or(|id| !id.starts_with("sg-")), "an own id went upstream: {head}");
            let number = field(NUMBER).and_then(|value| value.strip_prefix(": ")?.parse().ok());
            let number = number.unwrap_or_else(|| panic!("a request of nobody: {head}"));
            self.asked.ask(number, self.w.dialled[at]);
            self.received.open(u, &number.to_string());
            let sequence = Sequence::of(head).unwrap_or_else(|| panic!("an odd request: {head}"));
            let top = self.tops.get(&sequence).copied().unwrap_or(0);
            let mut answer = sequence.answer(head.starts_with("GET"), id, top);
            if sequence.kind == Kind::Redirects && !head.contains(&format!("{THERE} HTTP/")) {
                answer = Answer::Status(307);
            }
            if self.failing > 0 {
                self.failing -= 1;
                answer = Answer::Status(503);
            }
            let mut feed = Feed {
                sequence,
                first: 1,
                next: 1,
                until: u64::MAX,
                chunked: true,
                zipped: false,
                silent: false,
                done: false,
            };
            match answer {
                Answer::Status(status) => {
                    feed.done = true;
                    let location = format!("Location: http://h{}{THERE}\r\n", sequence.path());
                    let lines = if status == 307 { location.as_str() } else { "" };
                    let head = format!("HTTP/1.1 {status} No\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n");
                    self.w.say(u, &head);
                }
                Answer::From(next) => {
                    (feed.first, feed.next) = (next, next);
                    feed.chunked = self.random.below(8) > 0;
                    if sequence.kind.ends() {
                        feed.until = next + 2 + self.random.below(8);
                    }
                    let framing = if feed.chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
                    feed.zipped = field("Accept-Encoding: ").is_some_and(|codings| codings.contains("gzip"));
                    let coding = if feed.zipped { "Content-Encoding: gzip\r\n" } else { "" };
                    self.w.say(u, &format!("{HEAD}{framing}{coding}\r\n"));
                    if sequence.kind == Kind::Greets && next > 1 && self.w.is_live(u) {
                        self.w.say(u, &framed(feed.chunked, &sequence.event(1, 1)));
                    }
                }
            }
            self.feeds.insert(u, feed);
        }
    }

    /// Upstreams send what there is to send.
    fn pour(&mut self) {
        let mut all: Vec<usize> = self.feeds.keys().copied().collect();
        all.sort_unstable();
        for u in all {
            if !self.w.is_live(u) {
                self.feeds.remove(&u);
                continue;
            }
            self.pour_one(u);
        }
    }

    fn pour_one(&mut self, u: usize) {
        while let Some(feed) = self.feeds.get_mut(&u).filter(|feed| !feed.silent && !feed.done) {
            let s = feed.sequence;
            let top = self.tops.get(&s).copied().unwrap_or(0).min(s.length());
            if !self.w.is_live(u) || self.w.unread(u) > 2_000 {
                return;
            }
            let (n, first, chunked) = (feed.next, feed.first, feed.chunked);
            if n > s.length() || n > feed.until {
                feed.done = true;
                if chunked {
                    self.w.say(u, "0\r\n\r\n");
                }
                if self.w.is_live(u) {
                    self.w.hear(u, Said::Eof);
                }
                return;
            }
            if n > top {
                return;
            }
            feed.next += 1;
            let (ends, zipped) = (n == feed.until, feed.zipped);
            let mut text = self.event(u, s, n, first);
            if s.kind == Kind::Bare && ends {
                text.pop();
            }
            if zipped {
                text = text.replace(|c: char| c.is_ascii_alphanumeric(), "?");
            }
            let framed = framed(chunked, &text);
            self.received.say(&self.w, u, n, event_end(chunked, &framed));
            self.w.say(u, &framed);
        }
    }

    /// An event as an upstream sends it. One without ids names its connection.
    fn event(&self, u: usize, s: Sequence, n: u64, first: u64) -> String {
        let name = if s.kind == Kind::Live { format!("{FIELD}{}\n", self.received.name(u)) } else { String::new() };
        name + &s.event(n, first)
    }

    fn live_feed(&self, a: u64) -> Option<usize> {
        let live = |u: &&usize| self.w.is_live(**u) && self.feeds.get(u).is_some_and(|feed| !feed.done);
        let live: Vec<usize> = self.w.ups.iter().filter(live).copied().collect();
        live.get((a % live.len().max(1) as u64) as usize).copied()
    }

    /// An upstream is cut after some bytes of its next event.
    fn tear(&mut self, a: u64, b: u64) {
        let Some(u) = self.live_feed(a) else { return };
        let Some(feed) = self.feeds.get(&u) else { return };
        if feed.next > feed.sequence.length() {
            return;
        }
        let (n, chunked, s) = (feed.next, feed.chunked, feed.sequence);
        let text = framed(chunked, &self.event(u, s, n, feed.first));
        self.received.say(&self.w, u, n, event_end(chunked, &text));
        // The event that was sent in part exists, and the next request will get it.
        let top = self.tops.entry(s).or_default();
        *top = (*top).max(n);
        let at = (b / 2 % text.len() as u64) as usize;
        self.w.say(u, &text[..at]);
        if self.w.is_live(u) {
            // Without chunks, a close between two events is a clean end, and so no tear.
            if b.is_multiple_of(2) || !chunked { self.w.hear(u, Said::Reset) } else { self.w.hear(u, Said::Eof) }
        }
    }
}

/// The process and its store.
impl Run {
    fn answer_lookup(&mut self, a: u64, b: u64) {
        if self.w.lookups.is_empty() {
            return;
        }
        let at = (a % self.w.lookups.len() as u64) as usize;
        let question = self.w.lookups.remove(at);
        let fails = b.is_multiple_of(5);
        let wanted = String::from_utf8_lossy(&question.wanted).into_owned();
        *self.looked_up.entry(wanted).or_default() |= !fails;
        let found = match self.canary {
            Some(Canary::DeafToErrors) if fails => Ok(Vec::new()),
            _ if fails => Err(NotLookedUp),
            _ => Ok(self.disk.find(&question)),
        };
        self.w.machine.handle(Input::LookedUp { exchange: question.exchange, found }, self.w.now);
        self.w.pump();
    }

    /// The process dies: all connections break, what it had not stored is lost.
    fn kill(&mut self, written: bool) {
        (0..self.clients.len()).for_each(|n| self.look(n));
        self.clients.iter_mut().for_each(|c| c.end = None);
        self.feeds.clear();
        self.looked_up.clear();
        self.lives += 1;
        let (now, seed) = (self.w.now, self.random.next());
        let rate = heal_rate(&mut self.random);
        let config = config(&mut self.random, rate, self.canary);
        self.asked = Asked::new(rate);
        (self.config, self.rate) = (config.clone(), rate);
        let trace = std::mem::take(&mut self.w.trace);
        self.received.begin_process(&self.w);
        self.w = world_from(config, seed);
        self.w.trace = trace;
        self.w.trace.begin_machine();
        self.w.now = self.w.now.max(now);
        let life = Life::new(&mut self.disk, seed, self.w.now);
        std::mem::replace(&mut self.life, life).die(&mut self.disk, written);
    }

    /// The process goes over to another configuration. What is under way notices nothing of it.
    fn reload(&mut self) {
        let new = config(&mut self.random, self.rate, self.canary);
        self.config = self.config.reload(&new).config;
        self.w.reload(self.config.clone());
        let places = self.w.reloaded.pop();
        assert!(places.is_some_and(|places| places.is_ok()), "a reload was refused");
    }

    /// The process ends in order, and everything is stored.
    fn restart(&mut self) {
        self.w.drain();
        self.settle();
        self.life.flush(&mut self.disk, &self.given, self.w.now);
        assert_eq!(self.life.dirty(), 0, "left unstored by an orderly end");
        self.kill(false);
    }

    /// Nothing fails any more: all clients come back and get the newest event, and it is stored. Returns how many
    /// events reached clients, and the fingerprint of the run.
    pub(super) fn end(&mut self) -> (u64, u64) {
        self.w.dial = Dial::Accept;
        (self.failing, self.disk.mode) = (0, Mode::Works);
        for round in 0..60 {
            for n in 0..self.clients.len() {
                self.clients[n].slow = false;
                self.connect(n);
            }
            while !self.w.lookups.is_empty() {
                self.answer_lookup(0, 1);
            }
            self.settle();
            self.pass(if round < 30 { 5_000 } else { 300 });
            self.settle();
            while self.life.step(&mut self.disk, &self.given, self.w.now) {}
        }
        for c in &self.clients {
            let s = c.seen.sequence;
            let asks = c.end.is_some_and(|end| self.w.is_live(end));
            assert!(!asks || c.read.status != 0, "{s:?}: a request without an answer");
            let (top, last) = (self.tops.get(&s).copied().unwrap_or(0), c.seen.last);
            let all_come = [Kind::Ids, Kind::Repeats, Kind::Opaque, Kind::Greets, Kind::Grouped, Kind::Anew];
            let certain = all_come.contains(&s.kind);
            // If all places stay taken, some clients are told to come back later again and again.
            let certain = certain && asks && c.read.status == 200;
            // Where the bytes of its last event are not known, other events with the same id are taken for that event.
            let taken_for_it = if s.kind == Kind::Grouped && c.seen.fresh { GROUP - 1 } else { 0 };
            assert!(!certain || last + taken_for_it >= top, "{s:?}: {last} of {top} in the end");
            if matches!(s.kind, Kind::Ids | Kind::Opaque)
                && asks
                && c.life == self.lives
                && let Some(id) = &c.seen.last_id
            {
                // A stream that finds no slot goes on without being stored, which is counted.
                let may_lack = self.life.without_slot() > 0 || self.w.count(Count::SessionEvictions) > c.forgotten;
                assert!(may_lack || self.disk.holds(id), "{s:?}: {id} was delivered and is not stored");
            }
        }
        self.disk.check();
        (self.events, self.w.trace.number())
    }
}

/// Behind how many bytes of it an event is whole.
fn event_end(chunked: bool, framed: &str) -> usize {
    if chunked { framed.len() - 2 } else { framed.len() }
}

fn framed(chunked: bool, text: &str) -> String {
    if chunked { chunk(text) } else { text.to_owned() }
}
