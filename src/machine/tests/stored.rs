//! Streams of a process before: found in the store, replayed, and gone on with.

use super::asking::{data, gap_header, get, last_id, with, without_ids};
use super::*;
use crate::base::EventId;
use crate::config::{Persist, ResumeFrom};
use crate::machine::{Checkpoint, EventPart, NotLookedUp, StoredEvents, StoredStream};

/// A process whose streams are stored. What it draws by chance comes from the seed, as in no process before.
fn durable_world(seed: u64) -> World {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.linger = Span::ZERO;
    let persist = Persist { durable: true, ..Persist::default() };
    world_from(Config { routes: vec![route].into(), persist, ..Config::default() }, seed)
}

/// What a store holds after these checkpoints.
fn stored(w: &mut World) -> StoredStream {
    w.acknowledged();
    let (mut number, mut parts, mut id) = (0, Vec::<EventPart>::new(), None);
    w.machine.drain_checkpoints(|c| match c {
        Checkpoint::Began { name, .. } => number = name.stream,
        Checkpoint::Events { part, .. } => parts.push(part),
        Checkpoint::Delivered { cursor, .. } => id = Some(cursor.id),
        _ => {}
    });
    let log = StoredEvents {
        meta: parts[0].meta.clone(),
        first: parts[0].first,
        bytes: parts.iter().flat_map(|part| part.bytes.iter().copied()).collect(),
    };
    StoredStream { stream: number, id: id.unwrap(), last_seen_ms: 1, log: Some(log) }
}

fn find(w: &mut World, found: Vec<StoredStream>) {
    let exchange = w.lookups.pop().unwrap().exchange;
    w.machine.handle(Input::LookedUp { exchange, found: Ok(found) }, w.now);
    w.pump();
}

/// The store cannot be asked.
fn fail(w: &mut World) {
    let exchange = w.lookups.pop().unwrap().exchange;
    w.machine.handle(Input::LookedUp { exchange, found: Err(NotLookedUp) }, w.now);
    w.pump();
}

#[test]
fn events_are_stored_once_each_and_numbered() {
    let mut w = durable_world(7);
    let (_, u) = w.streaming();
    w.say(u, &chunk(&event(2)));
    let mut parts = Vec::new();
    let mut drain = |w: &mut World| {
        w.acknowledged();
        w.machine.drain_checkpoints(|c| {
            if let Checkpoint::Events { part, .. } = c {
                parts.push((part.first, String::from_utf8(part.bytes.into()).unwrap(), part.ends.len()));
            }
        });
    };
    drain(&mut w);
    w.say(u, &chunk(&event(3)));
    drain(&mut w);
    assert_eq!(parts, [(1, format!("{}{}", event(1), event(2)), 2), (3, event(3), 1)]);
}

#[test]
fn a_stream_of_a_process_before_is_replayed_and_asked_for_behind() {
    let mut w = durable_world(7);
    let (_, u) = w.streaming();
    (2..6).for_each(|n| w.say(u, &chunk(&event(n))));
    let kept = stored(&mut w);
    let mut next = durable_world(8);
    let d = next.client_with(&get("3"));
    assert_eq!(next.ups.len(), 0);
    find(&mut next, vec![kept.clone()]);
    assert_eq!(data(&next, d), ["4", "5"]);
    assert!(next.wire(next.up(0)).contains("Last-Event-ID: 5\r\n"));
    next.say(next.up(0), &format!("{STREAM}{}{}", chunk(&event(5)), chunk(&event(6))));
    assert_eq!(data(&next, d), ["4", "5", "6"]);
    // It goes on in the store under its own number.
    next.acknowledged();
    let (mut number, mut sequence, mut first) = (0, 0, 0);
    next.machine.drain_checkpoints(|c| match c {
        Checkpoint::Began { name, .. } => number = name.stream,
        Checkpoint::Delivered { cursor, .. } => sequence = cursor.sequence,
        Checkpoint::Events { part, .. } => first = part.first,
        _ => {}
    });
    assert_eq!((number, sequence, first), (kept.stream, 6, 6));
}

