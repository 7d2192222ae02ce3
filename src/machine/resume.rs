//! Clients that come back: their streams are found by what they name, and replayed into live delivery.
//!
//! In: requests with `Last-Event-ID`, and those that may share. Out: readers with a place in a log, or a request that
//! goes upstream, with or without its cursor; gaps, stated.
//!
//! Laws: a log is only read by the principal that made it, and for the target that it was asked for; an id of segno's
//! own never goes upstream; no match, or several, and the request goes upstream as it would without segno; looking
//! takes a bounded number of steps.
//! Source: DESIGN section 5, "Resuming" and "Gap contract".

use super::conn::ConnKey;
use super::exchange::{Ending, ExchangeKey, Phase, Reader, Request};
use super::identity::Token;
use super::seats::Seat;
use super::{Close, Machine, Notice, Output};
use crate::base::{Count, EventId};
use crate::config::{Gap, Share};
use crate::http::{self, BodyLength, Method, ResponseFraming, ResponseHead};
use crate::track::{GapReason, TrackContext, Tracker, write_gap};

/// Streams of a session that are looked at for an id.
const LOOKS: usize = 64;

/// What becomes of a request that may belong to a stream.
pub(super) enum Resume {
    /// It is a new one.
    New,
    /// It is a new one; its cursor stays here, and the client is told of the gap.
    NewAfter(GapReason),
    /// It reads on in this stream from this offset of its log.
    Join(ExchangeKey, u64, Option<GapReason>),
    /// It names a stream by an id of segno's own, but is a POST: its body tells whether it is the same again.
    Repeat(Token, u64),
    /// The stream has ended as it should, and the client has had all of it.
    Over,
    /// It is in the middle of an event that is too large to be held: nobody can begin here now.
    Later,
}

impl Machine {
    /// Where a request belongs.
    pub(super) fn find_stream(&self, request: &Request, route: usize) -> Resume {
        if request.era == super::era::Era::Stateless {
            return Resume::New;
        }
        let own = request.cursor.as_ref().and_then(|id| Token::parse(id)).filter(|(token, _)| self.secret.made(*token));
        let may_read = request.method == Method::Get && !request.has_body && !self.draining;
        let share = self.config.routes[route].share;
        match &request.cursor {
            _ if !may_read && own.is_some() => match own.filter(|_| request.method == Method::Post && !self.draining) {
                Some((token, seq)) => Resume::Repeat(token, seq),
                None => Resume::NewAfter(GapReason::Unknown),
            },
            _ if !may_read => Resume::New,
            Some(id) => match own {
                Some((token, seq)) => self.find_own(request, token, seq),
                None => self.find_upstreams(request, id, share),
            },
            None if share != Share::Off && request.accepts_stream => self.find_shared(request),
            None => Resume::New,
        }
    }

    /// The stream that an id of segno's own names.
    pub(super) fn find_own(&self, request: &Request, token: Token, seq: u64) -> Resume {
        let found = self.tokens.get(&token.0).copied().filter(|key| self.is_readable(*key, request));
        let Some((key, x)) = found.and_then(|key| Some((key, self.exchanges.get(key)?))) else {
            return Resume::NewAfter(GapReason::Unknown);
        };
        let Some(tracker) = x.stream.as_ref().map(|stream| &stream.tracker) else { return Resume::New };
        if seq > tracker.received().seq {
            return Resume::NewAfter(GapReason::Unknown);
        }
        let Some(offset) = tracker.locate_event(seq) else {
            let start = tracker.replay_start();
            return start.map_or(Resume::Later, |start| Resume::Join(key, start, Some(GapReason::Evicted)));
        };
        let has_all = offset == tracker.whole();
        match (x.phase, &x.request.method) {
            (Phase::Ending(Ending::Clean), Method::Post) if has_all => Resume::Over,
            // A GET whose upstream is gone is asked anew, with ids of its own.
            (Phase::Ending(_), Method::Get) if has_all => Resume::NewAfter(GapReason::Restarted),
            // First what the log holds; who comes back behind it is told.
            (Phase::Ending(Ending::Cut), Method::Post) if has_all => {
                Resume::Join(key, offset, Some(GapReason::Refused))
            }
            _ => Resume::Join(key, offset, None),
        }
    }

