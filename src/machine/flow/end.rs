//! How exchanges end: whole, cut, failed, dropped, or kept for a while when nobody reads them.
//!
//! In: ends of upstreams, readers that leave. Out: last bytes, closes, and what goes on without readers.
//! Law: a clean end stays a clean end and a cut stays a cut. A client never takes a truncated answer for a whole one:
//! a cut sends no last chunk, and a reset where the client has no chunks to tell by.

use crate::base::{Count, Span, Tick};
use crate::http;
use crate::machine::Machine;
use crate::machine::book::{Book, Left};
use crate::machine::conn::ClientState;
use crate::machine::cx::{After, Cx};
use crate::machine::exchange::{Ending, Exchange, Phase};
use crate::machine::find::Index;
use crate::machine::io::{Close, Output};
use crate::machine::keys::{ConnKey, ExchangeKey, Seat};
use crate::machine::notice::Notice;
use crate::machine::serve::write_own_answer;
use crate::machine::stream::audience::Audience;
use crate::machine::stream::readers::Words;
use crate::machine::visits::REQUEST_ID;

/// How long a reader that is cut may take to acknowledge what it was sent. What it has got by then is what is stored.
const LAST_WORDS: Span = Span::from_secs(2);

/// Ends for readers.
impl Machine {
    /// Ends an event stream for its clients, once everything in its log has been sent.
    pub(super) fn end_stream(&mut self, key: ExchangeKey, ending: Ending) {
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if let Some(upstream) = x.phase.upstream() {
            conns.recycle(cx, upstream, false);
        }
        if cx.config.persist.replay_shared {
            book.shares.forget(cx, key);
            x.stream_mut().into_iter().for_each(|stream| book.note_moved(key, &mut stream.account));
        }
        let count = match ending {
            Ending::Clean => Count::StreamsEnded,
            Ending::Cut => Count::StreamsCut,
        };
        cx.counts.one_at(x.route(), count);
        cx.end_heal(key, x.phase.wait().map_or(0, |wait| wait.tries), Some("cut"));
        let is_lost = ending == Ending::Cut && x.order().is_some();
        if is_lost {
            // A retry can have no more than this, so it goes upstream, as it would without segno.
            index.forget_order(key, x);
        }
        x.end(cx, conns, ending);
        x.arm(cx, key);
        if is_lost && x.is_detached() && !x.is_worth_keeping() {
            cx.after.push_back(After::Ended(key));
        }
    }

    /// Called when nothing is left to send to a reader of an exchange in [`Phase::Ending`].
    pub(super) fn on_all_sent(&mut self, key: ExchangeKey, seat: Seat, ending: Ending) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let Some(reader) = x.readers_mut().get_mut(seat) else { return };
        let (client, until_close) = (reader.client, reader.until_close);
        let keep_alive = reader.keep_alive && !until_close;
        if ending == Ending::Clean && std::mem::take(&mut reader.chunked) {
            if let Some(c) = conns.get_mut(client) {
                c.out.push(http::LAST_CHUNK);
            }
            return conns.flush(cx, client);
        }
        if ending == Ending::Cut && reader.words == Words::OwnAndGap {
            reader.words = Words::Own;
            // The client has everything of a POST's answer that upstream cut. It is told so, then it is cut, too.
            if let Some(stream) = x.stream_mut() {
                stream.say_rest_is_gone(cx, conns, seat);
            }
            x.state_gap(cx, crate::track::GapReason::Refused);
            return conns.flush(cx, client);
        }
        // Whether an order has been answered decides what its next try gets.
        if (ending == Ending::Cut || x.order().is_some()) && may_say_more(x, seat, cx.now) {
            return cx.outputs.push_back(Output::AskUnacknowledged { conn: client });
        }
        if x.leave(cx, conns, seat) {
            self.on_unread(key);
        }
        match ending {
            Ending::Clean => self.conns.on_answered(&mut self.cx, client, keep_alive),
            Ending::Cut if until_close => self.conns.close(&mut self.cx, client, Close::Reset),
            Ending::Cut => self.conns.close(&mut self.cx, client, Close::Cut),
        }
    }

    /// A client has closed or lost its connection. A request that has not come whole ends with it, for all that read
    /// its answer.
    pub(super) fn on_reader_left(&mut self, key: ExchangeKey, seat: Seat) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if x.has_unfinished_request(conns, seat) {
            let before = x.audience();
            if let Some(reader) = x.readers_mut().leave(seat) {
                conns.leave(reader.client);
            }
            cx.audience.settle(before, x.audience());
            return self.cut_readers(key);
        }
        if x.stream().is_some() {
            cx.counts.one_at(x.route(), Count::StreamsLeft);
        }
        if x.leave(cx, conns, seat) {
            self.on_unread(key);
        }
    }

    /// Cuts all readers at once, with a reset, and drops the exchange.
    pub(super) fn cut_readers(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let clients: Vec<ConnKey> = x.readers().iter().map(|(_, reader)| reader.client).collect();
        self.drop_exchange(key);
        clients.into_iter().for_each(|client| self.conns.close(&mut self.cx, client, Close::Reset));
    }

    /// Answers all clients with this status in place of an upstream that gave no answer.
    pub(super) fn fail(&mut self, key: ExchangeKey, status: u16, why: &str) {
        let Some(x) = self.exchanges.get(key) else { return };
        self.cx.drop_ask(key, "given_up");
        let Some(reader) = x.readers().only() else {
            let clients: Vec<ConnKey> = x.readers().iter().map(|(_, reader)| reader.client).collect();
            self.drop_exchange(key);
            return clients.into_iter().for_each(|client| {
                self.conns.answer_and_close(&mut self.cx, client, status, why, &[]);
            });
        };
        let client = reader.client;
        let body_sent = self.conns.get(client).is_some_and(|c| c.body.is_done() && !c.ended);
        let keep_alive = reader.keep_alive && body_sent && !self.cx.draining;
        let head_only = x.request.method == http::Method::Head;
        let id = x.request.id().map(Box::<str>::from);
        self.drop_exchange(key);
        let Self { cx, conns, .. } = self;
        let Some(c) = conns.get_mut(client) else { return };
        cx.visits.answer(client, status);
        let id = id.as_deref().map(|id| [(REQUEST_ID, id)]);
        let lines = id.as_ref().map_or(&[][..], |id| &id[..]);
        write_own_answer(cx, c, status, why, lines, !keep_alive, head_only);
        match keep_alive {
            true => self.conns.on_answered(&mut self.cx, client, true),
            false => {
                c.set_client_state(ClientState::Closing);
                conns.free_stream(cx, client);
                let until = cx.now + cx.keep_alive;
                conns.set_deadline(cx, client, until);
            }
        }
        self.conns.flush(&mut self.cx, client);
    }
}

