//! How exchanges end: whole, cut, failed, dropped.
//!
//! Law: a clean end stays a clean end and a cut stays a cut. A client never takes a truncated answer for a whole one:
//! a cut sends no last chunk, and a reset where the client has no chunks to tell by.

use super::conn::{ClientState, ConnKey};
use super::exchange::{Ending, ExchangeKey, Phase};
use super::seats::Seat;
use super::{Close, Machine};
use crate::base::Count;
use crate::http;

impl Machine {
    /// Ends an event stream for its client, once everything in its log has been sent.
    pub(super) fn end_stream(&mut self, key: ExchangeKey, ending: Ending) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.phase = Phase::Ending(ending);
        x.last_sent = self.now;
        if let Some(upstream) = x.upstream.take() {
            self.recycle(upstream, false);
        }
        self.counts.one(match ending {
            Ending::Clean => Count::StreamsEnded,
            Ending::Cut => Count::StreamsCut,
        });
        self.flush_readers(key);
        self.arm(key);
    }

    /// Ends an ordinary answer, once everything has been sent.
    pub(super) fn end_answer(&mut self, key: ExchangeKey, ending: Ending) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.phase = Phase::Ending(ending);
        x.last_sent = self.now;
        self.flush_readers(key);
    }

    /// Called when nothing is left to send to a reader of an exchange in [`Phase::Ending`].
    pub(super) fn on_all_sent(&mut self, key: ExchangeKey, seat: Seat, ending: Ending) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let Some(reader) = x.readers.get_mut(seat) else { return };
        let (client, until_close) = (reader.client, reader.until_close);
        let keep_alive = reader.keep_alive && !until_close;
        if ending == Ending::Clean && std::mem::take(&mut reader.chunked) {
            if let Some(c) = self.conns.get_mut(client) {
                c.out.push(http::LAST_CHUNK);
            }
            return self.flush(client);
        }
        if ending == Ending::Cut && std::mem::take(&mut reader.owes_gap) {
            return self.say_rest_is_gone(key, seat);
        }
        self.unseat(key, seat);
        match ending {
            Ending::Clean => self.on_answered(client, keep_alive),
            Ending::Cut if until_close => self.close(client, Close::Reset),
            Ending::Cut => self.close(client, Close::Finish),
        }
    }

    /// A reader has left, or has been given everything.
    pub(super) fn unseat(&mut self, key: ExchangeKey, seat: Seat) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let Some(reader) = x.readers.leave(seat) else { return };
        let empty = x.readers.is_empty();
        if let Some(c) = self.conns.get_mut(reader.client) {
            c.exchange = None;
        }
        if empty {
            self.on_unread(key);
        } else {
            self.keep_for_slower(key);
        }
    }

    /// A reader has left others behind. What may leave the log is now up to the fastest of them: what it has not taken waits
    /// for it, and for there to be room upstream waits.
    fn keep_for_slower(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let offsets = x.readers.iter().filter(|(_, reader)| reader.head_sent).map(|(_, reader)| reader.place.offset);
        let Some(fastest) = offsets.max() else { return };
        self.track(key, |tracker, cx| {
            if (tracker.start()..tracker.delivered_offset()).contains(&fastest) {
                tracker.rewind(cx, fastest);
            }
        });
    }

    /// A client has closed or lost its connection. A request that has not come whole ends with it, for whoever reads
    /// its answer.
    pub(super) fn on_reader_left(&mut self, key: ExchangeKey, seat: Seat) {
        let client = self.exchanges.get(key).and_then(|x| x.readers.get(seat)).map(|reader| reader.client);
        if client.and_then(|client| self.conns.get(client)).is_some_and(|c| !c.body.is_done()) {
            if let Some(client) = client.and_then(|client| self.conns.get_mut(client)) {
                client.exchange = None;
            }
            if let Some(x) = self.exchanges.get_mut(key) {
                x.readers.leave(seat);
            }
            return self.cut_readers(key);
        }
        if self.exchanges.get(key).is_some_and(|x| x.stream.is_some()) {
            self.counts.one(Count::StreamsLeft);
        }
        self.unseat(key, seat);
    }

    /// Cuts all readers at once, with a reset, and lets go of the exchange.
    pub(super) fn cut_readers(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let clients: Vec<ConnKey> = x.readers.iter().map(|(_, reader)| reader.client).collect();
        self.drop_exchange(key);
        clients.into_iter().for_each(|client| self.close(client, Close::Reset));
    }

    /// Answers for an upstream that did not.
    pub(super) fn fail(&mut self, key: ExchangeKey, status: u16, why: &str) {
        let Some(x) = self.exchanges.get(key) else { return };
        let Some(reader) = x.readers.only() else { return self.drop_exchange(key) };
        let client = reader.client;
        let body_sent = self.conns.get(client).is_some_and(|c| c.body.is_done());
        let keep_alive = reader.keep_alive && body_sent && !self.draining;
        let head_only = x.request.method == http::Method::Head;
        self.drop_exchange(key);
        let Some(c) = self.conns.get_mut(client) else { return };
        http::write_answer(status, why, &[], !keep_alive, head_only, c.out.end());
        match keep_alive {
            true => self.on_answered(client, true),
            false => {
                c.set_client_state(ClientState::Closing);
                self.set_deadline(client, self.now + self.keep_alive);
            }
        }
        self.flush(client);
    }

    /// Lets go of an exchange and its upstream connection. The clients' connections stay.
    pub(super) fn drop_exchange(&mut self, key: ExchangeKey) {
        if self.exchanges.get(key).is_some_and(|x| x.stream.is_some()) {
            self.drop_stream(key);
        }
        self.forget_waiting(key);
        let Some(mut x) = self.exchanges.remove(key) else { return };
        if let Some(timer) = x.timer.take() {
            self.wheel.cancel(timer);
        }
        if let Some(upstream) = x.upstream {
            self.close(upstream, Close::Finish);
        }
        for (_, reader) in x.readers.iter() {
            if let Some(c) = self.conns.get_mut(reader.client) {
                c.exchange = None;
            }
        }
    }

    /// Lets go of what a stream has: its log, its ids, its place in its session. The record of a stream that ended as
    /// upstream meant it to is of no use; that of any other may be resumed from.
    pub(super) fn drop_stream(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        self.close_account(key, x.phase != Phase::Ending(Ending::Clean));
        self.leave_session(key);
        if let Some(stream) = self.exchanges.get_mut(key).and_then(|x| x.stream.as_mut()) {
            if stream.has_token {
                self.tokens.remove(&self.secret.token(stream.account.number).0);
            }
            stream.tracker.release(&mut self.interner, &mut self.budget);
            self.streams -= 1;
        }
    }
}
