//! Clients' TLS connections that the machine does not know: those that shake hands, and those whose last bytes the
//! socket has not taken yet.
//!
//! In: accepted sockets, readiness. Out: connections whose handshake is done, and who their clients are.
//! Laws: each leaves within a time, and there is a bound on all: one more takes the place of the one that has shaken
//! hands for longest, so that those who never speak keep nobody out; signing takes long, so the loop does one step at a
//! time and goes back to its streams when its share of the turn is over.

use super::listeners::FIRST_LISTENER;
use super::log_lines::LogLines;
use super::start::head_patience;
use super::tls::{Keyring, Tls, of_client_in_words};
use crate::base::{Count, Counts, Span, Tick};
use crate::config::Config;
use crate::machine::{Origin, Stake};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// Guests have the tokens from here on, listeners those above. No connection's key reaches them.
const FIRST_GUEST: usize = FIRST_LISTENER - (1 << 16);

/// The type of a TLS record that a handshake begins with (RFC 8446 section 5.1). No request of HTTP begins so.
const HANDSHAKE: u8 = 0x16;

/// The answer to a client that speaks HTTP without TLS.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 48\r\n\
    Connection: close\r\n\r\nthis port speaks TLS: ask again with `https://`\n";

/// Bytes of such a request that are read before the answer. What is left unread when the connection closes may take the
/// answer with it.
const REQUEST: usize = 16 << 10;

/// Guests whose time is over that leave at a time.
const DUE: usize = 16;

/// Guests that leave at once where there are no descriptors.
const ROOM: usize = 16;

/// All such connections.
#[derive(Debug)]
pub(super) struct Lobby {
    keyring: Keyring,
    guests: Vec<Option<Guest>>,
    free: Vec<usize>,
    /// When each must have left.
    deadlines: BTreeSet<(Tick, usize)>,
    /// Those of them who shake hands.
    shaking: BTreeSet<(Tick, usize)>,
    /// Places of guests whose sockets have news, each at most once. Where the guest has left since, its successor is
    /// looked at, which harms nobody.
    ready: VecDeque<usize>,
    /// By place: whether it is among those.
    queued: Vec<bool>,
    /// Guests whose last bytes are on their way to the socket.
    leaving: usize,
    /// What guests held who have gone, for the machine to take back.
    gone: Vec<Stake>,
    most: usize,
    patience: Span,
    pub(super) counts: Counts,
}

#[derive(Debug)]
struct Guest {
    tls: Box<Tls>,
    peer: Origin,
    /// What it holds of what its address may have.
    stake: Stake,
    until: Tick,
    /// It begins as TLS does.
    speaks_tls: bool,
    leaves: bool,
}

/// A client that has connected, and was let in.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: Origin,
    pub(super) stake: Stake,
    pub(super) is_watched: bool,
}

impl Guest {
    /// If the last bytes of an answer are still to go out, the close is a reset.
    fn cut_off(&self) {
        if self.leaves {
            // The option can only fail where the connection is gone already; then an ordinary close does.
            let _ = SockRef::from(self.tls.stream()).set_linger(Some(Duration::ZERO));
        }
    }
}

/// What one step came to.
pub(super) enum Step {
    /// Nobody has news.
    Nothing,
    /// Some guest has come on, or has left.
    Done,
    /// A handshake is done: the connection of this client.
    Open(Box<Tls>, Origin, Stake),
}

impl Lobby {
    pub(super) fn new(config: &Config, keyring: Keyring) -> Self {
        Self {
            keyring,
            guests: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
            shaking: BTreeSet::new(),
            ready: VecDeque::new(),
            queued: Vec::new(),
            leaving: 0,
            gone: Vec::new(),
            most: config.limits.handshakes,
            patience: head_patience(config),
            counts: Counts::default(),
        }
    }

    /// Whether `token` is a guest's. Those of listeners are above.
    pub(super) fn own(token: Token) -> bool {
        (FIRST_GUEST..FIRST_LISTENER).contains(&token.0)
    }

