//! Old streams, for which upstream is asked whether their client may still read them.

use super::asking::*;
use super::*;
use crate::config::ResumeFrom;
use crate::machine::NotLookedUp;

/// A world that asks after a minute, with a client that got `a` and `b` and left long ago, and its last id.
fn long_ago() -> (World, String) {
    let mut w = lingering_world(|route, _| {
        route.reauthorize = Some(Span::from_secs(60));
        route.linger = Span::from_secs(600);
    });
    let (c, u) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.pass_secs(61);
    w.say(u, &chunk("data: c\n\n"));
    (w, id)
}

#[test]
fn a_client_that_upstream_lets_in_reads_on_in_the_log() {
    let (mut w, id) = long_ago();
    let d = w.client_with(&get(&id));
    let asked = w.wire(w.up(1));
    assert!(asked.starts_with("GET /events ") && !asked.contains("Last-Event-ID") && w.wire(d).is_empty(), "{asked}");
    w.say(w.up(1), &format!("{STREAM}{}", chunk("data: other\n\n")));
    w.say(w.up(0), &chunk("data: d\n\n"));
    assert_eq!((data(&w, d), gap_header(&w, d)), (vec!["c".into(), "d".into()], None));
    assert_eq!((w.state(w.up(1)), w.count(Count::Reauthorizations)), (State::Closed, 1));
    // For a while this is known.
    w.rst(d);
    let e = w.client_with(&get(&id));
    assert_eq!((data(&w, e).len(), w.ups.len()), (2, 2));
}

#[test]
fn a_client_that_upstream_refuses_gets_its_answer_and_nothing_of_the_log() {
    let (mut w, id) = long_ago();
    let d = w.client_with(&get(&id));
    w.say(w.up(1), "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((w.status(d), w.body(d).0.as_str()), (401, ""));
    assert_eq!(w.state(w.up(0)), State::Open, "the stream itself goes on");
}

#[test]
fn an_upstreams_id_goes_up_and_its_answer_counts_where_the_stream_is_gone_meanwhile() {
    let mut w = lingering_world(|route, _| route.reauthorize = Some(Span::from_secs(20)));
    let (c, _) = w.streaming();
    w.rst(c);
    w.pass_secs(25);
    let d = w.client_with(&get("1"));
    assert!(w.wire(w.up(1)).contains("Last-Event-ID: 1\r\n"));
    // No head of segno's own goes out before upstream has answered, and the stream lingers no longer than it would.
    w.pass_secs(10);
    assert!(w.wire(d).is_empty());
    w.say(w.up(1), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!((data(&w, d), w.state(w.up(0))), (vec!["2".into()], State::Closed));
}

#[test]
fn an_own_id_whose_stream_is_gone_meanwhile_is_a_gap() {
    let mut w = lingering_world(|route, _| route.reauthorize = Some(Span::from_secs(20)));
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.pass_secs(25);
    let d = w.client_with(&get(&id));
    w.pass_secs(10);
    assert_eq!((w.state(w.up(0)), w.wire(d).is_empty()), (State::Closed, true));
    w.say(w.up(1), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!((gap_header(&w, d).as_deref(), data(&w, d)[1].as_str()), (Some("unknown"), "new"));
}

#[test]
fn a_client_that_names_its_session_alone_reads_on_in_the_log_once_upstream_has_let_it_in() {
    for ids in [false, true] {
        let mut w = lingering_world(|route, _| {
            route.reauthorize = Some(Span::from_secs(60));
            route.linger = Span::from_secs(600);
            route.resume_from = ResumeFrom::Session;
        });
        let named = GET_STREAM.replace("Host", "Mcp-Session-Id: s\r\nHost");
        let unknown = |w: &mut World| {
            while let Some(question) = w.lookups.pop() {
                w.machine.handle(Input::LookedUp { exchange: question.exchange, found: Err(NotLookedUp) }, w.now);
                w.pump();
            }
        };
        let event = |n: u32| if ids { event(n) } else { format!("data: {n}\n\n") };
        let c = w.client_with(&named);
        unknown(&mut w);
        w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
        w.rst(c);
        w.pass_secs(61);
        w.say(w.up(0), &chunk(&event(2)));
        let d = w.client_with(&named);
        unknown(&mut w);
        assert!(w.wire(d).is_empty());
        assert_eq!((w.ups.len(), w.count(Count::SessionCursorsUsed)), (2, 0), "nothing was used yet");
        w.say(w.up(1), &format!("{STREAM}{}", chunk("id: 99\ndata: other\n\n")));
        w.say(w.up(0), &chunk(&event(3)));
        assert_eq!(data(&w, d), ["2", "3"], "ids: {ids}");
        assert_eq!((w.count(Count::SessionCursorsUsed), w.state(w.up(1))), (1, State::Closed));
    }
}
