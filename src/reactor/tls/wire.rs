//! One TLS connection over a non-blocking socket.
//!
//! In: plain bytes and the socket. Out: the peer's plain bytes. An end with `close_notify` is an end; an end without it
//! is an error, since a truncation is a cut.
//! Laws: at most [`HELD`] plain bytes wait for the socket, sealed; new ones are sealed only once the socket has taken
//! all before them, so it is known which plain bytes have arrived (see `sent`).

use super::identity;
use super::sent::Sent;
use mio::net::TcpStream;
use rustls::{Connection, ServerConfig, ServerConnection};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

/// Plain bytes that may be sealed and wait for the socket to take them.
const HELD: usize = 64 << 10;

/// One TLS connection.
#[derive(Debug)]
pub(in crate::reactor) struct Tls {
    session: Connection,
    stream: TcpStream,
    sent: Sent,
    /// Nothing more is sent once the socket has taken what is sealed.
    ends: bool,
}

impl Tls {
    pub(super) fn over(stream: TcpStream, mut session: Connection) -> Self {
        session.set_buffer_limit(Some(HELD));
        Self { session, stream, sent: Sent::default(), ends: false }
    }

    /// Puts TLS over a client's socket.
    pub(in crate::reactor) fn serve(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<Self> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::over(stream, session.into()))
    }

    pub(in crate::reactor) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(in crate::reactor) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Who the peer's certificate names, if it has sent one. It has been verified.
    pub(in crate::reactor) fn identity(&self) -> Option<Vec<u8>> {
        self.session.peer_certificates().and_then(<[_]>::first).map(|certificate| identity::of(certificate))
    }

    /// Goes on with the handshake. True when it is done.
    pub(in crate::reactor) fn handshake(&mut self) -> io::Result<bool> {
        while self.session.is_handshaking() {
            self.send_ciphertext()?;
            if !self.session.is_handshaking() {
                break;
            }
            match self.take_ciphertext() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        self.send_ciphertext()?;
        Ok(true)
    }

    pub(in crate::reactor) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(room) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.take_ciphertext()?,
                other => return other,
            }
        }
    }

    /// Takes plain bytes until the socket is full. A caller that sees fewer taken than it gave waits for the socket to
    /// become writable, which only a full socket reports.
    pub(in crate::reactor) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_ciphertext()?;
        let mut copies = [IoSlice::new(&[]); 5];
        let count = slices.len().min(copies.len());
        copies[..count].copy_from_slice(&slices[..count]);
        let (mut rest, mut taken) = (&mut copies[..count], 0);
        // In one call as much as may be held, so that small pieces share a record, and records a system call.
        while rest.iter().any(|slice| !slice.is_empty()) && !self.session.wants_write() {
            let n = self.session.writer().write_vectored(rest)?;
            self.sent.seal(n);
            self.send_ciphertext()?;
            if n == 0 {
                break;
            }
            taken += n;
            IoSlice::advance_slices(&mut rest, n);
        }
        match taken {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    /// Sends what is held, after the socket became writable again.
    pub(in crate::reactor) fn flush(&mut self) -> io::Result<()> {
        self.send_ciphertext()
    }

    /// Whether something waits for the socket.
    pub(in crate::reactor) fn is_holding(&self) -> bool {
        self.session.wants_write()
    }

    /// Bytes that the socket has taken.
    pub(in crate::reactor) fn wire_bytes(&self) -> u64 {
        self.sent.wire()
    }

    /// How many of the last plain bytes that were taken are not known to have arrived, of so many bytes of the wire.
    pub(in crate::reactor) fn unacknowledged(&mut self, arrived: u64) -> u64 {
        self.sent.unacknowledged(arrived)
    }

    /// Says `close_notify`: nothing more comes (RFC 8446 section 6.1), and shuts our side behind it. The socket takes
    /// it now or, if it is full, with what is held; a connection that is broken needs no such word.
    pub(in crate::reactor) fn say_end(&mut self) {
        if !self.session.is_handshaking() && !self.ends {
            self.ends = true;
            self.session.send_close_notify();
            let _ = self.send_ciphertext();
        }
    }

    fn take_ciphertext(&mut self) -> io::Result<()> {
        match self.session.read_tls(&mut self.stream)? {
            0 => {
                if self.session.is_handshaking() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let _ = self.session.process_new_packets().map_err(io::Error::other)?;
            }
            _ => {
                let result = self.session.process_new_packets().map_err(io::Error::other);
                // An alert goes out as far as it can. A connection that cannot be written may still hold an answer; the
                // read behind that answer reports the break.
                let _ = self.send_ciphertext();
                result?;
            }
        }
        Ok(())
    }

    fn send_ciphertext(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(n) => self.sent.put(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.sent.end_batch();
        if self.ends {
            // A connection that is broken already says so when it is read.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}
