//! Streams of a process before, once they are here again: for others that come, and for clients that break off.

use super::asking::{data, gap_header, get, last_id, with};
use super::stored::{find, stored};
use super::*;
use crate::base::EventId;
use crate::config::{Persist, ResumeFrom, StoreConfig};
use crate::machine::{Checkpoint, StoredEvents, StoredOwner, StoredStream};
use std::net::{IpAddr, Ipv4Addr};

/// A process whose streams are stored, and wait for their clients.
fn durable_and_lingering(seed: u64, adjust: impl FnOnce(&mut Route)) -> World {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    adjust(&mut route);
    let persist = Persist { durable: true, ..Persist::default() };
    world_from(Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() }, seed)
}

/// What a store has of a stream without ids, of which the first events are gone, and the id of event `n`.
fn twenty(lines: &str) -> (StoredStream, impl Fn(u32) -> String) {
    let mut w = durable_and_lingering(7, |_| {});
    let c = w.client_with(&GET_STREAM.replace("Host", &format!("{lines}Host")));
    w.say(w.up(0), STREAM);
    (1..=20).for_each(|n| w.say(w.up(0), &chunk(&format!("data: {n}\n\n"))));
    let last = last_id(&w, c);
    let mut kept = stored(&mut w);
    let log = kept.log.as_mut().unwrap();
    let text = String::from_utf8(log.bytes.clone()).unwrap();
    let at = text.find(&format!("id: {}", last.replace("-20", "-6"))).unwrap();
    (log.first, log.bytes) = (6, text[at..].into());
    (kept, move |n| last.replace("-20", &format!("-{n}")))
}

fn numbers(from: u32) -> Vec<String> {
    (from..=20).map(|n| n.to_string()).collect()
}

#[test]
fn a_client_that_breaks_off_in_the_middle_of_a_replay_goes_on_in_it() {
    let (kept, id) = twenty("");
    let mut next = durable_and_lingering(8, |_| {});
    let d = next.client_with(&get(&id(10)));
    next.takes(d, 350);
    find(&mut next, vec![kept]);
    let got = data(&next, d).len() as u32;
    assert!((1..8).contains(&got), "{}", next.wire(d));
    next.rst(d);
    let e = next.client_with(&get(&id(10 + got)));
    assert_eq!((data(&next, e), gap_header(&next, e)), (numbers(11 + got), None));
    assert_eq!((next.lookups.len(), next.ups.len()), (0, 0), "neither the store nor upstream is asked");
}

#[test]
fn a_client_whose_old_connection_has_not_been_found_dead_joins_beside_itself() {
    let (kept, id) = twenty("");
    let mut next = durable_and_lingering(8, |_| {});
    let d = next.client_with(&get(&id(10)));
    next.takes(d, 300);
    find(&mut next, vec![kept]);
    let e = next.client_with(&get(&id(12)));
    assert_eq!((data(&next, e), gap_header(&next, e), next.ups.len()), (numbers(13), None, 0));
}

#[test]
fn another_tab_joins_with_an_id_of_its_own() {
    let (kept, id) = twenty("");
    let mut next = durable_and_lingering(8, |_| {});
    let d = next.client_with(&get(&id(10)));
    next.takes(d, 300);
    // Both ask before the store has told anything.
    let e = next.client_with(&get(&id(15)));
    find(&mut next, vec![kept.clone()]);
    find(&mut next, vec![kept.clone()]);
    next.takes_all(d);
    assert_eq!((data(&next, d), data(&next, e)), (numbers(11), numbers(16)));
    assert_eq!((next.count(Count::Rebuilt), next.ups.len()), (1, 0));
    // What is in no log is said so, and where the log begins.
    let f = next.client_with(&get(&id(2)));
    assert_eq!(gap_header(&next, f).as_deref(), Some("evicted"));
    assert!(next.body(f).0.contains(&format!("\"resumed_at\":\"{}\"", id(6))), "{}", next.body(f).0);
    assert_eq!(data(&next, f)[1..], numbers(6));
    // No event has this number yet.
    let g = next.client_with(&get(&id(21)));
    assert_eq!(next.lookups.len(), 1);
    find(&mut next, vec![kept]);
    assert!(next.wire(g).is_empty() && next.ups.len() == 1);
}

