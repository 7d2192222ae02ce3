//! Retries in the order of their next attempt.
//!
//! In: a key, which attempt comes next, and when. Out: the keys whose time has come, earliest first.
//! Laws: never more retries than the capacity; nothing comes out early; equal times come out in the order in which they
//! went in; a retry holds a key and not a value, so that the caller who takes it out reads the newest value then.

use crate::base::Tick;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::error::Error;
use std::fmt;

/// The heap is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no more retries may wait")
    }
}

impl Error for Full {}

struct Retry<K> {
    at: Tick,
    /// Counts pushes; decides between equal times.
    turn: u64,
    attempt: u32,
    key: K,
}

impl<K> Retry<K> {
    const fn order(&self) -> (Tick, u64) {
        (self.at, self.turn)
    }
}

impl<K> PartialEq for Retry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<K> Eq for Retry<K> {}

impl<K> PartialOrd for Retry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Retry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// A bounded min-heap of retries by next attempt. Allocates only when it holds more than ever before.
///
/// A key that is pushed twice comes out twice.
pub struct RetryHeap<K> {
    retries: BinaryHeap<Reverse<Retry<K>>>,
    capacity: usize,
    turns: u64,
}

impl<K> RetryHeap<K> {
    /// An empty heap for at most `capacity` retries.
    pub const fn new(capacity: usize) -> Self {
        Self { retries: BinaryHeap::new(), capacity, turns: 0 }
    }

    /// Retries that wait.
    pub fn len(&self) -> usize {
        self.retries.len()
    }

    /// Whether no retry waits.
    pub fn is_empty(&self) -> bool {
        self.retries.is_empty()
    }

    /// Puts a key off until `at`, when its attempt number `attempt` is due. At [`Tick::NEVER`] the key waits for ever.
    ///
    /// # Errors
    /// [`Full`] when `capacity` retries wait already; the key is dropped.
    pub fn push(&mut self, at: Tick, key: K, attempt: u32) -> Result<(), Full> {
        if self.retries.len() >= self.capacity {
            return Err(Full);
        }
        self.retries.push(Reverse(Retry { at, turn: self.turns, attempt, key }));
        // To wrap would take ages, and could only swap retries that are due in the same microsecond.
        self.turns = self.turns.wrapping_add(1);
        Ok(())
    }

    /// Takes out the key and attempt number that have been due longest at `now`. Call it until it returns `None`.
    pub fn pop_due(&mut self, now: Tick) -> Option<(K, u32)> {
        self.next_deadline().filter(|&at| at <= now)?;
        self.retries.pop().map(|Reverse(retry)| (retry.key, retry.attempt))
    }

    /// Exactly when the earliest retry is due; `None` when none ever will be.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.retries.peek().map(|Reverse(retry)| retry.at).filter(|&at| at != Tick::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Random, Span};

    #[test]
    fn a_full_heap_says_so() {
        assert_eq!(RetryHeap::new(0).push(Tick::ZERO, 1, 0).unwrap_err().to_string(), "no more retries may wait");
    }

    #[test]
    fn the_heap_gives_what_a_sorted_list_gives() {
        const CAPACITY: usize = 30;
        let mut random = Random::new(9);
        let mut heap = RetryHeap::new(CAPACITY);
        let mut twin: Vec<(Tick, u64, u32)> = Vec::new();
        let mut now = Tick::from_millis(1_000);
        for key in 0..20_000 {
            if random.below(2) == 0 {
                let at = if random.below(20) == 0 { Tick::NEVER } else { now + Span::from_micros(random.below(40)) };
                let at = if random.below(5) == 0 { now - Span::from_micros(random.below(40)) } else { at };
                let attempt = random.below(9) as u32;
                let full = twin.len() == CAPACITY;
                assert_eq!(heap.push(at, key, attempt), if full { Err(Full) } else { Ok(()) });
                if !full {
                    twin.push((at, key, attempt));
                    twin.sort_by_key(|retry| retry.0);
                }
            } else {
                let due = twin.first().is_some_and(|retry| retry.0 <= now).then(|| twin.remove(0));
                assert_eq!(heap.pop_due(now), due.map(|(_, key, attempt)| (key, attempt)));
                now = now + Span::from_micros(random.below(10));
            }
            assert_eq!(heap.next_deadline(), twin.first().map(|retry| retry.0).filter(|&at| at != Tick::NEVER));
            assert_eq!(heap.len(), twin.len());
            if twin.iter().all(|retry| retry.0 == Tick::NEVER) {
                (heap, twin) = (RetryHeap::new(CAPACITY), Vec::new());
                assert!(heap.is_empty());
            }
        }
    }

    #[test]
    fn never_does_not_come() {
        let mut heap = RetryHeap::new(1);
        heap.push(Tick::NEVER, 'a', 1).unwrap();
        assert_eq!((heap.next_deadline(), heap.pop_due(Tick::NEVER), heap.len()), (None, None, 1));
    }

    #[test]
    fn a_heap_for_nothing_is_full() {
        assert_eq!(RetryHeap::new(0).push(Tick::ZERO, 'a', 1), Err(Full));
    }
}
