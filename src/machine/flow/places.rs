//! Places where they are few: who gets one, and who has to go for it.
//!
//! In: requests and connections that find no place, a system without file descriptors. Out: a place, or none.
//! Laws: nobody who reads loses a place to somebody else; idle connections to upstream go first, then streams that
//! nobody reads, the one that was left first before others; each that goes is counted.

use crate::base::Count;
use crate::http::Method;
use crate::machine::Machine;
use crate::machine::book::unread::Holder;
use crate::machine::conn::Link;
use crate::machine::exchange::{Exchange, Phase, Request};
use crate::machine::io::{Close, Origin, Output};
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::Notice;

/// Descriptors that are freed at a time where there are none.
const FREED_AT_ONCE: usize = 16;

/// How many streams that nobody reads are looked at for one that has a connection.
const LOOKS: usize = 64;

/// Streams.
impl Machine {
    /// Whether a request that may become a stream of its session finds a place there. If it does not, its client was
    /// told so.
    pub(super) fn has_place_in_session(&mut self, conn: ConnKey, request: &Request) -> bool {
        if !request.accepts_stream || self.finds_place_in_session(request.identity.session) {
            return true;
        }
        self.refuse_for_now(conn, "all streams of this session are taken; try again later");
        false
    }

    /// The body of a request that was held back has shown that it goes upstream: has it reserve its place in its
    /// session. Before that, it may be for a stream that would have had to make room for it. False: there is none, and
    /// the client was told.
    #[must_use]
    pub(super) fn takes_place_in_session(&mut self, conn: ConnKey, key: ExchangeKey) -> bool {
        let Some(x) = self.exchanges.get(key).filter(|x| x.request.accepts_stream) else { return true };
        let session = x.request.identity.session;
        if !self.finds_place_in_session(session) {
            self.drop_exchange(key);
            self.refuse_for_now(conn, "all streams of this session are taken; try again later");
            return false;
        }
        if let Some(x) = self.exchanges.get_mut(key) {
            x.request.reserves = true;
            self.index.await_stream(session);
        }
        true
    }

    /// Whether a session has a place for one more stream, that of one which nobody reads if there is no other.
    fn finds_place_in_session(&mut self, session: u128) -> bool {
        let sessions = &self.book.sessions;
        let known = sessions.find(session).and_then(|key| sessions.get(key));
        let open = known.map_or(0, |known| known.streams.len()) + self.index.awaited(session);
        let finds_session = known.is_some() || sessions.has_place();
        if finds_session && open < self.cx.config.limits.streams_per_session {
            return true;
        }
        if finds_session && let Some(key) = self.book.unread.oldest_of(Holder::session(session)) {
            self.crowd_out(key, Count::StreamsCrowdedOut);
            return true;
        }
        self.cx.counts.one(Count::StreamsRefused);
        self.cx.counts.one(if finds_session { Count::OverStreamsPerSession } else { Count::OverSessions });
        self.cx.notice(Notice::Full { what: "stream of one session" });
        false
    }

    /// Whether [`Self::insert_exchange`] has a place.
    pub(super) fn has_place(&self) -> bool {
        !self.exchanges.is_full() || self.book.unread.len() > 0
    }

    /// Puts an exchange into the table, in the place of a stream that nobody reads if there is no other.
    pub(super) fn insert_exchange(&mut self, exchange: Exchange) -> Option<ExchangeKey> {
        if self.exchanges.is_full()
            && let Some(key) = self.gives_way_to(&exchange)
        {
            self.crowd_out(key, Count::StreamsCrowdedOut);
        }
        let reserves = exchange.request.reserves.then_some(exchange.request.identity.session);
        let key = self.exchanges.insert(exchange).ok()?;
        if let Some(session) = reserves {
            self.index.await_stream(session);
        }
        Some(key)
    }

    /// The stream that nobody reads whose place an exchange gets. One that is held back may be for what a POST of the
    /// same session and target began, so another goes, if one is near.
    fn gives_way_to(&self, exchange: &Exchange) -> Option<ExchangeKey> {
        let (is_held, own) = (exchange.is_held(), &exchange.request.identity);
        let may_be_for = |key: &ExchangeKey| {
            let kept = self.exchanges.get(*key).map(|x| &x.request);
            kept.is_some_and(|kept| kept.method == Method::Post && own.owns(&kept.identity))
        };
        let crowd = self.book.unread.crowd();
        let other = self.book.unread.of(crowd).take(LOOKS).find(|key| !(is_held && may_be_for(key)));
        other.or_else(|| self.book.unread.oldest_of(crowd))
    }

    /// A stream has lost its last reader. Drops the one that its principal or its address left first, if they have too
    /// many.
    pub(super) fn keep_shares(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let (session, holders) = (x.request.identity.session, x.request.holders);
        self.book.unread.add(key, session, holders);
        let limits = &self.cx.config.limits;
        let shares = [
            (Holder::Principal(holders.principal), limits.lingering_per_principal),
            (Holder::Address(holders.address), limits.lingering_per_address),
        ];
        for (holder, most) in shares {
            if self.book.unread.len_of(holder) > most
                && let Some(oldest) = self.book.unread.oldest_of(holder)
            {
                self.crowd_out(oldest, Count::StreamsOverShare);
            }
        }
        self.enter_ids(session);
    }