    /// The one detached stream whose log has the upstream's id; with sharing, one that others read will do.
    fn find_upstreams(&self, request: &Request, id: &[u8], share: Share) -> Resume {
        let Some(session) = self.sessions.find(request.identity.session).and_then(|key| self.sessions.get(key)) else {
            return Resume::New;
        };
        if session.streams.len() > LOOKS && share == Share::Off {
            return Resume::New;
        }
        let mut found = None;
        for key in session.streams.iter().take(LOOKS).copied().filter(|key| self.is_readable(*key, request)) {
            let Some(x) = self.exchanges.get(key) else { continue };
            let Some(stream) = &x.stream else { continue };
            // What a POST began is only found by what nobody can guess.
            let may_find = x.request.method == Method::Get || is_secret(request);
            if !may_find || !(x.is_detached() || share != Share::Off) {
                continue;
            }
            let Some(offset) = stream.tracker.locate(&self.interner, id) else { continue };
            match (found, share) {
                (None, _) => found = Some((key, offset)),
                // All of them carry the same: any will do.
                (Some(_), Share::Principal | Share::Public) => {}
                (Some(_), Share::Off) => return Resume::New,
            }
        }
        found.map_or(Resume::New, |(key, offset)| Resume::Join(key, offset, None))
    }

    /// A stream of the same target that others read, or wait for.
    fn find_shared(&self, request: &Request) -> Resume {
        let Some(session) = self.sessions.find(request.identity.session).and_then(|key| self.sessions.get(key)) else {
            return Resume::New;
        };
        let streams = session.streams.iter().take(LOOKS).copied();
        for key in streams.filter(|key| self.is_readable(*key, request)) {
            let Some(x) = self.exchanges.get(key) else { continue };
            let Some(tracker) = x.stream.as_ref().map(|stream| &stream.tracker) else { continue };
            if !matches!(x.phase, Phase::Ending(_)) && !tracker.is_open_oversize() {
                return Resume::Join(key, tracker.whole(), None);
            }
        }
        Resume::New
    }

    /// Whether a stream is of the request's session, and so of its principal, and for its target.
    fn is_readable(&self, key: ExchangeKey, request: &Request) -> bool {
        let Some(x) = self.exchanges.get(key) else { return false };
        x.stream.is_some() && x.head_sent && x.request.identity == request.identity
    }

    /// Whether a request still waits for its answer's head.
    pub(super) fn is_waiting(&self, key: ExchangeKey) -> bool {
        let waits = |phase| matches!(phase, Phase::Waiting(_) | Phase::Connecting | Phase::Asked);
        self.exchanges.get(key).is_some_and(|x| waits(x.phase) && !x.head_sent && !self.draining)
    }

