//! What happens where something is full, too large, too slow or malformed.

use super::*;
use crate::config::{Config, Limits, Share};
use crate::machine::Checkpoint;

/// A stream with a small log.
fn small() -> World {
    world_with(|r, _| {
        r.replay_bytes = 4096;
        r.max_event_bytes = 1024;
    })
}

#[test]
fn a_client_that_takes_nothing_stops_upstream_and_memory_is_bounded() {
    let mut w = small();
    let (c, u) = w.streaming();
    w.takes(c, 0);
    let mut expected = event(1);
    for n in 2..2_000 {
        w.say(u, &chunk(&event(n)));
        expected += &event(n);
    }
    assert_eq!(w.machine.poll_read(w.ends[u].key), 0);
    assert!(w.machine.log_bytes() < 12_000, "{}", w.machine.log_bytes());
    assert!(w.unread(u) > 10_000);
    assert!(w.count(Count::Backpressure) > 0);
    while w.unread(u) > 0 {
        let before = w.unread(u);
        w.takes(c, 3_000);
        assert!(w.unread(u) < before, "reading goes on when the client takes something");
    }
    w.takes_all(c);
    assert_eq!(w.events(c), expected);
}

#[test]
fn a_client_that_takes_little_by_little_gets_all() {
    for step in [1, 2, 5, 17, 100] {
        let mut w = small();
        let (c, u) = w.streaming();
        w.takes(c, 0);
        let all: String = (2..200).map(event).collect();
        w.say(u, &chunk(&all));
        w.say(u, LAST);
        for _ in 0..10_000 / step {
            w.takes(c, step);
        }
        w.takes_all(c);
        assert_eq!(w.body(c), (event(1) + &all, true), "{step}");
    }
}

#[test]
fn streams_go_on_when_the_budget_of_all_logs_is_used_up() {
    let mut w = world_with(|_, l| l.log_budget = 20_000);
    let streams: Vec<_> = (0..10).map(|_| w.streaming()).collect();
    let mut expected = event(1);
    for n in 2..40 {
        let text = format!("id: {n}\ndata: {}\n\n", "x".repeat(700));
        for &(_, u) in &streams {
            // An event that comes in two parts, so that a part is held while room is looked for.
            let (a, b) = text.split_at(300);
            w.say(u, &format!("{}{}", chunk(a), chunk(b)));
        }
        expected += &text;
    }
    for &(c, u) in &streams {
        assert_eq!((w.unread(u), w.events(c) == expected), (0, true));
    }
}

#[test]
fn a_slow_reader_goes_on_when_the_budget_is_used_up() {
    let mut w = world_with(|_, l| l.log_budget = 1);
    let (c, u) = w.streaming();
    w.takes(c, 0);
    let (mut all, mut n) = (event(1), 2);
    while all.len() < 50_000 {
        let text = format!("id: {n}\ndata: {}\n\n", "x".repeat(n as usize % 900));
        w.say(u, &chunk(&text));
        all += &text;
        n += 1;
    }
    for _ in 0..100 {
        w.takes(c, 1_500);
    }
    w.takes_all(c);
    assert_eq!((w.unread(u), w.events(c) == all), (0, true));
}

#[test]
fn an_event_larger_than_what_each_log_is_granted_gets_through() {
    let mut w = world_with(|_, l| l.log_budget = 100_000);
    let streams: Vec<_> = (0..30).map(|_| w.streaming()).collect();
    let text = format!("id: 2\ndata: {}\n\n", "x".repeat(20_000));
    for &(c, u) in &streams {
        w.say(u, &chunk(&text));
        w.pass_secs(1);
        assert_eq!(w.events(c).len(), event(1).len() + text.len());
    }
}

#[test]
fn a_stream_that_finds_no_memory_goes_on_when_there_is_some() {
    let mut w = world_with(|r, l| {
        l.log_budget = 40_000;
        r.heartbeat = Span::ZERO;
    });
    let (a, ua) = w.streaming();
    w.takes(a, 0);
    for n in 2..200 {
        w.say(ua, &chunk(&format!("id: {n}\ndata: {}\n\n", "x".repeat(500))));
    }
    assert!(w.unread(ua) > 0);
    let (b, ub) = w.streaming();
    let text = format!("id: 2\ndata: {}\n\n", "x".repeat(20_000));
    for part in text.as_bytes().chunks(1_000) {
        w.say(ub, &chunk(std::str::from_utf8(part).unwrap()));
    }
    w.pass_secs(30);
    w.takes_all(a);
    w.pass_secs(2);
    assert_eq!((w.unread(ua), w.unread(ub)), (0, 0));
    assert_eq!(w.events(b), event(1) + &text);
}

