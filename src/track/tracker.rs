//! The tracker of one stream: takes the bytes of its upstream bodies, knows what was received and what was delivered,
//! and keeps in one log what readers have not been given yet or may ask for again.
//!
//! In: body bytes, cuts and ends; how far readers have read; a tick. Out: slices of the log; marks; counts as [`Fed`].
//!
//! The order of calls: [`Tracker::begin`], then in turn [`Tracker::room`] and [`Tracker::feed`] (or
//! [`Tracker::feed_whole`]), at the end [`Tracker::cut`] or [`Tracker::finish`]; a healed body begins again. Between
//! any two of them [`Tracker::slices`] up to [`Tracker::whole`], and [`Tracker::advance`] with what the subscriber's
//! socket has accepted. Last [`Tracker::release`].
//!
//! Laws:
//! 1. `delivered <= received`, as marks and as offsets; neither moves back.
//! 2. Readers get nothing of a block that is cut, unless the block was too large to be held; the cut then says so.
//! 3. Forwarded bytes are upstream's bytes, without blocks that are duplicates and without a byte order mark in the
//!    middle, with own ids and gap events added.
//! 4. In the steady state nothing is allocated, and the kept bytes of one read are copied once.
//!
//! Source: laws 1, 3, 4, 5, 8 and 9 of `docs/ARCHITECTURE.md`.

use super::bom::BomFilter;
use super::budget::Budget;
use super::catch_up::CatchUp;
use super::fed::Fed;
use super::gap::GapReason;
use super::interner::{Interner, Symbol};
use super::ledger::{Ledger, Run};
use super::limits::{TrackContext, TrackLimits};
use super::marks::{KeptMark, Mark};
use super::own::{OWN_PREFIX, OwnIds};
use crate::base::{EventId, Span, Tick};
use crate::sse::{Position, Scan, Scanner};

/// Where an upstream was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutKind {
    /// Between blocks.
    Clean,
    /// Inside a block or comment. No reader was given any of it, and its bytes are dropped.
    MidBlock,
    /// Inside a block that readers have a part of: this cannot be healed.
    MidOversize,
}

const NO_RETRY: u32 = u32::MAX;

/// One stream. See the module's page.
pub struct Tracker {
    scanner: Scanner,
    ledger: Ledger,
    retry_millis: u32,
    bom: BomFilter,
}

/// Bodies: they begin, go on, end.
impl Tracker {
    /// A stream before its first body. Nothing is on the heap yet.
    pub fn new(limits: &TrackLimits) -> Self {
        Self {
            scanner: Scanner::new(limits.max_id_bytes),
            ledger: Ledger::new(limits),
            retry_millis: NO_RETRY,
            bom: BomFilter::Off,
        }
    }

    /// The client came with this `Last-Event-ID`, which becomes the id of both marks before any event. Has no effect
    /// when the id is empty or too long, or when the stream has begun.
    pub fn seed_cursor(&mut self, cx: TrackContext<'_>, id: &[u8]) {
        let ledger = &mut self.ledger;
        let begun = ledger.log.end() > 0 || ledger.received.id.is_some();
        if begun || id.is_empty() || id.len() > cx.limits.max_id_bytes {
            return;
        }
        if let Some((symbol, _)) = cx.interner.intern_times(id, 3) {
            ledger.log.set_base(Some(symbol), cx.interner);
            if let Some(evicted) = ledger.log.known.window.push(symbol) {
                cx.interner.release(evicted);
            }
            ledger.received.id = Some(symbol);
            ledger.delivered.id = Some(symbol);
        }
    }

    /// Offers ids of segno's own: they are given if the first event has no id. Has no effect when the stream has begun.
    pub fn offer_ids(&mut self, prefix: [u8; OWN_PREFIX]) {
        if self.ledger.log.end() == 0 && self.ledger.received.seq == 0 {
            self.ledger.own = OwnIds::offer(prefix);
        }
    }

    /// The events that were fed so far are of an earlier process, which gave them own ids up to event `until`. `before`
    /// events of the stream came before them.
    pub fn had_own_ids(&mut self, prefix: [u8; OWN_PREFIX], before: u64, until: u64) {
        self.ledger.own = OwnIds::given(prefix, before, until.min(self.ledger.received.seq));
    }

