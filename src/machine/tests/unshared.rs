//! Routes with several upstreams that number by themselves, or share what they number: what is gone on with, and where.

use super::asking::{data, get, last_id, without_ids};
use super::stored::{find, stored};
use super::upstreams::to;
use super::*;
use crate::config::{Persist, ResumeFrom};

const TWO: [&str; 2] = ["http://a:1", "http://b:1"];

/// A process that stores its streams, and whose route has two upstreams.
fn durable(seed: u64, shared_ids: bool, adjust: impl FnOnce(&mut Route)) -> World {
    let config = to(&TWO, |route| {
        route.set.shared_ids = shared_ids;
        adjust(route);
    });
    world_from(Config { persist: Persist { durable: true, ..Persist::default() }, ..config }, seed)
}

#[test]
fn a_stored_stream_is_gone_on_with_only_where_every_upstream_knows_its_ids() {
    for shared in [true, false] {
        let mut w = durable(7, shared, |_| {});
        let (_, u) = w.streaming();
        (2..6).for_each(|n| w.say(u, &chunk(&event(n))));
        let kept = stored(&mut w);
        let mut next = durable(8, shared, |_| {});
        let d = next.client_with(&get("3"));
        find(&mut next, vec![kept]);
        let asked = next.wire(next.up(0));
        let id = if shared { "5" } else { "3" };
        assert!(asked.contains(&format!("Last-Event-ID: {id}\r\n")), "{shared}: {asked}");
        assert_eq!(data(&next, d), if shared { vec!["4", "5"] } else { vec![] });
        assert_eq!(next.count(Count::Rebuilt), u64::from(shared));
        next.say(next.up(0), &format!("{STREAM}{}", chunk(&event(9))));
        assert_eq!(data(&next, d).last().map(String::as_str), Some("9"));
    }
}

#[test]
fn a_stored_stream_with_segnos_own_ids_is_gone_on_with_wherever_it_came_from() {
    let mut w = durable(7, false, |_| {});
    let (c, _) = without_ids(&mut w);
    let (last, kept) = (last_id(&w, c), stored(&mut w));
    let mut next = durable(8, false, |_| {});
    let d = next.client_with(&get(&last.replace("-2", "-1")));
    find(&mut next, vec![kept]);
    assert_eq!((data(&next, d), next.count(Count::Rebuilt)), (vec!["b".to_owned()], 1));
}

#[test]
fn a_stored_cursor_of_a_session_is_asked_for_only_where_every_upstream_knows_it() {
    for shared in [true, false] {
        let settings = |route: &mut Route| route.resume_from = ResumeFrom::Session;
        let ask = GET_STREAM.replace("Host", "Mcp-Session-Id: s\r\nHost");
        let mut w = durable(7, shared, settings);
        w.client_with(&ask);
        find(&mut w, Vec::new());
        w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(5))));
        let kept = stored(&mut w);
        let mut next = durable(8, shared, settings);
        next.client_with(&ask);
        find(&mut next, vec![kept]);
        let asked = next.wire(next.up(0));
        assert_eq!(asked.contains("Last-Event-ID: 5\r\n"), shared, "{asked}");
        assert_eq!(asked.contains("Last-Event-ID"), shared, "{asked}");
        assert_eq!(next.count(Count::SessionCursorsUsed), u64::from(shared));
    }
}

#[test]
fn what_one_upstream_lets_a_page_read_the_route_lets_it_read() {
    let get = GET_STREAM.replace("Host", "Origin: https://a.example\r\nHost");
    let mut w = world_of(to(&TWO, |_| {}));
    w.client_with(&get);
    let lines = "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n";
    w.say(w.last_up(), &format!("{}{lines}\r\n{}", &STREAM[..STREAM.len() - 2], chunk(&event(1))));
    // The other one does not answer in time.
    let c = w.client_with(&get);
    assert_eq!(w.placed, [0, 1]);
    w.pass_secs(4);
    let wire = w.wire(c);
    assert!(
        wire.starts_with("HTTP/1.1 200 ") && wire.contains("Access-Control-Allow-Origin: https://a.example"),
        "{wire}"
    );
}
