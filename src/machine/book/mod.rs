//! What the store is told: the sessions with their streams, the delivered mark of each stream, and which records may
//! go.
//!
//! In: streams that begin, deliver and end; sessions that become idle. Out: [`Checkpoint`]s, drained once a turn by the
//! shell.
//! Laws: what is emitted has been delivered; a stream's name comes before its first mark and its end after its last;
//! a stream is looked at once a turn, however many events it had; a session has a bounded number of streams; a session
//! that is forgotten here is forgotten in the store, so that the store keeps no more sessions than this table.
//!
//! How a delivered mark reaches the store:
//!
//! ```text
//! a socket takes bytes --note_taken--> `asking`: a list that has each stream at most once
//!                                         |
//!   a part of a flush window later, ask_marks: what have its clients acknowledged? Those that stay silent are asked
//!                                         |     ever more seldom.
//!                                         |
//! they have said --------note_moved--> `moved`: a list that has each stream at most once
//!                                         |
//!               once a turn, each stream: drain            the stream ends: close
//!                                         |                   |
//!                                         v                   v
//!                                      emit_mark           emit_mark, then Ended
//! ```
//!
//! `emit_mark` first brings the mark up to date: it moves to what the slowest reader that counts has got. If the mark
//! has moved, the id of its event goes out as `Delivered`; the first time `Began` goes before it, with the stream's
//! name. If the mark stands where it was emitted last, `Seen` says that the stream is still in use. No client can go on
//! from an event without an id, so such a mark is not emitted; a later one will be. With `durable`, new events go out
//! too. A stream without an emitted mark has no record, and gets no `Ended`.

pub(super) mod account;
pub(super) mod asking;
pub(super) mod ids;
pub(super) mod sessions;
pub(super) mod shares;
pub(super) mod stored;
pub(super) mod unread;

use super::cx::Cx;
use super::exchange::{Ending, Exchange, Exchanges, Phase};
use super::io::Checkpoint;
use super::keys::{ExchangeKey, SessionKey, Timer};
use super::stream::Stream;
use crate::base::{Count, Cursor, Span, StreamName};
use crate::config::Config;
use crate::timer::TimerKey;
use account::Account;
use asking::{ASK_NEXT, ASKED_AT_ONCE, Asking};
use sessions::{AllRead, Kept, Sessions};
use shares::{Hold, Shares};
use unread::Unread;

/// The capacity that a list keeps from one turn to the next. After a wave of timers it may need far more for a moment.
const KEPT: usize = 1_024;

/// Sessions that are forgotten in one go, so that other connections do not wait for all of them.
const EXPIRED_AT_ONCE: usize = 256;

/// Sessions, and checkpoints for the store.
pub(super) struct Book {
    pub(super) sessions: Sessions,
    pub(super) unread: Unread,
    /// What streams have to do with other instances.
    pub(super) shares: Shares,
    /// Streams: exchanges that have an account.
    pub(super) streams: usize,
    /// Streams whose delivered mark may have moved since checkpoints were drained.
    moved: Vec<ExchangeKey>,
    /// Streams whose readers' sockets have taken something that may not be acknowledged.
    asking: Asking,
    checkpoints: Vec<Checkpoint>,
    /// When sessions are looked at for those that have been idle for too long.
    timer: Option<TimerKey<Timer>>,
}

/// A stream that is over, and its place in its session.
pub(super) struct Left {
    stream: ExchangeKey,
    session: SessionKey,
    place: u32,
    /// The session counts it among those with readers.
    read: bool,
}

impl Kept {
    fn forgotten(self, shown: &[u8]) -> Checkpoint {
        let name = StreamName { session: stored::name(shown, self.hash), stream: self.stream };
        Checkpoint::Forgotten { name, sequence: self.sequence }
    }
}

