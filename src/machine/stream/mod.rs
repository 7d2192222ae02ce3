//! An event stream: upstream's bodies in, whole events out to its readers.
//!
//! In: bytes of bodies, cuts, ends; how much the readers' sockets took; readers that come and go. Out: events in the
//! log, from which each reader is sent; what remains to be done, as values that must be used.
//! Laws: a stream owns its readers; only whole events are forwarded; a reader that misses an event is never sent a
//! later one without a word: it is cut, comes back, and is told of the gap.
//!
//! How an event leaves the log. The log is a ring, and readers are offsets in it:
//!
//! ```text
//!  start        slow reader      fast reader   whole      end
//!    |------------------|---------------|---------|----------|
//!    delivered events     may leave when             an event that
//!    leave first          room is needed             has not ended
//! ```
//!
//! With one reader nothing leaves before its socket took it ([`Stream::took`] advances the delivered offset), and a
//! full log holds the upstream back. What the socket took and the client has not acknowledged leaves for want of bytes
//! alone ([`Stream::acknowledge`]); the delivered mark stands before it. With several, the fastest sets the pace: what
//! it took may leave, and a slower reader whose next byte has left is cut ([`Stream::cut_fallen`]). When readers leave,
//! the fastest of those that stay sets the pace from then on ([`Stream::on_left`]). A reader that joins starts at an
//! offset of its own ([`Stream::join`]).

pub(super) mod audience;
pub(super) mod chunk;
pub(super) mod head;
pub(super) mod linger;
pub(super) mod readers;
pub(super) mod telling;

use super::book::account::Account;
use super::book::asking::is_turn_of;
use super::conn::Conn;
use super::cx::Cx;
use super::find::vary::varies;
use super::io::{Close, Output};
use super::keys::Seat;
use super::notice::{Notice, Subject};
use super::pool::Conns;
use super::visits::REQUEST_ID;
use super::wait::STEADY;
use crate::base::{Count, Counts, EventId, Rare, Span, Tick};
use crate::http::{self, BodyLength, ResponseHead};
use crate::sse::{Position, write_id};
use crate::track::{CutKind, Fed, GapReason, Tracker, write_gap};
use head::{KeptHead, UNBUFFERED, exposes_gap, for_others};
use readers::{Reader, Readers, Words};
use std::borrow::Cow;

/// A comment line. In a stream without ids a blank line follows, for parsers that split at blank lines; behind an id
/// some parsers take a blank line for an empty event.
const HEARTBEAT: &[u8] = b":\n\n";
const HEARTBEAT_AMONG_IDS: &[u8] = b":\n";

/// After so many bytes, what was acknowledged is asked at once: so the log of a fast stream holds what is on its way,
/// and not all that a window of time brings.
const ASK_BYTES: u32 = 64 << 10;

/// How soon a client is told to come back after a drain, in milliseconds, and over how long such clients are spread at
/// least.
const SOONEST: u64 = 500;
const RETRIES: u64 = 2_500;

/// The event stream of an exchange.
pub(super) struct Stream {
    pub(super) tracker: Tracker,
    pub(super) readers: Readers,
    pub(super) account: Account,
    /// An event stream has come from upstream, so its loss is a cut.
    pub(super) begun: bool,
    /// Clients know the stream's token.
    pub(super) has_token: bool,
    /// The answer to a POST was cut, and a client that came back was told that the rest is gone.
    pub(super) has_told_end: bool,
    /// When upstream last sent something.
    pub(super) last_heard: Tick,
    /// When the present body began, and how many events the stream had received then.
    body_began: (Tick, u64),
    /// The offset up to which the store has been given events.
    pub(super) stored: u64,
    /// Lines of upstream's head that later readers need.
    pub(super) head: Option<KeptHead>,
    /// When upstream last answered the principal with this stream.
    pub(super) authorized: Tick,
    /// The names of the request's headers by which upstream's answer varies.
    pub(super) varies: Rare,
    /// When the last reader left, and the offset at which the whole events ended then.
    pub(super) detached: Option<Box<(Tick, u64)>>,
}

/// How far an upstream's body has come.
pub(super) enum Body {
    Open,
    Done,
    /// The body breaks HTTP's rules; the text says how.
    Broken(String),
}

