//! Events that a socket has accepted and that never arrive: the client vanishes with its receive buffer full.
//!
//! In: a client that stops reading, and resets. Out: what it gets when it comes back, and requests to upstream.
//! Law: what was on its way is in the log, however many events it is; the client gets it with no gap and without
//! upstream.
#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::Span;
use segno::config::ResumeFrom;
use segno::metrics::Gauge;
use socket2::{Domain, SockRef, Socket, Type};
use std::net::TcpStream;
use std::time::Duration;
use support::{Client, Proxy, Script, event, events, signal, until};

/// Events of about 60 bytes each: many more than a log's bound of events.
const EVENTS: usize = 3_000;

/// A client whose system takes little.
fn narrow(proxy: &Proxy) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    Client::over(TcpStream::from(socket))
}

fn feed() -> (Script, support::Awaited, support::Signal) {
    let (sent, is_sent) = signal();
    let (end, may_end) = signal();
    let upstream = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        (1..=EVENTS).for_each(|n| peer.send_chunk(event(n)));
        sent.give();
        may_end.take();
        assert!(door.nobody_waits(), "upstream was asked for what the log must hold");
    });
    (upstream, is_sent, end)
}

#[test]
fn a_session_goes_on_behind_what_its_client_acknowledged() {
    let (upstream, is_sent, end) = feed();
    let proxy = Proxy::with(upstream.address(), |route| {
        (route.linger, route.resume_from) = (Span::from_secs(60), ResumeFrom::Session);
    });
    let ask = "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nMcp-Session-Id: s\r\n\r\n";
    let mut client = narrow(&proxy);
    client.send(ask);
    client.head();
    client.until(event(5));
    is_sent.take();
    SockRef::from(client.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    until("the client has gone", || proxy.gauge(Gauge::Connections) == 1);
    let mut back = proxy.client();
    back.send(ask);
    back.head();
    back.until(event(EVENTS));
    // Its system had acknowledged more than it read, and far less than its socket had been sent.
    let first = back.text().lines().find_map(|line| line.strip_prefix("id: ")).unwrap().parse::<usize>().unwrap();
    assert!((2..1_500).contains(&first), "it goes on at {first}");
    assert_eq!(back.text(), events(first..=EVENTS));
    end.give();
    upstream.end();
}
