//! Routes with two or three upstreams by chance: one of them cannot be reached, cuts, or answers badly, again and again.
//!
//! In: a seed. Out: nothing, or the first promise that was broken.
//! The oracles stand outside of the machine: no client misses an event or gets one twice; where ids are not shared, no
//! stream has events of two upstreams; no POST reaches a second upstream. Each is tried by a fault that it must find.

use super::upstreams::to;
use super::*;
use crate::base::Random;
use crate::config::Balance;
use crate::testing::world::Said;
use std::panic::{AssertUnwindSafe, catch_unwind};

const URLS: [&str; 3] = ["http://a:1", "http://b:1", "http://c:1"];
const CLIENTS: usize = 5;

/// A fault that an oracle must find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Canary {
    /// Upstreams leave an event out when they are asked to go on.
    Leaky,
    /// The configuration says that ids are shared, and each upstream numbers by itself.
    Liar,
    /// A POST is sent once more.
    Twice,
    /// Upstreams repeat an event, and no duplicate is dropped.
    Echo,
}

struct Reader {
    end: usize,
    /// The last event before this connection.
    before: u64,
    /// The last one that was seen.
    last: u64,
    /// How much of the body was looked at, and the upstream that its events are of.
    seen: usize,
    of: Option<usize>,
}

struct Feed {
    end: usize,
    place: usize,
    next: u64,
}

struct Mishaps {
    w: World,
    random: Random,
    shared: bool,
    places: usize,
    canary: Option<Canary>,
    readers: Vec<Option<Reader>>,
    last: [u64; CLIENTS],
    feeds: Vec<Feed>,
    answered: Vec<bool>,
    /// Events that each upstream has; the same number where ids are shared.
    tops: [u64; 3],
    /// The upstream that answers 503.
    sick: Option<usize>,
    posts: u64,
    /// Events that clients got.
    got: u64,
}

impl Mishaps {
    fn new(seed: u64, canary: Option<Canary>) -> Self {
        let mut random = Random::new(seed);
        let (shared, places) =
            (canary.map_or(seed.is_multiple_of(2), |c| c != Canary::Liar), 2 + (seed / 2 % 2) as usize);
        let config = to(&URLS[..places], |r| {
            r.set.shared_ids = shared || canary == Some(Canary::Liar);
            r.set.balance = if (seed / 4).is_multiple_of(2) { Balance::RoundRobin } else { Balance::LeastStreams };
            r.heal_for = Span::from_secs(600);
            if canary == Some(Canary::Echo) {
                r.dedup = crate::config::Dedup::Off;
            }
        });
        Self {
            w: world_from(config, random.next()),
            random,
            shared,
            places,
            canary,
            readers: (0..CLIENTS).map(|_| None).collect(),
            last: [0; CLIENTS],
            feeds: Vec::new(),
            answered: Vec::new(),
            tops: [0; 3],
            sick: None,
            posts: 0,
            got: 0,
        }
    }

    fn step(&mut self) {
        let n = self.random.below(CLIENTS as u64) as usize;
        let place = self.random.below(self.places as u64) as usize;
        match self.random.below(20) {
            0..=5 => self.grow(place),
            6..=9 => self.connect(n),
            10 => self.leave(n),
            11 | 12 if !self.feeds.is_empty() => {
                let feed = self.random.below(self.feeds.len() as u64) as usize;
                self.w.hear(self.feeds[feed].end, Said::Reset);
            }
            13 => {
                self.w.dial_at.clear();
                let dial = [Dial::Refuse, Dial::Hang, Dial::Accept][self.random.below(3) as usize];
                self.w.dial_at.insert(place, dial);
                // What it served ends with it.
                let gone: Vec<usize> = self.feeds.iter().filter(|feed| feed.place == place).map(|f| f.end).collect();
                gone.into_iter().filter(|_| dial != Dial::Accept).for_each(|end| self.w.hear(end, Said::Reset));
            }
            14 => self.sick = (self.random.below(3) == 0).then_some(place),
            15 | 16 => self.post(),
            _ => {
                let ms = self.random.below(4_000);
                self.w.pass_ms(ms);
            }
        }
        self.settle();
    }

    fn grow(&mut self, place: usize) {
        match self.shared {
            true => self.tops = self.tops.map(|top| top + 1),
            false => self.tops[place] += 1,
        }
    }

    fn connect(&mut self, n: usize) {
        if self.readers[n].as_ref().is_some_and(|reader| self.w.is_live(reader.end)) {
            return;
        }
        // Where ids are not shared, a client that comes back begins anew.
        let before = if self.shared { self.last[n] } else { 0 };
        let id = if before > 0 { format!("Last-Event-ID: {before}\r\n") } else { String::new() };
        let ask = format!("GET /feed/{n} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{id}\r\n");
        let end = self.w.client_with(&ask);
        self.readers[n] = Some(Reader { end, before, last: before, seen: 0, of: None });
    }

    fn leave(&mut self, n: usize) {
        if let Some(reader) = self.readers[n].take().filter(|reader| self.w.is_live(reader.end)) {
            self.w.hear(reader.end, Said::Reset);
        }
    }

