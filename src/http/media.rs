//! What headers say about event streams: media types, content codings, how long to wait, where to go on.
//!
//! In: headers. Out: yes or no, a span, an event id.
//! Law: no clock is read; a date counts from the `Date` of the same response.
//! Source: RFC 9110 sections 8.3, 8.4, 10.2.3, 12.4.2, 12.5.1; the HTML standard, section 9.2 Server-sent events,
//! for `Last-Event-ID` (<https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header>).

use super::headers::{Headers, trim};
use crate::base::Span;

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Whether `Accept` names `text/event-stream` itself with a weight above 0. `*/*` and `text/*` do not count: every
/// client sends those.
pub fn accepts_event_stream(headers: &Headers) -> bool {
    headers.get_all("Accept").flat_map(|value| split(value, b',')).any(|range| {
        let mut parts = split(range, b';');
        parts.next().is_some_and(|essence| trim(essence).eq_ignore_ascii_case(EVENT_STREAM)) && !parts.any(is_refusal)
    })
}

/// Whether the first `Content-Type` is `text/event-stream`, with any parameters.
pub fn is_event_stream(headers: &Headers) -> bool {
    has_type(headers, EVENT_STREAM)
}

/// Whether the first `Content-Type` is `application/json`, with any parameters.
pub fn is_json(headers: &Headers) -> bool {
    has_type(headers, b"application/json")
}

fn has_type(headers: &Headers, wanted: &[u8]) -> bool {
    let essence = headers.get("Content-Type").and_then(|value| value.split(|&b| b == b';').next());
    essence.is_some_and(|e| trim(e).eq_ignore_ascii_case(wanted))
}

/// Whether the content has a coding, such as compression, so that segno cannot read its events.
pub fn is_encoded(headers: &Headers) -> bool {
    headers.tokens("Content-Encoding").any(|t| !t.is_empty() && !t.eq_ignore_ascii_case(b"identity"))
}

/// How long `Retry-After` asks to wait. The value is seconds or a date. A date counts from the response's own `Date`;
/// if it has passed, the wait is zero. `None` if the header is missing or malformed, or has a date without a `Date`
/// header.
pub fn retry_after(headers: &Headers) -> Option<Span> {
    let value = headers.get("Retry-After")?;
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        let seconds = std::str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX);
        return Some(Span::from_secs(seconds));
    }
    let date = |value| httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok();
    let (until, now) = (date(value)?, date(headers.get("Date")?)?);
    Some(until.duration_since(now).map_or(Span::ZERO, Span::from))
}

/// Where a client wants to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastEventId<'h> {
    /// At the beginning. An empty id counts as none, as the standard says.
    None,
    /// After this event: UTF-8, without NUL, CR or LF, and not longer than allowed.
    Id(&'h [u8]),
    /// After an event that no log can hold: its id is too long or not UTF-8, or there are several different ones. What
    /// the client means, upstream alone can say.
    Unknown,
}

/// The event id that a client resumes from: from its `Last-Event-ID` header, else from a query parameter. `max`: bytes
/// of the longest id that a log holds.
pub fn last_event_id<'h>(headers: &'h Headers, parameter: Option<&'h [u8]>, max: usize) -> LastEventId<'h> {
    let mut values = headers.get_all("Last-Event-ID");
    let Some(id) = values.next().or(parameter) else { return LastEventId::None };
    if values.any(|other| other != id) {
        return LastEventId::Unknown;
    }
    // Event streams are UTF-8, so no event can have had an id that is not.
    let can_be_one = !id.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) && std::str::from_utf8(id).is_ok();
    match id {
        b"" => LastEventId::None,
        _ if can_be_one && id.len() <= max => LastEventId::Id(id),
        _ => LastEventId::Unknown,
    }
}

/// Removes a parameter from the query of a target and returns its value, percent-decoded. If several have that name,
/// all are removed and the last one counts.
pub fn take_parameter(target: &mut String, name: &str) -> Option<Vec<u8>> {
    let (path, query) = target.split_once('?')?;
    let mut found = None;
    let mut rest = String::with_capacity(target.len());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some((key, value)) if key == name => found = Some(percent_decode(value)),
            _ => {
                rest.push(if rest.is_empty() { '?' } else { '&' });
                rest.push_str(pair);
            }
        }
    }
    found.as_ref()?;
    *target = format!("{path}{rest}");
    found
}

/// The bytes of a query's value: `%XX` is decoded, and everything else stays (RFC 3986 section 2.1).
fn percent_decode(value: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|d| first == b'%' && d.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Whether a parameter is a weight of zero, such as `q=0` or `q=0.000`.
fn is_refusal(parameter: &[u8]) -> bool {
    match trim(parameter) {
        [b'q' | b'Q', b'=', weight @ ..] => !weight.is_empty() && weight.iter().all(|b| matches!(b, b'0' | b'.')),
        _ => false,
    }
}

/// Splits at each separator that is outside quoted strings (RFC 9110 section 5.6.4).
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |&b| {
        let was_escaped = std::mem::replace(&mut escaped, false);
        match b {
            _ if was_escaped => false,
            b'\\' if quoted => {
                escaped = true;
                false
            }
            b'"' => {
                quoted = !quoted;
                false
            }
            _ => b == separator && !quoted,
        }
    })
}

#[cfg(test)]
mod tests;
