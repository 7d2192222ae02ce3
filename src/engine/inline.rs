//! Trackers on the caller's own thread: for programs that do their own I/O and want streams to resume.
//!
//! In: body bytes of the caller's upstream connections. Out: bytes to forward, with duplicates taken out; cursors in the
//! store.
//!
//! Laws: two trackers of one key share one account, so that an event which comes on both is forwarded once; a key is
//! restored before its first event, from the store or from what the store has not taken yet; what is published has been
//! forwarded.

use crate::base::{Cursor, EventId, Span, StreamName};
use crate::clock::Clock;
use crate::persist::{PersistControl, Refused};
use crate::slot::{CursorHandle, SlotKey, SlotPen, SlotWriter};
use crate::sse::{Scan, Scanner};
use crate::store::StoreError;
use crate::track::{Budget, Dedup, Fed, Interner, TrackContext, TrackLimits, Tracker};
use crossbeam_channel::bounded;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Bounds of every inline tracker: several connections of a key may bring the same events at any time. Its log serves to
/// tell what comes again from what is new, and for what the caller has not forwarded; nobody is replayed from it.
const LIMITS: &TrackLimits =
    &TrackLimits { dedup: Dedup::Always, log_bytes: 64 << 10, log_events: 64, ..TrackLimits::DEFAULT };

/// What a log may keep of what was forwarded: its ring, and a record for each block in it.
const KEPT: usize = LIMITS.log_bytes + (8 << 10);

/// The longest key, in bytes.
const KEY_MAX: usize = 256;

/// Why there is no tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackerError {
    /// The key is longer than 256 bytes.
    KeyTooLong {
        /// Its length.
        len: usize,
    },
    /// As many keys as the engine was built for have trackers.
    Full {
        /// The bound.
        limit: usize,
    },
    /// The persister has too much to do.
    Overrun,
    /// The store could not tell where the stream stands.
    Store(StoreError),
    /// It did not answer in time.
    TimedOut,
}

impl fmt::Display for TrackerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLong { len } => write!(f, "a key of {len} bytes is longer than {KEY_MAX}"),
            Self::Full { limit } => {
                write!(f, "all {limit} places for trackers are taken; drop one, or build with more")
            }
            Self::Overrun => write!(f, "the key cannot be restored: {Refused}"),
            Self::Store(why) => write!(f, "the key cannot be restored: {why}"),
            Self::TimedOut => f.write_str("the key cannot be restored: the store did not answer in time; try again"),
        }
    }
}

impl std::error::Error for TrackerError {}

/// All keys that have trackers. Taken only to open and to close one.
#[derive(Clone, Debug)]
pub(super) struct Trackers(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    writer: SlotWriter,
    /// A key outlives its last tracker until the store has all that was published.
    keys: HashMap<Box<[u8]>, Entry>,
    /// How often keys were forgotten.
    sweeps: u64,
}

/// A key that has trackers, or had.
#[derive(Debug)]
struct Entry {
    account: Weak<Account>,
    slot: SlotKey,
    handle: CursorHandle,
    /// The slot of the account before, where the store did not have its cursor when this one was opened.
    before: Option<CursorHandle>,
}

impl Entry {
    /// The newest cursor that may not be in the store yet, and the slot that holds it until it is.
    fn unwritten(&self) -> Option<(CursorHandle, Cursor)> {
        let slots = [Some(&self.handle), self.before.as_ref()].into_iter();
        slots.flatten().find_map(|slot| Some((slot.clone(), slot.cursor()?)))
    }
}

/// What the trackers of one key share.
struct Account {
    name: Arc<StreamName>,
    slot: SlotKey,
    handle: CursorHandle,
    trackers: Trackers,
    clock: Clock,
    state: Mutex<State>,
}

/// Taken once a read.
struct State {
    tracker: Tracker,
    interner: Interner,
    budget: Budget,
    pen: SlotPen,
    /// Events forwarded by owners before this one count too, so that sequences of a key only grow.
    before: u64,
}

impl Trackers {
    pub(super) fn new(writer: SlotWriter) -> Self {
        Self(Arc::new(Mutex::new(Open { writer, keys: HashMap::new(), sweeps: 0 })))
    }

    pub(super) fn open(
        &self,
        key: &[u8],
        within: Span,
        store: &PersistControl,
        clock: Clock,
    ) -> Result<InlineTracker, TrackerError> {
        if key.len() > KEY_MAX {
            return Err(TrackerError::KeyTooLong { len: key.len() });
        }
        let (until, name) = (clock.now() + within, Arc::new(StreamName { session: key.into(), stream: 0 }));
        loop {
            let open = self.lock();
            if let Some(account) = open.account(key) {
                return Ok(InlineTracker::new(account));
            }
            let (seen, unwritten) = (open.seen(key), open.keys.get(key).and_then(Entry::unwritten));
            drop(open);
            // Not under the lock: the store may take its time. Behind the look at the slot: what has left it by now is
            // in the store.
            let stored = restore(&name, until.since(clock.now()), store)?;
            let mut open = self.lock();
            if let Some(account) = open.account(key) {
                return Ok(InlineTracker::new(account));
            }
            if open.seen(key) == seen {
                let account = open.add(self, name, stored, unwritten, clock)?;
                return Ok(InlineTracker::new(account));
            }
            // Somebody has opened it meanwhile and let it go: the answer of the store may be older than that.
        }
    }

