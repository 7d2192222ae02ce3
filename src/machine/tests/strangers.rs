//! Bounds of one address and of one principal: who has as many as it may loses its newest, and nobody else loses anything.

use super::*;
use crate::machine::{Origin, Refusal, Stake, Standing};
use std::net::IpAddr;

/// Clients' addresses, none of them the others' neighbour.
const HERE: &str = "192.0.2.7";
const THERE: &str = "198.51.100.9";
const PROXY: &str = "10.0.0.1";

fn of(address: &str) -> Origin {
    address.parse::<IpAddr>().unwrap().into()
}

/// A client that connects from an address. `None`: it was refused.
fn connect(w: &mut World, address: &str) -> Option<usize> {
    connect_as(w, of(address))
}

fn connect_as(w: &mut World, peer: Origin) -> Option<usize> {
    let (end, refused) = (w.ends.len(), w.refused);
    w.machine.handle(Input::Accepted { peer }, w.now);
    w.pump();
    (w.refused == refused).then_some(end)
}

fn ask(w: &mut World, address: &str, request: &str) -> usize {
    let c = connect(w, address).unwrap();
    w.say(c, request);
    c
}

/// A stream that flows to a client at an address.
fn stream_to(w: &mut World, address: &str) -> usize {
    let (c, ups) = (ask(w, address, GET_STREAM), w.ups.len());
    assert_eq!(w.ups.len(), ups);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!((w.status(c), w.events(c)), (200, event(1)));
    c
}

fn with(line: &str) -> String {
    GET_STREAM.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"))
}

/// A world that trusts a proxy.
fn behind(adjust: impl FnOnce(&mut Limits)) -> World {
    let mut config = one_route(|route, limits| {
        route.linger = Span::ZERO;
        adjust(limits);
    });
    config.trusted_proxies = [PROXY.parse().unwrap()].into_iter().collect();
    world_of(config)
}

#[test]
fn an_address_has_so_many_connections_and_others_have_theirs() {
    let mut w = world_with(|_, limits| limits.connections_per_address = 2);
    let held: Vec<_> = (0..2).map(|_| connect(&mut w, HERE).unwrap()).collect();
    assert_eq!(connect(&mut w, HERE), None);
    assert_eq!(w.refusals, [Refusal::Address]);
    assert_eq!(w.count(Count::OverConnectionsPerAddress), 1);
    // Of IPv6, a whole network of 64 bits counts.
    assert!(connect(&mut w, "2001:db8::1").is_some() && connect(&mut w, "2001:db8::2").is_some());
    assert_eq!(connect(&mut w, "2001:db8:0:0:ffff::3"), None);
    assert!(connect(&mut w, "2001:db8:0:1::3").is_some() && connect(&mut w, THERE).is_some());
    assert_eq!(connect(&mut w, "::ffff:192.0.2.7"), None, "an IPv4 address that is written as IPv6");
    w.fin(held[0]);
    assert!(connect(&mut w, HERE).is_some(), "a place that was left is free");
}

#[test]
fn who_shakes_hands_counts_and_gives_its_place_back_once() {
    let mut w = world_with(|_, limits| limits.connections_per_address = 2);
    let peer = of(HERE);
    let knock = |w: &mut World| {
        w.machine.handle(Input::Knocked { peer }, w.now);
        w.pump();
        w.let_in.pop()
    };
    let (a, b) = (knock(&mut w).unwrap(), knock(&mut w).unwrap());
    assert_eq!((knock(&mut w), w.refusals.len()), (None, 1));
    let ends = w.ends.len();
    w.machine.handle(Input::AcceptedSecure { peer, stake: a, certificate: None }, w.now);
    w.pump();
    assert_eq!(w.ends.len(), ends + 1, "it was counted when it knocked");
    w.machine.handle(Input::TurnedAway { stake: b }, w.now);
    assert!(connect(&mut w, HERE).is_some());
    assert_eq!(knock(&mut w), None);
    w.machine.handle(Input::TurnedAway { stake: Stake::NONE }, w.now);
}

