//! One upstream connection of a key, on the caller's thread.
//!
//! In: body bytes, cut anywhere. Out: whole events to forward, each once; the key's cursor, published once they are
//! forwarded.
//! Law: an unfinished event stays with its connection until its end has come, or until it is too large to be held.

use super::keys::{Account, LIMITS, State};
use crate::base::{Cursor, EventId};
use crate::slot::CursorHandle;
use crate::sse::{Scan, Scanner};
use crate::track::{Fed, TrackContext};
use std::fmt;
use std::io;
use std::sync::Arc;

/// What a log may keep of what was forwarded: its ring, and a record for each block in it.
const KEPT: usize = LIMITS.log_bytes + (8 << 10);

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
    scanner: Scanner,
    /// A block that has not ended yet, of this connection alone.
    partial: Vec<u8>,
}

impl fmt::Debug for InlineTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineTracker").field("account", &self.account).finish_non_exhaustive()
    }
}

impl InlineTracker {
    pub(in crate::engine) fn new(account: Arc<Account>) -> Self {
        let scanner = Scanner::new(LIMITS.max_id_bytes);
        Self { account, scanner, partial: Vec::new() }
    }

    /// The id to send upstream as `Last-Event-ID`: the id of the last event taken from any connection of this key.
    /// `None`: begin at the start.
    pub fn last_event_id(&self) -> Option<EventId> {
        let state = self.account.lock();
        EventId::from_bytes(state.tracker.cursor(&state.interner)?)
    }

    /// This connection was opened, or opened again: an unfinished block of the one before is dropped.
    ///
    /// Where this is the only connection of its key, the stream then catches up as after any cut: what the connection
    /// repeats is dropped, and a gap that can be known is stated.
    pub fn connected(&mut self) {
        self.partial = Vec::new();
        self.scanner = Scanner::new(LIMITS.max_id_bytes);
        if Arc::strong_count(&self.account) == 1 {
            let mut state = self.account.lock();
            let healed = state.tracker.healable();
            state.tracker.begin(healed, healed);
        }
    }

    /// Takes body bytes, cut anywhere. Drops an event that was taken before from any connection of this key.
    ///
    /// Bytes of an unfinished event are held back, up to 512 KiB. A larger event is passed on as it comes.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let Self { account, scanner, partial } = self;
        if partial.is_empty() && bytes.len() <= LIMITS.max_event_bytes {
            let mut state = account.lock();
            let State { tracker, interner, budget, pen, .. } = &mut *state;
            // With many streams each one's memory is cold.
            tracker.warm();
            interner.warm();
            pen.warm();
            let cx = TrackContext { limits: LIMITS, interner, budget, now: account.clock.now() };
            if let Some(fed) = tracker.feed_whole(cx, scanner, bytes) {
                return fed;
            }
        }
        let Ends { first, last } = ends(scanner, bytes);
        if last == 0 && partial.len() + bytes.len() <= LIMITS.max_event_bytes {
            partial.extend_from_slice(bytes);
            return Fed::default();
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
        let State { tracker, interner, budget, .. } = &mut *state;
        let now = account.clock.now();
        let mut sum = Fed::default();
        for part in [&partial[..], &bytes[joined..last]] {
            if !part.is_empty() {
                let cx = TrackContext { limits: LIMITS, interner, budget, now };
                add(&mut sum, &tracker.feed(cx, part));
            }
        }
        drop(state);
        partial.clear();
        partial.extend_from_slice(&bytes[last..]);
        sum
    }

    /// Calls `write` with what has not been forwarded yet, in one or two pieces, then publishes the cursor of the last
    /// event in it.
    ///
    /// # Errors
    /// The error of `write`. Then nothing counts as forwarded, and the next call starts with the same bytes.
    pub fn forward(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.account.lock();
        let State { tracker, interner, budget, pen, before } = &mut *state;
        let (from, to) = (tracker.delivered_offset(), tracker.whole());
        let (a, b) = tracker.slices(from, to);
        for part in [a, b] {
            if !part.is_empty() {
                write(part)?;
            }
        }
        let (old, now) = (tracker.delivered().seq, self.account.clock.now());
        tracker.advance(TrackContext { limits: LIMITS, interner, budget, now }, to);
        if budget.used() > KEPT {
            // A large event has made the log grow above its bound.
            tracker.trim(TrackContext { limits: LIMITS, interner, budget, now }, LIMITS.log_bytes);
        }
        let mark = tracker.delivered();
        if mark.seq > old
            && let Some(id) = tracker.delivered_id(interner)
        {
            pen.publish(&Cursor { sequence: *before + mark.seq, id, at: now });
        } else if to > from {
            pen.touch(now);
        }
        Ok(())
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

fn add(sum: &mut Fed, fed: &Fed) {
    sum.events += fed.events;
    sum.duplicates += fed.duplicates;
    sum.duplicates_by_id_alone += fed.duplicates_by_id_alone;
    sum.ids_too_long += fed.ids_too_long;
    sum.ids_refused += fed.ids_refused;
    sum.oversize |= fed.oversize;
    sum.gap = sum.gap.or(fed.gap);
    sum.retry = fed.retry.or(sum.retry);
}
