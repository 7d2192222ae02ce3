//! Several readers of one stream: shared requests, slow readers beside fast ones, and the mark that waits for them.

use super::asking::*;
use super::*;
use crate::config::Share;
use crate::machine::Checkpoint;

#[test]
fn many_clients_share_one_request() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let first: Vec<usize> = (0..20).map(|_| w.client_with(GET_STREAM)).collect();
    assert_eq!(w.ups.len(), 1);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    let late: Vec<usize> = (0..20).map(|_| w.client_with(GET_STREAM)).collect();
    w.say(u, &chunk(&event(2)));
    assert!(first.iter().all(|c| data(&w, *c) == ["1", "2"]));
    assert!(late.iter().all(|c| data(&w, *c) == ["2"]));
    // All are cut at once and come back.
    first.iter().chain(&late).for_each(|c| w.rst(*c));
    w.say(u, &chunk(&event(3)));
    let back: Vec<usize> = (0..40).map(|_| w.client_with(&get("2"))).collect();
    w.say(u, &chunk(&event(4)));
    assert!(back.iter().all(|c| data(&w, *c) == ["3", "4"]));
    assert_eq!(w.ups.len(), 1);
}

#[test]
fn an_answer_that_is_no_stream_is_not_shared() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let clients: Vec<usize> = (0..3).map(|_| w.client_with(GET_STREAM)).collect();
    w.say(w.up(0), OK);
    assert_eq!(w.ups.len(), 3);
    (1..3).for_each(|n| w.say(w.up(n), OK));
    assert!(clients.iter().all(|c| w.status(*c) == 200));
}

#[test]
fn an_answer_that_is_not_shared_goes_to_the_client_whose_request_it_answers() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let clients: Vec<usize> = (0..3).map(|_| w.client_with(GET_STREAM)).collect();
    w.say(w.up(0), "HTTP/1.1 401 Unauthorized\r\nSet-Cookie: of=first\r\nContent-Length: 0\r\n\r\n");
    let status: Vec<u16> = clients.iter().map(|c| w.status(*c)).collect();
    assert_eq!((status, w.ups.len()), (vec![401, 0, 0], 3));
    (1..3).for_each(|n| w.say(w.up(n), OK));
    assert!(clients[1..].iter().all(|c| w.status(*c) == 200 && !w.wire(*c).contains("of=first")));
}

#[test]
fn a_public_feed_is_shared_by_all_and_a_private_one_by_nobody_else() {
    for (share, ups) in [(Share::Public, 1), (Share::Principal, 2), (Share::Off, 2)] {
        let mut w = lingering_world(|route, _| route.share = share);
        w.client_with(&GET_STREAM.replace("Host", "Authorization: a\r\nHost"));
        w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
        w.client_with(&GET_STREAM.replace("Host", "Authorization: b\r\nHost"));
        assert_eq!(w.ups.len(), ups, "{share:?}");
    }
}

#[test]
fn a_reader_that_falls_behind_is_cut_and_the_others_read_on() {
    let mut w = lingering_world(|route, _| {
        route.share = Share::Principal;
        route.replay_events = 8;
    });
    let (slow, fast) = (w.client_with(GET_STREAM), w.client_with(GET_STREAM));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.takes(slow, 0);
    (2..100).for_each(|n| w.say(u, &chunk(&event(n))));
    w.acknowledged();
    assert_eq!((w.state(slow), data(&w, fast).len(), w.count(Count::ReadersFallenOff)), (State::Reset, 99, 1));
    let back = w.client_with(&get("95"));
    assert_eq!(data(&w, back), ["96", "97", "98", "99"]);
}

#[test]
fn a_reader_whose_next_event_others_have_pushed_out_is_given_nothing_that_comes_later() {
    let mut w = lingering_world(|route, _| (route.share, route.replay_events) = (Share::Principal, 4));
    let (slow, fast) = (w.client_with(GET_STREAM), w.client_with(GET_STREAM));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.takes(slow, 0);
    // The second leaves when the sixth has been acknowledged.
    w.say(u, &(2..=6).map(|n| chunk(&event(n))).collect::<String>());
    assert_eq!(data(&w, fast).len(), 6);
    w.acknowledged();
    // Nothing comes from upstream that would have anybody look.
    w.takes_all(slow);
    assert_eq!((data(&w, slow), w.state(slow)), (vec!["1".into()], State::Reset));
}

#[test]
fn a_slow_reader_whom_a_faster_one_has_left_is_waited_for() {
    let mut w = lingering_world(|route, _| (route.share, route.replay_events) = (Share::Principal, 4));
    let (slow, fast) = (w.client_with(GET_STREAM), w.client_with(GET_STREAM));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.takes(slow, 0);
    (2..=5).for_each(|n| w.say(u, &chunk(&event(n))));
    assert_eq!(data(&w, fast).len(), 5);
    w.rst(fast);
    w.say(u, &chunk(&event(6)));
    // In the middle of the second.
    w.takes(slow, 10);
    w.takes_all(slow);
    let all: Vec<String> = (1..=6).map(|n| n.to_string()).collect();
    assert_eq!((data(&w, slow), w.state(slow)), (all, State::Open));
}

