//! Another configuration while streams run.

use super::asking::*;
use super::*;

/// One route to another upstream, treated in another way.
fn other(upstream: &str, adjust: impl FnOnce(&mut Route, &mut Limits)) -> Config {
    one_route(|route, limits| {
        route.upstream = Upstream::parse(upstream).unwrap();
        adjust(route, limits);
    })
}

#[test]
fn a_stream_goes_on_as_it_was_and_a_new_request_goes_the_new_way() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.reload(other("http://new:9000/v2", |route, _| route.heartbeat = Span::from_secs(1)));
    w.say(u, &chunk(&event(2)));
    assert_eq!((data(&w, c), w.state(c), w.state(u)), (vec!["1".into(), "2".into()], State::Open, State::Open));
    let d = w.client_with(&GET_STREAM.replace("/events", "/other"));
    let asked = w.wire(w.last_up());
    assert!(asked.starts_with("GET /v2/other "), "{asked}");
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    w.pass_secs(2);
    // The one has the old route's heartbeat, the other the new one's.
    assert!(!w.wire(c).contains("\r\n:\n") && w.wire(d).contains(":\n"), "{}", w.wire(d));
}

#[test]
fn a_cut_is_healed_at_the_upstream_of_the_streams_own_route() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.reload(other("http://new:9000/v2", |_, _| {}));
    w.rst(u);
    let asked = w.wire(w.last_up());
    assert!(w.ups.len() == 2 && asked.starts_with("GET /events "), "{asked}");
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(data(&w, c), ["1", "2"]);
}

#[test]
fn a_client_that_comes_back_after_a_reload_finds_its_stream_without_a_seam() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.rst(c);
    w.say(u, &chunk(&event(2)));
    w.reload(other("http://new:9000", |route, _| route.heal_for = Span::from_secs(5)));
    w.say(u, &chunk(&event(3)));
    let d = w.client_with(&get("1"));
    w.say(u, &chunk(&event(4)));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["2".into(), "3".into(), "4".into()], 1));
}

#[test]
fn a_shared_stream_of_the_upstream_before_takes_no_new_reader() {
    let shared = |upstream| other(upstream, |route, _| route.share = crate::config::Share::Principal);
    let mut w = lingering_world(|route, _| route.share = crate::config::Share::Principal);
    let (_, u) = w.streaming();
    w.reload(shared("http://new:9000"));
    let d = w.client_with(GET_STREAM);
    assert!(w.ups.len() == 2 && w.last_up() != u, "it goes to the new upstream");
    let waits = w.client_with(GET_STREAM);
    assert_eq!(w.ups.len(), 2, "and one that asks meanwhile waits with it");
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(7))));
    assert_eq!((data(&w, d), data(&w, waits)), (vec!["7".to_owned()], vec!["7".to_owned()]));
}

#[test]
fn counts_of_a_route_go_on_at_its_new_place() {
    let mut w = lingering_world(|_, _| {});
    w.streaming();
    w.reload(other("http://new:9000", |_, _| {}));
    let mut counted = Vec::new();
    w.machine.drain_counts(|_, _, _| {});
    w.client_with(&GET_STREAM.replace("/events", "/other"));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    w.machine.drain_counts(|count, route, n| counted.push((count, route, n)));
    assert!(counted.contains(&(Count::Events, Some(1), 1)), "{counted:?}");
}

#[test]
fn a_route_that_is_gone_takes_no_request_and_keeps_its_streams() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.reload(other("http://new:9000", |route, _| (route.name, route.path) = ("b".into(), "/b".into())));
    w.say(u, &chunk(&event(2)));
    assert_eq!(data(&w, c), ["1", "2"]);
    let d = w.client_with(GET_STREAM);
    assert!(w.wire(d).starts_with("HTTP/1.1 404 "), "{}", w.wire(d));
}

#[test]
fn an_idle_connection_to_an_upstream_that_has_changed_is_not_used_again() {
    let mut w = lingering_world(|_, _| {});
    w.client_with("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    let u = w.last_up();
    w.say(u, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(w.state(u), State::Open);
    w.reload(lingering(|_, _| {}));
    assert_eq!(w.state(u), State::Open, "the same route again");
    w.reload(other("http://new:9000", |_, _| {}));
    assert_eq!(w.state(u), State::Closed);
}

fn lingering(adjust: impl FnOnce(&mut Route, &mut Limits)) -> Config {
    one_route(adjust)
}

#[test]
fn a_thousand_reloads_with_a_stream_of_each_route_leave_no_more_than_is_in_use() {
    let mut w = lingering_world(|_, _| {});
    let mut kept = Vec::new();
    for n in 0..1_000_usize {
        w.reload(other(&format!("http://u{n}:9000"), |route, _| route.window = 10 + n));
        kept.push(w.client_with(&GET_STREAM.replace("/events", &format!("/{n}"))));
        w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
        if kept.len() > 3 {
            w.rst(w.up(w.ups.len() - 4));
            let oldest = kept.remove(0);
            w.rst(oldest);
            w.pass_secs(40);
        }
    }
    let places = w.reloaded.iter().map(|places| places.as_ref().unwrap()[0]).max();
    assert!(places.is_some_and(|most| most < 64), "{places:?}");
    for (n, client) in kept.iter().enumerate() {
        assert_eq!((w.state(*client), data(&w, *client)), (State::Open, vec!["1".to_owned()]), "{n}");
    }
}

#[test]
fn limits_are_those_of_the_new_configuration() {
    let mut w = lingering_world(|_, _| {});
    w.reload(other("http://up:9000", |_, limits| limits.header_bytes = 1_024));
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(2_000));
    let c = w.client_with(&long);
    assert!(w.wire(c).starts_with("HTTP/1.1 431 "), "{}", w.wire(c));
}

#[test]
fn a_head_that_is_under_way_when_the_bound_of_heads_falls_below_it_is_refused_and_not_left_waiting() {
    let config =
        |bytes: usize| one_route(|_, limits| (limits.header_bytes, limits.answer_header_bytes) = (bytes, bytes));
    let mut w = world_of(config(8 << 10));
    let c = w.client_with(&format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "x".repeat(2_000)));
    let d = w.client_with(GET);
    let u = w.last_up();
    w.say(u, &format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(2_000)));
    w.reload(config(1_024));
    w.say(c, "\r\n\r\n");
    w.say(u, "\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!((w.status(c), w.state(u)), (431, State::Closed));
    assert_eq!((w.status(d), w.count(Count::UpstreamHeadsBad)), (502, 1));
}
