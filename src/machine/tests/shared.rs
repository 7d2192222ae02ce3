//! Logs that instances share: a client that comes back to another instance than the one that has its stream.

use super::asking::{data, gap_header, get, last_id};
use super::stored::{find, stored};
use super::*;
use crate::config::{Persist, StoreConfig};
use crate::machine::{Checkpoint, Followed, StoredEvents, StoredOwner, StoredStream};

/// What an SDK orders by POST.
pub(super) const ORDER: &str =
    "POST /v1/chat HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\nhi";

/// The same order again, by a client that has got this event.
pub(super) fn again(id: &str) -> String {
    ORDER.replace("Content-Length", &format!("Last-Event-ID: {id}\r\nContent-Length"))
}

/// One of several instances that have one store.
pub(super) fn instance_with(seed: u64, adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    let mut limits = Limits { streams: 100, connections: 300, ..Limits::default() };
    adjust(&mut route, &mut limits);
    let persist = Persist { replay_shared: true, ..Persist::default() };
    world_from(
        Config { routes: vec![route].into(), limits, persist, store: StoreConfig::Own, ..Config::default() },
        seed,
    )
}

pub(super) fn instance(seed: u64) -> World {
    instance_with(seed, |_, _| {})
}

/// A client of a stream without ids that has got the events `1` to `n`, and their upstream.
pub(super) fn reading(w: &mut World, request: &str, n: u32) -> (usize, usize) {
    let c = w.client_with(request);
    let u = w.last_up();
    w.say(u, STREAM);
    (1..=n).for_each(|n| w.say(u, &chunk(&format!("data: {n}\n\n"))));
    (c, u)
}

/// What the store has of a stream of which `n` events have come, and the id of each event.
pub(super) fn shelved(
    request: &str,
    n: u32,
    owner: StoredOwner,
    end: Option<bool>,
) -> (StoredStream, impl Fn(u32) -> String + use<>) {
    let mut w = instance(7);
    let (c, _) = reading(&mut w, request, n);
    let last = last_id(&w, c);
    let mut kept = stored(&mut w);
    let log = kept.log.as_mut().unwrap();
    (log.fence, log.owner, log.end) = (3, owner, end);
    let of = format!("-{n}");
    (kept, move |n| last.strip_suffix(&of).unwrap().to_owned() + &format!("-{n}"))
}

/// Events from this one on, as the store tells of them.
pub(super) fn news(id: &impl Fn(u32) -> String, numbers: std::ops::RangeInclusive<u32>) -> Followed {
    let first = u64::from(*numbers.start());
    let bytes = numbers.flat_map(|n| format!("id: {}\ndata: {n}\n\n", id(n)).into_bytes()).collect();
    Followed::Events(StoredEvents { meta: Box::default(), first, bytes, fence: 0, owner: StoredOwner::None, end: None })
}

pub(super) fn tell(w: &mut World, news: Followed) {
    let exchange = w.followed.last().unwrap().0;
    w.machine.handle(Input::Followed { exchange, news }, w.now);
    w.pump();
}

pub(super) fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// An instance to which the client of a stream has come that another one has, with event 1 of three.
fn following(request: &str) -> (World, usize, impl Fn(u32) -> String + use<>) {
    following_at(request, instance(8))
}

pub(super) fn following_at(request: &str, mut w: World) -> (World, usize, impl Fn(u32) -> String + use<>) {
    let (kept, id) = shelved(request, 3, StoredOwner::Lives, None);
    let ask = if request == ORDER { again(&id(1)) } else { get(&id(1)) };
    let d = w.client_with(&ask);
    find(&mut w, vec![kept]);
    (w, d, id)
}

#[test]
fn an_answer_that_another_instance_is_still_given_is_replayed_and_followed_to_its_end() {
    for request in [ORDER, GET_STREAM] {
        let (mut w, d, id) = following(request);
        assert_eq!((data(&w, d), gap_header(&w, d)), (numbers(2..=3), None));
        let (_, name, after, fence) = w.followed[0].clone();
        assert_eq!((after, fence, w.ups.len(), w.count(Count::Follows)), (3, 3, 0, 1));
        let mut owner = instance(7);
        reading(&mut owner, request, 3);
        owner.acknowledged();
        let mut began = None;
        owner.machine.drain_checkpoints(|c| {
            if let Checkpoint::Began { name, .. } = c {
                began = Some(name);
            }
        });
        assert_eq!(Some(name), began, "the log is followed under the name that its owner gave it");
        tell(&mut w, news(&id, 4..=4));
        tell(&mut w, news(&id, 5..=6));
        assert_eq!((data(&w, d), w.body(d).1), (numbers(2..=6), false));
        tell(&mut w, Followed::Ended { whole: true, last: 6 });
        assert_eq!((data(&w, d), w.body(d).1), (numbers(2..=6), true));
        assert_eq!((w.ups.len(), w.followed.len(), w.gaps(), w.count(Count::EventsFollowed)), (0, 0, 0, 3));
        let mut said = 0;
        w.acknowledged();
        w.machine.drain_checkpoints(|_| said += 1);
        assert_eq!(said, 0, "nothing of it is this instance's to store");
    }
}