#[test]
fn heartbeats_come_while_nothing_else_does() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.pass_secs(46);
    assert_eq!(w.heartbeats(c), 3);
    w.say(u, &chunk(&event(2)));
    w.pass_secs(14);
    assert_eq!(w.heartbeats(c), 3);
    w.pass_secs(2);
    assert_eq!(w.heartbeats(c), 4);
    assert_eq!(w.count(Count::Heartbeats), 4);
}

#[test]
fn no_heartbeat_stands_inside_an_oversize_event() {
    let mut w = world_with(|r, _| r.max_event_bytes = 100);
    let (c, u) = w.streaming();
    let (a, b) = (format!("id: 2\ndata: {}", "x".repeat(300)), format!("{}\n\n", "y".repeat(300)));
    w.say(u, &chunk(&a));
    w.pass_secs(40);
    w.say(u, &chunk(&b));
    assert_eq!(w.body(c).0, event(1) + &a + &b);
    w.pass_secs(16);
    assert_eq!(w.heartbeats(c), 1);
}

#[test]
fn no_heartbeat_stands_inside_a_chunk() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 5);
    w.say(u, &chunk(&event(2)));
    w.pass_secs(40);
    w.takes_all(c);
    assert_eq!(w.body(c).0, event(1) + &event(2));
    w.pass_secs(16);
    assert_eq!(w.heartbeats(c), 1, "heartbeats go on when the client takes again");
}

#[test]
fn a_heartbeat_is_no_part_of_an_event_that_comes_in_pieces() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(u, &chunk("id: 2\nda"));
    w.pass_secs(16);
    w.say(u, &chunk("ta: 2\n\n"));
    assert_eq!(w.body(c).0, format!("{}:\n{}", event(1), event(2)));
}

#[test]
fn heartbeats_can_be_left_out() {
    let mut w = world_with(|r, _| r.heartbeat = Span::ZERO);
    let (c, _) = w.streaming();
    w.pass_secs(100);
    assert_eq!(w.heartbeats(c), 0);
}

#[test]
fn a_client_that_takes_nothing_for_too_long_is_cut() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &chunk(&event(2)));
    w.pass_secs(59);
    assert_eq!(w.state(c), State::Open);
    w.pass_secs(2);
    assert_eq!((w.state(c), w.state(u), w.count(Count::ClientsStalled)), (State::Reset, State::Closed, 1));
}

#[test]
fn a_client_that_takes_nothing_for_too_long_is_cut_and_those_beside_it_are_not() {
    let mut w = lingering_world(|route, _| route.share = Share::Principal);
    let (well, stalled) = (w.client_with(GET_STREAM), w.client_with(GET_STREAM));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.takes(stalled, 0);
    (2..=62).for_each(|n| {
        w.pass_secs(1);
        w.say(u, &chunk(&event(n)));
    });
    assert_eq!((w.state(stalled), w.count(Count::ClientsStalled)), (State::Reset, 1));
    assert_eq!((w.state(well), w.state(u), w.count(Count::StreamsCut)), (State::Open, State::Open, 0));
}

#[test]
fn a_client_that_does_not_even_take_heartbeats_is_cut() {
    let mut w = world();
    let (c, _) = w.streaming();
    w.takes(c, 0);
    w.pass_secs(80);
    assert_eq!(w.state(c), State::Reset);
}

#[test]
fn a_client_that_takes_nothing_of_an_answer_is_cut() {
    let mut w = world();
    let c = w.client_with(GET);
    w.takes(c, 10);
    w.say(w.up(0), OK);
    w.pass_secs(61);
    assert_eq!(w.state(c), State::Reset);
}

#[test]
fn a_request_that_finds_all_streams_taken_is_told_when_to_come_back() {
    let mut w = world_with(|_, l| l.streams = 2);
    w.streaming();
    w.streaming();
    let c = w.client_with(GET_STREAM);
    assert_eq!((w.status(c), w.ups.len()), (503, 2));
    assert!(w.wire(c).contains("Retry-After: 5\r\n"));
    assert_eq!(w.count(Count::StreamsRefused), 1);
}

