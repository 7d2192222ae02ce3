//! Messages whose end two recipients could see in different places: nobody gets the message that is hidden after them.
//!
//! In: requests and answers with such framing, each followed by a second message. Out: what upstream and the client
//! get.
//! Law: the hidden message is never taken for a request or an answer.
//! Source: RFC 9112 sections 6.3 and 11.2; Linhart, Klein, Heled, Orrin, "HTTP Request Smuggling" (2005).
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use support::process::Process;
use support::{Client, Script, signal};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";

/// Headers that give a body's end in two ways, or in a way that some programs read differently.
const HEADERS: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 0\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: 5, 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5 0\r\n",
    "Content-Length: -5\r\n",
    "Content-Length:\r\n",
    "Content-Length: 18446744073709551617\r\n",
    "Content-Length : 5\r\n",
    "Content-Length\t: 5\r\n",
    " Content-Length: 5\r\n",
    "X: 1\r\n Transfer-Encoding: chunked\r\n",
    "X: 1\rTransfer-Encoding: chunked\r\n",
    "X: 1\0\r\nContent-Length: 5\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: \x0bchunked\r\n",
];

/// Chunked bodies that some programs read differently. They follow a whole head.
const BODIES: &[&str] = &[
    "0x0\r\n\r\n",
    "-0\r\n\r\n",
    "+0\r\n\r\n",
    " 0\r\n\r\n",
    "0\n\r\n",
    "0\r\r\n",
    "5\r\nabcd\r\n\r\n0\r\n\r\n",
    "1\r\nabc0\r\n\r\n",
];

/// Sends a message that another follows. There must be one answer, an error, and the connection must end.
fn refused(mut client: Client, message: &str) {
    client.pour(format!("{message}{HIDDEN}").as_bytes());
    let answers = String::from_utf8(client.until_gone()).unwrap();
    assert!(
        ["400", "413", "501"].contains(&answers.get(9..12).unwrap_or_default()),
        "{message:?} is answered {answers:?}"
    );
    assert_eq!(answers.matches("\r\n\r\n").count(), 1, "{message:?} is answered {answers:?}");
}

#[test]
fn a_request_with_an_ambiguous_end_is_not_passed_on_and_neither_is_what_follows_it() {
    let script = Script::run(|door| {
        let mut peer = door.accept();
        let head = peer.head();
        assert!(head.starts_with("GET /sane "), "{head}");
        peer.answer("sane");
    });
    let proxy = Process::start(script.address());
    for headers in HEADERS {
        refused(proxy.client(), &format!("POST / HTTP/1.1\r\nHost: test\r\n{headers}\r\n0\r\n\r\n"));
    }
    refused(proxy.client(), "POST / HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let mut client = proxy.client();
    client.get("/sane");
    assert_eq!(client.answer().text(), "sane");
    script.end();
    proxy.assert_grown_below(8);
}

#[test]
fn a_body_with_malformed_chunks_is_refused_and_nothing_after_it_is_read_as_a_request() {
    let script = Script::run(|door| {
        loop {
            let mut peer = door.accept();
            let first = peer.first_line();
            if first.starts_with("GET /sane ") {
                peer.head();
                return peer.answer("sane");
            }
            // What had been sent before the fault was found: nothing, or a part of a request.
            let mut got = first.into_bytes();
            peer.copy_rest(&mut got);
            let got = String::from_utf8(got).unwrap();
            assert!(got.is_empty() || got.starts_with("POST / "), "upstream is asked {got:?}");
            assert!(!got.contains("/hidden") && !got.ends_with("\r\n0\r\n\r\n"), "upstream is asked {got:?}");
        }
    });
    let proxy = Process::start(script.address());
    for body in BODIES {
        refused(proxy.client(), &format!("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    }
    let mut client = proxy.client();
    client.get("/sane");
    assert_eq!(client.answer().text(), "sane");
    script.end();
}

/// Those among them by which clients see the same end, so that an answer with them is read. Its connection ends with it.
const UNDERSTOOD: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "X: 1\0\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
];

/// What leaves the end of an answer to the end of the connection, so that nothing can follow it.
const UNTIL_CLOSE: &str = "Transfer-Encoding: identity\r\n";

#[test]
fn an_answer_with_an_ambiguous_end_is_a_502_and_what_follows_it_answers_no_request() {
    let headers = || HEADERS.iter().filter(|headers| **headers != UNTIL_CLOSE);
    let script = Script::run(move |door| {
        for headers in headers() {
            let mut peer = door.accept();
            peer.head();
            let hidden = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden";
            peer.pour(format!("HTTP/1.1 200 OK\r\n{headers}\r\n0\r\n\r\n{hidden}").as_bytes());
            peer.until_gone();
        }
    });
    let proxy = Process::start(script.address());
    for headers in headers() {
        let mut client = proxy.client();
        client.get("/");
        let answer = client.answer();
        let expected = if UNDERSTOOD.contains(headers) { 200 } else { 502 };
        assert_eq!(answer.status, expected, "{headers:?} is passed on as {}", answer.head);
        assert!(!answer.text().contains("hidden"), "{headers:?}: {}", answer.text());
    }
    script.end();
}

#[test]
fn what_upstream_says_unasked_on_an_idle_connection_is_nobodys_answer() {
    const UNASKED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden";
    // With the answer before, or once the connection is idle.
    for with_answer in [true, false] {
        let (say, awaited) = signal();
        let (said, heard) = signal();
        let script = Script::run(move |door| {
            let mut first = door.accept();
            first.head();
            if with_answer {
                first.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none{UNASKED}"));
            } else {
                first.answer("one");
                awaited.take();
                first.send(UNASKED);
            }
            said.give();
            let mut second = door.accept();
            second.head();
            second.answer("two");
        });
        let process = Process::start(script.address());
        let mut client = process.client();
        client.get("/one");
        assert_eq!(client.answer().text(), "one");
        say.give();
        heard.take();
        client.get("/two");
        assert_eq!(client.answer().text(), "two", "{with_answer}");
        script.end();
    }
}
