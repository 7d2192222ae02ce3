//! Whose clients are asked when what they have acknowledged: often while it moves, and ever more seldom while it stands.
//!
//! In: streams whose readers' sockets have taken something. Out: the streams whose turn it is.
//! Laws: a stream that waits for its turn is asked in it; each entry is looked at once; no list holds more than a few
//! entries of one stream.
//!
//! What is stored soon after it was delivered has to be known soon. Where nothing outlives the process, a reader that has
//! taken something waits for a later turn, and one question answers for many events.
//!
//! A turn comes [`ASKS_IN_A_WINDOW`] times in a flush window. The list of level `n` has its turn every 2^`n` turns. A
//! stream that is wanted sooner than it is due goes on the list of the lower level, too; its older entry is passed over.

use crate::base::Span;
use crate::machine::keys::{ExchangeKey, Seat, Timer};
use crate::timer::TimerKey;
use std::collections::VecDeque;

/// Readers that are asked in one go what they have acknowledged, and how soon the next ones are. Each question is a
/// system call of a microsecond or two, and what other streams send waits for no more of them than that.
pub(super) const ASKED_AT_ONCE: usize = 256;
pub(super) const ASK_NEXT: Span = Span::from_millis(1);

/// How often a stream's readers are asked within a flush window, at most.
const ASKS_IN_A_WINDOW: u64 = 4;
/// The time between two turns, however long the flush window is: who is about to be cut is asked, too.
const LONGEST_TURN: Span = Span::from_millis(500);

/// How often a silent reader may be passed over: it is asked every 2^5 turns then.
pub(in crate::machine) const MOST_QUIET: u8 = 5;

/// Streams that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The time between two turns.
    turn_lasts: Span,
    /// The list of those whose readers have just taken something.
    soonest: u8,
    levels: [VecDeque<ExchangeKey>; MOST_QUIET as usize + 1],
    /// Streams whose turn it is.
    due: VecDeque<ExchangeKey>,
    /// The readers from this seat on of the first of these are still to be asked.
    pub(super) seat: Seat,
    /// Turns so far.
    pub(super) turn: u32,
    pub(super) timer: Option<TimerKey<Timer>>,
}

/// Whether it is a reader's turn that has been silent so often.
pub(in crate::machine) fn is_turn_of(quiet: u8, turn: u32) -> bool {
    turn.is_multiple_of(1 << quiet.min(MOST_QUIET))
}

impl Asking {
    /// Nobody waits. `is_stored`: what was delivered is stored, and may outlive this process.
    pub(super) fn new(flush_window: Span, is_stored: bool) -> Self {
        let turn_lasts = Span::from_micros(flush_window.micros() / ASKS_IN_A_WINDOW).min(LONGEST_TURN);
        let in_longest = LONGEST_TURN.micros() / turn_lasts.micros().max(1);
        let soonest = if is_stored { 0 } else { in_longest.max(1).ilog2().min(MOST_QUIET.into()) as u8 };
        Self { turn_lasts, soonest, ..Self::default() }
    }

    /// When the next turn comes.
    pub(super) fn next_turn(&self) -> Span {
        self.turn_lasts
    }

    /// The list of a reader that has just taken something.
    pub(super) fn soonest(&self) -> u8 {
        self.soonest
    }

    /// A stream waits for a turn. `place`: the list that its newest entry is on, counted from 1; 0: it is on none.
    #[inline]
    pub(super) fn wait(&mut self, key: ExchangeKey, quiet: u8, place: &mut u8) {
        let wanted = quiet.min(MOST_QUIET);
        if *place > 0 && *place <= wanted + 1 {
            return;
        }
        *place = wanted + 1;
        if let Some(list) = self.levels.get_mut(usize::from(wanted)) {
            list.push_back(key);
        }
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        for (level, list) in self.levels.iter_mut().enumerate() {
            if is_turn_of(level as u8, self.turn) {
                self.due.append(list);
            }
        }
    }

    /// The stream whose readers are asked next.
    pub(super) fn first(&self) -> Option<ExchangeKey> {
        self.due.front().copied()
    }

    /// All readers of that stream have been asked.
    pub(super) fn is_done(&mut self, kept: usize) {
        self.due.pop_front();
        self.seat = 0;
        if self.due.is_empty() {
            self.due.shrink_to(kept);
            self.levels.iter_mut().filter(|list| list.is_empty()).for_each(|list| list.shrink_to(kept));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.levels.iter().all(VecDeque::is_empty)
    }
}
