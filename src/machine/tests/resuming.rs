//! Clients that come back: replay, ids of segno's own, gaps, letting go.

use super::asking::*;
use super::*;
use crate::config::{Gap, LingerFull};
use crate::machine::Checkpoint;

#[test]
fn a_client_that_comes_back_reads_on_where_it_was_and_upstream_sees_nothing_of_it() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.rst(c);
    w.say(u, &chunk(&event(2)));
    w.say(u, &chunk(&event(3)));
    let d = w.client_with(&get("1"));
    w.say(u, &chunk(&event(4)));
    assert_eq!((data(&w, d), w.ups.len(), w.state(u)), (vec!["2".into(), "3".into(), "4".into()], 1, State::Open));
    assert_eq!((w.count(Count::Resumes), w.count(Count::StreamsDetached)), (1, 1));
}

#[test]
fn a_stream_that_is_cut_inside_an_event_while_nobody_reads_is_healed_and_kept() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.say(u, &chunk("id: 2\ndata: 2"));
    w.rst(c);
    w.rst(u);
    let u = w.last_up();
    // Less of the event than was there before the cut.
    w.say(u, &format!("{STREAM}{}", chunk("id: 2\n")));
    w.say(u, &chunk("data: 2\n\n"));
    assert_eq!((w.ups.len(), w.state(u)), (2, State::Open));
    let d = w.client_with(&get("1"));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["2".to_owned()], 2));
}

#[test]
fn a_client_that_has_more_than_was_delivered_here_lets_upstream_go_on() {
    let mut w = lingering_world(|route, _| (route.replay_bytes, route.max_event_bytes) = (512, 256));
    let (c, u) = w.streaming();
    w.rst(c);
    (2..40).for_each(|n| w.say(u, &chunk(&event(n))));
    assert!(w.unread(u) > 0, "nothing waits: the test shows nothing");
    let d = w.client_with(&get("5"));
    assert_eq!(data(&w, d), (6..40).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn nobody_coming_back_in_time_lets_upstream_go() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    w.rst(c);
    w.pass_secs(29);
    assert_eq!(w.state(u), State::Open);
    w.pass_secs(2);
    assert_eq!((w.state(u), w.machine.exchanges(), w.count(Count::StreamsLetGo)), (State::Closed, 0, 1));
}

#[test]
fn a_client_with_other_credentials_goes_upstream_with_its_cursor() {
    for lines in ["Authorization: Bearer b\r\n", "Mcp-Session-Id: x\r\n", "X-Api-Key: k\r\n"] {
        let mut w = lingering_world(|_, _| {});
        let (c, _) = w.streaming();
        w.rst(c);
        w.client_with(&with(lines, "1"));
        let asked = w.wire(w.up(1));
        assert!(asked.contains("Last-Event-ID: 1\r\n"), "{lines}: {asked}");
    }
}

#[test]
fn another_target_is_another_stream() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = w.streaming();
    w.rst(c);
    w.client_with(&get("1").replace("/events", "/rooms/2"));
    assert_eq!(w.ups.len(), 2);
}

#[test]
fn a_stream_that_somebody_reads_is_no_match_for_an_upstreams_id() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = w.streaming();
    w.client_with(&get("1"));
    assert_eq!((w.ups.len(), w.state(c)), (2, State::Open));
}

#[test]
fn an_id_that_no_log_holds_goes_upstream() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = w.streaming();
    w.rst(c);
    w.client_with(&get("77"));
    assert!(w.wire(w.up(1)).contains("Last-Event-ID: 77\r\n"));
}

#[test]
fn a_resumed_stream_with_nothing_new_begins_with_the_last_id() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = w.streaming();
    w.rst(c);
    let d = w.client_with(&get("1"));
    assert_eq!(w.events(d), "id: 1\n\n");
}

