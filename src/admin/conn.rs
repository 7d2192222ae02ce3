//! One connection to the admin address: a request, its answer, the end.
//!
//! In: readiness of the socket, pages of the store, live events, the time. Out: what to wait for, as a [`Step`].
//! Laws: nothing here waits; a client has [`PATIENCE`] for its request and for each page of the answer, and [`LONGEST`]
//! for everything, however it spreads its bytes; a viewer of the live stream has no such end, but is given up if it
//! takes nothing for [`SLOW`]; a client reads its answer before it sees the close.

use super::answer::{Answer, answer, reloaded};
use super::list::{Found, List};
use super::live::{Live, Place};
use super::reload::Reloaded;
use super::source::Source;
use crate::base::{Span, StreamName, Tick};
use crate::clock::Clock;
use crate::http::{Date, HeadError, HeadFinder, HeadLimits, RequestHead, parse_request, write_answer};
use mio::net::TcpStream;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown};

/// How long a client may take over its request and over each page of the answer, and the store over each page.
pub(super) const PATIENCE: Span = Span::from_secs(1);

/// How long a reload may take.
const RELOAD: Span = Span::from_secs(12);

/// How long a client may take in all.
const LONGEST: Span = Span::from_secs(60);

/// How long a viewer of the live stream may take nothing of what waits for it.
pub(super) const SLOW: Span = Span::from_secs(10);

/// How long a question waits that the store had no room for.
const AGAIN: Span = Span::from_millis(20);

const HEAD_BYTES: usize = 8 << 10;

/// Bytes of a client that are read behind its request, so that its close finds none of them unread.
const BEHIND: usize = 64 << 10;

/// What a connection waits for.
#[derive(Debug)]
pub(super) enum Step {
    /// The socket, or the end of its time.
    Wait,
    /// The store, with a question for the records after this one, and for how many.
    Ask(Option<StreamName>, usize),
    /// Whoever reloads the configuration.
    Reload,
    /// Nothing: it has had its answer.
    Done,
    /// A place among the viewers of the live stream.
    Watch,
    /// Nothing: it was given up.
    Failed(io::Error),
}

/// What all connections are lent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent<'a> {
    pub(super) source: &'a Source,
    pub(super) live: &'a Live,
    pub(super) now: Tick,
}