    /// A client waits for the same answer as another.
    pub(super) fn wait_beside(&mut self, conn: ConnKey, key: ExchangeKey, reader: Reader) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        self.counts.one(Count::Resumes);
        let seat = x.readers.take(reader);
        if let Some(c) = self.conns.get_mut(conn) {
            c.exchange = Some(key);
            c.set_seat(seat);
        }
        self.set_deadline(conn, crate::base::Tick::NEVER);
    }

    /// A request that others might have waited beside has its answer, or is gone.
    pub(super) fn forget_waiting(&mut self, key: ExchangeKey) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(x) = self.exchanges.get(key) else { return };
        let place = (x.request.identity.session, x.request.identity.target);
        if self.waiting.get(&place) == Some(&key) {
            self.waiting.remove(&place);
        }
    }

    /// The answer is no event stream and cannot be shared: all clients but the first ask for themselves.
    pub(super) fn part_ways(&mut self, key: ExchangeKey) {
        while let Some(x) = self.exchanges.get_mut(key)
            && x.readers.len() > 1
        {
            let (request, route) = (x.request.clone(), x.route());
            let Some(seat) = x.readers.iter().last().map(|(seat, _)| seat) else { return };
            let Some(mut reader) = x.readers.leave(seat) else { return };
            let conn = reader.client;
            reader.last_sent = self.now;
            let exchange = super::Exchange::new(route, request, reader, self.now);
            match self.exchanges.insert(exchange) {
                Ok(own) => {
                    if let Some(c) = self.conns.get_mut(conn) {
                        c.exchange = Some(own);
                        c.set_seat(0);
                    }
                    self.ask(own);
                    self.arm(own);
                }
                Err(_) => {
                    self.counts.one(Count::StreamsRefused);
                    self.answer_in_place(conn, 503, "all streams are taken; try again later", &[("Retry-After", "5")]);
                }
            }
        }
    }

    /// Does what was found for a request that belongs to a stream.
    pub(super) fn resume_at(&mut self, conn: ConnKey, request: Request, reader: Reader, found: Resume) {
        match found {
            Resume::Over => self.answer_in_place(conn, 204, "", &[]),
            Resume::Later => {
                // A cut, on which clients come back; a status is an end to some.
                self.counts.one(Count::StreamsCut);
                self.close(conn, Close::Reset);
            }
            found => self.join(conn, request, reader, found),
        }
    }

    /// Gives a client a place in a stream: what it has missed first, then what comes.
    pub(super) fn join(&mut self, conn: ConnKey, request: Request, mut reader: Reader, to: Resume) {
        let Resume::Join(key, offset, gap) = to else { return };
        let Some(x) = self.exchanges.get(key) else { return };
        let refuses = self.refuses_gaps(&request, x.route());
        if gap.is_some() && refuses {
            return self.refuse_gap(conn, &request, gap);
        }
        let own = x.stream.as_ref().is_some_and(|stream| stream.tracker.has_own_ids());
        let shared = self.config.routes[x.route()].share != Share::Off;
        // The newest connection of an MCP stream wins; with own ids, or where streams are shared, it joins beside.
        if request.era.is_resumable_mcp() || !own && !shared {
            self.cut_others(key);
        }
        self.counts.one(Count::Resumes);
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let Some(stream) = &mut x.stream else { return };
        reader.begin_at(offset);
        let limits = &self.routes[x.route as usize].limits;
        let Self { interner, budget, .. } = self;
        if x.readers.is_empty() {
            stream.tracker.rewind(TrackContext { limits, interner, budget, now }, offset);
        }
        // A client may have more than was delivered here, from another of its connections: that is not kept for it.
        // What it is still to be given stays.
        if offset > stream.tracker.delivered_offset() {
            stream.tracker.release_to(TrackContext { limits, interner, budget, now }, offset);
        }
        let nothing_yet = offset == stream.tracker.whole();
        let resumed_at = first_own(&stream.tracker, offset);
        let lead = lead(&request, gap, resumed_at.as_ref().map(|id| id.as_bytes()), nothing_yet);
        let lines = stream.head.clone();
        let is_cut = x.phase == Phase::Ending(Ending::Cut) && x.request.method == Method::Post;
        reader.owes_gap = is_cut && gap.is_none() && !refuses;
        let seat = x.readers.take(reader);
        x.last_sent = now;
        if let Some(c) = self.conns.get_mut(conn) {
            c.exchange = Some(key);
            c.set_seat(seat);
        }
        self.set_deadline(conn, crate::base::Tick::NEVER);
        self.on_read_again(key);
        self.send_resumed_head(key, seat, gap, lines.as_deref(), &lead);
        self.cut_fallen(key);
        if let Some(reason) = gap {
            self.stated(key, reason);
        }
        self.go_on_behind_the_end(key);
        self.flush(conn);
        self.arm(key);
    }

    /// A client has been given all that there is of a POST's answer that upstream cut: tells it before its own cut.
    pub(super) fn say_rest_is_gone(&mut self, key: ExchangeKey, seat: Seat) {
        let Some(x) = self.exchanges.get(key) else { return };
        let (Some(reader), Some(stream)) = (x.readers.get(seat), &x.stream) else { return };
        let (client, chunked) = (reader.client, reader.chunked);
        let last = stream.tracker.own_id(stream.tracker.received().seq);
        let mut event = Vec::new();
        write_gap(&mut event, GapReason::Refused, last.as_ref().map(|id| id.as_bytes()), None);
        if let Some(c) = self.conns.get_mut(client) {
            http::write_piece(&event, chunked, c.out.end());
        }
        self.stated(key, GapReason::Refused);
        self.flush(client);
    }

    /// A GET whose upstream has ended or gone is asked again behind what its log holds.
    fn go_on_behind_the_end(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let Some(stream) = &mut x.stream else { return };
        let can_ask = x.request.method == Method::Get && stream.tracker.healable() && !stream.tracker.has_own_ids();
        let others = x.readers.len() > 1;
        let may_go_on = match x.phase {
            // Some of the others have been given the end, though they have not taken it yet.
            Phase::Ending(Ending::Clean) => !others,
            Phase::Ending(Ending::Cut) => true,
            _ => false,
        };
        if can_ask && may_go_on && x.upstream.is_none() {
            stream.body_began = (self.now, u64::MAX);
            self.heal(key);
        }
    }

    /// Ends the connections of all readers: they come back and find their own.
    fn cut_others(&mut self, key: ExchangeKey) {
        let mut seat = 0;
        while let Some(x) = self.exchanges.get_mut(key)
            && seat < x.readers.end()
        {
            if let Some(reader) = x.readers.leave(seat) {
                if let Some(c) = self.conns.get_mut(reader.client) {
                    c.exchange = None;
                }
                self.close(reader.client, Close::Reset);
            }
            seat += 1;
        }
    }

    fn send_resumed_head(
        &mut self,
        key: ExchangeKey,
        seat: u32,
        gap: Option<GapReason>,
        lines: Option<&[u8]>,
        lead: &[u8],
    ) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let bytes = self.routes[x.route()].limits.in_flight_bytes();
        let Some(reader) = x.readers.get_mut(seat) else { return };
        let framing = ResponseFraming::relayed(BodyLength::Chunked, reader.version);
        reader.head_sent = true;
        reader.chunked = framing == ResponseFraming::Chunked;
        reader.until_close = !reader.chunked;
        let close = reader.until_close || !reader.keep_alive;
        let mut head = stream_head();
        push_lines(&mut head, lines.unwrap_or_default());
        let gap = gap.map(|reason| [("Segno-Gap", reason.as_str())]);
        self.outputs.push_back(Output::CapSendBuffer { conn: reader.client, bytes });
        let Some(c) = self.conns.get_mut(reader.client) else { return };
        http::write_response(&head, framing, reader.version, close, gap.as_ref().map_or(&[], |g| &g[..]), c.out.end());
        if !lead.is_empty() {
            http::write_piece(lead, reader.chunked, c.out.end());
        }
    }

    /// Whether a client of this request is told of gaps by a status instead of a stream.
    pub(super) fn refuses_gaps(&self, request: &Request, route: usize) -> bool {
        request.era.is_resumable_mcp() || self.config.routes[route].gap == Gap::Status
    }

    /// Answers a request that is about to go upstream although the events it asks for are gone, where that is a status.
    /// True: it was answered.
    pub(super) fn refuse_gap_of(&mut self, key: ExchangeKey) -> bool {
        let Some(x) = self.exchanges.get(key).filter(|x| x.tries == 0 && x.stream.is_none()) else { return false };
        if x.request.gap.is_none() || !self.refuses_gaps(&x.request, x.route()) {
            return false;
        }
        let (request, client) = (x.request.clone(), x.client());
        self.drop_exchange(key);
        if let Some(client) = client {
            self.refuse_gap(client, &request, request.gap);
        }
        true
    }

    /// Answers a request whose events are gone: 400 where MCP says so (404 would end its session), else 410.
    pub(super) fn refuse_gap(&mut self, conn: ConnKey, request: &Request, gap: Option<GapReason>) {
        let status = if request.era.is_resumable_mcp() { 400 } else { 410 };
        let reason = gap.map_or("unknown", GapReason::as_str);
        self.counts.one(Count::Gaps);
        let target = request.target();
        if let Some(reason) = gap {
            self.notice(Notice::Gap { target, reason });
        }
        let text = format!("events behind this Last-Event-ID are gone ({reason}); begin without it");
        self.answer_in_place(conn, status, &text, &[("Segno-Gap", reason)]);
    }
}

