//! Clients that waited for one answer which turns out not to be for all of them: each asks upstream for itself.
//!
//! In: an exchange whose answer cannot be shared. Out: an exchange for the client whose request was sent, with its
//! answer; exchanges of their own for the others, some at a time.
//! Law: each of them says what the first one says, but for what names the one request.

use crate::base::Span;
use crate::machine::Machine;
use crate::machine::exchange::{Exchange, Phase};
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::wait::Wait;

/// Clients at a time that are given exchanges of their own, and the time between two such groups: others are served
/// meanwhile.
const PARTED_AT_ONCE: usize = 64;
const PART_AGAIN: Span = Span::from_millis(1);

impl Machine {
    /// The answer is no event stream and cannot be shared: the client whose request it answers gets it, and all others
    /// ask upstream for themselves, some at a time. Returns the exchange that carries the answer from now on; `None`:
    /// there is no place for it, so that all ask, and each is told if there is none for it either.
    pub(super) fn part_ways(&mut self, key: ExchangeKey, conn: ConnKey) -> Option<ExchangeKey> {
        self.keep_newest_try(key);
        let Some(x) = self.exchanges.get_mut(key).filter(|x| x.readers().len() > 1) else { return Some(key) };
        let phase = x.phase;
        self.index.await_no_more(x);
        self.index.forget_waiting(key, &x.request);
        x.phase = Phase::Parting { at: self.cx.now };
        let own = if self.has_place() { self.part_asker(key) } else { None };
        match own.and_then(|own| self.exchanges.get_mut(own)) {
            Some(x) => {
                x.phase = phase;
                if let Some(c) = self.conns.get_mut(conn) {
                    c.exchange = own;
                }
            }
            None => self.conns.close(&mut self.cx, conn, Close::Finish),
        }
        self.part_some(key);
        self.arm(key);
        own
    }

    /// Gives the client whose request was sent an exchange of its own, or another one if that client has left.
    fn part_asker(&mut self, key: ExchangeKey) -> Option<ExchangeKey> {
        let x = self.exchanges.get_mut(key)?;
        let (request, route) = (x.request.clone(), x.route());
        let before = x.audience();
        let reader = x.readers_mut().leave_asker()?;
        self.cx.audience.settle(before, x.audience());
        self.conns.leave(reader.client);
        self.admit(reader.client, Exchange::new(route, request, reader, self.cx.now))
    }

    /// Some more of the clients whose answer could not be shared ask for themselves: they say what the first one says,
    /// but for what names the one request, which each says for itself.
    pub(super) fn part_some(&mut self, key: ExchangeKey) {
        for _ in 0..PARTED_AT_ONCE {
            let Some(x) = self.exchanges.get_mut(key) else { return };
            let before = x.audience();
            let Some(mut reader) = x.readers_mut().leave_last() else { break };
            self.cx.audience.settle(before, x.audience());
            let (route, client) = (x.route(), reader.client);
            let request = x.request.for_another(self.cx.visits.names_of(client), self.cx.visits.place_of(client));
            reader.last_sent = self.cx.now;
            reader.asked = true;
            self.conns.leave(client);
            if let Some(own) = self.admit(client, Exchange::new(route, request, reader, self.cx.now)) {
                self.ask(own);
                self.arm(own);
            }
        }
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if x.readers().len() > 1 {
            x.phase = Phase::Parting { at: cx.now + PART_AGAIN };
        } else {
            let waited = x.readers().iter().map(|(_, reader)| reader).find(|reader| !reader.asked);
            if let Some(client) = waited.map(|reader| reader.client) {
                x.request = x.request.for_another(cx.visits.names_of(client), cx.visits.place_of(client));
                x.readers_mut().iter_mut().for_each(|reader| reader.asked = true);
            }
            x.phase = Phase::Waiting { wait: Wait::new(cx.now), at: cx.now };
            self.ask(key);
        }
    }
}
