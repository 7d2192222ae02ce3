//! Strangers: crowds of bad requests beside streams, what one of them costs, and headers of the PROXY protocol.
//!
//! In: addresses of the network 127.0.0.0/8, each a client of its own. Out: what each of them is answered.
//! Laws: nobody but the stranger loses anything; its address is the one that it connects from, or that a trusted proxy
//! names.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

#[path = "strangers/cost.rs"]
mod cost;
#[path = "strangers/crowd.rs"]
mod crowd;
#[path = "strangers/ends.rs"]
mod ends;
mod support;

use ends::{ask, connect, status};
use segno::base::Count;
use segno::config::{Config, ProxyProtocol, Route, Upstream};
use std::io::Write;
use support::{Client, Proxy, Script, until};

/// A proxy that trusts 127.9.0.1, and an upstream that gives back each `X-Forwarded-For` that it is sent.
fn announced(mode: ProxyProtocol, requests: usize, change: impl FnOnce(&mut Config)) -> (Proxy, Script) {
    let script = Script::run(move |door| {
        for _ in 0..requests {
            let mut peer = door.accept();
            let head = peer.head();
            let value = head.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: ")).unwrap_or("none");
            peer.answer(value);
        }
    });
    let route = Route::new(Upstream::parse(&format!("http://{}", script.address())).unwrap());
    let mut config = Config {
        routes: vec![route].into(),
        trusted_proxies: ["127.9.0.1".parse().unwrap()].into_iter().collect(),
        proxy_protocol: mode,
        ..Config::default()
    };
    change(&mut config);
    (Proxy::of_config(config), script)
}

const FRONT: [u8; 4] = [127, 9, 0, 1];

/// A header of version 2 for a client at 203.0.113.7, with something behind its addresses.
fn binary() -> Vec<u8> {
    let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0, 80, 1, 187];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10"[..], &addresses, &[4, 0, 1, 42]].concat()
}

#[test]
fn a_header_of_the_proxy_protocol_is_read_of_trusted_proxies_alone() {
    let (proxy, script) = announced(ProxyProtocol::Accept, 4, |_| {});
    let to = proxy.address();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let says = |from: [u8; 4], parts: &[&[u8]]| {
        let mut client = Client::over(connect(from, to));
        parts.iter().for_each(|part| client.send(part));
        client.get("/");
        client.answer()
    };
    let text = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
    assert_eq!(says(FRONT, &[text]).text(), "2001:db8::7");
    let bytes = binary();
    let parts: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(says(FRONT, &parts).text(), "203.0.113.7");
    assert_eq!(says(FRONT, &[local]).text(), "127.9.0.1");
    // Nobody else has one: what looks like one is a bad request.
    assert_eq!(says([127, 8, 0, 1], &[]).text(), "127.8.0.1");
    assert_eq!(says([127, 8, 0, 1], &[text]).status, 400);
    script.end();
    assert_eq!(ask(FRONT, to, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 0, "a trusted proxy must say for whom");
    proxy.until_count(Count::OverProxyProtocol, 1);
    assert_eq!((proxy.count(Count::ProxyHeaders), proxy.count(Count::OverProxyProtocol)), (3, 1));
}

#[test]
fn a_client_whose_address_no_proxy_knows_has_no_trust_and_counts() {
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", &unix] {
        let one = |config: &mut Config| config.limits.connections_per_address = 1;
        let (proxy, script) = announced(ProxyProtocol::Accept, 1, one);
        let mut client = Client::over(connect(FRONT, proxy.address()));
        client.send([header, b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n"].concat());
        assert_eq!(client.answer().text(), "unknown");
        let mut second = connect(FRONT, proxy.address());
        second.write_all(header).unwrap();
        assert_eq!(status(&second), 429);
        script.end();
    }
}

#[test]
fn a_health_check_speaks_for_nobody_and_is_not_counted() {
    let (proxy, script) = announced(ProxyProtocol::Accept, 2, |config| config.limits.connections_per_address = 1);
    let checks = [(); 2].map(|()| {
        let mut check = Client::over(connect(FRONT, proxy.address()));
        check.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        check.send("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
        assert_eq!(check.answer().text(), "127.9.0.1");
        check
    });
    drop(checks);
    script.end();
}

#[test]
fn where_the_header_is_required_whoever_is_not_trusted_is_cut() {
    let (proxy, script) = announced(ProxyProtocol::Require, 1, |config| config.limits.connections_per_address = 1);
    let to = proxy.address();
    assert_eq!(ask([127, 8, 0, 1], to, "PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 0);
    // A count is passed on at the end of a turn, and the cut may be seen before.
    proxy.until_count(Count::OverProxyProtocol, 1);
    // The bound of an address is that of the client's.
    let mut first = Client::over(connect(FRONT, to));
    first.send(binary());
    first.get("/");
    assert_eq!(first.answer().text(), "203.0.113.7");
    let mut second = connect(FRONT, to);
    second.write_all(&binary()).unwrap();
    assert_eq!(status(&second), 429);
    until("the first has left", || {
        let _ = first.socket().shutdown(std::net::Shutdown::Both);
        let mut third = connect(FRONT, to);
        third.write_all(&[&binary()[..], b"BAD\r\n\r\n"].concat()).unwrap();
        status(&third) == 400
    });
    script.end();
}

#[test]
fn who_never_sends_its_header_is_closed_in_time() {
    let (proxy, _script) = announced(ProxyProtocol::Accept, 0, |config| {
        let mut routes = config.routes.to_vec();
        routes[0].head_timeout = segno::base::Span::from_millis(300);
        config.routes = routes.into();
    });
    let mut stream = connect(FRONT, proxy.address());
    stream.write_all(b"PROXY TCP4 ").unwrap();
    assert_eq!(status(&stream), 0);
    proxy.until_count(Count::OverProxyProtocol, 1);
    // Whoever only opens the port is not told of. The next connection is looked at after it.
    drop(connect(FRONT, proxy.address()));
    assert_eq!(ask(FRONT, proxy.address(), "NO HEADER\r\n"), 0);
    proxy.until_count(Count::OverProxyProtocol, 2);
    assert_eq!(proxy.count(Count::OverProxyProtocol), 2);
}

#[cfg(feature = "tls")]
#[test]
fn the_header_stands_before_tls() {
    let authority = support::tls::Authority::new();
    let pair = authority.sign("a", &["localhost"]);
    let (proxy, script) = announced(ProxyProtocol::Require, 1, |config| {
        config.tls_cert = vec![pair.cert.clone()];
        config.tls_key = vec![pair.key.clone()];
        config.limits.connections_per_address = 1;
    });
    let mut stream = connect(FRONT, proxy.address());
    stream.write_all(&binary()).unwrap();
    let mut client = Client::over(support::tls::tls_over(authority.client_config(None), stream, "localhost"));
    client.get("/");
    assert_eq!(client.answer().text(), "203.0.113.7");
    // One more of this address is cut before the handshake: it could not be told anything.
    let mut second = connect(FRONT, proxy.address());
    second.write_all(&binary()).unwrap();
    assert_eq!(status(&second), 0);
    proxy.until_count(Count::OverConnectionsPerAddress, 1);
    script.end();
}
