//! The era of a request: its header tells it, else its body as it passes, else it is plain HTTP.

use super::asking::{gap_header, last_id, with};
use super::*;

/// A POST of JSON whose body tells this revision in its `_meta`.
fn call(lines: &str, revision: &str) -> String {
    let body = format!(
        "{{\"method\":\"tools/call\",\"params\":{{\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"{revision}\"}}}}}}"
    );
    format!(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json; charset=utf-8\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A client of an answer that is an event stream without ids.
fn answered(w: &mut World, request: &str) -> (usize, usize) {
    let c = w.client_with(request);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    (c, u)
}

#[test]
fn a_body_of_2026_07_28_passes_untouched_and_closing_cancels_it() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = answered(&mut w, &call("", "2026-07-28"));
    assert_eq!(w.events(c), "data: a\n\n");
    w.rst(c);
    assert_eq!((w.state(u), w.machine.exchanges()), (State::Closed, 0));
}

#[test]
fn the_body_tells_as_much_in_parts_of_any_size() {
    let request = call("", "2026-07-28");
    for at in 1..request.len() {
        let mut w = lingering_world(|_, _| {});
        let c = w.client();
        w.say(c, &request[..at]);
        w.say(c, &request[at..]);
        w.say(w.last_up(), &format!("{STREAM}{}", chunk("data: a\n\n")));
        assert_eq!(w.events(c), "data: a\n\n", "cut at {at}");
    }
}

#[test]
fn a_body_of_an_older_revision_is_primed_and_healed_by_get() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = answered(&mut w, &call("", "2025-11-25"));
    assert!(w.body(c).0.starts_with("id: sg-"), "{}", w.body(c).0);
    assert!(w.body(c).0.contains("data:\n\n"), "{}", w.body(c).0);
    w.say(u, &chunk("id: x\ndata: b\n\n"));
    w.rst(u);
    let asked = w.wire(w.last_up());
    assert!(asked.starts_with("GET /mcp HTTP/1.1\r\n") && asked.contains("Last-Event-ID: x\r\n"), "{asked}");
}

#[test]
fn a_header_goes_before_the_body() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = answered(&mut w, &call("MCP-Protocol-Version: 2025-11-25\r\n", "2026-07-28"));
    assert!(w.body(c).0.starts_with("id: sg-"), "{}", w.body(c).0);
    let mut w = lingering_world(|_, _| {});
    let (c, _) = answered(&mut w, &call("MCP-Protocol-Version: 2026-07-28\r\n", "2025-11-25"));
    assert_eq!(w.events(c), "data: a\n\n");
}

#[test]
fn without_either_a_post_is_plain() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = answered(&mut w, &call("", "2026-07-28").replace("_meta", "_mete"));
    assert!(w.body(c).0.starts_with("id: sg-") && !w.body(c).0.contains("data:\n\n"), "{}", w.body(c).0);
    w.rst(u);
    assert!(!w.body(c).1 && w.ups.len() == 1, "no POST that reached upstream is asked again");
}

#[test]
fn a_call_that_is_healed_by_get_is_asked_for_again_when_upstream_hangs_up() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&call("Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-06-18\r\n", "2025-06-18"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(w.up(0));
    w.rst(w.up(1));
    w.pass_secs(2);
    assert!(w.wire(w.up(2)).starts_with("GET /mcp "), "{}", w.wire(w.up(2)));
    w.say(w.up(2), &format!("{STREAM}{}{LAST}", chunk(&event(2))));
    assert_eq!(w.body(c), (event(1) + &event(2), true));
}

#[test]
fn a_standalone_stream_begins_anew_and_is_never_refused() {
    let mcp = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-11-25\r\n";
    let get = |id: &str| with(mcp, id);
    for (first, whole) in [("", false), ("", true), ("data: a\n\n", false), ("data: a\n\n", true)] {
        let mut w = lingering_world(|_, _| {});
        let c = w.client_with(&GET_STREAM.replace("Host", &format!("{mcp}Host")));
        let u = w.up(0);
        w.say(u, STREAM);
        if !first.is_empty() {
            w.say(u, &chunk(first));
        }
        let id = last_id(&w, c);
        w.rst(c);
        if whole {
            w.say(u, LAST);
        }
        w.rst(u);
        let d = w.client_with(&get(&id));
        assert_eq!(w.ups.len(), 2, "{first:?}, {whole}: {}", w.wire(d));
        assert!(!w.wire(w.up(1)).contains("Last-Event-ID"));
        w.say(w.up(1), &format!("{STREAM}{}", chunk("data: new\n\n")));
        assert_eq!((w.status(d), gap_header(&w, d)), (200, None));
        assert!(w.body(d).0.ends_with("data: new\n\n"), "{}", w.body(d).0);
        assert!(!w.body(d).0.contains("segno.gap"));
    }
}

#[test]
fn a_standalone_stream_whose_events_have_left_goes_on_with_the_gap_in_its_head() {
    let mcp = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-06-18\r\n";
    let mut w = lingering_world(|route, _| {
        route.replay_events = 2;
        route.linger_full = crate::config::LingerFull::Evict;
    });
    let c = w.client_with(&GET_STREAM.replace("Host", &format!("{mcp}Host")));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: 1\n\n")));
    let id = last_id(&w, c);
    w.rst(c);
    (2..9).for_each(|n| w.say(u, &chunk(&format!("data: {n}\n\n"))));
    let d = w.client_with(&with(mcp, &id));
    assert_eq!((w.status(d), gap_header(&w, d).as_deref()), (200, Some("evicted")));
    assert!(w.body(d).0.contains("data: 8\n") && !w.body(d).0.contains("segno.gap"), "{}", w.body(d).0);
}
