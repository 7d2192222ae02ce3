//! The heads of event streams: which lines of upstream's head later readers get, and what segno's own heads say.
//!
//! In: heads of upstream. Out: a stream's kept lines; heads for readers that come later, or early.
//! Laws: what belongs to one client or to one answer goes to its own reader alone; a head of segno's own lets a page
//! read the stream where upstream has lately allowed it, and is not sent where that is not known; kept lines are
//! bounded, and streams whose upstream sends the same lines share them.
//! Source: the Fetch standard, section 3.3 HTTP CORS protocol (<https://fetch.spec.whatwg.org/#http-cors-protocol>);
//! RFC 9111, section 5.1 (`Age`); the MCP specification, Streamable HTTP, session management.

use crate::base::{Count, Counts};
use crate::http::{self, Headers, ResponseHead};
use crate::machine::visits::REQUEST_ID;
use crate::track::GapReason;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// Bytes of the lines that are kept of one head. A line that does not fit is left out.
const HEAD_BYTES: usize = 4 << 10;
/// Bytes of all kept heads together. Above it, a stream keeps only what a browser needs to read it.
pub(in crate::machine) const ALL_BYTES: usize = 64 << 20;
/// Different heads of one route among which a new one looks for its like.
const RECENT: usize = 8;
/// Pages whose `Access-Control-*` lines a route remembers.
const PAGES: usize = 128;
/// Bytes of an origin, of a path, and of the lines.
const ORIGIN_BYTES: usize = 256;
const PATH_BYTES: usize = 512;
const ORIGIN_LINES: usize = 1 << 10;

/// Lines that belong to one client.
const OF_ONE_CLIENT: [&str; 3] = ["Set-Cookie", "Set-Cookie2", "Mcp-Session-Id"];

/// Lines that belong to one answer: a later reader did not ask for it.
const OF_ONE_ANSWER: [&str; 12] = [
    "Date",
    "Age",
    "Segno-Gap",
    "X-Accel-Buffering",
    "Server-Timing",
    "X-Request-Id",
    "X-Correlation-Id",
    "Request-Id",
    "Traceparent",
    "CF-Ray",
    "X-Amzn-Trace-Id",
    "X-Cloud-Trace-Context",
];

/// Said in every head of an event stream, so that no proxy in front holds events back.
pub(in crate::machine) const UNBUFFERED: (&str, &str) = ("X-Accel-Buffering", "no");

/// The lines of upstream's head that every later reader of a stream gets.
pub(in crate::machine) type KeptHead = Arc<Box<[u8]>>;

/// What one route's upstream has lately said in its heads.
#[derive(Default)]
pub(in crate::machine) struct RouteHeads {
    recent: VecDeque<Weak<Box<[u8]>>>,
    pages: VecDeque<Page>,
}

/// A page of another origin that reads what lies at a path. The same origin may read one path and not another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) struct Reads<'a> {
    pub(in crate::machine) origin: &'a [u8],
    pub(in crate::machine) path: &'a [u8],
}

/// What upstream last answered to a page.
#[derive(Clone)]
struct Page {
    origin: Box<[u8]>,
    path: Box<[u8]>,
    lines: Box<[u8]>,
}

impl Page {
    fn is(&self, reads: Reads<'_>) -> bool {
        *self.path == *reads.path && *self.origin == *reads.origin
    }
}

/// What all routes' upstreams have lately said.
pub(in crate::machine) struct Heads {
    /// By the place of the route.
    routes: Vec<RouteHeads>,
    /// Bytes of all kept heads.
    bytes: usize,
}

impl Heads {
    pub(in crate::machine) fn new(routes: usize) -> Self {
        Self { routes: (0..routes).map(|_| RouteHeads::default()).collect(), bytes: 0 }
    }

