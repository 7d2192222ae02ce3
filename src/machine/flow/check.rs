//! What must be true of a machine, checked by itself: in debug builds after each input, in tests also whenever nothing
//! moves.
//!
//! In: a machine. Out: a panic that names what is broken.
//! Law: a machine that breaks none of these leaves no exchange behind without a timer or a connection that will wake
//! it.
//!
//! 1. Keys fit: a client's connection and its reader name each other, and so do an upstream's connection and its
//!    exchange.
//! 2. A stream is detached when it has no reader, and only then. Any other exchange has a reader.
//! 3. No reader's next event has left the log.
//! 4. Everything that waits has a timer; so does a full socket.
//! 5. Upstream is only left unread where a full socket, or the bound of a detached stream, explains it.
//! 6. The list of streams that nobody reads holds these and no others; each place kept in a session is a request's;
//!    retries find the orders that have a key or that nobody reads, and no others.
//! 7. What connections hold is counted, and so are those that wait for their sender.
//! 8. Who reads event streams is counted, and so are the events that are not delivered.
//! 9. Marks are in order: start <= delivered <= whole <= end of the log, and delivered <= received.

use crate::machine::Machine;
use crate::machine::census::Held;
#[cfg(any(test, feature = "fuzzing"))]
use crate::machine::conn::HIGH_WATER;
use crate::machine::conn::{ClientState, Conn, Peer, UpstreamState};
use crate::machine::exchange::{Exchange, Phase};
#[cfg(test)]
use crate::machine::keys::ConnKey;
use crate::machine::keys::ExchangeKey;
use crate::machine::stream::audience::Audience;

/// What a connection may hold beyond its share of `buffer_budget`: a small part of a body, and what segno says by
/// itself.
#[cfg(any(test, feature = "fuzzing"))]
const PART: usize = 16 << 10;

/// Exchanges and connections up to which a debug build checks everything after each input.
#[cfg(debug_assertions)]
const FEW: usize = 64;

/// After each input.
impl Machine {
    #[cfg(debug_assertions)]
    pub(in crate::machine) fn check_a_few(&self) {
        if self.exchanges.len() + self.conns.len() <= FEW {
            self.check_invariants();
        }
    }

    /// What is true after each input.
    pub(crate) fn check_invariants(&self) {
        assert!(self.cx.after.is_empty(), "something is left to be done");
        for (key, x) in self.exchanges.iter() {
            self.check_keys(key, x);
            check_marks(x);
        }
        for (_, c) in self.conns.iter() {
            self.check_conn(c);
        }
        let held: usize = self.conns.iter().map(|(_, c)| c.charged as usize).sum();
        assert_eq!(self.buffer_bytes(), held, "what all connections hold");
        let waiting = self.conns.iter().filter(|(_, c)| c.waits).count();
        assert_eq!(self.conns.buffers.waiting(), waiting, "who waits for its sender");
        self.check_census();
        let mut busy = vec![0; self.conns.busy().len()];
        self.conns.routes_in_use().for_each(|place| busy[place] += 1);
        assert_eq!(self.conns.busy(), busy, "connections to upstreams that are at work");
        let lost = self.cx.balancing.rounds().find(|key| self.exchanges.get(*key).is_none());
        assert_eq!(lost, None, "an exchange that is gone looks for an upstream");
        let (mut told, streams) = self.cx.balancing.endpoints.all();
        let is_lost = |(key, place): &(_, usize)| self.exchanges.get(*key).is_none_or(|x| x.route() != *place);
        let (all, lost) = (told.size_hint().0, told.find(is_lost));
        assert_eq!((lost, streams), (None, all), "messages belong to a stream that is gone or elsewhere");
        let tunnels = self.exchanges.iter().filter(|(_, x)| matches!(x.phase, Phase::Tunnel { .. })).count();
        assert_eq!(self.tunnels(), tunnels, "open tunnels");
        let audience = self.exchanges.iter().fold(Audience::default(), |mut all, (_, x)| {
            all.settle(Audience::default(), x.audience());
            all
        });
        assert_eq!(self.cx.audience, audience, "who reads event streams");
        let undelivered = self.exchanges.iter().filter_map(|(_, x)| x.stream());
        let undelivered: u64 = undelivered.map(|s| s.tracker.received().seq - s.tracker.delivered().seq).sum();
        assert_eq!(self.undelivered(), undelivered, "what is not delivered");
        let detached = self.exchanges.iter().filter(|(_, x)| x.is_detached()).count();
        assert_eq!(self.book.unread.len(), detached, "streams that nobody reads");
        let known = self.index.orders.len();
        assert_eq!(known, self.exchanges.iter().filter(|(_, x)| is_awaited(x)).count(), "orders that retries find");
        let reserving = self.exchanges.iter().filter(|(_, x)| x.request.reserves).count();
        assert_eq!(self.index.all_awaited(), reserving, "places that requests have in their sessions");
    }