#[test]
fn a_proxy_that_is_trusted_is_not_counted_and_whom_it_names_is() {
    let mut w = behind(|limits| (limits.connections_per_address, limits.streams_per_address) = (1, 2));
    let named = |address: &str| with(&format!("X-Forwarded-For: {address}"));
    let first: Vec<usize> = (0..2).map(|_| ask(&mut w, PROXY, &named(HERE))).collect();
    let third = ask(&mut w, PROXY, &named(HERE));
    w.pass_secs(4);
    assert_eq!((w.status(third), w.count(Count::OverStreamsPerAddress)), (429, 1));
    assert!(w.wire(third).contains("Retry-After: 5\r\n"), "{}", w.wire(third));
    let others: Vec<usize> = (0..2).map(|_| ask(&mut w, PROXY, &named(THERE))).collect();
    // It names nobody, so it stands for others.
    let own: Vec<usize> = (0..3).map(|_| ask(&mut w, PROXY, GET_STREAM)).collect();
    assert_eq!(w.ups.len(), first.len() + others.len() + own.len());
    // Who is not trusted names nobody.
    let direct: Vec<usize> = (0..2).map(|n| ask(&mut w, &format!("203.0.113.{n}"), &named(HERE))).collect();
    assert_eq!(w.ups.len(), 9, "{direct:?}");
}

/// The connections of a proxy that only looks are not counted; its requests are its own, and what it says of others is
/// not believed.
#[test]
fn a_proxy_that_speaks_for_itself_speaks_for_nobody_else() {
    let mut w = behind(|limits| (limits.connections_per_address, limits.streams_per_address) = (1, 1));
    let proxy: IpAddr = PROXY.parse().unwrap();
    let probes = [(); 2].map(|()| connect_as(&mut w, Origin::new(proxy, Standing::Probe)).unwrap());
    w.say(probes[0], &with("X-Forwarded-For: 203.0.113.5"));
    let asked = w.wire(w.last_up());
    assert!(asked.contains("X-Forwarded-For: 10.0.0.1\r\n") && !asked.contains("203.0.113.5"), "{asked}");
    w.say(probes[1], &with("X-Forwarded-For: 203.0.113.6"));
    assert_eq!((w.ups.len(), w.machine.held_requests()), (1, 1), "whoever it names, it is one address");
    // Where it does not say that it only looks, it goes on to name clients.
    let named = ask(&mut w, PROXY, &with("X-Forwarded-For: 203.0.113.6"));
    assert_eq!((w.ups.len(), w.status(named)), (2, 0));
    [probes[1], probes[0], named].into_iter().for_each(|end| w.rst(end));
    assert_eq!(w.machine.counted(), 0);
}

#[test]
fn of_an_address_with_as_many_streams_as_it_may_the_newest_is_refused_and_nobody_elses() {
    let mut w = world_with(|_, limits| limits.streams_per_address = 2);
    let streams: Vec<usize> = (0..2).map(|_| stream_to(&mut w, HERE)).collect();
    let other = stream_to(&mut w, THERE);
    let late = ask(&mut w, HERE, GET_STREAM);
    assert_eq!((w.status(late), w.machine.held_requests(), w.count(Count::RequestsHeld)), (0, 1, 1));
    w.pass_secs(2);
    assert_eq!(w.status(late), 0, "a place may yet become free");
    w.pass_secs(2);
    assert_eq!((w.status(late), w.machine.held_requests(), w.ups.len()), (429, 0, 3));
    assert_eq!((w.count(Count::OverStreamsPerAddress), w.count(Count::RequestsRefused)), (1, 1));
    // What is no event stream is no matter of this bound.
    let plain = ask(&mut w, HERE, GET);
    w.say(w.last_up(), OK);
    assert_eq!(w.status(plain), 200);
    for n in 0..3 {
        w.say(w.up(n), &chunk(&event(2)));
    }
    assert!(streams.iter().chain([&other]).all(|c| w.events(*c) == event(1) + &event(2)), "all others go on");
}

#[test]
fn a_page_that_is_loaded_again_gets_the_place_that_the_page_before_it_leaves() {
    let mut w = world_with(|_, limits| limits.streams_per_address = 1);
    let before = stream_to(&mut w, HERE);
    let (late, later) = (ask(&mut w, HERE, GET_STREAM), ask(&mut w, HERE, GET_STREAM));
    w.pass_secs(1);
    w.rst(before);
    assert_eq!((w.ups.len(), w.machine.held_requests()), (2, 1), "who has waited for longest is first");
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(7))));
    assert_eq!((w.events(late), w.count(Count::Requests)), (event(7), 2));
    // Who leaves while it waits takes nothing with it.
    w.rst(later);
    w.rst(late);
    assert_eq!((w.machine.held_requests(), w.machine.counted()), (0, 0));
    stream_to(&mut w, HERE);
}