#[test]
fn a_client_that_breaks_off_again_and_again_gets_each_event_once() {
    let (mut w, mut d, id) = following(ORDER);
    let mut got = data(&w, d);
    for n in 4..10 {
        tell(&mut w, news(&id, n..=n));
        let has = data(&w, d);
        got.extend(has.into_iter().filter(|data| !got.contains(data)).collect::<Vec<_>>());
        w.rst(d);
        assert_eq!((w.followed.len(), w.machine.exchanges()), (0, 0), "whoever comes back finds it in the store");
        let (kept, _) = shelved(ORDER, n, StoredOwner::Lives, None);
        d = w.client_with(&again(&id(n)));
        find(&mut w, vec![kept]);
        assert!(data(&w, d).is_empty(), "it has all");
    }
    tell(&mut w, news(&id, 10..=10));
    assert_eq!((got, data(&w, d), w.ups.len()), (numbers(2..=9), numbers(10..=10), 0));
}

#[test]
fn a_second_client_joins_the_one_that_follows() {
    let (mut w, d, id) = following(GET_STREAM);
    let e = w.client_with(&get(&id(2)));
    tell(&mut w, news(&id, 4..=4));
    assert_eq!((data(&w, d), data(&w, e)), (numbers(2..=4), numbers(3..=4)));
    assert_eq!((w.followed.len(), w.lookups.len()), (1, 0));
    w.rst(d);
    tell(&mut w, news(&id, 5..=5));
    assert_eq!(data(&w, e), numbers(3..=5));
}

#[test]
fn when_the_owner_dies_an_order_ends_with_the_gap_and_a_feed_with_a_cut() {
    let (mut w, d, id) = following(ORDER);
    tell(&mut w, news(&id, 4..=4));
    tell(&mut w, Followed::OwnerGone);
    let (body, whole) = w.body(d);
    assert!(
        body.ends_with(&format!(
            "event: segno.gap\ndata: {{\"after\":\"{}\",\"resumed_at\":null,\"reason\":\"refused\"}}\n\n",
            id(4)
        )),
        "{body}"
    );
    assert_eq!((whole, w.ups.len(), w.gaps(), w.count(Count::FollowsBroken)), (false, 0, 1, 1));
    let (mut w, d, id) = following(GET_STREAM);
    tell(&mut w, Followed::OwnerGone);
    assert_eq!((data(&w, d), w.body(d).1, w.gaps()), (numbers(2..=3), false, 0));
    w.pass_secs(3);
    // It has all that the store has, and is told that the feed begins anew.
    let e = w.client_with(&get(&id(3)));
    while !w.lookups.is_empty() {
        find(&mut w, Vec::new());
        w.pass_ms(160);
    }
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!(gap_header(&w, e).as_deref(), Some("restarted"));
}

#[test]
fn what_the_store_has_lost_is_a_cut_and_no_gap_before_the_client_is_back() {
    let (mut w, d, _) = following(ORDER);
    tell(&mut w, Followed::Lost);
    assert_eq!((data(&w, d), w.body(d).1, w.gaps(), w.followed.len()), (numbers(2..=3), false, 0, 0));
    // An end behind events that have not come here is no end.
    let (mut w, d, _) = following(ORDER);
    tell(&mut w, Followed::Ended { whole: true, last: 5 });
    assert_eq!((data(&w, d), w.body(d).1, w.count(Count::FollowsBroken)), (numbers(2..=3), false, 1));
    // An owner that has lost its upstream has cut its clients, too.
    let (mut w, d, _) = following(ORDER);
    tell(&mut w, Followed::Ended { whole: false, last: 3 });
    assert_eq!((data(&w, d), w.body(d).1, w.gaps(), w.count(Count::FollowsBroken)), (numbers(2..=3), false, 0, 0));
}