/// What [`Stream::feed`] did with a part of a body.
#[must_use]
pub(super) struct Taken {
    /// Bytes that were used. There is no room for the rest.
    pub(super) used: usize,
    pub(super) body: Body,
    /// A gap event was written into the log.
    pub(super) gap: Option<GapReason>,
    /// Events have ids of segno's own from now on.
    pub(super) own_ids: bool,
}

/// What [`Stream::took`] found.
#[must_use]
pub(super) struct Took {
    /// The socket has taken all that it was given.
    pub(super) sent: bool,
    /// There is more in the log for this reader.
    pub(super) more: bool,
    /// So much was taken that it is time to ask what has been acknowledged.
    pub(super) ask: bool,
    /// Events have left the log, and a reader may not have had them.
    pub(super) evicted: bool,
}

/// What [`Stream::ask_unacknowledged`] did.
#[must_use]
pub(super) struct Asked {
    pub(super) count: usize,
    /// The seat to go on from.
    pub(super) next: Seat,
    /// The least silent of the readers whose turn it was not.
    pub(super) passed_over: Option<u8>,
}

/// From upstream.
impl Stream {
    /// A stream without events. `cursor`: the last id that its client has.
    pub(super) fn new(cx: &mut Cx, route: usize, account: Account, cursor: Option<&[u8]>, readers: Readers) -> Self {
        cx.counts.one_at(route, Count::StreamsStarted);
        let mut tracker = Tracker::new(cx.limits(route));
        if let Some(id) = cursor {
            tracker.seed_cursor(cx.track(route), id);
        }
        Self {
            tracker,
            readers,
            account,
            begun: false,
            has_token: false,
            has_told_end: false,
            last_heard: cx.now,
            body_began: (cx.now, 0),
            stored: 0,
            head: None,
            authorized: cx.now,
            varies: Rare::NONE,
            detached: None,
        }
    }

    /// A body begins. `offers`: its events get ids of segno's own if they have none.
    pub(super) fn begin(&mut self, cx: &mut Cx, route: usize, head: &ResponseHead, offers: bool) {
        let healed = std::mem::replace(&mut self.begun, true);
        if self.head.is_none() {
            self.head = Some(cx.heads.keep(route, head, &mut cx.counts));
        }
        if !healed && offers {
            self.tracker.offer_ids(cx.secret.token(self.account.number).prefix());
        }
        self.authorized = cx.now;
        self.varies = varies(head, self.varies.as_deref()).into();
        self.last_heard = cx.now;
        self.body_began = (cx.now, self.tracker.received().seq);
        self.tracker.begin(healed, self.readers.head_sent);
    }

    /// Whether the present body has brought no event yet.
    #[inline]
    pub(super) fn is_before_first_event(&self) -> bool {
        self.body_began.1 == self.tracker.received().seq
    }

    /// Feeds bytes of a body to the tracker, as far as the log has room.
    pub(super) fn feed(&mut self, cx: &mut Cx, c: &mut Conn, route: usize, bytes: &[u8]) -> Taken {
        self.last_heard = cx.now;
        let mut taken = Taken { used: 0, body: Body::Open, gap: None, own_ids: false };
        while taken.used < bytes.len() {
            let room = self.tracker.room(cx.limits(route), &cx.budget);
            if room == 0 {
                break;
            }
            let end = bytes.len().min(taken.used.saturating_add(room));
            match c.body.next(&bytes[taken.used..end]) {
                Ok((n, http::Piece::Data(data))) => {
                    taken.used += n;
                    let fed = self.tracker.feed(cx.track(route), data);
                    cx.counts.add_at(route, Count::EventBytes, data.len() as u64);
                    count_fed(&mut cx.counts, route, &fed);
                    if self.tracker.has_own_ids() && self.ends_with_own_id() {
                        cx.counts.add_at(route, Count::IdsInjected, u64::from(fed.events));
                    }
                    taken.gap = taken.gap.or(fed.gap);
                    taken.own_ids |= fed.own_ids;
                }
                Ok((n, http::Piece::More)) => taken.used += n,
                Ok((n, http::Piece::End)) => {
                    taken.used += n;
                    taken.body = Body::Done;
                    break;
                }
                Err(e) => {
                    taken.body = Body::Broken(e.to_string());
                    break;
                }
            }
        }
        // A body with a length ends with its last byte, and an empty body has no bytes at all: ask the decoder.
        if matches!(taken.body, Body::Open) && c.body.is_done() {
            taken.body = Body::Done;
        }
        taken
    }

