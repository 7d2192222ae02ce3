//! Viewers of the live stream over sockets that are full.
//!
//! In: a pair of sockets with small buffers, a stream of events. Out: steps of the connection.
//! Law: a viewer that takes nothing is given up in time, and one that takes a little is not.

use super::*;
use crate::admin::facts::Facts;
use crate::clock::Clock;
use crate::metrics::Metrics;
use socket2::{Domain, SockRef, Socket, Type};
use std::net::SocketAddr;

struct World {
    /// Numbers of an engine that does nothing.
    source: Source,
    live: Live,
}

impl World {
    /// With five minutes of snapshots, which is more than the sockets hold.
    fn new() -> Self {
        let source = Source::of(&crate::engine::Engine::builder().start().unwrap());
        let (metrics, mut live) = (Metrics::default(), Live::new(Clock::stopped(Tick::ZERO), Facts::default()));
        for second in 0..300 {
            live.on_time(&metrics, Tick::from_millis(1_000 * second));
        }
        Self { source, live }
    }

    fn go_on(&self, conn: &mut Conn, now: Tick) -> Step {
        conn.go_on(Lent { source: &self.source, live: &self.live, now })
    }
}

/// A connection that has asked for the stream, and the client's end of it.
fn pair() -> (Conn, std::net::TcpStream) {
    asking_for("GET /events")
}

/// A connection that has asked for something, and the client's end of it.
fn asking_for(asks: &str) -> (Conn, std::net::TcpStream) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.set_recv_buffer_size(4_096).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(1).unwrap();
    let listener = std::net::TcpListener::from(listener);
    let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut client, _) = listener.accept().unwrap();
    SockRef::from(&ours).set_send_buffer_size(4_096).unwrap();
    ours.set_nonblocking(true).unwrap();
    client.write_all(format!("{asks} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    (Conn::new(TcpStream::from_std(ours), IpAddr::from([127, 0, 0, 1]), Tick::ZERO), client)
}

/// Goes on until the connection waits for its socket.
fn enter(world: &World, conn: &mut Conn) {
    while !conn.is_watching() {
        if matches!(world.go_on(conn, Tick::ZERO), Step::Watch) {
            conn.on_place(true, &world.live, Tick::ZERO);
        }
    }
    assert!(matches!(world.go_on(conn, Tick::ZERO), Step::Wait));
}

#[test]
fn a_viewer_that_takes_nothing_is_given_up_and_one_that_is_slow_is_not() {
    let world = World::new();
    let (mut conn, _client) = pair();
    enter(&world, &mut conn);
    let end = Tick::ZERO + SLOW;
    assert_eq!(conn.due(), end);
    assert!(matches!(world.go_on(&mut conn, end), Step::Failed(_)));

    let (mut conn, mut client) = pair();
    enter(&world, &mut conn);
    let (mut now, mut taken, mut buffer) = (Tick::ZERO, 0, [0; 64 << 10]);
    // Most of the time, but not all of it, passes before it takes what has come.
    while conn.due() != Tick::NEVER {
        now = now + Span::from_secs(9);
        taken += client.read(&mut buffer).unwrap();
        assert!(matches!(world.go_on(&mut conn, now), Step::Wait), "given up after {taken} bytes");
    }
    assert!(taken > 100_000 && now > Tick::ZERO + LONGEST, "{taken}");
    drop(client);
    while !matches!(world.go_on(&mut conn, now), Step::Done | Step::Failed(_)) {}
}

#[test]
fn a_reload_that_takes_too_long_is_answered_that_nobody_knows() {
    let (world, (mut conn, mut client)) = (World::new(), asking_for("POST /reload"));
    while !matches!(world.go_on(&mut conn, Tick::ZERO), Step::Reload) {}
    assert!(matches!(world.go_on(&mut conn, Tick::ZERO), Step::Wait));
    let late = Tick::ZERO + RELOAD;
    while !matches!(world.go_on(&mut conn, late), Step::Wait) {}
    let mut told = String::new();
    client.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    while !told.contains("ask again") {
        let mut room = [0; 1_024];
        let n = client.read(&mut room).unwrap();
        assert_ne!(n, 0, "{told}");
        told.push_str(std::str::from_utf8(&room[..n]).unwrap());
    }
    assert!(told.starts_with("HTTP/1.1 504 ") && told.contains("\"outcome\":\"unknown\""), "{told}");
}
