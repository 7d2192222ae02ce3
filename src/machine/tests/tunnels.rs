//! Connections that go over to another protocol: what is offered, what passes, how it ends.

use super::*;
use crate::base::Random;

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nContent-Length: 7\r\n\r\n";

fn tunnel(w: &mut World) -> (usize, usize) {
    let c = w.client_with(ASK);
    let u = w.last_up();
    w.say(u, SWITCH);
    (c, u)
}

/// What an end got behind its first head.
fn got(w: &World, end: usize) -> Vec<u8> {
    let wire = &w.ends[end].wire;
    let head = memchr::memmem::find(wire, b"\r\n\r\n").unwrap();
    wire[head + 4..].to_vec()
}

#[test]
fn an_upgrade_goes_up_with_its_head_and_comes_down_with_its_own() {
    let mut w = world();
    let (c, u) = tunnel(&mut w);
    for line in ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="] {
        assert_eq!(w.wire(u).matches(&format!("\r\n{line}\r\n")).count(), 1, "{}", w.wire(u));
    }
    let head = w.wire(c);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for line in ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{head}");
    }
    assert!(!head.contains("Content-Length"), "{head}");
    assert_eq!((w.machine.tunnels(), w.count(Count::TunnelsOpened)), (1, 1));
}

#[test]
fn what_was_sent_before_the_switch_goes_first_and_all_is_counted() {
    let mut w = world();
    let c = w.client_with(ASK);
    let u = w.up(0);
    w.say(c, "early ");
    assert_eq!(got(&w, u), b"");
    w.say(u, &format!("{SWITCH}hello"));
    w.say(c, "GET / HTTP/1.1\r\n\r\n");
    w.say(u, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(got(&w, u), b"early GET / HTTP/1.1\r\n\r\n");
    assert_eq!(got(&w, c), b"helloHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!((w.count(Count::TunnelBytes), w.count(Count::Requests)), (6 + 18 + 5 + 19, 1));
}

#[test]
fn what_is_sent_before_the_switch_is_bounded() {
    let mut w = world();
    let c = w.client_with(ASK);
    w.say_bytes(c, &[b'x'; 100_000]);
    assert!(w.unread(c) >= 95_000, "{}", w.unread(c));
    w.say(w.up(0), SWITCH);
    assert_eq!((w.unread(c), got(&w, w.up(0)).len()), (0, 100_000));
}

#[test]
fn a_side_that_takes_nothing_holds_the_other_up() {
    let mut w = world();
    let (c, u) = tunnel(&mut w);
    for (from, to) in [(u, c), (c, u)] {
        w.takes(to, 0);
        for _ in 0..10 {
            w.say_bytes(from, &[b'x'; 100_000]);
        }
        assert!(w.unread(from) > 800_000, "{}", w.unread(from));
        w.takes_all(to);
        assert_eq!((w.unread(from), got(&w, to).len()), (0, 1_000_000));
    }
}

#[test]
fn a_client_that_takes_nothing_for_long_is_cut_and_an_idle_one_is_not() {
    let mut w = world();
    let (c, u) = tunnel(&mut w);
    w.pass_secs(100_000);
    assert_eq!((w.state(c), w.state(u)), (State::Open, State::Open));
    assert_eq!(w.machine.poll_timeout(), None);
    w.takes(c, 0);
    w.say(u, "x");
    w.pass_secs(100);
    assert_eq!((w.state(c), w.machine.tunnels()), (State::Reset, 0));
}

#[test]
fn an_end_passes_behind_the_last_bytes_and_leaves_the_other_way_open() {
    for client_first in [true, false] {
        let mut w = world();
        let (c, u) = tunnel(&mut w);
        let (first, second) = if client_first { (c, u) } else { (u, c) };
        w.takes(second, 0);
        w.say(first, "last words");
        w.fin(first);
        assert_eq!(w.state(second), State::Open);
        w.takes_all(second);
        assert_eq!((w.state(second), got(&w, second)), (State::Shut, b"last words".to_vec()));
        w.say(second, "heard");
        assert_eq!(got(&w, first), b"heard");
        w.fin(second);
        assert_eq!((w.state(first), w.state(second)), (State::Closed, State::Closed));
        assert_eq!((w.machine.tunnels(), w.machine.connections()), (0, 0));
    }
}

#[test]
fn a_break_is_a_break_on_the_other_side() {
    for client_first in [true, false] {
        let mut w = world();
        let (c, u) = tunnel(&mut w);
        let (first, second) = if client_first { (c, u) } else { (u, c) };
        w.rst(first);
        assert_eq!((w.state(second), w.machine.connections()), (State::Reset, 0));
    }
}

#[test]
fn a_refusal_is_an_ordinary_answer_and_what_follows_the_offer_is_nobodys_request() {
    let mut w = world();
    let c = w.client_with(&format!("{ASK}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"));
    w.say(w.up(0), "HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
    assert!(w.wire(c).contains("\r\nConnection: close\r\n"), "{}", w.wire(c));
    w.say(c, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((w.status(c), w.state(c), w.ups.len()), (401, State::Shut, 1));
    assert!(!w.wire(w.up(0)).contains("smuggled"));
    assert_eq!(w.machine.tunnels(), 0);
}

#[test]
fn a_switch_that_was_not_asked_for_is_no_answer() {
    let other = ASK.replace("Upgrade: websocket", "Upgrade: other");
    let bare = ASK.replace("Connection: keep-alive, Upgrade\r\n", "");
    for request in [GET, POST, other.as_str(), bare.as_str()] {
        let mut w = world();
        let c = w.client_with(request);
        w.say(w.up(0), SWITCH);
        assert_eq!((w.status(c), w.machine.tunnels(), w.count(Count::UpstreamHeadsBad)), (502, 0, 1), "{request}");
    }
}

#[test]
fn what_a_proxy_would_lose_sight_of_is_not_offered() {
    for lines in ["Upgrade: h2c", "Upgrade: websocket\r\nContent-Length: 0\r\nAccept: text/event-stream"] {
        let mut w = world();
        w.client_with(&format!(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n{lines}\r\nHTTP2-Settings: AA\r\n\r\n"
        ));
        assert!(!w.wire(w.up(0)).to_ascii_lowercase().contains("upgrade"), "{}", w.wire(w.up(0)));
        assert!(!w.wire(w.up(0)).contains("HTTP2-Settings"));
    }
    let mut w = world_with(|_, limits| limits.tunnels = 0);
    w.client_with(ASK);
    assert!(!w.wire(w.up(0)).contains("Upgrade"));
}

#[test]
fn tunnels_have_a_bound() {
    let mut w = world_with(|_, limits| limits.tunnels = 2);
    let (first, _) = tunnel(&mut w);
    // Both are on their way when there is one place.
    let (a, b) = (w.client_with(ASK), w.client_with(ASK));
    let (up_a, up_b) = (w.up(1), w.up(2));
    w.say(up_a, SWITCH);
    w.say(up_b, SWITCH);
    assert_eq!((w.status(a), w.status(b), w.state(up_b)), (101, 503, State::Closed));
    let late = w.client_with(ASK);
    assert_eq!((w.status(late), w.ups.len(), w.count(Count::TunnelsRefused)), (503, 3, 2));
    w.rst(first);
    assert_eq!(tunnel(&mut w).0, w.ends.len() - 2);
    assert_eq!(w.machine.tunnels(), 2);
}

#[test]
fn a_drain_lets_tunnels_end() {
    let mut w = world();
    let (c, u) = tunnel(&mut w);
    w.drain();
    w.say(c, "still here");
    assert_eq!((got(&w, u), w.state(c)), (b"still here".to_vec(), State::Open));
    assert_eq!(w.machine.must_reset_on_stop().count(), 1);
    w.fin(u);
    w.fin(c);
    assert_eq!(w.machine.connections(), 0);
}

/// Whatever the pieces, and however little the sides take, each gets what the other has sent.
#[test]
fn bytes_arrive_unchanged_however_they_are_cut() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut w = world_with(|_, limits| limits.buffer_budget = if seed % 2 == 0 { 64 << 10 } else { 64 << 20 });
        let c = w.client_with(ASK);
        let u = w.up(0);
        let switch = format!("{SWITCH}late");
        let (head, rest) = switch.split_at(random.below(switch.len() as u64) as usize);
        w.say(u, head);
        w.say(c, "early");
        w.say(u, rest);
        let mut sent = [b"early".to_vec(), b"late".to_vec()];
        for _ in 0..random.below(40) {
            let (from, to, n) = if random.below(2) == 0 { (c, u, 0) } else { (u, c, 1) };
            w.takes(to, random.below(40_000) as usize);
            let bytes: Vec<u8> = (0..random.below(30_000)).map(|_| random.next() as u8).collect();
            w.say_bytes(from, &bytes);
            sent[n].extend_from_slice(&bytes);
        }
        w.fin(c);
        w.takes_all(u);
        w.takes_all(c);
        assert!(got(&w, u) == sent[0] && got(&w, c) == sent[1], "seed {seed}");
        assert_eq!(w.state(u), State::Shut, "seed {seed}");
    }
}