#[test]
fn events_without_ids_get_some_and_are_resumed_by_them() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = without_ids(&mut w);
    let id = last_id(&w, c);
    assert!(id.len() <= 128 && id.ends_with("-2"), "{id}");
    w.rst(c);
    w.say(u, &chunk("data: c\n\n"));
    let d = w.client_with(&get(&id));
    w.say(u, &chunk("data: d\n\n"));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["c".into(), "d".into()], 1));
    assert!(last_id(&w, d).ends_with("-4"));
}

#[test]
fn an_own_id_never_goes_upstream() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.rst(u);
    w.pass_secs(40);
    w.client_with(&get(&id));
    w.client_with(&format!("POST /events HTTP/1.1\r\nHost: h\r\nLast-Event-ID: {id}\r\nContent-Length: 0\r\n\r\n"));
    for n in 0..w.ups.len() {
        assert!(!w.wire(w.up(n)).contains("sg-"), "{}", w.wire(w.up(n)));
    }
}

#[test]
fn an_own_id_that_nobody_knows_any_more_is_a_gap() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.pass_secs(40);
    let d = w.client_with(&get(&id));
    w.say(w.up(1), &format!("{STREAM}{}", chunk("data: new\n\n")));
    assert_eq!(gap_header(&w, d).as_deref(), Some("unknown"));
    let events = w.events(d);
    assert!(events.starts_with("event: segno.gap\ndata: {\"after\":\"sg-"), "{events}");
    assert_eq!(data(&w, d)[1], "new");
}

#[test]
fn a_token_is_read_by_its_own_principal_alone() {
    let mut w = lingering_world(|_, _| {});
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    let d = w.client_with(&with("Authorization: Bearer thief\r\n", &id));
    w.say(w.up(1), &format!("{STREAM}{}", chunk("data: mine\n\n")));
    assert_eq!((gap_header(&w, d).as_deref(), data(&w, d)[1].as_str()), (Some("unknown"), "mine"));
}

#[test]
fn a_second_reader_with_an_own_id_joins_beside_the_first() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = without_ids(&mut w);
    let first = last_id(&w, c).replace("-2", "-1");
    let d = w.client_with(&get(&first));
    w.say(u, &chunk("data: c\n\n"));
    assert_eq!((data(&w, c), data(&w, d)), (vec!["a".into(), "b".into(), "c".into()], vec!["b".into(), "c".into()]));
}

#[test]
fn an_answer_to_a_post_is_resumed_by_a_get_and_ends_with_204() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&POST.replace("/llm", "/events").replace("Host", "Accept: text/event-stream\r\nHost"));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let id = last_id(&w, c);
    w.rst(c);
    w.say(u, &format!("{}{LAST}", chunk("data: [DONE]\n\n")));
    let d = w.client_with(&get(&id));
    assert_eq!((data(&w, d), w.body(d).1), (vec!["[DONE]".into()], true));
    let e = w.client_with(&get(&last_id(&w, d)));
    assert_eq!((w.status(e), w.ups.len()), (204, 1));
}

#[test]
fn a_post_that_was_cut_gives_what_it_has_and_a_gap_and_a_cut() {
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&POST.replace("/llm", "/events").replace("Host", "Accept: text/event-stream\r\nHost"));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let id = last_id(&w, c);
    w.rst(c);
    w.say(u, &chunk("data: b\n\n"));
    w.rst(u);
    let d = w.client_with(&get(&id));
    assert_eq!((gap_header(&w, d), data(&w, d)[0].as_str(), w.body(d).1), (None, "b", false));
    assert!(data(&w, d)[1].contains("refused") && w.body(d).0.ends_with("\n\n"), "{}", w.body(d).0);
    // Having been told, it would come back for ever.
    let e = w.client_with(&get(&last_id(&w, d)));
    assert_eq!((w.status(e), gap_header(&w, e).as_deref()), (410, Some("refused")));
}

