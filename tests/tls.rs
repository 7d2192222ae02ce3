//! `https://` upstreams: certificates, cuts without `close_notify`, bodies larger than any buffer.
//!
//! In: a new certificate authority for each test, and an upstream that speaks TLS on a blocking thread. Out: what the
//! client of the proxy sees.
//! Law: only a certificate of a trusted authority for the upstream's name is accepted.

#![cfg(feature = "tls")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use rustls::{ServerConfig, ServerConnection};
use segno::base::Count;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::tls::{Authority, TlsPeer};
use support::{Door, End, PATIENCE, Script, events, noise, signal};

#[test]
fn a_stream_comes_through_tls() {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let script = Script::run(move |door| {
        let mut peer = TlsPeer::accept(door, &server);
        peer.head();
        peer.begin_stream();
        peer.send_chunk(events(1..=100));
        peer.send("0\r\n\r\n");
    });
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.open_events("/");
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=100).as_str()));
    script.end();
}

#[test]
fn a_name_is_resolved_and_its_addresses_are_tried_in_turn() {
    let authority = Authority::new();
    let server = authority.server("localhost");
    let script = Script::run(move |door| {
        let mut peer = TlsPeer::accept(door, &server);
        assert!(peer.head().contains("\r\nHost: localhost:"));
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = authority.proxy_to("localhost", script.address().port());
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().text(), "ok");
    script.end();
}

#[test]
fn a_tunnel_through_tls_passes_bytes_and_ends() {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let script = Script::run(move |door| {
        let mut peer = TlsPeer::accept(door, &server);
        assert!(peer.head().contains("\r\nUpgrade: x\r\n"));
        peer.send("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        let mut got = Vec::new();
        // The end comes as `close_notify`: without it, this would be an error.
        peer.0.read_to_end(&mut got).unwrap();
        peer.send(&got);
        peer.notify_and_close();
    });
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.send(noise(500_000));
    client.socket().shutdown(Shutdown::Write).unwrap();
    assert!(client.until_gone() == noise(500_000));
    script.end();
}

#[test]
fn upstream_is_told_by_close_notify_that_its_client_has_left() {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let (begun, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = TlsPeer::accept(door, &server);
        peer.head();
        peer.begin_stream();
        begun.give();
        assert_eq!(peer.0.read_to_end(&mut Vec::new()).unwrap(), 0);
    });
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.open_events("/");
    awaited.take();
    client.close();
    script.end();
}

#[test]
fn an_end_without_close_notify_is_a_cut_and_healed() {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let script = Script::run(move |door| {
        let mut first = TlsPeer::accept(door, &server);
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=5));
        first.send_chunk("id: 6\ndata: hal");
        drop(first);
        let mut second = TlsPeer::accept(door, &server);
        let head = second.head();
        assert!(head.contains("\r\nLast-Event-ID: 5\r\n"), "{head}");
        second.begin_stream();
        second.send_chunk(events(6..=9));
        second.send("0\r\n\r\n");
    });
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.open_events("/");
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=9).as_str()));
    script.end();
    proxy.until_count(Count::Heals, 1);
}

#[test]
fn a_close_delimited_body_is_whole_with_close_notify_and_cut_without() {
    for notify in [true, false] {
        let authority = Authority::new();
        let server = authority.server("127.0.0.1");
        let script = Script::run(move |door| {
            let mut peer = TlsPeer::accept(door, &server);
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it?");
            if notify {
                peer.notify_and_close();
            }
        });
        let proxy = authority.proxy_to("127.0.0.1", script.address().port());
        let mut client = proxy.client();
        client.get("/");
        let answer = client.answer();
        assert_eq!((answer.text(), answer.end == End::Whole), ("all of it?", notify));
        script.end();
    }
}