#[test]
fn a_connection_that_finds_no_place_is_refused() {
    let mut w = world_with(|_, l| l.connections = 2);
    w.client();
    w.client();
    w.client();
    assert_eq!((w.refused, w.ends.len()), (1, 2));
}

#[test]
fn a_request_that_finds_no_place_for_its_upstream_waits_for_one() {
    let mut w = world_with(|_, l| l.connections = 2);
    let other = w.client();
    let c = w.client_with(GET_STREAM);
    w.pass_secs(1);
    assert!(w.ups.is_empty());
    w.fin(other);
    w.pass_secs(6);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!(w.events(c), event(1));
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let mut w = world();
    let c = w.client_with(&format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(70_000)));
    assert_eq!((w.status(c), w.ups.len(), w.unread(c)), (431, 0, 0));
}

#[test]
fn a_head_that_is_too_large_is_refused_from_upstream_too() {
    let mut w = world();
    let c = w.client_with(GET);
    w.say(w.up(0), &format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(600_000)));
    assert_eq!(w.status(c), 502);
    assert!(w.has_notice("`answer_header_bytes`"));
}

#[test]
fn heads_that_other_proxies_and_clients_take_are_passed_on_and_their_lines_have_a_bound() {
    let lines = |n: usize| (0..n).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    let mut w = world();
    let c = w.client_with(&GET.replace("Host", &format!("{}Host", lines(1_000))));
    assert!(w.wire(w.up(0)).contains("\r\nX-999: 999\r\n"));
    let long = "x".repeat(300_000);
    w.say(w.up(0), &OK.replace("Content", &format!("{}X: {long}\r\nContent", lines(1_000))));
    assert!(w.wire(c).contains(&long) && w.wire(c).contains("\r\nX-999: 999\r\n"), "{}", w.status(c));
    let mut w = world_with(|_, limits| limits.header_count = 20);
    let c = w.client_with(&GET.replace("Host", &format!("{}Host", lines(20))));
    assert_eq!((w.status(c), w.ups.len()), (431, 0));
    let c = w.client_with(GET);
    w.say(w.up(0), &OK.replace("Content", &format!("{}Content", lines(20))));
    assert_eq!(w.status(c), 502);
    assert!(w.has_notice("`header_count`"));
}

#[test]
fn what_two_readers_might_cut_differently_is_refused() {
    for lines in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: +1",
        "Content-Length : 1",
        "Host: other",
        "A: b\n c",
    ] {
        let mut w = world();
        let c = w.client_with(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\nx"));
        assert_eq!((w.status(c), w.ups.len(), w.state(c)), (400, 0, State::Shut), "{lines}");
    }
}

#[test]
fn a_path_without_route_is_a_404() {
    let mut w = world_with(|r, _| r.path = "/a".to_owned());
    let c = w.client_with(GET);
    assert_eq!((w.status(c), w.ups.len()), (404, 0));
}

#[test]
fn a_cursor_that_is_too_long_is_counted_and_upstreams_concern() {
    let mut w = world();
    let id = "x".repeat(2_000);
    w.client_with(&format!("GET / HTTP/1.1\r\nHost: h\r\nLast-Event-ID: {id}\r\n\r\n"));
    assert!(w.wire(w.up(0)).contains(&format!("Last-Event-ID: {id}\r\n")));
    assert_eq!(w.count(Count::CursorsUntracked), 1);
}

#[test]
fn a_slow_head_is_a_408() {
    let mut w = world();
    let c = w.client_with("GET / HT");
    for _ in 0..6 {
        w.pass_secs(2);
        w.say(c, "x");
    }
    assert_eq!((w.status(c), w.state(c)), (408, State::Shut));
}

#[test]
fn a_silent_client_is_closed_without_a_word() {
    let mut w = world();
    let c = w.client();
    w.pass_secs(11);
    assert_eq!((w.wire(c), w.state(c)), (String::new(), State::Closed));
    let c = w.client_with(GET);
    w.say(w.up(0), OK);
    w.pass_secs(74);
    assert_eq!(w.state(c), State::Open);
    w.pass_secs(2);
    assert_eq!((w.wire(c).as_str(), w.state(c)), (OK, State::Closed));
}

#[test]
fn a_slow_body_is_a_408() {
    let mut w = world_with(|r, _| r.response_timeout = Span::from_secs(500));
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    w.pass_secs(61);
    assert_eq!((w.status(c), w.state(w.up(0))), (408, State::Closed));
}

