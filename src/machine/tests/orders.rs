//! POSTs that come again as tries of one order, as SDKs send them: upstream executes each order once.

use super::asking::*;
use super::*;

/// A route whose retries are no second orders.
fn world() -> World {
    world_with_linger(|_, _| {})
}

fn world_with_linger(adjust: impl FnOnce(&mut crate::config::Route, &mut crate::config::Limits)) -> World {
    lingering_world(|route, limits| {
        route.idempotent = true;
        adjust(route, limits);
    })
}

const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}";

/// A POST with this body and these header lines.
fn post(lines: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/chat HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// The try of an SDK that has tried so often before.
fn tried(before: u32, body: &str) -> String {
    let timeout = 600 - before;
    post(&format!("X-Stainless-Retry-Count: {before}\r\nX-Stainless-Read-Timeout: {timeout}\r\n"), body)
}

fn keyed(key: &str, body: &str) -> String {
    post(&format!("Idempotency-Key: {key}\r\n"), body)
}

/// How many requests upstream was sent.
fn asked(w: &World) -> usize {
    w.ups.iter().map(|u| w.wire(*u).matches("POST ").count()).sum()
}

#[test]
fn a_retry_before_the_first_byte_gets_the_answer_of_the_first_try() {
    for close in [World::fin, World::rst] {
        let mut w = world();
        let c = w.client_with(&tried(0, "prompt"));
        let u = w.last_up();
        assert!(w.wire(u).ends_with("\r\n\r\nprompt"));
        close(&mut w, c);
        w.pass_ms(500);
        assert_eq!(w.state(u), State::Open, "upstream goes on");
        let d = w.client_with(&tried(1, "prompt"));
        assert_eq!((asked(&w), w.wire(d).as_str()), (1, ""), "it waits for the head of the first answer");
        w.say(u, &format!("{STREAM}{}{}{LAST}", chunk("data: a\n\n"), chunk("data: b\n\n")));
        assert_eq!(w.body(d), ("data: a\n\ndata: b\n\n".to_owned(), true));
        assert_eq!((w.status(d), w.count(Count::RetriesJoined), w.count(Count::OrdersDetached)), (200, 1, 1));
        assert_eq!(w.machine.exchanges(), 0, "what was handed over is forgotten");
    }
}

#[test]
fn a_retry_reads_the_stream_from_its_first_event() {
    for begun in ["", "data: a\n\n"] {
        let mut w = world();
        let c = w.client_with(&tried(0, "prompt"));
        let u = w.last_up();
        w.rst(c);
        w.say(u, STREAM);
        if !begun.is_empty() {
            w.say(u, &chunk(&format!(": first\n\nretry: 5\n\n{begun}")));
        }
        let d = w.client_with(&tried(1, "prompt"));
        w.say(u, &format!("{}{LAST}", chunk("data: b\n\n")));
        let all = if begun.is_empty() { "data: b\n\n" } else { ": first\n\nretry: 5\n\ndata: a\n\ndata: b\n\n" };
        assert_eq!((w.body(d), asked(&w)), ((all.to_owned(), true), 1));
    }
}

#[test]
fn an_answer_that_ended_before_the_retry_waits_for_it() {
    for answer in [format!("{STREAM}{}{LAST}", chunk("data: a\n\n")), JSON.to_owned()] {
        let mut w = world();
        let c = w.client_with(&tried(0, "prompt"));
        let u = w.last_up();
        w.fin(c);
        w.say(u, &answer);
        w.fin(u);
        w.pass_secs(9);
        let d = w.client_with(&tried(1, "prompt"));
        let expected = if answer == JSON { ("{\"a\":1}".to_owned(), false) } else { ("data: a\n\n".to_owned(), true) };
        assert_eq!((w.body(d), w.status(d), asked(&w)), (expected, 200, 1));
        assert_eq!(w.machine.exchanges(), 0);
    }
}

#[test]
fn an_answer_that_the_socket_took_and_nobody_acknowledged_waits_for_the_retry() {
    let mut w = world();
    let c = w.client_with(&tried(0, "prompt"));
    let u = w.last_up();
    w.ends[c].arrived = Some(0);
    w.say(u, &format!("{STREAM}{}{LAST}", chunk("data: a\n\n")));
    w.pass_secs(5);
    let d = w.client_with(&tried(1, "prompt"));
    assert_eq!((w.body(d), asked(&w)), (("data: a\n\n".to_owned(), true), 1));
    w.pass_secs(5);
    assert_eq!(w.machine.exchanges(), 0, "the retry has acknowledged it");
}

#[test]
fn an_ordinary_answer_waits_in_its_socket_and_in_no_buffer() {
    let mut w = world();
    let c = w.client_with(&tried(0, "prompt"));
    let u = w.last_up();
    w.rst(c);
    w.say(u, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    w.say(u, &"x".repeat(1_000_000));
    assert!(w.unread(u) > 990_000 && w.machine.buffer_bytes() < 8 << 10, "{}", w.machine.buffer_bytes());
    let d = w.client_with(&tried(1, "prompt"));
    assert_eq!((w.body(d).0.len(), w.unread(u), asked(&w)), (1_000_000, 0, 1));
}

#[test]
fn an_ordinary_answer_goes_to_the_newest_try_and_the_others_are_cut() {
    let mut w = world();
    let c = w.client_with(&keyed("k", "prompt"));
    let d = w.client_with(&keyed("k", "prompt"));
    let e = w.client_with(&keyed("k", "prompt"));
    w.say(w.up(0), JSON);
    assert_eq!((w.status(c), w.status(d), w.body(e).0.as_str()), (0, 0, "{\"a\":1}"));
    assert_eq!((w.state(c), w.state(d), asked(&w)), (State::Reset, State::Reset, 1));
}

#[test]
fn an_event_stream_goes_to_all_tries_with_the_same_key() {
    let mut w = world();
    let c = w.client_with(&keyed("k", "prompt"));
    let d = w.client_with(&keyed("k", "prompt"));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let e = w.client_with(&keyed("k", "prompt"));
    w.say(u, &format!("{}{LAST}", chunk("data: b\n\n")));
    for reader in [c, d, e] {
        assert_eq!(w.body(reader), ("data: a\n\ndata: b\n\n".to_owned(), true));
    }
    assert_eq!((asked(&w), w.count(Count::RetriesJoined)), (1, 2));
}

#[test]
fn what_differs_is_another_order() {
    let lines = |lines: &str| post(&format!("X-Stainless-Retry-Count: 1\r\n{lines}"), "prompt");
    for other in [
        tried(1, "Prompt"),
        lines("Authorization: x\r\n"),
        lines("Cookie: sid=1\r\n"),
        lines("Idempotency-Key: k\r\n"),
        lines("").replace("/v1/chat", "/v1/other"),
        lines("").replace("application/json", "text/event-stream"),
        // A new call of the same client, and one of a client that does not count.
        tried(0, "prompt"),
        post("", "prompt"),
        post("X-Stainless-Retry-Count: x\r\n", "prompt"),
    ] {
        let mut w = world();
        let c = w.client_with(&tried(0, "prompt"));
        w.fin(c);
        w.client_with(&other);
        assert_eq!(asked(&w), 2, "{other}");
    }
    let mut w = world();
    w.client_with(&keyed("k", "prompt"));
    w.client_with(&keyed("k", "prompt, and more"));
    w.client_with(&keyed("l", "prompt"));
    assert_eq!(asked(&w), 3);
}

#[test]
fn without_a_key_a_retry_takes_nothing_that_another_client_reads() {
    let mut w = world();
    // Two calls with the same prompt, as one makes that asks for several samples.
    let c = w.client_with(&tried(0, "prompt"));
    let d = w.client_with(&tried(0, "prompt"));
    let (u, v) = (w.up(0), w.up(1));
    w.fin(c);
    let e = w.client_with(&tried(1, "prompt"));
    let f = w.client_with(&tried(1, "prompt"));
    assert_eq!((asked(&w), w.count(Count::RetriesJoined), w.count(Count::RetriesUnknown)), (3, 1, 1));
    for (up, text) in [(u, "first"), (v, "second"), (w.up(2), "third")] {
        w.say(up, &format!("{STREAM}{}{LAST}", chunk(&format!("data: {text}\n\n"))));
    }
    assert_eq!([e, d, f].map(|reader| data(&w, reader).concat()), ["first", "second", "third"]);
    // Both are left: each retry gets one of them.
    let mut w = world();
    let (c, d) = (w.client_with(&tried(0, "prompt")), w.client_with(&tried(0, "prompt")));
    w.fin(c);
    w.fin(d);
    w.client_with(&tried(1, "prompt"));
    w.client_with(&tried(1, "prompt"));
    assert_eq!((asked(&w), w.count(Count::RetriesJoined)), (2, 2));
}

#[test]
fn a_third_try_finds_what_the_second_left() {
    let mut w = world();
    let mut c = w.client_with(&tried(0, "prompt"));
    let u = w.last_up();
    for n in 1..4 {
        w.fin(c);
        w.pass_secs(9);
        c = w.client_with(&tried(n, "prompt"));
    }
    w.say(u, &format!("{STREAM}{}{LAST}", chunk("data: a\n\n")));
    assert_eq!((data(&w, c), asked(&w)), (vec!["a".to_owned()], 1));
}

#[test]
fn an_order_is_kept_for_linger_post_and_not_longer() {
    for (answer, counted) in [("", 1), (STREAM, 1), (JSON, 1)] {
        let mut w = world();
        let c = w.client_with(&tried(0, "prompt"));
        let u = w.last_up();
        w.fin(c);
        w.say(u, answer);
        w.pass_secs(11);
        assert_eq!((w.state(u), w.machine.exchanges()), (State::Closed, 0), "{answer}");
        assert_eq!(w.count(Count::StreamsLetGo), counted);
        w.client_with(&tried(1, "prompt"));
        assert_eq!((asked(&w), w.count(Count::RetriesUnknown)), (2, 1));
    }
}

#[test]
fn where_a_disconnect_cancels_upstream_is_told_at_once() {
    type Adjust = fn(&mut crate::config::Route, &mut crate::config::Limits);
    let cases: [(Adjust, &str); 4] = [
        (|route, _| route.cancel_on_disconnect = true, ""),
        (|route, _| route.linger_post = Span::ZERO, ""),
        (|route, _| route.linger = Span::ZERO, ""),
        (|_, _| {}, "MCP-Protocol-Version: 2026-07-28\r\n"),
    ];
    for (adjust, lines) in cases {
        let mut w = world_with_linger(adjust);
        let c = w.client_with(&post(&format!("X-Stainless-Retry-Count: 0\r\n{lines}"), "{}"));
        let u = w.last_up();
        w.fin(c);
        assert_eq!((w.state(u), w.machine.exchanges()), (State::Closed, 0));
    }
    // The body may tell the revision, too.
    let mut w = world();
    let body = r#"{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let c = w.client_with(&post("Content-Type: application/json\r\nX-Stainless-Retry-Count: 0\r\n", body));
    let u = w.last_up();
    w.fin(c);
    assert_eq!((w.state(u), w.machine.exchanges()), (State::Closed, 0));
}

#[test]
fn a_route_that_does_not_say_so_knows_no_orders() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&tried(0, "prompt"));
    let u = w.last_up();
    w.rst(c);
    assert_eq!((w.state(u), w.machine.exchanges()), (State::Closed, 0));
    let d = w.client_with(&keyed("k", "prompt"));
    w.client_with(&keyed("k", "prompt"));
    assert_eq!((asked(&w), w.count(Count::RetriesJoined), w.wire(d).as_str()), (3, 0, ""));
}

