//! Shutting down: streams that others can go on with are cut so that their clients come back there, one after the
//! other; everything else may end.

use super::*;

#[test]
fn a_stream_is_told_when_to_come_back_and_cut() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.drain();
    let (body, last) = w.body(c);
    let retry = body.strip_prefix(&event(1)).and_then(|r| r.strip_prefix("retry: ")).unwrap();
    let millis: u64 = retry.trim_end().parse().unwrap();
    assert!((500..3_000).contains(&millis) && retry.ends_with("\n\n"));
    assert!(!last);
    assert_eq!((w.state(c), w.state(u)), (State::Closed, State::Closed));
}

#[test]
fn streams_are_told_different_times() {
    let mut w = world();
    let clients: Vec<_> = (0..20).map(|_| w.streaming().0).collect();
    w.drain();
    let mut bodies: Vec<_> = clients.iter().map(|&c| w.body(c).0).collect();
    bodies.sort();
    bodies.dedup();
    assert!(bodies.len() > 15);
}

#[test]
fn a_stream_that_is_being_healed_is_cut() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.dial = Dial::Refuse;
    w.fin(u);
    w.drain();
    assert_eq!((w.state(c), w.body(c).1, w.machine.connections()), (State::Closed, false, 0));
}

#[test]
fn a_cut_while_draining_is_not_healed() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &chunk(&event(2)));
    w.drain();
    w.pass_secs(2);
    assert_eq!((w.ups.len(), w.state(c)), (1, State::Open));
    w.takes_all(c);
    assert_eq!((w.events(c), w.body(c).1), (event(1) + &event(2), false));
    assert_eq!(w.state(c), State::Closed);
}

#[test]
fn a_stream_that_nobody_had_asked_for_and_that_is_cut_while_draining_is_not_healed() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(GET);
    w.drain();
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(u);
    assert_eq!((w.events(c), w.body(c).1, w.state(c), w.ups.len()), (event(1), false, State::Closed, 1));
}

#[test]
fn a_held_request_is_told_when_to_come_back() {
    let mut w = world();
    w.dial = Dial::Hang;
    let c = w.client_with(GET_STREAM);
    w.drain();
    let (body, last) = w.body(c);
    assert!(body.contains("retry: ") && !last, "{body}");
    assert_eq!((w.state(c), w.machine.connections()), (State::Closed, 0));
}

#[test]
fn a_held_request_of_a_page_that_could_not_read_a_head_is_let_go() {
    let mut w = world();
    w.dial = Dial::Hang;
    let c =
        w.client_with("GET /feed HTTP/1.1\r\nAccept: text/event-stream\r\nOrigin: http://a.test\r\nHost: h\r\n\r\n");
    w.drain();
    assert_eq!((w.wire(c), w.state(c), w.machine.connections()), (String::new(), State::Reset, 0));
}

#[test]
fn a_stream_without_chunks_is_reset() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.drain();
    assert_eq!(w.state(c), State::Reset);
}

#[test]
fn a_clean_end_on_its_way_stays_a_clean_end() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 3);
    w.say(u, &format!("{}{LAST}", chunk(&event(2))));
    w.drain();
    w.takes_all(c);
    assert_eq!(w.body(c), (event(1) + &event(2), true));
    assert_eq!((w.count(Count::StreamsEnded), w.count(Count::StreamsCut)), (1, 0));
}

#[test]
fn nothing_follows_a_last_chunk_on_its_way() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 2);
    w.say(u, LAST);
    w.drain();
    w.takes_all(c);
    assert!(w.wire(c).ends_with(&format!("\r\n{LAST}")), "{}", w.wire(c));
}

#[test]
fn an_answer_under_way_ends_and_then_the_connection() {
    let mut w = world();
    let c = w.client_with(GET);
    w.drain();
    w.say(w.up(0), OK);
    assert!(w.wire(c).contains("Connection: close\r\n") && w.wire(c).ends_with("\r\n\r\nok"));
    assert_eq!((w.state(c), w.state(w.up(0))), (State::Shut, State::Closed));
}

#[test]
fn idle_connections_are_closed() {
    let mut w = world();
    let (a, b) = (w.client_with(GET), w.client());
    let u = w.up(0);
    w.say(u, OK);
    w.drain();
    // A request may be on its way.
    assert_eq!([a, b, u].map(|e| w.state(e)), [State::Open, State::Open, State::Closed]);
    w.pass_ms(1_100);
    assert_eq!([a, b].map(|e| w.state(e)), [State::Closed; 2]);
    assert_eq!(w.machine.connections(), 0);
}

