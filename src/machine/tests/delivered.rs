//! What was delivered: what clients have acknowledged, and neither what their sockets took nor what was sent.

use super::*;
use crate::base::EventId;
use crate::config::{Config, Ids, ResumeFrom, StoreConfig};
use crate::machine::Checkpoint;

fn get_after(id: &str) -> String {
    format!("GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: {id}\r\n\r\n")
}

fn events(ids: std::ops::RangeInclusive<u32>) -> String {
    ids.map(event).collect()
}

/// The client's system acknowledges nothing of what its socket takes from now on.
fn goes_dark(w: &mut World, client: usize) {
    w.ends[client].arrived = Some(w.ends[client].wire.len());
}

/// The marks that have been emitted since the last call.
fn marks(w: &mut World) -> Vec<String> {
    let mut marks = Vec::new();
    w.machine.drain_checkpoints(|checkpoint| {
        if let Checkpoint::Delivered { cursor, .. } = checkpoint {
            marks.push(String::from_utf8_lossy(EventId::as_bytes(&cursor.id)).into_owned());
        }
    });
    marks
}

#[test]
fn events_on_their_way_stay_for_a_client_that_lost_them_however_many_they_are() {
    let mut w = lingering_world(|_, _| {});
    let (c, u) = w.streaming();
    goes_dark(&mut w, c);
    (2..=1_500).for_each(|n| w.say(u, &chunk(&event(n))));
    w.pass_secs(3);
    w.rst(c);
    let back = w.client_with(&get_after("1"));
    assert_eq!(w.ups.len(), 1, "the log has lost what was on its way");
    assert_eq!(w.events(back), events(2..=1_500));
}

#[test]
fn acknowledged_events_leave_beyond_the_bound_of_events() {
    let mut w = lingering_world(|route, _| route.replay_events = 10);
    let (c, u) = w.streaming();
    (2..=100).for_each(|n| w.say(u, &chunk(&event(n))));
    w.acknowledged();
    w.say(u, &chunk(&event(101)));
    w.rst(c);
    w.client_with(&get_after("80"));
    assert_eq!(w.ups.len(), 2, "upstream has to be asked");
    w.client_with(&get_after("92"));
    assert_eq!(w.ups.len(), 2, "the last ten are held");
}

#[test]
fn a_mark_moves_when_the_client_has_acknowledged() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.acknowledged();
    assert_eq!(marks(&mut w), ["1"]);
    goes_dark(&mut w, c);
    w.say(u, &chunk(&events(2..=9)));
    w.pass_ms(500);
    assert!(marks(&mut w).is_empty(), "nothing has arrived");
    // What has arrived of the chunk ends within event 5.
    let head = w.ends[c].arrived.unwrap() + "78\r\n".len();
    w.ends[c].arrived = Some(head + events(2..=5).len() + 3);
    // A reader that was silent is asked again within twice the time that it was silent for.
    w.pass_ms(500);
    let moved = marks(&mut w);
    assert!(moved == ["5"] || moved == ["4"], "{moved:?}");
    w.ends[c].arrived = None;
    w.pass_ms(500);
    assert_eq!(marks(&mut w), ["9"], "the last event of a stream that is idle since");
    w.pass_secs(2);
    assert!(marks(&mut w).is_empty());
}

#[test]
fn a_reader_that_stays_silent_is_asked_ever_more_seldom() {
    let mut w = world();
    let (c, u) = w.streaming();
    w.acknowledged();
    goes_dark(&mut w, c);
    w.say(u, &chunk(&event(2)));
    let mut asked_in = |ms| {
        let before = w.questions;
        w.pass_ms(ms);
        w.questions - before
    };
    let soon = asked_in(102);
    assert!((2..=3).contains(&soon), "{soon}: 4 turns, and each answer in vain lets more of them pass");
    asked_in(2_000);
    let in_time = asked_in(10_000);
    assert!((11..=13).contains(&in_time), "{in_time}: once in 32 turns of 25 ms");
}

