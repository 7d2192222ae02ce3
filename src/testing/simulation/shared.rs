//! Two instances with one store, by chance: clients that come back to either, instances that die, a store that is late,
//! away or forgets to answer.
//!
//! In: a seed. Out: nothing, or the first promise that was broken.
//! The oracles: of a feed with ids nothing is lost and nothing comes twice; of one without, what is missing was said; an
//! answer that ends whole is whole; an order that a client shows to have been answered is never given again, whether
//! the store knows its answer or not; a log never mixes the events of two owners ([`super::shelf`]).
//!
//! `SEGNO_SEED` and `SEGNO_SEEDS` choose seeds, as in the other simulation.

use super::client::Unframed;
use super::number;
use super::shelf::{Fault, Fenced, Shelf};
use super::visitor::{Client, Kind};
use crate::base::{Count, Random, Span, StreamName, Tick};
use crate::config::{Config, Limits, Persist, Route, StoreConfig, Upstream};
use crate::machine::{Checkpoint, EventPart, ExchangeKey, Followed, Input, Lookup, NotLookedUp, StoredStream};
use crate::testing::wire::{LAST, STREAM, chunk};
use crate::testing::world::{World, world_from};
use std::collections::{HashMap, HashSet, VecDeque};

const FAULTS: [(Fault, &str); 5] = [
    (Fault::NoFence, "two owners"),
    (Fault::Skips, "nobody said so"),
    (Fault::DeafToErrors, "the store knows its answer"),
    (Fault::MuteGaps, "nobody said so"),
    (Fault::FalseEnd, "ended whole"),
];

const CLIENTS: usize = 6;

enum Write {
    Events(EventPart),
    LogEnd(bool),
    Cursor(crate::base::EventId),
    Ended(bool),
    Forgotten,
}

/// One of the two.
struct Instance {
    w: World,
    epoch: u64,
    /// Writes on their way to the store, and when each arrives.
    queue: VecDeque<(Tick, ExchangeKey, StreamName, Write)>,
    names: HashMap<ExchangeKey, StreamName>,
    watched: HashMap<ExchangeKey, bool>,
    /// The store does not answer it.
    away: bool,
    held: Tick,
    /// What its upstreams will send next, by their ends.
    sending: HashMap<usize, (String, u64)>,
    seen_ups: usize,
}

struct Run {
    random: Random,
    shelf: Shelf,
    instances: [Instance; 2],
    clients: Vec<Client>,
    tops: HashMap<String, u64>,
    orders: HashMap<String, u64>,
    /// The last events of bodies that have ended, by path.
    ends: HashMap<String, HashSet<u64>>,
    epochs: u64,
    events: u64,
    follows: u64,
}

fn config() -> Config {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.replay_events = 64;
    let limits = Limits { streams: 40, connections: 120, ..Limits::default() };
    let persist = Persist { replay_shared: true, ..Persist::default() };
    Config { routes: vec![route].into(), limits, persist, store: StoreConfig::Own, ..Config::default() }
}

impl Instance {
    fn new(seed: u64, epoch: u64, now: Tick) -> Self {
        let mut w = world_from(config(), seed);
        w.pass(now.since(w.now));
        Self {
            w,
            epoch,
            queue: VecDeque::new(),
            names: HashMap::new(),
            watched: HashMap::new(),
            away: false,
            held: now,
            sending: HashMap::new(),
            seen_ups: 0,
        }
    }

    fn tell(&mut self, input: Input<'_>) {
        self.w.machine.handle(input, self.w.now);
        self.w.pump();
    }

