//! Response heads: status lines, lengths by status and method, and what is refused.

use super::*;

fn parse(head: &str) -> Result<ResponseHead, HeadError> {
    parse_response(head.as_bytes(), &Method::Get, HeadLimits::default())
}

fn body(method: Method, status: u16, lines: &str) -> Result<BodyLength, HeadError> {
    let head = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
    parse_response(head.as_bytes(), &method, HeadLimits::default()).map(|head| head.body)
}

#[test]
fn a_plain_response_is_read() {
    let head =
        parse("HTTP/1.1 200 All is well\r\nContent-Type: text/event-stream\r\nContent-Length: 3\r\n\r\n").unwrap();
    assert_eq!((head.status, &head.reason[..], head.version), (200, &b"All is well"[..], Version::Http11));
    assert_eq!((head.body, head.keep_alive, head.is_interim()), (BodyLength::Length(3), true, false));
}

#[test]
fn a_reason_may_be_missing() {
    for head in ["HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200 \r\n\r\n", "HTTP/1.1 200\n\n"] {
        assert_eq!(parse(head).unwrap().reason, b"");
    }
}

#[test]
fn the_bytes_of_a_reason_stay_as_they_are() {
    for reason in [&b"D\xe9sol\xe9"[..], "D\u{e9}sol\u{e9}".as_bytes(), b"a\tb  c "] {
        let line = [b"HTTP/1.0 500 ", reason, b"\r\n\r\n"].concat();
        let head = parse_response(&line, &Method::Get, HeadLimits::default()).unwrap();
        assert_eq!(head.reason, reason);
        let mut out = Vec::new();
        let framing = super::super::ResponseFraming::None;
        super::super::write_response(&head, framing, Version::Http11, false, &[], &mut out);
        assert!(out.starts_with(&[b"HTTP/1.1 500 ", reason, b"\r\n"].concat()), "{}", out.escape_ascii());
    }
}

#[test]
fn other_status_lines_are_refused() {
    let bad = [
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1 099 x",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 +20 x",
        "ICY 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1",
        "",
        "GET / HTTP/1.1",
        "\u{e9}\u{e9}\u{e9}\u{e9}",
    ];
    for line in bad {
        let head = parse(&format!("{line}\r\nA: b\r\n\r\n"));
        assert_eq!(head.unwrap_err().status(), 502, "{line:?}");
    }
    assert!(matches!(parse("HTTP/2.0 200 OK\r\n\r\n"), Err(HeadError::Version(_))));
}

#[test]
fn a_switch_to_another_protocol_is_no_interim_response_and_must_have_been_offered() {
    let head = parse("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n").unwrap();
    assert_eq!((head.is_interim(), head.body), (false, BodyLength::None));
    assert!(head.switches_to("websocket") && head.switches_to("a, websocket"));
    assert!(!head.switches_to("web") && !head.switches_to(""));
    let two = parse("HTTP/1.1 101 Switching\r\nUpgrade: websocket, h2c\r\n\r\n").unwrap();
    assert!(!two.switches_to("websocket"));
    assert!(!parse("HTTP/1.1 101 Switching\r\n\r\n").unwrap().switches_to("websocket"));
    assert!(!parse("HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n").unwrap().switches_to("websocket"));
}

#[test]
fn whitespace_before_a_colon_is_taken_out_before_anything_is_read() {
    let head = parse("HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 3\r\nX-C\t: d\r\nX-B: c : d\r\n\r\n").unwrap();
    assert_eq!((head.headers.get("X-A"), head.body), (Some(&b"b"[..]), BodyLength::Length(3)));
    assert_eq!(head.headers.get("X-B"), Some(&b"c : d"[..]));
    assert_eq!(head.headers.get("X-C"), Some(&b"d"[..]));
    // Not every recipient sees such a line, so they would see the end in different places.
    for framing in ["Content-Length : 3", "transfer-encoding\t: chunked"] {
        let read = parse(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        assert_eq!(read, Err(HeadError::SpaceBeforeColon { line: 2 }));
    }
    assert!(matches!(parse("HTTP/1.1 200 OK\r\n : b\r\n\r\n"), Err(HeadError::Folded { .. })));
}

#[test]
fn some_responses_never_have_a_body() {
    for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        assert_eq!(body(Method::Head, 200, lines), Ok(BodyLength::None));
        for status in [100, 103, 204, 304] {
            assert_eq!(body(Method::Get, status, lines), Ok(BodyLength::None));
        }
    }
}

#[test]
fn without_framing_a_body_goes_on_until_close() {
    assert_eq!(body(Method::Get, 200, ""), Ok(BodyLength::UntilClose));
    assert!(!parse("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n").unwrap().keep_alive);
    assert_eq!(body(Method::Get, 200, "Transfer-Encoding: chunked\r\n"), Ok(BodyLength::Chunked));
}