    /// Where a session has many streams that nobody reads, their events are entered in an index, so that a client finds
    /// its own stream in one step.
    fn enter_ids(&mut self, session: u128) {
        let Self { cx, exchanges, book, .. } = self;
        let holder = Holder::session(session);
        if book.unread.len_of(holder) <= crate::machine::find::LOOKS {
            return;
        }
        let unread = &book.unread;
        let new: Vec<ExchangeKey> = unread.newest_of(holder).take_while(|key| !unread.ids.has(*key)).collect();
        for key in new {
            if let Some(stream) = exchanges.get(key).and_then(Exchange::stream) {
                book.unread.ids.enter(key, session, stream.tracker.ids(&cx.interner));
            }
        }
    }

    fn crowd_out(&mut self, key: ExchangeKey, count: Count) {
        self.cx.counts.one(count);
        if let Some(x) = self.exchanges.get(key) {
            self.cx.notice(Notice::CrowdedOut { target: x.target() });
        }
        self.drop_exchange(key);
    }
}

/// Clients that are told to come back.
impl Machine {
    /// Tells all clients of an exchange that they find no place now.
    pub(super) fn refuse_readers(&mut self, key: ExchangeKey, why: &str) {
        let Some(x) = self.exchanges.get(key) else { return };
        let clients: Vec<ConnKey> = x.readers().iter().map(|(_, reader)| reader.client).collect();
        self.drop_exchange(key);
        clients.into_iter().for_each(|client| self.refuse_for_now(client, why));
    }

    /// Tells a client that it finds no place now, and closes its connection.
    pub(super) fn refuse_for_now(&mut self, conn: ConnKey, why: &str) {
        self.conns.answer_and_close(&mut self.cx, conn, 503, why, &[("Retry-After", "5")]);
    }
}

/// Connections.
impl Machine {
    /// A client has connected that shakes hands first.
    pub(in crate::machine) fn on_knocked(&mut self, peer: Origin) {
        let answer = match self.conns.knock(&mut self.cx, peer) {
            Ok(stake) => Output::LetIn { stake },
            Err(why) => Output::Refuse(why),
        };
        self.cx.outputs.push_back(answer);
    }

    /// A client's connection was accepted.
    pub(in crate::machine) fn on_accepted(&mut self, peer: Origin, link: Link<'_>) {
        if self.conns.is_full() && !self.cx.draining {
            self.free_connections(1);
        }
        self.conns.accept(&mut self.cx, peer, link);
    }

    /// The system has no descriptor for a connection that waits.
    pub(in crate::machine) fn on_no_descriptor(&mut self) {
        self.cx.counts.one(Count::DescriptorsShort);
        self.free_connections(FREED_AT_ONCE);
    }

    /// A connection to upstream found no descriptor: frees some, and asks again. False: none is free.
    pub(super) fn ask_with_another_descriptor(&mut self, key: Option<ExchangeKey>) -> bool {
        self.cx.counts.one(Count::DescriptorsShort);
        let Some(key) = key.filter(|key| self.exchanges.get(*key).is_some_and(|x| !x.is_detached())) else {
            return false;
        };
        let freed = self.free_connections(FREED_AT_ONCE) > 0;
        if freed {
            self.ask_instead(key);
        }
        freed
    }

    /// Closes at most `n` connections that nobody uses. Returns how many.
    pub(super) fn free_connections(&mut self, n: usize) -> usize {
        for freed in 0..n {
            if let Some(idle) = self.conns.oldest_idle() {
                self.cx.counts.one(Count::UpstreamCrowdedOut);
                self.conns.drop_idle(&mut self.cx, idle);
            } else if let Some(key) = self.unread_with_connection() {
                self.crowd_out(key, Count::StreamsCrowdedOut);
            } else {
                return freed;
            }
        }
        n
    }

    fn unread_with_connection(&self) -> Option<ExchangeKey> {
        let unread = &self.book.unread;
        let has = |key: &ExchangeKey| self.exchanges.get(*key).is_some_and(|x| x.phase.upstream().is_some());
        unread.of(unread.crowd()).take(LOOKS).find(has)
    }
}

/// Idle connections to upstream.
impl Machine {
    /// An idle connection was to be used again, and has ended, or holds bytes that answer nothing.
    pub(in crate::machine) fn on_stale(&mut self, conn: ConnKey) {
        let Some(key) = self.conns.get(conn).map(|c| c.exchange) else { return };
        self.cx.counts.one(Count::UpstreamStale);
        self.conns.close(&mut self.cx, conn, Close::Finish);
        if let Some(key) = key {
            self.ask_instead(key);
        }
    }

    /// Has an attempt made once more that never began.
    fn ask_instead(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        if let Some(mut wait) = x.phase.wait() {
            wait.tries = wait.tries.saturating_sub(1);
            x.phase = Phase::Waiting { wait, at: self.cx.now };
            self.cx.after.push_back(crate::machine::cx::After::Ask(key));
        }
    }
}
