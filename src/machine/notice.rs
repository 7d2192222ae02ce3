//! What the machine wants logged: values, so that tests read them and the shell writes them.
//!
//! In: what a reaction found. Out: one line of text for each notice.
//! Laws: each says what was being done, to what, and what happens next; notices are rare, and none is made per event;
//! none holds a query, which may hold a credential, nor a control character, and each has a bounded size.

use crate::base::{LEFT_OUT, Span, shown};
use crate::track::GapReason;
use std::fmt;

/// Bytes of a target in a notice, and of any other text.
const TARGET: usize = 200;

/// Method and target of a request as notices show them: without the query.
pub(super) fn target(line: &str) -> Box<str> {
    match line.split_once('?') {
        Some((path, _)) => format!("{}?{LEFT_OUT}", shown(path, TARGET)).into(),
        None => shown(line, TARGET),
    }
}

/// Why a connection to upstream could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// The name has no address, or the resolver is away.
    Unresolved,
    /// The port is closed.
    Refused,
    /// No route, no network.
    Unreachable,
    /// Nothing came back in time.
    TimedOut,
    /// The connection ended before the TLS handshake did.
    HandshakeCut,
    /// The certificate is not trusted or not valid.
    Certificate,
    /// What came back is not TLS.
    NotTls,
    /// The two sides could not agree on TLS.
    Tls,
    /// Out of file descriptors.
    NoDescriptor,
    /// Out of memory, or another failure of this machine.
    Local,
}

impl ConnectError {
    /// Whether something is wrong that does not pass by itself, as opposed to an upstream that is away.
    pub(super) fn is_wrong(self) -> bool {
        matches!(self, Self::Certificate | Self::NotTls | Self::Tls)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unresolved => "its name could not be resolved to an address",
            Self::Refused => "connection refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::HandshakeCut => "the connection ended inside the TLS handshake",
            Self::Certificate => "its TLS certificate is not accepted",
            Self::NotTls => "it does not speak TLS on this port",
            Self::Tls => "it refused the TLS handshake",
            Self::NoDescriptor => "no file descriptor is left on this machine",
            Self::Local => "out of resources on this machine",
        })
    }
}

/// Something worth a log line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// An event stream has lost its upstream, and its rest will be asked for.
    HealBegan {
        /// Method and target.
        target: Box<str>,
    },
    /// Upstream has answered with the rest of the stream.
    Healed {
        /// Method and target.
        target: Box<str>,
        /// Attempts it took.
        tries: u32,
        /// From the cut to the answer.
        took: Span,
    },
    /// A client of a stream is cut, since the stream cannot go on for it.
    NotHealed {
        /// Method and target.
        target: Box<str>,
        /// Why.
        why: Box<str>,
    },
    /// A stream is dropped: no client came back before its time or its bytes ran out.
    LetGo {
        /// Method and target.
        target: Box<str>,
    },
    /// A stream that nobody reads is dropped: places are short, or its principal or address has too many.
    CrowdedOut {
        /// Method and target.
        target: Box<str>,
    },
    /// An attempt to reach upstream failed. Another follows, or the client is answered or cut.
    AttemptFailed {
        /// Method and target.
        target: Box<str>,
        /// What went wrong.
        why: Box<str>,
        /// Time to the next attempt; `None` when there is none.
        next: Option<Span>,
    },
    /// A gap was stated to a client.
    Gap {
        /// Method and target.
        target: Box<str>,
        /// Why events are gone.
        reason: GapReason,
    },
    /// An event stream came in a content coding and passes untracked.
    EncodedStream {
        /// Method and target.
        target: Box<str>,
    },
    /// Upstream broke HTTP's rules.
    Malformed {
        /// Method and target.
        target: Box<str>,
        /// What it did.
        why: Box<str>,
    },
    /// A request was refused by segno itself.
    RequestRefused {
        /// The status it got.
        status: u16,
        /// Why.
        why: Box<str>,
    },
    /// All places for streams or connections are taken.
    Full {
        /// What could not get a place.
        what: &'static str,
    },
}

