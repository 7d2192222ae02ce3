//! A seeded simulation of one stream against an upstream that is a plain list of blocks.
//!
//! Upstream answers each reconnect as it likes: behind the cursor, with the event of the cursor, some way before it, or
//! from the very beginning. Bodies come in random pieces and are cut anywhere; the reader takes random steps; memory is
//! asked back at random. Two laws are checked: with room in the log, exactly the list comes out, each block once; with
//! a log that forgets, nothing is lost and all first occurrences keep their order. Beside them at each step: marks
//! never move back, `delivered <= received`, memory stays below its bound.

use super::rig::Rig;
use crate::base::{Random, Span};
use crate::track::*;

/// What upstream has: all blocks it ever sends.
struct Upstream {
    blocks: Vec<Made>,
    newline: &'static str,
}

struct Made {
    bytes: Vec<u8>,
    /// What is left when line ends are one kind and comments in front are gone.
    plain: String,
    id: Option<String>,
    is_event: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Ids {
    Integers,
    Words,
}

impl Upstream {
    fn new(r: &mut Random, count: u64, newline: &'static str, ids: Ids) -> Self {
        // Only events with ids are numbered: a number that is left out would be a gap.
        let mut number = 0;
        let block = |n| {
            let block = Self::block(r, n, number, newline, ids);
            number += u64::from(block.id.is_some());
            block
        };
        let blocks = (0..count).map(block).collect();
        Self { blocks, newline }
    }

    fn block(r: &mut Random, n: u64, number: u64, newline: &str, ids: Ids) -> Made {
        let front = [": ping\n", "\n", ": a\n\n", "", "", "", ""][r.below(7) as usize];
        let mut id = None;
        let mut plain = String::new();
        // The first block has an id: a stream that never had one is not healed.
        let shape = if n == 0 { 0 } else { r.below(10) };
        if shape < 7 {
            let word =
                if ids == Ids::Integers { number.to_string() } else { format!("w{:x}", n.wrapping_mul(0x9e37_79b9)) };
            plain += &format!("id: {word}\n");
            id = Some(word);
        }
        if shape == 9 {
            plain += &format!("x-note: {n}\n\n");
        } else {
            let filler = "é".repeat(r.below(40) as usize);
            plain += &format!("data: {n} {filler}\n:inside\n\n");
        }
        let bytes = format!("{front}{plain}").replace('\n', newline).into_bytes();
        Made { bytes, plain, id, is_event: shape != 9 }
    }

    /// Where upstream begins when asked to go on behind `cursor`.
    fn answer(&self, r: &mut Random, cursor: &[u8]) -> usize {
        let at = self.blocks.iter().position(|b| b.id.as_deref().is_some_and(|id| id.as_bytes() == cursor)).unwrap();
        match r.below(4) {
            0 => at + 1,
            1 => at,
            // A body that begins with a block without an id could not be told from a new one.
            2 => {
                let from = at - r.below(10).min(at as u64) as usize;
                (from..=at).find(|&n| self.blocks[n].id.is_some()).unwrap()
            }
            _ => 0,
        }
    }

    /// How many blocks end within so many bytes of a body that begins with block `from`. The LF of a last CRLF need
    /// not be there.
    fn ended(&self, from: usize, mut bytes: usize) -> usize {
        let slack = usize::from(self.newline == "\r\n");
        let mut ended = from;
        while let Some(block) = self.blocks.get(ended)
            && bytes + slack >= block.bytes.len()
        {
            bytes = bytes.saturating_sub(block.bytes.len());
            ended += 1;
        }
        ended
    }
}

/// The blocks in forwarded bytes, plain.
fn blocks(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n").replace('\r', "\n");
    let (mut found, mut block) = (Vec::new(), String::new());
    for line in text.lines() {
        let in_front = block.is_empty() && line.starts_with(':');
        if !line.is_empty() && !in_front {
            block += line;
            block.push('\n');
        } else if !block.is_empty() {
            found.push(std::mem::take(&mut block) + "\n");
        }
    }
    assert!(block.is_empty(), "a part of a block was forwarded: {block:?}");
    found
}

struct World {
    rig: Rig,
    r: Random,
    upstream: Upstream,
    /// Blocks of which the end was fed.
    fed: usize,
    bound: usize,
}

impl World {
    fn new(seed: u64, limits: TrackLimits, budget: usize) -> Self {
        let mut r = Random::new(seed);
        let newline = ["\n", "\r\n", "\r"][r.below(3) as usize];
        let ids = if r.below(2) == 0 { Ids::Integers } else { Ids::Words };
        let upstream = Upstream::new(&mut r, 150, newline, ids);
        let bound = 2 * limits.ring_bytes() + 64 * 1024;
        let mut rig = Rig::new(limits);
        rig.budget = Budget::new(budget);
        Self { rig, r, upstream, fed: 0, bound }
    }