#[test]
fn an_answer_that_upstream_breaks_off_is_ordered_again() {
    let mut w = world();
    let c = w.client_with(&keyed("k", "prompt"));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    w.rst(u);
    assert_eq!((w.body(c), w.state(c)), (("data: a\n\n".to_owned(), false), State::Closed));
    let d = w.client_with(&keyed("k", "prompt"));
    let v = w.last_up();
    w.say(v, &format!("{STREAM}{}{LAST}", chunk("data: b\n\n")));
    assert_eq!((data(&w, d), asked(&w)), (vec!["b".to_owned()], 2));
    // The same of one that nobody read, and of one without a head.
    for answer in [format!("{STREAM}{}", chunk("data: a\n\n")), String::new()] {
        let mut w = world();
        let c = w.client_with(&tried(0, "prompt"));
        let u = w.last_up();
        w.rst(c);
        w.say(u, &answer);
        w.rst(u);
        assert_eq!(w.machine.exchanges(), 0, "{answer}");
        w.client_with(&tried(1, "prompt"));
        assert_eq!(asked(&w), 2);
    }
}

#[test]
fn an_ordinary_answer_under_way_is_not_had_twice() {
    let mut w = world();
    let c = w.client_with(&keyed("k", "prompt"));
    w.say(w.up(0), &JSON[..JSON.len() - 2]);
    let d = w.client_with(&keyed("k", "prompt"));
    assert_eq!((asked(&w), w.count(Count::RetriesLate)), (2, 1));
    // The one that upstream was asked anew is the order from now on.
    let e = w.client_with(&keyed("k", "prompt"));
    assert_eq!((asked(&w), w.count(Count::RetriesLate)), (2, 1));
    w.say(w.up(0), &JSON[JSON.len() - 2..]);
    w.say(w.up(1), JSON);
    assert_eq!((w.status(d), w.state(d)), (0, State::Reset));
    assert_eq!((w.body(c).0, w.body(e).0), ("{\"a\":1}".to_owned(), "{\"a\":1}".to_owned()));
}

