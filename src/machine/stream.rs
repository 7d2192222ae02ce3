//! Event streams: from upstream's body into the tracker, cuts healed, ends passed on.
//!
//! In: bytes of bodies, cuts, ends. Out: whole events in the log, which the subscriber is sent from.
//! Laws: only whole events are forwarded; an event stream is cut for the client only where it cannot be healed, and
//! with a gap stated where events are known to be gone.

use super::conn::ConnKey;
use super::era::Era;
use super::exchange::{Ending, Exchange, ExchangeKey, Phase, Stream};
use super::resume::{kept_lines, stream_head};
use super::upstream::Body;
use super::{Close, Machine, Notice, Output};
use crate::base::{Count, Counts};
use crate::config::{Config, Dedup, Ids, Route};
use crate::http::{self, BodyLength, ResponseFraming, ResponseHead};
use crate::sse::Position;
use crate::track::{self, CutKind, Fed, GapReason, TrackContext, TrackLimits, Tracker};

const PRIMED: Era = Era::Resumable { primes: true };

/// A comment line and a blank one: nothing is dispatched, and parsers that split at blank lines stay in step.
const HEARTBEAT: &[u8] = b":\n\n";

/// The tracker's limits, from a route's knobs.
pub(super) fn limits(route: &Route) -> TrackLimits {
    TrackLimits {
        window: route.window,
        log_events: route.replay_events,
        log_bytes: route.replay_bytes,
        log_age: route.replay_age,
        max_event_bytes: route.max_event_bytes,
        max_id_bytes: route.max_id_bytes,
        dedup: match route.dedup {
            Dedup::Resume => track::Dedup::Resume,
            Dedup::Always => track::Dedup::Always,
            Dedup::Off => track::Dedup::Off,
        },
    }
}

/// How many different event ids can be alive at once: what all windows and logs can hold.
pub(super) fn symbols(config: &Config) -> usize {
    let each = config.routes.iter().map(|r| r.window + r.replay_events + 16).max().unwrap_or(0);
    config.limits.streams.saturating_mul(each).min(u32::MAX as usize / 2)
}

impl Stream {
    /// Whether what upstream sent so far ends inside an event.
    pub(super) fn is_inside_event(&self) -> bool {
        self.tracker.position() == Position::Block
    }
}