#[test]
fn where_nothing_outlives_the_process_one_question_answers_for_many_events() {
    let questions = |store| {
        let mut w = world_of(Config { store, ..one_route(|_, _| {}) });
        let (_, u) = w.streaming();
        w.acknowledged();
        let before = w.questions;
        for n in 2..=101 {
            w.say(u, &chunk(&event(n)));
            w.pass_ms(100);
        }
        w.questions - before
    };
    assert_eq!(questions(StoreConfig::Own), 100);
    let few = questions(StoreConfig::Memory);
    assert!((20..=26).contains(&few), "{few} in 10 s: one in 16 turns of 25 ms");
}

#[test]
fn a_cut_does_not_wait_for_a_late_turn() {
    let mut w = world_of(Config { store: StoreConfig::Memory, ..one_route(|route, _| route.heal_for = Span::ZERO) });
    let (c, u) = w.streaming();
    w.acknowledged();
    goes_dark(&mut w, c);
    w.say(u, &chunk(&event(2)));
    w.rst(u);
    w.pass_ms(30);
    assert!(w.is_live(c), "the client has not got everything");
    w.ends[c].arrived = None;
    w.pass_ms(30);
    assert!(!w.is_live(c));
}

#[test]
fn the_readers_of_one_stream_are_asked_in_portions() {
    let mut w = world_with(|r, limits| {
        r.share = crate::config::Share::Principal;
        (limits.streams, limits.connections) = (100, 5_000);
    });
    let (_, u) = w.streaming();
    let more: Vec<usize> = (0..2_500).map(|_| w.client_with(GET_STREAM)).collect();
    w.acknowledged();
    assert_eq!(w.ups.len(), 1);
    w.checks = false;
    more.iter().for_each(|c| goes_dark(&mut w, *c));
    w.say(u, &chunk(&event(2)));
    let mut portions = Vec::new();
    while portions.iter().sum::<usize>() < 2_501 {
        let before = w.questions;
        w.pass_ms(1);
        portions.extend(Some(w.questions - before).filter(|n| *n > 0));
    }
    assert_eq!((&portions[..9], portions[9]), (&[256; 9][..], 197));
}

#[test]
fn a_reader_that_is_cut_says_its_last_words_however_long_a_window_is() {
    let mut config = one_route(|route, _| route.heal_for = Span::ZERO);
    config.persist.flush_window = Span::from_secs(60);
    let mut w = world_of(config);
    let (c, u) = w.streaming();
    w.pass_secs(60);
    goes_dark(&mut w, c);
    w.say(u, &chunk(&event(2)));
    w.rst(u);
    w.pass_ms(3_000);
    assert!(!w.is_live(c), "it waits for a turn of the window");
}

#[test]
fn a_client_that_leaves_is_asked_first_what_it_has_got() {
    let mut w = world();
    let (c, u) = w.streaming();
    // The framing of what comes later counts as if it were bytes of this.
    w.say(u, &chunk(&format!("{}: a comment\n", event(2))));
    goes_dark(&mut w, c);
    w.say(u, &chunk(&event(3)));
    w.fin(c);
    assert_eq!(marks(&mut w), ["2"]);
}

#[test]
fn a_reader_that_is_cut_is_asked_first_what_it_has_got() {
    let mut w = world_with(|route, _| route.heal_for = Span::ZERO);
    let (_, u) = w.streaming();
    w.say(u, &chunk(&event(2)));
    w.rst(u);
    assert_eq!(marks(&mut w), ["2"]);
}

#[test]
fn what_was_acknowledged_is_asked_in_portions() {
    let mut w = world_with(|_, limits| (limits.streams, limits.connections) = (1_500, 5_000));
    for _ in 0..1_100 {
        w.streaming();
    }
    let mut portions = Vec::new();
    while portions.iter().sum::<usize>() < 1_100 {
        w.pass_ms(1);
        portions.extend(Some(marks(&mut w).len()).filter(|n| *n > 0));
    }
    assert_eq!(portions, [256, 256, 256, 256, 76]);
}

const SESSION: &str =
    "GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nAuthorization: a\r\nMcp-Session-Id: s\r\n\r\n";

