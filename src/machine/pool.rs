//! All connections: where each is found, when it is looked after, and which ones to upstream are idle.
//!
//! In: connections as they come. Out: requests to the shell for flushes, reads and closes, each made once; idle
//! connections for reuse.
//! Laws: a connection in the pool carries nothing and has a timer; of the idle ones the latest used is taken first; a
//! request that must not be sent twice travels only on a connection that upstream has hardly had time to close.

use super::buffers::Buffers;
use super::census::{Census, Held};
use super::conn::{Conn, Peer, UpstreamState};
use super::cx::Cx;
use super::io::{Close, Output};
use super::keys::{ConnKey, ConnMark, Timer};
use crate::base::{Span, Table, Tick};
use crate::config::Limits;
use std::collections::HashMap;

/// How long an idle connection to upstream is kept. Node's servers close theirs after 5 s, the shortest of the
/// common ones.
const POOL_IDLE: Span = Span::from_secs(4);

/// How long it may have been idle to carry a request that must not be repeated.
const POOL_FRESH: Span = Span::from_secs(1);

/// Idle connections kept for a route.
const POOL_SIZE: usize = 64;

/// All connections of one reactor.
pub(super) struct Conns {
    table: Table<Conn, ConnMark>,
    pub(super) buffers: Buffers,
    /// What clients are counted for.
    pub(super) census: Census,
    /// Idle connections to upstream by the place of their route, the latest used last.
    idle: Vec<Vec<ConnKey>>,
    /// Connections to upstream that are at work, or being opened, by the place of their route.
    busy: Vec<u32>,
    /// Places of which that has changed since it was told, each once.
    moved: Vec<usize>,
    has_moved: Vec<bool>,
    /// Who clients are by their certificates, as hashes. Most have none.
    certificates: HashMap<ConnKey, [u8; 16]>,
}

