//! What the machine wants logged: values, so that tests read them and the shell writes them.
//!
//! In: what a reaction found. Out: one line of text for each notice.
//! Laws: each says what was being done, to what, and what happens next; notices are rare, and none is made per event;
//! none holds a query, which may hold a credential, nor what follows a `;`, nor a control character, and each has a
//! bounded size.

use crate::base::{LEFT_OUT, Span, shown};
use crate::track::GapReason;
use std::fmt;

/// Bytes of a target in a notice, and of any other text.
const TARGET: usize = 200;

/// Method and target of a request as notices show them: without the query, and without parameters of a path segment.
pub(super) fn target(line: &str) -> Box<str> {
    match line.find(['?', ';']).map(|at| line.split_at(at)) {
        Some((path, rest)) => format!("{}{}{LEFT_OUT}", shown(path, TARGET), &rest[..1]).into(),
        None => shown(line, TARGET),
    }
}

/// What a notice is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// Method and target of a request.
    pub target: Box<str>,
    /// The number of the event stream, if the answer is one.
    pub stream: Option<u64>,
    /// The id of the request.
    pub request: Box<str>,
    /// The id of its trace, if it belongs to one.
    pub trace: Option<u128>,
}

impl Subject {
    /// Method and target, in bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.target.as_bytes()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)
    }
}

