//! Clients that come back at odd moments: while an event has half come, while others leave, while the end is on its
//! way.

use super::asking::{data, gap_header, get, last_id, with, without_ids};
use super::*;
use crate::config::Share;

const EVENTS_POST: &str = "POST /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n";

#[test]
fn nobody_begins_in_the_middle_of_an_event() {
    let mut w = lingering_world(|route, _| (route.replay_bytes, route.max_event_bytes) = (4_096, 1_024));
    let (c, u) = without_ids(&mut w);
    let id = last_id(&w, c).replace("-2", "-1");
    w.say(u, &chunk(&format!("data: {}", "x".repeat(3_000))));
    let d = w.client_with(&get(&id));
    w.say(u, &chunk("\ndata: tail\n\n"));
    assert!(!w.wire(d).contains("tail") && w.state(d) == State::Reset, "{}", w.wire(d));
    let e = w.client_with(&get(&id));
    w.say(u, &chunk("data: next\n\n"));
    assert_eq!((gap_header(&w, e).as_deref(), data(&w, e).pop().as_deref()), (Some("evicted"), Some("next")));
}

#[test]
fn what_a_post_began_needs_a_session_to_be_found_by_an_upstream_id() {
    let mut w = lingering_world(|_, _| {});
    let version = "MCP-Protocol-Version: 2025-11-25\r\n";
    let c = w.client_with(&format!("{EVENTS_POST}{version}Content-Length: 2\r\n\r\nhi"));
    w.say(w.up(0), &format!("{STREAM}{}{}", chunk(&event(1)), chunk("id: 2\ndata: secret\n\n")));
    w.rst(c);
    let d = w.client_with(&with(version, "1"));
    assert_eq!((w.ups.len(), w.wire(d).contains("secret")), (2, false));
}

#[test]
fn a_request_for_something_else_is_not_given_a_shared_stream() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    w.streaming();
    w.client_with("GET /events HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n");
    assert_eq!(w.ups.len(), 2);
}

#[test]
fn those_beside_a_client_that_leaves_in_the_middle_of_its_request_are_cut() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&format!("{EVENTS_POST}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
    let d = w.client_with(&get(&last_id(&w, c)));
    w.rst(c);
    assert_eq!((w.state(d), w.state(w.up(0)), w.machine.exchanges()), (State::Reset, State::Closed, 0));
}

#[test]
fn those_beside_a_client_whose_request_is_damaged_are_cut() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&format!("{EVENTS_POST}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
    let d = w.client_with(&get(&last_id(&w, c)));
    w.say(c, "no chunk\r\n");
    assert_eq!((w.state(c), w.state(d), w.machine.exchanges()), (State::Reset, State::Reset, 0));
}

#[test]
fn a_post_that_comes_again_slowly_is_asked_once_or_refused() {
    let mut w = lingering_world(|route, _| route.body_timeout = Span::from_secs(5));
    let (c, _) = without_ids(&mut w);
    let again = format!("{EVENTS_POST}Last-Event-ID: {}\r\nContent-Length: 4\r\n\r\n", last_id(&w, c));
    let d = w.client_with(&again);
    for _ in 0..3 {
        w.pass_secs(4);
        w.say(d, "x");
    }
    assert_eq!(w.ups.len(), 1, "its body is not whole");
    w.pass_secs(4);
    w.say(d, "x");
    assert_eq!(w.ups.len(), 2);
    let e = w.client_with(&again);
    w.say(e, "x");
    w.pass_secs(6);
    assert_eq!((w.status(e), w.ups.len()), (408, 2));
}

#[test]
fn a_post_that_comes_again_behind_a_lost_stream_is_told_so() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    let d = w.client_with(&format!("{EVENTS_POST}Last-Event-ID: {id}\r\nContent-Length: 2\r\n\r\nhi"));
    let u = w.last_up();
    assert!(!w.wire(u).contains("sg-") && w.wire(u).ends_with("hi"), "{}", w.wire(u));
    w.say(u, &format!("{STREAM}{}", chunk("data: anew\n\n")));
    assert_eq!((gap_header(&w, d).as_deref(), data(&w, d)[1].as_str()), (Some("unknown"), "anew"));
}

#[test]
fn an_end_that_is_on_its_way_to_one_is_not_taken_back_for_another() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let (a, u) = w.streaming();
    let held = w.wire(a).len();
    w.takes(a, 3);
    w.say(u, &format!("{}{LAST}", chunk(&event(2))));
    let b = w.client_with(&get("1"));
    w.takes_all(a);
    assert_eq!((w.body(a), w.body(b).0), ((event(1) + &event(2), true), event(2)), "{held}");
}

#[test]
fn a_drain_lets_streams_go_that_nobody_reads() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.rst(c);
    w.drain();
    assert_eq!((w.state(u), w.machine.connections()), (State::Closed, 0));
}

#[test]
fn a_session_of_a_routes_own_header_is_not_ended_by_deleting_a_thing() {
    let mut w = lingering_world(|route, _| route.session_header = "X-Session".to_owned());
    let session = "X-Session: s\r\n";
    let c = w.client_with(&GET_STREAM.replace("Host", &format!("{session}Host")));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(c);
    w.client_with(&format!("DELETE /items/3 HTTP/1.1\r\nHost: h\r\n{session}\r\n"));
    w.say(w.up(1), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!((w.state(w.up(0)), w.machine.streams()), (State::Open, 1));
}

#[test]
fn where_nothing_is_healed_a_first_answer_is_waited_for_all_the_same() {
    let mut w = world_with(|route, _| route.heal_for = Span::ZERO);
    let c = w.client_with(GET_STREAM);
    w.pass_ms(1);
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!((w.status(c), w.events(c)), (200, event(1)));
}

#[test]
fn an_id_of_segnos_own_in_the_query_finds_its_stream_and_never_goes_upstream() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.say(u, &chunk("data: c\n\n"));
    // Some clients that cannot set headers send the last id so, under names of their own.
    let d = w.client_with(&GET_STREAM.replace("/events ", &format!("/events?lastEventId={id} ")));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["c".to_owned()], 1));
    // A stream of which nothing is known begins anew, and upstream sees the request as it was at first.
    let other = format!("{}9", id.trim_end_matches('2'));
    let e = w.client_with(&GET_STREAM.replace("/events ", &format!("/events?a=b&lastEventId={other} ")));
    assert!(w.wire(w.last_up()).starts_with("GET /events?a=b HTTP/1.1\r\n"), "{}", w.wire(w.last_up()));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk("data: d\n\n")));
    assert_eq!(gap_header(&w, e).as_deref(), Some("unknown"));
}
