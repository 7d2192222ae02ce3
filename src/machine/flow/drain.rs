//! A drain: streams are ended one after the other, so that their clients come back elsewhere and not all at once.
//!
//! In: the order to drain, the time. Out: cuts with a `retry:` line, and connections that close after their last answer.
//! Laws: a stream that can be gone on with elsewhere is ended within the spread, at an event boundary; one that cannot,
//! since nobody else has or gets what follows, runs on until its end or until the drain's; no stream is ended as if it
//! were whole.
//!
//! What is spread are the ends: then also a client that reads no `retry:` line comes back at a time of its own, and a
//! `retry:` that is remembered does not slow the client down later. Only where another process waits for the store are
//! all ends at once, so that it has the store before the first client comes; then `retry:` lines carry the spread.

use crate::base::{Count, Random, Span, Tick};
use crate::http::Method;
use crate::machine::Machine;
use crate::machine::conn::{ClientState, Peer};
use crate::machine::cx::{After, Cx};
use crate::machine::exchange::{Ending, Exchange, Phase};
use crate::machine::keys::{Alarm, ConnKey, ExchangeKey, Timer};
use crate::machine::leaving::Leaving;
use crate::machine::notice::Notice;

/// How long a connection without a request may still send one, which may be on its way.
const LAST_REQUEST: Span = Span::from_secs(1);

/// How often streams are looked for that can be gone on with elsewhere by now.
const LOOK: Span = Span::from_secs(1);

/// How long before the end of the drain the last streams are cut, so that their clients read the cut.
const LAST_BYTES: Span = Span::from_secs(1);

/// Shutting down.
impl Machine {
    /// Clients without a request are closed, streams are ended over `spread` so that their clients come back elsewhere,
    /// and what cannot go on elsewhere may end, within `within`.
    pub(in crate::machine) fn on_drain(&mut self, spread: Span, within: Span) {
        let now = self.cx.now;
        let last = if within > LAST_BYTES.times(2) { LAST_BYTES } else { Span::from_micros(within.micros() / 2) };
        let until = now + within - last;
        if let Some(leaving) = &mut self.leaving {
            leaving.until = leaving.until.min(until);
            return self.arm_drain();
        }
        self.cx.draining = true;
        self.send_waiting_elsewhere();
        self.see_off_idle();
        self.stop_all_checks();
        // No client can come back here to a stream that nobody reads.
        let unread =
            self.exchanges.iter().filter(|(_, x)| x.is_detached() && !x.is_watched()).map(|(key, _)| After::Ended(key));
        self.cx.after.extend(unread);
        let mut order = self.leavers();
        shuffle(&mut order, &mut self.cx.random);
        let stay = self.exchanges.iter().filter(|(_, x)| x.is_open_stream() && !x.leaves(&self.cx)).count();
        if order.len() + stay > 0 {
            self.cx.notice(Notice::Draining { leave: order.len(), stay, spread, within });
        }
        // What the store holds another process gets once these streams have ended.
        let ends_over = if self.cx.config.persist.keeps_events() { Span::ZERO } else { spread };
        let alarm = Alarm::default();
        let mut leaving = Leaving { order, next: 0, due: now, began: now, ends_over, spread, until, alarm };
        leaving.due = leaving.moment(&mut self.cx.random);
        self.leaving = Some(Box::new(leaving));
        self.end_leavers();
        self.arm_drain();
    }

    /// The time of the next step has come.
    pub(super) fn on_drain_timer(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        leaving.alarm.fired();
        if leaving.until <= self.cx.now {
            leaving.until = Tick::NEVER;
            leaving.due = Tick::NEVER;
            let all: Vec<ExchangeKey> = self.exchanges.iter().filter(|(_, x)| x.is_begun_stream()).map(first).collect();
            let spread = leaving.spread;
            return all.into_iter().for_each(|key| {
                if self.send_elsewhere(key, spread) {
                    self.cx.counts.one(Count::StreamsDrainedLate);
                }
            });
        }
        self.end_leavers();
        self.arm_drain();
    }