    /// Everybody is counted once, and nobody who has gone. Those who shake hands are counted as well, and not here.
    fn check_census(&self) {
        let stakes: Vec<_> = self.conns.iter().map(|(_, c)| (c.stakes(), c.client_state())).collect();
        let connections = stakes.iter().filter(|(s, _)| s.connection.is_some()).count();
        let streams = stakes.iter().flat_map(|(s, _)| [s.address, s.principal]).filter(|s| s.is_some()).count();
        assert!(self.conns.census.all(Held::Connection) >= connections, "connections by address");
        assert_eq!(self.conns.census.all(Held::Stream), streams, "event streams by address and principal");
        assert_eq!(self.conns.census.all(Held::Wait), self.conns.census.waiting(), "requests that wait for a place");
        let idle = stakes.iter().filter(|(_, state)| *state != Some(ClientState::Busy));
        assert!(idle.into_iter().all(|(s, _)| !s.address.is_some() && !s.principal.is_some()), "it reads nothing");
    }

    fn check_keys(&self, key: ExchangeKey, x: &Exchange) {
        let what = || format!("{} in {:?}", x.target(), x.phase);
        assert_eq!(x.readers().is_empty(), x.is_detached(), "nobody reads: {}", what());
        for (seat, reader) in x.readers().iter() {
            let client = self.conns.get(reader.client);
            assert_eq!(client.and_then(Conn::seated), Some((key, seat)), "no client: {}", what());
            let start = x.stream().map_or(0, |stream| stream.tracker.start());
            assert!(!reader.head_sent || reader.chunk.offset >= start, "its next event has left: {}", what());
        }
        let follows = matches!(x.phase, Phase::Following { .. });
        assert_eq!(self.book.shares.is_followed(key), follows, "who follows: {}", what());
        if let Some(conn) = x.phase.upstream() {
            let upstream = self.conns.get(conn);
            assert_eq!(upstream.map(|u| u.exchange), Some(Some(key)), "stale upstream: {}", what());
        }
    }

    fn check_conn(&self, c: &Conn) {
        assert_eq!(c.charged, c.held(), "what {:?} holds", c.peer);
        match &c.peer {
            Peer::Upstream(u) if u.state == UpstreamState::Idle => {
                assert!(c.timer.is_some() && c.exchange.is_none() && c.out.is_empty(), "an idle connection with work");
            }
            Peer::Check(_) => assert!(c.exchange.is_none() && c.timer.is_some(), "a check without an end"),
            Peer::Upstream(_) => assert!(c.exchange.is_some(), "an upstream connection that nobody knows"),
            Peer::Client(k) if matches!(k.state, ClientState::Busy | ClientState::Tunnel) => {
                assert!(c.exchange.is_some(), "busy with nothing")
            }
            Peer::Client(k) => assert!(c.exchange.is_none() && c.timer.is_some(), "{:?}", k.state),
        }
    }
}

/// Whenever nothing moves.
#[cfg(any(test, feature = "fuzzing"))]
impl Machine {
    /// What is also true once all outputs are carried out and all sockets have taken what they will.
    pub(crate) fn check_settled(&self) {
        self.check_invariants();
        for (_, x) in self.exchanges.iter() {
            self.check_waits(x);
        }
    }

    fn check_waits(&self, x: &Exchange) {
        let what = || format!("{} in {:?}", x.target(), x.phase);
        let (timed, blocked) = (x.alarm.is_set(), x.readers().any_blocked());
        assert!(timed || !x.is_detached() || x.is_watched(), "kept for ever: {}", what());
        assert!(timed || !blocked, "a full socket without a timer: {}", what());
        match x.phase {
            Phase::Waiting { .. } => {
                let client = x.client().and_then(|client| self.conns.get(client));
                let by_body = x.is_held() && client.is_some_and(|c| c.timer.is_some());
                let by_queue = self.cx.queues.is_timed(x.route());
                assert!(timed || by_body || by_queue, "waits for ever: {}", what());
            }
            // The store will tell.
            Phase::Following { .. } => {}
            Phase::Parting { .. } => assert!(timed, "waits for ever: {}", what()),
            Phase::Connecting { conn, .. } => {
                let opens = self.conns.get(conn).is_some_and(|c| c.timer.is_some());
                assert!(opens, "waits for ever: {}", what());
            }
            // The system watches the connection to an upstream that is slow to begin a stream.
            Phase::Asked { .. } => assert!(timed || x.can_heal(), "waits for ever: {}", what()),
            Phase::Streaming { conn, .. } | Phase::Passing(conn) => {
                let stopped = self.conns.get(conn).is_some_and(|u| u.paused || !u.input.is_empty());
                let explained = !stopped || blocked || x.is_detached();
                assert!(explained, "upstream is not read, and nothing will change that: {}", what());
            }
            // Two connections that say when something happens, and nothing to wait for.
            Phase::Tunnel { .. } => {}
            Phase::Ending(_) => {
                let asked = x
                    .readers()
                    .iter()
                    .any(|(_, reader)| reader.asked_until < crate::base::Tick::NEVER && reader.is_owed());
                assert!(blocked || asked || x.is_detached(), "nothing is left to send, and it goes on: {}", what());
            }
        }
    }

