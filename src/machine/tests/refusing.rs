//! What comes as a cursor and is none of segno's, or none at all: it goes upstream as it came or gets a clear status,
//! at bounded work, with a count, and without a change to any stream.

use super::*;

/// A request with these lines besides.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}\r\n").into_bytes()
}

/// A world with a stream that has lost its reader, and its upstream.
fn detached() -> (World, usize) {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.rst(c);
    (w, u)
}

/// The stream is as it was: its reader comes back and reads on, and upstream has noticed nothing.
fn assert_untouched(mut w: World, u: usize) {
    let ups = w.ups.len();
    w.say(u, &chunk(&event(2)));
    let c = w.client_with(&String::from_utf8(get("Last-Event-ID: 1\r\n")).unwrap());
    assert_eq!((w.body(c).0, w.ups.len(), w.state(u)), (event(2), ups, State::Open));
}

#[test]
fn a_cursor_with_a_control_byte_is_refused_and_changes_nothing() {
    let mut nul = get("Last-Event-ID: ?\r\n");
    *nul.iter_mut().find(|b| **b == b'?').unwrap() = 0;
    for request in [nul, get("Last-Event-ID: 1\rX\r\n"), get("Last-Event-ID: 1\u{1}\r\n")] {
        let (mut w, u) = detached();
        let c = w.client();
        w.say_bytes(c, &request);
        let what = String::from_utf8_lossy(&request).into_owned();
        assert_eq!((w.status(c), w.count(Count::RequestsRefused)), (400, 1), "{what:?}");
        assert!(w.wire(c).contains("line 4"), "{}", w.wire(c));
        assert_untouched(w, u);
    }
}

#[test]
fn a_cursor_that_no_log_can_hold_goes_upstream_as_it_came() {
    let long = format!("Last-Event-ID: {}\r\n", "x".repeat(1_025));
    for lines in [long.as_bytes(), b"Last-Event-ID: caf\xe9\r\n", b"Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n"] {
        let (mut w, u) = detached();
        let c = w.client();
        let request = get("");
        w.say_bytes(c, &[&request[..request.len() - 2], lines, b"\r\n"].concat());
        let asked = w.last_up();
        let sent = &w.ends[asked].wire;
        assert!(memchr::memmem::find(sent, lines).is_some(), "{}", w.wire(asked));
        assert_eq!(
            w.wire(asked).matches("Last-Event-ID").count(),
            String::from_utf8_lossy(lines).matches("Last").count()
        );
        w.say(asked, &format!("{STREAM}{}", chunk(&event(7))));
        assert_eq!((w.status(c), w.events(c)), (200, event(7)), "{}", w.wire(c));
        assert_eq!((w.count(Count::CursorsUntracked), w.count(Count::RequestsRefused)), (1, 0));
        assert_untouched(w, u);
    }
}

#[test]
fn a_cursor_that_no_log_can_hold_is_asked_for_again_until_an_event_has_come() {
    let long = format!("Last-Event-ID: {}\r\n", "x".repeat(1_025));
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(&String::from_utf8(get(&long)).unwrap());
    w.pass_secs(4);
    assert_eq!(w.status(c), 200, "the head came early");
    w.dial = Dial::Accept;
    w.pass_secs(6);
    let u = w.last_up();
    assert!(w.wire(u).contains(&long));
    w.say(u, &format!("{STREAM}{}", chunk(&event(7))));
    w.rst(u);
    w.pass_secs(6);
    let u = w.last_up();
    assert!(w.wire(u).ends_with("Last-Event-ID: 7\r\n\r\n") && !w.wire(u).contains(&long));
    assert_eq!(w.events(c), event(7));
}

#[test]
fn an_id_with_a_control_byte_never_goes_into_a_head() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("id: a\u{1}b\ndata: x\n\n")));
    w.rst(u);
    w.pass_secs(3);
    assert_eq!((w.ups.len(), w.body(c).1, w.state(c)), (1, false, State::Closed), "it cannot be asked for");
    // A tab may stand in a header.
    let c = w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("id: a\tb\ndata: x\n\n")));
    w.rst(u);
    w.pass_secs(3);
    assert!(w.wire(w.last_up()).ends_with("Last-Event-ID: a\tb\r\n\r\n"));
    w.rst(c);
}

#[test]
fn a_cursor_in_the_query_that_fits_no_header_stays_in_the_query() {
    for value in ["%00", "%0a", "%0d", "%1b"] {
        let mut w = lingering_world(|route, _| route.last_event_id_param = Some("lastEventId".into()));
        let (c, u) = w.streaming();
        w.rst(c);
        w.client_with(&format!("GET /events?lastEventId={value} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let asked = w.wire(w.last_up());
        assert!(asked.starts_with(&format!("GET /events?lastEventId={value} ")) && !asked.contains("Last-Event-ID"));
        assert_untouched(w, u);
    }
    for (value, sent) in [("%e9", "\u{fffd}"), (&"x".repeat(1_025)[..], &"x".repeat(1_025))] {
        let mut w = lingering_world(|route, _| route.last_event_id_param = Some("lastEventId".into()));
        let (c, u) = w.streaming();
        w.rst(c);
        w.client_with(&format!("GET /events?lastEventId={value} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let asked = w.wire(w.last_up());
        assert!(asked.starts_with("GET /events HTTP") && asked.contains(&format!("Last-Event-ID: {sent}\r\n")));
        assert_untouched(w, u);
    }
}

#[test]
fn thousands_that_resume_at_unknown_ids_cost_a_request_each_and_leave_nothing() {
    let (mut w, u) = detached();
    for n in 0..3_000 {
        let id = if n % 2 == 0 { format!("unknown-{n}") } else { format!("sg-{:022}-{n}", n) };
        let c = w.client_with(&String::from_utf8(get(&format!("Last-Event-ID: {id}\r\n"))).unwrap());
        let asked = w.last_up();
        assert!(w.wire(asked).contains(&id), "an id that segno did not make is upstream's: {}", w.wire(asked));
        w.rst(c);
        assert_eq!((w.machine.exchanges(), w.machine.streams()), (1, 1), "{id}");
    }
    assert_untouched(w, u);
}

#[test]
fn a_token_of_another_route_is_unknown() {
    let route = |path: &str| {
        let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
        route.path = path.to_owned();
        route.name = path.to_owned();
        route
    };
    let limits = Limits { streams: 100, connections: 300, ..Limits::default() };
    let mut w = world_of(Config { routes: vec![route("/a"), route("/b")].into(), limits, ..Config::default() });
    let of =
        |path: &str, lines: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}\r\n");
    let c = w.client_with(&of("/a", ""));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("data: secret\n\n")));
    let id = w.body(c).0.lines().next().unwrap()[4..].to_owned();
    w.rst(c);
    let d = w.client_with(&of("/b", &format!("Last-Event-ID: {id}\r\n")));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk("data: other\n\n")));
    assert!(w.wire(d).contains("Segno-Gap: unknown\r\n") && !w.wire(d).contains("secret"), "{}", w.wire(d));
    assert!(!w.wire(w.last_up()).contains(&id));
}
