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
fn a_proxy_without_traffic_ends_with_0_after_sigterm_and_says_when_it_starts_and_stops() {
    let script = Script::run(|_| {});
    let proxy = Process::start(script.address());
    let start = proxy.listening().to_owned();
    for part in ["segno: listening on http://127.0.0.1:", "store memory", "version 0.", "; / to http://127.0.0.1:"] {
        assert!(start.contains(part), "{start}");
    }
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    assert_eq!((status.code(), lines.len()), (Some(0), 2), "{lines:#?}");
    assert!(lines[0].contains("SIGTERM: stopping") && lines[1].contains("stopped after "), "{lines:#?}");
    assert!(lines[1].contains("not stored: 0"), "{lines:#?}");
}

/// Serves one answer of two bytes, then an event stream of two events that ends.
fn two_answers() -> Script {
    Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        drop(peer);
        let mut peer = door.accept();
        peer.head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{}{}", event(1), event(2)));
    })
}

#[test]
fn as_json_every_line_is_an_object_the_access_log_too() {
    let script = two_answers();
    let upstream = format!("http://{}", script.address());
    let proxy = Process::with_flags(&["--upstream", &upstream, "--log-format", "json", "--access-log"]);
    let mut client = proxy.client();
    client.send("GET /a/b;hush?hush HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine-1\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    drop(client);
    let mut client = proxy.client();
    client.open_events("/feed");
    client.until(event(2));
    assert_eq!(client.rest(), End::Whole);
    drop(client);
    let start = proxy.listening().to_owned();
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    let objects: Vec<Value> = std::iter::once(&start)
        .chain(&lines)
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(objects.iter().all(|o| o["ts"].is_string() && o["level"].is_string() && o["what"].is_string()));
    assert!(objects[0]["what"].as_str().unwrap().starts_with("listening on http://"), "{start}");
    let served: Vec<&Value> = objects.iter().filter(|object| object["what"] == "access").collect();
    assert_eq!(served.len(), 2, "{lines:#?}");
    let (plain, stream) = (served[0], served[1]);
    assert_eq!((&plain["target"], &plain["request"]), (&"/a/b;...".into(), &"mine-1".into()));
    assert_eq!(
        (&plain["client"], &plain["method"], &plain["status"]),
        (&"127.0.0.1".into(), &"GET".into(), &200.into())
    );
    assert_eq!((&stream["target"], &stream["events"]), (&"/feed".into(), &2.into()));
    assert!(stream["stream"].is_string() && stream["request"].is_string() && stream["ms"].is_u64(), "{stream}");
    script.end();
}

#[test]
fn as_text_the_access_log_is_off_by_default_and_a_level_of_its_own() {
    for (flags, level, served) in
        [(&[][..], "info", 0), (&["--access-log"], "warn", 0), (&["--access-log"], "warn,access=info", 1)]
    {
        let script = Script::run(|door| {
            let mut peer = door.accept();
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        });
        let upstream = format!("http://{}", script.address());
        let args = [&["--upstream", &upstream, "--store", "memory"], flags].concat();
        let proxy = Process::with_env(&args, &[("SEGNO_LOG", level)]);
        let mut client = proxy.client();
        client.get("/x");
        assert_eq!(client.answer().text(), "ok");
        drop(client);
        proxy.signal("TERM");
        let (_, lines) = proxy.end();
        let told: Vec<&String> = lines.iter().filter(|line| line.contains("access client=127.0.0.1")).collect();
        assert_eq!(told.len(), served, "{lines:#?}");
        assert!(told.iter().all(|line| line.contains("status=200 ") && line.contains("request=")), "{lines:#?}");
        script.end();
    }
}

#[test]
fn an_upstream_that_is_away_for_a_while_is_two_lines_of_the_log() {
    let (go, awaited) = signal();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk(event(1));
        door.close();
        peer.fin();
        awaited.take();
        door.open();
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        peer.send_chunk(event(2));
        peer.until_gone();
    });
    let mut proxy = Process::start(script.address());
    let mut client = proxy.client();
    client.open_events("/feed");
    client.until(event(1));
    let away = proxy.until_said(" is away (");
    assert!(away.contains("connection refused"), "{away}");
    go.give();
    client.until(event(2));
    let back = proxy.until_said(" is back after ");
    assert!(!back.contains("us;"), "a time that a person reads: {back}");
    drop(client);
    proxy.signal("TERM");
    let (_, lines) = proxy.end();
    assert!(lines.iter().all(|line| !line.contains("trying again")), "{lines:#?}");
    script.end();
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
fn signals_that_ask_for_no_end_end_nothing() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let mut proxy = Process::start(script.address());
    for signal in ["HUP", "USR1", "USR2", "PIPE", "HUP"] {
        proxy.signal(signal);
    }
    // A reload has a thread of its own, and an end does not wait for it.
    proxy.until_said("reloaded the configuration (SIGHUP): nothing has changed");
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.answer().text(), "ok");
    drop(client);
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("SIGUSR1")), "{lines:#?}");
    script.end();
}

