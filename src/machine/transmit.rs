//! What goes to sockets: bytes of heads and ordinary bodies from `out`, events straight from the log.
//!
//! In: how much sockets took. Out: slices to write, in order, none of them copied.
//! Law: bytes of segno's own stand only where no chunk is open, which is at event boundaries.

use super::Machine;
use super::conn::{ClientState, Conn, ConnKey, HIGH_WATER, Peer, UpstreamState};
use super::exchange::{ExchangeKey, Phase};
use super::seats::Seat;
use crate::base::Count;
use crate::track::TrackContext;

/// Bytes to send, in order; empty ones among them.
pub type Slices<'a> = [&'a [u8]; 5];

/// Room in a log below which upstream is not read again yet, so that reads stay worth their call.
const LOW_ROOM: usize = 4 << 10;

impl Machine {
    /// How many bytes may be read from a connection now; 0 means that [`super::Output::Resume`] will tell when.
    pub fn poll_read(&mut self, conn: ConnKey) -> usize {
        let Some(c) = self.conns.get(conn) else { return 0 };
        let room = match &c.peer {
            Peer::Client(_) => self.client_room(c),
            Peer::Upstream(_) => self.upstream_room(c),
        };
        if room == 0
            && let Some(c) = self.conns.get_mut(conn)
            && !std::mem::replace(&mut c.paused, true)
            && c.upstream().is_some_and(|u| u.state == UpstreamState::Body)
        {
            self.counts.one(Count::Backpressure);
        }
        room
    }

    /// What the connection's socket is to be given. Calling it twice gives the same; what the socket took is told by
    /// [`super::Input::Written`].
    pub fn transmit(&mut self, conn: ConnKey) -> Slices<'_> {
        let Some(c) = self.conns.get(conn) else { return [&[]; 5] };
        let pending = c.out.pending();
        let Some((key, seat)) = c.seated() else { return [pending, &[], &[], &[], &[]] };
        let Some(x) = self.exchanges.get_mut(key) else { return [pending, &[], &[], &[], &[]] };
        let (Some(stream), Some(reader)) = (&x.stream, x.readers.get_mut(seat)) else {
            return [pending, &[], &[], &[], &[]];
        };
        reader.place.open(stream.tracker.whole());
        let (lead, range, tail) = reader.place.pending();
        let (a, b) = stream.tracker.slices(range.start, range.end);
        [pending, lead, a, b, tail]
    }

    /// The socket took `bytes`; fewer than it was given (none, too) means that it is full.
    pub(super) fn on_written(&mut self, conn: ConnKey, bytes: usize) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let rest = bytes - c.out.consume(bytes);
        let drained = c.out.len() < HIGH_WATER;
        let state = c.client_state();
        match (c.exchange, state) {
            (Some(key), None) => self.on_upstream_took(key, drained),
            (None, None) => {}
            (_, Some(ClientState::Closing)) => {
                if c.out.is_empty() {
                    self.on_closing_flushed(conn);
                }
            }
            (Some(key), Some(_)) => {
                let seat = c.seated().map_or(0, |(_, seat)| seat);
                self.on_client_took(key, seat, bytes, rest);
            }
            (None, Some(_)) => c.out.release(),
        }
    }

    fn on_upstream_took(&mut self, key: ExchangeKey, drained: bool) {
        if drained && let Some(client) = self.exchanges.get(key).and_then(|x| x.client()) {
            self.pump_request(client);
            if self.conns.get(client).is_some_and(|c| c.input.is_empty() || c.body.is_done()) {
                self.resume_body(client);
            }
        }
    }

    /// A client took bytes, `of_log` of them behind those in `out`.
    fn on_client_took(&mut self, key: ExchangeKey, seat: Seat, bytes: usize, of_log: usize) {
        let Self { conns, exchanges, routes, interner, budget, moved, now, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let limits = &routes[x.route()].limits;
        let several = x.readers.len() > 1;
        let Some(reader) = x.readers.get_mut(seat) else { return };
        let Some(c) = conns.get_mut(reader.client) else { return };
        if bytes > 0 {
            reader.last_sent = *now;
            x.last_sent = *now;
        }
        let (mut sent, mut more, mut evicted) = (c.out.is_empty(), false, false);
        if let Some(stream) = &mut x.stream {
            if of_log > 0 {
                reader.place.consume(of_log);
                let cx = TrackContext { limits, interner, budget, now: *now };
                let start = stream.tracker.start();
                match several {
                    false => stream.tracker.advance(cx, reader.place.offset),
                    true => stream.tracker.release_to(cx, reader.place.offset),
                }
                // Others may have read on, and left since: so also of one that is alone now.
                let now_at = stream.tracker.start();
                evicted = now_at > start && (several || reader.place.offset < now_at);
            }
            Self::note_moved(moved, key, stream);
            sent &= !reader.place.is_open();
            more = sent && stream.tracker.whole() > reader.place.offset;
            if sent {
                c.out.release();
            }
        }
        let was_blocked = std::mem::replace(&mut reader.blocked, !sent);
        let (client, blocked) = (reader.client, reader.blocked);
        let (phase, upstream) = (x.phase, x.upstream);
        if evicted {
            self.cut_fallen(key);
        }
        if blocked != was_blocked {
            self.arm(key);
        }
        if let Some(upstream) = upstream {
            self.let_read(key, upstream);
        }
        if more {
            self.flush(client);
        } else if sent
            && let Phase::Ending(ending) = phase
            && self.conns.get(client).is_some_and(|c: &Conn| c.out.is_empty())
        {
            self.on_all_sent(key, seat, ending);
        }
    }

    /// Nobody waits for anything, and yet there is no room: the budget of all logs is used up, and what is held is a part
    /// of an event. Readers get it as it comes.
    fn unstick(&mut self, key: ExchangeKey) {
        if let Some(fed) = self.track(key, |tracker, cx| tracker.unstick(cx))
            && fed.oversize
        {
            self.counts.one(Count::EventsOversize);
            self.flush_readers(key);
        }
    }

    /// There may be room again: first for what waits here, then for what waits in the socket.
    pub(super) fn let_read(&mut self, key: ExchangeKey, upstream: ConnKey) {
        let Some(c) = self.conns.get_mut(upstream) else { return };
        if !c.paused && c.input.is_empty() {
            return;
        }
        let Some(x) = self.exchanges.get(key) else { return };
        let enough = match &x.stream {
            Some(stream) => {
                let limits = &self.routes[x.route()].limits;
                let room = stream.tracker.room(limits, &self.budget);
                // Where nothing is left to deliver there will not be more room than there is.
                room >= LOW_ROOM.min(limits.log_bytes / 4) || room > 0 && x.is_delivered()
            }
            None => {
                let client = x.client().and_then(|client| self.conns.get(client));
                client.is_some_and(|c| c.out.len() < HIGH_WATER)
            }
        };
        if !enough && x.phase == Phase::Streaming && x.is_delivered() {
            return self.unstick(key);
        }
        if !enough || !matches!(x.phase, Phase::Asked | Phase::Streaming | Phase::Passing) {
            return;
        }
        let asked = x.phase == Phase::Asked;
        let Some(c) = self.conns.get_mut(upstream) else { return };
        if c.input.is_empty() || asked {
            return self.resume(upstream);
        }
        let waiting = std::mem::take(&mut c.input);
        self.on_body(upstream, &waiting);
        if self.conns.get(upstream).is_some_and(|c| c.input.is_empty()) {
            self.resume(upstream);
        }
    }
}