    fn post(&mut self) {
        self.posts += 1;
        let ask = format!("POST /do/{} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", self.posts);
        let times = if self.canary == Some(Canary::Twice) && self.posts.is_multiple_of(9) { 2 } else { 1 };
        (0..times).for_each(|_| _ = self.w.client_with(&ask));
    }

    /// Upstreams answer and send, and clients look at what they got.
    fn settle(&mut self) {
        loop {
            self.answered.resize(self.w.ups.len(), false);
            let next = (0..self.w.ups.len()).find(|n| {
                !self.answered[*n] && self.w.is_live(self.w.up(*n)) && self.w.wire(self.w.up(*n)).contains("\r\n\r\n")
            });
            let Some(n) = next else { break };
            self.answered[n] = true;
            self.answer(self.w.up(n), self.w.placed[n]);
        }
        self.feeds.retain(|feed| self.w.is_live(feed.end));
        for n in 0..self.feeds.len() {
            let Feed { end, place, next } = self.feeds[n];
            let events: String = (next..=self.tops[place]).map(|n| self.event(place, n)).collect();
            self.feeds[n].next = next.max(self.tops[place] + 1);
            if !events.is_empty() {
                self.w.say(end, &chunk(&events));
            }
        }
        (0..CLIENTS).for_each(|n| self.look(n));
    }

    fn event(&self, place: usize, n: u64) -> String {
        let of = if self.shared { 0 } else { place };
        format!("id: {n}\ndata: {of} {n}\n\n")
    }

    fn answer(&mut self, end: usize, place: usize) {
        let asked = self.w.wire(end);
        let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        if asked.starts_with("POST") {
            return match self.random.below(4) {
                0 => self.w.hear(end, Said::Eof),
                1 => self.w.say(end, busy),
                _ => self.w.say(end, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            };
        }
        if self.sick == Some(place) {
            return self.w.say(end, busy);
        }
        let after = asked.split("Last-Event-ID: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
        let skip = match self.canary {
            Some(Canary::Leaky) if after.is_some() => 2,
            Some(Canary::Echo) if after.is_some() => 0,
            _ => 1,
        };
        self.w.say(end, STREAM);
        self.feeds.push(Feed { end, place, next: after.unwrap_or(0) + skip });
    }

    fn look(&mut self, n: usize) {
        let Some(reader) = &mut self.readers[n] else { return };
        let body = self.w.events(reader.end);
        let new = &body[reader.seen.min(body.len())..];
        let whole = new.rfind("\n\n").map_or(0, |at| at + 2);
        reader.seen += whole;
        for block in new[..whole].split_terminator("\n\n") {
            assert!(!block.contains("segno.gap"), "client {n} is told of a gap: {block}");
            let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
            let (of, number) = data.split_once(' ').unwrap();
            let (of, number) = (of.parse::<usize>().unwrap(), number.parse::<u64>().unwrap());
            assert!(reader.of.is_none_or(|before| before == of), "client {n}: a stream of two upstreams");
            assert!(number <= reader.last + 1, "client {n}: lost {} to {}", reader.last + 1, number - 1);
            assert!(number > reader.last, "client {n}: {number} once more behind {}", reader.before);
            (reader.of, reader.last) = (Some(of), number);
            self.last[n] = number;
            self.got += 1;
        }
    }

    fn end(mut self) -> u64 {
        self.w.dial_at.clear();
        self.sick = None;
        for n in 0..60 {
            self.grow(n % self.places);
            (0..CLIENTS).for_each(|n| self.connect(n));
            self.w.pass_secs(5);
            self.settle();
        }
        for reader in self.readers.iter().flatten().filter(|reader| self.w.is_live(reader.end)) {
            let top = self.tops[reader.of.unwrap_or(0)];
            assert!(reader.last == top || !self.w.is_live(reader.end), "lost what came last: {} of {top}", reader.last);
        }
        for n in 1..=self.posts {
            let line = format!("POST /do/{n} ");
            let times = self.w.ups.iter().filter(|up| self.w.wire(**up).starts_with(&line)).count();
            assert!(times <= 1, "POST {n} has reached {times} upstreams");
        }
        self.got
    }
}

fn run(seed: u64, canary: Option<Canary>) -> Result<u64, String> {
    let all = || {
        let mut all = Mishaps::new(seed, canary);
        (0..250).for_each(|_| all.step());
        all.end()
    };
    catch_unwind(AssertUnwindSafe(all)).map_err(|why| match why.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => "a panic without a message".to_owned(),
    })
}

#[test]
fn nothing_is_lost_repeated_mixed_or_sent_twice_whatever_happens_to_one_of_several_upstreams() {
    let got: u64 = (0..48).map(|seed| run(seed, None).unwrap_or_else(|why| panic!("seed {seed}: {why}"))).sum();
    assert!(got > 10_000, "{got} events reached clients");
}

#[test]
fn each_oracle_finds_its_fault() {
    for (canary, says) in [
        (Canary::Leaky, ": lost "),
        (Canary::Liar, "a stream of two upstreams"),
        (Canary::Twice, " has reached 2 upstreams"),
        (Canary::Echo, " once more "),
    ] {
        let found = (0..20).find(|seed| run(*seed, Some(canary)).is_err_and(|why| why.contains(says)));
        assert!(found.is_some(), "{canary:?} was not found");
    }
}