/// Marks.
impl Book {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            sessions: Sessions::new(config.limits.sessions),
            unread: Unread::default(),
            shares: Shares::default(),
            streams: 0,
            moved: Vec::new(),
            asking: Asking::new(config.persist.flush_window, config.store.may_outlive()),
            checkpoints: Vec::new(),
            timer: None,
        }
    }

    /// Hands over the checkpoints since the last call.
    pub(super) fn drain(&mut self, cx: &mut Cx, exchanges: &mut Exchanges, mut each: impl FnMut(Checkpoint)) {
        self.checkpoints.drain(..).for_each(&mut each);
        let mut moved = std::mem::take(&mut self.moved);
        for key in moved.drain(..) {
            if let Some(x) = exchanges.get_mut(key) {
                self.emit_mark(cx, key, x);
            }
            self.checkpoints.drain(..).for_each(&mut each);
        }
        moved.shrink_to(KEPT);
        self.checkpoints.shrink_to(KEPT);
        self.moved = moved;
    }

    /// A reader's socket has taken events. The reader is asked a part of a flush window later whether it has got them, so
    /// that what it has got is stored about a flush window later.
    #[inline]
    pub(super) fn note_taken(&mut self, cx: &mut Cx, key: ExchangeKey, account: &mut Account) {
        self.ask_again(cx, key, account, self.asking.soonest());
    }

    /// A reader has not acknowledged all that its socket took. `quiet`: how often it was asked in vain since it last had
    /// got something.
    #[inline]
    pub(super) fn ask_again(&mut self, cx: &mut Cx, key: ExchangeKey, account: &mut Account, quiet: u8) {
        self.asking.wait(key, quiet, &mut account.asking);
        if self.asking.timer.is_none() {
            self.ask_in(cx, self.asking.next_turn());
        }
    }

    fn ask_in(&mut self, cx: &mut Cx, span: Span) {
        self.asking.timer = cx.wheel.add(cx.now + span, Timer::Marks).ok();
    }

    /// Asks the readers whose turn it is what they have acknowledged.
    pub(super) fn ask_marks(&mut self, cx: &mut Cx, exchanges: &mut Exchanges) {
        self.asking.timer = None;
        if self.asking.first().is_none() {
            self.asking.begin_turn();
        }
        let mut most = ASKED_AT_ONCE;
        while most > 0
            && let Some(key) = self.asking.first()
        {
            if let Some(stream) = exchanges.get_mut(key).and_then(Exchange::stream_mut) {
                most = self.ask_readers(cx, key, stream, most);
                if most == 0 {
                    break;
                }
            }
            self.asking.is_done(KEPT);
        }
        if self.asking.first().is_some() {
            self.ask_in(cx, ASK_NEXT);
        } else if !self.asking.is_empty() {
            self.ask_in(cx, self.asking.next_turn());
        }
    }

    /// Asks the readers of a stream, at most so many. Returns how many may still be asked; 0: there may be more of them.
    fn ask_readers(&mut self, cx: &mut Cx, key: ExchangeKey, stream: &mut Stream, most: usize) -> usize {
        if std::mem::take(&mut stream.account.asking) == 0 && self.asking.seat == 0 {
            return most;
        }
        let asked = stream.ask_unacknowledged(cx, self.asking.seat, most, self.asking.turn);
        self.asking.seat = asked.next;
        if let Some(quiet) = asked.passed_over {
            self.asking.wait(key, quiet, &mut stream.account.asking);
        }
        most - asked.count
    }

    /// The mark of a stream may have moved, or somebody reads it.
    #[inline]
    pub(super) fn note_moved(&mut self, key: ExchangeKey, account: &mut Account) {
        if !std::mem::replace(&mut account.queued, true) {
            self.moved.push(key);
        }
    }

    /// Emits the delivered mark of a stream, if it has moved and has an id.
    fn emit_mark(&mut self, cx: &mut Cx, key: ExchangeKey, x: &mut Exchange) {
        let route = x.route();
        let Some(stream) = x.stream_mut() else { return };
        stream.account.queued = false;
        if stream.account.hold == Hold::Closed {
            return;
        }
        stream.mark(cx, route);
        let mark = stream.tracker.delivered();
        if mark.seq <= stream.account.emitted {
            if stream.account.emitted > 0 {
                self.checkpoints.push(Checkpoint::Seen { stream: key, at: stream.readers.last_sent });
                self.emit_events(cx, key, x);
            }
            return;
        }
        let Some(id) = stream.tracker.delivered_id(&cx.interner) else { return };
        let first = stream.account.emitted == 0;
        stream.account.emitted = mark.seq;
        let cursor = Cursor { sequence: stream.account.before.saturating_add(mark.seq), id, at: cx.now };
        if first && let Some(name) = self.stream_name(cx, x) {
            self.checkpoints.push(Checkpoint::Began { stream: key, name });
        }
        self.checkpoints.push(Checkpoint::Delivered { stream: key, cursor });
        self.emit_events(cx, key, x);
    }

    /// Hands the events that have come since the last time over to the store.
    fn emit_events(&mut self, cx: &Cx, key: ExchangeKey, x: &mut Exchange) {
        if !cx.config.persist.keeps_events() {
            return;
        }
        if let Some(mut part) = stored::next_part(cx, x) {
            if let Some(stream) = x.stream_mut().filter(|stream| stream.account.hold == Hold::Free) {
                stream.account.hold = Hold::Claimed;
                part.claim = cx.config.persist.replay_shared.then(|| self.shares.claim(key));
            }
            self.checkpoints.push(Checkpoint::Events { stream: key, part });
        }
        if cx.config.persist.replay_shared {
            self.emit_log_end(key, x, false);
        }
    }

    /// Emits that a log has its end, if its stream has, and if no other instance could go on with it. `is_dropped`: the
    /// stream goes before upstream has ended it.
    fn emit_log_end(&mut self, key: ExchangeKey, x: &mut Exchange, is_dropped: bool) {
        let whole = match x.phase {
            Phase::Ending(ending) => ending == Ending::Clean,
            _ if is_dropped => false,
            _ => return,
        };
        if let Some(stream) = x.stream_mut()
            && stream.account.hold == Hold::Claimed
            && stream.ends_with_own_id()
        {
            stream.account.hold = Hold::Over;
            self.checkpoints.push(Checkpoint::LogEnded { stream: key, whole });
        }
    }

    /// Others read a stream through the store: hands over at once what has come.
    pub(super) fn hand_over(&mut self, cx: &Cx, key: ExchangeKey, x: &mut Exchange) {
        if x.stream().is_some_and(|stream| stream.account.emitted > 0 && stream.account.hold != Hold::Closed) {
            self.emit_events(cx, key, x);
        }
    }

    /// Another instance owns the stream's log: nothing more of the stream is stored, and its record stays.
    pub(super) fn give_up(&mut self, key: ExchangeKey, x: &mut Exchange) {
        let Some(account) = x.stream_mut().map(|stream| &mut stream.account) else { return };
        account.watched = false;
        if std::mem::replace(&mut account.hold, Hold::Closed) != Hold::Closed && account.emitted > 0 {
            self.checkpoints.push(Checkpoint::Ended { stream: key, keep: true });
        }
    }

    /// The name under which the store knows a stream.
    fn stream_name(&mut self, cx: &Cx, x: &Exchange) -> Option<StreamName> {
        let account = &x.stream()?.account;
        let session = self.sessions.get_mut(account.session?)?;
        if session.shown.is_empty() {
            session.shown = stored::shown(x, &cx.route(x.route()).session_header).into();
        }
        Some(StreamName { session: stored::name(&session.shown, stored::name_hash(cx, x)), stream: account.number })
    }
}

