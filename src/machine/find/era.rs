//! Which protocol a request speaks, as far as that changes what segno may do with it.
//!
//! In: request heads, and the revision that a body gives. Out: an [`Era`].
//! Law: a header goes before the body, and without either a request is plain HTTP.
//! Source: Model Context Protocol, transports, revisions 2025-03-26 to 2026-07-28: up to 2025-11-25 a disconnect is not
//! a cancel and a stream is resumed by GET with `Last-Event-ID`; from 2026-07-28 closing a stream cancels it.

use crate::config::Route;
use crate::http::Headers;

/// The first revision in which closing a stream cancels what it carries.
const CLOSING_CANCELS: &[u8] = b"2026-07-28";

/// The first revision whose clients understand an event with an id and no data.
const PRIMES: &[u8] = b"2025-11-25";

/// What a request speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::machine) enum Era {
    /// HTTP without a protocol that segno knows.
    #[default]
    Plain,
    /// MCP up to 2025-11-25.
    Resumable {
        /// The client understands an event that has an id and no data.
        primes: bool,
    },
    /// MCP from 2026-07-28 on: passes through untouched.
    Stateless,
}

impl Era {
    /// What the headers tell.
    pub(in crate::machine) fn of(headers: &Headers, route: &Route) -> Self {
        match headers.get("MCP-Protocol-Version") {
            Some(revision) => Self::of_revision(revision),
            None if route.session_header.eq_ignore_ascii_case("Mcp-Session-Id")
                && headers.contains("Mcp-Session-Id") =>
            {
                Self::Resumable { primes: false }
            }
            None => Self::Plain,
        }
    }

    /// The era by the `_meta` of a request's body. Only requests from 2026-07-28 on have a revision there, so a
    /// revision that is not a date is a draft of a later one.
    pub(in crate::machine) fn of_body(revision: &[u8]) -> Self {
        if is_date(revision) { Self::of_revision(revision) } else { Self::Stateless }
    }

    /// Whether the headers settle the era, so that the body need not be asked.
    pub(in crate::machine) fn is_told(headers: &Headers) -> bool {
        headers.contains("MCP-Protocol-Version")
    }

    /// Revisions are dates. Their bytes sort as the dates do.
    fn of_revision(revision: &[u8]) -> Self {
        if is_date(revision) && revision >= CLOSING_CANCELS {
            return Self::Stateless;
        }
        Self::Resumable { primes: is_date(revision) && revision >= PRIMES }
    }

    pub(in crate::machine) fn is_resumable_mcp(self) -> bool {
        matches!(self, Self::Resumable { .. })
    }
}

fn is_date(text: &[u8]) -> bool {
    text.len() == 10
        && text.iter().enumerate().all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;

    fn era(lines: &[(&str, &str)]) -> Era {
        let mut headers = Headers::new();
        lines.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()).unwrap());
        Era::of(&headers, &Route::new(Upstream::parse("http://h").unwrap()))
    }

    #[test]
    fn revisions_fall_into_their_eras() {
        let version = |v| era(&[("mcp-protocol-version", v)]);
        assert_eq!(era(&[]), Era::Plain);
        assert_eq!(era(&[("Mcp-Session-Id", "s")]), Era::Resumable { primes: false });
        assert_eq!(version("2025-03-26"), Era::Resumable { primes: false });
        assert_eq!(version("2025-11-25"), Era::Resumable { primes: true });
        assert_eq!(version("2026-07-28"), Era::Stateless);
        assert_eq!(version("2027-01-01"), Era::Stateless);
        assert_eq!(version("DRAFT"), Era::Resumable { primes: false });
    }

    #[test]
    fn a_revision_in_a_body_is_a_date_or_a_later_draft() {
        assert_eq!(Era::of_body(b"2025-11-25"), Era::Resumable { primes: true });
        assert_eq!(Era::of_body(b"2026-07-28"), Era::Stateless);
        assert_eq!(Era::of_body(b"DRAFT-2027-"), Era::Stateless);
    }
}
