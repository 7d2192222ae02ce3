//! The body of the fuzz target `log_ops`: the log beside a plain list of all bytes and blocks there ever were.
//!
//! In: bounds, and operations as a ledger makes them. Properties, after each: what is held is what was put in; nothing
//! leaves before it is delivered, and no block in part; what is found is what a look at each block finds; the budget
//! has been charged what is held, and the bounds hold as long as the caller keeps to the room there was.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is how a body says what it found")]

use super::budget::Budget;
use super::interner::{Interner, Symbol};
use super::log::{GRANTED, Log, most_notes};
use super::logged::{Kinds, LoggedBlock};
use crate::base::{Span, Tick};
use arbitrary::{Arbitrary, Unstructured};

/// The most operations of one run.
const MAX_OPS: usize = 128;

#[derive(Arbitrary, Debug)]
enum Op {
    /// Bytes of a block that has not ended: as many as there is room for, or that and more.
    Append {
        bytes: u8,
        regardless: bool,
    },
    /// The block ends.
    End {
        kind: Kind,
    },
    /// The bytes held were comments.
    Outside,
    /// The block is too large to be held.
    Open,
    /// The block is cut.
    Truncate {
        keep: u8,
    },
    /// Readers took bytes.
    Advance {
        bytes: u16,
    },
    Rewind {
        bytes: u16,
    },
    EvictBeyond {
        events: u8,
    },
    EvictOlder {
        age: u16,
    },
    Trim {
        keep: u16,
    },
    Pass {
        millis: u16,
    },
    /// A reader's system acknowledged bytes.
    Acknowledge {
        bytes: u16,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Plain,
    Event,
    Id(u8),
    Reset,
    Gap,
}

#[derive(Arbitrary, Debug)]
struct Setup {
    ring: u8,
    budget: u16,
    ids: u8,
    base: Option<u8>,
}

/// A block that ended.
struct Ended {
    end: u64,
    is_event: bool,
    sets_id: bool,
    id: Option<Symbol>,
    /// It is an event or a gap: once it has left, the log's base is no longer the id of the last event before the log.
    parts: bool,
    at: Tick,
}

/// What the list knows.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    blocks: Vec<Ended>,
    /// Blocks that have left.
    left: usize,
    whole: u64,
    delivered: u64,
    acknowledged: u64,
    start: u64,
    loose_until: u64,
    base: Option<Symbol>,
    base_exact: bool,
}

struct Run {
    log: Log,
    model: Model,
    interner: Interner,
    budget: Budget,
    now: Tick,
    ring: usize,
    /// The most that the ring may have by now, and the most blocks it ever held.
    bound: usize,
    most: usize,
    written: u64,
}

/// The target's body.
pub fn log_ops(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(setup) = Setup::arbitrary(&mut u) else { return };
    let mut run = Run::new(&setup);
    run.check();
    for _ in 0..MAX_OPS {
        let Some(op) = (!u.is_empty()).then(|| Op::arbitrary(&mut u).ok()).flatten() else { break };
        let before = run.model.floor();
        run.apply(&op);
        run.follow(before);
        run.check();
    }
    run.release();
}

