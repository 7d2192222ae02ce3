//! Who may have another event stream, by its address and its principal, and whether another request may begin.
//!
//! In: whole heads of requests, before anything is done for them. Out: requests that go on and are counted, requests that
//! are held until a place is free, and refusals.
//! Laws: who has as many as it may loses its newest request and nothing else, and nobody else loses anything; a bound of
//! one client is answered 429, one of segno as a whole 503, both with `Retry-After`; a browser's request for an event
//! stream, for which either is the end, is held for `hold_head` first, since the page before it is often just leaving;
//! where segno as a whole is full nobody is held, since those who wait would hold what is scarce; a place that becomes
//! free goes to whoever waits for it and can take it; who waits when a drain begins is cut and not answered, so that it
//! comes back elsewhere; what is open when a bound appears counts against it.

use crate::base::{Count, Span};
use crate::config::Limits;
use crate::http::{self, Method, RequestHead};
use crate::machine::Machine;
use crate::machine::book::unread::Holders;
use crate::machine::census::Held;
use crate::machine::conn::{Conn, Stakes};
use crate::machine::cx::{After, Cx};
use crate::machine::exchange::Exchange;
use crate::machine::io::{Close, Origin};
use crate::machine::keys::{ConnKey, Stake};
use crate::machine::notice::Notice;
use crate::machine::pool::Conns;

/// A bound that a request has reached.
#[derive(Clone, Copy)]
struct Over {
    /// Whose bound it is.
    name: u64,
    count: Count,
    why: &'static str,
}

impl Machine {
    /// Whether a request may go on, as far as its address and its principal have bounds. It is counted then. If it may
    /// not, it is held or was refused.
    pub(super) fn finds_share(&mut self, conn: ConnKey, head: &RequestHead) -> bool {
        let limits = &self.cx.config.limits;
        let has_bounds = limits.streams_per_address > 0 || limits.streams_per_principal > 0;
        if !has_bounds || !http::accepts_event_stream(&head.headers) {
            return self.release(conn);
        }
        let Some((route, holders, counts)) = self.holders_of(conn, head) else { return self.release(conn) };
        if let Some(over) = self.over(holders, counts) {
            self.hold_or_refuse(conn, head, over, self.cx.route(route).hold_head);
            return false;
        }
        self.conns.stake(conn, holders, counts);
        self.release(conn)
    }

    /// The request goes on, whether it was held or not.
    fn release(&mut self, conn: ConnKey) -> bool {
        let client = self.conns.beside_buffers(conn).and_then(Conn::client_mut);
        if client.is_some_and(|client| std::mem::take(&mut client.is_held)) {
            self.conns.census.wait_no_more(conn);
            self.conns.read_again(&mut self.cx, conn);
        }
        true
    }

    /// The route that a request would take, whom it counts against, and by which of the two it is counted.
    fn holders_of(&self, conn: ConnKey, head: &RequestHead) -> Option<(usize, Holders, Counted)> {
        let cx = &self.cx;
        let route = cx.routing.find(&cx.config.routes, head.host.as_deref(), super::request::asks_for(head))?;
        let peer = self.conns.get(conn)?.origin()?;
        let address = peer.client(&head.headers, &cx.config.trusted_proxies);
        let who = cx.secret.principal(head, cx.route(route), address, self.conns.certificate(conn));
        let mut counts = Counted::of(cx, peer.counts(address, &cx.config.trusted_proxies));
        // Those without an address and without a credential are not one principal.
        counts.principal &= who.has_credential || !address.is_unspecified();
        Some((route, cx.secret.holders(&who, address), counts))
    }

    fn over(&self, holders: Holders, counts: Counted) -> Option<Over> {
        let (limits, census) = (&self.cx.config.limits, &self.conns.census);
        let is_over = |name, most| census.held_by(name, Held::Stream) >= most;
        if counts.address && is_over(holders.address, limits.streams_per_address) {
            let why = "too many event streams of this address are open; close some, or try again later";
            return Some(Over { name: holders.address, count: Count::OverStreamsPerAddress, why });
        }
        if counts.principal && is_over(holders.principal, limits.streams_per_principal) {
            let why = "too many event streams with these credentials are open; close some, or try again later";
            return Some(Over { name: holders.principal, count: Count::OverStreamsPerPrincipal, why });
        }
        None
    }

    /// A request has no place among those of its holder. Its head stays where it is while it is held.
    fn hold_or_refuse(&mut self, conn: ConnKey, head: &RequestHead, over: Over, patience: Span) {
        let Self { cx, conns, .. } = self;
        let Some(c) = conns.get(conn) else { return };
        if cx.draining && head.method == Method::Get {
            return conns.close(cx, conn, Close::Cut);
        }
        let (was_held, is_time_up) = (c.is_held(), c.deadline <= cx.now);
        let waits = head.method == Method::Get && !(was_held && is_time_up) && conns.census.wait(conn, over.name);
        if waits {
            conns.get_mut(conn).into_iter().for_each(|c| c.input.search_again());
        }
        if waits && !was_held {
            conns.beside_buffers(conn).and_then(Conn::client_mut).into_iter().for_each(|client| client.is_held = true);
            cx.counts.one(Count::RequestsHeld);
            let until = cx.now + patience;
            conns.set_deadline(cx, conn, until);
        }
        if !waits {
            self.refuse_for_share(conn, head, over);
        }
    }

    fn refuse_for_share(&mut self, conn: ConnKey, head: &RequestHead, over: Over) {
        self.release(conn);
        let _ = self.begin_visit(conn, head);
        let Self { cx, conns, .. } = self;
        cx.counts.one(Count::RequestsRefused);
        cx.counts.one(over.count);
        cx.notice(Notice::RequestRefused { status: 429, why: over.why.into() });
        conns.answer_and_close(cx, conn, 429, over.why, &[("Retry-After", "5")]);
    }