#[test]
fn a_client_that_is_not_read_is_not_slow() {
    let mut w = world_with(|r, _| r.response_timeout = Span::from_secs(500));
    let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    let u = w.up(0);
    w.takes(u, 0);
    w.say(c, &"x".repeat(1_000_000));
    w.pass_secs(100);
    assert_eq!((w.wire(c), w.state(c)), (String::new(), State::Open));
    w.takes_all(u);
    w.say(u, OK);
    assert_eq!(w.wire(c), OK);
}

#[test]
fn a_last_answer_that_is_not_taken_does_not_keep_the_connection() {
    let mut w = world();
    let c = w.client();
    w.takes(c, 0);
    w.say(c, "BAD\r\n\r\n");
    w.pass_secs(61);
    assert_eq!(w.state(c), State::Closed);
}

#[test]
fn an_id_that_is_too_long_is_forwarded_and_not_resumed() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    let text = format!("id: {}\ndata: x\n\n", "y".repeat(2_000));
    w.say(u, &format!("{STREAM}{}", chunk(&text)));
    w.fin(u);
    assert_eq!((w.events(c), w.ups.len()), (text, 1));
    assert_eq!(w.count(Count::IdsTooLong), 1);
}

#[test]
fn a_stale_key_does_nothing() {
    let mut w = world();
    let (c, u) = w.streaming();
    let (client, upstream) = (w.ends[c].key, w.ends[u].key);
    w.fin(c);
    for conn in [client, upstream] {
        w.machine.handle(Input::Data { conn, bytes: b"x" }, w.now);
        w.machine.handle(Input::Written { conn, bytes: 1 }, w.now);
        w.machine.handle(Input::Connected { conn }, w.now);
        w.machine.handle(Input::Eof { conn }, w.now);
        w.machine.handle(Input::Reset { conn }, w.now);
        assert_eq!(w.machine.poll_read(conn), 0);
        assert!(w.machine.transmit(conn).concat().is_empty());
    }
    assert_eq!(w.machine.poll_output(), None);
}

#[test]
fn many_requests_in_a_row_without_place_for_upstream_are_answered_one_by_one() {
    let mut w = world_with(|r, l| {
        l.connections = 1;
        r.heal_for = Span::ZERO;
        r.response_timeout = Span::ZERO;
    });
    let c = w.client_with(&"POST / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2_000));
    w.pass_secs(5);
    assert_eq!(w.wire(c).matches("HTTP/1.1 502").count(), 2_000);
}

#[test]
fn an_event_in_parts_passes_when_all_before_it_is_delivered_and_the_budget_is_used_up() {
    let mut w = world_with(|_, limits| limits.log_budget = 1 << 10);
    let (c, u) = w.streaming();
    w.takes(c, 0);
    w.say(u, &chunk(&format!("data: {}\n\n", "y".repeat(100))));
    w.say(u, &chunk(&format!("data: {}", "x".repeat(30_000))));
    w.takes_all(c);
    w.say(u, &chunk("\n\n"));
    assert_eq!(w.body(c).0.matches('x').count(), 30_000);
}

#[test]
fn an_evicted_session_takes_its_records_along_so_that_the_store_is_bounded_too() {
    let mut route = Route::new(Upstream::parse("http://up:9000").unwrap());
    route.linger = Span::ZERO;
    let limits = Limits { sessions: 4, ..Limits::default() };
    let mut w = world_of(Config { routes: vec![route].into(), limits, ..Config::default() });
    let (mut names, mut stored) = (std::collections::HashMap::new(), std::collections::HashSet::new());
    for path in 0..40 {
        let c = w.client_with(&GET_STREAM.replace("/events", &format!("/events/{path}")));
        let u = w.last_up();
        w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
        w.rst(c);
        w.machine.drain_checkpoints(|checkpoint| match checkpoint {
            Checkpoint::Began { stream, name } => {
                names.insert(stream, name.clone());
                assert!(stored.insert(name));
            }
            Checkpoint::Ended { stream, keep: false } => assert!(stored.remove(&names[&stream])),
            Checkpoint::Forgotten { name, sequence } => assert!(stored.remove(&name) && sequence == 1),
            _ => {}
        });
        assert!(stored.len() <= 4, "{} records for {} sessions", stored.len(), w.machine.sessions());
    }
    assert_eq!((stored.len(), w.count(Count::SessionEvictions), w.count(Count::RecordsEvicted)), (4, 36, 36));
}
