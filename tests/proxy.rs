//! The proxy over real sockets, with an upstream that behaves as upstreams usually do.
//!
//! In: scripts for upstream, a raw client. Out: bytes, compared with what upstream meant to send.
//! Law: signals between both sides decide the order of steps, never time.

#![cfg(feature = "net")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::{Count, Span};
use segno::metrics::Gauge;
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;
use support::{Client, End, Proxy, Script, event, events, noise, signal, until};

/// The first half of an event.
fn half(id: usize) -> String {
    let whole = event(id);
    whole[..whole.len() / 2].to_owned()
}

// Delays.

#[test]
fn a_bare_ping_line_arrives_at_once_as_it_was_sent() {
    let (seen, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        for ping in [": ping\n", ":\n", ": ping\r\n"] {
            peer.send_chunk(ping);
            awaited.take();
        }
        peer.send_chunk("data: x\n\n");
        peer.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    for so_far in [": ping\n", ": ping\n:\n", ": ping\n:\n: ping\r\n"] {
        client.until(so_far);
        assert_eq!(client.text(), so_far);
        seen.give();
    }
    assert_eq!((client.rest(), client.text()), (End::Whole, ": ping\n:\n: ping\r\ndata: x\n\n"));
    script.end();
}

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    const EVENTS: usize = 200;
    let (seen, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        for n in 1..=EVENTS {
            // Some events come in two writes.
            let (a, b) = (half(n), event(n)[half(n).len()..].to_owned());
            match n % 3 {
                0 => [a, b].iter().for_each(|part| peer.send_chunk(part)),
                _ => peer.send_chunk(event(n)),
            }
            awaited.take();
        }
        peer.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    for n in 1..=EVENTS {
        client.until(event(n));
        seen.give();
    }
    assert_eq!(client.rest(), End::Whole);
    assert_eq!(client.text(), events(1..=EVENTS));
    script.end();
}

#[test]
fn the_head_of_a_stream_arrives_before_its_first_event() {
    let (seen, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        awaited.take();
        peer.send_chunk(event(1));
        peer.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    seen.give();
    assert_eq!(client.rest(), End::Whole);
    script.end();
}

#[test]
fn heartbeats_fill_the_silence_between_events() {
    let (seen, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk(event(1));
        awaited.take();
        peer.send_last_chunk();
    });
    let proxy = Proxy::with(script.address(), |r| r.heartbeat = Span::from_millis(50));
    let mut client = proxy.client();
    client.open_events("/events");
    client.until(event(1) + ":\n:\n");
    seen.give();
    assert_eq!(client.rest(), End::Whole);
    script.end();
}

// Clients that leave, and a drain.

#[test]
fn upstream_hears_of_a_client_that_closes() {
    let (left, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk(event(1));
        peer.until_gone();
        left.give();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    client.until(event(1));
    client.close();
    awaited.take();
    script.end();
    proxy.until_count(Count::StreamsLeft, 1);
    until("nothing is left open", || proxy.gauge(Gauge::Connections) == 0 && proxy.gauge(Gauge::Exchanges) == 0);
    assert_eq!(proxy.gauge(Gauge::LogBytes), 0);
}

#[test]
fn upstream_hears_of_a_client_that_resets_while_it_waits() {
    let (asked, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        asked.give();
        peer.until_gone();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.get("/slow");
    awaited.take();
    socket2::SockRef::from(client.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    script.end();
}

#[test]
fn a_drain_cuts_streams_with_a_time_to_come_back_and_ends() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk(event(1));
        peer.until_gone();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    client.until(event(1));
    proxy.engine().remote().send(segno::reactor::Command::Drain(Span::from_secs(10)));
    assert_eq!(client.rest(), End::Cut);
    assert!(client.text().starts_with(&(event(1) + "retry: ")), "{}", client.text());
    script.end();
}

// Connections.

#[test]
fn one_connection_of_a_client_serves_two_requests() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        for body in ["one", "two"] {
            peer.head();
            peer.answer(body);
        }
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    for (target, body) in [("/1", "one"), ("/2", "two")] {
        client.get(target);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text(), answer.end), (200, body, End::Whole));
    }
    script.end();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        for _ in 0..20 {
            let head = peer.head();
            peer.answer(head.split(' ').nth(1).unwrap());
        }
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    let all: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(all);
    for n in 0..20 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
    script.end();
}