#[test]
fn a_large_body_is_echoed_through_tls_intact() {
    const LARGE: usize = 8 << 20;
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let script = Script::run(move |door| {
        let mut peer = TlsPeer::accept(door, &server);
        peer.head();
        let mut body = vec![0; LARGE];
        peer.0.read_exact(&mut body).unwrap();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        peer.send(&body);
        // The proxy may keep the connection; the next thing it sends is the close.
        let _ = peer.0.read(&mut [0]);
    });
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    let mut sender = client.sender();
    let sending = thread::spawn(move || {
        sender
            .write_all(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
            .unwrap();
        sender.write_all(&noise(LARGE)).unwrap();
    });
    let answer = client.answer();
    sending.join().unwrap();
    assert_eq!(answer.end, End::Whole);
    assert!(answer.body == noise(LARGE), "{} bytes came back, or others", answer.body.len());
    drop(proxy);
    script.end();
}

#[test]
fn an_upload_that_was_stuck_goes_on() {
    const LARGE: usize = 32 << 20;
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let (stuck, awaited) = support::signal();
    let script = Script::run(move |door| {
        let mut peer = TlsPeer::accept(door, &server);
        peer.head();
        awaited.take();
        let mut body = vec![0; LARGE];
        peer.0.read_exact(&mut body).unwrap();
        assert!(body == noise(LARGE), "other bytes came");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {LARGE}\r\n\r\n"));
    let mut sender = client.sender();
    sender.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let body = noise(LARGE);
    let mut sent = 0;
    while let Ok(n) = sender.write(&body[sent..]) {
        sent += n;
        assert!(sent < LARGE, "all bytes were taken, though upstream does not read");
    }
    stuck.give();
    sender.set_write_timeout(Some(PATIENCE)).unwrap();
    sender.write_all(&body[sent..]).unwrap();
    assert_eq!(client.answer().text(), "ok");
    script.end();
}

/// Accepts `times` TLS connections, whose handshakes must fail.
fn refusing(door: &mut Door, config: &Arc<ServerConfig>, times: usize) {
    for _ in 0..times {
        let mut stream = door.accept_raw();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = ServerConnection::new(Arc::clone(config)).unwrap();
        assert!(session.complete_io(&mut stream).and_then(|_| session.complete_io(&mut stream)).is_err());
    }
}

#[test]
fn a_certificate_of_another_authority_is_a_502() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = other.server("127.0.0.1");
    let script = Script::run(move |door| refusing(door, &server, 1));
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.get("/");
    let answer = client.answer();
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("TLS"), "{}", answer.text());
    script.end();
}

#[test]
fn a_certificate_for_another_name_is_a_502() {
    let authority = Authority::new();
    let server = authority.server("elsewhere.example");
    let script = Script::run(move |door| refusing(door, &server, 1));
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().status, 502);
    script.end();
}

#[test]
fn an_upstream_without_tls_is_a_502() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        peer.until_gone();
    });
    let authority = Authority::new();
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.get("/");
    let answer = client.answer();
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("it does not speak TLS on this port"), "{}", answer.text());
    script.end();
}

#[test]
fn a_wrong_certificate_is_told_at_once_to_a_client_that_asks_for_a_stream() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = other.server("127.0.0.1");
    let script = Script::run(move |door| refusing(door, &server, 1));
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.get_events("/");
    let answer = client.answer();
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("its TLS certificate is not accepted"), "{}", answer.text());
    script.end();
}

#[test]
fn an_open_stream_outlasts_a_certificate_that_is_wrong_for_a_while() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (server, wrong) = (authority.server("127.0.0.1"), other.server("127.0.0.1"));
    let script = Script::run(move |door| {
        let mut first = TlsPeer::accept(door, &server);
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=2));
        drop(first);
        refusing(door, &wrong, 2);
        let mut second = TlsPeer::accept(door, &server);
        assert!(second.head().contains("\r\nLast-Event-ID: 2\r\n"));
        second.begin_stream();
        second.send_chunk(events(3..=4));
        second.send("0\r\n\r\n");
    });
    let proxy = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = proxy.client();
    client.open_events("/");
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=4).as_str()));
    script.end();
}
