//! Clients at addresses of their own, of the network 127.0.0.0/8.
//!
//! In: addresses, requests. Out: connections, statuses of answers.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this one")]

use crate::support::PATIENCE;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Connects from an address of 127.0.0.0/8.
pub fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The status of an answer; 0: the connection ended without one.
pub fn status(mut stream: &TcpStream) -> u16 {
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => std::str::from_utf8(&head[9..]).unwrap().parse().unwrap(),
        Err(_) => 0,
    }
}

/// Sends a request from an address. Returns the status of its answer.
pub fn ask(from: [u8; 4], to: SocketAddr, request: &str) -> u16 {
    let mut stream = connect(from, to);
    // Of a head that is too long, segno may refuse to read the rest.
    let _ = stream.write_all(request.as_bytes());
    status(&stream)
}