#[test]
fn a_store_that_is_away_is_waited_for_with_heartbeats_and_for_heal_for() {
    let (mut w, d, id) = following(ORDER);
    tell(&mut w, Followed::Away);
    w.pass_secs(50);
    tell(&mut w, Followed::Away);
    assert!(w.heartbeats(d) >= 3);
    tell(&mut w, news(&id, 4..=4));
    w.pass_secs(50);
    tell(&mut w, Followed::Away);
    w.pass_secs(59);
    assert_eq!((w.state(d), data(&w, d)), (State::Open, numbers(2..=4)));
    w.pass_secs(4);
    assert_ne!(w.state(d), State::Open);
    assert_eq!((w.body(d).1, w.gaps(), w.count(Count::FollowsBroken)), (false, 0, 1));
}

/// The store is the buffer of a slow client: it is asked for no more than there is room for.
#[test]
fn a_slow_client_holds_nobody_up_and_loses_nothing() {
    let small = |route: &mut Route, _: &mut Limits| (route.replay_bytes, route.max_event_bytes) = (16 << 10, 4 << 10);
    let (mut w, d, id) = following_at(ORDER, instance_with(8, small));
    w.takes(d, 0);
    tell(&mut w, news(&id, 4..=700));
    assert!(w.followed.is_empty(), "not before there is room");
    // What was on its way is passed over.
    let late = w.machine.exchanges();
    w.takes_all(d);
    assert_eq!((w.followed[0].2, late), (700, 1));
    assert_eq!(data(&w, d), numbers(2..=700));
    tell(&mut w, news(&id, 704..=705));
    tell(&mut w, news(&id, 701..=702));
    assert_eq!((data(&w, d), w.gaps()), (numbers(2..=702), 0));
}

#[test]
fn a_store_that_leaves_out_events_again_and_again_is_not_waited_for_for_ever() {
    let (mut w, d, id) = following(ORDER);
    for _ in 0..100 {
        if !w.followed.is_empty() {
            tell(&mut w, news(&id, 9..=9));
        }
    }
    assert_eq!((data(&w, d), w.body(d).1, w.count(Count::FollowsBroken)), (numbers(2..=3), false, 1));
}

/// A window lies between what a client has got and what the store has.
#[test]
fn a_look_up_that_comes_too_early_is_made_again() {
    let (kept, id) = shelved(ORDER, 3, StoredOwner::Lives, None);
    let mut w = instance(8);
    let d = w.client_with(&again(&id(2)));
    find(&mut w, Vec::new());
    w.pass_ms(160);
    find(&mut w, vec![kept.clone()]);
    assert_eq!((data(&w, d), w.ups.len(), gap_header(&w, d)), (numbers(3..=3), 0, None));
    // Its owner lives, and has not handed event 5 over yet.
    let e = w.client_with(&again(&id(5)));
    w.rst(d);
    for _ in 0..4 {
        find(&mut w, vec![kept.clone()]);
        w.pass_ms(160);
    }
    let (kept, _) = shelved(ORDER, 6, StoredOwner::Lives, None);
    find(&mut w, vec![kept]);
    assert_eq!((data(&w, e), w.ups.len(), gap_header(&w, e)), (numbers(6..=6), 0, None));
    // What nobody knows two windows later is a gap.
    let (_, id) = shelved(GET_STREAM, 3, StoredOwner::Lives, None);
    let mut w = instance(8);
    let f = w.client_with(&get(&id(2)));
    for _ in 0..3 {
        assert_eq!(w.ups.len(), 0);
        find(&mut w, Vec::new());
        w.pass_ms(160);
    }
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!(gap_header(&w, f).as_deref(), Some("unknown"));
}

#[test]
fn an_order_is_not_given_again_where_the_client_has_more_than_was_stored() {
    let (kept, id) = shelved(ORDER, 3, StoredOwner::Gone, None);
    for (seq, got) in [(1, vec!["2", "3"]), (3, vec![]), (5, vec![])] {
        let mut w = instance(8);
        let d = w.client_with(&again(&id(seq)));
        find(&mut w, vec![kept.clone()]);
        let body = w.body(d).0;
        assert_eq!(
            (data(&w, d).into_iter().filter(|d| !d.starts_with('{')).collect::<Vec<_>>(), w.ups.len()),
            (got.iter().map(|s| (*s).to_owned()).collect(), 0)
        );
        assert!(body.contains("\"reason\":\"refused\"") && w.gaps() == 1, "{seq}: {body}");
        assert!(!w.body(d).1);
    }
}

