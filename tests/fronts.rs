//! segno behind nginx, Caddy and HAProxy, with the configurations that `docs/in-front.md` shows.
//!
//! In: the page's blocks, with other ports; an upstream without ids; a client that is cut. Out: when each event arrives,
//! what is lost or repeated, which address the upstream sees, whether WebSocket passes.
//! Laws: signals between both sides decide the order of steps, never time; a program that is not installed is said to be
//! skipped, and `SEGNO_REQUIRE_FRONTS=1` makes that a failure.

#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::config::{Config, ProxyProtocol, Route, Upstream};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::path::Path;
use support::front::{Front, installed, skip};
use support::{Client, End, PATIENCE, Proxy, Script, signal};

const PAGE: &str = include_str!("../docs/in-front.md");

/// Where the client comes from, so that its address is not the front's.
const CLIENT: [u8; 4] = [127, 0, 0, 2];

/// The block of the page for this program, with the ports of a test. `haproxy-tcp` is its second block of `haproxy`.
fn block(name: &str, front: u16, segno: u16) -> String {
    let (language, nth) = name.strip_suffix("-tcp").map_or((name, 1), |language| (language, 2));
    let rest = PAGE.split(&format!("```{language}\n")).nth(nth).expect("the page has such a block");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let (with_front, with_segno) = (block.replace("8081", &front.to_string()), "127.0.0.1:8080");
    assert!(with_front != block && block.contains(with_segno), "both ports stand in the block");
    with_front.replace(with_segno, &format!("127.0.0.1:{segno}"))
}

/// A connection to the front from an address of its own.
fn client(front: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((CLIENT, 0)).into()).unwrap();
    socket.connect_timeout(&front.into(), PATIENCE).unwrap();
    Client::over(std::net::TcpStream::from(socket))
}

fn ask(client: &mut Client, id: Option<&str>) {
    let id = id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    client.send(format!(
        "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nX-Forwarded-For: 6.6.6.6\r\n{id}\r\n"
    ));
    let head = client.head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ") && head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
}

/// What came on a stream: the numbers of its events, and the last id.
fn read(client: &Client) -> (Vec<u32>, String) {
    let values = |name: &'static str| client.text().lines().filter_map(move |line| line.strip_prefix(name));
    (values("data: ").map(|n| n.parse().unwrap()).collect(), values("id: ").next_back().unwrap_or_default().to_owned())
}

/// What must hold behind each of them.
fn holds_behind(begin: impl FnOnce(u16) -> Front) {
    holds_through(ProxyProtocol::Off, begin);
}

/// The same, where the front says who the client is in the way that is given.
fn holds_through(says: ProxyProtocol, begin: impl FnOnce(u16) -> Front) {
    // Below HTTP, the front is no hop that segno adds.
    let hops = if says == ProxyProtocol::Off { "127.0.0.2, 127.0.0.1" } else { "127.0.0.2" };
    let (seen, each) = signal();
    let (left, gone) = signal();
    let (returned, back) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        let head = peer.head();
        assert!(head.contains(&format!("\r\nX-Forwarded-For: {hops}\r\n")), "{head}");
        assert!(!head.contains("6.6.6.6") && head.contains("\r\nHost: test\r\n"), "{head}");
        peer.begin_stream();
        // No event is sent before the client has the one before.
        for n in 1..=20 {
            peer.send_chunk(format!("data: {n}\n\n"));
            each.take();
        }
        gone.take();
        (21..=40).for_each(|n| peer.send_chunk(format!("data: {n}\n\n")));
        back.take();
        (41..=60).for_each(|n| peer.send_chunk(format!("data: {n}\n\n")));
        peer.send_last_chunk();
        // It would be used again.
        drop(peer);
        let mut peer = door.accept();
        let head = peer.head();
        assert!(head.contains("\r\nUpgrade: websocket\r\n"), "{head}");
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
        peer.send("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
        peer.body(4, |to, bytes| std::io::Write::write_all(to, bytes).unwrap());
        peer.until_gone();
    });
    let route = Route::new(Upstream::parse(&format!("http://{}", script.address())).unwrap());
    let proxy = Proxy::of_config(Config {
        routes: vec![route].into(),
        trusted_proxies: ["127.0.0.1".parse().unwrap()].into_iter().collect(),
        proxy_protocol: says,
        ..Config::default()
    });
    let front = begin(proxy.address().port());
    let mut first = client(front.address);
    ask(&mut first, None);
    for n in 1..=20 {
        first.until(format!("data: {n}\n\n"));
        seen.give();
    }
    let (mut numbers, last) = read(&first);
    first.close();
    left.give();
    let mut second = client(front.address);
    ask(&mut second, Some(&last));
    second.until("data: 40\n\n");
    returned.give();
    assert_eq!(second.rest(), End::Whole);
    numbers.extend(read(&second).0);
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>(), "nothing is lost, and nothing is repeated");
    let mut third = client(front.address);
    third.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let head = third.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    third.send("ping");
    let mut echo = [0; 4];
    let got = third.read(&mut echo);
    assert!(got > 0 && echo.starts_with(b"p"), "{got} bytes");
    third.close();
    drop(front);
    script.end();
}

