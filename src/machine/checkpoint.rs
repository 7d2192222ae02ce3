//! What the store shall know: the delivered mark of each stream, once a turn, and which records may go.
//!
//! In: streams that have delivered something or have ended. Out: [`Checkpoint`]s, drained once a turn by the shell.
//! Laws: what is emitted has been delivered; a stream's name comes before its first mark and its end after its last;
//! a stream is looked at once a turn, however many events it had.

use super::Machine;
use super::exchange::{Exchange, ExchangeKey, Reader, Stream};
use super::seats::Seats;
use super::sessions::SessionKey;
use super::stored::EventPart;
use crate::base::{Cursor, Span, StreamName, Tick};
use crate::track::TrackContext;

/// Places that are kept between two turns; a wave of timers may need many more for a moment.
const KEPT: usize = 1_024;

/// News of one stream for the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Checkpoint {
    /// A stream has something to store for the first time.
    Began {
        /// Names it until its end.
        stream: ExchangeKey,
        /// What the store knows it by.
        name: StreamName,
    },
    /// Its delivered mark has moved.
    Delivered {
        /// Which.
        stream: ExchangeKey,
        /// The mark.
        cursor: Cursor,
    },
    /// Somebody reads it, though nothing new has come.
    Seen {
        /// Which.
        stream: ExchangeKey,
        /// When.
        at: Tick,
    },
    /// Events have come that are to be stored too.
    Events {
        /// Which.
        stream: ExchangeKey,
        /// The events.
        part: EventPart,
    },
    /// It is over; the key names nothing from now on.
    Ended {
        /// Which.
        stream: ExchangeKey,
        /// The record stays; else it is to be removed.
        keep: bool,
    },
    /// A record of a stream that ended before is of no use any more.
    Forgotten {
        /// What the store knows it by.
        name: StreamName,
    },
}

/// A stream as the store sees it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) session: Option<SessionKey>,
    /// The stream's number within its session, drawn by chance.
    pub(super) number: u64,
    /// Events of the stream before those that its tracker has counted: in a process before.
    pub(super) before: u64,
    /// Events at the mark that was emitted last; 0: none was.
    emitted: u64,
    /// It is on the list of streams to be looked at.
    queued: bool,
    /// Its end was emitted: nothing more is.
    closed: bool,
}

impl Account {
    pub(super) fn new(session: SessionKey, number: u64) -> Self {
        Self { session: Some(session), number, before: 0, emitted: 0, queued: false, closed: false }
    }
}

impl Machine {
    /// Hands over what the store shall know since the last call.
    pub fn drain_checkpoints(&mut self, mut each: impl FnMut(Checkpoint)) {
        self.checkpoints.drain(..).for_each(&mut each);
        let mut moved = std::mem::take(&mut self.moved);
        for key in moved.drain(..) {
            self.emit_mark(key);
            self.checkpoints.drain(..).for_each(&mut each);
        }
        moved.shrink_to(KEPT);
        self.checkpoints.shrink_to(KEPT);
        self.moved = moved;
    }

    /// A stream's readers have taken something.
    #[inline]
    pub(super) fn note_moved(moved: &mut Vec<ExchangeKey>, key: ExchangeKey, stream: &mut Stream) {
        if !std::mem::replace(&mut stream.account.queued, true) {
            moved.push(key);
        }
    }

    /// Emits the delivered mark of a stream, if it has moved and has an id.
    fn emit_mark(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let Some(stream) = &mut x.stream else { return };
        stream.account.queued = false;
        if stream.account.closed {
            return;
        }
        if x.readers.len() > 1 {
            let route = &self.config.routes[x.route as usize];
            let (limits, now) = (&self.routes[x.route as usize].limits, self.now);
            let at = slowest(&x.readers, stream.tracker.marked_offset(), route.stall, now);
            let cx = TrackContext { limits, interner: &mut self.interner, budget: &mut self.budget, now };
            if let Some(at) = at {
                stream.tracker.mark(cx, at);
            }
        }
        let mark = stream.tracker.delivered();
        if mark.seq <= stream.account.emitted {
            if stream.account.emitted > 0 {
                self.checkpoints.push(Checkpoint::Seen { stream: key, at: x.last_sent });
                self.emit_events(key);
            }
            return;
        }
        let Some(id) = stream.tracker.delivered_id(&self.interner) else { return };
        let first = stream.account.emitted == 0;
        stream.account.emitted = mark.seq;
        let cursor = Cursor { sequence: stream.account.before + mark.seq, id, at: self.now };
        if first && let Some(name) = self.stream_name(key) {
            self.checkpoints.push(Checkpoint::Began { stream: key, name });
        }
        self.checkpoints.push(Checkpoint::Delivered { stream: key, cursor });
        self.emit_events(key);
    }

    /// A stream is over: emits what is left, and whether its record stays.
    pub(super) fn close_account(&mut self, key: ExchangeKey, keep: bool) {
        self.emit_mark(key);
        let Some(stream) = self.exchanges.get(key).and_then(|x| x.stream.as_ref()) else { return };
        let Account { session, number, emitted, closed, .. } = stream.account;
        if emitted == 0 || closed {
            return;
        }
        self.checkpoints.push(Checkpoint::Ended { stream: key, keep });
        if let Some(stream) = self.exchanges.get_mut(key).and_then(|x| x.stream.as_mut()) {
            stream.account.closed = true;
        }
        let Some(session) = session.and_then(|session| self.sessions.get_mut(session)).filter(|_| keep) else { return };
        if let Some(old) = session.note_record(number) {
            let name = StreamName { session: session.name.clone(), stream: old };
            self.checkpoints.push(Checkpoint::Forgotten { name });
        }
    }

    /// What the store knows a stream by.
    fn stream_name(&mut self, key: ExchangeKey) -> Option<StreamName> {
        let x = self.exchanges.get(key)?;
        let account = &x.stream.as_ref()?.account;
        let session = self.sessions.get_mut(account.session?)?;
        if session.name.is_empty() {
            session.name = session_name(x, &self.config.routes[x.route()].session_header);
        }
        Some(StreamName { session: session.name.clone(), stream: account.number })
    }
}

/// The least position of the readers that count: not of one that is stalled, nor of one that has not reached the mark.
/// None where nobody was given what lies before it: who joins at the live end has taken nothing yet.
fn slowest(readers: &Seats, marked: u64, stall: Span, now: Tick) -> Option<u64> {
    let counts =
        |reader: &Reader| !(reader.blocked && reader.last_sent + stall <= now) && reader.place.offset >= marked;
    let all = || readers.iter().map(|(_, reader)| reader);
    let at = all().filter(|reader| counts(reader)).map(|reader| reader.place.offset).min()?;
    all().any(|reader| reader.began < at && at <= reader.place.offset).then_some(at)
}

/// A session's name in the store: what a person knows it by, and the hash that makes it one of a kind. No query, which
/// may hold a secret.
pub(super) fn session_name(x: &Exchange, session_header: &str) -> Box<[u8]> {
    const SHOWN: usize = 160;
    let identity = &x.request.identity;
    let target = x.target();
    let path = target.split(' ').nth(1).and_then(|path| path.split('?').next()).unwrap_or_default();
    let shown = if identity.named { session_header } else { path };
    let mut name = shown.as_bytes()[..shown.len().min(SHOWN)].to_vec();
    name.extend_from_slice(format!(" {:032x}", identity.session).as_bytes());
    name.into()
}