#[test]
fn a_retry_whose_first_events_are_gone_is_told_so() {
    let mut w = world_with_linger(|route, _| route.replay_events = 4);
    let c = w.client_with(&keyed("k", "prompt"));
    let u = w.last_up();
    w.say(u, STREAM);
    for n in 0..20 {
        w.say(u, &chunk(&format!("data: {n}\n\n")));
        w.acknowledged();
    }
    let d = w.client_with(&keyed("k", "prompt"));
    assert_eq!((w.status(d), gap_header(&w, d).as_deref(), asked(&w)), (410, Some("evicted"), 1));
    assert!(w.wire(d).contains("upstream was not asked again"), "{}", w.wire(d));
    assert_eq!(w.count(Count::RetriesGone), 1);
    w.say(u, LAST);
    assert_eq!((data(&w, c).len(), w.body(c).1), (20, true), "the first try is not harmed");
}

#[test]
fn all_tries_are_told_when_upstream_gives_no_answer() {
    let mut w = world();
    let c = w.client_with(&keyed("k", "prompt"));
    let d = w.client_with(&keyed("k", "prompt"));
    w.rst(w.up(0));
    assert_eq!((w.status(c), w.status(d), asked(&w)), (502, 502, 1));
    let mut w = world_with_linger(|route, _| route.response_timeout = Span::from_secs(5));
    let c = w.client_with(&keyed("k", "prompt"));
    let d = w.client_with(&keyed("k", "prompt"));
    w.pass_secs(6);
    assert_eq!((w.status(c), w.status(d)), (504, 504));
    let mut w = world();
    w.dial = Dial::Wrong;
    let c = w.client_with(&keyed("k", "prompt"));
    assert_eq!(w.status(c), 502);
}

