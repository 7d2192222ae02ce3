//! Streams of MCP's transport of 2024-11-05, whose clients are told where to send messages.

use super::*;
use crate::config::Sticky;
use crate::machine::tests::upstreams::to;
use crate::testing::world::Said;

const TAKEN: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const THREE: [&str; 3] = ["http://a:1", "http://b:1", "http://c:1"];

/// A client whose stream names this URL, its upstream, and that one's place.
fn told(w: &mut World, at: &str, url: &str) -> (usize, usize, usize) {
    let c = w.client_with(&GET_STREAM.replace("/events", at));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&format!(": hi\n\nevent: endpoint\ndata: {url}\n\n"))));
    (c, u, *w.placed.last().unwrap())
}

/// Where a POST to this target goes.
fn posted(w: &mut World, target: &str) -> usize {
    w.client_with(&POST.replace("/llm", target));
    w.say(w.last_up(), TAKEN);
    *w.placed.last().unwrap()
}

#[test]
fn what_a_stream_tells_its_client_to_send_goes_to_the_upstream_of_the_stream() {
    for sticky in [Sticky::Session, Sticky::Principal, Sticky::Off] {
        let mut w = world_of(to(&THREE, |r| r.set.sticky = sticky));
        let streams: Vec<usize> =
            (0..6).map(|n| told(&mut w, "/mcp/sse", &format!("/mcp/messages?id={n}")).2).collect();
        for _ in 0..3 {
            for (n, place) in streams.iter().enumerate() {
                assert_eq!(posted(&mut w, &format!("/mcp/messages?id={n}")), *place, "{sticky:?}");
            }
        }
    }
}

#[test]
fn the_url_may_be_relative_or_absolute_and_the_upstreams_may_have_a_path() {
    for (url, target) in [
        ("messages?id=1", "/mcp/messages?id=1"),
        ("http://h/m?id=1", "/m?id=1"),
        ("?id=1", "/mcp/sse?id=1"),
        ("", "/mcp/sse"),
        ("v1/../messages/./1", "/mcp/messages/1"),
    ] {
        for urls in [THREE, ["http://a:1/base", "http://b:1/base", "http://c:1/base"]] {
            let mut w = world_of(to(&urls, |_| {}));
            let (_, _, place) = told(&mut w, "/mcp/sse", url);
            for _ in 0..4 {
                assert_eq!(posted(&mut w, target), place, "{url} at {}", urls[0]);
            }
        }
    }
}

#[test]
fn it_goes_there_while_that_upstream_is_left_out_and_to_no_other_while_it_cannot_be_reached() {
    let mut w = world_of(to(&THREE, |r| r.heal_for = Span::from_secs(9)));
    let (_, _, place) = told(&mut w, "/sse", "/m?id=1");
    w.dial_at.insert(place, Dial::Refuse);
    for _ in 0..12 {
        w.client_with(GET);
        w.say(w.last_up(), TAKEN);
    }
    assert!(w.has_notice("a:1 fails"), "{:?}", w.notices);
    let before = w.placed.len();
    let c = w.client_with(&POST.replace("/llm", "/m?id=1"));
    w.pass_secs(20);
    assert!(w.placed.len() > before + 1 && w.placed[before..].iter().all(|at| *at == place), "{:?}", w.placed);
    assert_eq!(w.status(c), 502);
    w.dial_at.clear();
    assert_eq!(posted(&mut w, "/m?id=1"), place);
}

#[test]
fn when_the_stream_is_over_nothing_is_remembered() {
    let mut w = world_of(to(&THREE, |r| r.linger = Span::from_secs(30)));
    let (c, u, place) = told(&mut w, "/sse", "/m?id=1");
    w.hear(c, Said::Eof);
    assert_eq!(posted(&mut w, "/m?id=1"), place, "it lingers");
    w.say(u, LAST);
    w.pass_secs(40);
    let at: Vec<usize> = (0..3).map(|_| posted(&mut w, "/m?id=1")).collect();
    assert!((0..3).all(|place| at.contains(&place)), "{at:?}");
}

#[test]
fn only_the_first_event_counts_and_only_one_of_that_name() {
    let mut w = world_of(to(&THREE, |_| {}));
    w.client_with(GET_STREAM);
    let first = "event: message\ndata: /m?id=1\n\n";
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(first)));
    w.say(w.last_up(), &chunk("event: endpoint\ndata: /m?id=1\n\n"));
    let at: Vec<usize> = (0..3).map(|_| posted(&mut w, "/m?id=1")).collect();
    assert!((0..3).all(|place| at.contains(&place)), "{at:?}");
}