#[test]
fn an_own_id_in_a_log_of_a_process_before_never_goes_upstream() {
    let named = "X-Session: s\r\n";
    let settings = |route: &mut Route| {
        route.resume_from = ResumeFrom::Session;
        route.session_header = "X-Session".into();
    };
    let (kept, id) = {
        let mut w = durable_and_lingering(7, settings);
        let c = w.client_with(&GET_STREAM.replace("Host", &format!("{named}Host")));
        find(&mut w, Vec::new());
        w.say(w.up(0), STREAM);
        (1..=20).for_each(|n| w.say(w.up(0), &chunk(&format!("data: {n}\n\n"))));
        (stored(&mut w), last_id(&w, c).replace("-20", "-10"))
    };
    let mut next = durable_and_lingering(8, settings);
    let d = next.client_with(&with(named, &id));
    next.takes(d, 350);
    find(&mut next, vec![kept]);
    next.rst(d);
    // It comes back, and has forgotten where it was.
    let e = next.client_with(&GET_STREAM.replace("Host", &format!("{named}Host")));
    assert!(data(&next, e).contains(&"20".to_owned()), "{}", next.wire(e));
    assert!(next.ups.iter().all(|u| !next.wire(*u).contains("sg-")));
}

#[test]
fn a_stream_whose_upstream_began_to_send_ids_is_asked_for_behind_them() {
    let mut w = durable_and_lingering(7, |_| {});
    let c = w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}{}", chunk("data: a\n\n"), chunk("data: b\n\n")));
    let id = last_id(&w, c).replace("-2", "-1");
    w.say(u, &chunk(&event(7)));
    let kept = stored(&mut w);
    let mut next = durable_and_lingering(8, |_| {});
    let d = next.client_with(&get(&id));
    find(&mut next, vec![kept]);
    assert_eq!(data(&next, d), ["b", "7"]);
    assert!(next.wire(next.up(0)).contains("Last-Event-ID: 7\r\n"));
    next.say(next.up(0), &format!("{STREAM}{}", chunk(&event(8))));
    assert_eq!(data(&next, d), ["b", "7", "8"]);
    // Its first events are found by their own ids.
    let e = next.client_with(&get(&id));
    assert_eq!(data(&next, e), ["b", "7", "8"]);
}

/// A client with this address.
fn from(w: &mut World, address: [u8; 4], request: &str) -> usize {
    let c = w.ends.len();
    w.machine.handle(Input::Accepted { peer: IpAddr::V4(Ipv4Addr::from(address)).into() }, w.now);
    w.pump();
    w.say(c, request);
    c
}

/// What a store with these names says to a question.
fn asked(w: &mut World, names: &[(Box<[u8]>, StoredStream)]) -> usize {
    let session = &w.lookups.last().unwrap().session;
    let found: Vec<StoredStream> =
        names.iter().filter(|(name, _)| name == session).map(|(_, stored)| stored.clone()).collect();
    let count = found.len();
    find(w, found);
    count
}

/// The name of the stream that began since the last call, and what is stored of it.
fn named(w: &mut World) -> (Box<[u8]>, StoredStream) {
    w.acknowledged();
    let (mut name, mut found) = (None, None);
    let mut all = Vec::new();
    w.machine.drain_checkpoints(|c| all.push(c));
    for c in all {
        match c {
            Checkpoint::Began { name: began, .. } => name = Some(began),
            Checkpoint::Delivered { cursor, .. } => found = Some(cursor.id),
            _ => {}
        }
    }
    let name = name.unwrap();
    let stored = StoredStream { stream: name.stream, id: found.unwrap(), last_seen_ms: 1, log: None };
    (name.session, stored)
}

