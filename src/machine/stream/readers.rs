//! The readers of an answer: nearly always one client; several of a shared or resumed stream; none of a lingering one.
//!
//! In: readers as they come, and how much their sockets take. Out: each reader by its seat, which it keeps while it
//! reads; heads, comments and flushes for readers.
//! Laws: finding a reader by its seat takes one step, and so do coming and leaving; one reader alone needs no memory of
//! its own on the heap; a head is written in one place, [`Reader::send_head`].

use super::audience::Audience;
use super::chunk::Chunk;
use crate::base::{Span, Tick, step};
use crate::http::{self, BodyLength, ResponseFraming, ResponseHead, Version};
use crate::machine::book::asking::MOST_QUIET;
use crate::machine::conn::Conn;
use crate::machine::cx::Cx;
use crate::machine::keys::{ConnKey, Seat};
use crate::machine::pool::Conns;
use std::borrow::Cow;

/// A client that reads an answer.
#[derive(Debug)]
pub(in crate::machine) struct Reader {
    pub(in crate::machine) client: ConnKey,
    /// The client's version; 1.0 has no chunks.
    pub(in crate::machine) version: Version,
    /// The client's connection may serve another request.
    pub(in crate::machine) keep_alive: bool,
    /// The reader's own request was sent upstream; others only wait for the same answer.
    pub(in crate::machine) asked: bool,
    /// The reader has been sent a head.
    pub(in crate::machine) head_sent: bool,
    /// The answer is sent in chunks, and its last one is still owed.
    pub(in crate::machine) chunked: bool,
    /// The answer ends with the client's connection.
    pub(in crate::machine) until_close: bool,
    /// The socket is full.
    pub(in crate::machine) blocked: bool,
    /// What the reader is sent beside upstream's bytes.
    pub(in crate::machine) words: Words,
    /// When the socket last took something.
    pub(in crate::machine) last_sent: Tick,
    /// The reader's position in the log of an event stream.
    pub(in crate::machine) chunk: Chunk,
    /// The offset at which the reader began: it was sent no event before that.
    pub(in crate::machine) began: u64,
    /// The offset up to which the reader can have got everything: its system has acknowledged that.
    pub(in crate::machine) got: u64,
    /// Bytes that the socket took since the reader was asked last what it has got.
    pub(in crate::machine) unasked: u32,
    /// How often in a row the reader had got nothing more when it was asked, up to [`MOST_QUIET`].
    pub(in crate::machine) quiet: u8,
    /// Everything was sent, and until then the reader is asked what it has got, before its connection is closed.
    /// [`Tick::NEVER`] before that.
    pub(in crate::machine) asked_until: Tick,
}

/// What a reader is sent beside upstream's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) enum Words {
    /// Nothing: it did not ask for an event stream by name, and may not read one as the standard says.
    None,
    /// What segno says by itself: heartbeats, gap events, `retry:`.
    Own,
    /// The same; and the log is incomplete, so it is sent a gap event at the end.
    OwnAndGap,
}

impl Reader {
    pub(in crate::machine) fn new(client: ConnKey, version: Version, keep_alive: bool, now: Tick) -> Self {
        Self {
            client,
            version,
            keep_alive,
            asked: true,
            head_sent: false,
            chunked: false,
            until_close: false,
            blocked: false,
            words: Words::None,
            last_sent: now,
            chunk: Chunk::new(0),
            began: 0,
            got: 0,
            unasked: 0,
            quiet: 0,
            asked_until: Tick::NEVER,
        }
    }

    /// The reader begins here in the log.
    pub(in crate::machine) fn begin_at(&mut self, offset: u64) {
        self.chunk.offset = offset;
        self.began = offset;
        self.got = offset;
    }

    /// Writes the answer's head for this reader, and says how its body will be delimited.
    pub(in crate::machine) fn send_head(
        &mut self,
        c: &mut Conn,
        head: &ResponseHead,
        length: BodyLength,
        extra: &[(&str, &str)],
        now: Tick,
    ) {
        let framing = ResponseFraming::relayed(length, self.version);
        self.head_sent = true;
        self.last_sent = now;
        self.chunked = framing == ResponseFraming::Chunked;
        self.until_close = framing == ResponseFraming::UntilClose;
        let close = self.until_close || !self.keep_alive;
        http::write_response(head, framing, self.version, close, extra, c.out.end());
    }

