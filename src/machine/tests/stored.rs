//! Streams of a process before: found in the store, replayed, and gone on with.

use super::asking::{data, gap_header, get, last_id, with, without_ids};
use super::*;
use crate::base::EventId;
use crate::config::{Persist, ResumeFrom, StoreConfig};
use crate::machine::{Checkpoint, EventPart, NotLookedUp, StoredEvents, StoredOwner, StoredStream};

/// A process whose streams are stored. What it draws by chance comes from the seed, as in no process before.
pub(super) fn durable_world(seed: u64) -> World {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.linger = Span::ZERO;
    let persist = Persist { durable: true, ..Persist::default() };
    world_from(Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() }, seed)
}

/// What a store holds after these checkpoints.
pub(super) fn stored(w: &mut World) -> StoredStream {
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
        fence: 0,
        owner: StoredOwner::None,
        end: None,
    };
    StoredStream { stream: number, id: id.unwrap(), last_seen_ms: 1, log: Some(log) }
}

pub(super) fn find(w: &mut World, found: Vec<StoredStream>) {
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
    let mut w = world_of(Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() });
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
        assert_eq!((next.count(Count::LookupsGivenUp), next.gaps()), (1, 0));
    }
}

#[test]
fn an_upstreams_id_goes_upstream_as_it_came_where_the_store_fails() {
    let mut w = durable_world(7);
    w.client_with(&get("3"));
    fail(&mut w);
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: 3\r\n"));
    assert_eq!((w.lookups.len(), w.count(Count::LookupsFailed), w.gaps()), (0, 1, 0));
}

#[test]
fn a_store_is_waited_for_also_where_cuts_are_not_healed() {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.heal_for = Span::ZERO;
    let persist = Persist { durable: true, ..Persist::default() };
    let mut w = world_of(Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() });
    w.client_with(&get("3"));
    w.pass_ms(900);
    find(&mut w, Vec::new());
    assert!(w.wire(w.up(0)).contains("Last-Event-ID: 3\r\n"));
}

/// How the streams that ended since the last call ended for the store: whether their records stay.
fn ended(w: &mut World) -> Vec<bool> {
    let mut ended = Vec::new();
    w.machine.drain_checkpoints(|c| {
        if let Checkpoint::Ended { keep, .. } = c {
            ended.push(keep);
        }
    });
    ended
}

#[test]
fn a_record_stays_where_a_client_had_not_everything_at_a_clean_end() {
    for takes_all in [false, true] {
        let mut w = durable_world(7);
        let (c, u) = w.streaming();
        w.acknowledged();
        if !takes_all {
            w.takes(c, 0);
        }
        w.say(u, &format!("{}{LAST}", chunk(&event(2))));
        w.rst(c);
        assert_eq!(ended(&mut w), [!takes_all]);
    }
}

/// A POST whose answer has events `a` and `b`, without ids of upstream's. Its client's last id, and what is stored.
fn answered(lines: &str) -> (String, StoredStream) {
    let mut w = durable_world(7);
    let c = w.client_with(&again(lines, "", "hi"));
    w.say(w.up(0), &format!("{STREAM}{}{}", chunk("data: a\n\n"), chunk("data: b\n\n")));
    (last_id(&w, c), stored(&mut w))
}

