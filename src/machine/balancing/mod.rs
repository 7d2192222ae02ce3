//! Which of several upstreams takes a request: all routes' groups, what is known of each upstream, and who has tried
//! which.
//!
//! In: requests that are to be sent, failures and successes, the time. Out: places of upstreams.
//! Laws: an upstream that is left out gets no request while another can be tried; where all are left out, all are tried;
//! within one round, no upstream is tried twice.
//!
//! An upstream is named by its place, as a route is: a route with three upstreams has three places. What an exchange has
//! as its route is the place of the upstream that it was led to.

mod endpoints;
mod group;
mod health;
mod names;

pub(super) use health::{Failure, Found};

use super::keys::ExchangeKey;
use crate::base::{Span, Tick};
use crate::config::{Balance, Route, Routes, UpstreamSet};
pub(super) use endpoints::{Endpoints, TOLD};
use group::{Group, Member};
use health::Health;
pub(super) use names::{Name, Names};
use std::collections::HashMap;

/// No group.
const NONE: u32 = u32::MAX;

/// All groups of upstreams.
pub(super) struct Balancing {
    /// Those of the configuration, then those of earlier ones that are in use.
    groups: Vec<Group>,
    /// The group of each place.
    of: Vec<u32>,
    /// By place.
    health: Vec<Health>,
    /// What has been tried by those that look for an upstream that can be reached.
    rounds: HashMap<ExchangeKey, Round>,
    /// Which names are bound to an upstream.
    pub(super) names: Names,
    /// Where streams have told their clients to send messages.
    pub(super) endpoints: Endpoints,
    /// Places whose upstreams stand differently since they were told of.
    moved: Vec<usize>,
}

/// Upstreams that an exchange has tried to reach, one after the other.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// By their numbers in the group.
    tried: u64,
    /// When all of them together have had their time.
    ends: Tick,
}

/// By what an upstream is picked.
#[derive(Clone, Copy)]
pub(super) struct Pick<'a> {
    /// Whose group.
    pub(super) place: usize,
    pub(super) set: &'a UpstreamSet,
    pub(super) now: Tick,
    /// Requests that each upstream has, by place.
    pub(super) busy: &'a [u32],
}

impl Balancing {
    pub(super) fn new(routes: &Routes, places: &[usize], names: usize) -> Self {
        let mut balancing = Self {
            groups: Vec::new(),
            of: Vec::new(),
            health: Vec::new(),
            rounds: HashMap::new(),
            names: Names::new(names),
            endpoints: Endpoints::default(),
            moved: Vec::new(),
        };
        balancing.reload(routes, places, &[], &[], |_, _| false);
        balancing
    }

    /// Other routes rule from now on, whose upstreams have these places. `fresh`: new places, each with the one that its
    /// upstream had before. `used`: which places something uses. `same`: whether two places have the same settings.
    pub(super) fn reload(
        &mut self,
        routes: &Routes,
        places: &[usize],
        fresh: &[(usize, Option<usize>)],
        used: &[bool],
        same: impl Fn(usize, usize) -> bool,
    ) {
        let end = places.iter().max().map_or(0, |most| most + 1).max(self.health.len());
        self.health.resize_with(end, Health::default);
        let moved: Vec<(usize, Health)> = fresh
            .iter()
            .map(|(place, before)| {
                (*place, before.map_or_else(Health::default, |at| self.health[at].at_another_place()))
            })
            .collect();
        for (place, mut health) in moved {
            // A timer that is set finds nothing to do, or what is here now.
            health.alarm = std::mem::take(&mut self.health[place].alarm);
            self.health[place] = health;
        }
        let before = std::mem::take(&mut self.groups);
        let of_before = std::mem::replace(&mut self.of, vec![NONE; end]);
        let mut places = places.iter().copied();
        for route in routes.iter() {
            let each = route.each_upstream().zip(places.by_ref());
            let group = Group::new(each.map(|((_, weight), place)| (place, weight)));
            group.members.iter().for_each(|member| self.of[member.place] = self.groups.len() as u32);
            self.groups.push(group);
        }
        let current = self.groups.len();
        for (number, old) in before.into_iter().enumerate() {
            let of_it = |place: &usize| of_before.get(*place).is_some_and(|of| *of as usize == number);
            let left: Vec<usize> =
                (0..used.len()).filter(|at| used[*at] && self.of[*at] == NONE).filter(of_it).collect();
            let Some(first) = left.first().copied() else { continue };
            let goes_on = |group: &Group| group.members.first().is_some_and(|member| same(member.place, first));
            let group = self.groups[..current].iter().position(goes_on).unwrap_or_else(|| {
                self.groups.push(old);
                self.groups.len() - 1
            });
            left.into_iter().for_each(|place| self.of[place] = group as u32);
        }
    }

