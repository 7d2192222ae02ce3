//! Streams of this instance that others follow, or take over.

use super::asking::last_id;
use super::shared::{ORDER, instance, instance_with, reading};
use super::*;
use crate::machine::Checkpoint;

fn watch(w: &mut World, by_others: bool) {
    let stream = began(w).last().copied().unwrap();
    w.machine.handle(Input::Watched { stream, by_others }, w.now);
    w.pump();
}

/// The streams that there are, by their keys.
fn began(w: &World) -> Vec<crate::machine::ExchangeKey> {
    w.machine.delivered_marks().map(|((key, _), _)| crate::machine::ExchangeKey::from_bits(key)).collect()
}

fn take_over(w: &mut World) {
    let stream = began(w)[0];
    w.machine.handle(Input::TakenOver { stream }, w.now);
    w.pump();
}

/// What the store was told since the last call, in short.
fn told(w: &mut World) -> Vec<String> {
    let mut told = Vec::new();
    w.acknowledged();
    w.machine.drain_checkpoints(|c| {
        told.push(match c {
            Checkpoint::Began { .. } => "began".to_owned(),
            Checkpoint::Events { part, .. } => format!("{}+{} {:?}", part.first, part.ends.len(), part.claim),
            Checkpoint::LogEnded { whole, .. } => format!("log ended {whole}"),
            Checkpoint::Ended { keep, .. } => format!("ended {keep}"),
            Checkpoint::Forgotten { .. } => "forgotten".to_owned(),
            Checkpoint::Delivered { .. } | Checkpoint::Seen { .. } => return,
        });
    });
    told
}

#[test]
fn a_new_stream_claims_its_log_once_and_tells_its_end_as_soon_as_it_has_come() {
    for whole in [true, false] {
        let mut w = instance(7);
        let (c, u) = reading(&mut w, ORDER, 2);
        assert_eq!(told(&mut w), ["began", "1+2 Some(0)"]);
        w.say(u, &chunk("data: 3\n\n"));
        assert_eq!(told(&mut w), ["3+1 None"]);
        w.takes(c, 0);
        w.say(u, &chunk("data: 4\n\n"));
        match whole {
            true => w.say(u, LAST),
            false => w.rst(u),
        }
        assert_eq!(told(&mut w), ["4+1 None".to_owned(), format!("log ended {whole}")], "before its client has it");
        w.takes_all(c);
        w.pass_secs(40);
        assert_eq!(told(&mut w), ["ended true"], "others may still read it");
    }
}

#[test]
fn a_stream_that_is_let_go_has_an_end_for_others() {
    let mut w = instance(7);
    let (c, _) = reading(&mut w, ORDER, 2);
    told(&mut w);
    w.rst(c);
    w.pass_secs(11);
    assert_eq!(told(&mut w), ["log ended false", "ended true"]);
    // Upstream can be asked for what follows its own ids.
    let (c, _) = w.streaming();
    told(&mut w);
    w.rst(c);
    w.pass_secs(31);
    assert!(told(&mut w).iter().all(|what| !what.starts_with("log ended")));
}

#[test]
fn a_deleted_session_leaves_nothing() {
    let named = "Mcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length";
    let mut w = instance(7);
    let (c, u) = reading(&mut w, &ORDER.replace("Content-Length", named), 2);
    told(&mut w);
    w.say(u, LAST);
    w.rst(c);
    let d = w.client_with(
        "DELETE /v1/chat HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: s\r\nMCP-Protocol-Version: 2025-11-25\r\n\r\n",
    );
    w.say(w.last_up(), OK);
    assert_eq!(w.status(d), 200);
    let told = told(&mut w);
    assert!(told.iter().any(|what| what == "ended false" || what == "forgotten"), "{told:?}");
}

#[test]
fn the_owner_reads_on_as_long_as_somebody_follows() {
    let mut w = instance(7);
    let (c, u) = reading(&mut w, ORDER, 2);
    told(&mut w);
    w.rst(c);
    w.pass_secs(5);
    watch(&mut w, true);
    w.pass_secs(300);
    w.say(u, &chunk("data: 3\n\n"));
    assert_eq!(told(&mut w), ["3+1 None"]);
    watch(&mut w, false);
    w.pass_secs(9);
    assert_eq!(w.state(u), State::Open, "whoever followed may come back");
    w.pass_secs(2);
    assert_eq!((w.state(u), w.count(Count::StreamsLetGo)), (State::Closed, 1));
    // Its own end ends it, too.
    let (c, u) = reading(&mut w, ORDER, 2);
    told(&mut w);
    watch(&mut w, true);
    w.rst(c);
    w.say(u, LAST);
    w.pass_secs(11);
    assert_eq!(told(&mut w), ["log ended true", "ended true"]);
}

