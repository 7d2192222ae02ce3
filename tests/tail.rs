//! `segno tail` as a real process, with a scripted upstream.
//!
//! In: answers of upstream, signals. Out: requests, standard output, standard error, the exit code.
//! Law: each event is printed once, and a POST that upstream may have acted on is not repeated.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// An upstream that gives the test each connection, with its request.
struct Upstream {
    address: SocketAddr,
    asked: Receiver<(String, TcpStream)>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked): (Sender<(String, TcpStream)>, _) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                }
                if sender.send((head, stream)).is_err() {
                    return;
                }
            }
        });
        Self { address, asked }
    }

    fn next(&self) -> (String, TcpStream) {
        self.asked.recv_timeout(Duration::from_secs(30)).expect("it asks")
    }

    /// Answers the next request. Returns the request's `Last-Event-ID` and the connection.
    fn answer(&self, text: &str) -> (Option<String>, TcpStream) {
        let (head, mut stream) = self.next();
        stream.write_all(text.as_bytes()).unwrap();
        (cursor(&head), stream)
    }
}

fn cursor(head: &str) -> Option<String> {
    head.lines().find_map(|line| line.strip_prefix("Last-Event-ID: ").map(str::to_owned))
}

fn event(n: u32) -> String {
    format!("id: {n}\ndata: {n}\n\n")
}

/// An answer that ends as a cut: its chunked body has no last chunk.
fn cut(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99999\r\n\r\n{text}")
}

