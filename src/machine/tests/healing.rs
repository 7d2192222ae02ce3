//! Cuts of upstream that the client does not see, and how healing ends where it fails.

use super::*;
use crate::testing::world::Said;

/// What each answer to the question for the rest leads to: the client's end, and whether the last chunk came.
fn heal_with(answer: &str) -> (World, usize) {
    let mut w = world();
    let (c, u) = w.streaming();
    w.fin(u);
    let healer = w.up(1);
    w.say(healer, answer);
    (w, c)
}

fn is_cut(w: &World, c: usize) -> bool {
    matches!(w.state(c), State::Closed | State::Reset) && !w.body(c).1
}

/// Upstream is asked for the rest, and its answer carries event 2.
fn heals(w: &mut World, c: usize) {
    w.pass_ms(102);
    assert_eq!(w.ups.len(), 2, "upstream was not asked again");
    let u = w.up(1);
    assert!(w.wire(u).contains("\r\nLast-Event-ID: 1\r\n"), "{}", w.wire(u));
    w.say(u, &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
    assert_eq!(w.state(c), State::Open);
}

#[test]
fn a_fin_between_events_is_healed() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.fin(u);
    heals(&mut w, c);
}

#[test]
fn a_fin_inside_an_event_is_healed_without_the_half() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(u, &chunk("id: 2\ndata: ha"));
    w.fin(u);
    heals(&mut w, c);
}

#[test]
fn a_fin_inside_a_chunk_is_healed() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(u, "ff\r\nid: 2\ndata: ha");
    w.fin(u);
    heals(&mut w, c);
}

#[test]
fn a_reset_is_healed() {
    for last in ["", "9\r\nid: 2\nda", "1"] {
        let mut w = world();
        let (c, u) = w.streaming();
        w.say(u, last);
        w.rst(u);
        heals(&mut w, c);
    }
}

#[test]
fn a_damaged_chunk_is_healed() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(u, "zz\r\n");
    assert_eq!(w.count(Count::UpstreamBodiesBad), 1);
    heals(&mut w, c);
}

#[test]
fn a_close_inside_an_event_is_healed() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM_UNTIL_CLOSE}{}id: 2\ndata: ha", event(1)));
    w.fin(u);
    heals(&mut w, c);
}

#[test]
fn a_close_at_a_boundary_is_a_clean_end() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM_UNTIL_CLOSE}{}", event(1)));
    w.fin(u);
    assert_eq!((w.events(c), w.body(c).1, w.ups.len()), (event(1), true, 1));
}

#[test]
fn a_last_event_without_its_blank_line_is_an_end_where_nothing_can_be_asked_again() {
    for ids in [crate::config::Ids::Auto, crate::config::Ids::Off] {
        let mut w = lingering_world(|route, _| route.ids = ids);
        let c = w.client_with(&POST.replace("Host", "Accept: text/event-stream\r\nHost"));
        let u = w.up(0);
        w.say(u, &format!("{STREAM_UNTIL_CLOSE}data: a\n\ndata: [DONE]\n"));
        w.fin(u);
        let (body, whole) = w.body(c);
        assert!(body.ends_with("data: [DONE]\n") && whole, "{body}");
        // In the middle of a line it is a cut.
        let c = w.client_with(&POST.replace("Host", "Accept: text/event-stream\r\nHost"));
        let u = w.last_up();
        w.say(u, &format!("{STREAM_UNTIL_CLOSE}data: a\n\ndata: [DO"));
        w.fin(u);
        let (body, whole) = w.body(c);
        assert!(body.ends_with("data: a\n\n") && !whole, "{body}");
    }
}

#[test]
fn a_body_shorter_than_its_length_is_healed() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\n{}", event(1)));
    w.fin(u);
    heals(&mut w, c);
}

