//! What a new connection is told that finds no place.
//!
//! In: its socket, and why. Out: one write, as much of it as the socket takes, and the close.

use super::socket::{Io, Socket};
use crate::machine::Refusal;
use std::fmt::Display;
use std::io::IoSlice;

/// The answer behind its first line.
const ANSWER: &[u8] = b"Retry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Its first line, by why.
const fn first_line(why: Refusal) -> &'static [u8] {
    match why {
        Refusal::Full => b"HTTP/1.1 503 Service Unavailable\r\n",
        Refusal::Address => b"HTTP/1.1 429 Too Many Requests\r\n",
    }
}

/// Refuses a connection.
pub(super) fn refuse(io: Io, why: Refusal, date: Option<impl Display>) {
    let mut socket = Socket::accepted(io, 0);
    let date = date.map(|date| format!("Date: {date}\r\n")).unwrap_or_default();
    let parts = [first_line(why), date.as_bytes(), ANSWER].map(IoSlice::new);
    let _ = socket.write(&parts);
    #[cfg(feature = "tls")]
    socket.close(false);
}
