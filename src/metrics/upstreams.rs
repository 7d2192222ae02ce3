//! What is counted and known of each upstream of each route.
//!
//! In: the upstreams of a configuration; counts, and how they stand, from the reactor. Out: the same, by route and upstream.
//! Laws: there are as many rows as the configuration has upstreams, which it bounds; an upstream that stays in a route
//! keeps its row over a reload, whatever else changes; one that comes again begins anew.

use crate::base::{Count, Tick};
use crate::sync::{Counter, Latest, Shared};

/// One upstream of one route.
#[derive(Debug)]
pub struct UpstreamRow {
    /// The name of its route.
    pub route: String,
    /// Its host and port.
    pub upstream: String,
    counts: Box<[Counter]>,
    /// Requests that it serves, event streams among them.
    pub busy: Counter,
    trouble: Latest<Trouble>,
}

/// Why an upstream is left out, or fails its checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// Since when, by the engine's clock.
    pub since: Tick,
    /// What went wrong.
    pub why: Box<str>,
}

impl UpstreamRow {
    fn new(route: &str, upstream: &str) -> Self {
        Self {
            route: route.to_owned(),
            upstream: upstream.to_owned(),
            counts: Count::ALL.iter().filter(|count| count.is_by_upstream()).map(|_| Counter::default()).collect(),
            busy: Counter::default(),
            trouble: Latest::default(),
        }
    }

    /// Adds to a count. One that is not counted by upstream changes nothing.
    pub fn add(&self, count: Count, n: u64) {
        if let Some(at) = place_of(count) {
            self.counts[at].add(n);
        }
    }

    /// The value of a count; 0 for one that is not counted by upstream.
    pub fn get(&self, count: Count) -> u64 {
        place_of(count).map_or(0, |at| self.counts[at].get())
    }

    /// How it stands from now on. `None`: it works.
    pub fn stand(&self, trouble: Option<Trouble>) {
        self.trouble.put(trouble.map(Shared::new));
    }

    /// Why it is left out or fails its checks. `None`: it works.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.with(|trouble| trouble.cloned())
    }

    /// Whether it works, as far as is known.
    pub fn is_up(&self) -> bool {
        self.trouble.with(|trouble| trouble.is_none())
    }
}

/// The place of a count among those that are counted by upstream.
fn place_of(count: Count) -> Option<usize> {
    count.is_by_upstream().then(|| Count::ALL[..count as usize].iter().filter(|count| count.is_by_upstream()).count())
}

/// All upstreams of all routes.
#[derive(Debug, Default)]
pub struct Upstreams {
    rows: Latest<Vec<Shared<UpstreamRow>>>,
}

impl Upstreams {
    /// These are the upstreams from now on, by route and host. Returns their rows, in the same order.
    pub fn go_by<'a>(&self, all: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Shared<UpstreamRow>> {
        let before = self.rows();
        let row = |(route, upstream): (&str, &str)| {
            let is_it = |row: &&Shared<UpstreamRow>| row.route == route && row.upstream == upstream;
            before.iter().find(is_it).cloned().unwrap_or_else(|| Shared::new(UpstreamRow::new(route, upstream)))
        };
        let rows: Vec<_> = all.map(row).collect();
        self.rows.put(Some(Shared::new(rows.clone())));
        rows
    }

    /// All of them, in the order of the configuration.
    pub fn rows(&self) -> Vec<Shared<UpstreamRow>> {
        self.rows.with(|rows| rows.cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_stays_keeps_its_numbers_and_one_that_goes_takes_them_along() {
        let all = Upstreams::default();
        let rows = all.go_by([("/", "a:1"), ("/", "b:1"), ("/x", "a:1")].into_iter());
        rows[1].add(Count::UpstreamRequests, 3);
        rows[1].add(Count::ChecksBad, 2);
        rows[1].add(Count::Events, 9);
        rows[1].stand(Some(Trouble { since: Tick::ZERO, why: "it broke".into() }));
        let rows = all.go_by([("/", "b:1"), ("/", "c:1")].into_iter());
        let seen = |row: &UpstreamRow| [Count::UpstreamRequests, Count::ChecksBad, Count::Events].map(|c| row.get(c));
        assert_eq!((seen(&rows[0]), seen(&rows[1])), ([3, 2, 0], [0; 3]));
        assert_eq!((rows[0].is_up(), rows[1].is_up(), all.rows().len()), (false, true, 2));
        all.go_by([("/", "c:1")].into_iter());
        assert_eq!(seen(&all.go_by([("/", "b:1")].into_iter())[0]), [0; 3]);
    }
}
