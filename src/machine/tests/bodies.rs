//! Bodies of requests and answers: streamed, held back while the other side does not take them, damaged.

use super::*;

#[test]
fn a_body_with_a_length_is_streamed() {
    let mut w = world();
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    let u = w.up(0);
    assert!(w.wire(u).ends_with("\r\n\r\nhello"));
    w.say(c, "world");
    assert!(w.wire(u).contains("Content-Length: 10\r\n") && w.wire(u).ends_with("\r\n\r\nhelloworld"));
    w.say(u, OK);
    assert_eq!(w.wire(c), OK);
}

#[test]
fn a_body_in_chunks_is_streamed() {
    let mut w = world();
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe");
    let u = w.up(0);
    w.say(c, &format!("llo\r\n{}{LAST}", chunk("world")));
    assert!(w.wire(u).contains("Transfer-Encoding: chunked\r\n"));
    assert_eq!(w.body(u), ("helloworld".to_owned(), true));
    w.say(u, OK);
    assert_eq!((w.wire(c).as_str(), w.state(c)), (OK, State::Open));
}

#[test]
fn a_body_waits_for_an_upstream_that_takes_nothing() {
    let mut w = world();
    let c = w.client();
    let n = 2_000_000;
    w.dial = Dial::Hang;
    w.say(c, &format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {n}\r\n\r\n"));
    let u = w.up(0);
    w.takes(u, 0);
    w.say(c, &"x".repeat(n));
    assert_eq!(w.unread(c), n, "nothing is read before the connection stands");
    w.ends[u].established = true;
    w.machine.handle(Input::Connected { conn: w.ends[u].key }, w.now);
    w.pump();
    assert!(w.unread(c) > n - 300_000, "{} of {n} are unread", w.unread(c));
    while w.unread(c) > 0 {
        let before = w.wire(u).len();
        w.takes(u, 50_000);
        assert!(w.wire(u).len() > before);
    }
    w.takes_all(u);
    assert_eq!(w.body(u).0.len(), n);
    w.say(u, OK);
    assert_eq!(w.wire(c), OK);
}

#[test]
fn a_long_upload_is_not_a_slow_answer() {
    let mut w = world_with(|r, _| r.response_timeout = Span::from_secs(60));
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        w.pass_secs(30);
        w.say(c, "x");
    }
    w.pass_secs(30);
    w.say(w.up(0), OK);
    assert_eq!(w.wire(c), OK);
}

#[test]
fn an_answer_waits_for_a_client_that_takes_nothing() {
    let mut w = world();
    let c = w.client_with(GET);
    w.takes(c, 0);
    let (u, n) = (w.up(0), 1_000_000);
    w.say(u, &format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n)));
    assert!(w.unread(u) > n - 300_000, "{} of {n} are unread", w.unread(u));
    while w.unread(u) > 0 {
        w.takes(c, 100_000);
    }
    w.takes_all(c);
    assert_eq!(w.body(c).0.len(), n);
    assert_eq!((w.state(c), w.state(u)), (State::Open, State::Open));
}

#[test]
fn an_answer_before_the_bodys_end_closes_the_connection_behind_it() {
    let mut w = world();
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello");
    let u = w.up(0);
    w.takes(u, 0);
    w.say(c, &"x".repeat(500_000));
    w.say(u, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
    assert!(w.wire(c).contains("413 No") && w.wire(c).contains("Connection: close"));
    assert_eq!((w.state(c), w.state(u)), (State::Shut, State::Closed));
    assert_eq!(w.unread(c), 0, "a close with unread input would be a reset");
}

#[test]
fn an_own_answer_before_the_bodys_end_is_read_out_too() {
    let mut w = world_with(|r, _| r.heal_for = Span::from_secs(2));
    w.dial = Dial::Refuse;
    let c = w.client_with("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello");
    w.say(c, &"x".repeat(500_000));
    w.pass_secs(3);
    assert_eq!((w.status(c), w.state(c), w.unread(c)), (502, State::Shut, 0));
}

#[test]
fn a_damaged_body_is_refused() {
    let mut w = world();
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!((w.status(c), w.state(w.up(0))), (400, State::Closed));
}

#[test]
fn a_damaged_body_puts_nothing_into_an_answer_that_has_begun() {
    let mut w = world();
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    w.say(w.up(0), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi");
    w.say(c, "zz\r\n");
    assert_eq!(w.wire(c).matches("HTTP/1.1").count(), 1);
    assert_eq!(w.state(c), State::Reset);
}

#[test]
fn an_upstream_may_be_slow_to_take_a_body_and_only_then() {
    let mut w = world();
    let c = w.client_with(POST);
    let u = w.up(0);
    assert!(w.ends[u].patient, "a body may wait in upstream's queue for long");
    w.say(u, OK);
    w.say(c, GET);
    assert_eq!((w.ups.len(), w.ends[u].patient), (1, false), "the same connection carries a request without a body");
}
