//! A whole answer, head and body.
//!
//! In: a status and a body. Out: bytes for the socket.
//! Law: an answer stands in no cache, and its connection ends with it.

/// A whole answer. It stands in no cache.
pub(super) fn respond(status: u16, body: &str, content_type: &str, head_only: bool) -> Vec<u8> {
    let (reason, length) = (crate::http::reason(status), body.len());
    let mut out = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    if !head_only {
        out.extend_from_slice(body.as_bytes());
    }
    out
}
