//! Heads of requests and responses: found and read the same however they come, and sound when written again.
//!
//! In: whose head, limits, sizes of pieces, the bytes. Properties: the end of a head does not depend on the cuts; no bytes
//! make a panic; what is read stays within the limits; a head that is passed on is read back with the same meaning, and
//! passing it on once more changes nothing that belongs to the ends.

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
        // Whatever a caller makes of a head that is not whole, it is no panic.
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

/// The first head of the text, if it is whole: the same whether the finder sees it grow or sees all of it at once.
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
        scheme: "http",
        upstream_host: "up.example:81",
        base_path: if flags & 1 == 0 { "" } else { "/base/" },
    };
    let options = RequestOptions {
        drop_accept_encoding: flags & 2 != 0,
        drop_last_event_id: flags & 4 != 0,
        drop_expect: flags & 8 != 0,
        drop_body: flags & 16 != 0,
        // No `*` is ever sent with another method: that is for streams alone.
        method: (flags & 32 != 0 && head.target != "*").then_some("GET"),
    };
    let again = |head: &RequestHead, to: &Forwarded<'_>, options| {
        let mut out = Vec::new();
        write_request(head, to, options, &mut out);
        out.extend_from_slice(b"\r\n");
        let read = parse_request(&out, WIDE);
        read.unwrap_or_else(|why| panic!("what is passed on is refused: {why}: {}", out.escape_ascii()))
    };
    let first = again(head, &to, options);
    let base = if head.target == "*" { "" } else { to.base_path.trim_end_matches('/') };
    assert_eq!(first.target, format!("{base}{}", head.target));
    assert_eq!(first.method.as_str(), options.method.unwrap_or(head.method.as_str()));
    assert_eq!(first.host.as_deref(), Some(to.upstream_host));
    let body = if options.drop_body { BodyLength::None } else { head.body };
    assert_eq!(length(first.body), length(body));
    assert!(!(options.drop_last_event_id && first.headers.contains("Last-Event-ID")));
    assert!(!(options.drop_accept_encoding && first.headers.contains("Accept-Encoding")));
    let second = again(&first, &Forwarded { base_path: "", ..to }, options);
    assert_eq!((&second.target, &second.method, second.body), (&first.target, &first.method, first.body));
    assert_eq!(ends(&second.headers), ends(&first.headers));
}

/// No body and one of no bytes are the same to the other side.
fn length(body: BodyLength) -> BodyLength {
    if body == BodyLength::Length(0) { BodyLength::None } else { body }
}

/// The lines that belong to the ends of the way. Those with a connection option's own name may not (RFC 9110, 7.6.1).
fn ends(headers: &Headers) -> Vec<(String, Vec<u8>)> {
    const OF_THE_WAY: [&str; 9] = [
        "via",
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
    lines.filter(|(name, _)| !OF_THE_WAY.contains(&name.as_str())).collect()
}

fn pass_response_on(head: &ResponseHead, method: &Method, flags: u8) {
    let client = if flags & 1 == 0 { Version::Http11 } else { Version::Http10 };
    let close = flags & 2 != 0;
    let extra: &[(&str, &str)] = if flags & 4 == 0 { &[] } else { &[("Segno-Gap", "evicted"), ("Cache-Control", "x")] };
    let again = |head: &ResponseHead| {
        let mut out = Vec::new();
        write_response(head, ResponseFraming::relayed(head.body, client), client, close, extra, &mut out);
        let read = parse_response(&out, method, WIDE);
        read.unwrap_or_else(|why| panic!("what is passed on is refused: {why}: {}", out.escape_ascii()))
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
    assert_eq!(ends(&second.headers), ends(&first.headers));
}
