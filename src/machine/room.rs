//! How much may be read from a connection now: the back-pressure between the two sides of an exchange.
//!
//! In: a connection, its exchange, and what waits on the other side. Out: a number of bytes, or which bytes to read
//! next.
//! Laws: a client is read no faster than upstream takes its request body; upstream is read no faster than the log or
//! the client takes the answer. If there will never be more room than there is now, then any room is enough. While
//! `buffer_budget` is nearly used up, a side is read for only when it has taken everything, and then a little; so
//! everything goes on.

use super::conn::{ClientState, Conn, HIGH_WATER, Peer, UpstreamState};
use super::cx::Cx;
use super::exchange::{Exchange, Phase};
use super::find::body::HeldRequest;
use super::keys::ConnKey;
use super::pool::Conns;
use crate::http::HeadLimits;

/// Bytes of a next request that are taken in while one is being served.
const PIPELINE: usize = 4 << 10;

/// Bytes that are read at a time for a side that has taken everything, while connections hold nearly all of
/// `buffer_budget`.
const LITTLE: usize = 4 << 10;

/// The same for a client's head, which nearly always fits into this.
const LITTLE_HEAD: usize = 16 << 10;

/// Upstream is not read again while a log has less room than this, so that each read is worth its system call.
const LOW_ROOM: usize = 4 << 10;

/// Which bytes of an upstream's body to read next.
pub(super) enum NextRead {
    /// There is no room, or nothing waits.
    Nothing,
    /// The connection's input, taken out.
    Input(Vec<u8>),
    /// The socket.
    Socket,
}

/// How much a connection may be read. `x`: the exchange that it carries, if any.
pub(super) fn room(cx: &Cx, conns: &Conns, c: &Conn, x: Option<&Exchange>) -> usize {
    match &c.peer {
        Peer::Client(client) => client_room(cx, conns, c, client.state, x),
        Peer::Upstream(upstream) => upstream_room(cx, conns, c, upstream.state, x),
        Peer::Check(_) => head_room(conns, c, cx.answer_head(), LITTLE_HEAD),
    }
}

fn client_room(cx: &Cx, conns: &Conns, c: &Conn, state: ClientState, x: Option<&Exchange>) -> usize {
    match state {
        ClientState::Head => head_room(conns, c, cx.request_head(), LITTLE_HEAD),
        // Also while upstream takes nothing yet: a client that leaves meanwhile is seen to leave.
        ClientState::Busy if let Some(behind) = c.behind_request() => PIPELINE.saturating_sub(behind),
        ClientState::Busy => {
            let held = x.filter(|x| x.is_held()).map(|_| HeldRequest::room(c.input.len()));
            match c.input.is_empty() {
                true => body_room(conns, x).max(held.unwrap_or(0)),
                false => held.unwrap_or(0),
            }
        }
        ClientState::Tunnel => body_room(conns, x),
        ClientState::Closing | ClientState::HalfClosed => HIGH_WATER,
    }
}

/// How much may be read of a head, and of what comes with it: no more at a time than of a body, since most heads are
/// short. `little`: the most while buffers are tight.
fn head_room(conns: &Conns, c: &Conn, limits: HeadLimits, little: usize) -> usize {
    // The bound may have fallen below what has come: one more byte shows that the head is too long. A request that is held
    // has its whole head.
    let least = usize::from(!c.is_held());
    let room = limits.bytes.saturating_sub(c.input.len()).min(HIGH_WATER).max(least);
    if conns.buffers.are_tight() { room.min(little) } else { room }
}

/// Whether upstream takes more of a request's body.
pub(super) fn upstream_takes(conns: &Conns, x: Option<&Exchange>) -> bool {
    body_room(conns, x) > 0
}

/// How much of a request's body upstream takes.
fn body_room(conns: &Conns, x: Option<&Exchange>) -> usize {
    let upstream = x.and_then(|x| x.phase.upstream()).and_then(|u| conns.get(u));
    upstream.filter(|u| u.takes_more()).map_or(0, |u| side_room(conns, u))
}

/// How much may be read for a side that still has what is in its `out` to take.
fn side_room(conns: &Conns, to: &Conn) -> usize {
    match conns.buffers.are_tight() {
        true if to.out.is_empty() => LITTLE,
        false if to.out.len() < HIGH_WATER => HIGH_WATER,
        _ => 0,
    }
}

fn upstream_room(cx: &Cx, conns: &Conns, c: &Conn, state: UpstreamState, x: Option<&Exchange>) -> usize {
    match (state, x) {
        (UpstreamState::Connecting | UpstreamState::Checked, _) => 0,
        (UpstreamState::Idle, _) | (_, None) => 1,
        // Interim answers go to the client, and no faster than it takes them.
        (UpstreamState::Head, Some(x)) if x.stream().is_none() && answer_room(cx, conns, x) == 0 => 0,
        (UpstreamState::Head, _) => head_room(conns, c, cx.answer_head(), LITTLE),
        (UpstreamState::Tunnel, Some(x)) => answer_room(cx, conns, x),
        (UpstreamState::Body, _) if !c.input.is_empty() => 0,
        (UpstreamState::Body, Some(x)) => match answer_room(cx, conns, x) {
            // Other streams have used up the budget, and the readers of this stream have taken everything, so they will
            // make no room. One more byte shows whether the log holds a part of an event ([`Stream::unstick`]).
            0 if matches!(x.phase, Phase::Streaming { .. }) && x.is_delivered() => 1,
            room => room,
        },
    }
}

/// How many bytes of a body there is room for.
fn answer_room(cx: &Cx, conns: &Conns, x: &Exchange) -> usize {
    match x.stream() {
        Some(stream) => stream.tracker.room(cx.limits(x.route()), &cx.budget),
        // Several clients wait for one head; interim ones are passed on to none of them.
        None if x.readers().len() > 1 => HIGH_WATER,
        // The next try waits for the same head.
        None if x.is_detached() && !x.has_waiting_answer() => HIGH_WATER,
        None => match x.client().and_then(|client| conns.get(client)) {
            Some(client) => side_room(conns, client),
            None => 0,
        },
    }
}

impl Exchange {
    /// Which bytes of an upstream's body to read next, if there is room: first those that were held back.
    pub(super) fn next_read(&mut self, cx: &mut Cx, conns: &mut Conns, conn: ConnKey) -> NextRead {
        let has_input = conns.get(conn).is_some_and(|c| !c.input.is_empty());
        let enough = self.has_room(cx, conns);
        match self.phase {
            Phase::Asked { .. } | Phase::Tunnel { .. } if enough => NextRead::Socket,
            Phase::Streaming { .. } | Phase::Passing(_) if enough => match conns.get_mut(conn).filter(|_| has_input) {
                Some(c) => NextRead::Input(c.input.take()),
                None => NextRead::Socket,
            },
            Phase::Streaming { .. } => {
                let route = self.route();
                if let Some(stream) = self.stream_mut().filter(|stream| stream.is_delivered())
                    && stream.unstick(cx, route)
                {
                    stream.readers.flush(cx, conns);
                }
                NextRead::Nothing
            }
            _ => NextRead::Nothing,
        }
    }

    /// Whether there is room enough to be worth a read.
    fn has_room(&self, cx: &Cx, conns: &Conns) -> bool {
        let Some(stream) = self.stream() else {
            return answer_room(cx, conns, self) > 0;
        };
        let limits = cx.limits(self.route());
        let room = stream.tracker.room(limits, &cx.budget);
        // If everything is delivered, there will never be more room than now.
        room > 0 && (room >= LOW_ROOM.min(limits.in_flight_bytes() / 2) || stream.is_delivered())
    }
}
