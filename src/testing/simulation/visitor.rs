//! A client in the simulation of two instances: what it asks for, and what it makes of what comes.
//!
//! In: blocks of events, statuses. Out: requests; a panic where something came twice, or is missing and nobody said so.
//! Law: it knows nothing of the instances but what they send.

use super::client::Unframed;
use std::collections::{HashSet, VecDeque};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Ids,
    Feed,
    Order,
}

pub(super) struct Client {
    pub(super) kind: Kind,
    pub(super) n: usize,
    /// Which order.
    pub(super) call: u64,
    pub(super) at: Option<(usize, usize)>,
    pub(super) read: Unframed,
    pub(super) last_id: Option<String>,
    pub(super) last: u64,
    pub(super) told: bool,
    pub(super) history: VecDeque<String>,
}

impl Client {
    pub(super) fn new(n: usize) -> Self {
        let kind = [Kind::Ids, Kind::Feed, Kind::Order][n % 3];
        Self {
            kind,
            n,
            call: 0,
            at: None,
            read: Unframed::default(),
            last_id: None,
            last: 0,
            told: false,
            history: VecDeque::new(),
        }
    }

    pub(super) fn path(&self) -> String {
        match self.kind {
            Kind::Ids => format!("/ids/{}", self.n),
            Kind::Feed => format!("/feed/{}", self.n),
            Kind::Order => format!("/order/{}-{}", self.n, self.call),
        }
    }

    pub(super) fn request(&self) -> String {
        let method = if self.kind == Kind::Order { "POST" } else { "GET" };
        let id = self.last_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let body = if self.kind == Kind::Order { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
        format!("{method} {} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{id}{body}", self.path())
    }

    pub(super) fn note(&mut self, what: String) {
        self.history.push_back(what);
        if self.history.len() > 12 {
            self.history.pop_front();
        }
    }

    /// The next order is another one.
    pub(super) fn order_anew(&mut self) {
        (self.call, self.last_id, self.last, self.told) = (self.call + 1, None, 0, false);
    }

    pub(super) fn tell(&mut self, reason: &str, mute: bool) {
        self.note(format!("told {reason}"));
        self.told |= !mute;
    }

    /// A block has come. `ends`: the numbers of the events with which upstream's bodies of this feed have ended.
    pub(super) fn take(&mut self, block: &str, mute: bool, ends: &HashSet<u64>) {
        let before = self.last_id.clone();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            self.last_id = Some(id.to_owned());
        }
        if field("event: ") == Some("segno.gap") {
            let reason = block.split("\"reason\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
            return self.tell(reason, mute);
        }
        let Some(n) = field("data: ").and_then(|data| data.parse::<u64>().ok()) else { return };
        let what = (self.path(), &self.history);
        assert!(n > self.last, "{what:?}: {n} after {}: it came twice", self.last);
        // Who has all that came of a feed that upstream has cut gets a new one, which is no gap.
        let stream = |id: &Option<String>| id.as_ref().and_then(|id| Some(id.rsplit_once('-')?.0.to_owned()));
        let anew = stream(&before) != stream(&self.last_id) && ends.contains(&self.last);
        let begins = self.kind == Kind::Feed && (self.last == 0 || anew);
        assert!(n == self.last + 1 || begins || self.told, "{what:?}: {n} after {}, and nobody said so", self.last);
        assert!(n == self.last + 1 || self.kind != Kind::Ids, "{what:?}: {n} after {}: lost", self.last);
        (self.last, self.told) = (n, false);
    }
}
