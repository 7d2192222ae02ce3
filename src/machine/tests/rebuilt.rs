//! Streams of a process before, once they are here again: for others that come for them, and for clients that break off.

use super::asking::{data, gap_header, get, last_id, with};
use super::stored::{find, stored};
use super::*;
use crate::config::{Persist, ResumeFrom};
use crate::machine::StoredStream;

/// A process whose streams are stored, and wait for their clients.
fn durable_and_lingering(seed: u64, adjust: impl FnOnce(&mut Route)) -> World {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    adjust(&mut route);
    let persist = Persist { durable: true, ..Persist::default() };
    world_from(Config { routes: vec![route].into(), persist, ..Config::default() }, seed)
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
