//! TLS towards clients: names, ends and cuts, client certificates, certificates that change, handshakes that never end.
//!
//! In: a proxy whose listener speaks TLS, clients on rustls. Out: what each side sees.
//! Laws: a clean end says `close_notify` and a cut does not; a certificate is a part of who asks; who never finishes a
//! handshake keeps nobody out.

#![cfg(feature = "tls")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use rcgen::{CertificateParams, DistinguishedName, DnType};
use segno::base::{Count, Span};
use segno::config::{ClientCert, Config, Ids, ResumeFrom, Route, Upstream};
use segno::metrics::Gauge;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use support::tls::{Authority, Pair, TlsPeer, tls_client, tls_over, tls_wire};
use support::{Client, End, PATIENCE, Proxy, Script, event, events, noise, signal, until};

fn route_to(upstream: SocketAddr) -> Route {
    let mut route = Route::new(Upstream::parse(&format!("http://{upstream}")).unwrap());
    route.ids = Ids::Off;
    route.linger = Span::ZERO;
    route
}

#[test]
fn a_stream_comes_through_and_the_upstream_is_told_that_it_was_asked_by_https() {
    let authority = Authority::new();
    let script = Script::run(|door| {
        let mut peer = door.accept();
        assert!(peer.head().contains("\r\nX-Forwarded-Proto: https\r\n"));
        peer.begin_stream();
        peer.send_chunk(events(1..=100));
        peer.send_last_chunk();
    });
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route_to(script.address())));
    let mut client = authority.client(proxy.address(), "localhost");
    client.open_events("/");
    assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=100).as_str()));
    script.end();
    assert_eq!((proxy.count(Count::TlsHandshakes), proxy.count(Count::TlsHandshakesFailed)), (1, 0));
}

/// The common name of the certificate that a listener shows to a client of this name, which does not check it.
fn shown(proxy: &Proxy, authority: &Authority, name: &str) -> String {
    let mut wire = tls_wire(authority.client_config(None), proxy.address(), name);
    let _ = wire.conn.complete_io(&mut wire.sock);
    match wire.conn.peer_certificates() {
        Some(chain) => {
            let der = &chain[0];
            let names = ["first", "wild", "exact"];
            let found = names.iter().find(|name| memchr::memmem::find(der, name.as_bytes()).is_some());
            (*found.expect("one of them")).to_owned()
        }
        None => "none".to_owned(),
    }
}

#[test]
fn each_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let pairs =
        [("first", "other.example"), ("wild", "*.example.org"), ("exact", "a.example.org")].map(|(cn, name)| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, cn);
            authority.sign_with(cn, params)
        });
    let mut config = pairs[0].config(route_to(([127, 0, 0, 1], 9).into()));
    config.tls_cert = pairs.iter().map(|pair| pair.cert.clone()).collect();
    config.tls_key = pairs.iter().map(|pair| pair.key.clone()).collect();
    let proxy = Proxy::of_config(config);
    let got = ["a.example.org", "b.example.org", "other.example"].map(|name| shown(&proxy, &authority, name));
    assert_eq!(got, ["exact", "wild", "first"]);
}

#[test]
fn a_name_that_no_certificate_has_gets_the_first() {
    let authority = Authority::new();
    let proxy = Proxy::of_config(authority.sign("a", &["a.example"]).config(route_to(([127, 0, 0, 1], 9).into())));
    // The client refuses it, which is its own choice to make.
    let mut client = tls_wire(authority.client_config(None), proxy.address(), "b.example");
    let refused = client.write_all(b"x").and_then(|()| client.flush()).unwrap_err();
    assert!(refused.to_string().contains("not valid for"), "{refused}");
    proxy.until_count(Count::TlsHandshakesFailed, 1);
}

#[test]
fn a_clean_end_says_close_notify() {
    let authority = Authority::new();
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
    });
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route_to(script.address())));
    let mut client = authority.client(proxy.address(), "localhost");
    client.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
    let head = client.head();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    // Without `close_notify` this would be an error.
    let mut got = Vec::new();
    let mut room = [0; 64];
    while let n @ 1.. = client.read(&mut room) {
        got.extend_from_slice(&room[..n]);
    }
    assert_eq!(got, b"all of it");
    script.end();
}

