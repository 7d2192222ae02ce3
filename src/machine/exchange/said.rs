//! What the head that goes upstream says of a request: its id, its target, its place in a trace, the page that asks.
//!
//! In: a head that segno wrote. Out: parts of it.
//! Law: nothing is kept beside the head.

use super::Request;
use crate::base::{TRACEPARENT_HEADER, TraceContext, TraceSpan};
use crate::config::Upstream;
use crate::http::Method;
use crate::machine::notice::{self, Subject};
use crate::machine::stream::head::Reads;
use crate::machine::traces::say_method;
use crate::machine::visits::REQUEST_ID;

impl Request {
    /// The value of the first line with this name in the head for upstream.
    pub(in crate::machine) fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.split(|&b| b == b'\n').skip(1).find_map(|line| {
            let (own, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b": ").filter(|_| own.eq_ignore_ascii_case(name.as_bytes()))?;
            value.strip_suffix(b"\r")
        })
    }

    /// The request, for log lines. `stream`: the number of the stream that it made.
    pub(in crate::machine) fn subject(&self, stream: Option<u64>) -> Subject {
        let target = notice::target(&String::from_utf8_lossy(self.asks_for()));
        let trace = self.place().map(|place| place.trace);
        Subject { target, stream, request: self.id().unwrap_or_default().into(), trace }
    }

    /// Its place in a trace, as upstream is told.
    pub(in crate::machine) fn place(&self) -> Option<TraceContext> {
        TraceContext::parse(self.header(TRACEPARENT_HEADER)?)
    }

    /// The same, if the request has spans here.
    pub(in crate::machine) fn recorded_place(&self) -> Option<TraceContext> {
        self.place().filter(|_| self.is_recorded)
    }

    /// The request's id.
    pub(in crate::machine) fn id(&self) -> Option<&str> {
        self.header(REQUEST_ID).and_then(|id| std::str::from_utf8(id).ok())
    }

    /// The path, without its query.
    pub(in crate::machine) fn path(&self) -> &[u8] {
        let target = self.asks_for().split(|&b| b == b' ').nth(1).unwrap_or_default();
        target.split(|&b| b == b'?').next().unwrap_or_default()
    }

    /// The page of another origin that asks, if one does.
    pub(in crate::machine) fn page(&self) -> Option<Reads<'_>> {
        Some(Reads { origin: self.header("Origin")?, path: self.path() })
    }

    /// Says of a span what is asked for, at this upstream. `tries`: attempts, this one included.
    pub(in crate::machine) fn describe(&self, span: &mut TraceSpan, upstream: &Upstream, goes_on: bool, tries: u32) {
        let method = if goes_on { &Method::Get } else { &self.method };
        say_method(span, method);
        let (scheme, path) = (upstream.scheme.as_str(), String::from_utf8_lossy(self.path()));
        span.say_now("url.full", &*notice::target(&format!("{scheme}://{}{path}", upstream.authority)));
        span.say_now("server.address", &*upstream.host);
        span.say_now("server.port", u64::from(upstream.port));
        if tries > 1 {
            span.say_now("http.request.resend_count", u64::from(tries - 1));
        }
    }

    /// Method and target as they go upstream.
    fn asks_for(&self) -> &[u8] {
        let line = memchr::memmem::find(&self.head, b" HTTP/").unwrap_or(0);
        &self.head[..line]
    }
}