fn session_world() -> World {
    lingering_world(|route, _| {
        route.resume_from = ResumeFrom::Session;
        route.ids = Ids::Off;
    })
}

/// A client of a session that has the events up to `last` of its own stream, and was sent three more that got lost.
fn lost(w: &mut World, last: u32) {
    let c = w.client_with(SESSION);
    while let Some(question) = w.lookups.pop() {
        w.machine.handle(Input::LookedUp { exchange: question.exchange, found: Ok(Vec::new()) }, w.now);
        w.pump();
    }
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&events(1..=last))));
    w.acknowledged();
    goes_dark(w, c);
    w.say(u, &chunk(&events(last + 1..=last + 3)));
    w.rst(c);
}

#[test]
fn a_client_that_names_its_session_alone_goes_on_in_the_live_log() {
    let mut w = session_world();
    lost(&mut w, 20);
    let back = w.client_with(SESSION);
    assert_eq!((w.ups.len(), w.lookups.len()), (1, 0), "the log holds what it needs");
    assert_eq!(w.events(back), events(21..=23));
    assert_eq!((w.count(Count::SessionCursorsUsed), w.count(Count::SessionCursorsAmbiguous)), (1, 0));
}

#[test]
fn of_several_live_logs_of_a_session_the_one_read_last_is_taken_and_that_is_counted() {
    let mut w = session_world();
    let other = w.client_with(SESSION);
    w.machine.handle(Input::LookedUp { exchange: w.lookups[0].exchange, found: Ok(Vec::new()) }, w.now);
    w.lookups.clear();
    w.pump();
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&events(1..=5))));
    w.pass_secs(1);
    lost(&mut w, 40);
    w.rst(other);
    let back = w.client_with(SESSION);
    assert_eq!(w.events(back), events(41..=43));
    assert_eq!((w.count(Count::SessionCursorsUsed), w.count(Count::SessionCursorsAmbiguous)), (1, 1));
}

/// Streams for 100 s with an event a second and a `replay_age` of 10 s. Heartbeats look after the age of a log, too, so
/// there are none.
fn aged(ids: bool) -> World {
    let mut w = lingering_world(|route, _| (route.replay_age, route.heartbeat) = (Span::from_secs(10), Span::ZERO));
    w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, STREAM);
    for n in 1..=100 {
        let event = if ids { event(n) } else { format!("data: {n}\n\n") };
        w.say(u, &chunk(&event));
        w.pass_secs(1);
    }
    w
}

#[test]
fn events_that_are_too_old_leave_while_others_come() {
    let mut w = aged(true);
    let bytes = w.machine.log_bytes();
    assert!(bytes < 2_000, "{bytes} bytes of 10 events");
    w.rst(0);
    w.client_with(&get_after("50"));
    assert_eq!(w.ups.len(), 2, "a log has replayed events that are 50 s old");
}

#[test]
fn events_that_were_too_old_are_expired_and_not_evicted() {
    for quiet in [0, 60] {
        let mut w = aged(false);
        let first = w.events(0).lines().find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).unwrap();
        w.pass_secs(quiet);
        let token = first.rsplit_once('-').unwrap().0.to_owned();
        let back = w.client_with(&get_after(&format!("{token}-50")));
        let body = w.body(back).0;
        assert!(w.wire(back).contains("Segno-Gap: expired\r\n") && body.contains("\"expired\""), "{}", w.wire(back));
        assert!(!body.contains("data: 80\n"), "{body}");
        assert_eq!(body.contains("data: 99\n"), quiet == 0, "{body}");
    }
}

#[test]
fn bounds_that_no_file_can_set_do_not_stop_a_stream() {
    let mut w = world_with(|route, _| (route.replay_bytes, route.replay_events, route.max_event_bytes) = (0, 0, 0));
    let (c, u) = w.streaming();
    w.takes(c, 10);
    let more: String = (2..=200).map(|n| chunk(&event(n))).collect();
    w.say(u, &more);
    w.takes_all(c);
    assert_eq!(w.events(c), events(1..=200));
}
