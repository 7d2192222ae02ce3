//! Request targets and authorities.
//!
//! In: the target as sent. Out: the origin-form that goes upstream, and the host that an absolute-form names.
//! Laws: path and query are not decoded, normalised or re-encoded; bytes beyond ASCII pass as long as they are UTF-8.
//! Source: RFC 9112 section 3.2; RFC 3986 sections 3.2.2, 3.2.3; RFC 9110 section 4.2.4 (no user names in URLs).

use super::error::{HeadError, excerpt};
use super::method::Method;
use std::net::Ipv6Addr;

/// A target in the form that goes upstream.
pub(super) struct Target {
    pub(super) path: String,
    pub(super) authority: Option<String>,
}

/// Reads origin-form, absolute-form (`http` or `https`), and for `OPTIONS` asterisk-form.
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

/// Accepts `host` and `host:port` where host is a name, an IPv4 address or an IPv6 address in brackets.
///
/// A comma is refused although a name may hold one by RFC 3986: `Host: a, b` is what two merged lines look like.
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

/// Nothing, or a colon with digits up to 65535; the digits may be missing (RFC 3986 section 3.2.3).
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
mod tests {
    use super::*;

    fn parse(method: &Method, raw: &str) -> Option<(String, Option<String>)> {
        parse_target(method, raw.as_bytes()).ok().map(|t| (t.path, t.authority))
    }

    #[test]
    fn an_absolute_target_becomes_its_path() {
        let cases = [
            ("http://a.example/x?y", "/x?y", "a.example"),
            ("HTTP://a.example:80", "/", "a.example:80"),
            ("https://[::1]:8443?q=/", "/?q=/", "[::1]:8443"),
            ("http://a//b", "//b", "a"),
        ];
        for (raw, path, host) in cases {
            assert_eq!(parse(&Method::Get, raw), Some((path.to_owned(), Some(host.to_owned()))), "{raw}");
        }
        assert_eq!(parse(&Method::Options, "http://a"), Some(("*".to_owned(), Some("a".to_owned()))));
    }

    #[test]
    fn an_origin_target_stays_as_sent() {
        for raw in ["/", "//x", "/a%2fb/../c?d=e?f", "/\u{e9}", "/a|b\"<>\\^`{}"] {
            assert_eq!(parse(&Method::Get, raw), Some((raw.to_owned(), None)));
        }
        assert_eq!(parse(&Method::Options, "*"), Some(("*".to_owned(), None)));
    }

    #[test]
    fn other_targets_are_refused() {
        for raw in
            ["*", "a", "a:80", "ftp://a/", "http:///x", "http://u@a/", "http://", "/a#b", "http:/a", "?a", "\u{e9}"]
        {
            assert_eq!(parse(&Method::Get, raw), None, "{raw}");
        }
        assert!(parse_target(&Method::Get, b"/\xff").is_err());
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in ["a", "a.b-c_d:80", "127.0.0.1:65535", "[::1]", "[fe80::1]:8080", "a:", "%41b", "xn--a.example"] {
            assert!(check_authority(good.as_bytes()).is_ok(), "{good}");
        }
        let bad = [
            "",
            ":80",
            "a:65536",
            "a:99999999999999999999",
            "a:8o",
            "a b",
            "u@a",
            "a/b",
            "a?b",
            "a#b",
            "a,b",
            "a:1:2",
            "[::1",
            "[]",
            "[::g]",
            "::1",
            "[::1]x",
            "%4",
            "%zz",
            "%4g",
            "\u{e9}",
            "a\\b",
            "a:-1",
            "a:+1",
            "[v1.a]",
        ];
        for bad in bad {
            assert!(check_authority(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