/// Exchanges that nobody reads.
impl Machine {
    /// The last reader has left. Keeps the answer for clients that come back, if the route and the protocol allow it.
    pub(in crate::machine) fn on_unread(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key).filter(|x| x.readers().is_empty()) else { return };
        let lingers = !x.linger(cx.route(x.route())).is_zero() && !cx.draining && x.is_worth_keeping();
        if !(lingers || x.is_watched()) || !self.await_retry(key) {
            return self.drop_exchange(key);
        }
        let Self { cx, exchanges, book, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        match x.stream() {
            Some(_) => cx.counts.one_at(x.route(), Count::StreamsDetached),
            None => cx.counts.one(Count::OrdersDetached),
        }
        x.detach(cx.now);
        if let Some(session) = x.stream().and_then(|stream| stream.account.session) {
            book.left(cx, session);
        }
        self.keep_shares(key);
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        // The answer is ignored: bytes that are here already may exceed the bound, later ones may not.
        let _ = x.make_room(cx);
        x.arm(cx, key);
        if let Some(upstream) = x.phase.upstream() {
            self.release_to_others(key);
            self.read_on(key, upstream);
        }
    }

    /// Nobody came back in time, or upstream has sent more than may be kept waiting.
    pub(super) fn let_go(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        self.cx.counts.one_at(x.route(), Count::StreamsLetGo);
        if let Some(events) = x.unread_events() {
            self.cx.notice(Notice::LetGo { target: x.target(), events });
        }
        self.drop_exchange(key);
    }

    /// Drops an exchange and its upstream connection. The clients' connections stay.
    pub(in crate::machine) fn drop_exchange(&mut self, key: ExchangeKey) {
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let Some(mut x) = exchanges.remove(key) else { return };
        cx.balancing.end_round(key);
        cx.balancing.endpoints.forget(key);
        let left = close_stream(cx, index, book, key, &mut x);
        if let Some(left) = left {
            book.leave(cx, exchanges, left);
        }
        book.unread.remove(key);
        index.forget_order(key, &mut x);
        index.await_no_more(&mut x);
        cx.drop_ask(key, "dropped");
        cx.end_heal(key, x.phase.wait().map_or(0, |wait| wait.tries), Some("dropped"));
        let lookup = cx.traces.end_lookup(key, None, cx.now);
        cx.traced(lookup);
        index.forget_waiting(key, &x.request);
        x.alarm.cancel(&mut cx.wheel);
        cx.tunnels -= usize::from(matches!(x.phase, Phase::Tunnel { .. }));
        if let Some(upstream) = x.phase.upstream() {
            conns.close(cx, upstream, Close::Finish);
        }
        x.readers().iter().for_each(|(_, reader)| conns.leave(reader.client));
    }
}

/// Whether the reader in this seat is given time to acknowledge what it was sent, before it is cut.
fn may_say_more(x: &mut Exchange, seat: Seat, now: Tick) -> bool {
    let is_stream = x.stream().is_some();
    let reader = x.readers_mut().get_mut(seat).filter(|reader| is_stream && reader.is_owed());
    reader.is_some_and(|reader| {
        reader.asked_until = reader.asked_until.min(now + LAST_WORDS);
        reader.asked_until > now
    })
}

/// Gives back what a stream has: its log, its ids, its place in its session. The store keeps the stream's record unless
/// the stream ended cleanly and all of it was delivered, since then there is nothing left to resume. What it returns is
/// for [`Book::leave`].
#[must_use]
pub(super) fn close_stream(
    cx: &mut Cx,
    index: &mut Index,
    book: &mut Book,
    key: ExchangeKey,
    x: &mut Exchange,
) -> Option<Left> {
    let tracker = &x.stream()?.tracker;
    let is_over = x.phase == Phase::Ending(Ending::Clean) && tracker.delivered_offset() >= tracker.whole();
    index.variants.forget(key);
    cx.audience.settle(x.audience(), Audience::default());
    let left = book.close(cx, key, x, !is_over);
    if let Some(stream) = x.stream_mut() {
        if stream.has_token {
            index.forget_token(cx.secret.token(stream.account.number));
        }
        stream.tracker.release(&mut cx.interner, &mut cx.budget);
        if let Some(head) = stream.head.take() {
            cx.heads.release(head);
        }
    }
    left
}