#[test]
fn an_mcp_post_that_was_cut_gives_what_it_has_and_then_a_status() {
    let mut w = lingering_world(|_, _| {});
    let mcp = "Mcp-Session-Id: s\r\n";
    let c = w.client_with(&POST.replace("/llm", "/events").replace("Host", &format!("{mcp}Host")));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: a\n\n")));
    let id = last_id(&w, c);
    w.rst(c);
    w.say(u, &chunk("data: b\n\n"));
    w.rst(u);
    let d = w.client_with(&with(mcp, &id));
    assert_eq!((data(&w, d), w.body(d).1), (vec!["b".into()], false));
    let e = w.client_with(&with(mcp, &last_id(&w, d)));
    assert_eq!((w.status(e), gap_header(&w, e).as_deref()), (400, Some("refused")));
}

#[test]
fn a_get_whose_upstream_is_gone_gives_its_log_and_then_a_stream_anew_without_a_gap() {
    for whole in [false, true] {
        let mut w = lingering_world(|_, _| {});
        let (c, u) = without_ids(&mut w);
        let id = last_id(&w, c).replace("-2", "-1");
        w.rst(c);
        if whole {
            w.say(u, LAST);
        }
        w.rst(u);
        let d = w.client_with(&get(&id));
        assert_eq!((data(&w, d), w.body(d).1), (vec!["b".into()], whole));
        // The client has all that came. Whether upstream would have said more, nobody knows.
        let e = w.client_with(&get(&last_id(&w, d)));
        w.say(w.up(1), &format!("{STREAM}{}", chunk("data: new\n\n")));
        assert_eq!((gap_header(&w, e), data(&w, e)), (None, vec!["new".to_owned()]));
        assert_eq!(w.gaps(), 0);
    }
}

#[test]
fn a_stream_that_began_anew_is_found_by_the_id_that_its_client_came_with() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.rst(u);
    let d = w.client_with(&get(&id));
    w.takes(d, 0);
    w.say(w.up(1), &format!("{STREAM}{}", chunk("data: lost\n\n")));
    // The client has lost its connection before the first id of the new stream came.
    w.rst(d);
    let e = w.client_with(&get(&id));
    w.say(w.up(1), &chunk("data: more\n\n"));
    assert_eq!((gap_header(&w, e), data(&w, e), w.ups.len()), (None, vec!["lost".into(), "more".into()], 2));
}

#[test]
fn upstreams_own_ids_end_the_injected_ones() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = without_ids(&mut w);
    w.say(u, &chunk("id: 9\ndata: c\n\n"));
    w.say(u, &chunk("data: d\n\n"));
    let body = w.body(c).0;
    assert!(body.ends_with("id: 9\ndata: c\n\ndata: d\n\n"), "{body}");
    w.rst(c);
    let d = w.client_with(&get("9"));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["d".into()], 1));
}

#[test]
fn ids_stand_behind_comments_and_a_byte_order_mark_wherever_a_read_ends() {
    let body = "\u{feff}: hi\n\ndata: a\n\n:x\n\n:y\nevent: e\ndata: b\n\n\r\ndata: c\r\n\r\n";
    for cut in 1..body.len() {
        if !body.is_char_boundary(cut) {
            continue;
        }
        let mut w = lingering_world(|_, _| {});
        let c = w.client_with(GET_STREAM);
        w.say(w.up(0), &format!("{STREAM}{}", chunk(&body[..cut])));
        w.say(w.up(0), &chunk(&body[cut..]));
        let got = w.events(c);
        let id = |n| format!("id: {}{n}\n", &last_id(&w, c)[..26]);
        let expected = body
            .replace("data: a", &format!("{}data: a", id(1)))
            .replace("event: e", &format!("{}event: e", id(2)))
            .replace("data: c", &format!("{}data: c", id(3)));
        assert_eq!(got, expected, "{cut}");
    }
}

#[test]
fn a_gap_is_a_status_where_the_route_says_so() {
    let mut w = lingering_world(|route, _| route.gap = Gap::Status);
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    w.rst(c);
    w.pass_secs(40);
    let d = w.client_with(&get(&id));
    assert_eq!((w.status(d), gap_header(&w, d).as_deref()), (410, Some("unknown")));
    let e = w.client_with(&with("MCP-Protocol-Version: 2025-06-18\r\n", &id));
    assert_eq!(w.status(e), 400);
}

