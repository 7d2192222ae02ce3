//! What connections hold beside the logs is bounded, and whoever sends or takes goes on.

use super::asking::*;
use super::*;

const BUDGET: usize = 256 << 10;
const CROWD: usize = 60;

/// What each connection may hold beside the budget.
const PART: usize = 16 << 10;

fn tight(adjust: impl FnOnce(&mut Route)) -> World {
    lingering_world(|route, limits| {
        limits.buffer_budget = BUDGET;
        adjust(route);
    })
}

fn assert_bounded(w: &World) {
    let (held, bound) = (w.machine.buffer_bytes(), BUDGET + w.machine.connections() * PART);
    assert!(held <= bound, "{held} bytes are held, {bound} may be");
}

#[test]
fn of_many_heads_that_come_slowly_the_oldest_are_told_to_come_back() {
    let mut w = tight(|_| {});
    let part = format!("GET /plain HTTP/1.1\r\nHost: h\r\nA: {}", "x".repeat(30_000));
    let clients: Vec<usize> = (0..CROWD).map(|_| w.client_with(&part)).collect();
    assert!(w.machine.buffer_bytes() <= BUDGET, "{} bytes are held", w.machine.buffer_bytes());
    let refused = clients.iter().take_while(|c| w.status(**c) == 503).count();
    assert_eq!(w.count(Count::RequestsCrowdedOut), refused as u64);
    assert!((CROWD / 2..CROWD).contains(&refused), "{refused} were refused");
    assert!(w.wire(clients[0]).contains("Retry-After: 5\r\n"));
    // Who comes whole is served beside them, and so is who was not refused.
    let c = w.client_with(GET);
    w.say(w.last_up(), OK);
    w.say(clients[CROWD - 1], "\r\n\r\n");
    w.say(w.last_up(), OK);
    assert_eq!((w.wire(c).as_str(), w.wire(clients[CROWD - 1]).as_str()), (OK, OK));
}

#[test]
fn of_many_posts_that_are_held_back_the_oldest_are_told_to_come_back() {
    let mut w = tight(|_| {});
    let (c, _) = without_ids(&mut w);
    let id = last_id(&w, c);
    let head = format!("POST /events HTTP/1.1\r\nHost: h\r\nLast-Event-ID: {id}\r\nContent-Length: 90000\r\n\r\n");
    let posts: Vec<usize> = (0..20).map(|_| w.client_with(&format!("{head}{}", "x".repeat(60_000)))).collect();
    assert!(w.machine.buffer_bytes() <= BUDGET, "{} bytes are held", w.machine.buffer_bytes());
    assert_eq!((w.status(posts[0]), w.status(posts[19]), w.ups.len()), (503, 0, 1));
    w.say(posts[19], &"x".repeat(30_000));
    assert!(w.wire(w.last_up()).ends_with("xxx"), "it goes on when it is whole");
}

#[test]
fn answers_that_nobody_takes_are_read_in_small_parts_and_arrive_whole() {
    let mut w = tight(|_| {});
    let body = "x".repeat(200_000);
    let clients: Vec<usize> = (0..CROWD)
        .map(|_| {
            let c = w.client_with(GET);
            w.takes(c, 0);
            w.say(w.last_up(), &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            assert_bounded(&w);
            c
        })
        .collect();
    // While all others take nothing, one takes all.
    w.takes_all(clients[CROWD - 1]);
    assert_eq!(w.body(clients[CROWD - 1]).0.len(), body.len());
    clients.iter().for_each(|c| w.takes_all(*c));
    assert!(clients.iter().all(|c| w.body(*c).0.len() == body.len()));
}

#[test]
fn bodies_that_upstream_does_not_take_are_read_in_small_parts_and_arrive_whole() {
    let mut w = tight(|_| {});
    let body = "x".repeat(200_000);
    let ups: Vec<usize> = (0..CROWD)
        .map(|_| {
            let c = w.client_with("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
            let u = w.last_up();
            w.takes(u, 0);
            w.say(c, &body);
            assert_bounded(&w);
            u
        })
        .collect();
    w.takes_all(ups[CROWD - 1]);
    assert!(w.wire(ups[CROWD - 1]).ends_with(&body));
    ups.iter().for_each(|u| w.takes_all(*u));
    assert!(ups.iter().all(|u| w.wire(*u).ends_with(&body)));
}
