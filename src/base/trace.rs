//! Traces: which trace a request belongs to, and what is told of a part of it once that part is over.
//!
//! In: values of `traceparent`; what the layers have noted. Out: a [`TraceContext`]; a [`TraceSpan`] for each part.
//! Laws: a value that breaks the format is none; a span is told of once, at its end, and never for a single event.
//! Source: W3C Trace Context, level 2 (`traceparent`).

use super::time::Tick;
use std::fmt;

/// Bytes of a `traceparent` of version 00.
const TRACEPARENT: usize = 55;

/// The header that names the trace of a request.
pub const TRACEPARENT_HEADER: &str = "traceparent";

/// Flags that are passed on: sampled, and that the id of the trace is random.
const KNOWN_FLAGS: u8 = 3;

/// A place in a trace: its id, the span there, and its flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The id of the trace. Never 0.
    pub trace: u128,
    /// The id of the span. Never 0.
    pub span: u64,
    /// The lowest bit: the trace is recorded.
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`. A version above 00 may have more behind what version 00 has.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(TRACEPARENT)?;
        let parts = [hex(&known[..2])?, hex(&known[3..35])?, hex(&known[36..52])?, hex(&known[53..])?];
        let [version, trace, span, flags] = parts;
        let has_form = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let may_end = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(flags).ok()? & KNOWN_FLAGS);
        (has_form && may_end && trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 != 0
    }

    /// The id of the trace, as logs and collectors write it.
    pub fn trace_hex(self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceContext {
    /// Writes it as a `traceparent` of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// A number of lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |n, digit| match digit {
        b'0'..=b'9' => Some(n << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(n << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

/// What part of the work a span tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceKind {
    /// A client's request, from its head to the end of its answer.
    Exchange,
    /// Upstream is asked for the first time: from the first attempt to the head of its answer, or to the end of the
    /// attempts.
    Ask,
    /// From the cut of a stream to the answer that goes on with it, or to the end of the attempts.
    Heal,
    /// What a client had missed, from its return to the last such event that its socket took.
    Replay,
    /// A question to the store, and the wait for its answer.
    Lookup,
    /// Cursors or events that are due go to the store together.
    Batch,
    /// The store's part of it.
    Call,
}

impl TraceKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Ask => "upstream request",
            Self::Heal => "heal",
            Self::Replay => "replay",
            Self::Lookup => "store look-up",
            Self::Batch => "batch flush",
            Self::Call => "store call",
        }
    }
}

/// What a span says beside its times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// A text.
    Text(Box<str>),
    /// A number.
    Number(u64),
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Fact {
    fn from(n: u64) -> Self {
        Self::Number(n)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(n) => n.fmt(f),
        }
    }
}

/// A part of the work of a recorded trace, which is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceSpan {
    /// What part it is.
    pub kind: TraceKind,
    /// Its own place in the trace.
    pub context: TraceContext,
    /// The span that it is a part of, here or with the client. `None`: it begins the trace.
    pub parent: Option<u64>,
    /// The place in another trace that it has to do with.
    pub link: Option<TraceContext>,
    /// The client's `tracestate`.
    pub state: Box<str>,
    /// When it began.
    pub began: Tick,
    /// When it ended.
    pub ended: Tick,
    /// What went wrong, in one word of a small vocabulary.
    pub error: Option<Box<str>>,
    /// What else there is to say, by the names of OpenTelemetry where it has one.
    pub facts: Vec<(&'static str, Fact)>,
}

impl TraceSpan {
    /// A part of this kind, of which nothing else is said yet.
    pub fn new(kind: TraceKind, context: TraceContext, parent: Option<u64>, began: Tick, ended: Tick) -> Self {
        let (link, state, error, facts) = (None, "".into(), None, Vec::new());
        Self { kind, context, parent, link, state, began, ended, error, facts }
    }

    /// Says one thing more.
    pub fn say(&mut self, name: &'static str, what: impl Into<Fact>) {
        self.facts.push((name, what.into()));
    }

    /// Says it in the place of what was said under this name before.
    pub fn say_now(&mut self, name: &'static str, what: impl Into<Fact>) {
        self.facts.retain(|(known, _)| *known != name);
        self.say(name, what);
    }

    /// What was said under this name.
    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|(known, _)| *known == name).map(|(_, what)| what)
    }
}

/// Which share of traces is recorded, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct TraceShare(u32);

impl TraceShare {
    /// All of them.
    pub const ALL: Self = Self(1_000_000);

    /// So many of a million; more is all.
    pub const fn millionths(n: u32) -> Self {
        Self(if n > Self::ALL.0 { Self::ALL.0 } else { n })
    }

    /// The share, in millionths.
    pub const fn in_millionths(self) -> u32 {
        self.0
    }

    /// Whether a trace is in the share: as `TraceIdRatioBased` of OpenTelemetry decides, so that all who go by the same
    /// share choose the same traces.
    pub const fn takes(self, trace: u128) -> bool {
        let below = (1u128 << 63) * self.0 as u128 / Self::ALL.0 as u128;
        ((trace as u64) >> 1) < below as u64
    }
}

impl fmt::Display for TraceShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n if n == Self::ALL.0 => f.write_str("1"),
            n => f.write_str(format!("0.{n:06}").trim_end_matches('0')),
        }
    }
}

impl std::str::FromStr for TraceShare {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "write a share from 0 to 1, such as 0.01, with at most 6 decimals";
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(decimals) || decimals.len() > 6 || whole.len() > 1 {
            return Err(WRONG);
        }
        let n: u32 = format!("{whole}{decimals:0<6}").parse().map_err(|_| WRONG)?;
        if n <= Self::ALL.0 { Ok(Self(n)) } else { Err(WRONG) }
    }
}

#[cfg(test)]
mod tests;
