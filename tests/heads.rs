//! Heads as servers really send them: what a client gets directly, it gets through the proxy.
//!
//! In: answers with unusual heads, each asked for directly and through the proxy. Out: status lines, headers and bodies.
//! Law: what a client sees of an answer does not depend on the proxy, but for how the body is framed.
//! Source: RFC 9112 sections 4, 6.1; RFC 9110 sections 5.4, 8.6.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::net::SocketAddr;
use support::process::Process;
use support::{Client, Script};

/// What a client gets: the status line behind the version, one header, the body without its framing.
type Got = (Vec<u8>, Option<Vec<u8>>, Vec<u8>);

fn ask(to: SocketAddr, wanted: &str) -> Got {
    let mut client = Client::connect(to);
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let all = client.until_gone();
    let end = memchr::memmem::find(&all, b"\r\n\r\n").expect("a whole head");
    let (head, mut body) = (&all[..end], &all[end + 4..]);
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status = lines.next().unwrap()["HTTP/1.1 ".len()..].to_vec();
    let lines: Vec<&[u8]> = lines.collect();
    let value = |name: &str| {
        lines.iter().find_map(|line| {
            let (n, value) = line.split_at_checked(name.len())?;
            n.eq_ignore_ascii_case(name.as_bytes()).then(|| value.strip_prefix(b": ").map(<[u8]>::to_vec))?
        })
    };
    let mut whole = Vec::new();
    match value("Transfer-Encoding") {
        Some(_) => {
            while let Some(chunk) = support::client::read_chunk(&mut body).expect("whole chunks") {
                whole.extend(chunk);
            }
        }
        None => whole.extend_from_slice(body),
    }
    (status, value(wanted), whole)
}

/// Asks for an answer twice, directly and through the proxy, and compares.
#[track_caller]
fn same(answer: &[u8], wanted: &str) -> Got {
    let script = {
        let answer = answer.to_vec();
        Script::run(move |door| {
            for _ in 0..2 {
                let mut peer = door.accept();
                peer.head();
                peer.send(&answer);
                drop(peer);
            }
        })
    };
    let direct = ask(script.address(), wanted);
    let proxy = Process::start(script.address());
    let through = ask(proxy.address(), wanted);
    let short = |got: &Got| format!("{} {}", got.0.escape_ascii(), got.2.escape_ascii());
    assert_eq!(through, direct, "{} and not {}", short(&through), short(&direct));
    script.end();
    direct
}

#[test]
fn words_behind_a_status_in_any_encoding() {
    for words in [&b"D\xe9sol\xe9"[..], "D\u{e9}sol\u{e9}".as_bytes(), b""] {
        let got = same(&[b"HTTP/1.1 404 ", words, b"\r\nContent-Length: 2\r\n\r\nno"].concat(), "");
        assert_eq!(got.0, [b"404 ", words].concat());
    }
}

#[test]
fn many_header_lines_and_long_ones() {
    let lines: String = (0..1_500).map(|n| format!("Set-Cookie: a{n}=b\r\n")).collect();
    let got = same(format!("HTTP/1.1 200 OK\r\n{lines}X-Last: 1\r\nContent-Length: 2\r\n\r\nok").as_bytes(), "X-Last");
    assert_eq!(got.1, Some(b"1".to_vec()));
    let long = "x".repeat(300_000);
    let got = same(format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 2\r\n\r\nok").as_bytes(), "X-Long");
    assert_eq!(got.1.map(|value| value.len()), Some(long.len()));
}

#[test]
fn chunks_from_a_server_that_calls_itself_http_1_0() {
    let answer = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(same(answer.as_bytes(), "").2, b"hello");
}
