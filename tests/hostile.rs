//! Hostile upstreams and clients: each gets the answer that the rules demand, and the proxy's memory stays bounded.
//!
//! In: floods, nonsense, incomplete messages. Out: how each connection ends, and by how much the memory of the proxy's
//! process has grown at its peak. The proxy is a separate process, so that the test's memory does not count.
//! Law: whatever came before, the next ordinary request is served.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::{Count, Span};
use segno::metrics::Gauge;
use std::io::Write;
use std::thread;
use support::process::Process;
use support::{Client, End, Peer, Proxy, Script, noise, until};

/// By how much the process's memory may grow at its peak, in MiB: far less than each test sends or announces.
const BOUND: u64 = 16;

/// An upstream that answers one request with `answer`, and then an ordinary one.
fn upstream(answer: impl FnOnce(&mut Peer) + Send + 'static) -> Script {
    Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        answer(&mut peer);
        drop(peer);
        sane(door);
    })
}

/// Serves an ordinary request.
fn sane(door: &mut support::Door) {
    let mut peer = door.accept();
    peer.head();
    peer.answer("sane");
}

/// Sends an ordinary request, which [`sane`] answers, and checks the memory.
fn still_sane(proxy: &Process, script: Script) {
    let mut client = proxy.client();
    client.get("/sane");
    assert_eq!(client.answer().text(), "sane");
    script.end();
    proxy.assert_grown_below(BOUND);
}

// Upstreams.

