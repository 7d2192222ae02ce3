//! The rules of a gateway: which headers it passes on, and which it writes anew.
//!
//! In: a parsed head, and where it goes. Out: the head's bytes, appended to a buffer that the caller keeps.
//! Laws: hop-by-hop headers are never passed on, but for an offer of another protocol where the caller says so, and
//! neither are headers that `Connection` names; the headers that
//! frame a body are never copied but written anew; no value from a peer can add a line; what a peer says of the client
//! is passed on only if the peer is trusted.
//! Source: RFC 9110 sections 7.6.1 (`Connection`), 7.6.2 (`Max-Forwards`), 7.6.3 (`Via`), 7.8 (`Upgrade`), 8.6 (`Content-Length`); RFC 9112 sections 6 and
//! 9.3; RFC 7239 (`Forwarded`). `X-Forwarded-*` as proxies commonly write them.

use super::answer::{push_length, push_line, push_status, push_text};
use super::headers::{Headers, is_field_value};
use super::length::BodyLength;
use super::method::Version;
use super::request::{RequestHead, max_forwards};
use super::response::ResponseHead;
use crate::base::step;
use std::cmp::Ordering;
use std::io::Write as _;
use std::net::IpAddr;

/// Headers that hold for one connection only, whether or not `Connection` names them.
const HOP_BY_HOP: [&str; 8] =
    ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings"];

/// Where a request comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// The address of the peer that sent the request: the client, or a proxy in front. The unspecified one: it is not
    /// known, and upstream is told so by the word of RFC 7239, section 6.2.
    pub client: IpAddr,
    /// Whether the peer is a proxy whose word on the client is believed. What it says is passed on and added to; what
    /// any other peer says is replaced.
    pub trusted: bool,
    /// The scheme of the client's connection: `http` or `https`.
    pub scheme: &'a str,
    /// The value of `Host` for the upstream.
    pub host: &'a str,
    /// The name by which this process knows itself in `Via`: a token.
    pub name: &'a str,
    /// The path of the upstream's own URL, which is put before the target. Mostly empty. A slash at its end is ignored.
    pub base_path: &'a str,
}

/// What to leave out of a request, or to change in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions<'a> {
    /// Leave `Accept-Encoding` out, so that the stream comes as plain text.
    pub drop_accept_encoding: bool,
    /// Leave `Last-Event-ID` out. The caller may then write its own.
    pub drop_last_event_id: bool,
    /// Leave `Expect` out, because the body is already there.
    pub drop_expect: bool,
    /// Send neither a body nor the headers that describe one. For a request that heals a stream.
    pub drop_body: bool,
    /// Send this method instead of the client's.
    pub method: Option<&'a str>,
    /// Pass the client's offer of another protocol on.
    pub upgrade: bool,
    /// Send on only the headers with these names, and say nothing of the client: the answer is for others, too.
    pub only: Option<&'a [String]>,
    /// Send this as `X-Request-Id` in place of what the client sent. It must be a field's value.
    pub request_id: Option<&'a str>,
    /// Send this as `traceparent` in place of what the client sent. It must be a field's value.
    pub traceparent: Option<&'a str>,
    /// Leave `tracestate` out, since it belongs to no `traceparent` that could be read.
    pub drop_tracestate: bool,
}

/// How the body of a response to the client is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseFraming {
    /// No body. `Content-Length` is kept where it gives the length that a GET would have had (`HEAD`, 304).
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks; only to HTTP/1.1 clients.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

impl ResponseFraming {
    /// How to delimit a body that is passed on as it comes, for a client of this version.
    pub fn relayed(body: BodyLength, client: Version) -> Self {
        match (body, client) {
            (BodyLength::None, _) => Self::None,
            (BodyLength::Length(n), _) => Self::Length(n),
            (_, Version::Http11) => Self::Chunked,
            (_, Version::Http10) => Self::UntilClose,
        }
    }
}