#[test]
fn one_connection_to_upstream_serves_two_clients_in_turn() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        for body in ["one", "two"] {
            peer.head();
            peer.answer(body);
        }
        assert!(door.nobody_waits());
    });
    let proxy = Proxy::to(script.address());
    for body in ["one", "two"] {
        let mut client = proxy.client();
        client.get("/");
        assert_eq!(client.answer().text(), body);
    }
    script.end();
    proxy.until_count(Count::UpstreamReuses, 1);
}

#[test]
fn a_kept_connection_that_upstream_closed_fails_no_request() {
    let script = Script::run(|door| {
        for body in ["one", "two"] {
            let mut peer = door.accept();
            peer.head();
            peer.answer(body);
        }
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    for body in ["one", "two"] {
        client.get("/");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, body));
    }
    script.end();
}

#[test]
fn an_upstream_that_is_away_is_a_502_for_an_ordinary_request() {
    let script = Script::run(support::Door::close);
    let proxy = Proxy::to(script.address());
    script.end();
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().status, 502);
}

#[test]
fn an_answer_that_comes_before_the_request_is_passed_on_at_once() {
    let (seen, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.answer("too busy to read");
        // The connection stays open, so that its end does not make the proxy read.
        awaited.take();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().text(), "too busy to read");
    seen.give();
    script.end();
}

#[test]
fn an_early_refusal_of_a_large_body_reaches_the_client() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge");
        // The connection is dropped with unread bytes of the body, so that a reset follows the answer.
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 8388608\r\n\r\n");
    let mut sender = client.sender();
    let sending = thread::spawn(move || sender.write_all(&noise(8 << 20)).is_ok());
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (413, "large"));
    drop(client);
    sending.join().unwrap();
    script.end();
}

// Bodies.

const LARGE: usize = 8 << 20;

#[test]
fn a_body_of_known_length_is_echoed_intact() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        assert!(peer.head().to_ascii_lowercase().contains(&format!("content-length: {LARGE}\r\n")));
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        peer.body(LARGE, |back, piece| back.write_all(piece).unwrap());
    });
    let proxy = Proxy::to(script.address());
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
    script.end();
}

#[test]
fn a_body_in_chunks_is_echoed_intact() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        assert!(peer.head().to_ascii_lowercase().contains("transfer-encoding: chunked\r\n"));
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(chunk) = peer.chunk() {
            peer.send_chunk(chunk);
        }
        peer.send_last_chunk();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    let mut sender = client.sender();
    let sending = thread::spawn(move || {
        sender.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let body = noise(LARGE);
        let (mut rest, mut size) = (&body[..], 1);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            let framed = [format!("{:X}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            sender.write_all(&framed).unwrap();
            (rest, size) = (behind, size * 7 % 99_991);
        }
        sender.write_all(b"0\r\n\r\n").unwrap();
    });
    let answer = client.answer();
    sending.join().unwrap();
    assert_eq!(answer.end, End::Whole);
    assert!(answer.body == noise(LARGE), "{} bytes came back, or others", answer.body.len());
    script.end();
}

// Slow clients.

const HUGE: usize = 64 << 20;

/// A connection with a small receive buffer.
fn narrow_client(to: std::net::SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(&to.into()).unwrap();
    Client::over(TcpStream::from(socket))
}

/// Sends `HUGE` bytes made of `unit`. Gives the signal when the sending stops because the client does not read.
fn flood(peer: &mut support::Peer, unit: &[u8], stuck: &support::Signal) {
    let all = unit.repeat(HUGE / unit.len());
    let sent = peer.send_until_stuck(&all, Duration::from_millis(500));
    assert!(sent < all.len(), "all bytes were taken, though the client does not read");
    stuck.give();
    peer.send(&all[sent..]);
}

// A stop that does not wait.

