//! The script of a stream of the demo. It says, before the stream starts, which events it sends, where it is cut and
//! how it ends.
//!
//! In: a seed, a rule and a number of events. Out: a [`Script`]. The upstream plays it, and the client checks against
//! it.
//! Laws: equal seeds give equal scripts; the bytes of an event depend on the script alone, so a replay repeats them
//! exactly; distinct ids count up by one without holes, also where an event has no id or repeats the one before.

use std::ops::Range;

use super::kind::{Cut, Kind, Rule};
use crate::base::{Random, Span};

/// Events of a stream whose upstream forgets: more than a window of 48 ids, fewer than a log of 256 events.
pub(super) const RESTART_LEN: usize = 160;
/// A stream whose upstream forgets is not cut before this many events.
pub(super) const RESTART_FIRST: usize = 56;
/// Events before a jump in integer ids: more than the 16 after which segno states a jump.
const BEFORE_SKIP: usize = 20;
/// Numbers that the jump leaves out.
const SKIPPED: usize = 3;
/// Events of a stream whose client leaves and comes back.
pub(super) const RETURNING_LEN: usize = 90;

/// What the ids of a stream look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ids {
    /// `1`, `2`, `3`.
    Int,
    /// 36 characters that do not show their order.
    Uuid,
    /// No event has one.
    None,
}

/// What a gap event must say. Events are given by their numbers in the script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct GapPromise {
    pub(super) reason: &'static str,
    /// The last event before the gap.
    pub(super) after: usize,
    /// The first event after the gap, if there is one.
    pub(super) resumed: Option<usize>,
}

/// One stream, from its first byte to its end.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) rule: Rule,
    /// The number of its client among the clients of the rule, from 0. It picks the sort of ids and line ends.
    pub(super) client: usize,
    pub(super) period: Span,
    pub(super) cuts: Vec<Cut>,
    /// The numbers of events after which its client leaves, to come back at once.
    pub(super) leaves: Vec<usize>,
    /// Numbers that are never sent. Empty unless the stream jumps.
    pub(super) skip: Range<usize>,
    ids: Ids,
    eol: &'static str,
    seed: u64,
    /// For each event, the number of its id, counted from 1; 0 if the event has no id.
    id_numbers: Vec<u32>,
}

impl Script {
    /// A stream of `len` events, and a closing event if its rule has one.
    pub(super) fn new(seed: u64, rule: Rule, client: usize, episode: usize, len: usize) -> Self {
        let name = format!("{}-{client}-{episode}", rule.name());
        let seed = name.bytes().fold(seed, |s, b| Random::new(s ^ u64::from(b)).next());
        let ids = match rule {
            Rule::NoIds | Rule::ReturningPost => Ids::None,
            Rule::RestartInt | Rule::Skipped => Ids::Int,
            Rule::RestartUuid => Ids::Uuid,
            _ if client.is_multiple_of(2) => Ids::Int,
            _ => Ids::Uuid,
        };
        let len = if rule == Rule::Skipped { BEFORE_SKIP + SKIPPED + 6 } else { len };
        let skip = if rule == Rule::Skipped { BEFORE_SKIP..BEFORE_SKIP + SKIPPED } else { 0..0 };
        let eol = if client % 4 > 1 { "\r\n" } else { "\n" };
        let cuts = plan(rule, client, len, &mut Random::new(seed));
        let leaves = if rule.client_leaves() { leaves(len, &mut Random::new(!seed)) } else { Vec::new() };
        let closing = usize::from(rule.closes());
        let id_numbers = number(ids, &cuts, len, closing);
        Self { name, rule, client, period: rule.period(), cuts, leaves, skip, ids, eol, seed, id_numbers }
    }

    /// Events in all, with the closing one and with those that are never sent.
    pub(super) fn len(&self) -> usize {
        self.id_numbers.len()
    }

