//! Clients: what each has got, and what it concludes. The oracles of order, gaps, content and isolation.
//!
//! In: the bytes that have arrived on a client's wire. Out: a panic if these bytes break a promise.
//! Law: nothing here knows the system under test: it has its own readers of HTTP and of event streams.

use super::source::{GROUP, Kind, REPEATED, Sequence, THERE};
use crate::testing::received::{Place, Received};
use std::collections::VecDeque;

/// Takes the framing off an answer, as it arrives.
#[derive(Clone, Default, Debug)]
pub(super) struct Unframed {
    at: usize,
    state: Framing,
    pub(super) status: u16,
    pub(super) gap: Option<String>,
    pub(super) location: Option<String>,
    /// The part of the body that has arrived and was not taken out yet.
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Framing {
    #[default]
    Head,
    Size,
    Chunk(usize),
    Length(usize),
    UntilClose,
    Whole,
}

impl Unframed {
    /// More bytes have arrived. `wire`: all that have arrived, from the first byte on.
    pub(super) fn arrive(&mut self, wire: &[u8]) {
        loop {
            let rest = &wire[self.at..];
            match self.state {
                Framing::Head => {
                    let Some(end) = find(rest, b"\r\n\r\n") else { return };
                    let head = String::from_utf8_lossy(&rest[..end]).into_owned();
                    self.at += end + 4;
                    self.read_head(&head);
                }
                Framing::Size => {
                    let Some(end) = find(rest, b"\r\n") else { return };
                    let size = std::str::from_utf8(&rest[..end]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
                    let size = size.unwrap_or_else(|| panic!("no chunk size: {:?}", &rest[..end.min(20)]));
                    let whole = if size == 0 { end + 4 } else { end + 2 };
                    if rest.len() < whole {
                        return;
                    }
                    self.at += whole;
                    self.state = if size == 0 { Framing::Whole } else { Framing::Chunk(size + 2) };
                }
                Framing::Chunk(left) => {
                    let n = left.min(rest.len());
                    let data = n.min(left.saturating_sub(2));
                    self.body.extend_from_slice(&rest[..data]);
                    self.at += n;
                    if n < left {
                        self.state = Framing::Chunk(left - n);
                        return;
                    }
                    self.state = Framing::Size;
                }
                Framing::Length(left) => {
                    let n = left.min(rest.len());
                    self.at += n;
                    self.state = if n == left { Framing::Whole } else { Framing::Length(left - n) };
                    if n < left {
                        return;
                    }
                }
                Framing::UntilClose => {
                    self.body.extend_from_slice(rest);
                    self.at = wire.len();
                    return;
                }
                Framing::Whole => {
                    assert!(rest.is_empty(), "bytes after the end of an answer");
                    return;
                }
            }
        }
    }

    fn read_head(&mut self, head: &str) {
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        self.status = head.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        self.gap = field("Segno-Gap: ");
        self.location = field("Location: ");
        self.state = match (field("Content-Length: "), field("Transfer-Encoding: ")) {
            _ if self.status == 204 => Framing::Whole,
            (Some(n), _) => Framing::Length(n.parse().unwrap_or(0)),
            (None, Some(_)) => Framing::Size,
            (None, None) => Framing::UntilClose,
        };
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state == Framing::Whole
    }

    /// The next whole block of the body.
    pub(super) fn next_block(&mut self) -> Option<String> {
        let end = find(&self.body, b"\n\n")? + 2;
        let block = self.body.drain(..end).collect();
        Some(String::from_utf8(block).unwrap_or_else(|_| panic!("an event that is no text")))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

/// What a client knows of a sequence.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) sequence: Sequence,
    pub(super) last_id: Option<String>,
    /// The number of the last event, 0 before the first.
    pub(super) last: u64,
    /// Since that event, the client was told of a gap, or had not asked for anything in particular.
    pub(super) told: bool,
    /// Any number may follow: the client was told that upstream began again, or its upstream ignores what is asked.
    pub(super) any: bool,
    /// Nothing has come on this connection.
    pub(super) fresh: bool,
    /// The client asked without an id, and the first event of upstream's count has come. Another client may read a
    /// stream that the process found in its store, and of which it does not know where a count begins.
    counted: bool,
    pub(super) gaps: u64,
    /// The id of its last request, and whether it was told since that nothing is known of that id.
    pub(super) asked: Option<String>,
    pub(super) unknown: bool,
    /// Where the client is in streams that have ids of segno's own.
    place: Place,
    /// What came last, for messages.
    history: VecDeque<String>,
}

impl Seen {
    pub(super) fn new(sequence: Sequence) -> Self {
        // A call is read from its first event; a feed from wherever it is.
        let told = !sequence.kind.is_call();
        Self {
            sequence,
            last_id: None,
            last: 0,
            told,
            any: false,
            fresh: true,
            counted: false,
            gaps: 0,
            asked: None,
            unknown: false,
            place: Place::default(),
            history: VecDeque::new(),
        }
    }

    /// The client asks again, on a new connection.
    pub(super) fn ask(&mut self, request: &str) {
        self.place.ask(request);
        self.note(format!("asks after {:?}", self.last_id));
        (self.fresh, self.counted) = (true, false);
        (self.asked, self.unknown) = (self.last_id.clone(), false);
        let asks_for_nothing = self.last_id.is_none() && !self.sequence.kind.is_call();
        self.told |= asks_for_nothing;
        self.any |= asks_for_nothing;
    }

    /// The client was told of a gap.
    pub(super) fn tell(&mut self, reason: &str) {
        self.note(format!("told {reason}"));
        self.told = true;
        self.any |= reason == "restarted";
        self.unknown |= reason == "unknown";
        self.gaps += 1;
    }

    /// A block has arrived. `mute`: the client is deaf to gaps, which is a fault that must be found.
    pub(super) fn take(&mut self, block: &str, received: &Received, mute: bool) {
        let greeting = self.sequence.kind == Kind::Greets && self.last > 0 && block.ends_with(&self.sequence.text(1));
        if greeting {
            // Each connection begins with this event, so the client learns nothing. But its id is now the stream's
            // newest, and upstream may be asked for what comes after it.
            self.any = true;
            self.note("greeted".to_owned());
            return;
        }
        let fields: Vec<&str> = block.lines().filter(|line| !line.is_empty() && !line.starts_with(':')).collect();
        let field = |name: &str| fields.iter().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            // Several events may share an id, so nobody can tell whether the second one is of another count.
            let may_share = self.last_id.as_deref() == Some(id);
            self.any |= self.sequence.kind == Kind::Anew && (may_share || !self.counted);
            self.counted |= self.last_id.is_none() && self.sequence.id(1).as_deref() == Some(id);
            self.last_id = Some(id.to_owned());
        }
        if field("event: ") == Some("segno.gap") {
            if !mute {
                let reason = block.split("\"reason\":\"").nth(1).and_then(|rest| rest.split('"').next());
                self.tell(reason.unwrap_or_default());
            }
            return;
        }
        let Some(data) = field("data: ") else { return };
        let mut words = data.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (kind, owner, call, n) = (number(), number(), number(), number().unwrap_or(0));
        let of = (kind, owner, call);
        let s = self.sequence;
        assert_eq!(of, (Some(s.kind.number()), Some(s.owner), Some(s.call)), "{s:?} got what is another's: {data:.60}");
        let without_id: String = block.lines().filter(|l| l.starts_with("data")).map(|l| format!("{l}\n")).collect();
        assert!(without_id + "\n" == s.text(n), "{s:?}: event {n} is not what was sent: {block:.200}");
        if s.kind == Kind::Live {
            let what = self.place.take(received, block, self.last, n, self.told || self.any);
            let what = what.map_err(|what| {
                format!("{s:?} {:?}: {n} after {}: {what}, and nobody said so", self.history, self.last)
            });
            what.unwrap_or_else(|what| panic!("{what}"));
            // A client that has all that came begins anew, which is no gap.
            self.told = true;
        }
        self.number(n);
    }

    /// A block is lost on its way, and the client does not know: a fault that must be found. It comes back behind it.
    pub(super) fn lose(&mut self, block: &str) {
        let id = block.lines().find_map(|line| line.strip_prefix("id: "));
        self.last_id = id.map(str::to_owned).or(self.last_id.take());
        self.note("loses one".to_owned());
    }

    fn number(&mut self, n: u64) {
        let again = match self.sequence.kind {
            // After a shared id, the client may get the other events with that id again.
            Kind::Grouped if self.fresh => GROUP - 1,
            // What upstream repeats is new to a process that asks it for the first time.
            Kind::Repeats if self.fresh => REPEATED,
            _ => 0,
        };
        // Whether upstream has begun again can be told by its first ids, which a process that came later has not seen.
        self.any |= self.sequence.kind == Kind::Restarts;
        let (what, before) = (format!("{:?} {:?}", self.sequence, self.history), self.last);
        assert!(self.any || n + again > before, "{what}: {n} after {before}: repeated or out of order");
        // Where the bytes of its last event are not known, other events with the same id are taken for that event.
        let shared = if self.sequence.kind == Kind::Grouped && self.fresh { GROUP - 1 } else { 0 };
        let missing = n > before + 1 + shared;
        assert!(!missing || self.told || self.any, "{what}: {n} after {before}, and nobody said so");
        // Its cursor is at this event, even if an earlier event had a higher number.
        self.last = n;
        // After a greeting the stream may be anywhere.
        let was_greeting = self.sequence.kind == Kind::Greets && n == 1;
        (self.told, self.any, self.fresh) = (false, was_greeting, false);
        self.note(n.to_string());
    }

    fn note(&mut self, what: String) {
        if self.history.len() == 12 {
            self.history.pop_front();
        }
        self.history.push_back(what);
    }
}

/// A client, from its first connection to its last.
pub(super) struct Client {
    pub(super) seen: Seen,
    pub(super) old: bool,
    pub(super) end: Option<usize>,
    /// The client asked for new events alone.
    pub(super) joins_live: bool,
    /// The client was redirected: its next request goes there.
    pub(super) there: bool,
    /// The client has a POST on this connection whose answer has not come yet.
    pub(super) posting: bool,
    pub(super) slow: bool,
    /// Bytes of the wire that have arrived.
    pub(super) arrived: usize,
    pub(super) read: Unframed,
    /// The process that gave the client its last event, and how many sessions that process had forgotten by then: with
    /// a session, the store forgets what was delivered to it.
    pub(super) life: u64,
    pub(super) forgotten: u64,
}

impl Client {
    pub(super) fn new(sequence: Sequence, old: bool) -> Self {
        Self {
            seen: Seen::new(sequence),
            old,
            end: None,
            joins_live: false,
            there: false,
            posting: false,
            slow: false,
            arrived: 0,
            read: Unframed::default(),
            life: 0,
            forgotten: 0,
        }
    }

