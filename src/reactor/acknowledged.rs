//! How much of what a client's socket took has arrived: what the other side's system has acknowledged.
//!
//! In: how many bytes the socket has taken, and the time. Out: how many of them may still be on their way.
//! Law: where the system does not say, a byte counts as arrived [`SETTLES`] after the socket took it, if the connection
//! still lives then, or once the socket has taken so many more that its send buffer cannot hold it any more.
//! Source: Linux, `struct tcp_info` in `include/uapi/linux/tcp.h`.

use crate::base::{Span, Tick};
use mio::net::TcpStream;

/// A living connection has acknowledged what it was sent this long ago.
const SETTLES: Span = Span::from_secs(60);

/// What is known of one socket.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// Bytes that the socket has taken.
    taken: u64,
    /// When this was looked at, and how many bytes the socket had taken then.
    looked: Tick,
    then: u64,
    /// Bytes that were taken so long ago that they have arrived.
    settled: u64,
}

impl Acknowledged {
    /// The socket has taken `n` bytes.
    #[inline]
    pub(super) fn take(&mut self, n: usize) {
        self.taken += n as u64;
    }

    /// The socket has taken so many bytes in all.
    #[cfg(feature = "tls")]
    pub(super) fn took(&mut self, all: u64) {
        self.taken = all;
    }

    /// How many of the last bytes that the socket took are not known to have arrived.
    pub(super) fn unacknowledged(&mut self, stream: &TcpStream, now: Tick) -> u64 {
        let arrived = self.arrived(stream, now);
        self.taken.saturating_sub(arrived)
    }

    /// How many of the bytes that the socket took have arrived.
    pub(super) fn arrived(&mut self, stream: &TcpStream, now: Tick) -> u64 {
        match told(stream) {
            Some(bytes) => bytes,
            None => self.by_time(send_buffer(stream), now),
        }
    }

    /// What must have arrived by now, if the send buffer has `buffer` bytes.
    fn by_time(&mut self, buffer: u64, now: Tick) -> u64 {
        if now.since(self.looked) >= SETTLES {
            (self.settled, self.then, self.looked) = (self.then, self.taken, now);
        }
        self.settled.max(self.taken.saturating_sub(buffer))
    }
}

fn send_buffer(stream: &TcpStream) -> u64 {
    socket2::SockRef::from(stream).send_buffer_size().map_or(u64::MAX, |bytes| bytes as u64)
}

/// What the system says has been acknowledged. `None`: it does not say. Some systems leave the fields empty: then the
/// count of received bytes is empty, too, though a request has come.
#[cfg(target_os = "linux")]
fn told(stream: &TcpStream) -> Option<u64> {
    use std::os::fd::AsRawFd;
    /// Where `tcpi_bytes_acked` and `tcpi_bytes_received` lie in `struct tcp_info`, both since Linux 4.1.
    const ACKED: std::ops::Range<usize> = 120..128;
    const RECEIVED: std::ops::Range<usize> = 128..136;
    let mut info = [0; RECEIVED.end];
    let len = uapi::getsockopt(stream.as_raw_fd(), uapi::c::IPPROTO_TCP, uapi::c::TCP_INFO, &mut info[..]).ok()?;
    let field = |at| Some(u64::from_ne_bytes(info.get::<std::ops::Range<usize>>(at)?.try_into().ok()?));
    let (acked, received) = (field(ACKED)?, field(RECEIVED)?);
    (len >= RECEIVED.end && (acked > 0 || received > 0)).then_some(acked)
}

#[cfg(not(target_os = "linux"))]
fn told(_: &TcpStream) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_the_other_side_has_not_read_is_on_its_way() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        let (mut stream, mut known, now) = (TcpStream::from_std(stream), Acknowledged::default(), Tick::ZERO);
        let mut sent = 0;
        while let Ok(n) = stream.write(&[7; 1 << 16]) {
            known.take(n);
            sent += n;
        }
        let unacknowledged = known.unacknowledged(&stream, now);
        assert!((1..sent as u64).contains(&unacknowledged), "{unacknowledged} of {sent}");
        client.read_exact(&mut vec![0; sent]).unwrap();
        if cfg!(target_os = "linux") {
            // The last acknowledgement may be delayed, but not for ever.
            while known.unacknowledged(&stream, now) > 0 {
                std::thread::yield_now();
            }
        }
    }

    /// A client that vanished behind its request acknowledges nothing, and time does not change that.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_system_that_has_received_something_says_also_that_nothing_was_acknowledged() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().unwrap().0;
        client.write_all(b"GET").unwrap();
        stream.peek(&mut [0; 3]).unwrap();
        assert_eq!(told(&TcpStream::from_std(stream)), Some(0));
    }

    #[test]
    fn without_a_word_bytes_arrive_in_time_or_by_what_follows_them() {
        let mut known = Acknowledged::default();
        let at = |secs| Tick::ZERO + Span::from_secs(secs);
        known.take(100);
        assert_eq!((known.by_time(60, at(1)), known.by_time(1_000, at(1))), (40, 0));
        assert_eq!(known.by_time(1_000, at(70)), 0);
        known.take(5);
        assert_eq!(known.by_time(1_000, at(129)), 0);
        assert_eq!(known.by_time(1_000, at(130)), 100);
        assert_eq!((known.by_time(1_000, at(189)), known.by_time(1_000, at(190))), (100, 105));
    }
}