#[test]
fn own_ids_are_found_in_the_store_from_anywhere_and_by_nobody_else() {
    let cookie = "Cookie: sid=1\r\n";
    for (lines, address, other) in [(cookie, [10, 0, 0, 2], false), ("Cookie: sid=2\r\n", [10, 0, 0, 1], true)] {
        let mut w = durable_and_lingering(7, |_| {});
        let request = GET_STREAM.replace("Host", &format!("{cookie}Host"));
        let c = from(&mut w, [10, 0, 0, 1], &request);
        w.say(w.up(0), &format!("{STREAM}{}{}", chunk("data: a\n\n"), chunk("data: b\n\n")));
        let id = last_id(&w, c).replace("-2", "-1");
        let mut name = None;
        w.acknowledged();
        let (mut part, mut all) = (None, Vec::new());
        w.machine.drain_checkpoints(|c| all.push(c));
        for c in all {
            match c {
                Checkpoint::Began { name: began, .. } => name = Some(began),
                Checkpoint::Events { part: new, .. } => part = Some(new),
                _ => {}
            }
        }
        let (name, part) = (name.unwrap(), part.unwrap());
        let log = StoredEvents {
            meta: part.meta,
            first: part.first,
            bytes: part.bytes.to_vec(),
            fence: 0,
            owner: StoredOwner::None,
            end: None,
        };
        let id_of = EventId::from_bytes(id.as_bytes()).unwrap();
        let kept = StoredStream { stream: name.stream, id: id_of, last_seen_ms: 1, log: Some(log) };
        let token = &id.as_bytes()[3..25];
        assert!(!name.session.windows(22).any(|w| w == token), "the store gives no token away");
        let mut next = durable_and_lingering(8, |_| {});
        let d = from(&mut next, address, &with(lines, &id));
        assert_eq!(asked(&mut next, &[(name.session, kept)]), 1, "one name, one stream");
        assert_eq!((data(&next, d).is_empty(), next.ups.len()), (other, usize::from(other)), "{lines:?}");
    }
}

#[test]
fn an_upstreams_id_is_found_in_the_store_only_where_it_was_given() {
    for address in [[10, 0, 0, 1], [10, 0, 0, 2]] {
        let mut w = durable_and_lingering(7, |_| {});
        from(&mut w, [10, 0, 0, 1], GET_STREAM);
        w.say(w.up(0), &format!("{STREAM}{}{}", chunk(&event(1)), chunk(&event(2))));
        let (name, mut kept) = named(&mut w);
        kept.log = Some(StoredEvents {
            meta: Box::default(),
            first: 1,
            bytes: (event(1) + &event(2)).into_bytes(),
            fence: 0,
            owner: StoredOwner::None,
            end: None,
        });
        let mut next = durable_and_lingering(8, |_| {});
        from(&mut next, address, &get("1"));
        // Its record does not say who made it, so nobody reads it.
        assert_eq!(asked(&mut next, &[(name, kept)]), usize::from(address[3] == 1));
        assert_eq!((next.ups.len(), next.count(Count::Rebuilt)), (1, 0));
    }
}

#[test]
fn the_cursor_of_one_target_is_not_used_for_another() {
    let settings = |route: &mut Route| route.resume_from = ResumeFrom::Session;
    let of = |path: &str| GET_STREAM.replace("Host", "Mcp-Session-Id: s\r\nHost").replace("/events", path);
    let mut w = durable_and_lingering(7, settings);
    let mut names = Vec::new();
    for (path, id) in [("/a", 100), ("/b", 5000)] {
        w.client_with(&of(path));
        find(&mut w, Vec::new());
        w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(id))));
        let (name, mut stored) = named(&mut w);
        stored.last_seen_ms = u64::from(id);
        names.push((name, stored));
    }
    assert_ne!(names[0].0, names[1].0);
    let mut next = durable_and_lingering(8, settings);
    for (path, id) in [("/a", Some("100")), ("/b", Some("5000")), ("/c", None)] {
        next.client_with(&of(path));
        asked(&mut next, &names);
        let asked = next.wire(next.last_up());
        let sent = asked.lines().find_map(|line| line.strip_prefix("Last-Event-ID: "));
        assert_eq!(sent, id, "{path}");
    }
}

#[test]
fn a_page_that_comes_for_a_stream_before_upstream_has_said_anything_of_it_may_read_it() {
    let origin = "Origin: https://a.example\r\n";
    let allowed = "Access-Control-Allow-Origin: https://a.example\r\n";
    let answer = format!("{}{allowed}\r\n", &STREAM[..STREAM.len() - 2]);
    let mut w = durable_and_lingering(7, |_| {});
    w.client_with(&GET_STREAM.replace("Host", &format!("{origin}Host")));
    w.say(w.up(0), &format!("{answer}{}{}", chunk(&event(1)), chunk(&event(2))));
    let kept = stored(&mut w);
    let mut next = durable_and_lingering(8, |_| {});
    // The page is known from another stream.
    next.client_with(&GET_STREAM.replace("Host", &format!("{origin}Host")));
    next.say(next.up(0), &format!("{answer}{}", chunk(&event(9))));
    next.dial = Dial::Refuse;
    let d = next.client_with(&with(origin, "1"));
    find(&mut next, vec![kept]);
    assert!(next.wire(d).contains(allowed), "{}", next.wire(d));
    next.rst(d);
    let e = next.client_with(&with(origin, "1"));
    assert!(next.wire(e).contains(allowed) && data(&next, e) == ["2"], "{}", next.wire(e));
}

