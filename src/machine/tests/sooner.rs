//! Clients that come back sooner than the store knows of what they have, or of what they ordered.

use super::asking::{data, gap_header, get};
use super::shared::{ORDER, again, following_at, instance, instance_with, news, numbers, shelved, tell};
use super::stored::find;
use super::*;
use crate::machine::StoredOwner;

/// The store answers all look-ups with this for so long.
fn keeps_saying(w: &mut World, found: &[crate::machine::StoredStream], millis: u64) {
    for _ in 0..millis / 50 {
        while !w.lookups.is_empty() {
            find(w, found.to_vec());
        }
        w.pass_ms(50);
    }
}

/// Its id shows that somebody has answered it.
#[test]
fn an_order_whose_answer_is_nowhere_is_refused_and_not_given_again() {
    let (_, id) = shelved(ORDER, 3, StoredOwner::Lives, None);
    let mut w = instance(8);
    let d = w.client_with(&again(&id(2)));
    keeps_saying(&mut w, &[], 10_000);
    assert_eq!((w.ups.len(), w.status(d), gap_header(&w, d).as_deref()), (0, 410, Some("unknown")));
    assert_eq!(w.count(Count::OrdersNotRepeated), 1);
    // Without the id it is a new one.
    w.client_with(ORDER);
    assert_eq!(w.ups.len(), 1);
}

/// Its instance was slow to write, or the store to take it.
#[test]
fn an_order_is_looked_for_as_long_as_a_lease_and_found_late() {
    let (kept, id) = shelved(ORDER, 3, StoredOwner::Lives, None);
    let mut w = instance(8);
    let d = w.client_with(&again(&id(2)));
    keeps_saying(&mut w, &[], 2_500);
    assert_eq!((w.ups.len(), w.status(d)), (0, 0));
    keeps_saying(&mut w, &[kept], 500);
    assert_eq!((data(&w, d), w.ups.len(), gap_header(&w, d)), (numbers(3..=3), 0, None));
}

#[test]
fn a_proxy_that_drains_sends_an_order_that_it_cannot_look_for_elsewhere() {
    let (_, id) = shelved(ORDER, 3, StoredOwner::Lives, None);
    let mut w = instance(8);
    let (head, body) = again(&id(2)).split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
    let d = w.client_with(&format!("{head}\r\n\r\n"));
    w.drain();
    w.say(d, &body);
    assert_eq!((w.ups.len(), w.lookups.len()), (0, 0));
    assert_ne!(w.state(d), State::Open);
}

#[test]
fn who_is_ahead_of_a_log_whose_owner_lives_waits_and_gets_nothing_twice() {
    for request in [ORDER, GET_STREAM] {
        let ask = |id: &str| if request == ORDER { again(id) } else { get(id) };
        let (kept, id) = shelved(request, 3, StoredOwner::Lives, None);
        let mut w = instance(8);
        let d = w.client_with(&ask(&id(5)));
        keeps_saying(&mut w, std::slice::from_ref(&kept), 20_000);
        assert_eq!((w.followed.len(), w.ups.len(), w.state(d)), (0, 0, State::Open));
        let (more, _) = shelved(request, 6, StoredOwner::Lives, None);
        keeps_saying(&mut w, &[more], 2_000);
        tell(&mut w, news(&id, 7..=7));
        assert_eq!((data(&w, d), gap_header(&w, d), w.ups.len()), (numbers(6..=7), None, 0));
        // One that never comes is waited for as long as the store would be.
        let mut w = instance(8);
        let d = w.client_with(&ask(&id(5)));
        keeps_saying(&mut w, &[kept], 70_000);
        assert_eq!((w.ups.len(), w.gaps(), w.followed.len()), (0, 0, 0));
        assert_ne!(w.state(d), State::Open);
    }
}

/// What waits for room is kept in one place, and not copied for each event that finds room.
#[test]
fn what_waits_for_a_slow_client_is_not_copied() {
    let small = |route: &mut Route, _: &mut Limits| (route.replay_bytes, route.max_event_bytes) = (16 << 10, 4 << 10);
    let (mut w, d, id) = following_at(ORDER, instance_with(8, small));
    w.takes(d, 0);
    tell(&mut w, news(&id, 4..=5_000));
    let (key, ..) = w.machine.book.shares.waiting().unwrap();
    let (mut places, mut least) = (Vec::new(), usize::MAX);
    for _ in 0..8 {
        w.takes(d, 2_000);
        let (_, at, left) = w.machine.book.shares.waiting().unwrap();
        assert!(left <= least);
        least = left;
        places.push(at);
    }
    assert!(places.windows(2).all(|two| two[0] == two[1]), "{places:?}");
    w.takes_all(d);
    assert_eq!((w.followed[0].0, w.followed[0].2), (key, 5_000));
    assert_eq!((data(&w, d), w.gaps()), (numbers(2..=5_000), 0));
}