impl Conns {
    pub(super) fn new(limits: &Limits, routes: usize) -> Self {
        let buffers = Buffers::new(limits.buffer_budget);
        Self {
            table: Table::new(limits.connections),
            buffers,
            census: Census::default(),
            idle: vec![Vec::new(); routes],
            busy: vec![0; routes],
            moved: Vec::new(),
            has_moved: vec![false; routes],
            certificates: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnKey, &Conn)> {
        self.table.iter()
    }

    #[inline]
    pub(super) fn get(&self, conn: ConnKey) -> Option<&Conn> {
        self.table.get(conn)
    }

    /// The connection, to be changed. What it holds is recounted behind the input.
    #[inline]
    pub(super) fn get_mut(&mut self, conn: ConnKey) -> Option<&mut Conn> {
        let c = self.table.get_mut(conn)?;
        if !std::mem::replace(&mut c.touched, true) {
            self.buffers.touch(conn);
        }
        Some(c)
    }

    /// The connection, to be changed in all but its buffers and what it waits for. An event on its way needs no recount.
    #[inline]
    pub(super) fn beside_buffers(&mut self, conn: ConnKey) -> Option<&mut Conn> {
        self.table.get_mut(conn)
    }

    /// The connection, whose socket has taken something. It is recounted if it has a buffer for what it sends.
    #[inline]
    pub(super) fn on_sent(&mut self, conn: ConnKey) -> Option<&mut Conn> {
        let c = self.table.get_mut(conn)?;
        if c.out.is_held() && !std::mem::replace(&mut c.touched, true) {
            self.buffers.touch(conn);
        }
        Some(c)
    }

    /// Recounts what a connection holds. `waits`: it waits for the rest of what its client sends.
    #[inline]
    pub(super) fn recount(&mut self, conn: ConnKey, waits: bool) {
        let Some(c) = self.table.get_mut(conn) else { return };
        c.touched = false;
        let held = c.held();
        if held != c.charged {
            self.buffers.recount(c.charged, held);
            c.charged = held;
        }
        if waits != c.waits {
            c.waits = waits;
            match waits {
                true => self.buffers.wait(conn),
                false => self.buffers.wait_no_more(conn),
            }
        }
    }

    /// Gives a connection its place; `None` when all are taken.
    pub(super) fn insert(&mut self, conn: Conn) -> Option<ConnKey> {
        let place = conn.upstream().map(|u| u.route as usize);
        let key = self.table.insert(conn).ok()?;
        if let Some(place) = place {
            self.count(place, 1);
        }
        Some(key)
    }

    /// Connections to upstream that are at work, or being opened, by the place of their route.
    pub(super) fn busy(&self) -> &[u32] {
        &self.busy
    }

    fn count(&mut self, place: usize, more: i32) {
        self.busy[place] = self.busy[place].saturating_add_signed(more);
        if !std::mem::replace(&mut self.has_moved[place], true) {
            self.moved.push(place);
        }
    }

    /// Passes on how many are at work, where that has changed.
    pub(super) fn drain_busy(&mut self, mut each: impl FnMut(usize, u32)) {
        for place in self.moved.drain(..) {
            self.has_moved[place] = false;
            each(place, self.busy[place]);
        }
    }

    /// Notes who a client is by its certificate.
    pub(super) fn certify(&mut self, conn: ConnKey, certificate: [u8; 16]) {
        self.certificates.insert(conn, certificate);
    }

    /// Who a client is by its certificate, if it has sent one.
    pub(super) fn certificate(&self, conn: ConnKey) -> Option<[u8; 16]> {
        self.certificates.get(&conn).copied()
    }

    /// Removes a connection whose socket the shell has closed already.
    pub(super) fn remove(&mut self, cx: &mut Cx, conn: ConnKey) -> Option<Conn> {
        self.free_stream(cx, conn);
        let c = self.table.remove(conn)?;
        if let Peer::Client(client) = &c.peer {
            self.census.remove(client.stakes().connection, Held::Connection);
            if client.is_held {
                self.census.wait_no_more(conn);
            }
        }
        if let Some(u) = c.upstream().filter(|u| u.state != UpstreamState::Idle) {
            let place = u.route as usize;
            self.count(place, -1);
        }
        cx.end_visit(conn, 0, false);
        if !self.certificates.is_empty() {
            self.certificates.remove(&conn);
        }
        if let Some(timer) = c.timer {
            cx.wheel.cancel(timer);
        }
        self.buffers.recount(c.charged, 0);
        if c.waits {
            self.buffers.wait_no_more(conn);
        }
        Some(c)
    }

    /// Forgets a connection and has its socket closed.
    pub(super) fn close(&mut self, cx: &mut Cx, conn: ConnKey, how: Close) {
        if self.remove(cx, conn).is_some() {
            cx.outputs.push_back(Output::Close { conn, how });
        }
    }

    /// The connection carries no request any more.
    pub(super) fn leave(&mut self, conn: ConnKey) {
        if let Some(c) = self.table.get_mut(conn) {
            c.exchange = None;
        }
    }

    /// Leaves bytes in a connection's input.
    pub(super) fn keep_input(&mut self, conn: ConnKey, rest: &[u8]) {
        if let Some(c) = self.get_mut(conn) {
            c.input = rest.to_vec().into();
        }
    }

    /// Whether bytes of a connection were held back unread: in its input, or in its socket.
    #[inline]
    pub(super) fn is_held_back(&self, conn: ConnKey) -> bool {
        self.table.get(conn).is_some_and(|c| c.paused || !c.input.is_empty())
    }

    /// Asks for a flush, unless one is queued already.
    #[inline]
    pub(super) fn flush(&mut self, cx: &mut Cx, conn: ConnKey) {
        if let Some(c) = self.table.get_mut(conn)
            && !std::mem::replace(&mut c.flush_queued, true)
        {
            cx.outputs.push_back(Output::Flush { conn });
        }
    }

    /// Lets the shell read again, if it was told not to.
    pub(super) fn read_again(&mut self, cx: &mut Cx, conn: ConnKey) {
        if let Some(c) = self.table.get_mut(conn)
            && std::mem::take(&mut c.paused)
        {
            cx.outputs.push_back(Output::ReadAgain { conn });
        }
    }

    /// Sets when a connection is looked after.
    pub(super) fn set_deadline(&mut self, cx: &mut Cx, conn: ConnKey, at: Tick) {
        let Some(c) = self.table.get_mut(conn) else { return };
        c.deadline = at;
        let set = c.timer.and_then(|t| cx.wheel.deadline(t));
        if at < Tick::NEVER && set.is_some_and(|set| set <= at) {
            return;
        }
        if let Some(old) = c.timer.take() {
            cx.wheel.cancel(old);
        }
        if at < Tick::NEVER {
            // The wheel has a place for each connection and each exchange.
            c.timer = cx.wheel.add(at, Timer::Conn(conn)).ok();
        }
    }

    /// Takes an idle connection of the route out of the pool. `repeatable`: the request may be sent twice.
    pub(super) fn take_idle(&mut self, route: usize, repeatable: bool, now: Tick) -> Option<ConnKey> {
        let conn = *self.idle[route].last()?;
        let upstream = self.table.get_mut(conn)?.upstream_mut()?;
        if !repeatable && now.since(upstream.since) > POOL_FRESH {
            return None;
        }
        upstream.reused = true;
        upstream.state = UpstreamState::Checked;
        self.idle[route].pop();
        self.count(route, 1);
        Some(conn)
    }

    /// A connection to upstream has done its work: keeps it for the next request, or closes it. `whole`: upstream was
    /// sent the whole request, and has answered it.
    pub(super) fn recycle(&mut self, cx: &mut Cx, conn: ConnKey, whole: bool) {
        let Some(c) = self.get_mut(conn) else { return };
        c.exchange = None;
        let clean = c.input.is_empty() && c.out.is_empty();
        let Some(u) = c.upstream_mut() else { return };
        let (route, stays) = (u.route as usize, whole && u.keep_alive && clean && !cx.draining);
        if !stays || self.idle[route].len() >= POOL_SIZE {
            return self.close(cx, conn, Close::Finish);
        }
        self.idle[route].push(conn);
        if let Some(c) = self.get_mut(conn) {
            c.out.release();
            if let Some(u) = c.upstream_mut() {
                (u.state, u.since) = (UpstreamState::Idle, cx.now);
            }
            self.count(route, -1);
        }
        let until = cx.now + POOL_IDLE;
        self.set_deadline(cx, conn, until);
        self.read_again(cx, conn);
    }

    /// The connection to upstream that has been idle for longest.
    pub(super) fn oldest_idle(&self) -> Option<ConnKey> {
        let since = |conn: &ConnKey| Some((self.table.get(*conn)?.upstream()?.since, *conn));
        let first = self.idle.iter().filter_map(|route| since(route.first()?));
        first.min_by_key(|(since, _)| *since).map(|(_, conn)| conn)
    }

    /// Routes whose connections to upstream are at work, by their places.
    pub(super) fn routes_in_use(&self) -> impl Iterator<Item = usize> {
        let at_work = |c: &Conn| c.upstream().filter(|u| u.state != UpstreamState::Idle).map(|u| u.route as usize);
        self.table.iter().filter_map(move |(_, c)| at_work(c))
    }

    /// Closes all idle connections of routes that are not kept. `kept`: by place.
    pub(super) fn drop_all_idle(&mut self, cx: &mut Cx, kept: &[bool]) {
        for place in (0..self.idle.len()).filter(|place| !kept.get(*place).is_some_and(|kept| *kept)) {
            for conn in std::mem::take(&mut self.idle[place]) {
                self.close(cx, conn, Close::Finish);
            }
        }
    }

    /// There are this many places of routes from now on.
    pub(super) fn make_places(&mut self, places: usize) {
        self.idle.resize(places.max(self.idle.len()), Vec::new());
        self.busy.resize(places.max(self.busy.len()), 0);
        self.has_moved.resize(self.busy.len(), false);
    }

    /// Closes an idle connection to upstream.
    pub(super) fn drop_idle(&mut self, cx: &mut Cx, conn: ConnKey) {
        if let Some(u) = self.table.get(conn).and_then(Conn::upstream) {
            self.idle[u.route as usize].retain(|k| *k != conn);
        }
        self.close(cx, conn, Close::Finish);
    }

    /// Idle connections of all routes.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn pooled(&self) -> usize {
        self.idle.iter().map(Vec::len).sum()
    }
}