    /// Marks the other upstreams of each group of which one is in use, since its streams may go there.
    pub(super) fn use_whole_groups(&self, used: &mut [bool]) {
        // By the group of each place: one that a reload took out is led by a group of which it is no member.
        let before = used.to_vec();
        for place in (0..before.len()).filter(|place| before[*place]) {
            self.members(place).for_each(|at| used[at] = true);
        }
    }

    fn group(&self, place: usize) -> Option<&Group> {
        self.groups.get(*self.of.get(place)? as usize)
    }

    /// Whether requests that were led to this place may go to another one.
    pub(super) fn has_choice(&self, place: usize) -> bool {
        self.group(place).is_some_and(|group| group.members.len() > 1 || group.members[0].place != place)
    }

    /// The places of all upstreams among which this one is chosen.
    pub(super) fn members(&self, place: usize) -> impl Iterator<Item = usize> {
        self.group(place).into_iter().flat_map(|group| group.members.iter().map(|member| member.place))
    }

    /// The place of the first upstream among which this one is chosen: what all of them share is kept there.
    pub(super) fn first(&self, place: usize) -> usize {
        self.members(place).next().unwrap_or(place)
    }

    /// Whether requests may begin at this place.
    pub(super) fn is_open(&self, place: usize) -> bool {
        self.members(place).any(|at| at == place) && !self.health[place].is_ejected()
    }

    pub(super) fn at(&mut self, place: usize) -> &mut Health {
        &mut self.health[place]
    }

    /// An upstream is in trouble from now on, or works again.
    pub(super) fn stand(&mut self, place: usize, trouble: Option<(Tick, Box<str>)>) {
        self.health[place].trouble = trouble;
        self.tell(place);
    }

    /// How an upstream stands is to be told.
    pub(super) fn tell(&mut self, place: usize) {
        if !self.moved.contains(&place) {
            self.moved.push(place);
        }
    }

    /// Passes on how those upstreams stand of which that has changed.
    pub(super) fn drain(&mut self, mut each: impl FnMut(usize, Option<&(Tick, Box<str>)>)) {
        for place in self.moved.drain(..) {
            each(place, self.health[place].trouble.as_ref());
        }
    }

    /// The next upstream in turn or by its load. `tried`: those that come last.
    pub(super) fn next(&mut self, pick: Pick<'_>, tried: u64) -> Option<usize> {
        self.choose(pick, tried, |group, part| match pick.set.balance {
            Balance::RoundRobin => group.in_turn(part),
            Balance::LeastStreams => {
                let busy = |member: &Member| pick.busy.get(member.place).copied().unwrap_or_default().into();
                group.least(part, busy)
            }
        })
    }

    /// The upstream that a name belongs to. `score`: a hash of the name and an upstream.
    pub(super) fn by_name(&mut self, pick: Pick<'_>, score: impl Fn(usize) -> u64) -> Option<usize> {
        self.choose(pick, 0, |group, part| group.by_name(part, |member| score(member.place)))
    }

    /// Chooses among those that are in use; among all, where none is.
    fn choose(
        &mut self,
        pick: Pick<'_>,
        tried: u64,
        by: impl Fn(&mut Group, &dyn Fn(&Member) -> u64) -> Option<usize>,
    ) -> Option<usize> {
        let Self { groups, of, health, .. } = self;
        let group = groups.get_mut(*of.get(pick.place)? as usize)?;
        let untried: Vec<usize> = group
            .members
            .iter()
            .enumerate()
            .filter(|(n, _)| tried >> n & 1 == 0)
            .map(|(_, member)| member.place)
            .collect();
        let share = |place: usize| health[place].share(pick.set.slow_start, pick.now);
        let may = |member: &Member, ejected: bool| {
            let may = untried.contains(&member.place) && (ejected || !health[member.place].is_ejected());
            if may { u64::from(member.weight) * share(member.place) } else { 0 }
        };
        by(group, &|member| may(member, false)).or_else(|| by(group, &|member| may(member, true)))
    }
}

/// Upstreams that fail.
impl Balancing {
    /// An upstream has failed. Returns for how long it is left out from now on.
    pub(super) fn fail(&mut self, route: &Route, place: usize, failure: Failure, now: Tick) -> Option<Span> {
        let may_eject = self.may_eject(route, place, failure);
        self.health.get_mut(place)?.fail(&route.set, failure, may_eject, now)
    }