    /// No call leaves the table half done.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cursor(&self, key: &[u8]) -> Option<CursorHandle> {
        let open = self.lock();
        let entry = open.keys.get(key)?;
        (entry.account.strong_count() > 0).then(|| entry.handle.clone())
    }
}

impl Open {
    fn account(&self, key: &[u8]) -> Option<Arc<Account>> {
        self.keys.get(key)?.account.upgrade()
    }

    /// Changes whenever a key is opened.
    fn seen(&self, key: &[u8]) -> (Option<SlotKey>, u64) {
        (self.keys.get(key).map(|entry| entry.slot), self.sweeps)
    }

    /// Adds an account that goes on from the newer of two cursors.
    fn add(
        &mut self,
        trackers: &Trackers,
        name: Arc<StreamName>,
        stored: Option<(EventId, u64)>,
        unwritten: Option<(CursorHandle, Cursor)>,
        clock: Clock,
    ) -> Result<Arc<Account>, TrackerError> {
        let limit = self.writer.capacity();
        let slot = self.writer.take(Arc::clone(&name)).ok_or(TrackerError::Full { limit })?;
        let pen = self.writer.pen(slot).ok_or(TrackerError::Full { limit })?;
        let durable = stored.as_ref().map_or(0, |(_, sequence)| *sequence);
        let (before, newest) = match unwritten.filter(|(_, cursor)| cursor.sequence > durable) {
            Some((slot, cursor)) => (Some(slot), Some((cursor.id, cursor.sequence))),
            None => (None, stored),
        };
        let (mut interner, mut budget) = (Interner::new(0, 4_096), Budget::new(2 << 20));
        let mut tracker = Tracker::new(LIMITS);
        if let Some((id, _)) = &newest {
            let cx = TrackContext { limits: LIMITS, interner: &mut interner, budget: &mut budget, now: clock.now() };
            tracker.seed_cursor(cx, id.as_bytes());
        }
        let forwarded = newest.map_or(0, |(_, sequence)| sequence);
        let state = Mutex::new(State { tracker, interner, budget, pen, before: forwarded });
        let handle = self.writer.handle(slot);
        let key = name.session.clone();
        let account =
            Arc::new(Account { slot, handle: handle.clone(), trackers: trackers.clone(), name, clock, state });
        self.sweep(limit);
        self.keys.insert(key, Entry { account: Arc::downgrade(&account), slot, handle, before });
        Ok(account)
    }

    /// Forgets keys that nobody has and of which the store has all, once there are many. Each of the others has a slot,
    /// so that at least half of them go.
    fn sweep(&mut self, limit: usize) {
        if self.keys.len() >= limit.saturating_mul(2) {
            self.keys.retain(|_, entry| entry.account.strong_count() > 0 || entry.unwritten().is_some());
            self.sweeps += 1;
        }
    }
}

/// What the store knows of a key: its id and sequence.
fn restore(name: &StreamName, within: Span, store: &PersistControl) -> Result<Option<(EventId, u64)>, TrackerError> {
    let (answer, wait) = bounded(1);
    // Whoever asked may have given up waiting.
    let reply = Box::new(move |found| drop(answer.try_send(found)));
    store.load(name.clone(), reply).map_err(|Refused| TrackerError::Overrun)?;
    match wait.recv_timeout(Duration::from(within)) {
        Ok(Ok(found)) => Ok(found.map(|cursor| (cursor.id, cursor.sequence))),
        Ok(Err(e)) => Err(TrackerError::Store(e)),
        Err(_) => Err(TrackerError::TimedOut),
    }
}

impl Account {
    /// A caller that panicked while it forwarded has moved nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.trackers.lock().writer.retire(self.slot);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

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
    fn new(account: Arc<Account>) -> Self {
        let scanner = Scanner::new(LIMITS.max_id_bytes);
        Self { account, scanner, partial: Vec::new() }
    }

    /// Behind which event upstream is to be asked to go on: the last one taken from any connection of this key. `None`:
    /// from the start.
    pub fn last_event_id(&self) -> Option<EventId> {
        let state = self.account.lock();
        EventId::from_bytes(state.tracker.cursor(&state.interner)?)
    }

    /// This connection was opened, or opened again: an unfinished block of the one before is dropped.
    ///
    /// Where this is the only connection of its key, what it repeats is told from what is new as behind any cut, and a
    /// gap that can be known is stated.
    pub fn connected(&mut self) {
        self.partial = Vec::new();
        self.scanner = Scanner::new(LIMITS.max_id_bytes);
        if Arc::strong_count(&self.account) == 1 {
            let mut state = self.account.lock();
            let healed = state.tracker.healable();
            state.tracker.begin(healed, healed);
        }
    }