    /// Bodies until all blocks have come.
    fn run(&mut self) {
        let mut from = 0;
        self.rig.tracker.begin(false, false);
        while self.fed < self.upstream.blocks.len() {
            self.body(from);
            let cut = self.rig.tracker.cut();
            assert_ne!(cut, CutKind::MidOversize);
            from = match self.rig.tracker.cursor(&self.rig.interner) {
                Some(cursor) => {
                    let cursor = cursor.to_vec();
                    self.rig.tracker.begin(true, true);
                    self.upstream.answer(&mut self.r, &cursor)
                }
                None => {
                    self.rig.tracker.begin(false, true);
                    0
                }
            };
        }
        self.rig.take(u64::MAX);
        let rig = &mut self.rig;
        assert_eq!(rig.tracker.delivered(), rig.tracker.received());
        rig.tracker.release(&mut rig.interner, &mut rig.budget);
        assert_eq!((rig.interner.live(), rig.budget.used()), (0, 0));
    }

    fn body(&mut self, from: usize) {
        let bytes: Vec<u8> = self.upstream.blocks[from..].iter().flat_map(|b| b.bytes.clone()).collect();
        let cut = match self.r.below(3) {
            0 => bytes.len(),
            _ => self.r.below(bytes.len() as u64 + 1) as usize,
        };
        let mut at = 0;
        while at < cut {
            let room = self.rig.tracker.room(&self.rig.limits, &self.rig.budget);
            let most = if self.r.below(4) == 0 { 3 } else { 400 };
            let n = (self.r.below(most) as usize + 1).min(room).min(cut - at);
            self.step(&bytes[at..at + n]);
            at += n;
        }
        self.fed = self.fed.max(self.upstream.ended(from, cut));
    }

    fn step(&mut self, bytes: &[u8]) {
        let before = (self.rig.tracker.received().seq, self.rig.tracker.delivered().seq, self.rig.tracker.whole());
        self.rig.now = self.rig.now + Span::from_millis(self.r.below(2_000));
        self.rig.feed(bytes);
        match self.r.below(8) {
            0..=2 => self.rig.take(u64::MAX),
            3..=6 => {
                let n = self.r.below(600);
                self.rig.take(n);
            }
            _ => {
                let keep = self.r.below(2_000) as usize;
                let forget = self.rig.limits.log_events < 100;
                self.rig.with(|t, cx| {
                    if forget {
                        t.trim(cx, keep)
                    } else {
                        t.expire(cx);
                        0
                    }
                });
            }
        }
        let t = &self.rig.tracker;
        assert!(t.received().seq >= before.0 && t.delivered().seq >= before.1 && t.whole() >= before.2);
        assert!(t.delivered().seq <= t.received().seq && t.delivered_offset() <= t.whole());
        assert!(t.memory() <= self.bound, "{}", t.memory());
        if t.delivered_offset() == t.whole() {
            assert_eq!(t.delivered(), t.received());
        }
    }

    fn came_out(&self) -> Vec<String> {
        blocks(&self.rig.out)
    }

