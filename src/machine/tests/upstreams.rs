//! Routes with several upstreams: who gets a request, who gets it next, and who is left out.

use super::*;
use crate::config::{Balance, Sticky, Weighted};
use crate::testing::world::Said;

/// The head of a good answer to a check.
pub(super) const GOOD_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n";

const SERVED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

pub(super) fn to(urls: &[&str], adjust: impl FnOnce(&mut Route)) -> Config {
    let config = one_route(|route, _| route.linger = Span::ZERO);
    let all = urls.iter().map(|url| Weighted::parse(url).unwrap()).collect();
    let mut route = config.routes[0].clone().with_upstreams(all);
    adjust(&mut route);
    Config { routes: vec![route].into(), ..config }
}

/// A world whose route has three upstreams.
fn three(adjust: impl FnOnce(&mut Route)) -> World {
    world_of(to(&["http://a:1", "http://b:1", "http://c:1"], adjust))
}

/// A client that sends this. Where its request went, in the order of attempts.
fn led(w: &mut World, request: &str) -> (usize, Vec<usize>) {
    let before = w.placed.len();
    let c = w.client_with(request);
    (c, w.placed[before..].to_vec())
}

/// The same, where it was answered at once.
fn served(w: &mut World, request: &str, answer: &str) -> usize {
    let (_, at) = led(w, request);
    w.say(w.last_up(), answer);
    *at.last().unwrap()
}

#[test]
fn requests_go_to_the_upstreams_in_turn_by_weight() {
    let mut w = world_of(to(&["http://a:1", "http://b:1 weight=2", "http://c:1"], |_| {}));
    let turns: Vec<usize> = (0..8).map(|_| served(&mut w, GET, SERVED)).collect();
    let times = [0, 1, 2].map(|place| turns.iter().filter(|at| **at == place).count());
    assert_eq!(times, [2, 4, 2], "{turns:?}");
}

#[test]
fn an_idle_connection_is_used_again_for_its_own_upstream_alone() {
    let mut w = world_of(to(&["http://a:1", "http://b:1"], |_| {}));
    for _ in 0..6 {
        let before = w.ups.len();
        let c = w.client_with(GET);
        let asked = |n: usize| w.wire(w.up(n)).matches("GET").count();
        let up = if w.ups.len() > before { w.last_up() } else { w.up(usize::from(asked(0) <= asked(1))) };
        w.say(up, OK);
        assert_eq!(w.status(c), 200);
    }
    assert_eq!((w.ups.len(), w.placed.clone()), (2, vec![0, 1]));
    assert_eq!([0, 1].map(|n| w.wire(w.up(n)).matches("GET").count()), [3, 3]);
}

#[test]
fn a_connection_that_is_not_established_is_tried_at_the_next_upstream_even_for_a_post() {
    for dial in [Dial::Refuse, Dial::Wrong] {
        let mut w = three(|_| {});
        w.dial_at.insert(0, dial);
        let (c, at) = led(&mut w, POST);
        assert_eq!(at, [0, 1]);
        assert!(w.wire(w.last_up()).ends_with("\r\n\r\nhi"), "{}", w.wire(w.last_up()));
        w.say(w.last_up(), SERVED);
        assert_eq!((w.status(c), w.body(c).0.as_str()), (200, "ok"));
    }
}

#[test]
fn an_upstream_that_does_not_answer_the_dial_leaves_time_for_the_next_within_the_connect_deadline() {
    let mut w = three(|_| {});
    w.dial = Dial::Hang;
    let begun = w.now;
    led(&mut w, POST);
    w.pass_secs(5);
    assert_eq!(w.placed[..3], [0, 1, 2]);
    let tried: Vec<u64> = w.dialled.iter().map(|at| at.since(begun).millis()).collect();
    assert!(tried[1] < 1_700 && tried[2] < 3_400, "{tried:?}");
}

#[test]
fn a_post_that_reached_an_upstream_is_never_sent_to_another() {
    let mut w = three(|_| {});
    let (c, at) = led(&mut w, POST);
    w.hear(w.last_up(), Said::Eof);
    w.pass_secs(70);
    assert_eq!((at, w.placed.len(), w.status(c)), (vec![0], 1, 502));
    // Nor one that was answered badly.
    let (c, _) = led(&mut w, POST);
    w.say(w.last_up(), BUSY);
    assert_eq!((w.placed.len(), w.status(c)), (2, 503));
}

#[test]
fn where_none_can_be_reached_each_is_tried_once_and_a_post_waits_as_for_one_upstream() {
    let mut w = three(|r| r.heal_for = Span::from_secs(10));
    w.dial = Dial::Refuse;
    let (c, at) = led(&mut w, POST);
    assert_eq!(at, [0, 1, 2]);
    w.pass_secs(5);
    assert_eq!(w.status(c), 0, "it is held");
    w.dial = Dial::Accept;
    w.pass_secs(4);
    w.say(w.last_up(), SERVED);
    assert_eq!(w.status(c), 200);
}