#[test]
fn a_try_that_comes_while_upstream_is_away_waits_beside_the_first() {
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(&keyed("k", "prompt"));
    let d = w.client_with(&keyed("k", "prompt"));
    w.dial = Dial::Accept;
    w.pass_secs(5);
    let u = w.last_up();
    assert_eq!((asked(&w), w.wire(u).ends_with("\r\n\r\nprompt")), (1, true), "{}", w.wire(u));
    w.say(u, &format!("{STREAM}{}{LAST}", chunk("data: a\n\n")));
    assert_eq!([c, d].map(|reader| data(&w, reader).concat()), ["a", "a"]);
    // What upstream was never sent is no order, and its client is seen to leave.
    for body in ["prompt", &"x".repeat(100 << 10)] {
        let mut w = world();
        w.dial = Dial::Refuse;
        let c = w.client_with(&tried(0, body));
        w.fin(c);
        assert_eq!((asked(&w), w.machine.exchanges()), (0, 0));
    }
}

#[test]
fn a_try_is_held_back_until_its_body_is_whole() {
    let request = tried(1, "prompt");
    for cut in 1..6 {
        let mut w = world();
        let c = w.client_with(&tried(0, "prompt"));
        w.fin(c);
        let (head, tail) = request.split_at(request.len() - cut);
        let d = w.client_with(head);
        w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
        assert_eq!(w.wire(d), "");
        w.say(d, tail);
        assert_eq!((data(&w, d), asked(&w)), (vec!["a".to_owned()], 1));
    }
    // In chunks it is the same body.
    let mut w = world();
    let c = w.client_with(&tried(0, "prompt"));
    w.fin(c);
    w.client_with(
        &request
            .replace("Content-Length: 6\r\n\r\nprompt", "Transfer-Encoding: chunked\r\n\r\n6\r\nprompt\r\n0\r\n\r\n"),
    );
    assert_eq!(asked(&w), 1);
}