/// Appends the head that goes upstream, without its last empty line: the caller adds lines of its own, such as
/// `Last-Event-ID`, and the empty line.
pub fn write_request(head: &RequestHead, to: &Forwarded<'_>, options: RequestOptions<'_>, out: &mut Vec<u8>) {
    push_text(out, options.method.unwrap_or(head.method.as_str()));
    out.push(b' ');
    if head.target != "*" {
        push_text(out, to.base_path.trim_end_matches('/'));
    }
    push_text(out, &head.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    push_line(out, "Host", to.host);
    let hop = Hop::of(&head.headers);
    for (name, value) in head.headers.iter() {
        if hop.passes(name) && !is_restated(name, to.trusted) && !is_dropped(name, head.version, options) {
            let counted = name.eq_ignore_ascii_case("Max-Forwards").then(|| max_forwards(head)).flatten();
            match counted {
                // Writing to a `Vec` does not fail.
                Some(n) => drop(write!(out, "Max-Forwards: {}\r\n", n.saturating_sub(1))),
                None => push_field(out, name, value),
            }
        }
    }
    if let Some(protocols) = head.upgrade.as_deref().filter(|_| options.upgrade) {
        push_line(out, "Connection", "Upgrade");
        push_line(out, "Upgrade", protocols);
    }
    if let Some(id) = options.request_id {
        push_line(out, "X-Request-Id", id);
    }
    if let Some(traceparent) = options.traceparent {
        push_line(out, "traceparent", traceparent);
    }
    push_forwarded(head, to, options, out);
    push_request_framing(head, options, out);
}

/// Whether a request header is written anew, whatever the peer sent: what says who the client is, if the peer is not
/// trusted, and always what is written as a list.
fn is_restated(name: &str, trusted: bool) -> bool {
    const ALWAYS: [&str; 5] = ["Host", "Content-Length", "X-Forwarded-For", "Forwarded", "Via"];
    let says_who = name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("X-Forwarded-"));
    !trusted && says_who || ALWAYS.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// Whether a request has come through the process with this name before (RFC 9110 section 7.6.3).
pub fn came_through(headers: &Headers, name: &str) -> bool {
    let by = |entry: &[u8]| {
        let mut words = entry.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by == name.as_bytes())
    };
    headers.tokens("Via").any(by)
}

/// Whether the options leave a request header out. `Expect` from HTTP/1.0 is left out too: it means nothing there, and
/// would mean something in HTTP/1.1 (RFC 9110 section 10.1.1).
fn is_dropped(name: &str, version: Version, options: RequestOptions<'_>) -> bool {
    let is = |wanted: &str| wanted.eq_ignore_ascii_case(name);
    let describes_body = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
    (options.drop_accept_encoding && is("Accept-Encoding"))
        || (options.drop_last_event_id && is("Last-Event-ID"))
        || ((options.drop_expect || options.drop_body || version == Version::Http10) && is("Expect"))
        || (options.drop_body && describes_body)
        || (options.request_id.is_some() && is("X-Request-Id"))
        || (options.traceparent.is_some() && is("traceparent"))
        || (options.drop_tracestate && is("tracestate"))
        || options.only.is_some_and(|only| !only.iter().any(|other| is(other)))
}

/// Appends who the client is, and that the request came through segno. `Via` names the version that the client used
/// (RFC 9110 section 7.6.3).
fn push_forwarded(head: &RequestHead, to: &Forwarded<'_>, options: RequestOptions<'_>, out: &mut Vec<u8>) {
    let client = to.client.to_canonical();
    let said = |name| options.only.is_none() && to.trusted && passes_on(&head.headers, name);
    if options.only.is_none() {
        push_list(&head.headers, "X-Forwarded-For", to.trusted, out);
        // Writing to a `Vec` does not fail.
        let _ = match client.is_unspecified() {
            true => write!(out, "unknown\r\n"),
            false => write!(out, "{client}\r\n"),
        };
    }
    if !said("X-Forwarded-Proto") {
        push_line(out, "X-Forwarded-Proto", to.scheme);
    }
    if let Some(host) = head.host.as_deref().filter(|_| !said("X-Forwarded-Host")) {
        push_line(out, "X-Forwarded-Host", host);
    }
    if said("Forwarded") {
        push_list(&head.headers, "Forwarded", true, out);
        let _ = match client {
            client if client.is_unspecified() => write!(out, "for=unknown;proto={}\r\n", to.scheme),
            IpAddr::V4(client) => write!(out, "for={client};proto={}\r\n", to.scheme),
            IpAddr::V6(client) => write!(out, "for=\"[{client}]\";proto={}\r\n", to.scheme),
        };
    }
    push_list(&head.headers, "Via", true, out);
    push_text(out, head.version.number());
    out.push(b' ');
    push_text(out, to.name);
    out.extend_from_slice(b"\r\n");
}