#[test]
fn an_event_that_comes_in_parts_or_with_others_is_heard_too() {
    let mut w = world_of(to(&THREE, |_| {}));
    w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("event: endp")));
    w.say(u, &chunk("oint\ndata: /m?id=1\n\nda"));
    w.say(u, &chunk("ta: x\n\n"));
    let place = *w.placed.last().unwrap();
    assert_eq!([0; 4].map(|_| posted(&mut w, "/m?id=1")), [place; 4]);
}

#[test]
fn a_message_finds_its_stream_also_where_a_reload_took_its_upstream_out_or_moved_it() {
    let mut w = world_of(to(&THREE, |_| {}));
    let (_, _, place) = told(&mut w, "/sse", "/m?id=1");
    w.reload(to(&THREE, |r| r.window = 9));
    let moved = w.reloaded[0].as_ref().unwrap()[place];
    assert_eq!([0; 4].map(|_| posted(&mut w, "/m?id=1")), [moved; 4]);
    w.reload(to(&["http://b:1", "http://c:1"], |_| {}));
    assert_eq!([0; 4].map(|_| posted(&mut w, "/m?id=1")), [place; 4], "the stream has it");
    w.reload(to(&["http://b:1"], |_| {}));
    assert_eq!([0; 2].map(|_| posted(&mut w, "/m?id=1")), [place; 2]);
}

#[test]
fn a_stream_that_is_healed_elsewhere_takes_its_messages_along() {
    let mut w = world_of(to(&THREE, |r| r.set.shared_ids = true));
    w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk("id: 1\nevent: endpoint\ndata: /m?id=1\n\n")));
    assert_eq!(posted(&mut w, "/m?id=1"), 0);
    w.dial_at.insert(0, Dial::Refuse);
    w.rst(u);
    let place = *w.placed.last().unwrap();
    assert_ne!(place, 0);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!([0; 3].map(|_| posted(&mut w, "/m?id=1")), [place; 3]);
}

#[test]
fn a_stream_that_began_when_its_route_had_one_upstream_keeps_its_messages_too() {
    let mut w = world_of(to(&["http://a:1"], |_| {}));
    told(&mut w, "/sse", "/m?id=1");
    w.reload(to(&THREE, |_| {}));
    let places = w.reloaded[0].clone().unwrap();
    let is_first = |at: usize| at == places[0];
    assert!((0..4).all(|_| is_first(posted(&mut w, "/m?id=1"))), "{:?} of {places:?}", w.placed);
}

/// Round robin goes on where nothing is bound, so that one of three requests in a row would go elsewhere.
#[test]
fn what_one_client_is_told_leads_nobody_elses_requests_and_no_other_method() {
    let mut w = world_of(to(&THREE, |r| r.set.sticky = Sticky::Off));
    let (_, _, place) = told(&mut w, "/sse", "/llm");
    assert!((0..3).all(|_| posted(&mut w, "/llm") == place), "the client's own messages stay");
    let others = |w: &mut World, request: String| -> Vec<usize> {
        let ask = |_| {
            w.client_with(&request);
            w.say(w.last_up(), TAKEN);
            *w.placed.last().unwrap()
        };
        (0..3).map(ask).collect()
    };
    let stranger = POST.replace("\r\n\r\n", "\r\nAuthorization: Bearer other\r\n\r\n");
    for request in [stranger, GET_STREAM.replace("/events", "/llm")] {
        let places = others(&mut w, request);
        assert!(places.iter().any(|at| *at != place), "{places:?}");
    }
}

/// Whether each POST to this target goes where the stream comes from. Where nothing leads it, one of three in a row goes
/// elsewhere.
fn is_led(w: &mut World, target: &str, place: usize) -> bool {
    let at: Vec<usize> = (0..3).map(|_| posted(w, target)).collect();
    at.iter().all(|at| *at == place)
}

