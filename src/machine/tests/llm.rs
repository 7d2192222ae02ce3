//! Answers to POSTs that are event streams, as the SDKs of LLM APIs ask for them: by a word in the body, and not by
//! name.

use super::asking::*;
use super::*;
use crate::testing::world::Said;

/// What an SDK sends.
const CHAT: &str = "POST /v1/chat HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n\
                    Content-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"stream\":true}";

/// The same from a client that asks for an event stream by name, with more lines.
fn by_name(lines: &str) -> String {
    CHAT.replace("application/json\r\nAccept-", &format!("text/event-stream\r\n{lines}Accept-"))
}

/// A client of an answer that has said `a`.
fn answered(w: &mut World, request: &str) -> (usize, usize) {
    let c = w.client_with(request);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    (c, u)
}

/// A GET for the rest of the answer.
fn rest(id: &str) -> String {
    format!("GET /v1/chat HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: {id}\r\n\r\n")
}

#[test]
fn who_did_not_ask_by_name_gets_upstreams_bytes_and_nothing_else() {
    for accept in ["application/json", "*/*", "text/event-stream;q=0"] {
        let mut w = lingering_world(|_, _| {});
        let (c, u) = answered(&mut w, &CHAT.replace("Accept: application/json", &format!("Accept: {accept}")));
        w.pass_secs(50);
        w.say(u, &chunk("data: b\n\n"));
        w.drain();
        assert_eq!(w.body(c), ("data: a\n\ndata: b\n\n".to_owned(), false), "{accept}");
        assert_eq!(w.count(Count::Heartbeats), 0);
    }
}

#[test]
fn a_stream_that_can_never_be_found_again_does_not_linger() {
    let mut w = lingering_world(|_, _| {});
    for block in ["data: a\n\n", "id: 1\ndata: a\n\n"] {
        let c = w.client_with(CHAT);
        let u = w.last_up();
        w.say(u, &format!("{STREAM}{}", chunk(block)));
        w.rst(c);
        assert_eq!((w.state(u), w.machine.exchanges()), (State::Closed, 0), "{block}: nobody can ask for it");
    }
}

#[test]
fn who_asks_by_name_goes_on_by_get_or_by_the_same_post() {
    for by_get in [true, false] {
        let mut w = lingering_world(|_, _| {});
        let (c, u) = answered(&mut w, &by_name(""));
        let id = last_id(&w, c);
        assert!(id.starts_with("sg-") && id.ends_with("-1"), "{}", w.body(c).0);
        w.rst(c);
        w.say(u, &format!("{}{LAST}", chunk("data: b\n\n")));
        let d = w.client_with(&if by_get { rest(&id) } else { by_name(&format!("Last-Event-ID: {id}\r\n")) });
        assert_eq!((data(&w, d), w.body(d).1, w.ups.len()), (vec!["b".to_owned()], true, 1), "by GET: {by_get}");
    }
}

#[test]
fn a_heartbeat_among_ids_has_no_blank_line() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = answered(&mut w, &by_name(""));
    w.pass_secs(31);
    w.say(u, &chunk("data: b\n\n"));
    let id = last_id(&w, c);
    let prefix = id.trim_end_matches('2');
    assert_eq!(w.body(c).0, format!("id: {prefix}1\ndata: a\n\n:\n:\nid: {prefix}2\ndata: b\n\n"));
    // Where no event has an id, a blank line keeps those in step who split at blank lines.
    let mut w = lingering_world(|route, _| route.ids = crate::config::Ids::Off);
    let (c, _) = answered(&mut w, &by_name(""));
    w.pass_secs(16);
    assert_eq!(w.body(c).0, "data: a\n\n:\n\n");
}