#[test]
fn a_body_as_long_as_its_length_is_a_clean_end_at_once() {
    for body in [String::new(), event(1)] {
        let mut w = world();
        let c = w.client_with(GET_STREAM);
        let (u, n) = (w.up(0), body.len());
        w.say(u, &format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {n}\r\n\r\n{body}"));
        assert_eq!(w.body(c), (body, true));
    }
}

#[test]
fn the_last_chunk_is_a_clean_end_at_once() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(u, &format!("{}{LAST}", chunk("data: [DONE]")));
    assert_eq!(w.body(c), (event(1) + "data: [DONE]", true));
    assert_eq!((w.state(c), w.ups.len()), (State::Open, 1));
}

#[test]
fn silence_beyond_the_limit_is_healed() {
    let mut w = world_with(|r, _| r.upstream_idle = Some(Span::from_secs(5)));
    let (c, _) = w.streaming();
    w.pass_secs(4);
    assert_eq!(w.ups.len(), 1);
    w.pass_secs(2);
    heals(&mut w, c);
}

#[test]
fn a_paused_upstream_is_not_silent() {
    let mut w = world_with(|r, _| {
        r.upstream_idle = Some(Span::from_secs(5));
        r.replay_bytes = 4096;
        r.max_event_bytes = 1024;
    });
    let (c, u) = w.streaming();
    w.takes(c, 0);
    for n in 2..600 {
        w.say(u, &chunk(&event(n)));
    }
    assert!(w.unread(u) > 0);
    w.pass_secs(20);
    assert_eq!(w.ups.len(), 1);
}

#[test]
fn many_cuts_in_a_row_lose_and_repeat_nothing() {
    let mut w = world();
    let (c, _) = w.streaming();
    let mut expected = event(1);
    for n in 2..50 {
        let u = w.last_up();
        w.say(u, &chunk(&format!("id: {n}\nda")));
        w.fin(u);
        w.pass_secs(6);
        let u = w.last_up();
        assert!(w.wire(u).contains(&format!("Last-Event-ID: {}\r\n", n - 1)));
        // An upstream that repeats the event asked behind is no harm.
        w.say(u, &format!("{STREAM}{}{}", chunk(&event(n - 1)), chunk(&event(n))));
        expected += &event(n);
    }
    assert_eq!(w.events(c), expected);
    assert_eq!((w.count(Count::Heals), w.count(Count::Duplicates)), (48, 48));
}

#[test]
fn attempts_back_off_while_heartbeats_flow_and_end_as_a_cut() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.pass_secs(5);
    w.dial = Dial::Refuse;
    let cut = w.now;
    w.fin(u);
    assert_eq!(w.dialled[1], cut, "the first attempt is made at once");
    w.pass_secs(39);
    assert_eq!((w.state(c), w.heartbeats(c)), (State::Open, 2));
    w.pass_secs(22);
    assert!(is_cut(&w, c));
    let tries = w.dialled.len() - 1;
    assert!((15..60).contains(&tries), "{tries}");
    assert!(w.dialled.iter().all(|at| at.since(cut) <= Span::from_millis(60_002)));
    let late = w.dialled.iter().filter(|at| at.since(cut) > Span::from_secs(30)).count();
    assert!(late < 25, "{late} attempts in the last half minute");
    assert_eq!(w.heals_failed(), 1);
}

#[test]
fn healing_that_comes_late_heals() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.dial = Dial::Refuse;
    w.fin(u);
    w.pass_secs(30);
    w.dial = Dial::Accept;
    w.pass_secs(10);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&event(2))));
    assert_eq!(w.events(c), event(1) + &event(2));
    assert!(w.has_notice("healed after"));
}

#[test]
fn attempts_of_all_streams_keep_to_the_rate() {
    let mut w = world_with(|r, _| r.heal_rate = 10);
    let ups: Vec<_> = (0..40).map(|_| w.streaming().1).collect();
    w.pass_secs(5);
    let (cut, before) = (w.now, w.dialled.len());
    for u in ups {
        w.hear(u, Said::Eof);
    }
    assert_eq!(w.dialled.len() - before, 10, "a second's worth goes at once");
    w.pass_secs(4);
    assert_eq!(w.dialled.len() - before, 40);
    for (n, at) in w.dialled[before..].iter().enumerate() {
        assert!(at.since(cut) >= Span::from_millis(100).times((n as u64 + 1).saturating_sub(10)), "{n}");
    }
}

