//! The interner beside a counting map, and what it costs.

use super::places::{Long, Short};
use super::*;
use crate::base::Random;
use std::collections::HashMap;

#[test]
fn a_place_is_as_large_as_it_says() {
    assert_eq!((size_of::<Short<23>>(), size_of::<Short<39>>(), size_of::<Short<55>>()), (32, 48, 64));
    assert_eq!((size_of::<Long>(), size_of::<Option<Symbol>>()), (24, 4));
}

#[test]
fn what_is_freed_is_given_back() {
    let mut i = Interner::new(1, 1 << 20);
    let empty = i.bytes();
    let ids = |n: u32| [format!("{n}"), format!("{n:030}"), format!("{n:050}"), format!("{n:080}")];
    let all: Vec<Symbol> = (0..20_000).flat_map(ids).map(|id| i.intern(id.as_bytes()).unwrap().0).collect();
    let full = i.bytes() - empty;
    all.iter().take(all.len() / 2).for_each(|symbol| i.release(*symbol));
    let half = i.bytes() - empty;
    let (counted, found) = i.tables.allocated();
    assert_eq!(counted, found);
    assert!(half * 100 <= full * 60, "{half} of {full}");
    all.iter().skip(all.len() / 2).for_each(|symbol| i.release(*symbol));
    assert!(i.bytes() - empty < full / 10, "{} of {full}", i.bytes() - empty);
}

#[test]
fn equal_ids_share_a_symbol_until_the_last_is_released() {
    let mut i = Interner::new(1, 8);
    let (a, new) = i.intern(b"a").unwrap();
    assert!(new);
    assert_eq!(i.intern(b"a"), Some((a, false)));
    i.release(a);
    assert_eq!(i.lookup(b"a"), Some(a));
    i.release(a);
    assert_eq!((i.lookup(b"a"), i.live()), (None, 0));
}

#[test]
fn a_full_interner_refuses_new_ids_and_takes_known_ones() {
    let mut i = Interner::new(1, 1);
    let (a, _) = i.intern(b"a").unwrap();
    assert_eq!(i.intern(b"b"), None);
    assert_eq!(i.intern(b"a"), Some((a, false)));
}

#[test]
fn a_late_release_frees_the_id_when_it_settles() {
    let mut i = Interner::new(1, 2);
    for n in 0..1_000u32 {
        let (s, new) = i.intern_times(&n.to_le_bytes(), 2).unwrap();
        assert!(new);
        i.release_later(s);
        i.release_later(s);
    }
    i.settle();
    assert_eq!(i.live(), 0);
}

#[test]
fn a_long_id_is_kept_whole_and_its_bytes_are_counted() {
    let mut i = Interner::new(1, 8);
    let empty = i.bytes();
    let long = vec![b'x'; 1000];
    let (s, _) = i.intern(&long).unwrap();
    assert_eq!(i.get(s), &long[..]);
    assert!(i.bytes() >= empty + 1000);
    i.release(s);
    assert_eq!(i.places.long_bytes(), 0);
}

#[test]
fn it_agrees_with_a_counting_map_over_random_operations() {
    let mut i = Interner::new(9, 300);
    let mut twin: HashMap<Vec<u8>, (Symbol, u32)> = HashMap::new();
    let mut r = Random::new(3);
    for _ in 0..50_000 {
        let n = r.below(400);
        let id = if n.is_multiple_of(3) { format!("{n:060}") } else { n.to_string() }.into_bytes();
        if r.below(2) == 0 {
            match i.intern(&id) {
                Some((s, new)) => {
                    let held = twin.entry(id.clone()).or_insert((s, 0));
                    assert_eq!((held.0, new), (s, held.1 == 0));
                    held.1 += 1;
                }
                None => assert!(twin.len() == 300 && !twin.contains_key(&id)),
            }
        } else if let Some((s, count)) = twin.get_mut(&id) {
            assert_eq!(i.get(*s), &id[..]);
            i.release(*s);
            *count -= 1;
            if *count == 0 {
                twin.remove(&id);
            }
        }
        assert_eq!(i.lookup(&id), twin.get(&id).map(|h| h.0));
        assert_eq!(i.live(), twin.len());
    }
}
