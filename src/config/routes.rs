//! The route table: which route a request takes.
//!
//! In: routes in any order. Out: [`Routes::find`] by host and path.
//! Laws: a route that names the host beats every route that names none, as a virtual host does; among equals the
//! longest path prefix wins; a prefix ends where a segment ends; the host's case and port do not count.

use std::cmp::Reverse;
use std::ops::Deref;

use super::route::Route;
use super::upstream::Upstream;

/// Routes in the order in which they were given, and the order in which they are tried. As a slice it has the former.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Routes {
    given: Vec<Route>,
    tried: Vec<usize>,
}

impl Routes {
    /// A table of these routes. Of two for the same host and path the first is taken; [`super::Config::faults`] names
    /// the second.
    pub fn new(given: Vec<Route>) -> Self {
        let mut tried: Vec<usize> = (0..given.len()).collect();
        tried.sort_by_key(|&n| (given[n].host.is_none(), Reverse(given[n].path.len())));
        Self { given, tried }
    }

    /// The route of a request with this `Host` (with or without a port) and path (a query is ignored). Costs one
    /// comparison per route at worst.
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<&Route> {
        self.position(host, path).map(|n| &self.given[n])
    }

    /// The same as [`Routes::find`], as an index of this table.
    pub fn position(&self, host: Option<&str>, path: &str) -> Option<usize> {
        let host = host.map(bare_host);
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        self.tried.iter().copied().find(|&n| takes(&self.given[n], host, path))
    }
}

impl Routes {
    /// Each upstream of each route, with the number of its route.
    pub fn each_upstream(&self) -> impl Iterator<Item = (usize, &Route, &Upstream)> {
        let given = self.given.iter().enumerate();
        given.flat_map(|(n, route)| route.each_upstream().map(move |(upstream, _)| (n, route, upstream)))
    }
}

impl Deref for Routes {
    type Target = [Route];

    fn deref(&self) -> &[Route] {
        &self.given
    }
}

impl From<Vec<Route>> for Routes {
    fn from(given: Vec<Route>) -> Self {
        Self::new(given)
    }
}

fn takes(route: &Route, host: Option<&str>, path: &str) -> bool {
    let host_fits = match (&route.host, host) {
        (None, _) => true,
        (Some(own), Some(asked)) => own.eq_ignore_ascii_case(asked),
        (Some(_), None) => false,
    };
    host_fits && is_under(&route.path, path)
}

/// Whether `path` is `prefix` or lies below it.
fn is_under(prefix: &str, path: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name in a `Host` field: without its port and without the dot that ends an absolute name. RFC 9110, section 7.2.
fn bare_host(field: &str) -> &str {
    let name = match field.rfind([':', ']']) {
        Some(at) if field.as_bytes()[at] == b':' => &field[..at],
        _ => field,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