#[test]
fn what_a_client_is_sent_of_a_stream_of_a_process_before_is_counted_event_by_event() {
    let (kept, id) = twenty("");
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.linger = Span::from_secs(30);
    let persist = Persist { durable: true, ..Persist::default() };
    let config = Config { routes: vec![route].into(), persist, store: StoreConfig::Own, ..Config::default() };
    let mut next = world_from(Config { access_log: true, ..config }, 8);
    let d = next.client_with(&get(&id(10)));
    find(&mut next, vec![kept]);
    let e = next.client_with(&get(&id(15)));
    next.acknowledged();
    assert_eq!((data(&next, d), data(&next, e)), (numbers(11), numbers(16)));
    let (mut told, mut sent): (Vec<u64>, Vec<usize>) = (Vec::new(), Vec::new());
    [d, e].into_iter().for_each(|end| next.rst(end));
    next.served.iter().for_each(|access| {
        told.push(access.events);
        sent.push(access.bytes as usize);
    });
    assert_eq!(told, [10, 5], "{sent:?}");
    assert_eq!((next.count(Count::Replays), next.count(Count::EventsReplayed)), (2, 15));
}

/// The cut of an answer is told once, whether its stream is of this process or was brought back.
#[test]
fn a_stream_that_was_brought_back_tells_its_cut_once_and_then_the_same_post_is_a_new_order() {
    let post = |id: &str| {
        let id = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
        format!("POST /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{id}Content-Length: 2\r\n\r\nhi")
    };
    let mut w = durable_and_lingering(7, |_| {});
    let c = w.client_with(&post(""));
    w.say(w.up(0), &format!("{STREAM}{}{}", chunk("data: a\n\n"), chunk("data: b\n\n")));
    let (last, kept) = (last_id(&w, c), stored(&mut w));
    let mut next = durable_and_lingering(8, |_| {});
    let d = next.client_with(&post(&last));
    find(&mut next, vec![kept]);
    assert_eq!((gap_header(&next, d).as_deref(), next.ups.len()), (Some("refused"), 0));
    assert!(next.body(d).0.contains("event: segno.gap\n") && !next.body(d).1, "{}", next.body(d).0);
    let e = next.client_with(&post(&last));
    assert_eq!(next.ups.len(), 1, "it was told before: {}", next.wire(e));
    assert!(next.wire(next.up(0)).ends_with("\r\n\r\nhi") && !next.wire(next.up(0)).contains("sg-"));
    next.say(next.up(0), &format!("{STREAM}{}{LAST}", chunk("data: new\n\n")));
    assert_eq!((gap_header(&next, e).as_deref(), data(&next, e)), (Some("refused"), vec!["new".to_owned()]));
}

/// Nothing in the store leads from such an id to the token under which the stream lies, so upstream, which knows the id,
/// is asked.
#[test]
fn an_upstreams_id_of_a_stream_that_began_with_own_ids_goes_upstream_after_a_restart() {
    let mut w = durable_and_lingering(7, |_| {});
    let c = w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let own = last_id(&w, c);
    w.say(u, &format!("{}{}", chunk(&event(7)), chunk(&event(8))));
    let (name, _) = named(&mut w);
    let mut next = durable_and_lingering(8, |_| {});
    let d = next.client_with(&get("7"));
    assert_ne!(next.lookups.last().unwrap().session, name);
    find(&mut next, Vec::new());
    assert!(next.wire(next.up(0)).contains("\r\nLast-Event-ID: 7\r\n"));
    next.say(next.up(0), &format!("{STREAM}{}", chunk(&event(8))));
    assert_eq!((data(&next, d), gap_header(&next, d)), (vec!["8".to_owned()], None));
    next.client_with(&get(&own));
    assert_eq!(next.lookups.last().unwrap().session, name);
}