    /// Upstream was cut off. `false`: inside an event that is too large to hold, of which readers may have a part.
    #[must_use]
    pub(super) fn cut(&mut self) -> bool {
        self.tracker.cut() != CutKind::MidOversize
    }

    /// Upstream has ended the stream cleanly.
    #[must_use]
    pub(super) fn finish(&mut self, cx: &mut Cx, route: usize) -> Option<GapReason> {
        self.tracker.finish(cx.track(route))
    }

    /// Whether upstream can be asked to go on: the last event has an id, the id can stand in a header, and it is none
    /// that segno made in a process before.
    pub(super) fn can_go_on(&self, cx: &Cx) -> bool {
        let goes_up = |id| http::is_field_value(id) && !cx.secret.made_id(id);
        self.tracker.healable() && self.tracker.cursor(&cx.interner).is_some_and(goes_up)
    }

    /// Whether the last event has an id of segno's own.
    pub(super) fn ends_with_own_id(&self) -> bool {
        self.tracker.own_id(self.tracker.received().seq).is_some()
    }

    /// Whether what upstream sent so far ends inside an event.
    pub(super) fn is_inside_event(&self) -> bool {
        self.tracker.position() == Position::Block
    }

    /// Whether the body that was cut had lasted. If a short one did not count as a failure, an upstream that hangs up
    /// after each head, or after each event, would be asked for ever without a pause.
    pub(super) fn was_steady(&self, now: Tick) -> bool {
        now.since(self.body_began.0) >= STEADY
    }

    /// How many events the body that was cut brought.
    pub(super) fn events_brought(&self) -> u64 {
        self.tracker.received().seq - self.body_began.1
    }

    /// All readers have everything, and yet there is no room: the budget of all logs is used up, and the log holds a
    /// part of an event. Readers get this event in parts from now on. `false`: there was no such part.
    #[must_use]
    pub(super) fn unstick(&mut self, cx: &mut Cx, route: usize) -> bool {
        let fed = self.tracker.unstick(cx.track(route));
        cx.counts.add_at(route, Count::EventsOversize, u64::from(fed.oversize));
        fed.oversize
    }
}

/// To readers.
impl Stream {
    /// Sends the head to all readers that have none yet. The greeting has the id of the request that went upstream; who
    /// waited for the same answer gets its own.
    /// Those that did not ask for an event stream by name read of a gap in the head alone.
    pub(super) fn send_heads(
        &mut self,
        cx: &mut Cx,
        conns: &mut Conns,
        route: usize,
        head: &ResponseHead,
        greeting: Greeting<'_>,
    ) {
        self.readers.head_sent = true;
        self.readers.last_sent = cx.now;
        let others = self.readers.iter_mut().any(|reader| !reader.asked).then(|| for_others(head));
        for reader in self.readers.iter_mut().filter(|reader| !reader.head_sent) {
            let head = others.as_ref().filter(|_| !reader.asked).unwrap_or(head);
            let own = cx.visits.id_of(reader.client).or(greeting.id.filter(|_| reader.asked)).map(Box::from);
            let lead = if reader.words == Words::None { &[] } else { greeting.lead };
            send_head(reader, cx, conns, route, head, Greeting { lead, id: own.as_deref(), ..greeting });
        }
        if cx.visits.is_any() {
            self.readers.iter().for_each(|(seat, _)| self.tell_begin(cx, seat));
        }
        self.readers.flush(cx, conns);
    }

    /// Sends a head to the reader in this seat, who came later than the stream's first one.
    pub(super) fn send_resumed_head(
        &mut self,
        cx: &mut Cx,
        conns: &mut Conns,
        route: usize,
        seat: Seat,
        head: &ResponseHead,
        greeting: Greeting<'_>,
    ) {
        if let Some(reader) = self.readers.get_mut(seat) {
            send_head(reader, cx, conns, route, head, greeting);
        }
        self.tell_begin(cx, seat);
    }