#[test]
fn an_answer_that_has_its_end_is_replayed_to_it() {
    let (kept, id) = shelved(ORDER, 3, StoredOwner::Gone, Some(true));
    let mut w = instance(8);
    let d = w.client_with(&again(&id(1)));
    find(&mut w, vec![kept.clone()]);
    assert_eq!((data(&w, d), w.body(d).1, gap_header(&w, d)), (numbers(2..=3), true, None));
    let mut w = instance(9);
    let d = w.client_with(&again(&id(3)));
    find(&mut w, vec![kept]);
    assert_eq!((w.status(d), w.ups.len(), w.gaps()), (204, 0, 0));
    // A feed that has ended is begun anew, and nothing of it is missing.
    let (kept, id) = shelved(GET_STREAM, 3, StoredOwner::None, Some(true));
    let mut w = instance(8);
    let d = w.client_with(&get(&id(2)));
    find(&mut w, vec![kept.clone()]);
    assert_eq!((data(&w, d), w.body(d).1), (numbers(3..=3), true));
    let mut w = instance(9);
    let e = w.client_with(&get(&id(3)));
    find(&mut w, vec![kept]);
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!((data(&w, e), gap_header(&w, e)), (vec!["new".to_owned()], None));
}

#[test]
fn events_that_have_left_the_log_of_one_who_lives_are_a_gap_and_the_rest_is_followed() {
    let (mut kept, id) = shelved(ORDER, 9, StoredOwner::Lives, None);
    let log = kept.log.as_mut().unwrap();
    let text = String::from_utf8(log.bytes.clone()).unwrap();
    (log.first, log.bytes) = (6, text[text.find(&format!("id: {}\n", id(6))).unwrap()..].into());
    let mut w = instance(8);
    let d = w.client_with(&again(&id(2)));
    find(&mut w, vec![kept]);
    tell(&mut w, news(&id, 10..=10));
    assert_eq!((gap_header(&w, d).as_deref(), w.ups.len()), (Some("evicted"), 0));
    assert_eq!(data(&w, d)[1..], numbers(6..=10));
}

#[test]
fn who_finds_no_place_to_follow_gets_what_is_there_and_comes_back() {
    let (kept, id) = shelved(ORDER, 3, StoredOwner::Lives, None);
    let mut w = instance_with(8, |_, limits| limits.follows = 0);
    let d = w.client_with(&again(&id(1)));
    find(&mut w, vec![kept]);
    assert_eq!((data(&w, d), w.body(d).1, w.gaps()), (numbers(2..=3), false, 0));
    assert_eq!((w.count(Count::OverFollows), w.count(Count::Follows), w.ups.len()), (1, 0, 0));
}

#[test]
fn nobody_follows_what_another_principal_was_answered() {
    let (kept, id) = shelved(ORDER, 3, StoredOwner::Lives, None);
    let mut w = instance(8);
    let d = w.client_with(&again(&id(1)).replace("Host: h", "Host: h\r\nAuthorization: another"));
    for _ in 0..3 {
        find(&mut w, vec![kept.clone()]);
        w.pass_ms(160);
    }
    assert!(w.lookups.is_empty() && w.followed.is_empty() && data(&w, d).is_empty());
    assert!(!w.wire(w.up(0)).contains("sg-"));
}

#[test]
fn a_drain_sends_those_elsewhere_who_follow() {
    let (mut w, d, _) = following(ORDER);
    w.drain();
    assert_eq!((w.body(d).1, w.followed.len(), w.gaps()), (false, 0, 0));
    assert_ne!(w.state(d), State::Open);
}

/// Upstream knows these ids, so it is asked, and the log only bridges.
#[test]
fn a_stream_with_upstreams_ids_is_taken_over_from_one_who_lives() {
    let mut w = instance(7);
    let (_, u) = w.streaming();
    (2..6).for_each(|n| w.say(u, &chunk(&event(n))));
    let mut kept = stored(&mut w);
    let log = kept.log.as_mut().unwrap();
    (log.fence, log.owner) = (4, StoredOwner::Lives);
    let mut next = instance(8);
    let d = next.client_with(&get("3"));
    find(&mut next, vec![kept.clone()]);
    assert_eq!(data(&next, d), ["4", "5"]);
    assert!(next.followed.is_empty() && next.wire(next.up(0)).contains("Last-Event-ID: 5\r\n"));
    let up = next.up(0);
    next.say(up, &format!("{STREAM}{}", chunk(&event(6))));
    let mut claims = Vec::new();
    for n in 7..9 {
        next.acknowledged();
        next.machine.drain_checkpoints(|c| {
            if let Checkpoint::Events { part, .. } = c {
                claims.push((part.first, part.claim));
            }
        });
        next.say(up, &chunk(&event(n)));
    }
    assert_eq!(
        (claims, data(&next, d)),
        (vec![(6, Some(4)), (7, None)], vec!["4", "5", "6", "7", "8"].into_iter().map(str::to_owned).collect())
    );
}