#[test]
fn failures_in_a_row_leave_an_upstream_out_for_a_time_that_doubles() {
    let mut w = three(|r| r.set.slow_start = Span::ZERO);
    w.dial_at.insert(0, Dial::Refuse);
    let tries = |w: &mut World, n: usize| {
        let before = w.placed.len();
        (0..n).for_each(|_| _ = served(w, GET, SERVED));
        w.placed[before..].iter().filter(|place| **place == 0).count()
    };
    assert_eq!(tries(&mut w, 30), 3);
    let ejected = |w: &World| w.notices.iter().filter(|n| n.to_string().contains("a:1 fails")).count();
    assert_eq!(ejected(&w), 1);
    w.pass_secs(9);
    assert_eq!(tries(&mut w, 9), 0);
    w.pass_ms(1_002);
    assert_eq!((tries(&mut w, 30), ejected(&w)), (3, 2), "it is back for three failures");
    w.pass_secs(19);
    assert_eq!(tries(&mut w, 9), 0);
    w.dial_at.clear();
    w.pass_secs(2);
    assert_eq!(tries(&mut w, 9), 3);
    assert!(w.has_notice("a:1 gets new requests again, after 20 s"), "{:?}", w.notices);
}

#[test]
fn an_answer_ends_a_row_of_failures() {
    let mut w = world_of(to(&["http://a:1", "http://b:1"], |_| {}));
    for n in 0..40 {
        served(&mut w, GET, if n % 6 < 4 { BUSY } else { SERVED });
    }
    assert!(!w.has_notice("fails"), "two in a row at most: {:?}", w.notices);
}

#[test]
fn what_upstreams_answer_leaves_out_no_more_than_their_share_and_where_all_are_out_all_are_tried() {
    let mut w = three(|r| r.set.eject_share = 67);
    (0..30).for_each(|_| _ = served(&mut w, GET, BUSY));
    assert_eq!(w.notices.iter().filter(|n| n.to_string().contains(" fails (it answered 503)")).count(), 2);
    // Those that cannot be reached may all be left out.
    w.dial = Dial::Refuse;
    (0..9).for_each(|_| _ = w.client_with(GET));
    assert_eq!(w.notices.iter().filter(|n| n.to_string().contains(" fails (")).count(), 3);
    w.dial = Dial::Accept;
    let at: Vec<usize> = (0..3).map(|_| served(&mut w, GET, SERVED)).collect();
    assert!((0..3).all(|place| at.contains(&place)), "{at:?}");
}

#[test]
fn an_upstream_that_is_back_begins_with_a_small_share() {
    let mut w = world_of(to(&["http://a:1", "http://b:1"], |_| {}));
    w.dial_at.insert(0, Dial::Refuse);
    (0..10).for_each(|_| _ = served(&mut w, GET, SERVED));
    w.dial_at.clear();
    w.pass_secs(11);
    let share = |w: &mut World| (0..60).filter(|_| served(w, GET, SERVED) == 0).count();
    let (first, _) = (share(&mut w), w.pass_secs(4));
    let (middle, _) = (share(&mut w), w.pass_secs(6));
    let last = share(&mut w);
    assert!((3..9).contains(&first) && (15..25).contains(&middle) && last == 30, "{first} {middle} {last}");
}

#[test]
fn a_new_stream_goes_where_the_fewest_are() {
    let mut w = three(|r| r.set.balance = Balance::LeastStreams);
    let streams: Vec<(usize, usize)> = (0..6).map(|_| w.streaming()).collect();
    assert_eq!([0, 1, 2].map(|place| w.placed.iter().filter(|at| **at == place).count()), [2, 2, 2]);
    let of_first: Vec<usize> = (0..6).filter(|n| w.placed[*n] == w.placed[0]).collect();
    of_first.iter().for_each(|n| w.fin(streams[*n].0));
    w.streaming();
    w.streaming();
    assert_eq!(w.placed[6..], [w.placed[0]; 2], "{:?}", w.placed);
}

#[test]
fn a_stream_whose_upstream_keeps_its_ids_to_itself_is_healed_there() {
    let mut w = three(|_| {});
    let (c, u) = w.streaming();
    w.rst(u);
    assert_eq!(w.placed, [0, 0]);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
    // It waits for its upstream, and no other is asked.
    w.dial_at.insert(0, Dial::Refuse);
    w.rst(w.last_up());
    w.pass_secs(30);
    assert!(w.placed.len() > 5 && w.placed.iter().all(|place| *place == 0), "{:?}", w.placed);
    w.dial_at.clear();
    w.pass_secs(4);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(3))));
    assert_eq!(w.events(c), event(1) + &event(2) + &event(3));
}