    /// An upstream body begins. `healed`: upstream was asked to go on after the received mark, so what it repeats is
    /// dropped. `strip_bom`: the client has got bytes already, so a byte order mark is taken out.
    pub fn begin(&mut self, healed: bool, strip_bom: bool) {
        if self.cut() == CutKind::MidOversize {
            self.ledger.log.set_whole(self.ledger.log.end());
        }
        let max = self.scanner.max_id_bytes();
        self.scanner = if strip_bom { Scanner::resumed(max) } else { Scanner::new(max) };
        self.bom = if strip_bom { BomFilter::Seen(0) } else { BomFilter::Off };
        self.ledger.catch_up = healed.then(|| Box::new(CatchUp::new(&self.ledger.log)));
    }

    /// Fetches the memory that the next event will touch.
    #[inline]
    pub fn warm(&self) {
        self.ledger.log.warm();
        self.ledger.log.known.window.warm();
    }

    /// How many body bytes may be fed now. 0: there is no space for more bytes, or for notes on more events.
    pub fn room(&self, limits: &TrackLimits, budget: &Budget) -> usize {
        if self.ledger.log.undelivered() >= limits.notes() {
            return 0;
        }
        self.ledger.log.room(limits.ring_bytes(), budget)
    }

    /// Takes body bytes, not more than [`Tracker::room`] said. More are taken too, but push the log above its bounds.
    pub fn feed(&mut self, mut cx: TrackContext<'_>, bytes: &[u8]) -> Fed {
        let mut fed = Fed::default();
        let (held, rest) = self.bom.strip(bytes);
        if !held.is_empty() {
            self.take(&mut cx, held, &mut fed);
        }
        if !rest.is_empty() {
            self.take(&mut cx, rest, &mut fed);
        }
        self.ledger.log.check();
        fed
    }

    /// Readers have taken everything that they may have, and there is no room for more: gives them the block that has
    /// come in part, if there is one. Reports as [`Tracker::feed`] does.
    pub fn unstick(&mut self, mut cx: TrackContext<'_>) -> Fed {
        let mut fed = Fed::default();
        if !self.ledger.log.is_open() {
            self.ledger.settle(&mut cx, self.scanner.open_id(), &mut fed);
        }
        self.ledger.log.check();
        fed
    }

    /// Upstream was cut. The bytes of an unfinished block are dropped.
    pub fn cut(&mut self) -> CutKind {
        let ledger = &mut self.ledger;
        if ledger.log.is_open() {
            return CutKind::MidOversize;
        }
        let discarding = ledger.catch_up.as_mut().is_some_and(|c| std::mem::take(&mut c.discarding));
        let held = ledger.log.held() > 0 || self.bom.held() > 0 || discarding;
        self.bom = BomFilter::Off;
        ledger.log.truncate(ledger.log.whole());
        if held { CutKind::MidBlock } else { CutKind::Clean }
    }

    /// The body ended as upstream meant it to: readers may have all bytes as they are. Where upstream had started again
    /// and ended before the received mark came, there is a gap, which is stated and returned.
    pub fn finish(&mut self, mut cx: TrackContext<'_>) -> Option<GapReason> {
        let held = std::mem::replace(&mut self.bom, BomFilter::Off).bytes();
        if !held.is_empty() {
            self.take(&mut cx, held, &mut Fed::default());
        }
        let ledger = &mut self.ledger;
        let restarted = ledger.catch_up.take().is_some_and(|c| c.is_restarted());
        let gap = restarted.then_some(GapReason::Restarted);
        if let Some(reason) = gap {
            ledger.state_gap(&mut cx, ledger.log.whole(), reason, None);
        }
        ledger.log.set_whole(ledger.log.end());
        gap
    }

    /// Where the received bytes end, which tells whether the end of a body without a length is a cut.
    pub fn position(&self) -> Position {
        if self.bom.held() > 0 { Position::Block } else { self.scanner.position() }
    }

    /// Whether the received bytes end with a line.
    pub fn ends_with_line(&self) -> bool {
        let log = &self.ledger.log;
        let last = log.end().checked_sub(1).and_then(|last| log.byte(last));
        self.bom.held() == 0 && matches!(last, Some(b'\n' | b'\r'))
    }

