//! Ids of requests, the access log, and what is said of an upstream that goes away.

use super::asking::*;
use super::*;
use crate::base::Access;
use crate::config::Share;
use crate::machine::Notice;

/// The id in the last head that this end got.
fn id_in(wire: &str) -> Option<String> {
    let mut lines = wire.lines().filter_map(|line| line.split_once(": "));
    lines.rfind(|(name, _)| name.eq_ignore_ascii_case("X-Request-Id")).map(|(_, id)| id.to_owned())
}

/// A request of an event stream with these lines.
fn with_lines(lines: &str) -> String {
    GET_STREAM.replace("Host", &format!("{lines}Host"))
}

fn told(adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    world_of(Config { access_log: true, ..one_route(adjust) })
}

#[test]
fn a_sound_id_goes_up_and_comes_back_and_any_other_is_replaced() {
    let long = "x".repeat(129);
    for (line, kept) in [
        ("X-Request-Id: abc-1\r\n".to_owned(), true),
        (String::new(), false),
        ("X-Request-Id: a b\r\n".to_owned(), false),
        ("X-Request-Id: \r\n".to_owned(), false),
        (format!("X-Request-Id: {long}\r\n"), false),
        ("X-Request-Id: \u{e4}\r\n".to_owned(), false),
    ] {
        for request in [with_lines(&line), format!("GET /x HTTP/1.1\r\n{line}Host: h\r\n\r\n")] {
            let mut w = world();
            let c = w.client_with(&request);
            let asked = w.wire(w.last_up());
            assert_eq!(asked.matches("X-Request-Id").count(), 1, "{asked}");
            let up = id_in(&asked).unwrap();
            w.say(w.last_up(), OK);
            assert_eq!(id_in(&w.wire(c)).as_deref(), kept.then_some("abc-1"), "{}", w.wire(c));
            assert_eq!(up == "abc-1", kept, "{up}");
            assert!(kept || up.len() == 14 && up.ends_with(".1"), "{up}");
        }
    }
}

#[test]
fn an_event_stream_and_an_answer_of_segnos_own_have_the_id_that_segno_made() {
    let mut w = world_with(|route, _| route.heal_for = Span::ZERO);
    let (c, u) = w.streaming();
    assert_eq!(id_in(&w.wire(c)), id_in(&w.wire(u)));
    assert!(id_in(&w.wire(c)).is_some());
    w.dial = Dial::Refuse;
    let c = w.client_with(GET);
    assert!(w.status(c) == 502 && id_in(&w.wire(c)).is_some(), "{}", w.wire(c));
}

#[test]
fn no_two_requests_and_no_two_processes_make_the_same_id() {
    let mut ids = std::collections::HashSet::new();
    for seed in 0..3 {
        let mut w = world_from(one_route(|_, _| {}), seed);
        for _ in 0..40 {
            w.client_with("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(ids.insert(id_in(&w.wire(w.last_up())).unwrap()));
        }
    }
}

#[test]
fn upstreams_own_id_reaches_the_client_that_asked_and_no_other() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let first = w.client_with(&with_lines("X-Request-Id: one\r\n"));
    let beside = w.client_with(&with_lines("X-Request-Id: two\r\n"));
    let head = STREAM.replace("\r\n\r\n", "\r\nX-Request-Id: of-upstream\r\n\r\n");
    w.say(w.up(0), &format!("{head}{}", chunk(&event(1))));
    let later = w.client_with(&with_lines("X-Request-Id: three\r\n"));
    let got = [first, beside, later].map(|end| id_in(&w.wire(end)).unwrap());
    assert_eq!((w.ups.len(), got), (1, ["of-upstream", "two", "three"].map(str::to_owned)));
}

#[test]
fn what_names_a_request_that_waits_is_kept_no_longer_than_it_waits() {
    for is_told in [false, true] {
        let share = |route: &mut Route, _: &mut Limits| route.share = Share::Principal;
        let mut w = world_of(Config { access_log: is_told, ..one_route(share) });
        w.client_with(&with_lines("X-Request-Id: one\r\n"));
        let beside = w.client_with(&with_lines("X-Request-Id: two\r\n"));
        assert!(w.machine.cx.visits.kept().1 > 0);
        w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
        assert_eq!(id_in(&w.wire(beside)).as_deref(), Some("two"));
        assert_eq!(w.machine.cx.visits.kept(), (2 * usize::from(is_told), 0), "told of: {is_told}");
    }
}

#[test]
fn an_id_says_nothing_of_the_principal() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&with_lines("X-Request-Id: one\r\n"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(c);
    w.say(w.up(0), &chunk(&event(2)));
    let back = w.client_with(&get("1").replace("Host", "X-Request-Id: two\r\nHost"));
    assert_eq!((data(&w, back), w.ups.len()), (vec!["2".to_owned()], 1));
}

#[test]
fn a_public_feed_is_asked_for_without_what_one_client_has_chosen() {
    let mut w = lingering_world(|route, _| route.share = Share::Public);
    w.client_with(&with_lines("X-Request-Id: mine\r\n"));
    assert!(!w.wire(w.up(0)).contains("mine"), "{}", w.wire(w.up(0)));
}

#[test]
fn an_answer_of_segnos_own_has_the_id_too() {
    let mut w = world_with(|route, _| route.heal_for = Span::ZERO);
    w.dial = Dial::Refuse;
    let c = w.client_with("GET /x HTTP/1.1\r\nX-Request-Id: abc\r\nHost: h\r\n\r\n");
    assert_eq!((w.status(c), id_in(&w.wire(c)).as_deref()), (502, Some("abc")));
}