#[test]
fn what_follows_a_request_that_is_held_is_read_when_it_goes_on_and_never_before() {
    let mut w = world_with(|_, limits| (limits.streams_per_address, limits.header_bytes) = (1, 1_024));
    let before = stream_to(&mut w, HERE);
    let late = ask(&mut w, HERE, GET_STREAM);
    w.say(late, &"GET /x HTTP/1.1\r\n".repeat(200));
    assert!(w.unread(late) > 0, "no more is taken than a head may have");
    assert_eq!((w.status(late), w.machine.held_requests()), (0, 1));
    w.rst(before);
    assert_eq!(w.ups.len(), 2);
    assert_eq!(w.unread(late), 0, "it is read again: {}", w.unread(late));
}

#[test]
fn few_are_held_for_one_address_and_none_by_another_method() {
    let mut w = world_with(|_, limits| limits.streams_per_address = 1);
    stream_to(&mut w, HERE);
    let post = POST.replace("Content-Length", "Accept: text/event-stream\r\nContent-Length");
    let c = ask(&mut w, HERE, &post);
    assert_eq!(w.status(c), 429);
    let late: Vec<usize> = (0..20).map(|_| ask(&mut w, HERE, GET_STREAM)).collect();
    assert_eq!(late.iter().filter(|c| w.status(**c) == 429).count(), 4);
    assert_eq!((w.machine.held_requests(), w.ups.len()), (16, 1));
}

#[test]
fn a_principal_has_so_many_streams_from_wherever_it_asks() {
    let mut w = world_with(|_, limits| limits.streams_per_principal = 1);
    let alice = with("Authorization: Bearer hush-hush");
    let first = ask(&mut w, HERE, &alice);
    let second = ask(&mut w, THERE, &alice);
    w.pass_secs(4);
    assert_eq!((w.status(second), w.count(Count::OverStreamsPerPrincipal), w.ups.len()), (429, 1, 1));
    ask(&mut w, HERE, &with("Authorization: Bearer hush-hush-2"));
    assert_eq!(w.ups.len(), 2, "another principal at the same address");
    w.rst(first);
    ask(&mut w, THERE, &alice);
    assert_eq!(w.ups.len(), 3);
}

#[test]
fn a_stream_that_was_not_asked_for_by_name_counts_once_it_comes_and_is_never_cut() {
    let mut w = world_with(|_, limits| limits.streams_per_address = 1);
    let posts: Vec<usize> = (0..2).map(|_| ask(&mut w, HERE, POST)).collect();
    for n in 0..2 {
        w.say(w.up(n), &format!("{STREAM}{}", chunk(&event(1))));
    }
    assert!(posts.iter().all(|c| w.status(*c) == 200));
    let third = ask(&mut w, HERE, GET_STREAM);
    w.rst(posts[0]);
    w.pass_secs(4);
    assert_eq!(w.status(third), 429, "one more than the bound was here, so one place is not enough");
}

#[test]
fn requests_in_flight_have_a_bound_and_streams_do_not_count() {
    let mut w = world_with(|_, limits| limits.requests_in_flight = 2);
    stream_to(&mut w, HERE);
    stream_to(&mut w, HERE);
    let waiting: Vec<usize> = (0..2).map(|_| ask(&mut w, HERE, GET)).collect();
    assert_eq!(w.machine.in_flight(), 2);
    let c = ask(&mut w, THERE, GET);
    assert_eq!((w.status(c), w.count(Count::OverRequestsInFlight)), (503, 1));
    assert!(w.wire(c).contains("Retry-After: 5\r\n"));
    w.say(w.up(2), OK);
    assert_eq!(w.status(waiting[0]), 200);
    ask(&mut w, THERE, GET);
    assert_eq!(w.ups.len(), 4, "on the connection that is idle again");
}

#[test]
fn a_head_has_so_many_lines_and_so_much_time() {
    let mut w = world_with(|_, limits| limits.header_count = 3);
    let c = ask(&mut w, HERE, &with("A: 1\r\nB: 2"));
    assert_eq!((w.status(c), w.count(Count::OverHeaderCount), w.ups.len()), (431, 1, 0));
    let fits = ask(&mut w, HERE, &with("A: 1"));
    assert_eq!((w.status(fits), w.ups.len()), (0, 1));
    // One byte a second does not hold a place for longer than a head may take.
    let slow = connect(&mut w, HERE).unwrap();
    for byte in GET_STREAM.chars().take(12) {
        w.say(slow, &byte.to_string());
        w.pass_secs(1);
    }
    assert_eq!((w.status(slow), w.count(Count::OverHeadTimeout)), (408, 1));
    let long = ask(&mut w, HERE, &"x".repeat(70_000));
    assert_eq!((w.status(long), w.count(Count::OverHeaderBytes)), (414, 1));
}

