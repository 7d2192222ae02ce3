//! What seldom happens: names of events that have not been, answers that come too late, places that are all taken, one
//! end that stops in the middle while the other goes on.

use super::asking::{data, gap_header, get, last_id, without_ids};
use super::*;
use crate::base::EventId;
use crate::config::{Dedup, Persist, ResumeFrom, Share, StoreConfig};
use crate::machine::{Checkpoint, StoredEvents, StoredOwner, StoredStream};

const EVENTS_POST: &str = "POST /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n";
const CHUNKED_PLAIN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A POST with this body in chunks.
fn chunked_post(body: &str, lines: &str) -> String {
    format!("{EVENTS_POST}{lines}Transfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn who_comes_back_gets_upstreams_lines_about_origins_and_no_other_ones() {
    let mut w = lingering_world(|_, _| {});
    let lines = "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\nX-Request-Id: 5\r\n";
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &STREAM.replace("Content-Type", &format!("{lines}Content-Type")));
    w.say(u, &chunk(&event(1)));
    w.rst(c);
    w.say(u, &chunk(&event(2)));
    let d = w.client_with(&get("1"));
    let wire = w.wire(d);
    assert_eq!((data(&w, d), w.ups.len()), (vec!["2".to_owned()], 1));
    assert!(wire.contains("\r\nAccess-Control-Allow-Origin: https://a.example\r\n"), "{wire}");
    assert!(wire.contains("\r\nVary: Origin\r\n") && !wire.contains("X-Request-Id: 5"), "{wire}");
}

#[test]
fn an_own_id_of_an_event_that_has_not_been_is_unknown() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = without_ids(&mut w);
    let d = w.client_with(&get(&last_id(&w, c).replace("-2", "-3")));
    w.say(w.up(1), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!((gap_header(&w, d).as_deref(), w.ups.len()), (Some("unknown"), 2));
    assert!(!w.wire(w.up(1)).contains("sg-"));
}

#[test]
fn an_own_id_on_a_method_that_begins_no_stream_is_taken_off() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = without_ids(&mut w);
    let d = w.client_with(&get(&last_id(&w, c)).replace("GET", "PUT"));
    let asked = w.wire(w.up(1));
    assert!(asked.starts_with("PUT ") && !asked.contains("Last-Event-ID"), "{asked}");
    w.say(u, &chunk("data: c\n\n"));
    assert_eq!(w.wire(d), "");
}

#[test]
fn a_stream_is_found_by_upstreams_id_beside_any_number_that_others_read() {
    for readers in [62, 66] {
        let mut w = lingering_world(|_, _| {});
        let (c, u) = w.streaming();
        for _ in 0..readers {
            w.client_with(GET_STREAM);
            w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(5))));
        }
        w.rst(c);
        w.say(u, &chunk(&event(2)));
        let d = w.client_with(&get("1"));
        assert_eq!((data(&w, d), w.ups.len()), (vec!["2".into()], readers + 1), "beside {readers}");
    }
}

#[test]
fn a_post_that_comes_again_and_finds_no_place_is_told_when_to_come_back() {
    let mut w = lingering_world(|_, limits| limits.streams = 1);
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    let d = w.client_with(&format!("{EVENTS_POST}Last-Event-ID: {id}\r\nContent-Length: 2\r\n\r\nhi"));
    assert_eq!((w.status(d), w.count(Count::StreamsRefused), w.ups.len()), (503, 1, 1));
    assert!(w.wire(d).contains("Retry-After: 5\r\n"));
}

#[test]
fn a_post_in_chunks_that_comes_again_is_answered_from_the_log() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&chunked_post(&format!("{}{LAST}", chunk("prompt")), ""));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let id = last_id(&w, c);
    w.rst(c);
    w.say(u, &chunk("data: b\n\n"));
    // In other chunks, and with a request behind it that is no part of it.
    let again = chunked_post(&format!("{}{}{LAST}", chunk("pro"), chunk("mpt")), &format!("Last-Event-ID: {id}\r\n"));
    let d = w.client_with(&format!("{again}{GET}"));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["b".to_owned()], 1));
    w.say(u, LAST);
    assert!(w.wire(u).contains("GET /plain "), "{}", w.wire(u));
}

#[test]
fn a_post_that_comes_again_with_a_damaged_body_is_refused() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = without_ids(&mut w);
    let d = w.client_with(&chunked_post("zz\r\n", &format!("Last-Event-ID: {}\r\n", last_id(&w, c))));
    assert_eq!((w.status(d), w.state(c), w.machine.streams()), (400, State::Open, 1));
}

#[test]
fn a_damaged_chunk_of_an_ordinary_answer_is_a_cut() {
    let mut w = world();
    let c = w.client_with(GET);
    w.say(w.up(0), &format!("{CHUNKED_PLAIN}{}zz\r\n", chunk("ok")));
    assert_eq!((w.body(c), w.state(c)), (("ok".to_owned(), false), State::Closed));
    assert_eq!((w.state(w.up(0)), w.count(Count::UpstreamBodiesBad)), (State::Closed, 1));
}