    /// Ends the streams whose moment has come, then looks for others.
    fn end_leavers(&mut self) {
        let now = self.cx.now;
        loop {
            let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.due <= now) else { return };
            let Some(&key) = leaving.order.get(leaving.next) else { break };
            let together = if leaving.ends_over.is_zero() { leaving.spread } else { Span::ZERO };
            leaving.next += 1;
            leaving.due = match leaving.next < leaving.order.len() {
                true => leaving.moment(&mut self.cx.random),
                false => now + LOOK,
            };
            self.end_leaver(key, together);
        }
        // Some have come to where they can be gone on with, or have been asked for by a request that was on its way.
        self.leavers().into_iter().for_each(|key| self.end_leaver(key, Span::ZERO));
        let is_over = self.conns.len() == 0;
        if let Some(leaving) = &mut self.leaving {
            leaving.due = if is_over { Tick::NEVER } else { now + LOOK };
            leaving.until = if is_over { Tick::NEVER } else { leaving.until };
        }
    }

    fn end_leaver(&mut self, key: ExchangeKey, together: Span) {
        let leaves = self.exchanges.get(key).is_some_and(|x| x.leaves(&self.cx));
        if leaves && self.send_elsewhere(key, together) {
            self.cx.counts.one(Count::StreamsDrained);
        }
    }

    /// The exchanges whose clients can go on elsewhere.
    fn leavers(&self) -> Vec<ExchangeKey> {
        self.exchanges.iter().filter(|(_, x)| !x.is_detached() && x.leaves(&self.cx)).map(first).collect()
    }

    fn arm_drain(&mut self) {
        let Self { cx, leaving, .. } = self;
        if let Some(leaving) = leaving {
            leaving.alarm.set(&mut cx.wheel, leaving.due.min(leaving.until), Timer::Drain);
        }
    }

    /// Whether all streams that can be gone on with elsewhere have ended, for their clients too.
    pub fn has_sent_all_elsewhere(&self) -> bool {
        let ends = |x: &Exchange| x.phase == Phase::Ending(Ending::Cut) && x.stream().is_some();
        let is_through = self.leaving.as_ref().is_some_and(|leaving| leaving.next == leaving.order.len());
        is_through && !self.exchanges.iter().any(|(_, x)| ends(x))
    }

    /// Clients between two requests are given a moment for one that is on its way. Upstreams that are idle are closed.
    fn see_off_idle(&mut self) {
        let all: Vec<ConnKey> = self.conns.iter().map(first).collect();
        let until = self.cx.now + LAST_REQUEST;
        for conn in all {
            let Self { cx, conns, .. } = self;
            let Some(c) = conns.get(conn) else { continue };
            match (&c.peer, c.exchange) {
                (Peer::Client(client), None) if client.state == ClientState::Head => {
                    let until = until.min(c.deadline);
                    conns.set_deadline(cx, conn, until);
                }
                (Peer::Upstream(_), None) => conns.drop_idle(cx, conn),
                _ => {}
            }
        }
    }

    /// Ends a stream, or the wait for one, so that its clients come back elsewhere. `together`: over what time, where
    /// others end at the same moment. False: it has ended already, or is no stream.
    pub(super) fn send_elsewhere(&mut self, key: ExchangeKey, together: Span) -> bool {
        let Some(x) = self.exchanges.get(key) else { return false };
        if matches!(x.phase, Phase::Passing(_) | Phase::Tunnel { .. } | Phase::Ending(_)) {
            // An answer that is ending already ends as upstream meant it to, and a tunnel when one of its sides wants.
            return false;
        }
        let may_open = !(x.request.waits_for_head || x.request.reauthorizes || x.search().is_some());
        if !x.is_open_stream() && x.is_stream_request() && may_open && x.stream().is_none() {
            // A client that has a stream comes back to it by itself; one whose request failed may not.
            self.open_early(key);
        }
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return false };
        if x.is_open_stream() {
            if let Some(stream) = x.stream() {
                stream.say_retry(cx, conns, together);
            }
            self.end_stream(key, Ending::Cut);
        } else {
            self.cut_readers(key);
        }
        true
    }
}

impl Exchange {
    /// Whether clients have the head of an event stream, or wait for one that can be asked for again.
    fn is_begun_stream(&self) -> bool {
        self.is_open_stream() || self.is_stream_request()
    }

    /// Whether its clients lose nothing if they go elsewhere: nothing has come yet, or upstream can be asked for what
    /// follows, or the store has what came and upstream would be asked anew.
    pub(in crate::machine) fn leaves(&self, cx: &Cx) -> bool {
        if matches!(self.phase, Phase::Passing(_) | Phase::Tunnel { .. } | Phase::Ending(_)) {
            return false;
        }
        if matches!(self.phase, Phase::Following { .. }) {
            return true;
        }
        let Some(stream) = self.stream().filter(|stream| stream.readers.head_sent) else {
            return self.is_stream_request();
        };
        if self.can_heal() && stream.can_go_on(cx) {
            return true;
        }
        let is_get = self.is_stream_request() && self.request.method == Method::Get;
        let is_stored = cx.config.persist.keeps_events() && cx.route(self.route()).reauthorize.is_none();
        let is_kept = is_stored && stream.ends_with_own_id();
        is_get && (stream.tracker.received().seq == 0 && !stream.tracker.is_open_oversize() || is_kept)
    }
}

fn first<K, V>(pair: (K, V)) -> K {
    pair.0
}

/// Puts what it is given into an order of chance (Fisher and Yates).
fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for n in (1..all.len()).rev() {
        all.swap(n, random.below(n as u64 + 1) as usize);
    }
}
