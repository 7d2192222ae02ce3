//! The `segno` program as users' scripts see it.
//!
//! In: arguments, standard input, signals. Out: standard output, standard error, the exit code.
//! Law: scripts depend on the exit codes, and on what goes to standard output and what to standard error.

#![cfg(feature = "cli")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use support::process::Process;
use support::{End, Script, event, signal};

/// Runs the program to its end, with `input` on a pipe.
fn segno(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_segno"))
        .args(args)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program writes text")
}

/// A file that is removed after the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("segno-cli-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

// segno proxy.

#[test]
fn a_proxy_without_traffic_ends_with_0_after_sigterm_and_writes_one_line() {
    let script = Script::run(|_| {});
    let proxy = Process::start(script.address());
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    assert_eq!((status.code(), lines), (Some(0), Vec::new()));
}

#[test]
fn sigint_ends_a_proxy_as_sigterm_does() {
    let script = Script::run(|_| {});
    let proxy = Process::start(script.address());
    proxy.signal("INT");
    assert_eq!(proxy.end().0.code(), Some(0));
}

#[test]
fn sigterm_cuts_an_open_stream_so_that_its_client_comes_back() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk(event(1));
        peer.until_gone();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/");
    client.until(event(1));
    proxy.signal("TERM");
    assert_eq!(client.rest(), End::Cut);
    assert!(client.text().contains("retry: "), "{}", client.text());
    assert_eq!(proxy.end().0.code(), Some(0));
    script.end();
}

#[test]
fn sigterm_lets_an_ordinary_answer_finish() {
    let (go_on, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        awaited.take();
        peer.send("-last");
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get("/");
    let head = client.head();
    proxy.signal("TERM");
    // The proxy closes the listener as soon as it has received the signal.
    support::until("the proxy accepts no connection", || std::net::TcpStream::connect(proxy.address()).is_err());
    go_on.give();
    let mut body = Vec::new();
    assert_eq!(client.read_body(&head, |piece| body.extend_from_slice(piece)), End::Whole);
    assert_eq!(text(&body), "first-last");
    drop(client);
    assert_eq!(proxy.end().0.code(), Some(0));
    script.end();
}

#[test]
fn a_second_signal_ends_the_proxy_at_once() {
    let (asked, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        asked.give();
        peer.until_gone();
    });
    let proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.get("/never-answered");
    awaited.take();
    proxy.signal("TERM");
    support::until("the proxy accepts no connection", || std::net::TcpStream::connect(proxy.address()).is_err());
    proxy.signal("TERM");
    assert_eq!(proxy.end().0.code(), Some(0));
    script.end();
}

#[test]
fn a_flag_that_does_not_exist_ends_with_2() {
    let out = segno(&["proxy", "--upstream", "http://127.0.0.1:1", "--heartbeet", "1s"], "");
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), ""));
    assert!(text(&out.stderr).contains("--heartbeat"), "{}", text(&out.stderr));
}

#[test]
fn a_proxy_without_an_upstream_ends_with_2() {
    let out = segno(&["proxy"], "");
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), ""));
    assert!(text(&out.stderr).contains("--upstream"), "{}", text(&out.stderr));
}

#[test]
fn an_address_that_is_taken_ends_with_1_and_says_which() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let out = segno(&["proxy", "--upstream", "http://127.0.0.1:1", "--listen", &address, "--store", "memory"], "");
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(1), ""));
    assert!(text(&out.stderr).contains(&address), "{}", text(&out.stderr));
}

#[test]
fn a_misspelt_key_is_named_with_its_place_and_the_nearest_one() {
    let file = TempFile::new("misspelt", "[[route]]\nupstream = \"http://127.0.0.1:1\"\n  heal_fro = \"1s\"\n");
    let out = segno(&["proxy", "--config", file.path()], "");
    let told = format!("{}:3:3: unknown key `heal_fro`: did you mean `heal_for`?\n", file.path());
    assert_eq!((out.status.code(), text(&out.stdout), text(&out.stderr)), (Some(2), "", told.as_str()));
}

// segno check.

#[test]
fn check_says_ok_of_a_sound_file() {
    let file = TempFile::new("sound", "[[route]]\nupstream = \"http://127.0.0.1:1\"\n");
    let out = segno(&["check", file.path()], "");
    let told = format!("{}: ok, 1 route\n", file.path());
    assert_eq!((out.status.code(), text(&out.stdout), text(&out.stderr)), (Some(0), told.as_str(), ""));
}

#[test]
fn check_names_every_problem_of_a_faulty_file() {
    let file = TempFile::new("faulty", "lisen = []\n[[route]]\nupstream = \"ftp://x\"\nheartbeat = 3\n");
    let out = segno(&["check", file.path()], "");
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), ""));
    let told: Vec<&str> = text(&out.stderr).lines().collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (line, place) in told.iter().zip([":1:1: ", ":3:12: ", ":4:13: "]) {
        assert!(line.starts_with(&(file.path().to_owned() + place)), "{line} is not at {place}");
    }
}

// segno parse.

#[test]
fn parse_makes_json_lines_of_a_stream_on_a_pipe() {
    let stream =
        "\u{feff}id: 7\nevent: tick\ndata: a\ndata: b\n\n: comment\nretry: 2500\n\ndata:\u{20ac}\r\n\r\ndata: lost";
    let mut expected = None;
    for size in ["1", "2", "3", "64KiB"] {
        let out = segno(&["parse", "--read-size", size], stream);
        assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), ""));
        let lines: Vec<Value> = text(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            lines,
            [
                serde_json::json!({"type": "tick", "data": "a\nb", "id": "7"}),
                serde_json::json!({"type": "message", "data": "\u{20ac}", "id": "7"}),
                serde_json::json!({"last_event_id": "7", "retry_ms": 2500}),
            ]
        );
        assert_eq!(*expected.get_or_insert_with(|| out.stdout.clone()), out.stdout);
    }
}

// segno demo.

#[test]
fn the_demo_loses_nothing_and_says_so_in_one_object() {
    let out = segno(&["demo", "--duration", "2s", "--json"], "");
    assert_eq!(out.status.code(), Some(0), "{}\n{}", text(&out.stdout), text(&out.stderr));
    let said = text(&out.stdout);
    assert_eq!(said.lines().count(), 1, "{said}");
    let report: Value = serde_json::from_str(said).unwrap();
    for field in ["lost", "duplicated", "reordered"] {
        assert_eq!(report[field], 0, "{said}");
    }
    assert_eq!(report["ok"], true, "{said}");
    assert!(report["events"].as_u64().unwrap() > 0 && report["healed"].as_u64().unwrap() > 0, "{said}");
}