    /// The checks of an upstream have failed. True: it is left out from now on, and was not before.
    pub(super) fn fail_checks(&mut self, route: &Route, place: usize, failure: Failure, now: Tick) -> bool {
        let is_out = self.health[place].is_ejected();
        if !is_out && !self.may_eject(route, place, failure) {
            return false;
        }
        self.health[place].fail_checks(&route.set, now);
        !is_out
    }

    fn may_eject(&self, route: &Route, place: usize, failure: Failure) -> bool {
        self.has_choice(place) && (!failure.was_there() || self.may_eject_one_more(route, place))
    }

    /// Whether one more upstream of the group may be left out because of its answers.
    fn may_eject_one_more(&self, route: &Route, place: usize) -> bool {
        let (mut all, mut out) = (0, 0);
        for at in self.members(place) {
            all += 1;
            out += usize::from(self.health[at].is_ejected());
        }
        out < (all * route.set.eject_share as usize / 100).max(1)
    }
}

/// Rounds.
impl Balancing {
    /// An exchange begins to connect to an upstream of several. Returns until when it may take.
    pub(super) fn begin(&mut self, key: ExchangeKey, place: usize, timeout: Span, now: Tick) -> Tick {
        let round = self.rounds.get(&key).copied().unwrap_or(Round { tried: 0, ends: now + timeout });
        let tried = round.tried | self.bit(place);
        let left = self.members(place).count().saturating_sub(tried.count_ones() as usize);
        let share = round.ends.since(now).micros() / (left.min(2) as u64 + 1);
        self.rounds.insert(key, Round { tried, ends: round.ends });
        now + Span::from_micros(share.max(timeout.micros() / 8))
    }

    /// An exchange looks for an upstream that can be reached, and has been led to one.
    pub(super) fn is_in_round(&self, key: ExchangeKey) -> bool {
        self.rounds.contains_key(&key)
    }

    /// The next upstream for an exchange whose last one could not be reached. `None`: all have been tried, or
    /// their time is over.
    pub(super) fn next_of_round(&mut self, key: ExchangeKey, pick: Pick<'_>) -> Option<usize> {
        let Round { tried, ends } = *self.rounds.get(&key)?;
        if ends <= pick.now && tried.count_ones() > 1 {
            return None;
        }
        self.next(pick, tried)
    }

    /// An exchange has reached its upstream, or looks for none any more.
    pub(super) fn end_round(&mut self, key: ExchangeKey) {
        if !self.rounds.is_empty() {
            self.rounds.remove(&key);
        }
    }

    /// Exchanges that look for an upstream.
    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(super) fn rounds(&self) -> impl Iterator<Item = ExchangeKey> {
        self.rounds.keys().copied()
    }

    fn bit(&self, place: usize) -> u64 {
        self.members(place).position(|at| at == place).map_or(0, |n| 1 << n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Upstream, Weighted};

    #[test]
    fn a_round_ends_when_all_were_tried_and_with_its_time() {
        let urls: Vec<String> = (0..20).map(|n| format!("http://h{n}:1")).collect();
        let all = urls.iter().map(|url| Weighted::parse(url).unwrap()).collect();
        let route = Route::new(Upstream::parse(&urls[0]).unwrap()).with_upstreams(all);
        let set = route.set.clone();
        let places: Vec<usize> = (0..20).collect();
        let mut balancing = Balancing::new(&vec![route].into(), &places, 10);
        let (key, begun, timeout) = (ExchangeKey::from_bits(1), Tick::from_millis(1_000), Span::from_secs(5));
        let pick = |place, now| Pick { place, set: &set, now, busy: &[] };
        // Each is refused at once.
        let (mut at, mut tried) = (0, 1);
        balancing.begin(key, at, timeout, begun);
        while let Some(next) = balancing.next_of_round(key, pick(at, begun)) {
            (at, tried) = (next, tried + 1);
            balancing.begin(key, at, timeout, begun);
        }
        assert_eq!(tried, 20);
        balancing.end_round(key);
        // None answers.
        let (mut now, mut tried) = (begun, 0);
        loop {
            tried += 1;
            now = balancing.begin(key, at, timeout, now);
            match balancing.next_of_round(key, pick(at, now)) {
                Some(next) => at = next,
                None => break,
            }
        }
        assert!(
            now.since(begun) <= Span::from_millis(5_625) && (4..=8).contains(&tried),
            "{tried} in {:?}",
            now.since(begun)
        );
    }
}
