//! Answers that cannot be shared: who gets the one that came, and what the others ask for.

use super::*;
use crate::config::Share;

fn asks(lines: &str) -> String {
    GET_STREAM.replace("Host", &format!("{lines}Host"))
}

fn refusal(cookie: &str) -> String {
    format!("HTTP/1.1 404 Not Found\r\nSet-Cookie: {cookie}\r\nMcp-Session-Id: {cookie}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn each_gets_what_belongs_to_it_and_none_asks_in_anothers_name() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let named = |n: usize| format!("X-Request-Id: r{n}\r\nTraceparent: 00-{n}\r\n");
    let clients: Vec<usize> = (0..4).map(|n| w.client_with(&asks(&named(n)))).collect();
    assert_eq!(w.ups.len(), 1);
    w.say(w.up(0), &refusal("of-0"));
    // The one that asked has the answer to its own request.
    assert!(w.wire(clients[0]).contains("Set-Cookie: of-0\r\n"), "{}", w.wire(clients[0]));
    assert!(clients[1..].iter().all(|c| w.wire(*c).is_empty()));
    assert_eq!(w.ups.len(), 4);
    assert!(w.wire(w.up(0)).contains("X-Request-Id: r0\r\n"));
    let mut said = Vec::new();
    for n in 1..4 {
        let asked = w.wire(w.up(n));
        assert!(asked.starts_with("GET /events HTTP/1.1\r\n"), "{asked}");
        assert_eq!(
            (asked.matches("X-Request-Id: ").count(), asked.matches("Traceparent: ").count()),
            (1, 1),
            "{asked}"
        );
        said.extend((1..4).filter(|n| named(*n).lines().all(|line| asked.contains(&format!("\r\n{line}\r\n")))));
        w.say(w.up(n), &refusal(&format!("of-{n}")));
    }
    said.sort_unstable();
    assert_eq!(said, [1, 2, 3], "each names its own request");
    for c in &clients[1..] {
        let wire = w.wire(*c);
        let cookies = wire.matches("Set-Cookie: of-").count();
        assert_eq!((w.status(*c), cookies, wire.contains("Mcp-Session-Id: of-")), (404, 1, true), "{wire}");
    }
}

#[test]
fn the_answer_goes_to_another_without_what_is_the_askers_where_that_one_has_left() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let clients: Vec<usize> = (0..3).map(|_| w.client_with(GET_STREAM)).collect();
    w.rst(clients[0]);
    w.say(w.up(0), &refusal("of-0"));
    (1..w.ups.len()).for_each(|n| w.say(w.up(n), &refusal("its own")));
    assert_eq!(w.ups.len(), 2);
    let with = |what| clients[1..].iter().filter(|c| w.wire(**c).contains(what)).count();
    assert_eq!((with("404"), with("of-0"), with("its own")), (2, 0, 1));
}

/// More clients wait for one answer than a stack has room for, and no other exchange finds a place.
#[test]
fn a_crowd_that_finds_no_place_is_told_so_some_at_a_time() {
    const CROWD: usize = 20_000;
    let mut w = lingering_world(|route, limits| {
        route.share = Share::Principal;
        (limits.streams, limits.connections) = (2, CROWD + 100);
        (limits.buffer_budget, limits.sessions) = (1 << 30, 10);
    });
    w.checks = false;
    w.client_with(&GET_STREAM.replace("/events", "/other"));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    let clients: Vec<usize> = (0..CROWD).map(|_| w.client_with(GET_STREAM)).collect();
    assert_eq!(w.ups.len(), 2);
    let refused = |w: &World| clients.iter().filter(|c| w.status(**c) == 503).count();
    w.hear(w.up(1), Said::Bytes(refusal("of-0").into_bytes()));
    assert!(refused(&w) <= 64, "{} at once", refused(&w));
    w.pass_secs(1);
    assert_eq!(refused(&w), CROWD - 1);
    // The one that asked has kept its place.
    w.say(w.last_up(), &refusal("of-0"));
    assert_eq!((w.status(clients[0]), w.ups.len()), (404, 3));
}