/// Standard error that nobody reads and that has no room, and what keeps it open.
#[cfg(unix)]
fn full() -> (Stdio, std::os::unix::net::UnixStream) {
    let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    while near.write(&[b'.'; 4_096]).is_ok() {}
    while near.write(b".").is_ok() {}
    near.set_nonblocking(false).unwrap();
    (Stdio::from(std::os::fd::OwnedFd::from(near)), far)
}

/// The proxy's command, to listen on an address that was free just now.
#[cfg(unix)]
fn on_a_free_port(upstream: &str) -> (Command, std::net::SocketAddr) {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    command.args(["proxy", "--store", "memory", "--heal-for", "0s", "--upstream", upstream]);
    command.args(["--listen", &address.to_string()]).stdin(Stdio::null());
    (command, address)
}

#[cfg(unix)]
#[test]
fn a_standard_error_without_room_holds_up_neither_the_start_nor_the_end() {
    let (stderr, _far) = full();
    // Nobody listens there, so that each request is worth a log line.
    let (mut command, address) = on_a_free_port("http://127.0.0.1:9");
    let mut child = command.stderr(stderr).spawn().unwrap();
    for _ in 0..50 {
        let mut client = None;
        support::until("the proxy listens", || {
            client = std::net::TcpStream::connect(address).ok();
            client.is_some()
        });
        let mut client = support::Client::over(client.unwrap());
        client.get("/");
        assert!(client.head().starts_with("HTTP/1.1 502 "));
    }
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut ended = None;
    let patience = std::time::Duration::from_millis(50);
    for _ in 0..300 {
        ended = child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        support::rest(patience);
    }
    let _ = child.kill();
    assert_eq!(ended.expect("it ends, although nobody reads what it has to say").code(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_start_that_fails_ends_also_where_nobody_reads_why() {
    let (stderr, _far) = full();
    let mut child = Command::new(env!("CARGO_BIN_EXE_segno"));
    let mut child = child.args(["check", "/nowhere/segno.toml"]).stderr(stderr).spawn().unwrap();
    let mut ended = None;
    for _ in 0..300 {
        ended = child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        support::rest(std::time::Duration::from_millis(50));
    }
    let _ = child.kill();
    assert_eq!(ended.expect("it ends").code(), Some(2));
}

#[test]
fn a_log_level_that_is_none_ends_with_2_and_is_named() {
    for level in ["wran", "segno", "segno=loud", "warn,,"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
        let command = command.args(["proxy", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"]);
        let out = command.args(["--store", "memory"]).env("SEGNO_LOG", level).stdin(Stdio::null()).output().unwrap();
        let told = text(&out.stderr);
        assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), ""), "{level}: {told}");
        assert!(told.starts_with("segno: `SEGNO_LOG`: ") && told.contains("warn"), "{level}: {told}");
    }
}

#[test]
fn a_store_that_cannot_be_is_refused_without_its_password() {
    for args in [
        &["proxy", "--upstream", "http://127.0.0.1:1", "--store"][..],
        &["tail", "http://127.0.0.1:1/", "--cursor", "x", "--store"],
        &["sessions", "--store"],
    ] {
        let out = segno(&[args, &["redis://me:hush@127.0.0.1:port"]].concat(), "");
        let told = text(&out.stderr);
        assert!(matches!(out.status.code(), Some(1 | 2)) && out.stdout.is_empty(), "{told}");
        match cfg!(feature = "redis") {
            true => assert!(told.contains("is no port"), "{told}"),
            false => assert!(told.contains("has no store `redis://127.0.0.1:port`"), "{told}"),
        }
        assert!(!told.contains("hush"), "{told}");
    }
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
fn check_judges_the_file_alone_and_names_the_variables_that_proxy_would_read() {
    let file = TempFile::new("variables", "[[route]]\nupstream = \"http://127.0.0.1:1\"\n");
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
        command.arg("check").args(more).arg(file.path()).env("SEGNO_LINGER", "soon").env("SEGNO_LINGRE", "1s");
        command.output().unwrap()
    };
    let alone = check(&[]);
    let note = ": note: SEGNO_LINGER was not looked at: `segno check --env` reads variables too\n";
    assert!(alone.status.success() && text(&alone.stdout).ends_with(note), "{alone:?}");
    let together = check(&["--env"]);
    assert_eq!(together.status.code(), Some(2));
    assert!(text(&together.stderr).contains("SEGNO_LINGER"), "{together:?}");
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

/// Both say the same of a configuration that cannot run: `proxy`, which refuses it, and `check`, which names it.
#[test]
fn what_proxy_refuses_check_names_in_the_same_words() {
    let folder = std::env::temp_dir().join(format!("segno-cli-{}-refused", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("empty.pem"), "").unwrap();
    std::fs::write(folder.join("torn.pem"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(folder.join("thesis"), "my thesis").unwrap();
    std::fs::write(folder.join("two.token"), "two words").unwrap();
    let ca =
        |file: String| format!("store = \"memory\"\n[[route]]\nupstream = \"https://h\"\nupstream_ca = \"{file}\"\n");
    let store = |store: String| format!("store = \"{store}\"\n[[route]]\nupstream = \"http://h\"\n");
    let token = |file: String| {
        let head = "store = \"memory\"\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
        format!("{head}admin_token_file = \"{file}\"\n[[route]]\nupstream = \"http://h\"\n")
    };
    let cases = [
        (ca(at("gone.pem")), ":4:15: "),
        (ca(at("empty.pem")), ":4:15: "),
        (ca(at("torn.pem")), ":4:15: "),
        (store(format!("redb:{}", at("no-such-folder/x.redb"))), ":1:9: "),
        (store(format!("redb:{}", folder.display())), ":1:9: "),
        (store(format!("redb:{}", at("thesis"))), ":1:9: "),
        (store("redis://me:hush@h:port".to_owned()), ":1:9: "),
        (store("redis+sentinel://me:hush@h".to_owned()), ":1:9: "),
        (token(at("gone.token")), ":4:20: "),
        (token(at("two.token")), ":4:20: "),
        (format!("{}window = 0\nheartbeet = 1\n", ca(at("gone.pem"))), ":5:10: "),
    ];
    for (content, place) in cases {
        let file = TempFile::new("refused", &content);
        let (proxy, check) = (segno(&["proxy", "--config", file.path()], ""), segno(&["check", file.path()], ""));
        let told = text(&check.stderr);
        assert_eq!((proxy.status.code(), check.status.code()), (Some(2), Some(2)), "{content}{told}");
        assert_eq!(text(&proxy.stderr), told, "{content}");
        assert!(told.lines().any(|line| line.starts_with(&(file.path().to_owned() + place))), "{content}{told}");
        assert!(!told.contains("hush"), "{told}");
        let piped = segno(&["check", "-"], &content);
        assert_eq!(text(&piped.stderr), told.replace(file.path(), "<stdin>"), "{content}");
    }
    std::fs::remove_dir_all(folder).unwrap();
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
fn a_demo_too_short_or_too_long_is_refused() {
    for time in ["0s", "999ms", "3601s"] {
        let out = segno(&["demo", "--duration", time], "");
        let told = text(&out.stderr);
        assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), ""), "{told}");
        assert!(told.contains("from 1 s to 1 h"), "{told}");
    }
}

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
    assert!(report["without"]["lost"].as_u64().unwrap() > 0, "{said}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_gives_the_counts_so_far() {
    use std::io::{BufRead, BufReader, Read};
    let mut child = Command::new(env!("CARGO_BIN_EXE_segno"))
        .args(["demo", "--duration", "10m", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("segno demo: "), "{line}");
    support::rest(std::time::Duration::from_secs(1));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!((child.wait().unwrap().code(), &report["interrupted"]), (Some(0), &true.into()), "{said}");
    assert!(report["events"].as_u64().unwrap() > 0 && report["without"]["events"].as_u64().unwrap() > 0, "{said}");
}

#[test]
fn several_upstreams_can_be_given_by_flags_alone() {
    let told = segno(&["config", "--upstreams", "http://a:1", "--upstreams", "http://b:2 weight=3"], "");
    let text = text(&told.stdout);
    assert!(told.status.success(), "{told:?}");
    assert!(text.contains("http://a:1") && text.contains("http://b:2"), "{text}");
    let none = segno(&["config"], "");
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}
