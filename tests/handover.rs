//! The hand-over to a successor, apart from crowds: clients that are away meanwhile, other addresses and certificates,
//! other users, signals in between, and an old proxy that waits no longer.
//!
//! In: processes that take over from each other; an old proxy that the test plays. Out: what clients get from whom, exit
//! codes, log lines.
//! Laws: what the store has of a stream that nobody reads goes over, and what it has not is stated; a successor that is
//! not waited for ends and says so; nobody else gets the sockets.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;
#[path = "support/workshop.rs"]
mod workshop;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::process::{Process, page};
use support::store::Store;
use support::{Client, End, PATIENCE, Script, rest, until};

/// The path of a hand-over, which is removed after the test.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Self {
        let path = Self(std::env::temp_dir().join(format!("segno-{name}-{}.sock", std::process::id())));
        let _ = fs::remove_file(&path.0);
        path
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Ends a proxy that has been taken over from. It must end by itself, and well.
fn ended(old: Process) -> Vec<String> {
    let (status, lines) = old.end();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    lines
}

/// The ids and the data of the events in a text.
fn told(text: &str) -> Vec<(&str, &str)> {
    let field = |block: &'static str, of: &str| of.lines().any(|line| line == block);
    text.split("\n\n")
        .filter(|block| !field("event: segno.gap", block))
        .filter_map(|block| {
            let of = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            Some((of("id: ").unwrap_or_default(), of("data: ")?))
        })
        .collect()
}