/// Streams that come and go.
impl Book {
    /// Enters a new stream into the session of its request. `None`: all sessions have readers, or this session has as
    /// many streams as it may; both are counted. `gone` takes the streams that lingered for evicted sessions; the
    /// caller drops their exchanges. `by_post`: a POST begins the stream.
    pub(super) fn open(
        &mut self,
        cx: &mut Cx,
        exchanges: &mut Exchanges,
        key: ExchangeKey,
        session: u128,
        by_post: bool,
        gone: &mut Vec<ExchangeKey>,
    ) -> Option<Account> {
        let session = self.open_session(cx, exchanges, session, gone)?;
        let number = cx.secret.draw(&mut cx.random, by_post);
        let entry = self.sessions.get_mut(session)?;
        if entry.streams.len() >= cx.config.limits.streams_per_session {
            cx.counts.one(Count::StreamsRefused);
            return None;
        }
        let place = entry.streams.len() as u32;
        entry.streams.push(key);
        self.sessions.read(session);
        self.streams += 1;
        Some(Account::new(session, place, number))
    }

    fn open_session(
        &mut self,
        cx: &mut Cx,
        exchanges: &mut Exchanges,
        id: u128,
        gone: &mut Vec<ExchangeKey>,
    ) -> Option<SessionKey> {
        loop {
            match self.sessions.open(id, cx.now) {
                Ok(key) => return Some(key),
                Err(Ok(idle)) => {
                    cx.counts.one(Count::SessionEvictions);
                    let before = self.checkpoints.len();
                    gone.extend(self.end_session(cx, exchanges, idle));
                    let ended = |c: &&Checkpoint| matches!(c, Checkpoint::Ended { .. } | Checkpoint::Forgotten { .. });
                    let records = self.checkpoints.get(before..).into_iter().flatten().filter(ended).count();
                    cx.counts.add(Count::RecordsEvicted, records as u64);
                }
                Err(Err(AllRead)) => {
                    cx.counts.one(Count::StreamsRefused);
                    return None;
                }
            }
        }
    }