#[test]
fn a_request_that_was_on_its_way_when_the_drain_began_is_served() {
    let mut w = world();
    let (plain, stream) = (w.client(), w.client());
    w.drain_over(Span::from_secs(5), Span::from_secs(10));
    w.pass_ms(500);
    w.say(plain, GET);
    w.say(w.up(0), OK);
    assert!(w.wire(plain).contains("Connection: close\r\n") && w.wire(plain).ends_with("\r\n\r\nok"));
    // A stream would not last: its client is sent on at once, and upstream is not asked.
    w.say(stream, GET_STREAM);
    let (body, last) = w.body(stream);
    assert!(body.contains("retry: ") && !last, "{body}");
    assert_eq!((w.state(stream), w.ups.len()), (State::Closed, 1));
}

#[test]
fn a_drain_may_come_twice() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &chunk(&event(2)));
    w.drain();
    w.drain();
    w.takes_all(c);
    assert_eq!((w.events(c), w.count(Count::StreamsCut)), (event(1) + &event(2), 1));
}

#[test]
fn no_client_is_accepted_any_more() {
    let mut w = world();
    w.drain();
    w.client();
    assert_eq!((w.refused, w.machine.connections()), (1, 0));
}

/// The clients that a stop resets.
fn reset_by_a_stop(w: &World) -> Vec<usize> {
    let mut ends: Vec<usize> = w.machine.must_reset_on_stop().map(|conn| w.by_key[&conn.to_bits()]).collect();
    ends.sort_unstable();
    ends
}

