//! Requests whose upstream is away: held, opened early, or told so.

use super::*;

#[test]
fn a_stream_is_held_then_opened_with_heartbeats_then_goes_on() {
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(GET_STREAM);
    w.pass_ms(2_900);
    assert_eq!(w.wire(c), "");
    w.pass_ms(200);
    assert_eq!((w.status(c), w.heartbeats(c)), (200, 1));
    assert!(w.wire(c).contains("Content-Type: text/event-stream\r\n"));
    w.pass_secs(20);
    assert_eq!(w.heartbeats(c), 2);
    w.dial = Dial::Accept;
    w.pass_secs(6);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!((w.events(c), w.state(c)), (event(1), State::Open));
    assert_eq!(w.wire(c).matches("HTTP/1.1").count(), 1);
}

#[test]
fn a_held_stream_ends_as_a_cut_and_never_as_a_gateways_error() {
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(GET_STREAM);
    w.pass_secs(61);
    assert_eq!((w.status(c), w.body(c).1, w.state(c)), (200, false, State::Closed));
}

#[test]
fn a_held_stream_that_was_not_opened_is_reset() {
    let mut w = world_with(|r, _| r.hold_head = Span::from_secs(100));
    w.dial = Dial::Refuse;
    let c = w.client_with(GET_STREAM);
    w.pass_secs(61);
    assert_eq!((w.wire(c), w.state(c)), (String::new(), State::Reset));
}

#[test]
fn a_held_stream_of_a_slow_upstream_is_opened_and_waits_for_as_long_as_its_connection_lives() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    w.pass_secs(4);
    assert_eq!((w.status(c), w.ups.len()), (200, 1));
    w.pass_secs(600);
    assert_eq!((w.state(c), w.ups.len(), w.heartbeats(c)), (State::Open, 1, 41), "slow is not away");
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!(w.events(c), event(1));
}

#[test]
fn a_slow_upstream_that_goes_away_in_the_end_is_waited_for_from_then_on() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    w.pass_secs(100);
    w.dial = Dial::Refuse;
    w.fin(w.up(0));
    w.pass_secs(55);
    assert_eq!((w.state(c), w.ups.len() > 5), (State::Open, true));
    w.pass_secs(6);
    assert_eq!((w.body(c).1, w.state(c)), (false, State::Closed));
}

#[test]
fn a_heal_waits_for_a_slow_upstream() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.fin(u);
    w.pass_secs(300);
    assert_eq!((w.state(c), w.ups.len()), (State::Open, 2));
    w.say(w.up(1), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
}

#[test]
fn the_last_attempt_is_made_in_time_where_upstream_asks_for_more() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.pass_secs(5);
    w.fin(u);
    w.say(w.up(1), "HTTP/1.1 503 Later\r\nRetry-After: 300\r\nContent-Length: 0\r\n\r\n");
    w.pass_ms(59_800);
    assert_eq!((w.ups.len(), w.state(c)), (2, State::Open));
    w.pass_ms(200);
    assert_eq!(w.ups.len(), 3, "upstream may be back by now");
    w.say(w.up(2), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
}

#[test]
fn a_last_attempt_that_fails_ends_the_wait() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(u, &chunk("retry: 3600000\n\n"));
    w.pass_secs(5);
    w.dial = Dial::Refuse;
    w.fin(u);
    w.pass_secs(59);
    assert_eq!((w.ups.len(), w.state(c)), (1, State::Open));
    w.pass_secs(1);
    assert_eq!(w.ups.len(), 2);
    w.pass_secs(61);
    assert_eq!((w.ups.len(), w.body(c).1, w.state(c)), (3, false, State::Closed));
}

#[test]
fn a_busy_upstream_that_asks_for_more_time_than_a_client_is_held_is_heard() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    w.say(w.up(0), "HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((w.status(c), w.ups.len()), (503, 1));
    assert!(w.wire(c).contains("Retry-After: 120\r\n"));
}

#[test]
fn an_upstream_that_answers_in_time_is_heard_by_a_held_client() {
    for status in [404, 401, 400, 500, 204, 301] {
        let mut w = world();
        let c = w.client_with(GET_STREAM);
        w.pass_secs(2);
        let u = w.up(0);
        w.say(u, &format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(w.status(c), status);
    }
}

#[test]
fn a_gateways_error_from_upstream_is_asked_again_for_a_held_client() {
    for status in [502, 503, 504] {
        let mut w = world();
        let c = w.client_with(GET_STREAM);
        let u = w.up(0);
        w.say(u, &format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        w.pass_secs(2);
        assert_eq!(w.wire(c), "");
        let u = w.last_up();
        w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
        assert_eq!((w.status(c), w.events(c)), (200, event(1)));
    }
}

#[test]
fn an_opened_stream_without_cursor_is_cut_by_a_refusal_without_gap() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    w.pass_secs(4);
    let u = w.up(0);
    w.say(u, "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((w.events(c), w.body(c).1, w.state(c)), (String::new(), false, State::Closed));
}

#[test]
fn an_opened_stream_with_a_cursor_is_told_of_its_refusal() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: 7\r\n\r\n");
    w.pass_secs(4);
    let u = w.up(0);
    w.say(u, "HTTP/1.1 410 X\r\nContent-Length: 0\r\n\r\n");
    assert!(w.events(c).contains("\"after\":\"7\"") && w.events(c).contains("refused"));
    assert_eq!((w.body(c).1, w.state(c)), (false, State::Closed));
}

#[test]
fn an_opened_stream_takes_the_byte_order_mark_out() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    w.pass_secs(4);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&format!("\u{feff}{}", event(1)))));
    assert_eq!(w.events(c), event(1));
}