#[test]
fn a_full_log_that_nobody_reads_holds_upstream_back() {
    let mut w = lingering_world(|route, _| {
        route.replay_events = 4;
        route.replay_bytes = 1 << 10;
        route.max_event_bytes = 512;
    });
    let (c, u) = w.streaming();
    w.rst(c);
    (2..300).for_each(|n| w.say(u, &chunk(&event(n))));
    assert!(w.unread(u) > 0);
    let d = w.client_with(&get("1"));
    assert_eq!(data(&w, d), (2..300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_live_feed_that_nobody_reads_loses_its_oldest_events_and_says_so() {
    let mut w = lingering_world(|route, _| {
        route.replay_events = 4;
        route.linger_full = LingerFull::Evict;
    });
    let c = w.client_with(GET_STREAM);
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: 1\n\n")));
    let id = last_id(&w, c);
    w.rst(c);
    (2..50).for_each(|n| w.say(u, &chunk(&format!("data: {n}\n\n"))));
    assert_eq!(w.unread(u), 0);
    let d = w.client_with(&get(&id));
    assert_eq!((gap_header(&w, d).as_deref(), data(&w, d).last().unwrap().as_str()), (Some("evicted"), "49"));
}

#[test]
fn more_bytes_than_may_wait_let_the_stream_go() {
    let mut w = lingering_world(|route, _| {
        route.linger_bytes = 2_000;
        route.linger_full = LingerFull::Evict;
    });
    let (c, u) = w.streaming();
    w.rst(c);
    (2..500).for_each(|n| {
        if w.is_live(u) {
            w.say(u, &chunk(&event(n)));
        }
    });
    assert_eq!((w.state(u), w.machine.exchanges()), (State::Closed, 0));
}

#[test]
fn leaving_cancels_where_the_route_or_the_protocol_says_so() {
    let mut w = lingering_world(|route, _| route.cancel_on_disconnect = true);
    let (c, u) = w.streaming();
    w.rst(c);
    assert_eq!(w.state(u), State::Closed);
    let mut w = lingering_world(|_, _| {});
    let c = w.client_with(&GET_STREAM.replace("Host", "MCP-Protocol-Version: 2026-07-28\r\nHost"));
    let u = w.up(0);
    w.say(u, &format!("{STREAM}{}", chunk("data: x\n\n")));
    assert_eq!(w.events(c), "data: x\n\n");
    w.rst(c);
    assert_eq!(w.state(u), State::Closed);
}

#[test]
fn the_newest_connection_of_an_mcp_stream_wins() {
    let mut w = lingering_world(|_, _| {});
    let mcp = "Mcp-Session-Id: s\r\n";
    let c = w.client_with(&GET_STREAM.replace("Host", &format!("{mcp}Host")));
    w.say(w.up(0), &format!("{STREAM}{}", chunk("data: a\n\n")));
    let d = w.client_with(&with(mcp, &last_id(&w, c)));
    w.say(w.up(0), &chunk("data: b\n\n"));
    assert_eq!((w.state(c), data(&w, d), w.ups.len()), (State::Reset, vec!["b".into()], 1));
}

#[test]
fn a_post_of_mcp_that_upstream_cuts_is_healed_by_a_get() {
    let mut w = lingering_world(|_, _| {});
    let post = "POST /mcp HTTP/1.1\r\nHost: h\r\nAccept: application/json, text/event-stream\r\n\
                Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-06-18\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\n\r\n{}";
    let c = w.client_with(post);
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(w.up(0));
    let asked = w.wire(w.up(1));
    assert!(asked.starts_with("GET /mcp HTTP/1.1\r\n") && asked.contains("Last-Event-ID: 1\r\n"), "{asked}");
    assert!(asked.contains("Mcp-Session-Id: s\r\n") && !asked.contains("Content-"), "{asked}");
    w.say(w.up(1), "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n");
    w.pass_secs(1);
    w.say(w.up(2), &format!("{STREAM}{}{LAST}", chunk(&event(2))));
    assert_eq!((data(&w, c), w.body(c).1), (vec!["1".into(), "2".into()], true));
}

#[test]
fn clients_that_know_it_are_primed() {
    let mut w = lingering_world(|_, _| {});
    let mcp = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-11-25\r\n";
    let c = w.client_with(&GET_STREAM.replace("Host", &format!("{mcp}Host")));
    w.say(w.up(0), STREAM);
    let primed = w.body(c).0;
    // When it comes back is the client's to say, as it is without segno.
    assert!(primed.starts_with("id: sg-") && primed.ends_with("-0\ndata:\n\n"), "{primed}");
    let id = last_id(&w, c);
    w.rst(c);
    w.say(w.up(0), &chunk("data: r\n\n"));
    let d = w.client_with(&with(mcp, &id));
    assert_eq!((w.status(d), data(&w, d), w.ups.len()), (200, vec!["r".into()], 1));
}

#[test]
fn a_call_that_is_left_before_its_first_event_is_resumed_by_what_primed_it() {
    let mut w = lingering_world(|_, _| {});
    let mcp = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-11-25\r\n";
    let post = POST.replace("/llm", "/events").replace("Host", &format!("Accept: text/event-stream\r\n{mcp}Host"));
    let c = w.client_with(&post);
    w.say(w.up(0), STREAM);
    let id = last_id(&w, c);
    w.rst(c);
    w.say(w.up(0), &format!("{}{LAST}", chunk("data: result\n\n")));
    let d = w.client_with(&with(mcp, &id));
    assert_eq!((data(&w, d), w.body(d).1), (vec!["result".into()], true));
}

#[test]
fn deleting_a_session_lets_its_streams_and_records_go() {
    let mut w = lingering_world(|_, _| {});
    let mcp = "Mcp-Session-Id: s\r\n";
    let c = w.client_with(&GET_STREAM.replace("Host", &format!("{mcp}Host")));
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(c);
    w.client_with(&format!("DELETE /events HTTP/1.1\r\nHost: h\r\n{mcp}\r\n"));
    w.say(w.up(1), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((w.state(w.up(0)), w.machine.sessions(), w.machine.streams()), (State::Closed, 0, 0));
    let mut ended = Vec::new();
    w.machine.drain_checkpoints(|c| {
        if let Checkpoint::Ended { keep, .. } = c {
            ended.push(keep);
        }
    });
    assert_eq!(ended, [false]);
}

#[test]
fn a_parameter_stands_for_the_header_and_does_not_go_upstream() {
    let mut w = lingering_world(|route, _| route.last_event_id_param = Some("last".to_owned()));
    let (c, _) = w.streaming();
    w.rst(c);
    let d = w.client_with(&GET_STREAM.replace("/events", "/events?last=1"));
    w.say(w.up(0), &chunk(&event(2)));
    assert_eq!((data(&w, d), w.ups.len()), (vec!["2".into()], 1));
    w.client_with(&GET_STREAM.replace("/events", "/events?a=b&last=%37&c"));
    let asked = w.wire(w.up(1));
    assert!(asked.starts_with("GET /events?a=b&c HTTP/1.1\r\n") && asked.contains("Last-Event-ID: 7\r\n"), "{asked}");
}

#[test]
fn a_principal_and_an_address_have_no_more_streams_that_nobody_reads_than_they_may() {
    for (principal, address) in [(16, 100), (100, 16)] {
        let mut w = lingering_world(|_, limits| {
            (limits.lingering_per_principal, limits.lingering_per_address) = (principal, address);
        });
        let all: Vec<(usize, usize)> = (0..30)
            .map(|_| {
                let (c, u) = w.streaming();
                w.pass_ms(1);
                w.rst(c);
                (c, u)
            })
            .collect();
        assert_eq!((w.machine.streams(), w.count(Count::StreamsOverShare)), (16, 14));
        // Those that were left first have gone.
        assert!(all.iter().enumerate().all(|(n, (_, u))| (w.state(*u) == State::Closed) == (n < 14)));
    }
}
