//! Sessions against a list that is searched.

use super::*;
use crate::base::Random;

fn at(n: u64) -> Tick {
    Tick::from_millis(n)
}

#[test]
fn a_session_is_found_by_its_identity_until_it_is_removed() {
    let mut s = Sessions::new(2);
    let a = s.open(1, at(0)).ok().unwrap();
    assert_eq!((s.find(1), s.find(2), s.open(1, at(1)).ok()), (Some(a), None, Some(a)));
    s.remove(a);
    assert_eq!((s.find(1), s.len(), s.next_expiry(Span::ZERO)), (None, 0, None));
}

#[test]
fn a_full_table_names_the_one_idle_longest_or_none_when_all_are_read() {
    let mut s = Sessions::new(2);
    let (a, b) = (s.open(1, at(0)).ok().unwrap(), s.open(2, at(1)).ok().unwrap());
    assert!(matches!(s.open(3, at(2)), Err(Ok(first)) if first == a));
    s.read(a);
    assert!(matches!(s.open(3, at(2)), Err(Ok(first)) if first == b));
    s.read(b);
    assert!(matches!(s.open(3, at(2)), Err(Err(AllRead))));
}

fn kept(stream: u64) -> Kept {
    Kept { hash: 0, stream, sequence: 1 }
}

#[test]
fn at_most_so_many_records_are_kept() {
    let mut s = Sessions::new(1);
    let a = s.open(1, at(0)).ok().unwrap();
    let session = s.get_mut(a).unwrap();
    let gone: Vec<u64> =
        (0..RECORDS_PER_SESSION as u64 + 2).filter_map(|n| Some(session.note_record(kept(n))?.stream)).collect();
    assert_eq!((gone, session.records.as_ref().unwrap().0.len()), (vec![0, 1], RECORDS_PER_SESSION));
}

/// The slow twin: a list of all sessions that is searched.
#[test]
fn the_order_of_going_is_that_of_a_list() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let mut sessions = Sessions::new(8);
        let mut twin: Vec<(u128, SessionKey, u32, u64)> = Vec::new();
        let mut order = 0;
        for step in 0..400 {
            order += 1;
            let id = u128::from(random.below(12));
            let found = twin.iter().position(|(other, ..)| *other == id);
            let idle = twin.iter().filter(|t| t.2 == 0).min_by_key(|t| t.3).map(|t| t.1);
            match (random.below(4), found) {
                (0, _) => match (sessions.open(id, at(step)), found) {
                    (Ok(key), Some(n)) => assert_eq!(key, twin[n].1),
                    (Ok(key), None) => twin.push((id, key, 0, order)),
                    (Err(first), _) => assert_eq!(first.ok(), idle),
                },
                (1, Some(n)) => {
                    sessions.read(twin[n].1);
                    twin[n].2 += 1;
                }
                (2, Some(n)) if twin[n].2 > 0 => {
                    sessions.left(twin[n].1, at(step));
                    twin[n].2 -= 1;
                    twin[n].3 = order;
                }
                (3, Some(n)) => {
                    assert!(sessions.remove(twin[n].1).is_some());
                    twin.remove(n);
                }
                _ => {}
            }
            let idle = twin.iter().filter(|t| t.2 == 0).min_by_key(|t| t.3).map(|t| t.1);
            assert_eq!((sessions.oldest, sessions.len()), (idle, twin.len()));
            assert!(twin.iter().all(|(id, key, ..)| sessions.find(*id) == Some(*key)));
        }
    }
}
