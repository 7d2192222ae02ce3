//! How fast an upstream is asked again: by all streams together, and by one whose upstream does not last.

use super::*;
use crate::testing::world::Said;

/// Checks that attempts never came faster than a rate, with a second's worth at once.
fn check_rate(dialled: &[crate::base::Tick], rate: u64) {
    let (gap, step) = (Span::from_micros(1_000_000 / rate), Span::from_millis(2));
    let Some(mut next) = dialled.first().copied() else { return };
    for (n, at) in dialled.iter().enumerate() {
        assert!(*at + gap.times(rate - 1) + step >= next, "attempt {n} is faster than {rate}/s");
        next = next.max(*at) + gap;
    }
}

/// Answers all attempts that have been made since `answered`, and notes how many there were.
fn answer(w: &mut World, answered: &mut usize, answer: &str) {
    while let Some(&u) = w.ups.get(*answered) {
        *answered += 1;
        if w.state(u) == State::Open {
            w.say(u, answer);
        }
    }
}

/// Cuts steady streams all at once. Returns them and how many attempts had been made before.
fn cut_at_once(w: &mut World, streams: usize) -> (Vec<usize>, usize) {
    let (clients, ups): (Vec<_>, Vec<_>) = (0..streams).map(|_| w.streaming()).unzip();
    w.pass_secs(5);
    let before = w.dialled.len();
    for u in ups {
        w.hear(u, Said::Eof);
    }
    (clients, before)
}

#[test]
fn a_crowd_that_waits_longer_for_its_turn_than_a_heal_may_take_is_healed() {
    let mut w = world_with(|r, limits| {
        (r.heal_rate, r.heal_for) = (10, Span::from_secs(3));
        (limits.streams, limits.connections) = (300, 700);
    });
    let (clients, before) = cut_at_once(&mut w, 200);
    let mut answered = before;
    for _ in 0..250 {
        answer(&mut w, &mut answered, &format!("{STREAM}{}", chunk(&event(2))));
        w.pass_ms(100);
    }
    let healed = clients.iter().filter(|c| w.events(**c) == event(1) + &event(2)).count();
    assert_eq!((healed, w.heals_failed()), (200, 0));
    check_rate(&w.dialled[before..], 10);
    // A stream that is cut later finds places: none is kept for those that have theirs.
    w.hear(w.up(before), Said::Eof);
    assert_eq!(w.dialled.len(), before + 201);
}

