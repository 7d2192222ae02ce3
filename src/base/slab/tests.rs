//! The slab against a map, and what its pages cost.

use super::*;
use crate::base::Random;
use std::collections::HashMap;

enum Test {
    Taken(u32, u64),
    Free(u32, u16),
}

impl Place for Test {
    fn vacant(next: u16, generation: u32) -> Self {
        Self::Free(generation, next)
    }

    fn next(&self) -> u16 {
        if let Self::Free(_, next) = self { *next } else { panic!("asked of a taken place") }
    }

    fn generation(&self) -> u32 {
        match self {
            Self::Taken(generation, _) | Self::Free(generation, _) => *generation,
        }
    }
}

fn value(place: Option<&Test>) -> Option<u64> {
    if let Some(Test::Taken(_, value)) = place { Some(*value) } else { None }
}

#[test]
fn it_agrees_with_a_map_and_no_place_comes_back_with_a_generation_it_had() {
    let (mut slab, mut twin, mut r) = (Slab::default(), HashMap::new(), Random::new(1));
    let mut seen = std::collections::HashSet::new();
    for n in 0..120_000u64 {
        // Now it grows, now it shrinks to nothing.
        let grows = (n / 12_000).is_multiple_of(2);
        if r.below(10) < if grows { 8 } else { 1 } {
            let mut generation = 0;
            let at = slab.insert(|g| {
                generation = g;
                Test::Taken(g, n)
            });
            assert!(seen.insert((at, generation)), "{at} is given twice with generation {generation}");
            assert_eq!(twin.insert(at, n), None);
        } else if let Some(&at) = twin.keys().nth(r.below(twin.len().max(1) as u64) as usize % 8) {
            assert_eq!(value(slab.remove(at).as_ref()), twin.remove(&at));
        }
        let at = r.below(slab.end() as u64 + 1) as usize;
        assert_eq!(value(slab.get(at)), twin.get(&at).copied());
    }
    assert_eq!(slab.iter().filter_map(|(_, p)| value(Some(p))).count(), twin.len());
    assert_eq!(
        slab.held,
        slab.more.iter().map(|page| page.places.capacity()).sum::<usize>() + slab.first.places.capacity()
    );
}

#[test]
fn empty_pages_are_given_back_but_one() {
    let mut slab = Slab::default();
    let places: Vec<usize> = (0..10 * PAGE as u64).map(|n| slab.insert(|g| Test::Taken(g, n))).collect();
    let full = slab.bytes();
    for at in places.iter().take(5 * PAGE) {
        slab.remove(*at);
    }
    assert!(slab.bytes() <= full * 6 / 10 + 512, "{} of {full}", slab.bytes());
    // One that comes and goes costs no page.
    let kept = slab.bytes();
    for n in 0..100 {
        let at = slab.insert(|g| Test::Taken(g, n));
        assert_eq!(slab.bytes(), kept);
        slab.remove(at);
    }
    assert_eq!(slab.bytes(), kept);
}

#[test]
fn a_small_one_stays_small() {
    let mut slab = Slab::default();
    slab.insert(|g| Test::Taken(g, 0));
    assert_eq!(slab.bytes(), 4 * size_of::<Test>());
}
