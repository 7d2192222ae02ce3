//! POSTs that come again with an id of segno's own.

use super::asking::*;
use super::*;
use crate::testing::world::Said;

fn post(body: &str, lines: &str) -> String {
    let length = body.len();
    format!(
        "POST /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A POST with this body whose client left after event `a`, and the id it had.
fn posted(w: &mut World, body: &str) -> (usize, String) {
    let c = w.client_with(&post(body, ""));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let id = last_id(w, c);
    w.rst(c);
    (u, id)
}

#[test]
fn a_post_that_comes_again_is_answered_from_the_log() {
    for cut in 1..6 {
        let mut w = lingering_world(|_, _| {});
        let (u, id) = posted(&mut w, "prompt");
        let request = post("prompt", &format!("Last-Event-ID: {id}\r\n"));
        let (head, tail) = request.split_at(request.len() - cut);
        let d = w.client_with(head);
        assert_eq!(w.wire(d), "");
        w.say(d, tail);
        w.say(u, &chunk("data: b\n\n"));
        assert_eq!((data(&w, d), w.ups.len()), (vec!["b".to_owned()], 1), "{cut}");
    }
}

#[test]
fn a_post_with_another_body_is_another_request() {
    let mut w = lingering_world(|_, _| {});
    let (_, id) = posted(&mut w, "prompt");
    w.client_with(&post("prompT", &format!("Last-Event-ID: {id}\r\n")));
    let asked = w.wire(w.up(1));
    assert!(asked.ends_with("\r\n\r\nprompT") && !asked.contains("sg-"), "{asked}");
}

#[test]
fn a_post_of_another_principal_is_another_request() {
    let mut w = lingering_world(|_, _| {});
    let (_, id) = posted(&mut w, "prompt");
    w.client_with(&post("prompt", &format!("Authorization: x\r\nLast-Event-ID: {id}\r\n")));
    assert!(w.wire(w.up(1)).ends_with("\r\n\r\nprompt"));
}

#[test]
fn a_body_that_is_too_long_to_hold_goes_upstream_whole() {
    let mut w = lingering_world(|_, _| {});
    let (_, id) = posted(&mut w, "prompt");
    let body = "x".repeat(1 << 20);
    w.client_with(&post(&body, &format!("Last-Event-ID: {id}\r\n")));
    let asked = w.wire(w.up(1));
    assert_eq!(asked.split("\r\n\r\n").nth(1).map(str::len), Some(1 << 20));
}

#[test]
fn a_client_that_waits_to_send_its_body_is_told_to_send_it() {
    let mut w = lingering_world(|_, _| {});
    let (u, id) = posted(&mut w, "prompt");
    let request = post("prompt", &format!("Last-Event-ID: {id}\r\nexpect: 100-continue\r\n"));
    let (head, body) = request.split_at(request.len() - 6);
    let d = w.client_with(head);
    assert_eq!(w.wire(d), "HTTP/1.1 100 Continue\r\n\r\n");
    w.say(d, body);
    w.say(u, &chunk("data: b\n\n"));
    assert!(w.wire(d).contains("\r\n\r\nHTTP/1.1 200 OK\r\n") && w.wire(d).contains("data: b\n"), "{}", w.wire(d));
    assert_eq!(w.ups.len(), 1);
    // Another body goes upstream, which is not asked to tell the client once more.
    let d = w.client_with(head);
    w.say(d, "pROMPT");
    let asked = w.wire(w.last_up());
    assert!(asked.ends_with("\r\n\r\npROMPT") && !asked.to_ascii_lowercase().contains("expect"), "{asked}");
}

/// A POST whose answer upstream has cut after event `a`, the request that names that event, and the id.
fn cut_by_upstream(w: &mut World) -> (String, String) {
    let c = w.client_with(&post("prompt", ""));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let id = last_id(w, c);
    w.hear(u, Said::Eof);
    assert!(!w.is_live(c) && !w.body(c).0.contains("segno.gap"), "the cut itself says enough");
    (post("prompt", &format!("Last-Event-ID: {id}\r\n")), id)
}

#[test]
fn a_post_whose_client_was_told_that_the_rest_is_gone_is_a_new_order() {
    let mut w = lingering_world(|_, _| {});
    let (again, id) = cut_by_upstream(&mut w);
    let d = w.client_with(&again);
    let told = format!("{{\"after\":\"{id}\",\"resumed_at\":null,\"reason\":\"refused\"}}");
    assert!(w.body(d).0.contains(&told) && !w.body(d).1 && w.ups.len() == 1, "{}", w.body(d).0);
    // Without segno the same POST would have been a new order each time.
    for ups in [2, 3] {
        let e = w.client_with(&again.replace("Host", "Connection: close\r\nHost"));
        let u = w.last_up();
        assert!(w.wire(u).ends_with("\r\n\r\nprompt") && !w.wire(u).contains("sg-"), "{}", w.wire(u));
        w.say(u, &format!("{STREAM}{}{LAST}", chunk("data: b\n\n")));
        w.hear(u, Said::Eof);
        assert_eq!((data(&w, e), w.body(e).1, w.ups.len()), (vec!["b".to_owned()], true, ups));
        assert_eq!(gap_header(&w, e).as_deref(), Some("refused"));
        assert!(!w.body(e).0.contains("segno.gap"), "it was told by an event before: {}", w.body(e).0);
    }
}

#[test]
fn a_client_that_has_not_all_of_a_cut_answer_gets_it_and_the_gap_before_its_post_is_a_new_order() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&post("prompt", ""));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let first = last_id(&w, c);
    w.say(u, &chunk("data: b\n\n"));
    w.hear(u, Said::Eof);
    let d = w.client_with(&post("prompt", &format!("Last-Event-ID: {first}\r\n")));
    assert!(w.body(d).0.contains("data: b\n\nevent: segno.gap\n"), "{}", w.body(d).0);
    let last = last_id(&w, d);
    // Who still lacks an event is given it, however often the gap was told.
    for _ in 0..2 {
        let e = w.client_with(&post("prompt", &format!("Last-Event-ID: {first}\r\n")));
        assert!(w.body(e).0.contains("data: b\n\nevent: segno.gap\n"), "{}", w.body(e).0);
    }
    w.client_with(&post("prompt", &format!("Last-Event-ID: {last}\r\n")));
    assert_eq!(w.ups.len(), 2);
}

#[test]
fn a_get_for_the_rest_of_a_cut_answer_is_told_of_the_gap_and_then_refused() {
    let mut w = lingering_world(|_, _| {});
    let (_, id) = cut_by_upstream(&mut w);
    let get = GET_STREAM.replace("Host", &format!("Last-Event-ID: {id}\r\nHost"));
    let d = w.client_with(&get);
    assert!(w.body(d).0.contains("segno.gap") && !w.body(d).1, "{}", w.body(d).0);
    // It would come back for ever.
    let e = w.client_with(&get);
    assert_eq!((w.status(e), gap_header(&w, e).as_deref(), w.ups.len()), (410, Some("refused"), 1));
}

#[test]
fn where_gaps_are_told_by_a_status_a_cut_answer_is_refused_each_time() {
    let mut w = lingering_world(|route, _| route.gap = crate::config::Gap::Status);
    let (again, _) = cut_by_upstream(&mut w);
    for _ in 0..3 {
        let d = w.client_with(&again);
        assert_eq!((w.status(d), gap_header(&w, d).as_deref(), w.ups.len()), (410, Some("refused"), 1));
    }
}
