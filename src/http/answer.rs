//! Writes segno's own answers, and the lines of all heads.
//!
//! In: a status, and a text that says what is wrong, where, and what to do. Out: a whole response.
//! Law: no byte of a name, value or reason can end its line.
//! Source: RFC 9112 sections 4, 6.2; RFC 9110 sections 8.6, 9.3.2, 15.

use std::io::Write as _;

/// The interim answer that tells a client to send its body (RFC 9110 section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends a whole response, with `text` and a line end as its plain text body.
///
/// `extra` are headers to add. `close` says that the connection ends after the response. `head_only` is for answers to
/// `HEAD`: they have the length and no body. A status that never has a body (1xx, 204, 304) gets none.
pub fn write_answer(status: u16, text: &str, extra: &[(&str, &str)], close: bool, head_only: bool, out: &mut Vec<u8>) {
    let bodiless = matches!(status, 100..=199 | 204 | 304);
    push_status(out, status, reason(status).as_bytes());
    if !bodiless {
        push_line(out, "Content-Type", "text/plain; charset=utf-8");
        push_length(out, text.len() as u64 + 1);
    }
    if close {
        push_line(out, "Connection", "close");
    }
    extra.iter().for_each(|(name, value)| push_line(out, name, value));
    out.extend_from_slice(b"\r\n");
    if !bodiless && !head_only {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

/// The usual words for a status; empty if this list has none.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        425 => "Too Early",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        508 => "Loop Detected",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Appends a status line. The space before an empty reason stays (RFC 9112 section 4).
pub(super) fn push_status(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    let _ = write!(out, "HTTP/1.1 {status:03} ");
    push_bytes(out, reason);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn push_length(out: &mut Vec<u8>, length: u64) {
    // Writing to a `Vec` does not fail.
    let _ = write!(out, "Content-Length: {length}\r\n");
}

pub(super) fn push_line(out: &mut Vec<u8>, name: &str, value: &str) {
    push_text(out, name);
    out.extend_from_slice(b": ");
    push_text(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends text, with a space in place of each control byte except tab.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_bytes(out, text.as_bytes());
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().map(|&b| if super::headers::is_forbidden(b) { b' ' } else { b }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, extra: &[(&str, &str)], close: bool, head_only: bool) -> String {
        let mut out = Vec::new();
        write_answer(status, "what and where", extra, close, head_only, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_states_its_length() {
        let head = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 15\r\n\
                    Connection: close\r\nRetry-After: 1\r\n\r\n";
        assert_eq!(answer(502, &[("Retry-After", "1")], true, false), format!("{head}what and where\n"));
        assert_eq!(answer(502, &[("Retry-After", "1")], true, true), head);
    }

    #[test]
    fn a_status_that_never_has_a_body_gets_none() {
        assert_eq!(answer(204, &[], false, false), "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(answer(100, &[], false, false), "HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn an_extra_header_stays_on_its_line() {
        let text = answer(204, &[("A", "b\r\nC: d\0")], false, false);
        assert_eq!(text, "HTTP/1.1 204 No Content\r\nA: b  C: d \r\n\r\n");
    }

    #[test]
    fn every_status_of_a_refusal_has_words() {
        for status in [400, 413, 414, 417, 431, 501, 502, 505, 508] {
            assert!(!reason(status).is_empty());
        }
    }

    #[test]
    fn no_two_statuses_share_their_words_and_one_without_words_keeps_its_space() {
        let mut known: Vec<&str> = (100..600).map(reason).filter(|words| !words.is_empty()).collect();
        let all = known.len();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), all);
        assert!(answer(599, &[], false, false).starts_with("HTTP/1.1 599 \r\n"));
    }
}