    /// Takes what the machine has for the store. Each write arrives a little later.
    fn report(&mut self, random: &mut Random) {
        let (mut due, names) = (self.queue.back().map_or(self.w.now, |(due, ..)| *due), &mut self.names);
        let (now, queue) = (self.w.now, &mut self.queue);
        self.w.machine.drain_checkpoints(|checkpoint| {
            due = due.max(now + Span::from_millis(random.below(150)));
            let (stream, write) = match checkpoint {
                Checkpoint::Began { stream, name } => {
                    names.insert(stream, name);
                    return;
                }
                Checkpoint::Events { stream, part } => (stream, Write::Events(part)),
                Checkpoint::LogEnded { stream, whole } => (stream, Write::LogEnd(whole)),
                Checkpoint::Delivered { stream, cursor } => (stream, Write::Cursor(cursor.id)),
                Checkpoint::Ended { stream, keep } => (stream, Write::Ended(keep)),
                Checkpoint::Seen { .. } => return,
                Checkpoint::Forgotten { name, .. } => {
                    return queue.push_back((due, ExchangeKey::from_bits(0), name, Write::Forgotten));
                }
            };
            if let Some(name) = names.get(&stream).cloned() {
                if matches!(write, Write::Ended(_)) {
                    names.remove(&stream);
                }
                queue.push_back((due, stream, name, write));
            }
        });
    }

    /// What is on its way to the store arrives there, as far as it is due.
    fn arrive(&mut self, shelf: &mut Shelf, random: &mut Random) {
        while !self.away && self.queue.front().is_some_and(|(due, ..)| *due <= self.w.now) {
            let Some((_, stream, name, write)) = self.queue.pop_front() else { return };
            let (epoch, now) = (self.epoch, self.w.now);
            match write {
                Write::Events(part) => {
                    // The answer to the first try may get lost, so that it is made again.
                    let tries = 1 + u64::from(random.below(10) == 0);
                    let written = (0..tries).map(|_| shelf.append(&name, epoch, &part, part.claim, now)).last();
                    if let Some(Err(Fenced)) = written {
                        self.tell(Input::TakenOver { stream });
                    }
                    self.watch(shelf, stream, &name);
                }
                Write::LogEnd(whole) => shelf.end(&name, epoch, whole),
                Write::Cursor(id) => shelf.record(&name, epoch, id),
                Write::Ended(keep) => shelf.close(&name, epoch, keep, now),
                Write::Forgotten => shelf.close(&name, epoch, false, now),
            }
        }
    }

    fn watch(&mut self, shelf: &Shelf, stream: ExchangeKey, name: &StreamName) {
        let by_others = shelf.is_followed(name, self.w.now);
        if self.watched.insert(stream, by_others).unwrap_or(false) != by_others {
            self.tell(Input::Watched { stream, by_others });
        }
    }

    /// Renews the leases once a second, answers look-ups, and tells what followed logs have.
    fn serve(&mut self, shelf: &mut Shelf, random: &mut Random) -> u64 {
        if self.away {
            if random.below(3) == 0
                && let Some(lookup) = self.w.lookups.pop()
            {
                let deaf = shelf.fault == Some(Fault::DeafToErrors);
                self.find(shelf, &lookup, if deaf { Ok(Vec::new()) } else { Err(NotLookedUp) });
            }
            let follows: Vec<ExchangeKey> = self.w.followed.iter().map(|(exchange, ..)| *exchange).collect();
            follows.into_iter().for_each(|exchange| self.tell(Input::Followed { exchange, news: Followed::Away }));
            return 0;
        }
        if self.held + Span::from_secs(1) <= self.w.now {
            self.held = self.w.now;
            let mut names: Vec<(ExchangeKey, StreamName)> = self.names.iter().map(|(k, n)| (*k, n.clone())).collect();
            names.sort_by_key(|(key, _)| key.to_bits());
            for (stream, name) in names {
                if shelf.hold(&name, self.epoch, self.w.now).is_err() {
                    self.tell(Input::TakenOver { stream });
                }
                self.watch(shelf, stream, &name);
            }
        }
        while let Some(lookup) = self.w.lookups.pop() {
            let found = shelf.look_up(&lookup, self.epoch, self.w.now);
            self.find(shelf, &lookup, Ok(found));
        }
        let mut told = 0;
        for at in 0..self.w.followed.len() {
            let Some((exchange, name, after, fence)) = self.w.followed.get(at).cloned() else { break };
            let Some((news, last)) = shelf.follow(&name, after, fence, self.w.now) else { continue };
            let news = match news {
                Followed::OwnerGone if shelf.fault == Some(Fault::FalseEnd) => Followed::Ended { whole: true, last },
                news => news,
            };
            self.w.followed[at].2 = last;
            told += 1;
            self.tell(Input::Followed { exchange, news });
        }
        told
    }