#[test]
fn a_stream_whose_ids_all_upstreams_share_goes_on_at_another_one() {
    let mut w = three(|r| r.set.shared_ids = true);
    let (c, u) = w.streaming();
    w.dial_at.insert(0, Dial::Refuse);
    w.rst(u);
    assert_eq!(w.placed, [0, 0, 1]);
    let asked = w.wire(w.last_up());
    assert!(asked.contains("Last-Event-ID: 1\r\n"), "{asked}");
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!((w.events(c), w.state(c)), (event(1) + &event(2), State::Open));
}

#[test]
fn each_attempt_of_a_heal_keeps_to_the_pace_of_the_upstream_that_it_goes_to() {
    let mut w = three(|r| (r.set.shared_ids, r.heal_rate, r.set.eject_after) = (true, 1, 1));
    let streams: Vec<(usize, usize)> = (0..9).map(|_| w.streaming()).collect();
    w.pass_secs(5);
    w.dial_at.insert(0, Dial::Refuse);
    let before = w.placed.len();
    let of_first: Vec<usize> = (0..9).filter(|n| w.placed[*n] == 0).collect();
    of_first.iter().for_each(|n| w.hear(streams[*n].1, Said::Eof));
    w.pass_secs(1);
    for place in [1, 2] {
        let tries = (before..w.placed.len()).filter(|n| w.placed[*n] == place).count();
        assert!(tries <= 2, "{tries} attempts at {place}: {:?}", &w.placed[before..]);
    }
}

#[test]
fn requests_of_a_session_go_to_the_upstream_that_began_it() {
    let mut w = three(|_| {});
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nMcp-Session-Id: s7\r\n\r\nok";
    let first = served(&mut w, POST, begun);
    let ask = POST.replace("Host", "Mcp-Session-Id: s7\r\nHost");
    served(&mut w, GET, SERVED);
    for _ in 0..9 {
        assert_eq!(served(&mut w, &ask, SERVED), first);
    }
    // While its upstream is left out, all of it goes to one other, and stays there.
    w.dial_at.insert(first, Dial::Refuse);
    (0..9).for_each(|_| _ = served(&mut w, GET, SERVED));
    let second = served(&mut w, &ask, SERVED);
    assert_ne!(second, first);
    w.dial_at.clear();
    w.pass_secs(60);
    for _ in 0..5 {
        assert_eq!(served(&mut w, &ask, SERVED), second);
    }
}

#[test]
fn two_machines_lead_an_unknown_session_and_a_principal_to_the_same_upstream() {
    let urls = ["http://a:1", "http://b:1", "http://c:1"];
    for sticky in [Sticky::Session, Sticky::Principal] {
        let config = to(&urls, |r| r.set.sticky = sticky);
        let (mut one, mut other) = (world_from(config.clone(), 1), world_from(config, 2));
        let mut places = [0; 3];
        for n in 0..30 {
            let line = match sticky {
                Sticky::Session => format!("Mcp-Session-Id: {n}\r\nHost"),
                _ => format!("Authorization: {n}\r\nHost"),
            };
            let ask = GET.replace("Host", &line);
            let at = served(&mut one, &ask, SERVED);
            served(&mut other, GET, SERVED);
            assert_eq!((at, served(&mut one, &ask, SERVED)), (served(&mut other, &ask, SERVED), at), "{line}");
            places[at] += 1;
        }
        assert!(places.iter().all(|n| *n > 3), "{places:?}");
    }
}

#[test]
fn an_upstream_is_sent_its_own_host_where_it_is_sent_an_upstreams() {
    let mut w = three(|r| r.upstream_host = crate::config::HostSent::Upstream);
    w.dial_at.insert(1, Dial::Refuse);
    for host in ["a:1", "c:1"] {
        served(&mut w, GET, SERVED);
        let asked = w.wire(w.last_up());
        assert!(asked.contains(&format!("\r\nHost: {host}\r\n")), "{asked}");
    }
}

