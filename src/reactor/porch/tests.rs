//! Who a client is behind its header, and what happens at the bound.
//!
//! In: connections of this machine. Out: who is let through, and who makes room.

use super::*;
use crate::journal::Journal;
use std::io::Write;
use std::net::TcpStream as Client;
use std::sync::Arc;

const PEER: [u8; 4] = [127, 0, 0, 1];

fn porch(most: usize) -> Porch {
    let mut config = Config { proxy_protocol: ProxyProtocol::Accept, ..Config::default() };
    config.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    config.limits.handshakes = most;
    Porch::new(&config)
}

fn enter(porch: &mut Porch, poll: &mio::Poll, millis: u64) -> Client {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    porch.enter(TcpStream::from_std(stream), (PEER.into(), false), poll.registry(), Tick::from_millis(millis));
    client
}

fn lines() -> LogLines {
    LogLines::new(Journal::unheard(), Arc::default())
}

#[test]
fn only_a_proxy_that_says_so_is_taken_for_itself() {
    let (poll, mut porch, mut lines) = (mio::Poll::new().unwrap(), porch(8), lines());
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    let named = IpAddr::from([192, 0, 2, 1]);
    let unknown = Origin::from(IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let mut buffer = vec![0; 4_096];
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n"[..], Origin::from(named)),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Origin::from(named)),
        (b"PROXY UNKNOWN\r\n", unknown),
        (&unix, unknown),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", unknown),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", Origin::new(PEER.into(), Standing::Probe)),
    ] {
        let mut end = enter(&mut porch, &poll, 1);
        end.write_all(header).unwrap();
        let come = || {
            porch.on_ready(Token(FIRST));
            porch.step(&mut buffer, &mut lines, Tick::from_millis(1))
        };
        let announced = std::iter::repeat_with(come).flatten().next().unwrap();
        assert_eq!(announced.client, client, "{}", header.escape_ascii());
    }
    assert_eq!(porch.counts.get(Count::ProxyHeaders), 6);
}

#[test]
fn at_the_bound_who_has_been_here_for_longest_makes_room() {
    let (poll, mut porch) = (mio::Poll::new().unwrap(), porch(2));
    let clients: Vec<Client> = (1..=3).map(|n| enter(&mut porch, &poll, n)).collect();
    assert_eq!((porch.deadlines.len(), porch.counts.get(Count::OverHandshakes)), (2, 1));
    // The first one is closed, and the others are not.
    let mut byte = [0];
    assert_eq!((&clients[0]).read(&mut byte).unwrap(), 0);
    clients[1].set_nonblocking(true).unwrap();
    assert_eq!((&clients[1]).read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(porch.guests.len(), 2, "a place is used again");
}