    /// Whether some guest has news.
    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether somebody's last bytes are on their way to the socket.
    pub(super) fn sees_somebody_off(&self) -> bool {
        self.leaving > 0
    }

    /// When [`Lobby::on_time`] must be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A client has connected, and shakes hands first. `is_watched`: its socket is registered under another token.
    pub(super) fn enter(&mut self, arrival: Arrival, registry: &Registry, now: Tick) {
        let Arrival { stream, peer, stake, is_watched } = arrival;
        // Without it the handshake's parts wait for each other; the connection works all the same.
        let _ = stream.set_nodelay(true);
        let tls = self.keyring.server().and_then(|config| Tls::serve(config, stream).ok());
        let Some(mut tls) = tls.map(Box::new) else {
            self.gone.push(stake);
            return self.counts.one(Count::TlsHandshakesFailed);
        };
        let at = self.place();
        let both = Interest::READABLE | Interest::WRITABLE;
        let watches = match is_watched {
            true => registry.reregister(tls.stream_mut(), token(at), both),
            false => registry.register(tls.stream_mut(), token(at), both),
        };
        if watches.is_err() {
            self.counts.one(Count::TlsHandshakesFailed);
            self.gone.push(stake);
            return self.free.push(at);
        }
        self.put(at, Guest { tls, peer, stake, until: now + self.patience, speaks_tls: false, leaves: false });
    }

    /// The machine has closed a connection whose last bytes the socket has not taken yet.
    pub(super) fn see_off(&mut self, mut tls: Box<Tls>, peer: Origin, registry: &Registry, now: Tick) {
        let at = self.place();
        let is_watched =
            registry.reregister(tls.stream_mut(), token(at), Interest::READABLE | Interest::WRITABLE).is_ok();
        let guest = Guest { tls, peer, stake: Stake::NONE, until: now + self.patience, speaks_tls: true, leaves: true };
        if !is_watched {
            guest.cut_off();
            return self.free.push(at);
        }
        self.leaving += 1;
        self.put(at, guest);
    }

    /// A free place. If there is none, who has shaken hands for longest makes room, since an answer that is on its way is
    /// worth more than a handshake that is not done. Where nobody shakes hands, the oldest makes room.
    fn place(&mut self) -> usize {
        if self.deadlines.len() >= self.most
            && let Some((_, at)) = self.shaking.first().or(self.deadlines.first()).copied()
        {
            self.crowd_out(at);
        }
        self.free.pop().unwrap_or_else(|| {
            self.guests.push(None);
            self.queued.push(false);
            self.guests.len() - 1
        })
    }

    fn crowd_out(&mut self, at: usize) {
        self.counts.one(Count::TlsHandshakesCrowdedOut);
        self.counts.one(Count::OverHandshakes);
        if let Some(guest) = self.leave(at) {
            guest.cut_off();
        }
    }

    /// The system has no descriptors: those who have shaken hands for longest leave. False: there is nobody.
    pub(super) fn make_room(&mut self) -> bool {
        let oldest: Vec<usize> = self.shaking.iter().map(|(_, at)| *at).take(ROOM).collect();
        oldest.iter().for_each(|at| self.crowd_out(*at));
        !oldest.is_empty()
    }

    /// Takes out what a guest held who has gone.
    pub(super) fn next_gone(&mut self) -> Option<Stake> {
        self.gone.pop()
    }

    /// Prepares the close of those whose last bytes have not gone out: nobody may take a part of an answer for the whole.
    pub(super) fn cut_off_all(&self) {
        self.guests.iter().flatten().for_each(Guest::cut_off);
    }

    /// Goes by another configuration.
    pub(super) fn go_by(&mut self, config: &Config) {
        self.patience = head_patience(config);
    }

