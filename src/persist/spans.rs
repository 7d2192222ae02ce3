//! What is told of batches as traces: one for each batch that is recorded, with the store's call as a part of it.
//!
//! In: batches that are over. Out: spans for the journal.
//! Laws: nothing is told for a cursor or an event; where no trace is recorded, nothing is made; a bounded number of
//! batches is told of each second; the ids come from a seed of their own, so that they tell nothing of any other.

use crate::base::{Random, Tick, TraceContext, TraceKind, TraceSpan};
use crate::journal::Journal;
use crate::store::StoreError;

/// What one thread tells of its batches.
pub(super) struct Spans {
    journal: Journal,
    random: Random,
    /// The present second, and how many batches were told of in it.
    second: u64,
    told: u32,
}

/// A batch that is over.
pub(super) struct Flushed<'e> {
    /// What was in it.
    pub(super) what: &'static str,
    /// What the store was called for.
    pub(super) operation: &'static str,
    /// Records in it.
    pub(super) size: usize,
    pub(super) began: Tick,
    pub(super) called: Tick,
    pub(super) answered: Tick,
    /// The first failure.
    pub(super) trouble: Option<&'e StoreError>,
}

impl Spans {
    pub(super) fn new(journal: Journal, seed: u64) -> Self {
        Self { journal, random: Random::new(seed), second: 0, told: 0 }
    }

    /// Tells of a batch, if it is recorded. `now`: its end.
    pub(super) fn tell(&mut self, batch: &Flushed<'_>, now: Tick) {
        let Some((share, rate)) = self.journal.recorded() else { return };
        let trace = (u128::from(self.random.next()) << 64 | u128::from(self.random.next())).max(1);
        if !share.takes(trace) || !self.has_place(rate, now) {
            return;
        }
        let context = TraceContext { trace, span: self.random.next().max(1), flags: 3 };
        let own = TraceContext { span: self.random.next().max(1), ..context };
        let mut flush = TraceSpan::new(TraceKind::Batch, context, None, batch.began, now);
        flush.say("segno.batch.of", batch.what);
        flush.say("segno.batch.records", batch.size as u64);
        let mut call = TraceSpan::new(TraceKind::Call, own, Some(context.span), batch.called, batch.answered);
        call.say("db.operation.name", batch.operation);
        call.say("db.operation.batch.size", batch.size as u64);
        for span in [&mut call, &mut flush] {
            span.error = batch.trouble.map(|why| word(why).into());
        }
        self.journal.traced(Box::new(call));
        self.journal.traced(Box::new(flush));
    }

    fn has_place(&mut self, rate: u32, now: Tick) -> bool {
        let second = now.micros() / 1_000_000;
        if second != self.second {
            (self.second, self.told) = (second, 0);
        }
        self.told = self.told.saturating_add(1);
        self.told <= rate
    }
}

/// A failure in one word.
fn word(why: &StoreError) -> &'static str {
    match why {
        StoreError::Full { .. } => "full",
        StoreError::Io { .. } => "io",
        StoreError::Gone { .. } => "gone",
        StoreError::Refused(_) => "refused",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TraceShare;
    use crossbeam_channel::bounded;

    fn batch(trouble: Option<&StoreError>) -> Flushed<'_> {
        let at = Tick::from_millis;
        let (began, called, answered) = (at(1), at(2), at(3));
        Flushed { what: "cursors", operation: "store", size: 7, began, called, answered, trouble }
    }

    #[test]
    fn a_batch_is_a_trace_of_its_own_with_the_call_as_a_part() {
        let (spans, told) = bounded(9);
        let journal = Journal::unheard().with_spans(spans);
        let mut own = Spans::new(journal.clone(), 7);
        own.tell(&batch(None), Tick::from_millis(4));
        assert!(told.is_empty(), "nothing is recorded");
        journal.record(Some(TraceShare::ALL), 9);
        let full = StoreError::Full { limit: 1 };
        own.tell(&batch(Some(&full)), Tick::from_millis(4));
        let told: Vec<_> = told.try_iter().collect();
        let [call, flush] = &told[..] else { panic!("{told:?}") };
        assert_eq!((flush.kind, flush.parent, flush.error.as_deref()), (TraceKind::Batch, None, Some("full")));
        assert_eq!((call.kind, call.parent), (TraceKind::Call, Some(flush.context.span)));
        assert_eq!((flush.ended.micros(), call.began.micros(), call.ended.micros()), (4_000, 2_000, 3_000));
        assert_eq!(flush.fact("segno.batch.records"), Some(&7.into()));
    }

    #[test]
    fn a_bounded_number_is_told_of_each_second_and_none_that_is_not_chosen() {
        let (spans, told) = bounded(99);
        let journal = Journal::unheard().with_spans(spans);
        let mut own = Spans::new(journal.clone(), 7);
        for (share, second, expected) in
            [(TraceShare::ALL, 1, 6), (TraceShare::ALL, 2, 6), (TraceShare::default(), 3, 0)]
        {
            journal.record(Some(share), 3);
            (0..9).for_each(|_| own.tell(&batch(None), Tick::from_millis(second * 1_000)));
            assert_eq!(told.try_iter().count(), expected);
        }
    }
}