#[test]
fn what_clients_read_in_spite_of_its_framing_is_read_and_its_connection_used_for_nothing_else() {
    let cases = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BodyLength::Chunked),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BodyLength::Chunked),
        ("Transfer-Encoding: Chunked, chunked\r\n", BodyLength::Chunked),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", BodyLength::Length(5)),
        ("Content-Length: 5, 5\r\n", BodyLength::Length(5)),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", BodyLength::Length(5)),
        ("Transfer-Encoding: identity\r\n", BodyLength::UntilClose),
    ];
    for (lines, expected) in cases {
        let head = parse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).expect(lines);
        assert_eq!((head.body, head.keep_alive), (expected, false), "{lines}");
    }
    // Some servers say HTTP/1.0 and send chunks, which clients take off.
    for lines in ["", "Content-Length: 9\r\n"] {
        let old = format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{lines}Transfer-Encoding: chunked\r\n\r\n");
        let head = parse(&old).unwrap();
        assert_eq!((head.body, head.keep_alive), (BodyLength::Chunked, false), "{old}");
    }
    assert!(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap().keep_alive);
    assert!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().keep_alive);
}

#[test]
fn a_length_without_a_body_that_is_said_twice_alike_is_passed_on_once() {
    for lines in ["Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5, 5\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let head = parse_response(head.as_bytes(), &Method::Head, HeadLimits::default()).unwrap();
        assert_eq!((head.body, head.keep_alive), (BodyLength::None, false));
        let mut out = Vec::new();
        let framing = super::super::ResponseFraming::None;
        super::super::write_response(&head, framing, Version::Http11, false, &[], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    for status in [200, 204, 304] {
        let differ = body(Method::Head, status, "Content-Length: 5\r\nContent-Length: 6\r\n");
        assert_eq!(differ, Err(HeadError::ContentLengthRepeated));
        let differ = body(Method::Get, status, "Content-Length: 5\r\nContent-Length: 6\r\n");
        assert_eq!(differ, Err(HeadError::ContentLengthRepeated));
    }
    assert!(body(Method::Get, 200, "Content-Length: 5,\r\n").is_err());
    // Digits alone are a length (RFC 9110 section 8.6), also where it is passed on and no body follows.
    for (method, status) in [(Method::Get, 200), (Method::Get, 304), (Method::Head, 200)] {
        let signed = body(method, status, "Content-Length: +5\r\n");
        assert_eq!(signed, Err(HeadError::ContentLength("+5".into())));
    }
    assert!(matches!(
        body(Method::Get, 200, "Transfer-Encoding: gzip, chunked\r\n"),
        Err(HeadError::TransferCoding(_))
    ));
}

#[test]
fn lines_that_are_no_headers_are_left_out_and_folded_ones_are_joined() {
    let lines = "A: b\r\n\tc\r\n  d\r\nno header\r\n: x\r\nB C: d\r\n more\r\nE: f\x01g\r\n";
    for lines in [lines.to_owned(), lines.replace("\r\n", "\n")] {
        let head = parse(&format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 3\r\n\r\n")).expect(&lines);
        let read: Vec<_> = head.headers.iter().map(|(n, v)| format!("{n}={}", String::from_utf8_lossy(v))).collect();
        assert_eq!(
            (read, head.body),
            (["A=b c d", "E=f g", "Content-Length=3"].map(str::to_owned).to_vec(), BodyLength::Length(3))
        );
    }
    // Of where the answer ends there may be no doubt.
    let framing = [
        "Content-Length: 3\r\n 4\r\n",
        "Content-Length\x01: 3\r\n",
        "Transfer Encoding: chunked\r\nA B: c\r\n",
        "Transfer-Encoding: chunked\x01\r\n",
        " Content-Length: 3\r\n",
        "Content-Length 3\r\n",
        "A: b\r\n Transfer-Encoding: chunked\r\n",
    ];
    for lines in framing {
        assert!(parse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).is_err(), "{lines}");
    }
}

#[test]
fn lines_may_end_with_lf_alone() {
    let head = parse("HTTP/1.0 200 OK\nContent-Length: 3\nConnection: keep-alive\n\n").unwrap();
    assert_eq!((head.body, head.keep_alive), (BodyLength::Length(3), true));
}

#[test]
fn damaged_heads_are_errors_and_not_panics() {
    let good = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: a, b\r\n\r\n";
    let mut random = crate::base::Random::new(12);
    for _ in 0..20_000 {
        let mut head = good.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(head.len() as u64) as usize;
            if random.below(2) == 0 {
                head[at] = random.next() as u8;
            } else {
                head.truncate(at.max(1));
            }
        }
        let _ = parse_response(&head, &Method::Get, HeadLimits::default());
    }
}