#[test]
fn a_body_that_is_too_long_to_hold_back_is_ordered_anew() {
    let body = "x".repeat(300 << 10);
    let whole = |w: &World, u: usize| w.wire(u).split("\r\n\r\n").nth(1).map(str::len) == Some(300 << 10);
    let mut w = world();
    let c = w.client_with(&tried(0, &body));
    w.rst(c);
    assert_eq!(w.state(w.up(0)), State::Closed, "no retry could find it");
    w.client_with(&tried(1, &body));
    assert!(whole(&w, w.up(0)) && whole(&w, w.up(1)));
    assert_eq!((asked(&w), w.count(Count::RetriesTooLarge)), (2, 1));
    let chunks = format!("Transfer-Encoding: chunked\r\n\r\n4b000\r\n{body}\r\n0\r\n\r\n");
    w.client_with(&tried(1, "").replace("Content-Length: 0\r\n\r\n", &chunks));
    assert_eq!((asked(&w), w.count(Count::RetriesTooLarge)), (3, 2));
}

#[test]
fn orders_that_nobody_reads_are_bounded() {
    let mut w = world_with_linger(|_, limits| limits.lingering_per_address = 3);
    for n in 0..5 {
        let c = w.client_with(&tried(0, &format!("prompt {n}")));
        w.fin(c);
    }
    assert_eq!((w.machine.exchanges(), w.count(Count::StreamsOverShare)), (3, 2));
    // Of one name, as many as a retry looks at.
    let mut w = world();
    for _ in 0..70 {
        let c = w.client_with(&tried(0, "prompt"));
        w.fin(c);
    }
    assert_eq!((w.machine.exchanges(), w.count(Count::OrdersNotKept)), (64, 6));
}

#[test]
fn a_stream_of_an_order_counts_as_one_that_nobody_reads() {
    let mut w = world_with_linger(|_, limits| limits.sessions = 1);
    let c = w.client_with(&tried(0, "prompt"));
    w.fin(c);
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
    assert_eq!((w.machine.streams(), w.machine.sessions()), (1, 1));
    // Its session goes when another one needs its place.
    let (d, _) = w.streaming();
    assert_eq!((w.events(d), w.count(Count::SessionEvictions)), (event(1), 1));
}

