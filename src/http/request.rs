//! Reads request heads.
//!
//! In: the bytes of one whole head. Out: a [`RequestHead`], or why it is refused.
//! Law: [`super::write_request`] can write every accepted head so that all recipients understand it in the same way.
//! Source: RFC 9112 sections 3, 6.3, 9.3; RFC 9110 sections 7.2, 7.6.2, 7.8, 10.1.1.

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
    /// The protocols that the client offers to switch to, as a list; `None` where it offers none that may be passed
    /// on. `h2c` is never among them: a proxy would lose sight of the requests. An offer in HTTP/1.0, one that
    /// `Connection` does not name, and one with a body are none.
    pub upgrade: Option<String>,
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
    let upgrade = parse_upgrade(&headers, version, body);
    let expect_continue = parse_expect(&headers, version)?;
    let host = target.authority.or(host);
    Ok(RequestHead { method, target: target.path, host, version, headers, body, keep_alive, expect_continue, upgrade })
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

/// The offer to switch to another protocol. What is no offer for the next hop is ignored, as RFC 9110 section 7.8
/// allows.
fn parse_upgrade(headers: &Headers, version: Version, body: BodyLength) -> Option<String> {
    let bare = matches!(body, BodyLength::None | BodyLength::Length(0));
    if version == Version::Http10 || !bare || !headers.contains_token("Connection", "upgrade") {
        return None;
    }
    let is_offered = |protocol: &&str| !protocol.is_empty() && !protocol.eq_ignore_ascii_case("h2c");
    let offered: Vec<&str> =
        headers.tokens("Upgrade").filter_map(|t| std::str::from_utf8(t).ok()).filter(is_offered).collect();
    (!offered.is_empty()).then(|| offered.join(", "))
}

/// How many more proxies the request may pass, as `Max-Forwards` says. Only `OPTIONS` and `TRACE` have it (RFC 9110
/// section 7.6.2).
pub fn max_forwards(head: &RequestHead) -> Option<u32> {
    let value = head.headers.get("Max-Forwards").filter(|_| matches!(head.method, Method::Options | Method::Trace))?;
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
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
