//! Thousands of idle streams: what each costs the proxy, and that all of them still work afterwards.
//!
//! In: up to 9,900 streams of one event. Out: resident memory and processor time of the proxy's process, then one more
//! event on each stream.
//! Law: both ends of each stream are in this process, so the number of streams is at most half of its descriptors
//! (`ulimit
//! -Hn`). `--nocapture` shows the number.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures are shown")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use support::process::Process;
use support::{Awaited, PATIENCE, Peer, Script, event, rest, signal};

const STREAMS: usize = 9_900;

/// Descriptors for everything else.
const OTHERS: usize = 200;

/// What a stream may cost, with its own session and its two connections: twice the measured value.
const BYTES: u64 = 5_000;

/// How many streams this process has descriptors for, after it has raised its limit as far as it may.
fn streams() -> usize {
    let want = STREAMS * 2 + OTHERS;
    let (soft, hard) = limits();
    if soft < want {
        let raised = format!("--nofile={}:{hard}", want.min(hard));
        // Without this program, the limit stays as it is.
        let _ = Command::new("prlimit").args([&raised, "--pid", &std::process::id().to_string()]).status();
    }
    STREAMS.min((limits().0 - OTHERS) / 2)
}

fn limits() -> (usize, usize) {
    let all = fs::read_to_string("/proc/self/limits").unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|n| n.parse().unwrap_or(usize::MAX));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// An upstream that begins `streams` streams, and goes on with all of them at the signal.
fn upstream(streams: usize, go_on: Awaited) -> Script {
    Script::run(move |door| {
        let mut peers: Vec<Peer> = Vec::new();
        for _ in 0..streams {
            let mut peer = door.accept();
            peer.head();
            peer.begin_stream();
            peer.send_chunk(event(1));
            peers.push(peer);
        }
        go_on.take();
        peers.iter_mut().for_each(|peer| peer.send_chunk(event(2)));
        go_on.take();
    })
}

/// Reads to the end of the event with this id, whatever comes before it.
fn read_event(stream: &mut TcpStream, id: usize) {
    let (mut got, mut some) = (Vec::new(), [0; 1_024]);
    while !got.ends_with((event(id) + "\r\n").as_bytes()) {
        let n = stream.read(&mut some).unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&got)));
        assert_ne!(n, 0, "the stream ends after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&some[..n]);
    }
}

#[test]
fn thousands_of_idle_streams_cost_little_and_live() {
    let streams = streams();
    assert!(streams >= 100, "this process may have too few descriptors: {:?}", limits());
    let (go_on, awaited) = signal();
    let script = upstream(streams, awaited);
    let proxy = Process::start(script.address());
    let before = proxy.resident();
    let mut clients: Vec<TcpStream> = (0..streams)
        .map(|n| {
            let mut stream = TcpStream::connect(proxy.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = format!("GET /s/{n} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            read_event(&mut stream, 1);
            stream
        })
        .collect();
    let each = (proxy.resident() - before) / streams as u64;
    assert!(proxy.descriptors() >= 2 * streams, "not all of them are there");
    let cpu = proxy.cpu();
    rest(Duration::from_secs(1));
    let idle = proxy.cpu() - cpu;
    eprintln!(
        "{streams} idle streams, {each} bytes each at the peak of {} KiB, {idle:?} of processor time a second",
        proxy.grown() >> 10
    );
    assert!(idle < Duration::from_millis(300), "idle streams take {idle:?} of processor time a second");
    assert!(each < BYTES, "an idle stream takes {each} bytes");
    go_on.give();
    clients.iter_mut().for_each(|stream| read_event(stream, 2));
    go_on.give();
    script.end();
}