#[test]
fn a_retry_after_an_error_goes_upstream() {
    let mut w = world();
    for (n, status) in ["500 Oops", "429 Slow", "409 Busy"].into_iter().enumerate() {
        let c = w.client_with(&tried(n as u32, "prompt"));
        let u = w.last_up();
        w.say(u, &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(w.status(c).to_string(), status[..3]);
        w.fin(c);
        w.pass_secs(2);
    }
    assert_eq!(asked(&w), 3);
}

#[test]
fn tries_keep_the_ids_of_their_requests() {
    let mut w = world();
    let with_id = |n: u32| tried(n, "prompt").replace("Accept", &format!("X-Request-Id: try-{n}\r\nAccept"));
    let c = w.client_with(&with_id(0));
    w.fin(c);
    let d = w.client_with(&with_id(1));
    w.say(w.up(0), &format!("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\n{}", &STREAM["HTTP/1.1 200 OK\r\n".len()..]));
    let head = w.wire(d);
    assert!(head.contains("X-Request-Id: try-1\r\n") && head.contains("Set-Cookie: a=1\r\n"), "{head}");
}

#[test]
fn a_client_that_asked_by_name_may_retry_or_go_on() {
    let by_name = |n: u32| tried(n, "prompt").replace("application/json", "text/event-stream");
    let mut w = world();
    let c = w.client_with(&by_name(0));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let id = last_id(&w, c);
    w.rst(c);
    let d = w.client_with(&by_name(1));
    assert_eq!(last_id(&w, d), id);
    w.rst(d);
    let e = w.client_with(&by_name(2).replace("Accept", &format!("Last-Event-ID: {id}\r\nAccept")));
    // With an id it is no retry from the first event on, and while it reads nobody else finds the order.
    w.client_with(&by_name(3));
    w.say(u, &format!("{}{LAST}", chunk("data: b\n\n")));
    assert_eq!((data(&w, e), asked(&w)), (vec!["b".to_owned()], 2));
}

#[test]
fn a_drain_forgets_orders_that_nobody_reads() {
    let mut w = world();
    let c = w.client_with(&tried(0, "prompt"));
    w.fin(c);
    w.drain();
    assert_eq!((w.state(w.up(0)), w.machine.exchanges()), (State::Closed, 0));
}

#[test]
fn a_retry_does_not_crowd_its_own_order_out_of_a_session_that_is_full() {
    let mut w = world_with_linger(|_, limits| limits.streams_per_session = 1);
    let by_name = |tried: String| tried.replace("application/json", "text/event-stream");
    let c = w.client_with(&by_name(tried(0, "prompt")));
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
    w.rst(c);
    let d = w.client_with(&by_name(tried(1, "prompt")));
    w.say(w.up(0), &format!("{}{LAST}", chunk("data: b\n\n")));
    assert_eq!((asked(&w), data(&w, d), w.body(d).1), (1, vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!((w.count(Count::StreamsCrowdedOut), w.count(Count::RetriesJoined)), (0, 1));
    // Another order has the place that nobody reads.
    let c = w.client_with(&by_name(tried(0, "one")));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk("data: 1\n\n")));
    w.rst(c);
    let before = w.count(Count::StreamsCrowdedOut);
    let d = w.client_with(&by_name(tried(0, "two")));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk("data: 2\n\n")));
    assert_eq!((asked(&w), w.count(Count::StreamsCrowdedOut), data(&w, d)), (3, before + 1, vec!["2".to_owned()]));
    // And where somebody reads, it is told so before upstream is asked.
    let e = w.client_with(&by_name(tried(0, "three")));
    assert_eq!((asked(&w), w.status(e)), (3, 503));
}

#[test]
fn an_overdue_retry_is_neither_ordered_again_nor_answered_from_the_log() {
    let mut w = world_with_linger(|route, _| {
        route.reauthorize = Some(Span::from_secs(20));
        route.linger_post = Span::from_secs(60);
    });
    let c = w.client_with(&tried(0, "prompt"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
    w.pass_secs(10);
    w.rst(c);
    let d = w.client_with(&tried(1, "prompt"));
    assert_eq!((asked(&w), data(&w, d)), (1, vec!["a".to_owned()]));
    w.pass_secs(15);
    w.rst(d);
    let e = w.client_with(&tried(2, "prompt"));
    assert_eq!((asked(&w), w.status(e), gap_header(&w, e).as_deref()), (1, 410, Some("refused")));
    assert!(!w.wire(e).contains("data: a") && w.count(Count::RetriesGone) == 1, "{}", w.wire(e));
}

#[test]
fn a_retry_does_not_crowd_its_own_order_out_where_all_places_are_taken() {
    let mut w = world_with_linger(|_, limits| limits.streams = 2);
    let c = w.client_with(&tried(0, "prompt"));
    w.rst(c);
    let (other, _) = w.streaming();
    w.rst(other);
    // The place of the stream that was left later is given, since the order was left first.
    let d = w.client_with(&tried(1, "prompt"));
    w.say(w.up(0), JSON);
    assert_eq!((asked(&w), w.status(d), w.count(Count::StreamsCrowdedOut)), (1, 200, 1));
}
