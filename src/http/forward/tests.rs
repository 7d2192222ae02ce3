//! Which headers are passed on, and which are written anew.

use super::*;
use crate::http::{HeadLimits, Method, parse_request, parse_response};

fn request(head: &str) -> RequestHead {
    parse_request(head.as_bytes(), HeadLimits::default()).unwrap()
}

fn to() -> Forwarded<'static> {
    let client = IpAddr::from([10, 0, 0, 1]);
    Forwarded { client, trusted: false, scheme: "http", host: "up:9", name: "segno-x", base_path: "" }
}

fn upstream(head: &str, options: RequestOptions<'_>) -> String {
    let mut out = Vec::new();
    write_request(&request(head), &to(), options, &mut out);
    String::from_utf8(out).unwrap()
}

fn client(method: Method, head: &str, version: Version, close: bool, extra: &[(&str, &str)]) -> String {
    let head = parse_response(head.as_bytes(), &method, HeadLimits::default()).unwrap();
    let mut out = Vec::new();
    write_response(&head, ResponseFraming::relayed(head.body, version), version, close, extra, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_is_passed_on_with_the_headers_of_a_gateway() {
    let sent = upstream("GET /e?x HTTP/1.1\r\nHost: a\r\nAccept: b\r\nX-Odd: \t c\r\n\r\n", RequestOptions::default());
    assert_eq!(
        sent,
        "GET /e?x HTTP/1.1\r\nHost: up:9\r\nAccept: b\r\nX-Odd: c\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 segno-x\r\n"
    );
}

/// A request that says much about its client.
const SAYS_MUCH: &str = "GET / HTTP/1.0\r\nX-Forwarded-For: 1.1.1.1\r\nVia: 1.1 x\r\nx-forwarded-for: 2.2.2.2\r\n\
     X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nx-forwarded-port: 443\r\nHost: a\r\n\
     Forwarded: for=1.1.1.1;host=b\r\n\r\n";

fn sent_for(trusted: bool, client: IpAddr) -> String {
    let mut out = Vec::new();
    let to = Forwarded { trusted, client, ..to() };
    write_request(&request(SAYS_MUCH), &to, RequestOptions::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn what_a_trusted_proxy_says_of_the_client_is_passed_on_and_added_to() {
    let sent = sent_for(true, to().client);
    assert!(sent.contains("\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.1\r\n"), "{sent}");
    assert!(sent.contains("\r\nVia: 1.1 x, 1.0 segno-x\r\n"), "{sent}");
    assert!(sent.contains("\r\nX-Forwarded-Proto: https\r\n") && !sent.contains("Proto: http\r\n"), "{sent}");
    assert!(sent.contains("\r\nX-Forwarded-Host: b\r\n") && !sent.contains("Host: a\r\n"), "{sent}");
    assert!(sent.contains("\r\nx-forwarded-port: 443\r\n"), "{sent}");
    assert!(sent.contains("\r\nForwarded: for=1.1.1.1;host=b, for=10.0.0.1;proto=http\r\n"), "{sent}");
    let sent = sent_for(true, "2001:db8::1".parse().unwrap());
    assert!(sent.contains(", for=\"[2001:db8::1]\";proto=http\r\n"), "{sent}");
}

#[test]
fn what_any_other_peer_says_of_the_client_is_replaced() {
    let sent = sent_for(false, to().client);
    assert_eq!(
        sent,
        "GET / HTTP/1.1\r\nHost: up:9\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: a\r\nVia: 1.1 x, 1.0 segno-x\r\n"
    );
}

#[test]
fn a_request_that_came_through_here_is_known() {
    let through = |via: &str| came_through(&request(&format!("GET / HTTP/1.0\r\n{via}\r\n")).headers, "segno-x");
    assert!(through("Via: 1.1 segno-x\r\n") && through("via: 1.0 a\r\nVia: 1.1 b,1.0  segno-x (c)\r\n"));
    assert!(through("Via: HTTP/1.1\tsegno-x\r\n"));
    assert!(!through("") && !through("Via: 1.1 segno-xy, 1.1 segno\r\n") && !through("Via: segno-x 1.1\r\n"));
}

#[test]
fn an_expectation_in_http_1_0_is_ignored_and_not_passed_on() {
    for value in ["100-continue", "200-ok"] {
        let head = |version| format!("POST / {version}\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 1\r\n\r\n");
        assert!(!upstream(&head("HTTP/1.0"), RequestOptions::default()).contains("Expect"));
    }
    let sent = upstream(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        RequestOptions::default(),
    );
    assert!(sent.contains("\r\nExpect: 100-continue\r\n"), "{sent}");
}

#[test]
fn hop_by_hop_headers_are_not_passed_on() {
    let sent = upstream(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Mine, x-forwarded-for, Host\r\nX-mine: 1\r\nKeep-Alive: 1\r\n\
         Proxy-Connection: x\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nX-Forwarded-For: 9.9.9.9\r\n\
         Proxy-Authorization: kept\r\nCookie: kept\r\n\r\n",
        RequestOptions::default(),
    );
    assert_eq!(
        sent,
        "GET / HTTP/1.1\r\nHost: up:9\r\nProxy-Authorization: kept\r\nCookie: kept\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 segno-x\r\n"
    );
}

#[test]
fn the_framing_of_a_request_is_written_anew() {
    let framing = |lines: &str| {
        let sent = upstream(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), RequestOptions::default());
        sent.split_once("segno-x\r\n").unwrap().1.to_owned()
    };
    assert_eq!(framing("Content-Length: 007\r\n"), "Content-Length: 7\r\n");
    assert_eq!(framing("Transfer-Encoding: CHUNKED\r\n"), "Transfer-Encoding: chunked\r\n");
    assert_eq!(framing(""), "Content-Length: 0\r\n");
    assert_eq!(framing("Connection: Content-Length\r\nContent-Length: 7\r\n"), "Content-Length: 7\r\n");
}

#[test]
fn a_request_can_be_written_to_heal_a_stream() {
    let options = RequestOptions {
        drop_accept_encoding: true,
        drop_last_event_id: true,
        drop_body: true,
        method: Some("GET"),
        ..RequestOptions::default()
    };
    let sent = upstream(
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nContent-Type: x\r\nExpect: 100-continue\r\n\
         Last-Event-Id: 4\r\nAccept-Encoding: gzip\r\nMcp-Session-Id: s\r\n\r\n",
        options,
    );
    assert_eq!(
        sent,
        "GET /mcp HTTP/1.1\r\nHost: up:9\r\nMcp-Session-Id: s\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 segno-x\r\n"
    );
}

#[test]
fn a_base_path_comes_before_the_target() {
    let line = |base_path, head: &str| {
        let mut out = Vec::new();
        write_request(&request(head), &Forwarded { base_path, ..to() }, RequestOptions::default(), &mut out);
        String::from_utf8(out).unwrap().split_once("\r\n").unwrap().0.to_owned()
    };
    assert_eq!(line("/api/", "GET /x HTTP/1.0\r\n\r\n"), "GET /api/x HTTP/1.1");
    assert_eq!(line("/", "GET /x HTTP/1.0\r\n\r\n"), "GET /x HTTP/1.1");
    assert_eq!(line("/api", "OPTIONS * HTTP/1.0\r\n\r\n"), "OPTIONS * HTTP/1.1");
}

#[test]
fn a_written_request_is_read_back_as_the_same() {
    let first = request("PUT /a HTTP/1.1\r\nHost: up:9\r\nA: b\r\nContent-Length: 3\r\n\r\n");
    let mut out = Vec::new();
    write_request(&first, &to(), RequestOptions::default(), &mut out);
    out.extend_from_slice(b"\r\n");
    let second = parse_request(&out, HeadLimits::default()).unwrap();
    assert_eq!((second.method, second.target, second.host), (first.method, first.target, first.host));
    assert_eq!((second.body, second.headers.get("A")), (first.body, Some(&b"b"[..])));
}

#[test]
fn a_response_is_framed_for_its_client() {
    let stream =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\n\r\n";
    assert_eq!(
        client(Method::Get, stream, Version::Http11, false, &[("Segno-Gap", "expired")]),
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nSegno-Gap: expired\r\n\r\n"
    );
    assert_eq!(
        client(Method::Get, stream, Version::Http10, false, &[]),
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    let open = "HTTP/1.0 200 OK\n\n";
    assert_eq!(
        client(Method::Get, open, Version::Http11, true, &[]),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    let fixed = "HTTP/1.1 200 OK\r\nContent-Length: 03\r\nConnection: close, X\r\nX: y\r\n\r\n";
    assert_eq!(
        client(Method::Get, fixed, Version::Http10, false, &[]),
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"
    );
}

#[test]
fn a_length_without_a_body_is_kept_where_it_means_something() {
    let head = |method, status: u16| {
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 9\r\n\r\n");
        client(method, &head, Version::Http11, false, &[]).contains("Content-Length: 9\r\n")
    };
    assert!(head(Method::Head, 200) && head(Method::Get, 304) && head(Method::Get, 200));
    assert!(!head(Method::Get, 204) && !head(Method::Get, 103));
}

#[test]
fn an_extra_header_replaces_the_upstreams() {
    let head = "HTTP/1.1 204 x\r\nsegno-gap: old\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    assert_eq!(
        client(Method::Get, head, Version::Http11, false, &[("Segno-Gap", "new")]),
        "HTTP/1.1 204 x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nSegno-Gap: new\r\n\r\n"
    );
}

#[test]
fn an_interim_response_says_nothing_about_the_connection() {
    let sent = client(Method::Get, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", Version::Http11, true, &[]);
    assert_eq!(sent, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
}

/// A head of 200 lines whose `Connection` names 25,000 others: the names are put in order once, and each line is looked for
/// in a few steps.
#[test]
fn many_options_cost_no_more_than_their_order_and_each_line_a_few_steps() {
    const OPTIONS: u64 = 25_000;
    let mut headers = Headers::new();
    let options: Vec<String> = (0..OPTIONS).map(|n| format!("x-{}", n * 7_919 % OPTIONS)).collect();
    headers.push("Connection", options.join(",").as_bytes()).unwrap();
    let before = crate::base::steps();
    let hop = Hop::of(&headers);
    let ordered = crate::base::steps() - before;
    assert!(!hop.passes("X-24999") && hop.passes("X-25000") && !hop.passes("Connection"));
    let bits = u64::from(OPTIONS.ilog2()) + 1;
    assert!(ordered <= 2 * OPTIONS * bits, "{ordered} steps to put them in order");
    let before = crate::base::steps();
    assert!((0..200).all(|n| hop.passes(&format!("Y-{n}"))));
    let looked = crate::base::steps() - before;
    assert!(looked <= 200 * (bits + 1), "{looked} steps for 200 lines");
}
