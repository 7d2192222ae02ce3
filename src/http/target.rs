//! Reads request targets and authorities.
//!
//! In: the target as sent. Out: the origin-form that goes upstream, and the host that an absolute-form names.
//! Laws: dot segments are resolved, so that a route is chosen by the path that upstream sees, and no target leads above
//! the root; everything else of path and query is not decoded, normalised or re-encoded; a target has no byte but
//! visible ASCII.
//! Source: RFC 9112 section 3.2; RFC 3986 sections 3.2.2, 3.2.3, 5.2.4, 6.2.2.2 (`%2e` is a dot); RFC 9110 section
//! 4.2.4 (no user names in URLs).

use super::error::{HeadError, excerpt};
use super::method::Method;
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A target in the form that goes upstream.
pub(super) struct Target {
    pub(super) path: String,
    pub(super) authority: Option<String>,
}

/// Reads a target in origin-form, in absolute-form (`http` or `https`), or, for `OPTIONS`, in asterisk-form.
pub(super) fn parse_target(method: &Method, raw: &[u8]) -> Result<Target, HeadError> {
    let refused = || HeadError::Target(excerpt(raw));
    let encoded = encode_beyond_ascii(raw);
    let text = std::str::from_utf8(&encoded).map_err(|_| refused())?;
    if !encoded.iter().all(u8::is_ascii_graphic) || text.contains('#') {
        return Err(refused());
    }
    if text == "*" && *method == Method::Options {
        return Ok(Target { path: text.to_owned(), authority: None });
    }
    let target = match text.starts_with('/') {
        true => Target { path: text.to_owned(), authority: None },
        false => absolute(method, after_scheme(text).ok_or_else(refused)?)?,
    };
    let path = without_dots(target.path).ok_or_else(|| HeadError::Climbs(excerpt(raw)))?;
    Ok(Target { path, ..target })
}

/// The target with bytes beyond ASCII as browsers send them: percent-encoded (RFC 3986 section 2.5).
fn encode_beyond_ascii(raw: &[u8]) -> Cow<'_, [u8]> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if raw.is_ascii() {
        return Cow::Borrowed(raw);
    }
    let encoded = raw.iter().flat_map(|&b| match b {
        0x80.. => [Some(b'%'), Some(DIGITS[usize::from(b >> 4)]), Some(DIGITS[usize::from(b & 15)])],
        _ => [Some(b), None, None],
    });
    Cow::Owned(encoded.flatten().collect())
}

/// Resolves the segments `.` and `..` of a path with its query (RFC 3986 section 5.2.4). `None`: it leads above the
/// root.
fn without_dots(target: String) -> Option<String> {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if !path.split('/').any(|segment| dots(segment) > 0) {
        return Some(target);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match dots(segment) {
            0 => kept.push(segment),
            n => {
                if n == 2 {
                    kept.pop()?;
                }
                if segments.peek().is_none() {
                    kept.push("");
                }
            }
        }
    }
    Some(format!("/{}{query}", kept.join("/")))
}

/// 1 for the segment `.`, 2 for `..`, however their dots are written; 0 for every other segment.
fn dots(segment: &str) -> usize {
    let mut rest = segment.as_bytes();
    let mut count = 0;
    while let [b'.', tail @ ..] | [b'%', b'2', b'e' | b'E', tail @ ..] = rest {
        rest = tail;
        count += 1;
    }
    if rest.is_empty() && count <= 2 { count } else { 0 }
}

/// Whether some program could see the path lead out of `prefix`, which it begins with. Many take `%2f`, `\` and `%5c`
/// for a slash, merge slashes, or leave out what follows a `;`, and look for dots afterwards.
pub fn leads_out(target: &str, prefix: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let rest = path.strip_prefix(prefix.trim_end_matches('/')).unwrap_or(path);
    if !rest.contains("..") && !rest.contains('%') {
        return false;
    }
    let slashes = rest.replace("%2f", "/").replace("%2F", "/").replace("%5c", "/").replace("%5C", "/");
    let mut depth = 0_usize;
    for segment in slashes.split(['/', '\\']) {
        let bare = segment.split(';').next().unwrap_or_default();
        match (bare, dots(bare)) {
            ("", _) | (_, 1) => {}
            (_, 2) if depth == 0 => return true,
            (_, 2) => depth -= 1,
            _ => depth += 1,
        }
    }
    false
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
