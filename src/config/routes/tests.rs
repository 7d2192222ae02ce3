//! Which of several routes takes a request, by example and against a search by segments.

use super::*;
use crate::base::Random;
use crate::config::Upstream;

fn route(host: Option<&str>, path: &str) -> Route {
    let mut route = Route::new(Upstream::parse("http://127.0.0.1:1").unwrap());
    route.host = host.map(str::to_owned);
    route.path = path.to_owned();
    route.name = format!("{}{path}", host.unwrap_or(""));
    route
}

fn table(routes: &[(Option<&str>, &str)]) -> Routes {
    Routes::new(routes.iter().map(|(host, path)| route(*host, path)).collect())
}

fn name<'a>(routes: &'a Routes, host: &str, path: &str) -> Option<&'a str> {
    routes.find(Some(host), path).map(|r| r.name.as_str())
}

#[test]
fn the_longest_prefix_wins() {
    let t = table(&[(None, "/"), (None, "/a"), (None, "/a/b")]);
    assert_eq!(name(&t, "x", "/a/b/c"), Some("/a/b"));
    assert_eq!(name(&t, "x", "/a/bc"), Some("/a"));
    assert_eq!(name(&t, "x", "/ab"), Some("/"));
    assert_eq!(name(&t, "x", "/a?q=/b"), Some("/a"));
}

#[test]
fn a_named_host_beats_none() {
    let t = table(&[(None, "/a/b"), (Some("h.example"), "/a"), (None, "/")]);
    assert_eq!(name(&t, "h.example", "/a/b"), Some("h.example/a"));
    assert_eq!(name(&t, "h.example", "/x"), Some("/"));
    assert_eq!(name(&t, "other", "/a/b"), Some("/a/b"));
}

#[test]
fn case_port_and_last_dot_of_the_host_do_not_count() {
    let t = table(&[(Some("H.example"), "/"), (Some("[::1]"), "/")]);
    for host in ["h.example", "H.EXAMPLE:8080", "h.example."] {
        assert_eq!(name(&t, host, "/"), Some("H.example/"), "{host}");
    }
    for host in ["[::1]", "[::1]:80"] {
        assert_eq!(name(&t, host, "/"), Some("[::1]/"), "{host}");
    }
    assert_eq!(t.find(None, "/"), None);
}

#[test]
fn nothing_is_found_where_nothing_fits() {
    let t = table(&[(None, "/a")]);
    assert_eq!(name(&t, "x", "/"), None);
    assert_eq!(name(&t, "x", "*"), None);
    assert_eq!(name(&t, "x", ""), None);
}

/// Segments compared one by one, every route looked at.
fn slow(routes: &[Route], host: &str, path: &str) -> Option<usize> {
    let segments = |p: &str| p.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let asked = segments(path);
    (0..routes.len())
        .filter(|&n| routes[n].host.as_deref().is_none_or(|own| own == host))
        .filter(|&n| asked.starts_with(&segments(&routes[n].path)))
        .max_by_key(|&n| (routes[n].host.is_some(), routes[n].path.len(), Reverse(n)))
}

#[test]
fn the_table_agrees_with_a_search_by_segments() {
    let mut r = Random::new(3);
    let path = |r: &mut Random| match r.below(4) {
        0 => "/".to_owned(),
        n => (0..n).map(|_| ["/a", "/b", "/ab"][r.below(3) as usize]).collect(),
    };
    for _ in 0..2_000 {
        let hosts = [None, Some("h"), Some("i")];
        let made: Vec<_> = (0..6).map(|_| route(hosts[r.below(3) as usize], &path(&mut r))).collect();
        let (host, asked) = (["h", "i", "j"][r.below(3) as usize], path(&mut r));
        let t = Routes::new(made.clone());
        assert_eq!(t.position(Some(host), &asked), slow(&made, host, &asked), "{host} {asked} {made:?}");
    }
}