#[test]
fn a_broken_head_is_no_gateways_error_for_a_stream() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, "HELLO\r\n\r\n");
    assert_eq!((w.wire(c), w.state(c)), (String::new(), State::Reset));
}

#[test]
fn a_post_that_cannot_connect_waits_and_is_told_at_the_end() {
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(POST);
    w.pass_secs(50);
    assert_eq!(w.wire(c), "");
    assert!(w.ups.len() > 10);
    w.pass_secs(11);
    assert_eq!(w.status(c), 502);
}

#[test]
fn a_post_waits_as_long_as_healing_may_take() {
    let mut w = world_with(|r, _| {
        r.heal_for = Span::from_secs(300);
        r.body_timeout = Span::from_secs(20);
    });
    w.dial = Dial::Refuse;
    let c = w.client_with("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    w.pass_secs(200);
    assert_eq!((w.wire(c), w.state(c)), (String::new(), State::Open));
    w.dial = Dial::Accept;
    w.pass_secs(6);
    w.say(c, "hello");
    assert!(w.wire(w.last_up()).ends_with("\r\n\r\nhello"));
}

#[test]
fn a_post_goes_up_once_when_upstream_comes_back() {
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(POST);
    w.pass_secs(10);
    w.dial = Dial::Accept;
    w.pass_secs(6);
    let u = w.last_up();
    assert!(w.wire(u).starts_with("POST /llm HTTP/1.1\r\n") && w.wire(u).ends_with("\r\n\r\nhi"));
    w.say(u, OK);
    assert_eq!((w.status(c), w.body(c).0), (200, "ok".to_owned()));
}

#[test]
fn a_post_that_reached_upstream_is_never_repeated() {
    let mut w = world();
    let c = w.client_with(POST);
    w.rst(w.up(0));
    assert_eq!((w.status(c), w.ups.len()), (502, 1));
}

#[test]
fn other_requests_are_told_at_once() {
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(GET);
    assert_eq!((w.status(c), w.ups.len()), (502, 1));
    // The connection lives on.
    w.dial = Dial::Accept;
    w.say(c, GET);
    w.say(w.up(1), OK);
    assert!(w.wire(c).ends_with("\r\n\r\nok"));
}

#[test]
fn an_upstream_that_does_not_answer_is_a_504() {
    for request in [GET, POST] {
        let mut w = world_with(|r, _| r.response_timeout = Span::from_secs(60));
        let c = w.client_with(request);
        w.pass_secs(59);
        assert_eq!(w.wire(c), "");
        w.pass_secs(2);
        assert_eq!(w.status(c), 504);
    }
}

#[test]
fn an_upstream_that_says_nothing_and_closes_is_a_502() {
    let mut w = world();
    let c = w.client_with(GET);
    w.fin(w.up(0));
    assert_eq!((w.status(c), w.ups.len()), (502, 1));
}

#[test]
fn what_is_wrong_with_an_upstream_is_told_at_once() {
    for request in [GET, GET_STREAM, POST] {
        let mut w = world();
        w.dial = Dial::Wrong;
        let c = w.client_with(request);
        assert_eq!((w.status(c), w.ups.len()), (502, 1), "{request}");
        assert!(w.wire(c).contains("its TLS certificate is not accepted"));
    }
}

#[test]
fn all_that_share_a_request_are_told_what_is_wrong() {
    let mut w = world_with(|r, _| r.share = crate::config::Share::Principal);
    w.dial = Dial::Hang;
    let clients = [0; 3].map(|_| w.client_with(GET_STREAM));
    assert_eq!(w.ups.len(), 1);
    w.dial = Dial::Wrong;
    let first = w.ends[w.up(0)].key;
    w.news.push_back((first, Some(crate::machine::ConnectError::Certificate)));
    w.pump();
    assert_eq!(clients.map(|c| w.status(c)), [502; 3]);
}

#[test]
fn a_stream_that_has_begun_outlasts_a_certificate_that_is_wrong_for_a_while() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.dial = Dial::Wrong;
    w.fin(u);
    w.pass_secs(30);
    assert!(w.state(c) == State::Open && w.ups.len() > 5);
    w.dial = Dial::Accept;
    w.pass_secs(6);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
}

#[test]
fn a_stream_request_with_a_body_is_not_asked_again() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\nhi");
    w.fin(w.up(0));
    w.pass_secs(61);
    assert_eq!((w.ups.len(), w.status(c)), (1, 502), "its body is gone");
}

#[test]
fn a_post_that_waits_for_upstream_ends_with_its_client_and_not_with_the_end_of_its_sending() {
    type Leaves = fn(&mut World, usize);
    for (leaves, sent) in [(World::rst as Leaves, 0), (World::fin as Leaves, 1)] {
        let mut w = world();
        w.dial = Dial::Refuse;
        let c = w.client_with(POST);
        leaves(&mut w, c);
        w.dial = Dial::Accept;
        w.pass_secs(5);
        assert_eq!(w.ups.iter().filter(|u| w.wire(**u).starts_with("POST ")).count(), sent);
        if sent == 1 {
            w.say(w.last_up(), OK);
            assert_eq!(w.status(c), 200);
        }
    }
}