    /// Adds a gap event to the log, after the received mark and before a block that has not ended. False: an oversize
    /// block is open, and nothing can be stated inside it.
    pub fn state_gap(&mut self, mut cx: TrackContext<'_>, reason: GapReason, resumed_at: Option<&[u8]>) -> bool {
        let ledger = &mut self.ledger;
        if ledger.log.is_open() {
            return false;
        }
        ledger.state_gap(&mut cx, ledger.log.whole(), reason, resumed_at);
        true
    }

    /// [`Tracker::feed`] for whole blocks, with the scanner of one of several connections that take turns in bringing
    /// blocks of this stream. Afterwards the scanner stands after these blocks.
    ///
    /// `None`, and nothing read: the bytes do not end with a blank line, or what was read before does not end with a
    /// line.
    pub fn feed_whole(&mut self, mut cx: TrackContext<'_>, scanner: &mut Scanner, bytes: &[u8]) -> Option<Fed> {
        let is_whole = bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n");
        if !is_whole || !scanner.is_at_start() || !self.scanner.is_at_start() || self.bom != BomFilter::Off {
            return None;
        }
        let mut fed = Fed::default();
        let Self { ledger, retry_millis, .. } = self;
        blocks(scanner, ledger, retry_millis, &mut cx, bytes, &mut fed);
        ledger.log.check();
        Some(fed)
    }

    fn take(&mut self, cx: &mut TrackContext<'_>, bytes: &[u8], fed: &mut Fed) {
        let Self { scanner, ledger, retry_millis, .. } = self;
        blocks(scanner, ledger, retry_millis, cx, bytes, fed);
        ledger.settle(cx, scanner.open_id(), fed);
    }
}

/// Shows the ledger all blocks that end in `bytes`, and puts the bytes that are kept into the log.
#[inline]
fn blocks(
    scanner: &mut Scanner,
    ledger: &mut Ledger,
    retry_millis: &mut u32,
    cx: &mut TrackContext<'_>,
    bytes: &[u8],
    fed: &mut Fed,
) {
    ledger.reserve(cx, bytes.len());
    let (mut run, mut at) = (Run::new(bytes), 0);
    loop {
        match scanner.scan(&bytes[at..]) {
            Scan::Block { end, block } => {
                at += end;
                if let Some(millis) = block.retry {
                    *retry_millis = u32::try_from(millis).unwrap_or(NO_RETRY).min(NO_RETRY - 1);
                    fed.retry = Some(Span::from_millis(u64::from(*retry_millis)));
                }
                ledger.block(cx, &mut run, at, &block, fed);
                if at == bytes.len() && scanner.is_at_start() {
                    break;
                }
            }
            Scan::More { whole } => {
                if whole > 0 {
                    ledger.outside(&mut run, at + whole);
                }
                break;
            }
        }
    }
    run.flush(bytes.len(), &mut ledger.log);
}

/// Readers.
impl Tracker {
    /// The first offset that is held: a reader before it has fallen off the tail.
    pub fn start(&self) -> u64 {
        self.ledger.log.start()
    }

    /// The offset before which the socket of some reader has accepted all bytes.
    pub fn delivered_offset(&self) -> u64 {
        self.ledger.log.delivered()
    }

    /// The offset of the delivered mark.
    pub fn marked_offset(&self) -> u64 {
        self.ledger.marked
    }

    /// The offset before which readers may have all bytes.
    pub fn whole(&self) -> u64 {
        self.ledger.log.whole()
    }

    /// The offset after the last byte held.
    pub fn end(&self) -> u64 {
        self.ledger.log.end()
    }

    /// The bytes of a range, the second slice empty unless it wraps. Cut to what is held.
    pub fn slices(&self, from: u64, to: u64) -> (&[u8], &[u8]) {
        self.ledger.log.slices(from..to)
    }

    /// Where a reader that has nothing may start; `None` while an oversize block is open.
    pub fn replay_start(&self) -> Option<u64> {
        self.ledger.log.replay_start()
    }

    /// Where a reader starts that has got this id: after the first event in the log that carries it. `None`: there is
    /// no such event, or not everything after it can be replayed, or it is one of the stream's first ids and upstream
    /// has sent it again since.
    pub fn locate(&self, interner: &Interner, id: &[u8]) -> Option<u64> {
        self.locate_symbol(interner.lookup(id)?)
    }