    /// Every table and buffer is within its bound. `slack`: bytes that a connection may hold beside its bounds, which
    /// are one read and what segno says by itself.
    pub(crate) fn check_bounds(&self, slack: usize) {
        let (limits, largest) = (&self.cx.config.limits, &self.cx.most);
        assert!(self.connections() <= limits.connections && self.exchanges() <= limits.streams);
        assert!(self.sessions() <= limits.sessions && self.streams() <= self.exchanges());
        assert!(self.poll_timeout().is_none_or(|at| at >= self.cx.now), "a timer in the past");
        assert!(self.cx.outputs.is_empty(), "an output that nobody took");
        for (_, c) in self.conns.iter() {
            let most = largest.header_bytes + largest.replay_bytes + slack;
            assert!(c.input.len() <= most, "{} bytes of input", c.input.len());
            assert!(c.out.len() <= HIGH_WATER + slack, "{} bytes to send", c.out.len());
        }
        let most = largest.buffer_budget + self.connections() * PART;
        assert!(self.buffer_bytes() <= most, "{} bytes in buffers, {most} may be", self.buffer_bytes());
        // The ring, and notes on blocks, whose list doubles.
        let per_stream = 4 * largest.replay_bytes + (4 << 10) + slack;
        let most = largest.log_budget + self.exchanges() * per_stream;
        assert!(self.log_bytes() <= most, "{} bytes of logs", self.log_bytes());
    }

    /// Nothing is left: no connection, exchange, session, log byte, event id or timer.
    pub(crate) fn check_empty(&self) {
        assert_eq!((self.connections(), self.exchanges()), (0, 0));
        assert_eq!((self.log_bytes(), self.buffer_bytes(), self.cx.interner.live()), (0, 0, 0));
        assert_eq!((self.sessions(), self.streams()), (0, 0));
        assert!(self.index.variants.is_empty(), "a shared stream that is over");
        assert!(self.index.waiting.is_empty(), "a request that waits for no answer any more");
        assert_eq!((self.conns.pooled(), self.conns.census.len()), (0, 0));
        assert_eq!(self.cx.traces.open(), 0, "a part of a trace that nobody ends");
        assert_eq!(self.poll_timeout(), None);
    }

    /// The delivered mark of each stream, by a name that no other stream has.
    pub(crate) fn delivered_marks(&self) -> impl Iterator<Item = ((u64, u64), u64)> {
        self.exchanges.iter().filter_map(|(key, x)| {
            let stream = x.stream()?;
            Some(((key.to_bits(), stream.account.number), stream.tracker.delivered().seq))
        })
    }

    /// What an exchange was asked for and from where, as it stands in the store.
    pub(crate) fn asked_of(&self, key: ExchangeKey) -> Option<Vec<u8>> {
        self.exchanges.get(key).map(|x| x.request.identity.stored().to_vec())
    }

    /// How long a session may be idle.
    pub(crate) fn session_idle(&self) -> crate::base::Span {
        self.cx.config.persist.session_idle
    }
}

/// What individual tests ask and do.
#[cfg(test)]
impl Machine {
    /// Bytes that wait to be sent to a connection, beside those in logs.
    pub(crate) fn pending_of(&self, conn: ConnKey) -> usize {
        self.conns.get(conn).map_or(0, |c| c.out.len())
    }

    /// Other streams need room: each log gives back what it can, and they take all that there is. How much that is.
    pub(crate) fn take_budget(&mut self) -> usize {
        let keys: Vec<ExchangeKey> = self.exchanges.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(x) = self.exchanges.get_mut(key) else { continue };
            let route = x.route();
            if let Some(stream) = x.stream_mut() {
                stream.tracker.trim(self.cx.track(route), 0);
            }
        }
        let left = self.cx.budget.left();
        self.cx.budget.force_take(left);
        left
    }

    pub(crate) fn give_budget(&mut self, bytes: usize) {
        self.cx.budget.give(bytes);
    }
}

/// Whether retries find the exchange.
fn is_awaited(x: &Exchange) -> bool {
    x.order().is_some_and(|order| order.keyed || x.is_detached())
}

fn check_marks(x: &Exchange) {
    let Some(tracker) = x.stream().map(|stream| &stream.tracker) else { return };
    assert!(tracker.delivered().seq <= tracker.received().seq, "more delivered than received");
    assert!(tracker.start() <= tracker.delivered_offset(), "delivered events that have left");
    assert!(tracker.delivered_offset() <= tracker.whole() && tracker.whole() <= tracker.end());
    assert!(tracker.marked_offset() <= tracker.whole());
    assert!(x.readers().iter().all(|(_, reader)| reader.got <= reader.chunk.offset), "more got than sent");
}
