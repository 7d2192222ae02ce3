//! How long a body is, and whether the connection stays open after it.
//!
//! In: the headers of a head. Out: a [`BodyLength`], and whether the connection is kept.
//! Law: a message that implementations are known to read in different ways is refused.
//! Source: RFC 9112 sections 6.1, 6.2, 6.3, 9.3, 11.2; RFC 9110 section 8.6.

use super::error::{HeadError, excerpt};
use super::headers::Headers;
use super::method::{Method, Version};

/// Options that a `Connection` header may list.
const OPTION_LIMIT: usize = 64;

/// How a message's body is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// This many bytes, as `Content-Length` says.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection ends. Only in responses.
    UntilClose,
}

/// The body of a request (RFC 9112 section 6.3: without either header there is none).
pub(super) fn request_length(headers: &Headers, version: Version) -> Result<BodyLength, HeadError> {
    Ok(stated_length(headers, version)?.unwrap_or(BodyLength::None))
}

/// The body of a response to a request with this method.
pub(super) fn response_length(headers: &Headers, status: u16, method: &Method) -> Result<BodyLength, HeadError> {
    if *method == Method::Head || matches!(status, 100..=199 | 204 | 304) {
        // A length is passed on as it stands, so there may be no doubt of it.
        same_length(headers)?;
        return Ok(BodyLength::None);
    }
    let mut codings = headers.tokens("Transfer-Encoding").filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    let stated = match codings.next() {
        None => same_length(headers)?.map(BodyLength::Length),
        Some(_) => {
            // It overrules a length, also from a server that calls itself HTTP/1.0. Said twice, it says the same.
            let all = headers.tokens("Transfer-Encoding");
            check_codings(all.filter(|coding| !coding.eq_ignore_ascii_case(b"identity")))?;
            Some(BodyLength::Chunked)
        }
    };
    Ok(stated.unwrap_or(BodyLength::UntilClose))
}

/// Whether an answer says where it ends in a way that is not quite right. It is read as clients read it (RFC 9112 section
/// 6.3), and its connection is used for nothing else. HTTP/1.0 has no chunks, and some of its servers send them
/// (section 6.1).
pub(super) fn is_doubtful(headers: &Headers, version: Version) -> bool {
    let lengths = headers.tokens("Content-Length").count();
    let codings = headers.tokens("Transfer-Encoding").count();
    let is_too_new = version == Version::Http10 && codings > 0;
    lengths + codings > 1 || is_too_new || headers.contains_token("Transfer-Encoding", "identity")
}

/// The length, if it is said once or several times alike.
fn same_length(headers: &Headers) -> Result<Option<u64>, HeadError> {
    let mut values = headers.tokens("Content-Length");
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|value| value != first) {
        return Err(HeadError::ContentLengthRepeated);
    }
    length(first).map(Some)
}

fn stated_length(headers: &Headers, version: Version) -> Result<Option<BodyLength>, HeadError> {
    match (headers.contains("Transfer-Encoding"), content_length(headers)) {
        (true, Ok(None)) => chunked(headers, version).map(Some),
        (true, _) => Err(HeadError::BothFramings),
        (false, length) => Ok(length?.map(BodyLength::Length)),
    }
}

fn content_length(headers: &Headers) -> Result<Option<u64>, HeadError> {
    let mut values = headers.get_all("Content-Length");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeadError::ContentLengthRepeated);
    }
    length(value).map(Some)
}

fn length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::ContentLength(excerpt(value)));
    }
    let mut digits = value.iter().map(|b| u64::from(b - b'0'));
    let length = digits.try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    length.ok_or(HeadError::ContentLengthTooLarge)
}

/// `Transfer-Encoding` must name `chunked` once, and nothing else.
fn chunked(headers: &Headers, version: Version) -> Result<BodyLength, HeadError> {
    if version == Version::Http10 {
        return Err(HeadError::TransferEncodingIn10);
    }
    match check_codings(headers.tokens("Transfer-Encoding"))? {
        1 => Ok(BodyLength::Chunked),
        _ => Err(HeadError::ChunkedNotOnce),
    }
}

/// How often `chunked` is named, where nothing else is.
fn check_codings<'a>(codings: impl Iterator<Item = &'a [u8]>) -> Result<usize, HeadError> {
    let mut count = 0;
    for coding in codings {
        if coding.is_empty() {
            return Err(HeadError::ChunkedNotOnce);
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::TransferCoding(excerpt(coding)));
        }
        count += 1;
    }
    Ok(count)
}

/// Whether the sender wants to keep the connection open (RFC 9112 section 9.3).
///
/// # Errors
/// [`HeadError::TooManyOptions`]. A head that is passed on has each header compared with each option, so the number of
/// options is bounded.
pub(super) fn keeps_alive(headers: &Headers, version: Version) -> Result<bool, HeadError> {
    let (mut close, mut keep, mut count) = (false, false, 0);
    for option in headers.tokens("Connection") {
        close |= option.eq_ignore_ascii_case(b"close");
        keep |= option.eq_ignore_ascii_case(b"keep-alive");
        count += 1;
        if count > OPTION_LIMIT {
            return Err(HeadError::TooManyOptions { limit: OPTION_LIMIT });
        }
    }
    Ok(!close && (keep || version == Version::Http11))
}