impl Run {
    fn new(setup: &Setup) -> Self {
        let ring = 512 << (setup.ring % 5);
        let mut run = Self {
            log: Log::new(4, 1 << 20),
            model: Model::default(),
            interner: Interner::new(7, 1 + usize::from(setup.ids % 16)),
            budget: Budget::new(usize::from(setup.budget)),
            now: Tick::ZERO,
            ring,
            bound: ring.max(GRANTED.min(ring)),
            most: 0,
            written: 0,
        };
        if let Some((id, _)) = setup.base.and_then(|id| run.interner.intern_times(&[id], 1)) {
            run.log.set_base(Some(id), &mut run.interner);
            (run.model.base, run.model.base_exact) = (Some(id), true);
        }
        run
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append { bytes, regardless } => self.append(usize::from(bytes), regardless),
            Op::End { kind } => self.end(kind),
            Op::Outside if !self.log.is_open() => {
                self.log.set_whole(self.log.end());
                self.model.whole = self.model.end();
            }
            Op::Open if !self.log.is_open() && self.log.held() > 0 => {
                self.log.open();
                (self.model.loose_until, self.model.base_exact) = (u64::MAX, false);
                self.model.whole = self.model.end();
            }
            Op::Open if self.log.is_open() => {
                self.log.extend_open();
                self.model.whole = self.model.end();
            }
            Op::Truncate { keep } if !self.log.is_open() => {
                let end = self.log.whole() + u64::from(keep).min(self.log.held() as u64);
                self.log.truncate(end);
                self.model.bytes.truncate(end as usize);
            }
            Op::Advance { bytes } => {
                let offset = self.log.delivered() + u64::from(bytes);
                self.log.advance(offset);
                self.model.delivered = offset.min(self.model.whole);
            }
            Op::Rewind { bytes } => {
                let to = self.log.delivered().saturating_sub(u64::from(bytes)).max(self.log.start());
                self.log.rewind(to);
                self.model.delivered = to;
                self.model.acknowledged = self.model.acknowledged.min(to);
            }
            Op::EvictBeyond { events } => self.evict_beyond(usize::from(events)),
            Op::EvictOlder { age } => self.evict_older(Span::from_millis(u64::from(age))),
            Op::Trim { keep } => {
                let before = self.log.memory();
                let given = self.log.trim(usize::from(keep), &mut self.budget, &mut self.interner);
                assert_eq!(self.log.memory(), before - given);
                self.bound = self.bound.max(self.log.end().saturating_sub(self.log.start()) as usize);
            }
            Op::Acknowledge { bytes } => {
                let offset = self.log.acknowledged() + u64::from(bytes);
                self.log.acknowledge(offset);
                self.model.acknowledged = offset.min(self.model.delivered);
            }
            Op::Pass { millis } => self.now = self.now + Span::from_millis(u64::from(millis)),
            Op::Outside | Op::Open | Op::Truncate { .. } => {}
        }
    }

    fn append(&mut self, bytes: usize, regardless: bool) {
        let room = self.log.room(self.ring, &self.budget);
        let bytes = if regardless { bytes } else { bytes.min(room) };
        let used = self.budget.used();
        self.log.reserve(bytes, self.ring, &mut self.budget, &mut self.interner);
        if bytes > room {
            let held = (self.log.end() - self.log.start()) as usize;
            self.bound = self.bound.max((held + bytes).next_power_of_two());
        } else {
            let granted = self.budget.limit().max(GRANTED + self.blocks_memory());
            assert!(self.budget.used() <= used.max(granted), "{} of {granted}", self.budget.used());
        }
        let new: Vec<u8> = (0..bytes as u64).map(|n| (((self.written + n) * 37) >> 3) as u8).collect();
        self.written += bytes as u64;
        self.log.append(&new);
        self.model.bytes.extend(new);
    }

    fn end(&mut self, what: Kind) {
        let end = self.log.end();
        if end == self.log.whole() {
            // A block has at least one byte that readers have not had yet: its line end, if nothing else.
            return;
        }
        let symbol = match what {
            Kind::Id(id) => self.interner.intern_times(&[id], 1).map(|(symbol, _)| symbol),
            _ => None,
        };
        let kinds = match what {
            Kind::Plain => Kinds::NONE,
            Kind::Event => Kinds::EVENT,
            Kind::Id(_) if symbol.is_none() => Kinds::EVENT | Kinds::LOST,
            Kind::Id(_) => Kinds::EVENT,
            Kind::Reset => Kinds::EVENT | Kinds::RESET,
            Kind::Gap => Kinds::GAP,
        };
        self.log.push(LoggedBlock::new(end, kinds, symbol, self.now), &mut self.budget);
        let sets_id = matches!(what, Kind::Id(_) | Kind::Reset);
        let (is_event, parts) = (kinds.is(Kinds::EVENT), kinds.is(Kinds::EVENT | Kinds::GAP));
        self.model.blocks.push(Ended { end, is_event, sets_id, id: symbol, parts, at: self.now });
        self.model.whole = end;
        if self.model.loose_until == u64::MAX {
            self.model.loose_until = end;
        }
    }

    fn evict_beyond(&mut self, events: usize) {
        let (notes, before) = (most_notes(self.ring), self.log.start());
        self.log.evict_beyond(events, notes, &mut self.interner);
        let held = self.log.next_number() - self.log.first_number();
        let is_kept = self.model.blocks.get(self.log.first_number() as usize).is_some_and(|first| {
            first.end > self.model.delivered || first.end > self.model.acknowledged && held as usize <= notes
        });
        assert!(held as usize <= events || is_kept, "{held} blocks of {events}");
        let left = held as usize >= notes.min(events) || self.log.start() == before || self.model.loose_until > 0;
        assert!(left, "{held} blocks of {events}, and more have left");
        if self.model.loose_until <= self.model.delivered {
            assert!(self.log.start() >= self.model.loose_until, "a block too large to be held is still there");
            self.model.loose_until = 0;
        }
    }

    fn evict_older(&mut self, age: Span) {
        self.log.evict_older(self.now, age, &mut self.interner);
        self.log.shrink_idle(&mut self.budget);
        let first = self.model.blocks.get(self.log.first_number() as usize);
        // Ages are kept in units of 2^14 microseconds.
        let old = first.filter(|block| block.end <= self.model.delivered);
        assert!(old.is_none_or(|block| self.now.since(block.at).micros() <= age.micros() + (1 << 15)));
    }

    /// Notes what has left the log. It must have been allowed to leave, before or after the last operation.
    fn follow(&mut self, floor_before: u64) {
        let model = &mut self.model;
        let start = self.log.start();
        assert!(start >= model.start, "what had left is back");
        let floor = floor_before.max(model.floor());
        assert!(start <= floor.max(model.start), "{start} left, and only {floor} might");
        model.start = start;
        let left = self.log.first_number() as usize;
        assert!(left >= model.left && left <= model.blocks.len());
        for block in &model.blocks[model.left..left] {
            assert!(block.end <= start, "a block has left, and its bytes have not");
            if block.sets_id {
                (model.base, model.base_exact) = (block.id, block.id.is_some());
            } else if block.parts {
                model.base_exact = false;
            }
        }
        model.left = left;
        self.most = self.most.max(model.blocks.len() - left);
    }

    /// The most bytes that the list of blocks can have taken.
    fn blocks_memory(&self) -> usize {
        2 * (self.most + 1) * size_of::<LoggedBlock>()
    }

    fn check(&self) {
        let (log, model) = (&self.log, &self.model);
        log.check();
        assert_eq!((log.start(), log.end()), (model.start, model.end()));
        assert_eq!((log.whole(), log.delivered()), (model.whole, model.delivered));
        assert_eq!(log.acknowledged(), model.acknowledged);
        let (a, b) = log.slices(log.start()..log.end());
        assert!([a, b].concat() == model.bytes[model.start as usize..], "other bytes than were put in");
        assert_eq!(log.next_number() as usize, model.blocks.len());
        assert_eq!(log.undelivered(), model.held().filter(|block| block.end > model.delivered).count());
        assert!(model.held().all(|block| block.end > model.start), "a block is there, and its bytes have left");
        assert_eq!(self.budget.used(), log.memory());
        assert!(log.memory() <= self.bound.max(GRANTED.min(self.ring)) + self.blocks_memory(), "{}", log.memory());
        assert_eq!(log.base(), model.base);
        self.check_finding();
    }

    fn check_finding(&self) {
        let (log, model) = (&self.log, &self.model);
        assert_eq!(log.replay_start(), model.first());
        for id in (0..=255u8).step_by(17).chain(0..8).filter_map(|id| self.interner.lookup(&[id])) {
            assert_eq!(log.locate(id).map(|(offset, _)| offset), model.locate(id));
        }
        let received = model.blocks.iter().filter(|block| block.is_event).count() as u64;
        for seq in [0, 1, received / 2, received.saturating_sub(1), received, received + 1] {
            assert_eq!(log.locate_event(seq, received), model.locate_event(seq, received), "behind event {seq}");
        }
        for offset in [model.start, model.delivered, model.whole] {
            let events = model.held().filter(|block| block.is_event && block.end > offset);
            let ends: Vec<u32> = events.map(|block| (block.end - offset) as u32).collect();
            let last = model.held().filter(|block| block.sets_id && block.end <= offset).last();
            assert_eq!(log.mark_at(offset), (ends.len() as u64, last.map_or(model.base, |block| block.id)));
            assert_eq!(log.events_behind(offset), (offset + u64::from(ends.last().copied().unwrap_or(0)), ends));
        }
    }

    fn release(mut self) {
        self.log.release(&mut self.budget, &mut self.interner);
        self.interner.settle();
        assert_eq!((self.budget.used(), self.log.memory(), self.interner.live()), (0, 0, 0));
    }
}

