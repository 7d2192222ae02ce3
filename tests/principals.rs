//! Whose stream it is, over real sockets: two people who differ in one header.
//!
//! In: an upstream that serves each person events of their own, under ids that anybody can guess. Out: what each gets.
//! Law: signals between both sides decide the order of steps, never time.

#![cfg(feature = "net")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::{Count, Span};
use segno::config::Share;
use support::{Client, Proxy, Script};

/// What tells two people apart, beside what they have in common.
const PEOPLE: [(&str, &str); 7] = [
    ("X-Api-Key: public\r\nCookie: s=alice\r\n", "X-Api-Key: public\r\nCookie: s=bob\r\n"),
    ("Authorization: Basic c3RhZ2U=\r\nCookie: s=alice\r\n", "Authorization: Basic c3RhZ2U=\r\nCookie: s=bob\r\n"),
    ("Authorization:\r\nCookie: s=alice\r\n", "Authorization:\r\nCookie: s=bob\r\n"),
    ("Mcp-Session-Id: v\r\nCookie: s=alice\r\n", "Mcp-Session-Id: v\r\nCookie: s=bob\r\n"),
    ("X-User: alice\r\n", "X-User: bob\r\n"),
    ("Cookie: _ga=1; s=alice\r\n", "Cookie: _ga=1; s=bob\r\n"),
    ("Origin: https://alice.example\r\n", "Origin: https://bob.example\r\n"),
];

fn ask(client: &mut Client, person: &str, cursor: &str) {
    client.send(format!("GET /me HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n{person}{cursor}\r\n"));
}

#[test]
fn nobody_is_given_the_stream_of_somebody_else() {
    for (alice, bob) in PEOPLE {
        for (share, cursor) in [(Share::Off, "Last-Event-ID: 2\r\n"), (Share::Principal, "")] {
            let script = Script::run(move |door| {
                let mut for_alice = door.accept();
                for_alice.head();
                for_alice.begin_stream();
                for_alice.send_chunk("id: 1\ndata: alice\n\nid: 2\ndata: alice\n\n");
                let mut for_bob = door.accept();
                let asked = for_bob.head();
                assert!(asked.contains(bob.split("\r\n").next().unwrap()) && asked.contains(cursor), "{asked}");
                for_alice.send_chunk("id: 3\ndata: alice\n\n");
                for_bob.begin_stream();
                for_bob.send_chunk("id: 3\ndata: bob\n\n");
                for_bob.send_last_chunk();
            });
            let proxy = Proxy::with(script.address(), |route| {
                route.linger = Span::from_secs(30);
                route.share = share;
            });
            let mut first = proxy.client();
            ask(&mut first, alice, "");
            first.head();
            first.until("id: 2\ndata: alice\n\n");
            first.close();
            proxy.until_count(Count::StreamsDetached, 1);
            let mut second = proxy.client();
            ask(&mut second, bob, cursor);
            second.head();
            second.rest();
            assert!(second.text().contains("bob") && !second.text().contains("alice"), "{bob}: {}", second.text());
            script.end();
        }
    }
}

#[test]
fn whoever_comes_back_as_the_same_person_reads_on() {
    for (alice, _) in PEOPLE {
        let script = Script::run(move |door| {
            let mut peer = door.accept();
            peer.head();
            peer.begin_stream();
            peer.send_chunk("id: 1\ndata: alice\n\nid: 2\ndata: alice\n\n");
            peer.until_gone();
        });
        let proxy = Proxy::with(script.address(), |route| route.linger = Span::from_secs(30));
        let mut first = proxy.client();
        ask(&mut first, alice, "");
        first.head();
        first.until("id: 2\ndata: alice\n\n");
        first.close();
        proxy.until_count(Count::StreamsDetached, 1);
        let mut second = proxy.client();
        ask(&mut second, &format!("{alice}Sec-Fetch-Mode: cors\r\nUser-Agent: other\r\n"), "Last-Event-ID: 1\r\n");
        second.head();
        second.until("id: 2\ndata: alice\n\n");
        proxy.until_count(Count::Resumes, 1);
        drop(proxy);
        script.end();
    }
}
