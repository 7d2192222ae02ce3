//! A hierarchical timer wheel: any number of deadlines, constant work for each.
//!
//! In: deadlines, each with a value; the time. Out: the values whose deadline has come; the tick at which to ask again.
//!
//! # How
//! Think of an odometer. Time is counted in steps of 1,024 us, and the count is written in digits of 6 bits. Level 0
//! has a slot for each value of the lowest digit, so each of its slots is one step long; each slot of level 1 is 64
//! steps long, and so on up to level 5, whose slots are 12.7 days long.
//!
//! ```text
//! add(deadline):   put the timer into the lowest level in which its slot differs from the current one,
//!                  which is the level of the highest digit in which deadline and current step differ
//! advance(to):     while some slot that holds timers starts at or before `to`, take the first of them:
//!                      level 0: its timers are due
//!                      above:   place its timers again, each in a lower level
//! ```
//!
//! So a timer moves down one or more levels each time that the current step enters its slot, until it is due. Deadlines
//! more than two years away wait in the farthest slot of the last level and are placed again from there. For each level
//! one word says which slots hold timers, so empty slots cost nothing to skip. The timers of a slot are a linked list.
//!
//! Laws:
//! 1. No timer fires early: deadlines are rounded up to a step, the current time is rounded down.
//! 2. Timers fire in the order of their steps, however far the time has jumped.
//! 3. After [`Wheel::poll`] returned `None` for some `now`, [`Wheel::next_deadline`] is later than `now`.
//! 4. A round is the calls to [`Wheel::poll`] from the first `Some` to the next `None`. A timer added during a round
//!    for a time that has come waits for the next step, so that every round ends; added outside a round, it fires at
//!    the next poll.
//! 5. Time does not run backwards: an earlier `now` counts as the latest one seen.
//! 6. A timer moves at most five times in its life, and once more for every two years beyond the last level. It costs
//!    24 bytes and its value, not counting the slack of a growing vector. Nothing is allocated while the wheel holds no
//!    more timers than it held before.
//!
//! Source: Varghese, Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 7.

use super::list::Lists;
use crate::base::{Key, Table, Tick};

/// Bits of a time in microseconds that lie below one step.
const STEP_BITS: u32 = 10;
/// Bits of a step count that one level looks at.
const SLOT_BITS: u32 = 6;
const SLOTS: u64 = 1 << SLOT_BITS;
const LEVELS: usize = 6;
/// The last step that a tick can reach. Deadlines beyond it are never due.
const LAST_STEP: u64 = u64::MAX >> STEP_BITS;

/// The list of timers that are due. The lists before it are the slots, level by level.
const READY: u32 = LEVELS as u32 * SLOTS as u32;
/// The list of timers that are never due.
const PARKED: u32 = READY + 1;
/// The number of the first timer's node; the numbers before it are the heads of lists.
const FIRST: u32 = PARKED + 1;

/// What the wheel keeps for each timer. Public only because a [`TimerKey`] names its type.
pub struct Entry<T> {
    at: Tick,
    value: T,
}

/// Names one timer of a [`Wheel`] until it has fired or was cancelled. After that it names nothing.
pub type TimerKey<T> = Key<Entry<T>>;

/// At most a fixed number of timers, each with a value of type `T`.
pub struct Wheel<T> {
    /// INVARIANT: every timer's node is in exactly one list.
    timers: Table<Entry<T>>,
    lists: Lists,
    /// INVARIANT: bit `s` of word `l` is set exactly when the list of slot `s` of level `l` holds timers. The bit of
    /// the slot that the current step lies in is clear at every level.
    occupied: [u64; LEVELS],
    /// The latest time seen.
    now: Tick,
    /// The step up to which slots have been emptied: the step of `now`, except inside `advance`.
    step: u64,
    in_round: bool,
}

impl<T> Wheel<T> {
    /// An empty wheel for at most `capacity` timers (cut to about four thousand million), at the time `now`. Allocates
    /// 3 KiB at once and grows as it fills.
    pub fn new(capacity: usize, now: Tick) -> Self {
        Self {
            // Some numbers are left for the heads of the lists.
            timers: Table::new(capacity.min((u32::MAX - FIRST) as usize)),
            lists: Lists::new(FIRST),
            occupied: [0; LEVELS],
            now,
            step: step_before(now),
            in_round: false,
        }
    }

    /// Timers that have neither fired nor been cancelled.
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// Whether there is no timer.
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// Sets a timer. It fires at the first poll at or after `at`, rounded up to 1,024 us. Where that time has come
    /// already, it fires at the next poll, or, during a round (law 4), at the next step. A timer at [`Tick::NEVER`], or
    /// less than 1,024 us before it, does not fire.
    ///
    /// # Errors
    /// Hands the value back when the wheel is full.
    pub fn add(&mut self, at: Tick, value: T) -> Result<TimerKey<T>, T> {
        let key = self.timers.insert(Entry { at, value }).map_err(|timer| timer.value)?;
        let node = node_of(key);
        self.lists.make(node);
        if at > self.now {
            self.place(node, step_after(at));
        } else if self.in_round {
            self.place(node, self.step + 1);
        } else {
            self.lists.push(READY, node);
        }
        Ok(key)
    }