#[test]
fn a_slow_reader_whose_next_event_leaves_for_one_that_joins_is_cut() {
    let mut w = lingering_world(|route, _| (route.share, route.replay_events) = (Share::Principal, 4));
    let slow = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.takes(slow, 0);
    // In one piece: more than the log may have, since it is asked for room once.
    w.say(u, &chunk(&(2..=10).map(event).collect::<String>()));
    let other = w.client_with(GET_STREAM);
    w.takes_all(slow);
    assert_eq!((data(&w, slow), w.state(slow)), (vec!["1".into()], State::Reset));
    w.say(u, &chunk(&event(11)));
    assert_eq!(data(&w, other), ["11"]);
}

#[test]
fn who_joins_others_is_given_what_was_found_for_it() {
    let mut w = lingering_world(|route, _| (route.share, route.replay_events) = (Share::Principal, 4));
    let first = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, STREAM);
    (1..=10).for_each(|n| w.say(u, &chunk(&event(n))));
    w.takes(first, 0);
    (11..=12).for_each(|n| w.say(u, &chunk(&event(n))));
    let second = w.client_with(&get("7"));
    assert_eq!(data(&w, second), ["8", "9", "10", "11", "12"]);
}

#[test]
fn the_delivered_mark_waits_for_the_slowest_reader() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let (slow, _fast) = (w.client_with(GET_STREAM), w.client_with(GET_STREAM));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    let delivered = |w: &mut World| {
        w.acknowledged();
        let mut last = 0;
        w.machine.drain_checkpoints(|c| {
            if let Checkpoint::Delivered { cursor, .. } = c {
                last = cursor.sequence;
            }
        });
        last
    };
    assert_eq!(delivered(&mut w), 1);
    w.takes(slow, 0);
    (2..10).for_each(|n| w.say(u, &chunk(&event(n))));
    assert_eq!(delivered(&mut w), 0);
    w.takes_all(slow);
    assert_eq!(delivered(&mut w), 9);
}

#[test]
fn the_delivered_mark_waits_for_somebody_who_was_given_what_lies_before_it() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let (c, u) = w.streaming();
    w.rst(c);
    let mut marks = Vec::new();
    let mut look = |w: &mut World| {
        w.acknowledged();
        w.machine.drain_checkpoints(|c| {
            if let Checkpoint::Delivered { cursor, .. } = c {
                marks.push(cursor.sequence);
            }
        });
        marks.clone()
    };
    look(&mut w);
    // Nobody reads; then two join at the live end, who have no claim to what came meanwhile.
    w.say(u, &chunk(&event(2)));
    let (a, b) = (w.client_with(GET_STREAM), w.client_with(GET_STREAM));
    assert_eq!((data(&w, a).len(), data(&w, b).len()), (0, 0));
    assert_eq!(look(&mut w), [1]);
    w.say(u, &chunk(&event(3)));
    assert_eq!(look(&mut w), [1, 3]);
}

#[test]
fn a_page_that_joins_before_upstream_has_answered_may_read_the_stream_or_asks_for_itself() {
    let origin = "Origin: https://a.example\r\n";
    let allowed = "Access-Control-Allow-Origin: https://a.example\r\n";
    let page = GET_STREAM.replace("Host", &format!("{origin}Host"));
    let mut w = lingering_world(|route, _| (route.share, route.linger) = (Share::Principal, Span::ZERO));
    let c = w.client_with(&page);
    w.say(w.up(0), &format!("{}{allowed}\r\n{LAST}", &STREAM[..STREAM.len() - 2]));
    assert_eq!(w.body(c), (String::new(), true));
    // Upstream is slow now, so the page is told that its stream begins.
    let first = w.client_with(&page);
    w.pass_secs(4);
    let second = w.client_with(&page);
    assert_eq!((w.status(first), w.status(second), w.ups.len()), (200, 200, 1));
    assert!(w.wire(first).contains(allowed) && w.wire(second).contains(allowed), "{}", w.wire(second));
    // Other pages have been answered since, so that nothing is known of this one any more.
    for n in 0..128 {
        let other = w.client_with(&GET_STREAM.replace("Host", &format!("Origin: https://{n}.example\r\nHost")));
        w.say(w.last_up(), &format!("{}Access-Control-Allow-Origin: *\r\n\r\n{LAST}", &STREAM[..STREAM.len() - 2]));
        w.rst(other);
    }
    let before = w.wire(w.last_up()).matches(origin).count();
    let third = w.client_with(&page);
    let asked = w.wire(w.last_up()).matches(origin).count() - before;
    assert_eq!((w.wire(third).as_str(), asked), ("", 1), "it waits, as any new request does");
}
