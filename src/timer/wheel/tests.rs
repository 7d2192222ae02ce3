//! The wheel against a list that is searched whole, and its laws one by one.

use super::super::list::Link;
use super::*;
use crate::base::{Random, Span};

const STEP: u64 = 1 << STEP_BITS;

fn us(micros: u64) -> Tick {
    Tick::from_micros(micros)
}

impl<T> Wheel<T> {
    /// The whole-structure check: every timer in one list, each bit true, the current slots empty.
    fn check(&self) {
        let mut seen = vec![false; self.timers.places()];
        for list in 0..FIRST {
            let nodes = self.lists.nodes(list);
            for &node in &nodes {
                assert!(self.timers.key_at(place_of(node)).is_some(), "a dead node is linked");
                assert!(!std::mem::replace(&mut seen[place_of(node)], true), "a node is in two lists");
            }
            if list < READY {
                let (level, slot) = ((list >> SLOT_BITS) as usize, u64::from(list) % SLOTS);
                assert_eq!(self.occupied[level] >> slot & 1 == 1, !nodes.is_empty(), "level {level} slot {slot}");
                assert!(nodes.is_empty() || slot != slots_before(level, self.step) % SLOTS, "behind the wheel");
            }
        }
        assert_eq!(seen.iter().filter(|&&linked| linked).count(), self.len());
        assert_eq!(self.step, step_before(self.now));
    }
}

struct Slow {
    at: Tick,
    /// The step it fires at, if any.
    due: Option<u64>,
    key: TimerKey<u64>,
    value: u64,
}

/// The wheel and its slow twin, driven together.
struct Pair {
    wheel: Wheel<u64>,
    twin: Vec<Slow>,
    now: Tick,
    in_round: bool,
    values: u64,
    stale: Vec<TimerKey<u64>>,
}

const CAPACITY: usize = 40;

impl Pair {
    fn new(now: Tick) -> Self {
        let wheel = Wheel::new(CAPACITY, now);
        Self { wheel, twin: Vec::new(), now, in_round: false, values: 0, stale: Vec::new() }
    }

    fn add(&mut self, at: Tick) {
        self.values += 1;
        let value = self.values;
        match self.wheel.add(at, value) {
            Ok(key) => {
                let due = match (at <= self.now, self.in_round) {
                    (true, true) => step_before(self.now) + 1,
                    (true, false) => step_before(self.now),
                    (false, _) => step_after(at),
                };
                let due = (due << STEP_BITS >> STEP_BITS == due).then_some(due);
                self.twin.push(Slow { at, due, key, value });
            }
            Err(back) => assert_eq!((back, self.twin.len()), (value, CAPACITY)),
        }
    }

    fn cancel(&mut self, pick: u64) {
        if !self.twin.is_empty() {
            let slow = self.twin.swap_remove(pick as usize % self.twin.len());
            assert_eq!(self.wheel.deadline(slow.key), Some(slow.at));
            assert_eq!(self.wheel.cancel(slow.key), Some(slow.value));
            self.stale.push(slow.key);
        }
        if !self.stale.is_empty() {
            let stale = self.stale[pick as usize % self.stale.len()];
            assert_eq!((self.wheel.deadline(stale), self.wheel.cancel(stale)), (None, None));
        }
    }

    /// One call of `poll`, checked; whether something fired.
    fn poll(&mut self, now: Tick) -> bool {
        self.now = self.now.max(now);
        let fired = self.wheel.poll(now);
        self.in_round = fired.is_some();
        let first = self.twin.iter().filter_map(|slow| slow.due).min();
        let Some(value) = fired else {
            assert!(first.is_none_or(|due| due > step_before(self.now)), "a due timer did not fire");
            assert!(self.wheel.next_deadline().is_none_or(|next| next > self.now), "the shell would spin");
            return false;
        };
        let place = self.twin.iter().position(|slow| slow.value == value).expect("fired once only");
        let slow = self.twin.swap_remove(place);
        assert!(slow.at <= self.now, "fired early");
        assert_eq!(slow.due, first, "fired out of order");
        assert!(slow.due.unwrap() <= step_before(self.now));
        self.stale.push(slow.key);
        true
    }