struct Tail {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Tail {
    fn start(address: SocketAddr, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_segno"))
            .args(["tail", &format!("http://{address}/events")])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next event, as its bytes.
    fn event(&mut self) -> String {
        let mut event = String::new();
        while !event.ends_with("\n\n") {
            assert!(self.out.read_line(&mut event).unwrap() > 0, "it ended after {event:?}");
        }
        event
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for the end. Returns the exit code, the rest of standard output, and standard error.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store that is removed after the test.
struct Store(PathBuf);

impl Store {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("segno-tail-{}-{name}.redb", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn flag(&self) -> String {
        format!("redb:{}", self.0.display())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_cut_inside_an_event_is_healed_and_each_event_comes_once() {
    let upstream = Upstream::start();
    let mut tail = Tail::start(upstream.address, &[]);
    drop(upstream.answer(&cut(&format!("{}{}id: 3\nda", event(1), event(2)))));
    let (asked, _open) = upstream.answer(&cut(&format!("{}{}", event(2), event(3))));
    assert_eq!(asked.as_deref(), Some("2"));
    assert_eq!([tail.event(), tail.event(), tail.event()], [event(1), event(2), event(3)]);
}

#[test]
fn after_a_clean_end_it_asks_again_and_a_204_ends_it() {
    let upstream = Upstream::start();
    let tail = Tail::start(upstream.address, &[]);
    drop(upstream.answer(&format!("{HEAD}{}", event(1))));
    let (asked, stream) = upstream.answer("HTTP/1.1 204 No Content\r\n\r\n");
    drop(stream);
    assert_eq!(asked.as_deref(), Some("1"));
    let (code, out, _) = tail.end();
    assert_eq!((code, out), (Some(0), event(1)));
}

#[test]
fn the_answer_to_a_post_that_has_ended_is_whole_and_the_post_is_not_repeated() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = event(1);
    let chunks = format!("{chunked}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for answer in [chunks, format!("{HEAD}{body}")] {
        for flags in [&[][..], &["--repeat-post"]] {
            let upstream = Upstream::start();
            let mut tail = Tail::start(upstream.address, &[&["--data", "hello"], flags].concat());
            drop(upstream.answer(&answer));
            while tail.child.try_wait().unwrap().is_none() {
                let asked = upstream.asked.recv_timeout(Duration::from_millis(20));
                assert!(asked.is_err(), "{flags:?}: it asked again");
            }
            let (code, out, err) = tail.end();
            assert_eq!((code, out), (Some(0), event(1)), "{flags:?}: {err}");
            assert!(!err.contains("--repeat-post"), "{err}");
        }
    }
}

#[test]
fn a_post_that_is_cut_inside_an_event_has_not_ended() {
    let upstream = Upstream::start();
    let tail = Tail::start(upstream.address, &["--data", "hello"]);
    drop(upstream.answer(&format!("{HEAD}{}data: ha", event(1))));
    let (code, out, err) = tail.end();
    assert!(code == Some(1) && out == event(1) && err.contains("cut inside an event"), "{err}");
}

/// Runs `segno tail` with these arguments to its end. Returns the exit code and standard error.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_segno")).arg("tail").args(args).stdin(Stdio::null()).output().unwrap();
    assert_eq!(out.stdout, b"", "{args:?}");
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn arguments_that_cannot_be_used_end_it_with_2_and_are_shown() {
    let url = "http://127.0.0.1:9/";
    let long = "x".repeat(201);
    for (args, shown) in [
        (&["localhost:3000/feed"][..], "localhost:3000/feed"),
        (&["http://h/a b"], "http://h/a b"),
        (&[url, "--method", "GE T"], "GE T"),
        (&[url, "--data", "@/nowhere/body"], "/nowhere/body"),
        (&[url, "--cursor", ""], "--cursor"),
        (&[url, "--cursor", &long], "201 bytes"),
        (&[url, "--cursor", "c", "--store", "redb:/nowhere/x.redb"], "/nowhere"),
        (&[url, "-H", "no colon"], "no colon"),
    ] {
        let (code, told) = refused(args);
        assert!(code == Some(2) && told.contains(shown), "{args:?}: {code:?} {told}");
        assert!(!told.contains("--store-optional"), "{told}");
    }
}

#[test]
fn without_a_store_flag_the_cursor_lies_in_a_file_of_its_own() {
    let folder = std::env::temp_dir().join(format!("segno-tail-{}-default", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let upstream = Upstream::start();
    let url = format!("http://{}/events", upstream.address);
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    let command = command.args(["tail", "--cursor", "c", &url]).current_dir(&folder);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    drop(upstream.answer("HTTP/1.1 204 No Content\r\n\r\n"));
    assert!(child.wait_with_output().unwrap().status.success());
    let is_there = |name: &str| folder.join(name).exists();
    assert!(is_there("segno-tail.redb") && !is_there("segno.redb"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_cursor_that_upstream_refuses_is_a_failure() {
    let upstream = Upstream::start();
    let tail = Tail::start(upstream.address, &[]);
    drop(upstream.answer(&cut(&event(1))));
    drop(upstream.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    let (code, _, err) = tail.end();
    assert!(code == Some(1) && err.contains("events are missing"), "{err}");
}

#[test]
fn json_lines_are_those_of_parse() {
    let upstream = Upstream::start();
    let mut tail = Tail::start(upstream.address, &["--json"]);
    let _open = upstream.answer(&format!("{HEAD}id: 7\nevent: e\ndata: a\ndata: b\n\n"));
    let mut line = String::new();
    tail.out.read_line(&mut line).unwrap();
    assert_eq!(line, "{\"type\":\"e\",\"data\":\"a\\nb\",\"id\":\"7\"}\n");
}

#[test]
fn headers_method_and_body_go_out_and_a_post_is_not_repeated() {
    let upstream = Upstream::start();
    let tail = Tail::start(upstream.address, &["-H", "X-A: b", "--data", "hello"]);
    let (head, mut stream) = upstream.next();
    assert!(head.starts_with("POST /events HTTP/1.1\r\n") && head.contains("X-A: b\r\n"), "{head}");
    assert!(head.contains("Content-Length: 5\r\n") && head.contains("Accept: text/event-stream\r\n"), "{head}");
    stream.write_all(cut(&event(1)).as_bytes()).unwrap();
    drop(stream);
    let (code, out, err) = tail.end();
    assert!(code == Some(1) && out == event(1) && err.contains("--repeat-post"), "{err}");
}

/// Waits until the process ends. Panics if it sends another request before.
fn ends_without_asking(mut tail: Tail, upstream: &Upstream, why: &str) {
    while tail.child.try_wait().unwrap().is_none() {
        let asked = upstream.asked.recv_timeout(Duration::from_millis(20));
        assert!(asked.is_err(), "{why}: it asked again: {}", asked.unwrap().0);
    }
    let (code, _, err) = tail.end();
    assert!(code == Some(1) && err.contains("--repeat-post"), "{why}: {err}");
}

fn status(status: u16) -> String {
    format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn a_post_that_upstream_may_have_acted_on_is_not_repeated_whatever_it_answers() {
    for answer in [408, 500, 501, 502, 504] {
        let upstream = Upstream::start();
        let tail = Tail::start(upstream.address, &["--data", "hello"]);
        drop(upstream.answer(&status(answer)));
        ends_without_asking(tail, &upstream, &answer.to_string());
    }
}

#[test]
fn a_post_that_upstream_did_not_act_on_is_repeated() {
    for (answer, flags) in [(425, &[][..]), (429, &[]), (503, &[]), (500, &["--repeat-post"])] {
        let upstream = Upstream::start();
        let mut tail = Tail::start(upstream.address, &[&["--data", "hello"], flags].concat());
        drop(upstream.answer(&status(answer)));
        let (head, mut stream) = upstream.next();
        assert!(head.starts_with("POST "), "{answer}: {head}");
        stream.write_all(format!("{HEAD}{}", event(1)).as_bytes()).unwrap();
        assert_eq!(tail.event(), event(1));
    }
}

#[test]
fn a_post_that_led_to_a_get_is_not_repeated_when_that_is_cut_or_refused() {
    for answer in [cut(&event(1)), status(503)] {
        let upstream = Upstream::start();
        let tail = Tail::start(upstream.address, &["--data", "hello"]);
        drop(upstream.answer("HTTP/1.1 303 x\r\nLocation: /made\r\nContent-Length: 0\r\n\r\n"));
        let (head, mut stream) = upstream.next();
        assert!(head.starts_with("GET /made "), "{head}");
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream);
        ends_without_asking(tail, &upstream, &answer);
    }
}

#[test]
fn the_wait_that_upstream_asks_for_counts_after_an_event_too() {
    let upstream = Upstream::start();
    let mut tail = Tail::start(upstream.address, &[]);
    let (_, stream) = upstream.answer(&cut(&format!("retry: 2500\n{}", event(1))));
    tail.event();
    let cut_at = Instant::now();
    drop(stream);
    drop(upstream.next());
    assert!(cut_at.elapsed() >= Duration::from_millis(2_500), "asked again after {:?}", cut_at.elapsed());
}

#[test]
fn an_upstream_that_sends_one_event_per_connection_is_asked_once_a_second() {
    let upstream = Upstream::start();
    let started = Instant::now();
    let mut tail = Tail::start(upstream.address, &[]);
    for n in 1..=3 {
        drop(upstream.answer(&cut(&event(n))));
        assert_eq!(tail.event(), event(n));
    }
    assert!(started.elapsed() >= Duration::from_secs(2), "three connections in {:?}", started.elapsed());
}

#[test]
fn an_answer_that_is_not_an_event_stream_is_a_failure_that_names_its_type() {
    let upstream = Upstream::start();
    let tail = Tail::start(upstream.address, &[]);
    drop(upstream.answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"));
    let (code, _, err) = tail.end();
    assert!(code == Some(1) && err.contains("text/html"), "{err}");
}

#[test]
fn ended_by_sigterm_and_started_again_it_prints_every_event_once() {
    let (upstream, store) = (Upstream::start(), Store::new("term"));
    let flags = ["--cursor", "c", "--store", &store.flag()];
    let mut printed = String::new();
    for round in 0..4u32 {
        let mut tail = Tail::start(upstream.address, &flags);
        let from = round * 10 + 1;
        let events: String = (from..from + 10).map(event).collect();
        let (asked, _open) = upstream.answer(&cut(&events));
        assert_eq!(asked, (round > 0).then(|| (from - 1).to_string()));
        (0..10).for_each(|_| printed.push_str(&tail.event()));
        tail.signal("-TERM");
        let (code, rest, err) = tail.end();
        assert_eq!((code, rest.as_str()), (Some(0), ""), "{err}");
    }
    assert_eq!(printed, (1..=40).map(event).collect::<String>());
}

#[test]
fn killed_it_misses_nothing_and_repeats_no_more_than_a_window() {
    let (upstream, store) = (Upstream::start(), Store::new("kill"));
    let flags = ["--cursor", "c", "--store", &store.flag()];
    let mut last = 0;
    for _ in 0..5u32 {
        let mut tail = Tail::start(upstream.address, &flags);
        let (head, mut stream) = upstream.next();
        let asked: u32 = cursor(&head).map_or(0, |id| id.parse().unwrap());
        assert!(asked <= last, "{asked} was stored and {last} printed");
        stream.write_all(cut("").as_bytes()).unwrap();
        for n in asked + 1..=asked + 20 {
            stream.write_all(event(n).as_bytes()).unwrap();
            assert_eq!(tail.event(), event(n));
            last = last.max(n);
        }
        tail.signal("-KILL");
        assert_eq!(tail.end().0, None);
    }
}

#[test]
fn a_closed_output_ends_it_without_an_error() {
    let upstream = Upstream::start();
    let mut tail = Tail::start(upstream.address, &[]);
    let (_, mut stream) = upstream.answer(HEAD);
    stream.write_all(event(1).as_bytes()).unwrap();
    tail.event();
    let Tail { child, .. } = &mut tail;
    let stderr = child.stderr.take().unwrap();
    drop(std::mem::replace(&mut tail.out, BufReader::new(dummy())));
    // The first write to the closed pipe fails, and so ends the process.
    stream.write_all(event(2).as_bytes()).unwrap();
    assert_eq!(tail.child.wait().unwrap().code(), Some(0));
    drop(stderr);
}

/// The standard output of a process that has ended.
fn dummy() -> ChildStdout {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    child.wait().unwrap();
    out
}

#[test]
fn redirects_are_followed_without_credentials_for_others() {
    let (upstream, other) = (Upstream::start(), Upstream::start());
    let mut tail = Tail::start(upstream.address, &["-H", "Authorization: secret", "-H", "X-A: b"]);
    drop(
        upstream
            .answer(&format!("HTTP/1.1 307 x\r\nLocation: http://{}/x\r\nContent-Length: 0\r\n\r\n", other.address)),
    );
    let (head, mut stream) = other.next();
    assert!(head.starts_with("GET /x ") && head.contains("X-A: b") && !head.contains("secret"), "{head}");
    stream.write_all(format!("{HEAD}{}", event(1)).as_bytes()).unwrap();
    assert_eq!(tail.event(), event(1));
}
