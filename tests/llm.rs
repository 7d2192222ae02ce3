//! The programs of `docs/llm.md`, each against a scripted LLM API through segno, with a relay that breaks the connection.
//!
//! In: the page's blocks; an upstream that answers once. Out: what each program prints, and how often upstream is asked.
//! Law: a program that cannot be run here is said to be skipped, and `SEGNO_REQUIRE_CLIENTS=1` makes that a failure.

#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod support;

use segno::base::Span;
use segno::config::Ids;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use support::{Proxy, Script};

const PAGE: &str = include_str!("../docs/llm.md");

/// Words of the answer.
const WORDS: usize = 40;

/// The program of the page in this language.
fn program(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect("the page has such a block");
    rest.split_once("```").expect("the block ends").0
}

/// Whether a program can be run here. If not, that was said.
fn is_here(command: &str, arguments: &[&str]) -> bool {
    let run = Command::new(command).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_here = run.is_ok_and(|status| status.success());
    if !is_here {
        let required = std::env::var("SEGNO_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(!required, "{command} is not here, and SEGNO_REQUIRE_CLIENTS is set");
        eprintln!("skipped: {command} is not here");
    }
    is_here
}

/// Passes connections on, and breaks each of the first ones inside the event of that number among those that it passed.
fn relay(to: SocketAddr, breaks: &'static [usize]) -> SocketAddr {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    thread::spawn(move || {
        for most in breaks.iter().copied().chain(std::iter::repeat(usize::MAX)) {
            let Ok((client, _)) = door.accept() else { return };
            let segno = TcpStream::connect(to).unwrap();
            let (mut from, mut up) = (client.try_clone().unwrap(), segno.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut from, &mut up));
            thread::spawn(move || pass(segno, client, most));
        }
    });
    address
}

fn pass(mut segno: TcpStream, mut client: TcpStream, most: usize) {
    let (mut passed, mut piece) = (Vec::new(), [0; 7]);
    while let Ok(n @ 1..) = segno.read(&mut piece) {
        passed.extend_from_slice(&piece[..n]);
        let events = passed.windows(6).filter(|text| text == b"data: ").count();
        if client.write_all(&piece[..n]).is_err() || events >= most {
            break;
        }
    }
    // Either may have gone by itself.
    let _ = client.shutdown(Shutdown::Both);
    let _ = segno.shutdown(Shutdown::Both);
}

/// Runs a program of the page, and returns what it printed. Its connection breaks three times, first before anything has
/// come; upstream is asked once.
fn run(name: &str, language: &str, command: &str) -> String {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        let head = peer.head();
        assert!(head.starts_with("POST /v1/chat/completions ") && !head.contains("Accept-Encoding"), "{head}");
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        peer.body(length.unwrap(), |_, _| {});
        peer.begin_stream();
        for n in 1..=WORDS {
            peer.send_chunk(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"w{n} \"}}}}]}}\n\n"));
        }
        peer.send_chunk("data: [DONE]\n\n");
        peer.send_last_chunk();
        peer.until_gone();
        assert!(door.nobody_waits(), "upstream is asked twice");
    });
    let proxy = Proxy::with(script.address(), |route| {
        route.ids = Ids::Auto;
        route.linger = Span::from_secs(30);
        route.idempotent = true;
    });
    let address = relay(proxy.address(), &[0, 5, 9]);
    let folder = std::env::temp_dir().join(format!("segno-llm-{}-{}", name.replace('.', "-"), std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), program(language)).unwrap();
    let mut command = Command::new(command);
    let output = command.arg(name).arg(format!("http://{address}")).current_dir(&folder).output().unwrap();
    let said =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{said:?}");
    fs::remove_dir_all(&folder).unwrap();
    drop(proxy);
    script.end();
    said.0
}

/// The whole answer, each word once.
fn whole() -> String {
    (1..=WORDS).map(|n| format!("w{n} ")).collect()
}

#[test]
fn the_program_in_python_goes_on_with_a_broken_answer() {
    if is_here("python3", &["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]) {
        assert_eq!(run("ask.py", "python", "python3").trim_end_matches('\n'), whole());
    }
}

#[test]
fn the_program_in_typescript_goes_on_with_a_broken_answer() {
    if is_here("node", &["-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"]) {
        assert_eq!(run("ask.mjs", "typescript", "node").trim_end_matches('\n'), whole());
    }
}

#[test]
fn the_program_with_curl_goes_on_with_a_broken_answer() {
    if is_here("curl", &["--version"]) {
        let said = run("ask.sh", "shellscript", "sh");
        let words: Vec<&str> = said.lines().filter_map(|line| line.split('"').nth(7)).collect();
        assert_eq!(words.concat(), whole(), "{said}");
    }
}
