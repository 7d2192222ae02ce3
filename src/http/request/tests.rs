//! Request heads: which are read, and which are refused because two recipients could read them differently.

use super::*;
use crate::http::HeadFinder;

fn parse(head: &str) -> Result<RequestHead, HeadError> {
    parse_request(head.as_bytes(), HeadLimits::default())
}

fn with(lines: &str) -> Result<RequestHead, HeadError> {
    parse(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

fn text(bytes: &str) -> Box<str> {
    excerpt(bytes.as_bytes())
}

#[test]
fn a_plain_request_is_read() {
    let head = parse("GET /events?a=b HTTP/1.1\r\nHost: a.example:80\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    assert_eq!((head.method, head.target.as_str()), (Method::Get, "/events?a=b"));
    assert_eq!((head.host.as_deref(), head.version), (Some("a.example:80"), Version::Http11));
    assert_eq!((head.body, head.keep_alive, head.expect_continue), (BodyLength::None, true, false));
    assert_eq!(head.headers.len(), 2);
}

#[test]
fn an_absolute_target_names_the_host() {
    let head = parse("GET http://b:1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((head.host.as_deref(), head.target.as_str()), (Some("b:1"), "/x"));
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    assert_eq!(parse("\r\n\r\nGET / HTTP/1.0\r\n\r\n").unwrap().target, "/");
    assert_eq!(parse("\nGET / HTTP/1.0\r\n\r\n"), Err(HeadError::BareLf { line: 1 }));
}

#[test]
fn every_split_of_a_head_gives_the_same_request() {
    let whole = "\r\nPOST http://h/p?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: \u{e9}\r\n\r\n".as_bytes();
    let expected = parse_request(whole, HeadLimits::default()).unwrap();
    let bytes = [whole, b"hello"].concat();
    for cut in 0..=bytes.len() {
        let mut finder = HeadFinder::new();
        let end = finder.find(&bytes[..cut]).or_else(|| finder.find(&bytes)).unwrap();
        assert_eq!(end, whole.len());
        let head = parse_request(&bytes[finder.skip()..end], HeadLimits::default());
        assert_eq!(head.as_ref(), Ok(&expected), "{cut}");
    }
}

#[test]
fn the_framing_is_what_one_header_says() {
    assert_eq!(with("").unwrap().body, BodyLength::None);
    assert_eq!(with("Content-Length: 0\r\n").unwrap().body, BodyLength::Length(0));
    assert_eq!(with("content-length:  0042\t\r\n").unwrap().body, BodyLength::Length(42));
    assert_eq!(with("Content-Length: 18446744073709551615\r\n").unwrap().body, BodyLength::Length(u64::MAX));
    assert_eq!(with("Content-Length: 9223372036854775808\r\n").unwrap().body, BodyLength::Length(1 << 63));
    assert_eq!(with("Transfer-Encoding: Chunked\r\n").unwrap().body, BodyLength::Chunked);
}

#[test]
fn ambiguous_framing_is_refused() {
    let cases = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::BothFramings),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", HeadError::BothFramings),
        ("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", HeadError::BothFramings),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", HeadError::BothFramings),
        ("Transfer-Encoding:\r\nContent-Length: 5\r\n", HeadError::BothFramings),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::ContentLengthRepeated),
        ("Content-Length: 5\r\nCONTENT-LENGTH: 5\r\n", HeadError::ContentLengthRepeated),
        ("Content-Length: 5, 5\r\n", HeadError::ContentLength(text("5, 5"))),
        ("Content-Length: 5,6\r\n", HeadError::ContentLength(text("5,6"))),
        ("Content-Length:\r\n", HeadError::ContentLength(text(""))),
        ("Content-Length: +5\r\n", HeadError::ContentLength(text("+5"))),
        ("Content-Length: -5\r\n", HeadError::ContentLength(text("-5"))),
        ("Content-Length: 0x5\r\n", HeadError::ContentLength(text("0x5"))),
        ("Content-Length: 5 5\r\n", HeadError::ContentLength(text("5 5"))),
        ("Content-Length: 5.0\r\n", HeadError::ContentLength(text("5.0"))),
        ("Content-Length: \u{661}\r\n", HeadError::ContentLength(text("\u{661}"))),
        ("Content-Length: 18446744073709551616\r\n", HeadError::ContentLengthTooLarge),
        ("Content-Length: 99999999999999999999999\r\n", HeadError::ContentLengthTooLarge),
        ("Transfer-Encoding: gzip\r\n", HeadError::TransferCoding(text("gzip"))),
        ("Transfer-Encoding: identity\r\n", HeadError::TransferCoding(text("identity"))),
        ("Transfer-Encoding: xchunked\r\n", HeadError::TransferCoding(text("xchunked"))),
        ("Transfer-Encoding: \"chunked\"\r\n", HeadError::TransferCoding(text("\"chunked\""))),
        ("Transfer-Encoding: chunked;q=1\r\n", HeadError::TransferCoding(text("chunked;q=1"))),
        ("Transfer-Encoding: chunked, gzip\r\n", HeadError::TransferCoding(text("gzip"))),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", HeadError::TransferCoding(text("x"))),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::ChunkedNotOnce),
        ("Transfer-Encoding: chunked, chunked\r\n", HeadError::ChunkedNotOnce),
        ("Transfer-Encoding: ,chunked\r\n", HeadError::ChunkedNotOnce),
        ("Transfer-Encoding:\r\n", HeadError::ChunkedNotOnce),
        ("Transfer-Encoding: \x0bchunked\r\n", HeadError::Control { line: 3, byte: 0x0b }),
        ("Transfer-Encoding : chunked\r\n", HeadError::SpaceBeforeColon { line: 3 }),
        ("X: a\r\n Transfer-Encoding: chunked\r\n", HeadError::Folded { line: 4 }),
        ("Transfer-Encoding:\r\n chunked\r\n", HeadError::Folded { line: 4 }),
        ("X: a\rTransfer-Encoding: chunked\r\n", HeadError::BareCr { line: 3 }),
        ("X: a\nTransfer-Encoding: chunked\r\n", HeadError::BareLf { line: 3 }),
        ("X: a\0\r\nTransfer-Encoding: chunked\r\n", HeadError::Control { line: 3, byte: 0 }),
    ];
    for (lines, error) in cases {
        assert_eq!(with(lines), Err(error), "{lines:?}");
    }
}

#[test]
fn http_1_0_has_no_chunks() {
    let head = parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(head, Err(HeadError::TransferEncodingIn10));
}

#[test]
fn a_first_line_has_three_words_and_two_spaces() {
    let bad = [
        "GET /\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /  HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / x HTTP/1.1\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET / HTTP/1.10\r\n\r\n",
        "GET / HTTP/11\r\n\r\n",
        "GET / HTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ];
    for head in bad {
        assert!(matches!(parse(head), Err(HeadError::RequestLine(_))), "{head:?} {:?}", parse(head));
    }
    assert_eq!(parse("GET\t/ HTTP/1.1\r\n\r\n").unwrap_err().status(), 400);
    assert_eq!(parse("GET /\x01 HTTP/1.1\r\n\r\n"), Err(HeadError::Control { line: 1, byte: 1 }));
    assert_eq!(parse("GET / HTTP/1.1\r\r\n\r\n"), Err(HeadError::BareCr { line: 1 }));
    assert_eq!(parse("GET / HTTP/1.1\nHost: a\r\n\r\n"), Err(HeadError::BareLf { line: 1 }));
}

#[test]
fn other_versions_are_refused_by_name() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.1"] {
        assert_eq!(parse(&format!("PRI * {version}\r\n\r\n")), Err(HeadError::Version(text(version))));
    }
}