#[test]
fn an_upstream_that_a_reload_takes_out_keeps_its_streams_and_gets_no_request() {
    let mut w = three(|r| r.set.shared_ids = true);
    let streams: Vec<(usize, usize)> = (0..3).map(|_| w.streaming()).collect();
    w.reload(to(&["http://b:1", "http://c:1", "http://d:1"], |r| r.set.shared_ids = true));
    let places = w.reloaded[0].clone().unwrap();
    assert_eq!(places[..2], [1, 2], "what has not changed keeps its place");
    w.say(streams[0].1, &chunk(&event(2)));
    assert_eq!(w.events(streams[0].0), event(1) + &event(2));
    let at: Vec<usize> = (0..6).map(|_| served(&mut w, GET, SERVED)).collect();
    assert!(at.iter().all(|at| places.contains(at)) && at.contains(&places[2]), "{at:?}");
    w.rst(streams[0].1);
    let healed = *w.placed.last().unwrap();
    assert!(places.contains(&healed), "its stream goes on at one that is there: {healed}");
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(3))));
    assert_eq!(w.events(streams[0].0), event(1) + &event(2) + &event(3));
}

#[test]
fn what_is_left_out_stays_so_over_a_reload() {
    let mut w = three(|_| {});
    w.dial_at.insert(0, Dial::Refuse);
    (0..9).for_each(|_| _ = served(&mut w, GET, SERVED));
    w.dial_at.clear();
    w.reload(to(&["http://a:1", "http://b:1"], |r| r.window = 9));
    let first = w.reloaded[0].as_ref().unwrap()[0];
    assert!((0..6).all(|_| served(&mut w, GET, SERVED) != first));
    w.pass_secs(20);
    assert!((0..40).any(|_| served(&mut w, GET, SERVED) == first), "and comes back");
}

#[test]
fn a_stream_of_an_earlier_configuration_goes_on_at_the_upstreams_that_it_had() {
    let mut w = three(|r| r.set.shared_ids = true);
    let (c, u) = w.streaming();
    w.reload(to(&["http://a:1", "http://b:1", "http://c:1"], |r| (r.set.shared_ids, r.window) = (true, 9)));
    w.dial_at.insert(0, Dial::Refuse);
    w.rst(u);
    assert!(w.placed.last() == Some(&1), "{:?}", w.placed);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
}

#[test]
fn what_is_left_out_comes_back_also_where_its_stream_keeps_its_old_place() {
    let mut w = three(|_| {});
    let streams: Vec<(usize, usize)> = (0..3).map(|_| w.streaming()).collect();
    w.dial_at.insert(0, Dial::Refuse);
    (0..9).for_each(|_| _ = served(&mut w, GET, SERVED));
    w.dial_at.clear();
    w.reload(to(&["http://a:1", "http://b:1", "http://c:1"], |r| r.window = 9));
    let first = w.reloaded[0].as_ref().unwrap()[0];
    assert_ne!(first, 0, "its streams hold the place");
    assert!((0..6).all(|_| served(&mut w, GET, SERVED) != first));
    w.pass_secs(20);
    assert!((0..40).any(|_| served(&mut w, GET, SERVED) == first), "{}", streams.len());
}

#[test]
fn two_reloads_lead_no_stream_to_another_routes_upstream() {
    let mut w = three(|r| r.set.shared_ids = true);
    let (c, u) = w.streaming();
    w.reload(to(&["http://b:1", "http://c:1", "http://d:1"], |r| r.set.shared_ids = true));
    let mut config = to(&["http://b:1", "http://c:1", "http://d:1"], |r| (r.set.shared_ids, r.window) = (true, 9));
    let mut other = one_route(|_, _| {}).routes[0].clone();
    (other.name, other.path) = ("other".to_owned(), "/other".to_owned());
    other.upstream = Upstream::parse("http://other:1").unwrap();
    let own = config.routes[0].clone();
    config.routes = vec![other, own].into();
    w.reload(config);
    let others = w.reloaded[1].as_ref().unwrap()[0];
    w.rst(u);
    assert_ne!(w.placed.last(), Some(&others), "{:?}", w.placed);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
}

#[test]
fn who_waits_for_an_answer_is_forgotten_wherever_the_request_was_led() {
    let own_host = |r: &mut Route| {
        (r.upstream_host, r.share) = (crate::config::HostSent::Upstream, crate::config::Share::Principal);
    };
    let mut w = world_of(to(&["http://a:1", "http://b:1"], own_host));
    for n in 0..6 {
        w.client_with(&format!("GET /feed?{n} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"));
        w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    }
    assert_eq!(w.machine.index.waiting.len(), 0);
}

#[test]
fn those_whose_answer_cannot_be_shared_are_spread_over_the_upstreams() {
    let mut w = three(|r| r.share = crate::config::Share::Principal);
    let stream = "GET / HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
    (0..9).for_each(|_| _ = w.client_with(stream));
    let before = w.placed.len();
    w.say(w.last_up(), SERVED);
    w.pass_secs(1);
    let times = [0, 1, 2].map(|place| w.placed[before..].iter().filter(|at| **at == place).count());
    assert!(times.iter().all(|times| *times > 0), "{times:?}");
}