#[test]
fn a_cut_is_a_cut_to_clients_with_chunks_and_without() {
    for version in ["1.1", "1.0"] {
        let authority = Authority::new();
        let script = Script::run(|door| {
            let mut peer = door.accept();
            peer.head();
            peer.begin_stream();
            peer.send_chunk(events(1..=3));
        });
        let mut route = route_to(script.address());
        route.heal_for = Span::ZERO;
        let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route));
        let mut client = authority.client(proxy.address(), "localhost");
        client.send(format!("GET / HTTP/{version}\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"));
        client.head();
        let mut got = Vec::new();
        let end = loop {
            let mut room = [0; 4_096];
            match client.try_read(&mut room) {
                Ok(0) => panic!("{version}: it ends as if it were whole"),
                Ok(n) => got.extend_from_slice(&room[..n]),
                Err(e) => break e.kind(),
            }
        };
        assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{version}: {end}");
        assert!(memchr::memmem::find(&got, b"id: 3").is_some() || version == "1.0", "what was sent arrives");
        script.end();
    }
}

#[test]
fn plain_http_on_the_port_is_told_what_to_do() {
    let authority = Authority::new();
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route_to(([127, 0, 0, 1], 9).into())));
    let mut client = proxy.client();
    client.get("/");
    let answer = client.answer();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https://"), "{}", answer.text());
    assert_eq!(client.read_end().unwrap(), 0);
    proxy.until_count(Count::TlsHandshakesFailed, 1);
    // What is neither gets an alert.
    let mut client = proxy.client();
    client.send([0; 100]);
    assert_eq!(client.until_gone().first(), Some(&21), "a record with an alert");
}

#[test]
fn an_address_without_tls_is_plain_beside_it() {
    let authority = Authority::new();
    let script = Script::run(|door| {
        let mut peer = door.accept();
        assert!(peer.head().contains("\r\nX-Forwarded-Proto: http\r\n"));
        peer.answer("ok");
    });
    let plain = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let config =
        Config { listen_plain: plain, ..authority.sign("a", &["localhost"]).config(route_to(script.address())) };
    let proxy = Proxy::of_config(config);
    let mut client = Client::connect(proxy.engine().addresses()[1]);
    client.get("/");
    assert_eq!(client.answer().text(), "ok");
    script.end();
}

#[test]
fn a_slow_client_holds_upstream_back_and_gets_every_byte() {
    const LARGE: usize = 24 << 20;
    let authority = Authority::new();
    let (stuck, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n"));
        let body = noise(LARGE);
        let sent = peer.send_until_stuck(&body, Duration::from_millis(500));
        assert!(sent < LARGE, "all bytes were taken, though the client does not read");
        stuck.give();
        assert!(peer.pour(&body[sent..]));
    });
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route_to(script.address())));
    let mut client = authority.client(proxy.address(), "localhost");
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    awaited.take();
    let answer = client.answer();
    assert_eq!(answer.end, End::Whole);
    assert!(answer.body == noise(LARGE), "other bytes came");
    assert_eq!(client.read_end().unwrap(), 0, "the end is said");
    script.end();
}

#[test]
fn a_large_body_is_echoed_intact() {
    const LARGE: usize = 4 << 20;
    let authority = Authority::new();
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        let mut body = Vec::new();
        peer.body(LARGE, |_, piece| body.extend_from_slice(piece));
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        peer.send(&body);
    });
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route_to(script.address())));
    let mut client = authority.client(proxy.address(), "localhost");
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n"));
    client.send(noise(LARGE));
    assert!(client.answer().body == noise(LARGE));
    script.end();
}