#[test]
fn a_request_needs_one_valid_host() {
    assert_eq!(parse("GET / HTTP/1.1\r\n\r\n"), Err(HeadError::HostMissing));
    assert_eq!(parse("GET http://a/ HTTP/1.1\r\n\r\n"), Err(HeadError::HostMissing));
    assert_eq!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().host, None);
    assert_eq!(with("host: a\r\n"), Err(HeadError::HostRepeated));
    assert_eq!(parse("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Err(HeadError::HostRepeated));
    for bad in ["", "a b", "a/b", "u@a", "a, b", "a:b", "a\"b"] {
        let head = parse(&format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n"));
        assert_eq!(head, Err(HeadError::Host(text(bad))), "{bad}");
    }
}

#[test]
fn connect_is_not_offered_and_of_upgrades_those_that_a_proxy_can_pass_on() {
    assert_eq!(parse("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), Err(HeadError::Connect));
    let offers = |lines: &str| with(lines).unwrap().upgrade;
    assert_eq!(offers("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").as_deref(), Some("websocket"));
    assert_eq!(offers("Connection: Upgrade\r\nUpgrade: h2c, a/1,\r\nUpgrade: b\r\n").as_deref(), Some("a/1, b"));
    for none in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AA\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: , h2c,\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade-Insecure-Requests: 1\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(offers(none), None, "{none}");
    }
    let old = parse("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.unwrap().upgrade, None);
}

#[test]
fn only_options_and_trace_are_counted_down() {
    let forwards = |method: &str, value: &str| {
        max_forwards(&parse(&format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n")).unwrap())
    };
    assert_eq!((forwards("TRACE", "0"), forwards("OPTIONS", "12")), (Some(0), Some(12)));
    assert_eq!((forwards("GET", "0"), forwards("OPTIONS", "-1"), forwards("OPTIONS", "+1")), (None, None, None));
    assert_eq!((forwards("OPTIONS", ""), forwards("OPTIONS", "99999999999")), (None, None));
}

#[test]
fn only_one_expectation_is_known() {
    assert!(with("Expect: 100-Continue\r\n").unwrap().expect_continue);
    assert!(!with("Expect:\r\n").unwrap().expect_continue);
    assert_eq!(with("Expect: cake\r\n"), Err(HeadError::Expect(text("cake"))));
    assert!(!parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap().expect_continue);
}

#[test]
fn version_and_option_decide_whether_a_connection_is_kept() {
    let keeps =
        |version: &str, lines: &str| parse(&format!("GET / {version}\r\nHost: a\r\n{lines}\r\n")).unwrap().keep_alive;
    assert!(keeps("HTTP/1.1", ""));
    assert!(!keeps("HTTP/1.1", "Connection: Close\r\n"));
    assert!(!keeps("HTTP/1.1", "Connection: keep-alive\r\nConnection: x, close\r\n"));
    assert!(!keeps("HTTP/1.0", ""));
    assert!(keeps("HTTP/1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keeps("HTTP/1.0", "Proxy-Connection: keep-alive\r\n"));
}

#[test]
fn each_bound_has_its_own_error() {
    let limits = HeadLimits { bytes: 100, headers: 3 };
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200));
    assert_eq!(parse_request(long.as_bytes(), limits), Err(HeadError::RequestLineTooLong { limit: 100 }));
    let wide = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100));
    assert_eq!(parse_request(wide.as_bytes(), limits), Err(HeadError::TooLong { limit: 100 }));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(3));
    assert_eq!(parse_request(many.as_bytes(), limits), Err(HeadError::TooManyHeaders { limit: 3 }));
    let options = with(&format!("Connection: a{}\r\n", ",a".repeat(64)));
    assert_eq!(options, Err(HeadError::TooManyOptions { limit: 64 }));
}

#[test]
fn every_error_has_its_status() {
    let status = |head: &str| parse(head).unwrap_err().status();
    assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), 505);
    assert_eq!(status("CONNECT a:1 HTTP/1.1\r\n\r\n"), 501);
    assert_eq!(with("Transfer-Encoding: gzip\r\n").unwrap_err().status(), 501);
    assert_eq!(with("Content-Length: 99999999999999999999\r\n").unwrap_err().status(), 413);
    assert_eq!(with("Expect: x\r\n").unwrap_err().status(), 417);
    assert_eq!(with("Host: a\r\n").unwrap_err().status(), 400);
    assert_eq!(with(&"A: b\r\n".repeat(2_001)).unwrap_err().status(), 431);
    let limits = HeadLimits { bytes: 10, headers: 1 };
    assert_eq!(parse_request(b"GET /long HTTP/1.1\r\n\r\n", limits).unwrap_err().status(), 414);
}

#[test]
fn damaged_heads_are_errors_and_not_panics() {
    let good = b"POST http://h:1/p HTTP/1.1\r\nHost: [::1]:8\r\nContent-Length: 5\r\nConnection: a, b\r\n\r\n";
    let mut random = crate::base::Random::new(11);
    for _ in 0..20_000 {
        let mut head = good.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(head.len() as u64) as usize;
            match random.below(3) {
                0 => head[at] = b"\r\n\0 \t:,/%[]a5\xff"[random.below(14) as usize],
                1 => drop(head.remove(at)),
                _ => head.insert(at, b"\r\n :5h"[random.below(6) as usize]),
            }
        }
        if let Ok(read) = parse_request(&head, HeadLimits::default()) {
            assert!(read.headers.iter().all(|(_, v)| !v.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))));
        }
    }
}