/// How a body without framing ends.
fn end_of_the_connection(client: &mut Client) -> std::io::Result<u64> {
    std::io::copy(&mut client.socket(), &mut std::io::sink())
}

/// A client without chunks stops reading in the middle of an answer. Then `command` stops the proxy.
fn stopped(request: &str, head: &'static str, command: &segno::reactor::Command) {
    let (stuck, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send(head);
        let all = events(1..=HUGE / event(1).len());
        peer.send_until_stuck(all.as_bytes(), Duration::from_millis(500));
        stuck.give();
        peer.until_gone();
    });
    let proxy = Proxy::to(script.address());
    let mut client = narrow_client(proxy.address());
    client.send(request);
    awaited.take();
    proxy.engine().remote().send(command.clone());
    script.end();
    let end = end_of_the_connection(&mut client);
    let reset = end.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
    assert!(reset, "{command:?}: {request:?} ended in {end:?}");
}

const CLOSE_DELIMITED_STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
const CLOSE_DELIMITED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";

#[test]
fn a_stop_resets_clients_that_could_not_see_a_cut_otherwise() {
    for command in [segno::reactor::Command::Stop, segno::reactor::Command::Drain(Span::from_millis(100))] {
        let old = "GET /huge HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n";
        stopped(old, CLOSE_DELIMITED_STREAM, &command);
        stopped("GET /huge HTTP/1.0\r\n\r\n", CLOSE_DELIMITED, &command);
    }
}

#[test]
fn a_stop_cuts_a_chunked_stream_and_bytes_on_their_way_still_arrive() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk(event(1));
        peer.until_gone();
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.open_events("/events");
    proxy.until_count(Count::Events, 1);
    proxy.engine().remote().send(segno::reactor::Command::Stop);
    script.end();
    assert_eq!((client.rest(), client.text()), (End::Cut, event(1).as_str()));
}

#[cfg(feature = "cli")]
#[test]
fn a_slow_reader_of_a_huge_answer_costs_little_memory() {
    let (stuck, awaited) = signal();
    let unit = noise(1 << 20);
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n"));
        flood(&mut peer, &noise(1 << 20), &stuck);
    });
    let proxy = support::process::Process::start(script.address());
    let mut client = narrow_client(proxy.address());
    client.get("/huge");
    awaited.take();
    proxy.assert_grown_below(32);
    let head = client.head();
    let mut at = 0;
    let end = client.read_body(&head, |piece| {
        piece.iter().for_each(|byte| {
            assert_eq!(*byte, unit[at % unit.len()], "byte {at}");
            at += 1;
        });
    });
    assert_eq!((end, at), (End::Whole, HUGE));
    script.end();
    proxy.assert_grown_below(32);
}

#[test]
fn a_slow_reader_of_a_huge_event_stream_keeps_the_log_within_its_bound() {
    let (stuck, awaited) = signal();
    let unit = format!("id: 1\ndata: {}\n\n", "x".repeat(1_010));
    let (in_script, of_unit) = (unit.clone(), unit.len());
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
        flood(&mut peer, in_script.as_bytes(), &stuck);
    });
    let proxy = Proxy::to(script.address());
    let mut client = narrow_client(proxy.address());
    client.open_events("/huge");
    awaited.take();
    // The ring, and beside it 16 bytes for each event that it may hold, of which there are fewer than 1,024.
    let bound = (1 << 20) + 1_024 * 16;
    assert!(proxy.gauge(Gauge::LogBytes) <= bound, "{}", proxy.gauge(Gauge::LogBytes));
    assert!(proxy.count(Count::Backpressure) > 0);
    let (mut at, mut most) = (0, 0);
    let end = client.read_chunks(|piece| {
        piece.iter().for_each(|byte| {
            assert_eq!(*byte, unit.as_bytes()[at % of_unit], "byte {at}");
            at += 1;
        });
        most = most.max(proxy.gauge(Gauge::LogBytes));
    });
    assert_eq!((end, at), (End::Whole, HUGE / of_unit * of_unit));
    assert!(most <= bound, "{most}");
    script.end();
}
