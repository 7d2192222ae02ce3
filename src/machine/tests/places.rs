//! Who gets a place where places are few: streams of a session, streams that nobody reads, connections.

use super::asking::*;
use super::*;
use crate::testing::world::Said;

/// A request for an event stream of this target.
fn stream_of(target: &str) -> String {
    GET_STREAM.replace("/events", target)
}

#[test]
fn a_stream_beyond_those_of_its_session_is_refused_before_upstream_is_asked() {
    let mut w = world_with(|_, limits| limits.streams_per_session = 2);
    w.streaming();
    w.streaming();
    let c = w.client_with(GET_STREAM);
    assert_eq!((w.status(c), w.ups.len(), w.count(Count::StreamsRefused)), (503, 2, 1));
    assert!(w.wire(c).contains("Retry-After: 5\r\n"));
    let other = w.client_with(&stream_of("/other"));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!(w.events(other), event(1), "another session has places of its own");
}

#[test]
fn requests_that_wait_for_their_answer_count_as_streams_of_their_session() {
    let mut w = world_with(|_, limits| limits.streams_per_session = 2);
    let clients: Vec<usize> = (0..4).map(|_| w.client_with(GET_STREAM)).collect();
    assert_eq!((w.ups.len(), w.status(clients[2]), w.status(clients[3])), (2, 503, 503));
    // An answer that is no stream, and a client that leaves, give their places back.
    w.say(w.up(0), OK);
    w.fin(clients[1]);
    let later: Vec<usize> = (0..2).map(|_| w.client_with(GET_STREAM)).collect();
    assert!(later.iter().all(|c| w.status(*c) == 0), "they wait for upstream");
}

#[test]
fn a_stream_that_was_not_asked_for_by_name_and_finds_no_place_passes_through() {
    let mut w = world_with(|_, limits| limits.streams_per_session = 1);
    let get = GET_STREAM.replace("Accept: text/event-stream\r\n", "");
    w.client_with(&get);
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    let c = w.client_with(&get);
    w.say(w.last_up(), &format!("{STREAM}{}{LAST}", chunk(&event(7))));
    assert_eq!((w.status(c), w.body(c)), (200, (event(7), true)));
}

#[test]
fn a_stream_that_all_sessions_with_readers_leave_no_place_for_is_refused_before_upstream_is_asked() {
    let mut w = world_with(|_, limits| limits.sessions = 1);
    w.streaming();
    let c = w.client_with(&stream_of("/other"));
    assert_eq!((w.status(c), w.ups.len()), (503, 1));
}

#[test]
fn sixty_clients_of_one_session_that_are_cut_together_all_come_back() {
    let mut w = lingering_world(|_, _| {});
    let clients: Vec<usize> = (0..60).map(|_| without_ids(&mut w).0).collect();
    clients.iter().for_each(|c| w.rst(*c));
    let ids: Vec<String> = clients.iter().map(|c| last_id(&w, *c)).collect();
    let back: Vec<usize> = ids.iter().map(|id| w.client_with(&get(id))).collect();
    assert_eq!(back.iter().filter(|c| gap_header(&w, **c).is_some()).count(), 0, "gaps were stated");
    assert_eq!((w.ups.len(), w.count(Count::Resumes)), (60, 60));
}

#[test]
fn a_client_finds_its_own_stream_among_many_of_its_session_by_upstreams_id() {
    const MANY: u32 = 90;
    let mut w = lingering_world(|_, _| {});
    for n in 0..MANY {
        let c = w.client_with(GET_STREAM);
        w.say(w.last_up(), &format!("{STREAM}{}{}", chunk(&event(1_000 + n)), chunk(&event(2_000 + n))));
        w.rst(c);
    }
    for n in 0..MANY {
        let c = w.client_with(&get(&(1_000 + n).to_string()));
        assert_eq!((data(&w, c), w.ups.len()), (vec![(2_000 + n).to_string()], MANY as usize));
    }
}

#[test]
fn where_streams_run_short_the_one_that_nobody_has_read_for_longest_goes() {
    let mut w = lingering_world(|_, limits| limits.streams = 3);
    let all: Vec<(usize, usize)> = ["/a", "/b", "/c"]
        .iter()
        .map(|target| {
            let c = w.client_with(&stream_of(target));
            let u = w.last_up();
            w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
            (c, u)
        })
        .collect();
    w.rst(all[1].0);
    w.pass_ms(1);
    w.rst(all[0].0);
    let c = w.client_with(&stream_of("/d"));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!(w.events(c), event(1));
    assert_eq!(all.iter().map(|(_, u)| w.state(*u)).collect::<Vec<_>>(), [State::Open, State::Closed, State::Open]);
}

#[test]
fn where_connections_run_short_an_idle_upstream_goes_first_and_then_a_stream_that_nobody_reads() {
    let mut w = lingering_world(|_, limits| limits.connections = 4);
    let (c, left) = w.streaming();
    w.rst(c);
    let c = w.client_with(GET);
    let idle = w.last_up();
    w.say(idle, OK);
    // One lingering stream, its idle neighbour, and the client of the latter.
    let (a, b) = (w.client(), w.client());
    assert_eq!((w.refused, w.state(idle), w.state(left)), (0, State::Closed, State::Open));
    w.say(a, GET);
    w.say(w.last_up(), OK);
    assert_eq!((w.status(a), w.state(left)), (200, State::Closed));
    let _ = (b, c);
}

#[test]
fn bytes_that_wait_on_an_idle_connection_are_nobodys_answer() {
    let mut w = world();
    let c = w.client_with(GET);
    let u = w.up(0);
    w.say(u, OK);
    // They have arrived, and the poll has not told of them yet.
    w.ends[u].said.push_back(Said::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_vec()));
    let d = w.client_with(GET);
    w.reading.push_back(u);
    w.pump();
    assert_eq!((w.wire(c).as_str(), w.wire(d).as_str(), w.state(u), w.ups.len()), (OK, "", State::Closed, 2));
    w.say(w.up(1), OK);
    assert_eq!(w.wire(d), OK);
}

#[test]
fn a_post_goes_out_on_a_new_connection_where_upstream_has_ended_the_idle_one() {
    for said in [Said::Eof, Said::Reset] {
        let mut w = world();
        w.client_with(POST);
        let u = w.up(0);
        w.say(u, OK);
        w.ends[u].said.push_back(said);
        let d = w.client_with(POST);
        w.reading.push_back(u);
        w.pump();
        assert_eq!((w.status(d), w.ups.len()), (0, 2), "it is asked anew, and waits");
        w.say(w.up(1), OK);
        assert_eq!(w.wire(d), OK);
    }
}

#[test]
fn who_finds_no_place_when_its_head_is_due_waits_on_for_upstream() {
    let mut w = world_with(|_, limits| limits.sessions = 1);
    let slow = w.client_with(&GET_STREAM.replace("/events", "/slow"));
    let (quick, u) = w.streaming();
    w.pass_secs(4);
    assert_eq!((w.state(slow), w.wire(slow).as_str()), (State::Open, ""));
    w.rst(quick);
    assert_eq!(w.state(u), State::Closed);
    w.say(w.up(0), &format!("{STREAM}{}", chunk(&event(1))));
    assert_eq!((w.status(slow), w.events(slow)), (200, event(1)));
}
