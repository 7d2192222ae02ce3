//! What goes to sockets: bytes of heads and ordinary bodies from `out`, events straight from the log.
//!
//! In: how much sockets took. Out: slices to write, in order, none of them copied; how much may be read.
//! Law: bytes of segno's own stand only where no chunk is open, which is at event boundaries.

use crate::base::{Count, Tick};
use crate::http::Version;
use crate::machine::Machine;
use crate::machine::conn::{ClientState, Conn, HIGH_WATER, UpstreamState};
use crate::machine::exchange::Phase;
use crate::machine::io::{Output, Slices};
use crate::machine::keys::{ConnKey, ExchangeKey, Seat};
use crate::machine::room::room;

impl Machine {
    /// How many bytes may be read from a connection now; 0 means that [`Output::ReadAgain`](crate::machine::Output)
    /// will tell when.
    pub fn poll_read(&mut self, conn: ConnKey) -> usize {
        let Some(c) = self.conns.get(conn) else { return 0 };
        let x = c.exchange.and_then(|key| self.exchanges.get(key));
        let room = room(&self.cx, &self.conns, c, x);
        if room == 0
            && let Some(c) = self.conns.beside_buffers(conn)
            && !std::mem::replace(&mut c.paused, true)
            && let Some(u) = c.upstream().filter(|u| u.state == UpstreamState::Body)
        {
            self.cx.counts.one_at(u.route as usize, Count::Backpressure);
        }
        room
    }

