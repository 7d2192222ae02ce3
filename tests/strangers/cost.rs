//! What strangers cost the reactor: processor time for each, and whether streams wait behind a crowd of them.
//!
//! In: bad requests of each kind, and good ones to compare with. Out: the time of the reactor's thread by the system's
//! accounts, which other programs do not blur; who is answered first.
//! Laws: a bad request costs no more than a good one does; a stream's event that comes behind a crowd of requests goes out
//! before them.

#![allow(clippy::print_stderr, reason = "the figures of a run are shown")]

use crate::ends::{ask, connect, status};
use crate::support::process::{Process, metric};
use crate::support::{Client, rest, until};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

/// Requests of each kind.
const EACH: usize = 400;
/// By how much a bad request may cost more than a good one. What they do is not the same, and some debug builds are slow
/// with long heads.
const MOST: f64 = 1.5;

/// What makes the requests of one kind.
type Requests<'a> = Box<dyn Fn() + 'a>;

/// An upstream of one stream, which gives the end of it, and answers all else that comes on its connections.
fn upstream(streams: Sender<TcpStream>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let streams = streams.clone();
            thread::spawn(move || serve(&stream, &streams));
        }
    });
    address
}

fn serve(mut stream: &TcpStream, streams: &Sender<TcpStream>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(reader.read_line(&mut head), Ok(1..)) {
                return;
            }
        }
        if head.starts_with("GET /feed") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1\ndata: x\n\n").unwrap();
            return streams.send(stream.try_clone().unwrap()).unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    }
}

fn proxy(more: &[&str]) -> (Process, mpsc::Receiver<TcpStream>) {
    let (streams, opened) = mpsc::channel();
    let url = format!("http://{}", upstream(streams));
    (Process::with_flags(&[&["--upstream", &url, "--admin", "127.0.0.1:0"], more].concat()), opened)
}

#[test]
fn a_bad_request_costs_the_reactor_no_more_than_a_good_one() {
    let bounds = ["--connections-per-address", "300", "--header-bytes", "8KiB", "--header-count", "100"];
    let doors = ["--head-timeout", "500ms", "--trusted-proxies", "127.9.0.0/16", "--proxy-protocol", "accept"];
    let (proxy, _opened) = proxy(&[bounds, doors].concat());
    let to = proxy.address();
    let one_by_one = |from: [u8; 3], request: &str, expected: u16| {
        (0..EACH).for_each(|k| assert_eq!(ask([from[0], from[1], from[2], (k % 8) as u8 + 1], to, request), expected));
    };
    // All at once, and their answers when their time is over.
    let silent = |from: u8, says: &[u8], expected: u16| {
        let open = |k: usize| {
            let mut stream = connect([127, 2, from, (k % 8) as u8 + 1], to);
            stream.write_all(says).unwrap();
            stream
        };
        let held: Vec<TcpStream> = (0..EACH).map(open).collect();
        assert!(held.iter().all(|stream| status(stream) == expected));
    };
    let good = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(9_000));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: 1\r\n".repeat(100));
    let kinds: [(&str, Requests<'_>); 7] = [
        ("good requests", Box::new(|| one_by_one([127, 1, 0], good, 200))),
        ("long heads", Box::new(|| one_by_one([127, 1, 1], &long, 431))),
        ("many header lines", Box::new(|| one_by_one([127, 1, 2], &many, 431))),
        ("bad headers of the PROXY protocol", Box::new(|| one_by_one([127, 9, 1], good, 0))),
        ("slow heads", Box::new(|| silent(3, b"GET / HT", 408))),
        ("never a byte", Box::new(|| silent(4, b"", 0))),
        (
            "connections of one address",
            Box::new(|| {
                let held: Vec<TcpStream> = (0..300).map(|_| connect([127, 3, 1, 1], to)).collect();
                (0..EACH).for_each(|_| assert_eq!(status(&connect([127, 3, 1, 1], to)), 429));
                drop(held);
            }),
        ),
    ];
    let cost = |run: &dyn Fn()| {
        let before = proxy.cpu_of("segno-reactor");
        run();
        (proxy.cpu_of("segno-reactor") - before).as_secs_f64() * 1e6 / EACH as f64
    };
    // The first time, memory is touched that is there later.
    kinds[0].1();
    let all: Vec<f64> = kinds.iter().map(|(_, run)| cost(run)).collect();
    for ((name, _), each) in kinds.iter().zip(&all) {
        eprintln!("{name}: {each:.0} us of the reactor for each");
    }
    for ((name, _), each) in kinds.iter().zip(&all) {
        assert!(*each <= MOST * all[0], "{name}: {each:.0} us, and {:.0} us for a good one", all[0]);
    }
}

/// The process stands still while all of them come, so that it finds them in one turn, and the event behind them.
#[test]
fn an_event_behind_a_crowd_of_bad_requests_goes_out_before_they_are_answered() {
    const CROWD: usize = 600;
    let pid = std::process::id().to_string();
    assert!(Command::new("prlimit").args(["--nofile=8192:", "--pid", &pid]).status().unwrap().success());
    let (mut proxy, opened) = proxy(&[]);
    let admin = proxy.admin();
    let mut reader = Client::connect(proxy.address());
    reader.get_events("/feed");
    reader.head();
    reader.until("data: x");
    let mut stream = opened.recv().unwrap();
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect([127, 0, 0, 1], proxy.address())).collect();
    crowd.iter_mut().for_each(|bad| bad.write_all(b"GET / HTTP/1.1\r\n").unwrap());
    until("all are known", || metric(admin, "connections_accepted_total") > CROWD as u64);
    rest(Duration::from_millis(50));
    proxy.signal("STOP");
    // A second `Host` is a bad request.
    crowd.iter_mut().for_each(|bad| bad.write_all(b"Host: h\r\nHost: h\r\n\r\n").unwrap());
    stream.write_all(b"id: 2\ndata: y\n\n").unwrap();
    let reads = thread::spawn(move || {
        reader.until("data: y");
        let is_answered = |bad: &&TcpStream| {
            bad.set_nonblocking(true).unwrap();
            !matches!(bad.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
        };
        let answered = crowd.iter().filter(is_answered).count();
        (answered, crowd)
    });
    // So that the reader waits already.
    rest(Duration::from_millis(50));
    proxy.signal("CONT");
    let (answered, crowd) = reads.join().unwrap();
    // While the reader woke up, some were answered.
    assert!(answered < CROWD / 2, "{answered} of {CROWD} were answered before the event");
    crowd.iter().for_each(|bad| bad.set_nonblocking(false).unwrap());
    assert!(crowd.iter().all(|bad| status(bad) == 400));
}