    /// All but the last `bytes` bytes that the socket took have been acknowledged. The framing among them is counted as
    /// if it were bytes of the log, so this errs towards less. Returns whether the reader has got more than was known.
    #[must_use]
    pub(in crate::machine) fn acknowledge(&mut self, unacknowledged: u64) -> bool {
        let got = self.chunk.offset.saturating_sub(unacknowledged);
        let is_more = got > self.got;
        self.got = self.got.max(got);
        self.quiet = if is_more { 0 } else { self.quiet.saturating_add(1).min(MOST_QUIET) };
        self.unasked = 0;
        is_more
    }

    /// Whether the socket has taken something that is not known to be acknowledged.
    pub(in crate::machine) fn is_owed(&self) -> bool {
        self.got < self.chunk.offset
    }

    /// Whether the socket has taken all whole events up to here.
    fn has_all(&self, whole: u64) -> bool {
        self.chunk.offset == whole && !self.chunk.is_open()
    }
}

/// The readers of one answer.
pub(in crate::machine) struct Readers {
    first: Option<Reader>,
    more: Option<Box<More>>,
    taken: u32,
    /// Readers whose sockets are full.
    blocked: u32,
    /// A client has been sent a head.
    pub(in crate::machine) head_sent: bool,
    /// When a reader last took something.
    pub(in crate::machine) last_sent: Tick,
}

/// Seats from 1 on. Takes a pointer's place while there are none.
struct More {
    seats: Vec<Option<Reader>>,
    /// Seats that may be free, by their places.
    free: Vec<u32>,
    /// None of the readers whose sockets are full last took something before this. It may be earlier than need be.
    full_from: Tick,
}

impl Default for More {
    fn default() -> Self {
        Self { seats: Vec::new(), free: Vec::new(), full_from: Tick::NEVER }
    }
}

impl More {
    fn leave(&mut self, at: usize) -> Option<Reader> {
        let left = self.seats.get_mut(at)?.take()?;
        self.free.push(at as u32);
        while self.seats.pop_if(|last| last.is_none()).is_some() {}
        if self.free.len() > 2 * self.seats.len() {
            // Most of these were taken off the end.
            let seats = &self.seats;
            self.free = (0..seats.len() as u32).filter(|at| seats[*at as usize].is_none()).collect();
        }
        Some(left)
    }
}

/// Seats: readers that come, go and are found.
impl Readers {
    pub(in crate::machine) fn one(reader: Reader, now: Tick) -> Self {
        Self {
            blocked: u32::from(reader.blocked),
            first: Some(reader),
            more: None,
            taken: 1,
            head_sent: false,
            last_sent: now,
        }
    }

    pub(in crate::machine) fn none(now: Tick) -> Self {
        Self { first: None, more: None, taken: 0, blocked: 0, head_sent: false, last_sent: now }
    }

    pub(in crate::machine) fn len(&self) -> usize {
        self.taken as usize
    }

    pub(in crate::machine) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    #[inline]
    pub(in crate::machine) fn get(&self, seat: Seat) -> Option<&Reader> {
        match seat {
            0 => self.first.as_ref(),
            n => self.more.as_ref()?.seats.get(n as usize - 1)?.as_ref(),
        }
    }

    #[inline]
    pub(in crate::machine) fn get_mut(&mut self, seat: Seat) -> Option<&mut Reader> {
        match seat {
            0 => self.first.as_mut(),
            n => self.more.as_mut()?.seats.get_mut(n as usize - 1)?.as_mut(),
        }
    }