impl From<&str> for Subject {
    fn from(target: &str) -> Self {
        Self { target: target.into(), stream: None, request: "".into(), trace: None }
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
        /// The request.
        target: Subject,
    },
    /// Upstream has answered with the rest of the stream.
    Healed {
        /// The request.
        target: Subject,
        /// Attempts it took.
        tries: u32,
        /// From the cut to the answer.
        took: Span,
    },
    /// A client of a stream is cut, since the stream cannot go on for it.
    NotHealed {
        /// The request.
        target: Subject,
        /// Why.
        why: Box<str>,
    },
    /// A stream is dropped with something that no client has got: nobody came back before its time or its bytes ran
    /// out.
    LetGo {
        /// The request.
        target: Subject,
        /// Events in its log that no client has got.
        events: usize,
    },
    /// A stream that nobody reads is dropped: places are short, or its principal or address has too many.
    CrowdedOut {
        /// The request.
        target: Subject,
    },
    /// An attempt to reach upstream failed. Another follows, or the client is answered or cut.
    AttemptFailed {
        /// The request.
        target: Subject,
        /// What went wrong.
        why: Box<str>,
        /// Time to the next attempt; `None` when there is none.
        next: Option<Span>,
        /// Another notice tells why already.
        is_known: bool,
    },
    /// An upstream cannot be reached, or answers no attempt. Whatever waits for it is held.
    UpstreamAway {
        /// Its host and port.
        upstream: Box<str>,
        /// What went wrong first.
        why: Box<str>,
    },
    /// An upstream that was away answers again.
    UpstreamBack {
        /// Its host and port.
        upstream: Box<str>,
        /// How long it was away.
        after: Span,
        /// Streams and requests that were held.
        held: usize,
    },
    /// An upstream of several could not be reached, and the next one is asked.
    TriedNext {
        /// The request.
        target: Subject,
        /// What went wrong.
        why: Box<str>,
        /// Host and port of the next one.
        next: Box<str>,
    },
    /// One of several upstreams fails, and gets no new requests for a while.
    UpstreamEjected {
        /// Its host and port.
        upstream: Box<str>,
        /// What went wrong last.
        why: Box<str>,
        /// For how long; `None`: until its checks are good again.
        until: Option<Span>,
    },
    /// The checks of an upstream fail, and it is used on: it is the only one, or too many are left out already.
    ChecksFail {
        /// Its host and port.
        upstream: Box<str>,
        /// What went wrong last.
        why: Box<str>,
    },
    /// The checks of an upstream, which was used on, are good again.
    ChecksPass {
        /// Its host and port.
        upstream: Box<str>,
    },
    /// One of several upstreams gets requests again.
    UpstreamReturned {
        /// Its host and port.
        upstream: Box<str>,
        /// How long it got none.
        after: Span,
    },
    /// A gap was stated to a client.
    Gap {
        /// The request.
        target: Subject,
        /// Why events are gone.
        reason: GapReason,
    },
    /// An event stream came in a content coding and passes untracked.
    EncodedStream {
        /// The request.
        target: Subject,
    },
    /// Upstream broke HTTP's rules.
    Malformed {
        /// The request.
        target: Subject,
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
    /// The machine drains.
    Draining {
        /// Event streams that are ended so that their clients go on elsewhere.
        leave: usize,
        /// Event streams that nobody else can go on with.
        stay: usize,
        /// Over what time clients are sent elsewhere.
        spread: Span,
        /// How long the others have.
        within: Span,
    },
}

impl Notice {
    /// What it is about, if that is a request.
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::HealBegan { target }
            | Self::Healed { target, .. }
            | Self::NotHealed { target, .. }
            | Self::LetGo { target, .. }
            | Self::CrowdedOut { target }
            | Self::AttemptFailed { target, .. }
            | Self::TriedNext { target, .. }
            | Self::Gap { target, .. }
            | Self::EncodedStream { target }
            | Self::Malformed { target, .. } => Some(target),
            Self::UpstreamAway { .. }
            | Self::UpstreamBack { .. }
            | Self::UpstreamEjected { .. }
            | Self::UpstreamReturned { .. }
            | Self::ChecksFail { .. }
            | Self::ChecksPass { .. }
            | Self::RequestRefused { .. }
            | Self::Full { .. }
            | Self::Draining { .. } => None,
        }
    }

    /// Whether it is for those who search for a fault: one of many that an outage leads to, or the beginning of what
    /// another notice ends.
    pub fn is_detail(&self) -> bool {
        match self {
            Self::HealBegan { .. } | Self::TriedNext { .. } => true,
            Self::Healed { tries, .. } => *tries > 1,
            Self::AttemptFailed { is_known, .. } => *is_known,
            _ => false,
        }
    }

    /// Whether somebody should act on it.
    pub fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::HealBegan { .. }
                | Self::Healed { .. }
                | Self::LetGo { .. }
                | Self::CrowdedOut { .. }
                | Self::UpstreamBack { .. }
                | Self::UpstreamReturned { .. }
                | Self::ChecksPass { .. }
                | Self::TriedNext { .. }
                | Self::RequestRefused { .. }
                | Self::Draining { .. }
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
            Self::LetGo { target, events } => {
                write!(
                    f,
                    "{target}: nobody came back to the event stream within its `linger` bounds; dropping it with \
                     {events} events that no client has got, and with what upstream would still have sent"
                )
            }
            Self::UpstreamAway { upstream, why } => {
                write!(f, "upstream {upstream} is away ({why}); what can wait for it is held and tried again")
            }
            Self::UpstreamBack { upstream, after, held } => {
                let after = after.rough();
                write!(f, "upstream {upstream} is back after {after}; {held} streams and requests were held")
            }
            Self::TriedNext { target, why, next } => write!(f, "{target}: {why}; trying upstream {next}"),
            Self::UpstreamEjected { upstream, why, until } => {
                write!(f, "upstream {upstream} fails ({why}); the other upstreams get its new requests ")?;
                match until {
                    Some(span) => write!(f, "for {}", span.rough()),
                    None => f.write_str("until its checks are good again"),
                }
            }
            Self::ChecksFail { upstream, why } => {
                write!(f, "checks of upstream {upstream} fail ({why}); no other can take its requests, so it gets them")
            }
            Self::ChecksPass { upstream } => write!(f, "checks of upstream {upstream} are good again"),
            Self::UpstreamReturned { upstream, after } => {
                write!(f, "upstream {upstream} gets new requests again, after {}", after.rough())
            }
            Self::CrowdedOut { target } => {
                write!(f, "{target}: nobody reads the event stream and its place is needed; dropping it")
            }
            Self::AttemptFailed { target, why, next: Some(next), .. } => {
                write!(f, "{target}: {why}; trying again in {}", next.rough())
            }
            Self::AttemptFailed { target, why, next: None, .. } => {
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
            Self::Draining { leave, stay, spread, within } => {
                write!(
                    f,
                    "draining: {leave} event streams go on elsewhere, their clients spread over {}; {stay} cannot, and \
                     have {} to end, as other answers have",
                    spread.rough(),
                    within.rough()
                )
            }
            Self::Full { what } => {
                write!(f, "all places for a {what} are taken; new requests are refused or wait until one is free")
            }
        }
    }
}

#[cfg(test)]
mod tests;