    /// The ids of the events in the log, some of them several times.
    pub fn ids<'i>(&self, interner: &'i Interner) -> impl Iterator<Item = &'i [u8]> {
        self.ledger.log.ids().map(|id| interner.get(id))
    }

    /// Like [`Tracker::locate`], with the id's symbol.
    pub fn locate_symbol(&self, id: Symbol) -> Option<u64> {
        let (offset, number) = self.ledger.log.locate(id)?;
        let (log, first) = (&self.ledger.log, &self.ledger.log.known.first);
        // The id of an event that has left the log may have come again, as a greeting or because upstream counts anew:
        // a reader that names it may have got either of the two.
        let is_doubtful = first.is_again(id, number) || first.is_counted_anew(number) && log.first_number() > 0;
        (!is_doubtful).then_some(offset)
    }

    /// The events after an offset that lies between two of them, for a store: the offset after the last of them, and
    /// where each ends, counted from `from`.
    pub fn events_behind(&self, from: u64) -> (u64, Vec<u32>) {
        self.ledger.log.events_behind(from)
    }

    /// How many events end after `from` and not after `to`, of those that the log still holds. At the live edge it
    /// looks at these alone.
    #[inline]
    pub fn events_between(&self, from: u64, to: u64) -> u64 {
        self.ledger.log.events_between(from, to)
    }

    /// Where a reader starts that has got this many events: after the last of them. `None`: the stream has not so many
    /// events, or not everything after that place can be replayed.
    pub fn locate_event(&self, seq: u64) -> Option<u64> {
        self.ledger.log.locate_event(seq, self.ledger.received.seq)
    }

    /// The only subscriber has got all bytes before `offset`: moves the delivered mark, never back, then evicts what is
    /// beyond the bounds of events and of age. Where a socket lies between, see [`Tracker::accepted`].
    pub fn advance(&mut self, mut cx: TrackContext<'_>, offset: u64) {
        self.ledger.advance(&mut cx, offset);
        self.ledger.log.check();
    }

    /// A reader's socket has accepted all bytes before `offset`. They leave for want of bytes, and not for the number
    /// of events until they are acknowledged. The delivered mark stays.
    pub fn accepted(&mut self, mut cx: TrackContext<'_>, offset: u64) {
        self.ledger.accepted(&mut cx, offset);
        self.ledger.log.check();
    }

    /// A reader's system has acknowledged all bytes before `offset`: they count in the bound of events from now on. The
    /// delivered mark stays.
    pub fn acknowledged(&mut self, mut cx: TrackContext<'_>, offset: u64) {
        self.ledger.log.acknowledge(offset);
        self.ledger.evict(&mut cx);
        self.ledger.log.check();
    }

    /// Allows the bytes before `offset` to leave the log: the fastest of several readers has taken them, or nobody
    /// waits for them. The delivered mark stays.
    pub fn release_to(&mut self, mut cx: TrackContext<'_>, offset: u64) {
        self.ledger.release_to(&mut cx, offset);
        self.ledger.log.check();
    }

    /// Moves the delivered mark alone: the slowest of several readers has taken what lies before `offset`.
    pub fn mark(&mut self, mut cx: TrackContext<'_>, offset: u64) {
        self.ledger.mark(&mut cx, offset);
        self.ledger.log.check();
    }

    /// The only reader begins at `offset` again: nothing after it leaves before that reader has taken it. The delivered
    /// mark stays.
    pub fn rewind(&mut self, offset: u64) {
        self.ledger.log.rewind(offset);
        self.ledger.log.check();
    }

    /// Whether [`Tracker::expire`] would evict something.
    pub fn has_expired(&self, limits: &TrackLimits, now: Tick) -> bool {
        self.ledger.log.has_old(now, limits.log_age)
    }

    /// Whether the events just before those that are held left because they were too old.
    pub fn has_aged(&self) -> bool {
        self.ledger.log.has_aged()
    }

    /// Evicts delivered events that are too old, and gives memory back when the log is mostly empty.
    pub fn expire(&mut self, cx: TrackContext<'_>) {
        self.ledger.log.evict_older(cx.now, cx.limits.log_age, cx.interner);
        self.ledger.log.shrink_idle(cx.budget);
        self.ledger.log.check();
    }

    /// Evicts delivered events until the log fits into `keep` bytes, and shrinks it. Returns the bytes given back.
    pub fn trim(&mut self, cx: TrackContext<'_>, keep: usize) -> usize {
        self.ledger.log.trim(keep, cx.budget, cx.interner)
    }

    /// Whether the bytes that readers may have end inside an oversize block, where no heartbeat may stand.
    pub fn is_open_oversize(&self) -> bool {
        self.ledger.log.is_open()
    }
}