impl Model {
    fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn held(&self) -> impl Iterator<Item = &Ended> {
        self.blocks[self.left..].iter()
    }

    /// What may leave now: blocks that are delivered; all there is when all is delivered; of a block too large to be
    /// held, what is delivered.
    fn floor(&self) -> u64 {
        let done = self.held().filter(|block| block.end <= self.delivered).map(|block| block.end).last();
        let rest = self.held().any(|block| block.end > self.delivered) || self.delivered < self.whole;
        let all = if rest { self.start } else { self.whole };
        done.unwrap_or(self.start).max(all).max(self.delivered.min(self.loose_until))
    }

    /// Where a reader that has nothing may start.
    fn first(&self) -> Option<u64> {
        (self.loose_until != u64::MAX).then_some(self.start.max(self.loose_until))
    }

    fn locate(&self, id: Symbol) -> Option<u64> {
        let first = self.first()?;
        if self.base == Some(id) {
            return (self.base_exact && first == self.start).then_some(first);
        }
        self.held().find(|block| block.id == Some(id)).map(|block| block.end).filter(|end| *end >= first)
    }

    /// Before the event after `seq`; after everything, where there is no such event.
    fn locate_event(&self, seq: u64, received: u64) -> Option<u64> {
        let first = self.first()?;
        if seq == received {
            let last = self.held().last().map(|block| block.end);
            return last.map_or(Some(self.whole.max(first)), |end| (end >= first).then_some(end));
        }
        let mut events = self.blocks.iter().enumerate().filter(|(_, block)| block.is_event);
        let (n, _) = events.nth(seq as usize).filter(|(n, _)| *n >= self.left)?;
        let before = if n == self.left { self.start } else { self.blocks[n - 1].end };
        (before >= first).then_some(before)
    }
}