#[test]
fn each_request_is_told_once_at_its_end() {
    let mut w = told(|_, _| {});
    let c = w.client_with("GET /x;token=1?y=2 HTTP/1.1\r\nX-Request-Id: abc\r\nHost: h\r\n\r\n");
    w.pass_secs(2);
    w.say(w.last_up(), "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
    let Access { target, status, bytes, events, took, stream, request, .. } = w.served.pop().unwrap();
    assert_eq!((&*target, status, events, stream, &*request), ("GET /x;...", Some(404), 0, None, "abc"));
    assert_eq!((bytes as usize, took), (w.wire(c).len(), Span::from_secs(2)));
    // The next request on the same connection has a line of its own.
    w.say(c, "GET /second HTTP/1.1\r\nHost: h\r\n\r\n");
    w.say(w.last_up(), OK);
    assert_eq!(w.served.iter().map(|access| &*access.target).collect::<Vec<_>>(), ["GET /second"]);
    w.fin(c);
    assert_eq!(w.served.len(), 1);
}

#[test]
fn a_stream_is_told_with_its_events_and_its_number_for_each_of_its_readers() {
    let mut w = told(|route, _| route.linger = Span::from_secs(30));
    let c = w.client_with(&with_lines("X-Request-Id: one\r\n"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.say(w.up(0), &chunk(&event(2)));
    w.rst(c);
    w.say(w.up(0), &(3..=7).map(|n| chunk(&event(n))).collect::<String>());
    let back = w.client_with(&get("2"));
    w.say(w.up(0), &format!("{}{LAST}", chunk(&event(8))));
    w.acknowledged();
    assert_eq!(data(&w, back).len(), 6);
    let told: Vec<_> = w.served.iter().map(|access| (access.status, access.events)).collect();
    assert_eq!(told, [(Some(200), 2), (Some(200), 6)]);
    assert!(w.served[0].stream.is_some() && w.served[0].stream == w.served[1].stream);
    assert_eq!(w.served[1].bytes as usize, w.wire(back).len());
}

#[test]
fn a_client_that_leaves_before_an_answer_and_one_that_is_refused_are_told() {
    let mut w = told(|route, _| route.path = "/only".to_owned());
    let c = w.client_with("GET /only HTTP/1.1\r\nHost: h\r\n\r\n");
    w.rst(c);
    assert_eq!(w.served.pop().unwrap().status, None);
    let c = w.client_with("GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
    w.fin(c);
    assert_eq!(w.served.pop().unwrap().status, Some(404));
    assert!(w.served.is_empty());
}

#[test]
fn without_an_access_log_nothing_is_told_and_nothing_kept() {
    let mut w = world();
    for _ in 0..3 {
        let c = w.client_with("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        w.say(w.last_up(), OK);
        w.fin(c);
    }
    assert!(w.served.is_empty());
}

/// What is said at the levels that people read.
fn said(w: &World) -> Vec<String> {
    w.notices.iter().filter(|notice| !notice.is_detail()).map(ToString::to_string).collect()
}

#[test]
fn an_upstream_that_goes_away_and_comes_back_is_worth_two_lines_however_many_wait() {
    let mut w = lingering_world(|_, _| {});
    let clients: Vec<usize> = (0..20).map(|_| w.client_with(GET_STREAM)).collect();
    (0..20).for_each(|n| w.say(w.up(n), &format!("{STREAM}{}", chunk(&event(1)))));
    w.dial = Dial::Refuse;
    (0..20).for_each(|n| w.fin(w.up(n)));
    w.pass_secs(20);
    let away: Vec<String> = said(&w);
    assert_eq!(away.len(), 1, "{away:#?}");
    assert!(away[0].starts_with("upstream up:9000 is away (connection refused)"), "{away:#?}");
    w.dial = Dial::Accept;
    let before = w.ups.len();
    w.pass_secs(20);
    (before..w.ups.len()).for_each(|n| w.say(w.up(n), &format!("{STREAM}{}", chunk(&event(2)))));
    let back: Vec<String> = said(&w).split_off(1);
    assert!(
        back[0].starts_with("upstream up:9000 is back after ")
            && back[0].contains("; 20 streams and requests were held"),
        "{back:#?}"
    );
    assert!(back.len() == 1 && clients.iter().all(|c| data(&w, *c) == ["1", "2"]), "{back:#?}");
}

#[test]
fn an_upstream_that_comes_and_goes_fills_no_log() {
    let mut w = lingering_world(|_, _| {});
    for _ in 0..50 {
        w.dial = Dial::Refuse;
        w.client_with("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        w.dial = Dial::Accept;
        w.client_with("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        w.say(w.last_up(), OK);
    }
    let upstream = |notice: &&Notice| matches!(notice, Notice::UpstreamAway { .. } | Notice::UpstreamBack { .. });
    assert_eq!(w.notices.iter().filter(upstream).count(), 2);
}

#[test]
fn a_line_about_a_stream_names_the_stream_and_the_request() {
    let mut w = lingering_world(|_, _| {});
    w.client_with(&with_lines("X-Request-Id: abc\r\n"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.fin(w.up(0));
    let subject = w.notices.last().and_then(Notice::subject).unwrap();
    assert!(subject.stream.is_some() && &*subject.request == "abc", "{subject:?}");
}

#[test]
fn a_stream_that_is_dropped_is_worth_a_line_only_if_something_is_lost() {
    for (rest, lines) in [(String::new(), 0), (chunk(&event(2)), 1)] {
        let mut w = lingering_world(|_, _| {});
        let c = w.client_with(GET_STREAM);
        w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
        w.acknowledged();
        w.rst(c);
        w.say(w.up(0), &rest);
        w.pass_secs(60);
        let let_go = w.notices.iter().filter(|notice| matches!(notice, Notice::LetGo { .. })).count();
        assert_eq!((let_go, w.count(Count::StreamsLetGo)), (lines, 1));
    }
}