/// RFC 3986, section 5.4: what a stream at `http://a/b/c/d;p?q` names, and what its client then asks for here; `None`:
/// it asks somebody else.
const REFERENCES: [(&str, Option<&str>); 43] = [
    ("g:h", None),
    ("g", Some("/b/c/g")),
    ("./g", Some("/b/c/g")),
    ("g/", Some("/b/c/g/")),
    ("/g", Some("/g")),
    ("//g", None),
    ("?y", Some("/b/c/d;p?y")),
    ("g?y", Some("/b/c/g?y")),
    ("#s", Some("/b/c/d;p?q")),
    ("g#s", Some("/b/c/g")),
    ("g?y#s", Some("/b/c/g?y")),
    (";x", Some("/b/c/;x")),
    ("g;x", Some("/b/c/g;x")),
    ("g;x?y#s", Some("/b/c/g;x?y")),
    ("", Some("/b/c/d;p?q")),
    (".", Some("/b/c/")),
    ("./", Some("/b/c/")),
    ("..", Some("/b/")),
    ("../", Some("/b/")),
    ("../g", Some("/b/g")),
    ("../..", Some("/")),
    ("../../", Some("/")),
    ("../../g", Some("/g")),
    ("../../../g", Some("/g")),
    ("../../../../g", Some("/g")),
    ("/./g", Some("/g")),
    ("/../g", Some("/g")),
    ("g.", Some("/b/c/g.")),
    (".g", Some("/b/c/.g")),
    ("g..", Some("/b/c/g..")),
    ("..g", Some("/b/c/..g")),
    ("./../g", Some("/b/g")),
    ("./g/.", Some("/b/c/g/")),
    ("g/./h", Some("/b/c/g/h")),
    ("g/../h", Some("/b/c/h")),
    ("g;x=1/./y", Some("/b/c/g;x=1/y")),
    ("g;x=1/../y", Some("/b/c/y")),
    ("g?y/./x", Some("/b/c/g?y/./x")),
    ("g?y/../x", Some("/b/c/g?y/../x")),
    ("g#s/./x", Some("/b/c/g")),
    ("g#s/../x", Some("/b/c/g")),
    ("http:g", Some("/b/c/g")),
    ("https:g", None),
];