/// With `cancel_on_disconnect` the last one who reads cancels, wherever that is.
#[test]
fn who_follows_is_a_reader() {
    let mut w = instance_with(7, |route, _| route.cancel_on_disconnect = true);
    let (c, u) = reading(&mut w, ORDER, 2);
    told(&mut w);
    watch(&mut w, true);
    w.rst(c);
    assert_eq!(w.state(u), State::Open);
    w.say(u, &chunk("data: 3\n\n"));
    assert_eq!(told(&mut w), ["3+1 None"]);
    watch(&mut w, false);
    w.pass_ms(2);
    assert_eq!(w.state(u), State::Closed);
}

#[test]
fn what_clients_here_do_not_take_holds_nobody_up_elsewhere() {
    for leaves in [true, false] {
        let mut w = instance_with(7, |route, _| route.linger_bytes = 10_000);
        let (c, u) = reading(&mut w, ORDER, 2);
        told(&mut w);
        match leaves {
            true => w.rst(c),
            false => w.takes(c, 0),
        }
        watch(&mut w, true);
        let mut next = 3;
        for n in 3..2_000 {
            w.say(u, &chunk(&format!("data: {n}\n\n")));
            if n % 100 == 0 {
                let came = told(&mut w);
                let came = came.iter().map(|part| part.split(' ').next().unwrap().split_once('+').unwrap());
                let came: Vec<(u32, u32)> = came.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).collect();
                for (first, events) in came {
                    assert_eq!(first, next, "{leaves}: a hole");
                    next = first + events;
                }
                assert_eq!(next, n + 1, "{leaves}");
            }
        }
        assert_eq!(w.unread(u), 0, "{leaves}");
    }
}

#[test]
fn a_client_that_is_followed_beside_and_takes_what_comes_loses_nothing() {
    let mut w = instance(7);
    let (c, u) = reading(&mut w, ORDER, 2);
    told(&mut w);
    watch(&mut w, true);
    let many: String = (3..2_000).map(|n| chunk(&format!("data: {n}\n\n"))).collect();
    w.say(u, &many);
    assert!(last_id(&w, c).ends_with("-1999"));
    assert_eq!(w.count(Count::ReadersFallenOff), 0);
}

#[test]
fn a_stream_that_was_taken_over_is_let_go_where_nobody_reads_it() {
    let mut w = instance(7);
    let (c, u) = w.streaming();
    told(&mut w);
    w.rst(c);
    take_over(&mut w);
    assert_eq!((w.state(u), w.machine.exchanges(), w.count(Count::TakenOver)), (State::Closed, 0, 1));
    assert_eq!(told(&mut w), ["ended true"]);
    w.pass(w.machine.session_idle());
    assert_eq!(told(&mut w), Vec::<String>::new(), "its record is another's now");
}

#[test]
fn a_stream_that_was_taken_over_goes_on_for_its_readers_and_is_not_stored() {
    let mut w = instance(7);
    let (c, u) = w.streaming();
    told(&mut w);
    take_over(&mut w);
    assert_eq!(told(&mut w), ["ended true"]);
    w.say(u, &chunk(&event(2)));
    assert_eq!((told(&mut w), w.state(u)), (Vec::new(), State::Open));
    assert_eq!(w.events(c), event(1) + &event(2));
    take_over(&mut w);
    w.rst(c);
    w.pass_secs(31);
    assert_eq!((told(&mut w), w.count(Count::TakenOver)), (Vec::new(), 1));
}

#[test]
fn a_drain_lets_an_answer_go_on_that_others_follow() {
    let mut w = instance(7);
    let (c, u) = reading(&mut w, ORDER, 2);
    told(&mut w);
    w.rst(c);
    watch(&mut w, true);
    w.drain();
    w.say(u, &format!("{}{LAST}", chunk("data: 3\n\n")));
    assert_eq!(told(&mut w)[..2], ["3+1 None", "log ended true"]);
}
