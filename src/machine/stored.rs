//! What the store remembers of a session, asked for where memory knows nothing, and what it is given to remember.
//!
//! In: requests that name an id or a session. Out: questions for the store; streams rebuilt from the answers.
//! Laws: a request waits for the store no longer than [`PATIENCE`] and then goes on as if nothing had been stored; a
//! rebuilt stream is read by the principal alone whose session it was stored under.

use super::checkpoint::{Checkpoint, session_name};
use super::exchange::{Ending, ExchangeKey, Phase};
use super::identity::Token;
use super::resume::{Resume, is_secret, stream_head};
use super::{Machine, Output};
use crate::base::{Count, EventId, Span};
use crate::config::ResumeFrom;
use crate::http::Method;
use crate::track::{GapReason, TrackContext};

/// How long a request waits for the store.
pub(super) const PATIENCE: Span = Span::from_secs(1);

/// Bytes of a stored log that are taken in at least at a time.
const PART: usize = 4 << 10;

/// Bytes beside a stored log: what the stream was asked for, and how.
const META: usize = 9;

/// A question for the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LookUp {
    /// Who waits for the answer.
    pub exchange: ExchangeKey,
    /// The session's name in the store.
    pub session: Box<[u8]>,
    /// Recent events are asked for too, at most so many bytes a stream; 0: cursors alone.
    pub log_bytes: usize,
    /// The id behind which the client goes on; empty where it names none. Of the streams whose events do not have it, or
    /// another of its stream where it is segno's own, nothing need be told.
    pub wanted: Box<[u8]>,
}

/// What the store knows of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The stream's number.
    pub stream: u64,
    /// Its delivered mark.
    pub id: EventId,
    /// When it was last active, in milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
    /// Its recent events, if they were asked for and are there.
    pub log: Option<StoredEvents>,
}

/// Recent events of a stream, without a hole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvents {
    /// What [`EventPart::meta`] was.
    pub meta: Box<[u8]>,
    /// The number of the first event.
    pub first: u64,
    /// The events, one behind the other.
    pub bytes: Vec<u8>,
}

/// Events for the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventPart {
    /// The number of the first one in the stream, from 1.
    pub first: u64,
    /// Whole events, as they are forwarded.
    pub bytes: Box<[u8]>,
    /// Where each ends within the bytes.
    pub ends: Box<[u32]>,
    /// What is needed to go on with the stream.
    pub meta: Box<[u8]>,
    /// The route, by its place in the configuration: its bounds rule the stored log too.
    pub route: usize,
}

impl Machine {
    /// Asks the store about a request, where that may help. True: the request waits for the answer.
    pub(super) fn look_up(&mut self, key: ExchangeKey) -> bool {
        let Some(x) = self.exchanges.get_mut(key) else { return false };
        let route = &self.config.routes[x.route()];
        let is_read = x.request.method == Method::Get && !x.request.has_body && !self.draining;
        let durable = self.config.persist.durable && (x.request.cursor.is_some() || x.request.asked.is_some());
        let named = route.resume_from == ResumeFrom::Session && x.request.identity.named && x.request.cursor.is_none();
        if !is_read || !(durable || named && x.request.asked.is_none()) {
            return false;
        }
        let session = session_name(x, &route.session_header);
        let log_bytes = if durable { route.replay_bytes } else { 0 };
        let wanted = x.request.asked.as_ref().or(x.request.cursor.as_ref()).cloned().unwrap_or_default();
        x.phase = Phase::Waiting(self.now + PATIENCE);
        self.outputs.push_back(Output::LookUp(LookUp { exchange: key, session, log_bytes, wanted }));
        self.arm(key);
        true
    }

