//! Shutting down: streams are cut so that their clients come back elsewhere, other answers may end.

use super::*;

#[test]
fn a_stream_is_told_when_to_come_back_and_cut() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.drain();
    let (body, last) = w.body(c);
    let retry = body.strip_prefix(&event(1)).and_then(|r| r.strip_prefix("retry: ")).unwrap();
    let millis: u64 = retry.trim_end().parse().unwrap();
    assert!((500..3_000).contains(&millis) && retry.ends_with("\n\n"));
    assert!(!last);
    assert_eq!((w.state(c), w.state(u)), (State::Closed, State::Closed));
}

#[test]
fn streams_are_told_different_times() {
    let mut w = world();
    let clients: Vec<_> = (0..20).map(|_| w.streaming().0).collect();
    w.drain();
    let mut bodies: Vec<_> = clients.iter().map(|&c| w.body(c).0).collect();
    bodies.sort();
    bodies.dedup();
    assert!(bodies.len() > 15);
}

#[test]
fn a_stream_that_is_being_healed_is_cut() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.dial = Dial::Refuse;
    w.fin(u);
    w.drain();
    assert_eq!((w.state(c), w.body(c).1, w.machine.connections()), (State::Closed, false, 0));
}

#[test]
fn a_cut_while_draining_is_not_healed() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &chunk(&event(2)));
    w.drain();
    w.pass_secs(2);
    assert_eq!((w.ups.len(), w.state(c)), (1, State::Open));
    w.takes_all(c);
    assert_eq!((w.events(c), w.body(c).1), (event(1) + &event(2), false));
    assert_eq!(w.state(c), State::Closed);
}

#[test]
fn a_stream_that_nobody_had_asked_for_and_that_is_cut_while_draining_is_not_healed() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(GET);
    w.drain();
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(u);
    assert_eq!((w.events(c), w.body(c).1, w.state(c), w.ups.len()), (event(1), false, State::Closed, 1));
}

#[test]
fn a_held_request_is_let_go() {
    let mut w = world();
    w.dial = Dial::Hang;
    let c = w.client_with(GET_STREAM);
    w.drain();
    assert_eq!((w.wire(c), w.state(c), w.machine.connections()), (String::new(), State::Reset, 0));
}

#[test]
fn a_stream_without_chunks_is_reset() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.drain();
    assert_eq!(w.state(c), State::Reset);
}

#[test]
fn a_clean_end_on_its_way_stays_a_clean_end() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 3);
    w.say(u, &format!("{}{LAST}", chunk(&event(2))));
    w.drain();
    w.takes_all(c);
    assert_eq!(w.body(c), (event(1) + &event(2), true));
    assert_eq!((w.count(Count::StreamsEnded), w.count(Count::StreamsCut)), (1, 0));
}

#[test]
fn nothing_follows_a_last_chunk_on_its_way() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 2);
    w.say(u, LAST);
    w.drain();
    w.takes_all(c);
    assert!(w.wire(c).ends_with(&format!("\r\n{LAST}")), "{}", w.wire(c));
}

#[test]
fn an_answer_under_way_ends_and_then_the_connection() {
    let mut w = world();
    let c = w.client_with(GET);
    w.drain();
    w.say(w.up(0), OK);
    assert!(w.wire(c).contains("Connection: close\r\n") && w.wire(c).ends_with("\r\n\r\nok"));
    assert_eq!((w.state(c), w.state(w.up(0))), (State::Shut, State::Closed));
}

#[test]
fn idle_connections_are_closed() {
    let mut w = world();
    let (a, b) = (w.client_with(GET), w.client());
    let u = w.up(0);
    w.say(u, OK);
    w.drain();
    assert_eq!([a, b, u].map(|e| w.state(e)), [State::Closed; 3]);
    assert_eq!(w.machine.connections(), 0);
}

#[test]
fn a_drain_may_come_twice() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &chunk(&event(2)));
    w.drain();
    w.drain();
    w.takes_all(c);
    assert_eq!((w.events(c), w.count(Count::StreamsCut)), (event(1) + &event(2), 1));
}

#[test]
fn no_client_is_accepted_any_more() {
    let mut w = world();
    w.drain();
    w.client();
    assert_eq!((w.refused, w.machine.connections()), (1, 0));
}

/// The clients that a stop resets.
fn reset_by_a_stop(w: &World) -> Vec<usize> {
    let mut ends: Vec<usize> = w.machine.must_reset_on_stop().map(|conn| w.by_key[&conn.to_bits()]).collect();
    ends.sort_unstable();
    ends
}

#[test]
fn a_stop_resets_only_clients_that_would_take_a_part_for_the_whole() {
    let mut w = world();
    let old = w.client_with("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    let (in_chunks, _) = w.streaming();
    let until_close = w.client_with("GET / HTTP/1.0\r\n\r\n");
    w.say(w.up(2), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it");
    let of_known_length = w.client_with("GET / HTTP/1.0\r\n\r\n");
    w.say(w.up(3), "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it");
    let (asking, idle) = (w.client_with(GET), w.client());
    let all = [old, in_chunks, until_close, of_known_length, asking, idle];
    assert_eq!(all.map(|c| w.state(c)), [State::Open; 6]);
    assert_eq!(reset_by_a_stop(&w), [old, until_close]);
}

#[test]
fn a_stop_resets_a_client_that_has_not_taken_the_end_of_its_answer() {
    for (body, ends) in [("all of it", true), ("", false)] {
        let mut w = world();
        let c = w.client_with("GET / HTTP/1.0\r\n\r\n");
        w.takes(c, 5);
        w.say(w.up(0), &format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}"));
        if ends {
            w.fin(w.up(0));
        }
        w.drain();
        assert_eq!(reset_by_a_stop(&w), [c]);
        w.takes_all(c);
        assert_eq!(reset_by_a_stop(&w), if ends { vec![] } else { vec![c] });
        assert!(w.wire(c).ends_with(body));
    }
}
