//! The admin address over real sockets: who is let in, and that nobody holds it up.
//!
//! In: requests to the admin address of a process or of an engine. Out: statuses, pages, the output of `segno
//! sessions`.
//! Laws: what tells of sessions is for those alone who call the address by its own name and have its token; idle
//! clients delay nobody; every answer is whole.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::admin::{Access, Admin, Source};
use segno::base::{Count, Span};
use segno::engine::Engine;
use segno::reactor::Command as ToReactor;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::client::Answer;
use support::process::Process;
use support::{Client, End, Script, signal, until};

fn start(flags: &[&str]) -> (Process, SocketAddr) {
    let all = [&["--upstream", "http://127.0.0.1:9", "--admin", "127.0.0.1:0"], flags].concat();
    let mut proxy = Process::with_flags(&all);
    let admin = proxy.admin();
    (proxy, admin)
}

/// The answer to a request with these header lines.
fn ask(admin: SocketAddr, path: &str, lines: &str) -> Answer {
    let mut client = Client::connect(admin);
    client.send(format!("GET {path} HTTP/1.1\r\n{lines}\r\n"));
    let answer = client.answer();
    assert_eq!(answer.end, End::Whole, "{}", answer.head);
    answer
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_str(answer.text()).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

/// The answer to a POST with these header lines.
fn post(admin: SocketAddr, path: &str, lines: &str) -> Answer {
    let mut client = Client::connect(admin);
    client.send(format!("POST {path} HTTP/1.1\r\nContent-Length: 0\r\n{lines}\r\n"));
    client.answer()
}

fn sessions(admin: SocketAddr, more: &[&str], variable: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    command.args(["sessions", "--admin", &admin.to_string()]).args(more).stdin(Stdio::null());
    if let Some(token) = variable {
        command.env("SEGNO_ADMIN_TOKEN", token);
    }
    command.output().unwrap()
}

#[test]
fn a_page_in_a_browser_reads_nothing_by_a_name_of_its_own() {
    let (_proxy, admin) = start(&["--admin-host", "segno.internal"]);
    for path in ["/sessions", "/metrics", "/other"] {
        let answer = ask(admin, path, "Host: evil.example\r\n");
        assert_eq!(answer.status, 421, "{path}: {}", answer.head);
        assert!(answer.text().contains("--admin-host"), "{}", answer.text());
    }
    for host in [admin.to_string(), format!("localhost:{}", admin.port()), "segno.internal".to_owned()] {
        assert_eq!(ask(admin, "/sessions", &format!("Host: {host}\r\n")).status, 200, "{host}");
        assert_eq!(ask(admin, "/metrics", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    // A load balancer asks by whatever name it likes.
    assert_eq!(ask(admin, "/health", "Host: evil.example\r\n").status, 200);
    let mut old = Client::connect(admin);
    old.send("GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().status, 200);
}

#[test]
fn every_answer_says_when_it_was_made() {
    let (_proxy, admin) = start(&[]);
    let host = format!("Host: {admin}\r\n");
    let date_of = |head: &str| {
        let dates: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("Date: ")).collect();
        assert_eq!(dates.len(), 1, "{head}");
        dates[0].to_owned()
    };
    let mut heads: Vec<String> =
        ["/healthz", "/readyz", "/", "/metrics", "/streams", "/sessions", "/sessions?limit=5", "/other", "/drain"]
            .map(|page| ask(admin, page, &host).head)
            .into();
    heads.push(ask(admin, "/metrics", "Host: evil.example\r\n").head);
    heads.push(post(admin, "/reload", &host).head);
    for request in ["HEAD /events", "HEAD /metrics", "GET /events", "GET /\u{e9}"] {
        let mut client = Client::connect(admin);
        client.send(format!("{request} HTTP/1.1\r\n{host}\r\n"));
        heads.push(client.head());
    }
    let dates: Vec<String> = heads.iter().map(|head| date_of(head)).collect();
    assert!(dates.iter().all(|date| date.len() == 29 && date.ends_with(" GMT")), "{dates:?}");
}

#[test]
fn with_a_token_nobody_else_reads_anything_and_the_program_sends_it() {
    let file: PathBuf = std::env::temp_dir().join(format!("segno-admin-{}-token", std::process::id()));
    std::fs::write(&file, "hush-hush\n").unwrap();
    let path = file.to_str().unwrap();
    let (_proxy, admin) = start(&["--admin-token-file", path]);
    let host = format!("Host: {admin}\r\n");
    for page in ["/sessions", "/metrics"] {
        let answer = ask(admin, page, &host);
        assert_eq!(answer.status, 401);
        assert!(answer.head.contains("WWW-Authenticate: Bearer"), "{}", answer.head);
        assert_eq!(ask(admin, page, &format!("{host}Authorization: Bearer hush-hus\r\n")).status, 401);
        assert_eq!(ask(admin, page, &format!("{host}Authorization: Bearer hush-hush\r\n")).status, 200);
    }
    assert_eq!(ask(admin, "/health", &host).status, 200);
    let refused = sessions(admin, &[], None);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");
    assert_eq!(sessions(admin, &["--admin-token-file", path], None).status.code(), Some(0));
    assert_eq!(sessions(admin, &[], Some("hush-hush")).status.code(), Some(0));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_token_that_cannot_be_read_starts_no_proxy() {
    let args = ["proxy", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--store", "memory"];
    let more = ["--admin", "127.0.0.1:0", "--admin-token-file", "/nowhere/token"];
    let out = Command::new(env!("CARGO_BIN_EXE_segno")).args(args).args(more).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && told.contains("/nowhere/token"), "{told}");
}

#[test]
fn a_thousand_idle_clients_do_not_delay_a_look_at_the_health() {
    let (proxy, admin) = start(&[]);
    let before = proxy.descriptors();
    let began = Instant::now();
    let mut idle = Vec::new();
    for n in 0..1_000 {
        idle.push(TcpStream::connect(admin).unwrap());
        if n % 100 == 99 {
            assert_eq!(ask(admin, "/health", "Host: h\r\n").status, 200);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "ten looks took {:?}", began.elapsed());
    assert!(proxy.descriptors() <= before + 300, "they take descriptors from the proxy");
    drop(idle);
    until("their places are free", || proxy.descriptors() <= before + 1);
}

#[test]
fn a_refusal_reaches_a_client_that_still_sends() {
    let (_proxy, admin) = start(&[]);
    let mut client = Client::connect(admin);
    let body = "x".repeat(30_000);
    client.send(format!("POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let answer = client.answer();
    assert_eq!((answer.status, answer.end), (405, End::Whole));
    let mut client = Client::connect(admin);
    client.pour(format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(9_000)).as_bytes());
    assert_eq!(client.answer().status, 414);
}

#[test]
fn a_proxy_that_drains_says_so_to_those_who_look_at_its_health() {
    let (go_on, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        awaited.take();
        peer.send("-last");
    });
    let upstream = format!("http://{}", script.address());
    let mut proxy = Process::with_flags(&["--upstream", &upstream, "--admin", "127.0.0.1:0"]);
    let admin = proxy.admin();
    let mut client = proxy.client();
    client.get("/");
    let head = client.head();
    let healthy = ask(admin, "/health", "Host: h\r\n");
    assert_eq!((healthy.status, &json(&healthy)["status"]), (200, &"ok".into()));
    assert_eq!(json(&ask(admin, "/readyz", "Host: h\r\n"))["status"], "ready");
    proxy.signal("TERM");
    until("it drains", || TcpStream::connect(proxy.address()).is_err());
    let draining = ask(admin, "/readyz", "Host: h\r\n");
    assert_eq!((draining.status, &json(&draining)["reasons"]), (503, &serde_json::json!(["draining"])));
    // Nobody shall kill a process that drains.
    assert_eq!(ask(admin, "/healthz", "Host: h\r\n").status, 200);
    go_on.give();
    assert_eq!(client.read_body(&head, |_| {}), End::Whole);
    drop(client);
    assert_eq!(proxy.end().0.code(), Some(0));
    script.end();
}

#[test]
fn an_order_to_drain_is_for_posts_of_this_machine_or_with_the_token() {
    let (proxy, admin) = start(&[]);
    let host = format!("Host: {admin}\r\n");
    let refused = ask(admin, "/drain", &host);
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("Allow: POST\r\n"), "{}", refused.head);
    assert!(post(admin, "/metrics", &host).head.contains("Allow: GET, HEAD\r\n"));
    // What a page of another site makes a browser send.
    assert_eq!(post(admin, "/drain", &format!("{host}Origin: http://evil.example\r\n")).status, 403);
    assert_eq!(post(admin, "/drain", &format!("{host}Origin: null\r\n")).status, 403);
    assert_eq!(ask(admin, "/readyz", &host).status, 200);
    let taken = post(admin, "/drain", &format!("{host}Origin: http://{admin}\r\n"));
    assert_eq!((taken.status, &json(&taken)["draining"]), (202, &true.into()));
    assert_eq!(proxy.end().0.code(), Some(0));
}

#[test]
fn an_order_to_drain_needs_the_token_where_there_is_one() {
    let engine = Engine::builder().start().unwrap();
    let access = Access::default().token("hush").unwrap();
    let admin = Admin::start(SocketAddr::from(([127, 0, 0, 1], 0)), Source::of(&engine), access).unwrap().address();
    assert_eq!(post(admin, "/drain", "Host: localhost\r\n").status, 401);
    assert_eq!(ask(admin, "/readyz", "Host: localhost\r\n").status, 200);
    assert_eq!(post(admin, "/drain", "Host: localhost\r\nAuthorization: Bearer hush\r\n").status, 202);
    until("it drains", || ask(admin, "/readyz", "Host: localhost\r\n").status == 503);
    drop(engine.shutdown(Span::from_secs(1)));
}

#[test]
fn metrics_are_openmetrics_for_who_asks_for_them() {
    let (_proxy, admin) = start(&[]);
    let host = format!("Host: {admin}\r\n");
    let old = ask(admin, "/metrics", &host);
    assert!(old.head.contains("Content-Type: text/plain; version=0.0.4"), "{}", old.head);
    assert!(!old.text().contains("# EOF"));
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let new = ask(admin, "/metrics", &format!("{host}{accept}"));
    assert!(new.head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{}", new.head);
    assert!(new.text().ends_with("\n# EOF\n"));
}

#[test]
fn streams_and_sessions_are_listed_page_by_page() {
    const STREAMS: usize = 5;
    let (go_on, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peers = Vec::new();
        for n in 0..STREAMS {
            let mut peer = door.accept();
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            let event = format!("id: e{n}\ndata: x\n\n");
            peer.send(format!("{:x}\r\n{event}\r\n", event.len()));
            peers.push(peer);
        }
        awaited.take();
    });
    let upstream = format!("http://{}", script.address());
    let mut proxy = Process::with_flags(&["--upstream", &upstream, "--admin", "127.0.0.1:0"]);
    let admin = proxy.admin();
    let mut clients = Vec::new();
    for n in 0..STREAMS {
        let mut client = proxy.client();
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"));
        let head = client.head();
        clients.push((client, head));
    }
    let host = format!("Host: {admin}\r\n");
    let all = |list: &str| {
        let (mut ids, mut query) = (Vec::new(), "?limit=2".to_owned());
        loop {
            let answer = ask(admin, &format!("/{list}{query}"), &host);
            let page = json(&answer);
            let entries = page[list].as_array().unwrap();
            assert!(answer.status == 200 && entries.len() <= 2, "{page}");
            ids.extend(entries.iter().map(|entry| entry["last_event_id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => query = format!("?after={next}&limit=2"),
                None => break,
            }
        }
        ids.sort();
        ids
    };
    let expected: Vec<String> = (0..STREAMS).map(|n| format!("e{n}")).collect();
    until("all streams are listed", || all("streams") == expected);
    until("all sessions are stored", || all("sessions") == expected);
    assert_eq!(ask(admin, "/streams?limit=0", &host).status, 400);
    assert_eq!(ask(admin, "/sessions?after=nonsense", &host).status, 400);
    go_on.give();
    drop(clients);
    script.end();
}

#[test]
fn an_engine_whose_reactor_has_ended_is_not_healthy() {
    let engine = Engine::builder().start().unwrap();
    let admin = Admin::start(SocketAddr::from(([127, 0, 0, 1], 0)), Source::of(&engine), Access::default()).unwrap();
    assert_eq!(ask(admin.address(), "/health", "Host: h\r\n").status, 200);
    engine.remote().send(ToReactor::Stop);
    until("it is told", || ask(admin.address(), "/health", "Host: h\r\n").text().contains("the reactor has ended"));
    assert_eq!(ask(admin.address(), "/health", "Host: h\r\n").status, 503);
    drop(engine.shutdown(Span::from_secs(1)));
}

#[test]
fn a_client_that_sends_byte_by_byte_is_given_up_in_time() {
    let engine = Engine::builder().start().unwrap();
    let admin = Admin::start(SocketAddr::from(([127, 0, 0, 1], 0)), Source::of(&engine), Access::default()).unwrap();
    let mut slow = TcpStream::connect(admin.address()).unwrap();
    let mut sent = 0;
    slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // Never as long without a byte as a client may take over all of its request.
    while slow.write_all(b"G").is_ok() {
        sent += 1;
        assert!(sent < 50, "{sent} bytes, and it still waits for more");
        match slow.read(&mut [0]) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let answer = ask(admin.address(), "/health", "Host: h\r\n");
    assert!(answer.status == 200 && json(&answer)["status"] == "ok", "{}", answer.text());
    assert_eq!(engine.count(Count::AdminRequestsFailed), 1);
}
