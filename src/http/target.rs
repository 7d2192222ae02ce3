//! Reads request targets and authorities.
//!
//! In: the target as sent. Out: the origin-form that goes upstream, and the host that an absolute-form names.
//! Laws: path and query are not decoded, normalised or re-encoded; bytes beyond ASCII are allowed if they are UTF-8.
//! Source: RFC 9112 section 3.2; RFC 3986 sections 3.2.2, 3.2.3; RFC 9110 section 4.2.4 (no user names in URLs).

use super::error::{HeadError, excerpt};
use super::method::Method;
use std::net::Ipv6Addr;

/// A target in the form that goes upstream.
pub(super) struct Target {
    pub(super) path: String,
    pub(super) authority: Option<String>,
}

/// Reads a target in origin-form, in absolute-form (`http` or `https`), or, for `OPTIONS`, in asterisk-form.
pub(super) fn parse_target(method: &Method, raw: &[u8]) -> Result<Target, HeadError> {
    let refused = || HeadError::Target(excerpt(raw));
    let text = std::str::from_utf8(raw).map_err(|_| refused())?;
    if text.contains('#') {
        return Err(refused());
    }
    if text.starts_with('/') || (text == "*" && *method == Method::Options) {
        return Ok(Target { path: text.to_owned(), authority: None });
    }
    absolute(method, after_scheme(text).ok_or_else(refused)?)
}

fn after_scheme(text: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (head, rest) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

fn absolute(method: &Method, rest: &str) -> Result<Target, HeadError> {
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    check_authority(authority.as_bytes())?;
    let path = match path {
        "" if *method == Method::Options => "*".to_owned(),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("/{path}"),
    };
    Ok(Target { path, authority: Some(authority.to_owned()) })
}

/// Accepts `host` and `host:port`. The host is a name, an IPv4 address, or an IPv6 address in brackets.
///
/// A comma is refused, although RFC 3986 allows it in a name: `Host: a, b` looks like two merged lines.
pub(super) fn check_authority(value: &[u8]) -> Result<(), HeadError> {
    let good = match value.strip_prefix(b"[") {
        Some(rest) => is_bracketed(rest),
        None => {
            let colon = memchr::memchr(b':', value).unwrap_or(value.len());
            is_name(&value[..colon]) && is_port(&value[colon..])
        }
    };
    if good { Ok(()) } else { Err(HeadError::Host(excerpt(value))) }
}

fn is_bracketed(rest: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b']', rest) else { return false };
    let address = std::str::from_utf8(&rest[..end]).unwrap_or_default();
    address.parse::<Ipv6Addr>().is_ok() && is_port(&rest[end + 1..])
}

fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [a, b, tail @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => tail,
            (b, _) if b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(b) => tail,
            _ => return false,
        };
    }
    !name.is_empty()
}

/// Whether this is empty, or a colon with a number up to 65535. The number may be missing (RFC 3986 section 3.2.3).
fn is_port(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b':', digits @ ..] => {
            let value = digits.iter().try_fold(0u32, |sum, b| {
                let sum = sum * 10 + u32::from(b.is_ascii_digit().then(|| b - b'0')?);
                (sum <= 65_535).then_some(sum)
            });
            value.is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