    /// Gives a reader a free seat.
    pub(in crate::machine) fn take(&mut self, reader: Reader) -> Seat {
        self.taken += 1;
        self.blocked += u32::from(reader.blocked);
        if self.first.is_none() {
            self.first = Some(reader);
            return 0;
        }
        let More { seats, free, full_from } = &mut **self.more.get_or_insert_default();
        if reader.blocked {
            *full_from = reader.last_sent.min(*full_from);
        }
        while let Some(at) = free.pop() {
            step();
            // What is noted here may have been taken off the end and given out again since.
            if let Some(seat @ None) = seats.get_mut(at as usize) {
                *seat = Some(reader);
                return at + 1;
            }
        }
        seats.push(Some(reader));
        seats.len() as u32
    }

    /// A reader leaves.
    pub(in crate::machine) fn leave(&mut self, seat: Seat) -> Option<Reader> {
        let left = match seat {
            0 => self.first.take(),
            n => self.more.as_mut()?.leave(n as usize - 1),
        }?;
        self.taken -= 1;
        self.blocked -= u32::from(left.blocked);
        self.more.take_if(|more| more.seats.is_empty());
        Some(left)
    }

    /// The reader in the highest seat leaves, unless it is the only one.
    pub(in crate::machine) fn leave_last(&mut self) -> Option<Reader> {
        let last = self.more.as_ref().map_or(0, |more| more.seats.len() as u32);
        if self.taken > 1 { self.leave(last) } else { None }
    }

    /// The reader leaves whose own request was sent upstream, or the one in the highest seat if that one has left.
    pub(in crate::machine) fn leave_asker(&mut self) -> Option<Reader> {
        // It came first.
        let is_here = self.first.as_ref().is_some_and(|first| first.asked);
        if is_here { self.leave(0) } else { self.leave_last() }
    }

    /// The reader's socket is full, or takes more again. Returns whether that is new.
    pub(in crate::machine) fn set_blocked(&mut self, seat: Seat, blocked: bool) -> bool {
        let Some(reader) = self.get_mut(seat) else { return true };
        let is_new = std::mem::replace(&mut reader.blocked, blocked) != blocked;
        let since = reader.last_sent;
        match (is_new, blocked) {
            (true, true) => {
                self.blocked += 1;
                if let Some(more) = &mut self.more {
                    more.full_from = more.full_from.min(since);
                }
            }
            (true, false) => self.blocked -= 1,
            (false, _) => {}
        }
        is_new
    }

    /// The reader, where there is exactly one.
    pub(in crate::machine) fn only(&self) -> Option<&Reader> {
        if self.taken == 1 { self.iter().next().map(|(_, reader)| reader) } else { None }
    }

    pub(in crate::machine) fn iter(&self) -> impl Iterator<Item = (Seat, &Reader)> {
        let more = self
            .more
            .iter()
            .flat_map(|more| more.seats.iter().enumerate())
            .filter_map(|(i, r)| Some((i as u32 + 1, r.as_ref()?)))
            .inspect(|_| step());
        self.first.iter().map(|r| (0, r)).chain(more)
    }

    /// The readers from this seat on.
    pub(in crate::machine) fn iter_from(&self, from: Seat) -> impl Iterator<Item = (Seat, &Reader)> {
        (from..self.end()).filter_map(|seat| Some((seat, self.get(seat)?)))
    }

    pub(in crate::machine) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Reader> {
        let more = self.more.iter_mut().flat_map(|more| more.seats.iter_mut()).filter_map(Option::as_mut);
        self.first.iter_mut().chain(more)
    }

    /// Takes out the readers for which `goes` is true, one after the other, and hands each over.
    pub(in crate::machine) fn part(&mut self, goes: impl Fn(&Reader) -> bool, mut each: impl FnMut(Reader)) {
        if self.more.is_none() {
            // One reader is the ordinary case, and this runs for each event.
            if self.first.as_ref().is_some_and(&goes)
                && let Some(reader) = self.leave(0)
            {
                each(reader);
            }
            return;
        }
        let mut seat = 0;
        while seat < self.end() {
            if self.get(seat).is_some_and(&goes)
                && let Some(reader) = self.leave(seat)
            {
                each(reader);
            }
            seat += 1;
        }
    }

    /// One past the highest seat that may be taken.
    fn end(&self) -> Seat {
        1 + self.more.as_ref().map_or(0, |more| more.seats.len() as u32)
    }
}