#[test]
fn behind_nginx_events_come_one_by_one_and_a_cut_client_goes_on() {
    let Some(program) = installed("nginx") else { return };
    holds_behind(|segno| Front::nginx(&program, |port| block("nginx", port, segno)));
}

#[test]
fn behind_caddy_events_come_one_by_one_and_a_cut_client_goes_on() {
    let Some(program) = installed("caddy") else { return };
    holds_behind(|segno| {
        let whole = |port, _: &str| format!("{{\nadmin off\n}}\n{}", block("caddy", port, segno));
        Front::start(&program, whole, |file| {
            ["run", "--adapter", "caddyfile", "--config", file].map(str::to_owned).into()
        })
    });
}

#[test]
fn behind_haproxy_events_come_one_by_one_and_a_cut_client_goes_on() {
    let Some(program) = installed("haproxy") else { return };
    holds_behind(|segno| Front::haproxy(&program, |port| block("haproxy", port, segno)));
}

#[test]
fn behind_haproxy_below_http_each_version_of_the_proxy_protocol_names_the_client() {
    let Some(program) = installed("haproxy") else { return };
    for (version, says) in [("send-proxy-v2", ProxyProtocol::Require), ("send-proxy", ProxyProtocol::Accept)] {
        holds_through(says, |segno| {
            Front::haproxy(&program, |port| block("haproxy-tcp", port, segno).replace("send-proxy-v2", version))
        });
    }
}

#[test]
fn behind_nginx_below_http_the_proxy_protocol_names_the_client() {
    let Some(program) = installed("nginx") else { return };
    let module = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"]
        .map(|folder| Path::new(folder).join("ngx_stream_module.so"))
        .into_iter()
        .find(|module| module.is_file());
    // Debian has it in a package of its own, `libnginx-mod-stream`.
    let Some(module) = module else {
        return skip("nginx has no module for streams");
    };
    holds_through(ProxyProtocol::Require, |segno| {
        let whole = |port, folder: &str| {
            format!(
                "load_module {};\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n\
                 stream {{\n{}}}\n",
                module.display(),
                block("nginx-tcp", port, segno)
            )
        };
        Front::start(&program, whole, |file| ["-e", "stderr", "-c", file].map(str::to_owned).into())
    });
}

/// HAProxy passes the client's TLS on as it is, behind its own header.
#[cfg(feature = "tls")]
#[test]
fn behind_haproxy_below_http_the_header_stands_before_the_clients_tls() {
    let Some(program) = installed("haproxy") else { return };
    let authority = support::tls::Authority::new();
    let script = Script::run(|door| {
        let mut peer = door.accept();
        let head = peer.head();
        assert!(head.contains("\r\nX-Forwarded-For: 127.0.0.2\r\n"), "{head}");
        assert!(head.contains("\r\nX-Forwarded-Proto: https\r\n"), "{head}");
        peer.answer("through both");
    });
    let route = Route::new(Upstream::parse(&format!("http://{}", script.address())).unwrap());
    let proxy = Proxy::of_config(Config {
        trusted_proxies: ["127.0.0.1".parse().unwrap()].into_iter().collect(),
        proxy_protocol: ProxyProtocol::Require,
        ..authority.sign("a", &["localhost"]).config(route)
    });
    let front = Front::haproxy(&program, |port| block("haproxy-tcp", port, proxy.address().port()));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((CLIENT, 0)).into()).unwrap();
    socket.connect_timeout(&front.address.into(), PATIENCE).unwrap();
    let wire = support::tls::tls_over(authority.client_config(None), socket.into(), "localhost");
    let mut client = Client::over(wire);
    client.get("/");
    assert_eq!(client.answer().text(), "through both");
    drop(front);
    script.end();
}