    /// A place of a holder may be free. Who has waited for it for longest is looked at again. Where that one does not
    /// take it, since it has reached another bound or asks for something else by now, the next one is.
    pub(in crate::machine) fn on_place(&mut self, name: u64, is_address: bool) {
        let (limits, census) = (&self.cx.config.limits, &mut self.conns.census);
        let most = if is_address { limits.streams_per_address } else { limits.streams_per_principal };
        if most > 0 && census.held_by(name, Held::Stream) >= most {
            return;
        }
        if let Some(conn) = census.next_waiting(name) {
            self.read_head(conn);
            // One less waits for it.
            self.cx.after.push_back(After::Place { name, is_address });
        }
    }

    /// A drain begins: who waits for a place comes back elsewhere. An answer would be the end for a browser.
    pub(super) fn send_waiting_elsewhere(&mut self) {
        let Self { cx, conns, .. } = self;
        conns.census.all_waiting().into_iter().for_each(|conn| conns.close(cx, conn, Close::Cut));
    }

    /// The bounds may be others now: what is open counts against those that are new, and who waits is looked at again.
    pub(super) fn go_by_new_bounds(&mut self, before: Bounds) {
        if Bounds::of(&self.cx.config.limits).adds_to(before) {
            self.count_all();
        }
        let waiting = self.conns.census.all_waiting();
        waiting.into_iter().for_each(|conn| self.read_head(conn));
    }

    fn count_all(&mut self) {
        let Self { cx, conns, exchanges, .. } = self;
        let clients: Vec<(ConnKey, Origin)> = conns.iter().filter_map(|(conn, c)| Some((conn, c.origin()?))).collect();
        for (conn, origin) in clients {
            conns.stake_connection(cx, conn, origin);
            let x = conns.get(conn).and_then(|c| exchanges.get(c.exchange?));
            let Some(x) = x.filter(|x| x.request.accepts_stream || x.is_open_stream()) else { continue };
            // Readers of one stream may come from several addresses.
            let believed = origin.is_believed(&cx.config.trusted_proxies);
            let own = cx.secret.network(origin.address);
            let address = if believed { x.request.holders.address } else { own };
            let counts = Counted::of(cx, !believed || address != own);
            conns.stake(conn, Holders { address, ..x.request.holders }, counts);
        }
    }

    /// Whether another request may begin that is no event stream yet. If it may not, its client was told so.
    pub(super) fn has_place_in_flight(&mut self, conn: ConnKey) -> bool {
        let has_place = self.in_flight() < self.cx.config.limits.requests_in_flight;
        if !has_place {
            self.cx.counts.one(Count::OverRequestsInFlight);
            self.cx.notice(Notice::Full { what: "request in flight" });
            self.refuse_for_now(conn, "too many requests are under way; try again later");
        }
        has_place
    }
}

/// Which of one client's bounds there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds([bool; 3]);

impl Bounds {
    pub(super) fn of(limits: &Limits) -> Self {
        let all = [limits.connections_per_address, limits.streams_per_address, limits.streams_per_principal];
        Self(all.map(|most| most > 0))
    }

    fn adds_to(self, before: Self) -> bool {
        self.0.iter().zip(before.0).any(|(is, was)| *is && !was)
    }
}

/// By what an event stream is counted.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    address: bool,
    principal: bool,
}

impl Counted {
    /// `counts`: whether the address does.
    fn of(cx: &Cx, counts: bool) -> Self {
        let limits = &cx.config.limits;
        Self { address: limits.streams_per_address > 0 && counts, principal: limits.streams_per_principal > 0 }
    }
}

impl Conns {
    /// Counts the event stream that a client asks for.
    fn stake(&mut self, conn: ConnKey, holders: Holders, counts: Counted) {
        let Some(before) = self.get(conn).map(|c| c.stakes()) else { return };
        let mut add = |before: Stake, counted: bool, name| match counted && !before.is_some() {
            true => self.census.add(name, Held::Stream),
            false => before,
        };
        let address = add(before.address, counts.address, holders.address);
        let principal = add(before.principal, counts.principal, holders.principal);
        if let Some(client) = self.beside_buffers(conn).and_then(Conn::client_mut) {
            client.set_stakes(Stakes { address, principal, ..client.stakes() });
        }
    }

    /// Counts a connection that came before its address had a bound.
    fn stake_connection(&mut self, cx: &Cx, conn: ConnKey, origin: Origin) {
        let Some(before) = self.get(conn).map(|c| c.stakes()) else { return };
        if before.connection.is_some() {
            return;
        }
        let connection = self.count_connection(cx, origin);
        if let Some(client) = self.beside_buffers(conn).and_then(Conn::client_mut) {
            client.set_stakes(Stakes { connection, ..before });
        }
    }

    /// An answer turns out to be an event stream that its request did not ask for by name, as those of an LLM do. It is
    /// counted from now on, and goes on whatever the bound is: upstream has been asked, and paid.
    pub(super) fn count_stream(&mut self, cx: &Cx, x: &Exchange) {
        let limits = &cx.config.limits;
        if limits.streams_per_address == 0 && limits.streams_per_principal == 0 {
            return;
        }
        if let Some(reader) = x.readers().only()
            && let Some(origin) = self.get(reader.client).and_then(Conn::origin)
        {
            // Where a trusted proxy names no client, it is its own address that the request would count against.
            let is_own = cx.secret.network(origin.address) == x.request.holders.address;
            let counts = !is_own || !origin.is_believed(&cx.config.trusted_proxies);
            self.stake(reader.client, x.request.holders, Counted::of(cx, counts));
        }
    }
}