#[test]
fn an_upstream_that_hangs_up_behind_each_head_is_not_asked_for_ever() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.fin(u);
    let mut asked = 0;
    for _ in 0..650 {
        let u = w.last_up();
        if w.state(u) == State::Open {
            asked += 1;
            w.say(u, STREAM);
            w.fin(u);
        }
        w.pass_ms(100);
    }
    assert!(asked < 60, "asked {asked} times in a minute");
    assert!(is_cut(&w, c));
}

#[test]
fn no_content_is_a_clean_end() {
    let (w, c) = heal_with("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!((w.body(c), w.state(c)), ((event(1), true), State::Open));
}

#[test]
fn a_refused_cursor_is_a_gap_and_a_cut() {
    for status in [400, 404, 410, 412, 416] {
        let (mut w, c) = heal_with(&format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
        let gap = "event: segno.gap\ndata: {\"after\":\"1\",\"resumed_at\":null,\"reason\":\"refused\"}\n\n";
        assert_eq!(w.body(c), (event(1) + gap, false), "{status}");
        assert!(is_cut(&w, c));
        assert_eq!(w.gaps(), 1);
    }
}

#[test]
fn wrong_credentials_and_other_answers_are_a_cut_without_gap() {
    for status in [401, 403, 301, 405, 451] {
        let (w, c) = heal_with(&format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(w.body(c), (event(1), false), "{status}");
        assert!(is_cut(&w, c));
    }
}

#[test]
fn an_answer_that_is_no_plain_event_stream_is_a_cut() {
    for head in ["Content-Type: text/html\r\n", "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"] {
        let (w, c) = heal_with(&format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 2\r\n\r\nhi"));
        assert_eq!(w.body(c), (event(1), false), "{head}");
        assert!(is_cut(&w, c));
    }
}

#[test]
fn an_answer_for_later_is_asked_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let (mut w, c) = heal_with(&format!("HTTP/1.1 {status} Later\r\nContent-Length: 0\r\n\r\n"));
        w.pass_secs(6);
        assert_eq!(w.state(c), State::Open);
        let u = w.last_up();
        assert!(w.ups.len() == 3 && w.wire(u).contains("Last-Event-ID: 1"), "{status}");
        w.say(u, &format!("{STREAM}{}", chunk(&event(2))));
        assert_eq!(w.events(c), event(1) + &event(2));
    }
}

#[test]
fn retry_after_is_waited_out_in_full() {
    let (mut w, _) = heal_with("HTTP/1.1 503 Later\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    w.pass_ms(6_999);
    assert_eq!(w.ups.len(), 2);
    w.pass_ms(5_002);
    assert_eq!(w.ups.len(), 3);
}

#[test]
fn the_retry_field_is_a_floor_for_each_attempt() {
    for lasted in [0, 5] {
        let mut w = world();
        let (_, u) = w.streaming();
        w.say(u, &chunk("retry: 3000\n\n"));
        w.pass_secs(lasted);
        w.dial = Dial::Refuse;
        let cut = w.now;
        w.fin(u);
        w.pass_secs(30);
        w.dialled[0] = cut;
        let waits: Vec<_> = w.dialled.windows(2).map(|at| at[1].since(at[0])).collect();
        assert!(waits.len() >= 4 && waits.iter().all(|s| *s >= Span::from_secs(3)), "{waits:?}");
    }
}

#[test]
fn a_byte_order_mark_is_kept_at_first_and_taken_out_when_healed() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&format!("\u{feff}{}", event(1)))));
    w.fin(u);
    let u = w.up(1);
    w.say(u, STREAM);
    for byte in [b"\xef", b"\xbb", b"\xbf"] {
        w.say_bytes(u, &[b"1\r\n", &byte[..], b"\r\n"].concat());
    }
    w.say(u, &chunk(&event(2)));
    assert_eq!(w.events(c), format!("\u{feff}{}{}", event(1), event(2)));
}