#[test]
fn a_stop_resets_only_clients_that_would_take_a_part_for_the_whole() {
    let mut w = world();
    let old = w.client_with("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    let (in_chunks, _) = w.streaming();
    let until_close = w.client_with("GET / HTTP/1.0\r\n\r\n");
    w.say(w.up(2), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it");
    let of_known_length = w.client_with("GET / HTTP/1.0\r\n\r\n");
    w.say(w.up(3), "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it");
    let (asking, idle) = (w.client_with(GET), w.client());
    let all = [old, in_chunks, until_close, of_known_length, asking, idle];
    assert_eq!(all.map(|c| w.state(c)), [State::Open; 6]);
    assert_eq!(reset_by_a_stop(&w), [old, until_close]);
}

#[test]
fn a_stop_resets_a_client_that_has_not_taken_the_end_of_its_answer() {
    for (body, ends) in [("all of it", true), ("", false)] {
        let mut w = world();
        let c = w.client_with("GET / HTTP/1.0\r\n\r\n");
        w.takes(c, 5);
        w.say(w.up(0), &format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}"));
        if ends {
            w.fin(w.up(0));
        }
        w.drain();
        assert_eq!(reset_by_a_stop(&w), [c]);
        w.takes_all(c);
        assert_eq!(reset_by_a_stop(&w), if ends { vec![] } else { vec![c] });
        assert!(w.wire(c).ends_with(body));
    }
}

/// How long after the drain each of the clients was cut, in milliseconds.
fn cut_after(w: &mut World, clients: &[usize], most: u64) -> Vec<u64> {
    let mut cut = vec![u64::MAX; clients.len()];
    for at in 0..=most / 10 {
        for (n, &c) in clients.iter().enumerate() {
            if w.state(c) != State::Open {
                cut[n] = cut[n].min(at * 10);
            }
        }
        w.pass_ms(10);
    }
    cut
}

#[test]
fn ends_are_spread_evenly_over_the_configured_time() {
    let mut w = world();
    let clients: Vec<_> = (0..40).map(|_| w.streaming().0).collect();
    w.drain_over(Span::from_secs(4), Span::from_secs(10));
    let cut = cut_after(&mut w, &clients, 6_000);
    assert!(cut.iter().all(|&at| at <= 4_010), "{cut:?}");
    for second in 0..4 {
        let here = cut.iter().filter(|&&at| (second * 1_000..(second + 1) * 1_000).contains(&at)).count();
        assert!((8..=12).contains(&here), "{here} of 40 in second {second}: {cut:?}");
    }
    // In an order of chance, not in that in which they came.
    assert!(cut.windows(2).any(|two| two[0] > two[1]), "{cut:?}");
    assert_eq!(w.count(Count::StreamsDrained), 40);
}

#[test]
fn a_stream_goes_on_until_its_moment() {
    let mut w = world();
    let streams: Vec<_> = (0..10).map(|_| w.streaming()).collect();
    w.drain_over(Span::from_secs(5), Span::from_secs(10));
    w.pass_secs(2);
    let still: Vec<_> = streams.iter().filter(|(c, _)| w.state(*c) == State::Open).copied().collect();
    assert!((5..=7).contains(&still.len()), "{}", still.len());
    for &(c, u) in &still {
        w.say(u, &chunk(&event(2)));
        assert!(w.events(c).ends_with(&event(2)));
    }
    w.pass_secs(4);
    for (c, _) in still {
        let (body, last) = w.body(c);
        assert!(body.starts_with(&(event(1) + &event(2) + "retry: ")) && !last, "{body}");
    }
}

#[test]
fn one_seed_ends_streams_at_the_same_moments() {
    let run = || {
        let mut w = world();
        let clients: Vec<_> = (0..10).map(|_| w.streaming().0).collect();
        w.drain_over(Span::from_secs(3), Span::from_secs(10));
        cut_after(&mut w, &clients, 4_000)
    };
    assert_eq!(run(), run());
}

/// An answer to a POST that streams events without ids, which get ids of segno's own.
fn by_post(w: &mut World) -> (usize, usize) {
    let c =
        w.client_with("POST /answer HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nContent-Length: 2\r\n\r\n{}");
    let u = *w.ups.last().unwrap();
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    (c, u)
}

#[test]
fn what_nobody_else_can_go_on_with_runs_on_to_its_end() {
    let mut w = world();
    let (c, u) = by_post(&mut w);
    w.drain_over(Span::from_secs(2), Span::from_secs(10));
    w.pass_secs(5);
    assert_eq!(w.state(c), State::Open);
    w.say(u, &(chunk("data: b\n\n") + LAST));
    let (body, last) = w.body(c);
    assert!(body.contains("data: b\n\n") && last, "{body}");
    assert_eq!((w.count(Count::StreamsEnded), w.count(Count::StreamsCut)), (1, 0));
    assert!(w.has_notice("0 event streams go on elsewhere") && w.has_notice("1 cannot"));
}

#[test]
fn what_has_not_ended_by_the_end_of_the_drain_is_cut_and_not_ended() {
    let mut w = world();
    let (c, _) = by_post(&mut w);
    w.drain_over(Span::from_secs(2), Span::from_secs(10));
    w.pass_ms(8_900);
    assert_eq!(w.state(c), State::Open);
    w.pass_ms(200);
    let (body, last) = w.body(c);
    assert!(body.contains("retry: ") && !last, "{body}");
    assert_eq!((w.state(c), w.count(Count::StreamsDrainedLate)), (State::Closed, 1));
    assert_eq!(w.machine.poll_timeout().filter(|at| *at < w.now + Span::from_secs(3_000)), None);
}

#[test]
fn a_second_order_to_drain_can_only_shorten_it() {
    let mut w = world();
    let (c, _) = by_post(&mut w);
    w.drain_over(Span::from_secs(2), Span::from_secs(10));
    w.drain_over(Span::from_secs(2), Span::from_secs(60));
    w.drain_over(Span::ZERO, Span::from_secs(4));
    w.pass_ms(3_100);
    assert_eq!(w.state(c), State::Closed);
}

/// A world whose events are stored.
fn durable() -> World {
    let mut config = one_route(|route, _| route.linger = Span::ZERO);
    config.persist.durable = true;
    world_of(config)
}

#[test]
fn a_stream_with_ids_of_segnos_own_leaves_only_if_its_events_are_stored() {
    for (mut w, leaves) in [(world(), false), (durable(), true)] {
        let c = w.client_with(GET_STREAM);
        w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
        assert!(w.events(c).starts_with("id: "), "{}", w.events(c));
        w.drain();
        assert_eq!(w.state(c) == State::Closed, leaves);
        assert!(w.machine.has_sent_all_elsewhere());
    }
}

#[test]
fn where_the_store_is_waited_for_all_leave_at_once_and_come_back_spread() {
    let mut w = durable();
    let clients: Vec<_> = (0..40).map(|_| w.streaming().0).collect();
    assert!(!w.machine.has_sent_all_elsewhere());
    w.drain_over(Span::from_secs(8), Span::from_secs(20));
    assert!(w.machine.has_sent_all_elsewhere());
    let mut retries: Vec<u64> = Vec::new();
    for c in clients {
        assert_eq!(w.state(c), State::Closed);
        retries.push(w.body(c).0.rsplit_once("retry: ").unwrap().1.trim_end().parse().unwrap());
    }
    assert!(retries.iter().all(|retry| (500..8_500).contains(retry)), "{retries:?}");
    let late = retries.iter().filter(|&&retry| retry > 4_500).count();
    assert!((10..=30).contains(&late), "{late} of 40 come in the second half: {retries:?}");
}

#[test]
fn a_stream_whose_client_reads_slowly_has_not_left() {
    let mut w = durable();
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &chunk(&event(2)));
    w.drain();
    assert!(!w.machine.has_sent_all_elsewhere());
    w.takes_all(c);
    assert!(w.machine.has_sent_all_elsewhere());
}

#[test]
fn what_comes_to_where_others_can_go_on_is_ended_then() {
    let mut w = world();
    // Whoever asks without a word for events is answered as upstream likes.
    let c = w.client_with(GET);
    w.drain_over(Span::from_secs(2), Span::from_secs(10));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!(w.state(c), State::Open);
    w.pass_ms(3_100);
    assert_eq!((w.state(c), w.body(c).1), (State::Closed, false));
}