/// All readers together.
impl Readers {
    /// How many there are.
    #[inline]
    pub(in crate::machine) fn audience(&self) -> Audience {
        Audience { readers: self.taken, slow: self.blocked }
    }

    /// Whether a reader that has a head has come this far.
    pub(in crate::machine) fn any_is_at(&self, offset: u64) -> bool {
        self.iter().any(|(_, reader)| reader.head_sent && reader.chunk.offset >= offset)
    }

    /// Whether a reader's socket has taken all whole events up to here.
    pub(in crate::machine) fn any_has_all(&self, whole: u64) -> bool {
        self.iter().any(|(_, reader)| reader.has_all(whole))
    }

    /// The farthest position of the readers that have a head.
    pub(in crate::machine) fn fastest(&self) -> Option<u64> {
        self.iter().filter(|(_, reader)| reader.head_sent).map(|(_, reader)| reader.chunk.offset).max()
    }

    /// The least position up to which the readers that count have got everything. A reader that has been stalled for
    /// `stall`, or has not reached the mark, does not count. `None` if no reader was sent the event before that
    /// position: a reader that joins at the live edge has got nothing yet.
    pub(in crate::machine) fn slowest(&self, marked: u64, stall: Span, now: Tick) -> Option<u64> {
        let counts = |reader: &&Reader| !(reader.blocked && reader.last_sent + stall <= now) && reader.got >= marked;
        let all = || self.iter().map(|(_, reader)| reader);
        let at = all().filter(counts).map(|reader| reader.got).min()?;
        all().any(|reader| reader.began < at && at <= reader.got).then_some(at)
    }

    /// Whether a socket is full. What is counted and noted of full sockets holds.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(in crate::machine) fn any_blocked(&self) -> bool {
        let full = || self.iter().map(|(_, reader)| reader).filter(|reader| reader.blocked);
        assert_eq!(full().count(), self.blocked as usize);
        let exact = full().map(|reader| reader.last_sent).min();
        assert!(exact.is_none() || self.blocked_since() <= exact, "{:?} {exact:?}", self.blocked_since());
        self.blocked > 0
    }

    /// Whether a socket would take a heartbeat.
    pub(in crate::machine) fn any_free(&self) -> bool {
        self.blocked < self.taken
    }

    /// When the reader that has been blocked for longest last took something, or some time before that.
    pub(in crate::machine) fn blocked_since(&self) -> Option<Tick> {
        if self.blocked == 0 {
            return None;
        }
        let first = self.first.iter().filter(|reader| reader.blocked).map(|reader| reader.last_sent);
        let more = self.more.iter().map(|more| more.full_from);
        first.chain(more).min()
    }

    /// Looks at all readers, so that [`Readers::blocked_since`] says when exactly.
    pub(in crate::machine) fn look_who_is_blocked(&mut self) {
        if let Some(more) = &mut self.more {
            let blocked = more.seats.iter().flatten().filter(|reader| reader.blocked);
            more.full_from = blocked.map(|reader| reader.last_sent).min().unwrap_or(Tick::NEVER);
        }
    }
}

/// What readers are sent.
impl Readers {
    /// Asks for a flush of each reader's connection.
    #[inline]
    pub(in crate::machine) fn flush(&self, cx: &mut Cx, conns: &mut Conns) {
        // One reader is the ordinary case, and this runs for each event.
        if let Some(first) = &self.first {
            conns.flush(cx, first.client);
        }
        if let Some(more) = &self.more {
            more.seats.iter().flatten().for_each(|reader| conns.flush(cx, reader.client));
        }
    }

    /// Sends each reader the bytes of segno's own that `words` has for it, if any.
    pub(in crate::machine) fn say<'w>(
        &self,
        conns: &mut Conns,
        mut words: impl FnMut(&Reader, &Conn) -> Option<Cow<'w, [u8]>>,
    ) {
        for (_, reader) in self.iter() {
            if let Some(c) = conns.get_mut(reader.client)
                && let Some(words) = words(reader, c)
            {
                http::write_piece(&words, reader.chunked, c.out.end());
            }
        }
    }
}
