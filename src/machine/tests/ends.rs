//! What a client and an upstream mean by an end, by a line that is not quite right, and by a count of proxies.

use super::*;
use crate::config::Ids;
use crate::testing::world::State;

const OPTIONS: &str = "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: ";

#[test]
fn a_client_that_ends_its_sending_gets_its_answer() {
    for request in [GET, POST] {
        let mut w = world();
        let c = w.client_with(request);
        w.fin(c);
        w.say(w.up(0), OK);
        assert_eq!((w.wire(c).as_str(), w.state(c)), (OK, State::Closed), "{request}");
    }
}

#[test]
fn a_client_that_ends_its_sending_gets_the_answers_to_all_that_it_has_asked() {
    let mut w = world();
    let c = w.client_with(&[GET.replace("plain", "1"), GET.replace("plain", "2"), "GET /half".to_owned()].concat());
    w.fin(c);
    for _ in 0..2 {
        w.say(w.last_up(), OK);
    }
    assert_eq!((w.wire(c), w.state(c)), ([OK, OK].concat(), State::Closed));
}

#[test]
fn a_client_that_ends_its_sending_gets_an_answer_of_segnos_own_too() {
    let mut w = world();
    w.dial = Dial::Wrong;
    let c = w.client();
    w.ends[c].said.push_back(Said::Bytes(GET.into()));
    w.dial = Dial::Hang;
    w.hear(c, Said::Eof);
    w.pass_secs(400);
    assert_eq!((w.status(c), w.state(c)), (502, State::Closed));
}

#[test]
fn a_client_that_closes_an_event_stream_is_gone() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.fin(c);
    assert_eq!((w.state(c), w.state(u)), (State::Closed, State::Closed));
    // It asked for no stream by name, and closed before one came.
    let d = w.client_with(GET);
    w.fin(d);
    assert_eq!(w.state(d), State::Open);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!((w.state(d), w.state(u)), (State::Closed, State::Closed));
}

#[test]
fn a_client_that_closes_what_a_disconnect_cancels_is_gone() {
    let mut w = world_with(|route, _| route.cancel_on_disconnect = true);
    let c = w.client_with(POST);
    w.fin(c);
    assert_eq!((w.state(c), w.state(w.up(0))), (State::Closed, State::Closed));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_request_is_gone() {
    let mut w = world();
    let c = w.client_with(POST.strip_suffix('i').unwrap());
    w.fin(c);
    assert_eq!((w.state(c), w.state(w.up(0))), (State::Closed, State::Closed));
}

#[test]
fn a_space_before_a_colon_is_repaired_in_an_answer_and_refused_in_a_request() {
    let mut w = world();
    let c = w.client_with(GET);
    w.say(w.up(0), "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(w.wire(c), "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok");
    let c = w.client_with("GET / HTTP/1.1\r\nHost: h\r\nX-A : b\r\n\r\n");
    assert_eq!(w.status(c), 400);
}

#[test]
fn a_request_that_may_pass_no_further_proxy_is_answered_here() {
    let mut w = world();
    let c = w.client_with(&format!("{OPTIONS}0\r\n\r\n"));
    assert_eq!((w.status(c), w.ups.len()), (204, 0));
    let c = w.client_with(&format!("TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nCookie: {SECRET}\r\n\r\n"));
    assert_eq!((w.status(c), w.ups.len()), (405, 0));
    assert!(!w.wire(c).contains(SECRET));
    w.client_with(&format!("{OPTIONS}3\r\n\r\n").replace('*', "/"));
    assert!(w.wire(w.up(0)).contains("\r\nMax-Forwards: 2\r\n"));
    w.client_with(&format!("{OPTIONS}3\r\n\r\n"));
    assert!(w.wire(w.last_up()).starts_with("OPTIONS * HTTP/1.1\r\n"));
    // Other methods do not count.
    w.client_with("GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n");
    assert!(w.wire(w.last_up()).contains("\r\nMax-Forwards: 0\r\n"));
}

#[test]
fn answers_have_a_date_and_upstreams_own_stays() {
    const NOW: &str = "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let mut w = world();
    w.machine.handle(Input::Calendar { unix_secs: 784_111_777 }, w.now);
    let refused = w.client_with("GET / HTTP/3.0\r\n\r\n");
    assert!(w.wire(refused).contains(NOW));
    let passed = w.client_with(GET);
    w.say(w.up(0), OK);
    assert!(w.wire(passed).contains(NOW));
    let early = w.client_with(GET_STREAM);
    w.pass_secs(4);
    assert!(w.wire(early).contains(NOW));
    let dated = w.client_with(GET_STREAM);
    let head = STREAM.replace("\r\nTransfer", "\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nTransfer");
    w.say(w.last_up(), &head);
    assert!(w.wire(dated).contains("\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n"));
    assert_eq!(w.wire(dated).matches("\r\nDate: ").count(), 1);
}

#[test]
fn an_old_upstream_and_an_old_client_are_as_they_would_be_without_segno() {
    for old in [true, false] {
        let mut w = world_with(|route, _| route.ids = Ids::Off);
        let version = if old { "1.0" } else { "1.1" };
        let c = w.client_with(&format!("GET /llm HTTP/{version}\r\nHost: h\r\n\r\n"));
        let u = w.up(0);
        w.say(u, "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\ndata: [DONE]\n");
        w.fin(u);
        let (body, whole) = w.body(c);
        assert_eq!((body.as_str(), whole), ("data: a\n\ndata: [DONE]\n", !old));
        assert_eq!(w.state(c), if old { State::Shut } else { State::Open }, "{}", w.wire(c));
    }
}

#[test]
fn an_event_without_its_blank_line_is_never_joined_with_what_follows() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &format!("{}{LAST}", chunk("id: 2\ndata: 2\n")));
    w.rst(c);
    let d = w.client_with(&GET_STREAM.replace("\r\n\r\n", "\r\nLast-Event-ID: 1\r\n\r\n"));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(d), event(2));
}

#[test]
fn an_id_without_a_space_is_an_id() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("id:5\ndata:a\n\n")));
    w.fin(u);
    assert!(w.wire(w.up(1)).contains("\r\nLast-Event-ID: 5\r\n"), "{}", w.wire(w.up(1)));
    w.say(w.up(1), &format!("{STREAM}{}", chunk("id:5\ndata:a\n\nid:6\ndata:b\n\n")));
    assert_eq!(w.events(c), "id:5\ndata:a\n\nid:6\ndata:b\n\n");
}
