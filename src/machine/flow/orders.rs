//! Orders: a POST whose client tries again is executed once, and its answer goes to the try that still listens.
//!
//! In: POSTs on routes with `idempotent`, once their bodies are whole. Out: readers of the answer to an earlier try, or
//! a new order that goes upstream.
//! Laws: while an order is in flight or lingers, no retry of it reaches upstream; a retry is answered in full, or told
//! that the answer is not here in full any more; an ordinary answer is kept nowhere: it waits in its socket for the
//! next try, and goes to one try alone.
//! Source: `docs/behaviour.md`, a retry is not a second order.
//!
//! ```text
//! a try, its body whole --a retry?--no----------------------> a new order: upstream
//!                          |yes
//!  an earlier try is here: no head has come yet ------------> waits for it, too
//!                          an event stream, from the start -> reads the log from there
//!                          its start has left the log, or
//!                          `reauthorize` asks for more -----> 410
//!                          an ordinary answer is under way -> a new order: upstream
//!  none -----------------------------------------------------> a new order: upstream
//! ```

use super::resume::answer_gap;
use crate::base::Count;
use crate::http::{BodyDecoder, Method};
use crate::machine::Machine;
use crate::machine::cx::{After, Cx};
use crate::machine::exchange::{Exchange, Request};
use crate::machine::find::body::HeldRequest;
use crate::machine::find::era::Era;
use crate::machine::find::orders::{Order, Try};
use crate::machine::find::{Found, Join};
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::track::GapReason;

/// What a retry does.
enum Earlier {
    /// It waits for the head of the answer to this try.
    Waits(ExchangeKey),
    /// It reads the answer to an earlier try from its first event on.
    Reads(Join),
    /// That answer cannot be given again: its first events are gone, or upstream would have to be asked whether it may
    /// still be read.
    Gone(GapReason),
    /// The answer has gone to the earlier try, in part or as a whole.
    Late,
}

/// Tries.
impl Machine {
    /// What a request that goes upstream says of its try, if the route knows orders and the body can be held back. An
    /// offer of another protocol is no order, and neither is a request for the rest of an answer.
    pub(super) fn try_of(&mut self, conn: ConnKey, route: usize, request: &Request) -> Option<Try> {
        let is_post = request.method == Method::Post && request.era != Era::Stateless && request.cursor.is_none();
        let may_be_order = self.cx.route(route).idempotent && is_post && request.header("Upgrade").is_none();
        let this = Try::of(|name| request.header(name)).filter(|_| may_be_order)?;
        let can_hold = self.conns.get(conn).is_some_and(|c| HeldRequest::may_hold(&c.body));
        self.cx.counts.add(Count::RetriesTooLarge, u64::from(!can_hold && this.again));
        can_hold.then_some(this)
    }

    /// The body of a try is whole: gives it the answer to an earlier one, if that is here. False: upstream is asked.
    pub(super) fn answer_try(&mut self, conn: ConnKey, key: ExchangeKey, held: &HeldRequest, this: Try) -> bool {
        let Some(x) = self.exchanges.get(key).filter(|_| this.may_repeat()) else { return false };
        let request = x.request.clone();
        let order = order_of(&self.cx, &request, held);
        let Some(earlier) = self.earlier(&request, order) else {
            self.cx.counts.add(Count::RetriesUnknown, u64::from(this.again));
            return false;
        };
        if matches!(earlier, Earlier::Late) {
            self.cx.counts.one(Count::RetriesLate);
            return false;
        }
        if let Some(c) = self.conns.get_mut(conn) {
            c.consume_input(held.len());
            c.body = BodyDecoder::Done;
        }
        match earlier {
            Earlier::Waits(first) => self.wait_for(conn, key, first, &request),
            Earlier::Reads(join) => {
                self.cx.counts.one(Count::RetriesJoined);
                self.move_reader(key, conn, request, Found::Joins(join));
            }
            Earlier::Gone(reason) => {
                self.cx.counts.one(Count::RetriesGone);
                self.cx.state_gap(request.route as usize, request.subject(None), reason);
                self.drop_exchange(key);
                let why = format!(
                    "an earlier try of this request was answered, and the answer cannot be given again ({reason}); \
                     upstream was not asked again"
                );
                answer_gap(&mut self.cx, &mut self.conns, conn, &request, 410, reason, &why);
            }
            Earlier::Late => {}
        }
        true
    }