#[derive(Debug)]
enum State {
    Reading {
        finder: HeadFinder,
        input: Vec<u8>,
    },
    /// The next page of a list is wanted, and asked for or not.
    Asking {
        list: List,
        asked: bool,
        again: Tick,
    },
    /// The configuration is being reloaded, or is to be.
    Reloading {
        asked: bool,
    },
    /// A piece of the answer is on its way. Then the list goes on, or the answer is whole.
    Writing {
        out: Vec<u8>,
        sent: usize,
        list: Option<List>,
    },
    /// The live stream is wanted.
    Entering {
        last: Option<Box<[u8]>>,
    },
    /// The live stream is on its way. All up to the place is in `out`.
    Watching {
        out: Vec<u8>,
        sent: usize,
        place: Place,
    },
    /// The answer is whole, and the client has so many bytes left to say before it closes.
    Leaving {
        left: usize,
    },
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    peer: IpAddr,
    state: State,
    /// The head of its answer has a date.
    dated: bool,
    /// The end of the time for what it is doing.
    until: Tick,
    /// The end of the time for everything.
    end: Tick,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, peer: IpAddr, now: Tick) -> Self {
        let state = State::Reading { finder: HeadFinder::new(), input: Vec::new() };
        Self { stream, peer, state, dated: false, until: now + PATIENCE, end: now + LONGEST }
    }

    /// When to look at it again, whatever the socket does.
    pub(super) fn due(&self) -> Tick {
        let again = match self.state {
            State::Asking { asked: false, again, .. } => again,
            _ => Tick::NEVER,
        };
        self.until.min(self.end).min(again)
    }

    /// Whether it has not said what it wants.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    /// Whether it is in the middle of a list.
    pub(super) fn is_listing(&self) -> bool {
        matches!(self.state, State::Asking { .. } | State::Writing { list: Some(_), .. })
    }

    /// Whether it is sent the live stream.
    pub(super) fn is_watching(&self) -> bool {
        matches!(self.state, State::Watching { .. })
    }

    /// Goes on as far as the socket and the store let it.
    pub(super) fn go_on(&mut self, lent: Lent<'_>) -> Step {
        self.try_go_on(lent).unwrap_or_else(Step::Failed)
    }

    fn try_go_on(&mut self, lent: Lent<'_>) -> io::Result<Step> {
        let Lent { source, live, now } = lent;
        loop {
            if self.until.min(self.end) <= now {
                self.on_late(now)?;
            }
            let Self { stream, peer, state, dated, until, end } = self;
            match state {
                State::Reading { finder, input } => {
                    let Some(head) = read_head(stream, finder, input)? else { return Ok(Step::Wait) };
                    *until = now + PATIENCE;
                    *state = match answer(&head, source, *peer, now) {
                        Answer::Whole(out) => writing(out),
                        Answer::List { head_only, paging } => asking(List::new(head_only, paging), now),
                        Answer::Live { head_only: true, .. } => writing(LIVE_HEAD.to_vec()),
                        Answer::Live { last, .. } => State::Entering { last },
                        Answer::Reload => {
                            *until = now + RELOAD;
                            State::Reloading { asked: false }
                        }
                    };
                }
                State::Reloading { asked } => {
                    return Ok(if std::mem::replace(asked, true) { Step::Wait } else { Step::Reload });
                }
                State::Asking { asked: true, .. } => return Ok(Step::Wait),
                State::Asking { list, again, .. } => {
                    return Ok(if *again <= now { Step::Ask(list.after.clone(), list.most()) } else { Step::Wait });
                }
                State::Writing { out, sent, list } => {
                    date(out, dated, source.clock);
                    if !write(stream, out, sent)? {
                        return Ok(Step::Wait);
                    }
                    *until = now + PATIENCE;
                    *state = match list.take() {
                        Some(list) => asking(list, now),
                        None => {
                            // A client that has gone says so when it is read.
                            let _ = stream.shutdown(Shutdown::Write);
                            State::Leaving { left: BEHIND }
                        }
                    };
                }
                State::Entering { .. } => return Ok(Step::Watch),
                State::Watching { out, sent, place } => {
                    if has_left(stream)? {
                        return Ok(Step::Done);
                    }
                    date(out, dated, source.clock);
                    let before = *sent;
                    let all = write(stream, out, sent)?;
                    if *sent > before {
                        *until = now + SLOW;
                    }
                    if !all {
                        return Ok(Step::Wait);
                    }
                    (*until, *end, *sent) = (Tick::NEVER, Tick::NEVER, 0);
                    out.clear();
                    if !live.has(*place) {
                        return Ok(Step::Wait);
                    }
                    live.go_on(place, out);
                    *until = now + SLOW;
                }
                State::Leaving { left } => return Ok(if leave(stream, left) { Step::Done } else { Step::Wait }),
            }
        }
    }

    /// It has a place among the viewers, or there is none.
    pub(super) fn on_place(&mut self, granted: bool, live: &Live, now: Tick) {
        let State::Entering { last } = &self.state else { return };
        self.state = match granted {
            true => {
                let (place, mut first) = live.enter(last.as_deref());
                first.splice(..0, LIVE_HEAD.iter().copied());
                self.end = Tick::NEVER;
                self.until = now + SLOW;
                State::Watching { out: first, sent: 0, place }
            }
            false => {
                let mut out = Vec::new();
                let why = "too many watch the dashboard; try again later";
                write_answer(503, why, &[("Retry-After", "10")], true, false, &mut out);
                writing(out)
            }
        };
    }

    /// The store has taken the question, or had no room for it.
    pub(super) fn on_asked(&mut self, taken: bool, now: Tick) {
        if let State::Asking { asked, again, .. } = &mut self.state {
            *asked = taken;
            *again = now + AGAIN;
        }
    }

    /// The page that was asked for has come, or the word that there is none.
    pub(super) fn on_found(&mut self, found: Found, now: Tick) {
        if !matches!(self.state, State::Asking { .. }) {
            return;
        }
        let State::Asking { mut list, .. } = std::mem::replace(&mut self.state, State::Leaving { left: 0 }) else {
            return;
        };
        let (out, more) = list.next(found);
        self.until = now + PATIENCE;
        self.state = State::Writing { out, sent: 0, list: more.then_some(list) };
    }

    /// What came of a reload.
    pub(super) fn on_reloaded(&mut self, outcome: &Reloaded, now: Tick) {
        if matches!(self.state, State::Reloading { .. }) {
            self.until = now + PATIENCE;
            self.state = State::Writing { out: reloaded(outcome), sent: 0, list: None };
        }
    }

    /// The time is up. The answer may still say so, where the store is late and not the client.
    fn on_late(&mut self, now: Tick) -> io::Result<()> {
        match self.state {
            State::Asking { asked, .. } if self.end > now => {
                let why = match asked {
                    true => "the store did not answer in time",
                    false => "the store has too much to do; try again later",
                };
                self.on_found(Err(why.to_owned()), now);
                Ok(())
            }
            State::Reloading { .. } if self.end > now => {
                self.on_reloaded(&Reloaded::unknown("it is not done yet, and may still be"), now);
                Ok(())
            }
            State::Leaving { ref mut left } => {
                *left = 0;
                Ok(())
            }
            _ => Err(ErrorKind::TimedOut.into()),
        }
    }
}

