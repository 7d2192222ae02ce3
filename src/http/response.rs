//! Response heads.
//!
//! In: the bytes of one head, whole, and the method it answers. Out: a [`ResponseHead`], or the reason why not.
//! Laws: lines may end with LF alone; a response that two readers might cut differently is refused. An interim
//! response (1xx) is a head of its own, and the final one follows.
//! Source: RFC 9112 sections 4, 6.3, 9.3; RFC 9110 section 15.

use super::error::{HeadError, excerpt};
use super::find::HeadLimits;
use super::headers::Headers;
use super::length::{BodyLength, keeps_alive, response_length};
use super::lines::{LineEnds, parse_block, split_head};
use super::method::{Method, Version};

/// A response without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// 100 to 999, never 101.
    pub status: u16,
    /// The words behind the status; may be empty. Bytes that are not UTF-8 are replaced.
    pub reason: String,
    /// The upstream's version.
    pub version: Version,
    /// All header lines as sent.
    pub headers: Headers,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the connection can carry another request behind the body.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// `200 OK` without headers, for an answer of segno's own with a body of unknown length.
    pub fn ok() -> Self {
        Self {
            status: 200,
            reason: "OK".to_owned(),
            version: Version::Http11,
            headers: Headers::new(),
            body: BodyLength::UntilClose,
            keep_alive: false,
        }
    }

    /// Whether this is 1xx, with the final response still to come.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// Reads one response head, its empty line included.
///
/// # Errors
/// [`HeadError`]; whatever the variant, the answer to the client is 502 and the connection must be closed.
pub fn parse_response(head: &[u8], request_method: &Method, limits: HeadLimits) -> Result<ResponseHead, HeadError> {
    let (line, block) = split_head(head, LineEnds::Lenient, limits)?;
    let (version, status, reason) = parse_line(line)?;
    let headers = parse_block(block, LineEnds::Lenient, limits)?;
    let body = response_length(&headers, version, status, request_method)?;
    let keep_alive = keeps_alive(&headers, version)? && body != BodyLength::UntilClose;
    Ok(ResponseHead { status, reason, version, headers, body, keep_alive })
}

/// `version SP status [SP reason]`; the space before a missing reason is often left out.
fn parse_line(line: &[u8]) -> Result<(Version, u16, String), HeadError> {
    let refused = || HeadError::StatusLine(excerpt(line));
    let (name, rest) = line.split_at_checked(8).ok_or_else(refused)?;
    let [b' ', digits @ ..] = rest else { return Err(refused()) };
    let (digits, reason) = digits.split_at_checked(3).ok_or_else(refused)?;
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] => reason,
        _ => return Err(refused()),
    };
    if !Version::is_name(name) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(refused());
    }
    let version = Version::from_name(name).ok_or_else(|| HeadError::Version(excerpt(name)))?;
    match digits.iter().fold(0, |sum, b| sum * 10 + u16::from(b - b'0')) {
        101 => Err(HeadError::SwitchedProtocols),
        0..=99 => Err(refused()),
        status => Ok((version, status, String::from_utf8_lossy(reason).into_owned())),
    }
}

#[cfg(test)]
mod tests;
