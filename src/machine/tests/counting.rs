//! What the metrics are told: kinds, reasons and outcomes, for the route that they belong to, and how long things took.

use super::asking::*;
use super::*;
use crate::base::{Spans, Timing};

/// All that was counted under a metric's name since the last look: the route, the value of the last label, how much.
fn counted(w: &mut World, name: &str) -> Vec<(Option<usize>, &'static str, u64)> {
    let mut all = Vec::new();
    w.machine.drain_counts(|count, route, n| {
        if count.name() == name {
            all.push((route, count.labels().last().map_or("", |(_, value)| value), n));
        }
    });
    all
}

fn timed(w: &mut World, timing: Timing) -> Vec<(Option<usize>, Spans)> {
    let mut all = Vec::new();
    w.machine.drain_timings(|t, route, spans| {
        if t == timing {
            all.push((route, *spans));
        }
    });
    all
}

/// What ends the body of an upstream.
type Cut = fn(&mut World, usize);

#[test]
fn a_cut_is_counted_by_its_kind() {
    let idle = |r: &mut Route, _: &mut Limits| r.upstream_idle = Some(Span::from_secs(5));
    let kinds: [(&str, Cut); 5] = [
        ("closed", |w, u| w.fin(u)),
        ("reset", |w, u| w.rst(u)),
        ("malformed", |w, u| w.say(u, "zz\r\n")),
        ("silent", |w, _| w.pass_secs(6)),
        ("closed", |w, u| {
            w.say(u, "9\r\nid: 2\nda");
            w.fin(u);
        }),
    ];
    for (kind, cut) in kinds {
        let mut w = world_with(idle);
        let (_, u) = w.streaming();
        counted(&mut w, "");
        cut(&mut w, u);
        assert_eq!(counted(&mut w, "upstream_cuts_total"), [(Some(0), kind, 1)]);
    }
}