#[test]
fn a_clients_own_cursor_goes_up_first_and_the_received_mark_after() {
    let mut w = world();
    let c = w.client_with("GET / HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: 41\r\n\r\n");
    let u = w.up(0);
    assert_eq!(w.wire(u).matches("Last-Event-ID: 41\r\n").count(), 1);
    w.say(u, STREAM);
    w.fin(u);
    w.pass_secs(1);
    let u = w.up(1);
    assert!(w.wire(u).contains("Last-Event-ID: 41\r\n"));
    w.say(u, &format!("{STREAM}{}", chunk(&event(42))));
    w.fin(u);
    w.pass_secs(1);
    let u = w.up(2);
    assert!(w.wire(u).contains("Last-Event-ID: 42\r\n") && !w.wire(u).contains("41"));
    assert_eq!(w.events(c), event(42));
}

#[test]
fn a_stream_without_ids_is_cut() {
    let mut w = world();
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: x\n\n")));
    w.fin(u);
    assert!(is_cut(&w, c));
    assert_eq!(w.ups.len(), 1);
}

#[test]
fn a_post_stream_is_never_asked_again() {
    let mut w = world();
    let c = w.client_with(POST);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(u);
    w.pass_secs(61);
    assert_eq!((w.ups.len(), w.events(c)), (1, event(1)));
    assert!(is_cut(&w, c));
}

#[test]
fn a_cut_inside_an_oversize_event_is_a_cut() {
    let mut w = world_with(|r, _| r.max_event_bytes = 100);
    let (c, u) = w.streaming();
    w.say(u, &chunk(&format!("id: 2\ndata: {}", "x".repeat(300))));
    assert!(w.events(c).ends_with("xxx"), "it is passed through as it comes");
    w.fin(u);
    assert!(is_cut(&w, c));
    assert_eq!((w.ups.len(), w.count(Count::EventsOversize)), (1, 1));
}

#[test]
fn a_client_that_leaves_while_healing_ends_it() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.dial = Dial::Hang;
    w.fin(u);
    w.fin(c);
    assert_eq!((w.state(w.up(1)), w.machine.exchanges()), (State::Closed, 0));
    w.pass_secs(10);
    assert_eq!(w.ups.len(), 2);
}

#[test]
fn an_attempt_that_hangs_is_given_up_for_another() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.dial = Dial::Hang;
    w.fin(u);
    w.pass_ms(5_500);
    assert_eq!((w.ups.len(), w.state(w.up(1)), w.state(c)), (3, State::Closed, State::Open));
}

#[test]
fn an_upstream_that_starts_again_and_ends_leaves_a_gap() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.say(u, &chunk(&(event(2) + &event(3))));
    w.fin(u);
    w.say(w.up(1), &format!("{STREAM}{}{LAST}", chunk(&event(1))));
    let (body, last) = w.body(c);
    assert!(body.starts_with(&(event(1) + &event(2) + &event(3))) && body.contains("\"reason\":\"restarted\""));
    assert!(last);
    assert_eq!(w.gaps(), 1);
}

#[test]
fn a_stream_that_waits_long_does_not_hold_up_the_heal_of_another() {
    let mut w = world_with(|r, _| r.heal_rate = 1);
    let (_, first) = w.streaming();
    let (_, second) = w.streaming();
    w.pass_secs(5);
    w.fin(first);
    let healer = w.last_up();
    w.say(healer, "HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n");
    w.pass_secs(2);
    let before = w.ups.len();
    w.fin(second);
    assert_eq!(w.ups.len(), before + 1, "the second heal waits behind the first one's Retry-After");
}

#[test]
fn a_get_that_does_not_name_event_streams_is_healed_once_it_has_one() {
    let mut w = world();
    let c = w.client_with("GET /x HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n");
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.fin(u);
    heals(&mut w, c);
}
