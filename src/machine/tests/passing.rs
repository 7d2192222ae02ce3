//! Ordinary requests and answers, connections kept and reused, and streams to clients of all kinds.

use super::*;
use crate::config::Ids;
use crate::testing::world::Said;

fn answered(w: &mut World, u: usize, text: &str) {
    w.say(u, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
}

#[test]
fn an_answer_passes_with_its_length() {
    let mut w = world();
    let c = w.client_with(GET);
    w.say(w.up(0), OK);
    assert_eq!(w.wire(c), OK);
}

#[test]
fn an_answer_in_chunks_passes_in_chunks() {
    let mut w = world();
    let c = w.client_with(GET);
    let u = w.up(0);
    w.say(u, &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}{}{LAST}", chunk("he"), chunk("llo")));
    assert_eq!(w.body(c), ("hello".to_owned(), true));
    assert_eq!(w.machine.connections(), 2, "both are kept");
}

#[test]
fn an_answer_until_close_gets_chunks_and_a_last_one() {
    let mut w = world();
    let c = w.client_with(GET);
    let u = w.up(0);
    w.say(u, "HTTP/1.1 200 OK\r\n\r\nhello");
    w.fin(u);
    assert_eq!(w.body(c), ("hello".to_owned(), true));
}

#[test]
fn a_truncated_answer_is_cut() {
    for head in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let mut w = world();
        let c = w.client_with(GET);
        let u = w.up(0);
        w.say(u, &format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n9\r\nhi"));
        w.fin(u);
        assert_eq!((w.body(c).1, w.state(c)), (false, State::Closed), "{head}");
    }
}

#[test]
fn a_truncated_answer_is_a_reset_for_a_client_without_chunks() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.0\r\n\r\n");
    let u = w.up(0);
    w.say(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhi");
    w.rst(u);
    assert_eq!((w.body(c).0, w.state(c)), ("hi".to_owned(), State::Reset));
}

#[test]
fn a_connection_to_upstream_serves_one_request_after_the_other() {
    let mut w = world();
    let a = w.client_with(GET);
    w.say(w.up(0), OK);
    let b = w.client_with(POST);
    w.say(w.up(0), OK);
    assert_eq!((w.ups.len(), w.status(a), w.status(b)), (1, 200, 200));
    assert_eq!(w.count(Count::UpstreamReuses), 1);
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    let mut w = world();
    w.client_with(GET);
    let u = w.up(0);
    w.say(u, OK);
    w.pass_secs(5);
    assert_eq!(w.state(u), State::Closed);
}

#[test]
fn a_connection_that_says_something_unasked_is_closed() {
    let mut w = world();
    w.client_with(GET);
    let u = w.up(0);
    w.say(u, OK);
    w.say(u, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(w.state(u), State::Closed);
}

#[test]
fn bytes_behind_an_answer_close_the_connection() {
    let mut w = world();
    let c = w.client_with(GET);
    let u = w.up(0);
    w.say(u, &format!("{OK}HTTP/1.1 666 X\r\n\r\n"));
    assert_eq!((w.wire(c).as_str(), w.state(u)), (OK, State::Closed));
}

#[test]
fn a_get_on_a_stale_connection_is_asked_again() {
    let mut w = world();
    w.client_with(GET);
    w.say(w.up(0), OK);
    let c = w.client_with(GET);
    w.fin(w.up(0));
    assert_eq!((w.wire(c), w.ups.len()), (String::new(), 2));
    w.say(w.up(1), OK);
    assert_eq!(w.wire(c), OK);
}

#[test]
fn a_post_on_a_stale_connection_is_not() {
    let mut w = world();
    w.client_with(GET);
    w.say(w.up(0), OK);
    let c = w.client_with(POST);
    w.rst(w.up(0));
    assert_eq!((w.status(c), w.ups.len()), (502, 1));
}

#[test]
fn a_post_takes_no_connection_that_was_idle_for_long() {
    let mut w = world();
    w.client_with(GET);
    w.say(w.up(0), OK);
    w.pass_secs(2);
    w.client_with(POST);
    assert_eq!(w.ups.len(), 2);
}

#[test]
fn requests_in_a_row_are_answered_in_their_order() {
    let mut w = world();
    let c = w.client_with(&[GET.replace("plain", "1"), GET.replace("plain", "2"), GET.replace("plain", "3")].concat());
    for n in 1..4 {
        let u = w.last_up();
        assert!(w.wire(u).contains(&format!("GET /{n} ")) && !w.wire(u).contains(&format!("GET /{} ", n + 1)));
        answered(&mut w, u, &format!("answer {n}"));
    }
    let at = |n| w.wire(c).find(&format!("answer {n}")).unwrap();
    assert!(at(1) < at(2) && at(2) < at(3));
    assert_eq!(w.ups.len(), 1);
}

#[test]
fn a_request_behind_a_stream_waits_for_its_end() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(c, GET);
    assert_eq!(w.machine.exchanges(), 1);
    w.say(u, LAST);
    w.say(w.last_up(), OK);
    assert!(w.wire(c).ends_with(&format!("{LAST}{OK}")));
}

#[test]
fn an_http_1_0_client_gets_a_stream_until_close() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    assert!(!w.wire(c).contains("chunked") && w.wire(c).contains("Connection: close"));
    w.say(u, LAST);
    assert_eq!((w.events(c), w.state(c)), (event(1), State::Shut));
}