#[test]
fn a_forgotten_answer_to_a_post_is_gone_and_upstream_is_not_asked() {
    for gap in [crate::config::Gap::Event, crate::config::Gap::Status] {
        let mut w = lingering_world(|route, _| route.gap = gap);
        let (c, _) = answered(&mut w, &by_name(""));
        let id = last_id(&w, c);
        w.rst(c);
        w.pass_secs(11);
        let d = w.client_with(&rest(&id));
        assert_eq!((w.status(d), gap_header(&w, d).as_deref(), w.ups.len()), (410, Some("unknown"), 1), "{gap:?}");
    }
    // Nor if another process made the id.
    let mut w = lingering_world(|_, _| {});
    let other = crate::machine::find::identity::Secret::new(999);
    let prefix = other.token(other.draw(&mut crate::base::Random::new(5), true)).prefix();
    let d = w.client_with(&rest(&format!("{}3", String::from_utf8_lossy(&prefix))));
    assert_eq!((w.status(d), gap_header(&w, d).as_deref(), w.ups.len()), (410, Some("unknown"), 0));
}

#[test]
fn a_post_whose_events_are_gone_is_told_by_a_status_where_the_route_says_so() {
    for bytes in [2, 300 << 10] {
        let mut w = lingering_world(|route, _| route.gap = crate::config::Gap::Status);
        let (c, _) = answered(&mut w, &by_name(""));
        let id = last_id(&w, c);
        let body = "x".repeat(bytes);
        let d = w.client_with(&format!(
            "POST /v1/chat HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: {id}\r\n\
             Content-Length: {bytes}\r\n\r\n{body}"
        ));
        assert_eq!((w.status(d), gap_header(&w, d).as_deref(), w.ups.len()), (410, Some("unknown"), 1), "{bytes}");
    }
    // Elsewhere a new answer begins, and says so.
    let mut w = lingering_world(|_, _| {});
    let (c, _) = answered(&mut w, &by_name(""));
    let id = last_id(&w, c);
    let (d, _) = answered(&mut w, &by_name(&format!("Last-Event-ID: {id}\r\n")).replace("true", "null"));
    assert_eq!((gap_header(&w, d).as_deref(), w.ups.len()), (Some("unknown"), 2));
    assert!(w.body(d).0.starts_with("event: segno.gap\n"), "{}", w.body(d).0);
    // Who did not ask by name reads it in the head alone.
    let request = CHAT.replace("true", "null").replace("Accept-", &format!("Last-Event-ID: {id}\r\nAccept-"));
    let (d, _) = answered(&mut w, &request);
    assert_eq!((gap_header(&w, d).as_deref(), w.body(d).0.as_str()), (Some("unknown"), "data: a\n\n"));
}

#[test]
fn no_post_is_answered_in_a_coding_that_cannot_be_read() {
    let lines = |w: &World, u| w.wire(u).matches("Accept-Encoding").count();
    let mut w = lingering_world(|_, _| {});
    for (request, sent) in
        [(CHAT, 0), (&by_name(""), 0), ("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n", 1)]
    {
        w.client_with(request);
        assert_eq!(lines(&w, w.last_up()), sent, "{request}");
    }
    // What must pass untouched does.
    w.client_with(&by_name("MCP-Protocol-Version: 2026-07-28\r\n"));
    assert_eq!(lines(&w, w.last_up()), 1);
    let mut w = lingering_world(|route, _| route.accept_encoding = crate::config::AcceptEncoding::Pass);
    for request in [CHAT, &by_name("")] {
        w.client_with(request);
        assert_eq!(lines(&w, w.last_up()), 1);
    }
}

#[test]
fn who_did_not_ask_by_name_is_cut_where_others_are_told_of_a_gap() {
    // Upstream begins anew, or refuses to go on.
    let anew = format!("{STREAM}{}", chunk("id: 1\ndata: another\n\n"));
    for answer in [anew.as_str(), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"] {
        let mut w = lingering_world(|_, _| {});
        let c = w.client_with(GET);
        w.say(w.up(0), &format!("{STREAM}{}", chunk(&(event(1) + &event(2)))));
        w.pass_secs(5);
        w.hear(w.up(0), Said::Eof);
        w.say(w.last_up(), answer);
        assert_eq!((w.ups.len(), w.body(c)), (2, (event(1) + &event(2), false)), "{answer}");
        assert!(!w.is_live(c));
    }
}
