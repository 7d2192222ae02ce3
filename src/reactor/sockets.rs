//! The system's poll, and the sockets of all connections that are registered with it.
//!
//! In: sockets and the keys of their connections. Out: the socket of a key, for as long as it is that connection's.
//! Law: a key that is out of date finds nothing.

use super::socket::Socket;
use crate::base::Pages;
use crate::machine::ConnKey;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The waker's token. Listeners have tokens below it, connections their keys.
pub(super) const WAKER: Token = Token(usize::MAX);

/// All connections' sockets, registered once, edge-triggered, for both directions.
#[derive(Debug)]
pub(super) struct Sockets {
    poll: Poll,
    /// By the index of the connection's key.
    table: Pages<Option<Socket>>,
}

impl Sockets {
    /// No socket yet, and what wakes [`Sockets::poll`] from other threads.
    ///
    /// # Errors
    /// When the system gives no poll.
    pub(super) fn new() -> io::Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok((Self { poll, table: Pages::default() }, waker))
    }

    /// Where others register.
    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits for readiness, at most `timeout`. The one place where the reactor waits.
    ///
    /// # Errors
    /// When the system's poll fails.
    pub(super) fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.poll.poll(events, timeout)
    }

    /// A connection's socket.
    pub(super) fn get(&self, conn: ConnKey) -> Option<&Socket> {
        self.table.get(conn.index())?.as_ref().filter(|s| s.key == conn.to_bits())
    }

    /// A connection's socket.
    pub(super) fn get_mut(&mut self, conn: ConnKey) -> Option<&mut Socket> {
        self.table.get_mut(conn.index())?.as_mut().filter(|s| s.key == conn.to_bits())
    }

    /// Takes a connection's socket out. Dropping it closes it.
    pub(super) fn take(&mut self, conn: ConnKey) -> Option<Socket> {
        self.table.get_mut(conn.index())?.take_if(|s| s.key == conn.to_bits())
    }

    /// Puts a connection's socket in.
    pub(super) fn put(&mut self, conn: ConnKey, socket: Socket) {
        *self.table.at(conn.index()) = Some(socket);
    }

    /// Puts a connection's socket in that is registered under another token.
    ///
    /// # Errors
    /// When the system refuses; the socket is then closed.
    pub(super) fn take_over(&mut self, conn: ConnKey, mut socket: Socket) -> io::Result<()> {
        let token = Token(conn.to_bits() as usize);
        self.poll.registry().reregister(socket.stream_mut(), token, Interest::READABLE | Interest::WRITABLE)?;
        self.put(conn, socket);
        Ok(())
    }

    /// Puts a connection's socket in and registers it.
    ///
    /// # Errors
    /// When the system refuses; the socket is then closed.
    pub(super) fn add(&mut self, conn: ConnKey, mut socket: Socket) -> io::Result<()> {
        let token = Token(conn.to_bits() as usize);
        self.poll.registry().register(socket.stream_mut(), token, Interest::READABLE | Interest::WRITABLE)?;
        self.put(conn, socket);
        Ok(())
    }
}
