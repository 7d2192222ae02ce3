//! Who may have another event stream, by its address and its principal, and whether another request may begin.
//!
//! In: whole heads of requests, before anything is done for them. Out: requests that go on and are counted, requests that
//! are held until a place is free, and refusals.
//! Laws: who has as many as it may loses its newest request and nothing else, and nobody else loses anything; a bound of
//! one client is answered 429, one of segno as a whole 503, both with `Retry-After`; a browser's request for an event
//! stream, for which either is the end, is held for `hold_head` first, since the page before it is often just leaving;
//! where segno as a whole is full nobody is held, since those who wait would hold what is scarce.

use crate::base::{Count, Span};
use crate::http::{self, Method, RequestHead};
use crate::machine::Machine;
use crate::machine::book::unread::Holders;
use crate::machine::census::Held;
use crate::machine::conn::{Conn, Stakes};
use crate::machine::cx::Cx;
use crate::machine::exchange::Exchange;
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
        let peer = self.conns.get(conn)?.address()?;
        let address = http::client_address(&head.headers, peer, |a| cx.config.trusted_proxies.contains(a));
        let who = cx.secret.principal(head, cx.route(route), address, self.conns.certificate(conn));
        let counts = Counted::of(cx, cx.config.trusted_proxies.contains(address));
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

/// By what an event stream is counted.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    address: bool,
    principal: bool,
}

impl Counted {
    /// The address of a proxy that is trusted stands for others, and is not counted.
    fn of(cx: &Cx, is_trusted: bool) -> Self {
        let limits = &cx.config.limits;
        Self { address: limits.streams_per_address > 0 && !is_trusted, principal: limits.streams_per_principal > 0 }
    }
}

impl Conns {
    /// Counts the event stream that a client asks for.
    fn stake(&mut self, conn: ConnKey, holders: Holders, counts: Counted) {
        let Some(client) = self.get(conn).map(|c| c.stakes()) else { return };
        if client.address.is_some() || client.principal.is_some() {
            return;
        }
        let mut add = |counted, name| if counted { self.census.add(name, Held::Stream) } else { Stake::NONE };
        let (address, principal) = (add(counts.address, holders.address), add(counts.principal, holders.principal));
        if let Some(client) = self.beside_buffers(conn).and_then(Conn::client_mut) {
            client.set_stakes(Stakes { address, principal, ..client.stakes() });
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
            && let Some(address) = self.get(reader.client).and_then(Conn::address)
        {
            // Where a trusted proxy names no client, it is its own address that the request counts against.
            let is_own = cx.secret.network(address) == x.request.holders.address;
            let counts = Counted::of(cx, is_own && cx.config.trusted_proxies.contains(address));
            self.stake(reader.client, x.request.holders, counts);
        }
    }
}
