//! Whose stream it is: nobody gets what another principal's stream carries, and ids of segno's own stay here.

use super::asking::*;
use super::*;
use crate::base::Random;
use crate::config::Share;
use crate::machine::Stake;
use crate::machine::find::identity::Secret;
use std::net::{IpAddr, Ipv4Addr};

/// A request for the stream of whoever sends these lines; with an empty id, for one from its beginning.
fn me(lines: &str, id: &str) -> String {
    let cursor = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
    format!("GET /me HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}{cursor}\r\n")
}

/// A client elsewhere on the network.
fn client_at(w: &mut World, last: u8, request: &str) -> usize {
    let before = w.ends.len();
    w.machine.handle(Input::Accepted { peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)).into() }, w.now);
    w.pump();
    w.say(before, request);
    before
}

/// Somebody got two events and left; what comes next is that client's alone.
fn left_behind(w: &mut World, lines: &str) -> usize {
    let c = w.client_with(&me(lines, ""));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}{}", chunk(&event(1)), chunk(&event(2))));
    w.rst(c);
    u
}

#[test]
fn who_differs_in_any_header_that_goes_upstream_asks_upstream() {
    for (alice, bob) in [
        ("X-Api-Key: public\r\nCookie: s=alice\r\n", "X-Api-Key: public\r\nCookie: s=bob\r\n"),
        ("Authorization: Basic c3RhZ2U=\r\nCookie: s=alice\r\n", "Authorization: Basic c3RhZ2U=\r\nCookie: s=bob\r\n"),
        ("Authorization:\r\nCookie: s=alice\r\n", "Authorization:\r\nCookie: s=bob\r\n"),
        ("Mcp-Session-Id: v\r\nCookie: s=alice\r\n", "Mcp-Session-Id: v\r\nCookie: s=bob\r\n"),
        ("X-User: alice\r\n", "X-User: bob\r\n"),
        ("X-Forwarded-User: alice\r\n", "X-Forwarded-User: bob\r\n"),
        ("Origin: https://a.example\r\n", "Origin: https://b.example\r\n"),
        ("X-User: alice\r\nX-User: bob\r\n", "X-User: bob\r\nX-User: alice\r\n"),
    ] {
        for share in [Share::Off, Share::Principal] {
            let mut w = lingering_world(|route, _| route.share = share);
            left_behind(&mut w, alice);
            let b = w.client_with(&me(bob, "2"));
            assert_eq!(w.ups.len(), 2, "{share:?}: {bob:?} reads the stream of {alice:?}");
            assert!(w.wire(w.up(1)).contains("Last-Event-ID: 2\r\n") && w.wire(b).is_empty());
            let b = w.client_with(&me(bob, ""));
            w.say(w.up(0), &chunk(&event(3)));
            assert!(w.wire(b).is_empty(), "{share:?}: {bob:?} is given what {alice:?} asked for");
        }
    }
}

#[test]
fn what_says_nothing_of_the_person_tells_nobody_apart() {
    let mut w = lingering_world(|_, _| {});
    let u = left_behind(
        &mut w,
        "X-User: a\r\nAccept-Language: de\r\nSec-Fetch-Mode: cors\r\nTraceparent: 00-1\r\nCookie: s=1; _ga_X=1; _fbp=2\r\n",
    );
    let a = w.client_with(&me("cookie: _gid=7; s=1\r\nUser-Agent: x\r\nX-Request-Id: 9\r\nx-user: a\r\n", "2"));
    w.say(u, &chunk(&event(3)));
    assert_eq!((data(&w, a), w.ups.len()), (vec!["3".to_owned()], 1));
}

#[test]
fn an_upstreams_id_is_answered_at_the_address_it_was_given_to_and_an_own_id_anywhere() {
    let mut w = lingering_world(|_, _| {});
    left_behind(&mut w, "Authorization: Bearer a\r\n");
    client_at(&mut w, 7, &me("Authorization: Bearer a\r\n", "2"));
    assert_eq!(w.ups.len(), 2, "an id that can be guessed was answered elsewhere");
    for lines in ["Authorization: Bearer a\r\n", ""] {
        let mut w = lingering_world(|_, _| {});
        let c = w.client_with(&me(lines, ""));
        let u = w.last_up();
        w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
        let id = last_id(&w, c);
        w.rst(c);
        let d = client_at(&mut w, 7, &me(lines, &id));
        w.say(u, &chunk("data: b\n\n"));
        assert_eq!((data(&w, d), w.ups.len()), (vec!["b".to_owned()], 1), "{lines:?}");
    }
}

