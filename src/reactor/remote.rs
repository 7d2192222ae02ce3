//! Commands to the reactor from other threads.
//!
//! In: commands. Out: an entry on a bounded channel, and a wake-up of the poll.
//! Law: sending never waits; a reactor that has ended or cannot keep up is reported to the sender.

use super::reload::Prepared;
use crate::base::Span;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
#[cfg(unix)]
use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Commands that may wait.
const COMMANDS: usize = 1_000;

/// What another thread can tell the reactor to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Accept no more connections, send clients elsewhere over `drain_spread`, let other answers end. Stop when all have
    /// ended or this much time has passed.
    Drain(Span),
    /// Hand out copies of the sockets that listen, for another process that goes on with them.
    #[cfg(unix)]
    Share(Sender<io::Result<Vec<OwnedFd>>>),
    /// Say so once all streams that others can go on with have been sent elsewhere by a drain.
    SayWhenDrained(Sender<()>),
    /// Stop at once.
    Stop,
    /// Go over to another configuration.
    Reload(Arc<Prepared>),
}

/// The reactor's end of the channel. What waits there when the reactor ends goes with it, so that whoever waits for an
/// answer sees that there will be none.
#[derive(Debug)]
pub(crate) struct Commands(pub(crate) Receiver<Command>);

impl Commands {
    /// The next command, if one waits.
    pub(super) fn next(&self) -> Option<Command> {
        self.0.try_recv().ok()
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

/// Sends commands to a reactor, from any thread.
#[derive(Clone, Debug)]
pub struct Remote {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Remote {
    /// A remote that wakes the reactor with `waker`, and the reactor's end of the channel.
    pub(crate) fn new(waker: Arc<Waker>) -> (Self, Commands) {
        let (commands, receiver) = bounded(COMMANDS);
        (Self { commands, waker }, Commands(receiver))
    }

    /// Sends a command. Returns false when the reactor has ended or too many commands wait.
    pub fn send(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok() && self.waker.wake().is_ok()
    }
}
