//! Upstreams of every kind: what they send, where they go on, and how they refuse.
//!
//! In: request heads. Out: the next number to send on a connection, or a status; the text of any event.
//! Law: the text of an event depends only on its sequence and its number, so that any client can check all of it.

use crate::base::Random;

/// How an upstream behaves. Each has a route of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// Consecutive integers as ids; honours `Last-Event-ID`.
    Ids,
    /// Like [`Kind::Ids`], and sends again the event whose id is asked for.
    Repeats,
    /// Like [`Kind::Ids`], and ends each body cleanly after some events.
    Ends,
    /// Like [`Kind::Ids`], and greets each connection with its first event.
    Greets,
    /// Ids that are not numbers; honours the header.
    Opaque,
    /// Three events share each id; goes on after the first of them. The events are small, so that their bytes are held:
    /// an id alone does not tell them apart.
    Grouped,
    /// Knows only its last few events, and answers 410 to the id of an older one.
    Forgets,
    /// Ids, but ignores the header: begins at the first event each time.
    Restarts,
    /// A live feed without ids.
    Live,
    /// A call of MCP 2025-11-25 with ids, resumed by GET.
    McpIds,
    /// A call of MCP 2025-11-25 without ids.
    McpBare,
    /// A call of MCP 2026-07-28, which only its body says.
    Stateless,
    /// A plain POST without ids.
    Llm,
    /// Numbers each connection from 1, whatever is asked for, and sends what is new.
    Anew,
    /// Like [`Kind::Ids`], and compresses for whoever says that it takes gzip, as all its clients do. Nobody can go on
    /// in the middle of that, and the clients' readers cannot read it: segno must not pass their word on.
    Zips,
    /// Like [`Kind::Ids`], and redirects each request for its path to the same path with a query.
    Redirects,
    /// Like [`Kind::Ends`], and leaves out the blank line behind the last event of each body.
    Bare,
}

pub(super) const KINDS: [Kind; 17] = [
    Kind::Ids,
    Kind::Repeats,
    Kind::Ends,
    Kind::Greets,
    Kind::Opaque,
    Kind::Grouped,
    Kind::Forgets,
    Kind::Restarts,
    Kind::Live,
    Kind::McpIds,
    Kind::McpBare,
    Kind::Stateless,
    Kind::Llm,
    Kind::Anew,
    Kind::Zips,
    Kind::Redirects,
    Kind::Bare,
];

/// Where [`Kind::Redirects`] has its events.
pub(super) const THERE: &str = "?there";

/// Events that [`Kind::Forgets`] knows.
const KNOWN: u64 = 12;

/// Events that share an id of [`Kind::Grouped`].
pub(super) const GROUP: u64 = 3;

/// Events that [`Kind::Repeats`] sends again.
pub(super) const REPEATED: u64 = 1;

/// One sequence of events: a feed of one principal, or a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Sequence {
    pub(super) kind: Kind,
    pub(super) owner: u64,
    /// 0 for a feed.
    pub(super) call: u64,
}

/// What an upstream answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// A stream that goes on with this event.
    From(u64),
    Status(u16),
}

impl Kind {
    pub(super) fn number(self) -> u64 {
        KINDS.iter().position(|kind| *kind == self).map_or(0, |at| at as u64)
    }

    pub(super) fn is_call(self) -> bool {
        matches!(self, Self::McpIds | Self::McpBare | Self::Stateless | Self::Llm)
    }

    /// Whether a cut call is asked for again by GET.
    pub(super) fn resumes(self) -> bool {
        matches!(self, Self::McpIds | Self::McpBare | Self::Llm)
    }

    /// Lines that a client of it sends.
    pub(super) fn lines(self, owner: u64) -> String {
        match self {
            Self::McpIds | Self::McpBare => {
                format!("Mcp-Session-Id: s{owner}\r\nMCP-Protocol-Version: 2025-11-25\r\n")
            }
            Self::Zips => "Accept-Encoding: gzip, br\r\n".to_owned(),
            _ => String::new(),
        }
    }

    /// Whether all owners' events have the same ids.
    fn is_guessable(self) -> bool {
        matches!(self, Self::Ids | Self::Repeats | Self::Ends | Self::Zips | Self::Redirects | Self::Bare)
    }

    /// Whether its bodies end by themselves.
    pub(super) fn ends(self) -> bool {
        matches!(self, Self::Ends | Self::Bare)
    }
}

