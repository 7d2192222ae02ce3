//! A hundred thousand connections that come and go, and leave nothing behind in the proxy.
//!
//! In: connections that send nothing, half a head, nonsense, or a request, and that end by a close or a reset.
//! `SEGNO_CONNECTIONS` sets their number. Out: descriptors and memory before and after.
//! Law: the connections come from several addresses of the loopback network, so that no port is needed again while the
//! kernel still holds it.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "the figures are shown")]

mod support;

use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use support::process::Process;
use support::{PATIENCE, Peer, until};

/// Connections before the first measurement, so that buffers and tables that grow once have grown.
const WARM: usize = 4_000;

/// Connections that each of the two threads has open at one time.
const TOGETHER: usize = 50;

/// How many bytes all connections together may leave behind: less than 8 for each.
const LEFT: u64 = 1 << 19;

fn connect(to: SocketAddr, n: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from(([127, 0, 0, 2 + (n / TOGETHER % 32) as u8], 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Plays the `n`th connection to its end.
fn come_and_go(mut stream: TcpStream, n: usize) {
    match n % 5 {
        0 => {}
        1 => stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap(),
        2 => {
            stream.write_all(b"\x16\x03\x01 this is no request\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 400 "), "{:?}", String::from_utf8_lossy(&answer));
        }
        3 => {
            // The proxy itself refuses this, so that no upstream is needed.
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 400");
        }
        _ => {
            // A reset.
            let socket = Socket::from(stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Opens and closes this many connections over two threads, some of them at the same time.
fn churn(to: SocketAddr, connections: usize) {
    let threads = [0, 1].map(|half| {
        thread::spawn(move || {
            for wave in 0..connections / 2 / TOGETHER {
                let first = (2 * wave + half) * TOGETHER;
                let open: Vec<_> = (first..first + TOGETHER).map(|n| (connect(to, n), n)).collect();
                open.into_iter().for_each(|(stream, n)| come_and_go(stream, n));
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_hundred_thousand_connections_opened_and_closed_leave_nothing_behind() {
    let connections = std::env::var("SEGNO_CONNECTIONS").map_or(100_000, |text| text.parse().unwrap());
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Process::start(upstream.local_addr().unwrap());
    let descriptors = proxy.descriptors();
    churn(proxy.address(), WARM);
    until("all are closed", || proxy.descriptors() <= descriptors);
    let before = proxy.resident();
    churn(proxy.address(), connections);
    until("all are closed", || proxy.descriptors() <= descriptors);
    let left = proxy.resident().saturating_sub(before);
    eprintln!("{connections} connections left {} KiB, {} KiB at the peak", left >> 10, proxy.grown() >> 10);
    assert!(left < LEFT, "{connections} connections left {left} bytes");
    proxy.assert_grown_below(8);
    let mut client = proxy.client();
    client.get("/sane");
    let mut peer = Peer::over(upstream.accept().unwrap().0);
    peer.head();
    peer.answer("sane");
    assert_eq!(client.answer().text(), "sane");
}
