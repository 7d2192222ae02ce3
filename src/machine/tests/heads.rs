//! What goes up and comes down in heads: hosts, redirects, targets, what is said of the client, loops.

use super::*;
use crate::config::HostSent;

/// A world whose upstream has this URL.
fn world_to(upstream: &str, adjust: impl Fn(&mut Route)) -> World {
    let upstream = Upstream::parse(upstream).unwrap();
    world_with(|route, _| {
        route.upstream = upstream;
        adjust(route);
    })
}

/// A request's first line and `Host` as upstream gets them.
fn asked(w: &World) -> (String, String) {
    let sent = w.wire(w.last_up());
    let host = sent.split("\r\nHost: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    (sent.lines().next().unwrap().to_owned(), host)
}

fn location(w: &World, client: usize) -> Option<String> {
    Some(w.wire(client).split("\r\nLocation: ").nth(1)?.split("\r\n").next()?.to_owned())
}

#[test]
fn the_host_is_the_clients_towards_http_and_the_upstreams_towards_https() {
    for (upstream, setting, host) in [
        ("http://up:9000", HostSent::Auto, "public.example:81"),
        ("https://up:9000", HostSent::Auto, "up:9000"),
        ("http://up:9000", HostSent::Upstream, "up:9000"),
        ("https://up:9000", HostSent::Client, "public.example:81"),
    ] {
        let mut w = world_to(upstream, |route| route.upstream_host = setting);
        w.client_with("GET /a HTTP/1.1\r\nHost: public.example:81\r\n\r\n");
        assert_eq!(asked(&w).1, host, "{upstream}, {setting:?}");
        assert!(w.wire(w.last_up()).contains("\r\nX-Forwarded-Host: public.example:81\r\n"));
    }
    let mut w = world();
    w.client_with("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(asked(&w).1, "up:9000", "a client may name none");
    let mut w = world();
    w.client_with("GET http://named.example/b?c HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(asked(&w), ("GET /b?c HTTP/1.1".to_owned(), "named.example".to_owned()));
}

#[test]
fn a_redirect_of_the_upstream_to_itself_leads_the_client_back_to_segno() {
    for (upstream, sent, expected) in [
        ("https://up:9000", "https://up:9000/mcp/", "/mcp/"),
        ("https://up:9000", "http://up:9000/mcp/", "/mcp/"),
        ("https://up:9000", "https://elsewhere/mcp/", "https://elsewhere/mcp/"),
        ("https://up:9000/v1", "https://up:9000/v1/mcp/", "/mcp/"),
        ("http://up:9000/v1", "http://public.example/v1/mcp/", "/mcp/"),
        ("http://up:9000/v1", "/v1/mcp/", "/mcp/"),
        ("http://up:9000", "http://public.example/mcp/", "http://public.example/mcp/"),
    ] {
        let mut w = world_to(upstream, |_| {});
        let c = w.client_with("GET /mcp HTTP/1.1\r\nHost: public.example\r\nAccept: text/event-stream\r\n\r\n");
        w.say(w.last_up(), &format!("HTTP/1.1 307 X\r\nLocation: {sent}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((w.status(c), location(&w, c).as_deref()), (307, Some(expected)), "{upstream}: {sent}");
    }
}

#[test]
fn dots_are_resolved_before_a_route_is_chosen() {
    let route = |path: &str, upstream: &str| {
        let mut route = Route::new(Upstream::parse(upstream).unwrap());
        (route.path, route.name) = (path.to_owned(), path.to_owned());
        route
    };
    let limits = Limits { streams: 100, connections: 300, ..Limits::default() };
    let routes = vec![route("/live", "http://live:1/v1"), route("/", "http://rest:1")];
    let mut w = world_of(Config { routes: routes.into(), limits, ..Config::default() });
    for (target, line) in [
        ("/live/x", "GET /v1/live/x HTTP/1.1"),
        ("/live/../admin", "GET /admin HTTP/1.1"),
        ("/live/%2e%2E/admin", "GET /admin HTTP/1.1"),
        ("/x/../live/./y?q=/../", "GET /v1/live/y?q=/../ HTTP/1.1"),
    ] {
        w.client_with(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(asked(&w).0, line, "{target}");
    }
    let ups = w.ups.len();
    for target in
        ["/../x", "/live/../../x", "/live/..%2fadmin", "/live/..;/admin", "/live/..%5cadmin", "/a\u{e9}", "/a\tb"]
    {
        let c = w.client_with(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!((w.status(c), w.ups.len()), (400, ups), "{target}");
    }
}

#[test]
fn only_a_trusted_proxy_is_believed_about_the_client() {
    let says = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n";
    let mut w = world();
    w.client_with(says);
    let sent = w.wire(w.last_up());
    assert!(sent.contains("X-Forwarded-For: 127.0.0.1\r\n") && sent.contains("X-Forwarded-Proto: http\r\n"), "{sent}");
    let mut config = one_route(|_, _| {});
    config.trusted_proxies = std::iter::once("127.0.0.0/8".parse().unwrap()).collect();
    let mut w = world_of(config);
    w.client_with(says);
    let sent = w.wire(w.last_up());
    assert!(sent.contains("X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n") && sent.contains("-Proto: https\r\n"), "{sent}");
}

#[test]
fn a_request_that_comes_back_is_a_loop_and_one_through_another_segno_is_none() {
    let (mut w, mut other) = (world(), world_from(one_route(|_, _| {}), 8));
    let via =
        |w: &World| w.wire(w.last_up()).split("\r\nVia: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    w.client_with(GET);
    let first = via(&w);
    other.client_with(&format!("GET /plain HTTP/1.1\r\nHost: h\r\nVia: {first}\r\n\r\n"));
    let both = via(&other);
    assert!(both.starts_with(&format!("{first}, 1.1 segno-")), "{both}");
    let ups = w.ups.len();
    let c = w.client_with(&format!("GET /plain HTTP/1.1\r\nHost: h\r\nVia: {both}\r\n\r\n"));
    assert_eq!((w.status(c), w.ups.len(), w.count(Count::Loops)), (508, ups, 1));
}