impl Sequence {
    /// The path it is asked for at.
    pub(super) fn path(&self) -> String {
        format!("/k{}/c{}", self.kind.number(), self.call)
    }

    /// What a request asks for.
    pub(super) fn of(head: &str) -> Option<Self> {
        let path = head.split(' ').nth(1)?.strip_prefix("/k")?;
        let (kind, call) = path.strip_suffix(THERE).unwrap_or(path).split_once("/c")?;
        let owner = head.lines().find_map(|line| line.strip_prefix("Authorization: "))?;
        let kind = KINDS.get(kind.parse::<usize>().ok()?)?;
        Some(Self { kind: *kind, owner: owner.parse().ok()?, call: call.parse().ok()? })
    }

    /// How many events a call has.
    pub(super) fn length(&self) -> u64 {
        if self.kind.is_call() { 1 + mix(self.call, self.owner) % 25 } else { u64::MAX }
    }

    /// What the numbers of its ids begin at. No other kind has them, and no other owner but of some kinds, whose ids can
    /// be guessed: there only the data tells whose an event is.
    fn base(&self) -> u64 {
        let owner = if self.kind.is_guessable() { 0 } else { self.owner };
        (self.kind.number() * 100 + owner) * 1_000_000
    }

    /// The id of an event as upstream sends it.
    pub(super) fn id(&self, n: u64) -> Option<String> {
        let base = self.base();
        match self.kind {
            Kind::Live | Kind::McpBare | Kind::Stateless | Kind::Llm => None,
            Kind::Opaque => Some(format!("e{:08x}.{}", mix(n, base) & 0xffff_ffff, base + n)),
            Kind::Grouped => Some((base + n.div_ceil(GROUP)).to_string()),
            Kind::McpIds => Some(format!("{}.{}", self.call, base + n)),
            _ => Some((base + n).to_string()),
        }
    }

    /// The event that an id names; the first one if several share the id.
    fn named(&self, id: &str) -> Option<u64> {
        let base = self.base();
        let n = id.rsplit('.').next()?.parse::<u64>().ok()?.checked_sub(base)?;
        Some(if self.kind == Kind::Grouped { (n - 1) * GROUP + 1 } else { n })
    }

    /// What upstream answers to a request, when this many events exist.
    pub(super) fn answer(&self, is_get: bool, id: Option<&str>, top: u64) -> Answer {
        if self.kind.is_call() && is_get && (self.kind != Kind::McpIds || id.is_none()) {
            return Answer::Status(405);
        }
        let after = id.and_then(|id| self.named(id));
        match (self.kind, after) {
            (Kind::Live, _) => Answer::From(top + 1),
            (Kind::Restarts, _) => Answer::From(1),
            (Kind::Anew, _) => Answer::From(top.saturating_sub(4).max(1)),
            (Kind::Forgets, Some(n)) if n + KNOWN < top => Answer::Status(410),
            (Kind::Repeats, Some(n)) => Answer::From(n.saturating_sub(REPEATED - 1).max(1)),
            (_, Some(n)) => Answer::From(n + 1),
            (_, None) if self.kind.is_call() || self.kind == Kind::Greets => Answer::From(1),
            (_, None) => Answer::From(top.saturating_sub(4).max(1)),
        }
    }

    /// An event without its id.
    pub(super) fn text(&self, n: u64) -> String {
        let mut random = Random::new(mix(n, self.kind.number() * 1_000 + self.owner * 7 + self.call * 11));
        let size = match random.below(120) {
            // Events that share an id are told apart by their bytes, which the log must hold for that.
            _ if self.kind == Kind::Grouped => random.below(30),
            // An event too large to hold reaches readers before it can be recognised as a repeat.
            _ if self.kind == Kind::Repeats => random.below(700),
            0 => 2_000 + random.below(7_000),
            1..=9 => 200 + random.below(600),
            _ => random.below(30),
        };
        let filler = "x".repeat(size as usize);
        format!("data: {} {} {} {n} {filler}\n\n", self.kind.number(), self.owner, self.call)
    }

    /// An event as upstream sends it on a connection that began with the event `first`.
    pub(super) fn event(&self, n: u64, first: u64) -> String {
        let number = if self.kind == Kind::Anew { 1 + n - first } else { n };
        let id = self.id(number).map(|id| format!("id: {id}\n")).unwrap_or_default();
        id + &self.text(n)
    }
}

fn mix(a: u64, b: u64) -> u64 {
    Random::new(a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b).next()
}