    pub(super) fn begin(&mut self) {
        (self.read, self.arrived) = (Unframed::default(), 0);
        self.posting = self.seen.sequence.kind.is_call();
    }

    pub(super) fn next_call(&mut self) {
        let sequence = Sequence { call: self.seen.sequence.call + 1, ..self.seen.sequence };
        self.seen = Seen::new(sequence);
        self.posting = false;
    }

    /// An answer has begun. False: there is nothing to read.
    pub(super) fn head(&mut self) -> bool {
        let is_call = self.seen.sequence.kind.is_call();
        if let Some(reason) = self.read.gap.take() {
            self.seen.tell(&reason);
        }
        match self.read.status {
            200 => return true,
            307 => {
                let there = format!("http://h{}{THERE}", self.seen.sequence.path());
                assert_eq!(self.read.location.as_ref(), Some(&there), "a redirect to somewhere else");
                self.there = true;
            }
            204 if is_call => self.finish(),
            502..=504 | 408 | 429 if !is_call => {}
            _ if is_call => self.next_call(),
            _ => {
                self.seen.last_id = None;
                self.seen.told = true;
            }
        }
        self.end = None;
        false
    }

    /// An answer has ended as it should.
    pub(super) fn finish(&mut self) {
        self.end = None;
        let Seen { sequence, last, told, .. } = self.seen;
        if sequence.kind.is_call() {
            let all = sequence.length();
            assert!(last == all || told, "{sequence:?}: a clean end after {last} of {all} events");
            self.next_call();
        }
    }
}