#[test]
fn a_client_that_has_no_head_is_held_for_no_longer_than_heal_for_however_long_the_queue_is() {
    let mut w = world_with(|r, limits| {
        (r.heal_rate, r.heal_for) = (1, Span::from_secs(3));
        (limits.streams, limits.connections) = (300, 700);
    });
    let (streams, _) = cut_at_once(&mut w, 100);
    w.dial = Dial::Refuse;
    let post = w.client_with("POST /chat HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
    let page = w.client_with(&GET_STREAM.replace("Host", "Origin: https://a.example\r\nHost"));
    w.pass_secs(4);
    assert_eq!(w.status(post), 502);
    assert!(!w.is_live(page) && w.ends[page].wire.is_empty(), "cut without a head");
    assert!(streams.iter().all(|c| w.is_live(*c)), "streams wait for their turn");
}

#[test]
fn streams_that_end_while_they_wait_for_their_turn_take_no_places() {
    let mut w = world_with(|r, _| r.heal_rate = 1);
    let (clients, before) = cut_at_once(&mut w, 20);
    for c in &clients[1..19] {
        w.fin(*c);
    }
    w.pass_ms(1_002);
    assert_eq!(w.dialled.len(), before + 2, "the last stream is the second to be asked for");
}

#[test]
fn one_success_calls_up_the_others_evenly() {
    let mut w = world_with(|r, _| r.heal_rate = 20);
    w.dial = Dial::Refuse;
    let (clients, _) = cut_at_once_refused(&mut w, 40);
    w.pass_secs(30);
    w.dial = Dial::Accept;
    let mut answered = w.ups.len();
    let before = answered;
    while answered == before {
        w.pass_ms(10);
        answer(&mut w, &mut answered, &format!("{STREAM}{}", chunk(&event(2))));
    }
    let first = w.now;
    while w.count(Count::Heals) < 40 {
        w.pass_ms(10);
        answer(&mut w, &mut answered, &format!("{STREAM}{}", chunk(&event(2))));
        assert!(w.now.since(first) < Span::from_secs(4), "those that back off were not called up");
    }
    check_rate(&w.dialled[before..], 20);
    let burst = w.dialled[before..].iter().filter(|at| at.since(first) < Span::from_millis(500)).count();
    assert!(burst <= 20, "{burst} attempts in the first half second");
    assert!(clients.iter().all(|c| w.events(*c) == event(1) + &event(2)));
}

/// Like [`cut_at_once`], for an upstream that refuses connections from then on.
fn cut_at_once_refused(w: &mut World, streams: usize) -> (Vec<usize>, usize) {
    w.dial = Dial::Accept;
    let (clients, ups): (Vec<_>, Vec<_>) = (0..streams).map(|_| w.streaming()).unzip();
    w.pass_secs(5);
    w.dial = Dial::Refuse;
    let before = w.dialled.len();
    for u in ups {
        w.hear(u, Said::Eof);
    }
    (clients, before)
}

#[test]
fn who_was_asked_to_wait_is_not_called_up() {
    let mut w = world();
    let (_, before) = cut_at_once(&mut w, 2);
    w.say(w.up(before), "HTTP/1.1 503 Later\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n");
    w.say(w.up(before + 1), &format!("{STREAM}{}", chunk(&event(2))));
    w.pass_secs(19);
    assert_eq!(w.dialled.len(), before + 2);
    w.pass_secs(2);
    assert_eq!(w.dialled.len(), before + 3);
}

/// How often an upstream is asked in a minute that sends this and is cut, again and again, with a client and without.
fn asked_in_a_minute(body: &str, client_stays: bool) -> usize {
    let mut w = lingering_world(|r, _| r.linger = Span::from_secs(100));
    let (c, u) = w.streaming();
    w.say(u, &chunk(body));
    if !client_stays {
        w.fin(c);
    }
    let (mut answered, end) = (w.ups.len(), w.now + Span::from_secs(60));
    w.hear(u, Said::Eof);
    while w.now < end {
        while let Some(&u) = w.ups.get(answered) {
            answered += 1;
            w.say(u, &format!("{STREAM}{}", chunk(&body.replace("id: 2", &format!("id: {answered}")))));
            w.hear(u, Said::Eof);
        }
        w.pass_ms(2);
    }
    answered
}

#[test]
fn one_event_does_not_make_an_upstream_steady() {
    for client_stays in [true, false] {
        let asked = asked_in_a_minute("retry: 3000\nid: 2\ndata: x\n\n", client_stays);
        assert!((5..=21).contains(&asked), "{asked} attempts, though upstream asks for three seconds");
        let asked = asked_in_a_minute("id: 2\ndata: x\n\n", client_stays);
        assert!((10..60).contains(&asked), "{asked} attempts within a minute");
    }
}

#[test]
fn an_upstream_that_brings_events_and_does_not_last_is_asked_for_ever() {
    let mut w = world();
    let (c, mut u) = w.streaming();
    for n in 2..60 {
        w.pass_secs(2);
        w.hear(u, Said::Eof);
        w.pass_secs(6);
        u = w.last_up();
        w.say(u, &format!("{STREAM}{}", chunk(&event(n))));
    }
    assert_eq!((w.state(c), w.count(Count::Heals)), (State::Open, 58));
}

#[test]
fn ten_thousand_streams_that_are_cut_at_once_are_healed_in_time_and_at_the_rate() {
    const STREAMS: usize = 10_000;
    let mut w = world_with(|_, limits| {
        (limits.streams, limits.connections) = (STREAMS, 3 * STREAMS);
        limits.streams_per_session = STREAMS;
    });
    w.checks = false;
    let (clients, before) = cut_at_once(&mut w, STREAMS);
    let (cut, mut answered) = (w.now, before);
    while w.count(Count::Heals) < STREAMS as u64 {
        answer(&mut w, &mut answered, &format!("{STREAM}{}", chunk(&event(2))));
        w.pass_ms(20);
        assert!(w.now.since(cut) < Span::from_secs(60), "{} healed", w.count(Count::Heals));
    }
    eprintln!("{STREAMS} streams healed within {}", w.now.since(cut));
    assert_eq!((w.dialled.len() - before, w.heals_failed()), (STREAMS, 0));
    check_rate(&w.dialled[before..], 500);
    assert!(clients.iter().all(|c| w.events(*c) == event(1) + &event(2)));
}

/// The longest time between two attempts from the place `from` on.
fn longest_pause(w: &World, from: usize) -> Span {
    let pauses = w.dialled[from..].windows(2).map(|pair| pair[1].since(pair[0]));
    pauses.max().expect("upstream is asked again")
}

#[test]
fn an_upstream_that_is_away_is_asked_as_soon_as_its_clients_would_ask_it() {
    let mut w = world_with(|r, _| r.linger = Span::from_secs(30));
    let (c, u) = (w.client_with(GET_STREAM), w.last_up());
    w.say(u, &format!("{STREAM}{}", chunk("retry: 300\n\ndata: a\n\n")));
    let id = super::asking::last_id(&w, c);
    w.dial = Dial::Refuse;
    w.hear(u, Said::Eof);
    assert!(!w.is_live(c), "without ids of upstream's, the cut is passed on");
    // Its client comes back after 300 ms, and would go on doing so.
    w.pass_ms(300);
    let from = w.dialled.len();
    w.client_with(&GET_STREAM.replace("Host", &format!("Last-Event-ID: {id}\r\nHost")));
    w.pass_secs(40);
    assert!(longest_pause(&w, from) <= Span::from_millis(302), "{:?}", longest_pause(&w, from));
}

#[test]
fn a_stream_that_is_healed_keeps_to_its_retry_and_waits_little_longer() {
    let mut w = world();
    let (_, u) = (w.client_with(GET_STREAM), w.last_up());
    w.say(u, &format!("{STREAM}{}", chunk(&format!("retry: 400\n\n{}", event(1)))));
    w.pass_secs(5);
    w.dial = Dial::Refuse;
    let from = w.dialled.len();
    w.hear(u, Said::Eof);
    w.pass_secs(40);
    assert!(longest_pause(&w, from) <= Span::from_millis(502), "{:?}", longest_pause(&w, from));
    let shortest = w.dialled[from..].windows(2).map(|pair| pair[1].since(pair[0])).min();
    assert!(shortest >= Some(Span::from_millis(400)), "{shortest:?}");
}

#[test]
fn without_retry_an_upstream_that_is_away_is_asked_as_soon_as_browsers_would() {
    let mut w = world();
    let (_, u) = w.streaming();
    w.pass_secs(5);
    w.dial = Dial::Refuse;
    let from = w.dialled.len();
    w.hear(u, Said::Eof);
    w.pass_secs(58);
    assert!(longest_pause(&w, from) <= Span::from_millis(3_002), "{:?}", longest_pause(&w, from));
    assert!(longest_pause(&w, from) > Span::from_secs(1), "it backs off: {:?}", longest_pause(&w, from));
}
