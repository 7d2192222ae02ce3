//! The demo's clients: each a thread that reads one stream after another through the proxy.
//!
//! In: the proxy's address and a slot's rule. Out: verdicts, into the tally.
//! Laws: a client that is cut off by the proxy never reconnects, since healing is the proxy's work; one that leaves by its
//! script comes back with the last id it saw, as an `EventSource` does; silence ends a stream as a failure that names it;
//! every socket has timeouts.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::check::{Checker, Ending, Verdict};
use super::kind::Rule;
use super::lane::{Lane, Lanes};
use super::reader::{Event, Reader};
use super::script::{BACK_LEN, RESTART_FIRST, RESTART_LEN, Script};
use super::world::World;
use crate::base::{Span, Tick};

/// How long a stream may bring no event.
const MAX_SILENCE: Span = Span::from_secs(10);
/// How long behind the end of the demo a stream may still be healing.
pub(super) const GRACE: Span = Span::from_secs(15);
/// How often a silent client looks at the time.
const TURN: Duration = Duration::from_millis(250);
/// How long a connection to the proxy may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a client that leaves is away.
const AWAY: Span = Span::from_millis(30);
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
            (Rule::Back, 4),
            (Rule::BackPost, 4),
            (Rule::Direct, 2),
        ];
        groups.into_iter().flat_map(|(rule, slots)| (0..slots).map(move |slot| Self { rule, slot }))
    }

    /// Reads streams until the demo ends or one of them is not as promised.
    pub(super) fn run(self, world: &World, lanes: &Lanes, addr: SocketAddr) {
        // The slots tick at different times.
        let offset = Span::from_millis(7 * self.slot as u64 % 40);
        if !world.sleep_until(world.start + offset) {
            return;
        }
        for episode in 0.. {
            let Some(script) = self.script(world, episode) else { break };
            let lane = lanes.open(script);
            world.tally().streams += u64::from(!self.rule.is_direct());
            let verdict = follow(world, addr, &lane);
            lanes.close(&lane);
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
            Rule::Back | Rule::BackPost => (BACK_LEN, BACK_LEN),
            _ => (SHORT, SHORT),
        };
        (left >= least).then(|| Script::new(world.seed, self.rule, self.slot, episode, len))
    }
}

/// Reads one stream to its end, over as many connections as its script says.
fn follow(world: &World, addr: SocketAddr, lane: &Lane) -> Verdict {
    let mut client = Client { world, lane, checker: Checker::new(&lane.script), taken: 0, last_id: None };
    let mut leaves = lane.script.leaves.iter().copied();
    loop {
        let mut reader = Reader::new();
        let ending = match ask(addr, &lane.script, client.last_id.as_deref()) {
            Ok(socket) => client.read(socket, &mut reader, leaves.next()),
            Err(error) => Some(Ending::Failed(format!("cannot reach {addr}: {error}"))),
        };
        match ending {
            Some(ending) => return client.checker.end(ending, reader.is_inside_event()),
            None => world.tally().came_back += 1,
        }
        // Events come meanwhile.
        world.doze(world.now() + AWAY);
    }
}

/// Sends the request. Each stream has credentials of its own, as each reader of its own would.
fn ask(addr: SocketAddr, script: &Script, last_id: Option<&str>) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&addr, CONNECT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TURN))?;
    socket.set_write_timeout(Some(CONNECT))?;
    let (name, method) = (&script.name, script.rule.method());
    let body = if method == "POST" { "a prompt" } else { "" };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let id = last_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} /{name} HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\n\
         Authorization: Bearer {name}\r\n{id}{length}\r\n{body}"
    );
    socket.write_all(request.as_bytes())?;
    Ok(socket)
}

/// One that reads a stream.
struct Client<'a> {
    world: &'a World,
    lane: &'a Lane,
    checker: Checker<'a>,
    /// Events got so far.
    taken: usize,
    last_id: Option<String>,
}

impl Client<'_> {
    /// Reads a response to its end. `None`: the client left behind event `until`, and what was on its way is lost.
    fn read(&mut self, mut socket: TcpStream, reader: &mut Reader, until: Option<usize>) -> Option<Ending> {
        let world = self.world;
        let mut buffer = [0; 16 * 1024];
        let mut events = Vec::new();
        let mut heard = world.now();
        loop {
            let got = match socket.read(&mut buffer) {
                Ok(0) => return Some(Ending::Cut),
                Ok(n) => n,
                Err(error) if is_silence(&error) => 0,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Some(Ending::Cut),
                Err(error) => return Some(Ending::Failed(format!("read failed: {error}"))),
            };
            let now = world.now();
            if let Err(what) = reader.feed(&buffer[..got], &mut events) {
                return Some(Ending::Failed(what));
            }
            if let Some(what) = unfit(reader) {
                return Some(Ending::Failed(what));
            }
            for event in events.drain(..) {
                heard = now;
                self.take(&event, now);
                if until.is_some_and(|until| self.taken >= until) {
                    // Bytes that were not read make it a reset.
                    return None;
                }
            }
            if reader.is_clean() {
                return Some(Ending::Clean);
            }
            if now.since(heard) > MAX_SILENCE || now > world.end + GRACE || world.is_stopped() {
                return Some(Ending::Failed(format!("hangs: no event for {} ms", now.since(heard).millis())));
            }
        }
    }

    fn take(&mut self, event: &Event, now: Tick) {
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone());
        }
        if let Some(n) = self.checker.event(event) {
            self.taken += 1;
            let rule = self.lane.script.rule;
            // What a client that was away gets late says nothing of the proxy.
            let written = self.lane.written(n).filter(|_| !rule.leaves());
            self.world.came(rule.is_direct(), written.map(|at| now.since(at)));
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