#[test]
fn a_clean_end_before_the_end_of_the_request_is_the_last_one_on_its_connection() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&chunked_post(&chunk("hi"), ""));
    w.say(w.up(0), &format!("{STREAM}{}{LAST}", chunk(&event(1))));
    assert_eq!((w.events(c), w.body(c).1, w.state(c)), (event(1), true, State::Shut));
    // The rest of the body is no request.
    w.say(c, &format!("{}{LAST}{GET}", chunk("ho")));
    assert_eq!((w.ups.len(), w.wire(c).matches("HTTP/1.1").count()), (1, 1));
}

#[test]
fn a_route_keeps_no_more_idle_connections_than_it_may() {
    let mut w = world();
    let clients: Vec<usize> = (0..70).map(|_| w.client_with(GET)).collect();
    (0..70).for_each(|n| w.say(w.up(n), OK));
    assert!(clients.iter().all(|c| w.status(*c) == 200));
    assert_eq!((0..70).filter(|n| w.state(w.up(*n)) == State::Open).count(), 64);
}

#[test]
fn an_answer_of_unknown_length_ends_the_connection_of_a_client_without_chunks() {
    let mut w = world();
    let c = w.client_with("GET /plain HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    w.say(w.up(0), &format!("{CHUNKED_PLAIN}{}", chunk("ok")));
    assert!(w.wire(c).contains("Connection: close\r\n") && w.state(c) == State::Open, "{}", w.wire(c));
    w.say(w.up(0), LAST);
    assert_eq!((w.body(c).0.as_str(), w.state(c)), ("ok", State::Shut));
}

#[test]
fn a_conflict_is_an_answer_like_any_other_where_nothing_is_healed() {
    let mut w = world();
    let mcp = "MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: s\r\n";
    let c = w.client_with(&POST.replace("Host", &format!("{mcp}Host")));
    w.say(w.up(0), "HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!((w.status(c), w.body(c).0.as_str(), w.ups.len()), (409, "no", 1));
}

#[test]
fn an_error_that_calls_itself_an_event_stream_passes_and_is_no_encoded_stream() {
    let mut w = world();
    let c = w.client_with(POST);
    w.say(w.up(0), "HTTP/1.1 500 No\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!((w.status(c), w.body(c).0.as_str(), w.count(Count::StreamsEncoded)), (500, "no", 0));
}

#[test]
fn a_get_with_a_body_is_not_shared() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let with_body = GET_STREAM.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nhi");
    w.client_with(&with_body);
    w.client_with(&with_body);
    assert_eq!(w.ups.len(), 2);
}

#[test]
fn where_duplicates_are_always_dropped_one_is_without_a_cut_too() {
    for (dedup, expected) in [(Dedup::Always, vec!["1", "2"]), (Dedup::Resume, vec!["1", "1", "2"])] {
        let mut w = lingering_world(|route, _| route.dedup = dedup);
        let (c, u) = w.streaming();
        w.say(u, &chunk(&(event(1) + &event(2))));
        assert_eq!(data(&w, c), expected);
    }
}

#[test]
fn a_stream_that_is_read_outlives_its_deleted_session() {
    let mut w = lingering_world(|_, _| {});
    let mcp = "Mcp-Session-Id: s\r\n";
    let c = w.client_with(&GET_STREAM.replace("Host", &format!("{mcp}Host")));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.client_with(&format!("DELETE /events HTTP/1.1\r\nHost: h\r\n{mcp}\r\n"));
    w.say(w.up(1), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    w.say(u, &chunk(&event(2)));
    assert_eq!((data(&w, c), w.machine.sessions()), (vec!["1".to_owned(), "2".to_owned()], 0));
    w.rst(c);
    w.client_with(&get("1").replace("Host", &format!("{mcp}Host")));
    // Over the connection of the DELETE.
    assert!(w.wire(w.up(1)).contains("Last-Event-ID: 1\r\n"), "what was of a deleted session is found no more");
}

#[test]
fn a_stream_whose_room_others_have_taken_goes_on_in_the_middle_of_an_event() {
    let mut w = lingering_world(|route, limits| {
        limits.log_budget = 16 << 10;
        route.heartbeat = Span::ZERO;
    });
    let (c, u) = w.streaming();
    let held = (4 << 10) - "data: ".len();
    w.say(u, &chunk(&format!("data: {}", "x".repeat(held))));
    // Others need room: this log gives back what it can, and they take all that there is.
    let left = w.machine.take_budget();
    w.say(u, &chunk(&format!("{}\n\n", "x".repeat(1_000))));
    assert_eq!((w.unread(u), data(&w, c).last().map(String::len)), (0, Some(held + 1_000)));
    w.machine.give_budget(left);
}

#[test]
fn a_delete_of_something_else_ends_no_session() {
    let mcp = "Mcp-Session-Id: s\r\n";
    for lines in ["", "Mcp-Session-Id: t\r\n", "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2026-07-28\r\n"] {
        let mut w = lingering_world(|_, _| {});
        let c = w.client_with(&GET_STREAM.replace("Host", &format!("{mcp}Host")));
        let u = w.up(0);
        w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
        w.rst(c);
        let d = w.client_with(&format!("DELETE /events HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        w.say(w.up(1), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!((w.status(d), w.state(u), w.machine.sessions()), (200, State::Open, 1), "{lines}");
    }
}

/// A process with a store, whose streams linger.
fn durable_world(seed: u64) -> World {
    let route = Route::new(Upstream::parse("http://up:9000").unwrap());
    let persist = Persist { durable: true, ..Persist::default() };
    world_from(Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() }, seed)
}

/// What the store has of a stream with events 1 to 5.
fn kept() -> StoredStream {
    let mut w = durable_world(7);
    let (_, u) = w.streaming();
    (2..6).for_each(|n| w.say(u, &chunk(&event(n))));
    w.acknowledged();
    let (mut stream, mut log, mut id) = (0, None, None);
    w.machine.drain_checkpoints(|c| match c {
        Checkpoint::Began { name, .. } => stream = name.stream,
        Checkpoint::Events { part, .. } => {
            log = Some(StoredEvents {
                meta: part.meta.clone(),
                first: part.first,
                bytes: part.bytes.to_vec(),
                fence: 0,
                owner: StoredOwner::None,
                end: None,
            });
        }
        Checkpoint::Delivered { cursor, .. } => id = Some(cursor.id),
        _ => {}
    });
    StoredStream { stream, id: id.unwrap(), last_seen_ms: 1, log }
}

fn found(w: &mut World, at: usize, found: Vec<StoredStream>) {
    let exchange = w.lookups[at].exchange;
    w.machine.handle(Input::LookedUp { exchange, found: Ok(found) }, w.now);
    w.pump();
}

#[test]
fn one_that_waits_for_the_store_joins_a_stream_that_another_has_brought_back_meanwhile() {
    let mut w = durable_world(8);
    let (d, e) = (w.client_with(&get("3")), w.client_with(&get("4")));
    found(&mut w, 1, vec![kept()]);
    assert_eq!(data(&w, e), ["5"]);
    w.rst(e);
    found(&mut w, 0, vec![kept()]);
    assert_eq!((data(&w, d), w.ups.len(), w.machine.streams()), (vec!["4".to_owned(), "5".to_owned()], 1, 1));
}

#[test]
fn an_answer_of_the_store_that_comes_when_upstream_has_been_tried_changes_nothing() {
    let mut w = durable_world(8);
    w.dial = Dial::Refuse;
    let d = w.client_with(&get("3"));
    w.pass_ms(1_001);
    assert_eq!(w.ups.len(), 1);
    found(&mut w, 0, vec![kept()]);
    assert_eq!((w.wire(d).as_str(), w.ups.len(), w.machine.streams()), ("", 1, 0));
    w.dial = Dial::Accept;
    w.pass_secs(1);
    assert!(w.wire(w.last_up()).contains("Last-Event-ID: 3\r\n"));
}

#[test]
fn a_session_that_was_at_an_own_id_begins_anew_and_one_cursor_is_not_ambiguous() {
    let own = {
        let mut w = lingering_world(|_, _| {});
        let (c, _) = without_ids(&mut w);
        last_id(&w, c)
    };
    for (id, asks) in [(own.as_str(), false), ("9", true)] {
        let mut w = lingering_world(|route, _| route.resume_from = ResumeFrom::Session);
        w.client_with(&GET_STREAM.replace("Host", "Mcp-Session-Id: s\r\nHost"));
        let id = EventId::from_bytes(id.as_bytes()).unwrap();
        found(&mut w, 0, vec![StoredStream { stream: 1, id, last_seen_ms: 1, log: None }]);
        assert_eq!(w.wire(w.up(0)).contains("Last-Event-ID: 9\r\n"), asks);
        assert!(!w.wire(w.up(0)).contains("sg-"));
        assert_eq!((w.count(Count::SessionCursorsUsed), w.count(Count::SessionCursorsAmbiguous)), (asks.into(), 0));
    }
}

#[test]
fn a_session_of_which_the_store_knows_nothing_begins_anew() {
    let mut w = lingering_world(|route, _| route.resume_from = ResumeFrom::Session);
    w.client_with(&GET_STREAM.replace("Host", "Mcp-Session-Id: s\r\nHost"));
    assert_eq!(w.ups.len(), 0);
    found(&mut w, 0, Vec::new());
    assert!(w.wire(w.up(0)).starts_with("GET /events ") && !w.wire(w.up(0)).contains("Last-Event-ID"));
}

#[test]
fn a_client_that_has_its_cursor_is_not_given_its_sessions() {
    let own = {
        let mut w = lingering_world(|_, _| {});
        let (c, _) = without_ids(&mut w);
        last_id(&w, c)
    };
    for (id, asks) in [(own.as_str(), false), ("9", true)] {
        let mut w = lingering_world(|route, _| route.resume_from = ResumeFrom::Session);
        w.client_with(&get(id).replace("Host", "Mcp-Session-Id: s\r\nHost"));
        assert_eq!((w.lookups.len(), w.ups.len()), (0, 1), "{id}");
        assert_eq!(w.wire(w.up(0)).contains("Last-Event-ID: 9\r\n"), asks, "{id}");
    }
}
