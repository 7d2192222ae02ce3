//! The routes that are in use, each at a place of its own: those of the configuration, and those of earlier ones that
//! a stream or a connection still uses. A route with several upstreams has a place for each, with the same settings.
//!
//! In: configurations, one after the other, and which places are in use. Out: the place of each route; whose request it
//! is.
//! Laws: a route that a new configuration leaves as it is keeps its place; one that it changes or drops stays where it
//! is for as long as something uses it, and takes no new request; the number of places is bounded, and a configuration
//! for which there is none changes nothing.

use crate::config::{Config, Route, Routes, Upstream};
use crate::track::TrackLimits;
use std::collections::HashMap;

/// Places at most: four times the routes that a configuration may have.
pub(super) const PLACES: usize = 4_096;

/// All routes that are in use.
pub(super) struct Routing {
    /// By place.
    routes: Vec<Route>,
    /// The tracker's limits, by place.
    pub(super) limits: Vec<TrackLimits>,
    /// The place of each upstream of each route of the configuration, in their order.
    current: Box<[usize]>,
    /// The place of the first upstream of each route.
    firsts: Box<[usize]>,
}

/// How a new configuration's routes are placed.
pub(super) struct Plan {
    /// The place of each upstream of each route, in the configuration's order.
    pub(super) places: Box<[usize]>,
    /// Which of the places before are kept, with the same route.
    pub(super) kept: Vec<bool>,
    /// New places, each with the place that had its route's name and its upstream before.
    pub(super) fresh: Vec<(usize, Option<usize>)>,
}

impl Routing {
    pub(super) fn new(config: &Config) -> Self {
        let routes = one_by_one(&config.routes);
        let current: Box<[usize]> = (0..routes.len()).collect();
        let firsts = firsts(&config.routes, &current);
        Self { limits: routes.iter().map(track_limits).collect(), routes, current, firsts }
    }

    /// The route at a place.
    #[inline]
    pub(super) fn at(&self, place: usize) -> &Route {
        &self.routes[place]
    }

    /// All routes by place, also those that nothing uses any more.
    pub(super) fn all(&self) -> &[Route] {
        &self.routes
    }

    /// The place of the route that takes a request now: that of its first upstream.
    pub(super) fn find(&self, routes: &Routes, host: Option<&str>, path: &str) -> Option<usize> {
        self.firsts.get(routes.position(host, path)?).copied()
    }

    /// The places of the configuration's routes and their upstreams.
    pub(super) fn current(&self) -> &[usize] {
        &self.current
    }

    /// Places for the routes of a new configuration. `used`: what is in use, by place.
    ///
    /// # Errors
    /// The number of earlier routes that are still in use, where there are too few places.
    pub(super) fn plan(&self, new: &Routes, used: &[bool]) -> Result<Plan, usize> {
        let new = one_by_one(new);
        let by_name: HashMap<(&str, &Upstream), usize> =
            self.current.iter().map(|&place| (name_of(&self.routes[place]), place)).collect();
        let before = |route: &Route| by_name.get(&name_of(route)).copied();
        let mut kept = vec![false; self.routes.len()];
        let same: Vec<Option<usize>> =
            new.iter().map(|route| before(route).filter(|&place| self.routes[place] == *route)).collect();
        same.iter().flatten().for_each(|&place| kept[place] = true);
        let is_free = |place: &usize| !kept[*place] && !used.get(*place).is_some_and(|used| *used);
        let free: Vec<usize> = (0..self.routes.len()).filter(is_free).collect();
        let missing = same.iter().filter(|place| place.is_none()).count();
        if missing > free.len() + (PLACES.saturating_sub(self.routes.len())) {
            return Err(self.routes.len() - free.len() - (same.len() - missing));
        }
        let mut next = free.into_iter().chain(self.routes.len()..);
        let mut fresh = Vec::with_capacity(missing);
        let place_of = |(route, same): (&Route, Option<usize>)| {
            same.or_else(|| {
                let place = next.next()?;
                fresh.push((place, before(route)));
                Some(place)
            })
        };
        let places = new.iter().zip(same).filter_map(place_of).collect();
        Ok(Plan { places, kept, fresh })
    }

