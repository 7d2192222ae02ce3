//! The demo's clients. Each is a thread that reads one stream after another through the proxy.
//!
//! In: the proxy's address and a [`Job`]. Out: a verdict for each stream, into the tally.
//! Laws: a client that the proxy cuts off never reconnects, since healing is the proxy's work; a client that leaves as
//! its script says comes back with the last id that it saw, as an `EventSource` does; a stream that is silent for too
//! long fails by name; every socket has timeouts.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::check::{Checker, Ending, Verdict};
use super::kind::Rule;
use super::parser::{Event, Parser};
use super::script::{RESTART_FIRST, RESTART_LEN, RETURNING_LEN, Script};
use super::stream::{Stream, Streams};
use super::world::World;
use crate::base::{Span, Tick};

/// How long a stream may be without an event.
const MAX_SILENCE: Span = Span::from_secs(10);
/// How long a stream may still be healing after the end of the demo.
pub(super) const GRACE: Span = Span::from_secs(15);
/// How often a client without events checks the time.
const POLL: Duration = Duration::from_millis(250);
/// How long a connection to the proxy may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a client that leaves stays away.
const AWAY: Span = Span::from_millis(30);
/// Events of a stream that its rule ends.
const SHORT: usize = 18;

/// What one client does: it reads streams of one rule, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) rule: Rule,
    /// Its number among the clients of this rule, from 0.
    pub(super) client: usize,
}

impl Job {
    /// The jobs of all clients.
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
            (Rule::Returning, 4),
            (Rule::ReturningPost, 4),
            (Rule::Direct, 2),
        ];
        groups.into_iter().flat_map(|(rule, clients)| (0..clients).map(move |client| Self { rule, client }))
    }

    /// Reads streams until the demo ends or a stream breaks its promise.
    pub(super) fn run(self, world: &World, streams: &Streams, addr: SocketAddr) {
        if !world.sleep_until(world.start + self.offset()) {
            return;
        }
        for episode in 0.. {
            let Some(script) = self.script(world, episode) else { break };
            let stream = streams.open(script);
            world.tally().streams += u64::from(!self.rule.is_direct());
            let verdict = follow(world, addr, &stream);
            streams.close(&stream);
            if !world.record_verdict(&stream.script, verdict) || world.is_stopped() {
                break;
            }
        }
    }

    /// The clients of one rule start at different times.
    pub(super) fn offset(self) -> Span {
        Span::from_millis(7 * self.client as u64 % 40)
    }

    /// The script of the next stream, if enough time is left for it.
    pub(super) fn script(self, world: &World, episode: usize) -> Option<Script> {
        let count = |time: Span| usize::try_from(time.micros() / self.rule.period().micros()).unwrap_or(usize::MAX);
        let left = count(world.end.since(world.now()));
        let (len, least) = match self.rule {
            Rule::Fleet | Rule::Direct if episode > 0 => return None,
            Rule::Fleet | Rule::Direct => (count(world.end.since(world.start)), 0),
            Rule::RestartInt | Rule::RestartUuid => (left.min(RESTART_LEN), RESTART_FIRST),
            Rule::Returning | Rule::ReturningPost => (RETURNING_LEN, RETURNING_LEN),
            _ => (SHORT, SHORT),
        };
        (left >= least).then(|| Script::new(world.seed, self.rule, self.client, episode, len))
    }
}

/// Reads one stream to its end, over as many connections as its script says.
fn follow(world: &World, addr: SocketAddr, stream: &Stream) -> Verdict {
    let mut client = Client { world, stream, checker: Checker::new(&stream.script), taken: 0, last_id: None };
    let mut leaves = stream.script.leaves.iter().copied();
    loop {
        let mut parser = Parser::new();
        let ending = match ask(addr, &stream.script, client.last_id.as_deref()) {
            Ok(socket) => client.read(socket, &mut parser, leaves.next()),
            Err(error) => Some(Ending::Failed(format!("cannot reach {addr}: {error}"))),
        };
        match ending {
            Some(ending) => return client.checker.end(ending, parser.is_inside_event()),
            None => world.tally().came_back += 1,
        }
        // The upstream sends events meanwhile.
        world.doze(world.now() + AWAY);
    }
}

/// Sends the request. Each stream has its own credentials, as if each belonged to another person.
pub(super) fn ask(addr: SocketAddr, script: &Script, last_id: Option<&str>) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&addr, CONNECT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(POLL))?;
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

/// A client while it reads one stream.
struct Client<'a> {
    world: &'a World,
    stream: &'a Stream,
    checker: Checker<'a>,
    /// Events got so far.
    taken: usize,
    last_id: Option<String>,
}

impl Client<'_> {
    /// Reads a response to its end. `None` means that the client left after `until` events; it does not read what was
    /// still on its way.
    fn read(&mut self, mut socket: TcpStream, parser: &mut Parser, until: Option<usize>) -> Option<Ending> {
        let world = self.world;
        let mut buffer = [0; 16 * 1024];
        let mut events = Vec::new();
        let mut heard = world.now();
        loop {
            let got = match socket.read(&mut buffer) {
                Ok(0) => return Some(Ending::Cut),
                Ok(n) => n,
                Err(error) if is_timeout(&error) => 0,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Some(Ending::Cut),
                Err(error) => return Some(Ending::Failed(format!("read failed: {error}"))),
            };
            let now = world.now();
            if let Err(what) = parser.feed(&buffer[..got], &mut events) {
                return Some(Ending::Failed(what));
            }
            if let Some(what) = wrong_head(parser) {
                return Some(Ending::Failed(what));
            }
            for event in events.drain(..) {
                heard = now;
                self.take(&event, now);
                if until.is_some_and(|until| self.taken >= until) {
                    // If bytes are left unread, the kernel sends a reset.
                    return None;
                }
            }
            if parser.is_clean() {
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
            let rule = self.stream.script.rule;
            // Events that came while the client was away are late for that reason, not because of the proxy.
            let written = self.stream.written(n).filter(|_| !rule.client_leaves());
            self.world.record_event(rule.is_direct(), written.map(|at| now.since(at)));
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Says what is wrong with the head of the response, if anything is.
fn wrong_head(parser: &Parser) -> Option<String> {
    match parser.status {
        Some(200) if parser.is_close_delimited() => Some("the response has no chunks".to_owned()),
        Some(200) | None => None,
        Some(status) => Some(format!("answered {status}")),
    }
}
