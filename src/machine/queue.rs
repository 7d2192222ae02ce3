//! Attempts that wait for their turn at one upstream: those that are due, and those that back off.
//!
//! In: exchanges that want to ask again, answers and failures of the upstream, the time. Out: whose turn it is, and
//! when the next turn comes.
//! Laws: a place in the pace is taken when it is used, and for an exchange that still waits; who is due first is asked
//! first; an exchange that ends leaves in constant time, since its entry is passed over when its turn comes.
//!
//! ```text
//!            due                 its turn
//! heal --------------> line ------------------> ask --no answer--> asleep
//!                       ^                        ^                   |  |
//!                       +------- its own timer --|-------------------+  |
//!                                                +-- upstream answers --+
//!                                                    another: called up
//! ```
//!
//! An upstream that was away and answers one exchange will probably answer the others, too. So those that back off are
//! called up: evenly spaced and behind all that are due, beginning at a random time, and only until an attempt fails.

use super::keys::{Alarm, ExchangeKey};
use super::wait::{Pace, USUAL_RETRY};
use crate::base::{Span, Tick};
use crate::config::Route;
use std::collections::{HashMap, HashSet, VecDeque};

/// The time within which calling up begins.
const CALL_WITHIN: Span = Span::from_millis(100);

/// How often it is told, at most, that an upstream is away: one that comes and goes fills no log.
const QUIET: Span = Span::from_secs(10);

/// Entries of ended exchanges that are kept beside those of exchanges that live.
const SLACK: usize = 64;

/// The attempts at one upstream.
#[derive(Debug)]
pub(super) struct Queue {
    pace: Pace,
    rate: u32,
    /// Attempts that are due.
    line: VecDeque<Entry>,
    /// Attempts that back off, since upstream was away.
    asleep: VecDeque<Entry>,
    /// From when on those that back off are called up.
    calls_from: Option<Tick>,
    /// No attempt is answered.
    away: Option<Away>,
    /// When it was last told that upstream is away.
    told_at: Option<Tick>,
    /// What streams of this upstream have said last about when clients come back.
    retry: Option<Span>,
    pub(super) alarm: Alarm,
    tickets: u32,
}

/// A row of attempts without an answer.
#[derive(Debug)]
struct Away {
    since: Tick,
    was_told: bool,
    /// Exchanges that had to wait.
    held: usize,
}

/// An exchange in one of the two lists. Its last entry counts, whose ticket is the one that it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) key: ExchangeKey,
    pub(super) ticket: u32,
}

/// All upstreams' queues. Routes with the same upstream share one.
#[derive(Debug, Default)]
pub(super) struct Queues {
    all: Vec<Queue>,
    /// The place of each route's queue, by the place of the route.
    by_route: Vec<usize>,
    /// Whose queue each is: host and port.
    hosts: Vec<(String, u16)>,
}

impl Queues {
    /// The queues of these routes' upstreams. An upstream is asked at the lowest rate of its routes.
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut queues = Self::default();
        let places: Vec<usize> = (0..routes.len()).collect();
        queues.reload(routes, &places, |_| true);
        queues
    }

    /// Other routes rule from now on: those at the places `current`. `routes` are all that have a place, and `used` says
    /// whether one is current or still in use. An upstream that was there before keeps its queue, and its pace if the
    /// rate is the same.
    pub(super) fn reload(&mut self, routes: &[Route], current: &[usize], used: impl Fn(usize) -> bool) {
        let host = |place: usize| (routes[place].upstream.host.clone(), routes[place].upstream.port);
        let mut by_host: HashMap<(String, u16), usize> = HashMap::new();
        let wanted: HashSet<(String, u16)> = (0..routes.len()).filter(|place| used(*place)).map(host).collect();
        let mut free = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            match wanted.contains(host) {
                true => drop(by_host.insert(host.clone(), at)),
                false => free.push(at),
            }
        }
        for place in (0..routes.len()).filter(|place| used(*place)) {
            let at = *by_host.entry(host(place)).or_insert_with(|| {
                if let Some(at) = free.pop() {
                    // Its timer may be set, and finds nobody.
                    let alarm = std::mem::take(&mut self.all[at].alarm);
                    self.all[at] = Queue { alarm, ..Queue::new(1) };
                    self.hosts[at] = host(place);
                    return at;
                }
                self.all.push(Queue::new(1));
                self.hosts.push(host(place));
                self.all.len() - 1
            });
            self.by_route.resize(self.by_route.len().max(place + 1), 0);
            self.by_route[place] = at;
        }
        let mut rates: HashMap<usize, u32> = HashMap::new();
        for &place in current {
            let rate = rates.entry(self.by_route[place]).or_insert(u32::MAX);
            *rate = routes[place].heal_rate.min(*rate);
        }
        for (at, rate) in rates {
            self.all[at].set_rate(rate);
        }
    }

    /// The place of a route's queue.
    pub(super) fn of(&self, route: usize) -> usize {
        self.by_route[route]
    }

    pub(super) fn at(&mut self, place: usize) -> &mut Queue {
        &mut self.all[place]
    }

    /// The exchange whose turn it is now in this queue. `waits`: whether an entry's exchange still waits for it, given the
    /// place of each route's queue.
    pub(super) fn next(
        &mut self,
        place: usize,
        now: Tick,
        waits: impl Fn(Entry, &[usize]) -> bool,
    ) -> Option<ExchangeKey> {
        let Self { all, by_route, .. } = self;
        all[place].next(now, |entry| waits(entry, by_route))
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn is_timed(&self, route: usize) -> bool {
        self.all[self.of(route)].alarm.is_set()
    }
}