    /// Answers a look-up. No order is refused of which the store has the answer.
    fn find(&mut self, shelf: &Shelf, lookup: &Lookup, found: Result<Vec<StoredStream>, NotLookedUp>) {
        let refused = self.w.count(Count::OrdersNotRepeated);
        self.tell(Input::LookedUp { exchange: lookup.exchange, found });
        let is_known = std::str::from_utf8(&lookup.wanted).is_ok_and(|id| shelf.knows(id));
        let is_refused = self.w.count(Count::OrdersNotRepeated) > refused;
        assert!(!is_refused || !is_known, "an order was refused, and the store knows its answer");
    }

    /// Nobody follows any more, so that nothing is kept for others when the world ends.
    fn leave(mut self) {
        let mut streams: Vec<ExchangeKey> = self.watched.iter().filter(|(_, by)| **by).map(|(key, _)| *key).collect();
        streams.sort_by_key(|key| key.to_bits());
        streams.into_iter().for_each(|stream| self.tell(Input::Watched { stream, by_others: false }));
    }
}

/// How many events an answer has.
fn length(path: &str) -> u64 {
    5 + path.bytes().map(u64::from).sum::<u64>() * 7 % 36
}

impl Run {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random::new(seed);
        let now = Tick::from_millis(1_000_000);
        let instances = [1, 2].map(|epoch| Instance::new(random.next(), epoch, now));
        Self {
            random,
            shelf: Shelf::with(fault),
            instances,
            clients: (0..CLIENTS).map(Client::new).collect(),
            tops: HashMap::new(),
            orders: HashMap::new(),
            ends: HashMap::new(),
            epochs: 2,
            events: 0,
            follows: 0,
        }
    }

    fn step(&mut self) {
        let n = self.random.below(CLIENTS as u64) as usize;
        let at = self.random.below(2) as usize;
        match self.random.below(100) {
            0..30 => self.grow(),
            30..45 => self.connect(n, at),
            45..55 => self.cut(n),
            55..90 => {
                let millis = 10 + self.random.below(200);
                self.pass(millis);
            }
            90..94 => {
                let millis = 1_000 + self.random.below(3_000);
                self.pass(millis);
            }
            94..97 => self.instances[at].away ^= true,
            97 => self.kill(at),
            _ => self.cut_upstream(at),
        }
        self.settle();
    }

    /// More events exist, and reach those who ask for them.
    fn grow(&mut self) {
        for n in 0..CLIENTS {
            let top = self.tops.entry(self.clients[n].path()).or_default();
            *top += 1;
        }
        self.send();
    }

    /// Upstreams send what exists and was not sent yet; each answer has one event more.
    fn send(&mut self) {
        for instance in &mut self.instances {
            let mut ends: Vec<usize> = instance.sending.keys().copied().collect();
            ends.sort_unstable();
            for end in ends {
                let Some((path, mut next)) = instance.sending.remove(&end) else { continue };
                if !instance.w.is_live(end) {
                    self.ends.entry(path).or_default().insert(next - 1);
                    continue;
                }
                let is_order = path.starts_with("/order");
                let top = if is_order { next } else { self.tops.get(&path).copied().unwrap_or(0) };
                while next <= top {
                    let id = if path.starts_with("/ids") { format!("id: {next}\n") } else { String::new() };
                    instance.w.say(end, &chunk(&format!("{id}data: {next}\n\n")));
                    next += 1;
                }
                if is_order && next > length(&path) {
                    instance.w.say(end, LAST);
                    continue;
                }
                instance.sending.insert(end, (path, next));
            }
        }
    }

    fn connect(&mut self, n: usize, at: usize) {
        self.look(n);
        let client = &mut self.clients[n];
        if client.at.is_some_and(|(at, end)| self.instances[at].w.is_live(end)) {
            return;
        }
        if client.kind == Kind::Order && client.last_id.is_none() && client.last == 0 && client.at.is_some() {
            client.order_anew();
        }
        client.note(format!("asks {at} after {:?}", client.last_id));
        let request = client.request();
        let end = self.instances[at].w.client_with(&request);
        (client.at, client.read) = (Some((at, end)), Unframed::default());
    }

    fn cut(&mut self, n: usize) {
        self.look(n);
        if let Some((at, end)) = self.clients[n].at.filter(|(at, end)| self.instances[*at].w.is_live(*end)) {
            self.instances[at].w.rst(end);
        }
    }

    fn cut_upstream(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        let mut ends: Vec<usize> = instance.sending.keys().copied().collect();
        ends.sort_unstable();
        if let Some(end) = ends.get(self.random.below(ends.len().max(1) as u64) as usize).copied()
            && instance.w.is_live(end)
        {
            if let Some((path, next)) = instance.sending.remove(&end) {
                self.ends.entry(path).or_default().insert(next - 1);
            }
            instance.w.rst(end);
        }
    }

    fn pass(&mut self, millis: u64) {
        // The two have one clock, and the store sees neither of them ahead of the other for long.
        for _ in 0..millis.div_ceil(50) {
            self.instances.iter_mut().for_each(|instance| instance.w.pass_ms(millis.min(50)));
            let now = self.instances.iter().map(|instance| instance.w.now).max().unwrap_or_default();
            self.instances.iter_mut().for_each(|instance| instance.w.pass(now.since(instance.w.now)));
            self.settle();
        }
    }

    /// An instance dies with all that it has not written, and another begins in its place.
    fn kill(&mut self, at: usize) {
        (0..CLIENTS).for_each(|n| self.look(n));
        self.epochs += 1;
        let now = self.instances[at].w.now;
        let next = Instance::new(self.random.next(), self.epochs, now);
        for client in self.clients.iter_mut().filter(|client| client.at.is_some_and(|(of, _)| of == at)) {
            if client.kind == Kind::Order && client.last_id.is_none() {
                client.order_anew();
            }
            client.at = None;
        }
        std::mem::replace(&mut self.instances[at], next).leave();
    }

    /// Upstreams answer, the store has its turn, clients read.
    fn settle(&mut self) {
        for at in 0..2 {
            self.answer(at);
            let Self { instances, shelf, random, .. } = self;
            instances[at].report(random);
            instances[at].arrive(shelf, random);
            self.follows += instances[at].serve(shelf, random);
            self.answer(at);
        }
        (0..CLIENTS).for_each(|n| self.look(n));
    }

    fn answer(&mut self, at: usize) {
        let Self { instances, clients, tops, orders, .. } = self;
        let instance = &mut instances[at];
        while let Some(end) = instance.w.ups.get(instance.seen_ups).copied() {
            let head = instance.w.wire(end);
            if instance.w.is_live(end) && !head.contains("\r\n\r\n") {
                return;
            }
            instance.seen_ups += 1;
            let Some(path) = head.split(' ').nth(1).map(str::to_owned) else { continue };
            let id = head.lines().find_map(|line| line.strip_prefix("Last-Event-ID: "));
            assert!(!head.contains("sg-"), "an id of segno's own went upstream");
            let next = match id {
                Some(id) => id.parse::<u64>().unwrap() + 1,
                None if path.starts_with("/feed") => tops.get(&path).copied().unwrap_or(0) + 1,
                None => 1,
            };
            if path.starts_with("/order") {
                let count = orders.entry(path.clone()).or_default();
                *count += 1;
                let known = clients.iter().filter(|c| c.path() == path).filter_map(|c| c.last_id.as_deref());
                let is_known = known.into_iter().any(|id| id.starts_with("sg-"));
                assert!(*count == 1 || !is_known, "{path} was ordered again, and a client has its id");
            }
            // A connection that is used again would have to be looked at again.
            instance.w.say(end, &STREAM.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
            instance.sending.insert(end, (path, next));
        }
    }

    /// A client reads what has come.
    fn look(&mut self, n: usize) {
        let mute = self.shelf.fault == Some(Fault::MuteGaps);
        let client = &mut self.clients[n];
        let ends = self.ends.entry(client.path()).or_default();
        let Some((at, end)) = client.at else { return };
        let w = &self.instances[at].w;
        let before = client.read.gap.clone();
        client.read.arrive(&w.ends[end].wire);
        if client.read.gap != before
            && let Some(reason) = client.read.gap.clone()
        {
            client.tell(&reason, mute);
        }
        while let Some(block) = client.read.next_block() {
            client.take(&block, mute, ends);
            self.events += 1;
        }
        let is_live = w.is_live(end);
        let (status, whole) = (client.read.status, client.read.is_whole());
        if client.kind == Kind::Order && whole {
            if status == 200 {
                let (path, last) = (client.path(), client.last);
                assert_eq!(last, length(&path), "{path} {:?}: ended whole", client.history);
            }
            client.order_anew();
            client.at = None;
        } else if client.kind == Kind::Order
            && !is_live
            && client.told
            && client.history.iter().any(|h| h == "told refused")
        {
            client.history.clear();
            client.order_anew();
            client.at = None;
        } else if client.kind == Kind::Order && status == 410 {
            // It was answered once, and nobody has the answer.
            client.order_anew();
            client.at = None;
        } else if whole && status == 410 {
            (client.last_id, client.told) = (None, true);
        }
    }

    fn end(mut self) -> (u64, u64) {
        self.instances.iter_mut().for_each(|instance| instance.away = false);
        for _ in 0..40 {
            for n in 0..CLIENTS {
                self.connect(n, n % 2);
            }
            self.settle();
            self.send();
            self.pass(3_000);
        }
        for client in self.clients.iter().filter(|client| client.kind == Kind::Ids) {
            let top = self.tops.get(&client.path()).copied().unwrap_or(0);
            assert_eq!(client.last, top, "{} {:?}: lost in the end", client.path(), client.history);
        }
        self.instances.into_iter().for_each(Instance::leave);
        (self.events, self.follows)
    }
}

