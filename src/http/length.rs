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
pub(super) fn response_length(
    headers: &Headers,
    version: Version,
    status: u16,
    method: &Method,
) -> Result<BodyLength, HeadError> {
    let stated = stated_length(headers, version)?;
    if *method == Method::Head || matches!(status, 100..=199 | 204 | 304) {
        return Ok(BodyLength::None);
    }
    Ok(stated.unwrap_or(BodyLength::UntilClose))
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
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::ContentLength(excerpt(value)));
    }
    let mut digits = value.iter().map(|b| u64::from(b - b'0'));
    let length = digits.try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    length.map(Some).ok_or(HeadError::ContentLengthTooLarge)
}

/// `Transfer-Encoding` must name `chunked` once, and nothing else.
fn chunked(headers: &Headers, version: Version) -> Result<BodyLength, HeadError> {
    if version == Version::Http10 {
        return Err(HeadError::TransferEncodingIn10);
    }
    let mut count = 0;
    for coding in headers.tokens("Transfer-Encoding") {
        if coding.is_empty() {
            return Err(HeadError::ChunkedNotOnce);
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::TransferCoding(excerpt(coding)));
        }
        count += 1;
    }
    if count == 1 { Ok(BodyLength::Chunked) } else { Err(HeadError::ChunkedNotOnce) }
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