#[test]
fn a_bound_that_a_reload_sets_holds_for_whoever_comes_after_it() {
    let config = |most: usize| {
        one_route(|route, limits| {
            route.linger = Span::ZERO;
            (limits.streams_per_address, limits.connections_per_address) = (most, most + usize::from(most > 0));
        })
    };
    let mut w = world_of(config(0));
    let first = stream_to(&mut w, HERE);
    w.reload(config(1));
    let late = ask(&mut w, HERE, GET_STREAM);
    assert_eq!((w.machine.held_requests(), w.ups.len()), (1, 1), "what was open before counts");
    assert_eq!(connect(&mut w, HERE), None);
    w.reload(config(0));
    assert_eq!((w.status(late), w.ups.len()), (0, 2), "it was held under the bound before, and goes on at once");
    w.rst(first);
    w.rst(late);
    assert_eq!(w.machine.counted(), 0);
}

#[test]
fn who_shakes_hands_when_a_bound_appears_counts_against_it_and_is_let_in() {
    let config = |most: usize| one_route(|_, limits| limits.connections_per_address = most);
    let mut w = world_of(config(0));
    let peer = of(HERE);
    w.machine.handle(Input::Knocked { peer }, w.now);
    w.pump();
    let stake = w.let_in.pop().unwrap();
    w.reload(config(1));
    let (end, refused) = (w.ends.len(), w.refused);
    w.machine.handle(Input::AcceptedSecure { peer, stake, certificate: None }, w.now);
    w.pump();
    assert_eq!((w.refused, w.ends.len()), (refused, end + 1));
    assert_eq!(connect(&mut w, HERE), None, "it is one of this address");
    w.fin(end);
    assert!(connect(&mut w, HERE).is_some());
}

/// However many are late at once, one input looks at a few of them, and says that there are more.
#[test]
fn a_crowd_whose_time_is_over_is_seen_off_a_few_at_a_time() {
    const CROWD: usize = 100;
    let mut w = world_with(|route, _| route.head_timeout = Span::from_secs(2));
    for n in 0..CROWD {
        let c = connect(&mut w, &format!("192.0.2.{n}")).unwrap();
        w.say(c, "GET / HT");
    }
    w.now = w.now + Span::from_secs(3);
    let mut inputs = 0;
    while w.machine.poll_timeout().is_some_and(|at| at <= w.now) {
        let before = w.count(Count::OverHeadTimeout);
        w.machine.handle(Input::Time, w.now);
        assert!(w.count(Count::OverHeadTimeout) - before <= 16, "after {before}");
        inputs += 1;
    }
    w.pump();
    assert_eq!(w.count(Count::OverHeadTimeout), CROWD as u64);
    assert!((7..20).contains(&inputs), "{inputs}");
}

#[test]
fn a_bound_that_appears_counts_each_that_is_open_by_whom_it_is() {
    let config = |principal: usize, address: usize| {
        let mut config = one_route(|route, limits| {
            route.linger = Span::ZERO;
            (limits.streams_per_principal, limits.streams_per_address) = (principal, address);
        });
        config.trusted_proxies = [PROXY.parse().unwrap()].into_iter().collect();
        config
    };
    let mut w = world_of(config(0, 0));
    let named = with(&format!("X-Forwarded-For: {HERE}"));
    // The answers to POSTs are streams only by what comes, and the proxy's own is nobody's.
    let (a, b) = (ask(&mut w, PROXY, &named), ask(&mut w, HERE, POST));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    let own = ask(&mut w, PROXY, GET_STREAM);
    w.reload(config(0, 2));
    assert_eq!(w.machine.counted(), 1, "one address, with two streams");
    let third = ask(&mut w, HERE, GET_STREAM);
    assert_eq!((w.machine.held_requests(), w.ups.len()), (1, 3));
    let other = ask(&mut w, PROXY, GET_STREAM);
    assert_eq!(w.ups.len(), 4, "the proxy names nobody");
    // Another bound beside the first.
    w.reload(config(4, 2));
    assert_eq!((w.machine.held_requests(), w.machine.counted() > 1), (1, true));
    w.rst(a);
    assert_eq!((w.machine.held_requests(), w.ups.len()), (0, 5));
    [b, own, third, other].into_iter().for_each(|end| w.rst(end));
    assert_eq!(w.machine.counted(), 0);
}

