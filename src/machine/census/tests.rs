//! The census against a plain list, and those that wait.
//!
//! In: stakes that are taken and given back, clients that wait. Out: counts, and who comes next.

use super::*;
use crate::base::Random;

/// Against a list of all stakes, each with its name.
#[test]
fn counts_are_those_of_a_plain_list_and_what_is_given_back_is_forgotten() {
    let (mut census, mut random) = (Census::default(), Random::new(5));
    let mut all: Vec<(u64, Held, Stake)> = Vec::new();
    for step in 0..20_000 {
        let grows = random.next() % 100 < if step / 1_000 % 2 == 0 { 60 } else { 40 };
        if grows || all.is_empty() {
            let (name, what) = (random.next() % 50, [Held::Connection, Held::Stream][random.next() as usize % 2]);
            all.push((name, what, census.add(name, what)));
        } else {
            let (_, what, stake) = all.swap_remove(random.next() as usize % all.len());
            census.remove(stake, what);
        }
        let name = random.next() % 50;
        for what in [Held::Connection, Held::Stream] {
            assert_eq!(census.held_by(name, what), all.iter().filter(|(n, w, _)| (*n, *w) == (name, what)).count());
        }
    }
    let names: std::collections::HashSet<u64> = all.iter().map(|(name, ..)| *name).collect();
    assert_eq!(census.len(), names.len());
    all.into_iter().for_each(|(_, what, stake)| census.remove(stake, what));
    assert_eq!((census.len(), census.entries.capacity(), census.free.capacity()), (0, 0, 0));
}

#[test]
fn of_those_that_wait_for_one_holder_the_first_comes_first_and_they_are_few() {
    let mut census = Census::default();
    census.add(1, Held::Stream);
    let key = |n: u64| ConnKey::from_bits(n);
    assert!((0..16).all(|n| census.wait(key(n), 1)) && !census.wait(key(16), 1), "16 wait for one holder");
    assert!(census.wait(key(17), 2));
    census.wait_no_more(key(0));
    assert_eq!((census.next_waiting(1), census.next_waiting(1)), (Some(key(1)), Some(key(2))));
    let most = (18..2_000).filter(|n| census.wait(key(*n), *n)).count();
    assert_eq!(most + 14, WAITING);
}

#[test]
fn who_waits_is_counted_once_whatever_it_waits_for() {
    let mut census = Census::default();
    let (key, other) = (ConnKey::from_bits(1), ConnKey::from_bits(2));
    assert!(census.wait(key, 1) && census.wait(other, 1) && census.wait(key, 1));
    assert_eq!((census.waiting(), census.held_by(1, Held::Wait)), (2, 2));
    assert!(census.wait(key, 2), "it has another bound to wait for by now");
    assert_eq!([1, 2].map(|name| census.held_by(name, Held::Wait)), [1, 1]);
    assert_eq!((census.next_waiting(1), census.next_waiting(1)), (Some(other), None));
    assert_eq!(census.all_waiting(), [key]);
    assert_eq!((census.waiting(), census.len()), (0, 0));
}