#[test]
fn stored_events_with_own_ids_are_replayed_and_then_the_stream_is_new() {
    let mut w = durable_world(7);
    let (c, _) = without_ids(&mut w);
    let (last, kept) = (last_id(&w, c), stored(&mut w));
    let mut next = durable_world(8);
    let d = next.client_with(&get(&last.replace("-2", "-1")));
    find(&mut next, vec![kept.clone()]);
    assert_eq!((data(&next, d), next.body(d).1, gap_header(&next, d)), (vec!["b".to_owned()], false, None));
    let e = next.client_with(&get(&last));
    find(&mut next, vec![kept]);
    assert!(!next.wire(next.up(0)).contains("sg-"));
    next.say(next.up(0), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!((gap_header(&next, e).as_deref(), data(&next, e)[1].as_str()), (Some("restarted"), "new"));
}

#[test]
fn a_store_that_does_not_answer_holds_a_request_up_for_a_second() {
    let mut w = durable_world(7);
    w.client_with(&get("3"));
    w.pass_ms(999);
    assert_eq!(w.ups.len(), 0);
    w.pass_ms(2);
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: 3\r\n"));
    find(&mut w, Vec::new());
    assert_eq!(w.ups.len(), 1);
}

#[test]
fn an_answer_of_the_store_that_knows_nothing_sends_the_request_upstream() {
    let mut w = durable_world(7);
    w.client_with(&get("3"));
    find(&mut w, Vec::new());
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: 3\r\n"));
}

#[test]
fn what_a_post_began_is_not_found_by_an_id_that_can_be_guessed() {
    let mcp = "Mcp-Session-Id: s\r\n";
    for (lines, asked) in [("", 1), ("MCP-Protocol-Version: 2025-11-25\r\n", 1), (mcp, 0)] {
        let mut w = durable_world(7);
        let post =
            POST.replace("/llm", "/events").replace("Host", &format!("Accept: text/event-stream\r\n{lines}Host"));
        w.client_with(&post);
        w.say(w.up(0), &format!("{STREAM}{}{}", chunk(&event(1)), chunk(&event(2))));
        let kept = stored(&mut w);
        let mut next = durable_world(8);
        let d = next.client_with(&with(lines, "1"));
        find(&mut next, vec![kept]);
        assert_eq!((next.ups.len().min(1), data(&next, d).is_empty()), (1, asked == 1), "{lines:?}");
    }
}

#[test]
fn a_stream_that_is_gone_on_with_again_and_again_keeps_its_record() {
    let mut w = durable_world(7);
    let (_, u) = w.streaming();
    w.say(u, &chunk(&event(2)));
    let kept = stored(&mut w);
    let mut next = durable_world(8);
    for _ in 0..20 {
        let d = next.client_with(&get("1"));
        find(&mut next, vec![kept.clone()]);
        assert_eq!(data(&next, d), ["2"]);
        next.rst(d);
    }
    next.machine.drain_checkpoints(|c| {
        assert!(!matches!(c, Checkpoint::Forgotten { .. }), "{c:?}");
    });
}

#[test]
fn two_that_ask_for_one_stream_at_once_do_not_both_go_on_with_it() {
    let mut w = durable_world(7);
    let (_, u) = w.streaming();
    w.say(u, &chunk(&event(2)));
    let kept = stored(&mut w);
    let mut next = durable_world(8);
    next.client_with(&get("1"));
    next.client_with(&get("1"));
    find(&mut next, vec![kept.clone()]);
    find(&mut next, vec![kept]);
    assert_eq!(next.count(Count::Rebuilt), 1);
    assert!(next.wire(next.up(1)).contains("Last-Event-ID: 1\r\n"), "the other goes upstream as without a store");
}

#[test]
fn a_part_of_an_event_is_never_stored() {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    (route.replay_bytes, route.max_event_bytes) = (16 << 10, 4 << 10);
    let persist = Persist { durable: true, ..Persist::default() };
    let mut w = world_of(Config { routes: vec![route].into(), persist, ..Config::default() });
    let (c, u) = w.streaming();
    let mut parts = Vec::new();
    let mut drain = |w: &mut World| {
        w.acknowledged();
        w.machine.drain_checkpoints(|c| {
            if let Checkpoint::Events { part, .. } = c {
                parts.push((part.first, String::from_utf8(part.bytes.into()).unwrap()));
            }
        });
    };
    drain(&mut w);
    w.takes(c, 100);
    w.say(u, &chunk(&format!("id: 2\ndata: {}\n\n", "x".repeat(60_000))));
    w.takes(c, 57_000);
    drain(&mut w);
    w.takes_all(c);
    w.say(u, &chunk(&event(3)));
    drain(&mut w);
    assert_eq!(parts, [(1, event(1)), (3, event(3))]);
}

#[test]
fn a_large_log_is_taken_in_at_once_and_replayed() {
    let mut w = durable_world(7);
    let (_, u) = w.streaming();
    w.say(u, &chunk(&event(2)));
    let mut kept = stored(&mut w);
    let log = kept.log.as_mut().unwrap();
    let line = "x".repeat(4_000);
    log.bytes = (1..250).flat_map(|n| format!("id: {n}\ndata: {n}\ndata: {line}\n\n").into_bytes()).collect();
    let mut next = durable_world(8);
    let d = next.client_with(&get("200"));
    find(&mut next, vec![kept]);
    assert_eq!(data(&next, d), (201..250).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_client_that_forgot_its_cursor_begins_where_its_session_was() {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.resume_from = ResumeFrom::Session;
    let mut w = world_of(Config { routes: vec![route].into(), ..Config::default() });
    let c = w.client_with(&GET_STREAM.replace("Host", "Mcp-Session-Id: s\r\nHost"));
    let id = |n: &str| EventId::from_bytes(n.as_bytes()).unwrap();
    let old = StoredStream { stream: 1, id: id("7"), last_seen_ms: 1, log: None };
    let new = StoredStream { stream: 2, id: id("9"), last_seen_ms: 2, log: None };
    find(&mut w, vec![new, old]);
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: 9\r\n"));
    assert_eq!((w.count(Count::SessionCursorsAmbiguous), w.state(c)), (1, State::Open));
    w.client_with(GET_STREAM);
    assert!(w.lookups.is_empty(), "a client that names no session has none to begin from");
}

#[test]
fn one_who_has_all_that_is_stored_is_read_on_for() {
    let mut w = durable_world(7);
    let (_, u) = w.streaming();
    (2..=256).for_each(|n| w.say(u, &chunk(&event(n))));
    let kept = stored(&mut w);
    let mut next = durable_world(8);
    let d = next.client_with(&get("256"));
    find(&mut next, vec![kept]);
    next.say(next.up(0), &format!("{STREAM}{}", chunk(&event(257))));
    assert_eq!(data(&next, d), ["257"]);
}

#[test]
fn own_ids_wait_for_a_store_that_fails_and_no_gap_is_stated_that_is_none() {
    let mut w = durable_world(7);
    let (c, _) = without_ids(&mut w);
    let (last, kept) = (last_id(&w, c), stored(&mut w));
    let mut next = durable_world(8);
    let d = next.client_with(&get(&last.replace("-2", "-1")));
    for looks in 1..6 {
        fail(&mut next);
        while next.lookups.is_empty() {
            next.pass_ms(50);
        }
        assert_eq!((next.ups.len(), next.count(Count::LookupsFailed)), (0, looks));
        assert!(next.wire(d).is_empty(), "nothing is said while nothing is known");
    }
    find(&mut next, vec![kept]);
    assert_eq!((data(&next, d), gap_header(&next, d)), (vec!["b".to_owned()], None));
}

#[test]
fn own_ids_ask_a_store_again_that_does_not_answer_and_a_late_answer_counts() {
    let mut w = durable_world(7);
    let (c, _) = without_ids(&mut w);
    let (last, kept) = (last_id(&w, c), stored(&mut w));
    let mut next = durable_world(8);
    let d = next.client_with(&get(&last.replace("-2", "-1")));
    let first = next.lookups[0].exchange;
    (0..40).for_each(|_| next.pass_ms(250));
    assert!((3..12).contains(&next.lookups.len()) && next.ups.is_empty(), "{} look-ups", next.lookups.len());
    assert!(next.lookups.iter().all(|again| again.wanted == next.lookups[0].wanted && again.exchange == first));
    find(&mut next, vec![kept]);
    assert_eq!((data(&next, d), gap_header(&next, d)), (vec!["b".to_owned()], None));
}

#[test]
fn own_ids_are_cut_without_a_gap_where_the_store_cannot_tell_for_heal_for() {
    let mut w = durable_world(7);
    let (c, _) = without_ids(&mut w);
    let last = last_id(&w, c);
    for lines in ["", "MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: s\r\n"] {
        let mut next = durable_world(8);
        let d = next.client_with(&with(lines, &last));
        for _ in 0..242 {
            if !next.lookups.is_empty() {
                fail(&mut next);
            }
            next.pass_ms(250);
        }
        assert!(next.wire(d).is_empty(), "{lines:?}");
        assert_eq!((next.state(d), next.ups.len()), (State::Reset, 0), "{lines:?}");
        assert_eq!((next.count(Count::LookupsGivenUp), next.count(Count::Gaps)), (1, 0));
    }
}

#[test]
fn an_upstreams_id_goes_upstream_as_it_came_where_the_store_fails() {
    let mut w = durable_world(7);
    w.client_with(&get("3"));
    fail(&mut w);
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: 3\r\n"));
    assert_eq!((w.lookups.len(), w.count(Count::LookupsFailed), w.count(Count::Gaps)), (0, 1, 0));
}

#[test]
fn a_store_is_waited_for_also_where_cuts_are_not_healed() {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.heal_for = Span::ZERO;
    let persist = Persist { durable: true, ..Persist::default() };
    let mut w = world_of(Config { routes: vec![route].into(), persist, ..Config::default() });
    w.client_with(&get("3"));
    w.pass_ms(900);
    find(&mut w, Vec::new());
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: 3\r\n"));
}