impl Queue {
    fn new(rate: u32) -> Self {
        Self {
            pace: Pace::new(rate),
            rate,
            line: VecDeque::new(),
            asleep: VecDeque::new(),
            calls_from: None,
            away: None,
            told_at: None,
            retry: None,
            alarm: Alarm::default(),
            tickets: 0,
        }
    }

    /// Another rate from now on.
    fn set_rate(&mut self, rate: u32) {
        if self.rate != rate {
            (self.pace, self.rate) = (Pace::new(rate), rate);
        }
    }

    /// An attempt is due. Returns the exchange's ticket.
    pub(super) fn line_up(&mut self, key: ExchangeKey, live: usize, waits: impl Fn(Entry) -> bool) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        push(&mut self.line, Entry { key, ticket: self.tickets }, live, waits);
        self.tickets
    }

    /// An exchange backs off, and may be called up. Returns its ticket.
    pub(super) fn fall_asleep(&mut self, key: ExchangeKey, live: usize, waits: impl Fn(Entry) -> bool) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        push(&mut self.asleep, Entry { key, ticket: self.tickets }, live, waits);
        self.tickets
    }

    /// A stream that ends has said with `retry:` when its clients come back.
    pub(super) fn hear_retry(&mut self, retry: Option<Span>) {
        self.retry = retry.or(self.retry);
    }

    /// After which time a client would come back by itself whose stream has not begun yet.
    pub(super) fn usual_retry(&self) -> Span {
        self.retry.map_or(USUAL_RETRY, |retry| retry.min(USUAL_RETRY))
    }

    /// Whether anyone backs off and can be called up.
    pub(super) fn anyone_sleeps(&self) -> bool {
        !self.asleep.is_empty()
    }

    /// Upstream has answered an attempt: calls up those that back off.
    pub(super) fn on_answer(&mut self, now: Tick, random: u64) {
        if self.calls_from.is_none() && !self.asleep.is_empty() {
            let within = u128::from(CALL_WITHIN.micros() + 1);
            self.calls_from = Some(now + Span::from_micros(((u128::from(random) * within) >> 64) as u64));
        }
    }

    /// An attempt has failed: whoever backs off goes on doing so.
    pub(super) fn on_failure(&mut self) {
        self.calls_from = None;
    }

    /// Upstream may be away. `held`: exchanges that have to wait for it from now on. Returns whether that is worth
    /// telling: the row of failures begins, and no other was told of just before.
    pub(super) fn seems_away(&mut self, now: Tick, held: usize) -> bool {
        if let Some(away) = &mut self.away {
            away.held += held;
            return false;
        }
        let was_told = self.told_at.is_none_or(|at| now.since(at) >= QUIET);
        self.away = Some(Away { since: now, was_told, held });
        if was_told {
            self.told_at = Some(now);
        }
        was_told
    }

    /// An attempt was answered. If that ends a row of failures that was told of: how long it lasted, and how many
    /// exchanges had to wait.
    pub(super) fn came_back(&mut self, now: Tick) -> Option<(Span, usize)> {
        let away = self.away.take().filter(|away| away.was_told)?;
        Some((now.since(away.since), away.held))
    }

    /// Whether attempts fail, and that was told.
    pub(super) fn is_known_away(&self) -> bool {
        self.away.as_ref().is_some_and(|away| away.was_told)
    }

    /// The exchange whose turn it is now, if there is one. `waits`: whether an entry's exchange still waits for it.
    pub(super) fn next(&mut self, now: Tick, waits: impl Fn(Entry) -> bool) -> Option<ExchangeKey> {
        while !self.line.is_empty() && self.pace.is_free(now) {
            let entry = self.line.pop_front().filter(|entry| waits(*entry));
            if let Some(entry) = entry {
                self.pace.take(now);
                return Some(entry.key);
            }
        }
        while self.line.is_empty() && self.calls_at().is_some_and(|at| at <= now) {
            let entry = self.asleep.pop_front().filter(|entry| waits(*entry));
            if let Some(entry) = entry {
                self.pace.take(now);
                return Some(entry.key);
            }
        }
        if self.asleep.is_empty() {
            self.calls_from = None;
        }
        None
    }

    /// When the next turn comes; [`Tick::NEVER`] if nobody waits for one.
    pub(super) fn next_at(&self) -> Tick {
        match self.line.is_empty() {
            false => self.pace.free_at(),
            true => self.calls_at().unwrap_or(Tick::NEVER),
        }
    }

    /// When the next one is called up.
    fn calls_at(&self) -> Option<Tick> {
        let from = self.calls_from.filter(|_| !self.asleep.is_empty())?;
        Some(from.max(self.pace.even_at()))
    }
}

/// Adds an entry. Where most entries are of exchanges that have ended, those leave: so a list stays within twice the
/// number of exchanges, and each entry costs constant work on average.
fn push(list: &mut VecDeque<Entry>, entry: Entry, live: usize, waits: impl Fn(Entry) -> bool) {
    if list.len() >= 2 * live + SLACK {
        list.retain(|entry| waits(*entry));
    }
    list.push_back(entry);
}

#[cfg(test)]
mod tests;
