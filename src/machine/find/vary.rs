//! Which requests one answer is good for: what a shared stream may be given to.
//!
//! In: heads as they go upstream, `Vary` of upstream's answers. Out: whether two requests get the same answer.
//! Laws: while it is not known by what the answer varies, only requests that say the same share it; `Vary: *` shares
//! nothing.
//! Source: RFC 9110, section 12.5.5 (`Vary`); RFC 9111, section 4.1.

use super::principal::is_of_one_request;
use crate::http::{Headers, ResponseHead};
use std::hash::Hasher;

/// Bytes of the names by which an answer varies. An answer with more of them is not shared.
const MOST: usize = 512;

/// Bytes of the lines that name one request, as far as they are kept while it waits for the answer to another.
const NAMES: usize = 1 << 10;

/// The names by which an answer varies, with those of an earlier answer of the same stream. `None`: by nothing.
pub(in crate::machine) fn varies(head: &ResponseHead, before: Option<&[u8]>) -> Option<Box<[u8]>> {
    let said = named(&head.headers);
    let names = match before {
        Some(before) if said.is_empty() || before == said => before.to_vec(),
        Some(before) => [before, b",", &said].concat(),
        None => said,
    };
    (!names.is_empty()).then(|| if names.len() > MOST { Box::from(&b"*"[..]) } else { names.into() })
}

fn named(headers: &Headers) -> Vec<u8> {
    headers.get_all("Vary").filter(|names| !names.is_empty()).collect::<Vec<_>>().join(&b","[..])
}

/// Whether an answer that varies by these names is the same for two requests, given their heads for upstream.
pub(super) fn is_same_for(varies: Option<&[u8]>, a: &[u8], b: &[u8]) -> bool {
    let mut names = varies.unwrap_or_default().split(|&b| b == b',').map(<[u8]>::trim_ascii);
    names.all(|name| name.is_empty() || name != b"*" && values(a, name).eq(values(b, name)))
}

fn values<'h>(head: &'h [u8], name: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
    lines(head).filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Whether two requests say the same to upstream, but for what names the one request.
pub(super) fn say_the_same(a: &[u8], b: &[u8]) -> bool {
    let lasting = |head| lines(head).filter(|(name, _)| !is_of_one_request(name));
    lasting(a).eq(lasting(b))
}

/// A head that segno wrote, without the lines that name the one request.
pub(in crate::machine) fn without_names_of_request(head: &[u8]) -> Box<[u8]> {
    let of_one = |line: &&[u8]| memchr::memchr(b':', line).is_some_and(|at| is_of_one_request(&line[..at]));
    let mut lines = head.split_inclusive(|&b| b == b'\n');
    // The request line may have a colon, too.
    let first = lines.next().unwrap_or_default();
    let kept: Vec<&[u8]> = std::iter::once(first).chain(lines.filter(|line| !of_one(line))).collect();
    kept.concat().into()
}

/// The lines of a head that segno wrote that name the one request, as far as they fit into [`NAMES`].
pub(in crate::machine) fn names_of_request(head: &[u8]) -> Box<[u8]> {
    let of_one = |line: &&[u8]| memchr::memchr(b':', line).is_some_and(|at| is_of_one_request(&line[..at]));
    let mut names = Vec::new();
    for line in head.split_inclusive(|&b| b == b'\n').skip(1).filter(of_one) {
        if names.len() + line.len() <= NAMES {
            names.extend_from_slice(line);
        }
    }
    names.into()
}

/// A hash for finding requests that say the same.
pub(super) fn variant(head: &[u8], mut hash: impl Hasher) -> u64 {
    lines(head).filter(|(name, _)| !is_of_one_request(name)).for_each(|(name, value)| {
        hash.write(name);
        hash.write(value);
    });
    hash.finish()
}

/// A hash for finding requests that get the same answer, where answers vary by these names.
pub(super) fn variant_by(names: &[u8], head: &[u8], mut hash: impl Hasher) -> u64 {
    for name in names.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
        hash.write(&name.to_ascii_lowercase());
        for value in values(head, name) {
            hash.write_usize(value.len());
            hash.write(value);
        }
    }
    hash.finish()
}

/// The header lines of a head that segno wrote, but for `Host`: what the client asked for is compared as its target, and
/// which of several upstreams a request is led to makes it no other request.
fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|&b| b == b'\n').skip(1).filter_map(|line| {
        let at = memchr::memchr(b':', line)?;
        Some((&line[..at], line[at + 1..].trim_ascii()))
    });
    lines.filter(|(name, _)| !name.eq_ignore_ascii_case(b"host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Language: de\r\nTraceparent: 1\r\n";

    fn other(from: &str, to: &str) -> Vec<u8> {
        String::from_utf8_lossy(HEAD).replace(from, to).into_bytes()
    }

    #[test]
    fn an_answer_is_good_for_requests_with_the_values_that_it_varies_by() {
        let same = |names: &str, head: &[u8]| is_same_for(Some(names.as_bytes()), HEAD, head);
        assert!(is_same_for(None, HEAD, &other("de", "en")) && same("Origin, accept", &other("de", "en")));
        assert!(!same("Origin,accept-language", &other("de", "en")) && same("accept-language", HEAD));
        assert!(!same("Accept-Language", &other("Accept-Language: de\r\n", "")));
        assert!(!same("Origin", &other("Host", "Origin: null\r\nHost")) && !same("origin, *", HEAD));
    }

    #[test]
    fn requests_that_differ_in_what_lasts_do_not_say_the_same() {
        assert!(say_the_same(HEAD, &other("t: 1", "t: 2")));
        assert!(!say_the_same(HEAD, &other("de", "en")));
        // The client's host is a part of its target.
        assert!(say_the_same(HEAD, &other("Host: h", "Host: g")));
    }

    #[test]
    fn what_a_stream_varies_by_is_bounded_and_is_never_forgotten() {
        let of = |names: &str, before: Option<&[u8]>| {
            let mut head = ResponseHead::ok();
            head.headers.push("vary", names.as_bytes()).unwrap();
            varies(&head, before).map(Vec::from)
        };
        assert_eq!(varies(&ResponseHead::ok(), None), None);
        assert_eq!(of("Origin", None), Some(b"Origin".to_vec()));
        assert_eq!(of("Accept", Some(b"Origin")), Some(b"Origin,Accept".to_vec()));
        assert_eq!(of("Origin", Some(b"Origin")), Some(b"Origin".to_vec()));
        assert_eq!(of(&"x".repeat(600), None), Some(b"*".to_vec()));
    }
}
