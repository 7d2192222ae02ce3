//! What notices say of requests: enough to know them by, and no credential. The world holds each notice to that.

use super::*;

/// A request of an event stream with a credential in its query, and these lines besides.
fn get(lines: &str) -> String {
    let path = format!("/events?access_token={SECRET}");
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}\r\n")
}

/// The lines that the world has had to say.
fn lines(w: &World) -> Vec<String> {
    w.notices.iter().map(ToString::to_string).collect()
}

fn assert_shown(w: &World, notices: usize) {
    let mut lines = lines(w);
    lines.retain(|line| !line.starts_with("upstream up:9000 is "));
    assert!(lines.len() >= notices, "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("GET /events?...: ")), "{lines:#?}");
}

#[test]
fn a_stream_that_is_cut_and_healed_is_named_without_its_query() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&get(""));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    w.fin(w.last_up());
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    w.fin(w.last_up());
    w.pass_secs(1);
    w.say(w.last_up(), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(w.state(c), State::Closed | State::Reset));
    assert_shown(&w, 5);
}

#[test]
fn an_upstream_that_cannot_be_asked_is_told_of_without_the_query() {
    let mut w = lingering_world(|_, _| {});
    w.dial = Dial::Refuse;
    w.client_with(&get(""));
    assert_shown(&w, 1);
    w.dial = Dial::Accept;
    w.pass_secs(2);
    w.say(w.last_up(), "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n");
    assert_shown(&w, 2);
}

#[test]
fn a_stream_that_nobody_comes_back_to_is_named_without_its_query() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&get(""));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(c);
    w.say(w.last_up(), &chunk(&event(2)));
    w.pass_secs(60);
    assert_shown(&w, 1);
}

#[test]
fn a_target_as_long_as_a_head_may_be_fills_no_log() {
    let mut w = world();
    w.client_with(&format!("GET /{} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n", "x".repeat(60_000)));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    w.fin(w.last_up());
    assert!(!w.notices.is_empty());
}

#[test]
fn a_refused_request_is_told_of_without_its_credentials() {
    for head in [
        format!("GET /events?access_token={SECRET} x HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET /events?access_token={SECRET}#x HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET /a/..%2f..%2f..?access_token={SECRET} HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET /a;token={SECRET}/..%2f..%2f.. HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET http://me:{SECRET}@h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: me:{SECRET}@h\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization {SECRET}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nAuth(orization): {SECRET}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: {SECRET}\u{1}\r\n\r\n"),
    ] {
        let mut w = world();
        let c = w.client_with(&head);
        assert_eq!((w.status(c), w.notices.len()), (400, 1), "{head}");
    }
}

#[test]
fn a_stream_that_nobody_comes_back_to_is_no_news_where_nothing_is_lost() {
    for undelivered in [false, true] {
        let mut w = lingering_world(|_, _| {});
        let (c, u) = w.streaming();
        w.acknowledged();
        w.rst(c);
        if undelivered {
            w.say(u, &chunk(&event(2)));
        }
        w.pass_secs(60);
        assert_eq!((w.has_notice("nobody came back"), w.machine.streams()), (undelivered, 0));
    }
}