    /// The event that is sent after event `n`.
    pub(super) fn next(&self, n: usize) -> usize {
        if n + 1 == self.skip.start && !self.skip.is_empty() { self.skip.end } else { n + 1 }
    }

    /// Whether event `n` is the closing one.
    pub(super) fn is_closing(&self, n: usize) -> bool {
        self.rule.closes() && n + 1 == self.len()
    }

    /// The id of event `n`, as sent.
    pub(super) fn id(&self, n: usize) -> Option<String> {
        let number = *self.id_numbers.get(n)?;
        if number == 0 {
            return None;
        }
        match self.ids {
            Ids::Int => Some(number.to_string()),
            Ids::Uuid => Some(uuid(self.seed, number)),
            Ids::None => None,
        }
    }

    /// The first event with this id. A replay starts after the first one, so that no event that shares the id is lost.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        (0..self.len()).find(|&n| self.id(n).as_deref() == Some(id))
    }

    /// The type of event `n`; empty for the default type.
    pub(super) fn kind(&self, n: usize) -> &'static str {
        if self.is_closing(n) { "done" } else { "" }
    }

    /// The data of event `n`: the stream's name, the number, and a second line of varying length.
    pub(super) fn data(&self, n: usize) -> String {
        let mark = if self.is_closing(n) { " end" } else { "" };
        format!("{} {n}{mark}\n\u{266a}{}", self.name, ".".repeat(n * 37 % 160))
    }

    /// The bytes of event `n`.
    pub(super) fn block(&self, n: usize) -> Vec<u8> {
        let eol = self.eol;
        let mut block = String::new();
        if let Some(id) = self.id(n) {
            block.push_str(&format!("id: {id}{eol}"));
        }
        if !self.kind(n).is_empty() {
            block.push_str(&format!("event: {}{eol}", self.kind(n)));
        }
        for line in self.data(n).split('\n') {
            block.push_str(&format!("data: {line}{eol}"));
        }
        block.push_str(eol);
        block.into_bytes()
    }

    /// The gap that segno must state on this stream, if any.
    pub(super) fn gap(&self) -> Option<GapPromise> {
        match self.rule {
            Rule::Gone404 | Rule::Gone410 => {
                Some(GapPromise { reason: "refused", after: self.len() - 1, resumed: None })
            }
            Rule::Skipped => {
                Some(GapPromise { reason: "skipped", after: self.skip.start - 1, resumed: Some(self.skip.end) })
            }
            _ => None,
        }
    }
}

/// Where a stream of `len` events is cut, and how.
fn plan(rule: Rule, client: usize, len: usize, random: &mut Random) -> Vec<Cut> {
    let (first, turn): (usize, &[Kind]) = match rule {
        Rule::Fleet => (0, Kind::IN_TURN),
        Rule::RestartInt => (RESTART_FIRST, &[Kind::RestartInt]),
        Rule::RestartUuid => (RESTART_FIRST, &[Kind::RestartUuid]),
        Rule::Returning => {
            (0, &[Kind::FinBetween, Kind::RstInside, Kind::Status503, Kind::RstBetween, Kind::FinInside])
        }
        Rule::Skipped => return vec![Cut::plain(BEFORE_SKIP)],
        _ => return Vec::new(),
    };
    // Each stream begins at another kind, so that a short run shows many kinds.
    let kinds = turn.iter().cycle().skip(client * 5 % turn.len());
    let last = len.saturating_sub(len / 16 + 2);
    let mut cuts = Vec::new();
    let mut after = first;
    for &kind in kinds {
        after += 15 + random.below(11) as usize;
        if after > last {
            break;
        }
        cuts.push(Cut::new(kind, after, random));
    }
    cuts
}

/// The numbers of events after which a client leaves. It does not leave near the end, which it would miss.
fn leaves(len: usize, random: &mut Random) -> Vec<usize> {
    let next = |at: &usize| Some(at + 5 + random.below(10) as usize).filter(|at| at + 15 < len);
    std::iter::successors(Some(0), next).skip(1).collect()
}

