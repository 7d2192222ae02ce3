//! `segno demo --listen`: a real process that serves the flaky upstream alone, and a raw client.
//!
//! In: requests. Out: event streams that are cut, an exit code.

#![cfg(feature = "cli")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn segno(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    command.arg("demo").args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Starts the upstream. Returns the process and the address that it prints.
fn start(words: &[&str]) -> (Child, String) {
    let mut child = segno(&[&["--listen", "127.0.0.1:0"], words].concat()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.split("http://").nth(1).and_then(|rest| rest.split(',').next()).expect("the line has an address");
    assert!(line.contains("curl -N http://") && line.contains("segno proxy --upstream http://"), "{line}");
    (child, address.to_owned())
}

/// All bytes that one connection brings. The upstream is away now and then, so this tries until it answers.
fn ask(address: &str, request: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no answer to {request:?}");
        let Ok(mut socket) = TcpStream::connect(address) else {
            thread::yield_now();
            continue;
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        // A cut may come as a reset, at any point.
        let _ = socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.1 404") {
            return text;
        }
    }
}

#[test]
fn streams_are_cut_and_go_on_until_a_signal_ends_the_process() {
    let (mut child, address) = start(&[]);
    let cut = ask(&address, "GET /feed HTTP/1.1\r\nHost: demo\r\n\r\n");
    assert!(cut.contains("text/event-stream") && !cut.ends_with("\r\n0\r\n\r\n"), "{cut}");
    let id = cut.lines().find_map(|line| line.strip_prefix("id: ")).expect("events have ids").trim().to_owned();
    let more = ask(&address, &format!("GET /feed HTTP/1.1\r\nHost: demo\r\nLast-Event-ID: {id}\r\n\r\n"));
    assert!(more.starts_with("HTTP/1.1 200") && more.contains("id: "), "{more}");
    let stranger = ask(&address, "GET /feed HTTP/1.1\r\nHost: demo\r\nLast-Event-ID: x\r\n\r\n");
    assert!(stranger.starts_with("HTTP/1.1 404"), "{stranger}");
    let bare = ask(&address, "GET /no-ids HTTP/1.1\r\nHost: demo\r\n\r\n");
    assert!(bare.contains("data: ") && !bare.contains("id: "), "{bare}");
    let answer = ask(&address, "POST /answer HTTP/1.1\r\nHost: demo\r\nContent-Length: 2\r\n\r\n{}");
    assert!(answer.contains("event: done") && answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_upstream_ends_after_its_duration() {
    let (mut child, _) = start(&["--duration", "100ms"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_malformed_address_is_refused() {
    let output = segno(&["--listen", "nowhere"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("write an IP address and a port"), "{said}");
}