fn again(lines: &str, id: &str, body: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
    let length = body.len();
    format!(
        "POST /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}{id}\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_post_that_comes_again_to_the_next_process_is_answered_from_the_store() {
    let (last, kept) = answered("");
    let mut next = durable_world(8);
    let d = next.client_with(&again("", &last.replace("-2", "-1"), "hi"));
    assert!(next.ups.is_empty() && next.wire(d).is_empty());
    find(&mut next, vec![kept.clone()]);
    // What it missed; then it is told that nobody has the rest.
    assert_eq!((next.ups.len(), gap_header(&next, d), data(&next, d)[0].as_str()), (0, None, "b"));
    assert!(data(&next, d)[1].contains("refused") && !next.body(d).1, "{}", next.body(d).0);
    let e = next.client_with(&again("", &last, "hi"));
    find(&mut next, vec![kept]);
    assert_eq!((next.ups.len(), gap_header(&next, e).as_deref(), next.body(e).1), (0, Some("refused"), false));
}

#[test]
fn another_post_goes_upstream_and_is_not_told_that_nothing_is_known() {
    let (last, kept) = answered("");
    let mut next = durable_world(8);
    let d = next.client_with(&again("", &last, "ho"));
    find(&mut next, vec![kept]);
    assert!(next.wire(next.up(0)).ends_with("\r\n\r\nho") && !next.wire(next.up(0)).contains("sg-"));
    next.say(next.up(0), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!(gap_header(&next, d).as_deref(), Some("restarted"));
    let e = next.client_with(&again("", &last, "ho"));
    find(&mut next, Vec::new());
    next.say(next.last_up(), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!(gap_header(&next, e).as_deref(), Some("unknown"));
}

#[test]
fn a_post_waits_for_a_store_that_fails() {
    let (last, kept) = answered("");
    let mut next = durable_world(8);
    let d = next.client_with(&again("", &last.replace("-2", "-1"), "hi"));
    fail(&mut next);
    while next.lookups.is_empty() {
        next.pass_ms(50);
    }
    assert!(next.ups.is_empty() && next.wire(d).is_empty(), "nothing is said while nothing is known");
    find(&mut next, vec![kept]);
    assert_eq!((next.ups.len(), data(&next, d)[0].as_str()), (0, "b"));
}

#[test]
fn a_get_for_what_a_post_of_a_process_before_began_gets_the_rest_and_is_told_that_it_is_no_more() {
    let mcp = "Mcp-Session-Id: s\r\n";
    for lines in ["", mcp] {
        let (last, kept) = answered(lines);
        let mut next = durable_world(8);
        let d = next.client_with(&with(lines, &last.replace("-2", "-1")));
        find(&mut next, vec![kept.clone()]);
        assert_eq!((next.ups.len(), data(&next, d)[0].as_str(), next.body(d).1), (0, "b", false));
        assert_eq!(next.body(d).0.contains("refused"), lines.is_empty());
        let mut next = durable_world(9);
        let e = next.client_with(&with(lines, &last));
        find(&mut next, vec![kept]);
        let status = if lines.is_empty() { 200 } else { 400 };
        assert_eq!((next.status(e), gap_header(&next, e).as_deref(), next.ups.len()), (status, Some("refused"), 0));
    }
}

#[test]
fn a_page_that_joins_a_stream_from_the_store_may_read_it() {
    const PAGE: &str = "Origin: https://app.example\r\n";
    const ALLOWED: &str = "Access-Control-Allow-Origin: https://app.example\r\n";
    let mut w = durable_world(7);
    w.client_with(&GET_STREAM.replace("Host", &format!("{PAGE}Host")));
    let head = STREAM.replace("\r\n\r\n", &format!("\r\n{ALLOWED}Access-Control-Allow-Credentials: true\r\n\r\n"));
    w.say(w.up(0), &format!("{head}{}{}", chunk(&event(1)), chunk(&event(2))));
    let kept = stored(&mut w);
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.linger = Span::from_secs(30);
    let persist = Persist { durable: true, ..Persist::default() };
    let mut next =
        world_from(Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() }, 8);
    // Upstream says to one page what it may read, then it is away.
    next.client_with(&GET_STREAM.replace("Host", &format!("{PAGE}Host")));
    next.say(next.up(0), &format!("{head}{}", chunk(&event(9))));
    next.dial = Dial::Refuse;
    let d = next.client_with(&with(PAGE, "1"));
    find(&mut next, vec![kept]);
    next.rst(d);
    let e = next.client_with(&with(PAGE, "1"));
    for end in [d, e] {
        assert_eq!((next.status(end), data(&next, end)), (200, vec!["2".to_owned()]));
        assert!(next.wire(end).contains(ALLOWED), "{}", next.wire(end));
        assert!(next.wire(end).contains("Access-Control-Allow-Credentials: true\r\n"));
    }
}

#[test]
fn an_id_without_a_space_is_found_in_the_log_and_in_the_store() {
    let spare = |n: u32| format!("id:{n}\ndata:{n}\n\n");
    let mut w = durable_world(7);
    w.client_with(GET_STREAM);
    let all: String = (5..8).map(spare).collect();
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&all)));
    let kept = stored(&mut w);
    let mut next = durable_world(8);
    let d = next.client_with(&get("5"));
    find(&mut next, vec![kept]);
    assert_eq!(next.events(d), spare(6) + &spare(7));
    assert!(next.wire(next.up(0)).contains("\r\nLast-Event-ID: 7\r\n"), "{}", next.wire(next.up(0)));
    next.say(next.up(0), &format!("{STREAM}{}", chunk(&(spare(7) + &spare(8)))));
    assert_eq!(next.events(d), spare(6) + &spare(7) + &spare(8));
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(GET_STREAM);
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&all)));
    w.rst(c);
    let d = w.client_with(&get("6"));
    assert_eq!((w.events(d), w.ups.len()), (spare(7), 1));
}