/// Begins a line that lists the values of `name` that are passed on, if any are. The caller adds one more value and the
/// line end.
fn push_list(headers: &Headers, name: &str, passes: bool, out: &mut Vec<u8>) {
    push_text(out, name);
    out.extend_from_slice(b": ");
    if !passes || !is_passed(headers, name) {
        return;
    }
    for value in headers.get_all(name).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

fn push_request_framing(head: &RequestHead, options: RequestOptions<'_>, out: &mut Vec<u8>) {
    if options.drop_body {
        return;
    }
    match head.body {
        BodyLength::Length(n) => push_length(out, n),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::None if options.method.is_none() && head.method.expects_content() => push_length(out, 0),
        BodyLength::None | BodyLength::UntilClose => {}
    }
}

/// Appends the head that goes to the client, with its empty line.
///
/// `client` is the client's version. `close` says whether the connection ends after this response. A header in `extra`
/// replaces all headers of that name in `head`.
pub fn write_response(
    head: &ResponseHead,
    framing: ResponseFraming,
    client: Version,
    close: bool,
    extra: &[(&str, &str)],
    out: &mut Vec<u8>,
) {
    debug_assert!(framing != ResponseFraming::Chunked || client == Version::Http11, "HTTP/1.0 has no chunks");
    push_status(out, head.status, &head.reason);
    let mut keeps_length = framing == ResponseFraming::None && !matches!(head.status, 100..=199 | 204);
    let hop = Hop::of(&head.headers);
    for (name, value) in head.headers.iter() {
        let length = name.eq_ignore_ascii_case("Content-Length");
        let replaced = extra.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if length && hop.passes(name) && std::mem::take(&mut keeps_length) {
            // Said several times alike, it is passed on once.
            push_field(out, name, value.split(|&b| b == b',').next().unwrap_or(value).trim_ascii());
        } else if hop.passes(name) && !replaced && !length {
            push_field(out, name, value);
        }
    }
    match framing {
        ResponseFraming::Length(n) => push_length(out, n),
        ResponseFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        ResponseFraming::None | ResponseFraming::UntilClose => {}
    }
    if !head.is_interim() {
        push_connection(out, client, close || framing == ResponseFraming::UntilClose);
    }
    extra.iter().for_each(|(name, value)| push_line(out, name, value));
    out.extend_from_slice(b"\r\n");
}

fn push_connection(out: &mut Vec<u8>, client: Version, close: bool) {
    match (close, client) {
        (true, _) => push_line(out, "Connection", "close"),
        (false, Version::Http10) => push_line(out, "Connection", "keep-alive"),
        (false, Version::Http11) => {}
    }
}

/// The headers that may be passed on to another connection, without those that frame the body.
pub fn end_to_end(headers: &Headers) -> impl Iterator<Item = (&str, &[u8])> {
    let hop = Hop::of(headers);
    headers.iter().filter(move |(name, _)| hop.passes(name) && !name.eq_ignore_ascii_case("Content-Length"))
}

/// Which headers of a head hold for one connection only. Made once for a head, so that one with many lines is not
/// looked through for each of them.
#[derive(Clone, Debug)]
pub struct Hop<'h> {
    /// What `Connection` names beside those that are known, in order and each once.
    named: Vec<&'h [u8]>,
}

impl<'h> Hop<'h> {
    /// Those of this head.
    pub fn of(headers: &'h Headers) -> Self {
        let is_more = |name: &&[u8]| !name.is_empty() && !is_hop_by_hop(name);
        let mut named: Vec<&[u8]> = headers.tokens("Connection").filter(is_more).collect();
        named.sort_unstable_by(|a, b| without_case(a, b));
        named.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        Self { named }
    }

    /// Whether a header may be passed on to another connection.
    pub fn passes(&self, name: &str) -> bool {
        let name = name.as_bytes();
        !is_hop_by_hop(name) && self.named.binary_search_by(|n| without_case(n, name)).is_err()
    }
}

/// The order of two names, in which capitals are small letters.
fn without_case(a: &[u8], b: &[u8]) -> Ordering {
    step();
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

fn is_hop_by_hop(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a header may be passed on to another connection. For many names of one head, see [`Hop`].
pub fn is_passed(headers: &Headers, name: &str) -> bool {
    Hop::of(headers).passes(name)
}

/// Whether the peer sent a header of this name that is passed on.
fn passes_on(headers: &Headers, name: &str) -> bool {
    headers.contains(name) && is_passed(headers, name)
}

/// Appends a header line. Its name and value must be such as [`Headers::push`] accepts.
pub fn write_line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    debug_assert!(is_field_value(value), "a value that would add a line");
    push_field(out, name, value);
}

/// Appends a header that a peer sent. It was checked when it was read.
fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
