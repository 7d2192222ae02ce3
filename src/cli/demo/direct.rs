//! The same clients without segno: what the faults do to a browser's `EventSource`, and to a POST that is sent once.
//!
//! In: the scripts of the streams, and an upstream of their own that plays them. Out: what was lost and repeated, and
//! the streams whose client cannot know whether it has all.
//! Laws: a client asks again after a cut and after a connection that was refused, with the last id that it has; every
//! status but 200 ends it for good, and 204 tells it that the stream is over; a POST is sent once; nothing that happens
//! here is a promise of segno's.
//! Source: WHATWG HTML, section 9.2.3, "Processing model".

use super::check::{Checker, Ending, Verdict};
use super::client::{Job, ask};
use super::parser::Parser;
use super::stream::{Stream, Streams};
use super::world::World;
use crate::base::Span;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};

/// How long a client waits before it asks again, where the stream does not say. Browsers wait for some seconds.
const RETRY: Span = Span::from_millis(300);
/// How long after the end of the demo a client may still read.
const GRACE: Span = Span::from_secs(3);

impl Job {
    /// Reads streams until the demo ends, straight from the upstream.
    pub(super) fn run_without(self, world: &World, streams: &Streams, upstream: SocketAddr) {
        if !world.sleep_until(world.start + self.offset()) {
            return;
        }
        for episode in 0.. {
            let Some(script) = self.script(world, episode) else { break };
            let stream = streams.open(script);
            let began = world.now();
            let (verdict, is_known) = follow(world, upstream, &stream);
            streams.close(&stream);
            if world.is_stopped() {
                break;
            }
            let mut tally = world.tally();
            tally.streams += 1;
            tally.lost += verdict.lost;
            tally.duplicated += verdict.duplicated;
            tally.reordered += verdict.reordered;
            tally.unknown += u64::from(!is_known);
            drop(tally);
            // A stream that ends early makes no room for more streams than there are with segno.
            let script = &stream.script;
            if !world.sleep_until(began + script.period.times(script.len() as u64)) {
                break;
            }
        }
    }
}

/// How one connection ended.
enum End {
    /// With the last chunk, or a status that says the stream is over: the client has all that there is.
    Known,
    /// The connection is gone.
    Cut,
    /// With a status that ends the client.
    Refused,
}

/// Reads one stream. Returns what came of it, and whether the client knows that it has all.
fn follow(world: &World, upstream: SocketAddr, stream: &Stream) -> (Verdict, bool) {
    let mut checker = Checker::new(&stream.script);
    let mut leaves = stream.script.leaves.iter().copied();
    let (mut taken, mut last_id) = (0, None);
    let is_known = loop {
        let until = leaves.next();
        let end = match ask(upstream, &stream.script, last_id.as_deref()) {
            Ok(socket) => read(world, socket, until, &mut checker, &mut taken, &mut last_id),
            Err(_) => End::Cut,
        };
        match end {
            End::Known => break true,
            End::Refused => break false,
            End::Cut if stream.script.rule.method() == "POST" => break false,
            End::Cut if world.now() > world.end + GRACE || !world.sleep_until(world.now() + RETRY) => break false,
            End::Cut => {}
        }
    };
    (checker.end(if is_known { Ending::Clean } else { Ending::Cut }, false), is_known)
}

fn read(
    world: &World,
    mut socket: TcpStream,
    until: Option<usize>,
    checker: &mut Checker<'_>,
    taken: &mut usize,
    last_id: &mut Option<String>,
) -> End {
    let (mut parser, mut buffer, mut events) = (Parser::new(), [0; 16 * 1024], Vec::new());
    loop {
        let got = match socket.read(&mut buffer) {
            Ok(0) => return End::Cut,
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => 0,
            Err(_) => return End::Cut,
        };
        if parser.feed(&buffer[..got], &mut events).is_err() {
            return End::Cut;
        }
        match parser.status {
            Some(204) => return End::Known,
            Some(200) | None => {}
            Some(_) => return End::Refused,
        }
        for event in events.drain(..) {
            if event.id.is_some() {
                last_id.clone_from(&event.id);
            }
            if checker.event(&event).is_some() {
                *taken += 1;
                world.tally().events += 1;
            }
            if until.is_some_and(|until| *taken >= until) {
                return End::Cut;
            }
        }
        if parser.is_clean() {
            return End::Known;
        }
        if world.is_stopped() || world.now() > world.end + GRACE {
            return End::Cut;
        }
    }
}
