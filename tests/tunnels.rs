//! Connections that go over to another protocol, over real sockets: WebSocket, and both ends of it.
//!
//! In: an upstream that echoes the messages of RFC 6455, and a client that speaks it. Out: the same messages.
//! Law: signals between both sides decide the order of steps, never time.

#![cfg(feature = "net")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::Count;
use segno::metrics::Gauge;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use support::{Client, Peer, Proxy, Script, noise, until};

/// The key and its answer, from RFC 6455 section 1.3.
const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// Writes a whole message. What a client sends is masked (RFC 6455 section 5.3).
fn frame(op: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | op];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        n @ 0..=125 => out.push(masked | n as u8),
        n @ 126..=65_535 => {
            out.push(masked | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(masked | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    out.extend(payload.iter().enumerate().map(|(n, byte)| byte ^ mask[n % 4]));
    out
}

/// Reads a whole message: its kind, and its payload without the mask.
fn message(mut exact: impl FnMut(usize) -> Vec<u8>) -> (u8, Vec<u8>) {
    let head = exact(2);
    let length = match head[1] & 0x7f {
        126 => exact(2).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        127 => exact(8).iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        n => usize::from(n),
    };
    let mask = if head[1] & 0x80 > 0 { exact(4) } else { vec![0; 4] };
    let payload = exact(length).iter().enumerate().map(|(n, byte)| byte ^ mask[n % 4]).collect();
    (head[0] & 0x0f, payload)
}

fn of_client(client: &mut Client) -> (u8, Vec<u8>) {
    message(|n| {
        let mut bytes = vec![0; n];
        let mut got = 0;
        while got < n {
            let more = client.read(&mut bytes[got..]);
            assert_ne!(more, 0, "the tunnel ends inside a message");
            got += more;
        }
        bytes
    })
}

/// Echoes until the client says that it closes, then says so too.
fn echo(peer: &mut Peer) {
    let head = peer.head();
    assert!(head.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "{head}");
    assert!(head.contains("\r\nUpgrade: websocket\r\n") && head.contains("\r\nConnection: Upgrade\r\n"), "{head}");
    peer.send(SWITCH);
    loop {
        let (op, payload) = message(|n| {
            let mut bytes = Vec::new();
            peer.body(n, |_, piece| bytes.extend_from_slice(piece));
            bytes
        });
        peer.send(frame(op, None, &payload));
        if op == CLOSE {
            return;
        }
    }
}

fn open(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(ASK);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    client
}

#[test]
fn messages_of_all_sizes_come_back_as_they_were_sent() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        echo(&mut peer);
        peer.fin();
    });
    let proxy = Proxy::to(script.address());
    let mut client = open(&proxy);
    let mut sender = client.sender();
    let sent: Vec<Vec<u8>> = [0, 1, 125, 126, 65_535, 65_536, 3_000_000].map(noise).into();
    let all: Vec<u8> = sent.iter().flat_map(|payload| frame(BINARY, Some([1, 2, 3, 4]), payload)).collect();
    // Both sides' buffers together hold less than this, so each way has to wait for the other.
    let writer = thread::spawn(move || {
        sender.write_all(&all).unwrap();
        sender.write_all(&frame(CLOSE, Some([9, 8, 7, 6]), b"")).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    for payload in &sent {
        assert!(of_client(&mut client) == (BINARY, payload.clone()), "{} bytes", payload.len());
    }
    assert_eq!(of_client(&mut client), (CLOSE, Vec::new()));
    assert_eq!(client.read(&mut [0]), 0);
    writer.join().unwrap();
    script.end();
    until("no tunnel is left", || proxy.gauge(Gauge::Tunnels) == 0);
    assert_eq!(proxy.count(Count::TunnelsOpened), 1);
    assert!(proxy.count(Count::TunnelBytes) > 6_000_000);
}

#[test]
fn an_end_of_one_way_leaves_the_other_open() {
    let script = Script::run(|door| {
        let mut stream = door.accept_raw();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(SWITCH.as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let proxy = Proxy::to(script.address());
    let mut client = open(&proxy);
    client.send(noise(500_000));
    client.socket().shutdown(Shutdown::Write).unwrap();
    assert!(client.until_gone() == noise(500_000));
    script.end();
}

#[test]
fn a_client_that_ends_its_sending_gets_its_answer() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.answer("for one that listens on");
    });
    let proxy = Proxy::to(script.address());
    let mut client = proxy.client();
    client.get("/");
    client.socket().shutdown(Shutdown::Write).unwrap();
    let answer = client.answer();
    assert_eq!(answer.text(), "for one that listens on");
    assert!(answer.head.contains("\r\nDate: "), "{}", answer.head);
    assert_eq!(client.read(&mut [0]), 0);
    script.end();
}