#[test]
fn each_reference_of_the_rfc_leads_what_its_client_asks_for_here_and_nothing_else() {
    for (reference, target) in REFERENCES {
        let mut w = world_of(to(&THREE, |r| r.set.sticky = Sticky::Off));
        w.client_with("GET /b/c/d;p?q HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
        w.say(w.last_up(), &format!("{STREAM}{}", chunk(&format!("event: endpoint\ndata: {reference}\n\n"))));
        let place = *w.placed.last().unwrap();
        // What is somebody else's would be one of these here.
        let asked = target.map_or(vec!["/g", "/h", "/b/c/g", "/"], |target| vec![target]);
        for path in asked {
            assert_eq!(is_led(&mut w, path, place), target.is_some(), "{reference:?}, {path}");
        }
    }
}

#[test]
fn a_url_of_another_server_leads_nothing_here() {
    let own_host = |r: &mut Route| r.upstream_host = crate::config::HostSent::Upstream;
    let client: fn(&mut Route) = |_| {};
    // The stream is asked for as `http://h/sse`; the first upstream is `http://a:1`.
    for (url, adjust, leads) in [
        ("http://h/m?id=1", client, true),
        ("HTTP://H:80/m?id=1", client, true),
        ("//h/m?id=1", client, true),
        ("http://h:81/m?id=1", client, false),
        ("http://other/m?id=1", client, false),
        ("//other/m?id=1", client, false),
        ("http://other:1/../m?id=1", client, false),
        ("http://u@h/m?id=1", client, false),
        ("ftp://h/m?id=1", client, false),
        ("http:///m?id=1", client, false),
        ("/\\other/../m?id=1", client, false),
        // What stands before segno ends TLS, and does not say so.
        ("https://h/m?id=1", client, true),
        // The upstream's own name for itself.
        ("http://a:1/m?id=1", client, true),
        ("https://a:1/m?id=1", client, false),
        ("http://b:1/m?id=1", client, false),
        ("http://a:1/m?id=1", own_host, true),
        ("http://h/m?id=1", own_host, true),
        ("http://other/m?id=1", own_host, false),
    ] {
        let mut w = world_of(to(&THREE, adjust));
        let (_, _, place) = told(&mut w, "/sse", url);
        assert_eq!(is_led(&mut w, "/m?id=1", place), leads, "{url}");
    }
}

#[test]
fn the_host_that_a_trusted_proxy_names_is_the_clients_and_that_of_others_is_not() {
    for (line, trusted, leads) in [
        ("X-Forwarded-Host: public.test", true, true),
        ("X-Forwarded-Host: public.test, inner.test", true, true),
        ("Forwarded: for=192.0.2.1;host=\"public.test\";proto=https", true, true),
        ("X-Forwarded-Host: public.test", false, false),
        ("X-Forwarded-Host: inner.test", true, false),
    ] {
        let mut config = to(&THREE, |r| r.set.sticky = Sticky::Off);
        config.trusted_proxies = trusted.then(|| "127.0.0.0/8".parse().unwrap()).into_iter().collect();
        let mut w = world_of(config);
        let ask = GET_STREAM.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
        w.client_with(&ask);
        w.say(w.last_up(), &format!("{STREAM}{}", chunk("event: endpoint\ndata: http://public.test/m\n\n")));
        let place = *w.placed.last().unwrap();
        let post = POST.replace("/llm", "/m").replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
        let mut ask = || {
            w.client_with(&post);
            w.say(w.last_up(), TAKEN);
            *w.placed.last().unwrap()
        };
        let at: Vec<usize> = (0..3).map(|_| ask()).collect();
        assert_eq!(at.iter().all(|at| *at == place), leads, "{line}, {at:?}");
    }
}

#[test]
fn a_url_of_the_upstream_is_without_the_path_that_segno_puts_before_each_target() {
    let mut w = world_of(to(&["http://a:1/base", "http://b:1/base", "http://c:1/base"], |_| {}));
    let (_, _, place) = told(&mut w, "/sse", "http://a:1/base/m?id=1");
    assert!(is_led(&mut w, "/m?id=1", place));
}

/// One credential may stand for many people, whose streams come from several upstreams.
#[test]
fn what_streams_of_several_upstreams_told_leads_nowhere_until_only_one_is_left() {
    let mut w = world_of(to(&THREE, |r| r.set.sticky = Sticky::Off));
    let streams: Vec<(usize, usize, usize)> = (0..2).map(|_| told(&mut w, "/sse", "/messages")).collect();
    assert_ne!(streams[0].2, streams[1].2);
    let at: Vec<usize> = (0..6).map(|_| posted(&mut w, "/messages")).collect();
    assert!((0..3).all(|place| at.iter().filter(|at| **at == place).count() == 2), "in turn: {at:?}");
    assert_eq!(w.count(Count::MessagesContested), 6);
    w.say(streams[1].1, LAST);
    assert!(is_led(&mut w, "/messages", streams[0].2), "the other stream is over");
    // Two streams of one upstream are of one mind.
    let more: Vec<(usize, usize, usize)> = (0..3).map(|_| told(&mut w, "/sse", "/two")).collect();
    let same = more.iter().find(|stream| stream.2 == streams[0].2).unwrap();
    told(&mut w, "/sse", "/three");
    let other: Vec<(usize, usize, usize)> = (0..3).map(|_| told(&mut w, "/sse", "/messages")).collect();
    other.iter().filter(|stream| stream.2 != same.2).for_each(|stream| w.say(stream.1, LAST));
    assert!(is_led(&mut w, "/messages", same.2));
}

#[test]
fn a_stream_that_goes_on_elsewhere_makes_its_target_contested_there() {
    let mut w = world_of(to(&THREE[..2], |r| (r.set.shared_ids, r.set.sticky) = (true, Sticky::Off)));
    let mut streams = Vec::new();
    for _ in 0..4 {
        w.client_with(GET_STREAM);
        let (u, place) = (w.last_up(), *w.placed.last().unwrap());
        let target = if place == 0 { "/m" } else { "/other" };
        w.say(u, &format!("{STREAM}{}", chunk(&format!("id: 1\nevent: endpoint\ndata: {target}\n\n"))));
        streams.push((u, place));
    }
    assert!(is_led(&mut w, "/m", 0));
    w.dial_at.insert(0, Dial::Refuse);
    let first = streams.iter().find(|stream| stream.1 == 0).unwrap().0;
    w.rst(first);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    w.dial_at.clear();
    let at: Vec<usize> = (0..6).map(|_| posted(&mut w, "/m")).collect();
    assert!(at.contains(&0) && at.contains(&1), "{at:?}");
}
