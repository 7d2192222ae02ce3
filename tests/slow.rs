//! Peers that connect and do nothing: heads that come byte by byte, upstreams that accept and never answer, clients
//! that ask and never read.
//!
//! In: many such peers of one process. Out: answers, how connections end, descriptors, memory.
//! Law: each such connection is closed in time and costs a bounded amount, and all other peers are served meanwhile.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use support::process::Process;
use support::{Client, End, PATIENCE, Script, rest, signal, until};

/// A configuration file that is removed after the test.
struct File(PathBuf);

impl File {
    /// Two routes, `/sane` to the upstream `sane` and everything else to `other`, with these keys for both.
    fn new(name: &str, other: SocketAddr, sane: SocketAddr, keys: &str) -> Self {
        let path = std::env::temp_dir().join(format!("segno-slow-{name}-{}.toml", std::process::id()));
        let text = format!(
            "store = \"memory\"\n{keys}\n[[route]]\nupstream = \"http://{other}\"\n\
             [[route]]\npath = \"/sane\"\nupstream = \"http://{sane}\"\n"
        );
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn start(&self) -> Process {
        Process::with_args(&["--config", self.0.to_str().unwrap()])
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An upstream that answers this many ordinary requests.
fn sane(requests: usize) -> Script {
    Script::run(move |door| {
        for _ in 0..requests {
            let mut peer = door.accept();
            peer.head();
            peer.answer("sane");
        }
    })
}

/// Sends an ordinary request, which must be answered.
fn ask_sane(proxy: &Process) {
    let mut client = proxy.client();
    client.get("/sane");
    assert_eq!(client.answer().text(), "sane");
}

#[test]
fn heads_that_come_byte_by_byte_are_cut_in_time_and_hold_up_nobody() {
    const SLOW: usize = 500;
    const ASKED: usize = 10;
    let script = sane(ASKED);
    let file = File::new("heads", script.address(), script.address(), "[defaults]\nhead_timeout = \"2s\"");
    let proxy = file.start();
    let before = proxy.descriptors();
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| TcpStream::connect(proxy.address()).unwrap()).collect();
    let all_there = begun.elapsed();
    for byte in b"GET / HTTP" {
        slow.iter_mut().for_each(|stream| drop(stream.write_all(&[*byte])));
        ask_sane(&proxy);
        rest(Duration::from_millis(20));
    }
    let there = proxy.descriptors();
    let in_time = begun.elapsed() < Duration::from_secs(2);
    assert!(!in_time || there >= before + SLOW, "some connections were closed before their time");
    // They get nothing more, whatever they still send.
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&answer));
        let _ = stream.write_all(b"\r\n\r\n");
    }
    let all_gone = begun.elapsed();
    assert!(all_gone > Duration::from_secs(2) && all_gone < all_there + PATIENCE, "{all_gone:?}");
    drop(slow);
    script.end();
    until("their descriptors are free", || proxy.descriptors() <= before + 4);
    proxy.assert_grown_below(8);
}

#[test]
fn an_upstream_that_accepts_and_never_answers_costs_its_clients_their_time_and_nobody_else() {
    const EACH: usize = 50;
    let (over, awaited) = signal();
    // No program accepts the connections: the kernel completes them and buffers the requests.
    let silent = Script::run(move |_door| awaited.take());
    let script = sane(1);
    let times = "response_timeout = \"2s\"\nhold_head = \"500ms\"\nheartbeat = \"250ms\"\nheal_for = \"3s\"";
    let file = File::new("silent", silent.address(), script.address(), &format!("[defaults]\n{times}"));
    let proxy = file.start();
    let before = proxy.descriptors();
    let mut ordinary: Vec<Client> = (0..EACH).map(|_| proxy.client()).collect();
    let mut streams: Vec<Client> = (0..EACH).map(|_| proxy.client()).collect();
    ordinary.iter_mut().enumerate().for_each(|(n, client)| client.get(&format!("/ordinary/{n}")));
    streams.iter_mut().enumerate().for_each(|(n, client)| client.get_events(&format!("/events/{n}")));
    ask_sane(&proxy);
    for client in &mut ordinary {
        assert_eq!(client.answer().status, 504);
    }
    for client in &mut streams {
        // The client is held, then gets the head of a stream and heartbeats: the upstream may only be slow.
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    over.give();
    silent.end();
    for client in &mut streams {
        // The upstream has gone, and does not come back in time: no clean end.
        assert_eq!(client.rest(), End::Cut);
        assert!(
            client.text().starts_with(":\n\n:\n\n") && client.text().replace(":\n\n", "").is_empty(),
            "{}",
            client.text()
        );
    }
    drop((ordinary, streams));
    until("nothing of it is left", || proxy.descriptors() <= before + 4);
    proxy.assert_grown_below(8);
    script.end();
}

/// A client with a small receive buffer, which does not read.
fn deaf(to: SocketAddr, n: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let request = format!("GET /events/{n} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn clients_that_ask_and_never_read_take_no_more_than_the_budget_of_all_logs() {
    const DEAF: usize = 100;
    const BUDGET: u64 = 8;
    let (stuck, all_stuck) = signal();
    let (over, awaited) = signal();
    let flood = Script::run(move |door| {
        // More than fits on the way. A stream stops when all buffers are full.
        let event = |id: usize| format!("id: {id}\ndata: {}\n\n", "x".repeat(4_000));
        let all: Arc<str> =
            (1..4_000).map(event).map(|event| format!("{:x}\r\n{event}\r\n", event.len())).collect::<String>().into();
        let peers: Vec<_> = (0..DEAF).map(|_| door.accept()).collect();
        let pouring: Vec<_> = peers
            .into_iter()
            .map(|mut peer| {
                let all = Arc::clone(&all);
                thread::spawn(move || {
                    peer.head();
                    peer.begin_stream();
                    let sent = peer.send_until_stuck(all.as_bytes(), Duration::from_millis(500));
                    assert!(sent < all.len(), "all bytes were taken, though the client does not read");
                    peer
                })
            })
            .collect();
        let peers: Vec<_> = pouring.into_iter().map(|thread| thread.join().unwrap()).collect();
        stuck.give();
        awaited.take();
        drop(peers);
    });
    let script = sane(2);
    let keys = format!("[limits]\nlog_budget = \"{BUDGET}MiB\"\n[defaults]\nlinger = \"0s\"");
    let file = File::new("deaf", flood.address(), script.address(), &keys);
    let proxy = file.start();
    let before = proxy.descriptors();
    let deaf: Vec<TcpStream> = (0..DEAF).map(|n| deaf(proxy.address(), n)).collect();
    ask_sane(&proxy);
    all_stuck.take();
    ask_sane(&proxy);
    proxy.assert_grown_below(BUDGET + 16);
    // When the clients leave, their memory is free again.
    for stream in deaf {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    until("nothing of them is left", || proxy.descriptors() <= before + 4);
    over.give();
    flood.end();
    script.end();
}