    /// Notes for what is told of the request of the reader in this seat where it begins.
    fn tell_begin(&self, cx: &mut Cx, seat: Seat) {
        if let Some(reader) = self.readers.get(seat).filter(|_| cx.visits.is_any()) {
            cx.visits.read_stream(reader.client, self.account.number, self.events_before(reader.began));
        }
    }

    /// How many events stand before an offset between two events.
    pub(super) fn events_before(&self, offset: u64) -> u64 {
        self.tracker.received().seq.saturating_sub(self.tracker.events_between(offset, self.tracker.whole()))
    }

    /// Sends MCP clients an id before the first event, so that they can resume even if no event comes.
    pub(super) fn prime(&self, cx: &Cx, conns: &mut Conns) {
        let mut event = Vec::new();
        write_id(&mut event, &[&cx.secret.token(self.account.number).prefix()[..], b"0"].concat());
        event.extend_from_slice(b"data:\n\n");
        self.readers.say(conns, |_, _| Some(Cow::Borrowed(&event)));
    }

    /// Sends a heartbeat to each reader that has everything and waits.
    pub(super) fn heartbeat(&mut self, cx: &mut Cx, conns: &mut Conns, route: usize) {
        self.readers.last_sent = cx.now;
        let (whole, open) = (self.tracker.whole(), self.tracker.is_open_oversize());
        let has_ids = self.has_token || self.tracker.received().id.is_some();
        let heartbeat = if has_ids { HEARTBEAT_AMONG_IDS } else { HEARTBEAT };
        let counts = &mut cx.counts;
        self.readers.say(conns, |reader, c| {
            let behind = reader.chunk.is_open() || reader.chunk.offset < whole;
            if behind || !c.out.is_empty() && reader.blocked || open || reader.words == Words::None {
                return None;
            }
            counts.one_at(route, Count::Heartbeats);
            Some(Cow::Borrowed(heartbeat))
        });
        self.readers.flush(cx, conns);
    }

    /// Asks each client to come back after a time drawn for it alone, so that they do not all come at once.
    pub(super) fn say_retry(&self, cx: &mut Cx, conns: &mut Conns, together: Span) {
        if self.tracker.is_open_oversize() {
            return;
        }
        let whole = self.tracker.whole();
        self.readers.say(conns, |reader, _| {
            if reader.chunk.is_open() || reader.chunk.offset != whole || reader.words == Words::None {
                return None;
            }
            let wait = SOONEST + cx.random.below(together.millis().max(RETRIES));
            Some(Cow::Owned(format!("retry: {wait}\n\n").into_bytes()))
        });
    }

    /// Tells the reader in this seat that it has the last event of a log that upstream will not complete.
    pub(super) fn say_rest_is_gone(&mut self, cx: &Cx, conns: &mut Conns, seat: Seat) {
        self.has_told_end = true;
        let Some(reader) = self.readers.get(seat) else { return };
        let last = self.tracker.received_id(&cx.interner);
        let mut event = Vec::new();
        write_gap(&mut event, GapReason::Refused, last.as_ref().map(EventId::as_bytes), None);
        if let Some(c) = conns.get_mut(reader.client) {
            http::write_piece(&event, reader.chunked, c.out.end());
        }
    }

    /// The socket of the reader in this seat took `of_log` bytes of the log. `out_empty`: it has taken all other bytes,
    /// too.
    pub(super) fn took(&mut self, cx: &mut Cx, route: usize, seat: Seat, of_log: usize, out_empty: bool) -> Took {
        let mut took = Took { sent: out_empty, more: false, ask: false, evicted: false };
        let several = self.readers.len() > 1;
        let Some(reader) = self.readers.get_mut(seat) else { return took };
        if of_log > 0 {
            let from = reader.chunk.offset;
            reader.chunk.consume(of_log);
            let to = reader.chunk.offset;
            cx.counts.add_at(route, Count::EventsSent, self.tracker.events_between(from, to));
            cx.counts.add_at(route, Count::EventBytesSent, to - from);
            let start = self.tracker.start();
            self.tracker.accepted(cx.track(route), reader.chunk.offset);
            reader.unasked = reader.unasked.saturating_add(u32::try_from(of_log).unwrap_or(u32::MAX));
            took.ask = reader.unasked >= ASK_BYTES;
            // Faster readers may have left since, so this also applies to a reader that is alone now.
            let now_at = self.tracker.start();
            took.evicted = now_at > start && (several || reader.chunk.offset < now_at);
        }
        took.sent &= !reader.chunk.is_open();
        took.more = took.sent && self.tracker.whole() > reader.chunk.offset;
        took
    }