    fn check(&self) {
        self.wheel.check();
        assert_eq!((self.wheel.len(), self.wheel.is_empty()), (self.twin.len(), self.twin.is_empty()));
        let first = self.twin.iter().filter_map(|slow| slow.due).min();
        let next = self.wheel.next_deadline();
        assert_eq!(next.is_none(), first.is_none(), "next deadline {next:?}, first due {first:?}");
        if let (Some(next), Some(first)) = (next, first) {
            assert!(next.micros() <= (first << STEP_BITS).max(self.now.micros()));
        }
    }
}

/// A length of any order of magnitude up to `2^most` microseconds, often right at a slot's edge.
fn length(random: &mut Random, most: u64) -> u64 {
    let bits = random.below(most + 1) as u32;
    let length = random.next() >> (63 - bits.min(63));
    match random.below(4) {
        0 => (length >> STEP_BITS << STEP_BITS).saturating_add(random.below(3)).saturating_sub(1),
        1 => (1u64 << bits).saturating_add(random.below(3)).saturating_sub(1),
        _ => length,
    }
}

fn deadline(random: &mut Random, now: Tick) -> Tick {
    match random.below(12) {
        0 => Tick::NEVER,
        1 => now - Span::from_micros(length(random, 40)),
        2 => now,
        3 => now + Span::from_micros(length(random, 52)),
        _ => now + Span::from_micros(length(random, 34)),
    }
}

fn next_now(random: &mut Random, pair: &Pair) -> Tick {
    match random.below(10) {
        0 => pair.now - Span::from_micros(length(random, 40)),
        1 | 2 => pair.now,
        3 => pair.now + Span::from_micros(length(random, 50)),
        4..=6 => pair.wheel.next_deadline().filter(|_| random.below(4) > 0).unwrap_or(pair.now),
        _ => pair.now + Span::from_micros(length(random, 28)),
    }
}

/// Polls a few times or until nothing is due, adding and cancelling in between.
fn round(random: &mut Random, pair: &mut Pair) {
    let now = next_now(random, pair);
    let budget = [3, usize::MAX][random.below(2) as usize];
    for _ in 0..budget {
        if !pair.poll(now) {
            break;
        }
        if random.below(3) == 0 {
            let at = deadline(random, pair.now);
            pair.add(at);
        }
        if random.below(8) == 0 {
            pair.cancel(random.next());
        }
    }
}

fn run(seed: u64, steps: usize) {
    let mut random = Random::new(seed);
    let mut pair = Pair::new(us(length(&mut random, 50)));
    for _ in 0..steps {
        match random.below(8) {
            0..=3 => {
                let at = deadline(&mut random, pair.now);
                pair.add(at);
            }
            4 => pair.cancel(random.next()),
            _ => round(&mut random, &mut pair),
        }
        pair.check();
    }
}