#[test]
fn a_heal_is_counted_by_its_outcome() {
    let answers = [
        ("healed", format!("{STREAM}{}", chunk(&event(2)))),
        ("ended", "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        ("refused", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("given_up", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_owned()),
    ];
    for (outcome, answer) in answers {
        let mut w = world();
        let (_, u) = w.streaming();
        w.fin(u);
        let healer = w.up(1);
        w.say(healer, &answer);
        assert_eq!(counted(&mut w, "heals_total"), [(Some(0), outcome, 1)]);
    }
    let mut w = world_with(|r, _| r.heal_for = Span::ZERO);
    let (_, u) = w.streaming();
    w.fin(u);
    assert_eq!(counted(&mut w, "heals_total"), [(Some(0), "impossible", 1)]);
    let mut w = world();
    let (_, u) = w.streaming();
    w.dial = Dial::Refuse;
    w.fin(u);
    w.pass_secs(70);
    assert_eq!(counted(&mut w, "heals_total"), [(Some(0), "given_up", 1)]);
}

#[test]
fn what_never_began_was_not_healed_in_vain() {
    let mut w = world();
    w.dial = Dial::Refuse;
    w.client_with(GET_STREAM);
    w.pass_secs(70);
    assert_eq!((w.heals_failed(), w.count(Count::UpstreamFailures)), (0, 1));
}

#[test]
fn heals_and_heads_are_timed() {
    let mut w = world();
    w.client_with(GET_STREAM);
    let u = w.up(0);
    w.pass_ms(300);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    let [(Some(0), heads)] = timed(&mut w, Timing::UpstreamHead)[..] else { panic!("no head was timed") };
    assert_eq!((heads.sum, heads.buckets.iter().sum::<u64>()), (300_000, 1));
    w.fin(u);
    w.pass_ms(2_000);
    let healer = w.last_up();
    w.say(healer, &format!("{STREAM}{}", chunk(&event(2))));
    let [(Some(0), heals)] = timed(&mut w, Timing::Heal)[..] else { panic!("no heal was timed") };
    assert!((2_000_000..2_200_000).contains(&heals.sum), "{heals:?}");
    assert!(timed(&mut w, Timing::Heal).is_empty(), "it is told once");
}

#[test]
fn each_route_has_its_own_counts() {
    let route = |path: &str| {
        let route = Route::new(Upstream::parse("http://up:9000").unwrap());
        Route { name: path.to_owned(), path: path.to_owned(), ..route }
    };
    let mut w = world_of(Config { routes: vec![route("/a"), route("/b")].into(), ..Config::default() });
    for (path, events) in [("/a", 1), ("/b", 2)] {
        w.client_with(&GET_STREAM.replace("/events", path));
        let u = w.last_up();
        w.say(u, STREAM);
        (0..events).for_each(|n| w.say(u, &chunk(&event(n))));
    }
    let mut all = counted(&mut w, "events_received_total");
    all.sort_unstable();
    assert_eq!(all, [(Some(0), "", 1), (Some(1), "", 2)]);
}

#[test]
fn what_clients_took_is_counted_event_by_event() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.say(u, &chunk(&(event(2) + &event(3))));
    let bytes = (event(1) + &event(2) + &event(3)).len() as u64;
    assert_eq!((w.count(Count::EventsSent), w.count(Count::EventBytesSent)), (3, bytes));
    // A socket that is full takes a part of an event, which counts once it is whole.
    w.takes(c, 8);
    w.say(u, &chunk(&event(4)));
    assert_eq!(w.count(Count::EventsSent), 3);
    assert_eq!(w.machine.subscribers(), (1, 1));
    w.takes_all(c);
    assert_eq!((w.count(Count::EventsSent), w.machine.subscribers()), (4, (1, 0)));
    w.rst(c);
    w.say(u, &chunk(&event(5)));
    assert_eq!((w.machine.subscribers(), w.count(Count::EventsSent)), ((0, 0), 4));
    let d = w.client_with(&get("3"));
    assert_eq!(data(&w, d), ["4", "5"]);
    assert_eq!((w.count(Count::Replays), w.count(Count::EventsReplayed), w.count(Count::EventsSent)), (1, 2, 6));
}

#[test]
fn what_is_received_is_undelivered_until_it_is_acknowledged() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.acknowledged();
    assert_eq!(w.machine.undelivered(), 0);
    w.rst(c);
    (2..5).for_each(|n| w.say(u, &chunk(&event(n))));
    assert_eq!(w.machine.undelivered(), 3);
    let back = w.client_with(&get("1"));
    w.acknowledged();
    assert_eq!(w.machine.undelivered(), 0);
    w.say(u, &chunk(&event(9)));
    assert_eq!(w.machine.undelivered(), 1);
    w.rst(back);
    w.pass_secs(200);
    assert_eq!((w.machine.streams(), w.machine.undelivered()), (0, 0));
}

#[test]
fn ids_of_segnos_own_are_counted() {
    let mut w = lingering_world(|_, _| {});
    without_ids(&mut w);
    assert_eq!(w.count(Count::IdsInjected), 2);
    let (_, u) = w.streaming();
    w.say(u, &chunk(&event(2)));
    assert_eq!(w.count(Count::IdsInjected), 2);
}

#[test]
fn a_gap_is_counted_by_its_reason() {
    let mut w = world();
    let (_, u) = w.streaming();
    w.fin(u);
    let healer = w.up(1);
    w.say(healer, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(counted(&mut w, "gaps_total"), [(Some(0), "refused", 1)]);
}

#[test]
fn a_head_that_is_refused_is_counted_by_its_part() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(100_000));
    let heads = [
        (&*long, "size"),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", "first_line"),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", "header"),
        ("GET / HTTP/1.1\r\n\r\n", "host"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", "framing"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "body"),
    ];
    for (head, kind) in heads {
        let mut w = world();
        w.client_with(head);
        assert_eq!(counted(&mut w, "parse_errors_total"), [(None, kind, 1)], "{head:.80}");
    }
}