    /// What is here of the earlier tries of an order: what a retry can have, if there is such a one.
    fn earlier(&mut self, request: &Request, order: Order) -> Option<Earlier> {
        let mut found = None;
        for first in self.index.orders.newest_of(order) {
            found = self.earlier_at(request, first).or(found);
            if !matches!(found, None | Some(Earlier::Late)) {
                break;
            }
        }
        found
    }

    fn earlier_at(&mut self, request: &Request, first: ExchangeKey) -> Option<Earlier> {
        let x = self.exchanges.get(first)?;
        if x.stream().is_none() {
            return Some(if x.phase.awaits_head() { Earlier::Waits(first) } else { Earlier::Late });
        }
        let found = self.finder().at_the_start(first);
        match self.fresh(request, found, |finder| finder.at_the_start(first)) {
            // To ask upstream whether it may still be read would be to order it again.
            Found::Joins(join) if self.is_overdue(&join) => Some(Earlier::Gone(GapReason::Refused)),
            Found::Joins(join) => Some(Earlier::Reads(join)),
            Found::NewAfter(reason) => Some(Earlier::Gone(reason)),
            _ => None,
        }
    }

    /// A retry waits for the answer to an earlier try, whose head has not come yet.
    fn wait_for(&mut self, conn: ConnKey, key: ExchangeKey, first: ExchangeKey, request: &Request) {
        let Some(waiting) = self.exchanges.get_mut(key) else { return };
        let before = waiting.audience();
        let Some(reader) = waiting.readers_mut().leave(0) else { return };
        self.cx.audience.settle(before, waiting.audience());
        self.drop_exchange(key);
        self.conns.leave(conn);
        let Self { cx, conns, exchanges, index, book, .. } = self;
        let Some(x) = exchanges.get_mut(first) else { return };
        cx.counts.one(Count::RetriesJoined);
        // No other client asks upstream in its place.
        cx.visits.wait_beside(conn, request.id().unwrap_or_default(), Box::default(), cx.now);
        let before = x.audience();
        let seat = x.readers_mut().take(reader);
        cx.audience.settle(before, x.audience());
        x.note_newest(seat);
        if let Some(c) = conns.get_mut(conn) {
            c.sit(first, seat);
        }
        conns.set_deadline(cx, conn, crate::base::Tick::NEVER);
        if x.attend() {
            book.unread.remove(first);
            index.attend_order(first, x);
        }
        if x.take_waiting_answer()
            && let Some(upstream) = x.phase.upstream()
        {
            cx.after.push_back(After::ReadAnswer(upstream));
        }
        x.arm(cx, first);
    }

    /// A try goes upstream, as a new order if its body is known. `is_whole`: it is.
    pub(super) fn begin_order(&mut self, key: ExchangeKey, held: &HeldRequest, this: Try, is_whole: bool) {
        let Self { cx, exchanges, index, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        if !is_whole {
            return cx.counts.add(Count::RetriesTooLarge, u64::from(this.again));
        }
        x.request.settle_era(held.heard().revision());
        if x.request.era == Era::Stateless {
            return;
        }
        let order = order_of(cx, &x.request, held);
        if order.keyed && !index.orders.enter(order, key) {
            return cx.counts.one(Count::OrdersNotKept);
        }
        if let Some(body) = &mut x.heard_body {
            body.order = Some(order);
        }
    }

    /// The last reader of an order has left: later tries find it. False: too many of the same name wait already.
    #[must_use]
    pub(super) fn await_retry(&mut self, key: ExchangeKey) -> bool {
        let Some(order) = self.exchanges.get(key).and_then(Exchange::order) else { return true };
        let is_found = self.index.orders.enter(order, key);
        self.cx.counts.add(Count::OrdersNotKept, u64::from(!is_found));
        is_found
    }

    /// An ordinary answer comes, which one try alone can have: the newest. The others are cut.
    pub(super) fn keep_newest_try(&mut self, key: ExchangeKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key).filter(|x| x.order().is_some()) else { return };
        let Some(newest) = x.newest() else { return };
        x.readers_mut().part(|reader| reader.client != newest, |other| conns.close(cx, other.client, Close::Reset));
    }
}

/// The order of a request with the body that was held back.
fn order_of(cx: &Cx, request: &Request, held: &HeldRequest) -> Order {
    let header = |name: &str| request.header(name);
    Order::of(&cx.secret, &request.identity, held.heard().hash(), request.accepts_stream, header)
}