#[test]
fn the_wheel_fires_what_a_searched_list_fires() {
    for seed in 0..150 {
        // A failed run names its seed before it unwinds.
        let run = std::panic::catch_unwind(|| run(seed, 300));
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_timer_fires_at_its_step_and_not_a_microsecond_before() {
    let mut random = Random::new(11);
    for _ in 0..2_000 {
        let start = us(length(&mut random, 48));
        let at = start + Span::from_micros(1 + length(&mut random, 45));
        let mut wheel = Wheel::new(1, start);
        wheel.add(at, ()).unwrap();
        let due = at.micros().next_multiple_of(STEP);
        assert_eq!(wheel.poll(us(due - 1)), None);
        assert_eq!(wheel.poll(us(due)), Some(()));
    }
}

#[test]
fn following_the_next_deadline_reaches_a_timer_in_a_few_polls() {
    let mut random = Random::new(5);
    for _ in 0..2_000 {
        let start = us(length(&mut random, 48));
        let at = start + Span::from_micros(1 + length(&mut random, 45));
        let mut wheel = Wheel::new(1, start);
        wheel.add(at, ()).unwrap();
        let mut wakes = Vec::new();
        while !wheel.is_empty() {
            let next = wheel.next_deadline().unwrap();
            wakes.push(next);
            wheel.poll(next);
        }
        assert!(wakes.len() <= LEVELS, "{wakes:?}");
        assert_eq!(wakes.last(), Some(&us(at.micros().next_multiple_of(STEP))));
    }
}

#[test]
fn a_timer_beyond_the_last_level_waits_and_fires_in_time() {
    let year = Span::from_secs(365 * 86_400);
    let mut wheel = Wheel::new(2, us(12_345));
    let at = us(12_345) + year.times(50);
    wheel.add(at, "in fifty years").unwrap();
    let mut polls = 0;
    while !wheel.is_empty() {
        let next = wheel.next_deadline().unwrap();
        assert!(next <= us(at.micros().next_multiple_of(STEP)));
        assert_eq!(wheel.poll(next).is_some(), next >= at);
        polls += 1;
    }
    assert!(polls < 40, "{polls}");
}

#[test]
fn a_timer_that_sets_itself_again_does_not_hold_the_round() {
    let mut wheel = Wheel::new(4, Tick::ZERO);
    let mut now = us(5_000);
    wheel.add(now, ()).unwrap();
    now = us(7_000);
    for _ in 0..200 {
        assert_eq!(wheel.poll(now), Some(()));
        wheel.add(now, ()).unwrap();
        assert_eq!(wheel.poll(now), None);
        let next = wheel.next_deadline().unwrap();
        assert_eq!(next, us((now.micros() / STEP + 1) * STEP));
        now = next;
    }
}

#[test]
fn a_past_time_set_between_rounds_fires_at_the_next_poll() {
    let mut wheel = Wheel::new(4, us(1_500));
    assert_eq!(wheel.poll(us(1_500)), None);
    wheel.add(us(1_400), "past").unwrap();
    wheel.add(us(1_500), "now").unwrap();
    assert_eq!(wheel.next_deadline(), Some(us(1_500)));
    assert_eq!(wheel.poll(us(1_500)), Some("past"));
    assert_eq!(wheel.poll(us(1_500)), Some("now"));
    assert_eq!(wheel.poll(us(1_500)), None);
}

#[test]
fn never_does_not_come() {
    let mut wheel = Wheel::new(4, Tick::ZERO);
    let key = wheel.add(Tick::NEVER, 1).unwrap();
    wheel.add(Tick::NEVER - Span::from_micros(1), 2).unwrap();
    assert_eq!(wheel.next_deadline(), None);
    assert_eq!(wheel.poll(Tick::NEVER), None);
    assert_eq!(wheel.deadline(key), Some(Tick::NEVER));
    assert_eq!(wheel.cancel(key), Some(1));
    assert_eq!(wheel.len(), 1);
    wheel.check();
}

#[test]
fn the_end_of_time_is_no_trap() {
    let mut wheel = Wheel::new(4, Tick::NEVER - Span::from_secs(3));
    wheel.add(us(LAST_STEP << STEP_BITS), 1).unwrap();
    assert_eq!(wheel.next_deadline().map(|next| next < Tick::NEVER), Some(true));
    assert_eq!(wheel.poll(Tick::NEVER), Some(1));
    wheel.add(Tick::ZERO, 2).unwrap();
    assert_eq!(wheel.poll(Tick::NEVER), None);
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn a_full_wheel_hands_the_value_back() {
    let mut wheel = Wheel::new(1, Tick::ZERO);
    let key = wheel.add(us(1), "a").unwrap();
    assert_eq!(wheel.add(us(1), "b"), Err("b"));
    wheel.cancel(key);
    assert!(wheel.add(us(1), "b").is_ok());
}

#[test]
fn timers_of_one_step_fire_in_the_order_they_were_set() {
    let mut wheel = Wheel::new(200, Tick::ZERO);
    let at = Tick::from_millis(300_000);
    for n in 0..100 {
        wheel.add(at, n).unwrap();
        wheel.poll(Tick::from_millis(n * 2_990));
    }
    let fired: Vec<_> = std::iter::from_fn(|| wheel.poll(at + Span::from_millis(2))).collect();
    assert_eq!(fired, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_timer_costs_at_most_32_bytes_and_its_value() {
    const TABLE: usize = 8;
    assert!(size_of::<Entry<u64>>() + TABLE + size_of::<Link>() <= 32 + size_of::<u64>());
    assert_eq!(size_of::<TimerKey<String>>(), 8);
}

#[test]
fn places_are_used_again() {
    let mut wheel = Wheel::new(1_000, Tick::ZERO);
    for n in 0..10_000 {
        let key = wheel.add(us(n * STEP + 60_000_000), n).unwrap();
        if n % 3 == 0 {
            wheel.cancel(key);
        }
        while wheel.len() > 50 {
            wheel.poll(wheel.next_deadline().unwrap());
        }
    }
    assert!(wheel.timers.iter().map(|(key, _)| key.index()).max().is_none_or(|last| last <= 51));
    wheel.check();
}