/// A number without labels on the metrics page.
fn gauge(admin: SocketAddr, name: &str) -> f64 {
    let page = page(admin, "/metrics");
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

fn back(address: SocketAddr, method: &str, path: &str, id: &str) -> Client {
    let mut client = Client::connect(address);
    let lines = format!("Host: t\r\nAccept: text/event-stream\r\nLast-Event-ID: {id}\r\nContent-Length: 0\r\n\r\n");
    client.send(format!("{method} {path} HTTP/1.1\r\n{lines}"));
    client
}

/// Two clients leave: one of a stream with segno's ids, one of an answer to a POST. What comes for them while they are
/// away is read by nobody before the hand-over. The successor has all of it, and says that nothing follows it.
#[test]
fn who_is_away_while_a_successor_takes_over_gets_what_came_meanwhile_and_is_told_what_it_lost() {
    let (more, is_time) = support::signal();
    let script = Script::run(move |door| {
        let mut peers = [(); 2].map(|()| {
            let mut peer = door.accept();
            peer.head();
            peer.begin_stream();
            (1..=3).for_each(|n| peer.send_chunk(format!("data: {n}\n\n")));
            peer
        });
        is_time.take();
        for peer in &mut peers {
            (4..=9).for_each(|n| peer.send_chunk(format!("data: {n}\n\n")));
        }
        peers.iter_mut().for_each(|peer| peer.until_gone());
        // The stream of a GET begins anew.
        let mut peer = door.accept();
        let head = peer.head();
        assert!(!head.contains("sg-") && head.starts_with("GET /feed "), "{head}");
        peer.begin_stream();
        peer.send_chunk("data: anew\n\n");
    });
    let (store, path) = (Store::new("away"), Path::new("away"));
    let url = format!("http://{}", script.address());
    let flags = ["--upstream", &url, "--store", &store.flag(), "--durable", "--handover", path.text(), "--take-over"];
    let more_flags = ["--linger", "60s", "--linger-post", "60s", "--drain-timeout", "5s", "--drain-spread", "0s"];
    let mut old = Process::with_args(&[&flags[..], &more_flags, &["--admin", "127.0.0.1:0"]].concat());
    let (address, admin) = (old.address(), old.admin());
    let mut last = Vec::new();
    for method in ["GET", "POST"] {
        let mut client = Client::connect(address);
        let lines = "Host: t\r\nAccept: text/event-stream\r\nContent-Length: 0\r\n\r\n";
        client.send(format!("{method} /feed HTTP/1.1\r\n{lines}"));
        client.head();
        client.until("data: 3\n\n");
        let text = client.text().to_owned();
        last.push(told(&text).last().expect("an event").0.to_owned());
        client.close();
    }
    until("nobody reads", || gauge(admin, "segno_subscribers") < 1.0);
    more.give();
    until("all has come", || gauge(admin, "segno_undelivered_events") >= 12.0);
    let successor = Process::at(address, &[&flags[..], &more_flags].concat());
    ended(old);
    for (method, id) in ["GET", "POST"].into_iter().zip(&last) {
        let mut client = back(address, method, "/feed", id);
        client.head();
        client.until("data: 9\n\n");
        let text = client.text().to_owned();
        let data: Vec<&str> = told(&text).into_iter().map(|(_, data)| data).collect();
        assert_eq!(data, ["4", "5", "6", "7", "8", "9"], "{method}: {text}");
        let last = told(&text).last().expect("an event").0.to_owned();
        if method == "POST" {
            // The rest of an answer is nobody's any more.
            client.until("event: segno.gap");
            assert_eq!(client.rest(), End::Cut);
            continue;
        }
        // What is stored is all there is: a cut, so that the client comes back, and is told what it cannot have.
        assert_eq!(client.rest(), End::Cut, "{}", client.text());
        let mut client = back(address, method, "/feed", &last);
        let head = client.head();
        assert!(head.contains("Segno-Gap: restarted"), "{head}");
        client.until("event: segno.gap");
        client.until("data: anew\n\n");
        client.close();
    }
    drop(successor);
    script.end();
}

/// A successor with other addresses: what it has of the old ones goes over, a new one is bound, and one that it does not
/// have is closed with the old proxy. The admin address comes over last.
#[test]
fn addresses_that_change_are_bound_and_closed_and_the_admin_address_comes_last() {
    let (has_come, asked) = support::signal();
    let script = Script::run(move |door| {
        let mut slow = door.accept();
        slow.head();
        has_come.give();
        for _ in 0..2 {
            let mut peer = door.accept();
            peer.head();
            peer.answer("ok");
        }
        slow.until_gone();
    });
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (path, url, admin, other) = (Path::new("addresses"), format!("http://{}", script.address()), free(), free());
    let admin_text = admin.to_string();
    let flags = ["--upstream", &url, "--store", "memory", "--handover", path.text(), "--take-over"];
    let flags = [&flags[..], &["--drain-timeout", "2s", "--drain-spread", "0s", "--admin", &admin_text]].concat();
    let (gone, kept) = (free(), free());
    let old = Process::at(kept, &[&flags[..], &["--listen", &gone.to_string()]].concat());
    assert!(TcpStream::connect(gone).is_ok());
    // An open answer keeps the old proxy for as long as its drain lasts, and the admin address with it.
    let mut holds = Client::connect(kept);
    holds.get("/slow");
    asked.take();
    let mut successor = Process::at(kept, &[&flags[..], &["--listen", &other.to_string()]].concat());
    for address in [kept, other] {
        let mut client = Client::connect(address);
        client.get("/x");
        assert_eq!(client.answer().text(), "ok");
    }
    ended(old);
    drop(holds);
    script.end();
    assert!(TcpStream::connect(gone).is_err(), "nobody has it any more");
    assert_eq!(successor.admin(), admin);
    // It is ready, or this fails.
    page(admin, "/readyz");
}

/// A port that the system chose for the old proxy is the successor's, too, by the same words.
#[test]
fn a_port_of_the_systems_choice_goes_over() {
    let (path, url) = (Path::new("port"), "http://127.0.0.1:9");
    let flags = ["--upstream", url, "--store", "memory", "--handover", path.text(), "--take-over"];
    let old = Process::with_args(&flags);
    let successor = Process::with_args(&flags);
    assert_eq!(successor.address(), old.address());
    ended(old);
    assert!(TcpStream::connect(successor.address()).is_ok());
}

#[cfg(feature = "tls")]
#[test]
fn listeners_with_tls_go_over_and_so_do_those_without() {
    let authority = support::tls::Authority::new();
    let pair = authority.sign("a", &["localhost"]);
    let script = Script::run(|door| {
        for _ in 0..4 {
            let mut peer = door.accept();
            peer.head();
            peer.answer("ok");
        }
    });
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (path, url, plain) = (Path::new("tls"), format!("http://{}", script.address()), free());
    let plain_text = plain.to_string();
    let flags = ["--upstream", &url, "--store", "memory", "--handover", path.text(), "--take-over"];
    let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
    let secure = ["--tls-cert", cert, "--tls-key", key, "--listen-plain", &plain_text];
    let flags = [&flags[..], &secure].concat();
    let old = Process::with_args(&flags);
    let address = old.address();
    let ask = || {
        let mut clients = [authority.client(address, "localhost"), Client::connect(plain)];
        for client in &mut clients {
            client.get("/x");
            assert_eq!(client.answer().text(), "ok");
        }
    };
    ask();
    let _successor = Process::at(address, &flags);
    ended(old);
    ask();
    script.end();
}

/// The sockets of a service manager: one for each kind of listener, and a plain one is taken for the plain address.
#[cfg(feature = "tls")]
#[test]
fn a_managers_sockets_are_taken_for_addresses_with_and_without_tls() {
    const MANAGER: &str = "systemd-socket-activate";
    if workshop::find(&[MANAGER], &["--version"]).is_none() {
        return workshop::missing("systemd-socket-activate, to be given sockets", "SEGNO_REQUIRE_SYSTEMD");
    }
    let authority = support::tls::Authority::new();
    let pair = authority.sign("a", &["localhost"]);
    let script = Script::run(|door| {
        for _ in 0..2 {
            let mut peer = door.accept();
            peer.head();
            peer.answer("ok");
        }
    });
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (url, plain, secure) = (format!("http://{}", script.address()), free(), free());
    let (plain_text, secure_text) = (plain.to_string(), secure.to_string());
    let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
    let mut command = Command::new(MANAGER);
    command.args(["-l", &plain_text, "-l", &secure_text, env!("CARGO_BIN_EXE_segno"), "proxy", "--upstream", &url]);
    command.args(["--store", "memory", "--listen", &secure_text, "--listen-plain", &plain_text]);
    command.args(["--tls-cert", cert, "--tls-key", key]).stdin(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // The manager listens by itself first, and its first client starts the program.
    let mut first = None;
    until("it listens", || {
        first = TcpStream::connect(plain).ok();
        first.is_some()
    });
    let mut clients = [Client::over(first.unwrap()), authority.client(secure, "localhost")];
    for client in &mut clients {
        client.get("/x");
        assert_eq!(client.answer().text(), "ok");
    }
    script.end();
    let killed = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let (code, text) = said(child);
    assert_eq!(code, Some(0), "{text}");
}

/// Starts a successor without waiting until it listens.
fn successor(path: &Path, address: SocketAddr) -> Child {
    let address = address.to_string();
    let flags = [
        "proxy",
        "--upstream",
        "http://127.0.0.1:9",
        "--store",
        "memory",
        "--drain-timeout",
        "1s",
        "--drain-spread",
        "0s",
    ];
    let more = ["--listen", &address, "--handover", path.text(), "--take-over"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    command.args(flags).args(more).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How it ended, and all that it said.
fn said(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

/// The part of an old proxy: its path, its socket, and a successor that has said its first word.
fn played(name: &str) -> (Path, UnixListener, TcpListener, Child, BufReader<UnixStream>) {
    let (path, sockets) = (Path::new(name), TcpListener::bind("127.0.0.1:0").unwrap());
    let door = UnixListener::bind(&path.0).unwrap();
    let child = successor(&path, sockets.local_addr().unwrap());
    door.set_nonblocking(true).unwrap();
    let mut link = None;
    until("a successor comes", || {
        link = door.accept().ok().map(|(link, _)| link);
        link.is_some()
    });
    let mut link = BufReader::new(link.unwrap());
    link.get_ref().set_nonblocking(false).unwrap();
    link.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(line(&mut link), "segno-handover 1\n");
    (path, door, sockets, child, link)
}

fn line(link: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    link.read_line(&mut line).unwrap();
    line
}

fn give(link: &BufReader<UnixStream>, socket: &TcpListener) {
    let (mut space, sockets) = ([MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))], [socket.as_fd()]);
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sockets)));
    sendmsg(link.get_ref(), &[IoSlice::new(b"sockets 1\n")], &mut ancillary, SendFlags::empty()).unwrap();
}