    /// Takes a timer out before it fires. `None` when it has fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey<T>) -> Option<T> {
        let timer = self.timers.remove(key)?;
        self.unlink(node_of(key));
        Some(timer.value)
    }

    /// The time that a timer was set to, not rounded. `None` when it has fired or was cancelled.
    pub fn deadline(&self, key: TimerKey<T>) -> Option<Tick> {
        self.timers.get(key).map(|timer| timer.at)
    }

    /// Takes out one timer that is due at `now`. Call it until it returns `None`.
    pub fn poll(&mut self, now: Tick) -> Option<T> {
        self.now = self.now.max(now);
        self.advance(step_before(self.now));
        let timer = self.lists.first(READY).and_then(|node| self.timers.key_at(place_of(node)));
        self.in_round = timer.is_some();
        self.cancel(timer?)
    }

    /// When to poll again, at the latest: never later than the next timer fires, but often earlier, when timers must
    /// move down a level. `None` when no timer will ever be due. Looks at six words, however many timers there are.
    pub fn next_deadline(&self) -> Option<Tick> {
        if self.lists.first(READY).is_some() {
            return Some(self.now);
        }
        self.first_slot().map(|slot| Tick::from_micros(slot.start << STEP_BITS))
    }

    /// Moves all timers that are due at the step `target` to the list of due timers, in order.
    fn advance(&mut self, target: u64) {
        while let Some(slot) = self.first_slot().filter(|slot| slot.start <= target) {
            self.step = slot.start;
            self.empty(&slot);
        }
        self.step = target;
    }

    /// Empties a slot, at whose start the wheel stands.
    fn empty(&mut self, slot: &Slot) {
        if slot.level == 0 {
            self.lists.append(slot.list, READY);
            self.clear(slot.list);
            return;
        }
        // No timer is placed into this slot again: it is the current one now.
        while let Some(node) = self.lists.first(slot.list) {
            self.unlink(node);
            if let Some(at) = self.at(node) {
                self.place(node, step_after(at));
            }
        }
    }

    /// Puts a node that is in no list into the list where a timer belongs that is due at the step `due`.
    fn place(&mut self, node: u32, due: u64) {
        if due > LAST_STEP {
            self.lists.push(PARKED, node);
        } else if due <= self.step {
            self.lists.push(READY, node);
        } else {
            let level = level_of(self.step, due);
            let (here, there) = (slots_before(level, self.step), slots_before(level, due));
            let slot = (here + (there - here).min(SLOTS - 1)) % SLOTS;
            self.occupied[level] |= 1 << slot;
            self.lists.push(list_of(level, slot), node);
        }
    }

    fn unlink(&mut self, node: u32) {
        if let Some(list) = self.lists.unlink(node) {
            self.clear(list);
        }
    }

    /// Notes that a list is empty. Only the lists of slots have a bit for that.
    fn clear(&mut self, list: u32) {
        if let Some(word) = self.occupied.get_mut((list >> SLOT_BITS) as usize) {
            *word &= !(1 << (u64::from(list) % SLOTS));
        }
    }

    /// The first slot that holds timers, in the order of their starts. All timers of a level lie within the current
    /// slot of the next level, so they come before the timers there: the slot is in the lowest level that holds any.
    fn first_slot(&self) -> Option<Slot> {
        let level = self.occupied.iter().position(|&word| word != 0)?;
        let here = slots_before(level, self.step);
        let ahead = self.occupied[level].rotate_right((here % SLOTS) as u32).trailing_zeros();
        let there = here + u64::from(ahead);
        Some(Slot { level, list: list_of(level, there % SLOTS), start: there << shift(level) })
    }

    fn at(&self, node: u32) -> Option<Tick> {
        self.timers.get(self.timers.key_at(place_of(node))?).map(|timer| timer.at)
    }
}

struct Slot {
    level: usize,
    list: u32,
    /// Its first step.
    start: u64,
}

/// The step that `now` lies in.
const fn step_before(now: Tick) -> u64 {
    now.micros() >> STEP_BITS
}

/// The first step that begins at or after `at`; greater than [`LAST_STEP`] when there is none.
const fn step_after(at: Tick) -> u64 {
    at.micros().div_ceil(1 << STEP_BITS)
}

/// The level of the highest digit in which two steps differ; the last level for all digits above it.
fn level_of(step: u64, due: u64) -> usize {
    let highest = (step ^ due).checked_ilog2().unwrap_or(0);
    ((highest / SLOT_BITS) as usize).min(LEVELS - 1)
}

const fn shift(level: usize) -> u32 {
    SLOT_BITS * level as u32
}

/// How many slots of a level have ended before this step.
const fn slots_before(level: usize, step: u64) -> u64 {
    step >> shift(level)
}

const fn list_of(level: usize, slot: u64) -> u32 {
    level as u32 * SLOTS as u32 + slot as u32
}

/// Cannot overflow: `Wheel::new` bounds the places.
const fn node_of<T>(key: TimerKey<T>) -> u32 {
    key.index() as u32 + FIRST
}

const fn place_of(node: u32) -> usize {
    (node - FIRST) as usize
}

#[cfg(test)]
mod tests;
