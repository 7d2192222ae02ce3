//! Reads response heads.
//!
//! In: the bytes of one whole head, and the method of its request. Out: a [`ResponseHead`], or why it is refused.
//! Laws: lines may end with LF alone; a response whose end two recipients might see in different places is refused; an
//! interim response (1xx) is a separate head, and the final one follows.
//! Source: RFC 9112 sections 4, 6.3, 9.3; RFC 9110 section 15.

use super::error::{HeadError, excerpt};
use super::find::HeadLimits;
use super::headers::Headers;
use super::length::{BodyLength, is_doubtful, keeps_alive, response_length};
use super::lines::{LineEnds, parse_block, split_head};
use super::method::{Method, Version};

/// A response without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// 100 to 999. With 101 the connection carries another protocol behind this head, if the request offered it.
    pub status: u16,
    /// The words after the status, as sent; may be empty. They may hold bytes beyond ASCII, in any encoding.
    pub reason: Vec<u8>,
    /// The upstream's version.
    pub version: Version,
    /// All header lines as sent.
    pub headers: Headers,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the connection can carry another request after the body.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// `200 OK` without headers, for segno's own answer with a body of unknown length.
    pub fn ok() -> Self {
        Self {
            status: 200,
            reason: b"OK".to_vec(),
            version: Version::Http11,
            headers: Headers::new(),
            body: BodyLength::UntilClose,
            keep_alive: false,
        }
    }

    /// Whether the final response is still to come: the status is 1xx, and not 101, behind which no response comes.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Whether the response switches to a protocol of this list, which the request offered (RFC 9110 section 7.8).
    pub fn switches_to(&self, offered: &str) -> bool {
        let is_offered = |protocol: &[u8]| {
            offered.split(',').any(|offer| offer.trim_ascii().as_bytes().eq_ignore_ascii_case(protocol))
        };
        let mut protocols = self.headers.tokens("Upgrade").filter(|protocol| !protocol.is_empty()).peekable();
        self.status == 101 && protocols.peek().is_some() && protocols.all(is_offered)
    }
}

/// Reads one response head, with its empty line.
///
/// # Errors
/// [`HeadError`]. Whatever the variant, the client gets 502, and the connection must be closed.
pub fn parse_response(head: &[u8], request_method: &Method, limits: HeadLimits) -> Result<ResponseHead, HeadError> {
    let (line, block) = split_head(head, LineEnds::Lenient, limits)?;
    let (version, status, reason) = parse_line(line)?;
    let headers = parse_block(block, LineEnds::Lenient, limits)?;
    let body = response_length(&headers, status, request_method)?;
    let is_certain = body != BodyLength::UntilClose && !is_doubtful(&headers, version);
    let keep_alive = keeps_alive(&headers, version)? && is_certain;
    Ok(ResponseHead { status, reason, version, headers, body, keep_alive })
}

/// Reads `version SP status [SP reason]`. Many servers leave out the space before an empty reason.
fn parse_line(line: &[u8]) -> Result<(Version, u16, Vec<u8>), HeadError> {
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
        0..=99 => Err(refused()),
        status => Ok((version, status, reason.to_vec())),
    }
}

#[cfg(test)]
mod tests;