    fn wanted(&self) -> Vec<String> {
        self.upstream.blocks.iter().map(|b| b.plain.clone()).collect()
    }
}

fn assert_same(came: &[String], wanted: &[String], seed: u64) {
    for (n, (a, b)) in came.iter().zip(wanted).enumerate() {
        assert_eq!(a, b, "seed {seed}, block {n}");
    }
    assert_eq!(came.len(), wanted.len(), "seed {seed}");
}

#[test]
fn with_room_in_the_log_each_block_comes_out_exactly_once() {
    for seed in 0..250 {
        let mut world = World::new(seed, TrackLimits::default(), 64 << 20);
        world.run();
        assert_same(&world.came_out(), &world.wanted(), seed);
        let events = world.upstream.blocks.iter().filter(|b| b.is_event).count();
        assert!(events > 100, "seed {seed}");
    }
}

#[test]
fn a_log_that_forgets_loses_nothing_and_keeps_the_order() {
    for seed in 0..250 {
        let mut r = Random::new(seed ^ 0xabcd);
        let limits = TrackLimits {
            window: 200,
            log_events: 1 + r.below(20) as usize,
            log_bytes: 1024 << r.below(3),
            max_event_bytes: 512,
            log_age: Span::from_secs(1 + r.below(20)),
            ..TrackLimits::default()
        };
        let mut world = World::new(seed, limits, [0, 2_000, 1 << 20][r.below(3) as usize]);
        world.run();
        let mut seen = std::collections::HashSet::new();
        let first: Vec<String> = world.came_out().into_iter().filter(|b| seen.insert(b.clone())).collect();
        assert_same(&first, &world.wanted(), seed);
        let ids = |blocks: &[String]| blocks.iter().filter(|b| b.starts_with("id")).count();
        assert_eq!(ids(&world.came_out()), ids(&world.wanted()), "seed {seed}: an event with an id came twice");
    }
}

/// Upstream numbers each connection from 1, and what it sends is new.
#[test]
fn an_upstream_that_counts_anew_loses_nothing_and_the_gap_is_stated() {
    for seed in 0..400 {
        let mut r = Random::new(seed ^ 0x5eed);
        let limits = TrackLimits {
            window: 1 + r.below(48) as usize,
            log_events: [1, 4, 16, 256][r.below(4) as usize],
            log_bytes: 1024 << r.below(5),
            max_event_bytes: 512,
            log_age: Span::from_secs([1, 300][r.below(2) as usize]),
            ..TrackLimits::default()
        };
        let mut rig = Rig::new(limits);
        let (mut sent, mut gaps, mut bodies) = (String::new(), 0, 0);
        rig.tracker.begin(false, false);
        for body in 0..1 + r.below(6) {
            // Some servers greet each connection with the same first events.
            let greetings = r.below(4);
            let mut whole = 0;
            for n in 1..=1 + r.below(200) {
                let event = match n <= greetings {
                    true => format!("id: {n}\ndata: greeting {n}\n\n"),
                    false => format!("id: {n}\ndata: {body} {n} {}\n\n", "x".repeat(r.below(60) as usize)),
                };
                rig.feed(&event);
                if n > greetings {
                    sent += &event;
                    whole += 1;
                }
                rig.take(u64::MAX);
                rig.now = rig.now + Span::from_millis(r.below(200));
                match r.below(8) {
                    0 => rig.with(|t, cx| t.expire(cx)),
                    1 => drop(rig.with(|t, cx| t.trim(cx, 500))),
                    _ => {}
                }
            }
            bodies += u32::from(whole > 0);
            rig.feed("id: 1\ndata: cut in");
            rig.heal();
        }
        let out = String::from_utf8(std::mem::take(&mut rig.out)).unwrap();
        let mut came = String::new();
        for block in out.split_inclusive("\n\n") {
            match block {
                gap if gap.contains("segno.gap") => gaps += u32::from(gap.contains("restarted")),
                greeting if greeting.contains("greeting") => {}
                event => came += event,
            }
        }
        assert!(came == sent, "seed {seed}: an event was swallowed, repeated or moved");
        assert!(gaps <= bodies, "seed {seed}: {gaps} gaps in {bodies} bodies");
        rig.release();
    }
}

/// A body of anything: ids that repeat, reset, are too long; blocks too large to be held; lines of all kinds.
fn wild_body(r: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..r.below(200) {
        let line: &[u8] = match r.below(16) {
            0 => b"id: a",
            1 => b"id: b",
            2 => b"id",
            3 => b"id: this id is longer than the bound of forty bytes allows",
            4 => b"id: with a \0",
            5 => b": comment",
            6 => b"retry: 5",
            7 => &[b'd'; 700],
            8 => b"data: \xff\xfe\xfd",
            9 | 10 => b"data: some text",
            _ => b"",
        };
        body.extend_from_slice(line);
        body.extend_from_slice([&b"\n"[..], b"\r\n", b"\r"][r.below(3) as usize]);
    }
    body
}

#[test]
fn a_body_without_a_cut_comes_out_as_it_went_in() {
    for seed in 0..400 {
        let mut r = Random::new(seed);
        let limits = TrackLimits {
            window: 1 + r.below(6) as usize,
            log_events: 1 + r.below(6) as usize,
            log_bytes: 512 << r.below(4),
            max_event_bytes: 100 << r.below(3),
            max_id_bytes: 40,
            dedup: if r.below(2) == 0 { Dedup::Off } else { Dedup::Resume },
            ..TrackLimits::default()
        };
        let (mut rig, body) = (Rig::new(limits), wild_body(&mut r));
        rig.budget = Budget::new([0, 10_000, 1 << 20][r.below(3) as usize]);
        rig.tracker.begin(false, false);
        let mut at = 0;
        while at < body.len() {
            let room = rig.tracker.room(&rig.limits, &rig.budget);
            let n = (1 + r.below(300) as usize).min(room).min(body.len() - at);
            rig.feed(&body[at..at + n]);
            at += n;
            rig.take(if r.below(3) == 0 { u64::MAX } else { 1 + r.below(300) });
            rig.now = rig.now + Span::from_secs(r.below(100));
            match r.below(6) {
                0 => rig.with(|t, cx| t.expire(cx)),
                1 => assert!(rig.with(|t, cx| t.trim(cx, 300)) < 1 << 20),
                _ => {}
            }
            assert!(rig.tracker.start() <= rig.read);
        }
        rig.with(|t, cx| t.finish(cx));
        rig.take(u64::MAX);
        assert!(rig.out == body, "seed {seed}");
        assert_eq!(rig.tracker.delivered(), rig.tracker.received(), "seed {seed}");
        rig.tracker.release(&mut rig.interner, &mut rig.budget);
        assert_eq!((rig.interner.live(), rig.budget.used()), (0, 0));
    }
}

#[test]
fn any_order_of_calls_keeps_the_laws_of_the_log() {
    for seed in 0..400 {
        let mut r = Random::new(seed);
        let limits = TrackLimits {
            window: 1 + r.below(6) as usize,
            log_events: 1 + r.below(20) as usize,
            log_bytes: 512 << r.below(4),
            max_event_bytes: 100 << r.below(3),
            max_id_bytes: 40,
            dedup: [Dedup::Off, Dedup::Resume, Dedup::Always][r.below(3) as usize],
            ..TrackLimits::default()
        };
        let mut rig = Rig::new(limits);
        rig.interner = Interner::new(seed, 1 + r.below(4) as usize);
        rig.with(|t, cx| t.seed_cursor(cx, b"a"));
        for _ in 0..30 {
            let (healed, strip) = (r.below(3) > 0, r.below(2) == 0);
            rig.tracker.begin(healed, strip);
            for piece in wild_body(&mut r).chunks(1 + r.below(500) as usize) {
                // More than there is room for is taken, too.
                rig.feed(piece);
                let n = r.below(2_000);
                rig.take(n);
                let t = &rig.tracker;
                assert!(t.delivered().seq <= t.received().seq && t.start() <= t.delivered_offset());
                assert!(t.delivered_offset() <= t.whole() && t.whole() <= t.end());
                if t.delivered_offset() == t.whole() {
                    assert_eq!(t.delivered(), t.received(), "seed {seed}");
                }
            }
            match r.below(4) {
                0 => drop(rig.with(|t, cx| t.finish(cx).map(GapReason::as_str))),
                1 => assert!(
                    rig.with(|t, cx| t.state_gap(cx, GapReason::Refused, None)) || rig.tracker.is_open_oversize()
                ),
                _ => assert!(rig.tracker.cut() != CutKind::MidOversize || rig.tracker.is_open_oversize()),
            }
        }
        rig.take(u64::MAX);
        rig.tracker.release(&mut rig.interner, &mut rig.budget);
        assert_eq!((rig.interner.live(), rig.budget.used()), (0, 0));
    }
}