    /// What to write to the connection's socket. A second call gives the same bytes. Report how many the socket took
    /// with [`Input::Written`](crate::machine::Input).
    pub fn transmit(&mut self, conn: ConnKey) -> Slices<'_> {
        let Some(c) = self.conns.get(conn) else { return [&[]; 5] };
        let pending = c.out.pending();
        let stream = c.seated().and_then(|(key, seat)| Some((self.exchanges.get_mut(key)?.stream_mut()?, seat)));
        let Some((stream, seat)) = stream else { return [pending, &[], &[], &[], &[]] };
        let Some(reader) = stream.readers.get_mut(seat) else { return [pending, &[], &[], &[], &[]] };
        reader.chunk.open(stream.tracker.whole(), reader.version == Version::Http11);
        let (lead, range, tail) = reader.chunk.pending();
        let (a, b) = stream.tracker.slices(range.start, range.end);
        [pending, lead, a, b, tail]
    }

    /// The socket took `bytes`; fewer than it was given (none, too) means that it is full.
    pub(in crate::machine) fn on_written(&mut self, conn: ConnKey, bytes: usize) {
        let Some(c) = self.conns.on_sent(conn) else { return };
        if c.is_noted() {
            self.cx.visits.took(conn, bytes);
        }
        let of_log = bytes - c.out.consume(bytes);
        let drained = c.out.len() < HIGH_WATER;
        match (c.exchange, c.client_state()) {
            (Some(key), None) => self.on_upstream_took(key, drained),
            (None, None) => {}
            (_, Some(ClientState::Closing)) => {
                if c.out.is_empty() {
                    self.conns.on_closing_flushed(&mut self.cx, conn);
                }
            }
            (Some(key), Some(_)) => {
                let seat = c.seated().map_or(0, |(_, seat)| seat);
                self.on_client_took(key, seat, bytes, of_log);
            }
            (None, Some(_)) => c.out.release(),
        }
    }

    /// A client has acknowledged all but the last `bytes` bytes that its socket took.
    pub(in crate::machine) fn on_unacknowledged(&mut self, conn: ConnKey, bytes: u64) {
        let Self { cx, conns, exchanges, book, .. } = self;
        let Some((key, seat)) = conns.get(conn).and_then(Conn::seated) else { return };
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let Some(stream) = x.stream_mut() else { return };
        let before = stream.readers.get(seat).map(|reader| reader.got);
        let evicted = stream.acknowledge(cx, route, seat, bytes);
        let Some(reader) = stream.readers.get(seat) else { return };
        let (is_owed, asked_until, quiet) = (reader.is_owed(), reader.asked_until, reader.quiet);
        if before != Some(reader.got) {
            book.note_moved(key, &mut stream.account);
        }
        if is_owed {
            // Who is about to be cut is asked in every turn.
            let quiet = if asked_until < Tick::NEVER { 0 } else { quiet };
            book.ask_again(cx, key, &mut stream.account, quiet);
        }
        if evicted && stream.readers.len() > 1 {
            x.cut_fallen(cx, conns, key);
        }
        if asked_until < Tick::NEVER
            && (!is_owed || asked_until <= cx.now)
            && let Phase::Ending(ending) = x.phase
        {
            self.on_all_sent(key, seat, ending);
        }
    }

    fn on_upstream_took(&mut self, key: ExchangeKey, drained: bool) {
        if self.exchanges.get(key).is_some_and(|x| matches!(x.phase, Phase::Tunnel { .. })) {
            self.settle_tunnel(key);
        }
        if drained && let Some(client) = self.exchanges.get(key).and_then(|x| x.sender(&self.conns)) {
            self.pump_request(client);
            if self.conns.get(client).is_some_and(|c| c.input.is_empty() || c.body.is_done()) {
                self.read_body_again(client);
            }
        }
    }

    /// A client took `bytes` bytes: first those in `out`, then `of_log` bytes of the log.
    fn on_client_took(&mut self, key: ExchangeKey, seat: Seat, bytes: usize, of_log: usize) {
        let Self { cx, conns, exchanges, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let route = x.route();
        let readers = x.readers_mut();
        let Some(reader) = readers.get_mut(seat) else { return };
        let client = reader.client;
        let Some(c) = conns.on_sent(client) else { return };
        if bytes > 0 {
            reader.last_sent = cx.now;
            readers.last_sent = cx.now;
        }
        let (mut sent, mut more, mut evicted) = (c.out.is_empty(), false, false);
        let is_noted = c.is_noted();
        if let Some(stream) = x.stream_mut() {
            let took = stream.took(cx, route, seat, of_log, sent);
            (sent, more, evicted) = (took.sent, took.more, took.evicted);
            match of_log {
                0 => book.note_moved(key, &mut stream.account),
                _ => book.note_taken(cx, key, &mut stream.account),
            }
            if is_noted && let Some(reader) = stream.readers.get(seat) {
                let replay = cx.visits.took_events(client, stream.events_before(reader.chunk.offset), cx.now);
                cx.traced(replay);
            }
            if took.ask {
                cx.outputs.push_back(Output::AskUnacknowledged { conn: client });
            }
            if sent {
                c.out.release();
            }
        }
        let before = x.audience();
        let has_changed = x.readers_mut().set_blocked(seat, !sent);
        if has_changed {
            cx.audience.settle(before, x.audience());
        }
        let (upstream, is_tunnel) = (x.phase.upstream(), matches!(x.phase, Phase::Tunnel { .. }));
        let (is_following, is_watched) = (matches!(x.phase, Phase::Following { .. }), has_changed && x.is_watched());
        let ending = match x.phase {
            Phase::Ending(ending) => Some(ending),
            _ => None,
        };
        if evicted {
            x.cut_fallen(cx, conns, key);
        }
        if has_changed {
            x.arm(cx, key);
        }
        if let Some(upstream) = upstream.filter(|upstream| self.conns.is_held_back(*upstream)) {
            self.read_on(key, upstream);
        }
        if is_watched {
            self.go_at_others_pace(key);
        }
        if is_following {
            self.take_rest(key);
        }
        if more {
            self.conns.flush(&mut self.cx, client);
        } else if sent
            && let Some(ending) = ending
            && self.conns.get(client).is_some_and(|c| c.out.is_empty())
        {
            self.on_all_sent(key, seat, ending);
        } else if sent && is_tunnel {
            self.settle_tunnel(key);
        }
    }
}
