//! POSTs that come again with an id of segno's own.

use super::asking::*;
use super::*;

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