/// As `tests/in_flight.rs` without TLS: what the client's system has not acknowledged comes again, though the system
/// counts sealed bytes and not events.
#[cfg(target_os = "linux")]
#[test]
fn a_session_goes_on_behind_what_its_client_acknowledged() {
    const EVENTS: usize = 3_000;
    let authority = Authority::new();
    let (sent, is_sent) = signal();
    let (end, may_end) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        (1..=EVENTS).for_each(|n| peer.send_chunk(event(n)));
        sent.give();
        may_end.take();
        assert!(door.nobody_waits(), "upstream was asked for what the log must hold");
    });
    let mut route = route_to(script.address());
    (route.resume_from, route.linger) = (ResumeFrom::Session, Span::from_secs(60));
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route));
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nMcp-Session-Id: s\r\n\r\n";
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    let mut client = Client::over(tls_over(authority.client_config(None), TcpStream::from(socket), "localhost"));
    client.send(ask);
    client.head();
    client.until(event(5));
    is_sent.take();
    SockRef::from(client.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    until("the client has gone", || proxy.gauge(Gauge::Connections) == 1);
    let mut back = authority.client(proxy.address(), "localhost");
    back.send(ask);
    back.head();
    back.until(event(EVENTS));
    let first = back.text().lines().find_map(|line| line.strip_prefix("id: ")).unwrap().parse::<usize>().unwrap();
    assert!((1..1_500).contains(&first), "it goes on at {first}");
    assert_eq!(back.text(), events(first..=EVENTS));
    end.give();
    script.end();
}

#[test]
fn a_client_must_show_a_certificate_where_one_is_required() {
    let (authority, other) = (Authority::new(), Authority::new());
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.answer("ok");
    });
    let config = authority.sign("a", &["localhost"]).config(route_to(script.address()));
    let proxy = Proxy::of_config(Config { client_ca: Some(authority.file.clone()), ..config });
    let is_served = |own: Option<&Pair>| {
        let mut wire = tls_wire(authority.client_config(own), proxy.address(), "localhost");
        let asked = wire.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").and_then(|()| wire.flush());
        asked.is_ok() && matches!(wire.read(&mut [0; 64]), Ok(1..))
    };
    assert!(!is_served(None));
    assert!(!is_served(Some(&other.sign("eve", &["eve"]))));
    assert_eq!(proxy.count(Count::Requests), 0);
    assert!(is_served(Some(&authority.sign("ada", &["ada"]))));
    script.end();
}

#[test]
fn a_certificate_is_a_part_of_who_asks() {
    let authority = Authority::new();
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk("data: of ada\n\n");
        // Eve's id names nothing that is hers, and so does that of nobody at all.
        for _ in 0..2 {
            let mut other = door.accept();
            other.head();
            other.answer("another's");
        }
        first.send_chunk("data: more\n\n");
        first.send_last_chunk();
    });
    let mut route = Route::new(Upstream::parse(&format!("http://{}", script.address())).unwrap());
    // Also where the route names what else counts.
    route.principal = vec!["Authorization".to_owned()];
    let config = authority.sign("a", &["localhost"]).config(route);
    let (client_ca, client_cert) = (Some(authority.file.clone()), ClientCert::Optional);
    let proxy = Proxy::of_config(Config { client_ca, client_cert, ..config });
    let [ada, renewed, eve] =
        [("ada", "ada"), ("renewed", "ada"), ("eve", "eve")].map(|(f, n)| authority.sign(f, &[n]));
    let ask = |own: Option<&Pair>, id: &str| {
        let mut client = tls_client(authority.client_config(own), proxy.address(), "localhost");
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nAuthorization: Bearer shared\r\n{id}\r\n"
        ));
        client
    };
    let mut first = ask(Some(&ada), "");
    first.head();
    first.until("data: of ada\n\n");
    let text = first.text().to_owned();
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let (token, _) = id.rsplit_once('-').unwrap();
    let cursor = format!("Last-Event-ID: {token}-0\r\n");
    first.close();
    assert_eq!(ask(Some(&eve), &cursor).answer().text(), "another's");
    assert_eq!(ask(None, &cursor).answer().text(), "another's");
    // A certificate that was renewed is the same client's.
    let mut again = ask(Some(&renewed), &cursor);
    again.head();
    again.until("data: of ada\n\n");
    again.until("data: more\n\n");
    script.end();
}

#[test]
fn an_upstream_that_wants_a_certificate_is_shown_one() {
    let authority = Authority::new();
    let server = authority.strict_server("127.0.0.1");
    let script = Script::run(move |door| {
        let mut peer = TlsPeer::accept(door, &server);
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        // The one without a certificate.
        let mut refused = TlsPeer::accept(door, &server);
        assert!(refused.0.read(&mut [0]).is_err());
    });
    let own = authority.sign("segno", &["segno"]);
    let mut route = authority.route_to("127.0.0.1", script.address().port());
    (route.upstream_cert, route.upstream_key) = (Some(own.cert), Some(own.key));
    let proxy = Proxy::of(route);
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().text(), "ok");
    let bare = authority.proxy_to("127.0.0.1", script.address().port());
    let mut client = bare.client();
    client.get("/");
    assert_eq!(client.answer().status, 502);
    script.end();
}