/// Numbers the ids. A closing event repeats the last id, and so does the event before a [`Kind::RepeatedId`] cut. The
/// two events before a [`Kind::IdLess`] cut have no id.
fn number(ids: Ids, cuts: &[Cut], len: usize, closing: usize) -> Vec<u32> {
    if ids == Ids::None {
        return vec![0; len + closing];
    }
    let mut idless = vec![false; len];
    let mut repeats = vec![false; len];
    for cut in cuts {
        match cut.kind {
            Kind::IdLess => idless[cut.after - 2..cut.after].fill(true),
            Kind::RepeatedId => repeats[cut.after - 1] = true,
            _ => {}
        }
    }
    let mut last = 0;
    let mut numbers: Vec<u32> = (0..len)
        .map(|n| {
            last += u32::from(!idless[n] && !repeats[n]);
            if idless[n] { 0 } else { last }
        })
        .collect();
    numbers.resize(len + closing, last);
    numbers
}

/// An id of 36 characters that does not show its order.
fn uuid(seed: u64, number: u32) -> String {
    let mut random = Random::new(seed ^ u64::from(number) << 20);
    let (a, b) = (random.next(), random.next());
    let (c, d, e) = (a >> 32, a >> 16 & 0xffff, a & 0xfff);
    format!("{c:08x}-{d:04x}-4{e:03x}-{:04x}-{:012x}", 0x8000 | (b >> 50), b & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_scripts() {
        let (a, b) = (Script::new(7, Rule::Fleet, 3, 0, 500), Script::new(7, Rule::Fleet, 3, 0, 500));
        assert_eq!(a.cuts, b.cuts);
        assert!((0..501).all(|n| a.block(n) == b.block(n)));
        assert_ne!(a.cuts, Script::new(8, Rule::Fleet, 3, 0, 500).cuts);
    }

    #[test]
    fn twenty_seconds_of_the_fleet_have_many_cuts_of_each_kind() {
        let mut counts = [0; Kind::ALL.len()];
        for client in 0..24 {
            Script::new(1, Rule::Fleet, client, 0, 500).cuts.iter().for_each(|c| counts[c.kind as usize] += 1);
        }
        assert!(Kind::IN_TURN.iter().all(|&k| counts[k as usize] >= 25), "{counts:?}");
    }

    #[test]
    fn distinct_ids_count_up_without_holes() {
        let s = Script::new(1, Rule::Fleet, 0, 0, 500);
        let mut numbers: Vec<_> = s.id_numbers.iter().copied().filter(|&n| n > 0).collect();
        assert!(numbers.is_sorted());
        numbers.dedup();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
        assert_eq!(s.id(500), s.id(499));
        assert!(s.is_closing(500) && !s.is_closing(499));
    }

    #[test]
    fn an_id_finds_the_first_event_that_has_it() {
        let s = Script::new(1, Rule::Fleet, 1, 0, 500);
        let cut = s.cuts.iter().find(|c| c.kind == Kind::RepeatedId).unwrap();
        let id = s.id(cut.after - 1).unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(s.find(&id), Some(cut.after - 2));
    }

    #[test]
    fn an_upstream_forgets_only_after_more_events_than_a_window_holds() {
        let s = Script::new(1, Rule::RestartUuid, 0, 0, RESTART_LEN);
        assert!(s.cuts.len() >= 3);
        assert!(s.cuts.iter().all(|c| c.after > 48 && c.kind == Kind::RestartUuid));
    }

    #[test]
    fn a_jump_comes_right_after_the_cut() {
        let s = Script::new(1, Rule::Skipped, 0, 0, 0);
        assert_eq!((s.cuts[0].after, s.next(18), s.next(19), s.next(23)), (20, 19, 23, 24));
        assert_eq!(s.gap().unwrap(), GapPromise { reason: "skipped", after: 19, resumed: Some(23) });
    }
}