impl Notice {
    /// Whether somebody should act on it.
    pub fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::HealBegan { .. }
                | Self::Healed { .. }
                | Self::LetGo { .. }
                | Self::CrowdedOut { .. }
                | Self::RequestRefused { .. }
        )
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HealBegan { target } => {
                write!(f, "{target}: the event stream lost its upstream; asking for the rest")
            }
            Self::Healed { target, tries, took } => {
                write!(f, "{target}: healed after {}, attempts: {tries}; the event stream goes on", took.rough())
            }
            Self::NotHealed { target, why } => write!(f, "{target}: {why}; the client is cut and may come back"),
            Self::LetGo { target } => {
                write!(f, "{target}: nobody came back to the event stream within its `linger` bounds; dropping it")
            }
            Self::CrowdedOut { target } => {
                write!(f, "{target}: nobody reads the event stream and its place is needed; dropping it")
            }
            Self::AttemptFailed { target, why, next: Some(next) } => {
                write!(f, "{target}: {why}; trying again in {}", next.rough())
            }
            Self::AttemptFailed { target, why, next: None } => {
                write!(f, "{target}: {why}; giving up, with no further attempt")
            }
            Self::Gap { target, reason } => {
                write!(f, "{target}: events are missing ({}); the client is told of the gap", reason.as_str())
            }
            Self::EncodedStream { target } => {
                write!(
                    f,
                    "{target}: upstream compressed the event stream; passing it on as it is, without resume or heal"
                )
            }
            Self::Malformed { target, why } => {
                write!(f, "{target}: upstream broke HTTP's rules: {why}; dropping its connection")
            }
            Self::RequestRefused { status, why } => {
                write!(f, "refused a request with status {status}: {why}; closing its connection")
            }
            Self::Full { what } => {
                write!(f, "all places for a {what} are taken; new requests are refused or wait until one is free")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notice_has_words_of_its_own_and_names_what_it_is_about() {
        let (target, why) = (|| "GET /feed".into(), || "it broke".into());
        let (next, took) = (Some(Span::from_secs(7)), Span::from_secs(8));
        let reason = GapReason::Refused;
        let all = [
            (Notice::HealBegan { target: target() }, vec!["GET /feed"]),
            (Notice::Healed { target: target(), tries: 3, took }, vec!["GET /feed", "3", "8"]),
            (Notice::NotHealed { target: target(), why: why() }, vec!["GET /feed", "it broke"]),
            (Notice::LetGo { target: target() }, vec!["GET /feed"]),
            (Notice::CrowdedOut { target: target() }, vec!["GET /feed", "place"]),
            (Notice::AttemptFailed { target: target(), why: why(), next }, vec!["GET /feed", "it broke", "7"]),
            (Notice::AttemptFailed { target: target(), why: why(), next: None }, vec!["GET /feed", "giving up"]),
            (Notice::Gap { target: target(), reason }, vec!["GET /feed", "refused"]),
            (Notice::EncodedStream { target: target() }, vec!["GET /feed"]),
            (Notice::Malformed { target: target(), why: why() }, vec!["GET /feed", "it broke"]),
            (Notice::RequestRefused { status: 431, why: why() }, vec!["431", "it broke"]),
            (Notice::Full { what: "stream" }, vec!["stream"]),
        ];
        let mut lines = std::collections::HashSet::new();
        for (notice, parts) in all {
            let line = notice.to_string();
            assert!(parts.iter().all(|part| line.contains(part)) && !line.contains('\n'), "{line}");
            assert!(lines.insert(line), "{notice}");
        }
    }

    #[test]
    fn a_target_is_shown_without_its_query_and_cut() {
        assert_eq!(&*target("GET /feed"), "GET /feed");
        assert_eq!(&*target("GET /feed?access_token=secret"), "GET /feed?...");
        let long = target(&format!("GET /{}\u{20ac}?t=secret", "x".repeat(193)));
        assert_eq!(&*long, format!("GET /{}...?...", "x".repeat(193)));
        assert_eq!(&*target("GET /a\u{202e}b"), "GET /a\\u{202e}b");
    }

    #[test]
    fn each_reason_why_upstream_cannot_be_reached_has_words_of_its_own() {
        use ConnectError::*;
        let away = [Unresolved, Refused, Unreachable, TimedOut, HandshakeCut, NoDescriptor, Local];
        let wrong = [Certificate, NotTls, Tls];
        assert!(wrong.iter().all(|why| why.is_wrong()) && !away.iter().any(|why| why.is_wrong()));
        let words: std::collections::HashSet<_> = away.iter().chain(&wrong).map(ToString::to_string).collect();
        assert_eq!(words.len(), 10);
    }
}
