//! The era of a request: its header tells it, else its body as it passes, else it is plain HTTP.

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
