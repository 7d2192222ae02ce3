//! Redirects of an upstream to itself, as the client must see them.
//!
//! In: a value of `Location`, the `Host` that the upstream was sent, and the path that segno puts before each target.
//! Out: the value for the client.
//! Laws: a redirect to somewhere else stays as it is; what the upstream says of itself becomes a reference to the same
//! scheme and host that the client asked, whatever proxies stand in between; it never becomes one to another host, not
//! even to a browser, which takes `\\` for `/` and leaves tabs out.
//! Source: RFC 9110, section 10.2.2 (a relative `Location` is resolved against the request's URI); RFC 3986, sections
//! 4.2 (`//` begins an authority) and 6.2.3 (default ports); URL standard, 4.4 (tabs are left out).

use super::headers::Headers;

/// What a redirect of the upstream to itself looks like.
#[derive(Clone, Copy, Debug)]
pub struct Itself<'a> {
    /// The value of `Host` that the upstream was sent.
    pub host: &'a str,
    /// Whether this is the host that the client asked for: then only the path changes.
    pub is_clients: bool,
    /// The path that was put before the target; empty for none.
    pub base_path: &'a str,
}

/// Writes each `Location` that names the upstream back to what the client asked.
pub fn localize(headers: &mut Headers, itself: Itself<'_>) {
    if headers.contains("Location") && (!itself.is_clients || !itself.base_path.is_empty()) {
        headers.change("Location", |value| local(value, itself));
    }
}

/// The value for the client. `None`: as it is.
fn local(value: &[u8], itself: Itself<'_>) -> Option<Vec<u8>> {
    if value.contains(&b'\t') {
        return None;
    }
    let rest = match after_authority(value) {
        Some((authority, rest)) => Some(rest).filter(|_| is_same(authority, itself.host))?,
        None if value.first() == Some(&b'/') && !itself.base_path.is_empty() => value,
        None => return None,
    };
    let rest = rest.strip_prefix(itself.base_path.as_bytes())?;
    Some(match rest {
        [] | [b'?' | b'#', ..] => [b"/", rest].concat(),
        // Two slashes would begin a host.
        [b'/', b'/' | b'\\', ..] => [b"/.", rest].concat(),
        [b'/', ..] => rest.to_vec(),
        _ => return None,
    })
}

/// The authority of an absolute reference, or of one that begins with two slashes, and what follows it.
fn after_authority(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let starts = [&b"http://"[..], b"https://", b"//"];
    let rest = starts.iter().find_map(|start| {
        let (head, rest) = value.split_at_checked(start.len())?;
        head.eq_ignore_ascii_case(start).then_some(rest)
    })?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// Whether both name the same host and port. A default port may be written or not, and of either scheme: an upstream
/// behind TLS often does not know that it is.
fn is_same(authority: &[u8], host: &str) -> bool {
    let bare = |text: &[u8]| -> Vec<u8> {
        let bare = [&b":80"[..], b":443", b":"].iter().find_map(|port| text.strip_suffix(*port));
        bare.unwrap_or(text).to_ascii_lowercase()
    };
    bare(authority) == bare(host.as_bytes())
}

#[cfg(test)]
mod tests;