#[test]
fn behind_a_trusted_proxy_the_address_is_the_clients() {
    let mut config = one_route(|_, _| {});
    config.trusted_proxies = std::iter::once("127.0.0.0/8".parse().unwrap()).collect();
    let mut w = world_of(config);
    left_behind(&mut w, "X-Forwarded-For: 198.51.100.7\r\n");
    w.client_with(&me("X-Forwarded-For: 198.51.100.8\r\n", "2"));
    assert_eq!(w.ups.len(), 2);
    let back = w.client_with(&me("X-Forwarded-For: 10.9.9.9, 198.51.100.7\r\n", "2"));
    w.say(w.up(0), &chunk(&event(3)));
    assert_eq!((data(&w, back), w.ups.len()), (vec!["3".to_owned()], 2));
}

#[test]
fn what_a_route_names_counts_alone_and_only_where_it_is_there() {
    let names = |w: &mut Route| w.principal = vec!["Authorization".to_owned(), "cookie:sid".to_owned()];
    let mut w = lingering_world(|route, _| names(route));
    left_behind(&mut w, "Cookie: sid=1; theme=dark\r\nX-Any: 1\r\n");
    let back = client_at(&mut w, 9, &me("Cookie: theme=light; sid=1\r\n", "2"));
    assert_eq!((w.status(back), w.ups.len()), (200, 1));
    for (alice, bob) in [
        ("Cookie: sid=1\r\n", "Cookie: sid=2\r\n"),
        ("X-User: alice\r\n", "X-User: bob\r\n"),
        ("Cookie: sid=; u=alice\r\n", "Cookie: sid=; u=bob\r\n"),
        ("Authorization:\r\nX-User: alice\r\n", "Authorization:\r\nX-User: bob\r\n"),
    ] {
        let mut w = lingering_world(|route, _| names(route));
        left_behind(&mut w, alice);
        w.client_with(&me(bob, "2"));
        assert_eq!(w.ups.len(), 2, "{bob:?} reads the stream of {alice:?}");
    }
}

#[test]
fn what_a_post_of_mcp_began_is_found_by_a_get_of_its_session() {
    let mut w = lingering_world(|_, _| {});
    let post = "POST /me HTTP/1.1\r\nHost: h\r\nAccept: application/json, text/event-stream\r\nMcp-Session-Id: s\r\n\
                Content-Type: application/json\r\nContent-Length: 2\r\nAuthorization: a\r\n\r\n{}";
    let c = w.client_with(post);
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(c);
    let mcp = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-06-18\r\n";
    let d = w.client_with(&me(&format!("{mcp}Authorization: a\r\n"), "1"));
    w.say(w.up(0), &chunk(&event(2)));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["2".to_owned()], 1));
}

#[test]
fn an_own_id_of_another_maker_never_goes_upstream_and_is_a_gap() {
    let other = Secret::new(999);
    let prefix = other.token(other.draw(&mut Random::new(5), false)).prefix();
    let id = format!("{}3", std::str::from_utf8(&prefix).unwrap());
    assert!(id.starts_with("sg-"), "{id}");
    let parameter = format!("GET /me?last={id} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
    let post = format!(
        "POST /me HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: {id}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let stateless = me("MCP-Protocol-Version: 2026-07-28\r\n", &id);
    for request in [me("", &id), parameter, post, stateless.clone()] {
        let mut w = lingering_world(|route, _| route.last_event_id_param = Some("last".to_owned()));
        let c = w.client_with(&request);
        let asked = w.wire(w.up(0));
        assert!(!asked.contains("sg-"), "{asked}");
        w.say(w.up(0), &format!("{STREAM}{}", chunk("data: new\n\n")));
        let stated = (request != stateless).then_some("unknown");
        assert_eq!(gap_header(&w, c).as_deref(), stated, "{request}");
    }
}

/// A client over TLS, whose certificate names this owner.
fn certified(w: &mut World, owner: Option<&[u8]>, request: &str) -> usize {
    let (before, peer) = (w.ends.len(), IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    w.machine.handle(Input::AcceptedSecure { peer, stake: Stake::NONE, certificate: owner }, w.now);
    w.pump();
    w.say(before, request);
    before
}

#[test]
fn a_certificate_counts_beside_all_that_a_request_says_and_what_a_route_names() {
    let key = "Authorization: Bearer shared\r\n";
    for named in [vec![], vec!["Authorization".to_owned()]] {
        let mut w = lingering_world(|route, _| route.principal.clone_from(&named));
        let ada = certified(&mut w, Some(b"ada"), &me(key, ""));
        w.say(w.last_up(), &format!("{STREAM}{}{}", chunk(&event(1)), chunk(&event(2))));
        w.rst(ada);
        for other in [Some(&b"eve"[..]), None] {
            let c = certified(&mut w, other, &me(key, "1"));
            assert!(w.wire(c).is_empty(), "{other:?} reads the stream of another ({named:?})");
        }
        let plain = w.client_with(&me(key, "1"));
        assert!(w.wire(plain).is_empty(), "who has no certificate reads it");
        let again = certified(&mut w, Some(b"ada"), &me(key, "1"));
        assert!(w.wire(again).contains(&event(2)), "its own client does not find it");
    }
}
