//! A node of a Cluster: connected to, used, and left alone for a while when it does not answer.
//!
//! In: the place of a node, times. Out: a connection, or why there is none.
//! Laws: nobody waits for a node that was away: a thread of its own looks whether it is back, one at a time, and ends
//! within the address's time-out. How long a node is left alone grows with its failures, up to [`LONGEST`].

use super::address::Address;
use super::connect::connect_node;
use super::slots::Place;
use crate::base::{Span, Tick};
use ::redis::{Connection, ErrorKind, RedisError, RedisResult, cmd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

/// How long a node is left alone after its first failure, and at most.
const SHORTEST: Span = Span::from_millis(200);
const LONGEST: Span = Span::from_secs(2);

pub(super) struct Node {
    pub(super) place: Place,
    state: State,
    /// It has refused commands since the last one that it took.
    pub(super) refuses: bool,
}

enum State {
    /// Nothing was tried yet, or a connection was lost that had been good.
    New,
    /// Somebody waits for the connection.
    Connecting(Connecting),
    Open(Box<Connection>),
    Away(Away),
}

/// Gets the connection, or why there is none.
type Connecting = Receiver<RedisResult<Connection>>;

struct Away {
    why: RedisError,
    failures: u32,
    until: Tick,
    /// Looks whether the node is back.
    probe: Option<Connecting>,
}

impl Node {
    pub(super) fn new(place: Place) -> Self {
        Self { place, state: State::New, refuses: false }
    }

    /// A node with a connection.
    pub(super) fn open(place: Place, connection: Connection) -> Self {
        Self { place, state: State::Open(Box::new(connection)), refuses: false }
    }

    /// Begins to connect, where nothing was tried yet.
    pub(super) fn begin(&mut self, address: &Address) {
        if matches!(self.state, State::New) {
            self.state = State::Connecting(connecting(address, &self.place));
        }
    }

    /// Waits for the connection that was begun. True: there is one now that was not there before.
    pub(super) fn finish(&mut self, within: Duration, now: Tick) -> bool {
        let State::Connecting(connecting) = &self.state else { return false };
        match connecting.recv_timeout(within) {
            Ok(Ok(connection)) => {
                self.state = State::Open(Box::new(connection));
                return true;
            }
            Ok(Err(e)) => self.fail(e, now),
            Err(RecvTimeoutError::Timeout) => self.fail(late(), now),
            Err(RecvTimeoutError::Disconnected) => self.fail(no_thread(), now),
        }
        false
    }

    /// The connection, where there is one.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Open(connection) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(self.state, State::Away(_))
    }

    /// Why it is away.
    pub(super) fn why(&self) -> Option<&RedisError> {
        match &self.state {
            State::Away(away) => Some(&away.why),
            _ => None,
        }
    }

    /// The connection was lost; another one may be had at once.
    pub(super) fn renew(&mut self) {
        self.state = State::New;
    }

    /// It does not answer, or lets nobody in.
    pub(super) fn fail(&mut self, why: RedisError, now: Tick) {
        let failures = match &self.state {
            State::Away(away) => away.failures.saturating_add(1),
            _ => 0,
        };
        let wait = SHORTEST.micros().saturating_mul(1 << failures.min(16)).min(LONGEST.micros());
        self.state = State::Away(Away { why, failures, until: now + Span::from_micros(wait), probe: None });
    }

    /// Looks whether it is back, if it is away and was left alone for long enough. True: it is.
    pub(super) fn look(&mut self, address: &Address, now: Tick) -> bool {
        let State::Away(away) = &mut self.state else { return false };
        let Some(probe) = &away.probe else {
            if away.until <= now {
                away.probe = Some(connecting(address, &self.place));
            }
            return false;
        };
        match probe.try_recv() {
            Err(TryRecvError::Empty) => {}
            Ok(Ok(connection)) => {
                self.state = State::Open(Box::new(connection));
                return true;
            }
            Ok(Err(e)) => self.fail(e, now),
            Err(TryRecvError::Disconnected) => self.fail(no_thread(), now),
        }
        false
    }
}

/// Connects on a thread of its own, which ends within the address's time-outs.
pub(super) fn connecting(address: &Address, place: &Place) -> Connecting {
    let (done, connecting) = sync_channel(1);
    let (address, place) = (address.clone(), place.clone());
    let connect = move || {
        // Perhaps nobody waits any more.
        let _ = done.send(connect(&address, &place));
    };
    // Where there is no thread, the channel is closed, and who waits is told so by that.
    drop(thread::Builder::new().name("segno-redis".to_owned()).spawn(connect));
    connecting
}

/// Connects, and hears that the node can serve.
fn connect(address: &Address, place: &Place) -> RedisResult<Connection> {
    let mut connection = connect_node(address, &place.host, place.port)?;
    cmd("PING").query::<()>(&mut connection)?;
    Ok(connection)
}

pub(super) fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn no_thread() -> RedisError {
    (ErrorKind::Io, "the system has no thread to connect with").into()
}
