//! One upstream connection of a key, on the caller's thread.
//!
//! In: body bytes, cut anywhere. Out: whole events to forward, each once; the key's cursor, published once they are
//! forwarded.
//! Laws: an unfinished event stays with its connection until its end has come, or until it is too large to be held; no
//! bytes of another connection come between the parts of one event.

use super::keys::{Account, NotRestored};
use super::state::{ALONE, State, UNFORWARDED, UNFORWARDED_EVENTS, add};
use crate::base::EventId;
use crate::slot::CursorHandle;
use crate::sse::{Scan, Scanner};
use crate::track::{CutKind, Fed, TrackContext};
use std::fmt;
use std::io;
use std::sync::Arc;

/// The most bytes that [`InlineTracker::pending`] gives at once.
const PIECE: usize = 64 << 10;

/// Bytes that the copy of what is pending may keep when nothing is.
const KEPT_COPY: usize = 4 << 10;

/// One upstream connection of a stream, on the caller's thread.
///
/// ```
/// # use segno::Engine;
/// # use segno::base::Span;
/// let engine = Engine::builder().start().unwrap();
/// let mut tracker = engine.tracker(b"session-1", Span::from_secs(1)).unwrap();
/// let mut client = Vec::new();
/// tracker.connected();
/// tracker.feed(b"id: 1\ndata: a\n\nid: 2\ndata: ha");
/// tracker.forward(|bytes| { client.extend_from_slice(bytes); Ok(()) }).unwrap();
/// // The connection breaks; the next one begins with what came before.
/// assert_eq!(tracker.last_event_id().unwrap().as_bytes(), b"1");
/// tracker.connected();
/// tracker.feed(b"id: 1\ndata: a\n\nid: 2\ndata: half\n\n");
/// tracker.forward(|bytes| { client.extend_from_slice(bytes); Ok(()) }).unwrap();
/// assert_eq!(client, b"id: 1\ndata: a\n\nid: 2\ndata: half\n\n");
/// assert_eq!(engine.cursor(b"session-1").unwrap().last_event_id().unwrap().as_bytes(), b"2");
/// ```
pub struct InlineTracker {
    account: Arc<Account>,
    /// Tells the trackers of a key apart.
    number: u64,
    scanner: Scanner,
    /// A block that has not ended yet, of this connection alone.
    partial: Vec<u8>,
    /// Whole blocks that wait until another connection's large event has ended.
    waiting: Vec<u8>,
    /// What became of them, for the next call of `feed`.
    late: Fed,
    /// A copy of bytes to forward, and how many of them have been.
    out: Vec<u8>,
    done: usize,
}

impl fmt::Debug for InlineTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineTracker").field("account", &self.account).finish_non_exhaustive()
    }
}

/// From the caller's upstream connection.
impl InlineTracker {
    pub(in crate::engine) fn new(account: Arc<Account>) -> Self {
        let scanner = Scanner::new(ALONE.max_id_bytes);
        let number = account.lock().number();
        let (partial, waiting, out) = (Vec::new(), Vec::new(), Vec::new());
        Self { account, number, scanner, partial, waiting, late: Fed::default(), out, done: 0 }
    }

    /// Why the stream could not go on from its stored cursor: the store was away or took too long when the first
    /// tracker of the key was opened. The stream begins anew then, and its cursor takes the place of the stored one.
    /// `None`: the store was asked.
    pub fn not_restored(&self) -> Option<NotRestored> {
        self.account.not_restored.clone()
    }

    /// The id to send upstream as `Last-Event-ID`: the id of the last event taken from any connection of this key.
    /// `None`: begin at the start.
    pub fn last_event_id(&self) -> Option<EventId> {
        let state = self.account.lock();
        EventId::from_bytes(state.tracker.cursor(&state.interner)?)
    }

