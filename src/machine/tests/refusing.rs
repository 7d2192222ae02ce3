//! What comes as a cursor and is none: a clear status, a count, bounded work, and no change to any stream.

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
fn a_cursor_that_cannot_be_one_is_refused_and_changes_nothing() {
    let long = format!("Last-Event-ID: {}\r\n", "x".repeat(1_025));
    let mut raw = get("Last-Event-ID: ?\r\n");
    *raw.iter_mut().find(|b| **b == b'?').unwrap() = 0xff;
    let mut nul = get("Last-Event-ID: ?\r\n");
    *nul.iter_mut().find(|b| **b == b'?').unwrap() = 0;
    for request in
        [get(&long), raw, nul, get("Last-Event-ID: 1\r\nLast-Event-ID: 1\r\n"), get("Last-Event-ID: 1\rX\r\n")]
    {
        let (mut w, u) = detached();
        let c = w.client();
        w.say_bytes(c, &request);
        let what = String::from_utf8_lossy(&request).into_owned();
        assert!(matches!(w.status(c), 400 | 431), "{}: {what:?}", w.status(c));
        assert_eq!(w.count(Count::RequestsRefused), 1, "{what:?}");
        assert!(w.wire(c).contains("Last-Event-ID") || w.wire(c).contains("line 4"), "{}", w.wire(c));
        assert_untouched(w, u);
    }
}

#[test]
fn a_cursor_in_the_query_is_held_to_the_same() {
    for value in ["%00", "%0a", "%0d", "%ff", &"x".repeat(1_025)] {
        let mut w = lingering_world(|route, _| route.last_event_id_param = Some("lastEventId".into()));
        let (c, u) = w.streaming();
        w.rst(c);
        let c = w.client_with(&format!("GET /events?lastEventId={value} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!((w.status(c), w.count(Count::RequestsRefused)), (400, 1), "{value}");
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