    fn put(&mut self, at: usize, guest: Guest) {
        self.deadlines.insert((guest.until, at));
        if !guest.leaves {
            self.shaking.insert((guest.until, at));
        }
        self.guests[at] = Some(guest);
    }

    /// Takes a guest out.
    fn leave(&mut self, at: usize) -> Option<Guest> {
        let guest = self.guests.get_mut(at)?.take()?;
        self.deadlines.remove(&(guest.until, at));
        self.shaking.remove(&(guest.until, at));
        self.leaving -= usize::from(guest.leaves);
        self.free.push(at);
        self.gone.push(guest.stake);
        Some(guest)
    }

    /// The poll has news of a guest.
    pub(super) fn on_ready(&mut self, token: Token) {
        let at = token.0 - FIRST_GUEST;
        if let (Some(Some(_)), Some(queued)) = (self.guests.get(at), self.queued.get_mut(at))
            && !std::mem::replace(queued, true)
        {
            self.ready.push_back(at);
        }
    }

    /// Some of those who have had their time leave.
    pub(super) fn on_time(&mut self, lines: &mut LogLines, now: Tick) {
        for _ in 0..DUE {
            let Some((_, at)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) else { return };
            let Some(guest) = self.leave(at) else { continue };
            guest.cut_off();
            if !guest.leaves {
                self.counts.one(Count::TlsHandshakesFailed);
                let (peer, patience) = (guest.peer, self.patience);
                lines.inform(format_args!("TLS handshake with {peer}: not done in {patience}; it is closed"), now);
            }
        }
    }

    /// Does one step for one guest that has news.
    pub(super) fn step(&mut self, buffer: &mut [u8], lines: &mut LogLines, now: Tick) -> Step {
        let Some(at) = self.ready.pop_front() else { return Step::Nothing };
        self.queued.get_mut(at).into_iter().for_each(|queued| *queued = false);
        let Some(Some(guest)) = self.guests.get_mut(at) else { return Step::Done };
        let result = match guest.leaves {
            true => guest.tls.flush().map(|()| !guest.tls.is_holding()),
            false => guest.go_on(buffer),
        };
        if matches!(result, Ok(false)) {
            return Step::Done;
        }
        let Some(guest) = self.leave(at).filter(|guest| !guest.leaves) else { return Step::Done };
        match result {
            Ok(_) => {
                self.counts.one(Count::TlsHandshakes);
                // The machine has it from now on.
                self.gone.pop();
                Step::Open(guest.tls, guest.peer, guest.stake)
            }
            Err(e) => {
                self.counts.one(Count::TlsHandshakesFailed);
                // Who closes at once is a probe of some kind, and there may be one every second.
                if e.kind() != io::ErrorKind::ConnectionAborted {
                    let (peer, why) = (guest.peer, of_client_in_words(&e));
                    lines.inform(format_args!("TLS handshake with {peer}: {why}; it is closed"), now);
                }
                Step::Done
            }
        }
    }
}

impl Guest {
    /// Goes on with the handshake. True when it is done.
    fn go_on(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.speaks_tls {
            let mut first = [0];
            match self.tls.stream().peek(&mut first) {
                Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Ok(_) if first[0].is_ascii_uppercase() => return Err(self.say_not_tls(buffer)),
                Ok(_) => self.speaks_tls = first[0] == HANDSHAKE,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        self.tls.handshake()
    }

    /// Answers a client that speaks plain HTTP.
    fn say_not_tls(&mut self, buffer: &mut [u8]) -> io::Error {
        let stream = self.tls.stream_mut();
        let most = buffer.len().min(REQUEST);
        // One that is broken takes no answer, and none is owed to it.
        let _ = stream.read(&mut buffer[..most]);
        let _ = stream.write(NOT_TLS);
        let _ = stream.shutdown(Shutdown::Write);
        io::Error::other("it speaks plain HTTP, and was told to use `https://`")
    }
}

fn token(at: usize) -> Token {
    Token(FIRST_GUEST + at)
}

#[cfg(test)]
mod tests;