#[test]
fn a_certificate_is_replaced_and_no_stream_notices() {
    let (authority, next) = (Authority::new(), Authority::new());
    let (changed, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peers: Vec<_> = (0..20).map(|_| door.accept()).collect();
        for peer in &mut peers {
            peer.head();
            peer.begin_stream();
            peer.send_chunk(events(1..=10));
        }
        awaited.take();
        for peer in &mut peers {
            peer.send_chunk(events(11..=20));
            peer.send_last_chunk();
        }
        // So that the next request has no connection to be sent on.
        drop(peers);
        let mut late = door.accept();
        late.head();
        late.answer("late");
    });
    let pair = authority.sign("a", &["localhost"]);
    let config = pair.config(route_to(script.address()));
    let proxy = Proxy::of_config(config.clone());
    let mut clients: Vec<Client> = (0..20).map(|_| authority.client(proxy.address(), "localhost")).collect();
    clients.iter_mut().for_each(|client| client.get_events("/"));
    for client in &mut clients {
        client.head();
        client.until("id: 10\n");
    }
    // A file that is broken changes nothing, and is named.
    let reloader = proxy.engine().reloader();
    let sound = std::fs::read(&pair.key).unwrap();
    std::fs::write(&pair.key, "not a key").unwrap();
    let why = reloader.reload(&config).unwrap_err().to_string();
    assert!(why.contains("a.key") && why.contains("no key in PEM form"), "{why}");
    std::fs::write(&pair.key, sound).unwrap();
    pair.replace_by(&next.sign("b", &["localhost"]));
    reloader.reload(&config).unwrap();
    let refused = |authority: &Authority| {
        let mut wire = tls_wire(authority.client_config(None), proxy.address(), "localhost");
        wire.conn.complete_io(&mut wire.sock).is_err()
    };
    assert!(refused(&authority), "the certificate before is still shown");
    changed.give();
    for client in &mut clients {
        assert_eq!((client.rest(), client.text()), (End::Whole, events(1..=20).as_str()));
    }
    let mut late = next.client(proxy.address(), "localhost");
    late.get("/");
    assert_eq!(late.answer().text(), "late");
    script.end();
}

#[test]
fn those_who_never_finish_a_handshake_keep_nobody_out() {
    let authority = Authority::new();
    let script = Script::run(|door| {
        let mut first = door.accept();
        first.head();
        first.begin_stream();
        first.send_chunk(events(1..=1));
        let mut second = door.accept();
        second.head();
        second.begin_stream();
        for peer in [&mut first, &mut second] {
            peer.send_chunk(events(2..=50));
            peer.send_last_chunk();
        }
    });
    let mut config = authority.sign("a", &["localhost"]).config(route_to(script.address()));
    config.limits.handshakes = 64;
    let proxy = Proxy::of_config(config);
    let mut first = authority.client(proxy.address(), "localhost");
    first.open_events("/");
    let silent: Vec<TcpStream> = (0..1_000).map(|_| half_open(proxy.address())).collect();
    proxy.until_count(Count::TlsHandshakesCrowdedOut, 1_000 - 64);
    let mut second = authority.client(proxy.address(), "localhost");
    second.open_events("/");
    assert_eq!((second.rest(), second.text()), (End::Whole, events(2..=50).as_str()));
    assert_eq!((first.rest(), first.text()), (End::Whole, events(1..=50).as_str()));
    drop(silent);
    script.end();
}

/// A connection that begins a handshake and says no more: a record of 200 bytes is announced, and some of it comes.
fn half_open(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    let _ = stream.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
    stream
}

#[test]
fn a_handshake_that_takes_too_long_is_closed() {
    let authority = Authority::new();
    let mut route = route_to(([127, 0, 0, 1], 9).into());
    route.head_timeout = Span::from_millis(300);
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route));
    let mut stream = half_open(proxy.address());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    proxy.until_count(Count::TlsHandshakesFailed, 1);
}
