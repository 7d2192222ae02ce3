//! Upstreams of several addresses, some of which are away, over real sockets.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is a failed test")]

use super::*;
use crate::config::{Route, Upstream};
use crate::journal::Journal;
use mio::Events;
use std::net::{TcpListener, TcpStream as StdStream};
use std::time::Duration;

const TIMEOUT: Span = Span::from_secs(4);
const CONN: u64 = 1 << 32 | 5;

/// An address that takes no connection and refuses none: its queue of connections is full.
struct BlackHole {
    address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<StdStream>,
}

impl BlackHole {
    fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = StdStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(stream);
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

struct Bench {
    connecting: Connecting,
    sockets: Sockets,
    lines: LogLines,
    now: Tick,
}

impl Bench {
    fn with(addresses: &[SocketAddr]) -> Self {
        let mut route = Route::new(Upstream::parse("http://127.0.0.1:1").unwrap());
        route.connect_timeout = TIMEOUT;
        let config = Arc::new(Config { routes: vec![route].into(), ..Config::default() });
        let (sockets, waker) = Sockets::new().unwrap();
        let mut connecting = Connecting::new(
            &config,
            waker,
            #[cfg(feature = "tls")]
            tls::Keyring::default(),
        )
        .unwrap();
        connecting.resolver.know(0, addresses);
        let lines = LogLines::new(Journal::unheard(), std::sync::Arc::default());
        Self { connecting, sockets, lines, now: Tick::from_millis(1_000) }
    }

    /// Connects, and lets the time pass from deadline to deadline where no socket has news. How long it took, and the
    /// address that was reached.
    fn connect(&mut self) -> (Span, Result<SocketAddr, ConnectError>) {
        let (conn, began) = (ConnKey::from_bits(CONN), self.now);
        self.connecting.connect(conn, 0, &mut self.sockets, self.now);
        let mut events = Events::with_capacity(8);
        loop {
            if let Some((_, why)) = self.connecting.next_failed() {
                return (self.now.since(began), Err(why));
            }
            self.sockets.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
            for _ in &events {
                let Some(address) = self.sockets.get(conn).and_then(|s| Some(s.dialing.as_ref()?.address)) else {
                    continue;
                };
                if self.connecting.go_on(conn, &mut self.sockets, &mut self.lines, self.now) {
                    assert_eq!(self.connecting.next_deadline(), None, "a deadline is left behind");
                    drop(self.sockets.take(conn));
                    return (self.now.since(began), Ok(address));
                }
            }
            if events.is_empty() {
                self.now = self.connecting.next_deadline().expect("an attempt has a deadline");
                self.connecting.on_time(&mut self.sockets, self.now);
            }
        }
    }
}

#[test]
fn an_address_that_swallows_everything_leaves_time_for_the_next_one() {
    let (hole, listener) = (BlackHole::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let good = listener.local_addr().unwrap();
    let mut bench = Bench::with(&[hole.address, good]);
    assert_eq!(bench.connect(), (Span::from_secs(2), Ok(good)), "each has its share");
    assert_eq!(bench.connect(), (Span::ZERO, Ok(good)), "the address that worked comes first");
}

#[test]
fn all_addresses_that_swallow_everything_end_within_the_time_for_a_connection() {
    let holes = [BlackHole::new(), BlackHole::new()];
    let mut bench = Bench::with(&holes.each_ref().map(|hole| hole.address));
    assert_eq!(bench.connect(), (TIMEOUT, Err(ConnectError::TimedOut)));
    assert_eq!(bench.connecting.next_deadline(), None);
}

#[test]
fn an_address_that_worked_and_is_gone_comes_last() {
    let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
    let mut bench = Bench::with(&addresses);
    assert_eq!(bench.connect().1, Ok(addresses[0]));
    drop(first);
    assert_eq!(bench.connect().1, Ok(addresses[1]));
    drop(second);
    let again = TcpListener::bind(addresses[0]).unwrap();
    assert_eq!(bench.connect().1, Ok(addresses[0]), "an address that failed is tried again");
    drop(again);
    assert_eq!(bench.connect().1, Err(ConnectError::Refused));
}

#[test]
fn what_is_closed_while_it_is_opened_leaves_no_deadline() {
    let hole = BlackHole::new();
    let mut bench = Bench::with(&[hole.address]);
    let conn = ConnKey::from_bits(CONN);
    bench.connecting.connect(conn, 0, &mut bench.sockets, bench.now);
    assert_eq!(bench.connecting.next_deadline(), Some(bench.now + TIMEOUT));
    let socket = bench.sockets.take(conn);
    bench.connecting.forget(conn, socket.as_ref().and_then(|s| s.dialing.as_deref()));
    assert_eq!(bench.connecting.next_deadline(), None);
}