    /// Puts the routes of a new configuration at their places.
    pub(super) fn put(&mut self, new: &Routes, plan: &Plan) {
        for (route, &place) in one_by_one(new).into_iter().zip(&plan.places) {
            let limits = track_limits(&route);
            match place < self.routes.len() {
                true => (self.routes[place], self.limits[place]) = (route, limits),
                false => {
                    self.routes.push(route);
                    self.limits.push(limits);
                }
            }
        }
        self.current.clone_from(&plan.places);
        self.firsts = firsts(new, &plan.places);
    }
}

/// A route for each upstream of each route: the same settings, and that upstream alone.
fn one_by_one(routes: &Routes) -> Vec<Route> {
    routes.each_upstream().map(|(_, route, upstream)| route.to_one(upstream)).collect()
}

/// The places of the routes' first upstreams.
fn firsts(routes: &Routes, places: &[usize]) -> Box<[usize]> {
    let begins = routes.iter().scan(0, |at, route| {
        let begins = *at;
        *at += route.upstreams();
        Some(begins)
    });
    begins.filter_map(|at| places.get(at).copied()).collect()
}

/// What tells a route to one upstream from all others.
fn name_of(route: &Route) -> (&str, &Upstream) {
    (route.name.as_str(), &route.upstream)
}

/// The tracker's limits, from a route's settings.
pub(super) fn track_limits(route: &Route) -> TrackLimits {
    use crate::{config, track};
    TrackLimits {
        window: route.window,
        log_events: route.replay_events,
        log_bytes: route.replay_bytes,
        log_age: route.replay_age,
        max_event_bytes: route.max_event_bytes,
        max_id_bytes: route.max_id_bytes,
        dedup: match route.dedup {
            config::Dedup::Resume => track::Dedup::Resume,
            config::Dedup::Always => track::Dedup::Always,
            config::Dedup::Off => track::Dedup::Off,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(names: &[(&str, usize)]) -> Routes {
        let route = |&(name, window): &(&str, usize)| Route {
            name: name.to_owned(),
            path: format!("/{name}"),
            window,
            ..Route::new(Upstream::parse("http://h").unwrap())
        };
        names.iter().map(route).collect::<Vec<_>>().into()
    }

    fn routing(names: &[(&str, usize)]) -> Routing {
        Routing::new(&Config { routes: routes(names), ..Config::default() })
    }

    #[test]
    fn what_is_left_as_it_is_keeps_its_place_and_what_changes_gets_another() {
        let mut routing = routing(&[("a", 1), ("b", 1), ("c", 1)]);
        let new = routes(&[("c", 1), ("a", 2), ("d", 1)]);
        let plan = routing.plan(&new, &[true, false, false]).unwrap();
        assert_eq!((&*plan.places, &*plan.fresh), (&[2, 1, 3][..], &[(1, Some(0)), (3, None)][..]));
        routing.put(&new, &plan);
        assert_eq!((routing.at(0).window, routing.at(1).window, routing.at(1).name.as_str()), (1, 2, "a"));
        let at = |path| routing.find(&new, None, path);
        assert_eq!([at("/a"), at("/b"), at("/c"), at("/d")], [Some(1), None, Some(2), Some(3)]);
    }

    #[test]
    fn a_thousand_changes_take_no_more_places_than_are_used_at_once() {
        let mut routing = routing(&[("a", 1)]);
        for window in 2..1_002 {
            let new = routes(&[("a", window)]);
            let mut used = vec![false; routing.all().len()];
            used[routing.current()[0]] = true;
            let plan = routing.plan(&new, &used).unwrap();
            routing.put(&new, &plan);
        }
        assert_eq!((routing.all().len(), routing.at(routing.current()[0]).window), (2, 1_001));
    }

    #[test]
    fn where_all_places_are_used_a_change_is_refused_and_changes_nothing() {
        let mut routing = routing(&[("a", 1)]);
        for window in 2..=PLACES {
            let new = routes(&[("a", window)]);
            let plan = routing.plan(&new, &vec![true; routing.all().len()]).unwrap();
            routing.put(&new, &plan);
        }
        let all = vec![true; PLACES];
        assert_eq!(routing.plan(&routes(&[("a", 1)]), &all).err(), Some(PLACES));
        let same = routing.plan(&routes(&[("a", PLACES)]), &all).unwrap();
        assert_eq!(&*same.places, [PLACES - 1]);
    }
}