    /// The stream of an exchange is over: emits the last mark and whether the record stays. The caller has the stream
    /// leave its session ([`Book::leave`]), once the exchange is no longer lent.
    #[must_use]
    pub(super) fn close(&mut self, cx: &mut Cx, key: ExchangeKey, x: &mut Exchange, keep: bool) -> Option<Left> {
        // Others may still read a log that has its end.
        let is_read_on = |stream: &Stream| cx.config.persist.replay_shared && stream.ends_with_own_id();
        let keep = keep || x.stream().is_some_and(is_read_on);
        self.close_account(cx, key, x, keep);
        self.shares.forget(cx, key);
        self.streams -= 1;
        self.unread.remove(key);
        let stream = x.stream()?;
        let read = !stream.readers.is_empty() || stream.detached.is_none();
        Some(Left { stream: key, session: stream.account.session?, place: stream.account.place, read })
    }

    fn close_account(&mut self, cx: &mut Cx, key: ExchangeKey, x: &mut Exchange, keep: bool) {
        self.emit_mark(cx, key, x);
        let hash = stored::name_hash(cx, x);
        let is_shared = cx.config.persist.replay_shared;
        if is_shared && keep {
            self.emit_log_end(key, x, true);
        }
        let account = x.stream_mut().map(|s| &mut s.account);
        let Some(Account { session, number, before, emitted, hold, .. }) = account else {
            return;
        };
        if *emitted == 0 || std::mem::replace(hold, Hold::Closed) == Hold::Closed {
            return;
        }
        self.checkpoints.push(Checkpoint::Ended { stream: key, keep });
        let Some(session) = session.and_then(|session| self.sessions.get_mut(session)).filter(|_| keep) else { return };
        let record = Kept { hash, stream: *number, sequence: before.saturating_add(*emitted) };
        if let Some(record) = session.note_record(record) {
            let forgotten = record.forgotten(&session.shown);
            self.checkpoints.push(forgotten);
        }
    }

    /// Takes a stream that is over out of its session. The last of the session's streams gets its place.
    pub(super) fn leave(&mut self, cx: &mut Cx, exchanges: &mut Exchanges, left: Left) {
        let Left { stream, session, place, read } = left;
        if let Some(entry) = self.sessions.get_mut(session)
            && entry.streams.get(place as usize) == Some(&stream)
        {
            entry.streams.swap_remove(place as usize);
            let moved = entry.streams.get(place as usize).and_then(|moved| exchanges.get_mut(*moved));
            if let Some(moved) = moved.and_then(Exchange::stream_mut) {
                moved.account.place = place;
            }
        }
        if read {
            self.left(cx, session);
        }
    }

    /// A stream of the session has lost its last reader.
    pub(super) fn left(&mut self, cx: &mut Cx, session: SessionKey) {
        self.sessions.left(session, cx.now);
        self.arm(cx);
    }
}

/// Sessions that end.
impl Book {
    /// Forgets a session, in memory and in the store. Returns the streams that lingered for it, whose exchanges the
    /// caller drops.
    #[must_use]
    pub(super) fn end_session(&mut self, cx: &mut Cx, exchanges: &mut Exchanges, key: SessionKey) -> Vec<ExchangeKey> {
        let mut gone = Vec::new();
        let Some(entry) = self.sessions.get_mut(key) else { return gone };
        for &key in std::mem::take(&mut entry.streams).iter() {
            let Some(x) = exchanges.get_mut(key) else { continue };
            if x.readers().is_empty() {
                self.close_account(cx, key, x, false);
                gone.push(key);
            } else if let Some(stream) = x.stream_mut() {
                stream.account.session = None;
            }
        }
        if let Some(mut session) = self.sessions.remove(key) {
            let records = session.take_records();
            self.checkpoints.extend(records.map(|record| record.forgotten(&session.shown)));
        }
        gone
    }

    /// Sets the timer for the session that expires first.
    pub(super) fn arm(&mut self, cx: &mut Cx) {
        if self.timer.is_none()
            && let Some(at) = self.sessions.next_expiry(cx.config.persist.session_idle)
        {
            self.timer = cx.wheel.add(at, Timer::Sessions).ok();
        }
    }

    /// Forgets sessions that have been idle for too long, in memory and in the store. Returns the streams that lingered
    /// for them, whose exchanges the caller drops before it sets the next timer.
    #[must_use]
    pub(super) fn on_timer(&mut self, cx: &mut Cx, exchanges: &mut Exchanges) -> Vec<ExchangeKey> {
        let mut gone = Vec::new();
        self.timer = None;
        let idle = cx.config.persist.session_idle;
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(key) = self.sessions.expired(idle, cx.now) else { break };
            cx.counts.one(Count::SessionsExpired);
            gone.extend(self.end_session(cx, exchanges, key));
        }
        gone
    }
}