    /// The reader in this seat has acknowledged all but the last `bytes` bytes that its socket took. `true`: events
    /// have left the log, and a reader may not have had them.
    #[must_use]
    pub(super) fn acknowledge(&mut self, cx: &mut Cx, route: usize, seat: Seat, bytes: u64) -> bool {
        let Some(reader) = self.readers.get_mut(seat) else { return false };
        if !reader.acknowledge(bytes) {
            return false;
        }
        let start = self.tracker.start();
        self.tracker.acknowledged(cx.track(route), reader.got);
        // Of several readers each would look at all others: the book does so once a turn.
        if self.readers.len() == 1 {
            self.mark(cx, route);
        }
        self.tracker.start() > start
    }

    /// Moves the delivered mark to what the readers that count have got.
    pub(super) fn mark(&mut self, cx: &mut Cx, route: usize) {
        let stall = cx.route(route).stall;
        if let Some(at) = self.readers.slowest(self.tracker.marked_offset(), stall, cx.now) {
            self.tracker.mark(cx.track(route), at);
        }
    }

    /// Asks the readers from this seat on, at most so many, what they have acknowledged of what their sockets took. A
    /// reader that was asked in vain is passed over for some turns.
    pub(super) fn ask_unacknowledged(&self, cx: &mut Cx, from: Seat, most: usize, turn: u32) -> Asked {
        let mut asked = Asked { count: 0, next: from, passed_over: None };
        let owed = self.readers.iter_from(from).filter(|(_, reader)| reader.is_owed());
        for (seat, reader) in owed {
            if reader.asked_until < Tick::NEVER || is_turn_of(reader.quiet, turn) {
                cx.outputs.push_back(Output::AskUnacknowledged { conn: reader.client });
                asked.count += 1;
                asked.next = seat + 1;
                if asked.count == most {
                    break;
                }
            } else {
                asked.passed_over = Some(asked.passed_over.unwrap_or(reader.quiet).min(reader.quiet));
            }
        }
        asked
    }

    /// Whether a reader's socket has taken all whole events.
    pub(super) fn is_delivered(&self) -> bool {
        self.readers.any_has_all(self.tracker.whole())
    }

    /// Cuts the readers whose next bytes have left the log. They come back, and are told of the gap if there is one.
    /// `true`: no reader stays.
    ///
    /// Call it wherever events may have left the log before all readers took them.
    #[must_use]
    pub(super) fn cut_fallen(
        &mut self,
        cx: &mut Cx,
        conns: &mut Conns,
        route: usize,
        target: impl Fn(u64) -> Subject,
    ) -> bool {
        let (start, number) = (self.tracker.start(), self.account.number);
        let mut any = false;
        let has_fallen = |reader: &Reader| reader.head_sent && reader.chunk.offset < start;
        let before = self.readers.audience();
        self.readers.part(has_fallen, |reader| {
            any = true;
            cx.counts.one_at(route, Count::ReadersFallenOff);
            let why = "it fell behind what the log holds, and others read on".into();
            cx.notice(Notice::NotHealed { target: target(number), why });
            conns.close(cx, reader.client, Close::Reset);
        });
        if any {
            cx.audience.settle(before, self.readers.audience());
        }
        any && self.on_left()
    }

    /// Cuts the readers that did not ask for an event stream by name. `true`: no reader stays.
    #[must_use]
    pub(super) fn cut_unnamed(&mut self, cx: &mut Cx, conns: &mut Conns, route: usize) -> bool {
        let mut any = false;
        self.readers.part(
            |reader| reader.words == Words::None,
            |reader| {
                any = true;
                cx.counts.one_at(route, Count::StreamsCut);
                conns.close(cx, reader.client, Close::Reset);
            },
        );
        any && self.on_left()
    }