    /// Takes body bytes, cut anywhere. An event that was taken before, from any connection of this key, is dropped.
    ///
    /// Bytes of an unfinished event are held back up to `max_event_bytes` (512 KiB); beyond that the event is passed on
    /// as it comes.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let Self { account, scanner, partial } = self;
        if partial.is_empty() && bytes.len() <= LIMITS.max_event_bytes {
            let mut state = account.lock();
            let State { tracker, interner, budget, pen, .. } = &mut *state;
            // Whoever has many streams finds each one's memory cold.
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
        // What was held back goes with its end in one piece: the tracker would take a large event that it is given
        // without its end for one that cannot be held, and let it pass unjudged.
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

    /// Hands over what has not been forwarded yet, in one or two pieces, and publishes the cursor behind it.
    ///
    /// # Errors
    /// That of `write`; then nothing counts as forwarded, and the same bytes come again.
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

/// Where blocks end in some bytes; 0: none does.
struct Ends {
    /// The first that ends: it may have begun in bytes before.
    first: usize,
    /// The last, and the comments behind it that stand outside of any.
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

#[cfg(test)]
mod tests {
    use super::LIMITS;
    use crate::base::{Random, Span, Tick};
    use crate::engine::Engine;
    use crate::track::{Budget, Interner, TrackContext, Tracker};
    use std::io::Write;

    /// Lines of a stream, some of them the same again, with all kinds of line ends.
    fn stream(r: &mut Random) -> Vec<u8> {
        const ENDS: [&str; 4] = ["\n", "\n", "\r\n", "\r"];
        let mut text = String::new();
        if r.below(4) == 0 {
            text.push('\u{feff}');
        }
        for n in 0..r.below(80) {
            match r.below(8) {
                0 => text.push_str(&format!("id: {}", r.below(20))),
                1 => text.push_str(&format!("id: {n}")),
                2 => text.push_str(": comment"),
                3 => text.push_str("retry: 7"),
                4 | 5 => text.push_str(&format!("data: {n}")),
                _ => {}
            }
            text.push_str(ENDS[r.below(4) as usize]);
        }
        text.into_bytes()
    }

    #[test]
    fn however_a_stream_is_cut_the_same_bytes_are_forwarded() {
        let engine = Engine::builder().trackers(500).start().unwrap();
        for seed in 0..500u64 {
            let mut r = Random::new(seed);
            let text = stream(&mut r);
            let (mut interner, mut budget, now) = (Interner::new(0, 4_096), Budget::new(2 << 20), Tick::ZERO);
            let mut twin = Tracker::new(LIMITS);
            twin.begin(false, false);
            twin.feed(TrackContext { limits: LIMITS, interner: &mut interner, budget: &mut budget, now }, &text);
            let (a, b) = twin.slices(0, twin.whole());
            let expected = [a, b].concat();

            let mut tracker = engine.tracker(&seed.to_le_bytes(), Span::from_secs(30)).unwrap();
            let (mut client, mut rest) = (Vec::new(), &text[..]);
            let longest = [2, 20, 1_000][r.below(3) as usize];
            tracker.connected();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((1 + r.below(longest) as usize).min(rest.len()));
                tracker.feed(piece);
                tracker.forward(|bytes| client.write_all(bytes)).unwrap();
                rest = behind;
            }
            let both = (String::from_utf8_lossy(&client), String::from_utf8_lossy(&expected));
            assert_eq!(both.0, both.1, "seed {seed}: {:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn an_unfinished_event_takes_no_room_from_what_tells_repeats_from_news() {
        let engine = Engine::builder().start().unwrap();
        let mut tracker = engine.tracker(b"a", Span::from_secs(30)).unwrap();
        let mut client = Vec::new();
        tracker.connected();
        for piece in ["id: 7\ndata: a\n\n", &format!("data: {}", "x".repeat(LIMITS.log_bytes + 8_192))] {
            tracker.feed(piece.as_bytes());
            tracker.forward(|bytes| client.write_all(bytes)).unwrap();
        }
        assert!(tracker.log_bytes() <= 8_192, "{}", tracker.log_bytes());
        tracker.connected();
        // Another event under the same id: only the bytes of the first can tell.
        tracker.feed(b"id: 7\ndata: done\n\n");
        tracker.forward(|bytes| client.write_all(bytes)).unwrap();
        assert_eq!(String::from_utf8_lossy(&client), "id: 7\ndata: a\n\nid: 7\ndata: done\n\n");
    }

    #[test]
    fn keys_of_which_the_store_has_all_are_forgotten() {
        let engine = Engine::builder().trackers(4).start().unwrap();
        let mut most = 0;
        for n in 0..100u32 {
            let mut tracker = engine.tracker(&n.to_le_bytes(), Span::from_secs(30)).unwrap();
            tracker.feed(b"id: 1\ndata: a\n\n");
            tracker.forward(|_| Ok(())).unwrap();
            drop(tracker);
            let (done, wait) = crossbeam_channel::bounded(1);
            engine.store().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
            assert!(wait.recv().unwrap());
            most = most.max(engine.trackers.lock().keys.len());
        }
        assert!(most <= 8, "{most} keys were known at once");
    }
}