#[test]
fn ten_thousand_tiny_events_arrive_as_they_are() {
    const EVENTS: usize = 10_000;
    let script = upstream(|peer| {
        peer.begin_stream();
        for _ in 0..EVENTS {
            peer.send_chunk("data:x\n\n");
        }
        peer.send_last_chunk();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    assert_eq!(client.rest(), End::Whole);
    assert!(client.text() == "data:x\n\n".repeat(EVENTS), "{} bytes, or others", client.text.len());
    still_sane(&proxy, script);
}

#[test]
fn an_event_of_fifty_megabytes_passes_whole() {
    const SIZE: usize = 50 << 20;
    let script = upstream(|peer| {
        peer.begin_stream();
        peer.send_chunk("id: 1\ndata: ");
        let piece = "x".repeat(1 << 20);
        for _ in 0..SIZE >> 20 {
            peer.send_chunk(&piece);
        }
        peer.send_chunk("\n\nid: 2\ndata: after\n\n");
        peer.send_last_chunk();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    let (mut count, mut others) = (0, Vec::new());
    let end = client.read_chunks(|piece| {
        let rest: Vec<u8> = piece.iter().copied().filter(|b| *b != b'x').collect();
        count += piece.len() - rest.len();
        others.extend(rest);
    });
    assert_eq!((end, count), (End::Whole, SIZE));
    assert_eq!(String::from_utf8(others).unwrap(), "id: 1\ndata: \n\nid: 2\ndata: after\n\n");
    still_sane(&proxy, script);
}

/// A head that goes on for a megabyte.
fn long_head(first: &str) -> Vec<u8> {
    let line = format!("X-Padding: {}\r\n", "x".repeat(1_000));
    (first.to_owned() + &line.repeat(1_024)).into_bytes()
}

#[test]
fn a_head_of_a_megabyte_from_upstream_is_a_502() {
    let script = upstream(|peer| {
        peer.pour(&long_head("HTTP/1.1 200 OK\r\n"));
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().status, 502);
    still_sane(&proxy, script);
}

#[test]
fn a_head_of_a_megabyte_instead_of_a_stream_is_a_cut() {
    let script = upstream(|peer| {
        peer.pour(&long_head("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"));
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get_events("/");
    assert_eq!(client.until_gone(), b"");
    still_sane(&proxy, script);
}

#[test]
fn interim_answers_without_end_cost_no_memory() {
    let (stuck, awaited) = support::signal();
    let script = upstream(move |peer| {
        let many = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n".repeat(2_000_000);
        let sent = peer.send_until_stuck(many.as_bytes(), std::time::Duration::from_millis(500));
        assert!(sent < many.len(), "all bytes were taken, though the client does not read");
        stuck.give();
        peer.until_gone();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get("/");
    awaited.take();
    proxy.assert_grown_below(BOUND);
    client.close();
    still_sane(&proxy, script);
}

#[test]
fn a_line_without_end_passes_and_its_end_inside_is_a_cut() {
    const SIZE: usize = 32 << 20;
    let script = upstream(|peer| {
        peer.begin_stream();
        peer.send_chunk("id: 1\ndata: first\n\n");
        let piece = "x".repeat(256 << 10);
        for _ in 0..SIZE / piece.len() {
            peer.send_chunk(&piece);
        }
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    let mut count = 0;
    let end = client.read_chunks(|piece| count += piece.len());
    assert_eq!((end, count), (End::Cut, "id: 1\ndata: first\n\n".len() + SIZE));
    still_sane(&proxy, script);
}

#[test]
fn a_line_of_chunk_size_without_end_is_a_cut() {
    let script = upstream(|peer| {
        peer.begin_stream();
        peer.send_chunk("data: first\n\n");
        peer.send("1;");
        peer.pour(&b"x".repeat(8 << 20));
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    assert_eq!((client.rest(), client.text()), (End::Cut, "data: first\n\n"));
    still_sane(&proxy, script);
}

#[test]
fn a_chunk_that_claims_two_to_the_63_bytes_is_taken_as_far_as_it_comes() {
    let script = upstream(|peer| {
        peer.begin_stream();
        peer.send("8000000000000000\r\ndata: first\n\n");
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    assert_eq!((client.rest(), client.text()), (End::Cut, "data: first\n\n"));
    still_sane(&proxy, script);
}

#[test]
fn a_chunk_size_beyond_64_bits_is_a_cut() {
    let script = upstream(|peer| {
        peer.begin_stream();
        peer.send_chunk("data: first\n\n");
        peer.send("10000000000000000\r\ndata: second\n\n");
        peer.until_gone();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    assert_eq!((client.rest(), client.text()), (End::Cut, "data: first\n\n"));
    still_sane(&proxy, script);
}

#[test]
fn an_answer_that_is_not_http_is_a_502() {
    let script = upstream(|peer| {
        peer.send("SSH-2.0-OpenSSH_9.6\r\n\r\n");
        peer.until_gone();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().status, 502);
    still_sane(&proxy, script);
}

#[test]
fn an_upstream_that_speaks_first_and_not_http_is_a_502() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.send("SSH-2.0-OpenSSH_9.6\r\n\r\n");
        peer.until_gone();
        sane(door);
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().status, 502);
    still_sane(&proxy, script);
}

#[test]
fn a_stream_in_gzip_passes_untouched() {
    let script = upstream(|peer| {
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n");
        peer.send("Transfer-Encoding: chunked\r\n\r\n");
        peer.send_chunk(noise(1 << 20));
        peer.send_last_chunk();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get_events("/");
    let answer = client.answer();
    assert!(answer.head.to_ascii_lowercase().contains("content-encoding: gzip\r\n"), "{}", answer.head);
    assert_eq!(answer.end, End::Whole);
    assert!(answer.body == noise(1 << 20));
    still_sane(&proxy, script);
}

#[test]
fn a_body_cut_short_is_never_taken_for_whole() {
    let script = upstream(|peer| peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get("/");
    let answer = client.answer();
    assert_eq!((answer.end, answer.body.as_slice()), (End::Cut, &b"half"[..]));
    still_sane(&proxy, script);
}

// Clients.

#[test]
fn a_request_head_of_a_megabyte_is_a_431() {
    let script = Script::run(sane);
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    let mut sender = client.sender();
    let sending = thread::spawn(move || sender.write_all(&long_head("GET / HTTP/1.1\r\nHost: test\r\n")).is_ok());
    let answer = client.answer();
    assert_eq!(answer.status, 431, "{}", answer.head);
    assert!(answer.head.contains("Connection: close\r\n"), "{}", answer.head);
    sending.join().unwrap();
    still_sane(&proxy, script);
}

#[test]
fn a_request_line_of_a_megabyte_is_a_414() {
    let script = Script::run(sane);
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.pour(format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(1 << 20)).as_bytes());
    assert_eq!(client.answer().status, 414);
    still_sane(&proxy, script);
}

#[test]
fn a_last_event_id_of_a_megabyte_is_a_431() {
    let script = Script::run(sane);
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    let id = "9".repeat(1 << 20);
    client.pour(format!("GET / HTTP/1.1\r\nHost: test\r\nLast-Event-ID: {id}\r\n\r\n").as_bytes());
    assert_eq!(client.answer().status, 431);
    still_sane(&proxy, script);
}

#[test]
fn a_last_event_id_that_no_log_can_hold_goes_upstream_as_it_came() {
    let long = "9".repeat(1_025).into_bytes();
    for id in [long, b"caf\xe9".to_vec()] {
        let line = [b"Last-Event-ID: ", &id[..], b"\r\n"].concat();
        let wanted = line.clone();
        let script = Script::run(move |door| {
            let mut peer = door.accept();
            let head = peer.head_bytes();
            assert!(memchr::memmem::find(&head, &wanted).is_some(), "{}", head.escape_ascii());
            peer.begin_stream();
            peer.send_chunk("data: x\n\n");
            peer.send_last_chunk();
        });
        let proxy = Process::start(script.address());
        let mut client = proxy.client();
        client.send([b"GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n", &line[..], b"\r\n"].concat());
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "data: x\n\n"));
        script.end();
    }
}

#[test]
fn garbage_after_a_request_is_refused_after_the_answer() {
    let script = upstream(|peer| peer.answer("first"));
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n\x16\x03\x01 this is no request\r\n\r\n");
    assert_eq!(client.answer().text(), "first");
    assert_eq!(client.answer().status, 400);
    assert_eq!(client.until_gone(), b"");
    still_sane(&proxy, script);
}

#[test]
fn a_flood_after_a_request_is_not_read() {
    let script = upstream(|peer| {
        peer.begin_stream();
        peer.send_chunk("data: x\n\n");
        peer.until_gone();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    client.until("data: x\n\n");
    let mut sender = client.sender();
    let limit = std::time::Duration::from_millis(500);
    sender.set_write_timeout(Some(limit)).unwrap();
    assert!(sender.write_all(&noise(64 << 20)).is_err(), "64 MiB after a request were read");
    proxy.assert_grown_below(BOUND);
    socket2::SockRef::from(client.socket()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop((sender, client));
    still_sane(&proxy, script);
}

#[test]
fn a_request_with_both_framings_is_a_400_and_is_not_passed_on() {
    let script = Script::run(sane);
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.send(
        "POST /smuggled HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer().status, 400);
    assert_eq!(client.until_gone(), b"");
    still_sane(&proxy, script);
}

#[test]
fn a_body_that_breaks_its_chunks_is_a_400() {
    let script = Script::run(|door| {
        door.accept().until_gone();
        sane(door);
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nthis is no size\r\n");
    assert_eq!(client.answer().status, 400);
    still_sane(&proxy, script);
}

#[test]
fn a_head_that_does_not_come_to_its_end_in_time_is_a_408() {
    let script = Script::run(sane);
    let proxy = Proxy::with(script.address(), |r| r.head_timeout = Span::from_millis(300));
    let mut slow = proxy.client();
    slow.send("GET / HTTP/1.1\r\nHost: test\r\nX-Slow");
    // The client goes on byte by byte for as long as the proxy allows. A connection that is closing may refuse bytes.
    let mut sender = slow.sender();
    let sending = thread::spawn(move || {
        let mut n = 0;
        until("the connection is closed", || {
            n += 1;
            sender.write_all(b"w").is_err()
        });
        n
    });
    assert_eq!(slow.answer().status, 408);
    slow.until_gone();
    drop(slow);
    assert!(sending.join().unwrap() > 0);
    let mut client = proxy.client();
    client.get("/sane");
    assert_eq!(client.answer().text(), "sane");
    script.end();
}

#[test]
fn a_client_that_says_nothing_is_closed_in_time() {
    let script = Script::run(sane);
    let proxy = Proxy::with(script.address(), |r| r.head_timeout = Span::from_millis(300));
    assert_eq!(proxy.client().until_gone(), b"");
    let mut client = proxy.client();
    client.get("/sane");
    assert_eq!(client.answer().text(), "sane");
    script.end();
}

#[test]
fn two_thousand_connections_opened_and_closed_at_once_leave_nothing_behind() {
    const WAVES: u64 = 10;
    const EACH: u64 = 200;
    let script = Script::run(sane);
    let proxy = Proxy::to(script.address());
    for wave in 1..=WAVES {
        // All are opened, then all are closed: some before they are accepted, some after half a head.
        let mut clients: Vec<Client> = (0..EACH).map(|_| proxy.client()).collect();
        clients.iter_mut().step_by(2).for_each(|client| client.send("GET / HT"));
        drop(clients);
        // A connection beyond the kernel's queue would wait for its next attempt, a second later.
        proxy.until_count(Count::ConnectionsAccepted, wave * EACH);
    }
    until("all are closed", || proxy.gauge(Gauge::Connections) == 0);
    let mut client = proxy.client();
    client.get("/sane");
    assert_eq!(client.answer().text(), "sane");
    script.end();
}

#[test]
fn two_thousand_connections_in_a_row_cost_no_memory() {
    let script = Script::run(sane);
    let proxy = Process::start(script.address());
    for _ in 0..2_000 {
        let mut client = proxy.client();
        client.send("\r\n");
        drop(client);
    }
    still_sane(&proxy, script);
}

#[test]
fn a_busy_proxy_without_descriptors_accepts_again_when_there_are_some() {
    let (read, awaited) = support::signal();
    let script = Script::run(move |door| {
        let mut stream = door.accept();
        stream.head();
        stream.begin_stream();
        // One event after the other, so that the proxy always has something else to do.
        let busy = thread::spawn(move || while stream.pour(b"8\r\ndata:x\n\n\r\n") && awaited.take_or_end() {});
        sane(door);
        busy.join().unwrap();
    });
    let proxy = Process::with_descriptors(script.address(), 40);
    let mut client = proxy.client();
    client.open_events("/");
    let (enough, ended) = support::signal();
    let reader = thread::spawn(move || {
        while !ended.is_given() {
            client.text.clear();
            client.until("data:x\n\n");
            read.give();
        }
    });
    let crowd: Vec<Client> = (0..100).map(|_| proxy.client()).collect();
    drop(crowd);
    let mut other = proxy.client();
    other.get("/sane");
    assert_eq!(other.answer().text(), "sane");
    enough.give();
    reader.join().unwrap();
    script.end();
}
