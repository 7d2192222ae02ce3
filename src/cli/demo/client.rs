//! The demo's clients: each a thread that reads one stream after another through the proxy.
//!
//! In: the proxy's address and a slot's rule. Out: verdicts, into the tally.
//! Laws: a client never reconnects, since healing is the proxy's work: one stream, one response; silence ends a stream
//! as a failure that names it; every socket has timeouts.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::check::{Checker, Ending, Verdict};
use super::kind::Rule;
use super::lane::Lane;
use super::reader::Reader;
use super::script::{RESTART_FIRST, RESTART_LEN, Script};
use super::world::World;
use crate::base::Span;

/// How long a stream may bring no event.
const MAX_SILENCE: Span = Span::from_secs(10);
/// How long behind the end of the demo a stream may still be healing.
pub(super) const GRACE: Span = Span::from_secs(15);
/// How often a silent client looks at the time.
const TURN: Duration = Duration::from_millis(250);
/// How long a connection to the proxy may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Events of a stream that ends by rule.
const SHORT: usize = 18;

/// What one client does: streams of one rule, in one slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) rule: Rule,
    pub(super) slot: usize,
}

impl Slot {
    /// All clients: the fleet, those whose upstream forgets, those that end by rule, those without a proxy.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let groups = [
            (Rule::Fleet, 24),
            (Rule::RestartInt, 3),
            (Rule::RestartUuid, 3),
            (Rule::Clean, 2),
            (Rule::NoContent, 2),
            (Rule::Gone404, 2),
            (Rule::Gone410, 2),
            (Rule::NoIds, 2),
            (Rule::Skipped, 2),
            (Rule::Direct, 2),
        ];
        groups.into_iter().flat_map(|(rule, slots)| (0..slots).map(move |slot| Self { rule, slot }))
    }

    /// Reads streams until the demo ends or one of them is not as promised.
    pub(super) fn run(self, world: &World, addr: SocketAddr) {
        // The slots tick at different times.
        let offset = Span::from_millis(7 * self.slot as u64 % 40);
        if !world.sleep_until(world.start + offset) {
            return;
        }
        for episode in 0.. {
            let Some(script) = self.script(world, episode) else { break };
            let lane = world.open(script);
            world.tally().streams += u64::from(!self.rule.is_direct());
            let verdict = follow(world, addr, &lane);
            world.close(&lane);
            if !world.settle(&lane.script, verdict) || world.is_stopped() {
                break;
            }
        }
    }

    /// The next stream, if there is time for one.
    fn script(self, world: &World, episode: usize) -> Option<Script> {
        let count = |time: Span| usize::try_from(time.micros() / self.rule.period().micros()).unwrap_or(usize::MAX);
        let left = count(world.end.since(world.now()));
        let (len, least) = match self.rule {
            Rule::Fleet | Rule::Direct if episode > 0 => return None,
            Rule::Fleet | Rule::Direct => (count(world.end.since(world.start)), 0),
            Rule::RestartInt | Rule::RestartUuid => (left.min(RESTART_LEN), RESTART_FIRST),
            _ => (SHORT, SHORT),
        };
        (left >= least).then(|| Script::new(world.seed, self.rule, self.slot, episode, len))
    }
}

/// Reads one stream to its end.
fn follow(world: &World, addr: SocketAddr, lane: &Lane) -> Verdict {
    let mut checker = Checker::new(&lane.script);
    let mut reader = Reader::new();
    let ending = match ask(addr, &lane.script.name) {
        Ok(socket) => read(world, lane, socket, &mut reader, &mut checker),
        Err(error) => Ending::Failed(format!("cannot reach {addr}: {error}")),
    };
    checker.end(ending, reader.is_inside_event())
}

/// Sends the request. Each stream has credentials of its own, as each reader of its own would.
fn ask(addr: SocketAddr, name: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&addr, CONNECT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TURN))?;
    socket.set_write_timeout(Some(CONNECT))?;
    let request = format!(
        "GET /{name} HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\nAuthorization: Bearer {name}\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    Ok(socket)
}

fn read(world: &World, lane: &Lane, mut socket: TcpStream, reader: &mut Reader, checker: &mut Checker<'_>) -> Ending {
    let mut buffer = [0; 16 * 1024];
    let mut events = Vec::new();
    let mut heard = world.now();
    loop {
        let got = match socket.read(&mut buffer) {
            Ok(0) => return Ending::Cut,
            Ok(n) => n,
            Err(error) if is_silence(&error) => 0,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ending::Cut,
            Err(error) => return Ending::Failed(format!("read failed: {error}")),
        };
        let now = world.now();
        if let Err(what) = reader.feed(&buffer[..got], &mut events) {
            return Ending::Failed(what);
        }
        if let Some(what) = unfit(reader) {
            return Ending::Failed(what);
        }
        for event in events.drain(..) {
            heard = now;
            if let Some(n) = checker.event(&event) {
                world.came(lane.script.rule.is_direct(), lane.written(n).map(|at| now.since(at)));
            }
        }
        if reader.is_clean() {
            return Ending::Clean;
        }
        if now.since(heard) > MAX_SILENCE || now > world.end + GRACE || world.is_stopped() {
            return Ending::Failed(format!("hangs: no event for {} ms", now.since(heard).millis()));
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// What is wrong with the head of the response, if anything is.
fn unfit(reader: &Reader) -> Option<String> {
    match reader.status {
        Some(200) if reader.is_close_delimited() => Some("the response has no chunks".to_owned()),
        Some(200) | None => None,
        Some(status) => Some(format!("answered {status}")),
    }
}