/// Whether only the client that a session was given to can ask so.
pub(super) fn is_secret(request: &Request) -> bool {
    request.era.is_resumable_mcp() && request.identity.named
}

/// What stands in front of a resumed stream: the gap, or the last id where nothing else would carry one.
fn lead(request: &Request, gap: Option<GapReason>, resumed_at: Option<&[u8]>, nothing_yet: bool) -> Vec<u8> {
    let mut lead = Vec::new();
    let Some(id) = &request.cursor else { return lead };
    if let Some(reason) = gap {
        write_gap(&mut lead, reason, Some(id), resumed_at);
    } else if nothing_yet {
        lead.extend_from_slice(b"id: ");
        lead.extend_from_slice(id);
        // Clients of MCP know an event without data; for others a block that dispatches nothing keeps the cursor.
        let primes = request.era == super::era::Era::Resumable { primes: true };
        lead.extend_from_slice(if primes { b"\ndata:\n\n" } else { b"\n\n" });
    }
    lead
}

/// The id of segno's own that the first event behind an offset has.
fn first_own(tracker: &Tracker, offset: u64) -> Option<EventId> {
    let behind = tracker.events_behind(offset).1.len() as u64;
    tracker.own_id(tracker.received().seq.checked_sub(behind)? + 1)
}

/// The head of an event stream that segno begins itself.
pub(super) fn stream_head() -> ResponseHead {
    let mut head = ResponseHead::ok();
    for (name, value) in
        [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")]
    {
        // These are valid header lines.
        let _ = head.headers.push(name, value.as_bytes());
    }
    head
}

/// Lines of upstream's head that a later reader needs too: without those about origins a browser throws the stream away.
pub(super) fn kept_lines(head: &ResponseHead) -> Option<Box<[u8]>> {
    let mut lines = Vec::new();
    for (name, value) in head.headers.iter() {
        let is_kept = name.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("access-control-"))
            || ["Vary", "Mcp-Session-Id"].iter().any(|kept| name.eq_ignore_ascii_case(kept));
        if is_kept {
            lines.extend_from_slice(name.as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value);
            lines.push(b'\n');
        }
    }
    (!lines.is_empty()).then(|| lines.into())
}

fn push_lines(head: &mut ResponseHead, lines: &[u8]) {
    for line in lines.split(|&b| b == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if let Ok(name) = std::str::from_utf8(&line[..colon]) {
            // They were headers before.
            let _ = head.headers.push(name, &line[colon + 1..]);
        }
    }
}