#[test]
fn a_signal_between_two_words_is_no_failure() {
    let (path, _door, socket, child, mut link) = played("signals");
    for _ in 0..5 {
        let sent = Command::new("kill").args(["-s", "USR2", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        rest(Duration::from_millis(20));
    }
    give(&link, &socket);
    assert_eq!(line(&mut link), "ready\n");
    fs::remove_file(&path.0).unwrap();
    link.get_mut().write_all(b"draining\nstore\n").unwrap();
    // It serves at the socket that it was given, and waits for a successor of its own.
    until("it waits for the next one", || UnixStream::connect(&path.0).is_ok());
    let killed = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let (code, text) = said(child);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_successor_that_is_waited_for_no_longer_ends_and_says_so() {
    let (_path, door, socket, child, mut link) = played("late");
    give(&link, &socket);
    assert_eq!(line(&mut link), "ready\n");
    // Too late: the old proxy has closed the link, and waits for others.
    drop(link);
    let (code, text) = said(child);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("goes on as before; start this one again") || text.contains("start this one again"),
        "{text}"
    );
    assert!(!text.contains("has gone"), "{text}");
    drop(door);
}

#[test]
fn a_successor_whose_old_proxy_dies_in_between_serves() {
    let (path, door, socket, child, mut link) = played("dies");
    give(&link, &socket);
    assert_eq!(line(&mut link), "ready\n");
    drop((door, link));
    until("it waits for the next one", || UnixStream::connect(&path.0).is_ok());
    let killed = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let (code, text) = said(child);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("has gone before it could hand over"), "{text}");
}

/// Whether commands can be run as another user here.
fn nobody() -> Option<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let mut tries = Command::new("setpriv");
    tries.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_segno"), "--version"]);
    tries.output().is_ok_and(|output| output.status.success()).then_some(command)
}

