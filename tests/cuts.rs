//! The proxy between a client and an upstream that breaks, over real sockets: which cuts are healed, and how streams
//! end.
//!
//! In: scripts for upstream, a raw client. Out: bytes, compared with what upstream meant to send.
//! Law: signals between both sides decide the order of steps, never time.

#![cfg(feature = "net")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::{Count, Span};
use segno::config::Ids;
use support::{End, Proxy, Script, event, events, signal};

/// The first half of an event.
fn half(id: usize) -> String {
    let whole = event(id);
    whole[..whole.len() / 2].to_owned()
}

/// Expects a request with the id before `first`, and answers with the events from `first` on.
fn go_on(peer: &mut support::Peer, first: usize, last: usize) {
    let head = peer.head();
    assert!(head.contains(&format!("\r\nLast-Event-ID: {}\r\n", first - 1)), "{head}");
    peer.begin_stream();
    peer.send_chunk(events(first..=last));
}

#[test]
fn a_fin_inside_an_event_is_healed_into_one_unbroken_stream() {
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=5));
        first.send_chunk(half(6));
        first.fin();
        let mut second = door.accept();
        go_on(&mut second, 6, 9);
        second.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    assert_eq!(client.rest(), End::Whole);
    assert_eq!(client.text(), events(1..=9));
    script.end();
    proxy.until_count(Count::Heals, 1);
}

#[test]
fn a_reset_inside_an_event_is_healed_into_one_unbroken_stream() {
    let (seen, awaited) = signal();
    let script = Script::run(move |door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=5));
        first.send_chunk(half(6));
        awaited.take();
        first.rst();
        let mut second = door.accept();
        go_on(&mut second, 6, 9);
        second.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    client.until(event(5));
    seen.give();
    assert_eq!(client.rest(), End::Whole);
    assert_eq!(client.text(), events(1..=9));
    script.end();
}

#[test]
fn a_fin_inside_a_chunk_size_is_a_cut_and_healed() {
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=2));
        first.send("4");
        first.fin();
        let mut second = door.accept();
        go_on(&mut second, 3, 4);
        second.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=4).as_str()));
    script.end();
}

#[test]
fn what_upstream_repeats_after_a_cut_reaches_the_client_once() {
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=5));
        first.fin();
        let mut second = door.accept();
        second.head();
        second.begin_stream();
        second.send_chunk(events(3..=8));
        second.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=8).as_str()));
    script.end();
    proxy.until_count(Count::Duplicates, 3);
}

#[test]
fn refused_connections_after_a_cut_are_tried_again_until_upstream_is_back() {
    let (tried_in_vain, awaited) = signal();
    let script = Script::run(move |door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=3));
        door.close();
        first.fin();
        awaited.take();
        door.open();
        let mut second = door.accept();
        go_on(&mut second, 4, 6);
        second.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    client.until(event(3));
    // The fifth attempt comes about one second after the cut.
    proxy.until_count(Count::UpstreamConnectsFailed, 4);
    tried_in_vain.give();
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=6).as_str()));
    script.end();
}

#[test]
fn many_cuts_one_after_the_other_leave_one_unbroken_stream() {
    const CUTS: usize = 20;
    let script = Script::run(|door| {
        for n in 0..CUTS {
            let mut peer = door.accept();
            peer.head();
            peer.begin_stream();
            peer.send_chunk(event(n + 1));
            peer.send_chunk(half(n + 2));
            if n % 2 == 0 { peer.fin() } else { peer.rst() }
        }
        let mut last = door.accept();
        last.head();
        last.begin_stream();
        last.send_chunk(event(CUTS + 1));
        last.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    assert_eq!(client.rest(), End::Whole);
    // A reset may overtake the event before it. That event is then asked for again, and this upstream does not go back.
    assert!(client.text().ends_with(&event(CUTS + 1)) && client.text().starts_with(&event(1)), "{}", client.text());
    script.end();
}

#[test]
fn a_stream_without_ids_is_cut_for_the_client_too() {
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk("data: one\n\ndata: tw");
        first.fin();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    assert_eq!((client.rest(), client.text()), (End::Cut, "data: one\n\n"));
    script.end();
}

#[test]
fn a_clean_end_closes_the_stream_and_keeps_the_connection() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk("id: 1\ndata: one\n\ndata: [DONE]");
        peer.send_last_chunk();
        peer.head();
        peer.answer("next");
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    assert_eq!((client.rest(), client.text()), (End::Whole, "id: 1\ndata: one\n\ndata: [DONE]"));
    client.get("/next");
    assert_eq!(client.answer().text(), "next");
    script.end();
}

#[test]
fn a_silent_upstream_counts_as_cut_where_the_route_says_so() {
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=2));
        first.until_gone();
        let mut second = door.accept();
        go_on(&mut second, 3, 4);
        second.send_last_chunk();
    });
    let proxy = Proxy::with(script.address(), |r| r.upstream_idle = Some(Span::from_millis(300)));
    let mut client = proxy.client();
    client.open_events("/events");
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=4).as_str()));
    script.end();
}

/// An MCP client of 2025-11-25 begins its standalone stream, or comes back to it.
fn standalone(client: &mut support::Client, id: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
    client.send(format!(
        "GET /mcp HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nMcp-Session-Id: s\r\n\
         MCP-Protocol-Version: 2025-11-25\r\n{id}\r\n"
    ));
    client.head()
}

#[test]
fn a_standalone_stream_of_mcp_begins_anew_also_when_it_is_forgotten() {
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.rst();
        for n in 1..=2 {
            let mut next = door.accept();
            assert!(!next.head().to_ascii_lowercase().contains("last-event-id"), "an own id went upstream");
            next.begin_stream();
            next.send_chunk(format!("data: notification {n}\n\n"));
            next.until_gone();
        }
    });
    let proxy = Proxy::with(script.address(), |r| (r.ids, r.linger) = (Ids::Auto, Span::ZERO));
    let mut id = String::new();
    for n in 0..3 {
        let mut client = proxy.client();
        let head = standalone(&mut client, &id);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(head.contains("\r\nSegno-Gap: unknown\r\n"), n > 0, "{head}");
        if n == 0 {
            assert_eq!(client.rest(), End::Cut);
        } else {
            client.until(format!("data: notification {n}\n\n"));
        }
        assert!(!client.text().contains("segno.gap"), "{}", client.text());
        id = client.text().lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    }
    script.end();
}
