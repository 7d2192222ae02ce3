//! The stream that an MCP client begins by GET: it carries what the server says of itself, and a client that is refused
//! it hears nothing more.

use super::asking::{data, gap_header, get, last_id, with, without_ids};
use super::*;
use crate::config::{Gap, Persist, StoreConfig};

const NEWEST: &str = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-11-25\r\n";
const OLDER: &str = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-06-18\r\n";

/// The client's first request.
fn first(lines: &str) -> String {
    GET_STREAM.replace("Host", &format!("{lines}Host"))
}

/// A call, whose answer is an event stream.
fn call(lines: &str) -> String {
    POST.replace("/llm", "/events").replace("Host", &format!("Accept: text/event-stream\r\n{lines}Host"))
}

/// A client that has got some of a stream without ids, and has left it for good, as far as this segno knows.
fn forgotten(w: &mut World, request: &str, events: &str, ends: bool) -> String {
    let c = w.client_with(request);
    let u = w.last_up();
    w.say(u, STREAM);
    if !events.is_empty() {
        w.say(u, &chunk(events));
    }
    let id = last_id(w, c);
    assert!(id.starts_with("sg-"), "{id}");
    if ends {
        w.say(u, LAST);
    }
    w.rst(c);
    w.pass_secs(40);
    assert_eq!(w.machine.streams(), 0);
    id
}

/// What a client gets that comes back with this id: a stream anew, without the id, and what is new in it.
fn begins_anew(w: &mut World, lines: &str, id: &str, gap: Option<&str>) {
    let before = w.ups.len();
    let d = w.client_with(&with(lines, id));
    assert_eq!(w.ups.len(), before + 1, "{}", w.wire(d));
    let u = w.last_up();
    assert!(!w.wire(u).contains("Last-Event-ID"), "{}", w.wire(u));
    w.say(u, &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!((w.status(d), gap_header(w, d).as_deref()), (200, gap));
    let body = w.body(d).0;
    assert!(body.ends_with("data: new\n\n") && !body.contains("segno.gap"), "{body}");
    // What it is given to come back with is the new stream's.
    let again = last_id(w, d);
    assert!(again.starts_with("sg-") && again[..26] != id[..26], "{again}");
}

#[test]
fn one_that_is_forgotten_begins_anew_with_the_gap_in_its_head() {
    for lines in [NEWEST, OLDER] {
        for events in ["", "data: a\n\n"] {
            for ends in [false, true] {
                if events.is_empty() && lines == OLDER {
                    // Its client has no id yet.
                    continue;
                }
                let mut w = lingering_world(|_, _| {});
                let id = forgotten(&mut w, &first(lines), events, ends);
                begins_anew(&mut w, lines, &id, Some("unknown"));
            }
        }
    }
}

#[test]
fn one_that_another_process_made_begins_anew() {
    let config = || one_route(|_, _| {});
    let id = forgotten(&mut world(), &first(NEWEST), "", false);
    begins_anew(&mut world_from(config(), 8), NEWEST, &id, Some("unknown"));
    let mut w = world_from(config(), 8);
    w.machine = crate::machine::Machine::new(std::sync::Arc::new(config()), 8, 12, w.now);
    begins_anew(&mut w, NEWEST, &id, Some("unknown"));
    assert_eq!(w.count(Count::IdsForeign), 1);
}

#[test]
fn one_that_the_store_does_not_know_begins_anew() {
    let persist = Persist { durable: true, ..Persist::default() };
    let route = Route::new(Upstream::parse("http://up:9000").unwrap());
    let id = forgotten(&mut lingering_world(|_, _| {}), &first(NEWEST), "data: a\n\n", false);
    let mut w =
        world_from(Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() }, 8);
    let d = w.client_with(&with(NEWEST, &id));
    assert!(w.ups.is_empty() && w.wire(d).is_empty());
    let exchange = w.lookups.pop().unwrap().exchange;
    w.machine.handle(Input::LookedUp { exchange, found: Ok(Vec::new()) }, w.now);
    w.pump();
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!((w.status(d), gap_header(&w, d).as_deref()), (200, Some("unknown")));
    assert_eq!(data(&w, d), ["new"]);
}

#[test]
fn the_answer_to_a_call_that_is_forgotten_is_refused() {
    // A stream anew would not bring the answer, and the client would wait for it.
    for (lines, events) in [(NEWEST, ""), (NEWEST, "data: a\n\n"), (OLDER, "data: a\n\n")] {
        let mut w = lingering_world(|_, _| {});
        let id = forgotten(&mut w, &call(lines), events, false);
        let d = w.client_with(&with(lines, &id));
        assert_eq!((w.status(d), gap_header(&w, d).as_deref(), w.ups.len()), (400, Some("unknown"), 1));
    }
}

#[test]
fn a_route_that_tells_gaps_by_status_does_so_here_too() {
    let mut w = lingering_world(|route, _| route.gap = Gap::Status);
    let id = forgotten(&mut w, &first(NEWEST), "", false);
    let d = w.client_with(&with(NEWEST, &id));
    assert_eq!((w.status(d), gap_header(&w, d).as_deref()), (400, Some("unknown")));
}

#[test]
fn a_client_that_comes_with_an_id_of_upstreams_is_not_given_a_lesser_one() {
    let mut w = lingering_world(|_, _| {});
    let d = w.client_with(&with(NEWEST, "up-5"));
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: up-5\r\n"));
    w.say(w.up(0), STREAM);
    assert_eq!((w.status(d), w.events(d)), (200, String::new()), "its own id is the better one to come back with");
    w.say(w.up(0), &chunk("id: up-6\ndata: x\n\n"));
    assert_eq!(w.events(d), "id: up-6\ndata: x\n\n");
}

/// Clients of no protocol in particular are told of the same thing in the stream itself.
#[test]
fn without_mcp_the_gap_is_an_event() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.pass_secs(40);
    let d = w.client_with(&get(&id));
    w.say(w.up(1), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert!(w.body(d).0.starts_with("event: segno.gap\n"), "{}", w.body(d).0);
}

#[test]
fn a_standalone_stream_begins_anew_and_is_never_refused() {
    let mcp = NEWEST;
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
    let mcp = OLDER;
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