    /// This connection was opened, or opened again: an unfinished block of the one before is dropped. Says where that
    /// one was cut. After [`CutKind::MidOversize`] the client has a part of an event whose rest will not come: end its
    /// answer as a cut.
    ///
    /// Where this is the only connection of its key, the stream then catches up as after any cut: what the connection
    /// repeats is dropped, and a gap that can be known is stated.
    pub fn connected(&mut self) -> CutKind {
        let is_cut = !std::mem::take(&mut self.partial).is_empty();
        self.scanner = Scanner::new(ALONE.max_id_bytes);
        let is_alone = self.account.is_alone();
        let mut state = self.account.lock();
        let had_open = state.close(self.number);
        if is_alone {
            let healed = state.tracker.healable();
            state.tracker.begin(healed, healed);
        }
        match (had_open, is_cut) {
            (true, _) => CutKind::MidOversize,
            (false, true) => CutKind::MidBlock,
            (false, false) => CutKind::Clean,
        }
    }

    /// How many bytes to feed now, at most. 0: forward first, or another connection of this key is inside an event
    /// above 512 KiB, which ends first. More bytes than this are taken all the same, and then the log grows above its
    /// bound; beyond 32,768 ids that wait to be forwarded, events are forwarded untracked ([`Fed::ids_refused`]).
    pub fn room(&self) -> usize {
        let state = self.account.lock();
        if state.is_held_back(self.number) || state.tracker.undelivered() >= UNFORWARDED_EVENTS {
            return 0;
        }
        let held = (state.tracker.end() - state.tracker.delivered_offset()) as usize;
        UNFORWARDED.saturating_sub(held + self.partial.len() + self.waiting.len())
    }

    /// Takes body bytes, cut anywhere. While the key has several trackers, drops an event that was taken before from
    /// any of their connections. Else only what is repeated after [`InlineTracker::connected`] is dropped: a stream may
    /// repeat itself.
    ///
    /// Bytes of an unfinished event are held back, up to 512 KiB. A larger event is passed on as it comes, and the
    /// events of other connections wait until it has ended.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let Self { account, scanner, partial, waiting, late, number, .. } = self;
        let limits = account.limits();
        if partial.is_empty() && waiting.is_empty() && bytes.len() <= limits.max_event_bytes {
            let mut state = account.lock();
            let is_held_back = state.is_held_back(*number);
            let State { tracker, interner, budget, pen, .. } = &mut *state;
            // With many streams each one's memory is cold.
            tracker.warm();
            interner.warm();
            pen.warm();
            let cx = TrackContext { limits, interner, budget, now: account.clock.now() };
            if !is_held_back && let Some(fed) = tracker.feed_whole(cx, scanner, bytes) {
                let mut sum = std::mem::take(late);
                add(&mut sum, &fed);
                return sum;
            }
        }
        let Ends { first, last } = ends(scanner, bytes);
        if last == 0 && partial.len() + bytes.len() <= limits.max_event_bytes {
            partial.extend_from_slice(bytes);
            return std::mem::take(late);
        }
        // What was held back is fed with its end in one piece. A large event that comes without its end looks to the
        // tracker like one that cannot be held, which it passes on without a look at its id.
        let last = if last == 0 { bytes.len() } else { last };
        let joined = match first {
            _ if partial.is_empty() => 0,
            0 => last,
            first => first,
        };
        partial.extend_from_slice(&bytes[..joined]);
        let mut state = account.lock();
        let mut sum = std::mem::take(late);
        if waiting.is_empty() && !state.is_held_back(*number) {
            for part in [&partial[..], &bytes[joined..last]] {
                state.take(limits, account.clock.now(), *number, part, &mut sum);
            }
        } else {
            waiting.append(partial);
            waiting.extend_from_slice(&bytes[joined..last]);
            state.take_waiting(limits, account.clock.now(), *number, waiting, &mut sum);
        }
        drop(state);
        partial.clear();
        partial.extend_from_slice(&bytes[last..]);
        sum
    }
}