fn attempt(seed: u64, steps: u64, fault: Option<Fault>) -> Result<(u64, u64), String> {
    super::QUIET.set(true);
    let result = std::panic::catch_unwind(|| {
        let mut run = Run::new(seed, fault);
        (0..steps).for_each(|_| run.step());
        run.end()
    });
    super::QUIET.set(false);
    result.map_err(|e| super::message(&*e))
}

#[test]
fn two_instances_with_one_store_break_nothing_by_chance() {
    super::hush();
    let (first, seeds) = (number("SEGNO_SEED", 0), number("SEGNO_SEEDS", 60).min(2_000));
    let (mut events, mut follows) = (0, 0);
    for seed in first..first + seeds {
        let (got, told) =
            attempt(seed, number("SEGNO_STEPS", 400), None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        (events, follows) = (events + got, follows + told);
    }
    eprintln!("{events} events reached clients, the store told those who follow {follows} times");
    assert!(events > 1_000 * seeds / 10 && follows > seeds, "{events} events, {follows} follows");
}

#[test]
fn every_known_fault_of_a_shared_store_is_found() {
    super::hush();
    for (fault, says) in FAULTS {
        let finds = |seed: &u64| attempt(*seed, 400, Some(fault)).is_err_and(|why| why.contains(says));
        let found = (0..60).find(finds);
        assert!(found.is_some(), "{fault:?} was not found");
        eprintln!("{fault:?}: found by seed {found:?}");
    }
}