#[test]
fn an_http_1_0_client_gets_a_reset_for_a_cut() {
    let mut w = world_with(|route, _| route.ids = Ids::Off);
    let c = w.client_with("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: x\n\n")));
    w.fin(u);
    assert_eq!((w.events(c), w.state(c)), ("data: x\n\n".to_owned(), State::Reset));
}

#[test]
fn a_head_has_no_body() {
    let mut w = world();
    let c = w.client_with("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let u = w.up(0);
    w.say(u, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
    assert!(w.wire(c).contains("Content-Length: 99\r\n"));
    assert_eq!((w.state(c), w.state(u), w.machine.exchanges()), (State::Open, State::Open, 0));
}

#[test]
fn a_head_of_a_stream_has_no_body_either() {
    let mut w = world();
    let c = w.client_with("HEAD / HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
    w.say(w.up(0), STREAM);
    assert!(w.wire(c).ends_with("\r\n\r\n") && !w.wire(c).ends_with(LAST));
    assert_eq!((w.status(c), w.machine.exchanges()), (200, 0));
}

#[test]
fn interim_answers_pass() {
    let mut w = world();
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    let u = w.up(0);
    w.say(u, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(w.wire(c), "HTTP/1.1 100 Continue\r\n\r\n");
    w.say(c, "hi");
    w.say(u, &format!("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n{OK}"));
    assert!(w.wire(c).contains("103 Early Hints\r\nLink: a\r\n") && w.wire(c).ends_with(OK));
}

#[test]
fn interim_answers_are_not_for_http_1_0() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.0\r\n\r\n");
    w.say(w.up(0), &format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}"));
    assert_eq!(w.status(c), 200);
}

#[test]
fn interim_answers_without_end_fill_no_memory() {
    let mut w = world();
    let c = w.client_with(GET);
    w.takes(c, 0);
    let u = w.up(0);
    for _ in 0..100 {
        w.say(u, &"HTTP/1.1 103 Early Hints\r\nLink: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n".repeat(100));
    }
    let out = w.machine.pending_of(w.ends[c].key);
    assert!(out < 200_000, "{out}");
    w.takes_all(c);
    w.say(u, OK);
    assert!(w.wire(c).ends_with(OK));
}

#[test]
fn an_encoded_stream_passes_untouched() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n\x1f");
    assert_eq!(w.body(c).0, "\x1f");
    assert_eq!(w.count(Count::StreamsEncoded), 1);
}

#[test]
fn a_broken_head_of_upstream_is_a_502() {
    for head in
        ["HELLO\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 101 X\r\n\r\n"]
    {
        let mut w = world();
        let c = w.client_with(GET);
        w.say(w.up(0), head);
        assert_eq!((w.status(c), w.state(w.up(0))), (502, State::Closed), "{head}");
        assert_eq!(w.count(Count::UpstreamHeadsBad), 1);
    }
}

#[test]
fn a_client_that_leaves_closes_upstream_at_once() {
    let (mut a, mut b) = (world(), world());
    let (c, u) = a.streaming();
    a.fin(c);
    assert_eq!((a.state(u), a.count(Count::StreamsLeft)), (State::Closed, 1));
    let c = b.client_with(GET);
    b.rst(c);
    assert_eq!(b.state(b.up(0)), State::Closed);
}

#[test]
fn every_cut_of_the_reads_gives_the_same() {
    let request = format!("{POST}{GET_STREAM}");
    let answers = [OK.to_owned(), format!("{STREAM}{}{}{LAST}", chunk(&event(1)), chunk(&event(2)))];
    let mut seen = Vec::new();
    for step in [1, 2, 3, 7, 1000] {
        let mut w = world();
        let c = w.client();
        for part in request.as_bytes().chunks(step) {
            w.say_bytes(c, part);
        }
        for answer in &answers {
            let u = w.last_up();
            for part in answer.as_bytes().chunks(step) {
                w.say_bytes(u, part);
            }
        }
        let wire = w.wire(c);
        let (post, stream) = wire.split_at(OK.len());
        let (head, chunks) = stream.split_once("\r\n\r\n").unwrap();
        seen.push((post.to_owned(), head.to_owned(), dechunk(chunks), w.wire(w.up(0))));
    }
    assert!(seen.windows(2).all(|s| s[0] == s[1]), "{seen:#?}");
    assert_eq!(seen[0].2, (event(1) + &event(2), true));
}

#[test]
fn an_answer_whose_upstream_closes_behind_the_last_chunk_is_whole() {
    let mut w = world();
    let c = w.client_with(GET);
    w.say(w.up(0), &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n", chunk("all")));
    w.hear(w.up(0), Said::Eof);
    assert_eq!(w.body(c), ("all".to_owned(), true));
    // The same of an event stream, whose end is not taken for a cut: upstream is not asked again.
    let c = w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}0\r\n", chunk(&event(1))));
    w.hear(u, Said::Eof);
    assert_eq!((w.body(c), w.count(Count::UpstreamCutsClosed), w.ups.len()), ((event(1), true), 0, 2));
}

/// What a browser asks before a page of another origin sends `lines` with a GET.
fn preflight(lines: &str) -> String {
    format!(
        "OPTIONS /events HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n\
         Access-Control-Request-Headers: {lines}\r\n\r\n"
    )
}

#[test]
fn a_page_may_send_the_ids_that_segno_has_made_though_upstream_knows_no_such_header() {
    let allowed = |lines: &str| format!("HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\n{lines}\r\n");
    for (asked, sent) in [
        ("last-event-id", None),
        ("authorization,last-event-id", Some("authorization")),
        ("x-a, Last-Event-ID ,x-b", Some("x-a,x-b")),
        ("authorization", Some("authorization")),
    ] {
        let mut w = world();
        let c = w.client_with(&preflight(asked));
        let head = w.wire(w.up(0));
        let line = head.lines().find_map(|line| line.strip_prefix("Access-Control-Request-Headers: "));
        assert_eq!(line, sent, "{asked}");
        w.say(w.up(0), &allowed("Access-Control-Allow-Headers: authorization\r\n"));
        assert!(w.wire(c).contains("\r\nAccess-Control-Allow-Headers: Last-Event-ID\r\n"), "{}", w.wire(c));
    }
    // Upstream's own word is enough, and a refusal stays one.
    for (answer, times) in [
        (allowed("Access-Control-Allow-Headers: LAST-EVENT-ID\r\n"), 1),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 0),
        ("HTTP/1.1 403 Forbidden\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n".to_owned(), 0),
    ] {
        let mut w = world();
        let c = w.client_with(&preflight("last-event-id"));
        w.say(w.up(0), &answer);
        assert_eq!(w.wire(c).to_ascii_lowercase().matches("last-event-id").count(), times, "{answer}");
    }
    // Where segno makes no ids, upstream is asked for what the page asks for.
    let mut w = world_with(|route, _| route.ids = Ids::Off);
    let c = w.client_with(&preflight("last-event-id"));
    assert!(w.wire(w.up(0)).contains("Access-Control-Request-Headers: last-event-id\r\n"));
    w.say(w.up(0), &allowed(""));
    assert!(!w.wire(c).contains("Last-Event-ID"), "{}", w.wire(c));
}
