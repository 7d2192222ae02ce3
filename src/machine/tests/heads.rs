//! What goes up and comes down in heads: hosts, redirects, targets, what is said of the client, loops.

use super::asking::{gap_header, last_id, with};
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
    for target in [
        "/../x",
        "/live/../../x",
        "/live/..%2fadmin",
        "/live/..;/admin",
        "/live/..%5cadmin",
        "/\u{e9}/../../x",
        "/a\tb",
    ] {
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

/// The lines of a head that a client got.
fn lines(w: &World, client: usize) -> Vec<String> {
    let wire = w.wire(client);
    wire.split("\r\n\r\n").next().unwrap().split("\r\n").skip(1).map(str::to_owned).collect()
}

const CORS: &str = "Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n";

fn with_lines(stream: &str, lines: &str) -> String {
    stream.replace("Content-Type", &format!("{lines}Content-Type"))
}

#[test]
fn who_comes_back_gets_upstreams_head_and_nothing_that_is_another_clients() {
    let own = "Cache-Control: no-store, private\r\nX-Content-Type-Options: nosniff\r\n\
               Cross-Origin-Resource-Policy: cross-origin\r\nContent-Security-Policy: default-src 'none'\r\n";
    let not = "Set-Cookie: a=b\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: x-hop\r\nX-Hop: 1\r\n";
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{}{}", with_lines(STREAM, &format!("{own}{CORS}{not}")), chunk(&event(1))));
    assert!(lines(&w, c).contains(&"Set-Cookie: a=b".to_owned()), "it is for the client that asked");
    w.rst(c);
    for id in [1, 1] {
        let d = w.client_with(&GET_STREAM.replace("Host", &format!("Last-Event-ID: {id}\r\nHost")));
        let got = lines(&w, d);
        for line in own.lines().chain(CORS.lines()).chain(["Content-Type: text/event-stream"]) {
            assert_eq!(got.iter().filter(|got| *got == line).count(), 1, "{line}: {got:?}");
        }
        assert!(!got.iter().any(|line| ["Set-Cookie", "Date", "X-Hop"].iter().any(|n| line.starts_with(n))), "{got:?}");
        assert_eq!(got.iter().filter(|line| line.starts_with("Cache-Control")).count(), 1, "{got:?}");
        w.rst(d);
    }
}

#[test]
fn every_event_stream_says_that_it_must_not_be_buffered() {
    for lines_of_upstream in ["", "X-Accel-Buffering: yes\r\n", "Content-Encoding: gzip\r\n"] {
        let mut w = world();
        let c = w.client_with(GET_STREAM);
        w.say(w.up(0), &with_lines(STREAM, lines_of_upstream));
        let got = lines(&w, c);
        assert_eq!(got.iter().filter(|line| *line == "X-Accel-Buffering: no").count(), 1, "{got:?}");
        assert!(!got.contains(&"X-Accel-Buffering: yes".to_owned()), "{got:?}");
    }
}

#[test]
fn a_cookie_goes_to_the_client_whose_request_it_answers_alone() {
    let mut w = lingering_world(|route, _| route.share = crate::config::Share::Public);
    let (first, beside) = (w.client_with(GET_STREAM), w.client_with(GET_STREAM));
    assert_eq!(w.ups.len(), 1);
    w.say(w.up(0), &with_lines(STREAM, "Set-Cookie: a=b\r\nMcp-Session-Id: s\r\nX-Kept: 1\r\n"));
    let (first, beside) = (lines(&w, first), lines(&w, beside));
    assert!(first.iter().any(|line| line.starts_with("Set-Cookie")));
    assert!(!beside.iter().any(|line| line.starts_with("Set-Cookie") || line.starts_with("Mcp-Session-Id")));
    assert!(beside.contains(&"X-Kept: 1".to_owned()));
}

#[test]
fn an_early_head_lets_a_page_read_it_where_upstream_has_lately_done_so() {
    let get = GET_STREAM.replace("Host", "oRigin: https://a.example\r\nHost");
    let mut w = world();
    let c = w.client_with(&get);
    w.say(w.up(0), &format!("{}{LAST}", with_lines(STREAM, CORS)));
    w.rst(c);
    w.dial = Dial::Refuse;
    let c = w.client_with(&get);
    w.pass_secs(4);
    assert_eq!(w.status(c), 200);
    let got = lines(&w, c);
    assert!(CORS.lines().all(|line| got.contains(&line.to_owned())), "{got:?}");
}

#[test]
fn a_page_of_an_origin_of_which_nothing_is_known_waits_without_a_head() {
    let get = GET_STREAM.replace("Host", "Origin: https://a.example\r\nHost");
    let mut w = world();
    w.dial = Dial::Refuse;
    let c = w.client_with(&get);
    w.pass_secs(50);
    assert_eq!((w.wire(c), w.state(c)), (String::new(), State::Open));
    w.pass_secs(11);
    assert_eq!((w.wire(c), w.state(c)), (String::new(), State::Reset), "a cut, after which a browser asks again");
    // Upstream comes back in time.
    let c = w.client_with(&get);
    w.pass_secs(10);
    w.dial = Dial::Accept;
    w.pass_secs(6);
    w.say(w.last_up(), &format!("{}{}", with_lines(STREAM, CORS), chunk(&event(1))));
    assert_eq!((w.status(c), w.events(c)), (200, event(1)));
}

#[test]
fn a_page_that_may_read_the_answer_may_read_the_gap_and_no_other_page_may() {
    const ORIGIN: &str = "Origin: https://a.example\r\n";
    let allowed = "Access-Control-Allow-Origin: https://a.example\r\n";
    for (lines, exposed) in [
        ("", vec![]),
        (allowed, vec!["Segno-Gap"]),
        (&*format!("{allowed}Access-Control-Expose-Headers: X-A\r\n"), vec!["X-A", "Segno-Gap"]),
        (&*format!("{allowed}access-control-expose-headers: x, segno-gap\r\n"), vec!["x, segno-gap"]),
    ] {
        let mut w = lingering_world(|route, _| {
            route.replay_events = 2;
            route.linger_full = crate::config::LingerFull::Evict;
        });
        let head = format!("{}{lines}\r\n", &STREAM[..STREAM.len() - 2]);
        let c = w.client_with(&GET_STREAM.replace("Host", &format!("{ORIGIN}Host")));
        let u = w.up(0);
        w.say(u, &format!("{head}{}", chunk("data: 1\n\n")));
        let sent: Vec<String> = exposed_by(&w, c);
        assert!(!sent.contains(&"Segno-Gap".to_owned()), "there is no gap to read: {sent:?}");
        let id = last_id(&w, c);
        w.rst(c);
        (2..9).for_each(|n| w.say(u, &chunk(&format!("data: {n}\n\n"))));
        let d = w.client_with(&with(ORIGIN, &id));
        assert_eq!(gap_header(&w, d).as_deref(), Some("evicted"), "{lines}");
        assert_eq!(exposed_by(&w, d), exposed, "{lines}");
    }
}

#[test]
fn a_page_may_read_the_status_that_tells_of_a_gap_where_upstream_has_let_it_read_before() {
    const ORIGIN: &str = "Origin: https://a.example\r\n";
    let allowed = "Access-Control-Allow-Origin: https://a.example\r\n";
    for lines in ["", allowed] {
        let mut w = lingering_world(|route, _| route.gap = crate::config::Gap::Status);
        let c = w.client_with(&GET_STREAM.replace("Host", &format!("{ORIGIN}Host")));
        let head = format!("{}{lines}\r\n", &STREAM[..STREAM.len() - 2]);
        w.say(w.up(0), &format!("{head}{}", chunk("data: 1\n\n")));
        let id = last_id(&w, c);
        w.rst(c);
        w.pass_secs(40);
        let d = w.client_with(&with(ORIGIN, &id));
        assert_eq!((w.status(d), gap_header(&w, d).as_deref()), (410, Some("unknown")));
        assert_eq!((w.wire(d).contains(allowed), exposed_by(&w, d).len()), (!lines.is_empty(), lines.len().min(1)));
    }
}

/// The values of `Access-Control-Expose-Headers` that an end got.
fn exposed_by(w: &World, end: usize) -> Vec<String> {
    let head = w.wire(end).split("\r\n\r\n").next().unwrap().to_owned();
    let values = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("Access-Control-Expose-Headers").then(|| value.to_owned())
    });
    values.collect()
}

#[test]
fn trailers_are_left_out_and_nobody_is_told_that_they_come() {
    let mut w = world();
    let c = w.client_with(
        "POST /plain HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let asked = w.wire(w.up(0));
    assert!(asked.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{asked}");
    assert!(!asked.contains("Trailer") && !asked.contains("TE: ") && !asked.contains("X-Sum"), "{asked}");
    w.say(
        w.up(0),
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n",
    );
    assert_eq!(w.wire(c), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    // Both connections carry the next request.
    w.say(c, GET);
    assert_eq!(w.ups.len(), 1);
    w.say(w.up(0), OK);
    assert!(w.wire(c).ends_with(OK));
}