impl Machine {
    /// An event stream comes from upstream: the first time, or to go on after a cut.
    pub(super) fn begin_stream(&mut self, key: ExchangeKey, head: &ResponseHead) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let (tries, took) = (x.tries, now.since(x.since));
        let healed = x.stream.as_ref().is_some_and(|s| s.begun);
        if x.stream.is_none() && !self.create_stream(key) {
            return self.give_up(key, 503, "all sessions have streams; try again later");
        }
        if healed {
            self.counts.one(Count::Heals);
            let target = self.exchanges.get(key).map(Exchange::target).unwrap_or_default();
            self.notice(Notice::Healed { target, tries, took });
        }
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.phase = Phase::Streaming;
        let sent = x.head_sent;
        let offers = self.config.routes[x.route()].ids == Ids::Auto && x.request.era != Era::Stateless;
        if let Some(stream) = &mut x.stream {
            if !stream.begun {
                stream.head = kept_lines(head);
                if offers {
                    stream.tracker.offer_ids(self.secret.token(stream.account.number).prefix());
                }
            }
            stream.begun = true;
            stream.last_heard = now;
            stream.body_began = (now, stream.tracker.received().seq);
            stream.tracker.begin(healed, sent);
        }
        let primes = !healed && offers && self.exchanges.get(key).is_some_and(|x| x.request.era == PRIMED);
        self.send_stream_heads(key, head);
        if primes {
            self.prime(key);
        }
        self.arm(key);
    }

    /// `hold_head` is over: the client is told that a stream begins, and gets heartbeats until it does.
    pub(super) fn open_early(&mut self, key: ExchangeKey) {
        if !self.create_stream(key) {
            return self.cut_readers(key);
        }
        self.send_stream_heads(key, &stream_head());
        self.heartbeat(key);
    }

    /// Makes an exchange a stream of its session. False: the session has no place.
    pub(super) fn create_stream(&mut self, key: ExchangeKey) -> bool {
        let Some(account) = self.open_account(key) else { return false };
        let Some(x) = self.exchanges.get_mut(key) else { return false };
        self.counts.one(Count::StreamsStarted);
        let limits = &self.routes[x.route()].limits;
        let mut tracker = Tracker::new(limits);
        if let Some(id) = &x.request.cursor {
            let cx = TrackContext { limits, interner: &mut self.interner, budget: &mut self.budget, now: self.now };
            tracker.seed_cursor(cx, id);
        }
        x.stream = Some(Box::new(Stream {
            tracker,
            account,
            begun: false,
            last_heard: self.now,
            body_began: (self.now, 0),
            stored: 0,
            has_token: false,
            head: None,
            detached: None,
        }));
        self.streams += 1;
        self.forget_waiting(key);
        true
    }

    /// Sends the stream's head to all readers that have none yet.
    pub(super) fn send_stream_heads(&mut self, key: ExchangeKey, head: &ResponseHead) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.head_sent = true;
        x.last_sent = self.now;
        let bytes = self.routes[x.route()].limits.in_flight_bytes();
        for (_, reader) in x.readers.iter_mut().filter(|(_, reader)| !reader.head_sent) {
            let framing = ResponseFraming::relayed(BodyLength::Chunked, reader.version);
            reader.head_sent = true;
            reader.last_sent = self.now;
            reader.chunked = framing == ResponseFraming::Chunked;
            reader.until_close = !reader.chunked;
            let close = reader.until_close || !reader.keep_alive;
            self.outputs.push_back(Output::CapSendBuffer { conn: reader.client, bytes });
            let Some(c) = self.conns.get_mut(reader.client) else { continue };
            let gap = x.request.gap.map(|reason| [("Segno-Gap", reason.as_str())]);
            let extra = gap.as_ref().map_or(&[][..], |gap| &gap[..]);
            http::write_response(head, framing, reader.version, close, extra, c.out.end());
            if let Some(reason) = x.request.gap {
                let mut event = Vec::new();
                track::write_gap(&mut event, reason, x.request.asked.as_deref(), None);
                http::write_piece(&event, reader.chunked, c.out.end());
            }
        }
        if let Some(reason) = x.request.gap.take() {
            self.stated(key, reason);
        }
        self.flush_readers(key);
    }

    /// Asks for a flush of each reader whose socket takes something.
    pub(super) fn flush_readers(&mut self, key: ExchangeKey) {
        let Self { exchanges, conns, outputs, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        for (_, reader) in x.readers.iter() {
            if let Some(c) = conns.get_mut(reader.client)
                && !std::mem::replace(&mut c.flush_queued, true)
            {
                outputs.push_back(Output::Flush { conn: reader.client });
            }
        }
    }

    /// Does something with the tracker of an exchange's stream, lending it what all trackers share.
    pub(super) fn track<R>(
        &mut self,
        key: ExchangeKey,
        act: impl FnOnce(&mut Tracker, TrackContext<'_>) -> R,
    ) -> Option<R> {
        let Self { exchanges, routes, interner, budget, now, .. } = self;
        let x = exchanges.get_mut(key)?;
        let limits = &routes[x.route()].limits;
        Some(act(&mut x.stream.as_mut()?.tracker, TrackContext { limits, interner, budget, now: *now }))
    }

    /// Feeds bytes of a body to the tracker, as far as the log has room.
    pub(super) fn feed(&mut self, key: ExchangeKey, conn: ConnKey, bytes: &[u8]) -> (usize, Body) {
        let Self { conns, exchanges, routes, interner, budget, counts, now, .. } = self;
        let (Some(c), Some(x)) = (conns.get_mut(conn), exchanges.get_mut(key)) else { return (0, Body::Open) };
        let limits = &routes[x.route()].limits;
        let Some(stream) = &mut x.stream else { return (0, Body::Open) };
        stream.last_heard = *now;
        let (mut used, mut body, mut gap, mut own) = (0, Body::Open, None, false);
        while used < bytes.len() {
            let room = stream.tracker.room(limits, budget);
            if room == 0 {
                break;
            }
            let end = bytes.len().min(used.saturating_add(room));
            match c.body.next(&bytes[used..end]) {
                Ok((n, http::Piece::Data(data))) => {
                    used += n;
                    let cx = TrackContext { limits, interner, budget, now: *now };
                    let fed = stream.tracker.feed(cx, data);
                    counts.add(Count::EventBytes, data.len() as u64);
                    count_fed(counts, &fed);
                    gap = gap.or(fed.gap);
                    own |= fed.own_ids;
                }
                Ok((n, http::Piece::More)) => used += n,
                Ok((n, http::Piece::End)) => {
                    used += n;
                    body = Body::Done;
                    break;
                }
                Err(e) => {
                    body = Body::Broken(e.to_string());
                    break;
                }
            }
        }
        // A body with a length ends with its last byte, and one without content has no bytes to tell by.
        if matches!(body, Body::Open) && c.body.is_done() {
            body = Body::Done;
        }
        if self.config.persist.durable {
            Self::note_moved(&mut self.moved, key, stream);
        }
        if own {
            self.know_token(key);
        }
        if let Some(reason) = gap {
            self.stated(key, reason);
        }
        if self.make_room(key) {
            self.on_linger_over(key);
            return (bytes.len(), Body::Open);
        }
        if self.budget.is_over() {
            self.reclaim();
        }
        self.cut_fallen(key);
        self.flush_readers(key);
        (used, body)
    }

    /// Clients are told ids of segno's own: they are looked for from now on.
    fn know_token(&mut self, key: ExchangeKey) {
        let Some(stream) = self.exchanges.get_mut(key).and_then(|x| x.stream.as_mut()) else { return };
        if !std::mem::replace(&mut stream.has_token, true) {
            self.tokens.insert(self.secret.token(stream.account.number).0, key);
        }
    }

    /// Tells clients of MCP that know it an id before the first event, so that they can resume also when none comes.
    fn prime(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let Some(stream) = &x.stream else { return };
        let mut event = b"id: ".to_vec();
        event.extend_from_slice(&self.secret.token(stream.account.number).prefix());
        event.extend_from_slice(b"0\nretry: 1000\ndata:\n\n");
        for (_, reader) in x.readers.iter() {
            if let Some(c) = self.conns.get_mut(reader.client) {
                http::write_piece(&event, reader.chunked, c.out.end());
            }
        }
        self.know_token(key);
    }

    /// Cuts the readers whose next bytes have left the log: they come back, and are told of the gap if there is one.
    ///
    /// To be called wherever events may have left before all readers took them: what a reader is given begins where it is.
    pub(super) fn cut_fallen(&mut self, key: ExchangeKey) {
        let mut seat = 0;
        while let Some(x) = self.exchanges.get(key)
            && seat < x.readers.end()
        {
            let start = x.stream.as_ref().map_or(0, |stream| stream.tracker.start());
            if let Some(reader) = x.readers.get(seat).filter(|reader| reader.head_sent && reader.place.offset < start) {
                let (client, target) = (reader.client, x.target());
                self.counts.one(Count::ReadersFallenOff);
                let why = "it fell behind what the log holds, and others read on".into();
                self.notice(Notice::NotHealed { target, why });
                self.unseat(key, seat);
                self.close(client, Close::Reset);
            }
            seat += 1;
        }
    }

    /// A gap stands in the log.
    pub(super) fn stated(&mut self, key: ExchangeKey, reason: GapReason) {
        self.counts.one(Count::Gaps);
        if let Some(x) = self.exchanges.get(key) {
            let target = x.target();
            self.notice(Notice::Gap { target, reason });
        }
    }

    /// Upstream ended the stream as it should.
    pub(super) fn finish_stream(&mut self, key: ExchangeKey) {
        if let Some(Some(reason)) = self.track(key, |tracker, cx| tracker.finish(cx)) {
            self.stated(key, reason);
        }
        self.cut_fallen(key);
        self.end_stream(key, Ending::Clean);
    }

    /// Upstream was cut off. Heals where that is possible; else passes the cut on.
    pub(super) fn on_stream_cut(&mut self, key: ExchangeKey, why: &str) {
        self.counts.one(Count::UpstreamCuts);
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let can_ask = x.can_heal() && !self.config.routes[x.route()].heal_for.is_zero();
        let Some(stream) = &mut x.stream else { return };
        let kind = stream.tracker.cut();
        if can_ask && kind != CutKind::MidOversize && stream.tracker.healable() && !self.draining {
            return self.heal(key);
        }
        let target = x.target();
        let why = match (can_ask, kind) {
            (false, _) => format!("upstream cut the stream ({why}), which cannot be asked for again"),
            (_, CutKind::MidOversize) => format!("upstream cut the stream ({why}) inside an event too large to hold"),
            _ if self.draining => format!("upstream cut the stream ({why}), and nothing is begun any more"),
            _ => format!("upstream cut the stream ({why}), which has no event id to go on from"),
        };
        self.counts.one(Count::HealsFailed);
        self.notice(Notice::NotHealed { target, why: why.into() });
        self.end_stream(key, Ending::Cut);
    }

    /// Upstream does not know the cursor any more: the client is told so, then cut.
    pub(super) fn on_cursor_refused(&mut self, key: ExchangeKey, status: u16) {
        let Some(x) = self.exchanges.get(key) else { return };
        let target = x.target();
        self.track(key, |tracker, cx| tracker.state_gap(cx, GapReason::Refused, None));
        self.stated(key, GapReason::Refused);
        self.cut_fallen(key);
        self.counts.one(Count::HealsFailed);
        let why = format!("upstream answered {status} to the stream's last event id").into();
        self.notice(Notice::NotHealed { target, why });
        self.end_stream(key, Ending::Cut);
    }

    /// Sends a heartbeat where clients have heard nothing for long, and looks after the log's age on the way.
    pub(super) fn heartbeat(&mut self, key: ExchangeKey) {
        self.track(key, |tracker, cx| tracker.expire(cx));
        self.cut_fallen(key);
        let Self { exchanges, conns, counts, now, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let Some(stream) = &x.stream else { return };
        x.last_sent = *now;
        let (whole, open) = (stream.tracker.whole(), stream.tracker.is_open_oversize());
        for (_, reader) in x.readers.iter_mut() {
            let behind = reader.place.is_open() || reader.place.offset < whole;
            let Some(c) = conns.get_mut(reader.client) else { continue };
            if behind || !c.out.is_empty() && reader.blocked || open {
                continue;
            }
            http::write_piece(HEARTBEAT, reader.chunked, c.out.end());
            counts.one(Count::Heartbeats);
        }
        self.flush_readers(key);
    }

    /// Asks the clients to come back after times of their own, so that not all come at once.
    pub(super) fn say_retry(&mut self, key: ExchangeKey) {
        let Self { exchanges, conns, random, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        let Some(stream) = x.stream.as_ref().filter(|s| !s.tracker.is_open_oversize()) else { return };
        let whole = stream.tracker.whole();
        for (_, reader) in x.readers.iter().filter(|(_, r)| !r.place.is_open() && r.place.offset == whole) {
            let wait = 500 + random.below(2_500);
            if let Some(c) = conns.get_mut(reader.client) {
                http::write_piece(format!("retry: {wait}\n\n").as_bytes(), reader.chunked, c.out.end());
            }
        }
    }

    /// The budget of all logs is used up: logs above their fair share give back what has been delivered, each in its
    /// turn, until the budget is kept. Each call looks at a bounded number, so that no event waits for all streams.
    fn reclaim(&mut self) {
        const LOOKS: usize = 64;
        let fair = self.config.limits.log_budget / self.exchanges.len().max(1);
        for _ in 0..self.exchanges.places().min(LOOKS) {
            if !self.budget.is_over() {
                return;
            }
            self.reclaimed_at = (self.reclaimed_at + 1) % self.exchanges.places().max(1);
            let Some(key) = self.exchanges.key_at(self.reclaimed_at) else { continue };
            let freed = self.track(key, |tracker, cx| tracker.trim(cx, fair)).unwrap_or(0);
            self.counts.add(Count::LogBytesReclaimed, freed as u64);
            if freed > 0 {
                self.cut_fallen(key);
            }
        }
    }
}

fn count_fed(counts: &mut Counts, fed: &Fed) {
    counts.add(Count::Events, u64::from(fed.events));
    counts.add(Count::Duplicates, u64::from(fed.duplicates));
    counts.add(Count::DuplicatesByIdAlone, u64::from(fed.duplicates_by_id_alone));
    counts.add(Count::IdsTooLong, u64::from(fed.ids_too_long));
    counts.add(Count::EventsOversize, u64::from(fed.oversize));
    counts.add(Count::IdsRefused, u64::from(fed.ids_refused));
}