/// The head of the live stream. Its end is the end of the connection, which a client takes for a cut, and comes back.
const LIVE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";

fn writing(out: Vec<u8>) -> State {
    State::Writing { out, sent: 0, list: None }
}

/// Puts the date behind the status line of an answer that has none yet (RFC 9110 section 6.6.1).
fn date(out: &mut Vec<u8>, dated: &mut bool, clock: Clock) {
    if std::mem::replace(dated, true) {
        return;
    }
    let date = Date::at(clock.calendar_secs());
    if let Some((text, feed)) = date.text().zip(memchr::memchr(b'\n', out)) {
        out.splice(feed + 1..feed + 1, format!("Date: {text}\r\n").into_bytes());
    }
}

fn asking(list: List, now: Tick) -> State {
    State::Asking { list, asked: false, again: now }
}

/// Reads a request's head, of at most [`HEAD_BYTES`]. `None`: there is more to come.
fn read_head(
    stream: &mut TcpStream,
    finder: &mut HeadFinder,
    input: &mut Vec<u8>,
) -> io::Result<Option<Result<RequestHead, HeadError>>> {
    let limits = HeadLimits { bytes: HEAD_BYTES, ..HeadLimits::default() };
    let mut buffer = [0; 2_048];
    loop {
        if let Some(end) = finder.find(input) {
            return Ok(Some(parse_request(&input[finder.skip()..end], limits)));
        }
        if let Err(e) = limits.check_unfinished(input) {
            return Ok(Some(Err(e)));
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => input.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes what the socket takes. True: that was all.
fn write(stream: &mut TcpStream, out: &[u8], sent: &mut usize) -> io::Result<bool> {
    while *sent < out.len() {
        match stream.write(&out[*sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => *sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Reads what a viewer says, which counts for nothing, but for its end.
fn has_left(stream: &mut TcpStream) -> io::Result<bool> {
    let mut buffer = [0; 2_048];
    // One that does not stop is read again with the next event.
    for _ in 0..16 {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// Reads on until the client closes. True: it has, or has said too much.
fn leave(stream: &mut TcpStream, left: &mut usize) -> bool {
    let mut buffer = [0; 2_048];
    while *left > 0 {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => *left = left.saturating_sub(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            _ => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests;
