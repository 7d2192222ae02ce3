//! Reads request heads.
//!
//! In: the bytes of one whole head. Out: a [`RequestHead`], or why it is refused.
//! Law: [`super::write_request`] can write every accepted head so that all recipients understand it in the same way.
//! Source: RFC 9112 sections 3, 6.3, 9.3; RFC 9110 sections 7.2, 7.8, 10.1.1.

use super::error::{HeadError, excerpt};
use super::find::HeadLimits;
use super::headers::Headers;
use super::length::{BodyLength, keeps_alive, request_length};
use super::lines::{LineEnds, parse_block, split_head};
use super::method::{Method, Version};
use super::target::{check_authority, parse_target};

/// A request without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// The method; never `CONNECT`.
    pub method: Method,
    /// Path and query as sent, or `*` for `OPTIONS`. An absolute target is reduced to its path and query.
    pub target: String,
    /// The authority of an absolute target, else the value of `Host`. Always there in HTTP/1.1.
    pub host: Option<String>,
    /// The client's version.
    pub version: Version,
    /// All header lines as sent.
    pub headers: Headers,
    /// How the body is delimited; never [`BodyLength::UntilClose`].
    pub body: BodyLength,
    /// Whether the client may send another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
}

/// Reads one request head, with its empty line. Empty lines before the head are skipped.
///
/// # Errors
/// [`HeadError`], which gives the status to answer. The connection must be closed after the answer.
pub fn parse_request(head: &[u8], limits: HeadLimits) -> Result<RequestHead, HeadError> {
    let (line, block) = split_head(head, LineEnds::Strict, limits)?;
    let (method, target, version) = parse_line(line)?;
    let target = parse_target(&method, target)?;
    let headers = parse_block(block, LineEnds::Strict, limits)?;
    let host = parse_host(&headers, version)?;
    let body = request_length(&headers, version)?;
    let keep_alive = keeps_alive(&headers, version)?;
    check_upgrade(&headers, version)?;
    let expect_continue = parse_expect(&headers, version)?;
    let host = target.authority.or(host);
    Ok(RequestHead { method, target: target.path, host, version, headers, body, keep_alive, expect_continue })
}

/// Reads `method SP target SP version`, with single spaces (RFC 9112 section 3).
fn parse_line(line: &[u8]) -> Result<(Method, &[u8], Version), HeadError> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::RequestLine(excerpt(line)));
    };
    if target.is_empty() || !Version::is_name(version) {
        return Err(HeadError::RequestLine(excerpt(line)));
    }
    let version = Version::from_name(version).ok_or_else(|| HeadError::Version(excerpt(version)))?;
    let method = Method::from_token(method).ok_or_else(|| HeadError::Method(excerpt(method)))?;
    if method.as_str() == "CONNECT" {
        return Err(HeadError::Connect);
    }
    Ok((method, target, version))
}

/// Reads `Host`. HTTP/1.1 must have exactly one, HTTP/1.0 at most one (RFC 9112 section 3.2).
fn parse_host(headers: &Headers, version: Version) -> Result<Option<String>, HeadError> {
    let mut values = headers.get_all("Host");
    let Some(value) = values.next() else {
        return if version == Version::Http10 { Ok(None) } else { Err(HeadError::HostMissing) };
    };
    if values.next().is_some() {
        return Err(HeadError::HostRepeated);
    }
    check_authority(value)?;
    Ok(Some(String::from_utf8_lossy(value).into_owned()))
}

/// Refuses an offer to upgrade to another protocol. An offer of `h2c` is ignored, as RFC 9110 section 7.8 allows, and
/// so is an offer in HTTP/1.0 or one that `Connection` does not name. A client that offers another protocol needs it,
/// so the client gets an error.
fn check_upgrade(headers: &Headers, version: Version) -> Result<(), HeadError> {
    if version == Version::Http10 || !headers.contains_token("Connection", "upgrade") {
        return Ok(());
    }
    match headers.tokens("Upgrade").find(|t| !t.is_empty() && !t.eq_ignore_ascii_case(b"h2c")) {
        None => Ok(()),
        Some(protocol) => Err(HeadError::Upgrade(excerpt(protocol))),
    }
}

/// Whether the client expects `100-continue`, the only expectation there is. HTTP/1.0 has none (RFC 9110 section
/// 10.1.1).
fn parse_expect(headers: &Headers, version: Version) -> Result<bool, HeadError> {
    if version == Version::Http10 {
        return Ok(false);
    }
    let mut expect = false;
    for value in headers.tokens("Expect").filter(|t| !t.is_empty()) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError::Expect(excerpt(value)));
        }
        expect = true;
    }
    Ok(expect)
}

#[cfg(test)]
mod tests;