    /// Readers have left. The fastest reader that stays now decides what may leave the log: events that it has not
    /// taken stay, and upstream waits for room. `true`: no reader stays.
    #[must_use]
    pub(super) fn on_left(&mut self) -> bool {
        if !self.readers.any_is_at(self.tracker.delivered_offset())
            && let Some(fastest) = self.readers.fastest()
            && (self.tracker.start()..self.tracker.delivered_offset()).contains(&fastest)
        {
            self.tracker.rewind(fastest);
        }
        self.readers.is_empty()
    }

    /// Lets a reader begin at this offset of the log, and keeps the events after the offset for it.
    pub(super) fn join(&mut self, cx: &mut Cx, route: usize, mut reader: Reader, offset: u64) -> Seat {
        reader.begin_at(offset);
        if self.readers.is_empty() {
            self.tracker.rewind(offset);
        }
        // A client may have got more than was delivered here, over another of its connections. Those events are not
        // kept for it; the events after them are.
        if offset > self.tracker.delivered_offset() {
            self.tracker.release_to(cx.track(route), offset);
        }
        self.readers.last_sent = cx.now;
        let before = self.readers.audience();
        let seat = self.readers.take(reader);
        cx.audience.settle(before, self.readers.audience());
        seat
    }

    /// Segno's own id of the first event after an offset.
    pub(super) fn first_own_id(&self, offset: u64) -> Option<EventId> {
        let behind = self.tracker.events_behind(offset).1.len() as u64;
        self.tracker.own_id(self.tracker.received().seq.checked_sub(behind)? + 1)
    }
}

/// What a reader is sent with the head, beside what others are sent.
#[derive(Clone, Copy)]
pub(super) struct Greeting<'a> {
    /// Why events are gone.
    pub(super) gap: Option<GapReason>,
    /// Bytes that go before the first event.
    pub(super) lead: &'a [u8],
    /// The id of its request.
    pub(super) id: Option<&'a str>,
}

/// Sends a reader the head of an event stream. The kernel's send buffer is bounded, so that everything in it can be
/// replayed.
fn send_head(
    reader: &mut Reader,
    cx: &mut Cx,
    conns: &mut Conns,
    route: usize,
    head: &ResponseHead,
    greeting: Greeting<'_>,
) {
    let Greeting { gap, lead, id } = greeting;
    let bytes = cx.limits(route).in_flight_bytes();
    cx.outputs.push_back(Output::CapSendBuffer { conn: reader.client, bytes });
    let Some(c) = conns.get_mut(reader.client) else { return };
    cx.visits.answer(reader.client, head.status);
    let date = cx.date.header().filter(|_| !head.headers.contains("Date"));
    let id = id.filter(|_| !head.headers.contains(REQUEST_ID)).map(|id| (REQUEST_ID, id));
    let exposed = gap.and_then(|_| exposes_gap(head));
    let head = exposed.as_ref().unwrap_or(head);
    let gap = gap.map(|reason| ("Segno-Gap", reason.as_str()));
    let mut lines = [UNBUFFERED; 4];
    let mut said = 1;
    for line in [date, gap, id].into_iter().flatten() {
        lines[said] = line;
        said += 1;
    }
    reader.send_head(c, head, BodyLength::Chunked, &lines[..said], cx.now);
    if !lead.is_empty() {
        http::write_piece(lead, reader.chunked, c.out.end());
    }
}

fn count_fed(counts: &mut Counts, route: usize, fed: &Fed) {
    counts.add_at(route, Count::Events, u64::from(fed.events));
    let seldom = fed.duplicates | fed.duplicates_by_id_alone | fed.ids_too_long | fed.ids_refused;
    if seldom == 0 && !fed.oversize {
        return;
    }
    counts.add_at(route, Count::Duplicates, u64::from(fed.duplicates));
    counts.add_at(route, Count::DuplicatesByIdAlone, u64::from(fed.duplicates_by_id_alone));
    counts.add_at(route, Count::IdsTooLong, u64::from(fed.ids_too_long));
    counts.add_at(route, Count::EventsOversize, u64::from(fed.oversize));
    counts.add_at(route, Count::IdsRefused, u64::from(fed.ids_refused));
}