#[test]
fn another_user_gets_nothing_and_gives_nothing() {
    let Some(mut command) = nobody() else {
        return workshop::missing("setpriv as root, to run a program as another user", "SEGNO_REQUIRE_USERS");
    };
    let (path, url) = (Path::new("users"), "http://127.0.0.1:9");
    let mut old = Process::with_args(&["--upstream", url, "--store", "memory", "--handover", path.text()]);
    // Even where the path lets others in.
    fs::set_permissions(&path.0, fs::Permissions::from_mode(0o666)).unwrap();
    let address = old.address().to_string();
    command.args([env!("CARGO_BIN_EXE_segno"), "proxy", "--upstream", url, "--store", "memory", "--listen", &address]);
    let output = command.args(["--handover", path.text(), "--take-over"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("it belongs to another user; it goes on as before"), "{text}");
    // Nor does one that asks without looking.
    let mut asks = Command::new("setpriv");
    asks.args(["--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-c"]);
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
        s.sendall(b'segno-handover 1\\n')\nprint(len(s.recv(99)))";
    let got = asks.args([script, path.text()]).output();
    if let Ok(got) = got.as_ref().map(|got| String::from_utf8_lossy(&got.stdout)) {
        assert!(matches!(got.trim(), "0" | ""), "{got}");
    }
    old.until_said("it belongs to another user; this proxy goes on as before");
    old.signal("TERM");
    ended(old);
}