#[test]
fn a_place_that_one_cannot_take_goes_to_the_next_that_waits() {
    let mut w = world_with(|_, limits| (limits.streams_per_address, limits.streams_per_principal) = (1, 1));
    let by = |name: &str| with(&format!("Authorization: Bearer {name}"));
    let (here, _there) = (ask(&mut w, HERE, &by("alice")), ask(&mut w, THERE, &by("bob")));
    // Bob has a stream elsewhere, so that he cannot take the place of this address.
    let (bob, carol) = (ask(&mut w, HERE, &by("bob")), ask(&mut w, HERE, &by("carol")));
    assert_eq!((w.ups.len(), w.machine.held_requests()), (2, 2));
    w.rst(here);
    assert_eq!((w.ups.len(), w.machine.held_requests()), (3, 1), "carol takes it");
    w.rst(carol);
    w.pass_secs(4);
    assert_eq!((w.status(bob), w.machine.held_requests()), (429, 0));
}

#[test]
fn who_waits_for_a_place_when_a_drain_begins_is_cut_and_not_answered() {
    let mut w = world_with(|_, limits| limits.streams_per_address = 1);
    stream_to(&mut w, HERE);
    let (late, idle) = (ask(&mut w, HERE, GET_STREAM), connect(&mut w, HERE).unwrap());
    w.drain_over(Span::from_secs(5), Span::from_secs(10));
    assert_eq!((w.wire(late), w.state(late), w.machine.held_requests()), (String::new(), State::Closed, 0));
    // The same for a request that was on its way.
    w.say(idle, GET_STREAM);
    assert_eq!((w.wire(idle), w.state(idle)), (String::new(), State::Closed));
    w.pass_secs(12);
    assert_eq!((w.machine.connections(), w.machine.counted()), (0, 0));
}

#[test]
fn whose_proxy_was_saying_who_it_is_when_a_drain_began_is_served() {
    let mut w = world();
    let other = w.client();
    w.say(other, GET);
    w.drain_over(Span::from_secs(5), Span::from_secs(10));
    let before = w.ends.len();
    w.machine.handle(Input::Announced { peer: of(HERE) }, w.now);
    w.pump();
    assert_eq!((w.ends.len(), w.refused), (before + 1, 0));
    w.say(before, GET);
    w.say(w.last_up(), OK);
    assert_eq!(w.status(before), 200);
}

#[test]
fn of_clients_without_an_address_none_finds_anothers_stream() {
    // A client that has an address finds its own, so it is the address that tells.
    for (address, line, finds) in [
        (HERE, "Accept-Language: de", true),
        ("::", "Accept-Language: de", false),
        ("::", "Authorization: Bearer shared", false),
    ] {
        let mut config = one_route(|_, limits| limits.connections_per_address = 1);
        config.trusted_proxies = ["::/0"].map(|all| all.parse().unwrap()).into_iter().collect();
        let mut w = world_of(config);
        let first = ask(&mut w, address, &with(&format!("X-Forwarded-For: {THERE}\r\n{line}")));
        let sent = w.wire(w.last_up());
        let from = if finds { HERE } else { "unknown" };
        assert!(sent.contains(&format!("\r\nX-Forwarded-For: {from}\r\n")), "its word is not believed: {sent}");
        w.say(w.last_up(), &format!("{STREAM}{}{}", chunk(&event(1)), chunk(&event(2))));
        w.rst(first);
        let asked = w.ups.len();
        ask(&mut w, address, &with(&format!("X-Forwarded-For: {THERE}\r\n{line}\r\nLast-Event-ID: 2")));
        assert_eq!(w.ups.len() == asked, finds, "{address}, {line}");
        assert_eq!(connect(&mut w, address), None, "all without an address count as one");
    }
}

#[test]
fn clients_without_an_address_or_a_credential_do_not_take_each_others_share() {
    let mut w = world_with(|_, limits| limits.streams_per_principal = 1);
    stream_to(&mut w, "::");
    stream_to(&mut w, "::");
    assert_eq!(w.count(Count::OverStreamsPerPrincipal), 0);
}