    /// The store has answered, or has nothing to say.
    pub(super) fn on_found(&mut self, key: ExchangeKey, found: Vec<Stored>) {
        let Some(x) = self.exchanges.get(key) else { return };
        if !matches!(x.phase, Phase::Waiting(_)) || x.tries > 0 || x.stream.is_some() {
            return;
        }
        let asked = x.request.asked.as_ref().or(x.request.cursor.as_ref()).cloned();
        match asked {
            Some(id) => {
                if self.join_meanwhile(key, &id) {
                    return;
                }
                if let Some(stored) = self.pick(key, &id, found) {
                    return self.rebuild(key, &id, stored);
                }
            }
            None => self.begin_where_the_session_was(key, found),
        }
        self.ask(key);
        self.arm(key);
    }

    /// The one stored stream whose events have this id.
    fn pick(&self, key: ExchangeKey, id: &[u8], found: Vec<Stored>) -> Option<Stored> {
        let request = &self.exchanges.get(key)?.request;
        let target = request.identity.target.to_le_bytes();
        let own = Token::parse(id).map(|(token, _)| token).filter(|token| self.secret.made(*token));
        let needle = [b"id: ", id].concat();
        let fits = |stored: &Stored| {
            let Some(log) = stored.log.as_ref().filter(|log| log.meta.get(..8) == Some(&target)) else { return false };
            let is_get = log.meta.get(8) == Some(&1);
            if self.is_live(request.identity.session, stored.stream) {
                // Another request has gone on with it meanwhile.
                return false;
            }
            match own {
                Some(token) => self.secret.token(stored.stream) == token,
                // What a POST began is only found by what nobody can guess. Whatever looks like the id is looked at
                // properly once the log is rebuilt.
                None => (is_get || is_secret(request)) && memchr::memmem::find(&log.bytes, &needle).is_some(),
            }
        };
        let mut fitting = found.into_iter().filter(|stored| fits(stored));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }

    /// Whether a stream with this number is here.
    fn is_live(&self, session: u128, number: u64) -> bool {
        let session = self.sessions.find(session).and_then(|key| self.sessions.get(key));
        let number_of = |key: &ExchangeKey| Some(self.exchanges.get(*key)?.stream.as_ref()?.account.number);
        session.is_some_and(|session| session.streams.iter().any(|key| number_of(key) == Some(number)))
    }

    /// While the store was asked, another request may have found the stream there: joins it. True: it did.
    fn join_meanwhile(&mut self, key: ExchangeKey, id: &[u8]) -> bool {
        let Some(x) = self.exchanges.get(key) else { return true };
        let Some(conn) = x.readers.only().map(|reader| reader.client) else { return false };
        let request = super::exchange::Request { cursor: Some(id.into()), asked: None, gap: None, ..x.request.clone() };
        let found = self.find_stream(&request, x.route());
        if !matches!(found, Resume::Join(..) | Resume::Over | Resume::Later) {
            return false;
        }
        let Some(reader) = self.exchanges.get_mut(key).and_then(|x| x.readers.leave(0)) else { return true };
        self.drop_exchange(key);
        if let Some(c) = self.conns.get_mut(conn) {
            c.exchange = None;
        }
        self.resume_at(conn, request, reader, found);
        true
    }

