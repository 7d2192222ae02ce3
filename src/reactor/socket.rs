//! The socket of one connection: plain or TLS.
//!
//! In: slices to write, room to read into. Out: bytes, and what happened, as plain I/O results.
//! Law: nothing here waits; a socket that is not ready says so.

use super::acknowledged::Acknowledged;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::base::Tick;
use crate::machine::ConnectError;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Type};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// Connections that may wait to be accepted; the system may have a lower bound. A crowd that was cut comes back at
/// once, and a client that finds no room tries again only after a second.
const BACKLOG: i32 = 4_096;

/// Opens a socket that listens.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // After a restart, connections of the process before may still be closing.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// What the bytes go through.
#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
}

/// A connection's socket, and what the poll last reported of it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) io: Io,
    /// The key of the connection it belongs to, as bits.
    pub(super) key: u64,
    /// The connection is open, its TLS handshake included: it may be read and written.
    pub(super) established: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The other side sends no more. Reads go on until they report the end.
    pub(super) read_closed: bool,
    /// A write has failed. What has arrived is still read; the end behind it is a break, whatever the read reports (the
    /// write has taken the error, so a read would report an ordinary end).
    pub(super) broken: bool,
    /// Upstream's, not a client's.
    pub(super) is_upstream: bool,
    /// Waits in the list of connections to read again.
    pub(super) queued: bool,
    /// Of a client's socket: what has arrived of what it took.
    pub(super) acknowledged: Acknowledged,
    /// While connecting.
    pub(super) dialing: Option<Box<Dialing>>,
}

/// A connection that is being opened.
#[derive(Debug)]
pub(super) struct Dialing {
    pub(super) route: usize,
    /// The address that is being tried.
    pub(super) address: SocketAddr,
    /// When the next address is tried, or the attempt has failed.
    pub(super) until: Tick,
    /// Further addresses to try, and when the time for all of them is over.
    pub(super) rest: VecDeque<SocketAddr>,
    pub(super) give_up_at: Tick,
}

impl Socket {
    /// A client's socket, whose handshake is done if it has one. TLS may have read ahead.
    pub(super) fn accepted(io: Io, key: u64) -> Self {
        let readable = !matches!(io, Io::Plain(_));
        Self { established: true, is_upstream: false, readable, ..Self::new(io, key) }
    }

    /// A socket that is being connected to upstream.
    pub(super) fn new(io: Io, key: u64) -> Self {
        Self {
            io,
            key,
            established: false,
            readable: false,
            writable: false,
            read_closed: false,
            broken: false,
            is_upstream: true,
            queued: false,
            acknowledged: Acknowledged::default(),
            dialing: None,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(s) => s,
            #[cfg(feature = "tls")]
            Io::Tls(t) => t.stream(),
        }
    }

    pub(super) fn stream_mut(&mut self) -> &mut TcpStream {
        match &mut self.io {
            Io::Plain(s) => s,
            #[cfg(feature = "tls")]
            Io::Tls(t) => t.stream_mut(),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.io, Io::Plain(_))
    }

    /// Reads once; interrupted calls are repeated.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match &mut self.io {
                Io::Plain(s) => s.read(room),
                #[cfg(feature = "tls")]
                Io::Tls(t) => t.read(room),
            };
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Whether the connection is open and nothing waits to be read. What waits may be lost by the question.
    pub(super) fn is_quiet(&mut self) -> bool {
        let empty = matches!(self.read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        self.readable &= !empty;
        empty && !self.broken
    }

    /// Writes the slices in one call; interrupted calls are repeated.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let result = match &mut self.io {
                Io::Plain(s) if slices.len() == 1 => s.write(&slices[0]),
                Io::Plain(s) => s.write_vectored(slices),
                #[cfg(feature = "tls")]
                Io::Tls(t) => t.write(slices),
            };
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => {
                    if self.is_plain() {
                        self.acknowledged.take(*other.as_ref().unwrap_or(&0));
                    }
                    return other;
                }
            }
        }
    }

    /// How many of the last bytes that a client's socket took are not known to have arrived.
    pub(super) fn unacknowledged(&mut self, now: Tick) -> u64 {
        match &mut self.io {
            Io::Plain(stream) => self.acknowledged.unacknowledged(stream, now),
            #[cfg(feature = "tls")]
            Io::Tls(t) => {
                self.acknowledged.took(t.wire_bytes());
                let arrived = self.acknowledged.arrived(t.stream(), now);
                t.unacknowledged(arrived)
            }
        }
    }

    /// Writes no more, and reads what has still arrived.
    pub(super) fn read_to_the_break(&mut self) {
        self.broken = true;
        self.writable = false;
        self.readable = true;
    }

    /// Tells the other side that nothing more comes, and goes on reading.
    pub(super) fn shut_write(&mut self) {
        // A connection that is broken already says so when it is read.
        match &mut self.io {
            Io::Plain(s) => drop(s.shutdown(Shutdown::Write)),
            // What TLS still holds goes out before that, so the socket stays open.
            #[cfg(feature = "tls")]
            Io::Tls(t) => t.say_end(),
        }
    }

    /// Closes in the ordinary way, with a last word where the protocol has one.
    #[cfg(not(feature = "tls"))]
    pub(super) fn close(self) {}

    /// Closes in the ordinary way. TLS has a last word, unless what was sent is to be taken for incomplete. What the
    /// socket has no room for comes back: of an upstream, that is of no use.
    #[cfg(feature = "tls")]
    pub(super) fn close(self, is_cut: bool) -> Option<Box<Tls>> {
        let Io::Tls(mut t) = self.io else { return None };
        if !is_cut {
            t.say_end();
        }
        (t.is_holding() && !self.is_upstream && !self.broken).then_some(t)
    }

    /// Makes the close that follows a reset: unsent bytes are dropped, and the other side sees an error.
    pub(super) fn reset_on_close(&self) {
        // The option can only fail where the connection is gone already; then an ordinary close does.
        let _ = SockRef::from(self.stream()).set_linger(Some(Duration::ZERO));
    }

    /// Bounds what is on its way to the other side to about `bytes`, which the stream's log can hold for replay.
    pub(super) fn cap_send_buffer(&self, bytes: usize) {
        // Linux doubles the number, and the other side's kernel has a buffer too. A system that refuses keeps its
        // default, which is a bound as well.
        let _ = SockRef::from(self.stream()).set_send_buffer_size(bytes / 4);
    }

    /// Whether the connection is open (true) or still being opened (false).
    ///
    /// # Errors
    /// Why the attempt has failed.
    pub(super) fn connect_state(&self) -> Result<bool, ConnectError> {
        match self.stream().take_error() {
            Ok(None) => {}
            Ok(Some(e)) | Err(e) => return Err(connect_error(&e)),
        }
        match self.stream().peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(connect_error(&e)),
        }
    }
}

/// Whether an error says that nothing came back from the other side, as opposed to a refusal.
pub(super) fn has_vanished(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
}

/// Whether the process or the system has no file descriptor left. The numbers are those of Linux and of the BSDs.
pub(super) fn is_no_descriptor(e: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    cfg!(unix) && matches!(e.raw_os_error(), Some(EMFILE | ENFILE))
}

/// What an I/O error means for a connection that was being opened.
pub(super) fn connect_error(e: &io::Error) -> ConnectError {
    match e.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ConnectError::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ConnectError::Unreachable,
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        _ if is_no_descriptor(e) => ConnectError::NoDescriptor,
        _ => ConnectError::Local,
    }
}