    /// Makes new places for routes. One that is like another begins with what the other's upstream has answered to
    /// pages.
    pub(in crate::machine) fn make_places(&mut self, fresh: &[(usize, Option<usize>)]) {
        let pages = |like: &Option<usize>| like.and_then(|like| self.routes.get(like)).map(|known| known.pages.clone());
        let made: Vec<RouteHeads> = fresh
            .iter()
            .map(|(_, like)| RouteHeads { recent: VecDeque::new(), pages: pages(like).unwrap_or_default() })
            .collect();
        for ((place, _), made) in fresh.iter().zip(made) {
            if *place >= self.routes.len() {
                self.routes.resize_with(place + 1, RouteHeads::default);
            }
            self.routes[*place] = made;
        }
    }

    /// Bytes of all kept heads.
    pub(in crate::machine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the lines of a head that later readers need.
    pub(in crate::machine) fn keep(&mut self, route: usize, head: &ResponseHead, counts: &mut Counts) -> KeptHead {
        let Some(known) = self.routes.get_mut(route) else { return KeptHead::default() };
        known.recent.retain(|head| head.strong_count() > 0);
        let like = |kept: &[u8]| known.recent.iter().filter_map(Weak::upgrade).find(|head| ***head == *kept);
        let is_needed = |name: &str| is_about_origins(name) || is_any(name, &["Content-Type"]);
        let is_for_all = |name: &str| !is_any(name, &OF_ONE_CLIENT) && !is_any(name, &OF_ONE_ANSWER);
        let is_more = |name: &str| is_for_all(name) && !is_needed(name);
        // What a browser cannot read a stream without comes first, and so has a place.
        let mut kept = lines(&head.headers, HEAD_BYTES, is_needed);
        let left = HEAD_BYTES - kept.len();
        kept.extend(lines(&head.headers, left, is_more));
        if let Some(same) = like(&kept) {
            return same;
        }
        if self.bytes + kept.len() > ALL_BYTES {
            counts.one(Count::HeadsShortened);
            kept = lines(&head.headers, HEAD_BYTES, is_needed);
            if let Some(same) = like(&kept) {
                return same;
            }
        }
        let kept: KeptHead = Arc::new(kept.into());
        self.bytes += kept.len();
        if known.recent.len() == RECENT {
            known.recent.pop_front();
        }
        known.recent.push_back(Arc::downgrade(&kept));
        kept
    }

    /// A stream needs its head no more.
    pub(in crate::machine) fn release(&mut self, head: KeptHead) {
        if Arc::strong_count(&head) == 1 {
            self.bytes = self.bytes.saturating_sub(head.len());
        }
    }

    /// Notes what upstream answered to a page.
    pub(in crate::machine) fn learn(&mut self, route: usize, reads: Reads<'_>, head: &ResponseHead) {
        let is_short = reads.origin.len() <= ORIGIN_BYTES && reads.path.len() <= PATH_BYTES;
        let Some(known) = self.routes.get_mut(route).filter(|_| is_short) else { return };
        let at = known.pages.iter().position(|page| page.is(reads));
        let old = at.and_then(|at| known.pages.remove(at));
        if !head.headers.contains("Access-Control-Allow-Origin") {
            return;
        }
        if known.pages.len() == PAGES {
            known.pages.pop_front();
        }
        let new = || Page { origin: reads.origin.into(), path: reads.path.into(), lines: [].into() };
        let page = old.unwrap_or_else(new);
        let lines = lines(&head.headers, ORIGIN_LINES, is_about_origins).into();
        known.pages.push_back(Page { lines, ..page });
    }

    /// The head for a reader that comes to a stream later. `kept`: lines of upstream's own, if upstream has begun it.
    pub(in crate::machine) fn later(
        &self,
        route: usize,
        kept: Option<&KeptHead>,
        reads: Option<Reads<'_>>,
    ) -> Option<ResponseHead> {
        let Some(kept) = kept else { return self.own(route, reads) };
        let mut head = ResponseHead::ok();
        push_lines(&mut head, kept);
        Some(head)
    }

    /// The lines of an answer of segno's own that tells of a gap; with them those that let the page read it that asks,
    /// where upstream has lately let it read what lies here.
    pub(in crate::machine) fn gap_lines(
        &self,
        route: usize,
        reads: Option<Reads<'_>>,
        reason: GapReason,
    ) -> Vec<(String, String)> {
        let own = reads.and_then(|reads| self.own(route, Some(reads)));
        let own = own.map(|head| exposes_gap(&head).unwrap_or(head));
        let origins = own.iter().flat_map(|head| head.headers.iter()).filter(|(name, _)| is_about_origins(name));
        let text = |(name, value): (&str, &[u8])| (name.to_owned(), String::from_utf8_lossy(value).into_owned());
        std::iter::once(("Segno-Gap".to_owned(), reason.as_str().to_owned())).chain(origins.map(text)).collect()
    }

    /// The head of an event stream that segno begins itself, for this page, or for a client that is no page of another
    /// origin. `None`: it is not known whether the page may read it.
    pub(in crate::machine) fn own(&self, route: usize, reads: Option<Reads<'_>>) -> Option<ResponseHead> {
        let mut head = own_head();
        if let Some(reads) = reads {
            let known = self.routes.get(route)?.pages.iter().find(|page| page.is(reads))?;
            push_lines(&mut head, &known.lines);
        }
        Some(head)
    }
}

/// A head without the lines that belong to the client whose request it answers.
pub(in crate::machine) fn for_others(head: &ResponseHead) -> ResponseHead {
    let mut others = head.clone();
    others.headers = Headers::new();
    let is_theirs = |name: &str| is_any(name, &OF_ONE_CLIENT) || name.eq_ignore_ascii_case(REQUEST_ID);
    for (name, value) in head.headers.iter().filter(|(name, _)| !is_theirs(name)) {
        // It was a header before.
        let _ = others.headers.push(name, value);
    }
    others
}

/// A head that lets a page of another origin read `Segno-Gap`, where it lets the page read the answer. `None`: it
/// does so already, or lets no page read the answer.
pub(in crate::machine) fn exposes_gap(head: &ResponseHead) -> Option<ResponseHead> {
    const EXPOSED: &str = "Access-Control-Expose-Headers";
    let lets_read = head.headers.contains("Access-Control-Allow-Origin");
    if !lets_read || head.headers.contains_token(EXPOSED, "Segno-Gap") {
        return None;
    }
    let mut exposing = head.clone();
    // Lists may be given in several lines (RFC 9110 section 5.3).
    let _ = exposing.headers.push(EXPOSED, b"Segno-Gap");
    Some(exposing)
}

/// The head of an event stream of which upstream has said nothing.
fn own_head() -> ResponseHead {
    let mut head = ResponseHead::ok();
    for (name, value) in [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")] {
        // These are valid header lines.
        let _ = head.headers.push(name, value.as_bytes());
    }
    head
}

/// The end-to-end lines whose names `keeps` accepts, as far as they fit.
fn lines(headers: &Headers, most: usize, keeps: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in http::end_to_end(headers).filter(|(name, _)| keeps(name)) {
        if lines.len() + name.len() + value.len() + 4 <= most {
            http::write_line(name, value, &mut lines);
        }
    }
    lines
}

fn push_lines(head: &mut ResponseHead, lines: &[u8]) {
    for line in lines.split(|&b| b == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let value = line[colon + 1..].strip_suffix(b"\r").unwrap_or_default();
        if let Ok(name) = std::str::from_utf8(&line[..colon]) {
            // They were headers before.
            let _ = head.headers.push(name, value.strip_prefix(b" ").unwrap_or(value));
        }
    }
}

fn is_about_origins(name: &str) -> bool {
    name.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("access-control-"))
        || name.eq_ignore_ascii_case("Vary")
}

fn is_any(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