    /// Goes on with a stream of a process before: its events are replayed, then upstream is asked behind them.
    fn rebuild(&mut self, key: ExchangeKey, id: &[u8], stored: Stored) {
        let Some(log) = stored.log else { return };
        let is_own = Token::parse(id).is_some_and(|(token, _)| self.secret.made(token));
        let cursor = self.exchanges.get_mut(key).and_then(|x| x.request.cursor.take());
        // Without the cursor: its event is in the log, and not in front of it.
        if !self.create_stream(key) {
            return self.cut_readers(key);
        }
        let Self { exchanges, sessions, routes, interner, budget, now, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let limits = &routes[x.route as usize].limits;
        let Some(stream) = &mut x.stream else { return };
        stream.tracker.begin(false, true);
        let mut rest = &log.bytes[..];
        while !rest.is_empty() {
            let whole = stream.tracker.whole();
            // Nothing waits for a reader yet: the newest events stay, whatever the bounds are now.
            stream.tracker.release_to(TrackContext { limits, interner, budget, now: *now }, whole);
            let room = stream.tracker.room(limits, budget).max(PART).min(rest.len());
            stream.tracker.feed(TrackContext { limits, interner, budget, now: *now }, &rest[..room]);
            rest = &rest[room..];
        }
        let whole = stream.tracker.whole();
        stream.tracker.release_to(TrackContext { limits, interner, budget, now: *now }, whole);
        stream.begun = true;
        stream.account.number = stored.stream;
        if let Some(session) = stream.account.session.and_then(|session| sessions.get_mut(session)) {
            session.forget_record(stored.stream);
        }
        stream.account.before = log.first.saturating_sub(1);
        stream.stored = stream.tracker.whole();
        let offset = stream.tracker.locate(interner, id);
        let has_all = offset == Some(stream.tracker.whole());
        let Some(offset) = offset.filter(|_| !(is_own && has_all)) else {
            // All of it is known: what comes next is upstream's, under a new name.
            let reason = if has_all { GapReason::Restarted } else { GapReason::Evicted };
            x.request.cursor = cursor;
            return self.begin_anew(key, is_own.then_some(reason));
        };
        x.request.gap = None;
        stream.tracker.rewind(TrackContext { limits, interner, budget, now: *now }, offset);
        x.readers.iter_mut().for_each(|(_, reader)| reader.begin_at(offset));
        self.counts.one(Count::Rebuilt);
        self.send_stream_heads(key, &stream_head());
        match is_own {
            true => self.end_stream(key, Ending::Cut),
            false => self.heal(key),
        }
        self.arm(key);
    }

    /// Nothing of what is stored is of use: the request goes upstream as a new one.
    fn begin_anew(&mut self, key: ExchangeKey, gap: Option<GapReason>) {
        self.drop_stream(key);
        if let Some(x) = self.exchanges.get_mut(key) {
            x.stream = None;
            x.request.gap = gap.or(x.request.gap);
        }
        self.ask(key);
        self.arm(key);
    }

    /// A client that forgot its cursor goes on where its session's most recently active stream was.
    fn begin_where_the_session_was(&mut self, key: ExchangeKey, found: Vec<Stored>) {
        if found.len() > 1 {
            self.counts.one(Count::SessionCursorsAmbiguous);
        }
        let latest = found.into_iter().max_by_key(|stored| stored.last_seen_ms);
        let Some(id) = latest.map(|stored| stored.id) else { return };
        if Token::parse(id.as_bytes()).is_none()
            && let Some(x) = self.exchanges.get_mut(key)
        {
            self.counts.one(Count::SessionCursorsUsed);
            x.request.cursor = Some(id.as_bytes().into());
        }
    }

    /// Hands the events that have come since the last time over to the store.
    pub(super) fn emit_events(&mut self, key: ExchangeKey) {
        if !self.config.persist.durable {
            return;
        }
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let (route, target, is_get) = (x.route(), x.request.identity.target, x.request.method == Method::Get);
        let Some(stream) = &mut x.stream else { return };
        // Of an event above the bound only a part may be held: what is stored begins behind it, and its number tells.
        let Some(start) = stream.tracker.replay_start() else { return };
        let from = stream.stored.max(start);
        let (end, ends) = stream.tracker.events_behind(from);
        if ends.is_empty() {
            return;
        }
        let mark = stream.tracker.received().seq;
        let later = stream.tracker.events_behind(end).1.len() as u64;
        let first = stream.account.before + mark - later - ends.len() as u64 + 1;
        stream.stored = end;
        let (a, b) = stream.tracker.slices(from, end);
        let mut meta = Vec::with_capacity(META);
        meta.extend_from_slice(&target.to_le_bytes());
        meta.push(u8::from(is_get));
        let part = EventPart { first, bytes: [a, b].concat().into(), ends: ends.into(), meta: meta.into(), route };
        self.checkpoints.push(Checkpoint::Events { stream: key, part });
    }
}
