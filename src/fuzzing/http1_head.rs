//! Heads of requests and responses: they are found and read in the same way however they are cut, and can be passed on.
//!
//! In: the kind of head, limits, the sizes of the pieces, the bytes. Out: a panic if a property does not hold.
//! Laws: the end of a head does not depend on the cuts; no bytes cause a panic; an accepted head is within the limits;
//! a head that is passed on is read back with the same meaning, and passing it on again changes no end-to-end header.

use super::chunks::Chunks;
use crate::http::{
    BodyLength, Forwarded, HeadFinder, HeadLimits, Headers, Method, RequestHead, RequestOptions, ResponseFraming,
    ResponseHead, Version, parse_request, parse_response, write_request, write_response,
};
use std::net::{IpAddr, Ipv4Addr};

const WIDE: HeadLimits = HeadLimits { bytes: 1 << 20, headers: 10_000 };

/// The target's body.
pub fn http1_head(data: &[u8]) {
    let [kind, limit, rest @ ..] = data else { return };
    let chunks = Chunks::new(rest);
    let limits = match limit {
        0..=127 => HeadLimits::default(),
        _ => HeadLimits { bytes: usize::from(*limit), headers: usize::from(limit % 8) },
    };
    let Some(head) = find(&chunks) else {
        // Even a head that is not whole must not cause a panic.
        let _ = (parse_request(chunks.text, limits), parse_response(chunks.text, &Method::Get, limits));
        return;
    };
    if kind % 2 == 0 {
        if let Ok(read) = parse_request(head, limits) {
            assert!(head.len() <= limits.bytes && read.headers.len() <= limits.headers);
            pass_request_on(&read, kind / 2);
        }
    } else {
        let method = [Method::Get, Method::Head, Method::Post][usize::from(kind / 2 % 3)].clone();
        if let Ok(read) = parse_response(head, &method, limits) {
            assert!(head.len() <= limits.bytes && read.headers.len() <= limits.headers);
            pass_response_on(&read, &method, kind / 6);
        }
    }
}

/// The first head of the text, if it is whole. The finder must give the same end whether it sees the text grow or sees
/// all of it at once.
fn find<'a>(chunks: &Chunks<'a>) -> Option<&'a [u8]> {
    let (mut finder, mut whole) = (HeadFinder::new(), HeadFinder::new());
    let end = whole.find(chunks.text);
    let grown = chunks.cuts().into_iter().find_map(|cut| finder.find(&chunks.text[..cut]));
    assert_eq!(grown, end, "the end depends on the cuts");
    assert_eq!((finder.skip(), finder.has_begun()), (whole.skip(), whole.has_begun()));
    let head = &chunks.text[whole.skip()..end?];
    assert!(head.ends_with(b"\n") && whole.skip() <= chunks.text.len());
    Some(head)
}

fn pass_request_on(head: &RequestHead, flags: u8) {
    let to = Forwarded {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted: flags & 64 != 0,
        scheme: "http",
        host: "up.example:81",
        name: "segno-fuzz",
        base_path: if flags & 1 == 0 { "" } else { "/base/" },
    };
    let options = RequestOptions {
        drop_accept_encoding: flags & 2 != 0,
        drop_last_event_id: flags & 4 != 0,
        drop_expect: flags & 8 != 0,
        drop_body: flags & 16 != 0,
        // Another method is sent only to heal a stream, and no stream has the target `*`.
        method: (flags & 32 != 0 && head.target != "*").then_some("GET"),
        upgrade: flags & 64 != 0,
        only: None,
        request_id: None,
        traceparent: None,
        drop_tracestate: flags & 128 != 0,
    };
    let again = |head: &RequestHead, to: &Forwarded<'_>, options| {
        let mut out = Vec::new();
        write_request(head, to, options, &mut out);
        out.extend_from_slice(b"\r\n");
        let read = parse_request(&out, WIDE);
        read.unwrap_or_else(|why| panic!("a head that was passed on is refused: {why}: {}", out.escape_ascii()))
    };
    let first = again(head, &to, options);
    let base = if head.target == "*" { "" } else { to.base_path.trim_end_matches('/') };
    assert_eq!(first.target, format!("{base}{}", head.target));
    assert_eq!(first.method.as_str(), options.method.unwrap_or(head.method.as_str()));
    assert_eq!(first.host.as_deref(), Some(to.host));
    let body = if options.drop_body { BodyLength::None } else { head.body };
    assert_eq!(length(first.body), length(body));
    assert!(!(options.drop_last_event_id && first.headers.contains("Last-Event-ID")));
    assert!(!(options.drop_accept_encoding && first.headers.contains("Accept-Encoding")));
    let second = again(&first, &Forwarded { base_path: "", ..to }, options);
    assert_eq!((&second.target, &second.method, second.body), (&first.target, &first.method, first.body));
    assert_eq!(end_to_end(&second.headers), end_to_end(&first.headers));
}

/// Treats a body of zero bytes as no body: for the recipient they are the same.
fn length(body: BodyLength) -> BodyLength {
    if body == BodyLength::Length(0) { BodyLength::None } else { body }
}

/// The end-to-end headers: all but those that a hop may change. A header that has the name of a connection option is
/// not end-to-end (RFC 9110 section 7.6.1).
fn end_to_end(headers: &Headers) -> Vec<(String, Vec<u8>)> {
    const CHANGED_BY_HOPS: [&str; 10] = [
        "via",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "host",
        "content-length",
        "transfer-encoding",
        "close",
        "connection",
    ];
    let lines = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()));
    lines.filter(|(name, _)| !CHANGED_BY_HOPS.contains(&name.as_str())).collect()
}

fn pass_response_on(head: &ResponseHead, method: &Method, flags: u8) {
    let client = if flags & 1 == 0 { Version::Http11 } else { Version::Http10 };
    let close = flags & 2 != 0;
    let extra: &[(&str, &str)] = if flags & 4 == 0 { &[] } else { &[("Segno-Gap", "evicted"), ("Cache-Control", "x")] };
    let again = |head: &ResponseHead| {
        let mut out = Vec::new();
        write_response(head, ResponseFraming::relayed(head.body, client), client, close, extra, &mut out);
        let read = parse_response(&out, method, WIDE);
        read.unwrap_or_else(|why| panic!("a head that was passed on is refused: {why}: {}", out.escape_ascii()))
    };
    let first = again(head);
    assert_eq!((first.status, first.is_interim()), (head.status, head.is_interim()));
    let framing = ResponseFraming::relayed(head.body, client);
    let body = match framing {
        ResponseFraming::None => BodyLength::None,
        ResponseFraming::Length(n) => BodyLength::Length(n),
        ResponseFraming::Chunked => BodyLength::Chunked,
        ResponseFraming::UntilClose => BodyLength::UntilClose,
    };
    assert_eq!(first.body, body);
    for (name, value) in extra {
        assert_eq!(first.headers.get_all(name).collect::<Vec<_>>(), [value.as_bytes()]);
    }
    let second = again(&first);
    assert_eq!((second.status, &second.reason, second.body), (first.status, &first.reason, first.body));
    assert_eq!(end_to_end(&second.headers), end_to_end(&first.headers));
}