/// Marks and measures.
impl Tracker {
    /// The mark after the last event taken from upstream.
    pub fn received(&self) -> Mark {
        self.ledger.received.get()
    }

    /// The mark after the last event delivered.
    pub fn delivered(&self) -> Mark {
        self.ledger.delivered.get()
    }

    /// The id that upstream is asked to go on after. `None`: there never was one, an empty id reset it, or it was too
    /// long.
    pub fn cursor<'a>(&self, interner: &'a Interner) -> Option<&'a [u8]> {
        self.ledger.received.id.map(|id| interner.get(id))
    }

    /// The id of the last event delivered, as clients know it. `None`: that event has no known id.
    pub fn delivered_id(&self, interner: &Interner) -> Option<EventId> {
        self.id_at(self.delivered(), interner)
    }

    /// The id of the last event taken, as clients know it.
    pub fn received_id(&self, interner: &Interner) -> Option<EventId> {
        self.id_at(self.received(), interner)
    }

    fn id_at(&self, mark: Mark, interner: &Interner) -> Option<EventId> {
        match mark.id {
            Some(id) => EventId::from_bytes(interner.get(id)),
            None => self.ledger.own.id(mark.seq),
        }
    }

    /// The own id of the event with this number, if that event has come and has one.
    pub fn own_id(&self, seq: u64) -> Option<EventId> {
        self.ledger.own.id(seq).filter(|_| seq <= self.ledger.received.seq)
    }

    /// Whether events have ids of segno's own, or had.
    pub fn has_own_ids(&self) -> bool {
        self.ledger.own.are_given()
    }

    /// Whether the next event gets an id of segno's own, if it has none from upstream. Not so where those that came
    /// have theirs from an earlier process.
    pub fn gives_own_ids(&self) -> bool {
        self.ledger.own.is_giving()
    }

    /// Whether upstream can be asked to go on: there is a cursor, and no oversize block is open.
    pub fn healable(&self) -> bool {
        self.ledger.received.id.is_some() && !self.is_open_oversize()
    }

    /// Whether the first new event of a healed body has not come yet.
    pub fn is_catching_up(&self) -> bool {
        self.ledger.catch_up.is_some()
    }

    /// Whether upstream was found to have started again, and the received mark has not come yet.
    pub fn is_restarted(&self) -> bool {
        self.ledger.catch_up.as_ref().is_some_and(|c| c.is_restarted())
    }

    /// Blocks and gap events in the log that are not delivered to their end.
    pub fn undelivered(&self) -> usize {
        self.ledger.log.undelivered()
    }

    /// The reconnection time that upstream asked for last.
    pub fn retry(&self) -> Option<Span> {
        (self.retry_millis != NO_RETRY).then(|| Span::from_millis(u64::from(self.retry_millis)))
    }

    /// Bytes of the tracker and of everything it has on the heap. Not counted are ids, which the interner counts, and
    /// the start of an id that is split over two reads, which the scanner holds.
    pub fn memory(&self) -> usize {
        let catch_up = if self.is_catching_up() { size_of::<CatchUp>() } else { 0 };
        size_of::<Self>()
            + self.ledger.log.memory()
            + self.ledger.log.known.window.memory()
            + catch_up
            + self.ledger.own.memory()
    }

    /// Gives back all ids and bytes. Call it before the tracker is dropped. Afterwards the tracker is as new, except
    /// for its limits.
    pub fn release(&mut self, interner: &mut Interner, budget: &mut Budget) {
        let ledger = &mut self.ledger;
        ledger.delivered.id.take().into_iter().for_each(|id| interner.release(id));
        ledger.marked = 0;
        ledger.log.release(budget, interner);
        interner.settle();
        budget.settle(ledger.received.seq.saturating_sub(ledger.delivered.seq));
        ledger.received = KeptMark::default();
        ledger.delivered = KeptMark::default();
        ledger.catch_up = None;
        ledger.own = OwnIds::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_is_small() {
        assert!(size_of::<Tracker>() <= 320, "{}", size_of::<Tracker>());
    }
}