/// To the client.
impl InlineTracker {
    /// Bytes to forward, up to 64 KiB of them, as a copy: no lock is held while the caller writes them. Empty: nothing
    /// waits, or another tracker of this key is forwarding. Say with [`InlineTracker::advance`] how many the client
    /// took.
    pub fn pending(&mut self) -> &[u8] {
        if self.out.is_empty() {
            let Self { account, number, waiting, late, out, .. } = self;
            let limits = account.limits();
            let mut state = account.lock();
            state.take_waiting(limits, account.clock.now(), *number, waiting, late);
            if state.forwarding.is_none() {
                state.fit(limits, account.clock.now());
                let (from, to) = (state.tracker.delivered_offset(), state.tracker.whole());
                let (a, b) = state.tracker.slices(from, to.min(from + PIECE as u64));
                out.extend_from_slice(a);
                out.extend_from_slice(b);
                state.forwarding = (!out.is_empty()).then_some(*number);
            }
        }
        &self.out[self.done..]
    }

    /// The client took the first `n` of the pending bytes: publishes the cursor of the last event that it has whole.
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.out.len() - self.done);
        if n == 0 {
            return;
        }
        self.done += n;
        let mut state = self.account.lock();
        state.forward(self.account.limits(), self.account.clock.now(), n);
        if self.done == self.out.len() {
            state.forwarding = None;
            self.done = 0;
            self.out.clear();
            self.out.shrink_to(KEPT_COPY);
        }
    }

    /// Calls `write` with what has not been forwarded yet, in one or more pieces, and publishes the cursor of the last
    /// event in each. `write` takes all of a piece or none; where the client may take a part, as a socket does, use
    /// [`InlineTracker::pending`].
    ///
    /// While this is the only tracker of its key, `write` is given the log's own bytes, and a tracker of this key that
    /// another thread opens meanwhile waits until it returns.
    ///
    /// # Errors
    /// The error of `write`. The pieces before it count as forwarded, and the next call starts with the one that was
    /// refused.
    pub fn forward(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.account.is_alone() || !self.out.is_empty() || !self.waiting.is_empty() {
            loop {
                let pending = self.pending();
                let n = pending.len();
                if n == 0 {
                    return Ok(());
                }
                write(pending)?;
                self.advance(n);
            }
        }
        let (limits, now) = (self.account.limits(), self.account.clock.now());
        let mut state = self.account.lock();
        loop {
            let (a, _) = state.tracker.slices(state.tracker.delivered_offset(), state.tracker.whole());
            if a.is_empty() {
                state.fit(limits, now);
                return Ok(());
            }
            write(a)?;
            let n = a.len();
            state.forward(limits, now, n);
        }
    }

    /// Bytes that the stream's log holds now: at most about 64 KiB, and what has not been forwarded.
    pub fn log_bytes(&self) -> usize {
        self.account.lock().budget.used()
    }

    /// Reads this stream's cursor, without a lock, from any thread.
    pub fn cursor(&self) -> CursorHandle {
        self.account.handle.clone()
    }
}

impl Drop for InlineTracker {
    fn drop(&mut self) {
        let mut state = self.account.lock();
        state.close(self.number);
        if state.forwarding == Some(self.number) {
            state.forwarding = None;
        }
    }
}

/// Where blocks end in some bytes. 0: no block ends.
struct Ends {
    /// The first that ends; it may have begun in earlier bytes.
    first: usize,
    /// The last that ends, with the comments after it that belong to no block.
    last: usize,
}

fn ends(scanner: &mut Scanner, bytes: &[u8]) -> Ends {
    let mut found = Ends { first: 0, last: 0 };
    let mut at = 0;
    loop {
        match scanner.scan(&bytes[at..]) {
            Scan::Block { end, .. } => {
                at += end;
                found.last = at;
                if found.first == 0 {
                    found.first = at;
                }
            }
            Scan::More { whole } => {
                if whole > 0 {
                    found.last = at + whole;
                }
                return found;
            }
        }
    }
}
